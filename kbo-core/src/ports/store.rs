//! The port to where backups live.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{BackupId, ClusterId, ClusterName};
use crate::manifest::{BackupKind, Manifest, Sha256};
use crate::ports::journal::Journal;
use crate::ports::stream::{ByteSink, ByteSource, StreamError};
use crate::text::human;

/// A store of backups.
///
/// # Contract
///
/// - **Commit.** A backup exists from the moment its manifest is durable, which is the last thing written; until then no
///   listing shows it, and `sweep` removes it.
/// - **One run at a time changes a cluster.** `lock` is held by the kernel for the process: it ends with the process, however that
///   ends. Beside a run that only makes archives any more, and has said so ([`StoreLock::share`]), one that takes `lock_beside` may run.
/// - **The living are known from the dead.** A journal says whether its run is alive ([`Journal::is_alive`]); `sweep` leaves what the
///   living write.
/// - **Durability.** What `commit` and `Journal::append` have returned from survives a power cut.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait BackupStore: Send + Sync {
    /// Takes the lock of a cluster's runs in this store.
    ///
    /// # Errors
    /// [`StoreError::Locked`] with the owner's record where another live process holds it.
    async fn lock(&self, cluster: &ClusterName, purpose: &str) -> Result<Box<dyn StoreLock>, StoreError>;

    /// Takes the lock for a run that stops and replaces nothing: the whole lock where it is free, else the place beside a run that only
    /// makes archives any more.
    ///
    /// # Errors
    /// [`StoreError::Locked`] where the lock is held and not shared, or the place beside it is taken.
    async fn lock_beside(&self, cluster: &ClusterName, purpose: &str) -> Result<Box<dyn StoreLock>, StoreError>;

    /// The store's id, which no other store has; `None` before anything was written to it.
    async fn id(&self) -> Result<Option<String>, StoreError>;

    /// Bytes free and in all on the store's filesystem.
    async fn space(&self) -> Result<Space, StoreError>;

    /// Begins a backup. The caller holds the lock.
    ///
    /// # Errors
    /// [`StoreError::Taken`] where there is one of this id, of whatever cluster or kind.
    async fn begin(&self, id: &BackupId, kind: BackupKind) -> Result<Box<dyn BackupWriter>, StoreError>;

    /// Every committed backup, oldest first; one whose manifest cannot be read is listed with the reason.
    async fn list(&self) -> Result<Vec<Listed>, StoreError>;

    /// The manifest of a committed backup.
    async fn manifest(&self, id: &BackupId) -> Result<Manifest, StoreError>;

    /// Reads an archive of a committed backup.
    async fn open(&self, id: &BackupId, archive: &str) -> Result<Box<dyn ByteSource>, StoreError>;

    /// Keeps a backup until it is unpinned; a pinned one gets the new reason. Whether it was not pinned before. The caller holds the
    /// lock, as for `unpin` and `remove`.
    async fn pin(&self, id: &BackupId, pin: &Pin) -> Result<bool, StoreError>;

    /// Unpins a backup. Whether it was pinned.
    async fn unpin(&self, id: &BackupId) -> Result<bool, StoreError>;

    /// Removes a committed backup for good, in two steps that a crash between them does not undo: what is on its way out is in no
    /// listing, and `sweep` finishes it.
    ///
    /// # Errors
    /// [`StoreError::Format`] where it is pinned; [`StoreError::InUse`] while another process reads it.
    async fn remove(&self, id: &BackupId) -> Result<(), StoreError>;

    /// Removes unfinished backups of dead runs. The caller holds the lock.
    async fn sweep(&self) -> Result<Vec<BackupId>, StoreError>;

    /// The cluster id that this store goes by for a cluster's name; `None` as long as nobody has noted one.
    ///
    /// # Errors
    /// The note is there and cannot be read.
    async fn adopted_id(&self, cluster: &ClusterName) -> Result<Option<ClusterId>, StoreError>;

    /// Notes the cluster id that the store is to go by for a name from now on. Backups of other ids stay as they are.
    async fn adopt(&self, cluster: &ClusterName, id: &ClusterId) -> Result<(), StoreError>;

    /// The journals of a cluster's runs that have not ended, oldest first.
    async fn open_journals(&self, cluster: &ClusterName) -> Result<Vec<Box<dyn Journal>>, StoreError>;

    /// Begins the journal of a run. The caller holds the lock.
    ///
    /// # Errors
    /// [`StoreError::Taken`] where a run of this id has one, ended or not.
    async fn begin_journal(
        &self,
        cluster: &ClusterName,
        run: &crate::ids::RunId,
    ) -> Result<Box<dyn Journal>, StoreError>;
}

/// The lock of a cluster's runs. Dropped, it is released too.
#[async_trait]
pub trait StoreLock: Send + Sync {
    /// The record of a dead owner whose lock was taken over.
    fn took_over(&self) -> Option<&LockOwner>;
    /// From now on this run only makes archives of what it has read: who takes [`BackupStore::lock_beside`] may run beside it. There is no
    /// way back: everybody else still waits for the release.
    async fn share(&self) -> Result<(), StoreError>;
    /// Releases the lock.
    async fn release(self: Box<Self>) -> Result<(), StoreError>;
}

/// Who holds the lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockOwner {
    /// Host name.
    pub host: String,
    /// Process id.
    pub pid: u32,
    /// The host's boot, so that a pid of an earlier boot is not mistaken for a live one.
    pub boot_id: String,
    /// Since when.
    pub since: Timestamp,
    /// What for (`backup`, `restore 20261122T030000Z` ...).
    pub purpose: String,
    /// The process that holds the kernel's lock for it, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<u32>,
    /// Whether it only makes archives any more, so that backups of configuration may run beside it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub archiving: bool,
}

impl LockOwner {
    /// What its phase means for others, to follow what it is.
    fn note(&self) -> &'static str {
        match self.archiving {
            true => {
                "; it makes archives, the cluster runs, and until it ends only `kbo backup --only config` and commands that read run beside it"
            }
            false => "",
        }
    }
}

/// Space of a filesystem, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// What this user may still write.
    pub free: u64,
    /// The filesystem's size.
    pub size: u64,
}

/// A backup in a listing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// Its id.
    pub id: BackupId,
    /// Its kind, from its folder.
    pub kind: BackupKind,
    /// Whether it is kept until unpinned.
    pub pinned: bool,
    /// Why it is pinned, where that was said.
    pub pin: Option<Pin>,
    /// Its manifest, or why it cannot be read.
    pub manifest: Result<Manifest, String>,
    /// What of it is not there, going by the names and sizes of its archives: a look, not a verification.
    pub missing: Option<String>,
}

/// Why a backup is pinned, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// Who did it, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// A backup being written.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait BackupWriter: Send + Sync {
    /// Begins an archive file. Several may be written at once.
    async fn create(&self, archive: &str) -> Result<Box<dyn ArchiveWriter>, StoreError>;

    /// Makes the backup exist: SHA256SUMS, then the manifest, durable.
    async fn commit(&self, manifest: &Manifest) -> Result<(), StoreError>;

    /// Removes everything written so far; after a commit that failed halfway, the manifest first.
    async fn abandon(&self) -> Result<(), StoreError>;
}

/// An archive file being written.
#[async_trait]
pub trait ArchiveWriter: ByteSink {
    /// Makes the file durable and tells what arrived.
    async fn finish(self: Box<Self>) -> Result<Stored, StoreError>;
}

/// An archive file as it arrived in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Bytes.
    pub size: u64,
    /// Their SHA-256.
    pub sha256: Sha256,
}

/// Why the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another live process holds the lock.
    #[error("another run holds the lock of cluster {cluster}: {} of pid {} on {} since {}{}", owner.purpose, owner.pid, owner.host, owner.since, owner.note())]
    Locked {
        /// The cluster.
        cluster: ClusterName,
        /// Who holds it.
        owner: Box<LockOwner>,
    },
    /// The lock is held by what is left of a run: a process that waits for the disk and cannot be ended before the disk answers.
    #[error("the lock of cluster {cluster} is still held by process {pid} of a run that has ended ({} since {}): it waits for the store's disk and ends as soon as the disk answers; see to the disk (findmnt, dmesg, fsfreeze --unfreeze)", owner.purpose, owner.since)]
    Waits {
        /// The cluster.
        cluster: ClusterName,
        /// Whose lock it was.
        owner: Box<LockOwner>,
        /// The process that is left.
        pid: u32,
    },
    /// The store's disk hangs. The process that works on it has been given up, and with it all that the store had in hand.
    #[error("the disk of the store {store} hangs: no answer within {seconds} s to: {action}")]
    Unresponsive {
        /// The store.
        store: String,
        /// What it was asked to do.
        action: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// There is no such backup.
    #[error("there is no backup {0} in the store")]
    NoSuchBackup(BackupId),
    /// The backup is being read: by an export or a verification, say.
    #[error("backup {0} is being read just now")]
    InUse(BackupId),
    /// A run or backup of this name (a second) exists already; the next second is free, perhaps.
    #[error("{0} exists already")]
    Taken(String),
    /// The store is of a later format.
    #[error("{path}: {why}")]
    Unsupported {
        /// The file.
        path: String,
        /// Which format, and what to do.
        why: String,
    },
    /// A file of the store is not what it should be, or it is no store.
    #[error("{path}: {why}")]
    Format {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// No room.
    #[error("no space left while writing {path}")]
    NoSpace {
        /// The file.
        path: String,
    },
    /// It is known beforehand that there is no room.
    #[error("it does not fit: needs {}, {path} has {} free", human(*need), human(*free))]
    DoesNotFit {
        /// Where.
        path: String,
        /// Bytes needed.
        need: u64,
        /// Bytes free.
        free: u64,
    },
    /// A file operation failed.
    #[error("cannot {action} {path}")]
    Io {
        /// The operation.
        action: &'static str,
        /// The file or folder.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A stream failed.
    #[error(transparent)]
    Stream(#[from] StreamError),
}
