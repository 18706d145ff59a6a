//! Whose data it is: cluster.id and node.id of every log dir.

use std::collections::{BTreeMap, BTreeSet};

use super::{Judge, Purpose, Severity};
use crate::ids::{ClusterId, NodeName};
use crate::inventory::Node;

impl Judge<'_> {
    /// cluster.id and node.id: of one cluster, of the configured one, of the backup's; each node.id once.
    pub(super) fn identities(&mut self) {
        let mut seen: BTreeMap<i32, &NodeName> = BTreeMap::new();
        let mut first: Option<(&ClusterId, &Node)> = None;
        self.changed_id();
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

    /// A cluster that was formatted anew, or another one that this kbo.toml reaches by mistake: its backups must not mix with those of
    /// the one before. Where kbo.toml names the id, that is what counts. A restore replaces the id, and is judged by its backup's.
    fn changed_id(&mut self) {
        let Purpose::Backup { .. } = self.input.purpose else {
            return;
        };
        let (None, Some(adopted)) = (self.input.cluster_id, self.input.adopted_id) else {
            return;
        };
        let metas = self.input.facts.values().flatten();
        let metas = metas.flat_map(|facts| &facts.dirs).filter_map(|dir| dir.meta.as_ref());
        let ids: BTreeSet<&ClusterId> = metas.filter_map(|meta| meta.cluster_id.as_ref()).collect();
        // Nodes that disagree with each other are refused for that.
        if let [id] = ids.into_iter().collect::<Vec<_>>()[..]
            && id != adopted
        {
            self.refuse(
                None,
                format!(
                    "the cluster's id is {id}, and the store's backups of this name are of {adopted}: the cluster was formatted anew, or these are not its nodes"
                ),
                Some(format!(
                    "if it is meant, `kbo adopt {id}` goes on with the new id; the backups of {adopted} stay, and `kbo rotate --cluster-id {adopted}` rotates them"
                )),
            );
        }
    }

    fn cluster_id(&mut self, node: &Node, id: &ClusterId, first: Option<(&ClusterId, &Node)>) {
        // What another cluster's data replace is judged by nobody.
        let severity = match self.input.purpose {
            Purpose::Restore {
                other_cluster: true, ..
            } => Severity::Warning,
            _ => Severity::Refusal,
        };
        if let Some((other, earlier)) = first
            && other != id
        {
            let text = format!("belongs to the cluster {id}, but {} to {other}", earlier.name);
            self.find(severity, Some(node), text, None);
        } else if let Some(configured) = self.input.cluster_id
            && configured != id
        {
            self.find(
                severity,
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
        if let Purpose::Restore { nodes, .. } = self.input.purpose
            && let Some(record) = nodes.iter().find(|record| record.name == node.name)
            && let Some(backup) = record.node_id
            && backup != id
        {
            self.refuse(
                Some(node),
                format!("has node.id {id}, but the backup's {} had {backup}", node.name),
                Some("check the hosts in kbo.toml".to_owned()),
            );
        }
    }
}
