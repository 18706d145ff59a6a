//! Listing the backups of a store.

use kbo_core::ports::store::{Listed, StoreError};

use super::document;
use super::layout::Layout;

/// Every committed backup, oldest first; a damaged manifest is part of the listing, with the reason.
pub(super) fn list(layout: &Layout) -> Result<Vec<Listed>, StoreError> {
    let committed = layout.scan()?.into_iter().filter(|found| found.is_committed());
    Ok(committed
        .map(|found| Listed {
            manifest: document::read_head(&found.dir, &found.id).map_err(|error| reason(&error)),
            id: found.id,
            kind: found.kind,
            pinned: found.pinned,
        })
        .collect())
}

/// The whole chain: a listing has one line for it, and nobody to ask for the source.
fn reason(error: &StoreError) -> String {
    match error {
        StoreError::Io { source, .. } => format!("{error}: {source}"),
        _ => error.to_string(),
    }
}
