//! A directory held open: everything is done by names in it, so that nothing planted in a path leads elsewhere.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{self, AtFlags, CWD, Dir, FileType, FlockOperation, Gid, Mode, OFlags, RenameFlags, Stat, Uid};
use rustix::io::Errno;

use crate::error::{At, Error};

/// How long another one's work on the directory is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// How deep kbo's own folders nest, and some.
const MAX_DEPTH: usize = 8;
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK);

/// A directory held open.
#[derive(Debug)]
pub(super) struct Folder {
    fd: OwnedFd,
    /// As the operator knows it, for messages.
    label: PathBuf,
}

impl Folder {
    /// Opens a directory by its path; `None` where there is none. It may be a link to one.
    pub(super) fn open(path: &Path, label: &Path) -> Result<Option<Self>, Error> {
        match fs::openat(
            CWD,
            path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            Ok(fd) => Ok(Some(Self {
                fd,
                label: label.to_owned(),
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error).at("open", label),
        }
    }

    /// Makes a directory, mode 0750, with its owner, in one that is there.
    pub(super) fn make(path: &Path, label: &Path, owner: Option<(u32, u32)>) -> Result<Self, Error> {
        let (parent, name) = path
            .parent()
            .zip(path.file_name())
            .ok_or_else(|| Error::state(format!("{} cannot be made", label.display())))?;
        let above = label.parent().unwrap_or(label);
        let Some(parent) = Self::open(parent, above)? else {
            return Err(Error::State {
                what: format!("{} cannot be made: there is no {}", label.display(), above.display()),
                hint: Some("is the path right? Make the folder above it by hand if it is"),
            });
        };
        parent.strike("make", Path::new(name))?;
        fs::mkdirat(&parent.fd, name, Mode::RWXU).at("make", label)?;
        // By the handle and no link: who may rename in there must not choose what gets the owner.
        let fd = fs::openat(&parent.fd, name, READ | OFlags::DIRECTORY, Mode::empty()).at("open", label)?;
        let made = Self {
            fd,
            label: label.to_owned(),
        };
        let finished = made
            .own(&made.fd, owner, label)
            .and_then(|()| fs::fchmod(&made.fd, Mode::from_raw_mode(0o750)).at("set the mode of", label));
        if let Err(error) = finished {
            let _ = fs::unlinkat(&parent.fd, name, AtFlags::REMOVEDIR);
            return Err(error);
        }
        parent.sync()?;
        Ok(made)
    }

    pub(super) fn label(&self) -> &Path {
        &self.label
    }

    /// How messages name an entry.
    pub(super) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.label.join(name)
    }

    /// Keeps others of us away from the directory as long as the lock is held.
    pub(super) fn lock(&self) -> Result<Locked<'_>, Error> {
        let begin = Instant::now();
        loop {
            match fs::flock(&self.fd, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Locked(self)),
                Err(Errno::WOULDBLOCK | Errno::INTR) if begin.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(Errno::WOULDBLOCK) => {
                    return Err(Error::State {
                        what: format!("another kbo is at work in {}", self.label.display()),
                        hint: Some("wait until it is done and try again"),
                    });
                }
                // Filesystems of the network may lock no directories.
                Err(error @ (Errno::BADF | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NOLCK)) => {
                    tracing::warn!(dir = %self.label.display(), %error, "the directory cannot be locked: let no other kbo work in it now");
                    return Ok(Locked(self));
                }
                Err(error) => return Err(error).at("lock", &self.label),
            }
        }
    }

    /// What it is itself.
    pub(super) fn stat(&self) -> Result<Stat, Error> {
        fs::fstat(&self.fd).at("look at", &self.label)
    }

    /// What stands under a name; a link is not followed.
    pub(super) fn look(&self, name: &str) -> Result<Option<Stat>, Error> {
        match fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error).at("look at", self.path(name)),
        }
    }

    /// The inode under a name: wherever a file is found after a rename, it is this one.
    pub(super) fn ino(&self, name: &str) -> Result<Option<u64>, Error> {
        Ok(self.look(name)?.map(|stat| stat.st_ino))
    }

    /// The names in it, sorted, but for those that are no UTF-8: none of ours.
    pub(super) fn names(&self) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd).at("read", &self.label)? {
            let entry = entry.at("read", &self.label)?;
            match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        names.sort();
        Ok(names)
    }

    /// A folder in it; `None` where there is none. A link to one is none.
    pub(super) fn folder(&self, name: &str) -> Result<Option<Self>, Error> {
        let flags = READ | OFlags::DIRECTORY;
        match fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(Self {
                fd,
                label: self.path(name),
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => Err(Error::State {
                what: format!("{} is no folder", self.path(name).display()),
                hint: Some("it is not kbo's: see what it is, and move it away"),
            }),
            Err(error) => Err(error).at("open", self.path(name)),
        }
    }

    /// Makes a folder in it, for its owner alone.
    pub(super) fn make_folder(&self, name: &str) -> Result<Self, Error> {
        self.strike("make", Path::new(name))?;
        fs::mkdirat(&self.fd, name, Mode::RWXU).at("make", self.path(name))?;
        self.folder(name)?
            .ok_or_else(|| Error::state(format!("{} vanished", self.path(name).display())))
    }

    /// Writes a new file; its owner and mode are set only when it is complete, and until then it is for us alone.
    pub(super) fn write(&self, name: &str, bytes: &[u8], owner: Option<(u32, u32)>, mode: u32) -> Result<(), Error> {
        let path = self.path(name);
        self.strike("write", Path::new(name))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR).at("create", &path)?;
        let mut file = File::from(file);
        self.strike("fill", Path::new(name))?;
        file.write_all(bytes).at("write", &path)?;
        self.own(&file, owner, &path)?;
        self.strike("set the mode of", Path::new(name))?;
        fs::fchmod(&file, Mode::from_raw_mode(mode)).at("set the mode of", &path)?;
        self.strike("sync", Path::new(name))?;
        file.sync_all().at("sync", &path)
    }

    fn own(&self, file: impl AsFd, owner: Option<(u32, u32)>, path: &Path) -> Result<(), Error> {
        let Some((uid, gid)) = owner else { return Ok(()) };
        let stat = fs::fstat(&file).at("look at", path)?;
        if (stat.st_uid, stat.st_gid) == (uid, gid) {
            return Ok(());
        }
        fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).at("set the owner of", path)
    }

    /// A regular file in it, opened to be read, with what it is; `None` where there is none, or something else.
    pub(super) fn read(&self, name: &str) -> Result<Option<(File, Stat)>, Error> {
        let fd = match fs::openat(&self.fd, name, READ, Mode::empty()) {
            Ok(fd) => fd,
            // LOOP: a link. NXIO: a socket, a device that is not there.
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
            Err(error) => return Err(error).at("open", self.path(name)),
        };
        let stat = fs::fstat(&fd).at("look at", self.path(name))?;
        Ok(is_regular(&stat).then(|| (File::from(fd), stat)))
    }

    /// The bytes of a small regular file.
    pub(super) fn read_small(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let Some((file, _)) = self.read(name)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        file.take(limit + 1)
            .read_to_end(&mut bytes)
            .at("read", self.path(name))?;
        if bytes.len() as u64 > limit {
            return Err(Error::Damaged(format!("{} is too long", self.path(name).display())));
        }
        Ok(Some(bytes))
    }

    /// Renames an entry into another folder; nothing may stand there.
    pub(super) fn move_to(&self, name: &str, other: &Folder, new: &str) -> Result<(), Error> {
        self.rename(name, other, new, RenameFlags::NOREPLACE)
    }

    /// Renames an entry into another folder, replacing what stands there.
    pub(super) fn replace(&self, name: &str, other: &Folder, new: &str) -> Result<(), Error> {
        self.rename(name, other, new, RenameFlags::empty())
    }

    /// Exchanges two entries in one step; false where the filesystem cannot.
    pub(super) fn exchange(&self, name: &str, other: &Folder) -> Result<bool, Error> {
        #[cfg(test)]
        if strike::cannot_exchange() {
            return Ok(false);
        }
        self.strike("exchange", Path::new(name))?;
        match fs::renameat_with(&self.fd, name, &other.fd, name, RenameFlags::EXCHANGE) {
            Ok(()) => Ok(true),
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(false),
            Err(error) => Err(error).at("exchange", other.path(name)),
        }
    }

    fn rename(&self, name: &str, other: &Folder, new: &str, flags: RenameFlags) -> Result<(), Error> {
        self.strike("rename", Path::new(name))?;
        let renamed = match fs::renameat_with(&self.fd, name, &other.fd, new, flags) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => match other.look(new)? {
                Some(_) if flags == RenameFlags::NOREPLACE => Err(Errno::EXIST),
                _ => fs::renameat(&self.fd, name, &other.fd, new),
            },
            renamed => renamed,
        };
        renamed.at("rename", self.path(name))
    }

    /// Gives an entry a second name in another folder; a link is not followed.
    pub(super) fn link(&self, name: &str, other: &Folder, new: &str) -> Result<(), Error> {
        self.strike("link", Path::new(name))?;
        fs::linkat(&self.fd, name, &other.fd, new, AtFlags::empty()).at("link", self.path(name))
    }

    /// Removes an entry that may be gone, with all that is in it.
    pub(super) fn remove(&self, name: &str) -> Result<(), Error> {
        self.remove_to(name, MAX_DEPTH)
    }

    fn remove_to(&self, name: &str, depth: usize) -> Result<(), Error> {
        let path = self.path(name);
        let Some(stat) = self.look(name)? else { return Ok(()) };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            self.strike("remove", Path::new(name))?;
            return gone(fs::unlinkat(&self.fd, name, AtFlags::empty())).at("remove", path);
        }
        if depth == 0 {
            return Err(Error::state(format!("{} nests too deep to be kbo's", path.display())));
        }
        if let Some(folder) = self.folder(name)? {
            // By the bytes of the names: others than ours may be no UTF-8.
            for entry in Dir::read_from(&folder.fd).at("read", &folder.label)? {
                let entry = entry.at("read", &folder.label)?;
                folder.remove_entry(entry.file_name(), depth)?;
            }
        }
        self.strike("remove", Path::new(name))?;
        gone(fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR)).at("remove", path)
    }

    fn remove_entry(&self, name: &CStr, depth: usize) -> Result<(), Error> {
        match name.to_str() {
            Ok("." | "..") => Ok(()),
            Ok(name) => self.remove_to(name, depth - 1),
            Err(_) => gone(fs::unlinkat(&self.fd, name, AtFlags::empty())).at("remove what is in", &self.label),
        }
    }

    /// Makes its entries durable.
    pub(super) fn sync(&self) -> Result<(), Error> {
        self.strike("sync", Path::new(""))?;
        fs::fsync(&self.fd).at("sync", &self.label)
    }

    /// Where tests let everything fail that changes something.
    #[cfg_attr(
        not(test),
        expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests strike here")
    )]
    fn strike(&self, doing: &'static str, name: &Path) -> Result<(), Error> {
        #[cfg(test)]
        strike::now().at(doing, self.path(name))?;
        #[cfg(not(test))]
        let _ = (doing, name);
        Ok(())
    }
}

/// A directory that nobody else of us works in.
pub(super) struct Locked<'a>(&'a Folder);

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // The lock belongs to the open directory, which may outlive this.
        let _ = fs::flock(&self.0.fd, FlockOperation::Unlock);
    }
}

/// Whether it is a regular file.
pub(super) fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// Whether it is a directory.
pub(super) fn is_dir(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn gone(result: Result<(), Errno>) -> io::Result<()> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => Ok(other?),
    }
}

/// The n-th change fails, or it and all later ones, as if the process had died.
#[cfg(test)]
pub(super) mod strike {
    use std::cell::Cell;
    use std::io;

    thread_local! {
        static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
        static IS_DEAD: Cell<bool> = const { Cell::new(false) };
        static DIES: Cell<bool> = const { Cell::new(false) };
        static NO_EXCHANGE: Cell<bool> = const { Cell::new(false) };
    }

    pub(crate) fn plan(at: Option<usize>, dies: bool) {
        LEFT.set(at);
        DIES.set(dies);
        IS_DEAD.set(false);
    }

    /// Whether the planned strike has not come yet.
    pub(crate) fn is_pending() -> bool {
        LEFT.get().is_some()
    }

    pub(crate) fn without_exchange(cannot: bool) {
        NO_EXCHANGE.set(cannot);
    }

    pub(super) fn cannot_exchange() -> bool {
        NO_EXCHANGE.get()
    }

    pub(super) fn now() -> io::Result<()> {
        let broken = || io::Error::other("injected");
        if IS_DEAD.get() {
            return Err(broken());
        }
        match LEFT.get() {
            Some(0) => {
                LEFT.set(None);
                IS_DEAD.set(DIES.get());
                Err(broken())
            }
            Some(left) => {
                LEFT.set(Some(left - 1));
                Ok(())
            }
            None => Ok(()),
        }
    }
}
