//! What the nodes do alone when the centre has vanished.

use super::cluster::FakeCluster;
use super::state::NodeState;
use crate::ids::{NodeName, RunId};
use crate::inventory::Dataset;
use crate::ports::node::ContainerState;

impl FakeCluster {
    /// The centre vanished and the grace passes: every node that holds a lease undoes its part, brokers after controllers.
    pub fn crash_of_centre(&self) {
        let grace = self
            .world()
            .nodes
            .values()
            .filter_map(|node| Some(node.lease.as_ref()?.grace))
            .max();
        self.clock().advance(grace.unwrap_or_default());
        for name in self.leased(|_| true) {
            self.swap_back_alone(&name);
        }
        for name in self.leased(|node| node.role.is_controller()) {
            self.start_alone(&name);
        }
        let boot = self.world().nodes.values().map(|node| node.boots_in).max();
        self.clock().advance(boot.unwrap_or_default());
        for name in self.leased(|node| !node.role.is_controller()) {
            self.start_alone(&name);
        }
        for name in self.leased(|_| true) {
            self.end_alone(&name);
        }
    }

    /// The lease of one node fires while its centre is alive, as after a connection that broke and was not made anew in time.
    ///
    /// # Panics
    /// There is no such node.
    pub fn fire(&self, name: &str) {
        let name: NodeName = name.parse().expect("a plain name");
        self.swap_back_alone(&name);
        let now = self.clock().elapsed();
        if let Some(node) = self.world().nodes.get_mut(&name)
            && node.lease.as_ref().is_some_and(|lease| lease.start)
            && node.container == ContainerState::Stopped
        {
            run_container(node, now);
        }
        self.end_alone(&name);
    }

    /// The agents that a vanished centre left, and that have no more to undo than a work folder, end when their grace is over.
    pub fn idle_agents_end(&self) {
        for name in self.leased(|node| {
            node.lease
                .as_ref()
                .is_some_and(|lease| !lease.start && !node.is_swapped(&lease.run))
        }) {
            self.end_alone(&name);
        }
    }

    /// Who has agreed to keep what is swapped keeps the lease too, and what was replaced.
    fn end_alone(&self, name: &NodeName) {
        if let Some(node) = self.world().nodes.get_mut(name)
            && let Some(lease) = node.lease.take_if(|lease| !lease.agreed)
        {
            node.work.remove(&lease.run);
        }
    }

    fn leased(&self, which: impl Fn(&NodeState) -> bool) -> Vec<NodeName> {
        let world = self.world();
        let leased = world
            .nodes
            .iter()
            .filter(|(_, node)| node.lease.is_some() && which(node));
        leased.map(|(name, _)| name.clone()).collect()
    }

    fn swap_back_alone(&self, name: &NodeName) {
        let now = self.clock().elapsed();
        let mut world = self.world();
        let Some(node) = world.nodes.get_mut(name) else { return };
        let Some(run) = node
            .lease
            .as_ref()
            .filter(|lease| !lease.agreed)
            .map(|held| held.run.clone())
        else {
            return;
        };
        if node.is_swapped(&run) {
            if node.container.is_up() {
                node.end(now);
                node.stopped_by_kbo = true;
            }
            swap_back(node, &run, &[Dataset::Config, Dataset::Data]);
        }
    }

    fn start_alone(&self, name: &NodeName) {
        let now = self.clock().elapsed();
        let mut world = self.world();
        let node = &world.nodes[name];
        let starts = node.lease.as_ref().is_some_and(|held| held.start);
        if starts && node.container == ContainerState::Stopped {
            world.check_mix(name, |other| other.container.is_up());
            if let Some(node) = world.nodes.get_mut(name) {
                run_container(node, now);
            }
        }
    }
}

/// Puts back what a swap replaced. Whether there was anything to put back.
pub(super) fn swap_back(node: &mut NodeState, run: &RunId, datasets: &[Dataset]) -> bool {
    let mut any = false;
    for dataset in datasets {
        let replaced = node.work.get_mut(run).and_then(|work| work.replaced.remove(dataset));
        if let Some(replaced) = replaced {
            any = true;
            let restored = node.live.insert(*dataset, replaced).unwrap_or_default();
            if let Some(work) = node.work.get_mut(run) {
                work.staged.insert(*dataset, restored);
            }
        }
    }
    any
}

/// The engine starts the container, and Kafka removes its marker before it looks at anything else.
pub(super) fn run_container(node: &mut NodeState, now: std::time::Duration) {
    let restored = node.work.values().any(|work| !work.replaced.is_empty());
    node.since = now;
    node.starts += 1;
    node.stopped_by_hand = false;
    node.started_by_another = false;
    for image in node.live.get_mut(&Dataset::Data).into_iter().flatten().flatten() {
        image.clean = false;
    }
    node.container = ContainerState::Running;
    if node.exits || (node.exits_on_restored && restored) {
        node.end(now);
    }
}
