//! What a node of the fake cluster looks like.

use jiff::Timestamp;

use super::packing::size_of;
use super::state::NodeState;
use crate::ids::NodeName;
use crate::inventory::Dataset;
use crate::ports::node::{
    ContainerFacts, ContainerState, DirFacts, EngineFacts, FactsRequest, KafkaDir, KafkaSetup, LeaseFacts,
    MetaProperties, Mount, NodeFacts, Presence,
};

/// What `node` looks like to who asks.
pub(super) fn of(
    node: &NodeState,
    name: &NodeName,
    request: &FactsRequest,
    now: Timestamp,
    leases: Vec<LeaseFacts>,
) -> NodeFacts {
    let source = if node.unmounted { "/elsewhere" } else { "/srv/kafka" };
    let container = ContainerFacts {
        id: format!("id-{name}-{}", node.made),
        image: "apache/kafka:4.1.1".to_owned(),
        state: node.container,
        restart_policy: node.restart_policy.to_owned(),
        definition: node
            .defined
            .clone()
            .unwrap_or_else(|| serde_json::json!({ "Image": "apache/kafka:4.1.1" })),
        mounts: vec![Mount {
            source: source.to_owned(),
            destination: "/var/lib/kafka".to_owned(),
            writable: true,
        }],
        incarnation: node.incarnation(name),
    };
    let dirs = request.datasets.iter().flat_map(|dataset| {
        let paths = node.paths.get(dataset).into_iter().flatten().enumerate();
        paths
            .map(|(index, path)| dir_facts(node, *dataset, index, path))
            .collect::<Vec<_>>()
    });
    NodeFacts {
        clock: now.saturating_add(node.skew).unwrap_or(now),
        cpus: 4,
        engine: Ok(EngineFacts {
            version: "29.0".to_owned(),
            api: "1.52".to_owned(),
        }),
        kafka_version: node.container.is_up().then(|| "4.1.1".to_owned()),
        container: Ok((node.container != ContainerState::Missing).then_some(container)),
        dirs: dirs.collect(),
        leases,
        kafka: (node.container != ContainerState::Missing).then(|| Ok(setup(node))),
        unit: None,
        kept: super::previous::told(node),
    }
}

fn dir_facts(node: &NodeState, dataset: Dataset, index: usize, path: &str) -> DirFacts {
    let image = node
        .live
        .get(&dataset)
        .and_then(|images| images.get(index))
        .and_then(Option::as_ref);
    let bytes = image.map_or(0, |image| size_of(&image.files));
    let is_data = dataset == Dataset::Data;
    let only_data = |names: &[String]| if is_data { names.to_vec() } else { vec![] };
    let has_meta = is_data && image.is_some_and(|image| image.files.contains_key("meta.properties"));
    DirFacts {
        dataset,
        path: path.to_owned(),
        presence: match image {
            None => Presence::Missing,
            Some(image) if image.files.is_empty() => Presence::Empty,
            Some(_) => Presence::Filled,
        },
        is_mount_point: is_data && node.mount_point,
        files: image.map_or(0, |image| image.files.len() as u64),
        bytes,
        copied_bytes: bytes / 10,
        device: 1,
        free: node.free,
        size: node.size,
        link: node.link.clone(),
        meta: has_meta.then(|| MetaProperties {
            cluster_id: Some(node.cluster_id.clone()),
            node_id: Some(node.node_id),
            directory_id: None,
        }),
        unknown_dirs: only_data(&node.unknown_dirs),
        unsupported: only_data(&node.unsupported),
        orphans: node.work.keys().cloned().collect(),
        error: None,
        file: None,
        resolved: None,
        read_only: false,
        has_meta,
        clean_marker: is_data && image.is_some_and(|image| image.clean),
        has_metadata_log: is_data && index == 0,
        has_partitions: is_data && node.role.is_broker(),
        locked: is_data && node.container.is_up(),
    }
}

/// Kafka is configured with the very directories that kbo.toml names, and those that a test has it forget.
fn setup(node: &NodeState) -> KafkaSetup {
    let paths = node.paths.get(&Dataset::Data).into_iter().flatten();
    let dir = |path: &String| KafkaDir {
        path: path.clone(),
        configured_as: Some(path.clone()),
        file: None,
    };
    KafkaSetup {
        source: "server.properties".to_owned(),
        node_id: Some(node.node_id),
        log_dirs: paths.chain(&node.forgotten_dirs).map(dir).collect(),
        metadata_log_dir: None,
    }
}
