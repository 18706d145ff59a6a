//! The manifest of a backup, from what the run has gathered.

use std::collections::BTreeMap;

use super::run::{Run, StepError};
use crate::ids::{ClusterId, NodeName};
use crate::inventory::Node;
use crate::journal::StepOutcome;
use crate::manifest::{ArchiveRecord, BackupKind, FORMAT, Manifest, NodeRecord};
use crate::plan::Step;
use crate::ports::node::CleanStopProof;
use crate::preflight::retired_partitions;

impl Run<'_> {
    pub(super) async fn commit(&self) -> Result<StepOutcome, StepError> {
        let writer = self.writer()?;
        let manifest = self.manifest()?;
        writer.commit(&manifest).await?;
        self.harvest().committed = true;
        self.harvest().archives = manifest
            .archives
            .into_iter()
            .map(|archive| ArchiveRecord {
                files: vec![],
                ..archive
            })
            .collect();
        Ok(StepOutcome::Done)
    }

    fn manifest(&self) -> Result<Manifest, StepError> {
        let Some((id, kind)) = self.prepared.plan.backup.clone() else {
            return Err(StepError::Said("the plan makes no backup".to_owned()));
        };
        let mut harvest = self.harvest();
        // Archives end in any order; the manifest has them in the order of the plan.
        let mut archives = std::mem::take(&mut harvest.archives);
        let order: Vec<&Step> = self.prepared.plan.steps().collect();
        archives.sort_by_key(|archive| {
            order.iter().position(
                |step| matches!(step, Step::Archive { node, dataset } if *node == archive.node && *dataset == archive.dataset),
            )
        });
        let mut caveats = std::mem::take(&mut harvest.caveats);
        let down = self.prepared.prior.iter().filter(|(_, state)| !state.is_up());
        if kind != BackupKind::Config {
            caveats
                .extend(down.map(|(name, _)| format!("{name} was stopped before the backup: its data may be older")));
        }
        let retired = &self.o.settings.retired;
        if let (Some(partitions), true) = (&self.prepared.partitions, kind != BackupKind::Config) {
            caveats.extend(retired_partitions(partitions, retired));
        }
        let degraded = match kind {
            BackupKind::Config => vec![],
            BackupKind::Cluster | BackupKind::Data => self.prepared.degraded.partitions.clone(),
        };
        Ok(Manifest {
            format: FORMAT,
            id,
            kind,
            cluster: self.o.name.clone(),
            cluster_id: self.seen_cluster_id(),
            kbo_version: self.o.kbo_version.clone(),
            created: self.prepared.plan.run.time(),
            committed: self.o.clock.now(),
            window: harvest.window,
            caveats,
            damage: Some(harvest.damage.clone()),
            degraded,
            nodes: self
                .o
                .cluster
                .start_order()
                .iter()
                .map(|node| self.node_record(node, &harvest.proofs))
                .collect(),
            archives,
        })
    }

    /// The cluster id that the nodes tell, else the one of kbo.toml.
    pub(super) fn seen_cluster_id(&self) -> Option<ClusterId> {
        let metas = self
            .prepared
            .facts
            .values()
            .flatten()
            .flat_map(|facts| &facts.dirs)
            .filter_map(|dir| dir.meta.as_ref());
        metas
            .filter_map(|meta| meta.cluster_id.clone())
            .next()
            .or_else(|| self.o.cluster_id.clone())
    }

    fn node_record(&self, node: &Node, proofs: &BTreeMap<NodeName, CleanStopProof>) -> NodeRecord {
        let facts = self
            .prepared
            .facts
            .get(&node.name)
            .and_then(|facts| facts.as_ref().ok());
        let container = facts.and_then(|facts| facts.container.as_ref().ok()?.as_ref());
        NodeRecord {
            name: node.name.clone(),
            role: node.role,
            node_id: facts.and_then(|facts| facts.dirs.iter().find_map(|dir| dir.meta.as_ref()?.node_id)),
            container: container.map(|container| container.definition.clone()),
            kafka_version: facts.and_then(|facts| facts.kafka_version.clone()),
            clean_stop: proofs.get(&node.name).cloned(),
            degraded: proofs
                .get(&node.name)
                .is_some_and(|proof| self.is_degraded(&node.name, proof)),
        }
    }
}
