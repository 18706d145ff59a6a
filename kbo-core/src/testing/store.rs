//! A store in memory, with faults at any operation and an end to its room.

mod lock;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use bytes::Bytes;

use self::lock::Locks;
use super::clock::breathe;
use super::faults::{Faults, Moment, Ticket};
use super::packing::sha256;
use super::stream::BytesSource;
use crate::ids::{BackupId, ClusterId, ClusterName, RunId};
use crate::journal::Entry;
use crate::manifest::{BackupKind, Manifest};
use crate::ports::journal::Journal;
use crate::ports::node::NodeErrorKind;
use crate::ports::store::{
    ArchiveWriter, BackupStore, BackupWriter, Listed, Pin, Space, StoreError, StoreLock, Stored,
};
use crate::ports::stream::{ByteSink, ByteSource, StreamError};

const SIZE: u64 = 1 << 40;

#[derive(Debug, Default)]
struct Backup {
    kind: Option<BackupKind>,
    /// Held by who writes it, as long as that lives.
    writer: Weak<()>,
    archives: BTreeMap<String, Vec<u8>>,
    manifest: Option<Manifest>,
    pin: Option<Pin>,
}

impl Backup {
    fn missing(&self, manifest: &Manifest) -> Option<String> {
        let is_there =
            |name: &String, size: u64| self.archives.get(name).is_some_and(|bytes| bytes.len() as u64 == size);
        let mut archives = manifest.archives.iter();
        let archive = archives.find(|archive| !is_there(&archive.name, archive.size))?;
        Some(format!("{} is not whole", archive.name))
    }
}

#[derive(Debug, Default)]
struct JournalState {
    cluster: String,
    /// Held by who began it, as long as that lives.
    writer: Weak<()>,
    entries: Vec<Entry>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Content {
    backups: BTreeMap<BackupId, Backup>,
    journals: BTreeMap<RunId, JournalState>,
    locks: BTreeMap<String, Locks>,
    adopted: BTreeMap<ClusterName, ClusterId>,
    written: u64,
    room: Option<u64>,
    /// What its disk did not answer, once it has been given up.
    unanswered: Option<&'static str>,
}

/// A store in memory. Clones share what is in it.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    content: Arc<Mutex<Content>>,
    faults: Option<Faults>,
}

impl MemoryStore {
    /// The same store, its operations counted and struck by `faults`.
    #[must_use]
    pub fn with_faults(&self, faults: &Faults) -> Self {
        Self {
            content: Arc::clone(&self.content),
            faults: Some(faults.clone()),
        }
    }

    /// From now on it is full after so many more bytes of archives.
    pub fn full_after(&self, bytes: u64) {
        let mut content = self.content();
        content.room = Some(content.written + bytes);
    }

    /// Backups that a listing shows.
    pub fn visible(&self) -> Vec<BackupId> {
        let content = self.content();
        let committed = content.backups.iter().filter(|(_, backup)| backup.manifest.is_some());
        committed.map(|(id, _)| id.clone()).collect()
    }

    /// Backups begun and neither committed nor removed.
    pub fn unfinished(&self) -> Vec<BackupId> {
        let content = self.content();
        let begun = content.backups.iter().filter(|(_, backup)| backup.manifest.is_none());
        begun.map(|(id, _)| id.clone()).collect()
    }

    /// A committed backup's manifest.
    pub fn manifest_of(&self, id: &BackupId) -> Option<Manifest> {
        self.content().backups.get(id)?.manifest.clone()
    }

    /// Changes the manifest of a committed backup.
    pub fn change_manifest(&self, id: &BackupId, change: impl FnOnce(&mut Manifest)) {
        if let Some(manifest) = self
            .content()
            .backups
            .get_mut(id)
            .and_then(|backup| backup.manifest.as_mut())
        {
            change(manifest);
        }
    }

    /// Turns over one bit in the middle of an archive.
    pub fn damage(&self, id: &BackupId, archive: &str) {
        let mut content = self.content();
        let bytes = content
            .backups
            .get_mut(id)
            .and_then(|backup| backup.archives.get_mut(archive));
        if let Some(bytes) = bytes
            && !bytes.is_empty()
        {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
    }

    /// Runs whose journals have not ended.
    pub fn open_runs(&self) -> Vec<RunId> {
        let content = self.content();
        let open = content.journals.iter().filter(|(_, journal)| !journal.closed);
        open.map(|(run, _)| run.clone()).collect()
    }

    /// A run's journal.
    pub fn journal_of(&self, run: &RunId) -> Vec<Entry> {
        self.content()
            .journals
            .get(run)
            .map(|journal| journal.entries.clone())
            .unwrap_or_default()
    }

    /// Opens a journal that had ended, as if the end had not become durable.
    pub fn reopen(&self, run: &RunId) {
        if let Some(journal) = self.content().journals.get_mut(run) {
            journal.closed = false;
            journal.entries.retain(|entry| !matches!(entry, Entry::End { .. }));
        }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn begin_operation(&self, what: &'static str) -> Result<Option<Ticket>, StoreError> {
        breathe().await;
        match &self.faults {
            None => Ok(None),
            Some(faults) => match faults.begin("store", what).await {
                Ok(ticket) => Ok(Some(ticket)),
                Err(kind) => Err(self.failed(kind, what)),
            },
        }
    }

    async fn end_operation(&self, ticket: Option<Ticket>, what: &'static str) -> Result<(), StoreError> {
        match (&self.faults, ticket) {
            (Some(faults), Some(ticket)) => faults.end(&ticket).await.map_err(|kind| self.failed(kind, what)),
            _ => Ok(()),
        }
    }

    async fn around<T>(&self, what: &'static str, deed: impl FnOnce(&mut Content) -> T) -> Result<T, StoreError> {
        let ticket = self.begin_operation(what).await?;
        if let (Some(faults), Some(ticket)) = (&self.faults, &ticket) {
            faults
                .strike(ticket, Moment::During)
                .await
                .map_err(|kind| self.failed(kind, what))?;
        }
        let result = deed(&mut self.content());
        self.end_operation(ticket, what).await?;
        Ok(result)
    }

    /// A disk that does not answer is given up, and named by what it was asked first.
    fn failed(&self, kind: NodeErrorKind, what: &'static str) -> StoreError {
        let mut content = self.content();
        if kind == NodeErrorKind::TimedOut {
            content.unanswered.get_or_insert(what);
        }
        match content.unanswered {
            Some(action) => StoreError::Unresponsive {
                store: "memory".to_owned(),
                action: action.to_owned(),
                seconds: 30,
            },
            None => StoreError::Io {
                action: what,
                path: "memory".to_owned(),
                source: std::io::Error::other("injected"),
            },
        }
    }
}

fn no_such(id: &BackupId) -> StoreError {
    StoreError::NoSuchBackup(id.clone())
}

#[async_trait]
impl BackupStore for MemoryStore {
    async fn lock(&self, cluster: &ClusterName, purpose: &str) -> Result<Box<dyn StoreLock>, StoreError> {
        self.take_lock(cluster, purpose, false).await
    }

    async fn lock_beside(&self, cluster: &ClusterName, purpose: &str) -> Result<Box<dyn StoreLock>, StoreError> {
        self.take_lock(cluster, purpose, true).await
    }

    async fn id(&self) -> Result<Option<String>, StoreError> {
        Ok(Some(format!("{:p}", Arc::as_ptr(&self.content))))
    }

    async fn space(&self) -> Result<Space, StoreError> {
        self.around("space", |content| Space {
            free: content.room.map_or(SIZE, |room| room.saturating_sub(content.written)),
            size: SIZE,
        })
        .await
    }

    async fn begin(&self, id: &BackupId, kind: BackupKind) -> Result<Box<dyn BackupWriter>, StoreError> {
        let writer = Arc::new(());
        let begun = self.around("begin", |content| {
            let is_new = !content.backups.contains_key(id);
            let backup = content.backups.entry(id.clone()).or_default();
            backup.kind = Some(kind);
            if is_new {
                backup.writer = Arc::downgrade(&writer);
            }
            is_new
        });
        if begun.await? {
            return Ok(Box::new(MemoryWriter {
                store: self.clone(),
                id: id.clone(),
                _alive: writer,
            }));
        }
        Err(StoreError::Taken(id.to_string()))
    }

    async fn list(&self) -> Result<Vec<Listed>, StoreError> {
        self.around("list", |content| {
            let listed = |(id, backup): (&BackupId, &Backup)| {
                let manifest = backup.manifest.clone()?;
                Some(Listed {
                    id: id.clone(),
                    kind: manifest.kind,
                    pinned: backup.pin.is_some(),
                    pin: backup.pin.clone(),
                    missing: backup.missing(&manifest),
                    manifest: Ok(manifest),
                })
            };
            content.backups.iter().filter_map(listed).collect()
        })
        .await
    }

    async fn manifest(&self, id: &BackupId) -> Result<Manifest, StoreError> {
        let found = self.around("manifest", |content| content.backups.get(id)?.manifest.clone());
        found.await?.ok_or_else(|| no_such(id))
    }

    async fn open(&self, id: &BackupId, archive: &str) -> Result<Box<dyn ByteSource>, StoreError> {
        let found = self.around("open", |content| {
            content.backups.get(id)?.archives.get(archive).cloned()
        });
        let bytes = found.await?.ok_or_else(|| no_such(id))?;
        Ok(Box::new(FaultySource {
            source: BytesSource::new(&bytes),
            store: self.clone(),
        }))
    }

    async fn pin(&self, id: &BackupId, pin: &Pin) -> Result<bool, StoreError> {
        let pinned = self.around("pin", |content| {
            let backup = content.backups.get_mut(id).filter(|backup| backup.manifest.is_some())?;
            Some(backup.pin.replace(pin.clone()).is_none())
        });
        pinned.await?.ok_or_else(|| no_such(id))
    }

    async fn unpin(&self, id: &BackupId) -> Result<bool, StoreError> {
        let unpinned = self.around("unpin", |content| {
            let backup = content.backups.get_mut(id).filter(|backup| backup.manifest.is_some())?;
            Some(backup.pin.take().is_some())
        });
        unpinned.await?.ok_or_else(|| no_such(id))
    }

    async fn remove(&self, id: &BackupId) -> Result<(), StoreError> {
        let removed = self.around("remove", |content| {
            let is_pinned = content.backups.get(id)?.pin.is_some();
            if !is_pinned {
                content.backups.remove(id);
            }
            Some(is_pinned)
        });
        match removed.await?.ok_or_else(|| no_such(id))? {
            false => Ok(()),
            true => Err(StoreError::Format {
                path: id.to_string(),
                why: "the backup is pinned".to_owned(),
            }),
        }
    }

    async fn sweep(&self) -> Result<Vec<BackupId>, StoreError> {
        self.around("sweep", |content| {
            let is_dead = |backup: &Backup| backup.manifest.is_none() && backup.writer.strong_count() == 0;
            let dead = content.backups.iter().filter(|(_, backup)| is_dead(backup));
            let dead: Vec<BackupId> = dead.map(|(id, _)| id.clone()).collect();
            content.backups.retain(|id, _| !dead.contains(id));
            dead
        })
        .await
    }

    async fn adopted_id(&self, cluster: &ClusterName) -> Result<Option<ClusterId>, StoreError> {
        self.around("adopted_id", |content| content.adopted.get(cluster).cloned())
            .await
    }

    async fn adopt(&self, cluster: &ClusterName, id: &ClusterId) -> Result<(), StoreError> {
        self.around("adopt", |content| {
            content.adopted.insert(cluster.clone(), id.clone());
        })
        .await
    }

    async fn open_journals(&self, cluster: &ClusterName) -> Result<Vec<Box<dyn Journal>>, StoreError> {
        let open: Vec<(RunId, bool)> = self
            .around("open_journals", |content| {
                let is_open = |journal: &JournalState| !journal.closed && journal.cluster == cluster.as_str();
                let open = content.journals.iter().filter(|(_, journal)| is_open(journal));
                open.map(|(run, journal)| (run.clone(), journal.writer.strong_count() > 0))
                    .collect()
            })
            .await?;
        let journal = |(run, is_alive)| -> Box<dyn Journal> {
            Box::new(MemoryJournal {
                store: self.clone(),
                run,
                is_alive,
                _writer: None,
            })
        };
        Ok(open.into_iter().map(journal).collect())
    }

    async fn begin_journal(&self, cluster: &ClusterName, run: &RunId) -> Result<Box<dyn Journal>, StoreError> {
        let writer = Arc::new(());
        let begun = self.around("begin_journal", |content| {
            let state = JournalState {
                cluster: cluster.as_str().to_owned(),
                writer: Arc::downgrade(&writer),
                ..JournalState::default()
            };
            let is_new = !content.journals.contains_key(run);
            content.journals.entry(run.clone()).or_insert(state);
            is_new
        });
        if begun.await? {
            return Ok(Box::new(MemoryJournal {
                store: self.clone(),
                run: run.clone(),
                is_alive: true,
                _writer: Some(writer),
            }));
        }
        Err(StoreError::Taken(run.to_string()))
    }
}

struct FaultySource {
    source: BytesSource,
    store: MemoryStore,
}

#[async_trait]
impl ByteSource for FaultySource {
    async fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
        self.store.around("read", |_| ()).await.map_err(stream_error)?;
        self.source.next().await
    }
}

fn stream_error(error: StoreError) -> StreamError {
    StreamError::Io {
        context: "the store".to_owned(),
        source: std::io::Error::other(crate::report::chain(&error)),
    }
}

struct MemoryWriter {
    store: MemoryStore,
    id: BackupId,
    _alive: Arc<()>,
}

#[async_trait]
impl BackupWriter for MemoryWriter {
    async fn create(&self, archive: &str) -> Result<Box<dyn ArchiveWriter>, StoreError> {
        self.store.around("create", |_| ()).await?;
        Ok(Box::new(MemoryArchive {
            store: self.store.clone(),
            id: self.id.clone(),
            name: archive.to_owned(),
            bytes: vec![],
        }))
    }

    async fn commit(&self, manifest: &Manifest) -> Result<(), StoreError> {
        self.store
            .around("commit", |content| {
                content.backups.entry(self.id.clone()).or_default().manifest = Some(manifest.clone());
            })
            .await
    }

    async fn abandon(&self) -> Result<(), StoreError> {
        self.store
            .around("abandon", |content| drop(content.backups.remove(&self.id)))
            .await
    }
}

struct MemoryArchive {
    store: MemoryStore,
    id: BackupId,
    name: String,
    bytes: Vec<u8>,
}

#[async_trait]
impl ByteSink for MemoryArchive {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StreamError> {
        let size = chunk.len() as u64;
        let fits = self.store.around("write", |content| {
            let fits = content.room.is_none_or(|room| content.written + size <= room);
            content.written += if fits { size } else { 0 };
            fits
        });
        if !fits.await.map_err(stream_error)? {
            return Err(StreamError::Io {
                context: format!("cannot write {}", self.name),
                source: std::io::ErrorKind::StorageFull.into(),
            });
        }
        self.bytes.extend_from_slice(&chunk);
        Ok(())
    }
}

#[async_trait]
impl ArchiveWriter for MemoryArchive {
    async fn finish(self: Box<Self>) -> Result<Stored, StoreError> {
        let stored = Stored {
            size: self.bytes.len() as u64,
            sha256: sha256(&self.bytes),
        };
        let Self { store, id, name, bytes } = *self;
        store
            .around("finish", |content| {
                content.backups.entry(id).or_default().archives.insert(name, bytes);
            })
            .await?;
        Ok(stored)
    }
}

struct MemoryJournal {
    store: MemoryStore,
    run: RunId,
    is_alive: bool,
    /// Of who began it.
    _writer: Option<Arc<()>>,
}

#[async_trait]
impl Journal for MemoryJournal {
    fn run(&self) -> &RunId {
        &self.run
    }

    fn is_alive(&self) -> bool {
        self.is_alive
    }

    async fn append(&self, entry: &Entry) -> Result<(), StoreError> {
        self.store
            .around("append", |content| {
                content
                    .journals
                    .entry(self.run.clone())
                    .or_default()
                    .entries
                    .push(entry.clone());
            })
            .await
    }

    async fn entries(&self) -> Result<Vec<Entry>, StoreError> {
        self.store
            .around("entries", |content| {
                content
                    .journals
                    .get(&self.run)
                    .map(|journal| journal.entries.clone())
                    .unwrap_or_default()
            })
            .await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.store
            .around("close", |content| {
                content.journals.entry(self.run.clone()).or_default().closed = true;
            })
            .await
    }
}
