//! Undoing a run as its journal tells it.

use std::sync::atomic::Ordering;

use super::run::Run;
use crate::cancel::Urgency;
use crate::journal::Entry;
use crate::machine::Event;
use crate::plan::Step;
use crate::report::chain;
use crate::undo::undo_steps;

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
                Step::Clean { .. } | Step::Abandon | Step::DropReplaced { .. } => {}
                // Asked twice to hurry, the operator gets the cluster started, not watched.
                Step::AwaitBroker { .. } if self.o.cancel.urgency() == Urgency::Hurry => {}
                // A cluster of old and restored nodes must not run.
                Step::SwapBack { .. } | Step::Stop { .. } | Step::TakeBack { .. } => return Event::UndoFailed,
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
}
