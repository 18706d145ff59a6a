//! Containers: what one is to be, what one is, and where the two differ.

mod body;
mod captured;
mod difference;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use captured::{Captured, captured};
pub use difference::{Difference, differences};

/// A container as kbo.toml defines it, with all defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// The image.
    pub image: String,
    /// The program; `None` for the image's.
    pub entrypoint: Option<Vec<String>>,
    /// Its arguments; `None` for the image's.
    pub command: Option<Vec<String>>,
    /// Variables; those of `environment_file` come on top.
    pub environment: BTreeMap<String, String>,
    /// File on this machine with further variables.
    pub environment_file: Option<PathBuf>,
    /// Published ports.
    pub ports: Vec<Port>,
    /// What is mounted where.
    pub volumes: Vec<Volume>,
    /// The network's name.
    pub network: String,
    /// The address in it.
    pub ip: Option<String>,
    /// The host name in the container.
    pub hostname: Option<String>,
    /// The user; `None` for the image's.
    pub user: Option<String>,
    /// The restart policy.
    pub restart: String,
    /// Memory limit in bytes.
    pub memory: Option<i64>,
    /// Processors, in billionths.
    pub nano_cpus: Option<i64>,
    /// Soft and hard limits by name.
    pub ulimits: BTreeMap<String, (i64, i64)>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `name:address`.
    pub extra_hosts: Vec<String>,
    /// How long the engine waits for Kafka when somebody stops the container by hand.
    pub stop_timeout_seconds: u64,
    /// Kafka's properties file, as a path in the container; `None` where the environment configures it.
    pub properties: Option<String>,
    /// The log dirs, as paths in the container, in the order of the node's `data`.
    pub data: Vec<String>,
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Address of the node; `None` for all.
    pub address: Option<String>,
    /// Port of the node.
    pub host: u16,
    /// Port in the container.
    pub container: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

impl Port {
    /// The same port inside and outside, on all addresses.
    pub fn published(port: u16) -> Self {
        Self {
            address: None,
            host: port,
            container: port,
            protocol: "tcp".to_owned(),
        }
    }

    /// `9092`, `9092:9092`, `10.0.0.1:9092:9092`, each with `/tcp` or the like.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (rest, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        if !["tcp", "udp", "sctp"].contains(&protocol) {
            return Err(format!("{protocol:?} is no protocol of ports"));
        }
        let number = |part: &str| match part.parse::<u16>() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(format!("{part:?} is not a port")),
        };
        let (outer, container) = match rest.rsplit_once(':') {
            None => (rest, number(rest)?),
            Some((outer, container)) => (outer, number(container)?),
        };
        let (address, host) = match outer.rsplit_once(':') {
            None => (None, number(outer)?),
            Some((address, host)) => {
                let address = address.trim_start_matches('[').trim_end_matches(']');
                if address.parse::<std::net::IpAddr>().is_err() {
                    return Err(format!("{address:?} is not an address"));
                }
                (Some(address.to_owned()), number(host)?)
            }
        };
        Ok(Self {
            address,
            host,
            container,
            protocol: protocol.to_owned(),
        })
    }
}

/// Where a mount comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path on the node.
    Path(String),
    /// A volume of the engine.
    Volume(String),
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Where it comes from.
    pub source: Source,
    /// Path in the container.
    pub target: String,
    /// Whether the container may not write.
    pub read_only: bool,
}

impl Volume {
    /// `SOURCE:TARGET[:ro]`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let (Some(source), Some(target), mode, None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err("not SOURCE:TARGET or SOURCE:TARGET:ro".to_owned());
        };
        let read_only = match mode {
            None | Some("rw") => false,
            Some("ro") => true,
            Some(mode) => return Err(format!("{mode:?} is neither ro nor rw")),
        };
        let dots = |path: &str| path.split('/').any(|part| part == "..");
        if !target.starts_with('/') || dots(target) || target.trim_end_matches('/').is_empty() {
            return Err(format!("{target:?} is not an absolute path below /"));
        }
        let source = if source.starts_with('/') && !dots(source) {
            Source::Path(source.trim_end_matches('/').to_owned())
        } else if !source.is_empty() && !source.contains('/') && !source.starts_with('.') {
            Source::Volume(source.to_owned())
        } else {
            return Err(format!("{source:?} is neither an absolute path nor a volume's name"));
        };
        Ok(Self {
            source,
            target: target.trim_end_matches('/').to_owned(),
            read_only,
        })
    }
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Source::Path(source) | Source::Volume(source)) = &self.source;
        write!(f, "{source}:{}", self.target)?;
        if self.read_only { f.write_str(":ro") } else { Ok(()) }
    }
}

/// What the engine is to create, as its API has it (`POST /containers/create`). May hold secrets: it goes to the node and nowhere else.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Body(pub Value);

// By hand, for the environment must not show.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({})", self.0["Image"])
    }
}

impl Body {
    /// The image.
    pub fn image(&self) -> &str {
        self.0["Image"].as_str().unwrap_or_default()
    }
}

/// Words in a name that speak of a secret value.
const SUSPECT: [&str; 8] = [
    "pass",
    "secret",
    "token",
    "key",
    "credential",
    "jaas",
    "auth",
    "user_info",
];

/// Whether a name (of an environment variable, of a label) speaks of a secret.
pub fn is_suspect(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SUSPECT.iter().any(|word| name.contains(word))
}
