//! The entries of a run's journal.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::machine::Phase;
use crate::plan::{Plan, Prior, Step};
use crate::ports::node::{ContainerNow, StartOutcome, StopOutcome, SwapOutcome};

/// One entry. Each is durable before what it announces is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// The run begins.
    Begin {
        /// When.
        at: Timestamp,
        /// What it will do.
        plan: Plan,
        /// Every container as found.
        prior: Prior,
    },
    /// A step is about to be taken.
    Intent {
        /// When.
        at: Timestamp,
        /// The step.
        step: Step,
        /// Of a stop, the container that is to be stopped, as it was last seen; none in a journal of kbo 0.1.0.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        container: Option<ContainerNow>,
    },
    /// A step was taken.
    Done {
        /// When.
        at: Timestamp,
        /// The step.
        step: Step,
        /// What it found.
        outcome: StepOutcome,
        /// Of a stop, a start or a new container, the container as the step left it; none in a journal of kbo 0.1.0, or where it could not be looked at.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        container: Option<ContainerNow>,
    },
    /// A step failed.
    Failed {
        /// When.
        at: Timestamp,
        /// The step.
        step: Step,
        /// The error.
        error: String,
    },
    /// Every node has agreed to keep what is swapped. That alone keeps nothing: where the store hangs on this line, the run is undone,
    /// and the line may still land.
    Keeping {
        /// When.
        at: Timestamp,
    },
    /// A restored cluster serves, and no node will take it back alone: from here on the run is not undone, only swept after.
    Kept {
        /// When.
        at: Timestamp,
    },
    /// Another process takes the run over to undo it. Nodes may have moved by themselves since the last entry.
    TakenOver {
        /// When.
        at: Timestamp,
        /// Whether no node holds anything of the run any more: what was swapped was swapped back by the nodes.
        nothing_left: bool,
    },
    /// The undo begins; what follows are its steps.
    UndoStarted {
        /// When.
        at: Timestamp,
    },
    /// The run ended.
    End {
        /// When.
        at: Timestamp,
        /// In which phase.
        phase: Phase,
    },
}

/// What a step found, where an undo depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// Of a stop.
    Stop(StopOutcome),
    /// Of a start.
    Start(StartOutcome),
    /// Of a swap, forth or back.
    Swap(SwapOutcome),
    /// Of anything else.
    Done,
}
