//! The lock of a cluster's runs: held by the kernel for the process, with a record of who holds it for people to read.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use kbo_core::ids::ClusterName;
use kbo_core::ports::store::{LockOwner, StoreError, StoreLock};

use super::durable::{blocking, format, io, open_or_create};
use super::layout::Layout;

/// The lock, held, or the place beside it. The files themselves are never removed: a second process might hold the removed one, a third the
/// new one.
///
/// The lock is two files. The first is held for the whole run and says who that is. The second, the lock of changes, is held with it until
/// the run only makes archives any more: then the first says so and the second is let go, for a run that stops and replaces nothing to hold
/// it alone. Whoever wants the first needs the second too, so that nothing is stopped or replaced beside such a run.
#[derive(Debug)]
pub(super) struct DirLock {
    /// With its record: the first file; of a run beside another one, the second.
    file: Option<File>,
    path: PathBuf,
    /// The second file, until it is shared.
    changes: Mutex<Option<File>>,
    us: LockOwner,
    took_over: Option<LockOwner>,
}

/// Takes the lock of `cluster`.
pub(super) fn take(layout: &Layout, cluster: &ClusterName, us: &LockOwner) -> Result<DirLock, StoreError> {
    let path = layout.cluster_lock(cluster);
    // A lock that is there is looked at before anything is made: on a frozen disk even that what exists is made once more would wait.
    if let Ok(file) = crate::regular::open_as(&path, OpenOptions::new().read(true).write(true)) {
        try_lock(&file, &path, cluster)?;
    }
    layout.ensure()?;
    let file = open_or_create(&path)?;
    try_lock(&file, &path, cluster)?;
    let beside = layout.changes_lock(cluster);
    let changes = open_or_create(&beside)?;
    try_lock(&changes, &beside, cluster)?;
    // We hold them, so whoever left a record here is gone without having said goodbye.
    let took_over = dead_owner(&path)?;
    if dead_owner(&beside)?.is_some() {
        empty(&changes, &beside)?;
    }
    write_record(&file, &path, us)?;
    Ok(DirLock {
        file: Some(file),
        path,
        changes: Mutex::new(Some(changes)),
        us: us.clone(),
        took_over,
    })
}

/// Takes the lock of `cluster` where it is free, else the place beside a run that only makes archives any more.
pub(super) fn take_beside(layout: &Layout, cluster: &ClusterName, us: &LockOwner) -> Result<DirLock, StoreError> {
    let held = match take(layout, cluster, us) {
        Err(error @ StoreError::Locked { .. }) => error,
        taken => return taken,
    };
    let StoreError::Locked { owner, .. } = &held else {
        return Err(held);
    };
    if !owner.archiving {
        return Err(held);
    }
    let path = layout.changes_lock(cluster);
    let file = open_or_create(&path)?;
    match try_lock(&file, &path, cluster) {
        Ok(()) => {}
        // Whoever has taken the whole lock just now has no record here.
        Err(StoreError::Locked { owner, .. }) if owner.pid == 0 => return Err(held),
        Err(error) => return Err(error),
    }
    let took_over = dead_owner(&path)?;
    write_record(&file, &path, us)?;
    Ok(DirLock {
        file: Some(file),
        path,
        changes: Mutex::new(None),
        us: us.clone(),
        took_over,
    })
}

fn dead_owner(path: &Path) -> Result<Option<LockOwner>, StoreError> {
    let dead = read_record(path)?;
    if let Some(dead) = &dead {
        tracing::warn!(host = dead.host, pid = dead.pid, since = %dead.since, purpose = dead.purpose,
            "the lock's last owner died holding it");
    }
    Ok(dead)
}

fn try_lock(file: &File, path: &Path, cluster: &ClusterName) -> Result<(), StoreError> {
    match file.try_lock() {
        Ok(()) => return Ok(()),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(io("lock", path)(error)),
    }
    let (cluster, owner) = (cluster.clone(), Box::new(owner_of(path)));
    Err(match left_of(&owner) {
        Some(pid) => StoreError::Waits { cluster, owner, pid },
        None => StoreError::Locked { cluster, owner },
    })
}

impl DirLock {
    /// The second file goes first: who gets the first one needs it too.
    fn take_changes(&self) -> Option<File> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[async_trait]
impl StoreLock for DirLock {
    fn took_over(&self) -> Option<&LockOwner> {
        self.took_over.as_ref()
    }

    async fn share(&self) -> Result<(), StoreError> {
        let changes = self.take_changes();
        // Shared already, or the place beside another run.
        let (Some(changes), Some(file)) = (changes, &self.file) else {
            return Ok(());
        };
        let file = file.try_clone().map_err(io("open", &self.path))?;
        let path = self.path.clone();
        let us = LockOwner {
            archiving: true,
            ..self.us.clone()
        };
        blocking(move || {
            write_record(&file, &path, &us)?;
            // Only now: who finds it free reads why.
            drop(changes);
            Ok(())
        })
        .await
    }

    async fn release(mut self: Box<Self>) -> Result<(), StoreError> {
        drop(self.take_changes());
        match self.file.take() {
            Some(file) => {
                let path = self.path.clone();
                blocking(move || empty(&file, &path)).await
            }
            None => Ok(()),
        }
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        drop(self.take_changes());
        let Some(file) = self.file.take() else { return };
        // This process is alive and knows what it does: the next owner must not read of a death.
        if let Err(error) = empty(&file, &self.path) {
            tracing::warn!(%error, "the lock's record stays behind");
        }
    }
}

fn empty(file: &File, path: &Path) -> Result<(), StoreError> {
    file.set_len(0)
        .and_then(|()| file.sync_all())
        .map_err(io("release", path))
}

fn write_record(file: &File, path: &Path, owner: &LockOwner) -> Result<(), StoreError> {
    let text = serde_json::to_vec(owner).map_err(|error| format(path, error.to_string()))?;
    file.set_len(0)
        .and_then(|()| file.write_all_at(&text, 0))
        .and_then(|()| file.sync_all())
        .map_err(io("write", path))
}

/// The record in the lock file; none where it is empty, or was cut short by a power cut.
fn read_record(path: &Path) -> Result<Option<LockOwner>, StoreError> {
    let mut text = String::new();
    crate::regular::open(path)
        .and_then(|file| file.take(1 << 16).read_to_string(&mut text))
        .map_err(io("read", path))?;
    Ok(serde_json::from_str(&text).ok())
}

/// The owner that the record names, if it may be alive: a process of this boot that is gone is not, one of another machine may be.
pub(super) fn holder(path: &Path) -> Result<Option<LockOwner>, StoreError> {
    if !path.exists() {
        return Ok(None);
    }
    let Some(owner) = read_record(path)? else {
        return Ok(None);
    };
    let us = this_process("", None);
    let is_alive = |pid: u32| Path::new("/proc").join(pid.to_string()).exists();
    let is_dead = owner.host == us.host
        && (owner.boot_id != us.boot_id || !(is_alive(owner.pid) || owner.holder.is_some_and(is_alive)));
    Ok((!is_dead).then_some(owner))
}

/// The process that holds a lock whose owner has ended, where both are of this machine.
fn left_of(owner: &LockOwner) -> Option<u32> {
    let us = this_process("", None);
    let is_there = |pid: u32| Path::new("/proc").join(pid.to_string()).exists();
    let is_of_here = owner.host == us.host && owner.boot_id == us.boot_id;
    owner
        .holder
        .filter(|holder| is_of_here && !is_there(owner.pid) && is_there(*holder))
}

/// The live owner's record. It writes it just after it got the lock, so an empty or half one is worth another look.
fn owner_of(path: &Path) -> LockOwner {
    for _ in 0..20 {
        if let Ok(Some(owner)) = read_record(path) {
            return owner;
        }
        thread::sleep(Duration::from_millis(10));
    }
    let unknown = || "unknown".to_owned();
    LockOwner {
        host: unknown(),
        pid: 0,
        boot_id: unknown(),
        since: Timestamp::UNIX_EPOCH,
        purpose: unknown(),
        holder: None,
        archiving: false,
    }
}

/// The owner that this process is, or the one that it works for.
pub(super) fn this_process(purpose: &str, on_behalf_of: Option<u32>) -> LockOwner {
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    LockOwner {
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        pid: on_behalf_of.unwrap_or_else(std::process::id),
        boot_id: boot_id.trim().to_owned(),
        since: Timestamp::now(),
        purpose: purpose.to_owned(),
        holder: on_behalf_of.map(|_| std::process::id()),
        archiving: false,
    }
}
