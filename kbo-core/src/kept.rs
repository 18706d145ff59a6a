//! What a restore replaced and the nodes keep, gathered over the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use crate::ids::{NodeName, RunId};
use crate::inventory::Dataset;
use crate::ports::node::NodeFacts;
use crate::text::{human, some_of};

/// What one run replaced, on every node that keeps some of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The run that replaced it.
    pub run: RunId,
    /// When that was.
    pub since: Timestamp,
    /// Whether it goes by itself once every one of its nodes was ready; else somebody asked for it and removes it.
    pub until_ready: bool,
    /// Bytes of all files.
    pub bytes: u64,
    /// The directories.
    pub dirs: Vec<KeptOn>,
}

/// A kept directory of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptOn {
    /// The node.
    pub node: NodeName,
    /// The dataset.
    pub dataset: Dataset,
    /// The directory that it was, as configured.
    pub dir: String,
    /// Where it is now.
    pub path: String,
    /// Bytes of its files; 0 for one that was empty or had not been there.
    pub bytes: u64,
}

impl Kept {
    /// Everything that the nodes keep, oldest run first.
    pub fn of<'a>(facts: impl IntoIterator<Item = (&'a NodeName, &'a NodeFacts)>) -> Vec<Self> {
        let mut kept: BTreeMap<(RunId, bool), Vec<KeptOn>> = BTreeMap::new();
        for (node, facts) in facts {
            for dir in &facts.kept {
                let on = KeptOn {
                    node: node.clone(),
                    dataset: dir.dataset,
                    dir: dir.dir.clone(),
                    path: dir.path.clone(),
                    bytes: dir.bytes,
                };
                kept.entry((dir.run.clone(), dir.until_ready)).or_default().push(on);
            }
        }
        let gathered = kept.into_iter().map(|((run, until_ready), dirs)| Self {
            since: run.time(),
            bytes: dirs.iter().map(|dir| dir.bytes).sum(),
            run,
            until_ready,
            dirs,
        });
        gathered.collect()
    }

    /// The nodes that keep some of it.
    pub fn nodes(&self) -> BTreeSet<&NodeName> {
        self.dirs.iter().map(|dir| &dir.node).collect()
    }

    /// Where it lies and how large it is, a line for each directory.
    pub fn lines(&self) -> Vec<String> {
        let line = |dir: &KeptOn| match dir.bytes {
            0 => format!("{}: {} (empty: nothing was there)", dir.node, dir.path),
            bytes => format!("{}: {} ({})", dir.node, dir.path, human(bytes)),
        };
        self.dirs.iter().map(line).collect()
    }

    /// The commands that go back to it, and remove it.
    pub fn commands(&self) -> String {
        let run = &self.run;
        format!("`kbo previous restore {run}` goes back to it, `kbo previous discard {run}` removes it")
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<String> = self.nodes().iter().map(ToString::to_string).collect();
        let (run, size, nodes) = (&self.run, human(self.bytes), some_of(&nodes));
        write!(f, "what run {run} replaced ({size} on {nodes})")
    }
}
