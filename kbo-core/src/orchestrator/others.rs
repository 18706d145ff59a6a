//! What others do to the containers while a run has them in its hands: an engine that restarts and starts what its restart policies
//! name, a unit, an operator.
//!
//! What somebody else has stopped stays down. What somebody else has started in the window has written to data that were to be at rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;

use super::run::{Halt, Run, StepError};
use super::{Orchestrator, Prepared};
use crate::ids::NodeName;
use crate::journal::{Entry, StepOutcome};
use crate::machine::{Operation, Phase};
use crate::plan::Step;
use crate::ports::node::{ContainerNow, NodeError, NodeErrorKind, StopOutcome};
use crate::preflight::{Finding, Severity};
use crate::whose::{Whose, called, disturbance, is_started_since, last_known, whose};

/// How long a node is asked again after the snapshots: an engine that restarts is back within that time.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// How long a look that only informs may take.
const BRIEFLY: Duration = Duration::from_secs(10);

/// What others have started while a restore replaced data.
#[derive(Default)]
pub(super) struct Ran {
    /// Nodes whose data were still to be replaced.
    old: AtomicBool,
    /// Nodes whose data had been replaced.
    restored: AtomicBool,
    /// Of those that stop what runs, one at a time: the order is that of the cluster.
    stopping: tokio::sync::Mutex<()>,
    /// What others did to a container just while this run stopped it.
    early: Mutex<BTreeMap<NodeName, String>>,
    /// How often each was stopped again.
    stops: Mutex<BTreeMap<NodeName, usize>>,
}

/// How often a container is stopped again that something else starts, before the run is undone.
const STOPS: usize = 3;

impl Orchestrator {
    /// What has changed at the containers since a plan was made that stops them and starts them again: the operator was asked, a hook
    /// ran. Nothing where the plan is still right, or where it only stops or only starts.
    pub async fn moved(&self, prepared: &Prepared) -> Vec<Finding> {
        let is_both = !matches!(
            prepared.plan.operation,
            Operation::HotBackup | Operation::Start | Operation::Stop | Operation::Remove
        );
        if !is_both {
            return vec![];
        }
        let looked = self.on_all(|_, transport| async move { transport.look().await });
        let mut moved = vec![];
        for (name, now) in looked.await {
            // Who does not answer now is told of by the first step that needs it.
            let (Ok(now), Some(before)) = (now, prepared.prior.get(&name)) else {
                continue;
            };
            let container = prepared.facts.get(&name).and_then(|facts| facts.as_ref().ok());
            let container = container.and_then(|facts| facts.container.as_ref().ok()?.as_ref());
            let is_another = match (container, &now.incarnation) {
                (Some(before), Some(now)) => before.id != now.container,
                _ => false,
            };
            let what = if before.is_up() != now.state.is_up() {
                format!("was {before} when the plan was made, and is {} now", now.state)
            } else if is_another {
                "is another one than when the plan was made".to_owned()
            } else {
                continue;
            };
            moved.push(Finding {
                severity: Severity::Refusal,
                message: format!("{} {what}: the plan is no longer right", called(&name)),
                node: Some(name),
                hint: Some("run this again: it looks and plans anew".to_owned()),
            });
        }
        moved.sort_by(|one, other| one.node.cmp(&other.node));
        moved
    }
}

impl Run<'_> {
    /// Of a stop, the container that is to be stopped, for the journal.
    pub(super) async fn to_be_stopped(&self, step: &Step) -> Option<ContainerNow> {
        let Step::Stop { node } = step else { return None };
        let known = self.seen().get(node).cloned();
        match self.look_briefly(node).await {
            // Who stopped what is down already is told by what was known of it before.
            Ok(now) => now.state.is_up().then_some(now),
            Err(_) => known,
        }
    }

    /// The container as a step has left it, where that tells later who did what; `None` too where it cannot be looked at.
    pub(super) async fn left_by(&self, step: &Step) -> Option<ContainerNow> {
        let (Step::Stop { node } | Step::Start { node } | Step::Create { node, .. } | Step::TakeBack { node }) = step
        else {
            return None;
        };
        let before = self.seen().get(node).cloned();
        let looked = self.look_briefly(node).await;
        let looked = looked.inspect_err(|error| tracing::warn!("{node} cannot be looked at: {error}"));
        let now = looked.ok()?;
        // Started again while it was being stopped. Whoever has ended it then, this run has stopped it; but it was not at rest.
        if let Some(before) = before
            && matches!(step, Step::Stop { .. })
            && before.state.is_up()
            && is_started_since(&before, &now)
        {
            let mut early = self.ran.early.lock().unwrap_or_else(PoisonError::into_inner);
            early.extend(disturbance(&before, &now).map(|what| (node.clone(), what)));
        }
        Some(now)
    }

    /// A look that only informs, of a node that has just answered: the cluster is not kept down for it.
    async fn look_briefly(&self, node: &NodeName) -> Result<ContainerNow, NodeError> {
        tokio::select! {
            biased;
            now = self.look(node) => now,
            () = self.o.clock.expire(BRIEFLY) => {
                let text = format!("{node} does not tell its container's state within {} s", BRIEFLY.as_secs());
                Err(NodeError::new(NodeErrorKind::TimedOut, text))
            }
        }
    }

    /// Looks at a node's container, and remembers it.
    pub(super) async fn look(&self, node: &NodeName) -> Result<ContainerNow, NodeError> {
        let now = self.o.transport(node)?.look().await?;
        self.seen().insert(node.clone(), now.clone());
        Ok(now)
    }

    /// Why a run that is to start again what it stops goes no further: something else has stopped the container since kbo looked.
    pub(super) fn was_stopped_before(&self, step: &Step, outcome: StepOutcome) -> Option<StepError> {
        let starts_again = matches!(
            self.prepared.plan.operation,
            Operation::ColdBackup | Operation::Restore | Operation::Restart | Operation::RollingRestart
        );
        let is_planned = self.prepared.plan.steps().any(|planned| planned == step);
        let (Step::Stop { node }, StepOutcome::Stop(StopOutcome::AlreadyStopped)) = (step, outcome) else {
            return None;
        };
        if self.is_undoing() || !starts_again || !is_planned || self.has_stopped(node) {
            return None;
        }
        let text = format!(
            "{} was stopped by something else than kbo after kbo had looked at it; it is left down",
            called(node)
        );
        Some(
            NodeError::new(NodeErrorKind::State, text)
                .hint("see who stops it; then start it, or leave it down, and run this again")
                .into(),
        )
    }

    /// Whether this run has found the container running, and stopped it.
    pub(super) fn has_stopped(&self, node: &NodeName) -> bool {
        let is_stop = |entry: &Entry| {
            matches!(entry, Entry::Done {
                step: Step::Stop { node: stopped },
                outcome: StepOutcome::Stop(StopOutcome::Stopped),
                ..
            } if stopped == node)
        };
        self.harvest().entries.iter().any(is_stop)
    }

    /// Whose doing it is that the container is down; of one that is up it is nobody's.
    async fn whose(&self, name: &NodeName) -> Result<Whose, NodeError> {
        let now = self.o.transport(name)?.look().await?;
        match self.o.cluster.node(name) {
            Some(node) if !now.state.is_up() => Ok(whose(&self.harvest().entries, node, &now)),
            _ => Ok(Whose::Ours),
        }
    }

    /// Before a start that belongs to the plan: what this run has stopped, and somebody else has started and stopped since, is not
    /// started.
    pub(super) async fn is_ours_to_start(&self, name: &NodeName) -> Result<(), NodeError> {
        if self.is_undoing() || !self.has_stopped(name) {
            return Ok(());
        }
        match self.whose(name).await {
            Ok(Whose::Theirs(what)) => {
                let text = format!(
                    "{} {what}, since this run stopped it; it is left as it is",
                    called(name)
                );
                Err(NodeError::new(NodeErrorKind::State, text).hint("who does that? then run this again"))
            }
            // The start itself says what is wrong with the node.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Before a start that belongs to an undo; what is left alone is told once.
    pub(super) async fn is_stopped_by_another(&self, name: &NodeName) -> bool {
        if self.left_alone().contains(name) {
            return true;
        }
        match self.whose(name).await {
            Ok(Whose::Theirs(what)) => {
                self.left_alone().insert(name.clone());
                self.attend(format!(
                    "{} {what}, since run {} stopped it: it is left down; `kbo start {name}` starts it",
                    called(name),
                    self.id()
                ));
                true
            }
            Ok(Whose::OursPerhaps(what)) => {
                self.attend(format!("{} {what}; it is started all the same", called(name)));
                false
            }
            Ok(Whose::Ours) | Err(_) => false,
        }
    }

    /// Of the nodes that an undo has no need to start: those that are down, for something else has stopped them. No quorum waits for
    /// them.
    pub(super) async fn leave_what_others_stopped(&self, steps: &[Step]) {
        for node in self.up_with_away() {
            let is_started = |step: &Step| matches!(step, Step::Start { node: started } if *started == node.name);
            if steps.is_empty() || steps.iter().any(is_started) {
                continue;
            }
            if let Ok(now) = self.look(&node.name).await
                && !now.state.is_up()
            {
                self.left_alone().insert(node.name.clone());
                let text = format!(
                    "{} is down, and this run has not stopped it: it is left down",
                    called(&node.name)
                );
                self.attend(text);
            }
        }
    }

    /// Whether the container is up now, as far as that can be told.
    pub(super) async fn is_up_now(&self, name: &NodeName) -> bool {
        self.look(name).await.is_ok_and(|now| now.state.is_up())
    }
}

/// The window: nothing runs in it but what kbo starts.
impl Run<'_> {
    /// What others have started before a phase, and would be in its way.
    pub(super) async fn before(&self, phase: Phase) {
        let Some(planned) = self.prepared.plan.phase(phase) else {
            return;
        };
        match phase {
            Phase::Swapping if self.is_restore() => {
                self.stop_what_runs(&planned.steps).await;
            }
            Phase::Starting => self.put_in_order(&planned.steps).await,
            _ => {}
        }
    }

    /// What others have started during a phase, and makes void what came of it.
    pub(super) async fn after(&self, phase: Phase) -> Result<(), Halt> {
        let operation = self.prepared.plan.operation;
        let looks = match phase {
            Phase::Snapshotting => operation == Operation::ColdBackup,
            // Old and restored nodes may have met.
            Phase::Swapping => operation == Operation::Restore && self.ran.old.load(Ordering::Relaxed),
            _ => false,
        };
        let Some(planned) = self.prepared.plan.phase(phase).filter(|_| looks) else {
            return Ok(());
        };
        if phase == Phase::Swapping && self.ran.restored.load(Ordering::Relaxed) {
            let text = "something else than kbo started nodes of old and of restored data side by side: the restored data may have suffered";
            let error = NodeError::new(NodeErrorKind::State, text).hint(WHO);
            self.fail("keep every node down for the swaps", None, &error.into());
            return Err(Halt::Failed);
        }
        let nodes: BTreeSet<&NodeName> = planned.steps.iter().filter_map(Step::node).collect();
        let looked = nodes
            .into_iter()
            .map(|name| async move { (name, self.disturbed(name).await) });
        let mut ended = Ok(());
        for (name, looked) in join_all(looked).await {
            let error = match looked {
                Ok(None) => continue,
                Ok(Some(what)) if phase == Phase::Snapshotting => void(name, &what),
                Ok(Some(what)) => {
                    let text = format!(
                        "{} {what}, on restored data, while others still ran on the old ones: the restored data may have suffered",
                        called(name)
                    );
                    NodeError::new(NodeErrorKind::State, text).hint(WHO)
                }
                Err(error) => error,
            };
            let step = match phase {
                Phase::Snapshotting => "look at every node after the snapshots",
                _ => "look at every node after the swaps",
            };
            self.fail(step, Some(name), &error.into());
            ended = Err(Halt::Failed);
        }
        ended
    }

    /// What somebody else has done to the container since this run last knew it.
    async fn disturbed(&self, name: &NodeName) -> Result<Option<String>, NodeError> {
        let transport = self.o.transport(name)?;
        let now = self.o.persistently(LOOK_AGAIN, || transport.look()).await?;
        let known = self.o.cluster.node(name);
        let known = known.and_then(|node| last_known(&self.harvest().entries, node));
        let known = known.or_else(|| self.seen().get(name).cloned());
        let early = self.ran.early.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(early
            .get(name)
            .cloned()
            .or_else(|| known.and_then(|known| disturbance(&known, &now))))
    }

    /// What a proof or a snapshot came to; where something else has started the container, that is why it failed.
    pub(super) async fn unless_started_by_another<T>(
        &self,
        name: &NodeName,
        came_to: Result<T, StepError>,
    ) -> Result<T, StepError> {
        let is_of_state =
            |error: &StepError| matches!(error, StepError::Node(error) if error.kind == NodeErrorKind::State);
        match came_to {
            Err(error) if is_of_state(&error) && self.prepared.plan.operation == Operation::ColdBackup => {
                match self.disturbed(name).await {
                    Ok(Some(what)) => Err(void(name, &what).into()),
                    Ok(None) | Err(_) => Err(error),
                }
            }
            came_to => came_to,
        }
    }

    /// Does what needs the container at rest. Where something else has started it since it was stopped, it is stopped again.
    pub(super) async fn at_rest_again<T, Fut>(
        &self,
        step: &Step,
        name: &NodeName,
        deed: impl Fn() -> Fut,
    ) -> Result<T, StepError>
    where
        Fut: Future<Output = Result<T, NodeError>>,
    {
        loop {
            if self.needs_a_stop(step, name).await {
                let stopped = match step {
                    Step::Swap { .. } => {
                        let planned = self.prepared.plan.phase(Phase::Swapping);
                        self.stop_what_runs(planned.map_or(&[], |planned| &planned.steps)).await
                    }
                    _ => self.stop_again(name, "before its data were changed").await,
                };
                if !stopped && self.needs_a_stop(step, name).await {
                    let text = format!(
                        "{} was stopped {STOPS} times, and something else starts it again",
                        called(name)
                    );
                    return Err(NodeError::new(NodeErrorKind::State, text).hint(WHO).into());
                }
                continue;
            }
            match deed().await {
                Err(error) if error.kind == NodeErrorKind::State && self.needs_a_stop(step, name).await => {}
                done => return Ok(done?),
            }
        }
    }

    /// Stops everything whose data are to be replaced, or have been, and which something else has started: brokers before controllers.
    /// Whether nothing runs any more.
    async fn stop_what_runs(&self, swaps: &[Step]) -> bool {
        let _one_at_a_time = self.ran.stopping.lock().await;
        let nodes: Vec<&NodeName> = self
            .o
            .cluster
            .stop_order()
            .map(|node| &node.name)
            .filter(|name| {
                let swap = |step: &Step| matches!(step, Step::Swap { node, .. } if node == *name);
                swaps.iter().any(swap) && self.was_up(name)
            })
            .collect();
        // Looked at anew after each stop: an engine starts its containers one after the other, and no controller may stop before every
        // broker has.
        loop {
            let up = join_all(nodes.iter().map(|name| self.is_up_now(name))).await;
            let mut up = nodes.iter().zip(up).filter_map(|(name, is_up)| is_up.then_some(*name));
            let Some(name) = up.next() else { return true };
            for name in up.chain([name]) {
                let ran = match self.is_on_trial(name).await {
                    true => &self.ran.restored,
                    false => &self.ran.old,
                };
                ran.store(true, Ordering::Relaxed);
            }
            if !self.stop_again(name, "before its data were replaced").await {
                return false;
            }
        }
    }

    /// Whether the container is up and has to be stopped for the step. What was down when the run came is not this run's to stop, but
    /// where it runs on data that are to be taken back.
    async fn needs_a_stop(&self, step: &Step, name: &NodeName) -> bool {
        let may_be = match step {
            Step::SwapBack { .. } => true,
            _ => self.was_up(name),
        };
        may_be && self.is_up_now(name).await && (!matches!(step, Step::SwapBack { .. }) || self.is_on_trial(name).await)
    }

    /// Whether data of this run are in the place of the node's own.
    async fn is_on_trial(&self, name: &NodeName) -> bool {
        let Ok(transport) = self.o.transport(name) else {
            return false;
        };
        let held = transport.holds(self.id()).await;
        held.is_ok_and(|held| !held.swapped.is_empty())
    }

    fn was_up(&self, name: &NodeName) -> bool {
        self.prepared.prior.get(name).is_some_and(|state| state.is_up())
    }

    /// Stops what something else has started; false where that was done often enough. A failure is that of the step that needed it.
    async fn stop_again(&self, name: &NodeName, when: &str) -> bool {
        let tries = {
            let mut stops = self.ran.stops.lock().unwrap_or_else(PoisonError::into_inner);
            let tries = stops.entry(name.clone()).or_default();
            *tries += 1;
            *tries
        };
        if tries > STOPS {
            return false;
        }
        self.warn(format!(
            "{} was started by something else than kbo in the window, and is stopped again {when}",
            called(name)
        ));
        let stop = Step::Stop { node: name.clone() };
        if Box::pin(self.step(&stop)).await.is_err() {
            if let Some(failure) = self.withdrawn(&stop) {
                self.warn(failure.to_string());
            }
            self.silent().remove(name);
        }
        true
    }

    /// A broker that something else has started before its controllers are there is stopped again, and started in its turn. What is up
    /// otherwise is left: a controller, and a broker whose quorum is there.
    pub(super) async fn put_in_order(&self, steps: &[Step]) {
        if !self.controllers_are_stopped() {
            return;
        }
        let is_started = |name: &NodeName| {
            let start = |step: &Step| matches!(step, Step::Start { node } if node == name);
            steps.iter().any(start)
        };
        let controllers = self.o.cluster.start_order().iter();
        let controllers: Vec<&NodeName> = controllers
            .filter(|node| node.role.is_controller())
            .map(|node| &node.name)
            .collect();
        let stopped_brokers: Vec<&NodeName> = self
            .o
            .cluster
            .stop_order()
            .filter(|node| !node.role.is_controller() && is_started(&node.name) && self.has_stopped(&node.name))
            .map(|node| &node.name)
            .collect();
        if stopped_brokers.is_empty() || !controllers.iter().any(|name| is_started(name)) {
            return;
        }
        let up = join_all(stopped_brokers.iter().map(|name| self.is_up_now(name))).await;
        let up: Vec<&NodeName> = stopped_brokers
            .into_iter()
            .zip(up)
            .filter_map(|(name, is_up)| is_up.then_some(name))
            .collect();
        if up.is_empty() {
            return;
        }
        // One that does not answer is not known to be down, and no broker is stopped for it.
        let looked = join_all(controllers.iter().map(|name| self.look(name))).await;
        let is_known = looked.iter().all(Result::is_ok);
        let running = looked.iter().flatten().filter(|now| now.state.is_up()).count();
        if !is_known || running > controllers.len() / 2 {
            return;
        }
        for name in up {
            let _ = self.stop_again(name, "until its controllers are there").await;
        }
    }

    /// Whether this run has stopped controllers, and not seen a quorum since.
    fn controllers_are_stopped(&self) -> bool {
        let mut stopped = false;
        for entry in &self.harvest().entries {
            match entry {
                Entry::Intent {
                    step: Step::Stop { node },
                    ..
                } => {
                    let node = self.o.cluster.node(node);
                    stopped |= node.is_some_and(|node| node.role.is_controller());
                }
                Entry::Done {
                    step: Step::AwaitQuorum,
                    ..
                } => stopped = false,
                _ => {}
            }
        }
        stopped
    }

    /// The undo's steps, with a stop for each node that something else has started on data that are to be taken back: no broker of them
    /// may outlive its controllers, and no node run beside others with its own data again.
    pub(super) async fn stop_what_is_on_trial(&self, steps: Vec<Step>) -> Vec<Step> {
        let mut stops: BTreeSet<NodeName> = BTreeSet::new();
        for step in &steps {
            match step {
                Step::Stop { node } => drop(stops.insert(node.clone())),
                Step::SwapBack { node, .. } if self.is_up_now(node).await && self.is_on_trial(node).await => {
                    stops.insert(node.clone());
                }
                _ => {}
            }
        }
        let ordered = self.o.cluster.stop_order().filter(|node| stops.contains(&node.name));
        let ordered = ordered.map(|node| Step::Stop {
            node: node.name.clone(),
        });
        let others = steps.iter().filter(|step| !matches!(step, Step::Stop { .. }));
        ordered.chain(others.cloned()).collect()
    }
}

/// Who may have done it.
const WHO: &str = "a restart policy and an engine that restarted, a unit, another tool or person: `docker events` and `journalctl -u docker` on the node tell; then run this again";

fn void(name: &NodeName, what: &str) -> NodeError {
    let text = format!("{} {what}, in the window: its snapshot is void", called(name));
    NodeError::new(NodeErrorKind::State, text).hint(WHO)
}
