//! What version 1 of the format wrote, every later version reads. `testdata/v1/store` is what `sample_backup`
//! wrote when the format was new; the golden store of a format is never replaced.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use kbo_archive::store::{DirStore, verify_backup};
use kbo_core::inventory::{Dataset, Role};
use kbo_core::manifest::{ArchiveRecord, BackupKind, DirRecord, FileKind, FileRecord, Manifest, NodeRecord, Window};
use kbo_core::ports::node::{CleanDir, CleanStopProof};
use kbo_core::ports::store::{BackupStore, BackupWriter};

use crate::sample::{ID, dev, id, new_store, put, sha256};

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/v1").join(name)
}

#[tokio::test]
async fn the_store_of_format_1_is_listed_read_and_verified() {
    let store = DirStore::new(testdata("store"));
    let listed = store.list().await.unwrap();
    assert_eq!(listed.len(), 1);
    let head = listed[0].manifest.as_ref().unwrap();
    assert_eq!(
        (&listed[0].id, head.kind, &head.cluster),
        (&id(ID), BackupKind::Cluster, &dev())
    );

    let manifest = store.manifest(&id(ID)).await.unwrap();
    let names: Vec<_> = manifest.archives.iter().map(|archive| archive.name.as_str()).collect();
    let expected = [
        "kafka-controller-1.config.tar.zst",
        "kafka-controller-1.data.tar.zst",
        "kafka-broker-1.config.tar.zst",
        "kafka-broker-1.data.tar.zst",
    ];
    assert_eq!(names, expected);
    let files = manifest.archives.iter().flat_map(|archive| &archive.files);
    assert_eq!(
        files.filter(|file| matches!(file.kind, FileKind::File { .. })).count(),
        10
    );

    let report = verify_backup(&store, &id(ID), Arc::new(|_, _, _| {})).await.unwrap();
    assert!(report.is_ok(), "{report:?}");
}

/// A manifest that uses every field.
fn full() -> Manifest {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let file = |path: &str, kind| FileRecord {
        path: path.to_owned(),
        kind,
        mode: 0o640,
        uid: 1000,
        gid: 1001,
        mtime: at("2026-11-22T02:59:58.123456789Z"),
    };
    let clean_stop = CleanStopProof {
        clean: true,
        dirs: vec![CleanDir {
            path: "/data/a".to_owned(),
            marker: true,
            broker_epoch: Some(7),
            locked: false,
        }],
    };
    let node = |name: &str, role, clean_stop| NodeRecord {
        name: name.parse().unwrap(),
        role,
        node_id: Some(4),
        container: Some(serde_json::json!({"Config": {"Env": ["A=b", "C=d"], "Image": "apache/kafka:4.1.1"}})),
        kafka_version: Some("4.1.1".to_owned()),
        clean_stop,
        degraded: false,
    };
    Manifest {
        format: 1,
        id: id(ID),
        kind: BackupKind::Data,
        cluster: dev(),
        cluster_id: Some("AkU3OEVBNTcwNTJENDM2Qg".parse().unwrap()),
        kbo_version: "0.1.0".to_owned(),
        created: at("2026-11-22T03:00:00.5Z"),
        committed: at("2026-11-22T03:04:05Z"),
        window: Some(Window {
            from: at("2026-11-22T03:00:01Z"),
            to: at("2026-11-22T03:00:31.25Z"),
            seconds: 30.25,
        }),
        caveats: vec!["the stop was unclean".to_owned()],
        damage: None,
        degraded: vec![],
        nodes: vec![
            node("c1", Role::Controller, None),
            node("b1", Role::Broker, Some(clean_stop)),
        ],
        archives: vec![ArchiveRecord {
            name: "b1.data.tar.zst".to_owned(),
            node: "b1".parse().unwrap(),
            dataset: Dataset::Data,
            size: 3,
            sha256: sha256(b"abc"),
            raw_size: 5,
            dirs: vec![
                DirRecord {
                    path: "/data/a".to_owned(),
                    prefix: "0/".to_owned(),
                },
                DirRecord {
                    path: "/data/b".to_owned(),
                    prefix: "1/".to_owned(),
                },
            ],
            files: vec![
                file("0", FileKind::Dir),
                file(
                    "0/ünï\"code",
                    FileKind::File {
                        size: 5,
                        sha256: sha256(b"hello"),
                    },
                ),
                file(
                    "0/link",
                    FileKind::Symlink {
                        target: "ünï\"code".to_owned(),
                    },
                ),
                file("1", FileKind::Dir),
            ],
        }],
    }
}

#[tokio::test]
async fn a_manifest_is_written_byte_for_byte_as_format_1_has_it() {
    let (_temp, store) = new_store();
    let writer = store.begin(&id(ID), BackupKind::Data).await.unwrap();
    put(writer.as_ref(), "b1.data.tar.zst", b"abc").await;
    BackupWriter::commit(writer.as_ref(), &full()).await.unwrap();
    let written = std::fs::read_to_string(store.folder(&id(ID)).await.unwrap().join("manifest.json")).unwrap();
    let golden = std::fs::read_to_string(testdata("manifest.json")).unwrap_or_default();
    assert!(written == golden, "this is what is written now:\n{written}");
    assert_eq!(store.manifest(&id(ID)).await.unwrap(), full());
}
