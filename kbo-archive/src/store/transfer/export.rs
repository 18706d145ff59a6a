//! From the store into a file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use kbo_core::ids::BackupId;
use kbo_core::manifest::{ArchiveRecord, Manifest, Sha256};
use kbo_core::ports::store::StoreError;
use sha2::Digest;

use super::unpack::MAX_MANIFEST;
use super::{CHUNK, Transfer, fits};
use crate::store::DirStore;
use crate::store::document::{self, MANIFEST, SUMS};
use crate::store::durable::{blocking, create_new, format, io as failed, remove_file, sync_dir};
use crate::store::layout::Layout;
use crate::store::reading::{self, Reading};
use crate::tarfmt::{BLOCK, Item, ItemKind, padding};

/// Writes a backup as a tar. Every byte is compared with the manifest on its way.
///
/// # Errors
/// The backup is not there or damaged; the output cannot be written. What was written so far is of no use then.
pub async fn export(
    store: &DirStore,
    id: &BackupId,
    mut to: Box<dyn Write + Send>,
    transfer: &Transfer,
) -> Result<Manifest, StoreError> {
    let (layout, id, transfer) = (store.layout.clone(), id.clone(), transfer.clone());
    blocking(move || {
        let source = Source::open(&layout, &id)?;
        source.write(to.as_mut(), Path::new("standard output"), &transfer)?;
        Ok(source.manifest)
    })
    .await
}

/// The same into a file that takes its name only when it is whole, and that only its owner may read, as in the store. What is no
/// regular file, such as a tape or a pipe, is written as it is.
///
/// # Errors
/// As those of [`export`]; [`StoreError::Taken`] where the file is there already and `force` is not given.
pub async fn export_to_file(
    store: &DirStore,
    id: &BackupId,
    path: &Path,
    force: bool,
    transfer: &Transfer,
) -> Result<Manifest, StoreError> {
    let (layout, id, path) = (store.layout.clone(), id.clone(), path.to_owned());
    let transfer = transfer.clone();
    blocking(move || {
        let source = Source::open(&layout, &id)?;
        match fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => return Err(failed("write", &path)(io::ErrorKind::IsADirectory.into())),
            Ok(_) if !force => return Err(StoreError::Taken(path.display().to_string())),
            Ok(meta) if !meta.is_file() => {
                let mut file = OpenOptions::new()
                    .write(true)
                    .open(&path)
                    .map_err(failed("open", &path))?;
                source.write(&mut file, &path, &transfer)?;
            }
            _ => source.write_anew(&path, force, &transfer)?,
        }
        Ok(source.manifest)
    })
    .await
}

/// A backup, opened: no rotation takes it away, and a pin that moves its folder does not matter.
struct Source {
    manifest: Manifest,
    files: Vec<Opened>,
    _reading: Reading,
}

struct Opened {
    name: String,
    path: PathBuf,
    file: File,
    size: u64,
}

/// The manifest, judged as an import judges it: what that would refuse is better known now than on the day it is needed.
fn importable(dir: &Path, id: &BackupId) -> Result<Manifest, StoreError> {
    let path = dir.join(MANIFEST);
    let size = fs::metadata(&path).map_err(failed("look at", &path))?.len();
    if size > MAX_MANIFEST {
        let why = format!(
            "it has {size} bytes, and kbo import takes no more than {MAX_MANIFEST}: copy the backup's folder instead"
        );
        return Err(format(&path, why));
    }
    let mut manifest = document::read(dir, id).map_err(|error| match error {
        StoreError::Format { path, why } => StoreError::Format {
            path,
            why: format!("the backup is damaged: {why}"),
        },
        error => error,
    })?;
    // They may be nearly all of it, and are not needed any more.
    manifest.archives.iter_mut().for_each(|archive| archive.files = vec![]);
    Ok(manifest)
}

impl Source {
    /// Opens every file before anything is written: what is missing or has another size is better known now.
    fn open(layout: &Layout, id: &BackupId) -> Result<Self, StoreError> {
        let reading = reading::hold(layout, id)?;
        let dir = &reading.found.dir;
        let manifest = importable(dir, id)?;
        let names = [MANIFEST, SUMS].into_iter();
        let names = names.chain(manifest.archives.iter().map(|archive| archive.name.as_str()));
        let open = |name: &str| {
            let path = dir.join(name);
            let file = crate::regular::open(&path).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => format(&path, "the backup is damaged: it is missing"),
                _ => failed("open", &path)(error),
            })?;
            let size = file.metadata().map_err(failed("look at", &path))?.len();
            Ok(Opened {
                name: name.to_owned(),
                size,
                path,
                file,
            })
        };
        let files = names.map(open).collect::<Result<Vec<_>, StoreError>>()?;
        for archive in &manifest.archives {
            let found = files.iter().find(|file| file.name == archive.name);
            if let Some(file) = found.filter(|file| file.size != archive.size) {
                let why = format!(
                    "the backup is damaged: it has {} bytes, its manifest says {}",
                    file.size, archive.size
                );
                return Err(format(&file.path, why));
            }
        }
        Ok(Self {
            manifest,
            files,
            _reading: reading,
        })
    }

    /// How long the tar is.
    fn length(&self) -> u64 {
        let entry = |file: &Opened| BLOCK as u64 + file.size + padding(file.size) as u64;
        self.files.iter().map(entry).sum::<u64>() + 3 * BLOCK as u64
    }

    fn write_anew(&self, path: &Path, force: bool, transfer: &Transfer) -> Result<(), StoreError> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        if !folder.is_dir() {
            return Err(failed("find the folder", folder)(io::ErrorKind::NotFound.into()));
        }
        fits(folder, self.length())?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temp = folder.join(format!(".{name}.{}.unfinished", std::process::id()));
        remove_file(&temp)?;
        let mut file = create_new(&temp)?;
        let written = self.write(&mut file, &temp, transfer).and_then(|()| {
            file.sync_all().map_err(failed("write", &temp))?;
            // Somebody may have made one meanwhile.
            if !force && fs::symlink_metadata(path).is_ok() {
                return Err(StoreError::Taken(path.display().to_string()));
            }
            fs::rename(&temp, path).map_err(failed("create", path))?;
            sync_dir(folder)
        });
        if written.is_err() {
            remove_file(&temp)?;
        }
        written
    }

    fn write(&self, to: &mut dyn Write, label: &Path, transfer: &Transfer) -> Result<(), StoreError> {
        let id = &self.manifest.id;
        // One time for all, in whole seconds: the same backup is the same file whenever it is exported.
        let at = Timestamp::from_second(self.manifest.committed.as_second()).unwrap_or(self.manifest.committed);
        let header = |path: String, kind: ItemKind, mode: u32| {
            let (uid, gid, mtime) = (0, 0, at);
            Item {
                path,
                kind,
                mode,
                uid,
                gid,
                mtime,
            }
            .header()
        };
        let mut put = |bytes: &[u8]| to.write_all(bytes).map_err(failed("write", label));
        put(&header(id.to_string(), ItemKind::Dir, 0o755))?;
        for file in &self.files {
            let size = file.size;
            put(&header(format!("{id}/{}", file.name), ItemKind::File { size }, 0o644))?;
            let record = self.manifest.archives.iter().find(|archive| archive.name == file.name);
            let sha256 = copy(file, record, transfer, &mut put)?;
            if record.is_some_and(|record| record.sha256 != sha256) {
                return Err(format(
                    &file.path,
                    "the backup is damaged: the archive is not what the manifest says (kbo verify names its files)",
                ));
            }
            put(&[0; BLOCK][..padding(size)])?;
        }
        put(&[0; 2 * BLOCK])?;
        to.flush().map_err(failed("write", label))
    }
}

/// Copies exactly so many bytes as the header promised, and hashes them.
fn copy(
    from: &Opened,
    record: Option<&ArchiveRecord>,
    transfer: &Transfer,
    put: &mut dyn FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<Sha256, StoreError> {
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut done = 0;
    while done < from.size {
        transfer.unless_interrupted()?;
        let most = usize::try_from(from.size - done).unwrap_or(CHUNK).min(CHUNK);
        let read = (&from.file)
            .read(&mut buffer[..most])
            .map_err(failed("read", &from.path))?;
        if read == 0 {
            return Err(format(&from.path, "it became shorter while it was read"));
        }
        hasher.update(&buffer[..read]);
        put(&buffer[..read])?;
        done += read as u64;
        if let Some(record) = record {
            transfer.moved(record, done);
        }
    }
    Ok(Sha256(hasher.finalize().into()))
}
