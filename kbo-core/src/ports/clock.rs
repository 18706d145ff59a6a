//! Time, as a port, so that a test of a two-minute wait takes no two minutes.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

/// Wall-clock time for records, monotonic time for measuring, and waiting.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait Clock: Send + Sync {
    /// Now, by the wall clock.
    fn now(&self) -> Timestamp;
    /// Time since an arbitrary fixed moment; never goes back.
    fn monotonic(&self) -> Duration;
    /// Waits. Cancelled by dropping the future.
    async fn sleep(&self, time: Duration);
    /// Ends when `time` has passed: the limit that other work races against. Cancelled by dropping the future.
    async fn expire(&self, time: Duration) {
        self.sleep(time).await;
    }
}
