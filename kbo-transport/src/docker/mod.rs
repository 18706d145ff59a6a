//! The Docker carrier: for clusters whose nodes are containers of one engine.
//!
//! The agent runs in a short-lived helper container beside the node's own, as root, with the parents of the node's volumes
//! mounted, so that its work folders lie beside the log dirs on the same filesystem. Its program is put into the helper by the
//! engine's own archive upload, which works for a remote engine as well; its standard streams are those of an attached container.
//!
//! The helper ends when its standard input does, and the engine then removes it.

mod attach;
pub(crate) mod engine;
mod helper;
mod mounts;
mod planned;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use bollard::models::{ContainerInspectResponse, EndpointSettings, NetworkConnectRequest};
use bollard::query_parameters::{
    AttachContainerOptions, CreateContainerOptions, InspectContainerOptions, ListContainersOptions,
    RemoveContainerOptions, StartContainerOptions, UploadToContainerOptions,
};
use kbo_core::container::Body;
use kbo_core::ports::node::{NodeError, NodeErrorKind};

use crate::binary::{AgentBinary, machines};
use crate::carrier::{AgentPipe, Carrier};
use crate::complaints::Complaints;
use mounts::Layout;

/// The label of every helper container.
pub const HELPER_LABEL: &str = "kbo.helper";
/// The label that names the container whose helper it is.
pub const NODE_LABEL: &str = "kbo.node";

/// A helper that was created but never started is somebody's who died; younger ones may be just about to be started.
const STALE: Duration = Duration::from_secs(600);

/// How to reach a node that is a container of an engine.
#[derive(Debug, Clone)]
pub struct DockerSettings {
    /// The engine: `unix:///var/run/docker.sock` or `tcp://10.0.0.5:2375`.
    pub host: String,
    /// The node's container.
    pub container: String,
    /// The node's directories, as paths in its container.
    pub dirs: Vec<String>,
    /// Further directories of its container that small files are put into; reached where they lie in a mount.
    pub extra_dirs: Vec<String>,
    /// The engine's socket on the engine's machine, for the agent.
    pub socket_on_engine: String,
    /// The program to put into the helper.
    pub agent_binary: PathBuf,
    /// Arguments that make it the agent.
    pub agent_args: Vec<String>,
    /// The helper's image; that of the node's container where none is given. Anything will do, the program needs nothing of it.
    pub helper_image: Option<String>,
    /// What the node's container is to be made of: where it is missing, the helper is made by this.
    pub planned: Option<Body>,
    /// Whether volumes of such a container may be made.
    pub make_volumes: bool,
    /// Time for each of the engine's answers.
    pub timeout: Duration,
}

impl DockerSettings {
    /// Settings with the usual values: this very program as the agent, in the node's own image.
    pub fn new(host: impl Into<String>, container: impl Into<String>, dirs: Vec<String>) -> Self {
        Self {
            host: host.into(),
            container: container.into(),
            dirs,
            extra_dirs: Vec::new(),
            socket_on_engine: "/var/run/docker.sock".into(),
            agent_binary: PathBuf::from("/proc/self/exe"),
            agent_args: vec!["agent".into()],
            helper_image: None,
            planned: None,
            make_volumes: false,
            timeout: Duration::from_secs(60),
        }
    }
}

/// Reaches a node by a helper container.
pub struct DockerCarrier {
    settings: DockerSettings,
    binary: OnceLock<AgentBinary>,
}

impl DockerCarrier {
    /// A carrier; nothing is done before [`Carrier::open`].
    pub fn new(settings: DockerSettings) -> Self {
        Self {
            settings,
            binary: OnceLock::new(),
        }
    }

    fn error(&self, doing: &str, error: &bollard::errors::Error) -> NodeError {
        engine::explain(&self.settings.host, doing, error)
    }

    fn binary(&self) -> Result<&AgentBinary, NodeError> {
        if let Some(binary) = self.binary.get() {
            return Ok(binary);
        }
        let path = &self.settings.agent_binary;
        let binary = AgentBinary::open(path).map_err(|error| {
            NodeError::new(
                NodeErrorKind::Agent,
                format!("the agent's program {} cannot be read: {error}", path.display()),
            )
        })?;
        Ok(self.binary.get_or_init(|| binary))
    }

    /// The node's container as it is.
    async fn inspect(&self, docker: &Docker) -> Result<Node, NodeError> {
        let name = &self.settings.container;
        let error = match docker.inspect_container(name, None::<InspectContainerOptions>).await {
            Ok(node) => return Ok(Node::Found(Box::new(node))),
            Err(error) => error,
        };
        match (error, &self.settings.planned) {
            (bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }, Some(body)) => {
                let planned = planned::inspected(docker, &self.settings, body).await?;
                Ok(Node::Planned(Box::new(planned)))
            }
            (bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }, None) => {
                let text = format!("{}: there is no container {name}", self.describe());
                let hint = "is it the container's name (docker ps -a), and this the engine it belongs to ([docker] host)? kbo run creates it, where [defaults.container] defines it, or --from a backup";
                Err(NodeError::new(NodeErrorKind::State, text).hint(hint))
            }
            (error, _) => Err(self.error(&format!("inspect container {name}"), &error)),
        }
    }

    fn layout(&self, dirs: &[String], node: &ContainerInspectResponse) -> Result<Layout, NodeError> {
        Layout::of(
            &self.settings.container,
            dirs,
            node.mounts.as_deref().unwrap_or_default(),
        )
    }

    /// Those of the directories that lie in a mount.
    fn placed(&self, dirs: &[String], node: &ContainerInspectResponse) -> Vec<String> {
        let is_placed = |dir: &&String| self.layout(std::slice::from_ref(*dir), node).is_ok();
        dirs.iter().filter(is_placed).cloned().collect()
    }

    /// The program must be made for the engine's machine.
    async fn check_machine(&self, docker: &Docker, binary: &AgentBinary) -> Result<(), NodeError> {
        let version = docker
            .version()
            .await
            .map_err(|error| self.error("ask for its version", &error))?;
        match (binary.machine, version.arch) {
            (Some(made_for), Some(machine)) if !machines(made_for).contains(&machine.as_str()) => Err(NodeError::new(
                NodeErrorKind::Agent,
                format!(
                    "{}: the engine's machine is {machine}, and this kbo is made for {made_for}",
                    self.describe()
                ),
            )
            .hint(format!(
                "kbo brings itself to its nodes: run one that is made for {machine}"
            ))),
            _ => Ok(()),
        }
    }

    /// Removes helpers of this node that do not run. One that runs may be waiting to undo what a lost run left: it stays.
    async fn sweep(&self, docker: &Docker) {
        let filters = [
            (
                "label".to_owned(),
                vec![
                    format!("{HELPER_LABEL}=1"),
                    format!("{NODE_LABEL}={}", self.settings.container),
                ],
            ),
            (
                "status".to_owned(),
                vec!["created".to_owned(), "exited".to_owned(), "dead".to_owned()],
            ),
        ];
        let options = ListContainersOptions {
            all: true,
            filters: Some(filters.into()),
            ..Default::default()
        };
        let found = match docker.list_containers(Some(options)).await {
            Ok(found) => found,
            Err(error) => return tracing::debug!(%error, "helper containers cannot be listed"),
        };
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        for helper in found {
            let created = Duration::from_secs(helper.created.unwrap_or_default().try_into().unwrap_or_default());
            let fresh = now.saturating_sub(created) < STALE;
            let never_started = helper.state.is_some_and(|state| state.as_ref() == "created");
            if let (Some(id), false) = (helper.id, fresh && never_started) {
                tracing::info!(
                    id,
                    node = self.settings.container,
                    "removing a helper container that was left behind"
                );
                self.remove(docker, &id).await;
            }
        }
    }

    async fn remove(&self, docker: &Docker, id: &str) {
        let options = RemoveContainerOptions {
            force: true,
            v: true,
            link: false,
        };
        if let Err(error) = docker.remove_container(id, Some(options)).await {
            tracing::debug!(id, %error, "helper container not removed");
        }
    }

    /// Creates the helper and puts the program into it. Its id.
    async fn create(
        &self,
        docker: &Docker,
        node: &ContainerInspectResponse,
        layout: &Layout,
        binary: &AgentBinary,
    ) -> Result<String, NodeError> {
        let network = helper::Network::of(node);
        let body = helper::body(&self.settings, node, layout, &network)?;
        let options = CreateContainerOptions {
            name: Some(helper::name(&self.settings.container)),
            ..Default::default()
        };
        let created = docker
            .create_container(Some(options), body)
            .await
            .map_err(|error| self.error("create a helper container", &error))?;
        for warning in &created.warnings {
            tracing::debug!(warning, "helper container");
        }
        let prepared = async {
            for name in &network.others {
                let request = NetworkConnectRequest {
                    container: created.id.clone(),
                    endpoint_config: Some(EndpointSettings::default()),
                };
                if let Err(error) = docker.connect_network(name, request).await {
                    tracing::debug!(network = name, %error, "the helper is not in all of the node's networks");
                }
            }
            let options = UploadToContainerOptions {
                path: "/".into(),
                ..Default::default()
            };
            let program = helper::program_archive(binary).map_err(|error| {
                NodeError::new(
                    NodeErrorKind::Agent,
                    format!("the agent's program cannot be read: {error}"),
                )
            })?;
            docker
                .upload_to_container(&created.id, Some(options), bollard::body_try_stream(program))
                .await
                .map_err(|error| self.error("put the agent's program into the helper container", &error))
        };
        match prepared.await {
            Ok(()) => Ok(created.id),
            Err(error) => {
                self.remove(docker, &created.id).await;
                Err(error)
            }
        }
    }

    /// Attaches to the helper and starts it, in this order: nothing that it says is lost.
    async fn start(&self, docker: &Docker, id: &str) -> Result<(attach::Ends, Complaints), NodeError> {
        let options = AttachContainerOptions {
            stream: true,
            stdin: true,
            stdout: true,
            stderr: true,
            ..Default::default()
        };
        let attached = docker
            .attach_container(id, Some(options))
            .await
            .map_err(|error| self.error("attach to the helper container", &error))?;
        let complaints = Complaints::default();
        let ends = attach::pump(attached, docker.clone(), id.to_owned(), complaints.clone());
        docker
            .start_container(id, None::<StartContainerOptions>)
            .await
            .map_err(|error| {
                let error = self.error("start the helper container", &error);
                match error.hint {
                    Some(_) => error,
                    None => error.hint("can that engine run a container with these mounts by hand? see its log"),
                }
            })?;
        Ok((ends, complaints))
    }
}

/// The node's container: as the engine tells it, or as it will.
enum Node {
    Found(Box<ContainerInspectResponse>),
    Planned(Box<ContainerInspectResponse>),
}

#[async_trait]
impl Carrier for DockerCarrier {
    async fn open(&self) -> Result<AgentPipe, NodeError> {
        let binary = self.binary()?;
        let docker = engine::connect(&self.settings).await?;
        self.check_machine(&docker, binary).await?;
        let node = self.inspect(&docker).await?;
        let layout = match &node {
            Node::Found(node) => {
                let mut dirs = self.settings.dirs.clone();
                dirs.extend(self.placed(&self.settings.extra_dirs, node));
                self.layout(&dirs, node)?
            }
            // What has no place yet cannot be reached; it is empty.
            Node::Planned(node) => {
                let dirs: Vec<String> = [&self.settings.dirs, &self.settings.extra_dirs]
                    .into_iter()
                    .flat_map(|dirs| self.placed(dirs, node))
                    .collect();
                self.layout(&dirs, node)?
            }
        };
        let (Node::Found(node) | Node::Planned(node)) = node;
        self.sweep(&docker).await;
        let id = self.create(&docker, &node, &layout, binary).await?;
        let (ends, complaints) = match self.start(&docker, &id).await {
            Ok(started) => started,
            Err(error) => {
                self.remove(&docker, &id).await;
                return Err(error);
            }
        };
        tracing::debug!(container = self.settings.container, helper = id, "agent started");
        Ok(AgentPipe {
            reader: Box::new(ends.reader),
            writer: Box::new(ends.writer),
            complaints: complaints.reader(),
            engine_paths: layout.engine_paths(),
            paths: layout.paths,
            engine_socket: Some(helper::SOCKET.to_owned()),
            guard: Box::new(ends.guard),
        })
    }

    fn describe(&self) -> String {
        format!("docker {}", self.settings.host)
    }
}
