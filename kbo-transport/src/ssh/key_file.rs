//! A private key's file, looked at before libssh2 does: its errors name neither the file nor what is wrong with it.

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kbo_core::ports::node::{NodeError, NodeErrorKind};
use kbo_core::secret::Secret;
use openssl::base64;

/// A private key as text.
#[derive(Debug)]
pub(super) struct KeyFile {
    pub(super) text: Secret,
    pub(super) encrypted: bool,
}

/// Keys are some kilobytes; whatever is longer is something else.
const LONGEST: u64 = 256 * 1024;

impl KeyFile {
    pub(super) fn read(path: &Path) -> Result<Self, NodeError> {
        let shown = path.display();
        let refused = |text: String| NodeError::new(NodeErrorKind::Refused, text);
        let mut text = String::new();
        let read = kbo_archive::regular::open(path).and_then(|file| {
            let meta = file.metadata()?;
            file.take(LONGEST).read_to_string(&mut text)?;
            Ok(meta)
        });
        let meta = read.map_err(|error| match error.kind() {
            ErrorKind::NotFound => refused(format!("the SSH key {shown} does not exist")),
            ErrorKind::InvalidData => refused(format!(
                "the SSH key {shown} is no text: no private key that ssh would read"
            )),
            _ => refused(format!("the SSH key {shown} cannot be read: {error}")),
        })?;
        // As ssh does: a key that others may read is no secret. Only of our own files: root reads other people's.
        if meta.uid() == rustix::process::getuid().as_raw() && meta.mode() & 0o077 != 0 {
            return Err(refused(format!(
                "the SSH key {shown} may be read by others (mode {:04o})",
                meta.mode() & 0o7777
            ))
            .hint(format!("chmod 600 {}", super::quote::quote(&path.to_string_lossy()))));
        }
        if !text.contains("-----BEGIN ") {
            let what = if text.starts_with("ssh-") || text.starts_with("ecdsa-") {
                "is the public half of a key"
            } else if text.starts_with("PuTTY-User-Key-File") {
                "is in PuTTY's format"
            } else {
                "holds no private key"
            };
            let hint = match what {
                "is the public half of a key" => "give the file without .pub",
                "is in PuTTY's format" => "convert it: puttygen KEY -O private-openssh -o NEWKEY",
                _ => "make one: ssh-keygen -t ed25519",
            };
            return Err(refused(format!("the SSH key {shown} {what}")).hint(hint));
        }
        Ok(Self {
            encrypted: is_encrypted(&text),
            text: Secret::new(text),
        })
    }
}

fn is_encrypted(text: &str) -> bool {
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return true;
    }
    // OpenSSH's own format names its cipher right behind the magic.
    let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    base64::decode_block(&body)
        .ok()
        .and_then(|raw| raw.strip_prefix(b"openssh-key-v1\0".as_slice()).map(<[u8]>::to_vec))
        .is_some_and(|rest| !rest.starts_with(b"\0\0\0\x04none"))
}

/// Whether a key needs a passphrase; `false` for a file that cannot be read, whose error comes when it is used.
pub fn key_is_encrypted(path: &Path) -> bool {
    KeyFile::read(path).is_ok_and(|key| key.encrypted)
}

/// A passphrase from a file: its first line, without the line's end.
///
/// # Errors
///
/// The file cannot be read, or may be read by others.
pub fn read_passphrase(path: &Path) -> Result<Secret, NodeError> {
    let refused = |text: String| NodeError::new(NodeErrorKind::Refused, text);
    let shown = path.display();
    let text = kbo_archive::regular::read_given(path, LONGEST)
        .map_err(|error| refused(format!("the passphrase file {shown} cannot be read: {error}")))?;
    let meta = fs::metadata(path).map_err(|error| refused(format!("the passphrase file {shown}: {error}")))?;
    if meta.uid() == rustix::process::getuid().as_raw() && meta.mode() & 0o077 != 0 {
        return Err(refused(format!(
            "the passphrase file {shown} may be read by others (mode {:04o})",
            meta.mode() & 0o7777
        ))
        .hint(format!("chmod 600 {}", super::quote::quote(&path.to_string_lossy()))));
    }
    Ok(Secret::new(text.lines().next().unwrap_or_default()))
}
