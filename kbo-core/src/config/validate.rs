//! From what is written to what holds together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::container::{Paths, RawContainer, RawNodeContainer, definition};
use super::raw::{OneOrMany, Raw, RawNode, TransportKind};
use super::{Access, Config, ConfigError, Ssh, Storage};
use crate::container::Definition;
use crate::floor::NoFloor;
use crate::ids::{ClusterId, ClusterName, InvalidId, NodeName};
use crate::inventory::{Cluster, Node, Role};
use crate::orchestrator::Settings;

impl Config {
    /// Checks a configuration. `home` stands in for a leading `~`.
    ///
    /// # Errors
    /// The first key that does not do, with what would.
    pub fn new(raw: &Raw, home: Option<&Path>) -> Result<Self, ConfigError> {
        let name = raw
            .cluster
            .name
            .as_deref()
            .ok_or_else(|| missing("cluster.name", "name = \"dev\" under [cluster]"))?;
        let cold = raw.storage.cold.as_deref();
        let cold = cold.ok_or_else(|| missing("storage.cold", "cold = \"/backup/cold\" under [storage]"))?;
        let nodes = raw
            .node
            .iter()
            .map(|node| self::node(raw, node))
            .collect::<Result<Vec<_>, _>>()?;
        let retention = super::retention::policies(&raw.retention, raw.storage.retention_days)?;
        let settings = Settings {
            retention: Some(retention),
            ..settings(raw)?
        };
        let mut access = BTreeMap::new();
        let mut containers = BTreeMap::new();
        for (node, checked) in raw.node.iter().zip(&nodes) {
            access.insert(checked.name.clone(), self::access(raw, node, home)?);
            if let Some(container) = container(raw, node, checked, settings.stop_timeout, home)? {
                containers.insert(checked.name.clone(), container);
            }
        }
        let names: Vec<NodeName> = nodes.iter().map(|node| node.name.clone()).collect();
        let certs = super::certs::certs(raw, &names, home)?;
        Ok(Self {
            cluster_name: id::<ClusterName>("cluster.name", name)?,
            cluster_id: raw
                .cluster
                .id
                .as_deref()
                .map(|text| id::<ClusterId>("cluster.id", text))
                .transpose()?,
            cluster: Cluster::new(nodes, raw.order.startup.as_deref())?,
            access,
            storage: Storage {
                cold: expand(cold, home),
            },
            containers,
            retention,
            settings,
            kafka: super::kafka::kafka(raw, home)?,
            engine_socket: raw
                .engine
                .socket
                .clone()
                .unwrap_or_else(|| "/var/run/docker.sock".to_owned()),
            log_file: raw.log.file.as_deref().map(|file| expand(file, home)),
            hooks: super::hooks::hooks(&raw.hooks, home)?,
            metrics_textfile: super::hooks::textfile(&raw.metrics, home)?,
            certs,
        })
    }
}

pub(super) fn missing(key: &str, instead: &str) -> ConfigError {
    ConfigError::Missing {
        key: key.to_owned(),
        instead: instead.to_owned(),
    }
}

pub(super) fn value(key: &str, value: impl ToString, why: &str, instead: &str) -> ConfigError {
    ConfigError::Value {
        key: key.to_owned(),
        value: value.to_string(),
        why: why.to_owned(),
        instead: instead.to_owned(),
    }
}

fn id<T: FromStr<Err = InvalidId>>(key: &str, text: &str) -> Result<T, ConfigError> {
    text.parse().map_err(|error: InvalidId| {
        let why = format!("not a valid {}", error.what);
        value(key, format!("{text:?}"), &why, error.why)
    })
}

pub(super) fn seconds(key: &str, given: Option<u64>, default: Duration) -> Result<Duration, ConfigError> {
    const WEEK: u64 = 7 * 24 * 3600;
    match given {
        None => Ok(default),
        Some(seconds) if (1..=WEEK).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        Some(seconds) => Err(value(
            key,
            seconds,
            "must be between 1 second and a week",
            "a number of seconds",
        )),
    }
}

pub(super) fn expand(path: &Path, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

fn settings(raw: &Raw) -> Result<Settings, ConfigError> {
    let default = Settings::default();
    let level = raw.archive.level.unwrap_or(default.level);
    if !(1..=19).contains(&level) {
        return Err(value(
            "archive.level",
            level,
            "not a level that kbo uses",
            "1 (fast) to 19 (small)",
        ));
    }
    let parallel_nodes = raw.limits.parallel_nodes.unwrap_or(default.parallel_nodes);
    if parallel_nodes == 0 {
        return Err(value(
            "limits.parallel_nodes",
            0,
            "no node would ever be worked on",
            "1 or more",
        ));
    }
    let warn_free_percent = raw.storage.warn_free_percent.unwrap_or(default.warn_free_percent);
    if warn_free_percent > 100 {
        return Err(value(
            "storage.warn_free_percent",
            warn_free_percent,
            "not a percentage",
            "0 to 100",
        ));
    }
    let node_free_floor = match &raw.limits.node_free_floor {
        None => default.node_free_floor,
        Some(text) => text.parse().map_err(|error: NoFloor| {
            let expected = "a percentage such as \"5%\", a size such as \"2GiB\", or \"0\" for none";
            value(
                "limits.node_free_floor",
                format!("{text:?}"),
                &error.to_string(),
                expected,
            )
        })?,
    };
    let kafka = &raw.kafka;
    Ok(Settings {
        stop_timeout: seconds(
            "engine.stop_timeout_seconds",
            raw.engine.stop_timeout_seconds,
            default.stop_timeout,
        )?,
        ready_timeout: seconds(
            "kafka.ready_timeout_seconds",
            kafka.ready_timeout_seconds,
            default.ready_timeout,
        )?,
        isr_timeout: seconds(
            "kafka.isr_timeout_seconds",
            kafka.isr_timeout_seconds,
            default.isr_timeout,
        )?,
        lease_grace: seconds(
            "limits.lease_grace_seconds",
            raw.limits.lease_grace_seconds,
            default.lease_grace,
        )?,
        store_timeout: seconds(
            "limits.store_timeout_seconds",
            raw.limits.store_timeout_seconds,
            default.store_timeout,
        )?,
        node_timeout: seconds(
            "limits.node_timeout_seconds",
            raw.limits.node_timeout_seconds,
            default.node_timeout,
        )?,
        parallel_nodes,
        level,
        threads: raw.archive.threads.unwrap_or(default.threads),
        warn_free_percent,
        node_free_floor,
        allow_degraded: raw.backup.allow_degraded.unwrap_or(default.allow_degraded),
        retired: raw.cluster.retired.iter().flatten().copied().collect(),
        ..default
    })
}

pub(super) fn absolute(key: &str, path: &str) -> Result<String, ConfigError> {
    let normal = Path::new(path)
        .components()
        .all(|part| !matches!(part, std::path::Component::ParentDir));
    if !path.starts_with('/') || !normal || path.trim_end_matches('/').is_empty() {
        let why = "not an absolute path of a directory below /";
        return Err(value(
            key,
            format!("{path:?}"),
            why,
            "a path such as \"/data/cluster/data\"",
        ));
    }
    Ok(path.trim_end_matches('/').to_owned())
}

fn node(raw: &Raw, node: &RawNode) -> Result<Node, ConfigError> {
    let key = |key: &str| format!("node.{}.{key}", node.name);
    let name: NodeName = id("node.name", &node.name)?;
    let data = match node.data.as_ref().or(raw.defaults.data.as_ref()) {
        None => {
            return Err(missing(
                &key("data"),
                "data = \"/data/cluster/data\" here or under [defaults]",
            ));
        }
        Some(OneOrMany::One(path)) => vec![path.clone()],
        Some(OneOrMany::Many(paths)) if paths.is_empty() => {
            return Err(value(&key("data"), "[]", "names no directory", "Kafka's log.dirs"));
        }
        Some(OneOrMany::Many(paths)) => paths.clone(),
    };
    let data = data
        .iter()
        .map(|path| absolute(&key("data"), path))
        .collect::<Result<Vec<_>, _>>()?;
    let config = node.config.as_ref().or(raw.defaults.config.as_ref());
    let config = config.map(|path| absolute(&key("config"), path)).transpose()?;
    let dirs: Vec<(&str, &String)> = (data.iter().map(|dir| ("data", dir)))
        .chain(config.iter().map(|dir| ("config", dir)))
        .collect();
    for (at, (inner_key, inner)) in dirs.iter().enumerate() {
        let holds = |(other, (_, outer)): (usize, &(&str, &String))| {
            (other != at && Path::new(inner).starts_with(outer.as_str())).then(|| outer.to_string())
        };
        if let Some(outer) = dirs.iter().enumerate().find_map(holds) {
            return Err(value(
                &key(inner_key),
                format!("{inner:?}"),
                &format!("lies within {outer:?}"),
                "directories that do not contain each other",
            ));
        }
    }
    let container = node
        .container
        .as_ref()
        .and_then(RawNodeContainer::name)
        .unwrap_or(&node.name);
    let container = id::<NodeName>(&key("container"), container)?.to_string();
    Ok(Node {
        name,
        role: node.role,
        container,
        config,
        data,
        node_id: node.node_id,
        unit: unit(&key("unit"), node)?,
    })
}

/// A name that systemctl takes for one service unit, and not for an option or a pattern.
fn unit(key: &str, node: &RawNode) -> Result<Option<String>, ConfigError> {
    let Some(unit) = &node.unit else { return Ok(None) };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '\\' | '@');
    let is_service = unit.strip_suffix(".service").is_some_and(|name| !name.is_empty());
    if !is_service || unit.starts_with('-') || unit.len() > 255 || !unit.chars().all(plain) {
        return Err(value(
            key,
            format!("{unit:?}"),
            "not the name of a service of systemd",
            "a name such as \"kafka.service\"",
        ));
    }
    Ok(Some(unit.clone()))
}

/// What the container is made of, from the most general table to the node's own.
fn container(
    raw: &Raw,
    node: &RawNode,
    checked: &Node,
    stop_timeout: Duration,
    home: Option<&Path>,
) -> Result<Option<Definition>, ConfigError> {
    let defaults = &raw.defaults;
    let (role_key, role) = match node.role {
        Role::Controller => ("controller", &defaults.controller),
        Role::Broker => ("broker", &defaults.broker),
        Role::Combined => ("combined", &defaults.combined),
    };
    for (level, table) in [
        ("defaults", &defaults.container),
        (&format!("defaults.{role_key}"), &role.container),
    ] {
        if let Some(name) = &table.name {
            let key = format!("{level}.container.name");
            return Err(value(
                &key,
                format!("{name:?}"),
                "only a node's own container has a name",
                "it at the node",
            ));
        }
    }
    let mut levels: Vec<&RawContainer> = vec![&defaults.container, &role.container];
    if let Some(RawNodeContainer::Definition(own)) = &node.container {
        levels.push(own);
    }
    let paths = match node.transport.or(defaults.transport).unwrap_or_default() {
        TransportKind::Docker => Paths::InContainer,
        TransportKind::Ssh | TransportKind::Local => Paths::OnNode,
    };
    let mut definition = definition(&levels, checked, paths, stop_timeout.as_secs())?;
    if let Some(file) = definition
        .as_mut()
        .and_then(|definition| definition.environment_file.as_mut())
    {
        *file = expand(file, home);
    }
    Ok(definition)
}

/// The engine carries the node's files and keys: over TCP without TLS it does so for everybody on the way to read and change.
fn clear_tcp(host: &str, is_accepted: bool) -> Result<(), ConfigError> {
    let Some((_, address)) = host.split_once("://").filter(|(scheme, _)| *scheme != "unix") else {
        return Ok(());
    };
    let authority = address.split('/').next().unwrap_or_default();
    let name = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(name, _)| name),
    };
    let is_loopback = name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    if is_loopback || is_accepted {
        return Ok(());
    }
    Err(value(
        "docker.host",
        format!("{host:?}"),
        "an engine without TLS: whoever is on the way can read Kafka's keys and act as root",
        "a forwarded socket (ssh -L /run/kbo-engine.sock:/var/run/docker.sock HOST, unix:///run/kbo-engine.sock), or insecure_tcp = true under [docker] where the network is trusted",
    ))
}

fn access(raw: &Raw, node: &RawNode, home: Option<&Path>) -> Result<Access, ConfigError> {
    let key = |key: &str| format!("node.{}.{key}", node.name);
    match node.transport.or(raw.defaults.transport).unwrap_or_default() {
        TransportKind::Local => Ok(Access::Local),
        TransportKind::Docker => {
            let host = raw
                .docker
                .host
                .clone()
                .unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned());
            if !["unix://", "tcp://", "http://"]
                .iter()
                .any(|scheme| host.starts_with(scheme))
            {
                let instead = "unix:///var/run/docker.sock or tcp://host:2375";
                return Err(value(
                    "docker.host",
                    format!("{host:?}"),
                    "not an engine's address",
                    instead,
                ));
            }
            clear_tcp(&host, raw.docker.insecure_tcp.unwrap_or(false))?;
            Ok(Access::Docker {
                host,
                helper_image: raw.docker.helper_image.clone(),
            })
        }
        TransportKind::Ssh => {
            let host = node.host.clone().filter(|host| !host.is_empty());
            let ssh = &raw.ssh;
            let default_known_hosts = || PathBuf::from("~/.ssh/known_hosts");
            Ok(Access::Ssh(Ssh {
                host: host.ok_or_else(|| missing(&key("host"), "host = \"10.0.0.1\", or transport = \"docker\""))?,
                port: node.port.or(ssh.port).unwrap_or(22),
                user: node
                    .user
                    .clone()
                    .or_else(|| ssh.user.clone())
                    .unwrap_or_else(|| "root".to_owned()),
                key: node
                    .key
                    .as_deref()
                    .or(ssh.key.as_deref())
                    .map(|path| expand(path, home)),
                passphrase_file: ssh.passphrase_file.as_deref().map(|path| expand(path, home)),
                known_hosts: expand(&ssh.known_hosts.clone().unwrap_or_else(default_known_hosts), home),
                r#become: node.r#become.or(ssh.r#become).unwrap_or(false),
                agent_dir: node.agent_dir.clone().or_else(|| ssh.agent_dir.clone()),
                connect_timeout_seconds: ssh.connect_timeout_seconds.unwrap_or(10).max(1),
                idle_timeout_seconds: ssh.idle_timeout_seconds.unwrap_or(60).max(10),
                retries: ssh.retries.unwrap_or(2),
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::raw::{RawCluster, RawDefaults, RawStorage};

    fn raw_node(name: &str, role: Role) -> RawNode {
        RawNode {
            name: name.to_owned(),
            role,
            host: Some("10.0.0.1".to_owned()),
            container: None,
            transport: None,
            config: None,
            data: None,
            node_id: None,
            unit: None,
            user: None,
            port: None,
            key: None,
            r#become: None,
            agent_dir: None,
            certs_hosts: None,
        }
    }

    fn raw() -> Raw {
        Raw {
            cluster: RawCluster {
                name: Some("dev".to_owned()),
                id: None,
                retired: None,
            },
            storage: RawStorage {
                cold: Some("~/cold".into()),
                ..RawStorage::default()
            },
            defaults: RawDefaults {
                transport: None,
                config: Some("/data/config".to_owned()),
                data: Some(OneOrMany::One("/data/kafka/".to_owned())),
                ..RawDefaults::default()
            },
            node: vec![raw_node("b1", Role::Broker), raw_node("c1", Role::Controller)],
            ..Raw::default()
        }
    }

    fn refused(change: impl FnOnce(&mut Raw)) -> String {
        let mut raw = raw();
        change(&mut raw);
        Config::new(&raw, None).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_those_of_the_documents() {
        let config = Config::new(&raw(), Some(Path::new("/home/me"))).unwrap();
        assert_eq!(config.storage.cold, Path::new("/home/me/cold"));
        assert_eq!(config.retention.cluster.days, 30);
        assert_eq!(config.settings.warn_free_percent, 20);
        assert_eq!(config.settings.stop_timeout.as_secs(), 360);
        assert_eq!(config.settings.level, 1);
        let node = &config.cluster.start_order()[0];
        assert_eq!((node.name.as_str(), node.container.as_str()), ("c1", "c1"));
        assert_eq!(node.data, ["/data/kafka"]);
        let Access::Ssh(ssh) = &config.access[&node.name] else {
            panic!("ssh is the default")
        };
        assert_eq!((ssh.user.as_str(), ssh.port), ("root", 22));
        assert_eq!(ssh.known_hosts, Path::new("/home/me/.ssh/known_hosts"));
    }

    #[test]
    fn errors_name_the_key_and_what_to_write() {
        let text = refused(|raw| raw.cluster.name = None);
        assert!(text.contains("cluster.name") && text.contains("[cluster]"), "{text}");
        let text = refused(|raw| raw.storage.cold = None);
        assert!(text.contains("storage.cold"), "{text}");
        let text = refused(|raw| raw.node[0].host = None);
        assert!(text.contains("node.b1.host"), "{text}");
        let text = refused(|raw| raw.defaults.data = None);
        assert!(text.contains("node.b1.data") && text.contains("[defaults]"), "{text}");
        let text = refused(|raw| raw.archive.level = Some(99));
        assert!(
            text.contains("archive.level = 99") && text.contains("1 (fast)"),
            "{text}"
        );
    }

    #[test]
    fn directories_must_be_absolute_and_apart() {
        for path in ["data", "/", "", "/data/../etc"] {
            let text = refused(|raw| raw.defaults.data = Some(OneOrMany::One(path.to_owned())));
            assert!(text.contains("node.b1.data"), "{path}: {text}");
        }
        let text = refused(|raw| raw.defaults.data = Some(OneOrMany::One("/data/config/kafka".to_owned())));
        assert!(text.contains("lies within"), "{text}");
        // Names that sort between a directory and what lies in it.
        let many = ["/kafka-2/data", "/kafka/data", "/kafka"];
        let text = refused(|raw| raw.defaults.data = Some(OneOrMany::Many(many.map(str::to_owned).into())));
        assert!(
            text.contains("\"/kafka/data\"") && text.contains("lies within"),
            "{text}"
        );
    }

    #[test]
    fn half_a_client_certificate_is_refused() {
        let text = refused(|raw| raw.kafka.cert = Some("c.pem".into()));
        assert!(text.contains("kafka.key"), "{text}");
    }

    #[test]
    fn zero_seconds_and_zero_days_are_refused() {
        assert!(refused(|raw| raw.kafka.ready_timeout_seconds = Some(0)).contains("kafka.ready_timeout_seconds"));
        assert!(refused(|raw| raw.storage.retention_days = Some(0)).contains("storage.retention_days"));
        assert!(refused(|raw| raw.limits.parallel_nodes = Some(0)).contains("limits.parallel_nodes"));
        assert!(refused(|raw| raw.limits.node_free_floor = Some("a lot".into())).contains("limits.node_free_floor"));
    }
}
