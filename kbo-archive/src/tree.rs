//! Listing directories that a running Kafka may change meanwhile.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path};

use jiff::Timestamp;

/// An entry of a directory, its metadata not following links.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) name: OsString,
    pub(crate) meta: Metadata,
}

impl Found {
    /// The name, where it is UTF-8.
    pub(crate) fn text(&self) -> Option<&str> {
        self.name.to_str()
    }
}

/// A directory's entries sorted by name. What vanishes between listing and looking is left out.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match entry.metadata() {
            Ok(meta) => found.push(Found {
                name: entry.file_name(),
                meta,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// A file's modification time; times that no calendar knows become the nearest it does.
pub(crate) fn mtime(meta: &Metadata) -> Timestamp {
    let nanos = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
    let nearest = if nanos < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_nanosecond(nanos).unwrap_or(nearest)
}

/// Whether a symbolic link that stands `depth` directories below its dataset's directory stays inside.
///
/// Leading `..` may climb as far as that directory; a `..` after a name could climb out of another link's target, so there may
/// be none. Links that obey this stay inside whatever other such links they go through.
pub(crate) fn link_stays_inside(target: &str, depth: usize) -> bool {
    let mut climbed = 0;
    let mut named = false;
    for part in Path::new(target).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if !named && climbed < depth => climbed += 1,
            Component::Normal(_) => named = true,
            _ => return false,
        }
    }
    !target.is_empty() && !target.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_could_lead_out_are_told_from_those_that_cannot() {
        for (target, depth, inside) in [
            ("server.properties", 0, true),
            ("..data/server.properties", 0, true),
            ("./a", 0, true),
            ("../a", 1, true),
            ("..", 1, true),
            ("../a", 0, false),
            ("../../a", 1, false),
            ("a/../b", 3, false),
            ("/etc/passwd", 3, false),
            ("", 3, false),
        ] {
            assert_eq!(link_stays_inside(target, depth), inside, "{target:?} at depth {depth}");
        }
    }
}
