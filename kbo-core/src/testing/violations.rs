//! What kbo must never do, noticed when it is done.

use std::time::Duration;

use super::cluster::World;
use crate::ids::{NodeName, RunId};

impl World {
    pub(super) fn violate(&mut self, what: String) {
        self.violations.push(what);
    }

    /// Never stop a controller while a broker runs. A person who stops chosen nodes may, as long as a quorum is left.
    pub(super) fn check_stop(&mut self, name: &NodeName, now: Duration) {
        let is_controller = self.nodes[name].role.is_controller();
        let broker = self
            .nodes
            .iter()
            .find(|(other, node)| *other != name && !node.role.is_controller() && node.container.is_up());
        let Some((broker, _)) = broker.filter(|_| is_controller) else {
            return;
        };
        let broker = broker.clone();
        let listening = |node: &super::NodeState| node.role.is_controller() && node.listens(now);
        let left = self
            .nodes
            .iter()
            .filter(|(other, node)| *other != name && listening(node))
            .count();
        let quorum_stays = left * 2 > self.nodes.values().filter(|node| node.role.is_controller()).count();
        if !(self.piecemeal && quorum_stays) {
            self.violate(format!(
                "the controller {name} was stopped while the broker {broker} ran"
            ));
        }
    }

    /// Never start a broker before the controllers are operational, a container that kbo did not stop, or a node beside
    /// running ones of other data: some restored and some not.
    pub(super) fn check_start(&mut self, name: &NodeName, now: Duration) {
        let node = &self.nodes[name];
        if !node.role.is_controller() && !self.is_operational(now) {
            self.violate(format!("the broker {name} was started without an operational quorum"));
        }
        let node = &self.nodes[name];
        if !node.stopped_by_kbo && !self.may_start {
            self.violate(format!("{name} was started, which kbo had not stopped"));
        }
        self.check_mix(name, |other| other.container.is_up());
    }

    /// A node that starts must be of the same data as the `others` that take part in the same restore.
    pub(super) fn check_mix(&mut self, name: &NodeName, others: impl Fn(&super::NodeState) -> bool) {
        let node = &self.nodes[name];
        let runs: Vec<RunId> = node.work.keys().cloned().collect();
        for run in runs {
            let mine = self.nodes[name].is_swapped(&run);
            let other = self.nodes.iter().find(|(other, node)| {
                let takes_part = node
                    .work
                    .get(&run)
                    .is_some_and(|work| !work.replaced.is_empty() || !work.staged.is_empty());
                *other != name && takes_part && others(node) && node.is_swapped(&run) != mine
            });
            if let Some((other, _)) = other {
                let text = format!("{name} was started swapped={mine}, while {other} is the opposite");
                self.violate(text);
            }
        }
    }

    /// Never touch data at work. Returns whether the container is down. That somebody else has just started it is for kbo to find out.
    pub(super) fn check_at_rest(&mut self, name: &NodeName, what: &str) -> bool {
        let is_up = self.nodes[name].container.is_up();
        if is_up && !self.nodes[name].started_by_another {
            self.violate(format!("{what} of {name} while its container was up"));
        }
        !is_up
    }

    /// Never delete what a swap replaced before the cluster has come up on the replacement.
    pub(super) fn check_drop(&mut self, name: &NodeName, run: &RunId) {
        let node = &self.nodes[name];
        let waits_for_its_start = node.stopped_by_kbo && !node.container.is_up();
        if node.is_swapped(run) && waits_for_its_start {
            self.violate(format!(
                "the replaced data of {name} were removed before it ran on the restored ones"
            ));
        }
        let down = self
            .nodes
            .iter()
            .find(|(_, other)| other.stopped_by_kbo && !other.container.is_up() && other.is_swapped(run));
        if let Some((down, _)) = down.filter(|_| self.nodes[name].is_swapped(run)) {
            let text = format!("the replaced data of {name} were removed while {down} was still down");
            self.violate(text);
        }
    }
}
