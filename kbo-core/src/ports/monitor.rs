//! What the run tells the person who watches it.

use crate::ids::NodeName;
use crate::machine::Phase;

/// An event of a run, in the order in which they happen.
#[derive(Debug, Clone, PartialEq)]
pub enum MonitorEvent {
    /// The run entered a phase.
    Phase(Phase),
    /// A step of the plan began.
    StepStarted {
        /// The step, as the plan prints it.
        step: String,
    },
    /// A step ended.
    StepFinished {
        /// The step, as the plan prints it.
        step: String,
        /// Its length.
        seconds: f64,
        /// The error's text where it failed.
        error: Option<String>,
    },
    /// Bytes moved for a node.
    Progress {
        /// Whose.
        node: NodeName,
        /// What is being moved (`archive data`, `stage config` ...).
        what: String,
        /// Bytes done.
        done: u64,
        /// Bytes in all, as estimated.
        total: u64,
    },
    /// Something that a person should know though the run goes on.
    Warning(String),
    /// What is being waited for.
    Waiting(String),
}

/// Takes the events. Called often and from several tasks: must be quick and must not fail.
#[cfg_attr(feature = "testing", mockall::automock)]
pub trait Monitor: Send + Sync {
    /// Takes one event.
    fn event(&self, event: MonitorEvent);
}

/// A monitor for callers that do not watch.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Monitor for Silent {
    fn event(&self, _event: MonitorEvent) {}
}
