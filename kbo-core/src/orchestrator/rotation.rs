//! Rotation: deciding over the store's backups, and removing what has had its time.

use std::collections::BTreeSet;

use serde::Serialize;

use super::Orchestrator;
use crate::ids::BackupId;
use crate::journal::Entry;
use crate::ports::store::{Listed, StoreError};
use crate::report::chain;
use crate::retention::{Candidate, Condition, Decision, Policies, decide};

/// What a rotation did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rotation {
    /// Every backup of the cluster, oldest first, and what becomes of it.
    pub decisions: Vec<Decision>,
    /// Those that are gone.
    pub removed: Vec<BackupId>,
    /// Those that should have gone, and why they have not.
    pub failed: Vec<(BackupId, String)>,
}

impl Rotation {
    /// One line for a person.
    pub fn summary(&self) -> String {
        let kept = self.decisions.iter().filter(|decision| decision.keep).count();
        let going: Vec<&str> = self
            .decisions
            .iter()
            .filter(|decision| !decision.keep)
            .map(|decision| decision.id.as_str())
            .collect();
        let stay = match kept {
            1 => "1 stays".to_owned(),
            more => format!("{more} stay"),
        };
        let backups = |count: usize| match count {
            1 => "1 backup".to_owned(),
            more => format!("{more} backups"),
        };
        let removed = backups(self.removed.len());
        match (going.len(), self.removed.len(), self.failed.len()) {
            (0, ..) => format!("no backup has had its time, {stay}"),
            (going, 0, 0) => format!("{} would go, {stay}", backups(going)),
            (_, _, 0) => format!("{removed} removed, {stay}"),
            (_, _, failed) => format!("{removed} removed, {stay}, {failed} could not be removed"),
        }
    }
}

impl Orchestrator {
    /// Decides over every backup of this cluster, and touches none. Backups of other clusters in the store are none of our business.
    ///
    /// # Errors
    /// The store or its journals cannot be read.
    pub async fn plan_rotation(&self, policies: &Policies) -> Result<Rotation, StoreError> {
        let used = self.used_by_open_runs().await?;
        let mut candidates = vec![];
        for listed in self.store.list().await? {
            let manifest = listed.manifest.as_ref().ok();
            if manifest.is_some_and(|manifest| manifest.cluster != self.name) {
                continue;
            }
            candidates.push(Candidate {
                created: manifest.map(|manifest| manifest.created),
                pinned: listed.pinned,
                condition: condition(&listed),
                in_use: used.contains(&listed.id),
                id: listed.id,
                kind: listed.kind,
            });
        }
        Ok(Rotation {
            decisions: decide(self.clock.now(), policies, &candidates),
            removed: vec![],
            failed: vec![],
        })
    }

    /// Removes what has had its time. The caller holds the lock. One that cannot be removed does not keep the others.
    ///
    /// # Errors
    /// As those of [`Orchestrator::plan_rotation`].
    pub async fn rotate(&self, policies: &Policies) -> Result<Rotation, StoreError> {
        let mut rotation = self.plan_rotation(policies).await?;
        for decision in rotation.decisions.iter_mut().filter(|decision| !decision.keep) {
            match self.store.remove(&decision.id).await {
                Ok(()) => rotation.removed.push(decision.id.clone()),
                Err(StoreError::InUse(_)) => {
                    decision.keep = true;
                    decision.reasons = vec!["it is being read: the next rotation looks again".to_owned()];
                }
                Err(error) => rotation.failed.push((decision.id.clone(), chain(&error))),
            }
        }
        Ok(rotation)
    }

    /// Backups that runs make or restore which have not ended.
    async fn used_by_open_runs(&self) -> Result<BTreeSet<BackupId>, StoreError> {
        let mut used = BTreeSet::new();
        for journal in self.store.open_journals(&self.name).await? {
            used.extend(journal.entries().await?.into_iter().filter_map(|entry| match entry {
                Entry::Begin { plan, .. } => plan.backup.map(|(id, _)| id),
                _ => None,
            }));
        }
        Ok(used)
    }
}

/// How much of a backup there is. Kafka recovers what it had not closed, and nobody can tell what that leaves out.
pub fn condition(listed: &Listed) -> Condition {
    let Ok(manifest) = &listed.manifest else {
        return Condition::Incomplete;
    };
    // A node that was not whole before takes nothing from the others' data: such a backup was asked for.
    let nodes = manifest.nodes.iter().filter(|node| !node.degraded);
    let mut proofs = nodes.filter_map(|node| node.clean_stop.as_ref());
    match listed.missing {
        Some(_) => Condition::Incomplete,
        None if proofs.any(|proof| !proof.clean) => Condition::Unclean,
        None => Condition::Good,
    }
}
