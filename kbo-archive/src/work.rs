//! Where kbo's own files lie on a node: beside the directories they belong to, never inside them.
//!
//! For a directory `/data/kafka` and a run: `/data/.kbo/<run>/d-kafka/`, holding `snapshot/` or `stage/`. The work folder must be
//! on the directory's filesystem, or neither link() nor rename() reaches it; and it must not be inside it, because Kafka
//! refuses to start on an unknown directory in log.dirs.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use kbo_core::ids::RunId;
use kbo_core::inventory::Dataset;
use sha2::{Digest, Sha256};

use crate::error::{At, Error};

/// The folder beside a directory that holds the work folders of all runs.
pub const FOLDER: &str = ".kbo";

/// A directory of a dataset, as configured and as reached on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirSpec {
    /// The dataset it belongs to.
    pub dataset: Dataset,
    /// The configured path, as manifests and reports name it.
    pub label: String,
    /// The path by which this process reaches it; differs from the label where the node's files are mounted elsewhere.
    pub path: PathBuf,
}

/// A directory with its symbolic links resolved, and the place beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The directory itself; it need not exist.
    pub live: PathBuf,
    /// The directory that holds it, and the work folders.
    pub parent: PathBuf,
    /// The directory's own name within a run's folder.
    pub slug: String,
}

impl Place {
    /// Resolves a directory. Neither it nor the directories that lead to it need exist.
    ///
    /// # Errors
    /// A path that is not absolute, is the root, or goes through a link that dangles or that others can change; a work folder that
    /// is not root's or this user's alone.
    pub fn of(spec: &DirSpec) -> Result<Self, Error> {
        let live = resolve(&spec.path)?;
        let (Some(parent), Some(name)) = (live.parent(), live.file_name()) else {
            return Err(Error::state(format!(
                "{} is the root of a filesystem, not a directory of Kafka",
                spec.label
            )));
        };
        let slug = match name.to_str() {
            Some(name) if name.len() <= 100 => format!("d-{name}"),
            _ => format!("h-{}", hex::encode(&Sha256::digest(name.as_encoded_bytes())[..12])),
        };
        let place = Self {
            parent: parent.to_owned(),
            slug,
            live,
        };
        check_folder(&place.root())?;
        Ok(place)
    }

    /// The folder of all runs, shared by all directories that stand here.
    pub fn root(&self) -> PathBuf {
        self.parent.join(FOLDER)
    }

    /// The directory's work folder of a run.
    pub fn folder(&self, run: &RunId) -> PathBuf {
        self.root().join(run.as_str()).join(&self.slug)
    }

    /// Creates the work folder of a run, mode 0700, if it is not there.
    ///
    /// # Errors
    /// Those of mkdir.
    pub fn create(&self, run: &RunId) -> Result<PathBuf, Error> {
        let folder = self.folder(run);
        create_all(&folder)?;
        // Somebody may have been quicker than mkdir.
        check_folder(&self.root())?;
        check_folder(&folder)?;
        Ok(folder)
    }

    /// Makes the entries that lead to the work folder durable.
    pub(crate) fn sync(&self, run: &RunId) -> Result<(), Error> {
        let folder = self.folder(run);
        for path in [
            folder.as_path(),
            &self.root().join(run.as_str()),
            &self.root(),
            &self.parent,
        ] {
            sync_dir(path)?;
        }
        Ok(())
    }

    /// The runs that have a work folder for this directory, oldest first.
    ///
    /// # Errors
    /// Those of reading the folder; that it is missing is none.
    pub fn runs(&self) -> Result<Vec<RunId>, Error> {
        let root = self.root();
        let entries = match fs::read_dir(&root) {
            Ok(entries) => entries,
            Err(error) if is_gone(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error).at("read", &root),
        };
        let mut runs = Vec::new();
        for entry in entries {
            let entry = entry.at("read", &root)?;
            let run = entry.file_name().to_str().and_then(|name| name.parse::<RunId>().ok());
            if let Some(run) = run
                && fs::symlink_metadata(self.folder(&run)).is_ok()
            {
                runs.push(run);
            }
        }
        runs.sort();
        Ok(runs)
    }

    /// Removes the work folder of a run, and the folders above it that are empty then. Whether there was one.
    ///
    /// # Errors
    /// Those of unlinking.
    pub fn remove(&self, run: &RunId) -> Result<bool, Error> {
        let folder = self.folder(run);
        let removed = match fs::remove_dir_all(&folder) {
            Ok(()) => true,
            Err(error) if is_gone(&error) => false,
            Err(error) => return Err(error).at("remove", &folder),
        };
        self.prune(Some(run));
        Ok(removed)
    }

    /// Removes the shared folders where they are empty; another directory's or run's work keeps them.
    pub(crate) fn prune(&self, run: Option<&RunId>) {
        let root = self.root();
        if let Some(run) = run {
            fs::remove_dir(root.join(run.as_str())).ok();
        }
        fs::remove_dir(root).ok();
    }
}

/// Refuses directories of which one holds another: the inner one's work folder would lie inside the outer one.
///
/// # Errors
/// [`Error::State`] that names both.
pub fn check_apart(dirs: &[DirSpec]) -> Result<(), Error> {
    let places = dirs.iter().map(Place::of).collect::<Result<Vec<_>, _>>()?;
    for (outer, outer_spec) in places.iter().zip(dirs) {
        for (inner, inner_spec) in places.iter().zip(dirs) {
            if !std::ptr::eq(outer, inner) && inner.live.starts_with(&outer.live) {
                return Err(Error::State {
                    what: format!("{} lies in {}", inner_spec.label, outer_spec.label),
                    hint: Some("configure directories that lie beside each other"),
                });
            }
        }
    }
    Ok(())
}

/// Whether an error only says that the thing is not there.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// mkdir -p with mode 0700. Another run may remove an empty folder between two steps, hence the tries.
pub(crate) fn create_all(folder: &Path) -> Result<(), Error> {
    let mut tries = 0;
    loop {
        match fs::DirBuilder::new().recursive(true).mode(0o700).create(folder) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries < 8 => tries += 1,
            Err(error) => return Err(error).at("create", folder),
        }
    }
}

/// fsync of a directory: makes its entries durable.
pub(crate) fn sync_dir(path: &Path) -> Result<(), Error> {
    fs::File::open(path).and_then(|dir| dir.sync_all()).at("sync", path)
}

/// How many links a path may go through, as the kernel has it.
const MAX_LINKS: usize = 40;

/// The path without symbolic links, as far as it exists; what does not exist is appended as it is.
///
/// Only links that nobody but root and this user can change are gone through: kbo works here with the rights of root, and another
/// link could lead it anywhere.
fn resolve(path: &Path) -> Result<PathBuf, Error> {
    let normal = path.is_absolute() && !path.components().any(|part| matches!(part, Component::ParentDir));
    if !normal {
        return Err(Error::state(format!(
            "{} is not an absolute path without `..`",
            path.display()
        )));
    }
    let mut resolved = PathBuf::from("/");
    let mut left: Vec<OsString> = parts(path);
    let mut links = 0;
    // The last link, and how much of the path was left behind it.
    let mut last_link: Option<(PathBuf, usize)> = None;
    while let Some(part) = left.pop() {
        if part == ".." {
            resolved.pop();
            continue;
        }
        let next = resolved.join(&part);
        let meta = match fs::symlink_metadata(&next) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // What is missing is a part of a link's target.
                if let Some((link, _)) = last_link.filter(|(_, rest)| left.len() >= *rest) {
                    return Err(Error::state(format!(
                        "{} is a symbolic link to nothing",
                        link.display()
                    )));
                }
                resolved = next;
                resolved.extend(left.iter().rev());
                return Ok(resolved);
            }
            Err(error) => return Err(error).at("resolve", path),
        };
        if !meta.is_symlink() {
            resolved = next;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(Error::state(format!(
                "{} goes through too many symbolic links",
                path.display()
            )));
        }
        let target = fs::read_link(&next).at("read the link", &next)?;
        check_link(path, &next, &meta, &resolved)?;
        last_link = Some((next, left.len()));
        if target.is_absolute() {
            resolved = PathBuf::from("/");
        }
        left.extend(parts(&target));
    }
    Ok(resolved)
}

/// A path's components, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let named = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    named.collect()
}

/// Refuses a link that somebody else can change: its own, or one in a directory that others write to.
fn check_link(path: &Path, link: &Path, meta: &Metadata, parent: &Path) -> Result<(), Error> {
    let holder = fs::metadata(parent).at("look at", parent)?;
    let is_sticky = holder.mode() & 0o1000 != 0;
    let is_safe = is_trusted(meta.uid()) && is_trusted(holder.uid()) && (holder.mode() & 0o022 == 0 || is_sticky);
    if is_safe {
        return Ok(());
    }
    let whose = if is_trusted(meta.uid()) {
        holder.uid()
    } else {
        meta.uid()
    };
    let whose = match is_trusted(whose) {
        true => "others".to_owned(),
        false => format!("user {whose}"),
    };
    Err(Error::State {
        what: format!(
            "{} leads through the symbolic link {}, which {whose} can change",
            path.display(),
            link.display()
        ),
        hint: Some("name the directory itself in kbo.toml, or give the link and the directory that it lies in to root"),
    })
}

/// root, or the user that this runs as.
fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

/// Refuses a folder of work that somebody else owns, may write to or has put a link in the place of.
fn check_folder(folder: &Path) -> Result<(), Error> {
    let meta = match fs::symlink_metadata(folder) {
        Ok(meta) => meta,
        Err(error) if is_gone(&error) => return Ok(()),
        Err(error) => return Err(error).at("look at", folder),
    };
    let wrong = if meta.is_symlink() {
        "is a symbolic link".to_owned()
    } else if !meta.is_dir() {
        "is no directory".to_owned()
    } else if !is_trusted(meta.uid()) {
        format!("belongs to user {}", meta.uid())
    } else if meta.mode() & 0o022 != 0 {
        format!("may be written by others (mode {:o})", meta.mode() & 0o7777)
    } else {
        return Ok(());
    };
    Err(Error::State {
        what: format!(
            "the work folder {} {wrong}: what lies there is not kbo's alone",
            folder.display()
        ),
        hint: Some("see what is in it, and remove it (kbo makes its own), or give it to root with mode 0700"),
    })
}
