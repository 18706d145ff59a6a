//! What goes over the pipe: frames and messages, as data.
//!
//! A frame is a big-endian `u32` length of the payload, a type byte, the payload. Messages are JSON, since the ports' types use
//! serde forms (flattened and tagged enums) that formats without field names cannot hold. Bulk data is raw.

mod open;

use bytes::{BufMut, Bytes, BytesMut};
use kbo_core::ids::RunId;
use kbo_core::inventory::Dataset;
use kbo_core::manifest::FileRecord;
use kbo_core::ports::listener::ListenerFacts;
use kbo_core::ports::node::{
    ArchiveReport, ArchiveRequest, Claim, ClaimReport, CleanReport, CleanRequest, CleanStopProof, ContainerNow,
    ContainerReport, ContainerRequest, DirSpace, FactsRequest, FilesReport, FormatReport, FormatRequest, Held,
    KafkaAnswer, KafkaQuestion, NodeError, NodeFacts, PartitionState, QuorumSetup, SnapshotReport, SnapshotRequest,
    StageReport, StageRequest, StartOutcome, StopOutcome, StopRequest, SwapOutcome, SwapRequest,
};
use serde::{Deserialize, Serialize};

pub use self::open::{Open, Standing};
use super::files::Files;
use super::json::unencodable;
pub use super::json::{decode, decode_and_wipe, encode};

/// What an agent's output begins with. Anything else is not an agent: a login banner, an error of a shell.
pub const MAGIC: &[u8; 8] = b"\0kbo-ag\n";

/// The protocol's version; both ends must speak the same.
pub const PROTOCOL: u32 = 6;

/// The longest payload of a message.
pub const MAX_MESSAGE: usize = 4 << 20;

/// The longest payload of a data frame.
pub const MAX_DATA: usize = 1 << 20;

/// Bytes of JSON after which a list goes on in the next [`Frame::Part`].
const PART_SIZE: usize = 256 << 10;

/// How many bytes the parts of one message may have together: room for some millions of files.
pub const MAX_PARTS: usize = 2 << 30;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Agent: who it is; the first frame. A [`Hello`].
    Hello(Bytes),
    /// Client: which node to serve; the second. An [`Open`].
    Open(Bytes),
    /// Client: an operation. A [`Request`].
    Request(Bytes),
    /// Either: some entries of a list of the message that follows. A [`Part`].
    Part(Bytes),
    /// Either: some bytes of an archive.
    Data(Bytes),
    /// Client: the archive ends here.
    End,
    /// Client: it wants no more of this operation. The agent still replies.
    Abort,
    /// Agent: how far it is. A [`Progress`].
    Progress(Bytes),
    /// Agent: it is alive.
    Heartbeat,
    /// Client: it is alive.
    Ping,
    /// Agent: the end of an operation. A `Result<Reply, NodeError>`.
    Reply(Bytes),
    /// Client: nothing is to be undone, the agent may go. Answered with a reply.
    Goodbye,
}

/// Why bytes are no frame or no message.
#[derive(Debug, thiserror::Error)]
pub enum ProtoError {
    /// The stream ended, between frames.
    #[error("the stream ended")]
    Ended,
    /// The stream failed, or ended within a frame.
    #[error("the stream broke")]
    Broken(#[from] std::io::Error),
    /// Nothing came for too long.
    #[error("nothing came for {0} s")]
    Silent(u64),
    /// A type byte that means nothing.
    #[error("unknown frame type {0}")]
    UnknownType(u8),
    /// A length beyond what the type may have.
    #[error("a frame of type {kind} claims {length} bytes")]
    TooLong {
        /// The frame's type byte.
        kind: u8,
        /// The length that it claims.
        length: usize,
    },
    /// A message that does not parse.
    #[error("a message does not parse: {0}")]
    Message(String),
    /// A frame at a time at which it means nothing.
    #[error("unexpected frame {0}")]
    Unexpected(&'static str),
}

impl Frame {
    /// The type byte and the payload.
    pub fn split(&self) -> (u8, &[u8]) {
        match self {
            Frame::Hello(json) => (1, json),
            Frame::Open(json) => (2, json),
            Frame::Request(json) => (3, json),
            Frame::Part(json) => (4, json),
            Frame::Data(bytes) => (5, bytes),
            Frame::End => (6, &[]),
            Frame::Abort => (7, &[]),
            Frame::Progress(json) => (8, json),
            Frame::Heartbeat => (9, &[]),
            Frame::Ping => (10, &[]),
            Frame::Reply(json) => (11, json),
            Frame::Goodbye => (12, &[]),
        }
    }

    /// The frame's name, for errors.
    pub fn name(&self) -> &'static str {
        match self {
            Frame::Hello(_) => "hello",
            Frame::Open(_) => "open",
            Frame::Request(_) => "request",
            Frame::Part(_) => "part",
            Frame::Data(_) => "data",
            Frame::End => "end",
            Frame::Abort => "abort",
            Frame::Progress(_) => "progress",
            Frame::Heartbeat => "heartbeat",
            Frame::Ping => "ping",
            Frame::Reply(_) => "reply",
            Frame::Goodbye => "goodbye",
        }
    }

    /// The five bytes before the payload.
    pub fn header(&self) -> [u8; 5] {
        let (kind, payload) = self.split();
        let [a, b, c, d] = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
        [a, b, c, d, kind]
    }

    /// The longest payload that a frame of this type may have.
    ///
    /// # Errors
    /// An unknown type.
    pub fn limit(kind: u8) -> Result<usize, ProtoError> {
        match kind {
            1 | 2 | 3 | 4 | 8 | 11 => Ok(MAX_MESSAGE),
            5 => Ok(MAX_DATA),
            6 | 7 | 9 | 10 | 12 => Ok(0),
            other => Err(ProtoError::UnknownType(other)),
        }
    }

    /// A frame of its parts.
    ///
    /// # Errors
    /// An unknown type, a payload that is too long.
    pub fn join(kind: u8, payload: Bytes) -> Result<Self, ProtoError> {
        if payload.len() > Self::limit(kind)? {
            return Err(ProtoError::TooLong {
                kind,
                length: payload.len(),
            });
        }
        Ok(match kind {
            1 => Frame::Hello(payload),
            2 => Frame::Open(payload),
            3 => Frame::Request(payload),
            4 => Frame::Part(payload),
            5 => Frame::Data(payload),
            6 => Frame::End,
            7 => Frame::Abort,
            8 => Frame::Progress(payload),
            9 => Frame::Heartbeat,
            10 => Frame::Ping,
            11 => Frame::Reply(payload),
            12 => Frame::Goodbye,
            other => return Err(ProtoError::UnknownType(other)),
        })
    }
}

/// Who an agent is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The version of kbo.
    pub version: String,
}

impl Hello {
    /// This build's.
    pub fn ours() -> Self {
        Self {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// An operation; the methods of the port. Lists that may be long travel in [`Part`]s before it and are empty in here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// `facts`
    Facts(FactsRequest),
    /// `space`
    Space(Vec<Dataset>),
    /// `claim`
    Claim(Box<Claim>),
    /// `state`
    Look,
    /// `stop`
    Stop(StopRequest),
    /// `start`
    Start,
    /// `kafka`
    Kafka(KafkaQuestion),
    /// `prove_clean`
    ProveClean,
    /// `snapshot`
    Snapshot(SnapshotRequest),
    /// `archive`; data frames come before the reply.
    Archive(ArchiveRequest),
    /// `stage`; data frames and an end (or an abort) follow it.
    Stage(StageRequest),
    /// `swap`
    Swap(SwapRequest),
    /// `swap_back`
    SwapBack(SwapRequest),
    /// `clean`
    Clean(CleanRequest),
    /// `holds`
    Holds(RunId),
    /// `agree`
    Agree(RunId),
    /// `forgo`
    Forgo(RunId),
    /// `container`; may hold secrets, as [`Open`] does.
    Container(ContainerRequest),
    /// `quorum_setup`
    QuorumSetup(String),
    /// `format`
    Format(FormatRequest),
    /// `files`; holds keys.
    Files(Files),
    /// `listeners`
    Listeners(bool),
}

impl Request {
    /// The run whose lease the node has after it: what it would undo if its client vanished.
    pub fn takes_lease(&self) -> Option<&RunId> {
        match self {
            Request::Stop(StopRequest {
                run, lease: Some(_), ..
            }) => Some(run),
            Request::Snapshot(SnapshotRequest { run, .. })
            | Request::Stage(StageRequest { run, .. })
            | Request::Swap(SwapRequest { run, .. })
            | Request::Format(FormatRequest { run, .. }) => Some(run),
            _ => None,
        }
    }

    /// Whether the run has nothing more on the node after it.
    pub fn ends_lease(&self) -> bool {
        matches!(
            self,
            Request::Clean(
                CleanRequest::Run(_) | CleanRequest::RunKeepingPrevious(_) | CleanRequest::RunKeepingUntilReady(_)
            ) | Request::Forgo(_)
        )
    }

    /// Whether it may be sent again when nobody knows if it was carried out: nothing of it depends on the connection, and
    /// carrying it out twice is carrying it out once.
    pub fn may_be_repeated(&self) -> bool {
        if let Request::Files(files) = self {
            return files.may_be_repeated();
        }
        matches!(
            self,
            Request::Facts(_)
                | Request::Space(_)
                | Request::Claim(_)
                | Request::Look
                | Request::Start
                | Request::Kafka(_)
                | Request::ProveClean
                | Request::Clean(_)
                | Request::Holds(_)
                | Request::Agree(_)
                | Request::Forgo(_)
                | Request::Container(_)
                | Request::QuorumSetup(_)
                | Request::Listeners(_)
        )
    }
}

/// What an operation came to. Lists that may be long travel in [`Part`]s before it and are empty in here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To [`Frame::Open`] and [`Frame::Goodbye`], `agree` and `forgo`.
    Done,
    /// `space`
    Space(Vec<DirSpace>),
    /// `claim`
    Claim(ClaimReport),
    /// `holds`
    Holds(Held),
    /// `facts`
    Facts(Box<NodeFacts>),
    /// `look`
    Look(ContainerNow),
    /// `stop`
    Stop(StopOutcome),
    /// `start`
    Start(StartOutcome),
    /// `kafka`
    Kafka(KafkaAnswer),
    /// `prove_clean`
    Proof(CleanStopProof),
    /// `snapshot`
    Snapshot(SnapshotReport),
    /// `archive`
    Archive(ArchiveReport),
    /// `stage`
    Stage(StageReport),
    /// `swap`, `swap_back`
    Swap(SwapOutcome),
    /// `clean`
    Clean(CleanReport),
    /// `container`
    Container(ContainerReport),
    /// `quorum_setup`
    QuorumSetup(QuorumSetup),
    /// `format`
    Format(FormatReport),
    /// `files`
    Files(FilesReport),
    /// `listeners`
    Listeners(Vec<ListenerFacts>),
}

/// Some entries of a list of the message that follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Of `StageRequest::files` and `ArchiveReport::files`.
    Files(Vec<FileRecord>),
    /// Of `ArchiveReport::damage`.
    Damage(Vec<String>),
    /// Of `KafkaAnswer::Partitions`.
    Partitions(Vec<PartitionState>),
}

/// How far an operation is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being moved: `archive data`.
    pub what: String,
    /// Bytes of files done.
    pub done: u64,
    /// Bytes of files in all, as far as known.
    pub total: u64,
}

/// The parts received before a message, by list.
#[derive(Debug, Default)]
pub struct Parts {
    files: Vec<FileRecord>,
    damage: Vec<String>,
    partitions: Vec<PartitionState>,
    bytes: usize,
}

impl Parts {
    /// Adds a received part.
    ///
    /// # Errors
    /// A part that does not parse; more of them than any node has.
    pub fn add(&mut self, payload: &[u8]) -> Result<(), ProtoError> {
        self.bytes += payload.len();
        if self.bytes > MAX_PARTS {
            return Err(ProtoError::TooLong {
                kind: 4,
                length: self.bytes,
            });
        }
        match decode(payload)? {
            Part::Files(mut some) => self.files.append(&mut some),
            Part::Damage(mut some) => self.damage.append(&mut some),
            Part::Partitions(mut some) => self.partitions.append(&mut some),
        }
        Ok(())
    }

    /// Puts the lists back into the request that they came before.
    pub fn complete_request(self, request: &mut Request) {
        if let Request::Stage(stage) = request {
            stage.files = self.files;
        }
    }

    /// Puts the lists back into the reply that they came before.
    pub fn complete_reply(self, reply: &mut Reply) {
        match reply {
            Reply::Archive(report) => {
                report.files = self.files;
                report.damage = self.damage;
            }
            Reply::Kafka(KafkaAnswer::Partitions(partitions)) => *partitions = self.partitions,
            _ => {}
        }
    }
}

/// A request as frames.
///
/// # Errors
/// A message that is too long all the same.
pub fn request_frames(mut request: Request) -> Result<Vec<Frame>, ProtoError> {
    let mut frames = Vec::new();
    if let Request::Stage(stage) = &mut request {
        parts("files", &std::mem::take(&mut stage.files), &mut frames)?;
    }
    frames.push(Frame::Request(encode(&request)?));
    Ok(frames)
}

/// A reply as frames.
///
/// # Errors
/// A message that is too long all the same.
pub fn reply_frames(mut reply: Result<Reply, NodeError>) -> Result<Vec<Frame>, ProtoError> {
    let mut frames = Vec::new();
    match &mut reply {
        Ok(Reply::Archive(report)) => {
            parts("files", &std::mem::take(&mut report.files), &mut frames)?;
            parts("damage", &std::mem::take(&mut report.damage), &mut frames)?;
        }
        Ok(Reply::Kafka(KafkaAnswer::Partitions(partitions))) => {
            parts("partitions", &std::mem::take(partitions), &mut frames)?;
        }
        _ => {}
    }
    frames.push(Frame::Reply(encode(&reply)?));
    Ok(frames)
}

/// `list` in as many [`Frame::Part`]s as it needs, written by hand so that no entry is encoded twice to find the cuts.
fn parts<T: Serialize>(name: &str, list: &[T], frames: &mut Vec<Frame>) -> Result<(), ProtoError> {
    let opening = format!("{{\"{name}\":[");
    let mut entries = list.iter().peekable();
    while entries.peek().is_some() {
        let mut json = BytesMut::with_capacity(PART_SIZE + 4096);
        json.put_slice(opening.as_bytes());
        let start = json.len();
        while json.len() < PART_SIZE
            && let Some(entry) = entries.next()
        {
            if json.len() > start {
                json.put_u8(b',');
            }
            serde_json::to_writer((&mut json).writer(), entry).map_err(unencodable)?;
        }
        json.put_slice(b"]}");
        if json.len() > MAX_MESSAGE {
            return Err(ProtoError::TooLong {
                kind: 4,
                length: json.len(),
            });
        }
        frames.push(Frame::Part(json.freeze()));
    }
    Ok(())
}
