//! Looking at a directory before anything is done to it. Kafka may run meanwhile: what vanishes while being looked at is not there.

use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kbo_core::inventory::Dataset;
use kbo_core::ports::node::{DirFacts, DirSpace, FileId, LinkProbe, MetaProperties, NodeError, Presence};

use crate::checkpoint::Offsets;
use crate::clean;
use crate::error::Error;
use crate::lock;
use crate::metaprops;
use crate::rules::{self, DirClass, Rule};
use crate::snapshot::HIGH_WATERMARKS;
use crate::tree::{self, Found};
use crate::work::{self, DirSpec, FOLDER, Place};

/// How many names a report lists at most of what is wrong.
const MAX_LISTED: usize = 100;

/// Everything that preflight wants to know of a directory. Nothing is changed, but that a hardlink is made and removed beside it.
/// Never fails: what could not be found out is in [`DirFacts::error`].
pub fn dir_facts(spec: &DirSpec) -> DirFacts {
    let mut facts = DirFacts {
        dataset: spec.dataset,
        path: spec.label.clone(),
        presence: Presence::Missing,
        is_mount_point: false,
        files: 0,
        bytes: 0,
        copied_bytes: 0,
        device: 0,
        free: 0,
        size: 0,
        link: LinkProbe::Untried,
        meta: None,
        unknown_dirs: Vec::new(),
        unsupported: Vec::new(),
        orphans: Vec::new(),
        error: None,
        file: None,
        resolved: None,
        read_only: false,
        has_meta: false,
        clean_marker: false,
        has_metadata_log: false,
        has_partitions: false,
        locked: false,
    };
    if let Err(error) = Place::of(spec).and_then(|place| look(spec, &place, &mut facts)) {
        let NodeError { message, hint, .. } = NodeError::from(error);
        facts.error = Some(hint.map_or_else(|| message.clone(), |hint| format!("{message} ({hint})")));
    }
    facts
}

/// Room where a directory lies, or will lie.
///
/// # Errors
/// Its place cannot be resolved, or the filesystem does not tell.
pub fn dir_space(spec: &DirSpec) -> Result<DirSpace, Error> {
    use crate::error::At;
    let place = Place::of(spec)?;
    let beside = nearest_existing(&place.parent);
    let filesystem = rustix::fs::statvfs(beside).at("look at the filesystem of", beside)?;
    Ok(DirSpace {
        path: spec.label.clone(),
        free: filesystem.f_bavail.saturating_mul(filesystem.f_frsize),
        size: filesystem.f_blocks.saturating_mul(filesystem.f_frsize),
    })
}

fn look(spec: &DirSpec, place: &Place, facts: &mut DirFacts) -> Result<(), Error> {
    use crate::error::At;
    let beside = nearest_existing(&place.parent);
    let beside_meta = fs::metadata(beside).at("look at", beside)?;
    facts.device = beside_meta.dev();
    let filesystem = rustix::fs::statvfs(beside).at("look at the filesystem of", beside)?;
    facts.free = filesystem.f_bavail.saturating_mul(filesystem.f_frsize);
    facts.resolved = (place.live != spec.path).then(|| place.live.display().to_string());
    facts.size = filesystem.f_blocks.saturating_mul(filesystem.f_frsize);
    let meta = match fs::symlink_metadata(&place.live) {
        Ok(meta) => meta,
        Err(error) if work::is_gone(&error) => return Ok(()),
        Err(error) => return Err(error).at("look at", &place.live),
    };
    facts.orphans = place.runs()?;
    if !meta.is_dir() {
        facts.presence = Presence::NotADirectory;
        return Ok(());
    }
    facts.file = Some(FileId {
        device: meta.dev(),
        inode: meta.ino(),
    });
    let own = rustix::fs::statvfs(&place.live).at("look at the filesystem of", &place.live)?;
    facts.read_only = own.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY);
    facts.is_mount_point = is_mount_point(place, &meta, &beside_meta);
    let found = tree::list(&place.live).at("read", &place.live)?;
    facts.presence = if found.is_empty() {
        Presence::Empty
    } else {
        Presence::Filled
    };
    let mut look = Look {
        live: &place.live,
        dataset: spec.dataset,
        facts,
        sample: None,
    };
    look.top_level(&found).at("read", &place.live)?;
    let sample = look.sample.take();
    if let Some((path, _)) = sample {
        facts.link = probe_link(place, &path);
    }
    if spec.dataset == Dataset::Data {
        let holds = |name: &str| found.iter().any(|found| found.text() == Some(name));
        facts.has_meta = holds("meta.properties");
        facts.clean_marker = holds(clean::MARKER);
        let classes = || {
            found
                .iter()
                .filter(|found| found.meta.is_dir())
                .filter_map(|found| Some(rules::dir_class(found.text()?)))
        };
        facts.has_metadata_log = classes().any(|class| class == DirClass::Metadata);
        facts.has_partitions = classes().any(|class| matches!(class, DirClass::Partition { .. }));
        facts.locked = lock::is_locked(&place.live);
        facts.meta = read_small(&place.live.join("meta.properties")).map(|text| metaprops::parse(&text));
    }
    Ok(())
}

/// meta.properties of a log dir, where there is one that can be read.
pub fn meta_properties(spec: &DirSpec) -> Option<MetaProperties> {
    let place = Place::of(spec).ok()?;
    read_small(&place.live.join("meta.properties")).map(|text| metaprops::parse(&text))
}

struct Look<'a> {
    live: &'a Path,
    dataset: Dataset,
    facts: &'a mut DirFacts,
    /// A file to try a link with, the better the greater.
    sample: Option<(PathBuf, u64)>,
}

impl Look<'_> {
    fn top_level(&mut self, found: &[Found]) -> io::Result<()> {
        let high_watermarks = match self.dataset {
            Dataset::Data => read_small(&self.live.join(HIGH_WATERMARKS)).and_then(|text| Offsets::parse(&text).ok()),
            Dataset::Config => None,
        };
        for found in found {
            let path = PathBuf::from(&found.name);
            let Some(name) = found.text().filter(|_| self.dataset == Dataset::Data) else {
                self.any(&path, found)?;
                continue;
            };
            if found.meta.is_file() {
                self.file(&path, &found.meta, rules::top_level(name));
            } else if found.meta.is_dir() {
                match rules::dir_class(name) {
                    DirClass::Unknown => add(&mut self.facts.unknown_dirs, name.to_owned()),
                    DirClass::Skipped => {}
                    class => {
                        let high_watermark = match &class {
                            DirClass::Partition { topic, partition } => high_watermarks
                                .as_ref()
                                .and_then(|offsets| offsets.get(topic, *partition)),
                            _ => None,
                        };
                        self.partition(&path, &class, high_watermark)?;
                    }
                }
            } else {
                self.any(&path, found)?;
            }
        }
        Ok(())
    }

    fn partition(&mut self, path: &Path, class: &DirClass, high_watermark: Option<i64>) -> io::Result<()> {
        let inside = self.list(path)?;
        let files: Vec<&Found> = inside.iter().filter(|found| found.meta.is_file()).collect();
        let names: Vec<&str> = files.iter().map(|found| found.text().unwrap_or("")).collect();
        for (found, rule) in files.iter().zip(rules::partition_rules(&names, class, high_watermark)) {
            match found.text() {
                Some(_) => self.file(&path.join(&found.name), &found.meta, rule),
                None => self.any(&path.join(&found.name), found)?,
            }
        }
        for found in inside.iter().filter(|found| !found.meta.is_file()) {
            self.any(&path.join(&found.name), found)?;
        }
        Ok(())
    }

    fn any(&mut self, path: &Path, found: &Found) -> io::Result<()> {
        let kind = found.meta.file_type();
        let supported = found.text().is_some()
            && if kind.is_symlink() {
                let depth = path.components().count() - 1;
                let target = fs::read_link(self.live.join(path));
                target.is_ok_and(|target| {
                    target
                        .to_str()
                        .is_some_and(|target| tree::link_stays_inside(target, depth))
                })
            } else {
                kind.is_file() || kind.is_dir()
            };
        if !supported {
            add(&mut self.facts.unsupported, path.to_string_lossy().into_owned());
        } else if kind.is_file() {
            self.file(path, &found.meta, Rule::Copy);
        } else if kind.is_dir() && found.name != FOLDER {
            for found in self.list(path)? {
                self.any(&path.join(&found.name), &found)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, meta: &Metadata, rule: Rule) {
        if rule == Rule::Skip {
            return;
        }
        // A running Kafka's indexes have room for 10 MiB each, which it gives back when it stops.
        let is_index = path
            .extension()
            .is_some_and(|extension| extension == "index" || extension == "timeindex");
        let bytes = if is_index {
            meta.len().min(meta.blocks().saturating_mul(512))
        } else {
            meta.len()
        };
        self.facts.files += 1;
        self.facts.bytes += bytes;
        if matches!(rule, Rule::Copy | Rule::CopyAndWarn) {
            self.facts.copied_bytes += bytes;
        }
        if self.sample.as_ref().is_none_or(|(_, best)| meta.len() > *best) {
            self.sample = Some((self.live.join(path), meta.len()));
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Found>> {
        match tree::list(&self.live.join(path)) {
            Err(error) if work::is_gone(&error) => Ok(Vec::new()),
            listed => listed,
        }
    }
}

fn add(list: &mut Vec<String>, name: String) {
    if list.len() < MAX_LISTED {
        list.push(name);
    }
}

fn nearest_existing(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}

fn read_small(path: &Path) -> Option<String> {
    let mut text = String::new();
    crate::regular::open(path)
        .ok()?
        .take(64 << 20)
        .read_to_string(&mut text)
        .ok()?;
    Some(text)
}

/// Whether something is mounted on the directory: another filesystem, or (seen only in mountinfo) a part of the same one. Neither
/// link() nor rename() crosses that.
pub(crate) fn is_mount_point(place: &Place, live: &Metadata, parent: &Metadata) -> bool {
    if live.dev() != parent.dev() {
        return true;
    }
    let Ok(mounts) = fs::read("/proc/self/mountinfo") else {
        return false;
    };
    let wanted = place.live.as_os_str().as_encoded_bytes();
    mounts
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .any(|point| unescape(point) == wanted)
}

/// mountinfo writes space, tab, newline and backslash as `\` and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match (*byte, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            (byte, _) => out.push(byte),
        }
    }
    out
}

fn probe_name(place: &Place) -> String {
    format!("probe-{}", place.slug)
}

/// Makes a hardlink of a file where the snapshot's would be, and removes it.
fn probe_link(place: &Place, file: &Path) -> LinkProbe {
    let root = place.root();
    let probe = root.join(probe_name(place));
    let result = (|| {
        for _ in 0..8 {
            if let Err(Error::Io { source, .. }) = work::create_all(&root) {
                return Err(source);
            }
            match fs::hard_link(file, &probe) {
                // Somebody else's probe beside this one was done and the folder empty, or an earlier probe was killed.
                Err(error) if error.kind() == io::ErrorKind::NotFound && file.exists() => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::remove_file(&probe)?,
                done => return done,
            }
        }
        Err(io::Error::other("the work folder does not stay"))
    })();
    remove_probes(place);
    match result {
        Ok(()) => LinkProbe::Works,
        // The file went away meanwhile, Kafka runs: nothing is known.
        Err(error) if error.kind() == io::ErrorKind::NotFound => LinkProbe::Untried,
        Err(error) => LinkProbe::Fails(error.to_string()),
    }
}

/// Removes what a probe that was killed has left.
pub(crate) fn remove_probes(place: &Place) {
    fs::remove_file(place.root().join(probe_name(place))).ok();
    place.prune(None);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn mountinfo_is_unescaped() {
        assert_eq!(unescape(br"/data/my\040disk\134x\q"), br"/data/my disk\x\q");
    }

    proptest! {
        #[test]
        fn no_field_makes_it_panic(field in prop::collection::vec(any::<u8>(), 0..50)) {
            let _ = unescape(&field);
        }
    }
}
