//! A store of backups as a plain tree of directories, which `ls`, `sha256sum -c`, `zstd` and `tar` can read without kbo.
//!
//! ```text
//! STORE/kbo-store.json                                                    format number, the store's id
//! STORE/{cluster,config,data}/{rotated,pinned}/YYYY/MM/DD/ID/             one backup
//!     NODE.DATASET.tar.zst ...  SHA256SUMS  manifest.json                 in the order in which they come to stand there
//! STORE/.kbo/lock-CLUSTER                                                 a kernel lock, and who holds it
//! STORE/.kbo/changes-CLUSTER                                              its part that a run which only archives lets go of
//! STORE/.kbo/journal/CLUSTER/RUN.jsonl                                    runs that have not ended; ended ones in `done/`
//! STORE/.kbo/last/CLUSTER/KIND.json                                      what the last runs of a kind came to
//! STORE/.kbo/identity/CLUSTER.json                                        the cluster id that its backups are to have
//! STORE/.kbo/writing/ID                                                   a kernel lock for each backup being written
//! ```
//!
//! A directory without `manifest.json` is no backup: nothing lists it, and [`BackupStore::sweep`] removes it once its writer
//! is dead. Nor is one with it whose claim in `.kbo/writing` is still there: its writer has not confirmed it. Backups are found by looking, not by an index: one that was moved by hand between `rotated/` and `pinned/` is
//! simply there.

mod archive;
mod document;
mod durable;
mod identity;
mod journal;
mod keep;
mod last;
mod layout;
mod list;
mod lock;
mod process;
mod read;
mod reading;
mod sealed;
mod select;
mod sweep;
mod transfer;
mod verify;
mod writer;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use kbo_core::ids::{BackupId, ClusterId, ClusterName, RunId};
use kbo_core::last_run::{LastRuns, RunRecord};
use kbo_core::manifest::{BackupKind, Manifest};
use kbo_core::ports::journal::Journal;
use kbo_core::ports::store::{BackupStore, BackupWriter, Listed, LockOwner, Pin, Space, StoreError, StoreLock};
use kbo_core::ports::stream::ByteSource;

pub use process::{ProcessStore, Replace, StoreProgram, serve};
pub use select::{PassedOver, SelectError, Selected, Selector, Wanted, Why, mentions, select};
pub use transfer::{Receiver, Transfer, export, export_to_file, import, unpack};
pub use verify::{ArchiveVerdict, VerifyProgress, VerifyReport, verify_backup, verify_store};

use durable::{blocking, io};
use layout::Layout;

/// A store in a directory. Opening it touches nothing: it comes into being with the first lock or backup.
#[derive(Debug, Clone)]
pub struct DirStore {
    layout: Layout,
    /// The process that this one works for.
    on_behalf_of: Option<u32>,
}

impl DirStore {
    /// The store at `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            layout: Layout::new(root.into()),
            on_behalf_of: None,
        }
    }

    /// The same, worked on for another process: it is the one whom locks name.
    #[must_use]
    pub fn on_behalf_of(self, pid: u32) -> Self {
        Self {
            on_behalf_of: Some(pid),
            ..self
        }
    }

    /// Begins a backup, with what only who is of this process may do with it.
    async fn begin_here(&self, id: &BackupId, kind: BackupKind) -> Result<writer::DirWriter, StoreError> {
        let (layout, id) = (self.layout.clone(), id.clone());
        blocking(move || writer::begin(&layout, &id, kind, None)).await
    }

    /// The same store, looked at even where its `kbo-store.json` is damaged: to say what else is.
    #[must_use]
    pub fn whatever_its_state(&self) -> Self {
        Self {
            layout: self.layout.tolerant(),
            ..self.clone()
        }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        self.layout.root()
    }

    /// The folder of a committed backup, wherever in the tree it is now.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBackup`], a store of another format, a folder that cannot be read.
    pub async fn folder(&self, id: &BackupId) -> Result<PathBuf, StoreError> {
        let (layout, id) = (self.layout.clone(), id.clone());
        blocking(move || Ok(layout.find(&id)?.dir)).await
    }

    /// What the last runs of a kind came to.
    ///
    /// # Errors
    /// The note of them cannot be read.
    pub async fn last_runs(&self, cluster: &ClusterName, kind: BackupKind) -> Result<LastRuns, StoreError> {
        let (layout, cluster) = (self.layout.clone(), cluster.clone());
        blocking(move || last::read(&layout, &cluster, kind)).await
    }

    /// Notes what a run came to. No lock is needed: a run that was locked out is noted while another one runs.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn note_run(&self, run: &RunRecord) -> Result<LastRuns, StoreError> {
        let (layout, run) = (self.layout.clone(), run.clone());
        blocking(move || last::note(&layout, &run)).await
    }

    /// Who holds the lock of `cluster`, going by the record in it: a look that takes no lock, so that it is in nobody's way.
    ///
    /// # Errors
    /// The record cannot be read.
    pub async fn holder(&self, cluster: &ClusterName) -> Result<Option<LockOwner>, StoreError> {
        let (path, beside) = (self.layout.cluster_lock(cluster), self.layout.changes_lock(cluster));
        blocking(move || match lock::holder(&path)? {
            Some(owner) => Ok(Some(owner)),
            None => lock::holder(&beside),
        })
        .await
    }
}

#[async_trait]
impl BackupStore for DirStore {
    async fn lock(&self, cluster: &ClusterName, purpose: &str) -> Result<Box<dyn StoreLock>, StoreError> {
        let (layout, cluster) = (self.layout.clone(), cluster.clone());
        let owner = lock::this_process(purpose, self.on_behalf_of);
        blocking(move || Ok(Box::new(lock::take(&layout, &cluster, &owner)?) as Box<dyn StoreLock>)).await
    }

    async fn lock_beside(&self, cluster: &ClusterName, purpose: &str) -> Result<Box<dyn StoreLock>, StoreError> {
        let (layout, cluster) = (self.layout.clone(), cluster.clone());
        let owner = lock::this_process(purpose, self.on_behalf_of);
        blocking(move || Ok(Box::new(lock::take_beside(&layout, &cluster, &owner)?) as Box<dyn StoreLock>)).await
    }

    async fn id(&self) -> Result<Option<String>, StoreError> {
        let layout = self.layout.clone();
        blocking(move || layout.id()).await
    }

    async fn space(&self) -> Result<Space, StoreError> {
        let root = self.layout.root().to_owned();
        blocking(move || space_at(&root)).await
    }

    async fn begin(&self, id: &BackupId, kind: BackupKind) -> Result<Box<dyn BackupWriter>, StoreError> {
        Ok(Box::new(self.begin_here(id, kind).await?))
    }

    async fn list(&self) -> Result<Vec<Listed>, StoreError> {
        let layout = self.layout.clone();
        blocking(move || list::list(&layout)).await
    }

    async fn manifest(&self, id: &BackupId) -> Result<Manifest, StoreError> {
        let (layout, id) = (self.layout.clone(), id.clone());
        blocking(move || {
            let found = layout.find(&id)?;
            document::read(&found.dir, &id)
        })
        .await
    }

    async fn open(&self, id: &BackupId, archive: &str) -> Result<Box<dyn ByteSource>, StoreError> {
        let (layout, id, archive) = (self.layout.clone(), id.clone(), archive.to_owned());
        blocking(move || {
            let path = layout.find(&id)?.archive(&archive)?;
            Ok(Box::new(read::FileSource::open(path)?) as Box<dyn ByteSource>)
        })
        .await
    }

    async fn pin(&self, id: &BackupId, pin: &Pin) -> Result<bool, StoreError> {
        let (layout, id, pin) = (self.layout.clone(), id.clone(), pin.clone());
        blocking(move || keep::pin(&layout, &id, &pin)).await
    }

    async fn unpin(&self, id: &BackupId) -> Result<bool, StoreError> {
        let (layout, id) = (self.layout.clone(), id.clone());
        blocking(move || keep::unpin(&layout, &id)).await
    }

    async fn remove(&self, id: &BackupId) -> Result<(), StoreError> {
        let (layout, id) = (self.layout.clone(), id.clone());
        blocking(move || keep::remove(&layout, &id)).await
    }

    async fn sweep(&self) -> Result<Vec<BackupId>, StoreError> {
        let layout = self.layout.clone();
        blocking(move || sweep::sweep(&layout)).await
    }

    async fn adopted_id(&self, cluster: &ClusterName) -> Result<Option<ClusterId>, StoreError> {
        let (layout, cluster) = (self.layout.clone(), cluster.clone());
        blocking(move || identity::read(&layout, &cluster)).await
    }

    async fn adopt(&self, cluster: &ClusterName, id: &ClusterId) -> Result<(), StoreError> {
        let (layout, cluster, id) = (self.layout.clone(), cluster.clone(), id.clone());
        blocking(move || identity::write(&layout, &cluster, &id)).await
    }

    async fn open_journals(&self, cluster: &ClusterName) -> Result<Vec<Box<dyn Journal>>, StoreError> {
        let (layout, cluster) = (self.layout.clone(), cluster.clone());
        blocking(move || {
            let open = journal::open_all(&layout, &cluster)?;
            Ok(open
                .into_iter()
                .map(|journal| Box::new(journal) as Box<dyn Journal>)
                .collect())
        })
        .await
    }

    async fn begin_journal(&self, cluster: &ClusterName, run: &RunId) -> Result<Box<dyn Journal>, StoreError> {
        let (layout, cluster, run) = (self.layout.clone(), cluster.clone(), run.clone());
        blocking(move || Ok(Box::new(journal::begin(&layout, &cluster, &run)?) as Box<dyn Journal>)).await
    }
}

/// Space where `root` is, or will be: a store that does not exist yet has its nearest existing parent's.
fn space_at(root: &Path) -> Result<Space, StoreError> {
    let nearest = root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let stat = rustix::fs::statvfs(nearest).map_err(|errno| io("tell the free space of", nearest)(errno.into()))?;
    Ok(Space {
        free: stat.f_bavail * stat.f_frsize,
        size: stat.f_blocks * stat.f_frsize,
    })
}
