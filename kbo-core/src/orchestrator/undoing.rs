//! Undoing a run as its journal tells it.
//!
//! Steps are tried in rounds: what a node out of reach keeps from being done is put off, the other nodes go on as order and quorum
//! allow, and what was put off is tried again, with growing pauses, for as long as a node has to become ready.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::run::{Halt, Run};
use crate::cancel::Urgency;
use crate::ids::NodeName;
use crate::inventory::Node;
use crate::journal::Entry;
use crate::machine::Event;
use crate::plan::Step;
use crate::ports::monitor::MonitorEvent;
use crate::report::{Failure, chain};
use crate::undo::undo_steps;

/// The longest pause between two tries of what a node out of reach keeps from being done.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How an undo goes.
#[derive(Default)]
struct Course {
    /// What is still to be done, in its order.
    pending: Vec<Step>,
    /// Nodes that are waited for, and what they failed at last.
    away: BTreeMap<NodeName, Failure>,
    /// Nodes whose data or container could not be taken back: nothing more is done to them.
    given_up: BTreeSet<NodeName>,
    /// Nodes that did not start: they are not waited for.
    not_started: BTreeSet<NodeName>,
    /// Something is not as it was found.
    failed: bool,
    /// The controllers do not come up: brokers would wait for them in vain.
    no_quorum: bool,
}

/// What comes of a step.
enum Tried {
    Done,
    /// Later, perhaps.
    PutOff,
    /// Somebody else has stopped the container since: it is left as it is, and that is told.
    LeftAlone,
    /// Never.
    Failed,
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
        self.leave_what_others_stopped(&steps).await;
        course.pending = self.stop_what_is_on_trial(steps).await;
        self.put_in_order(&course.pending).await;
        // Nodes at which the run failed because they do not answer come last: the others need not wait for them.
        let mut last = std::mem::take(&mut *self.silent());
        let mut pauses = Pauses::new(self);
        while !course.pending.is_empty() {
            let left = course.pending.len();
            if self.round(&mut course, &last).await.is_err() {
                return Event::UndoFailed;
            }
            let had_last = !std::mem::take(&mut last).is_empty();
            if course.pending.len() < left {
                pauses.begin_again();
            }
            if !course.pending.is_empty() && !had_last && !pauses.pause(&course).await {
                break;
            }
        }
        self.give_up(&mut course);
        if self.harvest().first_stop.is_some() && self.harvest().window.is_none() {
            self.close_window();
        }
        if course.failed {
            Event::UndoFailed
        } else {
            Event::UndoDone
        }
    }

    /// Tries every step once that others do not stand before; an error where nothing may follow.
    async fn round(&self, course: &mut Course, last: &BTreeSet<NodeName>) -> Result<(), ()> {
        let steps = std::mem::take(&mut course.pending);
        let mut held = last.clone();
        for part in self.together(&steps) {
            // Whichever of several fails is tried again by itself: a stop may be repeated.
            let are_free = part.iter().all(|step| self.is_free(step, course, &held));
            if part.len() > 1 && are_free && self.all_at_once(part).await {
                continue;
            }
            for step in part {
                if course.is_vain(step) {
                    continue;
                }
                if !self.is_free(step, course, &held) {
                    course.pending.push(step.clone());
                    continue;
                }
                self.away().clone_from(&held);
                match self.undo_step(step, course).await {
                    Tried::Done => {}
                    Tried::LeftAlone => self.leave_alone(step, course).await,
                    Tried::PutOff => {
                        held.extend(step.node().cloned());
                        course.pending.push(step.clone());
                    }
                    Tried::Failed => self.note(step, course).await?,
                }
            }
        }
        self.away().clear();
        Ok(())
    }

    /// Whether nothing that is still to be done comes before the step.
    fn is_free(&self, step: &Step, course: &Course, held: &BTreeSet<NodeName>) -> bool {
        let is_stop = |step: &Step| matches!(step, Step::Stop { .. });
        // A node that may run on restored data keeps all others as they are: a cluster of old and restored nodes must not run, and no
        // controller stops before every broker has.
        if course.pending.iter().any(is_stop) {
            return false;
        }
        if is_stop(step) {
            return true;
        }
        if step.node().is_some_and(|node| held.contains(node)) {
            return false;
        }
        let is_broker = |name: &NodeName| {
            let node = self.o.cluster.node(name);
            node.is_some_and(|node| !node.role.is_controller())
        };
        match step {
            Step::AwaitQuorum => self.may_have_quorum(held),
            Step::Start { node } | Step::AwaitBroker { node } if is_broker(node) => {
                !course.pending.contains(&Step::AwaitQuorum)
            }
            Step::AwaitBroker { .. } => !course.pending.contains(&Step::AwaitQuorum),
            _ => true,
        }
    }

    /// Whether the controllers that are not waited for are a majority of those that are to be up.
    fn may_have_quorum(&self, held: &BTreeSet<NodeName>) -> bool {
        let controllers: Vec<&Node> = self.up_with_away();
        let controllers = controllers.iter().filter(|node| node.role.is_controller());
        let (away, there): (Vec<&Node>, Vec<&Node>) = controllers.partition(|node| held.contains(&node.name));
        let all = self.o.cluster.start_order().iter();
        let majority = all.filter(|node| node.role.is_controller()).count() / 2 + 1;
        away.is_empty() || there.len() >= majority
    }

    async fn all_at_once(&self, steps: &[Step]) -> bool {
        let mark = self.harvest().failures.len();
        let done = self.at_once(steps).await.is_ok();
        if !done {
            self.harvest().failures.truncate(mark);
        }
        done
    }

    /// A step of the undo: where its node may come back it is put off, else tried twice, for the connection may be what failed.
    async fn undo_step(&self, step: &Step, course: &mut Course) -> Tried {
        let mark = self.harvest().failures.len();
        if self.is_somebody_elses(step).await {
            return Tried::LeftAlone;
        }
        for is_second in [false, true] {
            self.silent().clear();
            match self.step(step).await {
                Ok(()) => {
                    self.harvest().failures.truncate(mark);
                    if let Some(node) = step.node().filter(|node| course.away.remove(*node).is_some()) {
                        let text = format!("{node} answers again");
                        self.o.monitor.event(MonitorEvent::Waiting(text));
                    }
                    return Tried::Done;
                }
                Err(Halt::Failed | Halt::Interrupted) => {}
            }
            if let Some(node) = step.node().filter(|node| self.silent().contains(*node)) {
                let failure = self.harvest().failures.split_off(mark).pop();
                course.away.extend(failure.map(|failure| (node.clone(), failure)));
                return Tried::PutOff;
            }
            if is_second || matches!(step, Step::AwaitBroker { .. } | Step::AwaitQuorum) {
                break;
            }
        }
        Tried::Failed
    }

    /// What a step that failed for good means for those after it; an error where nothing may follow.
    async fn note(&self, step: &Step, course: &mut Course) -> Result<(), ()> {
        match step {
            // Leftovers: invisible, and swept by the next run.
            Step::Clean { .. } | Step::Abandon | Step::DropReplaced { .. } => {}
            // Asked twice to hurry, the operator gets the cluster started, not watched.
            Step::AwaitBroker { .. } if self.o.cancel.urgency() == Urgency::Hurry => {}
            // A cluster of old and restored nodes must not run.
            Step::Stop { .. } => return Err(()),
            // It is stopped, and stays so; the others have their own data again.
            Step::SwapBack { node, .. } | Step::TakeBack { node } => {
                course.given_up.insert(node.clone());
                course.failed = true;
            }
            Step::Start { node } => {
                course.not_started.insert(node.clone());
                course.failed = true;
            }
            Step::AwaitQuorum => {
                // A controller that does not come up is for a person; the brokers run without it, if the others suffice.
                course.failed = true;
                course.no_quorum = !self.o.majority_now(&self.up()).await;
            }
            _ => course.failed = true,
        }
        Ok(())
    }

    /// What could not be done in the time: told with its node, and with what becomes of it.
    fn give_up(&self, course: &mut Course) {
        let left = std::mem::take(&mut course.pending);
        let is_sweeping = |step: &Step| matches!(step, Step::Clean { .. } | Step::Abandon | Step::DropReplaced { .. });
        course.failed |= left.iter().any(|step| !is_sweeping(step));
        for (node, mut failure) in std::mem::take(&mut course.away) {
            let others: Vec<String> = left
                .iter()
                .filter(|step| step.node() == Some(&node) && !is_sweeping(step))
                .map(ToString::to_string)
                .collect();
            if !others.is_empty() {
                let next = format!(
                    "{node} still has to: {}; once it answers, `kbo recover` does it (its own lease may do it before)",
                    others.join(", ")
                );
                failure.hint = Some(match failure.hint {
                    Some(hint) => format!("{hint}; {next}"),
                    None => next,
                });
            }
            self.harvest().failures.push(failure);
        }
    }
}

impl Run<'_> {
    /// Whether the step would start what somebody else has stopped, or wait for a quorum that cannot come for that reason.
    async fn is_somebody_elses(&self, step: &Step) -> bool {
        match step {
            Step::Start { node } => self.is_stopped_by_another(node).await,
            Step::AwaitQuorum => {
                let all = self.o.cluster.start_order().iter();
                let all = all.filter(|node| node.role.is_controller()).count();
                let up = self.up_with_away();
                let up = up.iter().filter(|node| node.role.is_controller()).count();
                !self.left_alone().is_empty() && up < all / 2 + 1
            }
            _ => false,
        }
    }

    /// What follows for the others.
    async fn leave_alone(&self, step: &Step, course: &mut Course) {
        if let Some(node) = step.node() {
            course.not_started.insert(node.clone());
            return;
        }
        // No controllers, no brokers; what waits for them is told.
        course.no_quorum = true;
        let starts = crate::undo::undo_steps(&self.harvest().entries, &self.o.cluster);
        let mut forsaken = vec![];
        for step in starts {
            if let Step::Start { node } = step
                && self
                    .o
                    .cluster
                    .node(&node)
                    .is_some_and(|node| !node.role.is_controller())
                && !self.is_stopped_by_another(&node).await
                && !self.is_up_now(&node).await
            {
                forsaken.push(node.to_string());
            }
        }
        if !forsaken.is_empty() {
            self.attend(format!(
                "not started, for too few of the controllers are to run: {}; start the controllers and them with `kbo start`",
                crate::text::some_of(&forsaken)
            ));
        }
    }
}

impl Course {
    /// Whether the step cannot help any more.
    fn is_vain(&self, step: &Step) -> bool {
        let Some(node) = step.node() else { return false };
        self.given_up.contains(node)
            || matches!(step, Step::AwaitBroker { .. }) && self.not_started.contains(node)
            || self.no_quorum && matches!(step, Step::Start { .. } | Step::AwaitBroker { .. })
    }
}

/// The pauses between rounds.
struct Pauses<'r, 'a> {
    run: &'r Run<'a>,
    from: Duration,
    next: Duration,
}

impl<'r, 'a> Pauses<'r, 'a> {
    fn new(run: &'r Run<'a>) -> Self {
        let from = run.o.clock.monotonic();
        let next = Duration::from_secs(1);
        Self { run, from, next }
    }

    /// Something went well: the time counts from here.
    fn begin_again(&mut self) {
        *self = Self::new(self.run);
    }

    /// Waits before the next round; false where the time is up or the operator does not want to wait.
    async fn pause(&mut self, course: &Course) -> bool {
        let o = self.run.o;
        let limit = o.settings.ready_timeout;
        if o.cancel.urgency() == Urgency::Hurry || o.clock.monotonic().saturating_sub(self.from) >= limit {
            return false;
        }
        for (node, failure) in &course.away {
            let seconds = self.next.as_secs();
            let text = format!("{node} ({}), next try in {seconds} s", failure.message);
            o.monitor.event(MonitorEvent::Waiting(text));
        }
        tokio::select! {
            biased;
            () = o.cancel.reached(Urgency::Hurry) => return false,
            () = o.clock.sleep(self.next) => {}
        }
        self.next = (self.next * 2).min(LONGEST_PAUSE);
        true
    }
}
