//! The agent on its process's own streams.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use bytes::{Bytes, BytesMut};
use kbo_core::ports::node::{NodeError, NodeErrorKind};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;

use super::serve::{AgentLimits, serve};

/// Bytes asked of standard input at once: as many as a pipe holds.
const PORTION: usize = 64 << 10;

/// Serves standard input and output: what `kbo agent` does.
///
/// Detaches from the login session first, so that the session's end does not take the agent with it. The caller should end the
/// process afterwards without waiting for threads (`std::process::exit`): one may be left in a read of standard input.
///
/// # Errors
/// Those of [`serve`].
pub async fn serve_stdio(limits: AgentLimits) -> Result<(), NodeError> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        NodeError::new(NodeErrorKind::Agent, format!("the agent cannot {what}: {error}"))
    };
    // Refused to the leader of a process group, as a child of kbo on this machine is: nobody's logout ends that one.
    let _ = rustix::process::setsid();
    // A handler that does nothing, rather than the default, which ends the process.
    let mut hangup = signal(SignalKind::hangup()).map_err(|error| failed("handle signals", &error))?;
    tokio::spawn(async move { while hangup.recv().await.is_some() {} });

    let stdout = std::io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| failed("use its output", &error))?;
    let writer = tokio::fs::File::from_std(File::from(stdout));
    let chunks = stdin_chunks().map_err(|error| failed("use its input", &error))?;
    let mut chunks = Box::pin(chunks);
    let stream = futures_util::stream::poll_fn(move |context| chunks.poll_recv(context));
    serve(StreamReader::new(stream), writer, limits).await
}

/// Standard input, read by a thread of its own: the runtime's threads would be waited for at the end.
fn stdin_chunks() -> std::io::Result<mpsc::Receiver<std::io::Result<Bytes>>> {
    let mut stdin = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let (sender, receiver) = mpsc::channel(2);
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        loop {
            let mut chunk = BytesMut::zeroed(PORTION);
            let read = match stdin.read(&mut chunk) {
                Ok(0) => return,
                Ok(length) => {
                    chunk.truncate(length);
                    Ok(chunk.freeze())
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let last = read.is_err();
            if sender.blocking_send(read).is_err() || last {
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// Standard error to nowhere: once the carrier is gone, writing to it fails, and a log that cannot be written must not end the
/// agent while it undoes.
pub(super) fn silence_stderr() {
    if let Ok(null) = File::options().write(true).open("/dev/null")
        && !cfg!(test)
    {
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}
