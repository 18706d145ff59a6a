//! Plans about containers as things: rolling restarts, creation and removal; and the formatting of log dirs.

use super::{Plan, Prior, Step, phases, settle, starts, stops, was_up};
use crate::ids::{NodeName, RunId};
use crate::inventory::{Cluster, Dataset, Node};
use crate::machine::{Operation, Phase};

/// A container that a run creates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    /// Where there was none.
    New,
    /// In the place of one that is there.
    Replacement,
}

impl Plan {
    fn about(run: RunId, operation: Operation, steps_of: impl Fn(Phase) -> Vec<Step>) -> Self {
        Self {
            run,
            operation,
            backup: None,
            about: vec![],
            phases: phases(operation, steps_of),
            notes: vec![],
            discard_previous: false,
        }
    }

    /// The plan of a rolling restart of `chosen` nodes (all where empty) that are up: each is ready and every ISR whole before the
    /// next one stops.
    pub fn rolling(run: RunId, chosen: &[NodeName], cluster: &Cluster, prior: &Prior) -> Self {
        let rolled = |node: &&Node| (chosen.is_empty() || chosen.contains(&node.name)) && was_up(prior, node);
        let steps: Vec<Step> = cluster.start_order().iter().filter(rolled).flat_map(roll).collect();
        Self::about(run, Operation::RollingRestart, |phase| match phase {
            Phase::Rolling => steps.clone(),
            _ => vec![],
        })
    }

    /// The plan of creating containers, and of starting `started` nodes that are down then.
    pub fn run(
        run: RunId,
        creation: impl Fn(&NodeName) -> Option<Creation>,
        started: impl Fn(&NodeName) -> bool,
        cluster: &Cluster,
        prior: &Prior,
    ) -> Self {
        let is_replaced = |node: &Node| creation(&node.name) == Some(Creation::Replacement);
        let nodes = cluster.start_order();
        let starting = starts(cluster, |node| {
            let is_down = !was_up(prior, node);
            // What ran before it was replaced runs again.
            (started(&node.name) && is_down) || (is_replaced(node) && !is_down)
        });
        Self::about(run, Operation::Run, |phase| match phase {
            Phase::Stopping => stops(cluster, |node| is_replaced(node) && was_up(prior, node)),
            Phase::Creating => nodes
                .iter()
                .filter_map(|node| {
                    let replace = creation(&node.name)? == Creation::Replacement;
                    let node = node.name.clone();
                    Some(Step::Create { node, replace })
                })
                .collect(),
            Phase::Starting => starting.clone(),
            Phase::Settling => settle(&starting),
            Phase::Cleaning => nodes
                .iter()
                .filter(|node| is_replaced(node))
                .map(|node| Step::DropReplaced {
                    node: node.name.clone(),
                })
                .collect(),
            _ => vec![],
        })
    }

    /// The plan of stopping `chosen` nodes (all where empty) and removing their containers.
    pub fn remove(run: RunId, chosen: &[NodeName], cluster: &Cluster, prior: &Prior) -> Self {
        let is_chosen = |node: &Node| chosen.is_empty() || chosen.contains(&node.name);
        let exists = |node: &Node| prior.get(&node.name) != Some(&crate::ports::node::ContainerState::Missing);
        Self::about(run, Operation::Remove, |phase| match phase {
            Phase::Stopping => stops(cluster, |node| is_chosen(node) && was_up(prior, node)),
            Phase::Removing => cluster
                .stop_order()
                .filter(|node| is_chosen(node) && exists(node))
                .map(|node| Step::Remove {
                    node: node.name.clone(),
                })
                .collect(),
            _ => vec![],
        })
    }

    /// The plan of formatting the log dirs of `chosen` nodes (all where empty): beside the live ones, then swapped in.
    pub fn format(run: RunId, chosen: &[NodeName], cluster: &Cluster) -> Self {
        let nodes = || {
            let nodes = cluster.start_order().iter();
            nodes
                .filter(|node| chosen.is_empty() || chosen.contains(&node.name))
                .map(|node| node.name.clone())
        };
        Self::about(run, Operation::Format, |phase| match phase {
            Phase::Formatting => nodes().map(|node| Step::Format { node }).collect(),
            Phase::Swapping => nodes()
                .map(|node| Step::Swap {
                    node,
                    datasets: vec![Dataset::Data],
                    previous_of: None,
                })
                .collect(),
            Phase::Cleaning => nodes()
                .map(|node| Step::Clean {
                    node,
                    keep_previous: false,
                    until_ready: false,
                })
                .collect(),
            _ => vec![],
        })
    }
}

fn roll(node: &Node) -> Vec<Step> {
    let name = || node.name.clone();
    let mut steps = vec![Step::Stop { node: name() }, Step::Start { node: name() }];
    if node.role.is_controller() {
        steps.push(Step::AwaitQuorum);
    }
    if node.role.is_broker() {
        steps.push(Step::AwaitBroker { node: name() });
    }
    steps.push(Step::AwaitIsr);
    steps
}
