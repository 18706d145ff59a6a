//! Kafka's lock on a log dir: a POSIX (fcntl) lock on the file `.lock` (`FileLock`, by Java's `FileChannel.tryLock`).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{AtFlags, FlockOperation, Gid, OFlags, Uid, fchown, fcntl_lock, unlinkat};
use rustix::io::Errno;
use rustix::process::{Flock, FlockType, fcntl_getlk};

use crate::error::{At, Error};

/// The file's name in a log dir.
pub(crate) const NAME: &str = ".lock";

/// The lock on a log dir, held: a broker started meanwhile gives up before it touches anything.
///
/// It is the process's, and ends when any descriptor of the file is closed: nothing else may open `.lock` while it is held.
#[derive(Debug)]
pub(crate) struct DirLock {
    path: PathBuf,
    /// The log dir, however it is named by now.
    dir: File,
    /// Whether the file was not there before; then it is removed again, and the log dir's own time set to what it was.
    created: Option<SystemTime>,
    file: File,
}

impl DirLock {
    /// Takes the lock. `Ok(None)` where this user cannot create the file with the log dir's owner: a `.lock` that the broker
    /// may not open is worse than none, as it makes the broker remove its clean marker.
    pub(crate) fn take(log_dir: &Path) -> Result<Option<Self>, Error> {
        let path = log_dir.join(NAME);
        let dir = File::open(log_dir).at("open", log_dir)?;
        let owner = dir.metadata().at("look at", log_dir)?;
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let (file, created) = match options.open(&path) {
            Ok(file) => (file, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = options.create_new(true).mode(0o644).open(&path).at("create", &path)?;
                (file, true)
            }
            Err(error) => return Err(error).at("open", &path),
        };
        let time = owner.modified().at("look at", log_dir)?;
        let lock = Self {
            path,
            dir,
            created: created.then_some(time),
            file,
        };
        lock.keep_time();
        let file = &lock.file;
        let meta = file.metadata().at("look at", &lock.path)?;
        let wanted = (owner.uid(), owner.gid());
        if created
            && (meta.uid(), meta.gid()) != wanted
            && let Err(error) = fchown(file, Some(Uid::from_raw(wanted.0)), Some(Gid::from_raw(wanted.1)))
        {
            tracing::debug!(path = %lock.path.display(), %error, "no lock: its file cannot have the log dir's owner");
            return Ok(None);
        }
        match fcntl_lock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(lock)),
            Err(Errno::ACCESS | Errno::AGAIN) => Err(Error::State {
                what: format!("a Kafka process holds the lock {}", lock.path.display()),
                hint: Some("something started Kafka on this directory: stop it, and see what starts it"),
            }),
            Err(error) => Err(error).at("lock", &lock.path),
        }
    }
}

impl DirLock {
    /// The log dir's modification time is part of a backup: making and removing a file in it must not show.
    fn keep_time(&self) {
        let Some(time) = self.created else { return };
        if let Err(error) = self.dir.set_modified(time) {
            tracing::debug!(path = %self.path.display(), %error, "the directory's time could not be kept");
        }
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        if self.created.is_none() {
            return;
        }
        // Unlinked while the lock is still held (it ends when the file is closed, after this): nobody can have got hold of the
        // file and believe to own the directory.
        if let Err(error) = unlinkat(&self.dir, NAME, AtFlags::empty()) {
            tracing::warn!(path = %self.path.display(), %error, "the lock file could not be removed");
        }
        self.keep_time();
    }
}

/// Whether some process holds the lock, asked without taking it: a Kafka that is just starting must not meet it. What cannot be
/// asked counts as not held.
pub(crate) fn is_locked(log_dir: &Path) -> bool {
    // A pipe in its place is not waited for.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(log_dir.join(NAME));
    let asked = |file: File| fcntl_getlk(&file, &Flock::from(FlockType::WriteLock)).ok().flatten();
    file.ok().and_then(asked).is_some()
}

/// Whether some process holds the lock. A file that nobody has locked is no lock: before 3.8 a clean stop leaves it.
pub(crate) fn is_held(log_dir: &Path) -> Result<bool, Error> {
    let path = log_dir.join(NAME);
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    let file = match OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open(&path)
    {
        Ok(file) => file,
        Err(error) if crate::work::is_gone(&error) => return Ok(false),
        Err(error) => return Err(error).at("open", &path),
    };
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(false),
        Err(Errno::ACCESS | Errno::AGAIN) => Ok(true),
        Err(error) => Err(error).at("lock", &path),
    }
}
