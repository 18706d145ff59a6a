//! What others do to a container of the fake cluster: an operator, an engine that restarts.

use super::cluster::FakeCluster;
use super::lease::run_container;
use super::state::NodeState;

impl FakeCluster {
    /// An operator stops a node's container by hand.
    ///
    /// # Panics
    /// There is no such node.
    pub fn operator_stops(&self, name: &str) {
        let now = self.clock().elapsed();
        self.with(name, |node| {
            if node.container.is_up() {
                node.end(now);
            }
            node.stopped_by_hand = true;
            node.stopped_by_kbo = false;
        });
    }

    /// An operator starts a node's container by hand.
    ///
    /// # Panics
    /// There is no such node.
    pub fn operator_starts(&self, name: &str) {
        let now = self.clock().elapsed();
        self.with(name, |node| started_by_another(node, now));
    }

    /// An operator removes a node's container.
    ///
    /// # Panics
    /// There is no such node.
    pub fn operator_removes(&self, name: &str) {
        self.operator_stops(name);
        self.with(name, |node| {
            node.container = crate::ports::node::ContainerState::Missing
        });
    }

    /// An operator makes a node's container anew, and leaves it down.
    ///
    /// # Panics
    /// There is no such node.
    pub fn operator_makes_anew(&self, name: &str) {
        self.operator_removes(name);
        self.with(name, |node| {
            node.container = crate::ports::node::ContainerState::Stopped;
            node.made += 1;
        });
    }

    /// The engine of a node restarts: what ran ends, and what its restart policy names is started. `unless-stopped` leaves down what
    /// was stopped through the engine.
    ///
    /// # Panics
    /// There is no such node.
    pub fn engine_restarts(&self, name: &str) {
        let now = self.clock().elapsed();
        self.with(name, |node| {
            let was_up = node.container.is_up();
            if was_up {
                node.end(now);
            }
            let starts = match node.restart_policy {
                "always" => true,
                "unless-stopped" => !node.stopped_by_hand,
                _ => false,
            };
            if starts {
                started_by_another(node, now);
            } else if was_up {
                node.stopped_by_kbo = false;
            }
        });
    }
}

fn started_by_another(node: &mut NodeState, now: std::time::Duration) {
    if !node.container.is_up() {
        run_container(node, now);
        node.stopped_by_kbo = false;
        node.started_by_another = true;
    }
}
