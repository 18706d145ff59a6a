//! The log dirs of a node's own Kafka against `data` in kbo.toml, and what would keep Kafka from starting on them again.

use std::collections::BTreeMap;

use super::Judge;
use crate::inventory::{Dataset, Node};
use crate::ports::node::{ContainerState, DirFacts, KafkaDir, KafkaSetup, NodeFacts, Presence};
use crate::text::{human, some_of};

/// With less room than this Kafka cannot even write its checkpoints when it starts.
const FULL: u64 = 1 << 20;

impl Judge<'_> {
    /// Whether `data` is all that the node's Kafka keeps.
    pub(super) fn log_dirs(&mut self, node: &Node, facts: &NodeFacts) {
        if !self.backs_up_data() {
            return;
        }
        let unknown = match &facts.kafka {
            // There is no container; that is refused elsewhere.
            None => return,
            Some(Ok(setup)) if !setup.log_dirs.is_empty() || setup.metadata_log_dir.is_some() => {
                return self.compare(node, facts, setup);
            }
            Some(Ok(setup)) => format!("{} does not name log.dirs", setup.source),
            Some(Err(error)) => error.message.clone(),
        };
        self.warn(
            Some(node),
            format!("its Kafka's log.dirs are unknown, and `data` in kbo.toml was compared with nothing: {unknown}"),
            Some(
                "set `config` of this node to the directory with Kafka's properties file, or set KAFKA_LOG_DIRS"
                    .to_owned(),
            ),
        );
    }

    fn compare(&mut self, node: &Node, facts: &NodeFacts, setup: &KafkaSetup) {
        let dirs: Vec<&DirFacts> = data(facts).collect();
        let wanted: Vec<(&str, &KafkaDir)> = (setup.log_dirs.iter().map(|dir| ("log.dirs", dir)))
            .chain(setup.metadata_log_dir.iter().map(|dir| ("metadata.log.dir", dir)))
            .collect();
        let found: Vec<Option<usize>> = wanted
            .iter()
            .map(|(_, kafka)| dirs.iter().position(|dir| is_same(kafka, dir)))
            .collect();
        let lacking: Vec<&(&str, &KafkaDir)> = (wanted.iter().zip(&found))
            .filter_map(|(wanted, found)| found.is_none().then_some(wanted))
            .collect();
        let surplus: Vec<&DirFacts> = (dirs.iter().enumerate())
            .filter_map(|(at, dir)| (!found.contains(&Some(at))).then_some(*dir))
            .collect();
        // A running Kafka holds its lock on the very directories of kbo.toml: it is what was read that is not what runs, or a link
        // within the image leads there.
        let held = !surplus.is_empty() && surplus.iter().all(|dir| dir.locked);
        if !lacking.is_empty() && held && surplus.len() >= lacking.len() {
            let names: Vec<String> = lacking.iter().map(|(_, dir)| dir.path.clone()).collect();
            self.warn(
                Some(node),
                format!(
                    "{} names {} as log dirs; kbo.toml names other directories, and a running Kafka holds the lock on those",
                    setup.source,
                    some_of(&names)
                ),
                Some("compare log.dirs with `data` of this node".to_owned()),
            );
            return;
        }
        if !lacking.is_empty() {
            self.lacking(node, &lacking);
        }
        for dir in surplus.iter().filter(|_| lacking.is_empty()) {
            self.warn(
                Some(node),
                format!(
                    "{} is in `data`, but not in log.dirs of its Kafka ({})",
                    dir.path, setup.source
                ),
                Some("remove it from `data` of this node, if Kafka does not use it any more".to_owned()),
            );
        }
        let order: Vec<usize> = found[..setup.log_dirs.len()].iter().filter_map(|at| *at).collect();
        if lacking.is_empty() && !order.is_sorted() {
            self.note(
                Some(node),
                "`data` in kbo.toml names its log dirs in another order than log.dirs does".to_owned(),
            );
        }
    }

    fn lacking(&mut self, node: &Node, lacking: &[&(&str, &KafkaDir)]) {
        let mut all = node.data.clone();
        for (key, dir) in lacking {
            let Some(path) = &dir.configured_as else {
                self.refuse(
                    Some(node),
                    format!(
                        "{key} of its Kafka names {}, which is in no mount of the container {}: it would be in no backup",
                        dir.path, node.container
                    ),
                    Some("mount a directory of the node there, and name it in `data` of this node".to_owned()),
                );
                continue;
            };
            if !all.contains(path) {
                all.push(path.clone());
            }
            let inside = if *path == dir.path {
                String::new()
            } else {
                format!(" ({} in the container)", dir.path)
            };
            self.refuse(
                Some(node),
                format!(
                    "{key} of its Kafka names {path}{inside}, which `data` in kbo.toml lacks: it would be in no backup"
                ),
                None,
            );
        }
        // One line for all of them.
        let line = format!("write for this node in kbo.toml: data = {all:?}");
        if let Some(last) = self.findings.last_mut().filter(|last| last.hint.is_none()) {
            last.hint = Some(line);
        }
    }

    /// What keeps Kafka from starting again on its log dirs, and does not show while it runs.
    pub(super) fn startable(&mut self) {
        if !self.backs_up_data() {
            return;
        }
        let mut seen: BTreeMap<&str, (&Node, &DirFacts)> = BTreeMap::new();
        for node in self.input.cluster.start_order() {
            let Some(Ok(facts)) = self.input.facts.get(&node.name) else {
                continue;
            };
            let is_up = matches!(&facts.container, Ok(Some(container)) if container.state.is_up());
            for dir in data(facts).filter(|dir| dir.presence == Presence::Filled && dir.error.is_none()) {
                self.identity(node, dir);
                let directory = dir.meta.as_ref().and_then(|meta| meta.directory_id.as_deref());
                if let Some(directory) = directory
                    && let Some((other, earlier)) = seen.insert(directory, (node, dir))
                {
                    self.refuse(
                        Some(node),
                        format!(
                            "{} has directory.id {directory}, as {} of {} has: Kafka does not start with one id twice",
                            dir.path, earlier.path, other.name
                        ),
                        Some("one of them is a copy: take it out of log.dirs and `data`".to_owned()),
                    );
                }
                if dir.read_only {
                    self.refuse(
                        Some(node),
                        format!(
                            "the filesystem of {} is mounted read-only: Kafka could not start again",
                            dir.path
                        ),
                        Some("see dmesg on the node for why, and mount it read-write".to_owned()),
                    );
                } else if is_up && dir.free < FULL {
                    self.refuse(
                        Some(node),
                        format!(
                            "the filesystem of {} is full ({} free): Kafka could not start again",
                            dir.path,
                            human(dir.free)
                        ),
                        Some("make room there".to_owned()),
                    );
                }
            }
        }
    }

    fn identity(&mut self, node: &Node, dir: &DirFacts) {
        let what = match &dir.meta {
            None if !dir.has_meta => "has no meta.properties",
            None => "has a meta.properties that cannot be read",
            Some(meta) if meta.cluster_id.is_none() => "has a meta.properties without a readable cluster.id",
            Some(meta) if meta.node_id.is_none() => "has a meta.properties without a readable node.id",
            Some(_) => return,
        };
        self.refuse(
            Some(node),
            format!("{} {what}: Kafka would not take it for its own when it starts again", dir.path),
            Some("put the file back (cluster.id and node.id as in the other log dirs), or take the directory out of log.dirs".to_owned()),
        );
    }
}

/// The node's log dirs as found.
pub(super) fn data(facts: &NodeFacts) -> impl Iterator<Item = &DirFacts> {
    facts.dirs.iter().filter(|dir| dir.dataset == Dataset::Data)
}

/// Whether a container is there and does not run.
pub(super) fn is_down(facts: &NodeFacts) -> bool {
    matches!(&facts.container, Ok(Some(container)) if container.state == ContainerState::Stopped)
}

fn is_same(kafka: &KafkaDir, dir: &DirFacts) -> bool {
    let plain = |path: &str| path.trim_end_matches('/').to_owned();
    let by_path = kafka.configured_as.as_deref().map(plain) == Some(plain(&dir.path));
    by_path || (kafka.file.is_some() && kafka.file == dir.file)
}
