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

/// Asks for a secret without showing it; none where there is no terminal.
pub(crate) async fn password(question: String) -> Result<Option<Secret>, Trouble> {
    if !output::has_terminal() {
        return Ok(None);
    }
    let asked = blocking(move || rpassword::prompt_password(question)).await?;
    Ok(asked.ok().map(Secret::new))
}

/// Asks yes or no; none where there is no terminal.
pub(crate) async fn confirm(question: String) -> Result<Option<bool>, Trouble> {
    blocking(move || output::confirm(&question)).await
}

/// Asks for a line; none where there is no terminal.
pub(crate) async fn ask(question: String) -> Result<Option<String>, Trouble> {
    blocking(move || output::ask(&question)).await
}
