//! What swaps replaced and a run kept, beside the directories that took its place.
//!
//! The name says why it is there, and changes in one rename: `<directory>.previous-<run>` was asked for and stays until it is
//! removed, `<directory>.until-ready-<run>` goes once the node has been ready on what replaced it. Neither lies in a work folder, so
//! no sweep of any run, kbo or centre touches it.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use kbo_core::ids::RunId;
use kbo_core::ports::node::KeptDir;

use crate::error::{At, Error};
use crate::stage::{self, Staged};
use crate::swap;
use crate::work::{DirSpec, Place, is_gone, sync_dir};

/// Why it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The operator asked for it.
    Asked,
    /// The node has not been ready since.
    NotReady,
}

impl Why {
    fn infix(self) -> &'static str {
        match self {
            Why::Asked => ".previous-",
            Why::NotReady => ".until-ready-",
        }
    }
}

/// Where what `run` replaced is kept.
pub(crate) fn path(place: &Place, run: &RunId, why: Why) -> PathBuf {
    let mut name = place.live.file_name().unwrap_or_default().to_owned();
    name.push(format!("{}{run}", why.infix()));
    place.parent.join(name)
}

/// Whose a name beside the directory is, and why it is there; `None` for what kbo did not keep.
pub(crate) fn parse(place: &Place, name: &str) -> Option<(RunId, Why)> {
    let rest = name.strip_prefix(place.live.file_name()?.to_str()?)?;
    [Why::Asked, Why::NotReady].into_iter().find_map(|why| {
        let run = rest.strip_prefix(why.infix())?.parse().ok()?;
        Some((run, why))
    })
}

/// Where what `run` replaced stands, by whichever name.
fn found(place: &Place, run: &RunId) -> Option<PathBuf> {
    let paths = [Why::Asked, Why::NotReady].map(|why| path(place, run, why));
    paths
        .into_iter()
        .find(|path| fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir()))
}

/// Everything that is kept beside the directories, oldest run first.
///
/// # Errors
/// Those of reading the directories that hold them; that one is missing is none.
pub fn list(dirs: &[DirSpec]) -> Result<Vec<KeptDir>, Error> {
    let mut kept = vec![];
    for spec in dirs {
        let place = Place::of(spec)?;
        let entries = match fs::read_dir(&place.parent) {
            Ok(entries) => entries,
            Err(error) if is_gone(&error) => continue,
            Err(error) => return Err(error).at("read", &place.parent),
        };
        for entry in entries {
            let entry = entry.at("read", &place.parent)?;
            let name = entry.file_name();
            let parsed = name.to_str().and_then(|name| parse(&place, name));
            let (Some((run, why)), Ok(kind)) = (parsed, entry.file_type()) else {
                continue;
            };
            if kind.is_dir() {
                kept.push(KeptDir {
                    run,
                    dataset: spec.dataset,
                    dir: spec.label.clone(),
                    path: label(spec, &entry.path()),
                    bytes: bytes(&entry.path()),
                    until_ready: why == Why::NotReady,
                });
            }
        }
    }
    kept.sort_by(|a, b| (&a.run, &a.dir).cmp(&(&b.run, &b.dir)));
    Ok(kept)
}

/// The path as the operator knows it: in a helper container the node's files are mounted elsewhere.
fn label(spec: &DirSpec, path: &Path) -> String {
    let is_elsewhere = spec.path.as_path() != Path::new(&spec.label);
    match path.file_name().filter(|_| is_elsewhere) {
        Some(name) => Path::new(&spec.label).with_file_name(name).display().to_string(),
        None => path.display().to_string(),
    }
}

/// Bytes of the files below; what cannot be read counts for nothing.
fn bytes(dir: &Path) -> u64 {
    let (mut sum, mut left) = (0_u64, vec![dir.to_owned()]);
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => left.push(entry.path()),
                Ok(meta) if meta.is_file() => sum = sum.saturating_add(meta.len()),
                _ => {}
            }
        }
    }
    sum
}

/// Moves what the run's swap replaced to where it is kept. A directory that had not been there is kept as an empty one, so that
/// going back finds something for each directory of the run. Where it is now, if anything was swapped.
pub(crate) fn keep(place: &Place, run: &RunId, why: Why) -> Result<Option<PathBuf>, Error> {
    let to = path(place, run, why);
    if let Some(replaced) = swap::replaced(run, place)? {
        if fs::symlink_metadata(&to).is_ok() {
            return Err(Error::state(format!("{} is there already", to.display())));
        }
        fs::rename(&replaced, &to).at("rename", &replaced)?;
    } else if why == Why::NotReady && swap::is_swapped(run, place)? && found(place, run).is_none() {
        let live = fs::symlink_metadata(&place.live).at("look at", &place.live)?;
        fs::create_dir(&to).at("create", &to)?;
        chown(&to, Some(live.uid()), Some(live.gid())).at("give the owner of", &to)?;
        fs::set_permissions(&to, fs::Permissions::from_mode(live.mode() & 0o7777)).at("set the mode of", &to)?;
    } else {
        return Ok(None);
    }
    sync_dir(&place.parent)?;
    Ok(Some(to))
}

/// Declares what run `of` replaced staged for `run`, where it stands: a swap exchanges it with what is live, and swapping back
/// puts it there again.
///
/// # Errors
/// [`Error::State`] where a directory has nothing of that run; those of writing.
pub fn stage(run: &RunId, of: &RunId, dirs: &[DirSpec]) -> Result<(), Error> {
    let mut found_all = vec![];
    for spec in dirs {
        let place = Place::of(spec)?;
        if Staged::read(&place, run)?.is_some() {
            continue;
        }
        let kept = found(&place, of).ok_or_else(|| Error::State {
            what: format!("nothing that run {of} replaced is kept beside {}", spec.label),
            hint: Some("kbo status shows what is kept; a backup can be restored instead"),
        })?;
        swap::refuse_irreplaceable(&place)?;
        found_all.push((spec, place, kept));
    }
    for (spec, place, kept) in found_all {
        swap::probe(&place.create(run)?)?;
        stage::declare_kept(&place, run, &spec.label, &kept)?;
    }
    Ok(())
}

/// Removes what was kept of a run. What is half removed after a death in the middle is a work folder that the next sweep takes.
///
/// # Errors
/// Those of renaming and unlinking.
pub(crate) fn remove(place: &Place, run: &RunId) -> Result<Option<PathBuf>, Error> {
    let Some(kept) = found(place, run) else { return Ok(None) };
    take_in(place, run, &kept)?;
    Ok(Some(kept))
}

/// Moves a directory into the run's work folder, where it is to be removed.
pub(crate) fn take_in(place: &Place, run: &RunId, dir: &Path) -> Result<(), Error> {
    let doomed = place.create(run)?.join("discarded");
    match fs::remove_dir_all(&doomed) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).at("remove", &doomed),
        _ => {}
    }
    fs::rename(dir, &doomed).at("rename", dir)?;
    sync_dir(&place.parent)
}
