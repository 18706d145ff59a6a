//! What stands on top: the cluster's nodes, the last backup, and what needs attention.

use std::path::PathBuf;

use jiff::Timestamp;
use kbo_core::ids::ClusterId;
use kbo_core::manifest::Manifest;
use kbo_core::orchestrator::condition;
use kbo_core::ports::node::ContainerState;
use kbo_core::ports::store::{Listed, LockOwner};
use kbo_core::retention::Condition;
use kbo_core::text::{ago, human, one_line};

use super::rows;

/// Days after which the last backup is called old.
const OLD_DAYS: i64 = 7;

/// What is known so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// The configuration: its file and the cluster's name, or what is wrong.
    pub(super) configuration: Configuration,
    /// The nodes, in start order.
    pub(super) nodes: Vec<(String, NodeSeen)>,
    /// The store.
    pub(super) store: StoreSeen,
    /// The cluster id that the store goes by, where it is known.
    pub(super) cluster_id: Option<ClusterId>,
    /// The run that holds the cluster's lock.
    pub(super) running: Option<LockOwner>,
    /// Whether a run has died.
    pub(super) died: bool,
}

/// The configuration, as far as it goes.
#[derive(Debug, Clone, Default)]
pub(super) enum Configuration {
    /// There is none.
    #[default]
    None,
    /// It cannot be used.
    Wrong(String),
    /// It can.
    Loaded { file: PathBuf, cluster: String },
}

/// What a node answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NodeSeen {
    /// It was asked.
    Asked,
    /// Its container's state.
    State(ContainerState),
    /// Why it could not be asked.
    Unknown(String),
}

/// What the store holds.
#[derive(Debug, Clone, Default)]
pub(super) enum StoreSeen {
    /// It is being read.
    #[default]
    Asked,
    /// Its backups, oldest first.
    Listed(Vec<Listed>),
    /// Why it cannot be read.
    Unknown(String),
}

/// How a line is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Warning,
    Bad,
    Faint,
}

/// A line and how it is to be taken.
pub(super) type Line = (Tone, String);

impl Seen {
    /// The cluster's name.
    pub(super) fn cluster(&self) -> Option<&str> {
        match &self.configuration {
            Configuration::Loaded { cluster, .. } => Some(cluster),
            _ => None,
        }
    }

    /// The lines, the most telling first: a small terminal has no place for more than the first.
    pub(super) fn lines(&self, now: Timestamp) -> Vec<Line> {
        let cluster = match &self.configuration {
            Configuration::None => {
                return vec![(Tone::Warning, "no kbo.toml yet: Set-up makes one".to_owned())];
            }
            Configuration::Wrong(why) => {
                let mut lines = vec![(Tone::Bad, "the configuration cannot be used:".to_owned())];
                lines.extend(why.lines().map(|line| (Tone::Bad, line.to_owned())));
                return lines;
            }
            Configuration::Loaded { cluster, .. } => cluster,
        };
        let (tone, nodes) = self.nodes_line();
        let (backup_tone, backup) = self.backup_line(cluster, now);
        let mut lines = vec![(tone, format!("{cluster}: {nodes}"))];
        lines.extend(self.attention());
        lines.push((backup_tone, backup));
        lines.extend(self.node_lines());
        // Engines and hosts have said some of it.
        let shown = |(tone, line): Line| (tone, one_line(&line).into_owned());
        lines.into_iter().map(shown).collect()
    }

    /// How many nodes run.
    fn nodes_line(&self) -> Line {
        let count = |what: &dyn Fn(&NodeSeen) -> bool| self.nodes.iter().filter(|(_, seen)| what(seen)).count();
        let up = count(&|seen| *seen == NodeSeen::State(ContainerState::Running));
        let asked = count(&|seen| *seen == NodeSeen::Asked);
        let unknown = count(&|seen| matches!(seen, NodeSeen::Unknown(_)));
        let mut text = format!("{up} of {} nodes run", self.nodes.len());
        if unknown > 0 {
            text.push_str(&format!(", {unknown} could not be asked"));
        }
        if asked > 0 {
            text.push_str(&format!("; asking {asked} ..."));
        }
        let tone = match (asked, up == self.nodes.len()) {
            (_, true) => Tone::Good,
            (0, false) => Tone::Bad,
            (_, false) => Tone::Plain,
        };
        (tone, text)
    }

    /// What cannot wait.
    fn attention(&self) -> Option<Line> {
        match (&self.running, self.died) {
            (Some(owner), _) => {
                let text = format!(
                    "a run is under way: {} (pid {} on {})",
                    owner.purpose, owner.pid, owner.host
                );
                Some((Tone::Warning, text))
            }
            (None, true) => Some((
                Tone::Bad,
                "A RUN DIED and left work undone: Cluster, Recover".to_owned(),
            )),
            (None, false) => None,
        }
    }

    fn backup_line(&self, cluster: &str, now: Timestamp) -> Line {
        let listed = match &self.store {
            StoreSeen::Asked => return (Tone::Plain, "last backup: reading the store ...".to_owned()),
            StoreSeen::Unknown(why) => return (Tone::Bad, format!("the store cannot be read: {why}")),
            StoreSeen::Listed(listed) => listed,
        };
        let ours = rows::of_cluster(listed, cluster);
        let damaged = ours.iter().filter(|backup| rows::damage(backup).is_some()).count();
        let damaged = match damaged {
            0 => String::new(),
            damaged => format!("; {damaged} DAMAGED: Backup, List"),
        };
        let own = |manifest: &Manifest| {
            let ids = (&self.cluster_id, &manifest.cluster_id);
            !matches!(ids, (Some(ours), Some(its)) if ours != its)
        };
        // One that cannot be counted on must not pass for the last one.
        let is_good =
            |backup: &&&Listed| condition(backup) == Condition::Good && backup.manifest.as_ref().is_ok_and(own);
        let whole = ours.iter().find(is_good);
        let Some((backup, manifest)) = whole.and_then(|backup| Some((backup, backup.manifest.as_ref().ok()?))) else {
            let none = match ours.is_empty() {
                true => "no backup yet",
                false => "no good backup",
            };
            return (Tone::Warning, format!("{none}{damaged}"));
        };
        let mut text = format!(
            "last backup: {}, {}, {}, {}",
            backup.id,
            ago(manifest.created, now),
            backup.kind,
            human(manifest.stored_bytes())
        );
        if backup.pinned {
            text.push_str(", pinned");
        }
        let is_old = now.duration_since(manifest.created).as_secs() > OLD_DAYS * 86_400;
        if is_old {
            text.push_str("; OLD");
        }
        let tone = match (damaged.is_empty(), is_old) {
            (false, _) => Tone::Bad,
            (true, true) => Tone::Warning,
            (true, false) => Tone::Plain,
        };
        (tone, text + &damaged)
    }

    /// The nodes that do not run, and why those that could not be asked could not.
    fn node_lines(&self) -> Vec<Line> {
        let line = |(name, seen): &(String, NodeSeen)| match seen {
            NodeSeen::Asked | NodeSeen::State(ContainerState::Running) => None,
            NodeSeen::State(state) => Some((Tone::Bad, format!("{name}: {state}"))),
            NodeSeen::Unknown(why) => Some((Tone::Bad, format!("{name}: {why}"))),
        };
        self.nodes.iter().filter_map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-25T01:00:00Z".parse().unwrap()
    }

    fn seen(nodes: &[NodeSeen]) -> Seen {
        let name = |(number, node): (usize, &NodeSeen)| (format!("k{number}"), node.clone());
        Seen {
            configuration: Configuration::Loaded {
                file: "kbo.toml".into(),
                cluster: "dev".to_owned(),
            },
            nodes: nodes.iter().enumerate().map(name).collect(),
            store: StoreSeen::Listed(vec![]),
            ..Seen::default()
        }
    }

    const RUNS: NodeSeen = NodeSeen::State(ContainerState::Running);

    #[test]
    fn nodes_that_run_are_counted_and_the_others_named() {
        let lines = seen(&[RUNS, RUNS]).lines(now());
        assert_eq!(lines[0], (Tone::Good, "dev: 2 of 2 nodes run".to_owned()));
        assert_eq!(lines.len(), 2, "{lines:?}");

        let stopped = NodeSeen::State(ContainerState::Stopped);
        let silent = NodeSeen::Unknown("no answer".to_owned());
        let lines = seen(&[RUNS, stopped, silent, NodeSeen::Asked]).lines(now());
        let first = "dev: 1 of 4 nodes run, 1 could not be asked; asking 1 ...";
        assert_eq!(lines[0], (Tone::Plain, first.to_owned()));
        assert_eq!(
            lines[2..],
            [
                (Tone::Bad, "k1: stopped".to_owned()),
                (Tone::Bad, "k2: no answer".to_owned())
            ]
        );
    }

    #[test]
    fn a_dead_run_is_told_before_the_backup_and_a_live_one_is_not_called_dead() {
        let mut seen = seen(&[RUNS]);
        seen.died = true;
        assert_eq!(seen.lines(now())[1].0, Tone::Bad);
        assert!(seen.lines(now())[1].1.contains("A RUN DIED"));
        seen.running = Some(LockOwner {
            host: "here".to_owned(),
            pid: 7,
            boot_id: String::new(),
            since: now(),
            purpose: "backup".to_owned(),
            holder: None,
            archiving: false,
        });
        assert_eq!(seen.lines(now())[1].1, "a run is under way: backup (pid 7 on here)");
    }

    #[test]
    fn without_a_configuration_set_up_is_named_and_a_wrong_one_is_shown() {
        let mut seen = Seen::default();
        assert!(seen.lines(now())[0].1.contains("Set-up"));
        seen.configuration = Configuration::Wrong("kbo.toml: x\nkbo.toml: y".to_owned());
        let lines = seen.lines(now());
        assert_eq!(
            lines[1..],
            [
                (Tone::Bad, "kbo.toml: x".to_owned()),
                (Tone::Bad, "kbo.toml: y".to_owned())
            ]
        );
    }

    #[test]
    fn an_unreadable_store_says_why() {
        let mut seen = seen(&[RUNS]);
        seen.store = StoreSeen::Unknown("permission denied".to_owned());
        let lines = seen.lines(now());
        assert_eq!(
            lines[1],
            (Tone::Bad, "the store cannot be read: permission denied".to_owned())
        );
    }
}
