//! The metadata log of a real Kafka 4.1.1, one combined node with two log dirs: orders (4 partitions), gone (deleted), late (2).

use std::collections::BTreeMap;
use std::io::{self, Read};

use kbo_archive::metadata::{Held, Image, Part, check, read, uuid};
use kbo_archive::metaprops;

const LOG: (&str, &[u8]) = (
    "00000000000000000000.log",
    include_bytes!("kafka-4.1.1/00000000000000000000.log"),
);
const OLD: (&str, &[u8]) = (
    "00000000000000000030-0000000001.checkpoint",
    include_bytes!("kafka-4.1.1/00000000000000000030-0000000001.checkpoint"),
);
const NEW: (&str, &[u8]) = (
    "00000000000000000061-0000000001.checkpoint",
    include_bytes!("kafka-4.1.1/00000000000000000061-0000000001.checkpoint"),
);
const METAS: [&str; 2] = [
    include_str!("kafka-4.1.1/meta-1.properties"),
    include_str!("kafka-4.1.1/meta-2.properties"),
];

fn image(files: &[(&str, &[u8])]) -> Result<Image, String> {
    let opens: Vec<_> = files
        .iter()
        .map(|(name, bytes)| {
            let bytes = bytes.to_vec();
            (*name, move || -> io::Result<Box<dyn Read>> {
                Ok(Box::new(io::Cursor::new(bytes.clone())))
            })
        })
        .collect();
    let parts: Vec<Part<'_>> = opens.iter().map(|(name, open)| Part { name, open }).collect();
    read(&parts)
}

fn topics(image: &Image) -> BTreeMap<&str, Vec<i32>> {
    let topics = image.topics.values();
    topics
        .map(|topic| (topic.name.as_str(), topic.partitions.keys().copied().collect()))
        .collect()
}

/// What the node's log dirs held.
fn held() -> Vec<Held> {
    let dirs = [
        vec![
            "__cluster_metadata-0",
            "orders-0",
            "orders-2",
            "late-1",
            "gone-0.e06d68ec8b9344f8aa93cc478b33eb4f-delete",
        ],
        vec!["orders-1", "orders-3", "late-0"],
    ];
    dirs.into_iter()
        .zip(METAS)
        .map(|(dirs, meta)| Held {
            id: metaprops::parse(meta).directory_id.and_then(|id| uuid(&id)),
            dirs: dirs.into_iter().map(str::to_owned).collect(),
        })
        .collect()
}

#[test]
fn log_and_snapshots_tell_the_same() {
    let whole = image(&[LOG]).unwrap();
    assert_eq!(
        topics(&whole),
        BTreeMap::from([("orders", vec![0, 1, 2, 3]), ("late", vec![0, 1])])
    );
    for files in [&[LOG, OLD][..], &[OLD, LOG, NEW], &[NEW, LOG]] {
        let found = image(files).unwrap();
        assert_eq!(topics(&found), topics(&whole));
        assert_eq!(found.end, whole.end);
        assert_eq!(found.brokers, whole.brokers);
        let directories = |image: &Image| -> Vec<_> {
            let partitions = image.topics.values().flat_map(|topic| topic.partitions.values());
            partitions.map(|partition| partition.directories.clone()).collect()
        };
        assert_eq!(directories(&found), directories(&whole));
    }
    let broker = &whole.brokers[&1];
    assert_eq!(broker.log_dirs.len(), 2);
    assert!(whole.features["metadata.version"] >= 27, "{:?}", whole.features);
}

#[test]
fn a_node_that_holds_everything_lacks_nothing() {
    let holding = check(&image(&[LOG, NEW]).unwrap(), 1, &held());
    assert!(holding.missing.is_empty(), "{holding:?}");
    // Of another node's data nothing is said here.
    assert!(check(&image(&[LOG]).unwrap(), 7, &[]).missing.is_empty());
}

#[test]
fn a_forgotten_log_dir_is_missed_however_young_its_partitions_are() {
    let only_first = &held()[..1];
    let holding = check(&image(&[LOG, NEW]).unwrap(), 1, only_first);
    assert_eq!(holding.missing, ["late-0", "orders-1", "orders-3"]);
    assert_eq!(holding.elsewhere, 3);
}

#[test]
fn a_lost_partition_is_missed_and_one_that_was_just_assigned_is_not() {
    let mut held = held();
    held[1].dirs.retain(|name| name != "orders-1");
    let mut image = image(&[LOG]).unwrap();
    assert!(
        check(&image, 1, &held).missing.is_empty(),
        "created within the last seconds"
    );
    image.time += 60_000;
    assert_eq!(check(&image, 1, &held).missing, ["orders-1"]);
    // As Kafka names a replica that moves, or that it has put aside.
    held[1]
        .dirs
        .push("orders-1.e06d68ec8b9344f8aa93cc478b33eb4f-future".to_owned());
    assert!(check(&image, 1, &held).missing.is_empty());
}

#[test]
fn a_partition_of_an_offline_log_dir_is_not_missed() {
    let mut image = image(&[LOG]).unwrap();
    image.time += 60_000;
    let held = held();
    let first = held[0].id.unwrap();
    image.brokers.get_mut(&1).unwrap().log_dirs = vec![first];
    let mut broken = held;
    broken[1].dirs.clear();
    assert!(check(&image, 1, &broken).missing.is_empty());
}

#[test]
fn a_gap_and_a_damaged_batch_are_said_and_a_torn_tail_is_not() {
    let later = ("00000000000000000099.log", LOG.1);
    assert!(image(&[later, NEW]).unwrap_err().contains("begins at 99"));
    let mut damaged = LOG.1.to_vec();
    damaged[200] ^= 1;
    assert!(image(&[(LOG.0, &damaged)]).unwrap_err().contains("checksum"));
    let torn = &LOG.1[..LOG.1.len() - 5];
    assert_eq!(
        topics(&image(&[(LOG.0, torn)]).unwrap()),
        topics(&image(&[LOG]).unwrap())
    );
}
