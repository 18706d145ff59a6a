//! What an operation sends to the client and takes from it, as frames.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use kbo_core::ports::node::{NodeError, NodeErrorKind};
use kbo_core::ports::stream::{ByteSink, ByteSource, StreamError};
use tokio_util::sync::CancellationToken;

use crate::agent::proto::{self, Frame, Progress, ProtoError, Reply, encode};
use crate::agent::wire::{Inbox, Outbox, send_data};
use crate::local::ProgressSink;

/// Sends a reply. That nobody takes it is no error here: the reading side will say so.
pub(super) async fn send_reply(outbox: &Outbox, reply: Result<Reply, NodeError>) {
    let frames = proto::reply_frames(reply).or_else(|error| {
        let text = format!("the agent's answer cannot be sent: {error}");
        proto::reply_frames(Err(NodeError::new(NodeErrorKind::Agent, text)))
    });
    for frame in frames.unwrap_or_default() {
        if outbox.send(frame).await.is_err() {
            return;
        }
    }
}

/// Progress on its way to the client, ten times a second at most; what finds no room is left out.
pub(super) fn progress(outbox: &Outbox) -> ProgressSink {
    let outbox = outbox.downgrade();
    let begin = Instant::now();
    let next = AtomicU64::new(0);
    Arc::new(move |_node, what, done, total| {
        let now = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        let due = next.load(Ordering::Relaxed);
        if (now < due && done < total)
            || next
                .compare_exchange(due, now + 100, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            return;
        }
        let message = Progress {
            what: what.to_owned(),
            done,
            total,
        };
        if let (Some(outbox), Ok(json)) = (outbox.upgrade(), encode(&message)) {
            let _ = outbox.try_send(Frame::Progress(json));
        }
    })
}

/// An archive on its way to the client.
pub(super) struct FrameSink {
    pub(super) outbox: Outbox,
    pub(super) stop: CancellationToken,
}

#[async_trait]
impl ByteSink for FrameSink {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StreamError> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(StreamError::Interrupted),
            sent = send_data(&self.outbox, chunk) => {
                sent.map_err(|_| StreamError::Other("the client takes no more".to_owned()))
            }
        }
    }
}

/// An archive coming from the client.
pub(super) struct FrameSource<'a> {
    pub(super) inbox: &'a mut Inbox,
    pub(super) state: Incoming,
}

pub(super) enum Incoming {
    Open,
    Done,
    Lost(ProtoError),
}

#[async_trait]
impl ByteSource for FrameSource<'_> {
    async fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
        let lost = match &self.state {
            Incoming::Done => return Ok(None),
            Incoming::Lost(error) => return Err(StreamError::Other(error.to_string())),
            Incoming::Open => match self.inbox.recv().await {
                Some(Ok(Frame::Data(bytes))) => return Ok(Some(bytes)),
                Some(Ok(Frame::End)) => {
                    self.state = Incoming::Done;
                    return Ok(None);
                }
                Some(Ok(Frame::Abort)) => {
                    self.state = Incoming::Done;
                    return Err(StreamError::Interrupted);
                }
                Some(Ok(other)) => ProtoError::Unexpected(other.name()),
                Some(Err(error)) => error,
                None => ProtoError::Ended,
            },
        };
        let text = lost.to_string();
        self.state = Incoming::Lost(lost);
        Err(StreamError::Other(text))
    }
}
