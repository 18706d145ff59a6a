//! The node on this machine: the only code that touches a node's files and its container engine.

mod bridge;
mod container;
mod engine;
mod engine_socket;
#[cfg(test)]
pub(crate) mod fake;
mod format;
pub mod paths;
mod redact;
mod setup;
mod spec;
mod streams;
mod unit;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use kbo_archive::work::Place;
use kbo_archive::{DirSpec, clean, facts, files, kept, snapshot, stage, swap};
use kbo_core::ids::{NodeName, RunId};
use kbo_core::inventory::Dataset;
use kbo_core::ports::listener::ListenerFacts;
use kbo_core::ports::node::{
    ArchiveReport, ArchiveRequest, Claim, ClaimReport, CleanReport, CleanRequest, CleanStopProof, ContainerNow,
    ContainerReport, ContainerRequest, ContainerState, DirSpace, FactsRequest, FilesReport, FilesRequest, FormatReport,
    FormatRequest, Held, KafkaAnswer, KafkaQuestion, NodeError, NodeErrorKind, NodeFacts, NodeTransport, QuorumSetup,
    SnapshotReport, SnapshotRequest, StageReport, StageRequest, StartOutcome, StopOutcome, StopRequest, SwapOutcome,
    SwapRequest,
};
use kbo_core::ports::stream::{ByteSink, ByteSource};

use crate::kafka::{Addresses, Answered, Credentials, NodeKafkaConfig, Prober, Surroundings, Timeouts, version_in};

use container::Container;
use unit::Systemctl;

pub use engine::{Engine, Inspected};
pub use engine_socket::EngineSocket;
pub use spec::{DOCKER_SOCKET, NodeSpec};

/// How much longer than Kafka's own timeout systemd may take to stop a unit.
const UNIT_STOPS: Duration = Duration::from_secs(120);

/// How long systemd may take to start one.
const UNIT_STARTS: Duration = Duration::from_secs(120);

/// Is told how far archiving and staging are: the node, what is being moved (`archive data`), bytes of files done, bytes in all
/// as far as known (0 where not). Called from several threads, often: must be quick.
pub type ProgressSink = Arc<dyn Fn(&NodeName, &str, u64, u64) + Send + Sync>;

/// A node whose directories and engine are on this machine.
///
/// It takes no lease: when its process dies, nobody undoes anything. [`crate::agent`] does, around it.
pub struct LocalNode {
    spec: NodeSpec,
    engine: Arc<dyn Engine>,
    systemctl: Systemctl,
    progress: Option<ProgressSink>,
    /// Where Kafka answered.
    answered: Answered,
    /// Bytes of the last snapshot, by dataset, to say how far its archive is.
    snapshot: Mutex<Option<SnapshotSize>>,
}

/// How large a snapshot is.
struct SnapshotSize {
    run: RunId,
    bytes: Vec<(Dataset, u64)>,
}

impl LocalNode {
    /// The node of `spec`, with the engine behind the socket that it names.
    pub fn new(spec: NodeSpec, progress: Option<ProgressSink>) -> Self {
        let engine = Arc::new(EngineSocket::new(&spec.engine_socket));
        Self {
            spec,
            engine,
            systemctl: Systemctl::default(),
            progress,
            answered: Answered::default(),
            snapshot: Mutex::default(),
        }
    }

    /// The same with another engine.
    #[must_use]
    pub fn with_engine(mut self, engine: Arc<dyn Engine>) -> Self {
        self.engine = engine;
        self
    }

    /// What it was made of.
    pub fn spec(&self) -> &NodeSpec {
        &self.spec
    }

    /// The folder beside the first data directory that holds kbo's own files; `None` for a node without directories.
    pub fn work_root(&self) -> Option<PathBuf> {
        let data = self.spec.dirs.iter().find(|dir| dir.dataset == Dataset::Data);
        let first = data.or(self.spec.dirs.first())?;
        Place::of(first).ok().map(|place| place.root())
    }

    async fn inspect(&self) -> Result<Option<Inspected>, NodeError> {
        self.engine.inspect(&self.spec.container).await
    }

    fn missing(&self) -> NodeError {
        let text = format!(
            "the engine on {} knows no container {}",
            self.spec.node, self.spec.container
        );
        NodeError::new(NodeErrorKind::State, text)
            .hint("is `container` (else the node's name) right? `docker ps -a` on the node shows them")
    }

    /// Refuses what may not be done while Kafka runs.
    async fn at_rest(&self, what: &str) -> Result<(), NodeError> {
        match self.state().await? {
            ContainerState::Stopped | ContainerState::Missing => Ok(()),
            state => {
                let container = &self.spec.container;
                let text = format!("the container {container} is {state}: {what} needs it stopped");
                Err(NodeError::new(NodeErrorKind::State, text))
            }
        }
    }

    /// Stops the unit, whose command ends the container. systemd kills after a timeout of its own.
    async fn stop_unit(&self, unit: &str, timeout: Duration) -> Result<(), NodeError> {
        self.systemctl.order("stop", unit, timeout + UNIT_STOPS).await?;
        match self.state().await? {
            state if state.is_up() => {
                let container = &self.spec.container;
                let text = format!("systemd has stopped {unit}, and the container {container} is {state} all the same");
                Err(NodeError::new(NodeErrorKind::State, text)
                    .hint("is it the unit that runs this container? its ExecStop= must stop it"))
            }
            _ => Ok(()),
        }
    }

    /// Whether the run has a work folder beside any of the directories.
    async fn has_work(&self, run: &RunId, dirs: &[DirSpec]) -> Result<bool, NodeError> {
        let (run, dirs) = (run.clone(), dirs.to_vec());
        blocking(move || {
            for dir in &dirs {
                if Place::of(dir)?.runs()?.contains(&run) {
                    return Ok(true);
                }
            }
            Ok::<_, kbo_archive::Error>(false)
        })
        .await
    }

    fn progress_of(&self, what: String, total: u64) -> impl Fn(u64) + Send + Sync + use<> {
        let progress = self.progress.clone();
        let node = self.spec.node.clone();
        move |done| {
            if let Some(progress) = &progress {
                progress(&node, &what, done, total);
            }
        }
    }

    /// The version of the Kafka that runs in the container. It is nice to know: nothing fails for want of it.
    async fn kafka_version(&self) -> Option<String> {
        let lines = self.engine.command_lines(&self.spec.container).await;
        let lines = lines.inspect_err(|error| tracing::debug!(%error, "Kafka's version is unknown"));
        lines.ok()?.iter().find_map(|line| version_in(line))
    }

    /// `host:port` of the controllers that a broker registers with, by `controller.quorum.voters`, else
    /// `controller.quorum.bootstrap.servers`; none for a node that is a controller itself, or whose configuration cannot be read.
    pub async fn controllers(&self) -> Vec<String> {
        match self.kafka_now().await {
            Ok((config, ..)) => config.quorum(),
            Err(error) => {
                tracing::warn!(%error, "the controllers' addresses are unknown");
                Vec::new()
            }
        }
    }

    /// What the node's configuration directory, and its container's environment and command, say of Kafka.
    async fn kafka_config(&self, env: &[(String, String)], command: &[String]) -> Result<NodeKafkaConfig, NodeError> {
        let (env, command) = (env.to_vec(), command.to_vec());
        let config_dir = self.config_dir();
        blocking(move || NodeKafkaConfig::read(config_dir.as_deref().filter(|dir| Path::exists(dir)), &env, &command))
            .await
    }

    fn config_dir(&self) -> Option<PathBuf> {
        let mut dirs = self.spec.dirs.iter();
        let dir = dirs.find(|dir| dir.dataset == Dataset::Config)?;
        Some(dir.path.clone())
    }

    /// What the node's configuration says of Kafka now, where that may be found, and the container.
    async fn kafka_now(&self) -> Result<(NodeKafkaConfig, Addresses, Inspected), NodeError> {
        let container = self.inspect().await?.ok_or_else(|| self.missing())?;
        let config = self.kafka_config(&container.env, &container.command).await?;
        let addresses = Addresses {
            container_ips: container.addresses.clone(),
            hosts: self.spec.hosts.clone(),
        };
        Ok((config, addresses, container))
    }

    /// A prober for what the node's configuration says now.
    async fn prober(&self) -> Result<Prober, NodeError> {
        let (config, addresses, container) = self.kafka_now().await?;
        let spec = self.spec.clone();
        let mounts = container.facts.mounts;
        let surroundings = Surroundings {
            config_dir: self.config_dir(),
            env: container.env,
            locate: Arc::new(move |path| spec.in_container(&mounts, path)),
        };
        let access = self.spec.kafka.clone();
        let credentials = blocking(move || Credentials::gather(access, surroundings)).await?;
        let prober = Prober::new(config, addresses, credentials, Timeouts::default());
        Ok(prober.with_memory(self.answered.clone()))
    }
}

/// Runs what blocks where it may.
async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, NodeError>
where
    T: Send + 'static,
    E: Into<NodeError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome.map_err(Into::into),
        Err(error) if error.is_panic() => Err(NodeError::new(
            NodeErrorKind::Agent,
            "kbo itself failed on the node: it panicked",
        )
        .hint("please report it")),
        Err(_) => Err(NodeError::new(NodeErrorKind::Interrupted, "interrupted")),
    }
}

#[async_trait]
impl NodeTransport for LocalNode {
    fn name(&self) -> &NodeName {
        &self.spec.node
    }

    async fn facts(&self, request: &FactsRequest) -> Result<NodeFacts, NodeError> {
        let dirs = self.spec.dirs_of(&request.datasets);
        let looking = blocking(move || Ok::<_, NodeError>(dirs.iter().map(facts::dir_facts).collect()));
        let (engine, container, kafka_version, dirs) =
            tokio::join!(self.engine.facts(), self.inspect(), self.kafka_version(), looking);
        let dirs_of_all = self.spec.dirs.clone();
        let kept = blocking(move || kept::list(&dirs_of_all)).await;
        // What keeps a directory from being looked at is told of the directory itself.
        let kept = kept.inspect_err(|error| tracing::warn!(%error, "what earlier restores replaced is not known"));
        let (mut kafka, mut unit) = (None, None);
        if let Ok(Some(found)) = &container {
            let config = self.kafka_config(&found.env, &found.command).await;
            kafka = Some(config.map(|config| setup::setup(&self.spec, &found.facts.mounts, &config)));
            unit = self.systemctl.unit_of(&self.spec.container, &found.facts).await;
        }
        Ok(NodeFacts {
            clock: Timestamp::now(),
            cpus: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
            engine,
            container: container.map(|found| found.map(|container| container.facts)),
            kafka_version,
            dirs: dirs?,
            leases: Vec::new(),
            kafka,
            unit,
            kept: kept.unwrap_or_default(),
        })
    }

    async fn space(&self, datasets: &[Dataset]) -> Result<Vec<DirSpace>, NodeError> {
        let dirs = self.spec.dirs_of(datasets);
        blocking(move || dirs.iter().map(facts::dir_space).collect::<Result<_, _>>()).await
    }

    async fn look(&self) -> Result<ContainerNow, NodeError> {
        let found = self.inspect().await?;
        Ok(ContainerNow {
            state: found
                .as_ref()
                .map_or(ContainerState::Missing, |container| container.facts.state),
            incarnation: found.and_then(|container| container.facts.incarnation),
        })
    }

    async fn stop(&self, request: &StopRequest) -> Result<StopOutcome, NodeError> {
        match self.state().await? {
            ContainerState::Stopped => Ok(StopOutcome::AlreadyStopped),
            ContainerState::Missing => Err(self.missing()),
            ContainerState::Paused => {
                let text = format!(
                    "the container {} is paused: it cannot stop cleanly",
                    self.spec.container
                );
                Err(NodeError::new(NodeErrorKind::State, text).hint("unpause it first"))
            }
            ContainerState::Running | ContainerState::Restarting => {
                match &self.spec.unit {
                    None => self.engine.stop(&self.spec.container, request.timeout).await?,
                    Some(unit) => self.stop_unit(unit, request.timeout).await?,
                }
                Ok(StopOutcome::Stopped)
            }
        }
    }

    async fn start(&self) -> Result<StartOutcome, NodeError> {
        let state = self.state().await?;
        match &self.spec.unit {
            Some(_) if state.is_up() => Ok(StartOutcome::AlreadyRunning),
            // Its command may make the container anew.
            Some(unit) => {
                self.systemctl.order("start", unit, UNIT_STARTS).await?;
                Ok(StartOutcome::Started)
            }
            None if state == ContainerState::Missing => Err(self.missing()),
            None => self.engine.start(&self.spec.container).await,
        }
    }

    async fn kafka(&self, question: KafkaQuestion) -> Result<KafkaAnswer, NodeError> {
        self.prober().await?.ask(question).await
    }

    async fn prove_clean(&self) -> Result<CleanStopProof, NodeError> {
        self.at_rest("proving a clean stop").await?;
        let (role, dirs) = (self.spec.role, self.spec.dirs_of(&[Dataset::Data]));
        blocking(move || clean::prove(&dirs, role)).await
    }

    async fn snapshot(&self, request: &SnapshotRequest) -> Result<SnapshotReport, NodeError> {
        if request.datasets.contains(&Dataset::Data) {
            self.at_rest("a snapshot of its data").await?;
        }
        let (run, dirs) = (request.run.clone(), self.spec.dirs_of(&request.datasets));
        let report = blocking(move || snapshot::take(&run, &dirs)).await?;
        let size = SnapshotSize {
            run: request.run.clone(),
            bytes: report.bytes.clone(),
        };
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = Some(size);
        Ok(report)
    }

    async fn archive(&self, request: &ArchiveRequest, sink: &mut dyn ByteSink) -> Result<ArchiveReport, NodeError> {
        let dirs = self.spec.dirs_of(&[request.dataset]);
        let total = match &*self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(SnapshotSize { run, bytes }) if *run == request.run => bytes
                .iter()
                .filter(|(dataset, _)| *dataset == request.dataset)
                .map(|(_, bytes)| bytes)
                .sum(),
            _ => 0,
        };
        let progress = self.progress_of(format!("archive {}", request.dataset), total);
        streams::archive(request.clone(), (dirs, self.spec.role), progress, sink).await
    }

    async fn stage(&self, request: &StageRequest, source: &mut dyn ByteSource) -> Result<StageReport, NodeError> {
        let dirs = self.spec.dirs_of(&[request.dataset]);
        let total = request.files.iter().map(streams::size_of).sum();
        let progress = self.progress_of(format!("stage {}", request.dataset), total);
        streams::stage(request.clone(), dirs, progress, source).await
    }

    async fn swap(&self, request: &SwapRequest) -> Result<SwapOutcome, NodeError> {
        self.at_rest("a swap").await?;
        let (run, dirs) = (request.run.clone(), self.spec.dirs_of(&request.datasets));
        let of = request.previous_of.clone();
        blocking(move || {
            if let Some(of) = of {
                kept::stage(&run, &of, &dirs)?;
            }
            swap::swap(&run, &dirs)
        })
        .await
    }

    async fn swap_back(&self, request: &SwapRequest) -> Result<SwapOutcome, NodeError> {
        let (run, dirs) = (request.run.clone(), self.spec.dirs_of(&request.datasets));
        // A run of which nothing lies here has swapped nothing, and Kafka need not stop to hear it.
        if !self.has_work(&run, &dirs).await? {
            return Ok(SwapOutcome::AlreadySwapped);
        }
        self.at_rest("swapping back").await?;
        blocking(move || swap::swap_back(&run, &dirs)).await
    }

    async fn container(&self, request: &ContainerRequest) -> Result<ContainerReport, NodeError> {
        let container = Container {
            engine: &*self.engine,
            name: &self.spec.container,
        };
        container.ask(request).await
    }

    async fn quorum_setup(&self, properties: &str) -> Result<QuorumSetup, NodeError> {
        let config = self.kafka_config(&[], &[properties.to_owned()]).await?;
        Ok(QuorumSetup {
            node_id: config.node_id,
            is_static: !config.voters.is_empty(),
            controller: config.controller_address(&self.spec.hosts),
        })
    }

    async fn format(&self, request: &FormatRequest) -> Result<FormatReport, NodeError> {
        self.at_rest("formatting its log dirs").await?;
        let body = &request.body;
        let image = match self.engine.image(body.image()).await? {
            Some(image) => image,
            None => {
                self.engine.pull(body.image()).await?;
                self.engine.image(body.image()).await?.unwrap_or_default()
            }
        };
        let (run, dirs) = (request.run.clone(), self.spec.dirs_of(&[Dataset::Data]));
        if dirs.len() != request.targets.len() {
            let text = format!(
                "{} log dirs are mounted for the {} of `data`",
                request.targets.len(),
                dirs.len()
            );
            return Err(NodeError::new(NodeErrorKind::State, text));
        }
        let owner = format::owner(&body.0, &image);
        let staged = blocking({
            let (run, dirs) = (run.clone(), dirs.clone());
            move || stage::fresh(&run, &dirs, owner)
        })
        .await?;
        let placed = |path: &PathBuf| self.spec.engine_paths.is_empty() || self.spec.on_engine(path) != *path;
        if let Some(path) = staged.iter().find(|path| !placed(path)) {
            let text = format!("{} lies in nothing that the engine's machine knows", path.display());
            return Err(
                NodeError::new(NodeErrorKind::State, text).hint("are the log dirs in the `mounts` of the container?")
            );
        }
        let outside: Vec<PathBuf> = staged.iter().map(|path| self.spec.on_engine(path)).collect();
        let name = format!("{}.kbo-format-{run}", self.spec.container);
        let (code, output) = self
            .engine
            .run_once(&name, &format::one_shot(request, &outside))
            .await?;
        if code != 0 {
            let text = format!("kafka-storage failed with exit code {code}: {}", output.trim());
            return Err(NodeError::new(NodeErrorKind::State, text));
        }
        format::check(&staged, request)?;
        blocking(move || stage::seal(&run, &dirs)).await?;
        Ok(FormatReport { output })
    }

    async fn clean(&self, request: &CleanRequest) -> Result<CleanReport, NodeError> {
        let (request, dirs) = (request.clone(), self.spec.dirs.clone());
        blocking(move || clean::remove(&dirs, &request)).await
    }

    async fn files(&self, request: &FilesRequest) -> Result<FilesReport, NodeError> {
        request.check()?;
        let dir = self.spec.reach(request.dir())?;
        // Kafka starts on no log dir with a folder in it that is no partition.
        if let Some(data) = self
            .spec
            .dirs_of(&[Dataset::Data])
            .iter()
            .find(|data| dir.starts_with(&data.path))
        {
            let text = format!(
                "{} lies in the log dir {}, where nothing but Kafka's own may lie",
                request.dir(),
                data.label
            );
            return Err(NodeError::new(NodeErrorKind::State, text).hint("keep certificates elsewhere"));
        }
        let data = self
            .spec
            .dirs_of(&[Dataset::Data])
            .first()
            .map(|data| data.path.clone());
        let request = request.clone();
        blocking(move || {
            // Whoever owns Kafka's data reads its certificates.
            let owner = data.and_then(|data| std::fs::metadata(data).ok());
            let owner = owner.map(|data| (data.uid(), data.gid()));
            files::carry_out(&dir, &request, owner)
        })
        .await
    }

    async fn listeners(&self, handshake: bool) -> Result<Vec<ListenerFacts>, NodeError> {
        let (config, addresses, _) = self.kafka_now().await?;
        let prober = Prober::new(config, addresses, Credentials::default(), Timeouts::default());
        if !handshake {
            return Ok(prober.listeners(None));
        }
        match self.state().await? {
            ContainerState::Running => Ok(prober.look().await),
            state => {
                let why = format!("not running: the container {} is {state}", self.spec.container);
                Ok(prober.listeners(Some(&why)))
            }
        }
    }

    async fn claim(&self, _claim: &Claim) -> Result<ClaimReport, NodeError> {
        Ok(ClaimReport::default())
    }

    async fn holds(&self, run: &RunId) -> Result<Held, NodeError> {
        let (run, dirs) = (run.clone(), self.spec.dirs.clone());
        let swapped = blocking(move || swap::swapped(&run, &dirs)).await?;
        Ok(Held { swapped })
    }

    async fn agree(&self, _run: &RunId) -> Result<(), NodeError> {
        Ok(())
    }

    async fn forgo(&self, _run: &RunId) -> Result<(), NodeError> {
        Ok(())
    }

    async fn release(&self) -> Result<(), NodeError> {
        Ok(())
    }
}
