//! The users of the machine that schedules are for.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) home: PathBuf,
    /// Their number, and that of their group.
    pub(crate) ids: (u32, u32),
}

/// A user of this machine, from wherever it has its users.
///
/// The system's own program is asked: kbo is linked statically, and the C library's lookup loads modules, which ends such a program.
pub(crate) fn here(name: &str) -> anyhow::Result<Option<User>> {
    let output = match Command::new("getent").args(["passwd", name]).output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(in_file(Path::new("/etc/passwd"), name)?),
        Err(error) => return Err(error).context("cannot run `getent`"),
    };
    match output.status.code() {
        Some(0) => Ok(find(&String::from_utf8_lossy(&output.stdout), name)),
        // So getent says that there is none.
        Some(2) => Ok(None),
        _ => bail!(
            "`getent passwd {name}` failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        ),
    }
}

/// A user of an image.
pub(crate) fn in_file(passwd: &Path, name: &str) -> io::Result<Option<User>> {
    match std::fs::read(passwd) {
        Ok(text) => Ok(find(&String::from_utf8_lossy(&text), name)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// `name:password:uid:gid:comment:home:shell`
fn find(text: &str, name: &str) -> Option<User> {
    let lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.into_iter().find_map(|fields| match fields[..] {
        [of, _, user, group, _, home, _] if of == name => Some(User {
            home: home.into(),
            ids: (user.parse().ok()?, group.parse().ok()?),
        }),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_whole_name_and_root_is_one_of_every_machine() {
        let text = "kafka2:x:1:2::/a:/bin/sh\nkafka:x:500:600:Kafka,,,:/srv/kafka:/usr/sbin/nologin\n+::::::\n";
        let kafka = User {
            home: "/srv/kafka".into(),
            ids: (500, 600),
        };
        assert_eq!(find(text, "kafka"), Some(kafka));
        assert_eq!((find(text, "kaf"), find("broken:x:1", "broken")), (None, None));
        assert_eq!(here("root").unwrap().unwrap().ids, (0, 0));
        assert_eq!(here("nobody-of-kbo").unwrap(), None);
        assert_eq!(in_file(Path::new("/nonexistent/passwd"), "root").unwrap(), None);
    }
}
