//! Holding files, one by one: by a link, by a clone, by a copy.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use kbo_core::inventory::Dataset;
use kbo_core::ports::node::SnapshotReport;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::index::{Check, Entry, Kind, Layout, Linked, Packed};
use super::pack::Pack;
use crate::error::{At, Error};
use crate::rules::{self, DirClass, Rule};
use crate::segment::{self, Stable};
use crate::tree::{self, Found};
use crate::work::{FOLDER, is_gone};

/// Files below this are copied where they might be linked: it costs the same, and nothing can happen to a copy.
const COPY_BELOW: u64 = 16 << 10;

/// Files from this size on are cloned rather than copied, where the filesystem can.
const CLONE_FROM: u64 = 1 << 20;

/// One worker's part of a snapshot.
pub(crate) struct Holder<'a> {
    live: &'a Path,
    layout: &'a Layout,
    dataset: Dataset,
    worker: usize,
    links: usize,
    pack: Pack,
    /// Set once link() has failed for a reason that will not go away.
    no_links: Option<String>,
    no_clones: bool,
    pub(crate) entries: Vec<Entry>,
    pub(crate) report: SnapshotReport,
}

impl<'a> Holder<'a> {
    pub(crate) fn new(live: &'a Path, layout: &'a Layout, dataset: Dataset, worker: usize) -> Self {
        let report = Self::empty_report();
        let pack = Pack::new(&layout.folder, format!("pack-{worker}"));
        let entries = Vec::new();
        Self {
            live,
            layout,
            dataset,
            worker,
            links: 0,
            pack,
            no_links: None,
            no_clones: false,
            entries,
            report,
        }
    }

    pub(crate) fn empty_report() -> SnapshotReport {
        SnapshotReport {
            linked_files: 0,
            linked_bytes: 0,
            copied_files: 0,
            copied_bytes: 0,
            bytes: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Makes what was copied durable.
    pub(crate) fn finish(mut self) -> Result<(Vec<Entry>, SnapshotReport), Error> {
        self.pack.finish()?;
        if let Some(why) = self.no_links {
            self.report.warnings.push(format!(
                "{}: files cannot be linked, they were copied: {why}",
                self.live.display()
            ));
        }
        Ok((self.entries, self.report))
    }

    /// Holds a replica's directory.
    pub(crate) fn partition(
        &mut self,
        found: &Found,
        path: &str,
        class: &DirClass,
        high_watermark: Option<i64>,
    ) -> Result<(), Error> {
        self.dir(path, &found.meta);
        let inside = self.list(path)?;
        let files: Vec<&Found> = inside.iter().filter(|found| found.meta.is_file()).collect();
        let names: Vec<&str> = files.iter().map(|found| found.text().unwrap_or("")).collect();
        let rules = rules::partition_rules(&names, class, high_watermark);
        for (found, rule) in files.iter().zip(rules) {
            let path = self.child(path, found)?;
            self.file(&path, &found.meta, rule, high_watermark)?;
        }
        for found in inside.iter().filter(|found| !found.meta.is_file()) {
            let path = self.child(path, found)?;
            self.any(found, &path)?;
        }
        Ok(())
    }

    /// Holds an entry and what is below it by copies.
    pub(crate) fn any(&mut self, found: &Found, path: &str) -> Result<(), Error> {
        let kind = found.meta.file_type();
        if kind.is_dir() {
            // Another dataset's work folder, where directories are nested.
            if found.name == FOLDER {
                return Ok(());
            }
            self.dir(path, &found.meta);
            for found in self.list(path)? {
                let path = self.child(path, &found)?;
                self.any(&found, &path)?;
            }
            Ok(())
        } else if kind.is_file() {
            self.file(path, &found.meta, Rule::Copy, None)
        } else if kind.is_symlink() {
            self.symlink(path, &found.meta)
        } else {
            Err(unsupported(self.live, path, "a socket, pipe or device"))
        }
    }

    /// Records a directory.
    pub(crate) fn dir(&mut self, path: &str, meta: &Metadata) {
        self.entries.push(entry(path, meta, Kind::Dir));
    }

    fn symlink(&mut self, path: &str, meta: &Metadata) -> Result<(), Error> {
        let live = self.live.join(path);
        let target = match fs::read_link(&live) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.may_vanish() => return Ok(()),
            Err(error) => return Err(error).at("read", &live),
        };
        let depth = path.matches('/').count();
        match target.to_str() {
            Some(target) if tree::link_stays_inside(target, depth) => {
                self.entries.push(entry(
                    path,
                    meta,
                    Kind::Symlink {
                        target: target.to_owned(),
                    },
                ));
                Ok(())
            }
            _ => Err(unsupported(self.live, path, "a symbolic link that leads out of it")),
        }
    }

    /// Holds a regular file by its rule.
    pub(crate) fn file(&mut self, path: &str, meta: &Metadata, rule: Rule, limit: Option<i64>) -> Result<(), Error> {
        let (rule, warn) = match rule {
            Rule::Skip => return Ok(()),
            Rule::CopyAndWarn => (Rule::Copy, true),
            _ if meta.len() < COPY_BELOW => (Rule::Copy, false),
            rule => (rule, false),
        };
        let live = self.live.join(path);
        let file = match open(&live) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.may_vanish() => return Ok(()),
            Err(error) => return Err(error).at("open", &live),
        };
        let meta = file.metadata().at("look at", &live)?;
        if !meta.is_file() {
            return Err(Error::state(format!(
                "{} became something else than a file",
                live.display()
            )));
        }
        if warn {
            self.report.warnings.push(format!(
                "{}: left over from a compaction that was cut short",
                live.display()
            ));
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        let log = rules::segment_file(name).filter(|(_, extension)| *extension == "log");
        let records = self.dataset == Dataset::Data && log.is_some() && path.contains('/');
        let mut link = match (rule, log) {
            (Rule::Link, None) => {
                let check = Check::Unmodified {
                    mtime: tree::mtime(&meta),
                };
                self.link(&live, &meta, meta.len(), check)?
            }
            (Rule::Link | Rule::LinkStable, Some((base, _))) => {
                // Of a closed segment everything is stable; of the active one what lies below the high watermark.
                let limit = if rule == Rule::Link { Some(i64::MAX) } else { limit };
                match limit
                    .map(|limit| stable(&live, &file, meta.len(), base, limit))
                    .transpose()?
                    .flatten()
                {
                    Some(stable) => {
                        let check = Check::Tail {
                            at: stable.tail_at,
                            header: hex::encode(stable.tail),
                        };
                        self.link(&live, &meta, stable.end, check)?
                    }
                    None => None,
                }
            }
            _ => None,
        };
        if link.is_none() && meta.len() >= CLONE_FROM {
            link = self.clone_file(&live, &file, meta.len())?;
        }
        let pack = if link.as_ref().is_some_and(|link| link.len == meta.len()) {
            None
        } else {
            Some(self.copy(&live, file, link.as_ref().map_or(0, |link| link.len), meta.len())?)
        };
        match &link {
            Some(link) if link.check != Check::Private => {
                self.report.linked_files += 1;
                self.report.linked_bytes += link.len;
            }
            _ => self.report.copied_files += 1,
        }
        self.report.copied_bytes += pack.as_ref().map_or(0, |pack| pack.len);
        self.entries
            .push(entry(path, &meta, Kind::File { link, pack, records }));
        Ok(())
    }

    fn link(&mut self, live: &Path, meta: &Metadata, len: u64, check: Check) -> Result<Option<Linked>, Error> {
        if self.no_links.is_some() || len == 0 {
            return Ok(None);
        }
        let name = self.next_link();
        let path = self.layout.links().join(&name);
        match fs::hard_link(live, &path) {
            Ok(()) => {}
            Err(error) => {
                return match Errno::from_io_error(&error) {
                    // Not on this filesystem, not across this mount, not for this user.
                    Some(Errno::XDEV | Errno::PERM | Errno::OPNOTSUPP | Errno::ACCESS | Errno::NOSYS) => {
                        self.no_links = Some(error.to_string());
                        Ok(None)
                    }
                    // This file has all the names that it may have.
                    Some(Errno::MLINK) => Ok(None),
                    _ => Err(error).at("link", live),
                };
            }
        }
        let linked = fs::symlink_metadata(&path).at("look at", &path)?;
        if (linked.dev(), linked.ino()) != (meta.dev(), meta.ino()) {
            return Err(Error::state(format!(
                "{} was replaced during the snapshot",
                live.display()
            )));
        }
        Ok(Some(Linked {
            name,
            dev: meta.dev(),
            ino: meta.ino(),
            len,
            check,
        }))
    }

    fn clone_file(&mut self, live: &Path, file: &File, len: u64) -> Result<Option<Linked>, Error> {
        if self.no_clones {
            return Ok(None);
        }
        let name = self.next_link();
        let path = self.layout.links().join(&name);
        let clone = File::create_new(&path).at("create", &path)?;
        if let Err(error) = rustix::fs::ioctl_ficlone(&clone, file) {
            tracing::debug!(path = %live.display(), %error, "the filesystem cannot clone files");
            self.no_clones = true;
            fs::remove_file(&path).at("remove", &path)?;
            return Ok(None);
        }
        clone.sync_all().at("sync", &path)?;
        let meta = clone.metadata().at("look at", &path)?;
        Ok(Some(Linked {
            name,
            dev: meta.dev(),
            ino: meta.ino(),
            len,
            check: Check::Private,
        }))
    }

    /// Copies what a file had when it was opened: one that is being appended to would never end.
    fn copy(&mut self, live: &Path, mut file: File, from: u64, to: u64) -> Result<Packed, Error> {
        if from > 0 {
            io::Seek::seek(&mut file, io::SeekFrom::Start(from)).at("read", live)?;
        }
        self.pack.append(&file, to.saturating_sub(from), live)
    }

    fn next_link(&mut self) -> String {
        self.links += 1;
        format!("{}-{}", self.worker, self.links)
    }

    fn list(&self, path: &str) -> Result<Vec<Found>, Error> {
        let dir = self.live.join(path);
        match tree::list(&dir) {
            Err(error) if is_gone(&error) && self.may_vanish() => Ok(Vec::new()),
            listed => listed.at("read", &dir),
        }
    }

    /// Only configuration is read while it may be in use.
    fn may_vanish(&self) -> bool {
        self.dataset == Dataset::Config
    }

    /// The path of an entry of a directory.
    pub(crate) fn child(&self, dir: &str, found: &Found) -> Result<String, Error> {
        match found.text() {
            Some(name) if dir.is_empty() => Ok(name.to_owned()),
            Some(name) => Ok(format!("{dir}/{name}")),
            None => {
                let name = Path::new(dir).join(&found.name);
                Err(unsupported(
                    self.live,
                    &name.to_string_lossy(),
                    "a name that is not UTF-8",
                ))
            }
        }
    }
}

fn unsupported(live: &Path, path: &str, what: &str) -> Error {
    Error::State {
        what: format!("{} is {what}", live.join(path).display()),
        hint: Some("an archive cannot hold it: remove it, or move it out of the directory"),
    }
}

fn entry(path: &str, meta: &Metadata, kind: Kind) -> Entry {
    Entry {
        path: path.to_owned(),
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        mtime: tree::mtime(meta),
        kind,
    }
}

/// Opens a file that was seen to be a regular one, without following a link or waiting for a pipe that took its place.
fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC)
        .bits()
        .cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn stable(live: &Path, file: &File, len: u64, base: i64, limit: i64) -> Result<Option<Stable>, Error> {
    let index = open(&live.with_extension("index")).ok();
    segment::stable_prefix(file, len, base, index.as_ref(), limit).at("read", live)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_links_are_impossible_files_are_copied_and_a_warning_says_so() {
        // Two filesystems that every machine has; link() between them is EXDEV.
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
        let dev = |dir: &tempfile::TempDir| fs::metadata(dir.path()).unwrap().dev();
        assert_ne!(
            dev(&here),
            dev(&there),
            "the test needs /dev/shm on a filesystem of its own"
        );
        let live = there.path().join("log-dir");
        fs::create_dir_all(live.join("t-0")).unwrap();
        let (log, index) = crate::segment::testing::segment(0, 100, 300);
        fs::write(live.join("t-0/00000000000000000000.log"), &log).unwrap();
        fs::write(live.join("t-0/00000000000000000000.index"), index).unwrap();
        fs::write(live.join("t-0/00000000000000001000.log"), "").unwrap();
        let layout = Layout::new(here.path());
        fs::create_dir_all(layout.links()).unwrap();
        let mut holder = Holder::new(&live, &layout, Dataset::Data, 0);
        let found = tree::list(&live).unwrap().remove(0);
        holder
            .partition(&found, "t-0", &rules::dir_class("t-0"), Some(1000))
            .unwrap();
        let (entries, report) = holder.finish().unwrap();
        assert_eq!((report.linked_files, report.copied_files), (0, 3));
        assert!(report.warnings[0].contains("copied"), "{:?}", report.warnings);
        let entry = entries
            .iter()
            .find(|entry| entry.path == "t-0/00000000000000000000.log")
            .unwrap();
        let Kind::File {
            link: None,
            pack: Some(pack),
            records: true,
        } = &entry.kind
        else {
            panic!("{entry:?}")
        };
        let packed = fs::read(layout.folder.join(&pack.name)).unwrap();
        let at = usize::try_from(pack.at).unwrap();
        assert_eq!(packed[at..at + log.len()], log);
    }
}
