//! Looking at the whole cluster: every node's facts, the quorum, the partitions. Nothing is touched.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;

use jiff::Timestamp;

use super::Orchestrator;
use super::readiness::is_near;
use crate::ids::{ClusterId, NodeName};
use crate::inventory::{Dataset, Node};
use crate::manifest::Manifest;
use crate::plan::Prior;
use crate::ports::node::{
    BrokerState, FactsRequest, KafkaAnswer, KafkaQuestion, NodeError, NodeErrorKind, NodeFacts, NodeTransport,
    PartitionState,
};
use crate::ports::store::Listed;
use crate::preflight::{Degraded, Input, Purpose, broken_partitions, judge};
use crate::report::chain;

/// What a look at the cluster found.
#[derive(Debug)]
pub struct Facts {
    /// Each node's facts, or why there are none.
    pub nodes: BTreeMap<NodeName, Result<NodeFacts, NodeError>>,
    /// The centre's time when they were gathered.
    pub looked_at: Timestamp,
    /// Every container's state.
    pub prior: Prior,
    /// Whether the metadata quorum is operational, and why not; `None` where no controller runs.
    pub quorum: Option<Result<(), String>>,
    /// Every partition, where a running broker told.
    pub partitions: Option<Vec<PartitionState>>,
    /// What was not whole already.
    pub degraded: Degraded,
    /// What preflight makes of it.
    pub findings: Vec<crate::preflight::Finding>,
}

impl Orchestrator {
    /// Looks at everything that `purpose` needs.
    pub async fn look(&self, purpose: &Purpose, datasets: &[Dataset]) -> Facts {
        let request = FactsRequest {
            datasets: datasets.to_vec(),
        };
        let answers = self
            .on_all(|_, transport| {
                let request = request.clone();
                async move { transport.facts(&request).await.map(|facts| (facts, self.clock.now())) }
            })
            .await;
        let now = self.clock.now();
        // A node tells its time when its own look has ended, which may be long before the slowest has: as if all had answered now.
        let at_once = |(mut facts, answered): (NodeFacts, Timestamp)| {
            let since = now.duration_since(answered);
            facts.clock = facts.clock.checked_add(since).unwrap_or(facts.clock);
            facts
        };
        let nodes: BTreeMap<NodeName, Result<NodeFacts, NodeError>> = answers
            .into_iter()
            .map(|(name, answer)| (name, answer.map(at_once)))
            .collect();
        let known: BTreeMap<NodeName, NodeFacts> = nodes
            .iter()
            .filter_map(|(name, facts)| Some((name.clone(), facts.as_ref().ok()?.clone())))
            .collect();
        let prior = crate::plan::prior_of(&known);
        let up = |node: &&Node| prior.get(&node.name).is_some_and(|state| state.is_up());
        let controllers: Vec<&Node> = self
            .cluster
            .start_order()
            .iter()
            .filter(|node| node.role.is_controller())
            .filter(up)
            .collect();
        let quorum = if controllers.is_empty() {
            None
        } else {
            let looked = self.quorum_now(&controllers, controllers.len()).await;
            Some(looked.map_err(|unready| unready.why))
        };
        let brokers: Vec<&Node> = self
            .cluster
            .start_order()
            .iter()
            .filter(|node| node.role.is_broker())
            .filter(up)
            .collect();
        let (partitions, unasked) = self.brokers_now(&brokers).await;
        let store = self.store.space().await.ok();
        let past = match purpose {
            Purpose::Backup { datasets, .. } => self.past(datasets).await,
            _ => Past::default(),
        };
        // Who belongs to the cluster matters to a backup of its data alone.
        let (registered, voters) = match purpose {
            Purpose::Backup { cold: true, .. } => (self.registered(&brokers).await, self.voters(&controllers).await),
            _ => (None, None),
        };
        let asker = self.asker().await;
        let known = self.known_runs().await;
        let input = Input {
            cluster: &self.cluster,
            cluster_id: self.cluster_id.as_ref(),
            purpose,
            facts: &nodes,
            now,
            quorum: quorum.as_ref(),
            partitions: partitions.as_deref(),
            brokers: registered.as_deref(),
            voters: voters.as_deref(),
            retired: &self.settings.retired,
            allow_degraded: self.settings.allow_degraded,
            unasked: &unasked,
            store,
            ratios: &past.ratios,
            adopted_id: past.adopted_id.as_ref(),
            warn_free_percent: self.settings.warn_free_percent,
            node_free_floor: self.settings.node_free_floor,
            asker: &asker,
            known: &known,
        };
        let (findings, degraded) = (judge(&input), broken_partitions(&input));
        Facts {
            nodes,
            looked_at: now,
            prior,
            quorum,
            partitions,
            degraded,
            findings,
        }
    }

    /// A node's transport.
    pub(super) fn transport(&self, name: &NodeName) -> Result<Arc<dyn NodeTransport>, NodeError> {
        let missing = || NodeError::new(NodeErrorKind::State, format!("{name} has no transport"));
        self.nodes.get(name).cloned().ok_or_else(missing)
    }

    /// Runs an operation on every node, bounded, and gathers the results.
    pub(super) async fn on_all<T, F, Fut>(&self, operation: F) -> Vec<(NodeName, Result<T, NodeError>)>
    where
        F: Fn(Node, Arc<dyn NodeTransport>) -> Fut,
        Fut: Future<Output = Result<T, NodeError>>,
    {
        let work = self.cluster.start_order().iter().map(|node| {
            let name = node.name.clone();
            let transport = self.transport(&name);
            let operation = &operation;
            async move {
                match transport {
                    Ok(transport) => (name, operation(node.clone(), transport).await),
                    Err(error) => (name, Err(error)),
                }
            }
        });
        // A look is cheap for the centre: all nodes at once, so that one slow node does not hold up the rest.
        stream::iter(work).buffer_unordered(64).collect().await
    }

    /// The partitions as the first broker that answers tells them.
    pub(super) async fn partitions_now(&self, brokers: &[&Node]) -> Option<Vec<PartitionState>> {
        for node in brokers {
            let Ok(transport) = self.transport(&node.name) else {
                continue;
            };
            if let Ok(KafkaAnswer::Partitions(partitions)) = transport.kafka(KafkaQuestion::Partitions).await {
                return Some(partitions);
            }
        }
        None
    }

    /// The registered brokers as the first broker that answers tells them.
    async fn registered(&self, brokers: &[&Node]) -> Option<Vec<BrokerState>> {
        for node in brokers {
            let Ok(transport) = self.transport(&node.name) else {
                continue;
            };
            if let Ok(KafkaAnswer::Brokers(registered)) = transport.kafka(KafkaQuestion::Brokers).await {
                return Some(registered);
            }
        }
        None
    }

    /// The quorum's voters as its leader tells them, and whether each keeps up.
    async fn voters(&self, controllers: &[&Node]) -> Option<Vec<(i32, bool)>> {
        for node in controllers {
            let Ok(transport) = self.transport(&node.name) else {
                continue;
            };
            if let Ok(KafkaAnswer::Quorum(quorum)) = transport.kafka(KafkaQuestion::Quorum).await {
                let voters = quorum.voters.iter();
                return Some(voters.map(|(id, end)| (*id, is_near(&quorum, *end))).collect());
            }
        }
        None
    }

    /// Every broker is asked for itself: one that does not let kbo in now would not be known to be ready after its start. Gives the
    /// partitions, and why brokers cannot be asked; of one that may answer later the reason is an `Unreachable`. A node that was not
    /// reached is told of elsewhere.
    async fn brokers_now(&self, brokers: &[&Node]) -> (Option<Vec<PartitionState>>, BTreeMap<NodeName, NodeError>) {
        let asked = brokers.iter().map(|node| async move {
            let answer = match self.transport(&node.name) {
                Ok(transport) => transport.kafka(KafkaQuestion::Partitions).await,
                Err(error) => Err(error),
            };
            (node.name.clone(), answer)
        });
        let answers: Vec<_> = stream::iter(asked).buffered(64).collect().await;
        let (mut partitions, mut unasked) = (None, BTreeMap::new());
        for (name, answer) in answers {
            match answer {
                Ok(KafkaAnswer::Partitions(all)) => partitions = partitions.or(Some(all)),
                Ok(KafkaAnswer::NotYet(why)) => {
                    unasked.insert(name, NodeError::new(NodeErrorKind::Unreachable, why));
                }
                Ok(_) => {}
                Err(error) if matches!(error.kind, NodeErrorKind::Unreachable | NodeErrorKind::Interrupted) => {}
                Err(error) => drop(unasked.insert(name, error)),
            }
        }
        (partitions, unasked)
    }

    /// What the store's backups tell a new one of these datasets. A store that cannot be read is told of by the run itself.
    async fn past(&self, datasets: &[Dataset]) -> Past {
        let Ok(listed) = self.store.list().await else {
            return Past::default();
        };
        let identity = match self.identity(&listed).await {
            Ok(identity) => identity,
            Err(error) => {
                tracing::warn!("the cluster id of earlier backups is not known: {}", chain(&error));
                return Past::default();
            }
        };
        let like_it =
            |backup: &&Listed| identity.owns(backup) && backup.kind.datasets() == datasets && backup.missing.is_none();
        let manifests: Vec<&Manifest> = listed
            .iter()
            .rev()
            .filter(like_it)
            .filter_map(|backup| backup.manifest.as_ref().ok())
            .collect();
        let ratio = |dataset: &Dataset| {
            let ratios = manifests.iter().filter_map(|manifest| manifest.ratio(*dataset));
            Some((*dataset, ratios.into_iter().next()?))
        };
        Past {
            ratios: datasets.iter().filter_map(ratio).collect(),
            adopted_id: identity.id,
        }
    }
}

/// What earlier backups tell a new one.
#[derive(Default)]
struct Past {
    /// Stored bytes per raw byte, of the newest backup of the same kind.
    ratios: BTreeMap<Dataset, f64>,
    /// The cluster id that they belong to.
    adopted_id: Option<ClusterId>,
}
