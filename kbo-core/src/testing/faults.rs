//! Faults planned by the number of the operation, shared by all that count operations together.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::FakeClock;
use crate::ports::clock::Clock;
use crate::ports::node::NodeErrorKind;

/// When a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before the operation has done anything.
    Before,
    /// In the middle of a stream; for other operations, before.
    During,
    /// When everything is done and only the answer is missing.
    After,
}

/// What a fault does.
#[derive(Clone)]
pub enum Effect {
    /// The operation fails.
    Fail(NodeErrorKind),
    /// The operation fails after a while.
    SlowFail(Duration, NodeErrorKind),
    /// This operation and every later one of the same node (or of the store) fail.
    Die(NodeErrorKind),
    /// The node cannot be reached for this long.
    Away(Duration),
    /// This operation and every later one of the same node never return.
    Freeze,
    /// The operation never returns; [`Faults::struck`] does, for a test that then drops the run.
    Hang,
    /// The store's disk hangs: this operation fails so much later, and every later one at once, as after a process that was given up.
    GiveUp(Duration),
    /// Something else happens, and the operation goes on.
    Call(Arc<dyn Fn() + Send + Sync>),
}

impl fmt::Debug for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Effect::Fail(kind) => write!(f, "Fail({kind:?})"),
            Effect::SlowFail(time, kind) => write!(f, "SlowFail({time:?}, {kind:?})"),
            Effect::Die(kind) => write!(f, "Die({kind:?})"),
            Effect::Away(time) => write!(f, "Away({time:?})"),
            Effect::Freeze => f.write_str("Freeze"),
            Effect::Hang => f.write_str("Hang"),
            Effect::GiveUp(time) => write!(f, "GiveUp({time:?})"),
            Effect::Call(_) => f.write_str("Call"),
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    planned: Vec<(usize, Moment, Effect)>,
    operations: Vec<String>,
    dead: BTreeSet<String>,
    frozen: BTreeSet<String>,
    away: BTreeMap<String, Duration>,
    struck: usize,
}

/// Counts operations and strikes at the planned ones. Clones share the count.
#[derive(Debug, Clone)]
pub struct Faults {
    inner: Arc<Mutex<Inner>>,
    hung: Arc<Notify>,
    clock: FakeClock,
}

/// An operation under way.
#[derive(Debug)]
pub(super) struct Ticket {
    at: usize,
    who: String,
}

impl Faults {
    /// No fault: it only counts.
    pub fn none(clock: &FakeClock) -> Self {
        Self {
            inner: Arc::default(),
            hung: Arc::default(),
            clock: clock.clone(),
        }
    }

    /// With one more fault, at the operation numbered `at` (from 0).
    #[must_use]
    pub fn and(self, at: usize, moment: Moment, effect: Effect) -> Self {
        self.inner().planned.push((at, moment, effect));
        self
    }

    /// From now on no operation of `who` returns.
    pub fn freeze(&self, who: &str) {
        self.inner().frozen.insert(who.to_owned());
    }

    /// Operations begun so far.
    pub fn count(&self) -> usize {
        self.inner().operations.len()
    }

    /// Every operation begun so far, in order: who and what.
    pub fn operations(&self) -> Vec<String> {
        self.inner().operations.clone()
    }

    /// How many of the planned faults have come true.
    pub fn struck_count(&self) -> usize {
        self.inner().struck
    }

    /// Returns when an operation hangs.
    pub async fn struck(&self) {
        self.hung.notified().await;
    }

    /// Forgets every fault and revives the dead.
    pub fn mend(&self) {
        let mut inner = self.inner();
        inner.planned.clear();
        inner.dead.clear();
        inner.frozen.clear();
        inner.away.clear();
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn begin(&self, who: &str, what: &str) -> Result<Ticket, NodeErrorKind> {
        let now = self.clock.elapsed();
        let (ticket, is_dead, is_frozen) = {
            let mut inner = self.inner();
            inner.operations.push(format!("{who}: {what}"));
            let ticket = Ticket {
                at: inner.operations.len() - 1,
                who: who.to_owned(),
            };
            let is_away = inner.away.get(who).is_some_and(|until| now < *until);
            (ticket, inner.dead.contains(who) || is_away, inner.frozen.contains(who))
        };
        if is_frozen {
            return std::future::pending().await;
        }
        if is_dead {
            return Err(NodeErrorKind::Unreachable);
        }
        self.strike(&ticket, Moment::Before).await?;
        Ok(ticket)
    }

    pub(super) async fn end(&self, ticket: &Ticket) -> Result<(), NodeErrorKind> {
        self.strike(ticket, Moment::After).await
    }

    pub(super) async fn strike(&self, ticket: &Ticket, moment: Moment) -> Result<(), NodeErrorKind> {
        let effect = {
            let mut inner = self.inner();
            let planned = inner
                .planned
                .iter()
                .find(|(at, when, _)| (*at, *when) == (ticket.at, moment));
            let effect = planned.map(|(_, _, effect)| effect.clone());
            inner.struck += usize::from(effect.is_some());
            match effect {
                Some(Effect::Die(_) | Effect::GiveUp(_)) => drop(inner.dead.insert(ticket.who.clone())),
                Some(Effect::Freeze) => drop(inner.frozen.insert(ticket.who.clone())),
                Some(Effect::Away(time)) => {
                    let until = self.clock.elapsed() + time;
                    inner.away.insert(ticket.who.clone(), until);
                }
                _ => {}
            }
            effect
        };
        match effect {
            None => Ok(()),
            Some(Effect::Fail(kind) | Effect::Die(kind)) => Err(kind),
            Some(Effect::Away(_)) => Err(NodeErrorKind::Unreachable),
            Some(Effect::Freeze) => std::future::pending().await,
            Some(Effect::SlowFail(time, kind)) => {
                self.clock.sleep(time).await;
                Err(kind)
            }
            Some(Effect::GiveUp(time)) => {
                self.clock.sleep(time).await;
                Err(NodeErrorKind::TimedOut)
            }
            Some(Effect::Hang) => {
                self.hung.notify_one();
                std::future::pending().await
            }
            Some(Effect::Call(call)) => {
                call();
                Ok(())
            }
        }
    }
}
