//! Finishing what a dead run left undone.

use std::collections::BTreeMap;

use super::execute::HURRIED_UNDO;
use super::run::Run;
use super::{LeftOnNode, Orchestrator, Prepared};
use crate::ids::RunId;
use crate::inventory::Dataset;
use crate::journal::Entry;
use crate::machine::{Event, Operation, Phase};
use crate::plan::{Prior, Step};
use crate::ports::monitor::MonitorEvent;
use crate::ports::node::{CleanRequest, FactsRequest, NodeError};
use crate::ports::store::StoreError;
use crate::preflight::Degraded;
use crate::report::Report;

/// What a recovery did.
#[derive(Debug)]
pub struct Recovered {
    /// The runs undone, oldest first.
    pub runs: Vec<Report>,
    /// Work folders removed that no journal knew of.
    pub swept: Vec<RunId>,
    /// What runs without a journal in this store had left to undo on nodes.
    pub undone: Vec<LeftOnNode>,
    /// Nodes that could not be swept, and why.
    pub unswept: Vec<(crate::ids::NodeName, NodeError)>,
}

impl Orchestrator {
    /// Undoes every run of this cluster whose journal a dead process left open, then sweeps what lies about. The caller holds the lock, or
    /// the place beside it: then the run that makes archives is alive, and is left alone with all that is its own.
    ///
    /// # Errors
    /// The journals cannot be read.
    pub async fn recover(&self) -> Result<Recovered, StoreError> {
        let mut runs = vec![];
        // What a run that cannot be undone yet has put aside may be its cluster's only good data.
        // A living run's folders hold what it archives.
        let mut kept = vec![];
        for journal in self.store.open_journals(&self.name).await? {
            if journal.is_alive() {
                kept.push(journal.run().clone());
                continue;
            }
            let entries = journal.entries().await?;
            let begin = entries.iter().find_map(|entry| match entry {
                Entry::Begin { plan, prior, .. } => Some((plan.clone(), prior.clone())),
                _ => None,
            });
            let Some((plan, prior)) = begin else {
                // Died before its first entry was durable: it had touched nothing.
                journal.close().await?;
                continue;
            };
            self.monitor.event(MonitorEvent::Phase(Phase::Undoing));
            let prepared = Prepared {
                plan,
                findings: vec![],
                facts: BTreeMap::new(),
                looked_at: self.clock.now(),
                prior,
                partitions: None,
                degraded: Degraded::default(),
                source: None,
                containers: BTreeMap::new(),
                comparisons: BTreeMap::new(),
                formatting: BTreeMap::new(),
            };
            let swapped = entries.iter().any(|entry| {
                matches!(
                    entry,
                    Entry::Intent {
                        step: Step::Swap { .. },
                        ..
                    }
                )
            });
            let run = Run::new(self, prepared, journal, entries, None);
            // First of all, for then no node undoes anything more by itself.
            run.claim_for_undo().await;
            let nothing_left = swapped && self.holds_nothing_of(run.id()).await;
            run.take_over(nothing_left).await;
            let end = match run.unless_hurried(run.undo(), HURRIED_UNDO).await {
                Event::UndoDone => Phase::RolledBack,
                _ => Phase::Stuck,
            };
            if end == Phase::Stuck {
                kept.push(run.id().clone());
            }
            runs.push(run.finish(end).await);
        }
        let undone = self.settle().await;
        let (swept, unswept) = self.sweep(&kept).await;
        self.store.sweep().await?;
        Ok(Recovered {
            runs,
            undone,
            swept,
            unswept,
        })
    }

    /// Whether every node answers and none has a work folder of the run: then the nodes have undone it alone, and a cluster that
    /// runs need not be stopped once more.
    pub(super) async fn holds_nothing_of(&self, run: &RunId) -> bool {
        let looking = self.on_all(|_, transport| async move {
            let request = FactsRequest {
                datasets: vec![Dataset::Config, Dataset::Data],
            };
            transport.facts(&request).await
        });
        // The cluster waits for the answer: a node that does not give it in time may hold something.
        let facts = tokio::select! {
            biased;
            facts = looking => facts,
            () = self.clock.expire(self.settings.node_timeout) => return false,
        };
        facts.iter().all(|(_, facts)| match facts {
            Ok(facts) => facts
                .dirs
                .iter()
                .all(|dir| dir.error.is_none() && !dir.orphans.contains(run)),
            Err(_) => false,
        })
    }

    /// Whether a dead run left a journal behind.
    ///
    /// # Errors
    /// The journals cannot be read.
    pub async fn needs_recovery(&self) -> Result<bool, StoreError> {
        let open = self.store.open_journals(&self.name).await?;
        Ok(open.iter().any(|journal| !journal.is_alive()))
    }

    /// Whether a restore is among the runs that have not ended.
    ///
    /// # Errors
    /// The journals cannot be read.
    pub async fn is_half_restored(&self) -> Result<bool, StoreError> {
        for journal in self.store.open_journals(&self.name).await? {
            let entries = journal.entries().await?;
            let restores =
                |entry: &Entry| matches!(entry, Entry::Begin { plan, .. } if plan.operation == Operation::Restore);
            if entries.iter().any(restores) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes every run's work folder from every node, but those of `keep`.
    async fn sweep(&self, keep: &[RunId]) -> (Vec<RunId>, Vec<(crate::ids::NodeName, NodeError)>) {
        let results = self
            .on_all(|_, transport| {
                let request = CleanRequest::Orphans { keep: keep.to_vec() };
                async move { transport.clean(&request).await }
            })
            .await;
        let mut swept: Vec<RunId> = vec![];
        let mut unswept = vec![];
        for (name, result) in results {
            match result {
                Ok(report) => swept.extend(report.removed),
                Err(error) => unswept.push((name, error)),
            }
        }
        swept.sort();
        swept.dedup();
        (swept, unswept)
    }

    /// The containers' states now.
    pub async fn states(&self) -> (Prior, Vec<(crate::ids::NodeName, NodeError)>) {
        let mut states = Prior::new();
        let mut errors = vec![];
        for (name, state) in self.on_all(|_, transport| async move { transport.state().await }).await {
            match state {
                Ok(state) => drop(states.insert(name, state)),
                Err(error) => errors.push((name, error)),
            }
        }
        (states, errors)
    }
}
