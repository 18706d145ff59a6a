//! Files that readers see whole: the old one or the new one, after a power cut too.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use rustix::fs::OFlags;

/// Puts `text` in the place of `path`, with this mode whatever the umask. The temporary name ends with `.tmp`: neither cron nor systemd
/// nor node_exporter looks at such a one.
pub(crate) fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let temp = folder.join(format!(".{name}.{}.tmp", std::process::id()));
    let put = || {
        // What a killed process of the same number left.
        let _ = fs::remove_file(&temp);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temp)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&temp, path)
    };
    put().inspect_err(|_| drop(fs::remove_file(&temp)))?;
    File::open(folder)?.sync_all()
}

/// Makes a folder and what is missing above it, all of them for others to read (0755) or not (0700) whatever the umask, and for `owner`
/// (user and group) where it is not whoever makes them. What is there already stays as it is.
pub(crate) fn make_folder(folder: &Path, mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make_folder(above, mode, owner)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => {}
        // Somebody else was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => return Ok(()),
        Err(error) => return Err(error),
    }
    // By its handle: who owns the folder above could put a link in its place.
    let made = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed())
        .open(folder)?;
    made.set_permissions(Permissions::from_mode(mode))?;
    if let Some((user, group)) = owner {
        fchown(&made, Some(user), Some(group))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_text_is_there_whole_with_its_mode_and_nothing_else_is() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("kbo.prom");
        for text in ["one\n", "two\n"] {
            replace(&path, text, 0o644).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
        let into_a_folder = temp.path().join("folder");
        fs::create_dir(&into_a_folder).unwrap();
        assert!(replace(&into_a_folder, "x", 0o644).is_err());
        assert_eq!(
            fs::read_dir(temp.path()).unwrap().count(),
            2,
            "what failed leaves nothing"
        );
        assert!(replace(&temp.path().join("none/kbo.prom"), "x", 0o644).is_err());
    }

    #[test]
    fn folders_are_made_with_their_mode_and_owner_whatever_the_umask_and_none_that_is_there_is_changed() {
        use std::os::unix::fs::MetadataExt;
        let temp = tempfile::tempdir().unwrap();
        let there = temp.path().join("there");
        DirBuilder::new().mode(0o750).create(&there).unwrap();
        // Without being root nothing can be given away.
        let is_root = rustix::process::geteuid().is_root();
        let owner = is_root.then_some((12_345, 23_456));
        make_folder(&there.join("metrics/deep"), 0o755, owner).unwrap();
        make_folder(&there.join("cold"), 0o700, None).unwrap();
        let seen = |name: &str| {
            let seen = fs::metadata(there.join(name)).unwrap();
            (seen.mode() & 0o777, seen.uid(), seen.gid())
        };
        let me = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let (user, group) = owner.unwrap_or(me);
        assert_eq!(seen("metrics"), (0o755, user, group));
        assert_eq!(seen("metrics/deep"), (0o755, user, group));
        assert_eq!(seen("cold").0, 0o700);
        assert_eq!(seen(".").1, me.0, "what was there is left alone");
        fs::write(there.join("file"), "").unwrap();
        assert!(make_folder(&there.join("file/below"), 0o755, None).is_err());
    }
}
