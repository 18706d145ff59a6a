//! Pinning, unpinning and removing backups. Each is one rename as far as anybody can see, so a crash at any point leaves the backup
//! in one place or the other, or on its way out.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kbo_core::ids::BackupId;
use kbo_core::ports::store::{Pin, StoreError};
use kbo_core::text::one_line;

use super::document::{PIN, PIN_TEMP};
use super::durable::{ensure_dir, format, io as failed, remove_file, sync_dir, write_new};
use super::layout::{Found, Layout};
use super::reading;
use super::sealed;
use super::sweep::{discard, drop_empty_dates};

/// A reason is a line or two.
const LONGEST_PIN: u64 = 1 << 16;

/// The folders of a committed backup: one, or two where somebody copied it into `pinned/`.
fn committed(layout: &Layout, id: &BackupId) -> Result<Vec<Found>, StoreError> {
    let mut found = Vec::new();
    for folder in layout.scan()?.into_iter().filter(|found| &found.id == id) {
        if folder.is_committed()? {
            found.push(folder);
        }
    }
    if found.is_empty() {
        return Err(StoreError::NoSuchBackup(id.clone()));
    }
    Ok(found)
}

/// Pins a backup, or gives a pinned one another reason. Whether it was not pinned before.
pub(super) fn pin(layout: &Layout, id: &BackupId, pin: &Pin) -> Result<bool, StoreError> {
    let _alone = layout.hold()?;
    let found = committed(layout, id)?;
    if let Some(pinned) = found.iter().find(|found| found.pinned) {
        // To say nothing takes nothing back.
        if pin.reason.is_some() {
            write(&pinned.dir, pin)?;
        }
        return Ok(false);
    }
    let [from] = &found[..] else {
        return Err(twice(&found));
    };
    // The reason goes along: in rotated/ it means nothing.
    write(&from.dir, pin)?;
    move_to(&from.dir, layout.backup_in(from.kind, "pinned", id))?;
    Ok(true)
}

/// Unpins a backup. Whether it was pinned.
pub(super) fn unpin(layout: &Layout, id: &BackupId) -> Result<bool, StoreError> {
    let _alone = layout.hold()?;
    let found = committed(layout, id)?;
    let pinned: Vec<&Found> = found.iter().filter(|found| found.pinned).collect();
    match (&pinned[..], found.len()) {
        ([], _) => Ok(false),
        ([from], 1) => {
            let to = layout.new_backup(from.kind, id);
            move_to(&from.dir, to.clone())?;
            remove_file(&to.join(PIN))?;
            sync_dir(&to)?;
            Ok(true)
        }
        _ => Err(twice(&found)),
    }
}

fn twice(found: &[Found]) -> StoreError {
    let dirs: Vec<String> = found.iter().map(|found| found.dir.display().to_string()).collect();
    let why = format!(
        "the backup lies in the store more than once ({}): remove one of them by hand",
        dirs.join(", ")
    );
    format(&found[0].dir, why)
}

/// Removes a backup for good. Pinned ones are not.
pub(super) fn remove(layout: &Layout, id: &BackupId) -> Result<(), StoreError> {
    let _alone = layout.hold()?;
    let found = committed(layout, id)?;
    if let Some(pinned) = found.iter().find(|found| found.pinned) {
        return Err(format(&pinned.dir, "the backup is pinned: unpin it first"));
    }
    let _shut = found
        .iter()
        .map(|found| reading::shut(&found.dir, id))
        .collect::<Result<Vec<_>, _>>()?;
    found.iter().try_for_each(|found| discard(&found.dir, id))
}

/// Why a backup is pinned, where somebody said so.
pub(super) fn read_pin(dir: &Path) -> Option<Pin> {
    let mut pin = open_pin(dir).ok()??;
    // It goes to a terminal, and anybody may have written it.
    for text in [&mut pin.reason, &mut pin.by].into_iter().flatten() {
        *text = one_line(text).into_owned();
    }
    Some(pin)
}

/// The pin in a folder; nothing where there is none.
///
/// # Errors
/// It cannot be read, or is not as it was written.
pub(super) fn open_pin(dir: &Path) -> Result<Option<Pin>, String> {
    let mut text = Vec::new();
    let file = match crate::regular::open(&dir.join(PIN)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    file.take(LONGEST_PIN)
        .read_to_end(&mut text)
        .map_err(|error| error.to_string())?;
    sealed::unseal(&text).map(Some)
}

/// Writes the reason of a pin into a folder, durably.
pub(super) fn write(dir: &Path, pin: &Pin) -> Result<(), StoreError> {
    let (temp, path) = (dir.join(PIN_TEMP), dir.join(PIN));
    let text = sealed::seal(pin).map_err(|why| format(&path, why))?;
    remove_file(&temp)?;
    write_new(&temp, text.as_bytes())?;
    fs::rename(&temp, &path).map_err(failed("write", &path))?;
    sync_dir(dir)
}

/// Moves a backup's folder, durably, and removes the folders of dates that it leaves empty.
fn move_to(from: &Path, to: PathBuf) -> Result<(), StoreError> {
    let day = to.parent().ok_or_else(|| format(&to, "has no folder above it"))?;
    ensure_dir(day)?;
    match fs::symlink_metadata(&to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        _ => return Err(format(&to, "there is something already: look at it and move it away")),
    }
    fs::rename(from, &to).map_err(failed("move", from))?;
    sync_dir(day)?;
    if let Some(parent) = from.parent() {
        sync_dir(parent)?;
    }
    drop_empty_dates(from);
    Ok(())
}
