//! Rotation: deciding over the store's backups, and removing what has had its time.

use std::collections::BTreeSet;

use serde::Serialize;

use super::Orchestrator;
use crate::belonging::{Belonging, Identity, identity};
use crate::ids::{BackupId, ClusterId};
use crate::journal::Entry;
use crate::ports::store::{Listed, StoreError};
use crate::report::chain;
use crate::retention::{Candidate, Condition, Decision, Policies, decide, doubt};

/// What a rotation did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rotation {
    /// Every backup of the cluster, oldest first, and what becomes of it.
    pub decisions: Vec<Decision>,
    /// Those that are gone.
    pub removed: Vec<BackupId>,
    /// Those that should have gone, and why they have not.
    pub failed: Vec<(BackupId, String)>,
    /// Why nothing was removed, or would be, before a person has looked; nothing where there is no doubt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withheld: Option<String>,
}

/// How a rotation is to go about it.
#[derive(Debug, Clone, Default)]
pub struct RotationRequest {
    /// Another cluster id under the same name, whose backups are rotated instead of those of the cluster's own.
    pub cluster_id: Option<ClusterId>,
    /// A person has looked: no doubt withholds it.
    pub confirmed: bool,
    /// The backup that the run has just made.
    pub of_this_run: Option<BackupId>,
    /// What the run saw that makes this machine's time doubtful.
    pub doubt: Option<String>,
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
        if let Some(why) = &self.withheld {
            return format!(
                "withheld, nothing was removed: {why}; kbo rotate --dry-run shows what would go, kbo rotate --yes removes it"
            );
        }
        match (going.len(), self.removed.len(), self.failed.len()) {
            (0, ..) => format!("no backup has had its time, {stay}"),
            (going, 0, 0) => format!("{} would go, {stay}", backups(going)),
            (_, _, 0) => format!("{removed} removed, {stay}"),
            (_, _, failed) => format!("{removed} removed, {stay}, {failed} could not be removed"),
        }
    }
}

impl Orchestrator {
    /// Decides over every backup of this cluster, and touches none. Backups of other clusters in the store are none of our business, be
    /// it that they have another name or another cluster id.
    ///
    /// # Errors
    /// The store or its journals cannot be read.
    pub async fn plan_rotation(&self, policies: &Policies) -> Result<Rotation, StoreError> {
        self.plan_rotation_of(policies, &RotationRequest::default()).await
    }

    /// The same as a request wants it.
    ///
    /// # Errors
    /// As those of [`Orchestrator::plan_rotation`].
    pub async fn plan_rotation_of(
        &self,
        policies: &Policies,
        request: &RotationRequest,
    ) -> Result<Rotation, StoreError> {
        let used = self.used_by_open_runs().await?;
        let listed = self.store.list().await?;
        let mut identity = self.identity(&listed).await?;
        let is_own = request.cluster_id.is_none() || request.cluster_id == identity.id;
        if let Some(other) = &request.cluster_id {
            identity.id = Some(other.clone());
        }
        let mut candidates = vec![];
        for listed in listed {
            let condition = condition(&listed);
            let created = match &listed.manifest {
                Ok(manifest) if identity.of(manifest) != Belonging::Own => continue,
                // One without an id belongs to the name, not to any id that somebody asks for.
                Ok(manifest) if !is_own && manifest.cluster_id.is_none() => continue,
                Ok(manifest) => Some(manifest.created),
                Err(_) => None,
            };
            candidates.push(Candidate {
                created,
                pinned: listed.pinned,
                condition,
                in_use: used.contains(&listed.id),
                id: listed.id,
                kind: listed.kind,
            });
        }
        let now = self.clock.now();
        let decisions = decide(now, policies, &candidates);
        let goes = decisions.iter().any(|decision| !decision.keep);
        let doubt = || match is_own {
            true => doubt(now, policies, &candidates, &decisions, request.of_this_run.as_ref()),
            // An id that is no more in use gets no further backups: that most of them go is what was asked for.
            false => None,
        };
        let withheld = match goes && !request.confirmed {
            true => request.doubt.clone().or_else(doubt),
            false => None,
        };
        Ok(Rotation {
            decisions,
            removed: vec![],
            failed: vec![],
            withheld,
        })
    }

    /// Removes what has had its time. The caller holds the lock. One that cannot be removed does not keep the others.
    ///
    /// # Errors
    /// As those of [`Orchestrator::plan_rotation`].
    pub async fn rotate(&self, policies: &Policies, request: &RotationRequest) -> Result<Rotation, StoreError> {
        let mut rotation = self.plan_rotation_of(policies, request).await?;
        if rotation.withheld.is_some() {
            return Ok(rotation);
        }
        for decision in rotation.decisions.iter_mut().filter(|decision| !decision.keep) {
            match self.store.remove(&decision.id).await {
                // Where it is gone, a run beside this one has rotated it just now.
                Ok(()) | Err(StoreError::NoSuchBackup(_)) => rotation.removed.push(decision.id.clone()),
                Err(StoreError::InUse(_)) => {
                    decision.keep = true;
                    decision.reasons = vec!["it is being read: the next rotation looks again".to_owned()];
                }
                Err(error) => rotation.failed.push((decision.id.clone(), chain(&error))),
            }
        }
        Ok(rotation)
    }

    /// The identity by which this cluster's backups are chosen among `listed`.
    ///
    /// # Errors
    /// The store's note of it cannot be read.
    pub async fn identity(&self, listed: &[Listed]) -> Result<Identity, StoreError> {
        identity(self.store.as_ref(), &self.name, self.cluster_id.as_ref(), listed).await
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

/// How much of a backup there is.
pub fn condition(listed: &Listed) -> Condition {
    let Ok(manifest) = &listed.manifest else {
        return Condition::Incomplete;
    };
    match listed.missing {
        Some(_) => Condition::Incomplete,
        None if !manifest.source_damage().is_empty() => Condition::Damaged,
        None if manifest.is_unclean() => Condition::Unclean,
        None => Condition::Good,
    }
}
