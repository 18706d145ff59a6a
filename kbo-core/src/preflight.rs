//! Preflight: everything that speaks against a run, found at once and before anything is touched.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::ids::{ClusterId, NodeName};
use crate::inventory::{Cluster, Dataset, Node};
use crate::ports::node::{
    ContainerFacts, ContainerState, DirFacts, LinkProbe, NodeError, NodeFacts, PartitionState, Presence,
};
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
        /// Bytes to stage, per node.
        need: BTreeMap<NodeName, u64>,
        /// The backup's cluster id, and whether another one is accepted.
        cluster_id: Option<ClusterId>,
        /// Whether the operator accepts another cluster's backup.
        other_cluster: bool,
        /// The backup's node ids.
        node_ids: BTreeMap<NodeName, Option<i32>>,
    },
    /// A start, stop or restart.
    Power,
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
    /// The store's space.
    pub store: Option<Space>,
    /// Stored bytes per raw byte in the last backup.
    pub last_ratio: Option<f64>,
    /// Percentage of free space below which a warning is due.
    pub warn_free_percent: u8,
}

/// Clock differences beyond this are worth a warning: record timestamps and retention go by the nodes' clocks.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(30);

/// Copying rate assumed for the estimate of a longer window, bytes per second.
const COPY_RATE: u64 = 300_000_000;

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
    judge.identities();
    judge.kafka();
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

    fn node(&mut self, node: &Node, facts: &NodeFacts) {
        if let Err(error) = &facts.engine {
            self.refuse(Some(node), error.message.clone(), error.hint.clone());
            return;
        }
        match &facts.container {
            Err(error) => self.refuse(Some(node), error.message.clone(), error.hint.clone()),
            Ok(None) => self.refuse(
                Some(node),
                format!("the engine knows no container named {}", node.container),
                Some("create it, or set `container` of this node in kbo.toml".to_owned()),
            ),
            Ok(Some(container)) => self.container(node, container, facts),
        }
        let skew = facts.clock.duration_since(self.input.now).abs();
        if skew > CLOCK_SKEW {
            let message = format!("its clock differs from this machine's by {} s", skew.as_secs());
            self.warn(
                Some(node),
                message,
                Some("set up time synchronisation on it".to_owned()),
            );
        }
        for dir in &facts.dirs {
            self.dir(node, dir);
        }
    }

    fn container(&mut self, node: &Node, container: &ContainerFacts, facts: &NodeFacts) {
        match container.state {
            ContainerState::Paused => self.refuse(
                Some(node),
                format!("the container {} is paused", node.container),
                Some(format!("unpause it: docker unpause {}", node.container)),
            ),
            ContainerState::Stopped if !matches!(self.input.purpose, Purpose::Power) => {
                self.warn(
                    Some(node),
                    format!("the container {} is stopped, and stays so", node.container),
                    None,
                );
            }
            ContainerState::Restarting => {
                self.warn(
                    Some(node),
                    format!("the container {} keeps restarting", node.container),
                    Some(format!("see: docker logs {}", node.container)),
                );
            }
            _ => {}
        }
        let is_mounted = |dir: &DirFacts| {
            container.mounts.iter().any(|mount| {
                within(&dir.path, &mount.source)
                    || within(&mount.source, &dir.path)
                    || within(&dir.path, &mount.destination)
            })
        };
        for dir in facts
            .dirs
            .iter()
            .filter(|dir| dir.dataset == Dataset::Data && !is_mounted(dir))
        {
            self.refuse(
                Some(node),
                format!(
                    "{} is in no mount of the container {}: Kafka does not use it",
                    dir.path, node.container
                ),
                Some("set `data` of this node to Kafka's log.dirs".to_owned()),
            );
        }
    }

    /// Whether the run reads or replaces a directory, rather than only reading its identity.
    fn concerns(&self, dir: &DirFacts) -> bool {
        match self.input.purpose {
            Purpose::Backup { datasets, .. } | Purpose::Restore { datasets, .. } => datasets.contains(&dir.dataset),
            Purpose::Power | Purpose::Look => true,
        }
    }

    fn dir(&mut self, node: &Node, dir: &DirFacts) {
        if !self.concerns(dir) {
            return;
        }
        if let Some(error) = &dir.error {
            self.refuse(Some(node), format!("{}: {error}", dir.path), None);
        }
        match (self.input.purpose, dir.presence) {
            (_, Presence::NotADirectory) => self.refuse(Some(node), format!("{} is not a directory", dir.path), None),
            (Purpose::Backup { .. }, Presence::Missing | Presence::Empty) => {
                let what = if dir.presence == Presence::Missing {
                    "does not exist"
                } else {
                    "is empty"
                };
                self.refuse(
                    Some(node),
                    format!("{} {what}: a backup would hold nothing of this node", dir.path),
                    Some(format!(
                        "check `{}` in kbo.toml, or restore the node first",
                        dir.dataset
                    )),
                );
            }
            (Purpose::Restore { .. }, Presence::Filled | Presence::Empty) if dir.is_mount_point => self.refuse(
                Some(node),
                format!("{} is a mount point: it cannot be swapped by a rename", dir.path),
                Some("use a directory below the mount point as log dir".to_owned()),
            ),
            _ => {}
        }
        if let (Purpose::Backup { cold: true, .. }, LinkProbe::Fails(why)) = (self.input.purpose, &dir.link) {
            let seconds = dir.bytes.div_ceil(COPY_RATE);
            self.warn(
                Some(node),
                format!(
                    "files of {} cannot be hardlinked ({why}): its snapshot copies {} and makes the window about {seconds} s longer",
                    dir.path,
                    human(dir.bytes)
                ),
                None,
            );
        }
        if !matches!(self.input.purpose, Purpose::Restore { .. }) {
            for unknown in &dir.unknown_dirs {
                self.refuse(
                    Some(node),
                    format!(
                        "the log dir {} holds the directory {unknown}, on which Kafka refuses to start",
                        dir.path
                    ),
                    Some("move it out of the log dir".to_owned()),
                );
            }
            for entry in &dir.unsupported {
                self.refuse(
                    Some(node),
                    format!("{}: {entry} cannot be archived", dir.path),
                    Some("remove it or replace it by a regular file".to_owned()),
                );
            }
        }
        if !dir.orphans.is_empty() {
            self.note(
                Some(node),
                format!(
                    "{} work folders of earlier runs beside {} are swept",
                    dir.orphans.len(),
                    dir.path
                ),
            );
        }
    }

    /// cluster.id and node.id: of one cluster, of the configured one, of the backup's; each node.id once.
    fn identities(&mut self) {
        let mut seen: BTreeMap<i32, &NodeName> = BTreeMap::new();
        let mut first: Option<(&ClusterId, &Node)> = None;
        for node in self.input.cluster.start_order() {
            let Some(Ok(facts)) = self.input.facts.get(&node.name) else {
                continue;
            };
            for meta in facts.dirs.iter().filter_map(|dir| dir.meta.as_ref()) {
                if let Some(id) = &meta.cluster_id {
                    self.cluster_id(node, id, first);
                    first = first.or(Some((id, node)));
                }
                if let Some(id) = meta.node_id {
                    if let Some(other) = seen.get(&id).filter(|other| **other != &node.name) {
                        self.refuse(Some(node), format!("has node.id {id}, as {other} has"), None);
                    }
                    self.node_id(node, id);
                    seen.insert(id, &node.name);
                }
            }
        }
        if let Purpose::Restore {
            cluster_id: Some(backup),
            other_cluster: false,
            ..
        } = self.input.purpose
            && let Some(configured) = self.input.cluster_id
            && backup != configured
        {
            self.refuse(
                None,
                format!("the backup is of the cluster {backup}, kbo.toml names {configured}"),
                Some("--other-cluster restores it all the same".to_owned()),
            );
        }
    }

    fn cluster_id(&mut self, node: &Node, id: &ClusterId, first: Option<(&ClusterId, &Node)>) {
        if let Some((other, earlier)) = first
            && other != id
        {
            self.refuse(
                Some(node),
                format!("belongs to the cluster {id}, but {} to {other}", earlier.name),
                None,
            );
        } else if let Some(configured) = self.input.cluster_id
            && configured != id
        {
            self.refuse(
                Some(node),
                format!("belongs to the cluster {id}, but kbo.toml names {configured}"),
                Some("correct cluster.id in kbo.toml, or the node's host".to_owned()),
            );
        }
        if let Purpose::Restore {
            cluster_id: Some(backup),
            other_cluster: false,
            ..
        } = self.input.purpose
            && backup != id
        {
            self.refuse(
                Some(node),
                format!("belongs to the cluster {id}, but the backup is of {backup}"),
                Some("--other-cluster restores it all the same".to_owned()),
            );
        }
    }

    fn node_id(&mut self, node: &Node, id: i32) {
        if let Some(configured) = node.node_id.filter(|configured| *configured != id) {
            self.refuse(
                Some(node),
                format!("has node.id {id}, but kbo.toml says {configured}"),
                None,
            );
        }
        if let Purpose::Restore { node_ids, .. } = self.input.purpose
            && let Some(Some(backup)) = node_ids.get(&node.name)
            && *backup != id
        {
            self.refuse(
                Some(node),
                format!("has node.id {id}, but the backup's {} had {backup}", node.name),
                Some("check the hosts in kbo.toml".to_owned()),
            );
        }
    }

    fn kafka(&mut self) {
        if let (Purpose::Backup { cold: true, .. }, Some(Err(why))) = (self.input.purpose, self.input.quorum) {
            self.refuse(
                None,
                format!("the controllers are not operational: {why}"),
                Some("a cluster that is stopped in this state may not come up again; mend the quorum first".to_owned()),
            );
        }
        let stops = matches!(
            self.input.purpose,
            Purpose::Backup { cold: true, .. } | Purpose::Restore { .. }
        );
        if stops && self.runs_without_majority() {
            self.refuse(
                None,
                "it runs, but with too few controllers to be operational once more".to_owned(),
                Some("start the controllers first, or stop everything: kbo start, kbo stop".to_owned()),
            );
        }
        let Some(partitions) = self.input.partitions else {
            return;
        };
        let short: Vec<String> = partitions
            .iter()
            .filter(|partition| partition.leader < 0 || partition.isr.len() < partition.replicas.len())
            .map(|partition| format!("{}-{}", partition.topic, partition.partition))
            .collect();
        if !short.is_empty() {
            let message = format!(
                "{} partitions are under-replicated or leaderless: {}",
                short.len(),
                some_of(&short)
            );
            self.warn(None, message, None);
        }
    }

    fn runs_without_majority(&self) -> bool {
        let is_up = |node: &&Node| match self.input.facts.get(&node.name) {
            Some(Ok(facts)) => {
                matches!(&facts.container, Ok(Some(container)) if container.state.is_up())
            }
            _ => false,
        };
        let nodes = self.input.cluster.start_order();
        let controllers = nodes.iter().filter(|node| node.role.is_controller());
        let up = controllers.clone().filter(is_up).count();
        nodes.iter().any(|node| is_up(&node)) && up * 2 <= controllers.count()
    }

    /// Need and have of every filesystem on a node: what a snapshot copies, or what is staged.
    fn node_space(&mut self) {
        for node in self.input.cluster.start_order() {
            let Some(Ok(facts)) = self.input.facts.get(&node.name) else {
                continue;
            };
            let mut need: BTreeMap<u64, (u64, &DirFacts)> = BTreeMap::new();
            for dir in facts.dirs.iter().filter(|dir| self.concerns(dir)) {
                let bytes = match self.input.purpose {
                    Purpose::Backup { .. } if matches!(dir.link, LinkProbe::Fails(_)) => dir.bytes,
                    Purpose::Backup { .. } => dir.copied_bytes,
                    _ => 0,
                };
                need.entry(dir.device).or_insert((0, dir)).0 += bytes;
            }
            if let Purpose::Restore { need: staged, .. } = self.input.purpose {
                // One number per node: a manifest does not say how its directories are spread over filesystems.
                let bytes = staged.get(&node.name).copied().unwrap_or(0);
                if let Some((_, (sum, _))) = need.iter_mut().max_by_key(|(_, (_, dir))| dir.dataset) {
                    *sum += bytes;
                }
            }
            for (bytes, dir) in need.into_values() {
                self.space(
                    Some(node),
                    &dir.path,
                    bytes,
                    Space {
                        free: dir.free,
                        size: dir.size,
                    },
                );
            }
        }
    }

    fn store_space(&mut self) {
        let (Purpose::Backup { .. }, Some(space)) = (self.input.purpose, self.input.store) else {
            return;
        };
        let raw: u64 = self
            .input
            .facts
            .values()
            .flatten()
            .flat_map(|facts| &facts.dirs)
            .filter(|dir| self.concerns(dir))
            .map(|dir| dir.bytes)
            .sum();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an estimate"
        )]
        let need = match self.input.last_ratio {
            Some(ratio) => (raw as f64 * ratio * 1.1) as u64,
            // Kafka data seldom compresses better than 4:1; without history that is the least to ask for.
            None => raw / 4,
        };
        self.space(None, "the store", need, space);
        if self.input.last_ratio.is_none() && space.free >= need && space.free < raw {
            self.warn(
                None,
                format!(
                    "the store has {} free for {} of data: it fits only if it compresses",
                    human(space.free),
                    human(raw)
                ),
                None,
            );
        }
    }

    fn space(&mut self, node: Option<&Node>, path: &str, need: u64, space: Space) {
        if need > space.free {
            self.refuse(
                node,
                format!("{path}: needs {}, has {} free", human(need), human(space.free)),
                Some("make room there".to_owned()),
            );
        } else if (space.free - need).saturating_mul(100)
            < space.size.saturating_mul(u64::from(self.input.warn_free_percent))
        {
            self.warn(
                node,
                format!(
                    "{path}: {} free of {}, {} % will be left",
                    human(space.free),
                    human(space.size),
                    (space.free - need).saturating_mul(100) / space.size.max(1)
                ),
                None,
            );
        }
    }
}

/// Whether `inner` is `outer` or below it.
fn within(inner: &str, outer: &str) -> bool {
    let outer = outer.trim_end_matches('/');
    inner
        .strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The first ten of a list, and how many more.
pub(crate) fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 10;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        _ => shown,
    }
}

/// Bytes for people: binary units, one decimal.
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = 0;
    let mut scaled = bytes;
    let mut rest = 0;
    while scaled >= 1024 && unit + 1 < UNITS.len() {
        rest = scaled % 1024;
        scaled /= 1024;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{scaled}.{} {}", rest * 10 / 1024, UNITS[unit])
    }
}
