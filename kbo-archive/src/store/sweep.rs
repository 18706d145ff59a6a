//! Removing what crashed runs left behind.

use std::fs::{self, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use kbo_core::ids::BackupId;
use kbo_core::ports::store::StoreError;

use super::durable::{self, remove_file, sync_dir};
use super::layout::{Found, Layout, trash_beside};

/// Removes unfinished backups whose writers are dead, and removals that were themselves cut short.
///
/// Whatever a run begins, in `rotated/` or as an import in `pinned/`, it claims first: a folder without a manifest of which there is no
/// claim is one that a person is just copying in, and stays.
pub(super) fn sweep(layout: &Layout) -> Result<Vec<BackupId>, StoreError> {
    if !layout.check()? {
        return Ok(Vec::new());
    }
    let _alone = layout.hold()?;
    let mut swept = Vec::new();
    for found in layout.scan()? {
        if is_committed(&found) {
            continue;
        }
        // Locks are per cluster, and a store may serve several: what another cluster's run is writing stays.
        if !found.trash {
            let claim = layout.claim(&found.id);
            // Of a folder in pinned/ only the claim that says so: a person may be copying one there whose twin a run has begun.
            let is_of_it = found.pinned == is_of_pinned(&claim);
            match claim_of(&claim)? {
                Claim::Held | Claim::Dead if !is_of_it => continue,
                Claim::Held => continue,
                Claim::Dead => {}
                // In pinned/ that is how people pin by hand.
                Claim::None if found.pinned => continue,
                Claim::None => {
                    let folder = found.dir.display();
                    tracing::warn!(
                        "{folder} has no manifest.json, and no run of kbo began it: it is left alone, and is no backup"
                    );
                    continue;
                }
            }
        }
        // Its writer may have committed it since the first look; with the claim gone it will not any more.
        if is_committed(&found) {
            continue;
        }
        if found.trash {
            remove_tree(&found.dir)?;
        } else {
            discard(&found.dir, &found.id)?;
        }
        tracing::info!(backup = %found.id, "removed an unfinished backup");
        swept.push(found.id);
    }
    forget_dead_claims(layout)?;
    swept.dedup();
    Ok(swept)
}

/// What cannot be told to be unfinished stays.
fn is_committed(found: &Found) -> bool {
    found.is_committed().unwrap_or_else(|error| {
        tracing::warn!(backup = %found.id, %error, "not swept");
        true
    })
}

/// Removes the folder of a backup in two steps, so that a crash between them leaves nothing that looks like a backup.
pub(super) fn discard(dir: &Path, id: &BackupId) -> Result<(), StoreError> {
    let trash = trash_beside(dir, id);
    // Of an earlier removal that a crash cut short; a folder that is not empty would make the rename fail.
    remove_tree(&trash)?;
    match fs::rename(dir, &trash) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result.map_err(durable::io("remove", dir))?,
    }
    if let Some(parent) = dir.parent() {
        sync_dir(parent)?;
    }
    remove_tree(&trash)?;
    drop_empty_dates(dir);
    Ok(())
}

/// Day, month and year go with their last backup. The caller keeps others from beginning one in them just now.
pub(super) fn drop_empty_dates(dir: &Path) {
    for folder in dir.ancestors().skip(1).take(3) {
        let is_date = folder
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit));
        if !is_date || fs::remove_dir(folder).is_err() {
            break;
        }
    }
}

/// What stands in the claim of a backup that is written into pinned/.
pub(super) const CLAIM_OF_PINNED: &[u8] = b"pinned";

fn is_of_pinned(claim: &Path) -> bool {
    crate::regular::read_to_string(claim, 1 << 10).is_ok_and(|text| text.as_bytes() == CLAIM_OF_PINNED)
}

/// What there is of a claim.
#[derive(PartialEq, Eq)]
enum Claim {
    /// A live process holds it.
    Held,
    /// Its process is gone.
    Dead,
    /// There is none.
    None,
}

fn claim_of(claim: &Path) -> Result<Claim, StoreError> {
    // Opened to write, because some network filesystems lock exclusively only what one may write.
    let file = match crate::regular::open_as(claim, OpenOptions::new().read(true).write(true)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Claim::None),
        Err(error) => return Err(durable::io("open", claim)(error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Claim::Dead),
        Err(TryLockError::WouldBlock) => Ok(Claim::Held),
        Err(TryLockError::Error(error)) => Err(durable::io("lock", claim)(error)),
    }
}

fn forget_dead_claims(layout: &Layout) -> Result<(), StoreError> {
    let any: BackupId = BackupId::at(jiff::Timestamp::UNIX_EPOCH);
    let claim = layout.claim(&any);
    let Some(Ok(entries)) = claim.parent().map(fs::read_dir) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        if claim_of(&entry.path())? == Claim::Dead {
            remove_file(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a folder and all in it, never through a symbolic link: those are removed themselves.
fn remove_tree(dir: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(durable::io("remove", dir)),
    }
}
