//! What passes between a store's process and who uses it: frames over two pipes, JSON for calls and answers, bulk data as they are.
//!
//! A frame is the length of its body (u32, big endian), its kind (u8), its number (u64, big endian), and the body. Both ends are the same
//! program, so there is no negotiation.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use bytes::Bytes;
use kbo_core::ids::{BackupId, ClusterId, ClusterName, RunId};
use kbo_core::journal::Entry;
use kbo_core::last_run::RunRecord;
use kbo_core::manifest::{BackupKind, Manifest};
use kbo_core::ports::store::Pin;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The greatest body: a manifest of some million files. Bulk data come in pieces of [`PIECE`].
const LARGEST: usize = 1 << 30;
/// The greatest piece of bulk data, in bytes.
pub(super) const PIECE: usize = 512 * 1024;
/// Bytes of one archive that may be on their way to the process.
pub(super) const WINDOW: usize = 4 * 1024 * 1024;

const HEADER: usize = 4 + 1 + 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// To the process: a [`Call`]; its number comes back with the answer.
    Call = 1,
    /// From it: `Result<_, Failed>` as JSON.
    Answer = 2,
    /// To it: a piece of the archive with this handle. From it: the piece that a call for the next one of a source asked for.
    Data = 3,
    /// From it: so many bytes (u32) of the archive with this handle are written, as many more may be sent.
    Credit = 4,
    /// From it: the archive with this handle cannot be written ([`super::failed::Failed`] as JSON).
    Broken = 5,
}

impl Kind {
    fn from(byte: u8) -> io::Result<Self> {
        match byte {
            1 => Ok(Kind::Call),
            2 => Ok(Kind::Answer),
            3 => Ok(Kind::Data),
            4 => Ok(Kind::Credit),
            5 => Ok(Kind::Broken),
            other => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a frame of kind {other}"),
            )),
        }
    }
}

#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) number: u64,
    pub(super) body: Bytes,
}

impl Frame {
    pub(super) fn json(kind: Kind, number: u64, body: &impl Serialize) -> io::Result<Self> {
        let body = serde_json::to_vec(body)?.into();
        Ok(Self { kind, number, body })
    }

    fn header(&self) -> io::Result<[u8; HEADER]> {
        let length = u32::try_from(self.body.len()).ok();
        let length = length
            .filter(|_| self.body.len() <= LARGEST)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a message of more than 1 GiB"))?;
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&length.to_be_bytes());
        header[4] = self.kind as u8;
        header[5..].copy_from_slice(&self.number.to_be_bytes());
        Ok(header)
    }

    fn parse(header: [u8; HEADER]) -> io::Result<(usize, Kind, u64)> {
        let [a, b, c, d, kind, number @ ..] = header;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > LARGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame of more than 1 GiB"));
        }
        Ok((length, Kind::from(kind)?, u64::from_be_bytes(number)))
    }

    /// The next frame; an error of kind `UnexpectedEof` at the end.
    pub(super) fn read(from: &mut dyn Read) -> io::Result<Self> {
        let mut header = [0; HEADER];
        from.read_exact(&mut header)?;
        let (length, kind, number) = Self::parse(header)?;
        let mut body = vec![0; length];
        from.read_exact(&mut body)?;
        Ok(Self {
            kind,
            number,
            body: body.into(),
        })
    }

    pub(super) fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        to.write_all(&self.header()?)?;
        to.write_all(&self.body)
    }

    pub(super) async fn receive(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let mut header = [0; HEADER];
        from.read_exact(&mut header).await?;
        let (length, kind, number) = Self::parse(header)?;
        let mut body = vec![0; length];
        from.read_exact(&mut body).await?;
        Ok(Self {
            kind,
            number,
            body: body.into(),
        })
    }

    pub(super) async fn send(&self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        to.write_all(&self.header()?).await?;
        to.write_all(&self.body).await
    }
}

/// What the process is asked. A `u64` is a handle that it has given.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Call {
    /// Which store, and for which process; the first call.
    Store {
        root: PathBuf,
        pid: u32,
    },
    Lock {
        cluster: ClusterName,
        purpose: String,
        may_be_beside: bool,
    },
    Share {
        lock: u64,
    },
    Release {
        lock: u64,
    },
    Id,
    Space,
    Begin {
        id: BackupId,
        kind: BackupKind,
    },
    Create {
        writer: u64,
        archive: String,
    },
    Finish {
        archive: u64,
    },
    Publish {
        writer: u64,
        manifest: Box<Manifest>,
    },
    Confirm {
        writer: u64,
    },
    Abandon {
        writer: u64,
    },
    List,
    Manifest {
        id: BackupId,
    },
    Open {
        id: BackupId,
        archive: String,
    },
    Next {
        source: u64,
    },
    Pin {
        id: BackupId,
        pin: Pin,
    },
    Unpin {
        id: BackupId,
    },
    Remove {
        id: BackupId,
    },
    Sweep,
    AdoptedId {
        cluster: ClusterName,
    },
    Adopt {
        cluster: ClusterName,
        id: ClusterId,
    },
    OpenJournals {
        cluster: ClusterName,
    },
    BeginJournal {
        cluster: ClusterName,
        run: RunId,
    },
    Append {
        journal: u64,
        entry: Box<Entry>,
    },
    Entries {
        journal: u64,
    },
    Close {
        journal: u64,
    },
    IsThere,
    NoteRun {
        run: Box<RunRecord>,
    },
    LastRuns {
        cluster: ClusterName,
        kind: BackupKind,
    },
    Replace {
        path: PathBuf,
        text: String,
    },
    /// What it stands for is not needed any more.
    Drop {
        handle: u64,
    },
}

impl Call {
    /// What it does, for people: "no answer within 30 s: CALL".
    pub(super) fn told(&self) -> &'static str {
        match self {
            Call::Store { .. } => "open the store",
            Call::Lock { .. } => "take the lock",
            Call::Share { .. } => "share the lock",
            Call::Release { .. } => "release the lock",
            Call::Id => "tell the store's id",
            Call::Space => "tell the free space",
            Call::Begin { .. } => "begin the backup",
            Call::Create { .. } => "create an archive",
            Call::Finish { .. } => "make an archive durable",
            Call::Publish { .. } | Call::Confirm { .. } => "commit the backup",
            Call::Abandon { .. } => "remove the unfinished backup",
            Call::List => "list the backups",
            Call::Manifest { .. } => "read a manifest",
            Call::Open { .. } | Call::Next { .. } => "read an archive",
            Call::Pin { .. } => "pin a backup",
            Call::Unpin { .. } => "unpin a backup",
            Call::Remove { .. } => "remove a backup",
            Call::Sweep => "remove unfinished backups",
            Call::AdoptedId { .. } => "read the cluster id that was adopted",
            Call::Adopt { .. } => "adopt a cluster id",
            Call::OpenJournals { .. } | Call::Entries { .. } => "read the journals",
            Call::BeginJournal { .. } => "begin the journal",
            Call::Append { .. } => "write the journal",
            Call::Close { .. } => "close the journal",
            Call::IsThere => "look whether there is a store",
            Call::NoteRun { .. } => "note what the run came to",
            Call::LastRuns { .. } => "read what the last runs came to",
            Call::Replace { .. } => "write a file",
            Call::Drop { .. } => "close a file",
        }
    }

    /// Whether a healthy disk may take minutes over it: what syncs gigabytes, removes or looks through whole trees, or waits for another
    /// process that does.
    pub(super) fn is_slow(&self) -> bool {
        match self {
            Call::Begin { .. }
            | Call::Finish { .. }
            | Call::Publish { .. }
            | Call::Confirm { .. }
            | Call::Abandon { .. }
            | Call::List
            | Call::Manifest { .. }
            | Call::Open { .. }
            | Call::Next { .. }
            | Call::Pin { .. }
            | Call::Unpin { .. }
            | Call::Remove { .. }
            | Call::Sweep
            | Call::Adopt { .. }
            | Call::NoteRun { .. } => true,
            Call::Store { .. }
            | Call::Lock { .. }
            | Call::Share { .. }
            | Call::Release { .. }
            | Call::Id
            | Call::Space
            | Call::AdoptedId { .. }
            | Call::Create { .. }
            | Call::OpenJournals { .. }
            | Call::BeginJournal { .. }
            | Call::Append { .. }
            | Call::Entries { .. }
            | Call::Close { .. }
            | Call::IsThere
            | Call::LastRuns { .. }
            | Call::Replace { .. }
            | Call::Drop { .. } => false,
        }
    }
}
