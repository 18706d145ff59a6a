//! The values of single keys: checked, with what to write instead.

use std::collections::BTreeMap;

use super::{RawContainer, Scalar};
use crate::config::ConfigError;
use crate::config::raw::OneOrMany;
use crate::config::validate::{missing, value};
use crate::container::{Definition, Port};
use crate::inventory::{Node, Role};

/// Whether a word of a command is the path of Kafka's own properties file.
pub(super) fn is_kafka_file(word: &&str) -> bool {
    let name = word.rsplit('/').next().unwrap_or_default();
    word.starts_with('/') && name.ends_with(".properties") && name != "meta.properties" && !name.starts_with("log4j")
}

pub(super) fn within(dir: &str, mount: &str) -> bool {
    dir.strip_prefix(mount.trim_end_matches('/'))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(super) fn texts(scalars: &BTreeMap<String, Scalar>) -> BTreeMap<String, String> {
    scalars
        .iter()
        .map(|(name, value)| (name.clone(), value.to_string()))
        .collect()
}

/// cp-kafka has Kafka's scripts on its path, apache/kafka below /opt.
pub(super) fn start_program(image: &str) -> &'static str {
    if is_confluent(image) {
        "kafka-server-start"
    } else {
        "/opt/kafka/bin/kafka-server-start.sh"
    }
}

pub(super) fn is_confluent(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    image.contains("confluentinc/") || name.starts_with("cp-kafka") || name.starts_with("cp-server")
}

pub(super) fn data_mounts(
    raw: &RawContainer,
    node: &Node,
    key: &dyn Fn(&str) -> String,
) -> Result<Vec<String>, ConfigError> {
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

pub(super) fn default_ports(role: Role) -> Vec<Port> {
    let broker = role.is_broker().then_some(9092);
    let controller = role.is_controller().then_some(9093);
    broker.into_iter().chain(controller).map(Port::published).collect()
}

pub(super) fn restart(raw: &RawContainer, key: &dyn Fn(&str) -> String) -> Result<String, ConfigError> {
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

pub(super) fn bytes(text: &Scalar, key: &dyn Fn(&str) -> String) -> Result<i64, ConfigError> {
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
pub(super) fn nano(cpus: f64, key: &dyn Fn(&str) -> String) -> Result<i64, ConfigError> {
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

pub(super) fn ulimits(
    raw: &RawContainer,
    key: &dyn Fn(&str) -> String,
) -> Result<BTreeMap<String, (i64, i64)>, ConfigError> {
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
pub(super) fn add_jmx(
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
