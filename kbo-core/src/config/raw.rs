//! kbo.toml as it is written. Unknown keys are errors; what is optional here gets its default in the validation.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::certs::RawCerts;
use super::container::{RawContainer, RawNodeContainer, RawRole};
use super::hooks::{RawHooks, RawMetrics};
use super::retention::RawRetention;
use crate::inventory::Role;

/// The whole file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// `[cluster]`: which cluster it is
    #[serde(default)]
    pub cluster: RawCluster,
    /// `[storage]`: where backups live
    #[serde(default)]
    pub storage: RawStorage,
    /// `[ssh]`: defaults for every node reached over SSH
    #[serde(default)]
    pub ssh: RawSsh,
    /// `[docker]`: nodes that are containers of one engine
    #[serde(default)]
    pub docker: RawDocker,
    /// `[engine]`: the container engine beside each node
    #[serde(default)]
    pub engine: RawEngine,
    /// `[kafka]`: asking whether Kafka is ready
    #[serde(default)]
    pub kafka: RawKafka,
    /// `[backup]`: what backups accept
    #[serde(default)]
    pub backup: RawBackup,
    /// `[archive]`: how archives are made
    #[serde(default)]
    pub archive: RawArchive,
    /// `[limits]`: how much at once, how long alone
    #[serde(default)]
    pub limits: RawLimits,
    /// `[retention]`: how long backups stay
    #[serde(default)]
    pub retention: RawRetention,
    /// `[hooks]`: commands around a backup or a restore
    #[serde(default)]
    pub hooks: RawHooks,
    /// `[metrics]`: what Prometheus is told
    #[serde(default)]
    pub metrics: RawMetrics,
    /// `[certs]`: keystores and truststores
    #[serde(default)]
    pub certs: RawCerts,
    /// `[log]`: where the log goes
    #[serde(default)]
    pub log: RawLog,
    /// `[defaults]`: defaults of every node
    #[serde(default)]
    pub defaults: RawDefaults,
    /// `[order]`: another order of start
    #[serde(default)]
    pub order: RawOrder,
    /// `[[node]]`: one for each node
    #[serde(default)]
    pub node: Vec<RawNode>,
}

/// `[cluster]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawCluster {
    /// The cluster's name, as you call it. Required.
    pub name: Option<String>,
    /// Kafka's cluster id; checked against every meta.properties.
    pub id: Option<String>,
    /// node.ids of brokers and controllers that are gone for good, though the cluster still knows them. Default: none.
    pub retired: Option<Vec<i32>>,
}

/// `[storage]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawStorage {
    /// The store's folder on this machine. Required.
    pub cold: Option<PathBuf>,
    /// The older name of `retention.days`.
    pub retention_days: Option<u32>,
    /// Warn below this percentage of free space. Default 20.
    pub warn_free_percent: Option<u8>,
}

/// `[ssh]`; a node has some of these keys too
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawSsh {
    /// Whom to log in as. Default root.
    pub user: Option<String>,
    /// The port of the SSH server. Default 22.
    pub port: Option<u16>,
    /// Private key file; without one, the keys of ssh-agent are tried.
    pub key: Option<PathBuf>,
    /// File whose first line is the key's passphrase; without one kbo asks on a terminal.
    pub passphrase_file: Option<PathBuf>,
    /// The only host keys that are trusted. Default ~/.ssh/known_hosts.
    pub known_hosts: Option<PathBuf>,
    /// Run the agent by `sudo -n`. Default false.
    pub r#become: Option<bool>,
    /// Folder on the node for the agent's program, tried before the usual ones. Default: a cache folder.
    pub agent_dir: Option<String>,
    /// For the connection, and again for the login. Default 10.
    pub connect_timeout_seconds: Option<u64>,
    /// Silence after which a connection is given up. Default 60.
    pub idle_timeout_seconds: Option<u64>,
    /// Further attempts to connect before anything is stopped. Default 2.
    pub retries: Option<u32>,
}

/// `[docker]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawDocker {
    /// The engine of the Docker transport. Default unix:///var/run/docker.sock.
    pub host: Option<String>,
    /// Accept an engine over TCP without TLS on another machine: its traffic carries Kafka's keys. Default false.
    pub insecure_tcp: Option<bool>,
    /// Image of the helper container that the agent runs in. Default: the image of the node's own container.
    pub helper_image: Option<String>,
}

/// `[engine]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawEngine {
    /// The engine's socket on a node. Default /var/run/docker.sock.
    pub socket: Option<String>,
    /// How long Kafka has to stop before the engine kills it. Default 360.
    pub stop_timeout_seconds: Option<u64>,
}

/// `[kafka]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawKafka {
    /// PEM file of the CA that signed the listeners' certificates.
    pub ca: Option<PathBuf>,
    /// PEM file of a client certificate, where listeners want one.
    pub cert: Option<PathBuf>,
    /// PEM file of its key.
    pub key: Option<PathBuf>,
    /// File whose first line is the key's password.
    pub key_password_file: Option<PathBuf>,
    /// Whether certificates must name the host. Default true.
    pub verify_hostname: Option<bool>,
    /// SASL mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512. Default: the best that lets the user in.
    pub sasl_mechanism: Option<String>,
    /// User for listeners with SASL.
    pub sasl_username: Option<String>,
    /// File whose first line is the user's password.
    pub sasl_password_file: Option<PathBuf>,
    /// Client properties on each node, for what is not given here: an absolute path in the container, or a name in the node's
    /// configuration directory. Default: the first of client.properties, admin.properties, command.properties,
    /// client-sasl.properties, client-ssl.properties there that has security.protocol.
    pub client_properties: Option<String>,
    /// How long a quorum or a broker has to become ready. Default 300.
    pub ready_timeout_seconds: Option<u64>,
    /// How long ISRs have to become whole after the start. Default 120.
    pub isr_timeout_seconds: Option<u64>,
}

/// `[backup]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawBackup {
    /// Back up a cluster with a dead broker, an offline log dir or partitions without a leader too, marked as degraded. Default
    /// false.
    pub allow_degraded: Option<bool>,
}

/// `[archive]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawArchive {
    /// zstd level, 1 to 19; above 6 fewer threads compress, for the memory; from 12 on a single one, with up to 120 MiB. Default 1.
    pub level: Option<i32>,
    /// Compression threads on a node; 0 is its processors. Default 0.
    pub threads: Option<u32>,
}

/// `[limits]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawLimits {
    /// Nodes archived or staged side by side. Default 16.
    pub parallel_nodes: Option<usize>,
    /// How long a node waits for a vanished kbo before it brings itself back. Default 120.
    pub lease_grace_seconds: Option<u64>,
    /// How long the store's disk may take to answer. A run goes on without it after that, and undoes what it has done: the cluster does not
    /// stay down with the disk. What syncs an archive, or removes or searches whole trees, has twenty times as long. Default 30.
    pub store_timeout_seconds: Option<u64>,
    /// Free space that every filesystem with a log dir keeps while archives are made: a percentage (`"5%"`) or a size (`"2GiB"`). A
    /// snapshot keeps on the disk what Kafka deletes meanwhile; below the floor the backup ends and its snapshots go. `"0"` watches
    /// nothing. Default: 5 %, and at most 1 GiB.
    pub node_free_floor: Option<String>,
    /// How long a node's engine or disk may take for what moves no data: a look, a rename; and how much longer than Kafka's own time a
    /// stop may take. A step fails after that, the run is undone, and the other nodes are up again. Default 150.
    pub node_timeout_seconds: Option<u64>,
}

/// `[log]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawLog {
    /// File to which the log is appended too.
    pub file: Option<PathBuf>,
}

/// `[order]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawOrder {
    /// Names of all nodes in start order; they stop in the reverse. Default: controllers, combined nodes, brokers, each as in the file.
    pub startup: Option<Vec<String>>,
}

/// How a node is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum TransportKind {
    /// Over SSH.
    #[default]
    Ssh,
    /// Through the container engine.
    Docker,
    /// It is this machine.
    Local,
}

/// One path or several.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

/// `[defaults]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawDefaults {
    /// How nodes are reached. Default ssh.
    pub transport: Option<TransportKind>,
    /// The configuration directory: a path on the node (Docker transport: in the container).
    pub config: Option<String>,
    /// Kafka's log.dirs, one path or a list, likewise. Required here or at each node.
    pub data: Option<OneOrMany>,
    /// What `kbo run` makes every container of.
    #[serde(default)]
    pub container: RawContainer,
    /// What those of controllers have of their own.
    #[serde(default)]
    pub controller: RawRole,
    /// What those of brokers have of their own.
    #[serde(default)]
    pub broker: RawRole,
    /// What those of combined nodes have of their own.
    #[serde(default)]
    pub combined: RawRole,
}

/// `[[node]]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawNode {
    /// Its name, and its container's unless `container` says otherwise. Required.
    pub name: String,
    /// What it is in the cluster. Required.
    pub role: Role,
    /// Host name or address. Required for SSH.
    pub host: Option<String>,
    /// The container's name, or what `kbo run` makes it of. Default: its name.
    pub container: Option<RawNodeContainer>,
    /// How it is reached. Default: that of `[defaults]`.
    pub transport: Option<TransportKind>,
    /// Its configuration directory. Default: that of `[defaults]`.
    pub config: Option<String>,
    /// Its log.dirs, one path or a list. Default: those of `[defaults]`.
    pub data: Option<OneOrMany>,
    /// Kafka's node.id, to be checked against meta.properties.
    pub node_id: Option<i32>,
    /// The service of systemd by which its container is stopped and started, such as kafka.service. Default: the engine does it.
    pub unit: Option<String>,
    /// Whom to log in as. Default: that of `[ssh]`.
    pub user: Option<String>,
    /// The port of its SSH server. Default: that of `[ssh]`.
    pub port: Option<u16>,
    /// Private key file. Default: that of `[ssh]`.
    pub key: Option<PathBuf>,
    /// Run the agent by `sudo -n`. Default: that of `[ssh]`.
    pub r#become: Option<bool>,
    /// Folder on it for the agent's program. Default: that of `[ssh]`.
    pub agent_dir: Option<String>,
    /// Host names that its certificate must cover. Default: those that its listeners advertise.
    pub certs_hosts: Option<Vec<String>>,
}
