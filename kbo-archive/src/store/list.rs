//! Listing the backups of a store.

use std::fs;
use std::io;

use kbo_core::manifest::{ArchiveRecord, Manifest};
use kbo_core::ports::store::{Listed, Pin, StoreError};

use super::document;
use super::keep;
use super::layout::{Found, Layout};

/// Every committed backup, oldest first; a damaged manifest is part of the listing, with the reason.
pub(super) fn list(layout: &Layout) -> Result<Vec<Listed>, StoreError> {
    let mut listed: Vec<Listed> = Vec::new();
    for found in layout.scan()? {
        let manifest = match found.is_committed() {
            Ok(false) => continue,
            Ok(true) => document::read_head(&found.dir, &found.id),
            Err(error) => Err(error),
        };
        match listed.last_mut() {
            // Copied into pinned/ rather than moved: one backup all the same.
            Some(twin) if twin.id == found.id && manifest.is_ok() => {
                twin.pinned |= found.pinned;
                twin.pin = twin.pin.take().or_else(|| pin_of(&found));
            }
            _ => listed.push(Listed {
                pin: pin_of(&found),
                missing: manifest.as_ref().ok().and_then(|manifest| missing(&found, manifest)),
                manifest: manifest.map_err(|error| reason(&error)),
                id: found.id,
                kind: found.kind,
                pinned: found.pinned,
            }),
        }
    }
    Ok(listed)
}

/// What of a backup is not there. Only the folder is looked at, for a listing has to be quick.
fn missing(found: &Found, manifest: &Manifest) -> Option<String> {
    let wrong = |archive: &ArchiveRecord| match fs::symlink_metadata(found.dir.join(&archive.name)) {
        Ok(meta) if !meta.is_file() => Some(format!("{} is no file", archive.name)),
        Ok(meta) if meta.len() != archive.size => {
            Some(format!("{} has {} bytes of {}", archive.name, meta.len(), archive.size))
        }
        Ok(_) => None,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(format!("{} is missing", archive.name)),
        Err(error) => Some(format!("{}: {error}", archive.name)),
    };
    let misplaced = (manifest.kind != found.kind).then(|| {
        format!(
            "its manifest says that it is a {} backup, and it lies among those of {}",
            manifest.kind, found.kind
        )
    });
    let wrong: Vec<String> = misplaced
        .into_iter()
        .chain(manifest.archives.iter().filter_map(wrong))
        .collect();
    let (first, rest) = wrong.split_first()?;
    Some(match rest.len() {
        0 => first.clone(),
        more => format!("{first}, and {more} more are not whole"),
    })
}

/// In `rotated/` a reason means nothing: it was left behind by a hand that moved the folder.
fn pin_of(found: &Found) -> Option<Pin> {
    found.pinned.then(|| keep::read_pin(&found.dir)).flatten()
}

/// The whole chain: a listing has one line for it, and nobody to ask for the source.
fn reason(error: &StoreError) -> String {
    match error {
        StoreError::Io { source, .. } => format!("{error}: {source}"),
        _ => error.to_string(),
    }
}
