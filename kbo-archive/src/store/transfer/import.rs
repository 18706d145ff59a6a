//! From a file into the store.

use std::io::Read;

use bytes::Bytes;
use kbo_core::manifest::{ArchiveRecord, Manifest};
use kbo_core::ports::store::{ArchiveWriter, BackupWriter, Pin, StoreError, Stored};
use tokio::runtime::Handle;

use super::unpack::{Receiver, unpack, wrong};
use super::{Transfer, fits};
use crate::store::DirStore;
use crate::store::durable::blocking;
use crate::store::layout::Layout;
use crate::store::writer::{self, DirWriter};

/// Takes a backup from an exported file into the store. It shows only when every byte has been found to be what its manifest says,
/// and its manifest is the very one that was exported. With a pin it is pinned from the moment that it shows: no rotation can come
/// between.
///
/// # Errors
/// [`StoreError::Taken`] where the store has a backup of this id; [`StoreError::Format`] for a file that is no export, is cut short or
/// damaged. Nothing is left in the store then.
pub async fn import(
    store: &DirStore,
    from: Box<dyn Read + Send>,
    pin: Option<&Pin>,
    transfer: &Transfer,
) -> Result<Manifest, StoreError> {
    let transfer = transfer.clone();
    let mut writing = Writing {
        layout: store.layout.clone(),
        runtime: Handle::current(),
        backup: None,
        archive: None,
        pin: pin.cloned(),
    };
    blocking(move || {
        let imported = unpack(from, &mut writing, &transfer).and_then(|(manifest, text)| {
            let backup = writing.backup.as_ref().ok_or_else(|| wrong("it holds no backup"))?;
            writing.runtime.block_on(backup.commit_as(&manifest, text))?;
            Ok(manifest)
        });
        if imported.is_err() {
            writing.abandon();
        }
        imported
    })
    .await
}

/// The backup being written.
struct Writing {
    layout: Layout,
    runtime: Handle,
    backup: Option<DirWriter>,
    archive: Option<Box<dyn ArchiveWriter>>,
    pin: Option<Pin>,
}

impl Writing {
    fn archive(&mut self) -> Result<&mut Box<dyn ArchiveWriter>, StoreError> {
        self.archive.as_mut().ok_or_else(|| wrong("content of no archive"))
    }

    fn abandon(&mut self) {
        self.archive = None;
        if let Some(backup) = &self.backup
            && let Err(error) = self.runtime.block_on(backup.abandon())
        {
            tracing::warn!(%error, "the unfinished import stays until the next sweep");
        }
    }
}

impl Receiver for Writing {
    fn begin(&mut self, manifest: &Manifest) -> Result<(), StoreError> {
        fits(self.layout.root(), manifest.stored_bytes())?;
        self.backup = Some(writer::begin(
            &self.layout,
            &manifest.id,
            manifest.kind,
            self.pin.clone(),
        )?);
        Ok(())
    }

    fn archive(&mut self, record: &ArchiveRecord) -> Result<(), StoreError> {
        let backup = self.backup.as_ref().ok_or_else(|| wrong("an archive of no backup"))?;
        self.archive = Some(self.runtime.block_on(backup.create(&record.name))?);
        Ok(())
    }

    fn content(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        let runtime = self.runtime.clone();
        runtime.block_on(self.archive()?.write(bytes))?;
        Ok(())
    }

    fn finish(&mut self) -> Result<Stored, StoreError> {
        let archive = self.archive.take().ok_or_else(|| wrong("the end of no archive"))?;
        self.runtime.block_on(archive.finish())
    }
}
