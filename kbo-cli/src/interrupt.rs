//! Ctrl-C, SIGTERM and SIGHUP (a terminal that is closed): asked once, the run undoes and ends; asked again, it ends within seconds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kbo_core::cancel::Cancel;
use kbo_core::machine::Phase;
use kbo_core::report::Outcome;
use tokio::signal::unix::{SignalKind, signal};

/// How long a run has to end after a second interruption: a second for its step, five for the undo, two for its end.
const HURRIED: Duration = Duration::from_secs(12);

/// Whether nodes are, or may be, stopped.
static IN_WINDOW: AtomicBool = AtomicBool::new(false);

/// Notes where the run is.
pub(crate) fn note(phase: Phase) {
    let is_up = matches!(
        phase,
        Phase::Idle
            | Phase::Preflight
            | Phase::Staging
            | Phase::Archiving
            | Phase::Committing
            | Phase::Cleaning
            | Phase::Settling
            | Phase::Done
            | Phase::RolledBack
            | Phase::Refused
    );
    // What is being undone may have been stopped before.
    if phase != Phase::Undoing {
        IN_WINDOW.store(!is_up, Ordering::Relaxed);
    }
}

/// Nodes may have been left stopped by an earlier run.
pub(crate) fn note_recovery() {
    IN_WINDOW.store(true, Ordering::Relaxed);
}

/// Whatever hangs beyond all deadlines: this process ends.
fn end_by_force() {
    std::thread::spawn(|| {
        std::thread::sleep(HURRIED);
        let (outcome, what) = match IN_WINDOW.load(Ordering::Relaxed) {
            true => (
                Outcome::NeedsPerson,
                "nodes that it had stopped undo their part by themselves, and `kbo recover` the rest",
            ),
            false => (Outcome::Interrupted, "`kbo recover` closes what it left open"),
        };
        crate::output::error_line(&format!("kbo: interrupted twice, and something does not end: {what}"));
        std::process::exit(i32::from(outcome.exit_code()));
    });
}

/// Passes signals on to `cancel` from now on.
pub(crate) fn listen(cancel: Cancel) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                Some(()) = interrupt.recv() => {}
                Some(()) = terminate.recv() => {}
                Some(()) = hangup.recv() => {}
                else => return,
            }
            let again = cancel.is_asked();
            cancel.ask();
            let text = if again {
                "interrupted again: what can be undone within seconds is, the rest is left to the nodes and to `kbo recover`"
            } else {
                "interrupted: finishing the step, then undoing; once more to end within seconds"
            };
            crate::output::error_line(text);
            if again {
                end_by_force();
            }
        }
    });
    Ok(())
}
