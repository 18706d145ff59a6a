//! Unpacking an archive beside the live directories, verified byte by byte, ready to be swapped in.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use kbo_core::ids::RunId;
use kbo_core::manifest::{DirRecord, FileKind, FileRecord};
use kbo_core::ports::node::{StageReport, StageRequest};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use serde::{Deserialize, Serialize};

use crate::error::{At, Error};
use crate::kept;
use crate::reader::{self, Expected, Handler};
use crate::records;
use crate::swap;
use crate::work::{self, DirSpec, Place};

/// Says that a directory is staged completely, and which it is; written last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Staged {
    pub(crate) run: RunId,
    pub(crate) label: String,
    /// Inode of the staged directory: wherever it is found after a rename, it is this one.
    pub(crate) ino: u64,
    /// Where it stands beside the directory, for one that an earlier run replaced and kept; else it stands in the work folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kept_as: Option<String>,
}

impl Staged {
    /// Where a directory is unpacked, to be staged.
    pub(crate) fn dir(place: &Place, run: &RunId) -> PathBuf {
        place.folder(run).join("stage")
    }

    /// Where the staged directory stands before the swap, and the replaced one after it.
    pub(crate) fn stands(&self, place: &Place) -> PathBuf {
        match &self.kept_as {
            Some(name) => place.parent.join(name),
            None => Self::dir(place, &self.run),
        }
    }

    fn marker(place: &Place, run: &RunId) -> PathBuf {
        place.folder(run).join("stage.json")
    }

    /// What was staged, if staging was completed.
    pub(crate) fn read(place: &Place, run: &RunId) -> Result<Option<Self>, Error> {
        let path = Self::marker(place, run);
        let bytes = match crate::regular::open(&path).and_then(|mut file| {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut bytes).map(|_| bytes)
        }) {
            Ok(bytes) => bytes,
            Err(error) if work::is_gone(&error) => return Ok(None),
            Err(error) => return Err(error).at("read", &path),
        };
        let damaged = |why: String| Error::Damaged(format!("{} is damaged: {why}", path.display()));
        let staged: Self = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        // It is renamed over what is live: nothing but what kbo itself named so.
        let stray = staged
            .kept_as
            .as_ref()
            .filter(|name| kept::parse(place, name).is_none());
        if let Some(name) = stray {
            return Err(damaged(format!("{name:?} is nothing that kbo keeps")));
        }
        Ok(Some(staged))
    }

    fn write(&self, place: &Place) -> Result<(), Error> {
        let path = Self::marker(place, &self.run);
        let temporary = path.with_extension("tmp");
        let write = || -> io::Result<()> {
            let mut file = File::create(&temporary)?;
            serde_json::to_writer(&mut file, self)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        };
        write().at("write", &path)
    }

    /// Whether this is the staged directory, of the two that stand in the live place and in the stage. Those share a filesystem, so
    /// the inode tells; the device's number is not the same after a reboot on every filesystem.
    pub(crate) fn is(&self, meta: &fs::Metadata) -> bool {
        meta.ino() == self.ino
    }
}

/// Unpacks an archive into the run's work folders beside `dirs` (the targets, in the order of `request.dirs`) and verifies it: the
/// archive's hash, each entry against its record, nothing missing, nothing else. The live directories are not touched.
/// An earlier staging of the same run is replaced.
///
/// `progress` is told how many decompressed bytes have gone through so far; `cancel` is asked now and then.
///
/// # Errors
/// [`Error::Damaged`] where the archive is not as recorded or the records lead elsewhere, [`Error::State`] where the targets do
/// not fit or the run has swapped already; those of the source and of writing. After an error nothing is staged.
pub fn unpack(
    request: &StageRequest,
    dirs: &[DirSpec],
    source: &mut dyn Read,
    progress: &dyn Fn(u64),
    cancel: &dyn Fn() -> bool,
) -> Result<StageReport, Error> {
    records::check(&request.dirs, &request.files)?;
    if dirs.len() != request.dirs.len() {
        return Err(Error::State {
            what: format!(
                "the backup holds {} directories, {} are configured here",
                request.dirs.len(),
                dirs.len()
            ),
            hint: Some("configure as many directories as the backup holds, in the same order"),
        });
    }
    work::check_apart(dirs)?;
    let places = dirs.iter().map(Place::of).collect::<Result<Vec<_>, _>>()?;
    for place in &places {
        refuse_swapped(place, &request.run)?;
        swap::refuse_irreplaceable(place)?;
    }
    let staged = stage_all(request, &places, source, progress, cancel);
    if staged.is_err() {
        for place in &places {
            if let Err(error) = unstage(place, &request.run) {
                tracing::warn!(%error, "remains of a failed staging could not be removed");
            }
        }
    }
    staged
}

/// Makes empty directories beside the live ones, for a program that is about to fill them; [`seal`] declares them staged. A live
/// directory that holds something gives owner and mode, otherwise `owner` (user, group) does.
///
/// # Errors
/// As those of [`unpack`].
pub fn fresh(run: &RunId, dirs: &[DirSpec], owner: (u32, u32)) -> Result<Vec<PathBuf>, Error> {
    work::check_apart(dirs)?;
    let places = dirs.iter().map(Place::of).collect::<Result<Vec<_>, _>>()?;
    let mut made = Vec::new();
    for place in &places {
        refuse_swapped(place, run)?;
        swap::refuse_irreplaceable(place)?;
        unstage(place, run)?;
        create_parents(&place.parent)?;
        swap::probe(&place.create(run)?)?;
        let path = Staged::dir(place, run);
        work::create_all(&path)?;
        let is_filled = fs::read_dir(&place.live).is_ok_and(|mut entries| entries.next().is_some());
        let (uid, gid, mode) = match fs::symlink_metadata(&place.live) {
            Ok(live) if is_filled => (live.uid(), live.gid(), live.mode() & 0o7777),
            _ => (owner.0, owner.1, 0o755),
        };
        std::os::unix::fs::chown(&path, Some(uid), Some(gid)).at("give the owner of", &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).at("set the mode of", &path)?;
        made.push(path);
    }
    Ok(made)
}

/// Declares the directories that [`fresh`] has made staged, ready to be swapped in.
///
/// # Errors
/// Those of looking at them and of writing.
pub fn seal(run: &RunId, dirs: &[DirSpec]) -> Result<(), Error> {
    for spec in dirs {
        let place = Place::of(spec)?;
        let path = Staged::dir(&place, run);
        let root = File::open(&path).at("open", &path)?;
        rustix::fs::syncfs(&root).at("sync", &path)?;
        declare(&place, run, &spec.label)?;
    }
    Ok(())
}

fn declare(place: &Place, run: &RunId, label: &str) -> Result<(), Error> {
    let path = Staged::dir(place, run);
    let meta = fs::symlink_metadata(&path).at("look at", &path)?;
    Staged {
        run: run.clone(),
        label: label.to_owned(),
        ino: meta.ino(),
        kept_as: None,
    }
    .write(place)?;
    place.sync(run)
}

/// Declares a directory staged that an earlier run kept beside the live one.
pub(crate) fn declare_kept(place: &Place, run: &RunId, label: &str, kept: &Path) -> Result<(), Error> {
    let meta = fs::symlink_metadata(kept).at("look at", kept)?;
    Staged {
        run: run.clone(),
        label: label.to_owned(),
        ino: meta.ino(),
        kept_as: kept.file_name().and_then(|name| name.to_str()).map(str::to_owned),
    }
    .write(place)?;
    place.sync(run)
}

/// After a swap the work folder holds the replaced data: staging again would delete it.
fn refuse_swapped(place: &Place, run: &RunId) -> Result<(), Error> {
    match (Staged::read(place, run)?, fs::symlink_metadata(&place.live)) {
        (Some(staged), Ok(live)) if staged.is(&live) => Err(Error::state(format!(
            "{} has been swapped in by run {run} already",
            place.live.display()
        ))),
        _ => Ok(()),
    }
}

fn stage_all(
    request: &StageRequest,
    places: &[Place],
    source: &mut dyn Read,
    progress: &dyn Fn(u64),
    cancel: &dyn Fn() -> bool,
) -> Result<StageReport, Error> {
    let mut roots = Vec::new();
    for place in places {
        unstage(place, &request.run)?;
        create_parents(&place.parent)?;
        swap::probe(&place.create(&request.run)?)?;
        let path = Staged::dir(place, &request.run);
        work::create_all(&path)?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&path, flags, Mode::empty()).at("open", &path)?;
        roots.push(Root { path, fd });
    }
    let mut unpacker = Unpacker {
        dirs: &request.dirs,
        roots,
        current: None,
        report: StageReport { files: 0, bytes: 0 },
    };
    let expected = Expected {
        sha256: request.sha256,
        size: None,
        files: &request.files,
    };
    reader::read(&expected, source, &mut unpacker, reader::Mode::Strict, progress, cancel)?;

    // Everything is there and verified. Links last, so that nothing was ever written through one; directories' times after
    // everything that changes them.
    unpacker.finish(&request.files)?;
    for root in &unpacker.roots {
        // One flush of the filesystem, not one per file.
        rustix::fs::syncfs(&root.fd).at("sync", &root.path)?;
    }
    for (place, dir) in places.iter().zip(&request.dirs) {
        declare(place, &request.run, &dir.path)?;
    }
    Ok(unpacker.report)
}

/// Removes what an earlier staging has left; the marker first.
fn unstage(place: &Place, run: &RunId) -> Result<(), Error> {
    let (marker, dir) = (Staged::marker(place, run), Staged::dir(place, run));
    for (path, removed) in [(&marker, fs::remove_file(&marker)), (&dir, fs::remove_dir_all(&dir))] {
        match removed {
            Err(error) if !work::is_gone(&error) => return Err(error).at("remove", path),
            _ => {}
        }
    }
    fs::remove_dir(place.folder(run)).ok();
    place.prune(Some(run));
    Ok(())
}

/// On a fresh machine the directory that is to hold the target may be missing. Unlike the work folder, it stays.
fn create_parents(parent: &Path) -> Result<(), Error> {
    fs::create_dir_all(parent).at("create", parent)
}

struct Root {
    path: PathBuf,
    fd: OwnedFd,
}

/// Writes entries below the roots: by descriptors, never over anything, never through a link (there are none yet, and the
/// folder is this user's alone).
struct Unpacker<'a> {
    dirs: &'a [DirRecord],
    roots: Vec<Root>,
    current: Option<(File, PathBuf)>,
    report: StageReport,
}

impl Unpacker<'_> {
    fn target<'r>(&self, record: &'r FileRecord) -> Result<(&Root, &'r str), Error> {
        let found = records::locate(self.dirs, &record.path);
        let root = found.and_then(|(index, path)| self.roots.get(index).map(|root| (root, path)));
        root.ok_or_else(|| Error::Damaged(format!("`{}` belongs to no directory", record.path)))
    }

    fn finish(&self, files: &[FileRecord]) -> Result<(), Error> {
        for record in files {
            let FileKind::Symlink { target } = &record.kind else {
                continue;
            };
            let (root, path) = self.target(record)?;
            let full = root.path.join(path);
            rustix::fs::symlinkat(target.as_str(), &root.fd, path).at("link", &full)?;
            let owner = (Uid::from_raw(record.uid), Gid::from_raw(record.gid));
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::chownat(&root.fd, path, Some(owner.0), Some(owner.1), flags).at("give the owner of", &full)?;
            rustix::fs::utimensat(&root.fd, path, &times(record.mtime), flags).at("set the time of", &full)?;
        }
        // Children before their parents: a directory may not be writable any more, once it has its mode.
        for record in files.iter().rev().filter(|record| record.kind == FileKind::Dir) {
            let (root, path) = self.target(record)?;
            let full = root.path.join(path);
            let path = if path.is_empty() { "." } else { path };
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let dir = rustix::fs::openat(&root.fd, path, flags, Mode::empty()).at("open", &full)?;
            give(&dir, record, &full)?;
        }
        Ok(())
    }
}

impl Handler for Unpacker<'_> {
    fn begin(&mut self, record: &FileRecord) -> Result<(), Error> {
        let (root, path) = self.target(record)?;
        let full = root.path.join(path);
        match &record.kind {
            FileKind::Dir if path.is_empty() => Ok(()),
            FileKind::Dir => rustix::fs::mkdirat(&root.fd, path, Mode::RWXU).at("create", &full),
            FileKind::Symlink { .. } => Ok(()),
            FileKind::File { .. } => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd = rustix::fs::openat(&root.fd, path, flags, Mode::RUSR | Mode::WUSR).at("create", &full)?;
                self.current = Some((File::from(fd), full));
                Ok(())
            }
        }
    }

    fn content(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let Some((file, path)) = &mut self.current else {
            return Ok(());
        };
        self.report.bytes += bytes.len() as u64;
        file.write_all(bytes).at("write", path)
    }

    fn end(&mut self, record: &FileRecord) -> Result<(), Error> {
        let Some((file, path)) = self.current.take() else {
            return Ok(());
        };
        self.report.files += 1;
        give(&file, record, &path)
    }
}

/// Owner, then mode (a change of owner clears setuid), then time.
fn give(fd: impl rustix::fd::AsFd, record: &FileRecord, path: &Path) -> Result<(), Error> {
    let now = rustix::fs::fstat(&fd).at("look at", path)?;
    if (now.st_uid, now.st_gid) != (record.uid, record.gid) {
        let owner = (Uid::from_raw(record.uid), Gid::from_raw(record.gid));
        rustix::fs::fchown(&fd, Some(owner.0), Some(owner.1)).at("give the owner of", path)?;
    }
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(record.mode)).at("set the mode of", path)?;
    rustix::fs::futimens(&fd, &times(record.mtime)).at("set the time of", path)
}

fn times(mtime: Timestamp) -> Timestamps {
    let nanos = mtime.as_nanosecond();
    // Both are within range: a Timestamp's seconds fit an i64, and the rest is below 10^9.
    let tv_sec = i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or(0);
    let tv_nsec = i64::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or(0);
    let at = Timespec { tv_sec, tv_nsec };
    Timestamps {
        last_access: at,
        last_modification: at,
    }
}
