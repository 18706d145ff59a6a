//! Writing one archive file: a thread of its own hashes and writes what arrives, under back-pressure by bytes.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use async_trait::async_trait;
use bytes::Bytes;
use kbo_core::manifest::Sha256;
use kbo_core::ports::store::{ArchiveWriter, StoreError, Stored};
use kbo_core::ports::stream::{ByteSink, StreamError};
use sha2::Digest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::durable::io as failed;
use super::writer::Shared;

/// Bytes of an archive that may be on their way to the disk. Counted in bytes and not in chunks, because a carrier's
/// chunks may have any size and the centre's memory may not.
const ROOM: usize = 2 * 1024 * 1024;

enum Parcel {
    Chunk(Bytes, OwnedSemaphorePermit),
    /// Nothing comes after it. A channel that ends without it ends an archive that nobody wants any more.
    End,
}

/// An archive file being written.
pub(super) struct FileWriter {
    name: String,
    path: PathBuf,
    room: Arc<Semaphore>,
    parcels: mpsc::UnboundedSender<Parcel>,
    outcome: Outcome,
    backup: Arc<Shared>,
}

enum Outcome {
    Pending(oneshot::Receiver<io::Result<Stored>>),
    Failed { kind: io::ErrorKind, text: String },
}

impl FileWriter {
    /// Starts the thread that writes to `file`.
    pub(super) fn start(name: String, path: PathBuf, file: File, backup: Arc<Shared>) -> Result<Self, StoreError> {
        let (parcels, arriving) = mpsc::unbounded_channel();
        let (tell, outcome) = oneshot::channel();
        let room = Arc::new(Semaphore::new(ROOM));
        let room_of_thread = Arc::clone(&room);
        let thread = thread::Builder::new().name("kbo-archive-file".to_owned());
        let spawned = thread.spawn(move || {
            let result = write_all(file, arriving);
            // The receiver is gone where the archive was given up; nobody waits for the outcome then.
            let _ = tell.send(result);
            room_of_thread.close();
        });
        spawned.map_err(failed("start a thread that writes", &path))?;
        Ok(Self {
            name,
            path,
            room,
            parcels,
            outcome: Outcome::Pending(outcome),
            backup,
        })
    }

    /// Waits for the thread to end. An error stays known, for who asks again.
    async fn outcome(&mut self) -> io::Result<Stored> {
        let result = match &mut self.outcome {
            Outcome::Failed { kind, text } => return Err(io::Error::new(*kind, text.clone())),
            Outcome::Pending(outcome) => outcome.await,
        };
        let result = result.unwrap_or_else(|_| Err(io::Error::other("the thread that writes it ended early")));
        if let Err(error) = &result {
            self.outcome = Outcome::Failed {
                kind: error.kind(),
                text: error.to_string(),
            };
        }
        result
    }
}

#[async_trait]
impl ByteSink for FileWriter {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StreamError> {
        if chunk.is_empty() {
            return Ok(());
        }
        let share = u32::try_from(chunk.len().min(ROOM)).unwrap_or(u32::MAX);
        if let Ok(permit) = Arc::clone(&self.room).acquire_many_owned(share).await
            && self.parcels.send(Parcel::Chunk(chunk, permit)).is_ok()
        {
            return Ok(());
        }
        let source = match self.outcome().await {
            Err(error) => error,
            Ok(_) => io::Error::other("the archive has ended"),
        };
        Err(StreamError::Io {
            context: format!("cannot write {}", self.path.display()),
            source,
        })
    }
}

#[async_trait]
impl ArchiveWriter for FileWriter {
    async fn finish(mut self: Box<Self>) -> Result<Stored, StoreError> {
        // Where the thread has failed already, its outcome says why.
        let _ = self.parcels.send(Parcel::End);
        let stored = self.outcome().await.map_err(failed("write", &self.path))?;
        self.backup.finished(&self.name, stored);
        Ok(stored)
    }
}

fn write_all(mut file: File, mut arriving: mpsc::UnboundedReceiver<Parcel>) -> io::Result<Stored> {
    let (mut hasher, mut size) = (sha2::Sha256::new(), 0);
    loop {
        match arriving.blocking_recv() {
            Some(Parcel::Chunk(chunk, permit)) => {
                file.write_all(&chunk)?;
                hasher.update(&chunk);
                size += chunk.len() as u64;
                drop(permit);
            }
            Some(Parcel::End) => break,
            None => return Err(io::Error::new(io::ErrorKind::Interrupted, "the archive was given up")),
        }
    }
    file.sync_all()?;
    Ok(Stored {
        size,
        sha256: Sha256(hasher.finalize().into()),
    })
}

/// Creates the file of an archive in the backup's folder.
pub(super) fn create(dir: &Path, name: &str) -> Result<(PathBuf, File), StoreError> {
    let path = dir.join(name);
    let file = super::durable::create_new(&path)?;
    Ok((path, file))
}
