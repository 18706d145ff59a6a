//! A cluster in memory that behaves: containers, files, a quorum, ISRs; and that notices what kbo must never do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;

use super::clock::FakeClock;
use super::faults::Faults;
use super::faulty::FaultyNode;
use super::monitor::Recorder;
use super::node::FakeNode;
use super::shape::Shape;
use super::state::{Files, Image, NodeState};
use super::store::MemoryStore;
use crate::cancel::Cancel;
use crate::ids::{ClusterId, NodeName};
use crate::inventory::{Cluster, Dataset};
use crate::orchestrator::{Orchestrator, Settings};
use crate::plan::Prior;
use crate::ports::node::{BrokerState, ContainerState, LinkProbe, NodeTransport, Owner};
use crate::punctual::PunctualNode;

/// The cluster id of every fake cluster.
const CLUSTER_ID: &str = "AkU3OEVBNTcwNTJENDM2Qk";

/// Everything behind the nodes.
#[derive(Debug)]
pub(super) struct World {
    pub(super) nodes: BTreeMap<NodeName, NodeState>,
    /// Topic, partition, replicas.
    pub(super) partitions: Vec<(String, i32, Vec<i32>)>,
    /// Registered brokers and voters that are none of the nodes.
    pub(super) strangers: Vec<BrokerState>,
    pub(super) strange_voters: Vec<(i32, i64)>,
    pub(super) violations: Vec<String>,
    pub(super) may_start: bool,
    pub(super) piecemeal: bool,
}

/// A cluster in memory. Clones share it.
#[derive(Debug, Clone)]
pub struct FakeCluster {
    pub(super) world: Arc<Mutex<World>>,
    clock: FakeClock,
    cluster: Cluster,
}

impl FakeCluster {
    /// A cluster that has been running for an hour, every node with files of its own and every partition in sync.
    ///
    /// # Panics
    /// A shape that is no cluster.
    pub fn new(shape: Shape) -> Self {
        let clock = FakeClock::default();
        let cluster = shape.cluster();
        let nodes = cluster.start_order().iter().zip(1..).map(|(node, id)| {
            let dirs = [Dataset::Config, Dataset::Data];
            let paths: BTreeMap<Dataset, Vec<String>> = dirs.into_iter().map(|set| (set, node.dirs(set))).collect();
            let live = paths
                .iter()
                .map(|(set, paths)| (*set, images(&node.name, *set, paths.len(), id)));
            let state = NodeState {
                role: node.role,
                node_id: id,
                cluster_id: CLUSTER_ID.parse().expect("a cluster id"),
                container: ContainerState::Running,
                live: live.collect(),
                paths,
                stop_takes: Duration::from_secs(if node.role.is_broker() { 8 } else { 1 }),
                boots_in: Duration::from_secs(2),
                in_sync_after: Some(Duration::from_secs(3)),
                exits: false,
                exits_on_restored: false,
                unreachable: false,
                free: 1 << 40,
                size: 1 << 40,
                link: LinkProbe::Works,
                forgotten_dirs: vec![],
                unknown_dirs: vec![],
                unsupported: vec![],
                mount_point: false,
                unmounted: false,
                skew: SignedDuration::ZERO,
                locked: false,
                damage: vec![],
                work: BTreeMap::new(),
                kept: vec![],
                previous: BTreeMap::new(),
                certs: BTreeMap::new(),
                chain: Vec::new(),
                defined: None,
                aside: None,
                static_quorum: true,
                removed: 0,
                restart_policy: "no",
                starts: 1,
                ends: 0,
                made: 0,
                stopped_by_hand: false,
                started_by_another: false,
                since: Duration::ZERO,
                stopped_by_kbo: false,
                lease: None,
            };
            (node.name.clone(), state)
        });
        let nodes: BTreeMap<NodeName, NodeState> = nodes.collect();
        let brokers: Vec<i32> = nodes
            .values()
            .filter(|node| node.role.is_broker())
            .map(|node| node.node_id)
            .collect();
        let partitions = (0..3).map(|n| ("orders".to_owned(), n, brokers.clone())).collect();
        clock.advance(Duration::from_secs(3600));
        let world = World {
            nodes,
            partitions,
            strangers: vec![],
            strange_voters: vec![],
            violations: vec![],
            may_start: false,
            piecemeal: false,
        };
        Self {
            world: Arc::new(Mutex::new(world)),
            clock,
            cluster,
        }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its clock.
    pub fn clock(&self) -> &FakeClock {
        &self.clock
    }

    /// Its inventory.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Its cluster id.
    ///
    /// # Panics
    /// Never: the id is well formed.
    pub fn id(&self) -> ClusterId {
        CLUSTER_ID.parse().expect("a cluster id")
    }

    /// Turns a node's knobs, or looks at them.
    ///
    /// # Panics
    /// There is no such node.
    pub fn with<T>(&self, name: &str, turn: impl FnOnce(&mut NodeState) -> T) -> T {
        let mut world = self.world();
        let node = world.nodes.iter_mut().find(|(node, _)| node.as_str() == name);
        turn(node.expect("a node of the cluster").1)
    }

    /// Turns every node's knobs.
    pub fn with_all(&self, turn: impl FnMut(&mut NodeState)) {
        self.world().nodes.values_mut().for_each(turn);
    }

    /// Registers a broker that is none of the nodes; with `holds` it is a replica of every partition.
    pub fn stranger(&self, id: i32, fenced: bool, holds: bool) {
        let mut world = self.world();
        world.strangers.push(BrokerState {
            id,
            address: format!("10.0.0.{id}:9092"),
            fenced,
        });
        if holds {
            world
                .partitions
                .iter_mut()
                .for_each(|(_, _, replicas)| replicas.push(id));
        }
    }

    /// Makes a voter of somebody who is none of the nodes; `end` is its log end offset.
    pub fn strange_voter(&self, id: i32, end: i64) {
        self.world().strange_voters.push((id, end));
    }

    /// From now on containers that kbo did not stop may be started: a person asked for it.
    pub fn may_start(&self) {
        self.world().may_start = true;
    }

    /// From now on single controllers may be stopped while brokers run, as long as a quorum is left: a person chose them.
    pub fn piecemeal(&self) {
        self.world().piecemeal = true;
    }

    /// A node's transport.
    ///
    /// # Panics
    /// There is no such node.
    pub fn node(&self, name: &str) -> Arc<FakeNode> {
        let name: NodeName = name.parse().expect("a plain name");
        assert!(self.world().nodes.contains_key(&name), "{name} is a node");
        Arc::new(FakeNode::new(name, self.clone()))
    }

    /// Every node's transport; with faults, behind a [`FaultyNode`].
    pub fn nodes(&self, faults: Option<&Faults>) -> BTreeMap<NodeName, Arc<dyn NodeTransport>> {
        let transport = |name: &NodeName| -> Arc<dyn NodeTransport> {
            let node = self.node(name.as_str());
            match faults {
                Some(faults) => Arc::new(FaultyNode::new(node, faults.clone())),
                None => node,
            }
        };
        let transport = |name: &NodeName| -> Arc<dyn NodeTransport> {
            Arc::new(PunctualNode::new(
                transport(name),
                Arc::new(self.clock.clone()),
                Settings::default().node_timeout,
            ))
        };
        let names: Vec<NodeName> = self.world().nodes.keys().cloned().collect();
        names.into_iter().map(|name| (name.clone(), transport(&name))).collect()
    }

    /// An orchestrator of this cluster and a store.
    ///
    /// # Panics
    /// Never: its name is well formed.
    pub fn orchestrator(&self, store: &MemoryStore, faults: Option<&Faults>) -> Orchestrator {
        Orchestrator {
            name: "fake".parse().expect("a plain name"),
            cluster_id: Some(self.id()),
            cluster: self.cluster.clone(),
            nodes: self.nodes(faults),
            store: Arc::new(store.clone()),
            clock: Arc::new(self.clock.clone()),
            monitor: Arc::new(Recorder::default()),
            cancel: Cancel::default(),
            settings: Settings::default(),
            kbo_version: "0.0.0-test".to_owned(),
            owner: Owner {
                host: "centre".to_owned(),
                user: "kbo".to_owned(),
                pid: 1,
                ..Owner::default()
            },
        }
    }

    /// Every container's state.
    pub fn states(&self) -> Prior {
        self.world()
            .nodes
            .iter()
            .map(|(name, node)| (name.clone(), node.container))
            .collect()
    }

    /// Every node's files, dataset by dataset and directory by directory.
    pub fn content(&self) -> BTreeMap<(NodeName, Dataset), Vec<Files>> {
        let world = self.world();
        let of = |(name, node): (&NodeName, &NodeState)| {
            [Dataset::Config, Dataset::Data].map(|dataset| ((name.clone(), dataset), node.files(dataset)))
        };
        world.nodes.iter().flat_map(of).collect()
    }

    /// Producers were here: every node's data are others than before.
    pub fn write_records(&self, what: &str) {
        self.with_all(|node| {
            for image in node.live.values_mut().flatten().flatten() {
                image
                    .files
                    .insert("orders-0/00000000000000000000.log".to_owned(), what.as_bytes().to_vec());
                image
                    .files
                    .insert(format!("{what}-0/00000000000000000000.log"), b"new".to_vec());
            }
        });
    }

    /// Everything done so far that must never be done.
    pub fn violations(&self) -> Vec<String> {
        self.world().violations.clone()
    }

    /// Everything is now as kbo will find it: what is down was stopped by somebody else.
    pub fn as_found(&self) {
        self.with_all(|node| node.stopped_by_kbo = false);
    }

    /// Forgets the violations so far: they belong to something that the test knows of and accepts.
    pub fn forgive(&self) {
        self.world().violations.clear();
    }

    /// Work folders and leases left on nodes.
    pub fn leftovers(&self) -> Vec<String> {
        let world = self.world();
        let mut left = vec![];
        for (name, node) in &world.nodes {
            left.extend(node.work.keys().map(|run| format!("{name}: work folder of {run}")));
            // A lease with nothing to undo is none.
            let grave = node.lease.iter().filter(|held| held.start);
            left.extend(grave.map(|held| format!("{name}: lease of {}", held.run)));
        }
        left
    }
}

fn images(name: &NodeName, dataset: Dataset, dirs: usize, id: i32) -> Vec<Option<Image>> {
    let image = |dir: usize| {
        let mut files = Files::new();
        match dataset {
            Dataset::Config => {
                files.insert("server.properties".to_owned(), format!("node.id={id}\n").into_bytes());
            }
            Dataset::Data => {
                files.insert(
                    "meta.properties".to_owned(),
                    format!("node.id={id}\ndir={dir}\n").into_bytes(),
                );
                for segment in ["00000000000000000000", "00000000000000000040"] {
                    let text = format!("{name} {dir} {segment} ").repeat(20);
                    files.insert(format!("orders-0/{segment}.log"), text.into_bytes());
                }
            }
        }
        Some(Image { files, clean: false })
    };
    (0..dirs).map(image).collect()
}
