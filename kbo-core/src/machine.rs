//! The phases of a run and the only ways from one to the next.

use serde::{Deserialize, Serialize};

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing done yet.
    Idle,
    /// Looking at everything; nothing touched.
    Preflight,
    /// Unpacking a backup beside the live data; the cluster runs.
    Staging,
    /// Stopping, brokers last to first, then controllers last to first.
    Stopping,
    /// Reading the proofs of a clean stop.
    Proving,
    /// Taking the snapshots.
    Snapshotting,
    /// Putting the staged data in the place of the live data.
    Swapping,
    /// Starting, controllers first to last, then brokers; each ready.
    Starting,
    /// Creating containers.
    Creating,
    /// Removing containers.
    Removing,
    /// Restarting one node at a time, each ready and every ISR whole before the next; the cluster serves.
    Rolling,
    /// Formatting log dirs beside the live ones.
    Formatting,
    /// Waiting until every ISR is whole again; the cluster serves.
    Settling,
    /// Streaming archives from the snapshots into the store; the cluster runs.
    Archiving,
    /// Writing the manifest.
    Committing,
    /// Dropping snapshots, staging and replaced data.
    Cleaning,
    /// Undoing after a failure or an interruption.
    Undoing,
    /// Done, all of it.
    Done,
    /// Failed or interrupted, and the cluster is as it was found.
    RolledBack,
    /// Refused before anything was touched.
    Refused,
    /// The undo failed too: the cluster needs a person.
    Stuck,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Phase::Idle => "idle",
            Phase::Preflight => "preflight",
            Phase::Staging => "staging",
            Phase::Stopping => "stopping",
            Phase::Proving => "proving",
            Phase::Snapshotting => "snapshotting",
            Phase::Swapping => "swapping",
            Phase::Starting => "starting",
            Phase::Creating => "creating",
            Phase::Removing => "removing",
            Phase::Rolling => "rolling",
            Phase::Formatting => "formatting",
            Phase::Settling => "settling",
            Phase::Archiving => "archiving",
            Phase::Committing => "committing",
            Phase::Cleaning => "cleaning",
            Phase::Undoing => "undoing",
            Phase::Done => "done",
            Phase::RolledBack => "rolled back",
            Phase::Refused => "refused",
            Phase::Stuck => "stuck",
        })
    }
}

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// A backup that stops the cluster.
    ColdBackup,
    /// A backup of what may be read while the cluster runs.
    HotBackup,
    /// A restore.
    Restore,
    /// Stop nodes, and leave them stopped.
    Stop,
    /// Start nodes.
    Start,
    /// Stop nodes and start them again.
    Restart,
    /// Restart one node at a time while the cluster serves.
    RollingRestart,
    /// Create containers that are missing, replace those that are to be, and start them.
    Run,
    /// Stop nodes and remove their containers.
    Remove,
    /// Format the log dirs of a stopped cluster.
    Format,
}

impl Operation {
    /// Whether a backup comes of it.
    pub fn makes_backup(self) -> bool {
        matches!(self, Operation::ColdBackup | Operation::HotBackup)
    }
}

/// What happens to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The run begins.
    Begin,
    /// Every step of the phase is done.
    PhaseDone,
    /// Preflight found a reason not to go on.
    PreflightRefused,
    /// A step failed.
    StepFailed,
    /// The operator interrupted.
    Interrupted,
    /// The undo is done.
    UndoDone,
    /// A step of the undo failed.
    UndoFailed,
}

/// A pair of phase and event that has no meaning: a fault in kbo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a {operation:?} run in phase {phase:?} cannot take the event {event:?}")]
pub struct IllegalTransition {
    /// What the run does.
    pub operation: Operation,
    /// Where it was.
    pub phase: Phase,
    /// What happened.
    pub event: Event,
}

impl Operation {
    /// The phases of an undisturbed run, in order, between `Idle` and `Done`.
    pub fn phases(self) -> &'static [Phase] {
        use Phase::*;
        match self {
            Operation::ColdBackup => &[
                Preflight,
                Stopping,
                Proving,
                Snapshotting,
                Starting,
                Settling,
                Archiving,
                Committing,
                Cleaning,
            ],
            Operation::HotBackup => &[Preflight, Snapshotting, Archiving, Committing, Cleaning],
            Operation::Restore => &[Preflight, Staging, Stopping, Swapping, Starting, Settling, Cleaning],
            Operation::Stop => &[Preflight, Stopping],
            Operation::Start => &[Preflight, Starting, Settling],
            Operation::Restart => &[Preflight, Stopping, Starting, Settling],
            Operation::RollingRestart => &[Preflight, Rolling],
            Operation::Run => &[Preflight, Stopping, Creating, Starting, Settling, Cleaning],
            Operation::Remove => &[Preflight, Stopping, Removing],
            Operation::Format => &[Preflight, Formatting, Swapping, Cleaning],
        }
    }
}

/// The phase after `event`.
///
/// # Errors
/// [`IllegalTransition`] for a pair that cannot happen.
pub fn next(operation: Operation, phase: Phase, event: Event) -> Result<Phase, IllegalTransition> {
    use Event::*;
    let phases = operation.phases();
    let position = phases.iter().position(|p| *p == phase);
    match (phase, event, position) {
        (Phase::Idle, Begin, _) => Ok(phases[0]),
        (Phase::Preflight, PreflightRefused | StepFailed, Some(_)) => Ok(Phase::Refused),
        (Phase::Preflight, Interrupted, Some(_)) => Ok(Phase::RolledBack),
        (_, PhaseDone, Some(at)) => Ok(phases.get(at + 1).copied().unwrap_or(Phase::Done)),
        // A backup whose manifest is written, a restore whose cluster is up: what is left is sweeping, not worth an undo.
        (Phase::Cleaning, StepFailed | Interrupted, Some(_)) => Ok(Phase::Done),
        (_, StepFailed | Interrupted, Some(_)) => Ok(Phase::Undoing),
        (Phase::Undoing, UndoDone, _) => Ok(Phase::RolledBack),
        (Phase::Undoing, UndoFailed, _) => Ok(Phase::Stuck),
        _ => Err(IllegalTransition {
            operation,
            phase,
            event,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPERATIONS: [Operation; 10] = [
        Operation::ColdBackup,
        Operation::HotBackup,
        Operation::Restore,
        Operation::Stop,
        Operation::Start,
        Operation::Restart,
        Operation::RollingRestart,
        Operation::Run,
        Operation::Remove,
        Operation::Format,
    ];

    #[test]
    fn an_undisturbed_run_passes_its_phases_in_order() {
        for operation in OPERATIONS {
            let mut phase = next(operation, Phase::Idle, Event::Begin).unwrap();
            for expected in operation.phases() {
                assert_eq!(phase, *expected);
                phase = next(operation, phase, Event::PhaseDone).unwrap();
            }
            assert_eq!(phase, Phase::Done);
        }
    }

    #[test]
    fn a_failure_after_preflight_is_undone_and_before_it_touches_nothing() {
        for operation in OPERATIONS {
            for phase in operation.phases() {
                let after = next(operation, *phase, Event::StepFailed).unwrap();
                let expected = match phase {
                    Phase::Preflight => Phase::Refused,
                    Phase::Cleaning => Phase::Done,
                    _ => Phase::Undoing,
                };
                assert_eq!(after, expected, "{operation:?} {phase:?}");
            }
        }
        assert_eq!(
            next(Operation::Stop, Phase::Undoing, Event::UndoDone),
            Ok(Phase::RolledBack)
        );
        assert_eq!(
            next(Operation::Stop, Phase::Undoing, Event::UndoFailed),
            Ok(Phase::Stuck)
        );
    }

    #[test]
    fn no_data_is_read_or_replaced_before_everything_is_stopped() {
        for (operation, touching) in [
            (Operation::ColdBackup, Phase::Snapshotting),
            (Operation::Restore, Phase::Swapping),
        ] {
            let phases = operation.phases();
            let at = |phase| phases.iter().position(|p| *p == phase).unwrap();
            assert!(at(Phase::Stopping) < at(touching) && at(touching) < at(Phase::Starting));
        }
    }

    #[test]
    fn ends_and_foreign_phases_take_no_event() {
        for operation in OPERATIONS {
            for phase in [Phase::Done, Phase::RolledBack, Phase::Refused, Phase::Stuck] {
                for event in [
                    Event::Begin,
                    Event::PhaseDone,
                    Event::StepFailed,
                    Event::UndoDone,
                    Event::Interrupted,
                ] {
                    assert!(next(operation, phase, event).is_err(), "{phase:?} {event:?}");
                }
            }
        }
        assert!(next(Operation::Stop, Phase::Swapping, Event::PhaseDone).is_err());
    }
}
