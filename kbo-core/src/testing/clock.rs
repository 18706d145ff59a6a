//! Time that passes only where somebody waits.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use crate::ports::clock::Clock;

/// 2026-11-22T03:00:00Z, the hour of backups.
const START: i64 = 1_795_316_400;

/// Turns after which work that races against a limit is late.
const PATIENCE: u32 = 2000;

/// A clock that a sleep moves forward at once. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct FakeClock(Arc<Mutex<Hands>>);

#[derive(Debug, Default)]
struct Hands {
    /// Time that has passed.
    elapsed: Duration,
    /// How far the wall clock was set on since.
    set_on: SignedDuration,
    /// The limits that are waited for, by their time; a number keeps those of one time apart.
    limits: BTreeSet<(Duration, u64)>,
    /// How many there have been.
    counted: u64,
}

/// A limit that is waited for.
struct Limit<'c> {
    clock: &'c FakeClock,
    key: (Duration, u64),
}

impl Limit<'_> {
    /// Whether the time has come: of several limits the first one's comes first.
    fn is_over(&self) -> bool {
        let mut hands = self.clock.hands();
        if hands.limits.first() == Some(&self.key) {
            hands.elapsed = hands.elapsed.max(self.key.0);
        }
        hands.elapsed >= self.key.0
    }
}

impl Drop for Limit<'_> {
    fn drop(&mut self) {
        self.clock.hands().limits.remove(&self.key);
    }
}

impl FakeClock {
    /// Lets time pass.
    pub fn advance(&self, time: Duration) {
        self.hands().elapsed += time;
    }

    /// Sets the wall clock on, or back where that is negative; the monotonic one notices nothing.
    pub fn set_on(&self, by: SignedDuration) {
        self.hands().set_on += by;
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time since the clock was made.
    pub fn elapsed(&self) -> Duration {
        self.hands().elapsed
    }
}

#[async_trait]
impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        let start = Timestamp::from_second(START).unwrap_or(Timestamp::UNIX_EPOCH);
        let since = SignedDuration::try_from(self.elapsed()).unwrap_or(SignedDuration::ZERO);
        let hands = since.saturating_add(self.hands().set_on);
        start.saturating_add(hands).unwrap_or(start)
    }

    fn monotonic(&self) -> Duration {
        self.elapsed()
    }

    async fn sleep(&self, time: Duration) {
        self.advance(time);
        breathe().await;
    }

    /// Nothing of a fake takes real time: what is not done after this many turns waits for what never comes.
    async fn expire(&self, time: Duration) {
        let limit = {
            let mut hands = self.hands();
            hands.counted += 1;
            let key = (hands.elapsed + time, hands.counted);
            hands.limits.insert(key);
            Limit { clock: self, key }
        };
        loop {
            for _ in 0..PATIENCE {
                breathe().await;
            }
            if limit.is_over() {
                return;
            }
        }
    }
}

/// Lets every other task have its turn, whatever the runtime.
pub async fn breathe() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
