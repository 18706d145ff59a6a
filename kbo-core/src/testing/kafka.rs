//! How the fake cluster's Kafka behaves: a quorum of those who listen, brokers that need it, ISRs that take their time.

use std::time::Duration;

use super::cluster::World;
use super::state::NodeState;
use crate::ids::NodeName;
use crate::ports::node::{
    BrokerState, KafkaAnswer, KafkaQuestion, NodeError, NodeErrorKind, PartitionState, QuorumState,
};

impl World {
    fn controllers(&self) -> impl Iterator<Item = &NodeState> {
        self.nodes.values().filter(|node| node.role.is_controller())
    }

    /// Whether a majority of the controllers listens.
    pub(super) fn is_operational(&self, now: Duration) -> bool {
        let listening = self.controllers().filter(|node| node.listens(now)).count();
        listening * 2 > self.controllers().count()
    }

    fn serves(&self, node: &NodeState, now: Duration) -> bool {
        node.role.is_broker() && node.listens(now) && self.is_operational(now)
    }

    pub(super) fn answer(
        &self,
        name: &NodeName,
        question: KafkaQuestion,
        now: Duration,
    ) -> Result<KafkaAnswer, NodeError> {
        let node = &self.nodes[name];
        if !node.listens(now) {
            return Ok(KafkaAnswer::NotYet("connection refused".to_owned()));
        }
        match question {
            KafkaQuestion::Quorum if node.role.is_controller() => Ok(self.quorum(node, now)),
            KafkaQuestion::Quorum => Err(NodeError::new(NodeErrorKind::State, format!("{name} is no controller"))),
            _ if !node.role.is_broker() => Err(NodeError::new(NodeErrorKind::State, format!("{name} is no broker"))),
            _ if !self.serves(node, now) => Ok(KafkaAnswer::NotYet("fenced".to_owned())),
            KafkaQuestion::Alive => Ok(KafkaAnswer::Alive),
            KafkaQuestion::Brokers => Ok(KafkaAnswer::Brokers(self.brokers(now))),
            KafkaQuestion::Partitions => Ok(KafkaAnswer::Partitions(self.partitions_at(now))),
        }
    }

    fn quorum(&self, node: &NodeState, now: Duration) -> KafkaAnswer {
        let leader = self
            .controllers()
            .find(|node| node.listens(now))
            .map(|node| node.node_id);
        if leader != Some(node.node_id) {
            return KafkaAnswer::NotLeader(leader);
        }
        let end = |node: &NodeState| if node.listens(now) { 1000 } else { -1 };
        let operational = self.is_operational(now);
        KafkaAnswer::Quorum(QuorumState {
            leader_id: if operational { node.node_id } else { -1 },
            epoch: 1,
            high_watermark: if operational { 1000 } else { -1 },
            voters: (self.controllers().map(|node| (node.node_id, end(node))))
                .chain(self.strange_voters.iter().copied())
                .collect(),
        })
    }

    fn brokers(&self, now: Duration) -> Vec<BrokerState> {
        let nodes = self.nodes.values().filter(|node| node.role.is_broker());
        let own = nodes.map(|node| BrokerState {
            id: node.node_id,
            address: format!("10.0.0.{}:9092", node.node_id),
            fenced: !self.serves(node, now),
        });
        own.chain(self.strangers.iter().cloned()).collect()
    }

    fn partitions_at(&self, now: Duration) -> Vec<PartitionState> {
        let in_sync = |id: &i32| {
            self.nodes.values().any(|node| {
                let joined = node
                    .in_sync_after
                    .is_some_and(|after| now >= node.since + node.boots_in + after);
                // What never left is in sync; only a start puts a broker out of it.
                node.node_id == *id && self.serves(node, now) && (joined || node.since.is_zero())
            })
        };
        let state = |(topic, partition, replicas): &(String, i32, Vec<i32>)| {
            let isr: Vec<i32> = replicas.iter().copied().filter(in_sync).collect();
            let serving = |id: &i32| {
                self.nodes
                    .values()
                    .any(|node| node.node_id == *id && self.serves(node, now))
            };
            PartitionState {
                topic: topic.clone(),
                partition: *partition,
                leader: isr
                    .first()
                    .copied()
                    .or_else(|| replicas.iter().copied().find(serving))
                    .unwrap_or(-1),
                replicas: replicas.clone(),
                isr,
                offline: vec![],
            }
        };
        self.partitions.iter().map(state).collect()
    }
}
