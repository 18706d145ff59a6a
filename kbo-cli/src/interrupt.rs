//! Ctrl-C and SIGTERM: asked once, the run undoes and ends; asked again, it hurries.

use kbo_core::cancel::Cancel;
use tokio::signal::unix::{SignalKind, signal};

/// Passes signals on to `cancel` from now on.
pub(crate) fn listen(cancel: Cancel) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                Some(()) = interrupt.recv() => {}
                Some(()) = terminate.recv() => {}
                else => return,
            }
            let again = cancel.is_asked();
            cancel.ask();
            let text = if again {
                "asked again: hurrying"
            } else {
                "interrupted: finishing the step, then undoing; once more to hurry"
            };
            crate::output::error_line(text);
        }
    });
    Ok(())
}
