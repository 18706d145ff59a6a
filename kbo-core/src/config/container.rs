//! Containers as kbo.toml defines them: `[defaults.container]`, then `[defaults.<role>.container]`, then `[node.container]`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::validate::{missing, value};
use crate::container::{Definition, Port, Source, Volume};
use crate::inventory::{Node, Role};

/// A container's definition; every key is optional, and the more particular table wins.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawContainer {
    /// The container's name; at a node only. Default: the node's name.
    pub name: Option<String>,
    /// The image, with its tag: `apache/kafka:4.1.1`, `confluentinc/cp-kafka:8.1.0`.
    pub image: Option<String>,
    /// The program instead of the image's entrypoint.
    pub entrypoint: Option<Vec<String>>,
    /// The command. Default: the image's `kafka-server-start` with the mounted properties file.
    pub command: Option<Vec<String>>,
    /// The properties file in the configuration directory. Default server.properties.
    pub properties: Option<String>,
    /// Where the configuration directory is mounted in the container, read-only. Default /mnt/kafka/config.
    pub config_mount: Option<String>,
    /// Where the log dirs are mounted in the container, in the order of `data`. Default /var/lib/kafka/data where there is one.
    pub data_mount: Option<super::raw::OneOrMany>,
    /// Environment variables. Those of the more particular tables are added.
    #[serde(default)]
    pub environment: BTreeMap<String, Scalar>,
    /// File on this machine with further variables, `NAME=VALUE` a line: for secrets.
    pub environment_file: Option<PathBuf>,
    /// Published ports: `9092`, `9092:9092`, `10.0.0.1:9092:9092/tcp`. Default 9092 for brokers, 9093 for controllers, none with
    /// `network = "host"`.
    pub ports: Option<Vec<String>>,
    /// Further mounts: `SOURCE:TARGET[:ro]`; SOURCE is a path on the node or a volume's name.
    pub mounts: Option<Vec<String>>,
    /// The network: `bridge` (default), `host`, or one that the engine knows by this name.
    pub network: Option<String>,
    /// The address in that network.
    pub ip: Option<String>,
    /// The host name in the container. Default: the node's name; none with `network = "host"`.
    pub hostname: Option<String>,
    /// The user (`1000:1000`) instead of the image's.
    pub user: Option<String>,
    /// no, always, unless-stopped (default) or on-failure.
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
#[serde(deny_unknown_fields)]
pub struct RawRole {
    /// What containers of this role have of their own.
    #[serde(default)]
    pub container: RawContainer,
}

/// A node's `container`: its name, or its definition.
#[derive(Debug, Clone, Serialize)]
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
    fn under(mut self, over: &RawContainer) -> Self {
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

/// Where a node's directories are, as its transport has it: paths on the node, or paths in the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paths {
    /// SSH and local: kbo mounts them.
    OnNode,
    /// Docker: what lies behind them, only `mounts` can say.
    InContainer,
}

/// A node's definition; none where no table names an image.
pub(super) fn definition(
    levels: &[&RawContainer],
    node: &Node,
    paths: Paths,
    stop_timeout_seconds: u64,
) -> Result<Option<Definition>, ConfigError> {
    let key = |key: &str| format!("node.{}.container.{key}", node.name);
    let raw = levels
        .iter()
        .fold(RawContainer::default(), |below, over| below.under(over));
    let Some(image) = raw.image.clone() else {
        return Ok(None);
    };
    let is_host = raw.network.as_deref() == Some("host");
    let properties = raw.properties.clone().unwrap_or_else(|| "server.properties".to_owned());
    if properties.contains('/') || properties.is_empty() {
        let why = "not the name of a file in the configuration directory";
        return Err(value(
            &key("properties"),
            format!("{properties:?}"),
            why,
            "\"server.properties\"",
        ));
    }
    let mut volumes = vec![];
    let mut properties_path = None;
    let mut data_targets = node.data.clone();
    let mut explicit = vec![];
    for text in raw.mounts.iter().flatten() {
        explicit.push(Volume::parse(text).map_err(|why| {
            value(
                &key("mounts"),
                format!("{text:?}"),
                &why,
                "\"/path/on/the/node:/path/in/the/container:ro\"",
            )
        })?);
    }
    match paths {
        Paths::OnNode => {
            let target = raw
                .config_mount
                .clone()
                .unwrap_or_else(|| "/mnt/kafka/config".to_owned());
            if let Some(config) = &node.config {
                properties_path = Some(format!("{target}/{properties}"));
                volumes.push(Volume {
                    source: Source::Path(config.clone()),
                    target,
                    read_only: true,
                });
            }
            data_targets = data_mounts(&raw, node, &key)?;
            volumes.extend(node.data.iter().zip(&data_targets).map(|(source, target)| Volume {
                source: Source::Path(source.clone()),
                target: target.clone(),
                read_only: false,
            }));
        }
        Paths::InContainer => {
            if let Some(config) = &node.config {
                properties_path = Some(format!("{config}/{properties}"));
            }
            let bare = node
                .config
                .iter()
                .chain(&node.data)
                .find(|dir| !explicit.iter().any(|volume| within(dir, &volume.target)));
            if let Some(dir) = bare {
                return Err(missing(
                    &key("mounts"),
                    &format!(
                        "where {dir} comes from: mounts = [\"{}-data:{dir}\"]; with transport = \"docker\" kbo knows only the container's side",
                        node.name
                    ),
                ));
            }
        }
    }
    // A mount that is written out takes the place of kbo's own at that path.
    volumes.retain(|volume| !explicit.iter().any(|own| own.target == volume.target));
    volumes.extend(explicit);

    let command = match (&raw.command, &raw.entrypoint, &properties_path) {
        (Some(command), ..) => Some(command.clone()),
        (None, None, Some(path)) => Some(vec![start_program(&image).to_owned(), path.clone()]),
        // Configured by its environment: the image's own command.
        (None, ..) => None,
    };
    let named = [&raw.entrypoint, &raw.command];
    let named = named.into_iter().flatten().flatten();
    // Kafka's file comes after those of its logging.
    if let Some(word) = named.flat_map(|words| words.split_whitespace()).rfind(is_kafka_file) {
        properties_path = Some(word.to_owned());
    }

    let ports = match &raw.ports {
        Some(ports) if is_host && !ports.is_empty() => {
            return Err(value(
                &key("ports"),
                format!("{ports:?}"),
                "the host's network publishes nothing",
                "no ports with network = \"host\"",
            ));
        }
        Some(ports) => ports
            .iter()
            .map(|text| {
                Port::parse(text).map_err(|why| value(&key("ports"), format!("{text:?}"), &why, "\"9092:9092\""))
            })
            .collect::<Result<_, _>>()?,
        None if is_host => vec![],
        None => default_ports(node.role),
    };
    let mut definition = Definition {
        image,
        entrypoint: raw.entrypoint.clone(),
        command,
        environment: texts(&raw.environment),
        environment_file: raw.environment_file.clone(),
        ports,
        volumes,
        network: raw.network.clone().unwrap_or_else(|| "bridge".to_owned()),
        ip: raw.ip.clone(),
        hostname: raw
            .hostname
            .clone()
            .or_else(|| (!is_host).then(|| node.name.to_string())),
        user: raw.user.clone(),
        restart: restart(&raw, &key)?,
        memory: raw.memory.as_ref().map(|text| bytes(text, &key)).transpose()?,
        nano_cpus: raw.cpus.map(|cpus| nano(cpus, &key)).transpose()?,
        ulimits: ulimits(&raw, &key)?,
        labels: texts(&raw.labels),
        extra_hosts: raw.extra_hosts.clone().unwrap_or_default(),
        stop_timeout_seconds,
        properties: properties_path,
        data: data_targets,
    };
    if let Some(name) = definition
        .environment
        .keys()
        .find(|name| name.is_empty() || name.contains(['=', '\0']))
    {
        return Err(value(
            &key("environment"),
            format!("{name:?}"),
            "not a variable's name",
            "NAME = \"value\"",
        ));
    }
    if let Some(host) = definition.extra_hosts.iter().find(|host| !host.contains(':')) {
        return Err(value(
            &key("extra_hosts"),
            format!("{host:?}"),
            "not a name and an address",
            "\"name:10.0.0.1\"",
        ));
    }
    if let Some(ip) = &definition.ip
        && (ip.parse::<std::net::IpAddr>().is_err() || matches!(definition.network.as_str(), "host" | "bridge"))
    {
        return Err(value(
            &key("ip"),
            format!("{ip:?}"),
            "not an address in a network of its own",
            "an address of the `network` named",
        ));
    }
    if let Some(jmx) = &raw.jmx {
        add_jmx(&mut definition, &jmx.to_string(), is_host, &key)?;
    }
    Ok(Some(definition))
}

/// Whether a word of a command is the path of Kafka's own properties file.
fn is_kafka_file(word: &&str) -> bool {
    let name = word.rsplit('/').next().unwrap_or_default();
    word.starts_with('/') && name.ends_with(".properties") && name != "meta.properties" && !name.starts_with("log4j")
}

fn within(dir: &str, mount: &str) -> bool {
    dir.strip_prefix(mount.trim_end_matches('/'))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn texts(scalars: &BTreeMap<String, Scalar>) -> BTreeMap<String, String> {
    scalars
        .iter()
        .map(|(name, value)| (name.clone(), value.to_string()))
        .collect()
}

/// cp-kafka has Kafka's scripts on its path, apache/kafka below /opt.
fn start_program(image: &str) -> &'static str {
    if is_confluent(image) {
        "kafka-server-start"
    } else {
        "/opt/kafka/bin/kafka-server-start.sh"
    }
}

fn is_confluent(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    image.contains("confluentinc/") || name.starts_with("cp-kafka") || name.starts_with("cp-server")
}

fn data_mounts(raw: &RawContainer, node: &Node, key: &dyn Fn(&str) -> String) -> Result<Vec<String>, ConfigError> {
    use super::raw::OneOrMany;
    let targets = match &raw.data_mount {
        Some(OneOrMany::One(target)) => vec![target.clone()],
        Some(OneOrMany::Many(targets)) => targets.clone(),
        None if node.data.len() == 1 => vec!["/var/lib/kafka/data".to_owned()],
        None => {
            let instead =
                "where each log dir is mounted: data_mount = [\"/var/lib/kafka/data-0\", \"/var/lib/kafka/data-1\"]";
            return Err(missing(&key("data_mount"), instead));
        }
    };
    if targets.len() != node.data.len() || targets.iter().any(|target| !target.starts_with('/')) {
        let why = format!(
            "{} paths in the container for {} log dirs",
            targets.len(),
            node.data.len()
        );
        return Err(value(
            &key("data_mount"),
            format!("{targets:?}"),
            &why,
            "an absolute path for each of `data`, in its order",
        ));
    }
    Ok(targets)
}

fn default_ports(role: Role) -> Vec<Port> {
    let broker = role.is_broker().then_some(9092);
    let controller = role.is_controller().then_some(9093);
    broker.into_iter().chain(controller).map(Port::published).collect()
}

fn restart(raw: &RawContainer, key: &dyn Fn(&str) -> String) -> Result<String, ConfigError> {
    let restart = raw.restart.clone().unwrap_or_else(|| "unless-stopped".to_owned());
    if ["no", "always", "unless-stopped", "on-failure"].contains(&restart.as_str()) {
        Ok(restart)
    } else {
        let instead = "\"no\", \"always\", \"unless-stopped\" or \"on-failure\"";
        Err(value(
            &key("restart"),
            format!("{restart:?}"),
            "not a restart policy",
            instead,
        ))
    }
}

fn bytes(text: &Scalar, key: &dyn Fn(&str) -> String) -> Result<i64, ConfigError> {
    let wrong = || {
        value(
            &key("memory"),
            format!("\"{text}\""),
            "not an amount of memory",
            "\"2g\", \"512m\" or bytes",
        )
    };
    let lower = text.to_string().trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: i64 = match lower[digits.len()..].trim_end_matches("ib").trim_end_matches('b') {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        _ => return Err(wrong()),
    };
    let number: i64 = digits.trim().parse().map_err(|_| wrong())?;
    let bytes = number.checked_mul(unit).ok_or_else(wrong)?;
    // The engine's own least.
    if bytes < 6 << 20 { Err(wrong()) } else { Ok(bytes) }
}

#[expect(clippy::cast_possible_truncation, reason = "within a million processors")]
fn nano(cpus: f64, key: &dyn Fn(&str) -> String) -> Result<i64, ConfigError> {
    if cpus > 0.0 && cpus < 1e6 {
        Ok((cpus * 1e9).round() as i64)
    } else {
        Err(value(
            &key("cpus"),
            cpus,
            "not a number of processors",
            "a number such as 1.5",
        ))
    }
}

fn ulimits(raw: &RawContainer, key: &dyn Fn(&str) -> String) -> Result<BTreeMap<String, (i64, i64)>, ConfigError> {
    let parse = |(name, value_): (&String, &Scalar)| {
        let text = value_.to_string();
        let (soft, hard) = text.split_once(':').unwrap_or((&text, &text));
        match (soft.trim().parse(), hard.trim().parse()) {
            (Ok(soft), Ok(hard)) if soft <= hard || hard == -1 => Ok((name.clone(), (soft, hard))),
            _ => Err(value(
                &key("ulimits"),
                format!("{name} = {text:?}"),
                "not a limit",
                "nofile = 100000, or \"SOFT:HARD\"",
            )),
        }
    };
    raw.ulimits.iter().map(parse).collect()
}

/// JMX needs one port for its registry and the same for its objects, and the address under which it is reached.
fn add_jmx(
    definition: &mut Definition,
    text: &str,
    is_host: bool,
    key: &dyn Fn(&str) -> String,
) -> Result<(), ConfigError> {
    let (address, port) = match text.rsplit_once(':') {
        Some((address, port)) => (Some(address.to_owned()), port),
        None => (None, text),
    };
    let wrong = || {
        value(
            &key("jmx"),
            format!("{text:?}"),
            "not a port",
            "9999, or \"127.0.0.1:9999\"",
        )
    };
    let port: u16 = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
    if address
        .as_ref()
        .is_some_and(|address| address.parse::<std::net::IpAddr>().is_err())
    {
        return Err(wrong());
    }
    // Both images' start scripts take this one; it outranks JMX_PORT, which tools run in the container would trip over.
    definition.environment.entry("KAFKA_JMX_OPTS".to_owned()).or_insert_with(|| {
        let host = address.clone().map(|address| format!(" -Djava.rmi.server.hostname={address}")).unwrap_or_default();
        format!(
            "-Dcom.sun.management.jmxremote -Dcom.sun.management.jmxremote.port={port} -Dcom.sun.management.jmxremote.rmi.port={port} \
             -Dcom.sun.management.jmxremote.authenticate=false -Dcom.sun.management.jmxremote.ssl=false{host}"
        )
    });
    if !is_host {
        definition.ports.push(Port {
            address,
            ..Port::published(port)
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(role: Role) -> Node {
        Node {
            name: "n1".parse().unwrap(),
            role,
            container: "n1".to_owned(),
            config: Some("/data/config".to_owned()),
            data: vec!["/data/kafka".to_owned()],
            node_id: None,
        }
    }

    fn image(image: &str) -> RawContainer {
        RawContainer {
            image: Some(image.to_owned()),
            ..RawContainer::default()
        }
    }

    fn body(levels: &[&RawContainer], role: Role) -> serde_json::Value {
        let made = definition(levels, &node(role), Paths::OnNode, 360).unwrap().unwrap();
        made.body(&BTreeMap::new()).0
    }

    fn refused(change: impl FnOnce(&mut RawContainer)) -> String {
        let mut raw = image("apache/kafka:4.1.1");
        change(&mut raw);
        definition(&[&raw], &node(Role::Broker), Paths::OnNode, 360)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn an_image_is_enough_and_without_one_there_is_no_definition() {
        assert_eq!(
            definition(&[&RawContainer::default()], &node(Role::Broker), Paths::OnNode, 360),
            Ok(None)
        );
        let body = body(&[&image("apache/kafka:4.1.1")], Role::Broker);
        assert_eq!(
            body["Cmd"],
            json!([
                "/opt/kafka/bin/kafka-server-start.sh",
                "/mnt/kafka/config/server.properties"
            ])
        );
        assert_eq!(
            body["HostConfig"]["Binds"],
            json!(["/data/config:/mnt/kafka/config:ro", "/data/kafka:/var/lib/kafka/data"])
        );
        assert_eq!(
            body["HostConfig"]["PortBindings"],
            json!({ "9092/tcp": [{ "HostIp": "", "HostPort": "9092" }] })
        );
        assert_eq!(body["HostConfig"]["RestartPolicy"], json!({ "Name": "unless-stopped" }));
        assert_eq!((&body["Hostname"], &body["StopTimeout"]), (&json!("n1"), &json!(360)));
    }

    #[test]
    fn confluents_image_has_its_program_on_the_path_and_controllers_their_port() {
        for name in [
            "confluentinc/cp-kafka:8.1.0",
            "registry.local:5000/cp-kafka",
            "registry.local/confluentinc/cp-server:8",
        ] {
            let body = body(&[&image(name)], Role::Combined);
            assert_eq!(body["Cmd"][0], "kafka-server-start", "{name}");
            let ports = body["HostConfig"]["PortBindings"]
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect::<Vec<_>>();
            assert_eq!(ports, ["9092/tcp", "9093/tcp"]);
        }
    }

    #[test]
    fn the_more_particular_table_wins_and_maps_add_up() {
        let mut general = image("a:1");
        general.memory = Some(Scalar::Text("1g".to_owned()));
        general.environment.insert("A".to_owned(), Scalar::Whole(1));
        let mut own = RawContainer::default();
        own.memory = Some(Scalar::Text("512m".to_owned()));
        own.environment.insert("B".to_owned(), Scalar::Bool(true));
        let body = body(&[&general, &RawContainer::default(), &own], Role::Broker);
        assert_eq!(body["HostConfig"]["Memory"], json!(512 << 20));
        assert_eq!(body["Env"], json!(["A=1", "B=true"]));
    }

    #[test]
    fn wrong_values_name_their_key_and_what_to_write() {
        for (key, text) in [
            ("ports", refused(|raw| raw.ports = Some(vec!["70000".to_owned()]))),
            (
                "ports",
                refused(|raw| {
                    raw.network = Some("host".to_owned());
                    raw.ports = Some(vec!["9092".to_owned()]);
                }),
            ),
            (
                "mounts",
                refused(|raw| raw.mounts = Some(vec!["data:relative".to_owned()])),
            ),
            (
                "mounts",
                refused(|raw| raw.mounts = Some(vec!["/a/../b:/c".to_owned()])),
            ),
            (
                "memory",
                refused(|raw| raw.memory = Some(Scalar::Text("much".to_owned()))),
            ),
            ("cpus", refused(|raw| raw.cpus = Some(-1.0))),
            ("restart", refused(|raw| raw.restart = Some("sometimes".to_owned()))),
            (
                "ulimits",
                refused(|raw| drop(raw.ulimits.insert("nofile".to_owned(), Scalar::Text("9:1".to_owned())))),
            ),
            (
                "extra_hosts",
                refused(|raw| raw.extra_hosts = Some(vec!["nowhere".to_owned()])),
            ),
            ("ip", refused(|raw| raw.ip = Some("10.0.0.1".to_owned()))),
            ("jmx", refused(|raw| raw.jmx = Some(Scalar::Text("here:1".to_owned())))),
            (
                "properties",
                refused(|raw| raw.properties = Some("../server.properties".to_owned())),
            ),
        ] {
            assert!(
                text.contains(&format!("node.n1.container.{key}")) && text.contains("write "),
                "{text}"
            );
        }
    }

    #[test]
    fn through_an_engine_mounts_must_say_what_lies_behind_the_directories() {
        let raw = image("apache/kafka");
        let text = definition(&[&raw], &node(Role::Broker), Paths::InContainer, 360)
            .unwrap_err()
            .to_string();
        assert!(text.contains("mounts") && text.contains("/data/config"), "{text}");
        let mounts = ["/srv/n1:/data/config:ro", "n1-data:/data"];
        let raw = RawContainer {
            mounts: Some(mounts.map(str::to_owned).into()),
            ..raw
        };
        let made = definition(&[&raw], &node(Role::Broker), Paths::InContainer, 360)
            .unwrap()
            .unwrap();
        assert_eq!(made.properties.as_deref(), Some("/data/config/server.properties"));
        assert_eq!(made.data, ["/data/kafka"]);
    }

    #[test]
    fn kafkas_own_file_is_found_in_a_command() {
        let mut raw = image("own");
        let script = "if [ ! -e /d/meta.properties ]; then x; fi; exec java -Dlog4j2=/e/log4j2.properties kafka.Kafka /e/kraft.properties";
        raw.command = Some(vec!["-c".to_owned(), script.to_owned()]);
        let made = definition(&[&raw], &node(Role::Broker), Paths::OnNode, 360)
            .unwrap()
            .unwrap();
        assert_eq!(made.properties.as_deref(), Some("/e/kraft.properties"));
    }

    #[test]
    fn jmx_is_published_where_told_and_reached_under_that_address() {
        let mut raw = image("apache/kafka");
        raw.jmx = Some(Scalar::Text("127.0.0.1:9999".to_owned()));
        let body = body(&[&raw], Role::Broker);
        assert_eq!(
            body["HostConfig"]["PortBindings"]["9999/tcp"],
            json!([{ "HostIp": "127.0.0.1", "HostPort": "9999" }])
        );
        assert!(
            body["Env"][0]
                .as_str()
                .unwrap()
                .contains("java.rmi.server.hostname=127.0.0.1"),
            "{body}"
        );
    }
}
