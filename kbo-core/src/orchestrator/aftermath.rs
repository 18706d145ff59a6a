//! What follows a run that has done its work: old backups go, and low space is told of. Neither makes the run worse.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::run::Run;
use super::{Rotation, RotationRequest};
use crate::ids::NodeName;
use crate::inventory::Dataset;
use crate::machine::{Operation, Phase};
use crate::plan::Step;
use crate::ports::node::{DirFacts, FactsRequest};
use crate::ports::store::Space;
use crate::preflight::CLOCK_SKEW;
use crate::report::chain;
use crate::text::{human, some_of};

impl Run<'_> {
    /// Rotates after a committed backup whose data were sound, and after nothing else: a month of bad nights must not take the
    /// good ones away. The run has ended by now, so that its journal keeps nothing.
    pub(super) async fn rotate(&self, phase: Phase) -> Option<Rotation> {
        let policies = self.o.settings.retention.as_ref()?;
        let is_good = {
            let harvest = self.harvest();
            phase == Phase::Done && harvest.committed && harvest.damage.is_empty()
        };
        if !is_good {
            return None;
        }
        let request = RotationRequest {
            of_this_run: self.prepared.plan.backup.as_ref().map(|(id, _)| id.clone()),
            doubt: self.doubtful_clock(),
            ..RotationRequest::default()
        };
        let rotation = match self.o.rotate(policies, &request).await {
            Ok(rotation) => rotation,
            Err(error) => {
                self.warn(format!("nothing was rotated: {}", chain(&error)));
                return None;
            }
        };
        for decision in &rotation.decisions {
            let verdict = if decision.keep { "stays" } else { "goes" };
            tracing::info!("rotation: {} {verdict}: {}", decision.id, decision.reasons.join(", "));
        }
        if rotation.withheld.is_some() {
            self.attend(format!("rotation {}", rotation.summary()));
        }
        for (id, why) in &rotation.failed {
            self.warn(format!("{id} has had its time, and cannot be removed: {why}"));
        }
        Some(rotation)
    }

    /// Notes the cluster id of a first backup, and the one that kbo.toml names, so that a changed one is known as such. What cannot be
    /// noted costs nothing but that.
    pub(super) async fn note_cluster_id(&self) {
        let Some(id) = self.seen_cluster_id().filter(|_| self.harvest().committed) else {
            return;
        };
        let store = &self.o.store;
        let noted = match store.adopted_id(&self.o.name).await {
            Ok(None) => store.adopt(&self.o.name, &id).await,
            Ok(Some(known)) if known != id && self.o.cluster_id.as_ref() == Some(&id) => {
                store.adopt(&self.o.name, &id).await
            }
            Ok(Some(_)) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = noted {
            tracing::warn!("the cluster id cannot be noted in the store: {}", chain(&error));
        }
    }

    /// Ages are told by this machine's time: why it may be wrong, going by the nodes and by the time that the run has taken.
    fn doubtful_clock(&self) -> Option<String> {
        let elsewhere: Vec<String> = self
            .prepared
            .facts
            .iter()
            .filter_map(|(name, facts)| Some((name, facts.as_ref().ok()?)))
            .map(|(name, facts)| (name, facts.clock.duration_since(self.prepared.looked_at)))
            .filter(|(_, ahead)| ahead.abs() > CLOCK_SKEW)
            .map(|(name, ahead)| {
                let way = if ahead.is_positive() { "ahead" } else { "behind" };
                format!("{name} is {} s {way}", ahead.abs().as_secs())
            })
            .collect();
        if !elsewhere.is_empty() {
            return Some(format!(
                "the clocks of nodes disagree with this machine's: {}",
                some_of(&elsewhere)
            ));
        }
        let (wall, monotonic) = self.begun;
        let by_wall = self.o.clock.now().duration_since(wall);
        let by_monotonic = SignedDuration::try_from(self.o.clock.monotonic().saturating_sub(monotonic)).ok()?;
        let jump = (by_wall - by_monotonic).abs();
        (jump > CLOCK_SKEW).then(|| {
            format!(
                "this machine's clock has jumped by {} s while the run was under way",
                jump.as_secs()
            )
        })
    }

    /// Low space is told after a run as before it: the run itself may have made it low.
    pub(super) async fn warn_of_space_in_the_store(&self) {
        let operation = self.prepared.plan.operation;
        if !operation.makes_backup() && operation != Operation::Restore {
            return;
        }
        match self.o.store.space().await {
            Ok(space) => self.warn_if_low("the store", space, "kbo rotate, or make room"),
            Err(error) => tracing::warn!("the store's space cannot be told: {}", chain(&error)),
        }
    }

    /// The nodes whose data a restore has replaced, and may have kept beside them. Asked before the nodes are let go.
    pub(super) async fn warn_of_space_on_nodes(&self, phase: Phase) {
        if phase != Phase::Done || self.prepared.plan.operation != Operation::Restore {
            return;
        }
        let looks = self.o.on_all(|node, transport| {
            let datasets = self.swapped_datasets(&node.name);
            async move {
                match datasets.is_empty() {
                    true => Ok(vec![]),
                    false => Ok(transport.facts(&FactsRequest { datasets }).await?.dirs),
                }
            }
        });
        for (name, dirs) in looks.await {
            match dirs {
                Ok(dirs) => self.warn_of_space_on(&name, &dirs),
                Err(error) => tracing::warn!("{name}: its space cannot be told: {error}"),
            }
        }
    }

    pub(super) fn swapped_datasets(&self, name: &NodeName) -> Vec<Dataset> {
        let of_node = |step: &Step| match step {
            Step::Swap { node, datasets, .. } if node == name => Some(datasets.clone()),
            _ => None,
        };
        self.prepared.plan.steps().filter_map(of_node).flatten().collect()
    }

    fn warn_of_space_on(&self, name: &NodeName, dirs: &[DirFacts]) {
        let mut seen = BTreeSet::new();
        // One word for each filesystem; none for a directory that could not be looked at.
        let known = |dir: &&DirFacts| dir.error.is_none() && dir.size > 0;
        for dir in dirs.iter().filter(known).filter(|dir| seen.insert(dir.device)) {
            let (free, size) = (dir.free, dir.size);
            self.warn_if_low(
                &format!("{name}: {}", dir.path),
                Space { free, size },
                "make room there",
            );
        }
    }

    fn warn_if_low(&self, place: &str, space: Space, remedy: &str) {
        let percent = self.o.settings.warn_free_percent;
        if u128::from(space.free) * 100 < u128::from(space.size) * u128::from(percent) {
            let (free, size) = (human(space.free), human(space.size));
            self.warn(format!(
                "{place}: {free} free of {size}, less than {percent} % ({remedy})"
            ));
        }
    }
}
