//! A run in progress: what it holds, what its steps bring in, and how it tells of failures.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::gated::Gate;
use super::others::Ran;
use super::{Orchestrator, Prepared};
use crate::ids::{NodeName, RunId};
use crate::inventory::Node;
use crate::journal::Entry;
use crate::kept::Kept;
use crate::machine::Operation;
use crate::manifest::{ArchiveRecord, Window};
use crate::plan::Step;
use crate::ports::journal::Journal;
use crate::ports::monitor::MonitorEvent;
use crate::ports::node::{
    Claim, CleanStopProof, ContainerNow, ContainerState, NodeError, NodeErrorKind, SnapshotReport,
};
use crate::ports::store::{BackupWriter, StoreError, StoreLock};
use crate::ports::stream::StreamError;
use crate::report::{Failure, PhaseTime, chain};

#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Said(String),
    #[error("{0}")]
    Interrupted(String),
}

impl StepError {
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            StepError::Node(error) => error.hint.clone(),
            StepError::Store(StoreError::Unresponsive { .. }) => Some(
                "this run's end could not be recorded; see to the store's disk (findmnt, dmesg, fsfreeze --unfreeze), then run `kbo recover`"
                    .to_owned(),
            ),
            StepError::Store(error) if is_full(error) => Some("make room in the store (storage.cold)".to_owned()),
            _ => None,
        }
    }

    pub(super) fn is_interruption(&self) -> bool {
        match self {
            StepError::Node(error) => error.kind == NodeErrorKind::Interrupted,
            StepError::Interrupted(_) => true,
            _ => false,
        }
    }
}

fn is_full(error: &StoreError) -> bool {
    match error {
        StoreError::NoSpace { .. } => true,
        StoreError::Io { source, .. } | StoreError::Stream(StreamError::Io { source, .. }) => {
            source.kind() == std::io::ErrorKind::StorageFull
        }
        _ => false,
    }
}

/// What the steps of a run bring in.
#[derive(Default)]
pub(super) struct Harvest {
    pub(super) proofs: BTreeMap<NodeName, CleanStopProof>,
    pub(super) snapshots: BTreeMap<NodeName, SnapshotReport>,
    pub(super) archives: Vec<ArchiveRecord>,
    pub(super) damage: Vec<String>,
    pub(super) caveats: Vec<String>,
    pub(super) warnings: Vec<String>,
    pub(super) attention: Vec<String>,
    pub(super) failures: Vec<Failure>,
    pub(super) window: Option<Window>,
    pub(super) entries: Vec<Entry>,
    pub(super) phases: Vec<PhaseTime>,
    pub(super) first_stop: Option<(Timestamp, Duration)>,
    pub(super) interrupted: bool,
    pub(super) committed: bool,
    /// Nodes that have undone their part of the run alone while it went on.
    pub(super) lost: bool,
    /// What nodes keep after the run of what it, or earlier ones, replaced.
    pub(super) kept: Vec<Kept>,
    /// What earlier runs had replaced and this one has removed.
    pub(super) discarded: Vec<Kept>,
    /// Nodes that could not be told that the run is kept, and why.
    pub(super) unforgotten: BTreeMap<NodeName, NodeError>,
}

/// A run in progress.
pub(super) struct Run<'a> {
    pub(super) o: &'a Orchestrator,
    pub(super) prepared: Prepared,
    pub(super) journal: Box<dyn Journal>,
    /// The store's lock, where it is to be shared once the run only makes archives.
    pub(super) lock: Option<&'a dyn StoreLock>,
    pub(super) harvest: Mutex<Harvest>,
    /// Raised by the first failure among steps side by side, so that the others' streams end early.
    pub(super) failed: Arc<AtomicBool>,
    pub(super) undoing: AtomicBool,
    /// Whether the journal has failed during the undo, and has been told of.
    unwritten: AtomicBool,
    /// What it says to the nodes of itself.
    pub(super) claimed: OnceLock<Claim>,
    /// The backup being written.
    pub(super) writer: Option<Arc<dyn BackupWriter>>,
    /// When the run began, by the wall clock and by one that no hand can turn.
    pub(super) begun: (Timestamp, Duration),
    /// Nodes at which a step failed for a reason that time may mend.
    silent: Mutex<BTreeSet<NodeName>>,
    /// Nodes that the undo goes on without for now.
    away: Mutex<BTreeSet<NodeName>>,
    /// Nodes that hold nothing of the run any more.
    unpinned: Mutex<BTreeSet<NodeName>>,
    /// The containers as this run last knew them.
    seen: Mutex<BTreeMap<NodeName, ContainerNow>>,
    /// Nodes that somebody else has stopped: they stay down.
    left_alone: Mutex<BTreeSet<NodeName>>,
    pub(super) ran: Ran,
}

/// Why a run goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Halt {
    /// A step failed.
    Failed,
    /// The operator asked for the end.
    Interrupted,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        o: &'a Orchestrator,
        prepared: Prepared,
        journal: Box<dyn Journal>,
        entries: Vec<Entry>,
        writer: Option<Arc<dyn BackupWriter>>,
    ) -> Self {
        let seen = prepared.facts.iter().filter_map(|(name, facts)| {
            let container = facts.as_ref().ok()?.container.as_ref().ok()?;
            let now = match container {
                Some(container) => ContainerNow {
                    state: container.state,
                    // Without it nothing is known to compare with later.
                    incarnation: Some(container.incarnation.clone()?),
                },
                None => ContainerNow {
                    state: ContainerState::Missing,
                    incarnation: None,
                },
            };
            Some((name.clone(), now))
        });
        let seen = Mutex::new(seen.collect());
        let harvest = Mutex::new(Harvest {
            entries,
            ..Harvest::default()
        });
        Self {
            o,
            prepared,
            journal,
            lock: None,
            harvest,
            failed: Arc::new(AtomicBool::new(false)),
            undoing: AtomicBool::new(false),
            unwritten: AtomicBool::new(false),
            claimed: OnceLock::new(),
            writer,
            begun: (o.clock.now(), o.clock.monotonic()),
            silent: Mutex::default(),
            away: Mutex::default(),
            unpinned: Mutex::default(),
            seen,
            left_alone: Mutex::default(),
            ran: Ran::default(),
        }
    }

    /// The containers as this run last knew them.
    pub(super) fn seen(&self) -> MutexGuard<'_, BTreeMap<NodeName, ContainerNow>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nodes that somebody else has stopped: they stay down.
    pub(super) fn left_alone(&self) -> MutexGuard<'_, BTreeSet<NodeName>> {
        self.left_alone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn silent(&self) -> MutexGuard<'_, BTreeSet<NodeName>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn away(&self) -> MutexGuard<'_, BTreeSet<NodeName>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn unpinned(&self) -> MutexGuard<'_, BTreeSet<NodeName>> {
        self.unpinned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn harvest(&self) -> MutexGuard<'_, Harvest> {
        // A panic elsewhere does not make what was gathered so far untrue.
        self.harvest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_restore(&self) -> bool {
        self.prepared.plan.operation == Operation::Restore
    }

    pub(super) fn id(&self) -> &RunId {
        &self.prepared.plan.run
    }

    pub(super) fn is_undoing(&self) -> bool {
        self.undoing.load(Ordering::Relaxed)
    }

    /// The nodes that are up when everything has gone well, but for those that the undo goes on without.
    pub(super) fn up(&self) -> Vec<&'a Node> {
        let away = self.away().clone();
        let mut up = self.up_with_away();
        up.retain(|node| !away.contains(&node.name));
        up
    }

    /// The nodes that are up when everything has gone well, but for those that somebody else has stopped.
    pub(super) fn up_with_away(&self) -> Vec<&'a Node> {
        let starts = |name: &NodeName| {
            self.prepared
                .plan
                .steps()
                .any(|step| matches!(step, Step::Start { node } if node == name))
        };
        let left_alone = self.left_alone().clone();
        let was_up = |name: &NodeName| self.prepared.prior.get(name).is_some_and(|state| state.is_up());
        self.o
            .cluster
            .start_order()
            .iter()
            .filter(|node| was_up(&node.name) || starts(&node.name))
            .filter(|node| !left_alone.contains(&node.name))
            .collect()
    }

    pub(super) fn gate(&self) -> Gate {
        Gate::new(self.o.cancel.clone(), Arc::clone(&self.failed))
    }

    pub(super) fn writer(&self) -> Result<&dyn BackupWriter, StepError> {
        self.writer
            .as_deref()
            .ok_or_else(|| StepError::Said("the plan makes no backup".to_owned()))
    }

    pub(super) async fn journal(&self, entry: Entry) -> Result<(), StoreError> {
        // An intent counts even where it could not be written; that the run is past its point of return only where it could.
        if !matches!(entry, Entry::Kept { .. }) {
            self.harvest().entries.push(entry.clone());
        }
        if let Err(error) = self.journal.append(&entry).await {
            // The undo follows from what the journal already holds, and each of its steps may be repeated: better undone without a
            // record than not undone.
            if !self.is_undoing() {
                return Err(error);
            }
            if !self.unwritten.swap(true, Ordering::Relaxed) {
                self.warn(format!("the journal cannot be written: {}", chain(&error)));
            }
        }
        if matches!(entry, Entry::Kept { .. }) {
            self.harvest().entries.push(entry);
        }
        Ok(())
    }

    pub(super) fn fail(&self, step: &str, node: Option<&NodeName>, error: &StepError) {
        if matches!(error, StepError::Node(error) if error.kind == NodeErrorKind::LeaseLost) {
            self.harvest().lost = true;
        }
        let failure = Failure {
            step: step.to_owned(),
            node: node.cloned(),
            message: chain(error),
            hint: error.hint(),
        };
        if let (Some(node), StepError::Node(error)) = (node, error)
            && error.kind.may_pass()
        {
            self.silent().insert(node.clone());
        }
        self.harvest().failures.push(failure);
    }

    pub(super) fn warn(&self, text: String) {
        self.o.monitor.event(MonitorEvent::Warning(text.clone()));
        self.harvest().warnings.push(text);
    }

    /// The run goes on, and ends with something to look at.
    pub(super) fn attend(&self, text: String) {
        self.o.monitor.event(MonitorEvent::Warning(text.clone()));
        self.harvest().attention.push(text);
    }

    /// Takes back what a step has just failed with, for it is no failure of the run. Others may have failed meanwhile.
    pub(super) fn withdrawn(&self, step: &Step) -> Option<Failure> {
        let text = step.to_string();
        let failures = &mut self.harvest().failures;
        let at = failures
            .iter()
            .rposition(|failure| failure.node.as_ref() == step.node() && failure.step == text)?;
        Some(failures.remove(at))
    }

    pub(super) fn close_window(&self) {
        let mut harvest = self.harvest();
        if let Some((from, since)) = harvest.first_stop {
            let seconds = self.o.clock.monotonic().saturating_sub(since).as_secs_f64();
            harvest.window = Some(Window {
                from,
                to: self.o.clock.now(),
                seconds,
            });
        }
    }
}
