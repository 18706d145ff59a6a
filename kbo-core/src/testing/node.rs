//! A transport to a node of the fake cluster.

mod session;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use self::session::Session;
use super::clock::breathe;
use super::cluster::{FakeCluster, World};
use super::containers;
use super::facts;
use super::lease::{run_container, swap_back};
use super::packing::{pack, sha256, size_of, unpack};
use super::previous::Keep;
use super::state::{Image, Lease as Promise, NodeState, Work};
use super::stream::CHUNK;
use crate::ids::{NodeName, RunId};
use crate::inventory::Dataset;
use crate::ports::clock::Clock;
use crate::ports::node::*;
use crate::ports::stream::{ByteSink, ByteSource, StreamError};

/// Grace of a lease that no stop has set yet.
const GRACE: Duration = Duration::from_secs(120);

/// A transport to a node of a [`FakeCluster`].
#[derive(Debug)]
pub struct FakeNode {
    name: NodeName,
    cluster: FakeCluster,
    session: Mutex<Session>,
}

impl FakeNode {
    pub(super) fn new(name: NodeName, cluster: FakeCluster) -> Self {
        Self {
            name,
            cluster,
            session: Mutex::default(),
        }
    }

    async fn world(&self) -> Result<MutexGuard<'_, World>, NodeError> {
        breathe().await;
        let world = self.cluster.world();
        if world.nodes[&self.name].unreachable {
            let message = format!("{} cannot be reached", self.name);
            return Err(NodeError::new(NodeErrorKind::Unreachable, message).hint("is it switched on?"));
        }
        let bound = self.session().bound.clone();
        if let Some(run) = bound
            && world.nodes[&self.name]
                .lease
                .as_ref()
                .is_none_or(|lease| lease.run != run)
        {
            return Err(NodeError::lease_lost(&self.name, &run));
        }
        Ok(world)
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before anything is changed for a run (whichever, where none is named): nobody else has the node.
    fn own(&self, world: &World, run: Option<&RunId>) -> Result<(), NodeError> {
        let session = self.session();
        match &world.nodes[&self.name].lease {
            Some(lease) if Some(&lease.run) != run && !session.knows(lease) => {
                Err(NodeError::taken(&self.name, &lease.run, lease.owner.as_ref()))
            }
            _ => Ok(()),
        }
    }

    /// Whether another run of the same centre has the node, which it does not take over.
    fn is_beside(&self, world: &World, run: &RunId) -> bool {
        let session = self.session();
        let lease = world.nodes[&self.name].lease.as_ref();
        lease.is_some_and(|lease| lease.run != *run && session.knows(lease) && !session.holds(lease))
    }

    /// A run takes the lease, or has it.
    fn bind<'w>(&self, world: &'w mut World, run: &RunId) -> Result<&'w mut NodeState, NodeError> {
        self.own(world, Some(run))?;
        let mut session = self.session();
        let owner = session.claim.as_ref().map(|claim| claim.owner.clone());
        let undoing = session.claim.as_ref().is_some_and(|claim| claim.undoing);
        session.bound = (!undoing).then(|| run.clone());
        let node = self.node(world);
        let fresh = || Promise {
            run: run.clone(),
            owner,
            start: false,
            agreed: false,
            grace: GRACE,
        };
        if node.lease.as_ref().is_none_or(|lease| lease.run != *run) {
            node.lease = Some(fresh());
        }
        Ok(node)
    }

    fn node<'a>(&self, world: &'a mut World) -> &'a mut NodeState {
        world.nodes.get_mut(&self.name).expect("a node of the cluster")
    }

    fn at_rest(&self, world: &mut World, what: &str) -> Result<(), NodeError> {
        if world.check_at_rest(&self.name, what) {
            return Ok(());
        }
        Err(state(format!("the container of {} is up", self.name)))
    }
}

fn state(message: String) -> NodeError {
    NodeError::new(NodeErrorKind::State, message)
}

/// From its first touch on, a node knows what it would have to undo alone.
pub(super) fn work<'a>(node: &'a mut NodeState, run: &RunId) -> &'a mut Work {
    node.work.entry(run.clone()).or_default()
}

#[async_trait]
impl NodeTransport for FakeNode {
    fn name(&self) -> &NodeName {
        &self.name
    }

    async fn facts(&self, request: &FactsRequest) -> Result<NodeFacts, NodeError> {
        let mut world = self.world().await?;
        let node = self.node(&mut world);
        let now = self.cluster.clock().now();
        let leases = {
            let session = self.session();
            let others = node.lease.iter().filter(|lease| !session.knows(lease));
            let facts = |lease: &Promise| LeaseFacts {
                run: lease.run.clone(),
                owner: lease.owner.clone(),
                is_alive: true,
                window_open: lease.start || node.is_swapped(&lease.run),
            };
            others.map(facts).collect()
        };
        Ok(facts::of(node, &self.name, request, now, leases))
    }

    async fn space(&self, datasets: &[Dataset]) -> Result<Vec<DirSpace>, NodeError> {
        let mut world = self.world().await?;
        let node = self.node(&mut world);
        let paths = datasets.iter().filter_map(|dataset| node.paths.get(dataset)).flatten();
        let space = |path: &String| DirSpace {
            path: path.clone(),
            free: node.free,
            size: node.size,
        };
        Ok(paths.map(space).collect())
    }

    async fn claim(&self, claim: &Claim) -> Result<ClaimReport, NodeError> {
        {
            let mut session = self.session();
            if claim.undoing || session.bound != claim.run {
                session.bound = None;
            }
            session.claim = Some(claim.clone());
        }
        let mut world = self.world().await?;
        self.own(&world, None)?;
        if let Some(lease) = &mut self.node(&mut world).lease
            && claim.undoing
        {
            lease.agreed = false;
        }
        Ok(ClaimReport::default())
    }

    async fn look(&self) -> Result<ContainerNow, NodeError> {
        let mut world = self.world().await?;
        let node = self.node(&mut world);
        Ok(ContainerNow {
            state: node.container,
            incarnation: node.incarnation(&self.name),
        })
    }

    async fn stop(&self, request: &StopRequest) -> Result<StopOutcome, NodeError> {
        let mut world = self.world().await?;
        let now = self.cluster.clock().elapsed();
        let container = world.nodes[&self.name].container;
        if container == ContainerState::Missing {
            return Err(state(format!("there is no container of {}", self.name)));
        }
        self.own(&world, Some(&request.run))?;
        if let Some(lease) = &request.lease {
            let node = self.bind(&mut world, &request.run)?;
            if let Some(promise) = &mut node.lease {
                promise.grace = lease.grace;
                promise.start |= container.is_up();
            }
        }
        if container == ContainerState::Stopped {
            return Ok(StopOutcome::AlreadyStopped);
        }
        world.check_stop(&self.name, now);
        // Without a quorum a broker waits five minutes for leave to go, unless it has never found one since it was started.
        let has_registered = !world.nodes[&self.name].started_by_another;
        let forsaken = has_registered && world.nodes[&self.name].role.is_broker() && !world.is_operational(now);
        let node = self.node(&mut world);
        let takes = if forsaken {
            node.stop_takes + Duration::from_secs(300)
        } else {
            node.stop_takes
        };
        let clean = takes <= request.timeout && container == ContainerState::Running && node.role.is_broker();
        for image in node.live.get_mut(&Dataset::Data).into_iter().flatten().flatten() {
            image.clean = clean;
        }
        self.cluster.clock().advance(takes.min(request.timeout));
        node.end(now + takes);
        node.stopped_by_kbo = true;
        node.stopped_by_hand = true;
        Ok(StopOutcome::Stopped)
    }

    async fn start(&self) -> Result<StartOutcome, NodeError> {
        let mut world = self.world().await?;
        let now = self.cluster.clock().elapsed();
        match world.nodes[&self.name].container {
            ContainerState::Missing => return Err(state(format!("there is no container of {}", self.name))),
            ContainerState::Stopped => {}
            _ => return Ok(StartOutcome::AlreadyRunning),
        }
        self.own(&world, None)?;
        world.check_start(&self.name, now);
        let node = self.node(&mut world);
        run_container(node, now);
        // Its container is up: only restored data would still have to be undone.
        if let Some(run) = node.lease.as_ref().map(|held| held.run.clone())
            && !node.is_swapped(&run)
            && let Some(held) = &mut node.lease
        {
            held.start = false;
        }
        Ok(StartOutcome::Started)
    }

    async fn kafka(&self, question: KafkaQuestion) -> Result<KafkaAnswer, NodeError> {
        let world = self.world().await?;
        world.answer(&self.name, question, self.cluster.clock().elapsed())
    }

    async fn prove_clean(&self) -> Result<CleanStopProof, NodeError> {
        let mut world = self.world().await?;
        self.at_rest(&mut world, "a proof")?;
        let node = self.node(&mut world);
        let is_broker = node.role.is_broker();
        let paths = node.paths.get(&Dataset::Data).into_iter().flatten();
        let images = node.live.get(&Dataset::Data).into_iter().flatten();
        let dirs: Vec<CleanDir> = paths
            .zip(images)
            .map(|(path, image)| CleanDir {
                path: path.clone(),
                marker: image.as_ref().is_some_and(|image| image.clean),
                broker_epoch: image.as_ref().filter(|image| image.clean).map(|_| 7),
                locked: node.locked,
            })
            .collect();
        Ok(CleanStopProof {
            clean: !is_broker || dirs.iter().all(|dir| dir.marker),
            dirs,
        })
    }

    async fn snapshot(&self, request: &SnapshotRequest) -> Result<SnapshotReport, NodeError> {
        let mut world = self.world().await?;
        if request.datasets.contains(&Dataset::Data) {
            self.at_rest(&mut world, "a snapshot")?;
        }
        let is_beside = request.datasets == [Dataset::Config] && self.is_beside(&world, &request.run);
        let node = match is_beside {
            // Of two runs of one centre the one that archives has the only lease that this node keeps. The other has nothing at stake.
            true => self.node(&mut world),
            false => self.bind(&mut world, &request.run)?,
        };
        let mut report = SnapshotReport {
            linked_files: 0,
            linked_bytes: 0,
            copied_files: 0,
            copied_bytes: 0,
            bytes: vec![],
            warnings: vec![],
        };
        for dataset in &request.datasets {
            let live = node.live.get(dataset).cloned().unwrap_or_default();
            let images: Option<Vec<Image>> = live.into_iter().collect();
            let Some(images) = images else {
                work(node, &request.run).snapshot.clear();
                return Err(NodeError::new(
                    NodeErrorKind::Io,
                    format!("a {dataset} directory does not exist"),
                ));
            };
            let mut sum = 0;
            for (path, bytes) in images.iter().flat_map(|image| &image.files) {
                let size = bytes.len() as u64;
                sum += size;
                if path.to_ascii_lowercase().ends_with("log") {
                    report.linked_files += 1;
                    report.linked_bytes += size;
                } else {
                    report.copied_files += 1;
                    report.copied_bytes += size;
                }
            }
            report.bytes.push((*dataset, sum));
            work(node, &request.run).snapshot.insert(*dataset, images);
        }
        Ok(report)
    }

    async fn archive(&self, request: &ArchiveRequest, sink: &mut dyn ByteSink) -> Result<ArchiveReport, NodeError> {
        let (packed, damage) = {
            let mut world = self.world().await?;
            let node = self.node(&mut world);
            let snapshot = node
                .work
                .get(&request.run)
                .and_then(|work| work.snapshot.get(&request.dataset));
            let Some(images) = snapshot else {
                return Err(state(format!(
                    "there is no snapshot of {} of {}",
                    request.dataset, self.name
                )));
            };
            let paths = node.paths.get(&request.dataset).cloned().unwrap_or_default();
            (pack(&paths, images)?, node.damage.clone())
        };
        for chunk in packed.bytes.chunks(CHUNK) {
            breathe().await;
            sink.write(Bytes::copy_from_slice(chunk)).await.map_err(stream_failed)?;
        }
        Ok(ArchiveReport {
            size: packed.bytes.len() as u64,
            sha256: sha256(&packed.bytes),
            raw_size: packed.raw_size,
            dirs: packed.dirs,
            files: packed.files,
            caveats: vec![],
            damage: if request.dataset == Dataset::Data {
                damage
            } else {
                vec![]
            },
        })
    }

    async fn stage(&self, request: &StageRequest, source: &mut dyn ByteSource) -> Result<StageReport, NodeError> {
        {
            let mut world = self.world().await?;
            let node = self.bind(&mut world, &request.run)?;
            let count = node.paths.get(&request.dataset).map_or(0, Vec::len);
            if count != request.dirs.len() {
                let message = format!(
                    "{} {} directories do not fit {count}",
                    request.dirs.len(),
                    request.dataset
                );
                return Err(state(message));
            }
            let folder = work(node, &request.run);
            if folder.replaced.contains_key(&request.dataset) {
                return Err(state(format!(
                    "{} of {} is swapped already",
                    request.dataset, self.name
                )));
            }
            folder.staged.remove(&request.dataset);
        }
        let mut bytes = vec![];
        while let Some(chunk) = source.next().await.map_err(stream_failed)? {
            bytes.extend_from_slice(&chunk);
        }
        if sha256(&bytes) != request.sha256 {
            let message = format!(
                "the archive of {} of {} has another SHA-256",
                request.dataset, self.name
            );
            return Err(NodeError::new(NodeErrorKind::Damaged, message));
        }
        let images = unpack(&bytes, &request.dirs, &request.files)?;
        let mut world = self.world().await?;
        let node = self.node(&mut world);
        let files = images.iter().map(|image| image.files.len() as u64).sum();
        let sum = images.iter().map(|image| size_of(&image.files)).sum();
        let staged = images.into_iter().map(Some).collect();
        work(node, &request.run).staged.insert(request.dataset, staged);
        Ok(StageReport { files, bytes: sum })
    }

    async fn swap(&self, request: &SwapRequest) -> Result<SwapOutcome, NodeError> {
        let mut world = self.world().await?;
        let node = self.node(&mut world);
        let empty = Work::default();
        let folder = node.work.get(&request.run).unwrap_or(&empty);
        if request
            .datasets
            .iter()
            .all(|dataset| folder.replaced.contains_key(dataset))
        {
            return Ok(SwapOutcome::AlreadySwapped);
        }
        let kept = request.previous_of.as_ref().and_then(|of| node.previous.get(of));
        let kept: BTreeMap<_, _> = kept.map(|kept| kept.images.clone()).unwrap_or_default();
        let is_ready = |dataset: &&Dataset| {
            kept.contains_key(dataset) || folder.staged.contains_key(dataset) || folder.replaced.contains_key(dataset)
        };
        if let Some(missing) = request.datasets.iter().find(|dataset| !is_ready(dataset)) {
            return Err(state(format!("no {missing} is staged on {}", self.name)));
        }
        self.at_rest(&mut world, "a swap")?;
        let node = self.bind(&mut world, &request.run)?;
        if request.previous_of.is_some() {
            let folder = work(node, &request.run);
            folder.previous_of.clone_from(&request.previous_of);
            for dataset in request
                .datasets
                .iter()
                .filter(|dataset| !folder.replaced.contains_key(dataset))
            {
                let images = kept.get(dataset).cloned().unwrap_or_default();
                folder.staged.insert(*dataset, images);
            }
        }
        for dataset in &request.datasets {
            let staged = node
                .work
                .get_mut(&request.run)
                .and_then(|work| work.staged.remove(dataset));
            if let Some(staged) = staged {
                let replaced = node.live.insert(*dataset, staged).unwrap_or_default();
                work(node, &request.run).replaced.insert(*dataset, replaced);
            }
        }
        Ok(SwapOutcome::Swapped)
    }

    async fn swap_back(&self, request: &SwapRequest) -> Result<SwapOutcome, NodeError> {
        let mut world = self.world().await?;
        if !self.node(&mut world).is_swapped(&request.run) {
            return Ok(SwapOutcome::AlreadySwapped);
        }
        self.at_rest(&mut world, "a swap back")?;
        let node = self.node(&mut world);
        if swap_back(node, &request.run, &request.datasets) {
            Ok(SwapOutcome::Swapped)
        } else {
            Ok(SwapOutcome::AlreadySwapped)
        }
    }

    async fn container(&self, request: &ContainerRequest) -> Result<ContainerReport, NodeError> {
        let mut world = self.world().await?;
        containers::container(&mut world, &self.name, request)
    }

    async fn quorum_setup(&self, _properties: &str) -> Result<QuorumSetup, NodeError> {
        let mut world = self.world().await?;
        let node = self.node(&mut world);
        let address = format!("{}:9093", self.name);
        Ok(QuorumSetup {
            node_id: Some(node.node_id),
            is_static: node.static_quorum,
            controller: node.role.is_controller().then_some(address),
        })
    }

    async fn format(&self, request: &FormatRequest) -> Result<FormatReport, NodeError> {
        let mut world = self.world().await?;
        self.bind(&mut world, &request.run)?;
        containers::format(&mut world, &self.name, request)
    }

    async fn clean(&self, request: &CleanRequest) -> Result<CleanReport, NodeError> {
        let mut world = self.world().await?;
        let runs: Vec<RunId> = match request {
            CleanRequest::Run(run)
            | CleanRequest::RunKeepingPrevious(run)
            | CleanRequest::RunKeepingUntilReady(run) => vec![run.clone()],
            CleanRequest::Kept(run) => {
                self.own(&world, None)?;
                let removed = self.node(&mut world).previous.remove(run).map(|_| run.clone());
                return Ok(CleanReport {
                    removed: removed.into_iter().collect(),
                    kept: vec![],
                });
            }
            CleanRequest::Orphans { keep } => {
                let node = self.node(&mut world);
                let leased = node.lease.as_ref().map(|lease| &lease.run);
                let runs = node
                    .work
                    .keys()
                    .filter(|run| !keep.contains(run) && Some(*run) != leased);
                runs.cloned().collect()
            }
        };
        let mut report = CleanReport {
            removed: vec![],
            kept: vec![],
        };
        if let CleanRequest::Run(run)
        | CleanRequest::RunKeepingPrevious(run)
        | CleanRequest::RunKeepingUntilReady(run) = request
        {
            self.own(&world, Some(run))?;
            self.session().bound = None;
        }
        let keep = match request {
            CleanRequest::RunKeepingPrevious(_) => Keep::Previous,
            CleanRequest::RunKeepingUntilReady(_) => Keep::UntilReady,
            _ => Keep::Nothing,
        };
        for run in runs {
            if let Some(kept) = world.drop_work(&self.name, &run, keep) {
                report.kept.extend(kept);
                report.removed.push(run);
            }
        }
        Ok(report)
    }

    async fn holds(&self, run: &RunId) -> Result<Held, NodeError> {
        let mut world = self.world().await?;
        self.own(&world, Some(run))?;
        let node = self.node(&mut world);
        let swapped = node.work.get(run).map(|work| work.replaced.keys().copied().collect());
        Ok(Held {
            swapped: swapped.unwrap_or_default(),
        })
    }

    async fn agree(&self, run: &RunId) -> Result<(), NodeError> {
        let mut world = self.world().await?;
        self.own(&world, Some(run))?;
        if let Some(lease) = &mut self.node(&mut world).lease {
            lease.agreed = true;
        }
        Ok(())
    }

    async fn forgo(&self, run: &RunId) -> Result<(), NodeError> {
        self.session().bound = None;
        let mut world = self.world().await?;
        self.own(&world, Some(run))?;
        self.node(&mut world).lease = None;
        Ok(())
    }

    async fn files(&self, request: &FilesRequest) -> Result<FilesReport, NodeError> {
        request.check()?;
        let mut world = self.world().await?;
        let dir = self.node(&mut world).certs.entry(request.dir().to_owned()).or_default();
        dir.carry_out(request, (0, 0))
    }

    async fn listeners(&self, handshake: bool) -> Result<Vec<ListenerFacts>, NodeError> {
        let mut world = self.world().await?;
        let now = self.cluster.clock().elapsed();
        Ok(super::listeners::of(self.node(&mut world), now, handshake))
    }

    async fn release(&self) -> Result<(), NodeError> {
        let mut world = self.world().await?;
        let mut session = self.session();
        let node = self.node(&mut world);
        node.lease.take_if(|lease| session.holds(lease));
        session.bound = None;
        Ok(())
    }
}

fn stream_failed(error: StreamError) -> NodeError {
    match error {
        StreamError::Interrupted => NodeError::new(NodeErrorKind::Interrupted, "interrupted"),
        error => NodeError::new(NodeErrorKind::Io, crate::report::chain(&error)),
    }
}
