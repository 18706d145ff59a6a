//! The phases of a run: their steps in order or side by side, each journalled before and after.

use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};

use super::run::{Halt, Run};
use super::stopping;
use crate::ids::NodeName;
use crate::journal::Entry;
use crate::machine::{Event, Operation, Phase};
use crate::plan::{PlannedPhase, Step};
use crate::ports::monitor::MonitorEvent;
use crate::report::chain;

impl Run<'_> {
    /// All steps of a phase.
    pub(super) async fn phase(&self, phase: Phase) -> Event {
        self.before(phase).await;
        let mut result = match self.prepared.plan.phase(phase) {
            None => Ok(()),
            Some(planned) if phase == Phase::Archiving => self.archive_watched(planned).await,
            Some(_) if phase == Phase::Cleaning && self.prepared.plan.operation.makes_backup() => {
                self.side_by_side(&self.still_pinned()).await
            }
            Some(planned) if planned.is_parallel() => self.side_by_side(planned).await,
            Some(planned) => self.one_by_one(planned).await,
        };
        if result.is_ok() {
            result = self.after(phase).await;
        }
        if result.is_ok() && self.is_at_return(phase) {
            result = self.keep().await;
        }
        match result {
            Ok(()) => Event::PhaseDone,
            Err(Halt::Interrupted) => Event::Interrupted,
            Err(Halt::Failed) => Event::StepFailed,
        }
    }

    /// Steps in the plan's order, each ended before the next, but for those that must go together.
    async fn one_by_one(&self, planned: &PlannedPhase) -> Result<(), Halt> {
        for part in self.together(&planned.steps) {
            self.unless_interrupted(planned.phase)?;
            self.at_once(part).await?;
        }
        self.unless_interrupted(planned.phase)
    }

    pub(super) fn together<'s>(&self, steps: &'s [Step]) -> Vec<&'s [Step]> {
        let is_up = |name: &NodeName| self.prepared.prior.get(name).is_some_and(|state| state.is_up());
        stopping::together(steps, &self.o.cluster, is_up)
    }

    /// Steps that begin at the same moment: every intent is in the journal before the first deed.
    pub(super) async fn at_once(&self, steps: &[Step]) -> Result<(), Halt> {
        for step in steps {
            self.intend(step).await?;
        }
        let ended = join_all(steps.iter().map(|step| self.carry_out(step))).await;
        if ended.contains(&Err(Halt::Failed)) {
            return Err(Halt::Failed);
        }
        ended.into_iter().collect()
    }

    /// Nodes side by side, bounded; each node's steps in order.
    pub(super) async fn side_by_side(&self, planned: &PlannedPhase) -> Result<(), Halt> {
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
                if planned.phase == Phase::Archiving && matches!(step, Step::Clean { .. }) {
                    self.unpin_archived(step).await;
                    continue;
                }
                if planned.phase == Phase::Cleaning {
                    self.sweep_step(&self.as_it_turned_out(step)).await;
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
        let results: Vec<Result<(), Halt>> = stream::iter(sequences).buffer_unordered(limit).collect().await;
        // A failure weighs more than the interruption that it caused elsewhere.
        if results.contains(&Err(Halt::Failed)) {
            Err(Halt::Failed)
        } else {
            results.into_iter().collect()
        }
    }

    /// A committed backup is not given up for an interruption, nor is a restored cluster that serves clients again: what they
    /// have written since would be lost.
    fn unless_interrupted(&self, phase: Phase) -> Result<(), Halt> {
        let is_past_return = match phase {
            Phase::Cleaning => true,
            Phase::Committing => self.harvest().committed,
            Phase::Settling => self.is_restore() || self.prepared.plan.operation == Operation::Run,
            _ => false,
        };
        if self.o.cancel.is_asked() && !is_past_return {
            self.harvest().interrupted = true;
            return Err(Halt::Interrupted);
        }
        Ok(())
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
    pub(super) async fn step(&self, step: &Step) -> Result<(), Halt> {
        self.intend(step).await?;
        self.carry_out(step).await
    }

    /// Sweeping may be repeated: better done without a record, as when the store is full, than not done. So is an undo; see
    /// `journal`.
    fn needs_record(&self, step: &Step) -> bool {
        !matches!(step, Step::Clean { .. }) && !self.is_kept()
    }

    async fn intend(&self, step: &Step) -> Result<(), Halt> {
        let intent = Entry::Intent {
            at: self.o.clock.now(),
            step: step.clone(),
            container: self.to_be_stopped(step).await,
        };
        if let Err(error) = self.journal(intent).await {
            if self.needs_record(step) {
                self.fail(&step.to_string(), step.node(), &error.into());
                return Err(Halt::Failed);
            }
            tracing::warn!("the journal cannot be written: {}", chain(&error));
        }
        if matches!(step, Step::Stop { .. }) {
            let now = (self.o.clock.now(), self.o.clock.monotonic());
            self.harvest().first_stop.get_or_insert(now);
        }
        Ok(())
    }

    async fn carry_out(&self, step: &Step) -> Result<(), Halt> {
        let text = step.to_string();
        let from = self.o.clock.monotonic();
        let needs_record = self.needs_record(step);
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
                        container: self.left_by(step).await,
                    })
                    .await;
                if let Some(error) = self.was_stopped_before(step, outcome) {
                    self.fail(&text, step.node(), &error);
                    return Err(Halt::Failed);
                }
                match done {
                    // What is committed is committed, whether the journal can take it or not.
                    Err(error) if matches!(step, Step::Commit) => {
                        self.warn(format!("the journal cannot be written: {}", chain(&error)));
                        Ok(())
                    }
                    Err(error) if needs_record => {
                        self.fail(&text, step.node(), &error.into());
                        Err(Halt::Failed)
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
                    return Err(Halt::Interrupted);
                }
                // What another node's failure broke off is none of its own.
                if !(error.is_interruption() && self.failed.load(Ordering::Relaxed)) {
                    self.fail(&text, step.node(), &error);
                }
                Err(Halt::Failed)
            }
        }
    }
}
