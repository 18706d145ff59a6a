//! The attached helper's streams as a reader and a writer.

use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bollard::Docker;
use bollard::container::{AttachContainerResults, LogOutput};
use bollard::errors::Error;
use bollard::query_parameters::WaitContainerOptions;
use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::complaints::Complaints;

/// Pieces of output that wait for the reader: the engine makes them up to 32 KiB long.
const QUEUE: usize = 64;
/// How long the engine may take to tell the status of a helper whose output has ended.
const LINGER: Duration = Duration::from_secs(2);

/// What the carrier hands out.
pub(super) struct Ends {
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    pub(super) guard: Guard,
}

/// Starts to take the helper's output apart. In a task, because complaints must be taken even while nobody reads the output.
pub(super) fn pump(attached: AttachContainerResults, docker: Docker, id: String, complaints: Complaints) -> Ends {
    let (sender, queue) = mpsc::channel(QUEUE);
    let failure = Arc::new(Mutex::new(None));
    let task = Task {
        sender,
        complaints,
        failure: Arc::clone(&failure),
    };
    let task = tokio::spawn(task.run(attached.output, docker, id));
    Ends {
        reader: Reader {
            queue,
            current: Bytes::new(),
            failure,
        },
        writer: Writer {
            input: attached.input,
            open: true,
        },
        guard: Guard(task.abort_handle()),
    }
}

type Failure = Arc<Mutex<Option<io::Error>>>;

struct Task {
    sender: mpsc::Sender<Bytes>,
    complaints: Complaints,
    failure: Failure,
}

impl Task {
    async fn run(self, mut output: impl Stream<Item = Result<LogOutput, Error>> + Unpin, docker: Docker, id: String) {
        let options = WaitContainerOptions {
            condition: "next-exit".into(),
        };
        let mut exits = pin!(docker.wait_container(&id, Some(options)));
        let mut status = None;
        loop {
            tokio::select! {
                biased;
                item = output.next() => match item {
                    Some(Ok(LogOutput::StdOut { message })) => {
                        if self.sender.send(message).await.is_err() {
                            // Nobody reads any more. Complaints may still come, but nobody would ask for those either.
                            return;
                        }
                    }
                    Some(Ok(other)) => self.complaints.push(&other.into_bytes()),
                    Some(Err(error)) => {
                        let error = io::Error::new(io::ErrorKind::ConnectionReset, format!("helper container: {error}"));
                        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        return;
                    }
                    None => break,
                },
                exit = exits.next(), if status.is_none() => status = Some(exit),
            }
        }
        if status.is_none() {
            status = tokio::time::timeout(LINGER, exits.next()).await.ok();
        }
        // bollard makes an error of a status that is not 0.
        if let Some(Some(Err(Error::DockerContainerWaitError { code, .. }))) = status {
            self.complaints.remark(&format!("(ended with status {code})"));
        }
    }
}

/// The agent's standard output.
pub(super) struct Reader {
    queue: mpsc::Receiver<Bytes>,
    current: Bytes,
    failure: Failure,
}

impl AsyncRead for Reader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.current.is_empty() {
            match ready!(self.queue.poll_recv(cx)) {
                Some(bytes) => self.current = bytes,
                None => {
                    let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                    let failure = failure
                        .as_ref()
                        .map(|error| io::Error::new(error.kind(), error.to_string()));
                    return Poll::Ready(failure.map_or(Ok(()), Err));
                }
            }
        }
        let length = self.current.len().min(buf.remaining());
        buf.put_slice(&self.current[..length]);
        self.current.advance(length);
        Poll::Ready(Ok(()))
    }
}

/// The agent's standard input.
pub(super) struct Writer {
    input: Pin<Box<dyn AsyncWrite + Send>>,
    open: bool,
}

impl AsyncWrite for Writer {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.input.as_mut().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = ready!(self.input.as_mut().poll_shutdown(cx));
        self.open = false;
        Poll::Ready(shut)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // The other half of the connection lives on: without this the agent would wait for more. A socket's shutdown is one
        // system call that never has to wait.
        if self.open {
            let _ = self
                .input
                .as_mut()
                .poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }
}

/// Ends the task when dropped, and with the reader and the writer the connection: the engine then closes the agent's input.
pub(super) struct Guard(AbortHandle);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}
