//! The files of `certs.output`: read within bounds, written whole, described in set.json.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use jiff::Timestamp;
use kbo_certs::Host;
use kbo_core::manifest::Sha256;
use serde::{Deserialize, Serialize};
use sha2::Digest;
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::atomic;

/// What set.json says. It has no secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Written {
    /// Serial number of the certificate.
    pub(super) serial: String,
    /// SHA-256 of it.
    pub(super) fingerprint: String,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    pub(super) names: Vec<String>,
    /// Whether PKCS12 is that for old Java.
    pub(super) legacy: bool,
    /// The hosts that it was made for.
    pub(super) hosts: Vec<WrittenHost>,
    /// SHA-256 of each file, by its path in the folder.
    pub(super) files: BTreeMap<String, Sha256>,
}

/// A host that a set was made for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WrittenHost {
    pub(super) node: String,
    pub(super) host: String,
}

impl From<&Host> for WrittenHost {
    fn from(host: &Host) -> Self {
        Self {
            node: host.node.clone(),
            host: host.host.clone(),
        }
    }
}

/// Its name.
pub(super) const NAME: &str = "set.json";

impl Written {
    /// Whether it tells of the same files as another. The hosts are those that answered when it was made.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        (&self.fingerprint, self.legacy, &self.files) == (&other.fingerprint, other.legacy, &other.files)
    }

    /// As it stands in a folder; `None` where there is none, or another kbo's.
    pub(super) fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&bounded(&folder.join(NAME)).ok()?).ok()
    }
}

/// The bytes of a file that is no larger than any store.
pub(super) fn bounded(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    const MOST: u64 = 1 << 20;
    // What is no file might never end, or never begin.
    let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    let file = File::options().read(true).custom_flags(nonblock).open(path)?;
    let length = file.metadata().and_then(|there| match there.is_file() {
        true => Ok(there.len().min(MOST)),
        false => Err(io::Error::other("it is no file")),
    })?;
    // Room for all of it from the start: a buffer that grows leaves copies behind.
    let room = usize::try_from(length).map_err(io::Error::other)? + 32;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(MOST + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MOST {
        true => Err(io::Error::other("it is larger than 1 MiB")),
        false => Ok(bytes),
    }
}

pub(super) fn digest(bytes: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::digest(bytes).into())
}

/// Puts files into a folder: all are written beside their places first, and only then each is renamed into its own. For their owner
/// alone. set.json, renamed last, tells a set that is whole. What stood in the one before and is not of this set goes: there are keys.
pub(super) fn put(
    folder: &Path,
    files: &BTreeMap<String, Zeroizing<Vec<u8>>>,
    set: &Written,
    before: Option<&Written>,
) -> io::Result<()> {
    let named = |path: &Path, error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let mut document = serde_json::to_vec_pretty(set)?;
    document.push(b'\n');
    let mut staged = vec![];
    let bytes = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice()));
    for (path, bytes) in bytes.chain([(NAME, document.as_slice())]) {
        let path = folder.join(path);
        let above = path.parent().unwrap_or(folder);
        atomic::make_folder(above, 0o700, None)?;
        if path.is_dir() {
            return Err(named(&path, io::Error::from(io::ErrorKind::IsADirectory)));
        }
        // Made with 0600.
        let mut file = NamedTempFile::with_prefix_in(".kbo-", above)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        staged.push((file, path));
    }
    for (file, path) in staged {
        file.persist(&path).map_err(|error| named(&path, error.error))?;
        if let Some(above) = path.parent() {
            File::open(above)?.sync_all()?;
        }
    }
    let old = before.into_iter().flat_map(|before| before.files.keys());
    for path in old.filter(|path| !set.files.contains_key(*path) && is_ours(path)) {
        let path = folder.join(path);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(named(&path, error)),
            _ => {}
        }
        // A node's folder goes with its last file.
        if let Some(above) = path.parent().filter(|above| *above != folder) {
            let _ = fs::remove_dir(above);
        }
    }
    Ok(())
}

/// Whether a path of set.json is one that kbo writes: a store, or one in the folder of a node.
fn is_ours(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    let is_store = |name: &str| name.starts_with("keystore.") || name.starts_with("truststore.");
    matches!(&parts[..], [name] | [_, name] if is_store(name))
        && !parts.iter().any(|part| matches!(*part, "" | "." | ".."))
}

/// Whether nobody but a file's owner may do anything with it.
pub(super) fn is_for_owner_alone(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|there| there.is_file() && there.mode() & 0o077 == 0)
}

/// Whether the folder may hold the set, or why not: whoever can put files there chooses the keys that go to all nodes.
pub(super) fn usable(folder: &Path) -> Result<(), String> {
    let Ok(there) = fs::metadata(folder) else { return Ok(()) };
    let refuse = |why: &str| Err(format!("{} {why}", folder.display()));
    if !there.is_dir() {
        return refuse("is no folder");
    }
    if there.mode() & 0o002 != 0 {
        return refuse("may be written to by everybody: chmod o-w it, or take another folder for certs.output");
    }
    Ok(())
}
