//! Whose doing it is that a container is down: this run's, or somebody else's. What kbo did not stop, it does not start.
//!
//! Read off a run's journal and one look at the container. A container that somebody else has started since this run stopped it, and
//! that is down again, is down by somebody else's wish (or fault), and so is one that this run saw ready after its start.

use jiff::{SignedDuration, Timestamp};

use crate::ids::NodeName;
use crate::inventory::Node;
use crate::journal::{Entry, StepOutcome};
use crate::plan::Step;
use crate::ports::node::{ContainerNow, ContainerState, Incarnation, StopOutcome};

/// By how much a node's clock may differ from the centre's before its times tell anything beside the journal's.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_secs(60);

/// Whose doing it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// This run's, as far as can be told.
    Ours,
    /// This run's by its journal, which is one of kbo 0.1.0 and tells no more; but the container ended later than the run stopped it.
    OursPerhaps(String),
    /// Somebody else's: what was done, as a clause about the container.
    Theirs(String),
}

/// What a journal tells of one container.
#[derive(Debug, Default)]
struct Trail {
    /// The container as the run last knew it.
    mark: Option<ContainerNow>,
    /// The run has started it since it stopped it.
    started: bool,
    /// It was asked to start, and the answer is not in the journal.
    starting: bool,
    /// It was seen ready since.
    ready: bool,
    /// It was seen not to become ready.
    stayed_down: bool,
    /// The run has had its data replaced, and has not passed its point of no return.
    on_trial: bool,
    /// Another process undoes the run.
    taken_over: bool,
    /// The run stopped it at this time.
    stopped_at: Option<Timestamp>,
}

impl Trail {
    fn of(entries: &[Entry], node: &Node) -> Self {
        let mut trail = Self::default();
        for entry in entries {
            match entry {
                Entry::Intent { step, container, .. } if step.node() == Some(&node.name) => {
                    trail.intend(step, container.as_ref());
                }
                Entry::Done {
                    at,
                    step,
                    outcome,
                    container,
                } => trail.done(*at, step, *outcome, container.as_ref(), node),
                Entry::Failed { step, .. } if is_wait_for(step, node) => trail.stayed_down = trail.started,
                Entry::Kept { .. } => trail.on_trial = false,
                Entry::TakenOver { .. } => trail.taken_over = true,
                _ => {}
            }
        }
        trail
    }

    fn intend(&mut self, step: &Step, container: Option<&ContainerNow>) {
        match step {
            Step::Stop { .. } => {
                if let Some(container) = container {
                    self.mark = Some(container.clone());
                }
                (self.started, self.starting, self.ready, self.stayed_down) = (false, false, false, false);
            }
            Step::Start { .. } => self.starting = true,
            Step::Swap { .. } => self.on_trial = true,
            // Whichever container has the name now, it is the run's doing.
            Step::Create { .. } | Step::TakeBack { .. } => self.mark = None,
            _ => {}
        }
    }

    fn done(
        &mut self,
        at: Timestamp,
        step: &Step,
        outcome: StepOutcome,
        container: Option<&ContainerNow>,
        node: &Node,
    ) {
        if is_wait_for(step, node) {
            self.ready = self.started;
        }
        if step.node() != Some(&node.name) {
            return;
        }
        match (step, outcome) {
            // What is down already was left so, or has ended, since the run last knew it.
            (Step::Stop { .. }, StepOutcome::Stop(StopOutcome::AlreadyStopped)) => {}
            (Step::Stop { .. }, _) => {
                self.stopped_at = Some(at);
                self.mark = container.cloned().or(self.mark.take());
            }
            (Step::Start { .. }, _) => {
                (self.started, self.starting, self.ready, self.stayed_down) = (true, false, false, false);
                self.mark = container.cloned().or(self.mark.take());
            }
            (Step::Create { .. } | Step::TakeBack { .. }, _) => self.mark = container.cloned(),
            _ => {}
        }
    }

    /// Of a container that is down.
    fn judge(&self, now: &ContainerNow) -> Whose {
        let Some(mark) = &self.mark else {
            return self.by_the_clock(now);
        };
        let (before, now) = match (&mark.incarnation, &now.incarnation) {
            (None, None) => return Whose::Ours,
            (Some(before), Some(now)) if before.container == now.container => (before, now),
            (Some(_), None) => return Whose::Theirs("was removed".to_owned()),
            (_, Some(_)) => return Whose::Theirs("was made anew, and is not started".to_owned()),
        };
        let tried = self.started || self.starting;
        let is_ours = if now.is_unstarted_since(before) {
            // Until it is ready its end is a failed start: this process has seen it, or the one before has.
            !self.started || self.on_trial || (!self.ready && (!self.taken_over || self.stayed_down))
        } else {
            // The engine may have tried a few times more what this process has started.
            tried && !self.taken_over && (!self.ready || self.on_trial)
        };
        match is_ours {
            true => Whose::Ours,
            false if now.is_unstarted_since(before) => {
                Whose::Theirs(format!("has ended at {} after this run had started it", now.finished))
            }
            false => Whose::Theirs(format!(
                "was started at {} by somebody else, and stopped at {}",
                now.started, now.finished
            )),
        }
    }

    fn by_the_clock(&self, now: &ContainerNow) -> Whose {
        let finished = now.incarnation.as_ref().map(|now| now.finished.as_str());
        let finished: Option<Timestamp> = finished.and_then(|text| text.parse().ok());
        match (self.stopped_at, finished) {
            (Some(stopped), Some(finished)) if finished.duration_since(stopped) > CLOCKS_DIFFER => {
                Whose::OursPerhaps(format!(
                    "ended at {finished}, and this run of an older kbo had stopped it at {stopped}: somebody may have started and stopped it since"
                ))
            }
            _ => Whose::Ours,
        }
    }
}

/// Whether the step waits for the node to be ready.
fn is_wait_for(step: &Step, node: &Node) -> bool {
    match step {
        Step::AwaitBroker { node: name } => *name == node.name,
        Step::AwaitQuorum => !node.role.is_broker(),
        _ => false,
    }
}

/// Whose doing it is that the node's container is down, by a run's journal and a look at the container.
pub fn whose(entries: &[Entry], node: &Node, now: &ContainerNow) -> Whose {
    Trail::of(entries, node).judge(now)
}

/// The container as the run last knew it.
pub fn last_known(entries: &[Entry], node: &Node) -> Option<ContainerNow> {
    Trail::of(entries, node).mark
}

/// What somebody else has done to a container that is to be at rest since the run last knew it: nothing where it is as it was.
pub fn disturbance(before: &ContainerNow, now: &ContainerNow) -> Option<String> {
    let at = |now: &Option<Incarnation>| {
        now.as_ref()
            .map_or_else(String::new, |now| format!(" at {}", now.started))
    };
    match (&before.incarnation, &now.incarnation) {
        _ if now.state.is_up() => Some(format!(
            "was started by something else than kbo{}, and is {}",
            at(&now.incarnation),
            now.state
        )),
        (Some(before), Some(after)) if before.container != after.container => {
            Some("was made anew by something else than kbo".to_owned())
        }
        (Some(before), Some(after)) if !after.is_unstarted_since(before) => Some(format!(
            "was started by something else than kbo{}, and has ended at {}",
            at(&now.incarnation),
            after.finished
        )),
        (Some(_), None) if now.state == ContainerState::Missing => {
            Some("was removed by something else than kbo".to_owned())
        }
        _ => None,
    }
}

/// Whether a look shows another run of the container's process, or another container, than an earlier one.
pub(crate) fn is_started_since(before: &ContainerNow, now: &ContainerNow) -> bool {
    match (&before.incarnation, &now.incarnation) {
        (Some(before), Some(now)) => !now.is_unstarted_since(before),
        _ => false,
    }
}

/// The node of that name, and its container, as a message names them.
pub(crate) fn called(node: &NodeName) -> String {
    format!("the container of {node}")
}

#[cfg(test)]
mod tests;
