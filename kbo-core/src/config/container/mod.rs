//! Containers as kbo.toml defines them: `[defaults.container]`, then `[defaults.<role>.container]`, then `[node.container]`.

mod raw;
#[cfg(test)]
mod tests;
mod values;

use super::ConfigError;
use super::validate::{missing, value};
use crate::container::{Definition, Port, Source, Volume};
use crate::inventory::Node;

pub use raw::{RawContainer, RawNodeContainer, RawRole, Scalar};
use values::*;

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
