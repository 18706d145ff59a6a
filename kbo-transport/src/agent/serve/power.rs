//! Stops and starts of the node's container, with the lease that goes with them: what this run has stopped, and how it left it.

use kbo_core::ports::node::{NodeError, NodeTransport, StartOutcome, StopOutcome, StopRequest};

use super::Session;
use crate::agent::lease::Duty;
use crate::agent::undo::reachable_controllers;

impl Session {
    pub(super) async fn stop(&mut self, request: &StopRequest) -> Result<StopOutcome, NodeError> {
        self.own(Some(&request.run)).await?;
        let Some(lease) = &request.lease else {
            // A stop that is meant to last outweighs what a vanished run would have started.
            self.leases.note_all(|duty| duty.start = false)?;
            return self.node.stop(request).await;
        };
        let before = self.node.look().await?;
        let is_up = before.state.is_up();
        let was_to_start = self
            .leases
            .duties()
            .iter()
            .any(|duty| duty.run == request.run && duty.start);
        let noted = |duty: &mut Duty| {
            duty.start |= is_up;
            if is_up {
                duty.left = Some(before);
            }
            duty.stopping = is_up;
            duty.stop_within = request.timeout;
            duty.grace = lease.grace;
        };
        self.bind(&request.run, lease.grace, noted).await?;
        // Looked for while the controllers still run, and beside the stop: it is to cost the window nothing.
        let (outcome, controllers) = tokio::join!(self.node.stop(request), reachable_controllers(&self.node));
        let left = match outcome {
            Ok(StopOutcome::Stopped) => self.node.look().await.ok(),
            _ => None,
        };
        self.leases.note(&request.run, lease.grace, |duty| {
            duty.stopping = false;
            // It ended just before, by itself or by another's hand: what kbo did not stop, it does not start.
            duty.start &= was_to_start || outcome != Ok(StopOutcome::AlreadyStopped);
            if left.is_some() {
                duty.left = left;
            }
            if !controllers.is_empty() {
                duty.wait_for = controllers;
            }
        })?;
        outcome
    }

    pub(super) async fn start(&mut self) -> Result<StartOutcome, NodeError> {
        self.own(None).await?;
        let outcome = self.node.start().await?;
        let left = self.node.look().await.ok();
        // Who stops it after this is somebody else, and not to be undone. Swapped data is still on trial: if the client vanishes
        // now, the container is to run again with the data from before.
        self.leases.note_all(|duty| {
            duty.start &= !duty.swapped.is_empty();
            if left.is_some() {
                duty.left.clone_from(&left);
            }
        })?;
        Ok(outcome)
    }
}
