//! The key pair of this machine: made where there is none, and its public half, as authorized_keys has it.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use kbo_core::ports::node::{NodeError, NodeErrorKind};
use kbo_core::secret::Secret;
use openssl::base64;
use openssl::pkey::PKey;

use super::key_file::KeyFile;
use super::known_hosts::{fingerprint, key_type};

const MAGIC: &[u8] = b"openssh-key-v1\0";

/// The public half of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// The line of authorized_keys.
    pub line: String,
    /// Its fingerprint.
    pub fingerprint: String,
}

impl PublicKey {
    fn of(blob: &[u8], comment: &str) -> Self {
        let line = format!("{} {} {comment}", key_type(blob), base64::encode_block(blob));
        Self {
            line: line.trim_end().to_owned(),
            fingerprint: fingerprint(blob),
        }
    }
}

/// Makes an Ed25519 key pair at `path`, with the public half beside it. What is there is never overwritten.
///
/// # Errors
/// A file that is there already, or a folder that cannot be written to.
pub fn make(path: &Path, comment: &str) -> Result<PublicKey, NodeError> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        let text = format!("no SSH key can be made at {}: {what}: {error}", path.display());
        NodeError::new(NodeErrorKind::Io, text)
    };
    let public_path = beside(path);
    if public_path.exists() {
        return Err(failed(
            "a public key lies there without its private half",
            &public_path.display(),
        )
        .hint("move it away, or name another key"));
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| failed("its folder cannot be made", &error))?;
    }
    let pair = PKey::generate_ed25519().map_err(|error| failed("no randomness", &error))?;
    let public = pair.raw_public_key().map_err(|error| failed("openssl", &error))?;
    let secret = pair.raw_private_key().map_err(|error| failed("openssl", &error))?;
    let mut check = [0; 4];
    openssl::rand::rand_bytes(&mut check).map_err(|error| failed("no randomness", &error))?;
    let blob = [string(b"ssh-ed25519"), string(&public)].concat();
    let text = private_text(&blob, &secret, &public, check, comment);
    let public = PublicKey::of(&blob, comment);
    write(&public_path, 0o644, &format!("{}\n", public.line)).map_err(|error| failed("its public half", &error))?;
    if let Err(error) = write(path, 0o600, text.expose()) {
        let _ = fs::remove_file(&public_path);
        return Err(failed("its private half", &error));
    }
    Ok(public)
}

/// The public half of the key at `path`: out of the key itself, or from the file beside it.
///
/// # Errors
/// No such key, or one of which the public half is not known.
pub fn public_half(path: &Path) -> Result<PublicKey, NodeError> {
    let key = KeyFile::read(path)?;
    let written = kbo_archive::regular::read_to_string(&beside(path), 1 << 16).ok();
    let words: Vec<&str> = written
        .as_deref()
        .map(|text| text.split_whitespace().collect())
        .unwrap_or_default();
    let comment = words.get(2..).unwrap_or_default().join(" ");
    if let Some(blob) = blob_of(key.text.expose()) {
        return Ok(PublicKey::of(&blob, &comment));
    }
    let beside = words.get(1).and_then(|word| base64::decode_block(word).ok());
    match beside.filter(|blob| words.first().is_some_and(|kind| **kind == key_type(blob))) {
        Some(blob) => Ok(PublicKey::of(&blob, &comment)),
        None => {
            let shown = super::quote::quote(&path.to_string_lossy());
            let text = format!("the public half of the SSH key {} is not known", path.display());
            Err(NodeError::new(NodeErrorKind::Refused, text).hint(format!(
                "write it beside the key: ssh-keygen -y -f {shown} > {shown}.pub"
            )))
        }
    }
}

/// OpenSSH's own format has it in the clear, whether the key is encrypted or not.
fn blob_of(text: &str) -> Option<Vec<u8>> {
    let body = text.split("-----BEGIN OPENSSH PRIVATE KEY-----").nth(1)?;
    let body = body.split("-----END").next()?;
    let body: String = body.split_whitespace().collect();
    let bytes = base64::decode_block(&body).ok()?;
    let mut rest = bytes.strip_prefix(MAGIC)?;
    // Cipher, key derivation, its options; then the number of keys.
    for _ in 0..3 {
        (_, rest) = read(rest)?;
    }
    let (blob, _) = read(rest.get(4..)?)?;
    (!key_type(blob).is_empty()).then(|| blob.to_vec())
}

fn read(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u32::from_be_bytes(*bytes.first_chunk::<4>()?) as usize;
    let rest = bytes.get(4..)?;
    (length <= rest.len()).then(|| rest.split_at(length))
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), bytes].concat()
}

/// OpenSSH's format (PROTOCOL.key), unencrypted.
fn private_text(blob: &[u8], secret: &[u8], public: &[u8], check: [u8; 4], comment: &str) -> Secret {
    let pair = string(&[secret, public].concat());
    let mut inner = [&check[..], &check, blob, &pair, &string(comment.as_bytes())].concat();
    for pad in 1u8.. {
        if inner.len().is_multiple_of(8) {
            break;
        }
        inner.push(pad);
    }
    let head = [
        MAGIC,
        &string(b"none"),
        &string(b"none"),
        &string(b""),
        &1u32.to_be_bytes(),
    ]
    .concat();
    let all = base64::encode_block(&[head, string(blob), string(&inner)].concat());
    let mut text = String::from("-----BEGIN OPENSSH PRIVATE KEY-----\n");
    let mut rest = all.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(70));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text.push_str("-----END OPENSSH PRIVATE KEY-----\n");
    Secret::new(text)
}

/// A new file, durable; one that is there is an error.
fn write(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if written
        .as_ref()
        .is_err_and(|error| error.kind() != ErrorKind::AlreadyExists)
    {
        let _ = fs::remove_file(path);
    }
    written
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_alone_and_its_public_half_is_known_without_the_file_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ssh/id");
        let made = make(&path, "kbo@here").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(public_half(&path).unwrap(), made);
        let before = fs::read(&path).unwrap();
        assert!(make(&path, "again").is_err());
        fs::remove_file(beside(&path)).unwrap();
        assert!(make(&path, "again").is_err());
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(public_half(&path).unwrap().fingerprint, made.fingerprint);
    }

    #[test]
    fn damaged_keys_have_no_public_half_and_do_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("id");
        make(&path, "kbo").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        for end in 0..text.len() {
            let _ = blob_of(&text[..end]);
        }
        assert!(blob_of("-----BEGIN RSA PRIVATE KEY-----").is_none());
    }
}
