//! A configuration written to its file: whole or not at all, and not over another one unasked.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kbo_core::report::Outcome;

use crate::commands::Trouble;

/// Refuses a file that is there already, before any work is done for it.
pub(crate) fn refuse_existing(file: &Path, force: bool) -> Result<(), Trouble> {
    match fs::symlink_metadata(file) {
        Ok(_) if !force => Err(taken(file)),
        _ => Ok(()),
    }
}

/// Writes `text` to `file`.
pub(crate) fn to(file: &Path, text: &str, force: bool) -> Result<(), Trouble> {
    refuse_existing(file, force)?;
    // What a symbolic link leads to is what is meant. A device or a pipe must not be replaced by a file.
    if fs::symlink_metadata(file).is_ok() && !fs::metadata(file).is_ok_and(|known| known.is_file()) {
        let text = format!("{} is no regular file, and is left as it is", file.display());
        return Err(Trouble::new(Outcome::Usage, text).hint("--out names another file"));
    }
    let file = &fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let failed = |error: std::io::Error| {
        Trouble::new(Outcome::Failed, format!("cannot write {}: {error}", file.display()))
            .hint("does its folder exist, and may you write to it?")
    };
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut temporary = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    let mode = fs::metadata(file).map_or(0o644, |known| known.permissions().mode() & 0o777);
    temporary
        .as_file()
        .set_permissions(Permissions::from_mode(mode))
        .map_err(failed)?;
    temporary.write_all(text.as_bytes()).map_err(failed)?;
    temporary.as_file().sync_all().map_err(failed)?;
    if force {
        temporary.persist(file).map_err(|error| failed(error.error))?;
    } else {
        temporary
            .persist_noclobber(file)
            .map_err(|error| match error.error.kind() {
                std::io::ErrorKind::AlreadyExists => taken(file),
                _ => failed(error.error),
            })?;
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

fn taken(file: &Path) -> Trouble {
    Trouble::new(
        Outcome::Usage,
        format!("{} exists already, and is left as it is", file.display()),
    )
    .hint("--force overwrites it; --out names another file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_file_is_left_alone_unless_forced() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("kbo.toml");
        assert!(to(&file, "a", false).is_ok());
        assert!(to(&file, "b", false).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "a");
        assert!(to(&file, "b", true).is_ok());
        assert_eq!(fs::read_to_string(&file).unwrap(), "b");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
        assert!(to(&dir.path().join("no/kbo.toml"), "a", false).is_err());
    }

    #[test]
    fn links_are_followed_and_what_is_no_file_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link, lost) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("c"));
        fs::write(&file, "a").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(to(&link, "b", true).is_ok());
        assert_eq!(fs::read_to_string(&file).unwrap(), "b");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let socket = dir.path().join("socket");
        let _listens = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::os::unix::fs::symlink(dir.path().join("nowhere"), &lost).unwrap();
        for left in [&socket, &lost, &dir.path().to_owned()] {
            assert!(to(left, "b", true).is_err(), "{}", left.display());
        }
        assert!(fs::symlink_metadata(&lost).unwrap().is_symlink());
    }

    #[test]
    fn nothing_else_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        assert!(to(&dir.path().join("kbo.toml"), "a", false).is_ok());
        assert!(to(&dir.path().join("kbo.toml"), "b", false).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays");
    }
}
