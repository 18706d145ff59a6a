//! The cluster as configured: its nodes, their roles, and the only orders in which they may start and stop.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::NodeName;

/// What a node is in KRaft (`process.roles`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A voter of the metadata quorum, and nothing else.
    Controller,
    /// A broker, and nothing else.
    Broker,
    /// Both in one process.
    Combined,
}

impl Role {
    /// Whether the node votes in the metadata quorum.
    pub fn is_controller(self) -> bool {
        matches!(self, Role::Controller | Role::Combined)
    }

    /// Whether the node serves partitions; such a node leaves `.kafka_cleanshutdown` in every log dir on a clean stop.
    pub fn is_broker(self) -> bool {
        matches!(self, Role::Broker | Role::Combined)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Controller => "controller",
            Role::Broker => "broker",
            Role::Combined => "combined",
        })
    }
}

/// A named set of directories of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dataset {
    /// Configuration files, mounted into the container.
    Config,
    /// Kafka's log.dirs.
    Data,
}

impl fmt::Display for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dataset::Config => "config",
            Dataset::Data => "data",
        })
    }
}

/// A node, as far as the domain cares; how it is reached is the transport's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// Its role.
    pub role: Role,
    /// The container's name.
    pub container: String,
    /// The configuration directory; `None` where the container is configured by its environment alone.
    pub config: Option<String>,
    /// log.dirs, one or several.
    pub data: Vec<String>,
    /// Kafka's node.id where the operator wants it checked.
    pub node_id: Option<i32>,
    /// The unit of the node's systemd by which the container is stopped and started; `None` for the engine itself.
    pub unit: Option<String>,
}

impl Node {
    /// The directories of a dataset.
    pub fn dirs(&self, dataset: Dataset) -> Vec<String> {
        match dataset {
            Dataset::Config => self.config.iter().cloned().collect(),
            Dataset::Data => self.data.clone(),
        }
    }
}

/// The nodes of a cluster in start order: every controller and combined node before every broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    nodes: Vec<Node>,
}

/// Why a list of nodes is no cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCluster {
    /// No node at all.
    #[error("no node is configured")]
    Empty,
    /// No voter.
    #[error("no node has the role controller or combined: a KRaft cluster has at least one")]
    NoController,
    /// No broker.
    #[error("no node has the role broker or combined")]
    NoBroker,
    /// The same name twice.
    #[error("two nodes are named {0}")]
    Duplicate(NodeName),
    /// An order names a node that is not there.
    #[error("the start order names {0}, which is not a node")]
    Unknown(String),
    /// An order leaves a node out.
    #[error("the start order leaves out {0}")]
    LeftOut(NodeName),
    /// An order names a node twice.
    #[error("the start order names {0} twice")]
    Twice(NodeName),
    /// An order that Kafka cannot start in.
    #[error("the start order has the broker {broker} before the controller {controller}")]
    BrokerFirst {
        /// The broker that comes too early.
        broker: NodeName,
        /// The controller that comes too late.
        controller: NodeName,
    },
}

impl InvalidCluster {
    /// Where in kbo.toml it is wrong.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Empty | Self::NoController | Self::NoBroker | Self::Duplicate(_) => "[[node]]",
            Self::Unknown(_) | Self::LeftOut(_) | Self::Twice(_) | Self::BrokerFirst { .. } => "order.startup",
        }
    }

    /// What to write there instead.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Empty => "write a [[node]] table for each node of the cluster",
            Self::NoController => "write role = \"controller\" (or \"combined\") at the nodes that vote",
            Self::NoBroker => "write role = \"broker\" (or \"combined\") at the nodes that serve clients",
            Self::Duplicate(_) => "give each [[node]] a name of its own",
            Self::Unknown(_) | Self::LeftOut(_) | Self::Twice(_) => "write the name of every [[node]] once",
            Self::BrokerFirst { .. } => "write the names of controllers and combined nodes before those of brokers",
        }
    }
}

impl Cluster {
    /// A cluster of `nodes`, in their order, controllers first, then combined nodes; or in `startup`'s order where one is given.
    ///
    /// # Errors
    /// An order that would start a broker before a controller, names that do not match, no controller, no broker.
    pub fn new(nodes: Vec<Node>, startup: Option<&[String]>) -> Result<Self, InvalidCluster> {
        if nodes.is_empty() {
            return Err(InvalidCluster::Empty);
        }
        for (index, node) in nodes.iter().enumerate() {
            if nodes[..index].iter().any(|earlier| earlier.name == node.name) {
                return Err(InvalidCluster::Duplicate(node.name.clone()));
            }
        }
        if !nodes.iter().any(|node| node.role.is_controller()) {
            return Err(InvalidCluster::NoController);
        }
        if !nodes.iter().any(|node| node.role.is_broker()) {
            return Err(InvalidCluster::NoBroker);
        }
        let nodes = match startup {
            None => {
                // A combined node's broker part wants a quorum while it stops, so it stops before pure controllers do.
                let mut nodes = nodes;
                nodes.sort_by_key(|node| match node.role {
                    Role::Controller => 0,
                    Role::Combined => 1,
                    Role::Broker => 2,
                });
                nodes
            }
            Some(order) => ordered(nodes, order)?,
        };
        Ok(Self { nodes })
    }

    /// The nodes in start order.
    pub fn start_order(&self) -> &[Node] {
        &self.nodes
    }

    /// The nodes in stop order: the reverse. The broker stopped last, which may be alone in the ISR of a partition, is so
    /// the one started first.
    pub fn stop_order(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().rev()
    }

    /// A node by name.
    pub fn node(&self, name: &NodeName) -> Option<&Node> {
        self.nodes.iter().find(|node| &node.name == name)
    }
}

fn ordered(mut nodes: Vec<Node>, order: &[String]) -> Result<Vec<Node>, InvalidCluster> {
    let mut sorted: Vec<Node> = Vec::with_capacity(nodes.len());
    for name in order {
        if let Some(twice) = sorted.iter().find(|node| node.name.as_str() == name) {
            return Err(InvalidCluster::Twice(twice.name.clone()));
        }
        let at = nodes.iter().position(|node| node.name.as_str() == name);
        let node = nodes.remove(at.ok_or_else(|| InvalidCluster::Unknown(name.clone()))?);
        if node.role.is_controller()
            && let Some(broker) = sorted.iter().find(|earlier| !earlier.role.is_controller())
        {
            return Err(InvalidCluster::BrokerFirst {
                broker: broker.name.clone(),
                controller: node.name,
            });
        }
        sorted.push(node);
    }
    match nodes.first() {
        Some(left) => Err(InvalidCluster::LeftOut(left.name.clone())),
        None => Ok(sorted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(name: &str, role: Role) -> Node {
        Node {
            name: name.parse().unwrap(),
            role,
            container: name.to_owned(),
            config: None,
            data: vec!["/data".to_owned()],
            node_id: None,
            unit: None,
        }
    }

    fn names<'a>(nodes: impl Iterator<Item = &'a Node>) -> Vec<&'a str> {
        nodes.map(|node| node.name.as_str()).collect()
    }

    #[test]
    fn controllers_start_before_brokers_and_stop_after_them() {
        let cluster = Cluster::new(
            vec![
                node("b1", Role::Broker),
                node("c1", Role::Controller),
                node("b2", Role::Broker),
                node("x1", Role::Combined),
            ],
            None,
        )
        .unwrap();
        assert_eq!(names(cluster.start_order().iter()), ["c1", "x1", "b1", "b2"]);
        assert_eq!(names(cluster.stop_order()), ["b2", "b1", "x1", "c1"]);
    }

    #[test]
    fn a_single_combined_node_is_a_cluster() {
        assert!(Cluster::new(vec![node("k", Role::Combined)], None).is_ok());
    }

    #[test]
    fn lists_that_are_no_cluster_are_refused() {
        assert_eq!(Cluster::new(vec![], None), Err(InvalidCluster::Empty));
        assert_eq!(
            Cluster::new(vec![node("b", Role::Broker)], None),
            Err(InvalidCluster::NoController)
        );
        assert_eq!(
            Cluster::new(vec![node("c", Role::Controller)], None),
            Err(InvalidCluster::NoBroker)
        );
        let twice = vec![node("k", Role::Combined), node("k", Role::Broker)];
        assert!(matches!(Cluster::new(twice, None), Err(InvalidCluster::Duplicate(_))));
    }

    #[test]
    fn a_given_order_overrides_within_what_is_safe() {
        let nodes = || {
            vec![
                node("c1", Role::Controller),
                node("c2", Role::Controller),
                node("b1", Role::Broker),
            ]
        };
        let order = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let cluster = Cluster::new(nodes(), Some(&order(&["c2", "c1", "b1"]))).unwrap();
        assert_eq!(names(cluster.start_order().iter()), ["c2", "c1", "b1"]);
        let refused = |names: &[&str]| Cluster::new(nodes(), Some(&order(names))).unwrap_err();
        assert!(matches!(
            refused(&["b1", "c1", "c2"]),
            InvalidCluster::BrokerFirst { .. }
        ));
        assert!(matches!(refused(&["c1", "b1"]), InvalidCluster::LeftOut(_)));
        assert!(matches!(refused(&["c1", "c1", "b1"]), InvalidCluster::Twice(_)));
        assert!(matches!(refused(&["c1", "zz"]), InvalidCluster::Unknown(_)));
    }

    fn any_role() -> impl Strategy<Value = Role> {
        prop_oneof![Just(Role::Controller), Just(Role::Broker), Just(Role::Combined)]
    }

    proptest! {
        #[test]
        fn whatever_the_nodes_no_broker_starts_before_a_controller(roles in prop::collection::vec(any_role(), 1..12)) {
            let nodes: Vec<Node> = roles.iter().enumerate().map(|(i, role)| node(&format!("n{i}"), *role)).collect();
            if let Ok(cluster) = Cluster::new(nodes.clone(), None) {
                let order = cluster.start_order();
                prop_assert_eq!(order.len(), nodes.len());
                let first_broker = order.iter().position(|n| !n.role.is_controller()).unwrap_or(order.len());
                prop_assert!(order[first_broker..].iter().all(|n| n.role == Role::Broker));
                let mut reversed = names(cluster.stop_order());
                reversed.reverse();
                prop_assert_eq!(reversed, names(order.iter()));
            }
        }
    }
}
