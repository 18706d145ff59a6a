//! The port to one node: its container, its files, its Kafka.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::ids::{NodeName, RunId};
use crate::inventory::Dataset;
use crate::manifest::{DirRecord, FileRecord, Sha256};
pub use crate::ports::container::{ContainerReport, ContainerRequest, FormatReport, FormatRequest, QuorumSetup};
pub use crate::ports::facts::{
    ContainerFacts, ContainerNow, ContainerState, DirFacts, DirSpace, EngineFacts, FactsRequest, FileId, Incarnation,
    KafkaDir, KafkaSetup, KeptDir, LinkProbe, MetaProperties, Mount, NodeFacts, Presence, UnitFacts,
};
pub use crate::ports::files::{FilesReport, FilesRequest, KeptOf, NewFile, PlacedFile};
pub use crate::ports::listener::{ListenerFacts, Shown};
pub use crate::ports::owner::{Claim, ClaimReport, Held, LeaseFacts, LeftUndone, Owner};
use crate::ports::stream::{ByteSink, ByteSource};

/// One node, reached somehow.
///
/// # Contract
///
/// Every implementation, fake and decorator passes the suite in `testing::conformance`.
///
/// - **Idempotence.** Every operation may be called again after any outcome, and then finds the state it wants: a stop of a
///   stopped container is [`StopOutcome::AlreadyStopped`], dropping what is not there is done.
/// - **Honest reports.** `stop` and `start` say what they found, so that an undo reverses only what was done.
/// - **Atomicity.** `swap` and `swap_back` change each directory by one rename; a directory is never half swapped.
///   `snapshot` and `stage` leave nothing that a later operation could take for complete when they fail.
/// - **Nothing inside log.dirs.** All of kbo's files on a node lie in a work folder beside the directory they belong to.
/// - **Cancellation.** Dropping a future abandons the operation: the node may still finish it. `archive` and `stage` end
///   early when the sink or source fails. The caller cleans up with `clean`.
/// - **The lease.** From the first `stop` on, a node whose caller vanishes without `release` undoes its own part after a
///   grace period: a swapped directory is swapped back, the container that was stopped is started, the work folder removed.
///   The lease belongs to the run that `claim` or the first request names, whatever connection it comes by. Once the node has
///   undone its part, or another has taken the node, every operation for that run fails with [`NodeErrorKind::LeaseLost`], until
///   a `claim` says that the run is being undone.
/// - **One owner.** Nothing is changed on a node that a living run of somebody else holds: [`NodeErrorKind::Taken`].
/// - **Keeping.** `holds` says what is swapped for a run, `agree` makes the node keep it if its caller vanishes, `forgo` ends the
///   lease without a goodbye. A node must not take back alone what the whole cluster has taken up, so every node agrees before
///   the first one forgoes.
#[async_trait]
pub trait NodeTransport: Send + Sync {
    /// The node's name.
    fn name(&self) -> &NodeName;

    /// Everything that preflight wants to know; nothing is changed but for link() probes beside the directories.
    async fn facts(&self, request: &FactsRequest) -> Result<NodeFacts, NodeError>;

    /// Room on the filesystems of the datasets' directories. Answered at any time, also while an archive of the node is on its way.
    async fn space(&self, datasets: &[Dataset]) -> Result<Vec<DirSpace>, NodeError>;

    /// Claims the node for a run, before anything of it is changed. What dead runs of others left to undo is undone, and told.
    ///
    /// # Errors
    /// [`NodeErrorKind::Taken`] where a living run of another centre holds the node. The claim counts all the same: it goes with
    /// every later connection.
    async fn claim(&self, claim: &Claim) -> Result<ClaimReport, NodeError>;

    /// The container now: what it does, and whether somebody has started it since an earlier look.
    async fn look(&self) -> Result<ContainerNow, NodeError>;

    /// The container's state now.
    async fn state(&self) -> Result<ContainerState, NodeError> {
        Ok(self.look().await?.state)
    }

    /// Stops the container, waiting for Kafka up to the timeout before the engine kills it, and takes the lease.
    async fn stop(&self, request: &StopRequest) -> Result<StopOutcome, NodeError>;

    /// Starts the container. Returns when the engine has started it, not when Kafka is ready.
    async fn start(&self) -> Result<StartOutcome, NodeError>;

    /// Asks the node's own Kafka listener.
    async fn kafka(&self, question: KafkaQuestion) -> Result<KafkaAnswer, NodeError>;

    /// Whether Kafka stopped cleanly, as its log dirs show it. The container must be stopped.
    async fn prove_clean(&self) -> Result<CleanStopProof, NodeError>;

    /// Takes a snapshot of the datasets into the run's work folder. Data must be at rest; configuration may be in use.
    async fn snapshot(&self, request: &SnapshotRequest) -> Result<SnapshotReport, NodeError>;

    /// Streams a dataset of the run's snapshot as tar.zst into the sink.
    async fn archive(&self, request: &ArchiveRequest, sink: &mut dyn ByteSink) -> Result<ArchiveReport, NodeError>;

    /// Unpacks an archive beside the live directories and verifies every byte against `request.files`.
    async fn stage(&self, request: &StageRequest, source: &mut dyn ByteSource) -> Result<StageReport, NodeError>;

    /// Puts the run's staged datasets in the place of the live ones. The container must be stopped.
    async fn swap(&self, request: &SwapRequest) -> Result<SwapOutcome, NodeError>;

    /// Undoes `swap`: the live directories are again what they were before it.
    async fn swap_back(&self, request: &SwapRequest) -> Result<SwapOutcome, NodeError>;

    /// Compares, creates, replaces or removes the container.
    async fn container(&self, request: &ContainerRequest) -> Result<ContainerReport, NodeError>;

    /// What the node's properties file (by its path in the container) says of the quorum.
    async fn quorum_setup(&self, properties: &str) -> Result<QuorumSetup, NodeError>;

    /// Formats log dirs beside the live ones, staged for `swap`, by Kafka's own tool in a one-shot container. The container must be
    /// stopped or missing.
    async fn format(&self, request: &FormatRequest) -> Result<FormatReport, NodeError>;

    /// Removes work folders: of one run, or of every run but those named.
    async fn clean(&self, request: &CleanRequest) -> Result<CleanReport, NodeError>;

    /// Puts small files into a directory of the node, or looks at them. Takes no lease, and the container may run.
    async fn files(&self, request: &FilesRequest) -> Result<FilesReport, NodeError>;

    /// The node's listeners; with `handshake` the certificates that those with TLS show.
    async fn listeners(&self, handshake: bool) -> Result<Vec<ListenerFacts>, NodeError>;

    /// What the node holds of a run, whose lease it still has.
    async fn holds(&self, run: &RunId) -> Result<Held, NodeError>;

    /// The node agrees, durably, to keep what is swapped for the run: if its caller vanishes now, it swaps nothing back, and its lease
    /// waits for somebody who knows what the whole cluster does.
    async fn agree(&self, run: &RunId) -> Result<(), NodeError>;

    /// Ends the run's lease: from here on the node undoes nothing by itself, and only the run's journal knows the way. The
    /// connection stays. A lease that is gone already is no error.
    async fn forgo(&self, run: &RunId) -> Result<(), NodeError>;

    /// Gives the lease back and says goodbye. Further calls may reconnect.
    async fn release(&self) -> Result<(), NodeError>;
}

/// A stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopRequest {
    /// On whose behalf.
    pub run: RunId,
    /// How long Kafka has before the engine kills it.
    pub timeout: Duration,
    /// How long the node waits for a vanished caller to come back before it undoes its part; `None` takes no lease, for stops
    /// that are meant to last.
    pub lease: Option<Lease>,
}

/// What a node needs to undo its part alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// How long to wait for the caller.
    pub grace: Duration,
}

/// What a stop found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopOutcome {
    /// It ran and was stopped.
    Stopped,
    /// It did not run.
    AlreadyStopped,
}

/// What a start found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartOutcome {
    /// It was started.
    Started,
    /// It ran already.
    AlreadyRunning,
}

/// A question to the node's own Kafka listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KafkaQuestion {
    /// The metadata quorum, of a controller (DescribeQuorum; only the leader answers it).
    Quorum,
    /// Is the broker serving requests (ApiVersions; answered only after unfencing)?
    Alive,
    /// Every partition's leader, replicas and ISR, of a broker (Metadata).
    Partitions,
    /// Every registered broker, of a broker (DescribeCluster); fenced ones from Kafka 4.0 on.
    Brokers,
}

/// What the listener said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KafkaAnswer {
    /// No (full) answer yet, for this reason; asking again makes sense.
    NotYet(String),
    /// The broker serves requests.
    Alive,
    /// A controller that is not the leader; the leader's node.id where it knows it.
    NotLeader(Option<i32>),
    /// The quorum, as its leader sees it.
    Quorum(QuorumState),
    /// Every partition.
    Partitions(Vec<PartitionState>),
    /// Every registered broker, by node.id.
    Brokers(Vec<BrokerState>),
}

/// A broker as the cluster has it registered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BrokerState {
    /// Its node.id.
    pub id: i32,
    /// `host:port` that it advertises.
    pub address: String,
    /// Fenced: registered, and not alive.
    pub fenced: bool,
}

/// The metadata quorum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuorumState {
    /// node.id of the leader; negative for none.
    pub leader_id: i32,
    /// The leader's epoch.
    pub epoch: i32,
    /// Negative until a majority has caught up.
    pub high_watermark: i64,
    /// The voters: (node.id, log end offset; negative where unknown).
    pub voters: Vec<(i32, i64)>,
}

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PartitionState {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// node.id of its leader; negative for none.
    pub leader: i32,
    /// node.ids of its replicas.
    pub replicas: Vec<i32>,
    /// node.ids of those in sync.
    pub isr: Vec<i32>,
    /// node.ids of replicas whose log dir is offline.
    pub offline: Vec<i32>,
}

impl std::fmt::Display for PartitionState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// What a node's log dirs say of the last stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanStopProof {
    /// Whether the stop was clean in every log dir.
    pub clean: bool,
    /// Each log dir's evidence.
    pub dirs: Vec<CleanDir>,
}

/// One log dir's evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanDir {
    /// The log dir.
    pub path: String,
    /// Whether `.kafka_cleanshutdown` is there; brokers only.
    pub marker: bool,
    /// The broker epoch in it.
    pub broker_epoch: Option<i64>,
    /// Whether some process holds Kafka's lock on the directory.
    pub locked: bool,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRequest {
    /// Whose work folder it goes into.
    pub run: RunId,
    /// What to take.
    pub datasets: Vec<Dataset>,
}

/// A snapshot as taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SnapshotReport {
    /// Files hardlinked, wholly or up to a length.
    pub linked_files: u64,
    /// Bytes not copied thanks to it.
    pub linked_bytes: u64,
    /// Files copied.
    pub copied_files: u64,
    /// Bytes copied.
    pub copied_bytes: u64,
    /// Bytes of everything, by dataset: the size of the archive to come before compression.
    pub bytes: Vec<(Dataset, u64)>,
    /// Oddities that do not stop the backup.
    pub warnings: Vec<String>,
}

/// An archive of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveRequest {
    /// Whose snapshot.
    pub run: RunId,
    /// Which dataset of it.
    pub dataset: Dataset,
    /// zstd level, 1 to 19.
    pub level: i32,
    /// Compression threads; 0 for the node's processors.
    pub threads: u32,
}

/// An archive as sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveReport {
    /// Bytes sent.
    pub size: u64,
    /// SHA-256 of the bytes sent.
    pub sha256: Sha256,
    /// Bytes of the files within.
    pub raw_size: u64,
    /// The directories.
    pub dirs: Vec<DirRecord>,
    /// Everything within.
    pub files: Vec<FileRecord>,
    /// Record batches whose own checksum was found wrong, and the like: `path: what`. The bytes are archived as they are.
    pub damage: Vec<String>,
    /// What could not be proven of it, though nothing speaks against it.
    #[serde(default)]
    pub caveats: Vec<String>,
}

/// A restore of one dataset, to be staged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageRequest {
    /// Whose work folder it goes into.
    pub run: RunId,
    /// Which dataset.
    pub dataset: Dataset,
    /// Expected SHA-256 of the archive.
    pub sha256: Sha256,
    /// The directories of the archive; restored in this order into the node's configured ones.
    pub dirs: Vec<DirRecord>,
    /// Everything that must be within, and nothing else may be.
    pub files: Vec<FileRecord>,
}

/// A dataset as staged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageReport {
    /// Files written.
    pub files: u64,
    /// Bytes written.
    pub bytes: u64,
}

/// A swap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwapRequest {
    /// Whose staged datasets.
    pub run: RunId,
    /// Which.
    pub datasets: Vec<Dataset>,
    /// Swap in what this earlier run replaced and kept, where it stands, instead of what `run` has staged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_of: Option<RunId>,
}

/// What a swap (or its undo) found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwapOutcome {
    /// At least one directory was swapped.
    Swapped,
    /// Everything was already as wanted.
    AlreadySwapped,
}

/// A clean-up of work folders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CleanRequest {
    /// Of this run: snapshots, staging, and what a swap replaced.
    Run(RunId),
    /// Of this run, but what a swap replaced is moved to `<directory>.previous-<run>` and kept.
    RunKeepingPrevious(RunId),
    /// The same, moved to `<directory>.until-ready-<run>`: it goes once the node has been ready on what replaced it. A directory that
    /// had not been there is kept as an empty one.
    RunKeepingUntilReady(RunId),
    /// What was kept of this run, by either name.
    Kept(RunId),
    /// Of every run but these.
    Orphans {
        /// Runs whose folders stay.
        keep: Vec<RunId>,
    },
}

/// What a clean-up removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanReport {
    /// Runs whose folders were removed.
    pub removed: Vec<RunId>,
    /// Directories kept, as paths.
    pub kept: Vec<String>,
}

/// Why an operation on a node failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct NodeError {
    /// What kind of failure, for decisions.
    pub kind: NodeErrorKind,
    /// What failed, where (path, container, address) and why, in one sentence.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

/// Kinds of failures on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeErrorKind {
    /// The node could not be reached, or the connection to it broke.
    Unreachable,
    /// It was reached, but its identity or ours was not accepted (host key, login).
    Refused,
    /// The agent could not be brought or started there, or speaks another protocol.
    Agent,
    /// The container engine failed.
    Engine,
    /// A file operation failed.
    Io,
    /// No room.
    NoSpace,
    /// The node is not in the state the operation needs.
    State,
    /// The node has undone its part of the run by itself, or somebody else has taken it: the run must not go on.
    LeaseLost,
    /// A living run of somebody else holds the node.
    Taken,
    /// What was read is not what it should be: a hash, an archive, a record.
    Damaged,
    /// It was not done in time: the node's engine or one of its disks hangs.
    TimedOut,
    /// The caller ended it.
    Interrupted,
}

impl NodeErrorKind {
    /// Whether time alone may mend it: a node that reboots, an engine that restarts.
    pub fn may_pass(self) -> bool {
        matches!(
            self,
            NodeErrorKind::Unreachable
                | NodeErrorKind::Refused
                | NodeErrorKind::Agent
                | NodeErrorKind::Engine
                | NodeErrorKind::TimedOut
        )
    }
}

impl NodeError {
    /// An error with no hint.
    pub fn new(kind: NodeErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
        }
    }

    /// That `node` is not held for `run` any more.
    pub fn lease_lost(node: &NodeName, run: &RunId) -> Self {
        let text = format!(
            "{node} is no longer held for run {run}: it had not heard of kbo for longer than its grace, and puts itself back as it was found"
        );
        Self::new(NodeErrorKind::LeaseLost, text)
            .hint("was kbo or the network paused for long? limits.lease_grace_seconds says how long a node waits")
    }

    /// That a living run of somebody else holds `node`.
    pub fn taken(node: &NodeName, run: &RunId, owner: Option<&Owner>) -> Self {
        let text = format!("{node} belongs to a living {}", crate::ports::owner::holder(run, owner));
        Self::new(NodeErrorKind::Taken, text).hint("wait until that run has ended, or end it where it runs")
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
