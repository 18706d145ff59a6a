//! Plans that replace data: a restore of a backup, and the return to what one has replaced.

use super::{Plan, Prior, Step, cleans, phases, settle, starts, stops, was_up};
use crate::ids::RunId;
use crate::inventory::{Cluster, Dataset, Node};
use crate::machine::{Operation, Phase};
use crate::manifest::Manifest;

/// What becomes of the data that a restore replaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Previous {
    /// They go when their node has been ready on the restored ones in the run, and stay where it was not.
    #[default]
    UntilReady,
    /// They stay until somebody removes them.
    Keep,
    /// They go at the run's end, ready or not.
    Discard,
}

impl Plan {
    /// The plan of a restore of `datasets` from a backup.
    pub fn restore(
        run: RunId,
        manifest: &Manifest,
        datasets: &[Dataset],
        previous: Previous,
        cluster: &Cluster,
        prior: &Prior,
    ) -> Self {
        let nodes = cluster.start_order();
        let held = |node: &Node| -> Vec<Dataset> {
            datasets
                .iter()
                .copied()
                .filter(|dataset| manifest.archive(&node.name, *dataset).is_some())
                .collect()
        };
        let starting = starts(cluster, |node| was_up(prior, node));
        let steps_of = |phase: Phase| match phase {
            Phase::Staging => nodes
                .iter()
                .flat_map(|node| {
                    let name = node.name.clone();
                    held(node).into_iter().map(move |dataset| Step::Stage {
                        node: name.clone(),
                        dataset,
                    })
                })
                .collect(),
            Phase::Stopping => stops(cluster, |node| was_up(prior, node)),
            Phase::Swapping => nodes
                .iter()
                .filter(|node| !held(node).is_empty())
                .map(|node| Step::Swap {
                    node: node.name.clone(),
                    datasets: held(node),
                    previous_of: None,
                })
                .collect(),
            Phase::Starting => starting.clone(),
            Phase::Settling => settle(&starting),
            Phase::Cleaning => cleans(cluster, previous == Previous::Keep, |node| {
                previous == Previous::UntilReady && !was_up(prior, node) && !held(node).is_empty()
            }),
            _ => vec![],
        };
        let backup = Some((manifest.id.clone(), manifest.kind));
        let operation = Operation::Restore;
        Self {
            run,
            operation,
            backup,
            about: vec![],
            phases: phases(operation, steps_of),
            notes: vec![],
            discard_previous: previous == Previous::Discard,
        }
    }

    /// The plan of putting back what run `of` replaced and every node keeps. What was up is started again where `restart` says so.
    pub fn go_back(
        run: RunId,
        of: &RunId,
        datasets: &[Dataset],
        restart: bool,
        cluster: &Cluster,
        prior: &Prior,
    ) -> Self {
        let held = |node: &Node| -> Vec<Dataset> {
            let datasets = datasets.iter().copied();
            datasets.filter(|dataset| !node.dirs(*dataset).is_empty()).collect()
        };
        let starting = starts(cluster, |node| restart && was_up(prior, node));
        let operation = Operation::Restore;
        let steps_of = |phase: Phase| match phase {
            Phase::Stopping => stops(cluster, |node| was_up(prior, node)),
            Phase::Swapping => cluster
                .start_order()
                .iter()
                .filter(|node| !held(node).is_empty())
                .map(|node| Step::Swap {
                    node: node.name.clone(),
                    datasets: held(node),
                    previous_of: Some(of.clone()),
                })
                .collect(),
            Phase::Starting => starting.clone(),
            Phase::Settling => settle(&starting),
            Phase::Cleaning => cleans(cluster, false, |node| !(restart && was_up(prior, node))),
            _ => vec![],
        };
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
}
