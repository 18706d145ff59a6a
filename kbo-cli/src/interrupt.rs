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
        let text = format!("kbo: interrupted twice, and something does not end: {what}");
        let told = std::thread::spawn(move || crate::output::error_line(&text));
        for _ in 0..10 {
            if told.is_finished() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        std::process::exit(i32::from(outcome.exit_code()));
    });
}

/// Whether this process was started with SIGHUP ignored, as the kernel's mask of ignored signals tells: its first bit is signal 1.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}

/// Passes signals on to `cancel` from now on.
pub(crate) fn listen(cancel: Cancel) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // Whoever began with it ignored (nohup) shall go on when the terminal is gone.
    let mut hangup = match ignores_hangup() {
        true => None,
        false => Some(signal(SignalKind::hangup())?),
    };
    tokio::spawn(async move {
        loop {
            tokio::select! {
                Some(()) = interrupt.recv() => {}
                Some(()) = terminate.recv() => {}
                Some(()) = async { hangup.as_mut()?.recv().await } => {}
                else => return,
            }
            let again = cancel.is_asked();
            cancel.ask();
            let text = if again {
                "interrupted again: what can be undone within seconds is, the rest is left to the nodes and to `kbo recover`"
            } else {
                "interrupted: finishing the step, then undoing; once more to end within seconds"
            };
            if again {
                end_by_force();
            }
            // Whoever reads our standard error may have stopped reading it.
            tokio::task::spawn_blocking(move || crate::output::error_line(text));
        }
    });
    Ok(())
}
