//! From a configuration to an orchestrator with real transports and a real store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use kbo_archive::store::{DirStore, ProcessStore, StoreProgram};
use kbo_core::cancel::Cancel;
use kbo_core::config::{Access, Config, Ssh};
use kbo_core::container::Body;
use kbo_core::ids::NodeName;
use kbo_core::inventory::Node;
use kbo_core::orchestrator::Orchestrator;
use kbo_core::ports::clock::Clock;
use kbo_core::ports::monitor::{Monitor, MonitorEvent};
use kbo_core::ports::node::{NodeTransport, Owner};
use kbo_core::punctual::PunctualNode;
use kbo_core::secret::Secret;
use kbo_transport::agent::RemoteNode;
use kbo_transport::docker::{DockerCarrier, DockerSettings};
use kbo_transport::kafka::{KafkaAccess, Sasl};
use kbo_transport::local::{NodeSpec, ProgressSink};
use kbo_transport::process::ChildCarrier;
use kbo_transport::ssh::{SshCarrier, SshSettings, read_passphrase};

use zeroize::Zeroizing;

use crate::progress::Progress;
use crate::system_clock::SystemClock;
use crate::terminal;

/// A cluster ready to be worked on.
pub(crate) struct Composed {
    /// The orchestrator.
    pub(crate) orchestrator: Orchestrator,
    /// The orchestrator's store, for what the port does not offer: a process of its own touches its disk.
    pub(crate) held: ProcessStore,
    /// The same store touched by this process, for those who only read it and can be ended at any time.
    pub(crate) store: DirStore,
}

/// What of the nodes is to be reached.
pub(crate) enum Reach {
    /// None of them.
    Nothing,
    /// All. Of a container that is missing it is known what it is to be made of, as far as the map tells.
    Planned(BTreeMap<NodeName, Body>, MakeVolumes),
}

/// Whether volumes of missing containers may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MakeVolumes {
    Yes,
    No,
}

/// What missing containers are to be made of, without the secrets: enough for a helper in their place.
pub(crate) fn planned(config: &Config) -> BTreeMap<NodeName, Body> {
    let definitions = config.containers.iter();
    definitions
        .map(|(name, definition)| (name.clone(), definition.body(&BTreeMap::new())))
        .collect()
}

/// Builds everything; nothing is contacted yet.
///
/// Where the nodes cannot be reached only the store can be worked on: what reads backups needs no key, passphrase or certificate.
pub(crate) fn compose(config: &Config, reach: Reach, progress: Progress, cancel: Cancel) -> anyhow::Result<Composed> {
    compose_with(config, reach, progress, cancel, &mut Passphrases::asking())
}

/// The same with passphrases that are known already.
pub(crate) fn compose_with(
    config: &Config,
    reach: Reach,
    progress: Progress,
    cancel: Cancel,
    passphrases: &mut Passphrases,
) -> anyhow::Result<Composed> {
    let monitor: Arc<dyn Monitor> = Arc::new(progress);
    let nodes = match reach {
        Reach::Planned(bodies, volumes) => transports(config, &bodies, volumes, &monitor, passphrases)?,
        Reach::Nothing => BTreeMap::new(),
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let patience = config.settings.node_timeout;
    let punctual = |node| -> Arc<dyn NodeTransport> { Arc::new(PunctualNode::new(node, Arc::clone(&clock), patience)) };
    let nodes = nodes.into_iter().map(|(name, node)| (name, punctual(node))).collect();
    let store = DirStore::new(config.storage.cold.clone());
    let held = process_store(config, &cancel)?;
    let orchestrator = Orchestrator {
        name: config.cluster_name.clone(),
        cluster_id: config.cluster_id.clone(),
        cluster: config.cluster.clone(),
        nodes,
        store: Arc::new(held.clone()),
        clock,
        monitor,
        cancel,
        settings: config.settings.clone(),
        kbo_version: env!("CARGO_PKG_VERSION").to_owned(),
        owner: this_process(),
    };
    Ok(Composed {
        orchestrator,
        held,
        store,
    })
}

/// The store, through a process that can be given up when its disk hangs. Nothing is started yet.
pub(crate) fn process_store(config: &Config, cancel: &Cancel) -> anyhow::Result<ProcessStore> {
    let program = StoreProgram::own().context("cannot find the running program to start the store's process")?;
    let (root, patience) = (config.storage.cold.clone(), config.settings.store_timeout);
    Ok(ProcessStore::new(root, program, patience, cancel.clone()))
}

/// How the nodes are to know this process.
fn this_process() -> Owner {
    Owner {
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        user: user().unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw())),
        pid: std::process::id(),
        ..Owner::default()
    }
}

/// Whoever runs kbo, where the environment tells; the one who called sudo rather than root.
pub(crate) fn user() -> Option<String> {
    let mut names = ["SUDO_USER", "USER", "LOGNAME"].into_iter();
    let user = names.find_map(|name| std::env::var(name).ok());
    user.filter(|user| !user.chars().any(char::is_control))
}

fn transports(
    config: &Config,
    bodies: &BTreeMap<NodeName, Body>,
    volumes: MakeVolumes,
    monitor: &Arc<dyn Monitor>,
    passphrases: &mut Passphrases,
) -> anyhow::Result<BTreeMap<NodeName, Arc<dyn NodeTransport>>> {
    let kafka = kafka_access(config)?;
    let mut nodes: BTreeMap<NodeName, Arc<dyn NodeTransport>> = BTreeMap::new();
    for node in config.cluster.start_order() {
        let access = config
            .access
            .get(&node.name)
            .ok_or_else(|| anyhow!("{} has no access", node.name))?;
        let mut spec = NodeSpec::of(node);
        spec.engine_socket.clone_from(&config.engine_socket);
        spec.kafka = kafka.clone();
        let sink = progress_sink(monitor);
        let transport: Arc<dyn NodeTransport> = match access {
            Access::Ssh(ssh) => {
                spec.hosts.push(ssh.host.clone());
                let carrier = SshCarrier::new(ssh_settings(ssh, passphrases)?);
                Arc::new(RemoteNode::new(spec, carrier).with_progress(sink))
            }
            Access::Docker { host, helper_image } => {
                let mut settings = docker_settings(node, host, helper_image.as_deref(), &config.engine_socket);
                settings.planned = bodies.get(&node.name).cloned();
                settings.make_volumes = volumes == MakeVolumes::Yes;
                let carrier = DockerCarrier::new(settings);
                Arc::new(RemoteNode::new(spec, carrier).with_progress(sink))
            }
            Access::Local => {
                let carrier = ChildCarrier::own().map_err(|error| anyhow!("{error}"))?;
                Arc::new(RemoteNode::new(spec, carrier).with_progress(sink))
            }
        };
        nodes.insert(node.name.clone(), transport);
    }
    Ok(nodes)
}

fn progress_sink(monitor: &Arc<dyn Monitor>) -> ProgressSink {
    let monitor = Arc::clone(monitor);
    Arc::new(move |node: &NodeName, what: &str, done: u64, total: u64| {
        monitor.event(MonitorEvent::Progress {
            node: node.clone(),
            what: what.to_owned(),
            done,
            total,
        });
    })
}

pub(crate) fn ssh_settings(ssh: &Ssh, passphrases: &mut Passphrases) -> anyhow::Result<SshSettings> {
    let mut settings = SshSettings::new(&ssh.host, &ssh.user, &ssh.known_hosts);
    settings.port = ssh.port;
    settings.key.clone_from(&ssh.key);
    settings.passphrase = match &ssh.key {
        Some(key) => passphrases.of(key, ssh.passphrase_file.as_deref())?,
        None => None,
    };
    settings.become_root = ssh.r#become;
    settings.agent_dirs = ssh.agent_dir.iter().cloned().collect();
    settings.connect_timeout = Duration::from_secs(ssh.connect_timeout_seconds);
    settings.idle_timeout = Duration::from_secs(ssh.idle_timeout_seconds);
    settings.retries = ssh.retries;
    Ok(settings)
}

fn docker_settings(node: &Node, host: &str, helper_image: Option<&str>, engine_socket: &str) -> DockerSettings {
    let dirs = node.config.iter().chain(&node.data).cloned().collect();
    let mut settings = DockerSettings::new(host, &node.container, dirs);
    settings.helper_image = helper_image.map(str::to_owned);
    engine_socket.clone_into(&mut settings.socket_on_engine);
    settings
}

/// Keys' passphrases, asked for once each.
#[derive(Clone)]
pub(crate) struct Passphrases {
    known: BTreeMap<PathBuf, Option<Secret>>,
    asks: bool,
}

impl Passphrases {
    /// Those that are not known are asked for.
    pub(crate) fn asking() -> Self {
        Self {
            known: BTreeMap::new(),
            asks: true,
        }
    }

    /// None is known, and nobody is asked.
    pub(crate) fn silent() -> Self {
        Self {
            known: BTreeMap::new(),
            asks: false,
        }
    }

    /// Notes a key's passphrase, or that there is none to be had.
    pub(crate) fn note(&mut self, key: PathBuf, passphrase: Option<Secret>) {
        self.known.insert(key, passphrase);
    }

    /// The keys whose passphrase somebody has to say, and has not been asked for.
    pub(crate) fn lacking(&self, config: &Config) -> BTreeSet<PathBuf> {
        let keys = config.access.values().filter_map(|access| match access {
            Access::Ssh(ssh) if ssh.passphrase_file.is_none() => ssh.key.clone(),
            _ => None,
        });
        keys.filter(|key| !self.known.contains_key(key) && kbo_transport::ssh::key_is_encrypted(key))
            .collect()
    }

    pub(crate) fn of(&mut self, key: &Path, file: Option<&Path>) -> anyhow::Result<Option<Secret>> {
        if let Some(known) = self.known.get(key) {
            return Ok(known.clone());
        }
        let secret = match file {
            Some(file) => Some(read_passphrase(file).map_err(|error| anyhow!("{error}"))?),
            // Without a terminal the key's own error, later, says what is missing.
            None if self.asks && kbo_transport::ssh::key_is_encrypted(key) => {
                terminal::secret(&format!("Passphrase of {}: ", key.display()))?
            }
            None => None,
        };
        self.known.insert(key.to_owned(), secret.clone());
        Ok(secret)
    }
}

fn kafka_access(config: &Config) -> anyhow::Result<KafkaAccess> {
    let kafka = &config.kafka;
    let text = |path: &Option<std::path::PathBuf>, key: &str| -> anyhow::Result<Option<String>> {
        let Some(path) = path else { return Ok(None) };
        let text = crate::given::read(path).with_context(|| format!("kafka.{key}: cannot read {}", path.display()))?;
        Ok(Some(text))
    };
    let password = text(&kafka.key_password_file, "key_password_file")?;
    let sasl = match &kafka.login {
        None => None,
        Some(login) => {
            let file = Some(login.password_file.clone());
            let password = text(&file, "sasl_password_file")?
                .map(Zeroizing::new)
                .unwrap_or_default();
            let password = password.lines().next().filter(|line| !line.is_empty());
            let password = password.with_context(|| {
                let file = login.password_file.display();
                format!("kafka.sasl_password_file: the first line of {file} is empty: it must be the password")
            })?;
            Some(Sasl::new(
                login.mechanism,
                login.username.clone(),
                Secret::new(password),
            ))
        }
    };
    Ok(KafkaAccess {
        ca_pem: text(&kafka.ca, "ca")?,
        cert_pem: text(&kafka.cert, "cert")?,
        key_pem: text(&kafka.key, "key")?.map(Secret::new),
        key_password: password.map(|password| Secret::new(password.lines().next().unwrap_or_default())),
        verify_hostname: kafka.verify_hostname,
        sasl,
        client_properties: kafka.client_properties.clone(),
    })
}
