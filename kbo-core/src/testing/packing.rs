//! The fakes' archives: any encoding will do as long as its hashes are true.

use sha2::Digest;

use crate::manifest::{DirRecord, FileKind, FileRecord, Sha256};
use crate::ports::node::{NodeError, NodeErrorKind};

use super::state::{Files, Image};

/// Kafka's proof of a clean stop.
pub(super) const MARKER: &str = ".kafka_cleanshutdown";

/// The SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::digest(bytes).into())
}

/// What is in an archive: path and content.
type Entries = Vec<(String, Vec<u8>)>;

/// A packed dataset.
pub(super) struct Packed {
    pub(super) bytes: Vec<u8>,
    pub(super) raw_size: u64,
    pub(super) dirs: Vec<DirRecord>,
    pub(super) files: Vec<FileRecord>,
}

pub(super) fn pack(paths: &[String], images: &[Image]) -> Result<Packed, NodeError> {
    let mut entries = Entries::new();
    let mut dirs = vec![];
    for (index, (path, image)) in paths.iter().zip(images).enumerate() {
        let prefix = if images.len() == 1 {
            String::new()
        } else {
            format!("{index}/")
        };
        entries.extend(
            image
                .files
                .iter()
                .map(|(path, bytes)| (format!("{prefix}{path}"), bytes.clone())),
        );
        if image.clean {
            entries.push((
                format!("{prefix}{MARKER}"),
                br#"{"version":0,"brokerEpoch":7}"#.to_vec(),
            ));
        }
        dirs.push(DirRecord {
            path: path.clone(),
            prefix,
        });
    }
    let files: Vec<FileRecord> = entries.iter().map(|(path, bytes)| record(path, bytes)).collect();
    let failed = |error: serde_json::Error| NodeError::new(NodeErrorKind::Io, error.to_string());
    Ok(Packed {
        bytes: serde_json::to_vec(&entries).map_err(failed)?,
        raw_size: entries.iter().map(|(_, bytes)| bytes.len() as u64).sum(),
        dirs,
        files,
    })
}

fn record(path: &str, bytes: &[u8]) -> FileRecord {
    FileRecord {
        path: path.to_owned(),
        kind: FileKind::File {
            size: bytes.len() as u64,
            sha256: sha256(bytes),
        },
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        mtime: jiff::Timestamp::UNIX_EPOCH,
    }
}

/// Unpacks and verifies all of it.
pub(super) fn unpack(bytes: &[u8], dirs: &[DirRecord], files: &[FileRecord]) -> Result<Vec<Image>, NodeError> {
    let damaged = |message: String| NodeError::new(NodeErrorKind::Damaged, message);
    let entries: Entries = serde_json::from_slice(bytes).map_err(|error| damaged(format!("no archive: {error}")))?;
    let mut images: Vec<Image> = dirs.iter().map(|_| Image::default()).collect();
    for wanted in files {
        if !entries.iter().any(|(path, _)| *path == wanted.path) {
            return Err(damaged(format!("{} is not in the archive", wanted.path)));
        }
    }
    for (path, content) in entries {
        let Some(wanted) = files.iter().find(|file| file.path == path) else {
            return Err(damaged(format!("{path} is not in the manifest")));
        };
        if wanted.kind != record(&path, &content).kind {
            return Err(damaged(format!("{path} is not what the manifest says")));
        }
        let place = dirs.iter().position(|dir| path.starts_with(&dir.prefix));
        let Some(index) = place else {
            return Err(damaged(format!("{path} belongs to no directory")));
        };
        let inner = path[dirs[index].prefix.len()..].to_owned();
        if inner == MARKER {
            images[index].clean = true;
        } else {
            images[index].files.insert(inner, content);
        }
    }
    Ok(images)
}

/// Bytes of all files.
pub(super) fn size_of(files: &Files) -> u64 {
    files.values().map(|bytes| bytes.len() as u64).sum()
}
