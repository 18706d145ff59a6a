//! Preflight: everything that speaks against a run, found at once and before anything is touched.

mod degraded;
mod identity;
mod kafka;
mod keepers;
mod kept;
mod log_dirs;
mod members;
mod nodes;
mod owners;
mod space;

pub use degraded::Degraded;
pub(crate) use degraded::broken_partitions;
pub(crate) use keepers::{kept_by_another, removed_when_stopped};
pub(crate) use members::retired_partitions;
pub(crate) use nodes::{CLOCK_SKEW, COPY_RATE};

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use crate::floor::FreeFloor;
use crate::ids::{ClusterId, NodeName, RunId};
use crate::inventory::{Cluster, Dataset, Node};
use crate::manifest::NodeRecord;
use crate::ports::node::{BrokerState, DirFacts, NodeError, NodeFacts, Owner, PartitionState};
use crate::ports::store::Space;

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Note,
    /// The run goes on; a person should look.
    Warning,
    /// The run is refused.
    Refusal,
}

/// Something found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it weighs.
    pub severity: Severity,
    /// The node it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// What is so.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(node) = &self.node {
            write!(f, "{node}: ")?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// What the run is about to do, as far as preflight cares.
#[derive(Debug, Clone, PartialEq)]
pub enum Purpose {
    /// A backup of these datasets; cold where it stops the cluster.
    Backup {
        /// What is read.
        datasets: Vec<Dataset>,
        /// Whether the cluster is stopped for it.
        cold: bool,
    },
    /// A restore of these datasets.
    Restore {
        /// What is replaced.
        datasets: Vec<Dataset>,
        /// Bytes to stage, for each directory of a node's dataset.
        need: BTreeMap<(NodeName, Dataset), Vec<u64>>,
        /// The backup's cluster id, and whether another one is accepted.
        cluster_id: Option<ClusterId>,
        /// Whether the operator accepts another cluster's backup.
        other_cluster: bool,
        /// The nodes as the backup has them.
        nodes: Vec<NodeRecord>,
        /// Whether what it stops is started again: then that must be able to come up.
        starts: bool,
    },
    /// A start, stop or restart.
    Power,
    /// Creation or removal of containers, of which any may be missing.
    Run,
    /// Formatting of log dirs.
    Format,
    /// A look.
    Look,
}

/// Everything that was found out.
#[derive(Debug)]
pub struct Input<'a> {
    /// The inventory.
    pub cluster: &'a Cluster,
    /// The configured cluster id.
    pub cluster_id: Option<&'a ClusterId>,
    /// The run.
    pub purpose: &'a Purpose,
    /// Each node's facts, or why there are none.
    pub facts: &'a BTreeMap<NodeName, Result<NodeFacts, NodeError>>,
    /// The centre's clock, at the time of the facts.
    pub now: Timestamp,
    /// The metadata quorum: `Ok` when operational, else why not; `None` where no controller runs.
    pub quorum: Option<&'a Result<(), String>>,
    /// The partitions, where a broker told.
    pub partitions: Option<&'a [PartitionState]>,
    /// The registered brokers, where a broker told.
    pub brokers: Option<&'a [BrokerState]>,
    /// The quorum's voters, where its leader told: (node.id, whether it keeps up).
    pub voters: Option<&'a [(i32, bool)]>,
    /// node.ids that are gone for good.
    pub retired: &'a BTreeSet<i32>,
    /// Whether a cluster that is not whole already is backed up.
    pub allow_degraded: bool,
    /// Brokers that run and whose Kafka cannot be asked, and why: asking again would not help, unless it is `Unreachable`.
    pub unasked: &'a BTreeMap<NodeName, NodeError>,
    /// The store's space.
    pub store: Option<Space>,
    /// Stored bytes per raw byte of each dataset, as the last backup of the same kind had it.
    pub ratios: &'a BTreeMap<Dataset, f64>,
    /// The cluster id that the store's backups of this name belong to.
    pub adopted_id: Option<&'a ClusterId>,
    /// Percentage of free space below which a warning is due.
    pub warn_free_percent: u8,
    /// Free space that every node keeps while archives are made.
    pub node_free_floor: FreeFloor,
    /// Who asks.
    pub asker: &'a Owner,
    /// Runs whose journals are open in the asker's store.
    pub known: &'a [RunId],
}

/// Judges.
pub fn judge(input: &Input<'_>) -> Vec<Finding> {
    let mut judge = Judge {
        input,
        findings: vec![],
    };
    for node in input.cluster.start_order() {
        match input.facts.get(&node.name) {
            Some(Ok(facts)) => judge.node(node, facts),
            Some(Err(error)) => judge.refuse(Some(node), error.message.clone(), error.hint.clone()),
            None => judge.refuse(Some(node), "was not looked at".to_owned(), None),
        }
    }
    // What is formatted has no identity yet, or loses it.
    if !matches!(input.purpose, Purpose::Format) {
        judge.identities();
    }
    judge.startable();
    judge.members();
    judge.degraded();
    judge.kafka();
    judge.kept();
    judge.node_space();
    judge.store_space();
    judge
        .findings
        .sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    judge.findings
}

/// Whether anything found refuses the run.
pub fn refuses(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Refusal)
}

struct Judge<'a> {
    input: &'a Input<'a>,
    findings: Vec<Finding>,
}

impl Judge<'_> {
    fn find(&mut self, severity: Severity, node: Option<&Node>, message: String, hint: Option<String>) {
        self.findings.push(Finding {
            severity,
            node: node.map(|node| node.name.clone()),
            message,
            hint,
        });
    }

    fn refuse(&mut self, node: Option<&Node>, message: String, hint: Option<String>) {
        self.find(Severity::Refusal, node, message, hint);
    }

    fn warn(&mut self, node: Option<&Node>, message: String, hint: Option<String>) {
        self.find(Severity::Warning, node, message, hint);
    }

    fn note(&mut self, node: Option<&Node>, message: String) {
        self.find(Severity::Note, node, message, None);
    }

    /// Whether the run reads data, and so is worth nothing where they are not all of the cluster's.
    fn backs_up_data(&self) -> bool {
        matches!(self.input.purpose, Purpose::Backup { cold: true, .. })
    }

    /// Whether the run reads or replaces a directory, rather than only reading its identity.
    fn concerns(&self, dir: &DirFacts) -> bool {
        match self.input.purpose {
            Purpose::Backup { datasets, .. } | Purpose::Restore { datasets, .. } => datasets.contains(&dir.dataset),
            Purpose::Power | Purpose::Run | Purpose::Format | Purpose::Look => true,
        }
    }
}
