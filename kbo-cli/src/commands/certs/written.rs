//! The files of `certs.output`: read within bounds, written whole, described in set.json.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
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
    /// As it stands in a folder; `None` where there is none, or another kbo's.
    pub(super) fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&bounded(&folder.join(NAME)).ok()?).ok()
    }
}

/// The bytes of a file that is no larger than any store.
pub(super) fn bounded(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    const MOST: u64 = 1 << 20;
    let mut bytes = Zeroizing::new(vec![]);
    File::open(path)?.take(MOST + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MOST {
        true => Err(io::Error::other("it is larger than 1 MiB")),
        false => Ok(bytes),
    }
}

pub(super) fn digest(bytes: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::digest(bytes).into())
}

/// Puts files into a folder: all are written beside their places first, and only then each is renamed into its own. For their owner
/// alone. set.json, renamed last, tells a set that is whole.
pub(super) fn put(folder: &Path, files: &BTreeMap<String, Zeroizing<Vec<u8>>>, set: &Written) -> io::Result<()> {
    let mut document = serde_json::to_vec_pretty(set)?;
    document.push(b'\n');
    let mut staged = vec![];
    let bytes = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice()));
    for (path, bytes) in bytes.chain([(NAME, document.as_slice())]) {
        let path = folder.join(path);
        let above = path.parent().unwrap_or(folder);
        atomic::make_folder(above, 0o700, None)?;
        // Made with 0600.
        let mut file = NamedTempFile::with_prefix_in(".kbo-", above)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        staged.push((file, path));
    }
    for (file, path) in staged {
        file.persist(&path).map_err(|error| error.error)?;
        if let Some(above) = path.parent() {
            File::open(above)?.sync_all()?;
        }
    }
    Ok(())
}

/// Whether the folder may hold the set: others must not be able to put files there.
pub(super) fn is_folder_or_nothing(folder: &Path) -> bool {
    fs::metadata(folder).map_or(true, |there| there.is_dir())
}
