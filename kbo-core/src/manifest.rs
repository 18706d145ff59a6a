//! The manifest of a backup: the record of what it holds. Written last, it is what makes a backup exist.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{BackupId, ClusterId, ClusterName, NodeName};
use crate::inventory::{Dataset, Role};
use crate::ports::node::CleanStopProof;

/// The format number that this version of kbo writes.
pub const FORMAT: u32 = 1;

/// What a backup covers, and the folder of the store it lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackupKind {
    /// Configuration and data of every node.
    Cluster,
    /// Configuration only; taken without stopping anything.
    Config,
    /// Data only.
    Data,
}

impl BackupKind {
    /// Every kind, in the order of the store's folders.
    pub const ALL: [BackupKind; 3] = [BackupKind::Cluster, BackupKind::Config, BackupKind::Data];

    /// The kind's name, as in the store's folders.
    pub fn as_str(self) -> &'static str {
        match self {
            BackupKind::Cluster => "cluster",
            BackupKind::Config => "config",
            BackupKind::Data => "data",
        }
    }

    /// The datasets of every node that a backup of this kind holds.
    pub fn datasets(self) -> &'static [Dataset] {
        match self {
            BackupKind::Cluster => &[Dataset::Config, Dataset::Data],
            BackupKind::Config => &[Dataset::Config],
            BackupKind::Data => &[Dataset::Data],
        }
    }
}

impl std::fmt::Display for BackupKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One backup: who, when, what, and a hash of everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format of the store and of this document.
    pub format: u32,
    /// The backup.
    pub id: BackupId,
    /// What it covers.
    pub kind: BackupKind,
    /// The cluster's name in kbo.toml.
    pub cluster: ClusterName,
    /// Kafka's cluster id; `None` only where no node's meta.properties was in scope or readable.
    pub cluster_id: Option<ClusterId>,
    /// The version of kbo that wrote it.
    pub kbo_version: String,
    /// When the run began.
    pub created: Timestamp,
    /// When the manifest was written.
    pub committed: Timestamp,
    /// From the first stop to the last ready, where anything was stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// Why and how the guarantees are weaker than usual; empty for a clean backup.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caveats: Vec<String>,
    /// What was found damaged of the source data while they were archived as they were; empty where all was sound. `None` in backups
    /// of kbo 0.1.0, which told it among the caveats; their `SHA256SUMS` need not list the manifest, either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<Vec<String>>,
    /// Partitions that were not whole before the backup: no leader, a replica that is dead or on an offline log dir. The backup is
    /// good for all others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<String>,
    /// The nodes, in start order.
    pub nodes: Vec<NodeRecord>,
    /// The archives, in the order of the nodes.
    pub archives: Vec<ArchiveRecord>,
}

/// The time in which the cluster was not whole.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// The first stop began.
    pub from: Timestamp,
    /// The last node was ready.
    pub to: Timestamp,
    /// The same as a length, in seconds, from a monotonic clock.
    pub seconds: f64,
}

/// One node as it was at the time of the backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// The node's name.
    pub name: NodeName,
    /// Its role.
    pub role: Role,
    /// Kafka's node.id, from meta.properties.
    pub node_id: Option<i32>,
    /// The container's definition, from the engine's inspect, secrets redacted.
    pub container: Option<serde_json::Value>,
    /// The Kafka version, where it could be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka_version: Option<String>,
    /// Proof that Kafka had stopped cleanly before the snapshot; absent for a backup of configuration only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clean_stop: Option<CleanStopProof>,
    /// Whether its lack of a clean stop was known before the backup and accepted: a dead broker, or one with a log dir offline.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub degraded: bool,
}

/// One archive: a node's dataset as tar.zst.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArchiveRecord {
    /// File name in the backup's folder.
    pub name: String,
    /// Whose it is.
    pub node: NodeName,
    /// Which of its datasets.
    pub dataset: Dataset,
    /// Bytes of the archive file.
    pub size: u64,
    /// SHA-256 of the archive file.
    pub sha256: Sha256,
    /// Bytes of the files within.
    pub raw_size: u64,
    /// The directories that it holds. One alone stands at the archive's root; several stand in folders `0/`, `1/` ...
    pub dirs: Vec<DirRecord>,
    /// Everything within, in the archive's order.
    pub files: Vec<FileRecord>,
}

/// A directory of a dataset, and where it stands in the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirRecord {
    /// Path on the node (with the Docker transport: in the container).
    pub path: String,
    /// What stands before its entries in the archive: empty, or a folder and a slash (`0/`).
    pub prefix: String,
}

/// One entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Path within the archive; the root of an archive of one directory is the empty path.
    pub path: String,
    /// File, directory or symbolic link.
    #[serde(flatten)]
    pub kind: FileKind,
    /// Permission bits (07777).
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Modification time.
    pub mtime: Timestamp,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum FileKind {
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
        /// SHA-256 of its content.
        sha256: Sha256,
    },
    /// A directory.
    Dir,
    /// A symbolic link whose target lies inside the directory.
    Symlink {
        /// The target as written in the link.
        target: String,
    },
}

/// A SHA-256 digest, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha256(pub [u8; 32]);

impl std::fmt::Display for Sha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl std::str::FromStr for Sha256 {
    type Err = crate::ids::InvalidId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || crate::ids::InvalidId {
            what: "SHA-256 digest",
            text: text.to_owned(),
            why: "64 lower-case hexadecimal digits",
        };
        let digits = text.as_bytes();
        if digits.len() != 64 || !digits.iter().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(invalid());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let nibble = |c: u8| if c.is_ascii_digit() { c - b'0' } else { c - b'a' + 10 };
            *byte = nibble(pair[0]) << 4 | nibble(pair[1]);
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Sha256 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl ArchiveRecord {
    /// The archive's file name.
    pub fn file_name(node: &NodeName, dataset: Dataset) -> String {
        format!("{node}.{dataset}.tar.zst")
    }

    /// What each of its directories takes on a disk, in bytes: every file fills its last block.
    pub fn dir_sizes(&self) -> Vec<u64> {
        const BLOCK: u64 = 4096;
        let mut sizes = vec![0; self.dirs.len()];
        for file in &self.files {
            let FileKind::File { size, .. } = file.kind else {
                continue;
            };
            let holder = self.dirs.iter().position(|dir| file.path.starts_with(&dir.prefix));
            if let Some(sum) = holder.and_then(|at| sizes.get_mut(at)) {
                *sum += size.next_multiple_of(BLOCK);
            }
        }
        sizes
    }
}

impl Manifest {
    /// What was found damaged of the source data; nothing where all was sound.
    pub fn source_damage(&self) -> Vec<&str> {
        match &self.damage {
            Some(damage) => damage.iter().map(String::as_str).collect(),
            // Every damage of a segment ends in its place, and no other caveat has one.
            None => {
                let caveats = self.caveats.iter().map(String::as_str);
                caveats.filter(|caveat| caveat.contains(", at byte ")).collect()
            }
        }
    }

    /// Whether a node was archived that had not stopped cleanly. Kafka recovers what it had not closed, and nobody can tell what that
    /// leaves out. A node that was not whole before the backup does not count: such a backup was asked for, and is called degraded.
    pub fn is_unclean(&self) -> bool {
        let whole = self.nodes.iter().filter(|node| !node.degraded);
        let mut proofs = whole.filter_map(|node| node.clean_stop.as_ref());
        proofs.any(|proof| !proof.clean)
    }

    /// The archive of a node's dataset.
    pub fn archive(&self, node: &NodeName, dataset: Dataset) -> Option<&ArchiveRecord> {
        self.archives
            .iter()
            .find(|archive| &archive.node == node && archive.dataset == dataset)
    }

    /// Bytes of all files in all archives.
    pub fn raw_bytes(&self) -> u64 {
        self.archives.iter().map(|archive| archive.raw_size).sum()
    }

    /// Stored bytes per raw byte of a dataset; nothing where the backup holds none of it.
    pub fn ratio(&self, dataset: Dataset) -> Option<f64> {
        let archives = self.archives.iter().filter(|archive| archive.dataset == dataset);
        let (raw, stored) = archives.fold((0_u64, 0_u64), |(raw, stored), archive| {
            (
                raw.saturating_add(archive.raw_size),
                stored.saturating_add(archive.size),
            )
        });
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        (raw > 0).then(|| stored as f64 / raw as f64)
    }

    /// Bytes of all archives.
    pub fn stored_bytes(&self) -> u64 {
        self.archives.iter().map(|archive| archive.size).sum()
    }
}
