//! What the engine is asked: containers, and files in them.

use std::collections::BTreeMap;
use std::io::Read;

use bollard::Docker;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{DownloadFromContainerOptions, InspectContainerOptions, ListContainersOptions};
use futures_util::StreamExt;
use kbo_core::ports::node::{MetaProperties, NodeError};

use super::judge::{MountSeen, Seen};
use crate::docker::DockerSettings;
use crate::docker::engine;
use crate::kafka::parse_properties;

/// Configuration is small; whatever is larger is something else.
const LARGEST: usize = 1024 * 1024;

pub(super) async fn connect(host: &str) -> Result<Docker, NodeError> {
    engine::connect(&DockerSettings::new(host, "", vec![])).await
}

/// All containers, those that do not run too.
pub(super) async fn containers(docker: &Docker, host: &str) -> Result<Vec<Seen>, NodeError> {
    let options = ListContainersOptions {
        all: true,
        ..ListContainersOptions::default()
    };
    let listed = docker
        .list_containers(Some(options))
        .await
        .map_err(|error| engine::explain(host, "list the containers", &error))?;
    let mut seen = vec![];
    for container in listed {
        let Some(id) = container.id else { continue };
        // One that went away meanwhile is none.
        if let Ok(inspected) = docker.inspect_container(&id, None::<InspectContainerOptions>).await {
            seen.push(self::seen(inspected));
        }
    }
    seen.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(seen)
}

fn seen(inspected: ContainerInspectResponse) -> Seen {
    let name = inspected.name.unwrap_or_default();
    let config = inspected.config.unwrap_or_default();
    let environment = config.env.unwrap_or_default();
    let command = config
        .entrypoint
        .unwrap_or_default()
        .into_iter()
        .chain(config.cmd.unwrap_or_default())
        .collect();
    let mounts = inspected.mounts.unwrap_or_default().into_iter();
    Seen {
        name: name.trim_start_matches('/').to_owned(),
        image: config.image.unwrap_or_default(),
        is_running: inspected.state.and_then(|state| state.running).unwrap_or(false),
        command,
        environment: environment
            .iter()
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        mounts: mounts
            .filter_map(|mount| {
                Some(MountSeen {
                    target: mount.destination?,
                    source: mount.source.unwrap_or_default(),
                })
            })
            .collect(),
    }
}

/// The properties files that the container may run with, by their paths.
pub(super) async fn files(docker: &Docker, seen: &Seen) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for path in seen.candidates() {
        if let Some(text) = file(docker, &seen.name, &path).await {
            files.insert(path, parse_properties(&text));
        }
    }
    files
}

/// The identity of each log dir that has one.
pub(super) async fn metas(docker: &Docker, container: &str, dirs: &[String]) -> Vec<(String, MetaProperties)> {
    let mut metas = vec![];
    for dir in dirs {
        if let Some(text) = file(docker, container, &format!("{dir}/meta.properties")).await {
            metas.push((dir.clone(), kbo_archive::metaprops::parse(&text)));
        }
    }
    metas
}

/// A file of a container; none where there is none that could be read.
async fn file(docker: &Docker, container: &str, path: &str) -> Option<String> {
    let mut path = path.to_owned();
    for _ in 0..4 {
        match entry(docker, container, &path).await? {
            Entry::Text(text) => return Some(text),
            Entry::Link(target) if target.starts_with('/') => path = target,
            Entry::Link(target) => path = format!("{}/{target}", path.rsplit_once('/')?.0),
        }
    }
    None
}

enum Entry {
    Text(String),
    Link(String),
}

async fn entry(docker: &Docker, container: &str, path: &str) -> Option<Entry> {
    let options = DownloadFromContainerOptions { path: path.to_owned() };
    let mut stream = std::pin::pin!(docker.download_from_container(container, Some(options)));
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece.ok()?);
        if bytes.len() > LARGEST {
            return None;
        }
    }
    let mut archive = tar::Archive::new(&*bytes);
    let mut entry = archive.entries().ok()?.next()?.ok()?;
    match entry.header().entry_type() {
        tar::EntryType::Symlink => {
            let target = entry.link_name().ok()??;
            Some(Entry::Link(target.to_string_lossy().into_owned()))
        }
        tar::EntryType::Regular => {
            let mut text = Vec::new();
            entry.read_to_end(&mut text).ok()?;
            Some(Entry::Text(String::from_utf8_lossy(&text).into_owned()))
        }
        _ => None,
    }
}
