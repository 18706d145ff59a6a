//! What a node does when its caller has vanished: it waits for somebody to take over, then puts itself back as it was found.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use kbo_core::ports::node::{CleanRequest, NodeError, NodeTransport, StopRequest, SwapRequest};
use kbo_core::whose::disturbance;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::lease::{Duty, Leases};
use crate::local::LocalNode;

/// The times of undoing.
#[derive(Debug, Clone)]
pub struct UndoLimits {
    /// How long a broker waits for its controllers before it starts without them.
    pub controllers: Duration,
    /// How long a broker that has swapped back lets its controllers do the same, before it looks for them.
    pub settle: Duration,
    /// How long a failing step is tried again.
    pub retry: Duration,
    /// How often to look.
    pub poll: Duration,
}

impl Default for UndoLimits {
    fn default() -> Self {
        Self {
            controllers: Duration::from_secs(600),
            settle: Duration::from_secs(20),
            retry: Duration::from_secs(600),
            poll: Duration::from_millis(500),
        }
    }
}

/// How long Kafka has to stop when the data it runs on is to be thrown away.
const DISCARDED: Duration = Duration::from_secs(10);

/// Waits out the grace of every duty held, then carries out those that nobody has taken over.
pub(super) async fn undo(node: &LocalNode, mut leases: Leases, limits: &UndoLimits) {
    for duty in leases.duties() {
        if undo_one(node, &mut leases, &duty, limits).await {
            leases.drop_run(&duty.run);
        }
    }
}

/// Whether the duty is over: done, or somebody else's.
async fn undo_one(node: &LocalNode, leases: &mut Leases, duty: &Duty, limits: &UndoLimits) -> bool {
    let run = &duty.run;
    tracing::warn!(%run, ?duty, "waiting for somebody to take over");
    let until = Instant::now() + duty.grace;
    while Instant::now() < until {
        if !leases.is_ours(run) {
            return true;
        }
        sleep(limits.poll.min(until.saturating_duration_since(Instant::now()))).await;
    }
    if duty.agreed {
        // Nobody but the run's journal knows whether all nodes have agreed: this one keeps what it has, and runs on it.
        start_again(node, leases, duty, limits).await;
        return !leases.is_ours(run);
    }
    match carry_out(node, leases, duty, limits).await {
        Carried::Out { left_down } => {
            match left_down {
                None => tracing::warn!(%run, "the node is as it was found"),
                Some(what) => tracing::warn!(%run, "the node's data are as they were found; {what}"),
            }
            true
        }
        Carried::BySomebodyElse => true,
        Carried::Failed(_) => false,
    }
}

/// What became of a duty.
pub(super) enum Carried {
    /// It is done; the lease is still held.
    Out {
        /// What somebody else did to the container, for which it is left down.
        left_down: Option<String>,
    },
    /// Somebody has taken it over.
    BySomebodyElse,
    /// It is still to be done.
    Failed(String),
}

/// Puts the node back as its duty says, now. Of a dead run whose nodes agreed to keep restored data they are kept.
pub(super) async fn carry_out(node: &LocalNode, leases: &mut Leases, duty: &Duty, limits: &UndoLimits) -> Carried {
    let mut duty = duty.clone();
    let run = &duty.run.clone();
    if !duty.swapped.is_empty() && !duty.agreed {
        if !leases.seize(run) {
            return Carried::BySomebodyElse;
        }
        let was_up = node.state().await.is_ok_and(|state| state.is_up());
        if let Err(why) = persist(limits, "swap back", || swap_back(node, &duty)).await {
            // The lease stays, for a person's `kbo recover`: to start on the new data now could make of one cluster two.
            leases.yield_back(run);
            return Carried::Failed(why);
        }
        // What was running was stopped just now, by this agent; what was down is as somebody left it.
        if was_up && let Ok(now) = node.look().await {
            duty.left = Some(now);
        }
        let left = duty.left.clone();
        let noted = leases.note(run, duty.grace, |duty| {
            duty.swapped.clear();
            duty.left = left;
        });
        if noted.is_err() || !leases.yield_back(run) {
            return Carried::BySomebodyElse;
        }
        if duty.start && !duty.wait_for.is_empty() {
            // The ports that answer now may be those of controllers that are about to swap back themselves.
            sleep(limits.settle).await;
        }
    }
    let started = start_again(node, leases, &duty, limits).await;
    if !matches!(started, Carried::Out { .. }) {
        return started;
    }
    // What was replaced by data that are kept is not thrown away by one node alone: it goes when all of them have proven ready.
    let request = match duty.agreed {
        true => CleanRequest::RunKeepingUntilReady(run.clone()),
        false => CleanRequest::Run(run.clone()),
    };
    if let Err(error) = node.clean(&request).await {
        tracing::error!(%run, %error, "cannot remove the work folder");
    }
    started
}

/// Starts the container if that is due, once its controllers are there.
async fn start_again(node: &LocalNode, leases: &mut Leases, duty: &Duty, limits: &UndoLimits) -> Carried {
    let run = &duty.run;
    // Waiting may take long; somebody may still take over meanwhile.
    if duty.start && !controllers(leases, duty, limits).await {
        return Carried::BySomebodyElse;
    }
    if !leases.seize(run) {
        return Carried::BySomebodyElse;
    }
    let mut left_down = None;
    if duty.start {
        match persist(limits, "start", || start_unless_stopped_by_another(node, duty)).await {
            Ok(others) => left_down = others,
            Err(why) => {
                leases.yield_back(run);
                return Carried::Failed(why);
            }
        }
    }
    if duty.agreed {
        leases.yield_back(run);
    }
    Carried::Out { left_down }
}

/// Starts what kbo has stopped. What somebody else has started and stopped since is left down; gives what was done to it.
async fn start_unless_stopped_by_another(node: &LocalNode, duty: &Duty) -> Result<Option<String>, NodeError> {
    let now = node.look().await?;
    if let Some(left) = &duty.left
        && !now.state.is_up()
        && let Some(what) = disturbance(left, &now)
    {
        let container = &node.spec().container;
        return Ok(Some(format!("the container {container} {what}: it is left as it is")));
    }
    node.start().await.map(|_| None)
}

async fn swap_back(node: &LocalNode, duty: &Duty) -> Result<(), NodeError> {
    node.stop(&StopRequest {
        run: duty.run.clone(),
        timeout: DISCARDED,
        lease: None,
    })
    .await?;
    node.swap_back(&SwapRequest {
        run: duty.run.clone(),
        datasets: duty.swapped.clone(),
        previous_of: None,
    })
    .await
    .map(|_| ())
}

/// Tries again for as long as the limits allow: the engine may be starting, too. The last failure in words.
async fn persist<T, F, Fut>(limits: &UndoLimits, what: &str, step: F) -> Result<T, String>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, NodeError>>,
{
    let until = Instant::now() + limits.retry;
    loop {
        let error = match step().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        tracing::error!(what, %error, "undoing failed");
        if Instant::now() > until {
            return Err(format!("cannot {what}: {error}"));
        }
        sleep(limits.poll * 4).await;
    }
}

/// Waits until most of the controllers accept connections, which is as many as a quorum needs. False if the duty was taken over.
async fn controllers(leases: &Leases, duty: &Duty, limits: &UndoLimits) -> bool {
    let until = Instant::now() + limits.controllers;
    let mut waited = false;
    loop {
        if !leases.is_ours(&duty.run) {
            return false;
        }
        let up = reachable(&duty.wait_for).await.len();
        if up * 2 > duty.wait_for.len() || duty.wait_for.is_empty() {
            return true;
        }
        if Instant::now() > until {
            tracing::error!(controllers = ?duty.wait_for, up, "they do not come up; starting all the same");
            return true;
        }
        if !waited {
            tracing::warn!(controllers = ?duty.wait_for, up, "waiting for them");
            waited = true;
        }
        sleep(limits.poll).await;
    }
}

/// The controllers that a broker needs and can reach, as its own configuration names them; none for a controller. An address that
/// means something only inside the container (a name that only its engine knows) is none to wait for.
pub(super) async fn reachable_controllers(node: &LocalNode) -> Vec<String> {
    reachable(&node.controllers().await).await
}

/// Those of the addresses that accept a connection now.
async fn reachable(addresses: &[String]) -> Vec<String> {
    let tried = addresses.iter().map(|address| async move {
        let connected = timeout(Duration::from_secs(2), TcpStream::connect(address)).await;
        matches!(connected, Ok(Ok(_))).then(|| address.clone())
    });
    join_all(tried).await.into_iter().flatten().collect()
}
