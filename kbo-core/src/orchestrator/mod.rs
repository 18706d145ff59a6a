//! The orchestrator: prepares a run (facts, preflight, plan) and executes it over the ports.
//!
//! A caller takes it in two steps so that a plan can be shown, or refused, before anything is touched:
//!
//! 1. [`Orchestrator::prepare_backup`] and its siblings look and plan;
//! 2. [`Orchestrator::execute`] does what the plan says, journalled, and undoes it where it fails.

mod aftermath;
mod containers;
mod execute;
mod gated;
mod gather;
mod keeping;
mod kept;
mod others;
mod outcome;
mod phases;
mod prepare;
mod readiness;
mod record;
mod recover;
mod rotation;
mod run;
mod space;
mod steps;
mod stopping;
mod undoing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::cancel::Cancel;
use crate::container::Body;
use crate::floor::FreeFloor;
use crate::ids::{ClusterId, ClusterName, NodeName};
use crate::inventory::{Cluster, Dataset};
use crate::manifest::Manifest;
use crate::plan::{Plan, Previous, Prior};
use crate::ports::clock::Clock;
use crate::ports::monitor::Monitor;
use crate::ports::node::{ContainerReport, FormatRequest, NodeError, NodeFacts, NodeTransport, Owner, PartitionState};
use crate::ports::store::BackupStore;
use crate::preflight::{Degraded, Finding};
use crate::retention::Policies;

pub use containers::{Formatting, Quorum, RunRequest};
pub use gather::Facts;
pub use keeping::LeftOnNode;
pub use kept::KeptNow;
pub use recover::Recovered;
pub use rotation::{Rotation, RotationRequest, condition};

/// How long things may take, and how many at once.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long Kafka has to stop before the engine kills it. A clean stop of a broker may take five minutes.
    pub stop_timeout: Duration,
    /// How long a controller quorum or a broker has to become ready.
    pub ready_timeout: Duration,
    /// How long ISRs have to become whole after the start.
    pub isr_timeout: Duration,
    /// How long a node waits for a vanished caller before it undoes its part.
    pub lease_grace: Duration,
    /// How long the store's disk may take to answer before the run goes on without it.
    pub store_timeout: Duration,
    /// How long a node's engine or disk may take for what moves no data.
    pub node_timeout: Duration,
    /// Pause between two looks at something that is waited for.
    pub poll: Duration,
    /// Nodes worked on side by side.
    pub parallel_nodes: usize,
    /// zstd level.
    pub level: i32,
    /// Compression threads on a node; 0 for its processors.
    pub threads: u32,
    /// Percentage of free space below which preflight warns.
    pub warn_free_percent: u8,
    /// Free space that every node keeps while archives are made.
    pub node_free_floor: FreeFloor,
    /// Accept a node that did not stop cleanly, and say so in the manifest.
    pub allow_unclean: bool,
    /// Back up a cluster that is not whole already: a dead broker, an offline log dir, leaderless partitions.
    pub allow_degraded: bool,
    /// node.ids of brokers and controllers that are gone for good, though registered or named as replicas still.
    pub retired: BTreeSet<i32>,
    /// What is rotated after a backup; nothing where it is absent.
    pub retention: Option<Policies>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            stop_timeout: Duration::from_secs(360),
            ready_timeout: Duration::from_secs(300),
            isr_timeout: Duration::from_secs(120),
            lease_grace: Duration::from_secs(120),
            store_timeout: Duration::from_secs(30),
            node_timeout: Duration::from_secs(150),
            poll: Duration::from_millis(200),
            parallel_nodes: 16,
            level: 1,
            threads: 0,
            warn_free_percent: 20,
            node_free_floor: FreeFloor::Usual,
            allow_unclean: false,
            allow_degraded: false,
            retired: BTreeSet::new(),
            retention: None,
        }
    }
}

/// One cluster, its store, and the means to work on them.
pub struct Orchestrator {
    /// The cluster's name.
    pub name: ClusterName,
    /// Kafka's cluster id, where configured.
    pub cluster_id: Option<ClusterId>,
    /// The inventory.
    pub cluster: Cluster,
    /// The nodes, reached.
    pub nodes: BTreeMap<NodeName, Arc<dyn NodeTransport>>,
    /// The store.
    pub store: Arc<dyn BackupStore>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Who watches.
    pub monitor: Arc<dyn Monitor>,
    /// The operator's wish to stop.
    pub cancel: Cancel,
    /// Limits.
    pub settings: Settings,
    /// The version of kbo, for manifests.
    pub kbo_version: String,
    /// This process, as the nodes are to know it: host, user and pid; a run fills in the rest.
    pub owner: Owner,
}

/// A run, looked at and planned, ready to be executed.
#[derive(Debug)]
pub struct Prepared {
    /// What it will do.
    pub plan: Plan,
    /// What preflight found; a refusal among it makes [`Orchestrator::execute`] refuse.
    pub findings: Vec<Finding>,
    /// Every node's facts.
    pub facts: BTreeMap<NodeName, Result<NodeFacts, NodeError>>,
    /// The centre's time when they were gathered.
    pub looked_at: Timestamp,
    /// Every container as found.
    pub prior: Prior,
    /// The partitions before, where a broker told.
    pub partitions: Option<Vec<PartitionState>>,
    /// What was not whole before.
    pub degraded: Degraded,
    /// The backup that is restored.
    pub source: Option<Manifest>,
    /// What the containers that are created, or format log dirs, are made of.
    pub containers: BTreeMap<NodeName, Body>,
    /// Where the containers differ from that.
    pub comparisons: BTreeMap<NodeName, ContainerReport>,
    /// How log dirs are formatted.
    pub formatting: BTreeMap<NodeName, FormatRequest>,
}

/// A backup asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupRequest {
    /// What it covers.
    pub kind: crate::manifest::BackupKind,
}

/// A restore asked for.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// The backup's manifest.
    pub manifest: Manifest,
    /// The datasets to restore.
    pub datasets: Vec<Dataset>,
    /// Restore though the cluster's id is another one.
    pub other_cluster: bool,
    /// What becomes of the replaced data.
    pub previous: Previous,
}
