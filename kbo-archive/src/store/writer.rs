//! A backup being written, from its empty folder to the commit record.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Write as _;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use kbo_core::ids::BackupId;
use kbo_core::manifest::{BackupKind, Manifest, Sha256};
use kbo_core::ports::store::{ArchiveWriter, BackupWriter, Pin, StoreError, Stored};
use sha2::Digest;

use super::archive::{self, FileWriter};
use super::document::{self, MANIFEST, MANIFEST_TEMP, PIN, PIN_TEMP, SUMS, archive_name_problem};
use super::durable::{
    blocking, create_new, ensure_dir, format, io as failed, make_dir, open_or_create, remove_file, sync_dir, write_new,
};
use super::keep;
use super::layout::Layout;
use super::sweep::{CLAIM_OF_PINNED, discard};

/// A backup being written.
pub(super) struct DirWriter {
    shared: Arc<Shared>,
}

/// What the backup's archives know of it.
pub(super) struct Shared {
    layout: Layout,
    dir: PathBuf,
    id: BackupId,
    kind: BackupKind,
    /// Why it is pinned, where it is to be.
    pin: Option<Pin>,
    state: Mutex<State>,
}

struct State {
    /// Archives begun, and as they arrived where they are finished.
    archives: BTreeMap<String, Option<Stored>>,
    phase: Phase,
    /// Locked for as long as this process may write, so that no sweep takes the folder for a dead run's.
    claim: Option<File>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Writing,
    /// Its manifest is in place, and does not count yet.
    Published,
    Committed,
    Abandoned,
}

/// Begins a backup: its claim, then its folder. One that is to be pinned is written where pinned ones are: it is never to be seen
/// where a rotation looks.
pub(super) fn begin(
    layout: &Layout,
    id: &BackupId,
    kind: BackupKind,
    pin: Option<Pin>,
) -> Result<DirWriter, StoreError> {
    layout.ensure()?;
    let _alone = layout.hold()?;
    let dir = match pin {
        None => layout.new_backup(kind, id),
        Some(_) => layout.backup_in(kind, "pinned", id),
    };
    // An id names one backup, whatever its kind: `restore ID` must not have to guess.
    if layout.scan()?.iter().any(|found| &found.id == id && !found.trash) {
        return Err(StoreError::Taken(id.to_string()));
    }
    let claim_path = layout.claim(id);
    let claim = open_or_create(&claim_path)?;
    match claim.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(StoreError::Taken(id.to_string())),
        Err(TryLockError::Error(error)) => return Err(failed("lock", &claim_path)(error)),
    }
    // Before the folder, and durable: as long as it is there and not empty, no manifest counts. One of a dead run may be there, and say
    // otherwise.
    write_claim(&claim, &claim_path, pin.is_some())?;
    if let Some(day) = dir.parent() {
        ensure_dir(day)?;
    }
    make_dir(&dir)?;
    // So that a person who moves a backup there moves it into it, not into its place.
    ensure_dir(&layout.pinned(kind))?;
    let state = State {
        archives: BTreeMap::new(),
        phase: Phase::Writing,
        claim: Some(claim),
    };
    let shared = Shared {
        layout: layout.clone(),
        dir,
        id: id.clone(),
        kind,
        pin,
        state: Mutex::new(state),
    };
    Ok(DirWriter {
        shared: Arc::new(shared),
    })
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is one assignment, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that an archive is whole and durable.
    pub(super) fn finished(&self, name: &str, stored: Stored) {
        self.state().archives.insert(name.to_owned(), Some(stored));
    }

    fn still_writing(&self) -> Result<(), StoreError> {
        match self.state().phase {
            Phase::Writing => Ok(()),
            Phase::Published => Err(format(&self.dir, "the backup is about to be committed")),
            Phase::Committed => Err(format(&self.dir, "the backup is committed already")),
            Phase::Abandoned => Err(format(&self.dir, "the backup was abandoned")),
        }
    }

    /// Ends the claim, durably: with it the manifest counts, where there is one.
    fn end(&self, phase: Phase) -> Result<(), StoreError> {
        let path = self.layout.claim(&self.id);
        remove_file(&path)?;
        if let Some(folder) = path.parent() {
            sync_dir(folder)?;
        }
        let mut state = self.state();
        state.phase = phase;
        state.claim = None;
        Ok(())
    }
}

#[async_trait]
impl BackupWriter for DirWriter {
    async fn create(&self, archive: &str) -> Result<Box<dyn ArchiveWriter>, StoreError> {
        self.shared.still_writing()?;
        let dir = self.shared.dir.clone();
        if let Some(why) = archive_name_problem(archive) {
            return Err(format(&dir, format!("`{archive}` is no name of an archive: {why}")));
        }
        match self.shared.state().archives.entry(archive.to_owned()) {
            Entry::Vacant(vacant) => vacant.insert(None),
            Entry::Occupied(_) => {
                return Err(failed("create", &dir.join(archive))(
                    io::ErrorKind::AlreadyExists.into(),
                ));
            }
        };
        let name = archive.to_owned();
        let (path, file) = blocking(move || archive::create(&dir, &name)).await?;
        let writer = FileWriter::start(archive.to_owned(), path, file, Arc::clone(&self.shared))?;
        Ok(Box::new(writer))
    }

    async fn commit(&self, manifest: &Manifest) -> Result<(), StoreError> {
        self.publish(manifest).await?;
        self.confirm().await
    }

    async fn abandon(&self) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            match shared.state().phase {
                Phase::Writing | Phase::Published => {}
                Phase::Abandoned => return Ok(()),
                Phase::Committed => return Err(format(&shared.dir, "a committed backup is not abandoned")),
            }
            let _alone = shared.layout.hold()?;
            discard(&shared.dir, &shared.id)?;
            // One that stays behind is dead and goes with the next sweep.
            shared.end(Phase::Abandoned).unwrap_or_else(|error| {
                tracing::warn!(%error, "a claim stays behind");
                shared.state().phase = Phase::Abandoned;
            });
            Ok(())
        })
        .await
    }
}

impl DirWriter {
    /// Commits a manifest, which has been checked, in the very bytes that it came in.
    pub(super) async fn commit_as(&self, manifest: &Manifest, text: Vec<u8>) -> Result<(), StoreError> {
        self.shared.still_writing()?;
        self.publish_written(manifest, |to| to.write_all(&text)).await?;
        self.confirm().await
    }

    /// Puts the manifest in its place, where it counts as soon as it is confirmed.
    pub(super) async fn publish(&self, manifest: &Manifest) -> Result<(), StoreError> {
        self.shared.still_writing()?;
        let path = self.shared.dir.join(MANIFEST);
        document::check(manifest, &self.shared.id).map_err(|why| format(&path, why))?;
        // Written here and not where it may block, because that would need a second copy of a document of many megabytes.
        // It goes to the page cache only, and by now nothing else is under way.
        self.publish_written(manifest, |to| document::write(manifest, to)).await
    }

    /// Makes the backup exist, whose manifest is in its place.
    pub(super) async fn confirm(&self) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            if shared.state().phase != Phase::Published {
                return Err(format(
                    &shared.dir,
                    "the backup has no manifest that could be confirmed",
                ));
            }
            let confirmed = shared.end(Phase::Committed);
            if confirmed.is_err() {
                // It may or may not survive a power cut: then it must not be seen now, either.
                let _ = fs::rename(shared.dir.join(MANIFEST), shared.dir.join(MANIFEST_TEMP));
                shared.state().phase = Phase::Writing;
            }
            confirmed
        })
        .await
    }

    async fn publish_written(
        &self,
        manifest: &Manifest,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        let path = self.shared.dir.join(MANIFEST);
        self.agrees(manifest).map_err(|why| format(&path, why))?;
        let (file, sha256) = write_temp(write, &self.shared.dir.join(MANIFEST_TEMP))?;
        let shared = Arc::clone(&self.shared);
        let sums = sums(manifest, sha256);
        blocking(move || {
            write_sums(&shared, &sums)?;
            publish(&shared, &file)
        })
        .await
    }

    /// Whether the manifest is of this backup's kind and tells of its archives what arrived.
    fn agrees(&self, manifest: &Manifest) -> Result<(), String> {
        if manifest.kind != self.shared.kind {
            return Err(format!(
                "the backup was begun as {}, the manifest says {}",
                self.shared.kind, manifest.kind
            ));
        }
        let state = self.shared.state();
        for record in &manifest.archives {
            let name = &record.name;
            let stored = match state.archives.get(name) {
                Some(Some(stored)) => stored,
                Some(None) => return Err(format!("archive `{name}` was not finished")),
                None => return Err(format!("archive `{name}` was never written")),
            };
            if (stored.size, stored.sha256) != (record.size, record.sha256) {
                return Err(format!(
                    "archive `{name}` arrived as {} bytes with sha256 {}, the manifest says {} bytes and {}",
                    stored.size, stored.sha256, record.size, record.sha256
                ));
            }
        }
        let named = |name: &String| manifest.archives.iter().any(|record| &record.name == name);
        match state.archives.keys().find(|name| !named(name)) {
            Some(name) => Err(format!(
                "archive `{name}` was written, but the manifest does not name it"
            )),
            None => Ok(()),
        }
    }
}

/// The checksums of the archives and of the manifest itself, for `sha256sum -c`.
fn sums(manifest: &Manifest, of_manifest: Sha256) -> String {
    let archives = manifest
        .archives
        .iter()
        .map(|archive| (archive.sha256, archive.name.as_str()));
    archives
        .chain([(of_manifest, MANIFEST)])
        .fold(String::new(), |mut text, (sha256, name)| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{sha256}  {name}");
            text
        })
}

fn write_sums(shared: &Shared, sums: &str) -> Result<(), StoreError> {
    nothing_else(shared)?;
    if let Some(pin) = &shared.pin {
        keep::write(&shared.dir, pin)?;
    }
    let path = shared.dir.join(SUMS);
    remove_file(&path)?;
    write_new(&path, sums.as_bytes())?;
    // All that the commit record speaks of must be durable before it is.
    sync_dir(&shared.dir)
}

/// Refuses to commit a folder that holds files nobody accounts for.
fn nothing_else(shared: &Shared) -> Result<(), StoreError> {
    let read = failed("read", &shared.dir);
    let names: Vec<_> = fs::read_dir(&shared.dir)
        .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>())
        .map_err(read)?;
    let state = shared.state();
    for name in names {
        let known = name.to_str().is_some_and(|name| {
            // The others are of an earlier attempt to commit, which found no room.
            let is_of_pin = shared.pin.is_some() && (name == PIN || name == PIN_TEMP);
            state.archives.contains_key(name) || name == SUMS || name == MANIFEST_TEMP || is_of_pin
        });
        if !known {
            return Err(format(
                &shared.dir.join(name),
                "it is in the backup's folder, but no archive of it",
            ));
        }
    }
    Ok(())
}

fn write_temp(write: impl FnOnce(&mut dyn Write) -> io::Result<()>, temp: &Path) -> Result<(File, Sha256), StoreError> {
    remove_file(temp)?;
    let hashed = Hashed {
        file: create_new(temp)?,
        hasher: sha2::Sha256::new(),
    };
    let mut buffer = BufWriter::with_capacity(256 * 1024, hashed);
    write(&mut buffer)
        .and_then(|()| buffer.flush())
        .map_err(failed("write", temp))?;
    let Hashed { file, hasher } = buffer
        .into_inner()
        .map_err(|error| failed("write", temp)(error.into_error()))?;
    Ok((file, Sha256(hasher.finalize().into())))
}

/// A file, and the hash of what went into it.
struct Hashed {
    file: File,
    hasher: sha2::Sha256,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// What the claim says: whoever finds it beside a manifest knows that nobody has confirmed that. (Those of kbo 0.1.0 are empty, and a
/// manifest counted from its rename on.)
const CLAIMED: &[u8] = b"no backup until this file is gone: see docs/ARCHITECTURE.md\n";

fn write_claim(claim: &File, path: &Path, is_pinned: bool) -> Result<(), StoreError> {
    let says = if is_pinned { CLAIM_OF_PINNED } else { CLAIMED };
    let written = claim.set_len(0).and_then(|()| claim.write_all_at(says, 0));
    written.and_then(|()| claim.sync_all()).map_err(failed("write", path))?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// The manifest's rename. The claim keeps it from counting.
fn publish(shared: &Shared, temp_file: &File) -> Result<(), StoreError> {
    let (temp, path) = (shared.dir.join(MANIFEST_TEMP), shared.dir.join(MANIFEST));
    temp_file.sync_all().map_err(failed("write", &temp))?;
    fs::rename(&temp, &path).map_err(failed("commit", &path))?;
    if let Err(error) = sync_dir(&shared.dir) {
        // It may or may not survive a power cut: then it must not be seen now, either.
        let _ = fs::rename(&path, &temp);
        return Err(error);
    }
    shared.state().phase = Phase::Published;
    Ok(())
}
