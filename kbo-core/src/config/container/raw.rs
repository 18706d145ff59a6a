//! The tables as they are written.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::config::raw::OneOrMany;

/// A container's definition; every key is optional, and the more particular table wins.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawContainer {
    /// The container's name; at a node only. Default: the node's name.
    pub name: Option<String>,
    /// The image, with its tag: `apache/kafka:4.1.1`, `confluentinc/cp-kafka:8.1.0`. Required for `kbo run`.
    pub image: Option<String>,
    /// The program instead of the image's entrypoint.
    pub entrypoint: Option<Vec<String>>,
    /// The command. Default: the image's `kafka-server-start` with the mounted properties file.
    pub command: Option<Vec<String>>,
    /// The properties file in the configuration directory. Default server.properties.
    pub properties: Option<String>,
    /// Where the configuration directory is mounted in the container, read-only. Default /mnt/kafka/config.
    pub config_mount: Option<String>,
    /// Where the log dirs are mounted in the container, in the order of `data`. Default: /var/lib/kafka/data where there is one.
    pub data_mount: Option<OneOrMany>,
    /// Environment variables. Those of the more particular tables are added.
    #[serde(default)]
    pub environment: BTreeMap<String, Scalar>,
    /// File on this machine with further variables, `NAME=VALUE` a line: for secrets.
    pub environment_file: Option<PathBuf>,
    /// Published ports: `9092`, `9092:9092`, `10.0.0.1:9092:9092/tcp`. Default: 9092 for brokers, 9093 for controllers, none with
    /// `network = "host"`.
    pub ports: Option<Vec<String>>,
    /// Further mounts: `SOURCE:TARGET[:ro]`; SOURCE is a path on the node or a volume's name.
    pub mounts: Option<Vec<String>>,
    /// The network: `bridge`, `host`, or one that the engine knows by this name. Default bridge.
    pub network: Option<String>,
    /// The address in that network.
    pub ip: Option<String>,
    /// The host name in the container. Default: the node's name; none with `network = "host"`.
    pub hostname: Option<String>,
    /// The user, such as `1000:1000`. Default: the image's.
    pub user: Option<String>,
    /// When the engine starts it again: `no`, `always`, `unless-stopped` or `on-failure`. Default unless-stopped.
    pub restart: Option<String>,
    /// Memory limit: `2g`, `512m`, or bytes.
    pub memory: Option<Scalar>,
    /// Processors: `1.5`.
    pub cpus: Option<f64>,
    /// Limits of the process: `nofile = 100000`, or `nofile = "65536:100000"` for soft and hard.
    #[serde(default)]
    pub ulimits: BTreeMap<String, Scalar>,
    /// Labels. Those of the more particular tables are added.
    #[serde(default)]
    pub labels: BTreeMap<String, Scalar>,
    /// Lines of /etc/hosts: `name:address`.
    pub extra_hosts: Option<Vec<String>>,
    /// JMX: a port, or `ADDRESS:PORT` to publish it on that address of the node only. Whoever reaches it rules the JVM.
    pub jmx: Option<Scalar>,
}

/// A string, or a number or boolean that stands for one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Scalar {
    /// A string.
    Text(String),
    /// A whole number.
    Whole(i64),
    /// Another number.
    Number(f64),
    /// true or false.
    Bool(bool),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Text(text) => f.write_str(text),
            Scalar::Whole(number) => write!(f, "{number}"),
            Scalar::Number(number) => write!(f, "{number}"),
            Scalar::Bool(truth) => write!(f, "{truth}"),
        }
    }
}

/// Under `[defaults.controller]` and its siblings.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawRole {
    /// What containers of this role have of their own.
    #[serde(default)]
    pub container: RawContainer,
}

/// A node's `container`: its name, or its definition.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum RawNodeContainer {
    /// `container = "kafka"`
    Name(String),
    /// `[node.container]`
    Definition(Box<RawContainer>),
}

// By hand, for an untagged enum would not say which key is unknown.
impl<'de> Deserialize<'de> for RawNodeContainer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = RawNodeContainer;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the container's name, or a table that defines it")
            }
            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(RawNodeContainer::Name(name.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let definition = RawContainer::deserialize(MapAccessDeserializer::new(map))?;
                Ok(RawNodeContainer::Definition(Box::new(definition)))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl RawNodeContainer {
    /// The name that it gives the container, if any.
    pub fn name(&self) -> Option<&str> {
        match self {
            RawNodeContainer::Name(name) => Some(name),
            RawNodeContainer::Definition(definition) => definition.name.as_deref(),
        }
    }
}

impl RawContainer {
    /// `self` with all that `over` says laid over it.
    pub(super) fn under(mut self, over: &RawContainer) -> Self {
        fn lay<T: Clone>(below: &mut Option<T>, over: &Option<T>) {
            if over.is_some() {
                below.clone_from(over);
            }
        }
        lay(&mut self.image, &over.image);
        lay(&mut self.entrypoint, &over.entrypoint);
        lay(&mut self.command, &over.command);
        lay(&mut self.properties, &over.properties);
        lay(&mut self.config_mount, &over.config_mount);
        lay(&mut self.data_mount, &over.data_mount);
        lay(&mut self.environment_file, &over.environment_file);
        lay(&mut self.ports, &over.ports);
        lay(&mut self.mounts, &over.mounts);
        lay(&mut self.network, &over.network);
        lay(&mut self.ip, &over.ip);
        lay(&mut self.hostname, &over.hostname);
        lay(&mut self.user, &over.user);
        lay(&mut self.restart, &over.restart);
        lay(&mut self.memory, &over.memory);
        lay(&mut self.cpus, &over.cpus);
        lay(&mut self.extra_hosts, &over.extra_hosts);
        lay(&mut self.jmx, &over.jmx);
        let add = |below: &mut BTreeMap<String, Scalar>, over: &BTreeMap<String, Scalar>| {
            below.extend(over.iter().map(|(name, value)| (name.clone(), value.clone())));
        };
        add(&mut self.environment, &over.environment);
        add(&mut self.ulimits, &over.ulimits);
        add(&mut self.labels, &over.labels);
        self
    }
}
