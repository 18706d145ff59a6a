//! The configuration: what stands in kbo.toml ([`raw`]), checked once and turned into what the rest of kbo works with.

pub mod certs;
pub mod container;
pub mod draft;
pub mod hooks;
mod kafka;
pub mod raw;
pub mod retention;
mod validate;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::certs::Certs;
use crate::config::hooks::Hooks;
use crate::container::Definition;
use crate::ids::{ClusterId, ClusterName, NodeName};
use crate::inventory::{Cluster, InvalidCluster};
use crate::orchestrator::Settings;
use crate::retention::Policies;

pub use kafka::{Kafka, Login, Mechanism, UnknownMechanism};

/// A configuration that holds together.
#[derive(Debug, Clone)]
pub struct Config {
    /// `cluster.name`
    pub cluster_name: ClusterName,
    /// `cluster.id`
    pub cluster_id: Option<ClusterId>,
    /// The nodes, in start order.
    pub cluster: Cluster,
    /// How each node is reached.
    pub access: BTreeMap<NodeName, Access>,
    /// What `kbo run` makes the containers of, for nodes of which an image is known.
    pub containers: BTreeMap<NodeName, Definition>,
    /// `storage`
    pub storage: Storage,
    /// `retention`
    pub retention: Policies,
    /// Timeouts, limits, compression.
    pub settings: Settings,
    /// How Kafka's listeners are spoken to.
    pub kafka: Kafka,
    /// `engine.socket`: the container engine's socket on the nodes.
    pub engine_socket: String,
    /// `log.file`
    pub log_file: Option<PathBuf>,
    /// `hooks`
    pub hooks: Hooks,
    /// `metrics.textfile`
    pub metrics_textfile: Option<PathBuf>,
    /// `certs`
    pub certs: Certs,
}

/// Where backups live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// `storage.cold`: the store's folder.
    pub cold: PathBuf,
}

/// How a node is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// An agent pushed over SSH.
    Ssh(Ssh),
    /// An agent in a helper container of the node's engine.
    Docker {
        /// The engine (`unix:///path` or `tcp://host:port`).
        host: String,
        /// The helper's image; the node container's own where none is given.
        helper_image: Option<String>,
    },
    /// An agent on this machine.
    Local,
}

/// How a node is reached over SSH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ssh {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// User.
    pub user: String,
    /// Private key; without one, the keys of ssh-agent.
    pub key: Option<PathBuf>,
    /// File with the key's passphrase.
    pub passphrase_file: Option<PathBuf>,
    /// Host keys to trust.
    pub known_hosts: PathBuf,
    /// Run the agent by `sudo -n`.
    pub r#become: bool,
    /// Folder on the node for the agent's binary.
    pub agent_dir: Option<String>,
    /// Seconds until a connection attempt is given up.
    pub connect_timeout_seconds: u64,
    /// Seconds of silence after which a connection counts as dead.
    pub idle_timeout_seconds: u64,
    /// Further attempts to connect, before anything was stopped.
    pub retries: u32,
}

/// What is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A key's value does not do.
    #[error("{key} = {value}: {why}; write {instead}")]
    Value {
        /// The key, as a path (`node.kafka-broker-1.host`).
        key: String,
        /// Its value.
        value: String,
        /// Why not.
        why: String,
        /// What would do.
        instead: String,
    },
    /// A key is missing.
    #[error("{key} is missing; write {instead}")]
    Missing {
        /// The key.
        key: String,
        /// What to write.
        instead: String,
    },
    /// The nodes make no cluster.
    #[error("{key}: {0}; {remedy}", key = .0.key(), remedy = .0.remedy())]
    Cluster(#[from] InvalidCluster),
}
