//! What swaps replaced on a fake node: dropped, or kept.

use super::cluster::World;
use super::packing::size_of;
use super::state::{NodeState, Previous};
use crate::ids::{NodeName, RunId};
use crate::inventory::Dataset;
use crate::ports::node::KeptDir;

/// What a clean-up leaves of what a swap replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    Nothing,
    Previous,
    UntilReady,
}

impl World {
    /// Drops a run's work folder, keeping what a swap replaced where that is wanted.
    pub(super) fn drop_work(&mut self, name: &NodeName, run: &RunId, keep: Keep) -> Option<Vec<String>> {
        if keep == Keep::Nothing {
            self.check_drop(name, run);
        }
        let node = self.nodes.get_mut(name)?;
        if node.lease.as_ref().is_some_and(|held| held.run == *run && !held.start) {
            node.lease = None;
        }
        let work = node.work.remove(run)?;
        if let Some(of) = work.previous_of.filter(|_| !work.replaced.is_empty()) {
            node.previous.remove(&of);
        }
        let mut kept = vec![];
        if keep != Keep::Nothing && !work.replaced.is_empty() {
            let infix = if keep == Keep::Previous {
                "previous"
            } else {
                "until-ready"
            };
            let paths = |dataset: &Dataset| node.paths.get(dataset).into_iter().flatten();
            kept = work
                .replaced
                .keys()
                .flat_map(paths)
                .map(|path| format!("{path}.{infix}-{run}"))
                .collect();
            if keep == Keep::Previous {
                node.kept.extend(kept.iter().cloned());
            }
            let previous = Previous {
                until_ready: keep == Keep::UntilReady,
                images: work.replaced,
            };
            node.previous.insert(run.clone(), previous);
        }
        Some(kept)
    }
}

/// What is kept on the node, as facts tell it.
pub(super) fn told(node: &NodeState) -> Vec<KeptDir> {
    let mut kept = vec![];
    for (run, previous) in &node.previous {
        let infix = if previous.until_ready {
            "until-ready"
        } else {
            "previous"
        };
        for (dataset, images) in &previous.images {
            for (dir, image) in node.paths[dataset].iter().zip(images) {
                kept.push(KeptDir {
                    run: run.clone(),
                    dataset: *dataset,
                    dir: dir.clone(),
                    path: format!("{dir}.{infix}-{run}"),
                    bytes: image.as_ref().map_or(0, |image| size_of(&image.files)),
                    until_ready: previous.until_ready,
                });
            }
        }
    }
    kept
}
