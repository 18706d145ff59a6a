//! A backup as one file: a plain tar of its folder, written and read as it streams by.
//!
//! `<ID>/`, `<ID>/manifest.json`, `<ID>/SHA256SUMS`, then the archives. The manifest comes first, so that whoever reads the stream
//! knows what must follow. Nothing else is in it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path};

use bytes::Bytes;
use jiff::Timestamp;
use kbo_core::ids::BackupId;
use kbo_core::manifest::{Manifest, Sha256};
use kbo_core::ports::store::{BackupStore, BackupWriter, StoreError};
use sha2::Digest;
use tokio::runtime::Handle;

use super::DirStore;
use super::document::{self, MANIFEST, SUMS};
use super::durable::{blocking, format, io as failed};
use crate::tarfmt::{BLOCK, Item, ItemKind, padding};

/// Bytes moved at once.
const CHUNK: usize = 1 << 20;

/// Checksums of more nodes than any cluster has.
const MAX_SUMS: u64 = 16 << 20;

/// A manifest of more than this is none that any kbo wrote.
const MAX_MANIFEST: u64 = 4 << 30;

/// Writes a backup as a tar. Every archive is hashed on its way and must be what the manifest says.
///
/// # Errors
/// The backup is not there or damaged; the output cannot be written. What was written so far is of no use then.
pub async fn export(store: &DirStore, id: &BackupId, mut to: Box<dyn Write + Send>) -> Result<Manifest, StoreError> {
    let (layout, id) = (store.layout.clone(), id.clone());
    blocking(move || {
        let dir = layout.find(&id)?.dir;
        let manifest = document::read_head(&dir, &id)?;
        let mut files = vec![(MANIFEST.to_owned(), None), (SUMS.to_owned(), None)];
        files.extend(
            manifest
                .archives
                .iter()
                .map(|archive| (archive.name.clone(), Some((archive.size, archive.sha256)))),
        );
        // All opened at once: a rotation meanwhile may unlink them, and they stay readable.
        let open = |(name, expected): (String, Option<(u64, Sha256)>)| {
            let path = dir.join(&name);
            let file = File::open(&path).map_err(failed("open", &path))?;
            let meta = file.metadata().map_err(failed("look at", &path))?;
            Ok((name, expected, file, meta))
        };
        let files = files.into_iter().map(open).collect::<Result<Vec<_>, StoreError>>()?;
        let output = Path::new("the exported file");
        let mut write = |bytes: &[u8]| to.write_all(bytes).map_err(failed("write", output));
        let header = |path: String, kind: ItemKind, mode: u32, mtime: Timestamp| {
            Item {
                path,
                kind,
                mode,
                uid: 0,
                gid: 0,
                mtime,
            }
            .header()
        };
        // One time for all, in whole seconds: the same backup is the same file whenever it is exported.
        let at = Timestamp::from_second(manifest.committed.as_second()).unwrap_or(manifest.committed);
        write(&header(id.to_string(), ItemKind::Dir, 0o755, at))?;
        for (name, expected, mut file, meta) in files {
            let path = dir.join(&name);
            write(&header(
                format!("{id}/{name}"),
                ItemKind::File { size: meta.len() },
                0o644,
                at,
            ))?;
            let copied = copy(&mut file, meta.len(), &path, &mut write)?;
            if expected.is_some_and(|(size, sha256)| (size, sha256) != (meta.len(), copied)) {
                return Err(format(
                    &path,
                    format!(
                        "the archive is damaged: it is {} bytes with sha256 {copied}, the manifest says otherwise",
                        meta.len()
                    ),
                ));
            }
            write(&vec![0; padding(meta.len())])?;
        }
        write(&[0; 2 * BLOCK])?;
        to.flush().map_err(failed("write", output))?;
        Ok(manifest)
    })
    .await
}

/// Copies exactly so many bytes and hashes them.
fn copy(
    file: &mut File,
    size: u64,
    path: &Path,
    write: &mut impl FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<Sha256, StoreError> {
    let mut hasher = sha2::Sha256::new();
    let mut left = size;
    let mut buffer = vec![0; CHUNK];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let read = file.read(&mut buffer[..most]).map_err(failed("read", path))?;
        if read == 0 {
            return Err(format(path, "it became shorter while it was read"));
        }
        hasher.update(&buffer[..read]);
        write(&buffer[..read])?;
        left -= read as u64;
    }
    Ok(Sha256(hasher.finalize().into()))
}

/// Takes a backup from a tar into the store. It shows only when every byte has been found to be what its manifest says.
///
/// # Errors
/// [`StoreError::Taken`] where the store has a backup of this id; [`StoreError::Format`] for a file that is no export, is cut short or
/// damaged. Nothing is left in the store then.
pub async fn import(store: &DirStore, from: Box<dyn Read + Send>) -> Result<Manifest, StoreError> {
    let store = store.clone();
    let runtime = Handle::current();
    blocking(move || {
        let mut archive = tar::Archive::new(from);
        let mut writer: Option<Box<dyn BackupWriter>> = None;
        let imported = read_all(&store, &runtime, &mut archive, &mut writer);
        if let (Err(_), Some(writer)) = (&imported, &writer)
            && let Err(error) = runtime.block_on(writer.abandon())
        {
            tracing::warn!(%error, "the unfinished import stays until the next sweep");
        }
        imported
    })
    .await
}

fn wrong(why: impl Into<String>) -> StoreError {
    format(Path::new("the imported file"), why)
}

fn unreadable(error: &io::Error) -> StoreError {
    wrong(format!("it cannot be read as a tar: {error}"))
}

fn read_all(
    store: &DirStore,
    runtime: &Handle,
    archive: &mut tar::Archive<Box<dyn Read + Send>>,
    writer: &mut Option<Box<dyn BackupWriter>>,
) -> Result<Manifest, StoreError> {
    let mut manifest: Option<Manifest> = None;
    let mut manifest_sha256 = None;
    let mut summed = false;
    for entry in archive.entries().map_err(|error| unreadable(&error))? {
        let mut entry = entry.map_err(|error| unreadable(&error))?;
        let Some((id, name)) = placed(&entry)? else { continue };
        match (&manifest, name.as_str()) {
            (None, MANIFEST) => {
                let (found, sha256) = parse(&mut entry, &id)?;
                manifest_sha256 = Some(sha256);
                *writer = Some(runtime.block_on(store.begin(&id, found.kind))?);
                manifest = Some(found);
            }
            (None, _) => {
                return Err(wrong(format!(
                    "{name} comes before {MANIFEST}: it was not made by kbo export"
                )));
            }
            (Some(manifest), _) if manifest.id != id => return Err(wrong("it holds more than one backup")),
            (Some(_), MANIFEST) => return Err(wrong(format!("it holds {MANIFEST} twice"))),
            // Made anew from the manifest, against which everything is checked; what it alone can tell is whether that is whole.
            (Some(_), SUMS) => {
                check_sums(&mut entry, manifest_sha256)?;
                summed = true;
            }
            (Some(manifest), _) => {
                let writer = writer
                    .as_deref()
                    .ok_or_else(|| wrong("it holds an archive of no backup"))?;
                let Some(record) = manifest.archives.iter().find(|archive| archive.name == name) else {
                    return Err(wrong(format!("it holds {name}, which its manifest does not name")));
                };
                if entry.size() != record.size {
                    return Err(wrong(format!(
                        "{name} has {} bytes, its manifest says {}",
                        entry.size(),
                        record.size
                    )));
                }
                receive(runtime, writer, &name, &mut entry)?;
            }
        }
    }
    match (manifest, writer) {
        (Some(_), Some(_)) if !summed => Err(wrong(format!(
            "it holds no {SUMS}: it was not made by kbo export, or is cut short"
        ))),
        (Some(manifest), Some(writer)) => {
            // Refuses what is missing or has another hash.
            runtime.block_on(writer.commit(&manifest))?;
            Ok(manifest)
        }
        _ => Err(wrong(format!("it holds no {MANIFEST}: it was not made by kbo export"))),
    }
}

/// Backup and name of an entry; nothing for the folder itself. What is not `ID/NAME` leads elsewhere.
fn placed<R: Read>(entry: &tar::Entry<'_, R>) -> Result<Option<(BackupId, String)>, StoreError> {
    let path = entry.path().map_err(|error| unreadable(&error))?.into_owned();
    let shown = path.display();
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) => parts.push(
                part.to_str()
                    .ok_or_else(|| wrong(format!("it holds {shown}: not a name of kbo's")))?,
            ),
            _ => return Err(wrong(format!("it holds {shown}, which leads elsewhere"))),
        }
    }
    let kind = entry.header().entry_type();
    match (&parts[..], kind) {
        ([_], tar::EntryType::Directory) | ([], tar::EntryType::Directory) => Ok(None),
        ([id, name], tar::EntryType::Regular) => {
            let id = id
                .parse()
                .map_err(|error| wrong(format!("it holds {shown}: {error}")))?;
            Ok(Some((id, (*name).to_owned())))
        }
        _ => Err(wrong(format!("it holds {shown}, which is not part of a backup"))),
    }
}

fn parse<R: Read>(entry: &mut tar::Entry<'_, R>, id: &BackupId) -> Result<(Manifest, Sha256), StoreError> {
    if entry.size() > MAX_MANIFEST {
        return Err(wrong(format!("its {MANIFEST} claims {} bytes", entry.size())));
    }
    let mut hashing = Hashing {
        inner: entry,
        hasher: sha2::Sha256::new(),
    };
    let mut buffered = io::BufReader::new(&mut hashing);
    let manifest: Manifest = serde_json::from_reader(&mut buffered)
        .map_err(|error| wrong(format!("its {MANIFEST} cannot be read: {error}")))?;
    // The line's end after it.
    io::copy(&mut buffered, &mut io::sink()).map_err(|error| unreadable(&error))?;
    document::check(&manifest, id).map_err(|why| wrong(format!("its {MANIFEST}: {why}")))?;
    Ok((manifest, Sha256(hashing.hasher.finalize().into())))
}

/// Hashes what is read through it.
struct Hashing<'a, R> {
    inner: &'a mut R,
    hasher: sha2::Sha256,
}

impl<R: Read> Read for Hashing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

fn check_sums<R: Read>(entry: &mut R, manifest: Option<Sha256>) -> Result<(), StoreError> {
    let mut text = String::new();
    entry
        .take(MAX_SUMS)
        .read_to_string(&mut text)
        .map_err(|error| unreadable(&error))?;
    let listed = text
        .lines()
        .find_map(|line| line.strip_suffix(MANIFEST)?.split_whitespace().next());
    match (listed, manifest) {
        // Backups of before the manifest was listed there have nothing to say of it.
        (Some(listed), Some(manifest)) if listed != manifest.to_string() => Err(wrong(format!(
            "its {MANIFEST} is not what its {SUMS} says: one of them is damaged"
        ))),
        _ => Ok(()),
    }
}

fn receive<R: Read>(
    runtime: &Handle,
    writer: &dyn BackupWriter,
    name: &str,
    entry: &mut tar::Entry<'_, R>,
) -> Result<(), StoreError> {
    let size = entry.size();
    let mut file = runtime.block_on(writer.create(name))?;
    let mut received = 0;
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        let read = entry
            .take(CHUNK as u64)
            .read_to_end(&mut chunk)
            .map_err(|error| unreadable(&error))?;
        if read == 0 {
            break;
        }
        received += read as u64;
        runtime.block_on(file.write(Bytes::from(chunk)))?;
    }
    if received != size {
        return Err(wrong(format!(
            "it is cut short: of {name} {received} of {size} bytes are there"
        )));
    }
    runtime.block_on(file.finish())?;
    Ok(())
}

/// Writes into a file that takes its name only when it is whole.
///
/// # Errors
/// The file is there already and `force` is not given; it cannot be written.
pub async fn export_to_file(store: &DirStore, id: &BackupId, path: &Path, force: bool) -> Result<Manifest, StoreError> {
    if !force && fs::symlink_metadata(path).is_ok() {
        return Err(StoreError::Taken(path.display().to_string()));
    }
    let mut temp = path.as_os_str().to_owned();
    temp.push(".unfinished");
    let temp = std::path::PathBuf::from(temp);
    let file = File::create(&temp).map_err(failed("create", &temp))?;
    let kept = file.try_clone().map_err(failed("create", &temp))?;
    let exported = export(store, id, Box::new(io::BufWriter::with_capacity(CHUNK, file))).await;
    let finished = exported.and_then(|manifest| {
        kept.sync_all().map_err(failed("write", &temp))?;
        fs::rename(&temp, path).map_err(failed("create", path))?;
        Ok(manifest)
    });
    if finished.is_err() {
        fs::remove_file(&temp).ok();
    }
    finished
}
