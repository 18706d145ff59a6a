//! The helper container: what it is made of.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, HealthConfig, HostConfig, HostConfigLogConfig, Mount, MountType,
    RestartPolicy, RestartPolicyNameEnum,
};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use kbo_core::ports::node::{NodeError, NodeErrorKind};

use super::mounts::{Layout, target};
use super::{DockerSettings, HELPER_LABEL, NODE_LABEL};
use crate::binary::AgentBinary;

/// The engine's socket in the helper.
pub(super) const SOCKET: &str = "/var/run/docker.sock";
/// The program in the helper: in the root, which every image has.
const PROGRAM: &str = "kbo-agent";

/// The networks that reach what the node's container listens on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Network {
    mode: String,
    /// Further ones, connected after the creation.
    pub(super) others: Vec<String>,
}

impl Network {
    pub(super) fn of(node: &ContainerInspectResponse) -> Self {
        let mode = node
            .host_config
            .as_ref()
            .and_then(|host| host.network_mode.clone())
            .unwrap_or_default();
        // Another container's network, too, is to be had only by its name; all the rest is by networks.
        if mode == "host" || mode == "none" || mode.starts_with("container:") {
            return Self {
                mode,
                others: Vec::new(),
            };
        }
        let networks = node
            .network_settings
            .as_ref()
            .and_then(|settings| settings.networks.as_ref());
        let mut names: Vec<String> = networks
            .map(|networks| networks.keys().cloned().collect())
            .unwrap_or_default();
        // The one it was started in first.
        names.sort_by_key(|name| (*name != mode, name.clone()));
        let mut names = names.into_iter();
        Self {
            mode: names.next().unwrap_or(mode),
            others: names.collect(),
        }
    }
}

/// A name that says whose helper it is.
pub(super) fn name(container: &str) -> String {
    let mut random = [0; 4];
    if openssl::rand::rand_bytes(&mut random).is_err() {
        random = std::process::id().to_be_bytes();
    }
    format!(
        "kbo-helper-{}-{}",
        container.trim_start_matches('/'),
        hex::encode(random)
    )
}

/// What to create.
pub(super) fn body(
    settings: &DockerSettings,
    node: &ContainerInspectResponse,
    layout: &Layout,
    network: &Network,
) -> Result<ContainerCreateBody, NodeError> {
    // By its id: the name may mean another image by now, one that is not here any more.
    let Some(image) = settings.helper_image.clone().or_else(|| node.image.clone()) else {
        let text = format!("container {}: the engine does not tell its image", settings.container);
        return Err(NodeError::new(NodeErrorKind::Engine, text));
    };
    let labels = HashMap::from([
        (HELPER_LABEL.to_owned(), "1".to_owned()),
        (NODE_LABEL.to_owned(), settings.container.clone()),
    ]);
    Ok(ContainerCreateBody {
        image: Some(image),
        entrypoint: Some(vec![format!("/{PROGRAM}")]),
        cmd: Some(settings.agent_args.clone()),
        // Root: it links, chowns and renames what belongs to Kafka's user.
        user: Some("0:0".into()),
        working_dir: Some("/".into()),
        open_stdin: Some(true),
        // The engine closes the agent's input when we are gone, however we went.
        stdin_once: Some(true),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        tty: Some(false),
        // The image's own would look for Kafka in here.
        healthcheck: Some(HealthConfig {
            test: Some(vec!["NONE".into()]),
            ..Default::default()
        }),
        labels: Some(labels),
        host_config: Some(host_config(settings, node, layout, network)),
        ..Default::default()
    })
}

fn host_config(
    settings: &DockerSettings,
    node: &ContainerInspectResponse,
    layout: &Layout,
    network: &Network,
) -> HostConfig {
    let mount = |typ: MountType, source: &str, target: String| Mount {
        typ: Some(typ),
        source: Some(source.to_owned()),
        target: Some(target),
        ..Default::default()
    };
    let folders = layout
        .sources
        .iter()
        .enumerate()
        .map(|(n, source)| mount(MountType::BIND, source, target(n)));
    let volumes = layout
        .volumes
        .iter()
        .enumerate()
        .map(|(n, name)| mount(MountType::VOLUME, name, format!("/kbo/v{n}")));
    let socket = mount(MountType::BIND, &settings.socket_on_engine, SOCKET.to_owned());
    let of_node = node.host_config.as_ref();
    HostConfig {
        mounts: Some(folders.chain(volumes).chain([socket]).collect()),
        auto_remove: Some(true),
        network_mode: Some(network.mode.clone()),
        // Names of Kafka's listeners must mean here what they mean to the node.
        extra_hosts: if network.mode.starts_with("container:") {
            None
        } else {
            of_node.and_then(|h| h.extra_hosts.clone())
        },
        // The stream goes through the engine's log otherwise: a copy of the whole backup on its disk.
        log_config: Some(HostConfigLogConfig {
            typ: Some("none".into()),
            config: None,
        }),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        // SELinux would keep the helper from the files of the node's container.
        security_opt: Some(vec!["label=disable".into()]),
        // Numeric owners as they are on disk, also where the engine shifts them for containers.
        userns_mode: Some("host".into()),
        ..Default::default()
    }
}

/// The program as a tar stream that unpacks to `/kbo-agent`. Read as it is sent: it is tens of megabytes, once for each node.
pub(super) fn program_archive(
    binary: &AgentBinary,
) -> io::Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>> {
    let mut header = tar::Header::new_ustar();
    header.set_path(PROGRAM)?;
    header.set_size(binary.size);
    header.set_mode(0o755);
    header.set_cksum();
    // To whole blocks of 512, then two empty ones.
    let padding = (512 - binary.size % 512) % 512 + 1024;
    let chunks = std::iter::once(Ok(Bytes::copy_from_slice(header.as_bytes())))
        .chain(Chunks {
            file: binary.reader()?,
            left: binary.size,
        })
        .chain(std::iter::once(Ok(Bytes::from(vec![
            0;
            usize::try_from(padding)
                .unwrap_or(1024)
        ]))));
    Ok(stream::iter(chunks))
}

/// A file of known size in pieces.
struct Chunks {
    file: File,
    left: u64,
}

impl Iterator for Chunks {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let mut buffer = vec![0; usize::try_from(self.left).unwrap_or(usize::MAX).min(256 * 1024)];
        if let Err(error) = self.file.read_exact(&mut buffer) {
            self.left = 0;
            return Some(Err(error));
        }
        self.left -= buffer.len() as u64;
        Some(Ok(buffer.into()))
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::{EndpointSettings, NetworkSettings};

    use super::*;

    fn node(mode: &str, networks: &[&str]) -> ContainerInspectResponse {
        ContainerInspectResponse {
            image: Some("sha256:1".into()),
            host_config: Some(HostConfig {
                network_mode: Some(mode.into()),
                ..Default::default()
            }),
            network_settings: Some(NetworkSettings {
                networks: Some(
                    networks
                        .iter()
                        .map(|name| ((*name).to_owned(), EndpointSettings::default()))
                        .collect(),
                ),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn the_helper_is_in_the_networks_of_the_node() {
        let network = |mode: &str, names: &[&str]| Network::of(&node(mode, names));
        assert_eq!(
            network("host", &["host"]),
            Network {
                mode: "host".into(),
                others: vec![]
            }
        );
        assert_eq!(
            network("b", &["a", "b", "c"]),
            Network {
                mode: "b".into(),
                others: vec!["a".into(), "c".into()]
            }
        );
        assert_eq!(
            network("default", &["bridge"]),
            Network {
                mode: "bridge".into(),
                others: vec![]
            }
        );
        assert_eq!(
            network("container:x", &[]),
            Network {
                mode: "container:x".into(),
                others: vec![]
            }
        );
    }

    #[test]
    fn the_helper_carries_its_node_and_no_restart_policy() {
        let settings = DockerSettings::new("unix:///x", "kafka-1", vec![]);
        let node = node("host", &["host"]);
        let layout = Layout {
            sources: vec!["/srv".into()],
            volumes: vec!["v".into()],
            paths: vec![],
        };
        let made = body(&settings, &node, &layout, &Network::of(&node)).unwrap();
        assert_eq!(made.labels.unwrap()[NODE_LABEL], "kafka-1");
        assert_eq!(made.image.as_deref(), Some("sha256:1"));
        let host = made.host_config.unwrap();
        assert_eq!(host.restart_policy.unwrap().name, Some(RestartPolicyNameEnum::NO));
        let targets: Vec<_> = host
            .mounts
            .unwrap()
            .into_iter()
            .filter_map(|mount| mount.target)
            .collect();
        assert_eq!(targets, ["/kbo/m0", "/kbo/v0", SOCKET]);
        assert!(name("/kafka-1").starts_with("kbo-helper-kafka-1-"));
    }
}
