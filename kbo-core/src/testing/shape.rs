//! Shapes of clusters.

use crate::inventory::{Cluster, Node, Role};

/// How many nodes of each role, and how many data directories each has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Nodes that only control.
    pub controllers: usize,
    /// Nodes that do both.
    pub combined: usize,
    /// Nodes that only serve.
    pub brokers: usize,
    /// Data directories of each node.
    pub data_dirs: usize,
}

impl Shape {
    /// Three controllers and three brokers.
    pub const THREE_AND_THREE: Shape = Shape::new(3, 0, 3);
    /// One node that does everything.
    pub const SINGLE: Shape = Shape::new(0, 1, 0);
    /// Three nodes that do everything.
    pub const COMBINED: Shape = Shape::new(0, 3, 0);
    /// Some of each.
    pub const MIXED: Shape = Shape::new(1, 2, 2);

    /// A shape with one data directory per node.
    pub const fn new(controllers: usize, combined: usize, brokers: usize) -> Self {
        Self {
            controllers,
            combined,
            brokers,
            data_dirs: 1,
        }
    }

    /// The inventory: nodes `c1..`, `x1..`, `b1..`.
    ///
    /// # Panics
    /// A shape without a controller or without a broker.
    pub fn cluster(self) -> Cluster {
        let of = |letter: &'static str, count: usize, role| (1..=count).map(move |n| (format!("{letter}{n}"), role));
        let nodes = of("c", self.controllers, Role::Controller)
            .chain(of("x", self.combined, Role::Combined))
            .chain(of("b", self.brokers, Role::Broker))
            .map(|(name, role)| Node {
                name: name.parse().expect("a plain name"),
                role,
                container: name,
                config: Some("/srv/kafka/config".to_owned()),
                data: (0..self.data_dirs).map(|n| format!("/srv/kafka/data{n}")).collect(),
                node_id: None,
                unit: None,
            })
            .collect();
        Cluster::new(nodes, None).expect("a shape that is a cluster")
    }
}
