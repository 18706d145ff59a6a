//! One connection to an agent: the hello, then frames.

use std::any::Any;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kbo_core::ports::node::{NodeError, NodeErrorKind};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::client::ClientLimits;
use super::proto::{Frame, Hello, MAGIC, Open, ProtoError, Reply, Standing, decode, encode};
use super::wire::{Inbox, Outbox, spawn_reader, spawn_writer};
use crate::carrier::{AgentPipe, Carrier};
use crate::local::NodeSpec;

/// How much of what is no agent is shown.
const SHOWN: usize = 200;

/// An agent that serves a node. Dropped, its input ends, which is how it knows.
pub(super) struct Connection {
    inbox: Inbox,
    outbox: Outbox,
    tasks: [JoinHandle<()>; 2],
    complaints: Arc<dyn Fn() -> String + Send + Sync>,
    /// What the carrier wants kept as long as the connection; in a mutex only to be shared between threads, as futures are.
    _guard: Mutex<Box<dyn Any + Send>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Connection {
    pub(super) async fn open<C: Carrier>(
        carrier: &C,
        spec: &NodeSpec,
        limits: &ClientLimits,
        standing: Standing,
    ) -> Result<Self, NodeError> {
        let AgentPipe {
            mut reader,
            writer,
            complaints,
            paths,
            engine_paths,
            engine_socket,
            guard,
        } = carrier.open().await?;
        let place = format!("{} ({})", spec.node, carrier.describe());
        greet(&mut reader, &place, &complaints, limits.hello).await?;

        let (inbox, reading) = spawn_reader(reader, limits.silence);
        let (outbox, writing) = spawn_writer(writer, limits.ping, Frame::Ping);
        let mut connection = Self {
            inbox,
            outbox,
            tasks: [reading, writing],
            complaints,
            _guard: Mutex::new(guard),
        };
        let mut spec = spec.seen_from(&paths, engine_socket.as_deref());
        spec.engine_paths = engine_paths;
        match connection.begin(&spec, standing).await {
            Ok(Ok(Reply::Done)) => Ok(connection),
            Ok(Ok(_)) => Err(NodeError::new(
                NodeErrorKind::Agent,
                format!("the agent on {place} answered nonsense"),
            )),
            Ok(Err(error)) => Err(error),
            Err(error) => {
                let text = format!("the agent on {place} cannot be used: {error}");
                Err(NodeError::new(
                    NodeErrorKind::Agent,
                    connection.with_complaints(text).await,
                ))
            }
        }
    }

    async fn begin(&mut self, spec: &NodeSpec, standing: Standing) -> Result<Result<Reply, NodeError>, ProtoError> {
        let ours = Hello::ours();
        match self.next().await? {
            Frame::Hello(json) => {
                let theirs: Hello = decode(&json)?;
                if theirs != ours {
                    let text = format!(
                        "it is kbo {} (protocol {}), this is kbo {} (protocol {})",
                        theirs.version, theirs.protocol, ours.version, ours.protocol
                    );
                    return Err(ProtoError::Message(text));
                }
            }
            other => return Err(ProtoError::Unexpected(other.name())),
        }
        self.send(Frame::Open(encode(&Open::from(spec).standing(standing))?))
            .await?;
        match self.next().await? {
            Frame::Reply(json) => decode(&json),
            other => Err(ProtoError::Unexpected(other.name())),
        }
    }

    /// Whether the agent was there a moment ago. Between calls it has nothing to say but that it is gone.
    pub(super) fn is_good(&mut self) -> bool {
        use tokio::sync::mpsc::error::TryRecvError;
        loop {
            match self.inbox.try_recv() {
                Err(TryRecvError::Empty) => return !self.outbox.is_closed(),
                // Progress that came after its reply.
                Ok(Ok(Frame::Progress(_))) => {}
                Ok(_) | Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    pub(super) async fn send(&self, frame: Frame) -> Result<(), ProtoError> {
        self.outbox.send(frame).await.map_err(|_| ProtoError::Ended)
    }

    pub(super) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    pub(super) async fn next(&mut self) -> Result<Frame, ProtoError> {
        self.inbox.recv().await.unwrap_or(Err(ProtoError::Ended))
    }

    /// `text`, and what the agent wrote to standard error.
    pub(super) async fn with_complaints(&self, text: String) -> String {
        with_complaints(text, &self.complaints).await
    }
}

async fn with_complaints(text: String, complaints: &Arc<dyn Fn() -> String + Send + Sync>) -> String {
    // They come by another way and may be a moment later than the end of the output.
    sleep(Duration::from_millis(200)).await;
    match complaints().trim() {
        "" => text,
        said => format!("{text}; it said: {said}"),
    }
}

/// Reads the magic. What else comes is shown: it is the best clue to what is wrong.
async fn greet<R: AsyncRead + Unpin>(
    reader: &mut R,
    place: &str,
    complaints: &Arc<dyn Fn() -> String + Send + Sync>,
    patience: Duration,
) -> Result<(), NodeError> {
    let mut seen = Vec::new();
    let read = timeout(patience, async {
        while seen.len() < MAGIC.len() && MAGIC.starts_with(&seen) {
            let mut byte = [0];
            if reader.read(&mut byte).await? == 0 {
                break;
            }
            seen.push(byte[0]);
        }
        Ok::<_, std::io::Error>(())
    });
    let ended = match read.await {
        Ok(Ok(())) if seen == MAGIC => return Ok(()),
        Ok(Ok(())) => format!("the agent on {place} ended before it said hello"),
        Ok(Err(error)) => format!("the agent on {place} could not be heard: {error}"),
        Err(_) => format!("the agent on {place} said nothing for {} s", patience.as_secs()),
    };
    let agent = |text| NodeError::new(NodeErrorKind::Agent, text);
    if MAGIC.starts_with(&seen) {
        return Err(agent(with_complaints(ended, complaints).await));
    }
    // The rest of the line or two, as far as it is there already.
    let rest = async {
        let mut buffer = [0; SHOWN];
        while seen.len() < SHOWN {
            match reader.read(&mut buffer).await {
                Ok(length @ 1..) => seen.extend_from_slice(&buffer[..length]),
                _ => break,
            }
        }
    };
    let _ = timeout(Duration::from_millis(300), rest).await;
    seen.truncate(SHOWN);
    let shown: String = String::from_utf8_lossy(&seen)
        .chars()
        .map(|c| if c.is_control() && c != '\n' { '.' } else { c })
        .collect();
    let text = format!("what answered on {place} is no agent; it began with: {}", shown.trim());
    Err(agent(with_complaints(text, complaints).await)
        .hint("does the login print something, as from .bashrc or a forced command? It must be silent for commands"))
}
