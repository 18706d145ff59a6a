//! A backup as one file: a plain tar of its folder, written and read as it streams by, in memory that does not grow with it.
//!
//! `ID/`, `ID/manifest.json`, `ID/SHA256SUMS`, then the archives in the manifest's order. The manifest comes first, so that whoever
//! reads the stream knows what must follow. Nothing else is in it.

mod export;
mod import;
mod unpack;

use std::path::Path;
use std::sync::Arc;

use kbo_core::cancel::Cancel;
use kbo_core::manifest::ArchiveRecord;
use kbo_core::ports::store::StoreError;
use kbo_core::ports::stream::StreamError;

pub use export::{export, export_to_file};
pub use import::import;
pub use unpack::{Receiver, unpack};

/// Bytes moved at once.
const CHUNK: usize = 1 << 20;

/// Told an archive and its bytes done so far.
type Told = Arc<dyn Fn(&ArchiveRecord, u64) + Send + Sync>;

/// Who may end a transfer, and who is told how far it is.
#[derive(Clone)]
pub struct Transfer {
    cancel: Cancel,
    told: Told,
}

impl Default for Transfer {
    fn default() -> Self {
        Self::new(Cancel::default(), Arc::new(|_, _| {}))
    }
}

impl Transfer {
    /// Ended by `cancel`; `told` is called often.
    pub fn new(cancel: Cancel, told: Told) -> Self {
        Self { cancel, told }
    }

    fn moved(&self, archive: &ArchiveRecord, done: u64) {
        (self.told)(archive, done);
    }

    fn unless_interrupted(&self) -> Result<(), StoreError> {
        match self.cancel.is_asked() {
            true => Err(StreamError::Interrupted.into()),
            false => Ok(()),
        }
    }
}

/// Refuses what cannot fit where `path` is.
fn fits(path: &Path, need: u64) -> Result<(), StoreError> {
    let free = super::space_at(path)?.free;
    if need <= free {
        return Ok(());
    }
    let path = path.display().to_string();
    Err(StoreError::DoesNotFit { path, need, free })
}
