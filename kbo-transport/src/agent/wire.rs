//! The two tasks at either end of the pipe: one reads frames, one writes them.
//!
//! Frames go to and from them by bounded channels: a slow peer, disk or store slows the other end down instead of filling
//! memory, and a future that is dropped while it sends leaves no half frame behind.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::proto::{Frame, ProtoError};

/// How many frames wait in a channel: enough to keep both sides busy, few enough for the agent's memory.
const QUEUE: usize = 4;

/// Reads one frame. Allocates no more than the frame's type allows, and that only after the header has come.
///
/// # Errors
/// [`ProtoError::Ended`] between frames; otherwise what the bytes are not.
pub(super) async fn read_frame<R: AsyncRead + Unpin>(reader: &mut R) -> Result<Frame, ProtoError> {
    let mut header = [0; 5];
    if reader.read(&mut header[..1]).await? == 0 {
        return Err(ProtoError::Ended);
    }
    reader.read_exact(&mut header[1..]).await?;
    let [a, b, c, d, kind] = header;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length > Frame::limit(kind)? {
        return Err(ProtoError::TooLong { kind, length });
    }
    let mut payload = BytesMut::with_capacity(length);
    let mut rest = reader.take(length as u64);
    while payload.len() < length {
        if rest.read_buf(&mut payload).await? == 0 {
            return Err(ProtoError::Broken(std::io::ErrorKind::UnexpectedEof.into()));
        }
    }
    Frame::join(kind, payload.freeze())
}

/// Writes one frame.
pub(super) async fn write_frame<W: AsyncWrite + Unpin>(writer: &mut W, frame: &Frame) -> std::io::Result<()> {
    let (_, payload) = frame.split();
    let header = frame.header();
    if payload.len() < 16 << 10 {
        // One write, one packet.
        let mut small = Zeroizing::new(Vec::with_capacity(header.len() + payload.len()));
        small.extend_from_slice(&header);
        small.extend_from_slice(payload);
        writer.write_all(&small).await?;
    } else {
        writer.write_all(&header).await?;
        writer.write_all(payload).await?;
    }
    writer.flush().await
}

/// What the reading task hands over: frames, then one error.
pub(super) type Inbox = mpsc::Receiver<Result<Frame, ProtoError>>;

/// What the writing task takes. When every sender is gone, the task shuts the stream down and ends.
pub(super) type Outbox = mpsc::Sender<Frame>;

/// Starts the reading task. It keeps signs of life to itself and gives up after `silence` without one; the time in which it
/// waits for room in the channel does not count.
pub(super) fn spawn_reader<R>(mut reader: R, silence: Duration) -> (Inbox, JoinHandle<()>)
where
    R: AsyncRead + Send + Unpin + 'static,
{
    let (sender, inbox) = mpsc::channel(QUEUE);
    let task = tokio::spawn(async move {
        loop {
            let read = match timeout(silence, read_frame(&mut reader)).await {
                Ok(Ok(Frame::Heartbeat | Frame::Ping)) => continue,
                Ok(read) => read,
                Err(_) => Err(ProtoError::Silent(silence.as_secs())),
            };
            let last = read.is_err();
            if sender.send(read).await.is_err() || last {
                return;
            }
        }
    });
    (inbox, task)
}

/// Starts the writing task, which sends `alive` whenever there was nothing to write for `idle`.
pub(super) fn spawn_writer<W>(mut writer: W, idle: Duration, alive: Frame) -> (Outbox, JoinHandle<()>)
where
    W: AsyncWrite + Send + Unpin + 'static,
{
    let (outbox, mut receiver) = mpsc::channel::<Frame>(QUEUE);
    let task = tokio::spawn(async move {
        loop {
            let frame = match timeout(idle, receiver.recv()).await {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) => alive.clone(),
            };
            if let Err(error) = write_frame(&mut writer, &frame).await {
                tracing::debug!(%error, "the other end takes no more");
                return;
            }
        }
        let _ = writer.shutdown().await;
    });
    (outbox, task)
}

/// Sends bytes of any length as data frames.
///
/// # Errors
/// The writing task has ended.
pub(super) async fn send_data(outbox: &Outbox, mut bytes: Bytes) -> Result<(), ProtoError> {
    while !bytes.is_empty() {
        let frame = Frame::Data(bytes.split_to(bytes.len().min(super::proto::MAX_DATA)));
        outbox.send(frame).await.map_err(|_| ProtoError::Ended)?;
    }
    Ok(())
}
