//! What a run will do, as data: made first, shown by `--dry-run`, journalled, and then executed as it stands.

mod containers;
mod restore;

use std::collections::BTreeMap;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::ids::{BackupId, NodeName, RunId};
use crate::inventory::{Cluster, Dataset, Node};
use crate::machine::{Operation, Phase};
use crate::manifest::BackupKind;
use crate::ports::node::{ContainerState, NodeFacts};

pub use containers::Creation;
pub use restore::Previous;

/// One step. Idempotent; what reverses it is in [`crate::undo`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Step {
    /// Stop a node's container.
    Stop {
        /// The node.
        node: NodeName,
    },
    /// Read the proof that Kafka stopped cleanly.
    ProveClean {
        /// The node.
        node: NodeName,
    },
    /// Take a snapshot.
    Snapshot {
        /// The node.
        node: NodeName,
        /// Of what.
        datasets: Vec<Dataset>,
    },
    /// Start a node's container.
    Start {
        /// The node.
        node: NodeName,
    },
    /// Wait until the metadata quorum is operational.
    AwaitQuorum,
    /// Wait until a broker serves requests.
    AwaitBroker {
        /// The node.
        node: NodeName,
    },
    /// Wait, within a limit, until every partition has its leader and its ISR.
    AwaitIsr,
    /// Stream the archive of a dataset from the snapshot into the store.
    Archive {
        /// The node.
        node: NodeName,
        /// Of what.
        dataset: Dataset,
    },
    /// Write the manifest.
    Commit,
    /// Unpack a dataset of the backup beside the live data, and verify it.
    Stage {
        /// The node.
        node: NodeName,
        /// Of what.
        dataset: Dataset,
    },
    /// Put what is staged in the place of what is live.
    Swap {
        /// The node.
        node: NodeName,
        /// Of what.
        datasets: Vec<Dataset>,
        /// What this earlier run replaced and kept, instead of what is staged.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        previous_of: Option<RunId>,
    },
    /// Undo a swap.
    SwapBack {
        /// The node.
        node: NodeName,
        /// Of what.
        datasets: Vec<Dataset>,
    },
    /// Remove the run's work folder: snapshot, staging, replaced data.
    Clean {
        /// The node.
        node: NodeName,
        /// Whether replaced data are kept beside the live ones.
        keep_previous: bool,
        /// Whether they are kept until the node has been ready.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        until_ready: bool,
    },
    /// Remove the unfinished backup from the store.
    Abandon,
    /// Create a node's container, putting aside the one that is there where it is to be replaced.
    Create {
        /// The node.
        node: NodeName,
        /// Whether there is one to be replaced.
        replace: bool,
    },
    /// Put back the container that a replacement has put aside.
    TakeBack {
        /// The node.
        node: NodeName,
    },
    /// Remove the container that a replacement has put aside.
    DropReplaced {
        /// The node.
        node: NodeName,
    },
    /// Remove a node's container; its data stay.
    Remove {
        /// The node.
        node: NodeName,
    },
    /// Format a node's log dirs, beside the live ones.
    Format {
        /// The node.
        node: NodeName,
    },
}

impl Step {
    /// The node that the step is about.
    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Step::Stop { node }
            | Step::ProveClean { node }
            | Step::Snapshot { node, .. }
            | Step::Start { node }
            | Step::AwaitBroker { node }
            | Step::Archive { node, .. }
            | Step::Stage { node, .. }
            | Step::Swap { node, .. }
            | Step::SwapBack { node, .. }
            | Step::Clean { node, .. }
            | Step::Create { node, .. }
            | Step::TakeBack { node }
            | Step::DropReplaced { node }
            | Step::Remove { node }
            | Step::Format { node } => Some(node),
            Step::AwaitQuorum | Step::AwaitIsr | Step::Commit | Step::Abandon => None,
        }
    }
}

fn list(datasets: &[Dataset]) -> String {
    datasets
        .iter()
        .map(Dataset::to_string)
        .collect::<Vec<_>>()
        .join(" and ")
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Stop { node } => write!(f, "stop {node}"),
            Step::ProveClean { node } => write!(f, "prove that {node} stopped cleanly"),
            Step::Snapshot { node, datasets } => write!(f, "snapshot {} of {node}", list(datasets)),
            Step::Start { node } => write!(f, "start {node}"),
            Step::AwaitQuorum => f.write_str("wait until the controllers are operational"),
            Step::AwaitBroker { node } => write!(f, "wait until {node} is ready"),
            Step::AwaitIsr => f.write_str("wait until every partition has its leader and ISR"),
            Step::Archive { node, dataset } => write!(f, "archive {dataset} of {node}"),
            Step::Commit => f.write_str("commit the manifest"),
            Step::Stage { node, dataset } => write!(f, "stage {dataset} of {node}"),
            Step::Swap {
                node,
                datasets,
                previous_of: None,
            } => write!(f, "swap {} of {node}", list(datasets)),
            Step::Swap {
                node,
                datasets,
                previous_of: Some(run),
            } => write!(f, "put back {} of {node} as run {run} had replaced it", list(datasets)),
            Step::SwapBack { node, datasets } => write!(f, "swap back {} of {node}", list(datasets)),
            Step::Clean {
                node,
                keep_previous: false,
                until_ready: false,
            } => write!(f, "remove the work folder on {node}"),
            Step::Clean {
                node,
                keep_previous: true,
                ..
            } => {
                write!(f, "remove the work folder on {node}, keeping the replaced data")
            }
            Step::Clean { node, .. } => write!(
                f,
                "remove the work folder on {node}, keeping the replaced data until it has been ready"
            ),
            Step::Abandon => f.write_str("remove the unfinished backup from the store"),
            Step::Create { node, replace: false } => write!(f, "create the container of {node}"),
            Step::Create { node, replace: true } => {
                write!(f, "create the container of {node} anew, putting the old one aside")
            }
            Step::TakeBack { node } => write!(f, "put back the old container of {node}"),
            Step::DropReplaced { node } => write!(f, "remove the old container of {node}"),
            Step::Remove { node } => write!(f, "remove the container of {node}"),
            Step::Format { node } => write!(f, "format the log dirs of {node}"),
        }
    }
}

/// The steps of a phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedPhase {
    /// The phase.
    pub phase: Phase,
    /// Its steps: one after the other, or side by side where the phase allows it.
    pub steps: Vec<Step>,
}

impl PlannedPhase {
    /// Whether the steps of different nodes run side by side. A node's own steps never do.
    pub fn is_parallel(&self) -> bool {
        !matches!(
            self.phase,
            Phase::Stopping
                | Phase::Starting
                | Phase::Settling
                | Phase::Committing
                | Phase::Undoing
                | Phase::Rolling
                | Phase::Removing
        )
    }
}

/// A run, planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The run.
    pub run: RunId,
    /// What it does.
    pub operation: Operation,
    /// The backup that it makes or restores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<(BackupId, BackupKind)>,
    /// What it is about, in a few lines that come first: of a restore which backup, of what kind and age.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub about: Vec<String>,
    /// The phases, in order.
    pub phases: Vec<PlannedPhase>,
    /// What the operator should know beforehand.
    #[serde(default)]
    pub notes: Vec<String>,
    /// What is replaced is removed at once, ready or not: the operator says so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub discard_previous: bool,
}

/// The state of every container as found: nodes that were not up are neither stopped nor started.
pub type Prior = BTreeMap<NodeName, ContainerState>;

/// Reads the containers' states off the facts.
pub fn prior_of(facts: &BTreeMap<NodeName, NodeFacts>) -> Prior {
    facts
        .iter()
        .map(|(name, facts)| {
            let state = match &facts.container {
                Ok(Some(container)) => container.state,
                Ok(None) | Err(_) => ContainerState::Missing,
            };
            (name.clone(), state)
        })
        .collect()
}

fn was_up(prior: &Prior, node: &Node) -> bool {
    prior.get(&node.name).is_some_and(|state| state.is_up())
}

fn stops(cluster: &Cluster, wanted: impl Fn(&Node) -> bool) -> Vec<Step> {
    cluster
        .stop_order()
        .filter(|node| wanted(node))
        .map(|node| Step::Stop {
            node: node.name.clone(),
        })
        .collect()
}

/// Start steps in start order, each followed by what must be waited for before the next.
pub(crate) fn starts(cluster: &Cluster, wanted: impl Fn(&Node) -> bool) -> Vec<Step> {
    let (controllers, brokers): (Vec<&Node>, Vec<&Node>) = cluster
        .start_order()
        .iter()
        .filter(|node| wanted(node))
        .partition(|node| node.role.is_controller());
    let mut steps: Vec<Step> = controllers
        .iter()
        .map(|node| Step::Start {
            node: node.name.clone(),
        })
        .collect();
    if !steps.is_empty() || !brokers.is_empty() {
        steps.push(Step::AwaitQuorum);
    }
    let combined = controllers.iter().filter(|node| node.role.is_broker());
    steps.extend(combined.map(|node| Step::AwaitBroker {
        node: node.name.clone(),
    }));
    for node in brokers {
        steps.push(Step::Start {
            node: node.name.clone(),
        });
        steps.push(Step::AwaitBroker {
            node: node.name.clone(),
        });
    }
    steps
}

fn settle(steps: &[Step]) -> Vec<Step> {
    if steps.iter().any(|step| matches!(step, Step::AwaitBroker { .. })) {
        vec![Step::AwaitIsr]
    } else {
        vec![]
    }
}

/// The datasets of `kind` that a node has.
fn datasets_of(node: &Node, kind: BackupKind) -> Vec<Dataset> {
    kind.datasets()
        .iter()
        .copied()
        .filter(|dataset| !node.dirs(*dataset).is_empty())
        .collect()
}

fn cleans(cluster: &Cluster, keep_previous: bool, until_ready: impl Fn(&Node) -> bool) -> Vec<Step> {
    cluster
        .start_order()
        .iter()
        .map(|node| Step::Clean {
            node: node.name.clone(),
            keep_previous,
            until_ready: until_ready(node),
        })
        .collect()
}

impl Plan {
    /// The same plan under the name of the next second, where the run's own is taken.
    pub fn a_second_later(&mut self) {
        let next = |at: Timestamp| at.saturating_add(SignedDuration::from_secs(1)).unwrap_or(at);
        self.run = RunId::at(next(self.run.time()));
        if let (Some((id, _)), true) = (&mut self.backup, self.operation.makes_backup()) {
            *id = BackupId::at(next(id.time()));
        }
    }

    /// The plan of a backup. A backup of configuration alone stops nothing.
    pub fn backup(run: RunId, id: BackupId, kind: BackupKind, cluster: &Cluster, prior: &Prior) -> Self {
        let nodes = cluster.start_order();
        let snapshots = nodes
            .iter()
            .filter(|node| !datasets_of(node, kind).is_empty())
            .map(|node| Step::Snapshot {
                node: node.name.clone(),
                datasets: datasets_of(node, kind),
            });
        let archives = nodes.iter().flat_map(|node| {
            let name = node.name.clone();
            let datasets = datasets_of(node, kind);
            // A node's snapshot keeps what Kafka deletes on its disk: it goes as soon as it is archived.
            let clean = (!datasets.is_empty()).then(|| Step::Clean {
                node: name.clone(),
                keep_previous: false,
                until_ready: false,
            });
            let archive = move |dataset| Step::Archive {
                node: name.clone(),
                dataset,
            };
            datasets.into_iter().map(archive).chain(clean)
        });
        let cold = kind != BackupKind::Config;
        let starting = starts(cluster, |node| was_up(prior, node));
        let operation = if cold {
            Operation::ColdBackup
        } else {
            Operation::HotBackup
        };
        let steps_of = |phase: Phase| match phase {
            Phase::Stopping => stops(cluster, |node| was_up(prior, node)),
            Phase::Proving => nodes
                .iter()
                .map(|node| Step::ProveClean {
                    node: node.name.clone(),
                })
                .collect(),
            Phase::Snapshotting => snapshots.clone().collect(),
            Phase::Starting => starting.clone(),
            Phase::Settling => settle(&starting),
            Phase::Archiving => archives.clone().collect(),
            Phase::Committing => vec![Step::Commit],
            _ => vec![],
        };
        Self {
            run,
            operation,
            backup: Some((id, kind)),
            about: vec![],
            phases: phases(operation, steps_of),
            notes: vec![],
            discard_previous: false,
        }
    }

    /// The plan of a start, a stop or a restart of `chosen` nodes (all where empty).
    pub fn power(run: RunId, operation: Operation, chosen: &[NodeName], cluster: &Cluster, prior: &Prior) -> Self {
        let is_chosen = |node: &Node| chosen.is_empty() || chosen.contains(&node.name);
        let starting = match operation {
            Operation::Start => starts(cluster, |node| is_chosen(node) && !was_up(prior, node)),
            // What was down stays down unless it was chosen by name.
            Operation::Restart => starts(cluster, |node| {
                is_chosen(node) && (was_up(prior, node) || !chosen.is_empty())
            }),
            _ => vec![],
        };
        let steps_of = |phase: Phase| match phase {
            Phase::Stopping => stops(cluster, |node| is_chosen(node) && was_up(prior, node)),
            Phase::Starting => starting.clone(),
            Phase::Settling => settle(&starting),
            _ => vec![],
        };
        Self {
            run,
            operation,
            backup: None,
            about: vec![],
            phases: phases(operation, steps_of),
            notes: vec![],
            discard_previous: false,
        }
    }

    /// Every step, in order.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.phases.iter().flat_map(|phase| &phase.steps)
    }

    /// The steps of a phase.
    pub fn phase(&self, phase: Phase) -> Option<&PlannedPhase> {
        self.phases.iter().find(|planned| planned.phase == phase)
    }

    /// Whether the data that a restore replaces are kept beside the live ones.
    pub fn keeps_previous(&self) -> bool {
        self.steps().any(|step| {
            matches!(
                step,
                Step::Clean {
                    keep_previous: true,
                    ..
                }
            )
        })
    }

    /// The run whose replaced data this one puts back.
    pub fn previous_of(&self) -> Option<&RunId> {
        self.steps().find_map(|step| match step {
            Step::Swap { previous_of, .. } => previous_of.as_ref(),
            _ => None,
        })
    }

    /// Whether the cluster is stopped on the way.
    pub fn stops_anything(&self) -> bool {
        self.steps().any(|step| matches!(step, Step::Stop { .. }))
    }
}

fn phases(operation: Operation, steps_of: impl Fn(Phase) -> Vec<Step>) -> Vec<PlannedPhase> {
    operation
        .phases()
        .iter()
        .filter(|phase| **phase != Phase::Preflight)
        .map(|phase| PlannedPhase {
            phase: *phase,
            steps: steps_of(*phase),
        })
        .collect()
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.about {
            writeln!(f, "{line}")?;
        }
        for planned in self.phases.iter().filter(|planned| !planned.steps.is_empty()) {
            let manner = if planned.is_parallel() && planned.steps.len() > 1 {
                ", nodes side by side"
            } else {
                ""
            };
            writeln!(f, "{}{manner}:", planned.phase)?;
            for step in &planned.steps {
                writeln!(f, "  {step}")?;
            }
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}
