//! What may be asked of a node about its container as a thing: to be made, replaced, removed; and its log dirs to be formatted.

use serde::{Deserialize, Serialize};

use crate::container::{Body, Difference};
use crate::ids::{ClusterId, RunId};

/// Something to be done to the container, or looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerRequest {
    /// Compare it with this.
    Compare(Body),
    /// Create it where there is none. One that is there stays as it is.
    Create(Body),
    /// Put the container that is there aside, stopped, and create this one. Undone by `TakeBack`, made final by `DropReplaced`.
    Replace {
        /// On whose behalf.
        run: RunId,
        /// What to create.
        body: Body,
    },
    /// Undo the run's `Replace`: its container goes, and what was put aside is in its place again.
    TakeBack(RunId),
    /// Remove what the run's `Replace` has put aside.
    DropReplaced(RunId),
    /// Remove the container, which must be stopped. Its volumes and directories stay.
    Remove,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerReport {
    /// Of a comparison: there is none. Whether the engine has the image already.
    Missing {
        /// Whether the engine has the image.
        has_image: bool,
    },
    /// Of a comparison: where it is otherwise; empty for nowhere.
    Differs(Vec<Difference>),
    /// Something was changed.
    Changed,
    /// Everything was as wanted.
    Unchanged,
}

/// Log dirs to be formatted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FormatRequest {
    /// On whose behalf.
    pub run: RunId,
    /// The container whose image, user and mounts serve.
    pub body: Body,
    /// Kafka's properties file, as a path in the container.
    pub properties: String,
    /// The log dirs as paths in the container, in the order of the node's data directories.
    pub targets: Vec<String>,
    /// The id to write.
    pub cluster_id: ClusterId,
    /// Further arguments of `kafka-storage format`: those of a dynamic quorum.
    pub arguments: Vec<String>,
}

/// Log dirs as formatted, beside the live ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormatReport {
    /// What the tool said.
    pub output: String,
}

/// What a node's properties file says of the quorum it is to join.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct QuorumSetup {
    /// node.id
    pub node_id: Option<i32>,
    /// Whether controller.quorum.voters is set: a static quorum.
    pub is_static: bool,
    /// `host:port` of the node's own controller listener, as others reach it.
    pub controller: Option<String>,
}
