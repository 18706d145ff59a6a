//! Executing a plan: from the first phase to the last through the state machine.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;

use super::outcome::{refused, report, unstarted};
use super::run::Run;
use super::{Orchestrator, Prepared, Rotation};
use crate::cancel::Urgency;
use crate::ids::RunId;
use crate::journal::Entry;
use crate::machine::{Event, Operation, Phase, next};
use crate::plan::{Plan, Step};
use crate::ports::journal::Journal;
use crate::ports::monitor::MonitorEvent;
use crate::ports::node::CleanRequest;
use crate::ports::store::{BackupWriter, StoreError, StoreLock};
use crate::preflight::refuses;
use crate::report::{Failure, Outcome, PhaseTime, Report, chain};

impl Orchestrator {
    /// Does what the plan says. The caller holds the store's lock.
    ///
    /// Never returns before the cluster is whole again, or the report says what is not.
    pub async fn execute(&self, prepared: Prepared) -> Report {
        self.execute_under(prepared, None).await
    }

    /// The same under a lock that others may share once the run only makes archives.
    pub async fn execute_under(&self, mut prepared: Prepared, lock: Option<&dyn StoreLock>) -> Report {
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
        let moved = self.moved(&prepared).await;
        if !moved.is_empty() {
            prepared.findings.extend(moved);
            return refused(prepared);
        }
        let (journal, writer) = match self.begin(&mut prepared.plan).await {
            Ok(begun) => begun,
            Err(error) => {
                let failure = Failure {
                    step: "begin the journal and the backup".to_owned(),
                    node: None,
                    message: chain(&error),
                    hint: None,
                };
                let verdict = "the store cannot be written; nothing was touched";
                return unstarted(prepared, Outcome::Failed, verdict, Some(failure));
            }
        };
        let mut run = Run::new(self, prepared, journal, vec![], writer);
        run.lock = lock;
        run.drive().await
    }

    /// The run's journal, and the folder of the backup that it makes: what the store cannot take is better known before anything
    /// is stopped. A run and a backup are named by their second; where that is taken, by the next.
    async fn begin(&self, plan: &mut Plan) -> Result<(Box<dyn Journal>, Option<Arc<dyn BackupWriter>>), StoreError> {
        for _ in 0..SECONDS_TRIED {
            let writer: Option<Arc<dyn BackupWriter>> = match &plan.backup {
                Some((id, kind)) if plan.operation.makes_backup() => match self.store.begin(id, *kind).await {
                    Ok(writer) => Some(writer.into()),
                    Err(StoreError::Taken(_)) => {
                        plan.a_second_later();
                        continue;
                    }
                    Err(error) => return Err(error),
                },
                _ => None,
            };
            let error = match self.store.begin_journal(&self.name, &plan.run).await {
                Ok(journal) => return Ok((journal, writer)),
                Err(error) => error,
            };
            if let Some(writer) = writer {
                writer.abandon().await?;
            }
            match error {
                StoreError::Taken(_) => plan.a_second_later(),
                error => return Err(error),
            }
        }
        Err(StoreError::Taken(plan.run.to_string()))
    }
}

/// How long a step goes on, and then an undo, and then what ends the run, after the operator has asked for the end twice.
const HURRIED_STEP: Duration = Duration::from_secs(1);
pub(super) const HURRIED_UNDO: Duration = Duration::from_secs(5);
const HURRIED_END: Duration = Duration::from_secs(2);

/// So many runs of one cluster within as many seconds are no operator's.
const SECONDS_TRIED: u32 = 60;

impl Run<'_> {
    /// The run, from the first phase to its end.
    async fn drive(self) -> Report {
        let operation = self.prepared.plan.operation;
        let mut phase = self.advance(operation, Phase::Idle, Event::Begin);
        let mut event = self.unless_hurried(self.claim_nodes(), HURRIED_STEP).await;
        loop {
            phase = self.advance(operation, phase, event);
            event = match phase {
                Phase::Done | Phase::RolledBack | Phase::Refused | Phase::Stuck => break,
                Phase::Undoing => self.timed(phase, self.unless_hurried(self.undo(), HURRIED_UNDO)).await,
                _ => {
                    self.timed(phase, self.unless_hurried(self.phase(phase), HURRIED_STEP))
                        .await
                }
            };
        }
        // Restored data that not every node knows to be kept are for a person.
        if phase == Phase::Done && !self.is_known_to_all().await {
            phase = Phase::Stuck;
        }
        self.finish(phase).await
    }

    /// The journal's first line, the nodes told whose they are, and what earlier runs left on them swept.
    async fn claim_nodes(&self) -> Event {
        let begin = Entry::Begin {
            at: self.o.clock.now(),
            plan: self.prepared.plan.clone(),
            prior: self.prepared.prior.clone(),
        };
        match self.journal(begin).await {
            Ok(()) => match self.claim().await {
                Ok(()) => {
                    self.sweep_orphans().await;
                    Event::PhaseDone
                }
                Err(_) => Event::StepFailed,
            },
            Err(error) => {
                self.fail("begin the journal", None, &error.into());
                Event::StepFailed
            }
        }
    }

    /// The work, or what is left undone of it some seconds after the operator asked a second time: what is awaited is abandoned.
    pub(super) async fn unless_hurried(&self, work: impl Future<Output = Event>, patience: Duration) -> Event {
        let cancel = &self.o.cancel;
        tokio::select! {
            biased;
            event = work => return event,
            () = async {
                cancel.reached(Urgency::Hurry).await;
                self.o.clock.expire(patience).await;
            } => {}
        }
        if !self.is_undoing() {
            self.harvest().interrupted = true;
            return Event::Interrupted;
        }
        let grace = self.o.settings.lease_grace.as_secs();
        self.harvest().failures.push(Failure {
            step: "undo the run".to_owned(),
            node: None,
            message: "abandoned, for kbo was interrupted twice".to_owned(),
            hint: Some(format!(
                "each node undoes its own part {grace} s after kbo is gone, and `kbo recover` the rest"
            )),
        });
        Event::UndoFailed
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

    /// Removes a backup that the undo did not have to know of, for it had no archive yet.
    async fn abandon_unfinished(&self) {
        let committed = self.harvest().committed;
        if let (Some(writer), false) = (&self.writer, committed)
            && let Err(error) = writer.abandon().await
        {
            tracing::warn!("the unfinished backup stays until the next sweep: {}", chain(&error));
        }
    }

    /// Leases back, journal closed, report. Of an operator who has asked twice for the end, it does what is done at once.
    pub(super) async fn finish(self, phase: Phase) -> Report {
        let hurried = async {
            self.o.cancel.reached(Urgency::Hurry).await;
            self.o.clock.expire(HURRIED_END).await;
        };
        let rotation = tokio::select! {
            biased;
            rotation = self.end(phase) => rotation,
            () = hurried => {
                // A run that is done must not be undone by the next one for want of its journal's last line.
                if phase != Phase::Stuck {
                    tokio::select! {
                        biased;
                        () = self.close_journal(phase) => {}
                        () = self.o.clock.expire(HURRIED_STEP) => {}
                    }
                }
                self.warn("the run's end was abandoned, for kbo was interrupted twice: nodes let go of it by themselves".to_owned());
                None
            }
        };
        let harvest = self.harvest.into_inner().unwrap_or_else(PoisonError::into_inner);
        Report {
            rotation,
            ..report(self.prepared, harvest, phase)
        }
    }

    async fn close_journal(&self, phase: Phase) {
        let end = Entry::End {
            at: self.o.clock.now(),
            phase,
        };
        if let Err(error) = self.journal(end).await {
            tracing::warn!("the journal cannot be written: {}", chain(&error));
        }
        if let Err(error) = self.journal.close().await {
            self.warn(format!("the journal cannot be closed: {}", chain(&error)));
        }
    }

    async fn end(&self, phase: Phase) -> Option<Rotation> {
        self.abandon_unfinished().await;
        self.look_after_kept(phase).await;
        self.warn_of_space_on_nodes(phase).await;
        if phase == Phase::Stuck {
            // The journal stays open for `kbo recover`, and the leases are not given back: nodes that this run stopped and
            // could not start again undo their part by themselves once this process is gone.
        } else {
            let released = self.o.nodes.iter().map(|(name, transport)| async move {
                if let Err(error) = transport.release().await {
                    tracing::warn!("{name}: {error}");
                }
            });
            join_all(released).await;
            self.close_journal(phase).await;
        }
        self.note_cluster_id().await;
        let rotation = self.rotate(phase).await;
        self.warn_of_space_in_the_store().await;
        rotation
    }
}
