//! Files that readers see whole: the old one or the new one, after a power cut too.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

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
}
