//! What an agent must know of the node that it serves.

use std::path::{Path, PathBuf};

use kbo_archive::DirSpec;
use kbo_core::ids::NodeName;
use kbo_core::inventory::{Dataset, Node, Role};

use crate::kafka::KafkaAccess;

/// Where Docker listens by default.
pub const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// One node, as the one who serves it needs to know it.
#[derive(Debug, Clone)]
pub struct NodeSpec {
    /// Its name.
    pub node: NodeName,
    /// Its role.
    pub role: Role,
    /// The container's name.
    pub container: String,
    /// The container engine's socket.
    pub engine_socket: String,
    /// Its directories: as configured, and as reached from where this is used.
    pub dirs: Vec<DirSpec>,
    /// Hosts under which the operator knows the node, to find Kafka at.
    pub hosts: Vec<String>,
    /// How Kafka lets us in.
    pub kafka: KafkaAccess,
    /// Where folders that are seen here lie on the engine's machine, where that is elsewhere: (seen, there).
    pub engine_paths: Vec<(String, String)>,
    /// Where the node's directories are reached from here, where that is elsewhere than the operator writes: (configured, here).
    pub seen_paths: Vec<(String, String)>,
    /// The unit of systemd by which the container is stopped and started.
    pub unit: Option<String>,
}

impl NodeSpec {
    /// A node of the inventory, whose directories are where they are configured, with the default socket and no TLS.
    pub fn of(node: &Node) -> Self {
        let dirs = [Dataset::Config, Dataset::Data].into_iter().flat_map(|dataset| {
            let paths = node.dirs(dataset);
            paths.into_iter().map(move |path| DirSpec {
                dataset,
                path: PathBuf::from(&path),
                label: path,
            })
        });
        Self {
            node: node.name.clone(),
            role: node.role,
            container: node.container.clone(),
            engine_socket: DOCKER_SOCKET.to_owned(),
            dirs: dirs.collect(),
            hosts: Vec::new(),
            kafka: KafkaAccess::default(),
            engine_paths: Vec::new(),
            seen_paths: Vec::new(),
            unit: node.unit.clone(),
        }
    }

    /// The same node as seen from elsewhere: `paths` are pairs of a configured path and where it is found there.
    #[must_use]
    pub fn seen_from(&self, paths: &[(String, String)], engine_socket: Option<&str>) -> Self {
        let mut spec = self.clone();
        for dir in &mut spec.dirs {
            if let Some((_, actual)) = paths.iter().find(|(configured, _)| *configured == dir.label) {
                dir.path = PathBuf::from(actual);
            }
        }
        spec.seen_paths = paths.to_vec();
        if let Some(socket) = engine_socket {
            socket.clone_into(&mut spec.engine_socket);
        }
        spec
    }

    /// A path that is seen here, as the engine has to be told it.
    pub fn on_engine(&self, path: &Path) -> PathBuf {
        let there = self
            .engine_paths
            .iter()
            .find_map(|(seen, there)| Some((path.strip_prefix(seen).ok()?, there)));
        there.map_or_else(|| path.to_owned(), |(rest, there)| Path::new(there).join(rest))
    }

    /// The directories of some datasets.
    pub fn dirs_of(&self, datasets: &[Dataset]) -> Vec<DirSpec> {
        self.dirs
            .iter()
            .filter(|dir| datasets.contains(&dir.dataset))
            .cloned()
            .collect()
    }
}
