//! Executing a plan: phase by phase through the state machine, each step journalled before and after, undone where it fails.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;
use jiff::Timestamp;
use tokio::sync::OnceCell;

use super::{Orchestrator, Prepared};
use crate::cancel::Urgency;
use crate::ids::{NodeName, RunId};
use crate::inventory::Node;
use crate::journal::Entry;
use crate::machine::{Event, Operation, Phase, next};
use crate::manifest::{ArchiveRecord, Window};
use crate::plan::{PlannedPhase, Step};
use crate::ports::journal::Journal;
use crate::ports::monitor::MonitorEvent;
use crate::ports::node::{CleanRequest, CleanStopProof, NodeError, NodeErrorKind, NodeTransport, SnapshotReport};
use crate::ports::store::{BackupWriter, StoreError};
use crate::ports::stream::StreamError;
use crate::preflight::refuses;
use crate::report::{Failure, NodeReport, Outcome, PhaseTime, Report, chain};
use crate::undo::undo_steps;

/// Why a step failed.
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
    fn hint(&self) -> Option<String> {
        match self {
            StepError::Node(error) => error.hint.clone(),
            StepError::Store(error) if is_full(error) => {
                Some("make room in the store (storage.cold), or lower the retention".to_owned())
            }
            _ => None,
        }
    }

    fn is_interruption(&self) -> bool {
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
    pub(super) failures: Vec<Failure>,
    pub(super) window: Option<Window>,
    entries: Vec<Entry>,
    phases: Vec<PhaseTime>,
    first_stop: Option<(Timestamp, Duration)>,
    interrupted: bool,
    pub(super) committed: bool,
}

/// A run in progress.
pub(super) struct Run<'a> {
    pub(super) o: &'a Orchestrator,
    pub(super) prepared: Prepared,
    journal: Box<dyn Journal>,
    harvest: Mutex<Harvest>,
    /// Raised by the first failure among steps side by side, so that the others' streams end early.
    failed: Arc<AtomicBool>,
    undoing: AtomicBool,
    /// Whether the journal has failed during the undo, and has been told of.
    unwritten: AtomicBool,
    /// The backup being written, from its first archive on.
    writer: OnceCell<Arc<dyn BackupWriter>>,
}

impl Orchestrator {
    /// Does what the plan says. The caller holds the store's lock.
    ///
    /// Never returns before the cluster is whole again, or the report says what is not.
    pub async fn execute(&self, prepared: Prepared) -> Report {
        if refuses(&prepared.findings) {
            return refused(prepared);
        }
        if self.cancel.is_asked() {
            return unstarted(
                prepared,
                Outcome::Interrupted,
                "interrupted before anything was touched",
                None,
            );
        }
        let journal = match self.store.begin_journal(&self.name, &prepared.plan.run).await {
            Ok(journal) => journal,
            Err(error) => {
                let failure = Failure {
                    step: "begin the journal".to_owned(),
                    node: None,
                    message: chain(&error),
                    hint: None,
                };
                return unstarted(
                    prepared,
                    Outcome::Failed,
                    "the journal cannot be written; nothing was touched",
                    Some(failure),
                );
            }
        };
        let run = Run::new(self, prepared, journal, vec![]);
        run.drive().await
    }

    /// A node's transport.
    pub(super) fn transport(&self, name: &NodeName) -> Result<Arc<dyn NodeTransport>, NodeError> {
        let missing = || NodeError::new(NodeErrorKind::State, format!("{name} has no transport"));
        self.nodes.get(name).cloned().ok_or_else(missing)
    }
}

impl<'a> Run<'a> {
    pub(super) fn new(o: &'a Orchestrator, prepared: Prepared, journal: Box<dyn Journal>, entries: Vec<Entry>) -> Self {
        let harvest = Mutex::new(Harvest {
            entries,
            ..Harvest::default()
        });
        Self {
            o,
            prepared,
            journal,
            harvest,
            failed: Arc::new(AtomicBool::new(false)),
            undoing: AtomicBool::new(false),
            unwritten: AtomicBool::new(false),
            writer: OnceCell::new(),
        }
    }

    pub(super) fn harvest(&self) -> MutexGuard<'_, Harvest> {
        // A panic elsewhere does not make what was gathered so far untrue.
        self.harvest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The run, from the first phase to its end.
    async fn drive(self) -> Report {
        let operation = self.prepared.plan.operation;
        let mut phase = self.advance(operation, Phase::Idle, Event::Begin);
        let begin = Entry::Begin {
            at: self.o.clock.now(),
            plan: self.prepared.plan.clone(),
            prior: self.prepared.prior.clone(),
        };
        let mut event = match self.journal(begin).await {
            Ok(()) => {
                self.sweep_orphans().await;
                Event::PhaseDone
            }
            Err(error) => {
                self.fail("begin the journal", None, &error.into());
                Event::StepFailed
            }
        };
        loop {
            phase = self.advance(operation, phase, event);
            event = match phase {
                Phase::Done | Phase::RolledBack | Phase::Refused | Phase::Stuck => break,
                Phase::Undoing => self.timed(phase, self.undo()).await,
                _ => self.timed(phase, self.phase(phase)).await,
            };
        }
        self.finish(phase).await
    }

    fn advance(&self, operation: Operation, phase: Phase, event: Event) -> Phase {
        match next(operation, phase, event) {
            Ok(phase) => phase,
            Err(illegal) => {
                // A fault in kbo: whatever it is, the way out that harms nobody is to undo, and from there to call a person.
                tracing::error!("{illegal}");
                self.harvest().failures.push(Failure {
                    step: "the state machine".to_owned(),
                    node: None,
                    message: illegal.to_string(),
                    hint: None,
                });
                if phase == Phase::Undoing {
                    Phase::Stuck
                } else {
                    Phase::Undoing
                }
            }
        }
    }

    async fn timed(&self, phase: Phase, work: impl Future<Output = Event>) -> Event {
        self.o.monitor.event(MonitorEvent::Phase(phase));
        let from = self.o.clock.monotonic();
        let event = work.await;
        let seconds = self.o.clock.monotonic().saturating_sub(from).as_secs_f64();
        self.harvest().phases.push(PhaseTime { phase, seconds });
        if phase == Phase::Starting && event == Event::PhaseDone {
            self.close_window();
        }
        event
    }

    /// All steps of a phase.
    async fn phase(&self, phase: Phase) -> Event {
        let Some(planned) = self.prepared.plan.phase(phase) else {
            return Event::PhaseDone;
        };
        let mut result = if planned.is_parallel() {
            self.side_by_side(planned).await
        } else {
            self.one_by_one(planned).await
        };
        if result.is_ok() && phase == Phase::Settling && self.is_restore() {
            result = self.keep().await;
        }
        match result {
            Ok(()) => Event::PhaseDone,
            Err(interrupted) if interrupted => Event::Interrupted,
            Err(_) => Event::StepFailed,
        }
    }

    /// `Err(true)` for an interruption, `Err(false)` for a failure.
    async fn one_by_one(&self, planned: &PlannedPhase) -> Result<(), bool> {
        for step in &planned.steps {
            self.unless_interrupted(planned.phase)?;
            self.step(step).await?;
        }
        self.unless_interrupted(planned.phase)
    }

    /// Nodes side by side, bounded; each node's steps in order.
    async fn side_by_side(&self, planned: &PlannedPhase) -> Result<(), bool> {
        let mut by_node: Vec<(Option<&NodeName>, Vec<&Step>)> = vec![];
        for step in &planned.steps {
            match by_node.iter_mut().find(|(node, _)| *node == step.node()) {
                Some((_, steps)) => steps.push(step),
                None => by_node.push((step.node(), vec![step])),
            }
        }
        let sequences = by_node.into_iter().map(|(_, steps)| async move {
            for step in steps {
                self.unless_interrupted(planned.phase)?;
                if self.failed.load(Ordering::Relaxed) {
                    return Ok(());
                }
                if planned.phase == Phase::Cleaning {
                    self.sweep_step(step).await;
                    continue;
                }
                let result = self.step(step).await;
                if result.is_err() {
                    self.failed.store(true, Ordering::Relaxed);
                    return result;
                }
            }
            Ok(())
        });
        let limit = self.o.settings.parallel_nodes.max(1);
        let results: Vec<Result<(), bool>> = stream::iter(sequences).buffer_unordered(limit).collect().await;
        // A failure weighs more than the interruption that it caused elsewhere.
        if results.contains(&Err(false)) {
            Err(false)
        } else {
            results.into_iter().collect()
        }
    }

    /// A committed backup is not given up for an interruption, nor is a restored cluster that serves clients again: what they
    /// have written since would be lost.
    fn unless_interrupted(&self, phase: Phase) -> Result<(), bool> {
        let is_past_return = match phase {
            Phase::Cleaning => true,
            Phase::Committing => self.harvest().committed,
            Phase::Settling => self.is_restore(),
            _ => false,
        };
        if self.o.cancel.is_asked() && !is_past_return {
            self.harvest().interrupted = true;
            return Err(true);
        }
        Ok(())
    }

    fn is_restore(&self) -> bool {
        self.prepared.plan.operation == Operation::Restore
    }

    pub(super) fn id(&self) -> &RunId {
        &self.prepared.plan.run
    }

    pub(super) fn is_undoing(&self) -> bool {
        self.undoing.load(Ordering::Relaxed)
    }

    /// The restored cluster serves: no node may take its part back alone any more, and the journal says so before anything of
    /// the old data is removed. The leases come first: a node that keeps one would become the odd one out.
    async fn keep(&self) -> Result<(), bool> {
        let forgone = join_all(self.o.nodes.iter().map(|(name, transport)| async move {
            let result = match transport.forgo().await {
                Ok(()) => Ok(()),
                Err(_) => transport.forgo().await,
            };
            (name, result)
        }));
        let mut whole = true;
        for (name, result) in forgone.await {
            if let Err(error) = result {
                self.fail("give the leases back", Some(name), &error.into());
                whole = false;
            }
        }
        if !whole {
            return Err(false);
        }
        let kept = self.journal(Entry::Kept { at: self.o.clock.now() }).await;
        kept.map_err(|error| {
            self.fail("keep the restored data", None, &error.into());
            false
        })
    }

    /// A step of the sweeping at the end: tried twice, and what is left then is a warning, for the next run sweeps it.
    async fn sweep_step(&self, step: &Step) {
        let mark = self.harvest().failures.len();
        if self.step(step).await.is_ok() || self.step(step).await.is_ok() {
            self.harvest().failures.truncate(mark);
            return;
        }
        let failures = self.harvest().failures.split_off(mark);
        if let Some(failure) = failures.last() {
            self.warn(failure.to_string());
        }
    }

    /// One step: intent, deed, outcome.
    async fn step(&self, step: &Step) -> Result<(), bool> {
        let text = step.to_string();
        let from = self.o.clock.monotonic();
        let intent = Entry::Intent {
            at: self.o.clock.now(),
            step: step.clone(),
        };
        // Sweeping may be repeated: better done without a record, as when the store is full, than not done. So is an undo; see
        // `journal`.
        let needs_record = !matches!(step, Step::Clean { .. });
        if let Err(error) = self.journal(intent).await {
            if needs_record {
                self.fail(&text, step.node(), &error.into());
                return Err(false);
            }
            tracing::warn!("the journal cannot be written: {}", chain(&error));
        }
        if matches!(step, Step::Stop { .. }) {
            let now = (self.o.clock.now(), from);
            self.harvest().first_stop.get_or_insert(now);
        }
        self.o.monitor.event(MonitorEvent::StepStarted { step: text.clone() });
        let result = self.perform(step).await;
        let seconds = self.o.clock.monotonic().saturating_sub(from).as_secs_f64();
        let error = result.as_ref().err().map(ToString::to_string);
        self.o.monitor.event(MonitorEvent::StepFinished {
            step: text.clone(),
            seconds,
            error: error.clone(),
        });
        let at = self.o.clock.now();
        match result {
            Ok(outcome) => {
                let done = self
                    .journal(Entry::Done {
                        at,
                        step: step.clone(),
                        outcome,
                    })
                    .await;
                match done {
                    // What is committed is committed, whether the journal can take it or not.
                    Err(error) if matches!(step, Step::Commit) => {
                        self.warn(format!("the journal cannot be written: {}", chain(&error)));
                        Ok(())
                    }
                    Err(error) if needs_record => {
                        self.fail(&text, step.node(), &error.into());
                        Err(false)
                    }
                    Err(_) | Ok(()) => Ok(()),
                }
            }
            Err(error) => {
                // The failure itself matters more than a journal that cannot take it.
                let entry = Entry::Failed {
                    at,
                    step: step.clone(),
                    error: chain(&error),
                };
                if let Err(unwritten) = self.journal(entry).await {
                    tracing::warn!("the journal cannot be written: {}", chain(&unwritten));
                }
                let interrupted = error.is_interruption() && self.o.cancel.is_asked();
                if interrupted {
                    self.harvest().interrupted = true;
                } else if !(error.is_interruption() && self.failed.load(Ordering::Relaxed)) {
                    self.fail(&text, step.node(), &error);
                }
                Err(interrupted)
            }
        }
    }

    async fn journal(&self, entry: Entry) -> Result<(), StoreError> {
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

    fn fail(&self, step: &str, node: Option<&NodeName>, error: &StepError) {
        let failure = Failure {
            step: step.to_owned(),
            node: node.cloned(),
            message: chain(error),
            hint: error.hint(),
        };
        self.harvest().failures.push(failure);
    }

    pub(super) fn warn(&self, text: String) {
        self.o.monitor.event(MonitorEvent::Warning(text.clone()));
        self.harvest().warnings.push(text);
    }

    /// Notes that this process undoes a dead one's run.
    pub(super) async fn take_over(&self, nothing_left: bool) {
        self.undoing.store(true, Ordering::Relaxed);
        let entry = Entry::TakenOver {
            at: self.o.clock.now(),
            nothing_left,
        };
        if let Err(error) = self.journal(entry).await {
            tracing::warn!("the journal cannot be written: {}", chain(&error));
        }
    }

    /// Undoes the run as its journal tells it.
    pub(super) async fn undo(&self) -> Event {
        self.undoing.store(true, Ordering::Relaxed);
        let steps = undo_steps(&self.harvest().entries, &self.o.cluster);
        if let Err(error) = self.journal(Entry::UndoStarted { at: self.o.clock.now() }).await {
            tracing::warn!("the journal cannot be written: {}", chain(&error));
        }
        let mut whole = true;
        let mut no_quorum = false;
        for step in &steps {
            if no_quorum && matches!(step, Step::Start { .. } | Step::AwaitBroker { .. }) {
                continue;
            }
            if self.undo_step(step).await.is_ok() {
                continue;
            }
            match step {
                // Leftovers: invisible, and swept by the next run.
                Step::Clean { .. } | Step::Abandon => {}
                // Asked twice to hurry, the operator gets the cluster started, not watched.
                Step::AwaitBroker { .. } if self.o.cancel.urgency() == Urgency::Hurry => {}
                // A cluster of old and restored nodes must not run.
                Step::SwapBack { .. } | Step::Stop { .. } => return Event::UndoFailed,
                Step::AwaitQuorum => {
                    // A controller that does not come up is for a person; the brokers run without it, if the others suffice.
                    whole = false;
                    no_quorum = !self.o.majority_now(&self.up()).await;
                }
                _ => whole = false,
            }
        }
        if self.harvest().first_stop.is_some() && self.harvest().window.is_none() {
            self.close_window();
        }
        if whole { Event::UndoDone } else { Event::UndoFailed }
    }

    /// A step of the undo: tried twice, for the connection may be what failed.
    async fn undo_step(&self, step: &Step) -> Result<(), ()> {
        let mark = self.harvest().failures.len();
        if self.step(step).await.is_ok() {
            return Ok(());
        }
        if matches!(step, Step::AwaitBroker { .. } | Step::AwaitQuorum) {
            return Err(());
        }
        if self.step(step).await.is_ok() {
            self.harvest().failures.truncate(mark);
            return Ok(());
        }
        Err(())
    }

    fn close_window(&self) {
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

    async fn sweep_orphans(&self) {
        if !self
            .prepared
            .plan
            .steps()
            .any(|step| matches!(step, Step::Clean { .. }))
        {
            return;
        }
        // A run that has not ended may have its cluster's only good data in its work folders.
        let keep: Vec<RunId> = match self.o.store.open_journals(&self.o.name).await {
            Ok(open) => {
                let open = open.iter().map(|journal| journal.run().clone());
                open.chain([self.prepared.plan.run.clone()]).collect()
            }
            Err(error) => {
                self.warn(format!(
                    "nothing is swept, for the journals cannot be read: {}",
                    chain(&error)
                ));
                return;
            }
        };
        for (name, facts) in &self.prepared.facts {
            let orphaned = facts
                .as_ref()
                .is_ok_and(|facts| facts.dirs.iter().any(|dir| !dir.orphans.is_empty()));
            let (true, Ok(transport)) = (orphaned, self.o.transport(name)) else {
                continue;
            };
            if let Err(error) = transport.clean(&CleanRequest::Orphans { keep: keep.clone() }).await {
                self.warn(format!("{name}: work folders of earlier runs cannot be swept: {error}"));
            }
        }
        if let Err(error) = self.o.store.sweep().await {
            self.warn(format!("unfinished backups cannot be swept: {}", chain(&error)));
        }
    }

    /// The nodes that are up when everything has gone well.
    pub(super) fn up(&self) -> Vec<&'a Node> {
        let starts = |name: &NodeName| {
            self.prepared
                .plan
                .steps()
                .any(|step| matches!(step, Step::Start { node } if node == name))
        };
        let was_up = |name: &NodeName| self.prepared.prior.get(name).is_some_and(|state| state.is_up());
        self.o
            .cluster
            .start_order()
            .iter()
            .filter(|node| was_up(&node.name) || starts(&node.name))
            .collect()
    }

    pub(super) fn gate(&self) -> Gate {
        Gate {
            cancel: self.o.cancel.clone(),
            failed: Arc::clone(&self.failed),
        }
    }

    pub(super) async fn writer(&self) -> Result<Arc<dyn BackupWriter>, StoreError> {
        let begin = || async {
            let Some((id, kind)) = &self.prepared.plan.backup else {
                return Err(StoreError::Format {
                    path: "the plan".to_owned(),
                    why: "it makes no backup".to_owned(),
                });
            };
            Ok(Arc::from(self.o.store.begin(id, *kind).await?))
        };
        self.writer.get_or_try_init(begin).await.cloned()
    }

    pub(super) fn begun_writer(&self) -> Option<Arc<dyn BackupWriter>> {
        self.writer.get().cloned()
    }

    /// Leases back, journal closed, report.
    pub(super) async fn finish(self, phase: Phase) -> Report {
        let end = Entry::End {
            at: self.o.clock.now(),
            phase,
        };
        if phase == Phase::Stuck {
            // The journal stays open for `kbo recover`, and the leases are not given back: nodes that this run stopped and
            // could not start again undo their part by themselves once this process is gone.
        } else {
            for (name, transport) in &self.o.nodes {
                if let Err(error) = transport.release().await {
                    tracing::warn!("{name}: {error}");
                }
            }
            if let Err(error) = self.journal(end).await {
                tracing::warn!("the journal cannot be written: {}", chain(&error));
            }
            if let Err(error) = self.journal.close().await {
                self.warn(format!("the journal cannot be closed: {}", chain(&error)));
            }
        }
        let harvest = self.harvest.into_inner().unwrap_or_else(PoisonError::into_inner);
        report(self.prepared, harvest, phase)
    }
}

/// Whether a stream should end early.
pub(super) struct Gate {
    cancel: crate::cancel::Cancel,
    failed: Arc<AtomicBool>,
}

impl Gate {
    pub(super) fn is_shut(&self) -> bool {
        self.cancel.is_asked() || self.failed.load(Ordering::Relaxed)
    }
}

fn refused(prepared: Prepared) -> Report {
    let verdict = "refused by preflight; nothing was touched".to_owned();
    unstarted(prepared, Outcome::Refused, &verdict, None)
}

fn unstarted(prepared: Prepared, outcome: Outcome, verdict: &str, failure: Option<Failure>) -> Report {
    let harvest = Harvest {
        failures: failure.into_iter().collect(),
        ..Harvest::default()
    };
    let mut report = report(prepared, harvest, Phase::Refused);
    report.outcome = outcome;
    verdict.clone_into(&mut report.verdict);
    report
}

fn report(prepared: Prepared, harvest: Harvest, phase: Phase) -> Report {
    let outcome = match phase {
        Phase::Done if !harvest.damage.is_empty() => Outcome::Damaged,
        Phase::Done => Outcome::Done,
        Phase::RolledBack if harvest.interrupted && harvest.failures.is_empty() => Outcome::Interrupted,
        Phase::RolledBack => Outcome::Failed,
        // Not even begun, for the journal cannot be written.
        Phase::Refused if !harvest.failures.is_empty() => Outcome::Failed,
        Phase::Refused => Outcome::Refused,
        _ => Outcome::NeedsPerson,
    };
    let sum_of = |name: &NodeName, size: fn(&ArchiveRecord) -> u64| {
        harvest
            .archives
            .iter()
            .filter(|archive| &archive.node == name)
            .map(size)
            .sum()
    };
    let nodes: Vec<NodeReport> = prepared
        .facts
        .keys()
        .map(|name| NodeReport {
            node: name.clone(),
            linked_files: harvest.snapshots.get(name).map(|snapshot| snapshot.linked_files),
            copied_files: harvest.snapshots.get(name).map(|snapshot| snapshot.copied_files),
            raw_bytes: sum_of(name, |archive| archive.raw_size),
            stored_bytes: sum_of(name, |archive| archive.size),
        })
        .collect();
    let mut report = Report {
        run: prepared.plan.run.clone(),
        operation: prepared.plan.operation,
        id: prepared.plan.backup.as_ref().map(|(id, _)| id.clone()),
        kind: prepared.plan.backup.as_ref().map(|(_, kind)| *kind),
        outcome,
        window_seconds: harvest.window.map(|window| window.seconds),
        phases: harvest.phases,
        raw_bytes: nodes.iter().map(|node| node.raw_bytes).sum(),
        stored_bytes: nodes.iter().map(|node| node.stored_bytes).sum(),
        nodes,
        warnings: harvest.warnings.into_iter().chain(harvest.damage).collect(),
        findings: prepared.findings,
        failures: harvest.failures,
        verdict: String::new(),
    };
    report.verdict = super::steps::verdict(&report);
    report
}
