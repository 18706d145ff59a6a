//! Opening a file that must be one: a named pipe, a device or a socket in its place is refused by name, and nobody waits for it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a file to read it.
///
/// # Errors
/// It cannot be opened; it is something else than a file (`InvalidInput`, and the text says what it is).
pub fn open(path: &Path) -> io::Result<File> {
    open_as(path, OpenOptions::new().read(true))
}

/// Opens a file as `options` say, whose flags of the system are replaced.
///
/// # Errors
/// As for [`open`].
pub fn open_as(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // A pipe that nobody writes to would be waited for by the call itself. On a file the flag does nothing.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let refused = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}, not a file"));
    let file = match options.custom_flags(flags).open(path) {
        Ok(file) => file,
        // A socket cannot be opened at all, nor a pipe to write to which nobody reads.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
            return Err(refused(match std::fs::metadata(path) {
                Ok(there) if there.file_type().is_fifo() => "a named pipe",
                _ => "a socket",
            }));
        }
        Err(error) => return Err(error),
    };
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    Err(refused(if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }))
}

/// Opens what the operator has named to be read: a file, or what a shell hands over by its number (`<(...)`, /dev/stdin), which
/// somebody is there to write.
///
/// # Errors
/// As for [`open`].
pub fn open_given(path: &Path) -> io::Result<File> {
    let is_handed_over = ["/dev/fd", "/proc/self/fd", "/dev/stdin"]
        .iter()
        .any(|place| path.starts_with(place));
    match is_handed_over {
        true => File::open(path),
        false => open(path),
    }
}

/// The text of a file of at most `longest` bytes.
///
/// # Errors
/// As for [`open`]; it is longer, or no text (`InvalidData`).
pub fn read_to_string(path: &Path, longest: u64) -> io::Result<String> {
    text_of(open(path)?, longest)
}

/// The text that the operator has named to be read, of at most `longest` bytes.
///
/// # Errors
/// As for [`open_given`]; it is longer, or no text (`InvalidData`).
pub fn read_given(path: &Path, longest: u64) -> io::Result<String> {
    text_of(open_given(path)?, longest)
}

fn text_of(file: File, longest: u64) -> io::Result<String> {
    let mut text = String::new();
    file.take(longest.saturating_add(1)).read_to_string(&mut text)?;
    if text.len() as u64 > longest {
        let why = format!("it is longer than {longest} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_and_whatever_else_is_there_is_refused_by_name_at_once() {
        let temp = tempfile::tempdir().unwrap();
        let path = |name: &str| temp.path().join(name);
        std::fs::write(path("file"), "text").unwrap();
        assert_eq!(read_to_string(&path("file"), 4).unwrap(), "text");
        assert!(read_to_string(&path("file"), 3).is_err());
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        assert_eq!(read_to_string(&path("link"), 4).unwrap(), "text");
        let made = std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap();
        assert!(made.success());
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        for (name, what) in [("pipe", "a named pipe"), ("socket", "a socket"), ("", "a directory")] {
            let error = open(&path(name)).unwrap_err();
            assert!(error.to_string().contains(what), "{name}: {error}");
        }
        assert!(
            open(Path::new("/dev/zero"))
                .unwrap_err()
                .to_string()
                .contains("a device")
        );
        let to_write = open_as(&path("pipe"), OpenOptions::new().read(true).write(true)).unwrap_err();
        assert!(to_write.to_string().contains("a named pipe"), "{to_write}");
    }
}
