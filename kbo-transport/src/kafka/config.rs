//! A node's own Kafka configuration: its properties file and what the image makes of environment variables.

use std::io::Read;
use std::path::{Path, PathBuf};

use kbo_core::ports::node::{NodeError, NodeErrorKind};
use zeroize::Zeroizing;

use super::properties::{self, Properties, Quiet};
use super::shown;

/// Names that images and handbooks give the file, the likeliest first.
const USUAL_NAMES: [&str; 5] = [
    "server.properties",
    "kraft.properties",
    "controller.properties",
    "broker.properties",
    "kafka.properties",
];

/// A properties file is some kilobytes; what is larger than this is none.
const MAX_FILE: u64 = 1024 * 1024;

/// What a node's Kafka says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeKafkaConfig {
    /// The file that was read, if any.
    pub source: Option<PathBuf>,
    /// `process.roles` contains `controller`.
    pub is_controller: bool,
    /// `process.roles` contains `broker`.
    pub is_broker: bool,
    /// `node.id`.
    pub node_id: Option<i32>,
    /// `listeners`; Kafka's default where the key is missing.
    pub listeners: Vec<Endpoint>,
    /// `advertised.listeners`.
    pub advertised: Vec<Endpoint>,
    /// `listener.security.protocol.map`: (listener name, protocol); `None` where the key is missing.
    pub protocol_map: Option<Vec<(String, String)>>,
    /// `controller.listener.names`.
    pub controller_listener_names: Vec<String>,
    /// `inter.broker.listener.name`.
    pub inter_broker_listener_name: Option<String>,
    /// `controller.quorum.voters`: (node.id, host, port).
    pub voters: Vec<(i32, String, u16)>,
    /// `controller.quorum.bootstrap.servers`: (host, port).
    pub bootstrap_servers: Vec<(String, u16)>,
    /// `log.dirs`, else `log.dir`.
    pub log_dirs: Vec<String>,
    /// All of it, for what lets others in.
    pub own: Quiet,
}

/// `NAME://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The listener's name, in upper case as Kafka has it.
    pub name: String,
    /// The host; empty for all interfaces.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl NodeKafkaConfig {
    /// `host:port` of the controllers that this node registers with; none if it is one itself.
    pub fn quorum(&self) -> Vec<String> {
        if self.is_controller {
            return Vec::new();
        }
        if self.voters.is_empty() {
            return self
                .bootstrap_servers
                .iter()
                .map(|(host, port)| shown(host, *port))
                .collect();
        }
        self.voters.iter().map(|(_, host, port)| shown(host, *port)).collect()
    }

    /// Finds and reads the node's configuration.
    ///
    /// `config_dir` is the node's configuration directory as seen from here, `container_env` and `command` (entrypoint and
    /// arguments) are the container's. A file that the command names is what Kafka reads, so it outranks the environment; any
    /// other file is a template that the image's start script overlays with the environment. `--override key=value` in the
    /// command outranks all.
    pub fn read(
        config_dir: Option<&Path>,
        container_env: &[(String, String)],
        command: &[String],
    ) -> Result<Self, NodeError> {
        let env = env_properties(container_env);
        let file = match config_dir {
            Some(dir) => find_file(dir, command)?,
            None => None,
        };
        let mut merged = Quiet::default();
        let mut source = None;
        match file {
            Some(Found {
                path,
                properties,
                named: true,
            }) => {
                merged.overlay(env);
                merged.overlay(properties);
                source = Some(path);
            }
            Some(Found {
                path,
                properties,
                named: false,
            }) => {
                merged.overlay(properties);
                merged.overlay(env);
                source = Some(path);
            }
            None => merged.overlay(env),
        }
        merged.overlay(overrides(command));
        let config = Self::of(merged, source)?;
        tracing::debug!(source = ?config.source, node_id = ?config.node_id, controller = config.is_controller, broker = config.is_broker, "Kafka configuration read");
        Ok(config)
    }

    /// Takes what matters here out of Kafka's properties.
    pub fn from_properties(properties: &Properties, source: Option<PathBuf>) -> Result<Self, NodeError> {
        Self::of(Quiet::new(properties.clone()), source)
    }

    fn of(properties: Quiet, source: Option<PathBuf>) -> Result<Self, NodeError> {
        let whence = match &source {
            Some(path) => path.display().to_string(),
            None => "the container's environment".to_owned(),
        };
        let wrong = |key: &str, value: &str| {
            NodeError::new(
                NodeErrorKind::State,
                format!("{key} in {whence} is {value:?}, which is not understood"),
            )
        };
        let get = |key: &str| properties.get(key).map(str::trim).filter(|v| !v.is_empty());

        let Some(roles) = get("process.roles") else {
            let error = NodeError::new(NodeErrorKind::State, format!("no process.roles in {whence}"));
            return Err(if get("zookeeper.connect").is_some() {
                error.hint("this Kafka runs with ZooKeeper; kbo knows KRaft clusters only")
            } else {
                error.hint("the node's `config` directory must hold the properties file that Kafka is started with")
            });
        };
        let mut config = Self {
            source: source.clone(),
            ..Self::default()
        };
        for role in list(roles) {
            match role {
                "controller" => config.is_controller = true,
                "broker" => config.is_broker = true,
                _ => return Err(wrong("process.roles", roles)),
            }
        }
        if let Some(id) = get("node.id").or_else(|| get("broker.id")) {
            config.node_id = Some(id.parse().map_err(|_| wrong("node.id", id))?);
        }
        let endpoints = |key: &str| -> Result<Vec<Endpoint>, NodeError> {
            let Some(value) = get(key) else { return Ok(Vec::new()) };
            list(value)
                .map(|item| Endpoint::parse(item).ok_or_else(|| wrong(key, value)))
                .collect()
        };
        config.listeners = endpoints("listeners")?;
        if config.listeners.is_empty() && config.is_broker {
            config.listeners.push(Endpoint {
                name: "PLAINTEXT".to_owned(),
                host: String::new(),
                port: 9092,
            });
        }
        config.advertised = endpoints("advertised.listeners")?;
        if let Some(value) = get("listener.security.protocol.map") {
            let pairs = list(value).map(|item| {
                let (name, protocol) = item.rsplit_once(':')?;
                Some((name.trim().to_ascii_uppercase(), protocol.trim().to_ascii_uppercase()))
            });
            config.protocol_map = Some(
                pairs
                    .collect::<Option<_>>()
                    .ok_or_else(|| wrong("listener.security.protocol.map", value))?,
            );
        }
        config.controller_listener_names = get("controller.listener.names")
            .map(list)
            .into_iter()
            .flatten()
            .map(str::to_ascii_uppercase)
            .collect();
        config.inter_broker_listener_name = get("inter.broker.listener.name").map(str::to_ascii_uppercase);
        // Addresses of others only widen the choice: what is not understood of them is left out rather than fatal.
        config.voters = get("controller.quorum.voters")
            .map(list)
            .into_iter()
            .flatten()
            .filter_map(parse_voter)
            .collect();
        config.bootstrap_servers = get("controller.quorum.bootstrap.servers")
            .map(list)
            .into_iter()
            .flatten()
            .filter_map(host_port)
            .collect();
        config.log_dirs = get("log.dirs")
            .or_else(|| get("log.dir"))
            .map(list)
            .into_iter()
            .flatten()
            .map(str::to_owned)
            .collect();
        config.own = properties;
        Ok(config)
    }
}

impl Endpoint {
    /// Reads `NAME://host:port`.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, address) = text.trim().split_once("://")?;
        let (host, port) = host_port(address)?;
        (!name.is_empty()).then(|| Self {
            name: name.to_ascii_uppercase(),
            host,
            port,
        })
    }

    /// Whether the host means all interfaces.
    pub fn is_wildcard(&self) -> bool {
        matches!(self.host.as_str(), "" | "0.0.0.0" | "::" | "0:0:0:0:0:0:0:0")
    }

    /// Whether the host is reachable from the machine (or container) itself only.
    pub fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

fn host_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.trim().rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    Some((host.to_owned(), port.parse().ok()?))
}

fn parse_voter(text: &str) -> Option<(i32, String, u16)> {
    let (id, address) = text.split_once('@')?;
    let (host, port) = host_port(address)?;
    Some((id.trim().parse().ok()?, host, port))
}

fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Kafka's keys out of the environment of apache/kafka and cp-kafka (`KAFKA_`), and of the images that prefix `KAFKA_CFG_`.
fn env_properties(env: &[(String, String)]) -> Quiet {
    let known = env.iter().filter_map(|(name, value)| {
        let rest = name.strip_prefix("KAFKA_")?;
        let rest = rest.strip_prefix("CFG_").unwrap_or(rest);
        // The longest run first, as the images' scripts do: `___` is `-`, `__` is `_`, `_` is `.`.
        let key = rest
            .replace("___", "-")
            .replace("__", "\u{0}")
            .replace('_', ".")
            .replace('\u{0}', "_");
        Some((key.to_ascii_lowercase(), value.clone()))
    });
    known.collect()
}

/// `--override key=value` of kafka.Kafka's command line.
fn overrides(command: &[String]) -> Quiet {
    let words: Vec<&str> = words(command).collect();
    let pairs = words
        .windows(2)
        .filter(|pair| pair[0] == "--override")
        .filter_map(|pair| pair[1].split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// The command's words; an argument may be a whole shell line.
fn words(command: &[String]) -> impl Iterator<Item = &str> {
    command
        .iter()
        .flat_map(|arg| arg.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ';' | '&')))
        .filter(|word| !word.is_empty())
}

/// A properties file of a Kafka node.
struct Found {
    path: PathBuf,
    properties: Quiet,
    /// Whether the command names it.
    named: bool,
}

fn find_file(dir: &Path, command: &[String]) -> Result<Option<Found>, NodeError> {
    let named = named_candidates(dir, command);
    if let Some(found) = first_kafka_file(named, true)? {
        return Ok(Some(found));
    }
    let usual = [dir.to_owned(), dir.join("kraft")]
        .into_iter()
        .flat_map(|d| USUAL_NAMES.map(|name| d.join(name)));
    if let Some(found) = first_kafka_file(usual, false)? {
        return Ok(Some(found));
    }
    only_kafka_file(dir)
}

/// Files of `dir` with the names that the command mentions: with their parent folder's name first (`kraft/server.properties`).
fn named_candidates(dir: &Path, command: &[String]) -> Vec<PathBuf> {
    let mut out = Vec::new();
    // An option such as -Dlog4j.configuration=file:... names a file of another kind.
    for word in words(command).filter(|word| word.ends_with(".properties") && !word.starts_with('-')) {
        let path = Path::new(word);
        let Some(name) = path.file_name() else { continue };
        if let Some(parent) = path.parent().and_then(Path::file_name) {
            out.push(dir.join(parent).join(name));
        }
        out.push(dir.join(name));
        out.push(dir.join("kraft").join(name));
    }
    out
}

/// The first that is a KRaft node's file; one with process.roles before one with node.id alone.
fn first_kafka_file(paths: impl IntoIterator<Item = PathBuf>, named: bool) -> Result<Option<Found>, NodeError> {
    let mut second_best = None;
    for path in paths {
        let Some(properties) = read_properties(&path)? else {
            continue;
        };
        if properties.get("process.roles").is_some() {
            return Ok(Some(Found {
                path,
                properties,
                named,
            }));
        }
        if second_best.is_none() && properties.get("node.id").is_some() {
            second_best = Some(Found {
                path,
                properties,
                named,
            });
        }
    }
    Ok(second_best)
}

/// Any *.properties of a KRaft node, provided that there is only one.
fn only_kafka_file(dir: &Path) -> Result<Option<Found>, NodeError> {
    let mut found: Vec<Found> = Vec::new();
    for folder in [dir.to_owned(), dir.join("kraft")] {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if folder != dir && is_absence(&error) => continue,
            Err(error) => {
                let message = format!("cannot read the configuration directory {}: {error}", folder.display());
                return Err(NodeError::new(NodeErrorKind::Io, message));
            }
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_some_and(|extension| extension == "properties")
                && let Some(properties) = read_properties(&path)?
                && (properties.get("process.roles").is_some() || properties.get("node.id").is_some())
            {
                found.push(Found {
                    path,
                    properties,
                    named: false,
                });
            }
        }
    }
    if found.len() > 1 {
        let mut names: Vec<String> = found.iter().map(|f| f.path.display().to_string()).collect();
        names.sort();
        let message = format!("several files could be Kafka's configuration: {}", names.join(", "));
        return Err(NodeError::new(NodeErrorKind::State, message)
            .hint("name the right one server.properties, or name it in the container's command"));
    }
    Ok(found.pop())
}

fn is_absence(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
    )
}

/// `None` where there is no such regular file.
fn read_properties(path: &Path) -> Result<Option<Quiet>, NodeError> {
    let failed = |error: std::io::Error| {
        NodeError::new(
            NodeErrorKind::Io,
            format!("cannot read Kafka's configuration {}: {error}", path.display()),
        )
    };
    // Looked at before it is opened: opening a FIFO would wait for a writer.
    let length = match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() => meta.len().min(MAX_FILE),
        Ok(_) => return Ok(None),
        Err(error) if is_absence(&error) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    // Room for all of it at once: a buffer that grows would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1));
    kbo_archive::regular::open(path)
        .and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes))
        .map_err(failed)?;
    Ok(Some(properties::parse_bytes(&bytes)))
}

#[cfg(test)]
mod tests;
