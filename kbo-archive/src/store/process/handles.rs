//! What a store gives out, held by the process: the lock, a backup and its archives being written, one being read, journals.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use kbo_core::ids::RunId;
use kbo_core::journal::Entry;
use kbo_core::manifest::Manifest;
use kbo_core::ports::journal::Journal;
use kbo_core::ports::store::{ArchiveWriter, BackupWriter, LockOwner, StoreError, StoreLock, Stored};
use kbo_core::ports::stream::{ByteSink, ByteSource, StreamError};

use super::client::{Connection, Window, answered};
use super::serve::{Arrived, Opened, Taken};
use super::wire::{Call, Frame, Kind, PIECE};

/// A handle, given back when it is not needed any more.
struct Handle {
    connection: Arc<Connection>,
    number: u64,
}

impl Handle {
    fn new(connection: &Arc<Connection>, number: u64) -> Self {
        Self {
            connection: Arc::clone(connection),
            number,
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.connection.tell(&Call::Drop { handle: self.number });
    }
}

pub(super) struct ProcessLock {
    handle: Handle,
    took_over: Option<LockOwner>,
}

impl ProcessLock {
    pub(super) fn new(connection: &Arc<Connection>, taken: Taken) -> Self {
        Self {
            handle: Handle::new(connection, taken.lock),
            took_over: taken.took_over,
        }
    }
}

#[async_trait]
impl StoreLock for ProcessLock {
    fn took_over(&self) -> Option<&LockOwner> {
        self.took_over.as_ref()
    }

    async fn share(&self) -> Result<(), StoreError> {
        let lock = self.handle.number;
        self.handle.connection.call(Call::Share { lock }).await
    }

    async fn release(self: Box<Self>) -> Result<(), StoreError> {
        let lock = self.handle.number;
        self.handle.connection.call(Call::Release { lock }).await
    }
}

pub(super) struct ProcessWriter(Handle);

impl ProcessWriter {
    pub(super) fn new(connection: &Arc<Connection>, writer: u64) -> Self {
        Self(Handle::new(connection, writer))
    }
}

#[async_trait]
impl BackupWriter for ProcessWriter {
    async fn create(&self, archive: &str) -> Result<Box<dyn ArchiveWriter>, StoreError> {
        let (writer, connection) = (self.0.number, &self.0.connection);
        let name = archive.to_owned();
        let archive = connection.call(Call::Create { writer, archive: name }).await?;
        Ok(Box::new(ProcessArchive {
            window: connection.window(archive),
            handle: Handle::new(connection, archive),
        }))
    }

    async fn commit(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let (writer, connection) = (self.0.number, &self.0.connection);
        let manifest = Box::new(manifest.clone());
        connection.call::<()>(Call::Publish { writer, manifest }).await?;
        // Only now may it count: a process that was given up meanwhile is not told so.
        connection.call(Call::Confirm { writer }).await
    }

    async fn abandon(&self) -> Result<(), StoreError> {
        let writer = self.0.number;
        self.0.connection.call(Call::Abandon { writer }).await
    }
}

struct ProcessArchive {
    handle: Handle,
    window: Arc<Window>,
}

impl ProcessArchive {
    async fn piece(&mut self, body: Bytes) -> Result<(), StoreError> {
        let connection = &self.handle.connection;
        let share = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let room = self.window.room.acquire_many(share);
        let granted = connection
            .within(connection.patience(true), "write an archive", room)
            .await?;
        match granted {
            // It comes back with what the process says it has written.
            Ok(permit) => permit.forget(),
            Err(_) => return Err(self.window.failure().unwrap_or_else(|| connection.gone())),
        }
        connection.send(Frame {
            kind: Kind::Data,
            number: self.handle.number,
            body,
        });
        Ok(())
    }
}

#[async_trait]
impl ByteSink for ProcessArchive {
    async fn write(&mut self, mut chunk: Bytes) -> Result<(), StreamError> {
        while !chunk.is_empty() {
            let piece = chunk.split_to(chunk.len().min(PIECE));
            self.piece(piece).await.map_err(streamed)?;
        }
        Ok(())
    }
}

#[async_trait]
impl ArchiveWriter for ProcessArchive {
    async fn finish(self: Box<Self>) -> Result<Stored, StoreError> {
        let archive = self.handle.number;
        let Arrived { size, sha256 } = self.handle.connection.call(Call::Finish { archive }).await?;
        Ok(Stored { size, sha256 })
    }
}

impl Drop for ProcessArchive {
    fn drop(&mut self) {
        self.handle.connection.forget_window(self.handle.number);
    }
}

/// A stream's error stays one; what the store says of itself keeps its words.
fn streamed(error: StoreError) -> StreamError {
    match error {
        StoreError::Stream(error) => error,
        error @ StoreError::NoSpace { .. } => StreamError::Io {
            context: error.to_string(),
            source: io::ErrorKind::StorageFull.into(),
        },
        error => StreamError::Other(error.to_string()),
    }
}

pub(super) struct ProcessSource {
    handle: Handle,
    is_at_end: bool,
}

impl ProcessSource {
    pub(super) fn new(connection: &Arc<Connection>, source: u64) -> Self {
        Self {
            handle: Handle::new(connection, source),
            is_at_end: false,
        }
    }
}

#[async_trait]
impl ByteSource for ProcessSource {
    async fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
        if self.is_at_end {
            return Ok(None);
        }
        let source = self.handle.number;
        let frame = self
            .handle
            .connection
            .ask(Call::Next { source })
            .await
            .map_err(streamed)?;
        if frame.kind == Kind::Data {
            return Ok(Some(frame.body));
        }
        answered::<()>(&frame).map_err(streamed)?;
        self.is_at_end = true;
        Ok(None)
    }
}

pub(super) struct ProcessJournal {
    handle: Handle,
    run: RunId,
    is_alive: bool,
}

impl ProcessJournal {
    pub(super) fn new(connection: &Arc<Connection>, opened: Opened) -> Self {
        Self {
            handle: Handle::new(connection, opened.journal),
            run: opened.run,
            is_alive: opened.is_alive,
        }
    }
}

#[async_trait]
impl Journal for ProcessJournal {
    fn run(&self) -> &RunId {
        &self.run
    }

    fn is_alive(&self) -> bool {
        self.is_alive
    }

    async fn append(&self, entry: &Entry) -> Result<(), StoreError> {
        let (journal, entry) = (self.handle.number, Box::new(entry.clone()));
        self.handle.connection.call(Call::Append { journal, entry }).await
    }

    async fn entries(&self) -> Result<Vec<Entry>, StoreError> {
        let journal = self.handle.number;
        self.handle.connection.call(Call::Entries { journal }).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        let journal = self.handle.number;
        self.handle.connection.call(Call::Close { journal }).await
    }
}
