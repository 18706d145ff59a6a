//! Whoever reads a backup for long, without its cluster's lock, keeps others from removing it meanwhile: a kernel lock on the
//! manifest, shared by readers, exclusive for the removal. It ends with its process and needs no file of its own.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kbo_core::ids::BackupId;
use kbo_core::ports::store::StoreError;

use super::document::MANIFEST;
use super::durable::io as failed;
use super::layout::{Found, Layout};
use crate::regular;

/// A committed backup that stays as long as this does.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) found: Found,
    _manifest: File,
}

/// Finds a committed backup and keeps it from being removed.
pub(super) fn hold(layout: &Layout, id: &BackupId) -> Result<Reading, StoreError> {
    let found = layout.find(id)?;
    let path = found.dir.join(MANIFEST);
    let manifest = regular::open(&path).map_err(failed("open", &path))?;
    let is_gone = match manifest.try_lock_shared() {
        Ok(()) => manifest.metadata().map_err(failed("look at", &path))?.nlink() == 0,
        Err(TryLockError::WouldBlock) => true,
        // What cannot be locked here is not removed, either.
        Err(TryLockError::Error(error)) => {
            tracing::debug!(path = %path.display(), %error, "cannot be locked");
            false
        }
    };
    if is_gone {
        return Err(StoreError::NoSuchBackup(id.clone()));
    }
    Ok(Reading {
        found,
        _manifest: manifest,
    })
}

/// Keeps others from beginning to read the backup in `dir`, which is about to go.
///
/// # Errors
/// [`StoreError::InUse`] while somebody reads it.
pub(super) fn shut(dir: &Path, id: &BackupId) -> Result<File, StoreError> {
    let path = dir.join(MANIFEST);
    // Opened to write, because some network filesystems lock exclusively only what one may write.
    let mut options = OpenOptions::new();
    let manifest = regular::open_as(&path, options.read(true).write(true)).map_err(failed("open", &path))?;
    match manifest.try_lock() {
        Ok(()) => Ok(manifest),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(id.clone())),
        Err(TryLockError::Error(error)) => Err(failed("lock", &path)(error)),
    }
}
