//! Where the lab keeps its files: `target/lab` and `target/lab-cache` of this clone.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::Kind;

/// The clone this runs in.
pub(crate) fn workspace() -> Result<PathBuf> {
    let start = match std::env::var_os("CARGO_MANIFEST_DIR") {
        Some(crate_dir) => PathBuf::from(crate_dir),
        None => std::env::current_dir().context("cannot find out the current directory")?,
    };
    for dir in start.ancestors() {
        if dir.join("xtask/lab").is_dir() && dir.join("Cargo.toml").is_file() {
            return dir
                .canonicalize()
                .with_context(|| format!("cannot resolve {}", dir.display()));
        }
    }
    bail!(
        "{} lies in no clone of the project: run the task inside one",
        start.display()
    );
}

/// All files of one lab.
pub(super) fn lab_dir(kind: Kind) -> Result<PathBuf> {
    Ok(workspace()?.join("target/lab").join(kind.name()))
}

/// What outlives `lab down`: image, jars, compiled client, the engine's own storage.
pub(super) fn cache_dir() -> Result<PathBuf> {
    let dir = workspace()?.join("target/lab-cache");
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    Ok(dir)
}

/// Wait until no other task changes a lab of this clone; the lock goes with the file.
pub(super) fn lock() -> Result<File> {
    let path = cache_dir()?.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// A source file of the lab.
pub(super) fn source(name: &str) -> Result<PathBuf> {
    Ok(workspace()?.join("xtask/lab").join(name))
}
