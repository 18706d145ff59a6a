//! The operator's wish to stop: asked once, the run undoes and ends; asked twice, it hurries.

use std::sync::Arc;

use tokio::sync::watch;

/// How urgent the wish is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Nobody asked.
    None,
    /// Finish the step, undo, leave the cluster as found.
    Gentle,
    /// The same without waiting for what need not be waited for.
    Hurry,
}

/// A shared flag that only rises.
#[derive(Debug, Clone)]
pub struct Cancel(Arc<watch::Sender<Urgency>>);

impl Default for Cancel {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Urgency::None)))
    }
}

impl Cancel {
    /// Asks once more.
    pub fn ask(&self) {
        self.0.send_modify(|urgency| {
            *urgency = if *urgency == Urgency::None {
                Urgency::Gentle
            } else {
                Urgency::Hurry
            };
        });
    }

    /// How urgent it is now.
    pub fn urgency(&self) -> Urgency {
        *self.0.borrow()
    }

    /// Whether anybody asked.
    pub fn is_asked(&self) -> bool {
        self.urgency() > Urgency::None
    }

    /// Waits until the urgency is at least `urgency`. Cancelled by dropping the future.
    pub async fn reached(&self, urgency: Urgency) {
        // The sender lives in self: the channel cannot close while we wait.
        let _ = self.0.subscribe().wait_for(|now| *now >= urgency).await;
    }
}
