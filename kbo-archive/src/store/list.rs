//! Listing the backups of a store.

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
                manifest: manifest.map_err(|error| reason(&error)),
                id: found.id,
                kind: found.kind,
                pinned: found.pinned,
            }),
        }
    }
    Ok(listed)
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
