//! Who works on a node: the claim that a run lays to it, and what the node says of other claims.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::RunId;
use crate::inventory::Dataset;

/// The kbo on whose behalf a node is worked on. It is written into the node's lease, for whoever finds that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Owner {
    /// The id of its store; empty where that is not known.
    pub store: String,
    /// The cluster's name in its kbo.toml.
    pub cluster: String,
    /// The host that it runs on.
    pub host: String,
    /// The user that it runs as.
    pub user: String,
    /// Its process id.
    pub pid: u32,
    /// Since when.
    pub since: Timestamp,
    /// What for: `backup`, `restore of 20261122T030000Z` ...
    pub purpose: String,
}

impl Owner {
    /// Whether both are runs of one cluster in one store, which that store's lock keeps apart.
    pub fn is_of_the_same_centre(&self, other: &Self) -> bool {
        !self.store.is_empty() && self.store == other.store && self.cluster == other.cluster
    }
}

/// Characters of an owner that are shown.
const LONGEST: usize = 300;

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            user,
            host,
            pid,
            since,
            purpose,
            cluster,
            ..
        } = self;
        let text = format!("{purpose} of cluster {cluster} by {user}@{host} (pid {pid}) since {since:.0}");
        // A lease is a file on a node: whatever it holds, terminals and logs get one plain line.
        for c in text.chars().filter(|c| !c.is_control()).take(LONGEST) {
            write!(f, "{c}")?;
        }
        Ok(())
    }
}

/// What a run, or who looks after dead ones, lays claim to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The run that works on the node from now on; `None` for one that only puts right what dead runs left.
    pub run: Option<RunId>,
    /// Whose it is.
    pub owner: Owner,
    /// Runs whose open journals the owner has. What they left is undone as their journals tell, not by the node alone.
    pub known: Vec<RunId>,
    /// The run is being undone: that the node has undone its part alone is no failure any more, and its word to keep restored data is
    /// taken back.
    pub undoing: bool,
}

/// What a claim brought about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimReport {
    /// What dead runs had left to undo on the node, and what became of it.
    pub undone: Vec<LeftUndone>,
}

/// What a dead run had left to undo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftUndone {
    /// The run.
    pub run: RunId,
    /// Whose it was, where its lease tells.
    pub owner: Option<Owner>,
    /// Why it could not be undone; it stays to be done.
    pub error: Option<String>,
    /// What somebody else did to the container, for which it is left down.
    #[serde(default)]
    pub left_down: Option<String>,
}

/// What a node holds of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The datasets in whose place the run's restored ones are.
    pub swapped: Vec<Dataset>,
}

/// A lease on a node, as found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseFacts {
    /// The run.
    pub run: RunId,
    /// Whose it is; `None` for a lease of kbo 0.1.0.
    pub owner: Option<Owner>,
    /// Whether its agent is there: connected, within its grace, or undoing.
    pub is_alive: bool,
    /// Whether the node is stopped for it, or runs on data that are on trial.
    pub window_open: bool,
}

impl LeaseFacts {
    /// Who has the node, for a message.
    pub fn holder(&self) -> String {
        holder(&self.run, self.owner.as_ref())
    }
}

/// Who holds a run's lease, for a message.
pub fn holder(run: &RunId, owner: Option<&Owner>) -> String {
    match owner {
        Some(owner) => format!("run {run}: {owner}"),
        None => format!("run {run} of an older kbo"),
    }
}

impl std::fmt::Display for LeftUndone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whose = holder(&self.run, self.owner.as_ref());
        match &self.error {
            None if let Some(others) = &self.left_down => {
                write!(f, "what a dead run had left undone is undone ({whose}), but {others}")
            }
            None => write!(f, "what a dead run had left undone is undone ({whose})"),
            Some(error) => write!(f, "what a dead run left undone cannot be undone yet ({whose}): {error}"),
        }
    }
}
