//! Waiting for Kafka: the quorum, a broker, the ISRs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;

use super::Orchestrator;
use super::run::StepError;
use crate::cancel::Urgency;
use crate::ids::NodeName;
use crate::inventory::Node;
use crate::ports::monitor::MonitorEvent;
use crate::ports::node::{
    ContainerState, KafkaAnswer, KafkaQuestion, NodeError, NodeErrorKind, NodeTransport, PartitionState, QuorumState,
};

/// A voter this many records behind the leader still counts as near: the metadata log grows while we look.
const NEAR: i64 = 500;

/// How often a wait says what it is waiting for.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// A container that stays down this long after its start will not come up by itself.
const DOWN_FOR_GOOD: Duration = Duration::from_secs(15);

/// How long one look at the quorum waits for one controller.
const LOOK: Duration = Duration::from_secs(30);

/// Followers that name a leader this long after the wait began have one: a leader that is gone is forgotten within seconds.
const FOLLOWED_FOR_GOOD: Duration = Duration::from_secs(20);

/// Brokers that know no partition this long after all are ready have none.
const EMPTY_FOR_GOOD: Duration = Duration::from_secs(10);

impl Orchestrator {
    /// One look at the quorum through all `controllers`: operational when `wanted` of them are near.
    pub(super) async fn quorum_now(&self, controllers: &[&Node], wanted: usize) -> Result<(), Unready> {
        let asked = controllers.iter().map(|node| async move {
            let answer = match self.transport(&node.name) {
                Ok(transport) => self.ask_in_time(&*transport, KafkaQuestion::Quorum).await,
                Err(error) => Err(error),
            };
            (node.name.clone(), answer)
        });
        let mut reasons = vec![];
        let mut lost = None;
        let mut followed: BTreeMap<i32, usize> = BTreeMap::new();
        let mut is_led = false;
        for (name, answer) in join_all(asked).await {
            match answer {
                Ok(KafkaAnswer::Quorum(quorum)) => match shortfall(&quorum, wanted) {
                    None => return Ok(()),
                    Some(why) => {
                        is_led = true;
                        reasons.push(format!("{name}: {why}"));
                    }
                },
                Ok(KafkaAnswer::NotYet(why)) => reasons.push(format!("{name}: {why}")),
                Ok(KafkaAnswer::NotLeader(leader)) => {
                    if let Some(leader) = leader {
                        *followed.entry(leader).or_default() += 1;
                    }
                    reasons.push(format!("{name}: is not the leader"));
                }
                Ok(other) => reasons.push(format!("{name}: unexpected answer {other:?}")),
                Err(error) => {
                    reasons.push(format!("{name}: {error}"));
                    if error.kind == NodeErrorKind::LeaseLost {
                        lost = Some(error);
                    }
                }
            }
        }
        let voters = self
            .cluster
            .start_order()
            .iter()
            .filter(|node| node.role.is_controller());
        let majority = voters.count() / 2 + 1;
        Err(Unready {
            why: reasons.join("; "),
            lost,
            // The leader that they name is one itself.
            follows: !is_led && followed.into_values().any(|followers| followers + 1 >= majority),
        })
    }

    async fn ask_in_time(
        &self,
        transport: &dyn NodeTransport,
        question: KafkaQuestion,
    ) -> Result<KafkaAnswer, NodeError> {
        tokio::select! {
            biased;
            answer = transport.kafka(question) => answer,
            () = self.clock.expire(LOOK) => {
                let text = format!("no answer within {} s", LOOK.as_secs());
                Err(NodeError::new(NodeErrorKind::TimedOut, text))
            }
        }
    }

    /// Waits until the quorum of the controllers that are up is operational, `away` of which are not waited for.
    ///
    /// An undo waits whatever the hurry, for no broker may start before. It takes the followers' word where a majority of the
    /// controllers follows a leader that cannot be asked itself: its node hangs, and Kafka on it need not.
    pub(super) async fn await_quorum(
        &self,
        up: &[&Node],
        away: &BTreeSet<NodeName>,
        undoing: bool,
    ) -> Result<(), StepError> {
        let controllers: Vec<&Node> = up.iter().copied().filter(|node| node.role.is_controller()).collect();
        let wanted = controllers.iter().filter(|node| !away.contains(&node.name)).count();
        let mut wait = Wait::new(self, "the controllers to be operational");
        wait.may_hurry = !undoing;
        loop {
            match self.quorum_now(&controllers, wanted).await {
                Ok(()) => return Ok(()),
                // Nothing is waited for that this run has no part in any more.
                Err(Unready { lost: Some(lost), .. }) => return Err(lost.into()),
                Err(unready) if undoing && unready.follows && wait.lasted() > FOLLOWED_FOR_GOOD => return Ok(()),
                Err(unready) => wait.pause(&unready.why).await?,
            }
        }
    }

    /// Whether some controller leads a majority, however many voters are missing.
    pub(super) async fn majority_now(&self, up: &[&Node]) -> bool {
        for node in up.iter().filter(|node| node.role.is_controller()) {
            let Ok(transport) = self.transport(&node.name) else {
                continue;
            };
            if let Ok(KafkaAnswer::Quorum(quorum)) = self.ask_in_time(&*transport, KafkaQuestion::Quorum).await
                && shortfall(&quorum, quorum.voters.len() / 2 + 1).is_none()
            {
                return true;
            }
        }
        false
    }

    /// Waits until a broker serves requests.
    pub(super) async fn await_broker(&self, name: &NodeName) -> Result<(), StepError> {
        let transport = self.transport(name)?;
        let mut wait = Wait::new(self, &format!("{name} to be ready"));
        let mut down_since = None;
        loop {
            let why = match transport.kafka(KafkaQuestion::Alive).await {
                Ok(KafkaAnswer::Alive) => return Ok(()),
                Ok(KafkaAnswer::NotYet(why)) => why,
                Ok(other) => format!("unexpected answer {other:?}"),
                Err(error) if is_for_now(error.kind) => error.to_string(),
                // A question that cannot be asked (a listener that needs a login, say) is not answered by waiting.
                Err(error) => return Err(error.into()),
            };
            if let Ok(ContainerState::Stopped | ContainerState::Restarting) = transport.state().await {
                let since = *down_since.get_or_insert_with(|| self.clock.monotonic());
                if self.clock.monotonic().saturating_sub(since) > DOWN_FOR_GOOD {
                    return Err(StepError::Said("its container has exited; see: docker logs".to_owned()));
                }
            } else {
                down_since = None;
            }
            wait.pause(&why).await?;
        }
    }

    /// Waits until every partition has a leader and its ISR: what it was before, or all replicas on nodes that are up.
    ///
    /// Returns the partitions that fell short when the time was up; that is a warning, not a failure.
    pub(super) async fn await_isr(&self, up: &[&Node], before: Expected<'_>) -> Vec<String> {
        let brokers: Vec<&Node> = up.iter().copied().filter(|node| node.role.is_broker()).collect();
        let from = self.clock.monotonic();
        let mut said = from;
        loop {
            let now = self.clock.monotonic();
            let short = match self.partitions_now(&brokers).await {
                // A broker may answer before it has caught up with the metadata log: then it knows no topic at all.
                Some(partitions) if partitions.is_empty() && now.saturating_sub(from) < EMPTY_FOR_GOOD => {
                    vec!["no broker knows a partition yet".to_owned()]
                }
                Some(partitions) => before.short(&partitions),
                None => vec!["no broker told the partitions".to_owned()],
            };
            let hurry = self.cancel.urgency() >= Urgency::Hurry;
            if short.is_empty() || hurry || now.saturating_sub(from) >= self.settings.isr_timeout {
                return short;
            }
            if now.saturating_sub(said) >= SAY_EVERY {
                said = now;
                self.monitor.event(MonitorEvent::Waiting(format!(
                    "{} partitions to be whole again",
                    short.len()
                )));
            }
            self.clock.sleep(self.settings.poll).await;
        }
    }
}

/// Why the quorum is not operational.
pub(super) struct Unready {
    pub(super) why: String,
    /// A controller that is not this run's any more.
    lost: Option<NodeError>,
    /// Whether a majority follows a leader that did not answer itself.
    follows: bool,
}

/// What every partition must be again.
pub(super) enum Expected<'a> {
    /// As it was before the stop.
    AsBefore(&'a [PartitionState]),
    /// In sync on every one of these node ids that has a replica.
    On(BTreeSet<i32>),
}

impl Expected<'_> {
    pub(super) fn short(&self, now: &[PartitionState]) -> Vec<String> {
        let is_short =
            |state: &PartitionState, isr: &[i32]| state.leader < 0 || isr.iter().any(|id| !state.isr.contains(id));
        let name = PartitionState::to_string;
        match self {
            Expected::AsBefore(before) if now.is_empty() => before.iter().map(name).collect(),
            Expected::AsBefore(before) => before
                .iter()
                .filter_map(|old| {
                    let at = now.binary_search_by(|new| (&new.topic, new.partition).cmp(&(&old.topic, old.partition)));
                    match at {
                        // What had no leader before has none for want of what this run never had in its hands.
                        Ok(at) if old.leader >= 0 && is_short(&now[at], &old.isr) => Some(name(old)),
                        // A topic may have been deleted just before the stop; then its partitions are gone for good.
                        Err(_) | Ok(_) => None,
                    }
                })
                .collect(),
            Expected::On(ids) => now
                .iter()
                .filter(|state| {
                    let isr: Vec<i32> = state.replicas.iter().copied().filter(|id| ids.contains(id)).collect();
                    // All of whose replicas are on nodes that were down before, or are gone for good: it is no worse than it was.
                    !isr.is_empty() && is_short(state, &isr)
                })
                .map(name)
                .collect(),
        }
    }
}

/// Whether a voter whose log ends at `end` keeps up.
pub(super) fn is_near(quorum: &QuorumState, end: i64) -> bool {
    end >= 0 && quorum.high_watermark - end <= NEAR
}

/// Whether a broker may well be asked later: a node that reboots, an engine that restarts. Who is not let in stays out.
fn is_for_now(kind: NodeErrorKind) -> bool {
    kind.may_pass() && kind != NodeErrorKind::Refused
}

/// Why a quorum of `running` controllers is not operational yet.
fn shortfall(quorum: &QuorumState, running: usize) -> Option<String> {
    if quorum.leader_id < 0 {
        return Some("the quorum has no leader".to_owned());
    }
    if quorum.high_watermark < 0 {
        return Some("the quorum has no high watermark yet".to_owned());
    }
    let near = quorum.voters.iter().filter(|(_, end)| is_near(quorum, *end)).count();
    // Voters that were down before the run stay down: as many must be near as are running.
    let wanted = running.min(quorum.voters.len());
    (near < wanted).then(|| format!("{near} of {wanted} voters are near the high watermark"))
}

/// A wait with a limit that says now and then what it waits for.
struct Wait<'a> {
    orchestrator: &'a Orchestrator,
    what: String,
    from: Duration,
    said: Duration,
    may_hurry: bool,
}

impl<'a> Wait<'a> {
    fn new(orchestrator: &'a Orchestrator, what: &str) -> Self {
        let now = orchestrator.clock.monotonic();
        Self {
            orchestrator,
            what: what.to_owned(),
            from: now,
            said: now,
            may_hurry: true,
        }
    }

    fn lasted(&self) -> Duration {
        self.orchestrator.clock.monotonic().saturating_sub(self.from)
    }

    /// Sleeps a little, or gives up with the last reason.
    async fn pause(&mut self, why: &str) -> Result<(), StepError> {
        let now = self.orchestrator.clock.monotonic();
        let waited = now.saturating_sub(self.from);
        let limit = self.orchestrator.settings.ready_timeout;
        if waited >= limit {
            let text = format!("waited {} s for {}: {why}", limit.as_secs(), self.what);
            return Err(StepError::Said(text));
        }
        if self.may_hurry && self.orchestrator.cancel.urgency() >= Urgency::Hurry {
            let text = format!("interrupted while waiting for {}: {why}", self.what);
            return Err(StepError::Interrupted(text));
        }
        if now.saturating_sub(self.said) >= SAY_EVERY {
            self.said = now;
            self.orchestrator
                .monitor
                .event(MonitorEvent::Waiting(format!("{}: {why}", self.what)));
        }
        self.orchestrator.clock.sleep(self.orchestrator.settings.poll).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(topic: &str, leader: i32, replicas: &[i32], isr: &[i32]) -> PartitionState {
        PartitionState {
            topic: topic.to_owned(),
            partition: 0,
            leader,
            replicas: replicas.to_vec(),
            isr: isr.to_vec(),
            offline: vec![],
        }
    }

    #[test]
    fn a_partition_all_of_whose_replicas_were_down_before_is_not_short() {
        let up = Expected::On([1, 2].into());
        let now = [
            partition("on-a-dead-broker-alone", -1, &[3], &[3]),
            partition("whole-on-those-up", 1, &[1, 3], &[1]),
            partition("without-a-leader", -1, &[1, 3], &[3]),
            partition("out-of-sync", 1, &[1, 2], &[1]),
        ];
        assert_eq!(up.short(&now), ["without-a-leader-0", "out-of-sync-0"]);
    }
}
