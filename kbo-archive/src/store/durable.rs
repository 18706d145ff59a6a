//! File operations that survive a power cut, for this user alone, with errors that name the file.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use kbo_core::ports::store::StoreError;

/// Turns an I/O error into the store's, with what was being done to what.
pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.display().to_string();
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::NoSpace { path },
        _ => StoreError::Io { action, path, source },
    }
}

/// An error about what stands in a file.
pub(super) fn format(path: &Path, why: impl Into<String>) -> StoreError {
    StoreError::Format {
        path: path.display().to_string(),
        why: why.into(),
    }
}

/// Runs file operations where they may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(join) => Err(StoreError::Io {
            action: "finish an operation on",
            path: "the store".to_owned(),
            source: io::Error::other(join),
        }),
    }
}

/// Makes the entries of a directory durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io("sync", dir))
}

/// Makes a directory and those above it where they are missing, each durable in its parent.
pub(super) fn ensure_dir(dir: &Path) -> Result<(), StoreError> {
    match make_dir(dir) {
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
            ensure_dir(parent.ok_or_else(|| io("create", dir)(source))?)?;
            // Another process may have been quicker with this last one.
            if dir.is_dir() { Ok(()) } else { make_dir(dir) }
        }
        result => result,
    }
}

/// Makes a directory that must not exist, durable in its parent.
pub(super) fn make_dir(dir: &Path) -> Result<(), StoreError> {
    DirBuilder::new().mode(0o700).create(dir).map_err(io("create", dir))?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => sync_dir(Path::new(".")),
    }
}

/// Creates a file that must not exist.
pub(super) fn create_new(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(io("create", path))
}

/// Opens a file to read and write, creating it where it is missing; what is in it stays.
pub(super) fn open_or_create(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    crate::regular::open_as(path, &mut options).map_err(io("open", path))
}

/// Writes a small new file, durable but for its entry in the directory.
pub(super) fn write_new(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let mut file = create_new(path)?;
    file.write_all(content)
        .and_then(|()| file.sync_all())
        .map_err(io("write", path))
}

/// Removes a file that may be gone already.
pub(super) fn remove_file(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(io("remove", path)),
    }
}
