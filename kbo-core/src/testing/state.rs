//! What a fake node is made of; tests turn its knobs through `FakeCluster::with`.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;

use super::files::FilesDir;
use crate::ids::{ClusterId, NodeName, RunId};
use crate::inventory::{Dataset, Role};
use crate::ports::node::{ContainerState, Incarnation, LinkProbe, Owner};

/// A directory's files by path.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A directory's content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// Its files, but for the marker.
    pub files: Files,
    /// Whether Kafka's marker of a clean stop is there.
    pub clean: bool,
}

/// A run's work folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Work {
    /// Snapshots.
    pub snapshot: BTreeMap<Dataset, Vec<Image>>,
    /// Unpacked and verified, waiting for the swap.
    pub staged: BTreeMap<Dataset, Vec<Option<Image>>>,
    /// What the swap replaced.
    pub replaced: BTreeMap<Dataset, Vec<Option<Image>>>,
    /// What is staged is what this run had replaced.
    pub previous_of: Option<RunId>,
}

/// What a run replaced and is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Previous {
    /// It goes once the node was ready.
    pub until_ready: bool,
    /// The directories of each dataset.
    pub images: BTreeMap<Dataset, Vec<Option<Image>>>,
}

/// The node's promise to undo its part alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) run: RunId,
    pub(super) owner: Option<Owner>,
    pub(super) start: bool,
    /// What is swapped stays swapped if the caller vanishes.
    pub(super) agreed: bool,
    pub(super) grace: Duration,
}

/// A node.
#[derive(Debug, Clone)]
pub struct NodeState {
    /// Its role.
    pub role: Role,
    /// node.id in its meta.properties.
    pub node_id: i32,
    /// cluster.id in its meta.properties.
    pub cluster_id: ClusterId,
    /// Its container.
    pub container: ContainerState,
    /// The configured directories.
    pub paths: BTreeMap<Dataset, Vec<String>>,
    /// What is in them; `None` for a directory that does not exist.
    pub live: BTreeMap<Dataset, Vec<Option<Image>>>,
    /// How long Kafka takes to stop cleanly.
    pub stop_takes: Duration,
    /// How long Kafka takes to listen after a start.
    pub boots_in: Duration,
    /// How long a broker takes to be in sync after it listens; `None` for never.
    pub in_sync_after: Option<Duration>,
    /// The container exits at once after every start.
    pub exits: bool,
    /// The container exits at once when it is started on swapped data.
    pub exits_on_restored: bool,
    /// Nothing reaches the node.
    pub unreachable: bool,
    /// Bytes free.
    pub free: u64,
    /// The filesystem's size.
    pub size: u64,
    /// What the link() probe shows.
    pub link: LinkProbe,
    /// Log dirs of its Kafka that kbo.toml does not name.
    pub forgotten_dirs: Vec<String>,
    /// Directories in the log dirs that Kafka would refuse.
    pub unknown_dirs: Vec<String>,
    /// Entries that no archive can hold.
    pub unsupported: Vec<String>,
    /// The data directories are mount points.
    pub mount_point: bool,
    /// The data directories are in no mount of the container.
    pub unmounted: bool,
    /// How far the node's clock is ahead.
    pub skew: SignedDuration,
    /// Some other process holds Kafka's lock.
    pub locked: bool,
    /// Damage that archiving reports.
    pub damage: Vec<String>,
    /// Work folders by run.
    pub work: BTreeMap<RunId, Work>,
    /// Replaced directories kept on request, as paths.
    pub kept: Vec<String>,
    /// What runs replaced and is kept, on request or until the node was ready.
    pub previous: BTreeMap<RunId, Previous>,
    /// Directories of small files, by path.
    pub certs: BTreeMap<String, FilesDir>,
    /// The chain that its listeners with TLS show while it listens, each certificate as DER.
    pub chain: Vec<Vec<u8>>,
    /// The container's definition, as the engine was asked for it; `None` where somebody else made it.
    pub defined: Option<serde_json::Value>,
    /// The container that a run's replacement has put aside.
    pub aside: Option<(RunId, Option<serde_json::Value>)>,
    /// controller.quorum.voters is set.
    pub static_quorum: bool,
    /// Containers removed.
    pub removed: u32,
    /// Its container's restart policy: `no`, `always` or `unless-stopped`.
    pub restart_policy: &'static str,
    /// How often its container was started, and how often its process ended.
    pub(super) starts: u32,
    pub(super) ends: u32,
    /// How often the container was made anew.
    pub(super) made: u32,
    /// Somebody has stopped it through the engine since it was started last.
    pub(super) stopped_by_hand: bool,
    /// Somebody else than kbo has started it.
    pub(super) started_by_another: bool,
    /// Since when the container has been in its state.
    pub(super) since: Duration,
    pub(super) stopped_by_kbo: bool,
    pub(super) lease: Option<Lease>,
}

impl NodeState {
    /// Which run of which container it is.
    pub(super) fn incarnation(&self, name: &NodeName) -> Option<Incarnation> {
        (self.container != ContainerState::Missing).then(|| Incarnation {
            container: format!("id-{name}-{}", self.made),
            started: format!("start {}", self.starts),
            finished: format!("end {}", self.ends),
        })
    }

    /// Its process ends.
    pub(super) fn end(&mut self, now: Duration) {
        self.container = ContainerState::Stopped;
        self.ends += 1;
        self.since = now;
    }

    /// Whether its process listens.
    pub(super) fn listens(&self, now: Duration) -> bool {
        self.container == ContainerState::Running && now.saturating_sub(self.since) >= self.boots_in
    }

    /// Whether a run's restored data are in place.
    pub(super) fn is_swapped(&self, run: &RunId) -> bool {
        self.work.get(run).is_some_and(|work| !work.replaced.is_empty())
    }

    /// The files of a dataset, directory by directory; those of missing directories are none.
    pub fn files(&self, dataset: Dataset) -> Vec<Files> {
        let images = self.live.get(&dataset).into_iter().flatten();
        images
            .map(|image| image.as_ref().map(|image| image.files.clone()).unwrap_or_default())
            .collect()
    }
}
