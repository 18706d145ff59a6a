//! Reading an exported file. It may come from anywhere: nothing in it is believed but what agrees with its manifest, and no name in
//! it becomes a path before it is one of those that the manifest may have.

use std::io::{self, Read};
use std::path::Path;
use std::thread;

use bytes::Bytes;
use kbo_core::ids::BackupId;
use kbo_core::manifest::{ArchiveRecord, Manifest, Sha256};
use kbo_core::ports::store::{StoreError, Stored};
use sha2::Digest;

use super::Transfer;
use crate::pipe::{Filler, pipe};
use crate::store::document::{self, MANIFEST, SUMS};
use crate::store::durable::{format, io as failed};
use crate::store::verify::{MAX_SUMS, compare_sums};
use crate::tarfmt::{HeaderError, Item, ItemKind, Reader, padding};

/// A greater manifest is none of kbo's: some million files take a gigabyte.
pub(super) const MAX_MANIFEST: u64 = 1 << 30;

/// Who takes what an exported file holds. Nothing of it is whole before [`unpack`] has returned.
pub trait Receiver {
    /// The manifest, which has been checked. Comes first, and once.
    ///
    /// # Errors
    /// It is not wanted.
    fn begin(&mut self, manifest: &Manifest) -> Result<(), StoreError>;

    /// An archive of the manifest begins; each comes once.
    ///
    /// # Errors
    /// There is no place for it.
    fn archive(&mut self, record: &ArchiveRecord) -> Result<(), StoreError>;

    /// More of it.
    ///
    /// # Errors
    /// There is no room for it.
    fn content(&mut self, bytes: Bytes) -> Result<(), StoreError>;

    /// All of it; what arrived is compared with the manifest.
    ///
    /// # Errors
    /// It cannot be kept.
    fn finish(&mut self) -> Result<Stored, StoreError>;
}

/// Reads an exported file to its end, and gives the manifest, and the manifest's own bytes.
///
/// # Errors
/// [`StoreError::Format`] for a file that is no export, is cut short or damaged; whatever the receiver says.
pub fn unpack(
    from: Box<dyn Read + Send>,
    receiver: &mut dyn Receiver,
    transfer: &Transfer,
) -> Result<(Manifest, Vec<u8>), StoreError> {
    let (filler, drain) = pipe();
    // A thread of its own, so that reading and writing overlap. It ends with the file, or when nobody wants more.
    let reading = thread::Builder::new().name("kbo-import".to_owned());
    reading
        .spawn(move || fill(from, &filler))
        .map_err(failed("start a thread that reads", Path::new(LABEL)))?;
    let mut tar = Tar {
        reader: Reader::new(drain),
        transfer,
    };
    let (manifest, text) = tar.manifest()?;
    receiver.begin(&manifest)?;
    tar.rest(&manifest, Sha256(sha2::Sha256::digest(&text).into()), receiver)?;
    Ok((manifest, text))
}

const LABEL: &str = "the imported file";

pub(super) fn wrong(why: impl Into<String>) -> StoreError {
    format(Path::new(LABEL), why)
}

fn unreadable(error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => wrong("it is cut short"),
        _ => failed("read", Path::new(LABEL))(error),
    }
}

fn fill(mut from: Box<dyn Read + Send>, filler: &Filler) {
    loop {
        let mut buffer = filler.buffer();
        let mut error = None;
        let mut ended = false;
        while !buffer.is_full() && !ended && error.is_none() {
            match from.read(buffer.room()) {
                Ok(0) => ended = true,
                Ok(read) => drop(buffer.fill(read)),
                Err(interrupted) if interrupted.kind() == io::ErrorKind::Interrupted => {}
                Err(failed) => error = Some(failed),
            }
        }
        let filled = !buffer.filled().is_empty();
        let is_closed = (filled && filler.send(Ok(buffer)).is_err())
            || error.is_some_and(|error| {
                // Nobody may want to know any more.
                let _ = filler.send(Err(error));
                true
            });
        if ended || is_closed {
            return;
        }
    }
}

struct Tar<'a> {
    reader: Reader,
    transfer: &'a Transfer,
}

/// A file in the tar: of which backup, and its name and size.
struct Entry {
    id: BackupId,
    name: String,
    size: u64,
}

impl Tar<'_> {
    /// The next file; folders are passed over.
    fn next(&mut self) -> Result<Option<Entry>, StoreError> {
        loop {
            self.transfer.unless_interrupted()?;
            let item = match self.reader.header() {
                Ok(Some(item)) => item,
                Ok(None) => return Ok(None),
                Err(HeaderError::Stream(error)) => return Err(unreadable(error)),
                Err(HeaderError::Bad(what)) => return Err(wrong(format!("it is no tar of kbo export: {what}"))),
            };
            if let Some(entry) = placed(&item)? {
                return Ok(Some(entry));
            }
        }
    }

    fn manifest(&mut self) -> Result<(Manifest, Vec<u8>), StoreError> {
        let first = self.next()?.ok_or_else(|| wrong("it holds no backup"))?;
        if first.name != MANIFEST {
            return Err(wrong(format!(
                "its first file is {}, not {MANIFEST}: kbo export makes files that can be imported",
                first.name
            )));
        }
        let text = self.small(&first, MAX_MANIFEST)?;
        let manifest = document::from_text(&text, &first.id).map_err(|why| wrong(format!("its {MANIFEST}: {why}")))?;
        Ok((manifest, text))
    }

    /// What follows the manifest, each once, and nothing else.
    fn rest(&mut self, manifest: &Manifest, sha256: Sha256, receiver: &mut dyn Receiver) -> Result<(), StoreError> {
        let mut awaited: Vec<&ArchiveRecord> = manifest.archives.iter().collect();
        let mut summed = false;
        while let Some(entry) = self.next()? {
            let name = &entry.name;
            if entry.id != manifest.id {
                return Err(wrong(format!("it holds more than one backup: {name} of {}", entry.id)));
            }
            if name == SUMS && !summed {
                let text = String::from_utf8_lossy(&self.small(&entry, MAX_SUMS)?).into_owned();
                if let Some(finding) = compare_sums(&text, manifest, sha256).first() {
                    return Err(wrong(format!("it is damaged: {finding}")));
                }
                summed = true;
                continue;
            }
            let Some(at) = awaited.iter().position(|archive| &archive.name == name) else {
                return Err(wrong(format!(
                    "it holds `{name}`, which is no archive of its manifest, or holds it twice"
                )));
            };
            self.archive(awaited.swap_remove(at), &entry, receiver)?;
        }
        if let Some(missing) = awaited.first() {
            return Err(wrong(format!("{} is missing from it", missing.name)));
        }
        if !summed {
            return Err(wrong(format!("{SUMS} is missing from it")));
        }
        match self.reader.only_zeros_follow().map_err(unreadable)? {
            true => Ok(()),
            false => Err(wrong("it goes on after its end")),
        }
    }

    fn archive(
        &mut self,
        record: &ArchiveRecord,
        entry: &Entry,
        receiver: &mut dyn Receiver,
    ) -> Result<(), StoreError> {
        let name = &record.name;
        if entry.size != record.size {
            return Err(wrong(format!(
                "{name} has {} bytes in it, its manifest says {}",
                entry.size, record.size
            )));
        }
        receiver.archive(record)?;
        let mut done = 0;
        while done < record.size {
            self.transfer.unless_interrupted()?;
            let bytes = self.reader.content(record.size - done).map_err(unreadable)?;
            let chunk = Bytes::copy_from_slice(bytes);
            let count = chunk.len();
            receiver.content(chunk)?;
            self.reader.consume(count);
            done += count as u64;
            self.transfer.moved(record, done);
        }
        let stored = receiver.finish()?;
        if (stored.size, stored.sha256) != (record.size, record.sha256) {
            return Err(wrong(format!(
                "{name} is damaged: its sha256 is {}, its manifest says {}",
                stored.sha256, record.sha256
            )));
        }
        self.padding(record.size)
    }

    /// A file that is taken into memory.
    fn small(&mut self, entry: &Entry, most: u64) -> Result<Vec<u8>, StoreError> {
        if entry.size > most {
            return Err(wrong(format!("its {} claims {} bytes", entry.name, entry.size)));
        }
        // As long as what arrives, whatever the header claims.
        let mut text = Vec::new();
        while (text.len() as u64) < entry.size {
            self.transfer.unless_interrupted()?;
            let bytes = self
                .reader
                .content(entry.size - text.len() as u64)
                .map_err(unreadable)?;
            text.extend_from_slice(bytes);
            let count = bytes.len();
            self.reader.consume(count);
        }
        self.padding(entry.size)?;
        Ok(text)
    }

    fn padding(&mut self, size: u64) -> Result<(), StoreError> {
        self.reader.skip(padding(size) as u64).map_err(unreadable)
    }
}

/// `ID/NAME`; nothing for the folder itself. What is anything else leads elsewhere.
fn placed(item: &Item) -> Result<Option<Entry>, StoreError> {
    let path = item.path.strip_prefix("./").unwrap_or(&item.path);
    let (id, name) = path.split_once('/').unwrap_or((path, ""));
    let foreign = || wrong(format!("it holds {:?}, which is no part of a backup", item.path));
    match (&item.kind, name) {
        (ItemKind::Dir, "") if id.is_empty() || id == "." => Ok(None),
        (ItemKind::Dir, "") => id.parse::<BackupId>().map(|_| None).map_err(|_| foreign()),
        (ItemKind::File { size }, name) if !name.is_empty() && !name.contains('/') => Ok(Some(Entry {
            id: id.parse().map_err(|_| foreign())?,
            name: name.to_owned(),
            size: *size,
        })),
        _ => Err(foreign()),
    }
}
