//! Questions on the terminal that Ctrl-C may end: the terminal is left as it was found.

use std::future::Future;

use kbo_core::report::Outcome;
use kbo_core::secret::Secret;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};

use crate::commands::Trouble;
use crate::output;

/// How the terminal was, where there is one.
struct Before(Option<Termios>);

impl Before {
    fn look() -> Self {
        Self(tcgetattr(std::io::stdin()).ok())
    }

    fn restore(&self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Does something that asks; Ctrl-C and SIGTERM end it, with the echo on.
pub(crate) async fn interruptible<T>(work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    let before = Before::look();
    let failed = |error: std::io::Error| Trouble::new(Outcome::Failed, format!("no signal can be heard: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let signalled = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    tokio::select! {
        done = work => done,
        () = signalled => {
            before.restore();
            output::error_line("");
            Err(Trouble::new(Outcome::Interrupted, "interrupted"))
        }
    }
}

/// Runs what blocks, on a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Trouble> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Trouble::new(Outcome::Failed, format!("a thread died: {error}")))
}

/// Ctrl-C at a question.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(crate) struct Interrupted;

impl From<Interrupted> for Trouble {
    fn from(interrupted: Interrupted) -> Self {
        Trouble::new(Outcome::Interrupted, interrupted.to_string())
    }
}

/// Asks for a secret without showing it, before anything is begun: Ctrl-C ends kbo, with the echo on. None where there is no terminal,
/// or at the end of the input. On the thread of a runtime that has others.
pub(crate) fn secret(question: &str) -> Result<Option<Secret>, Interrupted> {
    if !output::has_terminal() {
        return Ok(None);
    }
    let before = Before::look();
    // The terminal sends the signal, or rpassword, before it puts the echo on again.
    let heard = signal(SignalKind::interrupt());
    let watch = tokio::spawn(async move {
        if let Ok(mut heard) = heard {
            heard.recv().await;
            before.restore();
            output::error_line("");
            output::error_line("kbo: interrupted");
            std::process::exit(i32::from(Outcome::Interrupted.exit_code()));
        }
    });
    let typed = typed(question);
    watch.abort();
    typed
}

fn typed(question: &str) -> Result<Option<Secret>, Interrupted> {
    match rpassword::prompt_password(question) {
        Ok(typed) => Ok(Some(Secret::new(typed))),
        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Err(Interrupted),
        Err(_) => Ok(None),
    }
}

/// The same within [`interruptible`].
pub(crate) async fn password(question: String) -> Result<Option<Secret>, Trouble> {
    if !output::has_terminal() {
        return Ok(None);
    }
    Ok(blocking(move || typed(&question)).await??)
}

/// Asks yes or no; none where there is no terminal.
pub(crate) async fn confirm(question: String) -> Result<Option<bool>, Trouble> {
    blocking(move || output::confirm(&question)).await
}

/// Asks for a line; none where there is no terminal.
pub(crate) async fn ask(question: String) -> Result<Option<String>, Trouble> {
    blocking(move || output::ask(&question)).await
}
