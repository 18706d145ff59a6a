//! Free space on the nodes while archives are made: what Kafka deletes meanwhile stays on the disk as long as a snapshot links it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::{join_all, pending, select_all};

use super::run::{Halt, Run};
use crate::ids::NodeName;
use crate::inventory::Dataset;
use crate::machine::{Operation, Phase};
use crate::plan::{PlannedPhase, Step};
use crate::ports::node::{DirSpace, NodeError, NodeErrorKind};
use crate::report::chain;
use crate::text::human;

/// How often a node's disks are looked at.
const BETWEEN_LOOKS: Duration = Duration::from_secs(10);
/// How long the archives under way may take to end once the run is to.
const ENDING: Duration = Duration::from_secs(10);

impl Run<'_> {
    /// The archives, until they are made or a node's disk is too full for its snapshot to stay. Then the snapshots go at once, that of
    /// the node in trouble first: the undo looks after the rest.
    pub(super) async fn archive_watched(&self, planned: &PlannedPhase) -> Result<(), Halt> {
        self.share_lock().await;
        let mut archiving = Box::pin(self.side_by_side(planned));
        let (node, error) = tokio::select! {
            biased;
            ended = &mut archiving => return ended,
            breach = self.watch_space() => breach,
        };
        self.fail("watch the free space", Some(&node), &error.into());
        self.failed.store(true, Ordering::Relaxed);
        tokio::select! {
            biased;
            _ = &mut archiving => {}
            () = self.o.clock.expire(ENDING) => {}
        }
        // One that a disk or a connection keeps from ending holds that connection, over which the snapshot is to be removed.
        drop(archiving);
        self.unpin(&node).await;
        Err(Halt::Failed)
    }

    /// The cluster runs again, and nothing more is stopped or replaced: backups of configuration need not wait for a night of archives.
    async fn share_lock(&self) {
        if let (Some(lock), Operation::ColdBackup) = (self.lock, self.prepared.plan.operation)
            && let Err(error) = lock.share().await
        {
            tracing::warn!(
                "backups of configuration wait for the end of this run: {}",
                chain(&error)
            );
        }
    }

    /// Ends when a node's free space is below the floor, and never otherwise.
    async fn watch_space(&self) -> (NodeName, NodeError) {
        let steps = self.prepared.plan.phase(Phase::Snapshotting);
        let pinned = steps.into_iter().flat_map(|planned| &planned.steps);
        let watches: Vec<_> = pinned
            .filter_map(|step| match step {
                Step::Snapshot { node, datasets } if datasets.contains(&Dataset::Data) => Some(node),
                _ => None,
            })
            .map(|node| Box::pin(self.watch_node(node)))
            .collect();
        match watches.is_empty() {
            true => pending().await,
            false => select_all(watches).await.0,
        }
    }

    /// Looks at one node's disks as long as it holds a snapshot. A node that cannot be looked at is not short of space for all that is
    /// known; whether it can be worked with, its archive tells.
    async fn watch_node(&self, node: &NodeName) -> (NodeName, NodeError) {
        let mut is_told = false;
        loop {
            self.o.clock.expire(BETWEEN_LOOKS).await;
            if self.unpinned().contains(node) {
                return pending().await;
            }
            let looked = match self.o.transport(node) {
                Ok(transport) => transport.space(&[Dataset::Data]).await,
                Err(error) => Err(error),
            };
            match looked {
                Ok(dirs) => {
                    is_told = false;
                    if let Some(error) = self.breach(node, &dirs) {
                        return (node.clone(), error);
                    }
                }
                Err(_) if is_told => {}
                Err(error) => {
                    is_told = true;
                    self.warn(format!(
                        "{node}: its free space is not watched while it is archived: {error}"
                    ));
                }
            }
        }
    }

    fn breach(&self, node: &NodeName, dirs: &[DirSpace]) -> Option<NodeError> {
        let floor = self.o.settings.node_free_floor;
        let short = |dir: &&DirSpace| dir.size > 0 && dir.free < floor.of(dir.size);
        let DirSpace { path, free, size } = dirs.iter().find(short)?;
        let message = format!(
            "{path} on {node} has {free} bytes ({}) free of {}, below the floor of {} bytes ({}): the backup ends, and its snapshots go, before Kafka has no room",
            human(*free),
            human(*size),
            floor.of(*size),
            human(floor.of(*size)),
        );
        let hint = format!(
            "make room there, or lower limits.node_free_floor (now {floor}): what Kafka deletes while archives are made stays on the disk until they are"
        );
        Some(NodeError::new(NodeErrorKind::NoSpace, message).hint(hint))
    }

    /// Removes the snapshot of a node whose archives are durable. Where that fails, it is tried again when the backup is committed, and
    /// told of then.
    pub(super) async fn unpin_archived(&self, step: &Step) {
        if self.step(step).await.is_err()
            && let Some(failure) = self.withdrawn(step)
        {
            tracing::warn!("{failure}");
        }
    }

    /// What a committed backup has still to sweep.
    pub(super) fn still_pinned(&self) -> PlannedPhase {
        let unpinned = self.unpinned();
        let is_left = |step: &&Step| {
            matches!(step, Step::Clean { .. }) && step.node().is_some_and(|node| !unpinned.contains(node))
        };
        PlannedPhase {
            phase: Phase::Cleaning,
            steps: self.prepared.plan.steps().filter(is_left).cloned().collect(),
        }
    }

    /// Removes the snapshots: of the node that has no room first, then of all others at once. What cannot be removed is told, and tried
    /// again by the undo.
    async fn unpin(&self, first: &NodeName) {
        let steps = self.prepared.plan.steps();
        let cleans: Vec<&Step> = steps.filter(|step| matches!(step, Step::Clean { .. })).collect();
        for step in cleans.iter().filter(|step| step.node() == Some(first)) {
            let _ = self.step(step).await;
        }
        let others = cleans.iter().filter(|step| step.node() != Some(first));
        join_all(others.map(|step| self.step(step))).await;
    }
}
