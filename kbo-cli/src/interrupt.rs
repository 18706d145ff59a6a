//! Ctrl-C, SIGTERM and SIGHUP (a terminal that is closed): asked once, the run undoes and ends; asked again, it ends within seconds.

use kbo_core::cancel::Cancel;
use tokio::signal::unix::{SignalKind, signal};

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
        }
    });
    Ok(())
}
