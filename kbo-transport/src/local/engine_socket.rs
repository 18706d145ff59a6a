//! The container engine behind a Unix socket: Docker, or Podman's service that speaks the same API.

use std::error::Error as _;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use bollard::errors::Error as BollardError;
use bollard::models::{ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum as Status};
use bollard::query_parameters::{
    CreateContainerOptions, CreateImageOptions, InspectContainerOptions, LogsOptions, RemoveContainerOptions,
    RenameContainerOptions, StartContainerOptions, StopContainerOptions, TopOptions, WaitContainerOptions,
};
use futures_util::{StreamExt, TryStreamExt};
use kbo_core::ports::node::{
    ContainerFacts, ContainerState, EngineFacts, Incarnation, Mount, NodeError, NodeErrorKind, StartOutcome,
};
use serde_json::Value;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use super::engine::{Engine, Inspected};
use super::redact::redact;

/// How long the engine has for a request that does not wait for a container.
const REQUEST: Duration = Duration::from_secs(60);

/// How much longer than the container's own timeout a stop may take until the engine counts as hung: after the kill the engine
/// still has to unmount.
const AFTER_KILL: Duration = Duration::from_secs(120);

/// How long a registry has for an image.
const PULL: Duration = Duration::from_secs(1800);

/// How long a container that runs once may take.
const ONE_SHOT: Duration = Duration::from_secs(600);

/// An engine that listens on a Unix socket.
pub struct EngineSocket {
    path: String,
    client: OnceCell<Docker>,
}

impl EngineSocket {
    /// The engine at `path` (with or without `unix://`). Connects at the first use.
    pub fn new(path: &str) -> Self {
        Self {
            path: path.strip_prefix("unix://").unwrap_or(path).to_owned(),
            client: OnceCell::new(),
        }
    }

    async fn client(&self) -> Result<&Docker, NodeError> {
        self.client
            .get_or_try_init(|| async {
                Docker::connect_with_unix(&self.path, REQUEST.as_secs(), bollard::API_DEFAULT_VERSION)?
                    .negotiate_version()
                    .await
            })
            .await
            .map_err(|error| self.failed("talk to it", &error))
    }

    fn failed(&self, what: &str, error: &BollardError) -> NodeError {
        let path = &self.path;
        let broken = |why: &str| NodeError::new(NodeErrorKind::Engine, format!("container engine at {path}: {why}"));
        match error {
            BollardError::SocketNotFoundError(_) => broken("there is no such socket")
                .hint("is the engine running, and is the socket's path right (`[engine] socket`; Podman: `systemctl enable --now podman.socket`)?"),
            BollardError::DockerResponseServerError { status_code, message } => {
                NodeError::new(NodeErrorKind::Engine, format!("the container engine could not {what}: {message} ({status_code})"))
            }
            BollardError::RequestTimeoutError => broken(&format!("no answer in time to: {what}"))
                .hint("is the engine hung? `docker ps` on the node shows it"),
            other => match io_kind(other) {
                Some(std::io::ErrorKind::PermissionDenied) => broken("permission denied")
                    .hint("the login needs to be root, in the group of the socket (`usermod -aG docker USER`), or use `become = true`"),
                Some(std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound) => {
                    broken("nothing listens there").hint("is the engine running? `systemctl status docker` on the node shows it")
                }
                _ => broken(&format!("could not {what}: {}", chain(other))),
            },
        }
    }
}

/// The I/O error at the bottom of an error of the HTTP client.
fn io_kind(error: &BollardError) -> Option<std::io::ErrorKind> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return Some(io.kind());
        }
        cause = error.source();
    }
    None
}

fn chain(error: &BollardError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// A container's name becomes part of a URL.
fn checked(container: &str) -> Result<&str, NodeError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if !container.is_empty() && container.chars().all(plain) && !container.starts_with('.') {
        return Ok(container);
    }
    Err(NodeError::new(
        NodeErrorKind::Engine,
        format!("`{container}` cannot be a container's name"),
    ))
}

#[async_trait]
impl Engine for EngineSocket {
    async fn facts(&self) -> Result<EngineFacts, NodeError> {
        let client = self.client().await?;
        let version = client
            .version()
            .await
            .map_err(|error| self.failed("say its version", &error))?;
        let name = match version.components.as_deref() {
            Some([first, ..]) if !first.name.is_empty() => first.name.clone(),
            _ => "engine".to_owned(),
        };
        let number = version.version.unwrap_or_else(|| "of unknown version".to_owned());
        let api = client.client_version();
        Ok(EngineFacts {
            version: format!("{name} {number}"),
            api: format!("{}.{}", api.major_version, api.minor_version),
        })
    }

    async fn inspect(&self, container: &str) -> Result<Option<Inspected>, NodeError> {
        let container = checked(container)?;
        let client = self.client().await?;
        let look = || client.inspect_container(container, None::<InspectContainerOptions>);
        let looked = match look().await {
            // One slow answer of a busy engine is no reason to undo a run.
            Err(BollardError::RequestTimeoutError) => look().await,
            looked => looked,
        };
        match looked {
            Ok(response) => Ok(Some(inspected(response))),
            Err(BollardError::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(error) => Err(self.failed(&format!("inspect {container}"), &error)),
        }
    }

    async fn command_lines(&self, container: &str) -> Result<Vec<String>, NodeError> {
        let container = checked(container)?;
        let options = TopOptions {
            ps_args: "-eo pid,args".to_owned(),
        };
        let listed = self.client().await?.top_processes(container, Some(options)).await;
        let listed = listed.map_err(|error| self.failed(&format!("list the processes of {container}"), &error))?;
        let rows = listed.processes.unwrap_or_default().into_iter();
        Ok(rows.filter_map(|mut columns| columns.pop()).collect())
    }

    async fn stop(&self, container: &str, timeout: Duration) -> Result<(), NodeError> {
        let container = checked(container)?;
        let deadline = Instant::now() + timeout + AFTER_KILL;
        let seconds = i32::try_from(timeout.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptions {
            signal: None,
            t: Some(seconds),
        };
        // A client of its own: the request lasts as long as Kafka's shutdown does.
        let patient = self.client().await?.clone().with_timeout(timeout + AFTER_KILL);
        patient
            .stop_container(container, Some(options))
            .await
            .map_err(|error| self.failed(&format!("stop {container}"), &error))?;
        // The engine answers when the process has ended, but what it reports may be a moment behind.
        loop {
            match self.inspect(container).await? {
                Some(now) if now.facts.state.is_up() => {}
                _ => return Ok(()),
            }
            if Instant::now() > deadline {
                let text = format!("the container engine says that it stopped {container}, yet it runs");
                return Err(NodeError::new(NodeErrorKind::Engine, text));
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn start(&self, container: &str) -> Result<StartOutcome, NodeError> {
        let container = checked(container)?;
        // The client library hides the engine's 304 ("already started"), so ask first.
        let was_up = match self.inspect(container).await? {
            Some(now) => now.facts.state.is_up(),
            None => false,
        };
        if was_up {
            return Ok(StartOutcome::AlreadyRunning);
        }
        match self
            .client()
            .await?
            .start_container(container, None::<StartContainerOptions>)
            .await
        {
            Ok(()) => Ok(StartOutcome::Started),
            Err(error) => Err(self.failed(&format!("start {container}"), &error)),
        }
    }

    async fn raw(&self, container: &str) -> Result<Option<Value>, NodeError> {
        let container = checked(container)?;
        let found = self
            .client()
            .await?
            .inspect_container(container, None::<InspectContainerOptions>)
            .await;
        match found {
            Ok(response) => Ok(Some(serde_json::to_value(response).unwrap_or_default())),
            Err(BollardError::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(error) => Err(self.failed(&format!("inspect {container}"), &error)),
        }
    }

    async fn image(&self, image: &str) -> Result<Option<Value>, NodeError> {
        match self.client().await?.inspect_image(image_name(image)?).await {
            Ok(response) => Ok(Some(serde_json::to_value(response.config).unwrap_or_default())),
            Err(BollardError::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(error) => Err(self.failed(&format!("look at the image {image}"), &error)),
        }
    }

    async fn pull(&self, image: &str) -> Result<(), NodeError> {
        let patient = self.client().await?.clone().with_timeout(PULL);
        // Without a tag the engine would fetch all there are.
        let name = image_name(image)?;
        let last = name.rsplit('/').next().unwrap_or(name);
        let tag = (!last.contains([':', '@'])).then(|| "latest".to_owned());
        let options = CreateImageOptions {
            from_image: Some(name.to_owned()),
            tag,
            ..Default::default()
        };
        let pulled = patient
            .create_image(Some(options), None, None)
            .try_for_each(|_| async { Ok(()) })
            .await;
        pulled.map_err(|error| {
            let hint = format!("fetch it on the node by hand (docker pull {image}, or docker save there and docker load here), then try again");
            self.failed(&format!("fetch the image {image}"), &error).hint(hint)
        })
    }

    async fn create(&self, container: &str, body: &Value) -> Result<(), NodeError> {
        let container = checked(container)?;
        let body: ContainerCreateBody = serde_json::from_value(body.clone()).map_err(|error| {
            NodeError::new(
                NodeErrorKind::Engine,
                format!("the definition of {container} is none that an engine takes: {error}"),
            )
        })?;
        let options = CreateContainerOptions {
            name: Some(container.to_owned()),
            ..Default::default()
        };
        let created = self.client().await?.create_container(Some(options), body).await;
        let created = created.map_err(|error| self.failed(&format!("create {container}"), &error))?;
        for warning in created.warnings {
            tracing::warn!(container, warning, "the engine warns");
        }
        Ok(())
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), NodeError> {
        let options = RenameContainerOptions {
            name: checked(to)?.to_owned(),
        };
        let renamed = self.client().await?.rename_container(checked(from)?, options).await;
        renamed.map_err(|error| self.failed(&format!("rename {from} to {to}"), &error))
    }

    async fn remove(&self, container: &str) -> Result<(), NodeError> {
        match self
            .client()
            .await?
            .remove_container(checked(container)?, None::<RemoveContainerOptions>)
            .await
        {
            Ok(()) | Err(BollardError::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
            Err(error) => Err(self.failed(&format!("remove {container}"), &error)),
        }
    }

    async fn run_once(&self, container: &str, body: &Value) -> Result<(i64, String), NodeError> {
        self.create(container, body).await?;
        let ran = self.to_its_end(container).await;
        let options = RemoveContainerOptions {
            force: true,
            v: true,
            link: false,
        };
        if let Err(error) = self.client().await?.remove_container(container, Some(options)).await {
            tracing::warn!(container, %error, "a one-shot container stays behind");
        }
        ran
    }
}

impl EngineSocket {
    async fn to_its_end(&self, container: &str) -> Result<(i64, String), NodeError> {
        let failed = |what: &str, error: &BollardError| self.failed(&format!("{what} {container}"), error);
        let client = self.client().await?;
        let started = client.start_container(container, None::<StartContainerOptions>).await;
        started.map_err(|error| failed("start", &error))?;
        let patient = client.clone().with_timeout(ONE_SHOT);
        let mut waiting = patient.wait_container(container, None::<WaitContainerOptions>);
        let code = match waiting.next().await {
            Some(Ok(ended)) => ended.status_code,
            // The client library makes an error of a code that is not zero.
            Some(Err(BollardError::DockerContainerWaitError { code, .. })) => code,
            Some(Err(error)) => return Err(failed("wait for", &error)),
            None => {
                return Err(NodeError::new(
                    NodeErrorKind::Engine,
                    format!("the engine did not say how {container} ended"),
                ));
            }
        };
        let options = LogsOptions {
            stdout: true,
            stderr: true,
            tail: "40".to_owned(),
            ..Default::default()
        };
        let said = client
            .logs(container, Some(options))
            .try_fold(String::new(), |mut text, line| async move {
                text.push_str(&line.to_string());
                Ok(text)
            });
        Ok((
            code,
            said.await.map_err(|error| failed("read what was said by", &error))?,
        ))
    }
}

/// An image's name becomes part of a URL.
fn image_name(image: &str) -> Result<&str, NodeError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-/:@".contains(c);
    if image.chars().all(plain) && image.starts_with(|c: char| c.is_ascii_alphanumeric()) && !image.contains("..") {
        return Ok(image);
    }
    Err(NodeError::new(
        NodeErrorKind::Engine,
        format!("`{image}` cannot be an image's name"),
    ))
}

fn inspected(response: ContainerInspectResponse) -> Inspected {
    let config = response.config.clone().unwrap_or_default();
    let mut definition = serde_json::json!({
        "Config": response.config,
        "HostConfig": response.host_config,
        "NetworkSettings": response.network_settings,
    });
    redact(&mut definition);

    let state = match response.state.as_ref().and_then(|state| state.status) {
        Some(Status::RUNNING | Status::STOPPING) => ContainerState::Running,
        Some(Status::RESTARTING) => ContainerState::Restarting,
        Some(Status::PAUSED) => ContainerState::Paused,
        Some(Status::CREATED | Status::EXITED | Status::DEAD | Status::REMOVING) => ContainerState::Stopped,
        // Engines that name no status still say whether it runs.
        Some(Status::EMPTY) | None => match response.state.as_ref().and_then(|state| state.running) {
            Some(true) => ContainerState::Running,
            _ => ContainerState::Stopped,
        },
    };
    let restart_policy = response
        .host_config
        .as_ref()
        .and_then(|host| host.restart_policy.as_ref())
        .and_then(|policy| policy.name.as_ref())
        .map(ToString::to_string)
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "no".to_owned());
    let mounts = response
        .mounts
        .unwrap_or_default()
        .into_iter()
        .map(|mount| Mount {
            source: mount.source.unwrap_or_default(),
            destination: mount.destination.unwrap_or_default(),
            writable: mount.rw.unwrap_or(false),
        })
        .collect();
    let addresses = response
        .network_settings
        .and_then(|settings| settings.networks)
        .unwrap_or_default()
        .into_values()
        .flat_map(|network| [network.ip_address, network.global_ipv6_address])
        .filter_map(|address| address?.to_string().parse::<IpAddr>().ok())
        .collect();
    let env = config.env.unwrap_or_default();
    let env = env
        .into_iter()
        .filter_map(|entry| {
            entry
                .split_once('=')
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
        })
        .collect();
    let mut command = config.entrypoint.unwrap_or_default();
    command.extend(config.cmd.unwrap_or_default());

    let id = response.id.unwrap_or_default();
    let times = response.state.unwrap_or_default();
    Inspected {
        facts: ContainerFacts {
            incarnation: Some(Incarnation {
                container: id.clone(),
                started: times.started_at.unwrap_or_default(),
                finished: times.finished_at.unwrap_or_default(),
            }),
            id,
            image: config.image.unwrap_or_default(),
            state,
            restart_policy,
            definition,
            mounts,
        },
        env,
        command,
        addresses,
    }
}
