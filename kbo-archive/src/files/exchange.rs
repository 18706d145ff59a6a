//! Files and their successors in each other's place, one by one; and what a death in the middle left, put to an end.

use super::folder::Folder;
use super::record::{Doing, Record, What};
use super::{EARLIER, PREVIOUS, STAGED, staged_name};
use crate::error::Error;

/// The second name of a file in place, where a filesystem cannot exchange.
const ASIDE: &str = ".kbo-aside-";

/// Exchanges all that are as they were when it began. After an error some may be exchanged.
pub(super) fn forward(dir: &Folder, folder: &Folder, doing: &Doing) -> Result<(), Error> {
    for (name, before) in &doing.before {
        settle(folder, name)?;
        if dir.ino(name)? == *before {
            exchange(dir, folder, name)?;
        }
    }
    folder.sync()?;
    dir.sync()
}

/// Exchanges back all that are not as they were when it began.
pub(super) fn take_back(dir: &Folder, folder: &Folder, doing: &Doing) -> Result<(), Error> {
    for (name, before) in &doing.before {
        settle(folder, name)?;
        if dir.ino(name)? != *before {
            exchange(dir, folder, name)?;
        }
    }
    folder.sync()?;
    dir.sync()
}

/// Exchanges what stands under a name in the directory and in the folder; a side that is missing is missing on the other side then.
/// What is in place is replaced by one rename.
fn exchange(dir: &Folder, folder: &Folder, name: &str) -> Result<(), Error> {
    match (dir.look(name)?, folder.look(name)?) {
        (None, None) => Ok(()),
        (None, Some(_)) => folder.move_to(name, dir, name),
        (Some(_), None) => dir.move_to(name, folder, name),
        (Some(_), Some(_)) => {
            if folder.exchange(name, dir)? {
                return Ok(());
            }
            let aside = format!("{ASIDE}{name}");
            dir.link(name, folder, &aside)?;
            folder.replace(name, dir, name)?;
            folder.replace(&aside, folder, name)
        }
    }
}

/// Ends an exchange in three steps that was cut.
fn settle(folder: &Folder, name: &str) -> Result<(), Error> {
    let aside = format!("{ASIDE}{name}");
    match (folder.look(&aside)?, folder.look(name)?) {
        (None, _) => Ok(()),
        (Some(_), Some(_)) => folder.remove(&aside),
        (Some(_), None) => folder.replace(&aside, folder, name),
    }
}

/// Puts to an end what is half done, whoever began it. Under the lock.
pub(super) fn mend(dir: &Folder) -> Result<(), Error> {
    for name in dir.names()?.iter().filter(|name| name.starts_with(STAGED)) {
        let Ok(Some(folder)) = dir.folder(name) else { continue };
        let Some(mut record) = Record::read_or_none(&folder)? else {
            continue;
        };
        let Some(doing) = record.doing.clone() else { continue };
        tracing::warn!(folder = %folder.label().display(), what = ?doing.what, "it was left half done");
        if doing.what != What::Undo && is_here(dir, &doing)? {
            take_back(dir, &folder, &doing)?;
        }
        restore_earlier(dir, &folder)?;
        record.rolled_back = false;
        record.end(&folder)?;
    }
    let Ok(Some(folder)) = dir.folder(PREVIOUS) else {
        return Ok(());
    };
    let Some(mut record) = Record::read_or_none(&folder)? else {
        return Ok(());
    };
    let Some(doing) = record.doing.clone() else {
        return Ok(());
    };
    tracing::warn!(folder = %folder.label().display(), what = ?doing.what, "it was left half done");
    match doing.what {
        What::Rollback if is_here(dir, &doing)? => take_back(dir, &folder, &doing)?,
        What::Undo if is_here(dir, &doing)? => return finish_undo(dir, &folder, record),
        // The commit was done, but for this note.
        _ => {}
    }
    record.end(&folder)
}

/// Whether something was begun in this very directory, not in one of which it is a copy.
fn is_here(dir: &Folder, doing: &Doing) -> Result<bool, Error> {
    Ok(dir.stat()?.st_ino == doing.dir)
}

/// The rest of an undo that has begun.
pub(super) fn finish_undo(dir: &Folder, folder: &Folder, mut record: Record) -> Result<(), Error> {
    if let Some(doing) = &record.doing
        && !record.rolled_back
    {
        forward(dir, folder, doing)?;
    }
    let staged = staged_name(&record.run);
    dir.move_to(PREVIOUS, dir, &staged)?;
    restore_earlier(dir, folder)?;
    record.rolled_back = false;
    record.end(folder)
}

/// What was kept before the folder's commit is kept again.
pub(super) fn restore_earlier(dir: &Folder, folder: &Folder) -> Result<(), Error> {
    if folder.look(EARLIER)?.is_some() && dir.look(PREVIOUS)?.is_none() {
        folder.move_to(EARLIER, dir, PREVIOUS)?;
    }
    folder.sync()?;
    dir.sync()
}
