//! Undoing a run as its journal tells it.

use std::sync::atomic::Ordering;

use super::run::Run;
use crate::cancel::Urgency;
use crate::journal::Entry;
use crate::machine::Event;
use crate::plan::Step;
use crate::report::chain;
use crate::undo::undo_steps;

/// How an undo goes.
#[derive(Default)]
struct Course {
    /// Something is not as it was found.
    failed: bool,
    /// The controllers do not come up: brokers would wait for them in vain.
    no_quorum: bool,
}

impl Run<'_> {
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
        self.claim_for_undo().await;
        let mut course = Course::default();
        if self.is_kept() {
            course.failed = !self.forget(self.o.settings.lease_grace).await && !self.is_known_to_all().await;
        } else if self.harvest().lost {
            // Some nodes are on their old data already, and run: whichever of the others are not must not run beside them.
            let nothing_left = self.o.holds_nothing_of(self.id()).await;
            self.take_over(nothing_left).await;
        }
        let steps = undo_steps(&self.harvest().entries, &self.o.cluster);
        if let Err(error) = self.journal(Entry::UndoStarted { at: self.o.clock.now() }).await {
            tracing::warn!("the journal cannot be written: {}", chain(&error));
        }
        for part in self.together(&steps) {
            // Whichever of several fails is tried again by itself: a stop may be repeated.
            if part.len() > 1 && self.all_at_once(part).await {
                continue;
            }
            for step in part {
                if self.undo_next(step, &mut course).await.is_err() {
                    return Event::UndoFailed;
                }
            }
        }
        if self.harvest().first_stop.is_some() && self.harvest().window.is_none() {
            self.close_window();
        }
        if course.failed {
            Event::UndoFailed
        } else {
            Event::UndoDone
        }
    }

    async fn all_at_once(&self, steps: &[Step]) -> bool {
        let mark = self.harvest().failures.len();
        let done = self.at_once(steps).await.is_ok();
        if !done {
            self.harvest().failures.truncate(mark);
        }
        done
    }

    /// The next step; an error where nothing may follow.
    async fn undo_next(&self, step: &Step, course: &mut Course) -> Result<(), ()> {
        let is_vain = course.no_quorum && matches!(step, Step::Start { .. } | Step::AwaitBroker { .. });
        if is_vain || self.undo_step(step).await.is_ok() {
            return Ok(());
        }
        match step {
            // Leftovers: invisible, and swept by the next run.
            Step::Clean { .. } | Step::Abandon | Step::DropReplaced { .. } => {}
            // Asked twice to hurry, the operator gets the cluster started, not watched.
            Step::AwaitBroker { .. } if self.o.cancel.urgency() == Urgency::Hurry => {}
            // A cluster of old and restored nodes must not run.
            Step::SwapBack { .. } | Step::Stop { .. } | Step::TakeBack { .. } => return Err(()),
            Step::AwaitQuorum => {
                // A controller that does not come up is for a person; the brokers run without it, if the others suffice.
                course.failed = true;
                course.no_quorum = !self.o.majority_now(&self.up()).await;
            }
            _ => course.failed = true,
        }
        Ok(())
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
}
