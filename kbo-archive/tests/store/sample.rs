//! Backups to try the store with.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::Timestamp;
use kbo_archive::store::DirStore;
use kbo_archive::{DirSpec, snapshot, writer};
use kbo_core::ids::{BackupId, ClusterName, RunId};
use kbo_core::inventory::{Dataset, Role};
use kbo_core::manifest::{
    ArchiveRecord, BackupKind, DirRecord, FORMAT, FileKind, FileRecord, Manifest, NodeRecord, Sha256,
};
use kbo_core::ports::store::{BackupStore, BackupWriter, Stored};
use sha2::Digest;
use tempfile::TempDir;

pub(crate) const ID: &str = "20261122T030000Z";

pub(crate) fn id(text: &str) -> BackupId {
    text.parse().unwrap()
}

pub(crate) fn dev() -> ClusterName {
    "dev".parse().unwrap()
}

pub(crate) fn new_store() -> (TempDir, DirStore) {
    let temp = tempfile::tempdir().unwrap();
    let store = DirStore::new(temp.path().join("cold"));
    (temp, store)
}

pub(crate) fn sha256(bytes: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::digest(bytes).into())
}

/// A manifest that fits archives which hold these bytes (and which are no real archives).
pub(crate) fn manifest(id: &BackupId, kind: BackupKind, archives: &[(&str, &[u8])]) -> Manifest {
    let record = |(node, content): &(&str, &[u8])| {
        let node = node.parse().unwrap();
        let dataset = kind.datasets()[0];
        let kind = FileKind::File {
            size: 1,
            sha256: sha256(b"x"),
        };
        let file = |path: &str, kind| FileRecord {
            path: path.to_owned(),
            kind,
            mode: 0o644,
            uid: 1,
            gid: 1,
            mtime: id.time(),
        };
        ArchiveRecord {
            name: ArchiveRecord::file_name(&node, dataset),
            node,
            dataset,
            size: content.len() as u64,
            sha256: sha256(content),
            raw_size: 1,
            dirs: vec![DirRecord {
                path: "/data".to_owned(),
                prefix: String::new(),
            }],
            files: vec![file("", FileKind::Dir), file("f", kind)],
        }
    };
    let archives = archives.iter().map(record).collect();
    document(id, kind, vec![], archives)
}

fn document(id: &BackupId, kind: BackupKind, nodes: Vec<NodeRecord>, archives: Vec<ArchiveRecord>) -> Manifest {
    Manifest {
        format: FORMAT,
        id: id.clone(),
        kind,
        cluster: dev(),
        cluster_id: Some("AkU3OEVBNTcwNTJENDM2Qg".parse().unwrap()),
        kbo_version: "0.1.0".to_owned(),
        created: id.time(),
        committed: id.time(),
        window: None,
        caveats: vec![],
        damage: Some(vec![]),
        degraded: vec![],
        nodes,
        archives,
    }
}

pub(crate) async fn put(writer: &dyn BackupWriter, name: &str, content: &[u8]) -> Stored {
    let mut archive = writer.create(name).await.unwrap();
    for chunk in content.chunks(100_000) {
        archive.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    archive.finish().await.unwrap()
}

/// A committed backup of archives which hold these bytes.
pub(crate) async fn backup(store: &DirStore, id: &BackupId, kind: BackupKind, archives: &[(&str, &[u8])]) -> Manifest {
    let manifest = manifest(id, kind, archives);
    let writer = store.begin(id, kind).await.unwrap();
    for (record, (_, content)) in manifest.archives.iter().zip(archives) {
        put(writer.as_ref(), &record.name, content).await;
    }
    writer.commit(&manifest).await.unwrap();
    manifest
}

/// Everything below a folder but directories: path and content.
pub(crate) fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// A node's directory, and the dataset it belongs to.
struct NodeDir<'a> {
    node: &'a str,
    dataset: Dataset,
    paths: Vec<PathBuf>,
}

/// A committed backup of real directories, by way of real snapshots and archives.
async fn real_backup(store: &DirStore, id: &BackupId, dirs: &[NodeDir<'_>]) -> Manifest {
    let run: RunId = id.as_str().parse().unwrap();
    let writer = store.begin(id, BackupKind::Cluster).await.unwrap();
    let (mut nodes, mut archives): (Vec<NodeRecord>, Vec<ArchiveRecord>) = (vec![], vec![]);
    for NodeDir { node, dataset, paths } in dirs {
        let node = node.parse().unwrap();
        let spec = |path: &PathBuf| {
            let label = format!("/data/cluster/{}", path.file_name().unwrap().to_str().unwrap());
            DirSpec {
                dataset: *dataset,
                label,
                path: path.clone(),
            }
        };
        let specs: Vec<_> = paths.iter().map(spec).collect();
        snapshot::take(&run, &specs).unwrap();
        let mut bytes = Vec::new();
        let options = writer::Options { level: 1, threads: 1 };
        let report = writer::write(&run, &specs, options, &mut bytes, &|_| {}, &|| false).unwrap();
        let name = ArchiveRecord::file_name(&node, *dataset);
        let stored = put(writer.as_ref(), &name, &bytes).await;
        assert_eq!((stored.size, stored.sha256), (report.size, report.sha256));
        if nodes.iter().all(|record| record.name != node) {
            nodes.push(NodeRecord {
                name: node.clone(),
                role: if node.as_str().contains("controller") {
                    Role::Controller
                } else {
                    Role::Broker
                },
                node_id: Some(nodes.len() as i32 + 1),
                container: None,
                kafka_version: Some("4.1.1".to_owned()),
                clean_stop: None,
                degraded: false,
            });
        }
        archives.push(ArchiveRecord {
            name,
            node,
            dataset: *dataset,
            size: report.size,
            sha256: report.sha256,
            raw_size: report.raw_size,
            dirs: report.dirs,
            files: report.files,
        });
    }
    let manifest = document(id, BackupKind::Cluster, nodes, archives);
    writer.commit(&manifest).await.unwrap();
    manifest
}

/// Two nodes' directories with what Kafka leaves there, small. Gives controller config, controller data, broker config and
/// the broker's two log dirs.
pub(crate) fn node_dirs(root: &Path) -> [PathBuf; 5] {
    let names = ["c1/config", "c1/data", "b1/config", "b1/data-a", "b1/data-b"];
    let dirs = names.map(|name| root.join(name));
    let meta = |node: u32| format!("version=1\ncluster.id=AkU3OEVBNTcwNTJENDM2Qg\nnode.id={node}\n");
    let [controller_config, controller_data, broker_config, broker_a, broker_b] = &dirs;
    let tree: [(&Path, &str, String); 10] = [
        (
            controller_config,
            "server.properties",
            "process.roles=controller\n".to_owned(),
        ),
        (controller_data, "meta.properties", meta(1)),
        (
            controller_data,
            "__cluster_metadata-0/quorum-state",
            "{\"leaderId\":1}".to_owned(),
        ),
        (broker_config, "server.properties", "process.roles=broker\n".to_owned()),
        (broker_config, "tls/ca.pem", "not a certificate\n".to_owned()),
        (broker_a, "meta.properties", meta(2)),
        (
            broker_a,
            ".kafka_cleanshutdown",
            "{\"version\":0,\"brokerEpoch\":7}".to_owned(),
        ),
        (broker_a, "orders-0/partition.metadata", "version: 0\n".to_owned()),
        (broker_b, "meta.properties", meta(2)),
        (broker_b, "orders-1/leader-epoch-checkpoint", "0\n1\n0 0\n".to_owned()),
    ];
    for (dir, path, content) in tree {
        let file = dir.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, content).unwrap();
        let at: Timestamp = "2026-11-22T02:59:58.123456789Z".parse().unwrap();
        fs::File::open(&file).unwrap().set_modified(at.into()).unwrap();
    }
    dirs
}

/// The sample nodes, backed up.
pub(crate) async fn sample_backup(store: &DirStore, root: &Path) -> Manifest {
    let [controller_config, controller_data, broker_config, broker_a, broker_b] = node_dirs(root);
    let dir = |node, dataset, paths| NodeDir { node, dataset, paths };
    let dirs = [
        dir("kafka-controller-1", Dataset::Config, vec![controller_config]),
        dir("kafka-controller-1", Dataset::Data, vec![controller_data]),
        dir("kafka-broker-1", Dataset::Config, vec![broker_config]),
        dir("kafka-broker-1", Dataset::Data, vec![broker_a, broker_b]),
    ];
    real_backup(store, &id(ID), &dirs).await
}
