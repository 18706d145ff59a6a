//! Whether a node's data are all that its own metadata log says it holds.

use std::collections::{BTreeMap, BTreeSet};

use super::{Image, Uuid, is_reserved};
use crate::rules::{DirClass, dir_class};

/// A replica that was assigned so shortly before the node stopped need not have a directory yet: Kafka makes it when it has read
/// the record. Milliseconds.
const NOT_YET_MADE: i64 = 30_000;

/// What one log dir of the data holds.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// `directory.id` of its meta.properties.
    pub id: Option<Uuid>,
    /// The names of the directories in it.
    pub dirs: Vec<String>,
}

/// What a node's data lack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holding {
    /// Replicas that the metadata place on the node and the data do not hold, as directory names; sorted.
    pub missing: Vec<String>,
    /// Those of them that lie in log dirs which are none of the data's.
    pub elsewhere: usize,
}

/// Compares the log dirs of a broker with what its metadata log says at its end.
///
/// No fault: what Kafka had not made yet, replicas on a log dir that is offline, topics that are deleted, directories with `-stray`
/// or `-future`.
pub fn check(image: &Image, node_id: i32, dirs: &[Held]) -> Holding {
    let mut present: BTreeSet<(String, i32)> = BTreeSet::new();
    for name in dirs.iter().flat_map(|dir| &dir.dirs) {
        if let DirClass::Partition { topic, partition } = dir_class(name) {
            present.insert((topic, partition));
        }
    }
    let ids: BTreeSet<Uuid> = dirs.iter().filter_map(|dir| dir.id).collect();
    let knows_all = dirs.iter().all(|dir| dir.id.is_some());
    let online: BTreeMap<i32, &Vec<Uuid>> = image
        .brokers
        .iter()
        .map(|(id, broker)| (*id, &broker.log_dirs))
        .collect();
    let mut holding = Holding::default();
    for topic in image.topics.values() {
        for (number, partition) in &topic.partitions {
            let Some(at) = partition.replicas.iter().position(|id| *id == node_id) else {
                continue;
            };
            if present.contains(&(topic.name.clone(), *number)) {
                continue;
            }
            let directory = partition.directories.get(at).filter(|id| !is_reserved(id));
            let is_offline = directory.is_some_and(|id| {
                online
                    .get(&node_id)
                    .is_some_and(|online| !online.is_empty() && !online.contains(id))
            });
            let elsewhere = knows_all && directory.is_some_and(|id| !ids.contains(id));
            let is_new = image.time.saturating_sub(partition.since) < NOT_YET_MADE;
            if is_offline || (is_new && !elsewhere) {
                continue;
            }
            holding.missing.push(format!("{}-{number}", topic.name));
            holding.elsewhere += usize::from(elsewhere);
        }
    }
    holding.missing.sort();
    holding
}
