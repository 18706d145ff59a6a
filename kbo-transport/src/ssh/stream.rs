//! The two ends that the rest of the program holds.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

use super::link::Link;

/// The most that one entry of the writer's queue holds.
pub(super) const WRITE_CHUNK: usize = 128 * 1024;

/// The agent's standard output.
pub(super) struct Reader {
    queue: mpsc::Receiver<Bytes>,
    current: Bytes,
    link: Arc<Link>,
}

impl Reader {
    pub(super) fn new(queue: mpsc::Receiver<Bytes>, link: Arc<Link>) -> Self {
        Self {
            queue,
            current: Bytes::new(),
            link,
        }
    }
}

impl AsyncRead for Reader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.current.is_empty() {
            match ready!(self.queue.poll_recv(cx)) {
                Some(bytes) => {
                    self.current = bytes;
                    self.link.room();
                }
                // The queue is closed: the agent ended, unless the connection did.
                None => return Poll::Ready(self.link.failure().map_or(Ok(()), Err)),
            }
        }
        let length = self.current.len().min(buf.remaining());
        buf.put_slice(&self.current[..length]);
        self.current.advance(length);
        Poll::Ready(Ok(()))
    }
}

/// The agent's standard input. What was written is sent even if the writer is dropped right after; then comes the end of file.
pub(super) struct Writer {
    queue: Option<PollSender<Bytes>>,
    link: Arc<Link>,
}

impl Writer {
    pub(super) fn new(queue: mpsc::Sender<Bytes>, link: Arc<Link>) -> Self {
        Self {
            queue: Some(PollSender::new(queue)),
            link,
        }
    }

    fn gone(&self) -> io::Error {
        self.link
            .failure()
            .unwrap_or_else(|| io::Error::new(io::ErrorKind::BrokenPipe, "the agent has ended"))
    }
}

impl AsyncWrite for Writer {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Some(queue) = &mut self.queue else {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::BrokenPipe,
                "written to after the end",
            )));
        };
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if ready!(queue.poll_reserve(cx)).is_err() {
            return Poll::Ready(Err(self.gone()));
        }
        let length = buf.len().min(WRITE_CHUNK);
        if queue.send_item(Bytes::copy_from_slice(&buf[..length])).is_err() {
            return Poll::Ready(Err(self.gone()));
        }
        self.link.data();
        Poll::Ready(Ok(length))
    }

    /// Nothing to do: the connection's thread sends whatever is queued as fast as the node takes it.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.queue = None;
        self.link.data();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // In this order: the thread must find the queue closed when it wakes.
        self.queue = None;
        self.link.data();
    }
}
