//! The records of a manifest, checked before anything is done by them: a manifest may come from anywhere.

use std::collections::HashMap;

use kbo_core::manifest::{DirRecord, FileKind, FileRecord};

use crate::error::Error;
use crate::tree::link_stays_inside;

/// Where a directory's entries stand in an archive of `count` directories.
pub(crate) fn prefix(index: usize, count: usize) -> String {
    if count == 1 { String::new() } else { format!("{index}/") }
}

/// The path in the archive of an entry of a directory.
pub(crate) fn archive_path(prefix: &str, path: &str) -> String {
    if path.is_empty() {
        prefix.trim_end_matches('/').to_owned()
    } else {
        format!("{prefix}{path}")
    }
}

/// Which directory a path in the archive belongs to, and the path within that.
pub(crate) fn locate<'a>(dirs: &[DirRecord], path: &'a str) -> Option<(usize, &'a str)> {
    dirs.iter().enumerate().find_map(|(index, dir)| {
        if dir.prefix.is_empty() {
            return Some((index, path));
        }
        match path.strip_prefix(dir.prefix.as_str()) {
            Some(inner) if !inner.is_empty() => Some((index, inner)),
            _ if dir.prefix.strip_suffix('/') == Some(path) => Some((index, "")),
            _ => None,
        }
    })
}

/// Refuses records that could lead anywhere but into their directories: absolute paths, `..`, links that lead out, names
/// twice, entries whose directory is not recorded before them.
///
/// # Errors
/// [`Error::Damaged`] that names the first such record.
pub fn check(dirs: &[DirRecord], files: &[FileRecord]) -> Result<(), Error> {
    let damaged = |path: &str, what: &str| Err(Error::Damaged(format!("the manifest's entry `{path}` {what}")));
    for (index, dir) in dirs.iter().enumerate() {
        if dir.prefix != prefix(index, dirs.len()) {
            return Err(Error::Damaged(format!(
                "the manifest gives {} the prefix `{}`",
                dir.path, dir.prefix
            )));
        }
    }
    let mut seen: HashMap<&str, bool> = HashMap::with_capacity(files.len());
    let mut roots = 0;
    for file in files {
        let path = file.path.as_str();
        let Some((_, inner)) = locate(dirs, path) else {
            return damaged(path, "belongs to none of its directories");
        };
        let is_dir = file.kind == FileKind::Dir;
        if inner.is_empty() {
            if !is_dir {
                return damaged(path, "is to replace a directory");
            }
            roots += 1;
        } else {
            let safe = |part: &str| !matches!(part, "" | "." | "..") && part.len() <= 255 && !part.contains('\0');
            if !inner.split('/').all(safe) || inner.len() > 4000 {
                return damaged(path, "has a path that leads elsewhere");
            }
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            if seen.get(parent) != Some(&true) {
                return damaged(path, "comes without its directory");
            }
        }
        if let FileKind::Symlink { target } = &file.kind
            && !link_stays_inside(target, inner.matches('/').count())
        {
            return damaged(path, "is a symbolic link that leads out of its directory");
        }
        if file.mode > 0o7777 {
            return damaged(path, "has an impossible mode");
        }
        if seen.insert(path, is_dir).is_some() {
            return damaged(path, "is there twice");
        }
    }
    if roots != dirs.len() {
        return Err(Error::Damaged(
            "the manifest lacks the entry of a directory itself".to_owned(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use kbo_core::manifest::Sha256;

    fn record(path: &str, kind: FileKind) -> FileRecord {
        FileRecord {
            path: path.to_owned(),
            kind,
            mode: 0o600,
            uid: 0,
            gid: 0,
            mtime: Timestamp::UNIX_EPOCH,
        }
    }

    fn file(path: &str) -> FileRecord {
        record(
            path,
            FileKind::File {
                size: 0,
                sha256: Sha256([0; 32]),
            },
        )
    }

    fn link(path: &str, target: &str) -> FileRecord {
        record(
            path,
            FileKind::Symlink {
                target: target.to_owned(),
            },
        )
    }

    fn dirs(count: usize) -> Vec<DirRecord> {
        (0..count)
            .map(|index| DirRecord {
                path: format!("/d{index}"),
                prefix: prefix(index, count),
            })
            .collect()
    }

    #[test]
    fn records_of_one_and_of_several_directories_are_accepted() {
        let dir = |path: &str| record(path, FileKind::Dir);
        check(
            &dirs(1),
            &[dir(""), dir("t-0"), file("t-0/a"), link("t-0/b", "../x"), file("x")],
        )
        .unwrap();
        check(&dirs(2), &[dir("0"), file("0/a"), dir("1"), file("1/a")]).unwrap();
    }

    #[test]
    fn records_that_lead_elsewhere_are_refused() {
        let root = record("", FileKind::Dir);
        let dir = |path: &str| record(path, FileKind::Dir);
        for bad in [
            vec![file("/etc/passwd")],
            vec![file("../x")],
            vec![dir("a"), file("a/../../x")],
            vec![file("./x")],
            vec![dir("a"), file("a//x")],
            vec![dir("a"), dir("a/")],
            vec![file("a/x")],
            vec![file("x"), file("x")],
            vec![file("x"), file("x/y")],
            vec![link("l", "/tmp"), file("l/y")],
            vec![link("l", "..")],
            vec![link("l", "/etc")],
            vec![dir("")],
            vec![file("a\0b")],
        ] {
            let files: Vec<_> = [root.clone()].into_iter().chain(bad.clone()).collect();
            assert!(matches!(check(&dirs(1), &files), Err(Error::Damaged(_))), "{bad:?}");
        }
        assert!(check(&dirs(1), &[]).is_err());
        assert!(check(&dirs(1), &[file("")]).is_err());
        assert!(check(&dirs(2), &[dir("0"), file("2/a"), dir("1")]).is_err());
        assert!(check(&dirs(2), &[dir("0")]).is_err());
    }
}
