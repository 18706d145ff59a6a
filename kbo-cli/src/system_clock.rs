//! The clock port over the system's clocks.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use kbo_core::ports::clock::Clock;

/// The system's clocks; monotonic time counts from its creation.
#[derive(Debug)]
pub(crate) struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}
