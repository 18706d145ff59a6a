//! Who belongs to the cluster: its registered brokers and the voters of its quorum, against the inventory.

use std::collections::{BTreeMap, BTreeSet};

use super::{Input, Judge, Severity};
use crate::inventory::Node;
use crate::ports::node::{NodeFacts, PartitionState};
use crate::text::some_of;

impl Judge<'_> {
    /// A backup holds the nodes of kbo.toml: the cluster must have no others.
    pub(super) fn members(&mut self) {
        if !self.backs_up_data() {
            return;
        }
        // A node whose id is unknown may be the very one that is missed; it is refused for something else.
        let Some(known) = known(self.input) else { return };
        self.brokers(&known);
        self.voters(&known);
    }

    fn brokers(&mut self, known: &BTreeMap<i32, &Node>) {
        let registered = self.input.brokers.unwrap_or_default();
        let held = held_by(self.input.partitions.unwrap_or_default());
        let ids: BTreeSet<i32> = registered
            .iter()
            .map(|broker| broker.id)
            .chain(held.keys().copied())
            .collect();
        let server = registered.iter().find(|broker| !broker.fenced);
        let server = server.map_or_else(|| "HOST:PORT".to_owned(), |broker| broker.address.clone());
        for id in ids {
            if known.get(&id).is_some_and(|node| node.role.is_broker()) {
                continue;
            }
            let broker = registered.iter().find(|broker| broker.id == id);
            let at = broker
                .map(|broker| format!(" ({})", broker.address))
                .unwrap_or_default();
            let is_alive = broker.is_some_and(|broker| !broker.fenced);
            let is_retired = self.input.retired.contains(&id);
            let holds = held.get(&id).map(Vec::as_slice).unwrap_or_default();
            if is_alive {
                let retired = if is_retired { ", though retired names it" } else { "" };
                self.refuse(
                    None,
                    format!("the broker {id}{at} is registered and alive{retired}, and no node of kbo.toml: what it holds would be in no backup"),
                    Some(format!("add a [[node]] with role = \"broker\" and node_id = {id} to kbo.toml")),
                );
            } else if holds.is_empty() && broker.is_some() {
                self.warn(
                    None,
                    format!("the broker {id}{at} is registered, fenced and holds no replica, and no node of kbo.toml"),
                    Some(format!(
                        "if it is gone for good: kafka-cluster.sh unregister --bootstrap-server {server} --id {id}"
                    )),
                );
            } else if is_retired {
                self.note(
                    None,
                    format!("the retired broker {id} still is a replica of {}", some_of(holds)),
                );
            } else {
                self.refuse(
                    None,
                    format!("the broker {id}{at} is not alive, no node of kbo.toml, and a replica of {}", some_of(holds)),
                    Some(format!(
                        "add it to kbo.toml; if it is gone for good, move its replicas away (kafka-reassign-partitions.sh), or write retired = [{id}] under [cluster]"
                    )),
                );
            }
        }
    }

    fn voters(&mut self, known: &BTreeMap<i32, &Node>) {
        for &(id, keeps_up) in self.input.voters.unwrap_or_default() {
            if known.get(&id).is_some_and(|node| node.role.is_controller()) {
                continue;
            }
            let is_retired = self.input.retired.contains(&id);
            let (severity, state) = match (keeps_up, is_retired) {
                (true, _) => (Severity::Refusal, "is alive, and no node of kbo.toml"),
                (false, false) => (Severity::Refusal, "does not keep up, and is no node of kbo.toml"),
                (false, true) => (Severity::Note, "is retired"),
            };
            let hint = if keeps_up {
                format!("add a [[node]] with role = \"controller\" and node_id = {id} to kbo.toml")
            } else {
                format!(
                    "add it to kbo.toml; if it is gone for good, take it out of the quorum (kafka-metadata-quorum.sh remove-controller, or controller.quorum.voters), or write retired = [{id}] under [cluster]"
                )
            };
            let hint = (severity != Severity::Note).then_some(hint);
            self.find(severity, None, format!("the voter {id} of the quorum {state}"), hint);
        }
    }
}

/// The inventory by node.id; `None` where an id is unknown.
fn known<'a>(input: &'a Input<'_>) -> Option<BTreeMap<i32, &'a Node>> {
    let nodes = input.cluster.start_order().iter();
    nodes
        .map(|node| {
            let facts = input.facts.get(&node.name).and_then(|facts| facts.as_ref().ok());
            Some((node_id(node, facts)?, node))
        })
        .collect()
}

/// A node's id: as its log dirs have it, else as its Kafka is configured, else as kbo.toml says.
pub(super) fn node_id(node: &Node, facts: Option<&NodeFacts>) -> Option<i32> {
    let of_dirs = || facts?.dirs.iter().find_map(|dir| dir.meta.as_ref()?.node_id);
    let of_setup = || facts?.kafka.as_ref()?.as_ref().ok()?.node_id;
    of_dirs().or_else(of_setup).or(node.node_id)
}

/// The partitions that each node.id is a replica of.
fn held_by(partitions: &[PartitionState]) -> BTreeMap<i32, Vec<String>> {
    let mut held: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    for partition in partitions {
        for id in &partition.replicas {
            held.entry(*id).or_default().push(partition.to_string());
        }
    }
    held
}

/// What a backup must say of retired brokers: the partitions that they are replicas of still.
pub(crate) fn retired_partitions(partitions: &[PartitionState], retired: &BTreeSet<i32>) -> Vec<String> {
    let held = held_by(partitions);
    let of = |id: &i32| {
        Some(format!(
            "the retired broker {id} is a replica of {}",
            held.get(id)?.join(", ")
        ))
    };
    retired.iter().filter_map(of).collect()
}
