//! From what was found to the file.

use kbo_core::config::draft::{Draft, DraftAccess, DraftNode, Said, one_or_many, quoted};
use kbo_core::ids::{ClusterName, NodeName};
use kbo_core::inventory::Role;
use kbo_core::report::Outcome;
use kbo_transport::survey::{Survey, Surveyed};
use serde::Serialize;

use super::{LOCAL_ENGINE, Place, SOCKET};
use crate::args::InitArgs;
use crate::commands::Trouble;

/// A node that was found.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) host: String,
    #[serde(flatten)]
    node: Surveyed,
}

/// The file, and what a person should know of it.
pub(super) struct Drafted {
    pub(super) toml: String,
    pub(super) found: Vec<Found>,
    pub(super) warnings: Vec<String>,
}

/// Makes the file of the surveys.
pub(super) fn of(
    args: &InitArgs,
    surveys: &[(Place, Survey)],
    name: Option<String>,
    cold: Option<String>,
) -> Result<Drafted, Trouble> {
    let mut warnings = vec![];
    let found = found(surveys, &mut warnings)?;
    if found.is_empty() {
        return Err(
            Trouble::new(Outcome::Failed, "no Kafka container was found, and nothing was written").hint(
                "is it the right engine (--engine-socket, --docker ENGINE)? Why containers were left out is said above",
            ),
        );
    }
    let id = cluster_id(&found, &mut warnings)?;
    let is_docker = args.docker.is_some();
    let nodes = found
        .iter()
        .map(|(place, found)| node(place, found, is_docker))
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(name) = &name {
        name.parse::<ClusterName>()
            .map_err(|error| Trouble::new(Outcome::Usage, format!("--name: {error}")))?;
    }
    let assumed = |value: &str, option: &str| Said::with(value.to_owned(), format!("ASSUMED: {option} chooses"));
    let engine = args.engine_socket.as_deref().filter(|socket| *socket != SOCKET);
    let draft = Draft {
        head: vec![
            "kbo.toml, written by `kbo init` from what it found on the nodes.".to_owned(),
            "`kbo check` looks at all of it; every key: docs/configuration.md.".to_owned(),
        ],
        name: name.map_or_else(|| assumed("kafka", "--name"), Said::plain),
        id: id.map(|id| Said::with(id, "as in every meta.properties; checked")),
        cold: cold.map_or_else(|| assumed("/backup/cold", "--cold"), Said::plain),
        warn_free_percent: None,
        retention: vec![],
        known_hosts: args.known_hosts.as_ref().map(|file| absolute(file)),
        log_file: None,
        docker: args
            .docker
            .as_ref()
            .map(|host| host.clone().filter(|host| host != LOCAL_ENGINE)),
        containers: containers(&found, is_docker),
        nodes,
    };
    let mut toml = draft.to_toml();
    if let Some(socket) = engine {
        toml = toml.replacen(
            "\n[[node]]",
            &format!("\n[engine]\nsocket = {}\n\n[[node]]", quoted(socket)),
            1,
        );
    }
    for (_, found) in &found {
        let warned = found.node.warnings.iter();
        warnings.extend(warned.map(|warning| format!("{}: {warning}", found.name)));
    }
    Ok(Drafted {
        toml,
        found: found.into_iter().map(|(_, found)| found).collect(),
        warnings,
    })
}

/// A path that means the same wherever kbo is started.
fn absolute(file: &std::path::Path) -> String {
    std::path::absolute(file)
        .unwrap_or_else(|_| file.to_owned())
        .display()
        .to_string()
}

/// All nodes in start order, each with a name of its own.
fn found<'a>(surveys: &'a [(Place, Survey)], warnings: &mut Vec<String>) -> Result<Vec<(&'a Place, Found)>, Trouble> {
    let mut all: Vec<(&Place, Surveyed)> = vec![];
    for (place, survey) in surveys {
        all.extend(survey.nodes.iter().map(|node| (place, node.clone())));
    }
    all.sort_by_key(|(_, node)| {
        let role = match node.role {
            Role::Controller => 0,
            Role::Combined => 1,
            Role::Broker => 2,
        };
        (role, node.node_id.unwrap_or(i32::MAX), node.container.clone())
    });
    let mut taken: Vec<(i32, String)> = vec![];
    for (place, node) in &all {
        let Some(id) = node.node_id else { continue };
        let shown = format!("{} on {}", node.container, place.shown());
        if let Some((_, other)) = taken.iter().find(|(known, _)| *known == id) {
            return Err(Trouble::new(
                Outcome::Failed,
                format!("{other} and {shown} both have node.id {id}, and nothing was written"),
            )
            .hint("is one of them left over, or a host named twice? Remove that container, or leave its host out"));
        }
        taken.push((id, shown));
    }
    let is_shared = |name: &str| all.iter().filter(|(_, node)| node.container == name).count() > 1;
    let named = all.iter().enumerate().map(|(at, (place, node))| {
        let name = match is_shared(&node.container) {
            false => node.container.clone(),
            true => {
                let number = node.node_id.map_or_else(|| format!("x{at}"), |id| id.to_string());
                format!("kafka-{}-{number}", node.role)
            }
        };
        (*place, name, node.clone())
    });
    let found = named.map(|(place, name, node)| {
        name.parse::<NodeName>()
            .map_err(|error| Trouble::new(Outcome::Failed, error.to_string()))?;
        let host = place.shown();
        Ok((place, Found { name, host, node }))
    });
    let found: Vec<(&Place, Found)> = found.collect::<Result<_, Trouble>>()?;
    for (place, survey) in surveys {
        if survey.nodes.len() > 1 && matches!(place, Place::Ssh(_)) {
            let names: Vec<&str> = survey.nodes.iter().map(|node| node.container.as_str()).collect();
            warnings.push(format!(
                "{} has several Kafka containers: {}",
                place.shown(),
                names.join(", ")
            ));
        }
    }
    Ok(found)
}

/// The one id; nodes of two clusters make no file.
fn cluster_id(found: &[(&Place, Found)], warnings: &mut Vec<String>) -> Result<Option<String>, Trouble> {
    let mut id: Option<(&str, &str)> = None;
    for (_, found) in found {
        match (id, &found.node.cluster_id) {
            (Some((known, of)), Some(other)) if known != other => {
                let text = format!(
                    "{of} is of the cluster {known}, {} of {other}, and nothing was written",
                    found.name
                );
                return Err(Trouble::new(Outcome::Failed, text).hint("name the hosts of one cluster"));
            }
            (None, Some(other)) => id = Some((other, &found.name)),
            _ => {}
        }
    }
    if id.is_none() {
        warnings.push("no node tells a cluster.id, and none is written".to_owned());
    }
    Ok(id.map(|(id, _)| id.to_owned()))
}

fn node(place: &Place, found: &Found, is_docker: bool) -> Result<DraftNode, Trouble> {
    let node = &found.node;
    let path = |place: &kbo_transport::survey::Place| match is_docker {
        true => Some(place.in_container.clone()),
        false => place.on_node.clone(),
    };
    let data: Option<Vec<String>> = node
        .data
        .iter()
        .map(|dir| path(dir).filter(|_| dir.on_node.is_some()))
        .collect();
    let data = data.ok_or_else(|| {
        let dirs: Vec<&str> = node.data.iter().map(|dir| dir.in_container.as_str()).collect();
        let text = format!(
            "{} on {}: a log dir ({}) lies in no mount, and nothing was written",
            node.container,
            found.host,
            dirs.join(", ")
        );
        Trouble::new(Outcome::Failed, text)
            .hint("mount a directory or a volume there: what lies in the container itself is lost with it")
    })?;
    // Through an engine a file that is mounted alone has no directory that could be backed up.
    let config = node
        .config
        .as_ref()
        .filter(|_| !(is_docker && node.config_is_one_file))
        .and_then(path);
    let (host, access) = match place {
        Place::Engine(_) => (None, DraftAccess::default()),
        Place::Ssh(settings) => (
            Some(settings.host.clone()),
            DraftAccess {
                user: Some(settings.user.clone()),
                port: (settings.port != 22).then_some(settings.port),
                key: settings.key.as_ref().map(|key| absolute(key)),
                r#become: settings.become_root.then_some(true),
            },
        ),
    };
    Ok(DraftNode {
        name: found.name.clone(),
        role: Said::plain(node.role),
        host,
        container: Some(node.container.clone()),
        config: config.map(Said::plain),
        data: Said::plain(data),
        node_id: node.node_id,
        access,
    })
}

/// What `kbo run` would make the containers of, where all agree; through an engine only mounts could say the rest.
fn containers(found: &[(&Place, Found)], is_docker: bool) -> Vec<(String, Vec<kbo_core::config::draft::Line>)> {
    let definition = |node: &Surveyed| {
        let data: Vec<String> = node.data.iter().map(|dir| dir.in_container.clone()).collect();
        let config = node.config.as_ref().map(|config| config.in_container.clone());
        (node.image.clone(), node.properties.clone(), config, data)
    };
    let Some((_, first)) = found.first() else { return vec![] };
    let first = definition(&first.node);
    if is_docker || found.iter().any(|(_, found)| definition(&found.node) != first) {
        return vec![];
    }
    let (image, properties, config, data) = first;
    // Network, ports, environment and the rest are the engine's to tell, container by container.
    let said = "not all of them: see what `kbo run --dry-run` finds otherwise before any --recreate";
    let mut lines = vec![("image".to_owned(), Said::with(quoted(&image), said))];
    let mut more = |key: &str, value: String| lines.push((key.to_owned(), Said::plain(value)));
    if let Some(properties) = properties {
        more("properties", quoted(&properties));
    }
    if let Some(config) = config {
        more("config_mount", quoted(&config));
    }
    more("data_mount", one_or_many(&data));
    vec![("defaults.container".to_owned(), lines)]
}
