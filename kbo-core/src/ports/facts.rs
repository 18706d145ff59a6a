//! A node as found: its container, its engine, its directories, and what its Kafka is configured with.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{ClusterId, RunId};
use crate::inventory::Dataset;
use crate::ports::node::NodeError;
use crate::ports::owner::LeaseFacts;

/// What facts are for: some cost time on big directories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactsRequest {
    /// Datasets whose directories are looked into; none for container and engine alone.
    pub datasets: Vec<Dataset>,
}

/// A node as found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// The node's clock.
    pub clock: Timestamp,
    /// Processors that the agent may use.
    pub cpus: u32,
    /// The container engine.
    pub engine: Result<EngineFacts, NodeError>,
    /// The container; `Ok(None)` where the engine knows none of that name.
    pub container: Result<Option<ContainerFacts>, NodeError>,
    /// The version of the running Kafka, where the node can tell.
    pub kafka_version: Option<String>,
    /// The directories, in the order of the datasets asked for.
    pub dirs: Vec<DirFacts>,
    /// The leases on the node, but for those of the asker's own connection.
    #[serde(default)]
    pub leases: Vec<LeaseFacts>,
    /// What the node's own Kafka is configured with; `None` where there is no container to ask of.
    #[serde(default)]
    pub kafka: Option<Result<KafkaSetup, NodeError>>,
    /// The unit of the node's systemd that runs the container, where one was found.
    #[serde(default)]
    pub unit: Option<UnitFacts>,
    /// What swaps of earlier runs replaced and is kept, oldest run first; whatever datasets were asked for.
    #[serde(default)]
    pub kept: Vec<KeptDir>,
}

/// What a swap replaced, kept beside what took its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptDir {
    /// The run whose swap replaced it; its name tells since when.
    pub run: RunId,
    /// The dataset.
    pub dataset: Dataset,
    /// The directory that it was, as configured.
    pub dir: String,
    /// Where it is now.
    pub path: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// Whether it goes by itself once its node has been ready; else somebody asked for it and removes it.
    pub until_ready: bool,
}

/// A node's own Kafka configuration, as far as a backup depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KafkaSetup {
    /// Where it was read: a file, or the container's environment.
    pub source: String,
    /// `node.id`
    pub node_id: Option<i32>,
    /// `log.dirs`, else `log.dir`; empty where neither is said, or not in a way that is understood.
    pub log_dirs: Vec<KafkaDir>,
    /// `metadata.log.dir`, where it is set; else the metadata log lies in the first of `log_dirs`.
    pub metadata_log_dir: Option<KafkaDir>,
}

/// A directory that Kafka's configuration names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KafkaDir {
    /// Path in the container, as Kafka has it.
    pub path: String,
    /// What kbo.toml has to call it, by the container's mounts; `None` for what lies in no mount.
    pub configured_as: Option<String>,
    /// Which directory that is, where it can be reached.
    pub file: Option<FileId>,
}

/// What a directory is, by whatever path it was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileId {
    /// Device number of its filesystem.
    pub device: u64,
    /// Inode number there.
    pub inode: u64,
}

/// A unit of systemd around a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitFacts {
    /// Its name, such as `kafka.service`.
    pub name: String,
    /// Whether it is active: an inactive unit restarts nothing.
    pub active: bool,
    /// `Type=`
    pub kind: String,
    /// `Restart=`
    pub restart: String,
    /// Exit codes and signals that count as success, of `SuccessExitStatus=`.
    pub success: Vec<String>,
    /// The commands of `ExecStop=` and `ExecStopPost=`.
    pub on_stop: Vec<String>,
    /// `TimeoutStopUSec=` in seconds; `None` for none.
    pub stop_timeout_seconds: Option<u64>,
}

/// The container engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineFacts {
    /// Its version, as it says.
    pub version: String,
    /// The API version spoken with it.
    pub api: String,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerFacts {
    /// The engine's id of it.
    pub id: String,
    /// The image's name.
    pub image: String,
    /// Its state.
    pub state: ContainerState,
    /// Its restart policy (`no`, `always`, `unless-stopped`, `on-failure`).
    pub restart_policy: String,
    /// `HostConfig`, `Config` and network settings as inspected; values of environment variables whose names speak of secrets
    /// are redacted.
    pub definition: serde_json::Value,
    /// Where its directories come from.
    pub mounts: Vec<Mount>,
    /// Which run of which container it is.
    #[serde(default)]
    pub incarnation: Option<Incarnation>,
}

/// Which container it is, and which run of its process is, or was, its last.
///
/// The times are the engine's own words (RFC 3339, by the node's clock; `0001-01-01T00:00:00Z` for never). They are compared with
/// what the same node said before, as equal or not: nothing is computed of them, for clocks differ and are set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incarnation {
    /// The engine's id of the container.
    pub container: String,
    /// When its process was started last.
    pub started: String,
    /// When a process of it ended last.
    pub finished: String,
}

impl Incarnation {
    /// Whether the container is still the same one, and nobody has started it since.
    pub fn is_unstarted_since(&self, earlier: &Incarnation) -> bool {
        self.container == earlier.container && self.started == earlier.started
    }
}

/// A container as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerNow {
    /// Its state.
    pub state: ContainerState,
    /// Which run of which container it is; `None` where there is no container.
    pub incarnation: Option<Incarnation>,
}

/// A mount of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Path on the node (a volume's mountpoint for a volume).
    pub source: String,
    /// Path in the container.
    pub destination: String,
    /// Whether the container may write.
    pub writable: bool,
}

/// What a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    /// Its process runs.
    Running,
    /// The engine is about to start it again by its restart policy.
    Restarting,
    /// Frozen by the engine.
    Paused,
    /// Created or exited.
    Stopped,
    /// The engine knows no such container.
    Missing,
}

impl ContainerState {
    /// Whether its process may touch files.
    pub fn is_up(self) -> bool {
        matches!(
            self,
            ContainerState::Running | ContainerState::Restarting | ContainerState::Paused
        )
    }
}

impl std::fmt::Display for ContainerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ContainerState::Running => "running",
            ContainerState::Restarting => "restarting",
            ContainerState::Paused => "paused",
            ContainerState::Stopped => "stopped",
            ContainerState::Missing => "missing",
        })
    }
}

/// A directory of a dataset as found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirFacts {
    /// The dataset.
    pub dataset: Dataset,
    /// The path as configured.
    pub path: String,
    /// What stands there.
    pub presence: Presence,
    /// Whether a filesystem is mounted right there, so that nothing can lie beside it on the same one.
    pub is_mount_point: bool,
    /// Regular files within.
    pub files: u64,
    /// Bytes of those files.
    pub bytes: u64,
    /// Bytes of those that a snapshot copies rather than links.
    pub copied_bytes: u64,
    /// Device number of the filesystem of the work folder, to add up needs per filesystem.
    pub device: u64,
    /// Bytes that this user may still write there.
    pub free: u64,
    /// Size of that filesystem.
    pub size: u64,
    /// Whether files can be hardlinked from the directory into the work folder.
    pub link: LinkProbe,
    /// meta.properties, for a data directory that has one.
    pub meta: Option<MetaProperties>,
    /// Directories in a log dir that Kafka would refuse to start on.
    pub unknown_dirs: Vec<String>,
    /// Entries that an archive could not hold: sockets, devices, links that lead out, names that are not UTF-8.
    pub unsupported: Vec<String>,
    /// Work folders of earlier runs, beside the directory.
    pub orphans: Vec<RunId>,
    /// Why the directory could not be read to the end.
    pub error: Option<String>,
    /// Which directory it is, whatever links led to it.
    #[serde(default)]
    pub file: Option<FileId>,
    /// Its path without symbolic links, where that is another one.
    #[serde(default)]
    pub resolved: Option<String>,
    /// Whether its filesystem is mounted read-only.
    #[serde(default)]
    pub read_only: bool,
    /// Whether it holds a `meta.properties`, readable or not; data only.
    #[serde(default)]
    pub has_meta: bool,
    /// Whether it holds `.kafka_cleanshutdown`; data only.
    #[serde(default)]
    pub clean_marker: bool,
    /// Whether it holds the log of the metadata quorum; data only.
    #[serde(default)]
    pub has_metadata_log: bool,
    /// Whether it holds replicas of partitions; data only.
    #[serde(default)]
    pub has_partitions: bool,
    /// Whether a process holds Kafka's lock on it; data only.
    #[serde(default)]
    pub locked: bool,
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// A directory with something in it.
    Filled,
    /// An empty directory.
    Empty,
    /// Nothing.
    Missing,
    /// Something that is no directory.
    NotADirectory,
}

/// What a try to hardlink showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkProbe {
    /// It works.
    Works,
    /// It does not, for this reason: the snapshot copies everything.
    Fails(String),
    /// There was no file to try with.
    Untried,
}

/// Room where a directory lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirSpace {
    /// The directory's path as configured.
    pub path: String,
    /// Bytes that this user may still write on its filesystem.
    pub free: u64,
    /// Size of that filesystem.
    pub size: u64,
}

/// Kafka's meta.properties.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaProperties {
    /// cluster.id
    pub cluster_id: Option<ClusterId>,
    /// node.id
    pub node_id: Option<i32>,
    /// directory.id, from 3.7 on.
    pub directory_id: Option<String>,
}
