//! A cluster that is not whole already: every outage for its backup would be for nothing, unless it is accepted as it is.

use std::collections::BTreeSet;

use super::log_dirs::{data, is_down};
use super::members::node_id;
use super::{Input, Judge, Severity};
use crate::ids::NodeName;
use crate::inventory::Node;
use crate::ports::node::{NodeFacts, PartitionState, Presence};
use crate::text::some_of;

/// What of a cluster was not whole before anything was stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Degraded {
    /// Partitions without a leader, or with a replica that is dead or on an offline log dir; sorted.
    pub partitions: Vec<String>,
    /// Brokers that are down and did not stop cleanly.
    pub dead: BTreeSet<NodeName>,
    /// Brokers that serve with a log dir offline.
    pub offline: BTreeSet<NodeName>,
}

impl Degraded {
    /// Whether all was whole.
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty() && self.dead.is_empty() && self.offline.is_empty()
    }
}

impl Judge<'_> {
    /// Refused, for every night the outage would be for nothing; or warned of, where it is accepted.
    pub(super) fn degraded(&mut self) {
        if !self.backs_up_data() {
            return;
        }
        let accepted = self.input.allow_degraded;
        let severity = if accepted { Severity::Warning } else { Severity::Refusal };
        let hint = |mend: &str| match accepted {
            true => None,
            false => Some(format!("{mend}; --allow-degraded backs up the cluster as it is")),
        };
        let broken = broken_partitions(self.input);
        let Self { input, .. } = self;
        for node in input.cluster.start_order() {
            if broken.dead.contains(&node.name) {
                let message = format!(
                    "the container {} is down, and its Kafka did not stop cleanly (no .kafka_cleanshutdown)",
                    node.container
                );
                let mend = format!("start it and let it recover: kbo start {}", node.name);
                self.find(severity, Some(node), message, hint(&mend));
            }
            if broken.offline.contains(&node.name) {
                let message = "its Kafka runs with a log dir offline".to_owned();
                let mend =
                    "see the broker's log for the directory and the error, mend the disk, and restart the broker";
                self.find(severity, Some(node), message, hint(mend));
            }
        }
        let partitions = self.input.partitions.unwrap_or_default();
        let leaderless: Vec<String> = partitions
            .iter()
            .filter(|partition| is_leaderless(partition, self.input.retired))
            .map(ToString::to_string)
            .collect();
        if !leaderless.is_empty() {
            let message = format!(
                "{} partitions have no leader: {}",
                leaderless.len(),
                some_of(&leaderless)
            );
            self.find(severity, None, message, hint("bring back the brokers that hold them"));
        }
    }
}

/// What is not whole now.
pub(crate) fn broken_partitions(input: &Input<'_>) -> Degraded {
    let mut broken = Degraded::default();
    let partitions = input.partitions.unwrap_or_default();
    let mut names = BTreeSet::new();
    for node in input.cluster.start_order().iter().filter(|node| node.role.is_broker()) {
        let Some(Ok(facts)) = input.facts.get(&node.name) else {
            continue;
        };
        let id = node_id(node, Some(facts));
        if is_down(facts) {
            if is_unclean(facts) {
                broken.dead.insert(node.name.clone());
                let lacks = |partition: &&PartitionState| {
                    id.is_some_and(|id| partition.replicas.contains(&id) && !partition.isr.contains(&id))
                };
                names.extend(partitions.iter().filter(lacks));
            }
            continue;
        }
        let Some(id) = id.filter(|id| is_alive(input, node, *id)) else {
            continue;
        };
        let offline: Vec<&PartitionState> = partitions
            .iter()
            .filter(|partition| partition.offline.contains(&id))
            .collect();
        if !offline.is_empty() {
            broken.offline.insert(node.name.clone());
            names.extend(offline);
        }
    }
    names.extend(
        partitions
            .iter()
            .filter(|partition| is_leaderless(partition, input.retired)),
    );
    broken.partitions = names.into_iter().map(ToString::to_string).collect();
    broken
}

/// A replica of a broker that is not alive is offline too, whatever its disks are.
fn is_alive(input: &Input<'_>, node: &Node, id: i32) -> bool {
    match input.brokers {
        Some(brokers) => brokers.iter().any(|broker| broker.id == id && !broker.fenced),
        None => !input.unasked.contains_key(&node.name),
    }
}

/// A stop that left no marker in a log dir with partitions. A `metadata.log.dir` of its own never has one.
fn is_unclean(facts: &NodeFacts) -> bool {
    data(facts)
        .filter(|dir| dir.presence == Presence::Filled)
        .any(|dir| !dir.clean_marker && (dir.has_partitions || !dir.has_metadata_log))
}

/// Whether nobody leads it, though not all who could are gone for good.
fn is_leaderless(partition: &PartitionState, retired: &BTreeSet<i32>) -> bool {
    let candidates = if partition.isr.is_empty() {
        &partition.replicas
    } else {
        &partition.isr
    };
    partition.leader < 0 && !candidates.iter().all(|id| retired.contains(id))
}
