//! What a run came to: for the person, for `--json`, for the exit code.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{BackupId, NodeName, RunId};
use crate::kept::Kept;
use crate::machine::{Operation, Phase};
use crate::manifest::BackupKind;
use crate::orchestrator::Rotation;
use crate::preflight::Finding;

/// How a run ended, one value per exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Done, all of it.
    Done,
    /// Failed, and the cluster is as it was found.
    Failed,
    /// Wrong usage or configuration.
    Usage,
    /// Preflight refused; nothing was touched.
    Refused,
    /// Failed, and the cluster needs a person.
    NeedsPerson,
    /// Damage was found in a backup.
    Damaged,
    /// Another run holds the lock.
    Locked,
    /// Done, and there is something to look at: the cluster is worse than before, a rotation was withheld.
    Attention,
    /// Interrupted, and the cluster is as it was found.
    Interrupted,
}

impl Outcome {
    /// Its name, as `--json` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Failed => "failed",
            Outcome::Usage => "usage",
            Outcome::Refused => "refused",
            Outcome::NeedsPerson => "needs_person",
            Outcome::Damaged => "damaged",
            Outcome::Locked => "locked",
            Outcome::Attention => "attention",
            Outcome::Interrupted => "interrupted",
        }
    }

    /// Whether what was asked for is done, with or without something to look at.
    pub fn is_done(self) -> bool {
        matches!(self, Outcome::Done | Outcome::Attention)
    }

    /// The process's exit code; docs/exit-codes.md has the table.
    pub fn exit_code(self) -> u8 {
        match self {
            Outcome::Done => 0,
            Outcome::Failed => 1,
            Outcome::Usage => 2,
            Outcome::Refused => 3,
            Outcome::NeedsPerson => 4,
            Outcome::Damaged => 5,
            Outcome::Locked => 6,
            Outcome::Attention => 7,
            Outcome::Interrupted => 130,
        }
    }
}

/// What went wrong, with the node, the step, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The step, as the plan prints it.
    pub step: String,
    /// The node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// What failed and why, with its causes.
    pub message: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// An error's text with the texts of its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// A phase and how long it took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PhaseTime {
    /// The phase.
    pub phase: Phase,
    /// Its length.
    pub seconds: f64,
}

/// What a run did to one node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeReport {
    /// The node.
    pub node: NodeName,
    /// Files hardlinked by its snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linked_files: Option<u64>,
    /// Files copied by its snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copied_files: Option<u64>,
    /// Bytes of its files.
    pub raw_bytes: u64,
    /// Bytes of its archives.
    pub stored_bytes: u64,
}

/// A run's report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The run.
    pub run: RunId,
    /// What it did.
    pub operation: Operation,
    /// The backup that it made or restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<BackupId>,
    /// The backup's kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<BackupKind>,
    /// How it ended.
    pub outcome: Outcome,
    /// From the first stop to the last ready; absent where nothing was stopped or the run did not get there.
    pub window_seconds: Option<f64>,
    /// The phases passed.
    pub phases: Vec<PhaseTime>,
    /// The nodes.
    pub nodes: Vec<NodeReport>,
    /// Bytes of all files.
    pub raw_bytes: u64,
    /// Bytes of all archives.
    pub stored_bytes: u64,
    /// What the rotation after a backup did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// What nodes keep of the data that this run, or an earlier one, replaced.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<Kept>,
    /// What earlier runs had replaced and this one has removed, for its nodes have proven ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub discarded: Vec<Kept>,
    /// What a person should know though the run went on.
    pub warnings: Vec<String>,
    /// What a person has to look at though the run is done; not empty where the outcome is [`Outcome::Attention`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attention: Vec<String>,
    /// Nodes that had not stopped cleanly when they were archived: the backup is there, and counts for no good one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unclean: Vec<NodeName>,
    /// What preflight found.
    pub findings: Vec<Finding>,
    /// What went wrong, first things first; the undo's own failures last.
    pub failures: Vec<Failure>,
    /// One sentence for a person at night.
    pub verdict: String,
}
