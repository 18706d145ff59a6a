//! Each node by itself: its engine, its container, its clock, its directories.

use jiff::SignedDuration;

use super::{Judge, Purpose};
use crate::ids::RunId;
use crate::inventory::{Dataset, Node};
use crate::ports::node::{ContainerFacts, ContainerState, DirFacts, LeaseFacts, LinkProbe, NodeFacts, Presence};
use crate::text::human;

/// Clock differences beyond this are worth a warning: record timestamps and retention go by the nodes' clocks.
pub(crate) const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(30);

/// Copying rate assumed for the estimate of a longer window, bytes per second.
pub(crate) const COPY_RATE: u64 = 300_000_000;

impl Judge<'_> {
    pub(super) fn node(&mut self, node: &Node, facts: &NodeFacts) {
        self.owners(node, facts);
        if let Err(error) = &facts.engine {
            self.refuse(Some(node), error.message.clone(), error.hint.clone());
            return;
        }
        match &facts.container {
            Err(error) => self.refuse(Some(node), error.message.clone(), error.hint.clone()),
            Ok(None) if matches!(self.input.purpose, Purpose::Run | Purpose::Format) => {}
            // Its unit makes it anew.
            Ok(None) if node.unit.is_some() && !self.backs_up_data() => {}
            Ok(None) => self.refuse(
                Some(node),
                format!("the engine knows no container named {}", node.container),
                Some("kbo run creates it; or set `container` of this node in kbo.toml".to_owned()),
            ),
            Ok(Some(container)) => self.container(node, container, facts),
        }
        self.keepers(node, facts);
        self.log_dirs(node, facts);
        self.kafka_version(node, facts);
        let skew = facts.clock.duration_since(self.input.now).abs();
        if skew > CLOCK_SKEW {
            let message = format!("its clock differs from this machine's by {} s", skew.as_secs());
            self.warn(
                Some(node),
                message,
                Some("set up time synchronisation on it".to_owned()),
            );
        }
        for dir in &facts.dirs {
            self.dir(node, dir, &facts.leases);
        }
    }

    /// Kafka reads the data of older versions; of newer ones, only as far as the cluster's `metadata.version` lets it.
    fn kafka_version(&mut self, node: &Node, facts: &NodeFacts) {
        if let (Purpose::Restore { nodes, .. }, Some(runs)) = (self.input.purpose, &facts.kafka_version)
            && let Some(record) = nodes.iter().find(|record| record.name == node.name)
            && let Some(backup) = record.kafka_version.as_ref().filter(|backup| *backup != runs)
        {
            self.warn(
                Some(node),
                format!("runs Kafka {runs}, and its backup was made under {backup}"),
                Some("an older Kafka may not start on a newer one's data; kbo puts the old data back if so".to_owned()),
            );
        }
    }

    fn container(&mut self, node: &Node, container: &ContainerFacts, facts: &NodeFacts) {
        match container.state {
            ContainerState::Paused => self.refuse(
                Some(node),
                format!("the container {} is paused", node.container),
                Some(format!("unpause it: docker unpause {}", node.container)),
            ),
            ContainerState::Stopped
                if !matches!(self.input.purpose, Purpose::Power | Purpose::Run | Purpose::Format) =>
            {
                self.warn(
                    Some(node),
                    format!("the container {} is stopped, and stays so", node.container),
                    None,
                );
            }
            ContainerState::Restarting if matches!(self.input.purpose, Purpose::Backup { cold: true, .. }) => self
                .refuse(
                    Some(node),
                    format!(
                        "the container {} keeps restarting: once stopped, it would not come back",
                        node.container
                    ),
                    Some(format!(
                        "mend it first (docker logs {0}), or stop it: docker stop {0}",
                        node.container
                    )),
                ),
            ContainerState::Restarting => {
                self.warn(
                    Some(node),
                    format!("the container {} keeps restarting", node.container),
                    Some(format!("see: docker logs {}", node.container)),
                );
            }
            _ => {}
        }
        let is_mounted = |dir: &DirFacts| {
            container.mounts.iter().any(|mount| {
                within(&dir.path, &mount.source)
                    || within(&mount.source, &dir.path)
                    || within(&dir.path, &mount.destination)
            })
        };
        for dir in facts
            .dirs
            .iter()
            .filter(|dir| dir.dataset == Dataset::Data && !is_mounted(dir))
        {
            self.refuse(
                Some(node),
                format!(
                    "{} is in no mount of the container {}: Kafka does not use it",
                    dir.path, node.container
                ),
                Some("set `data` of this node to Kafka's log.dirs".to_owned()),
            );
        }
    }

    fn dir(&mut self, node: &Node, dir: &DirFacts, leases: &[LeaseFacts]) {
        if !self.concerns(dir) {
            return;
        }
        if let Some(resolved) = &dir.resolved {
            self.note(
                Some(node),
                format!("{} is {resolved}, through symbolic links", dir.path),
            );
        }
        if let Some(error) = &dir.error {
            self.refuse(Some(node), format!("{}: {error}", dir.path), None);
        }
        match (self.input.purpose, dir.presence) {
            (_, Presence::NotADirectory) => self.refuse(Some(node), format!("{} is not a directory", dir.path), None),
            (Purpose::Backup { .. }, Presence::Missing | Presence::Empty) => {
                let what = if dir.presence == Presence::Missing {
                    "does not exist"
                } else {
                    "is empty"
                };
                self.refuse(
                    Some(node),
                    format!("{} {what}: a backup would hold nothing of this node", dir.path),
                    Some(format!(
                        "check `{}` in kbo.toml, or restore the node first",
                        dir.dataset
                    )),
                );
            }
            (Purpose::Restore { .. } | Purpose::Format, Presence::Filled | Presence::Empty) if dir.is_mount_point => {
                self.refuse(
                    Some(node),
                    format!("{} is a mount point: it cannot be swapped by a rename", dir.path),
                    Some("use a directory below the mount point as log dir".to_owned()),
                )
            }
            _ => {}
        }
        if let (Purpose::Backup { cold: true, .. }, LinkProbe::Fails(why)) = (self.input.purpose, &dir.link) {
            let seconds = dir.bytes.div_ceil(COPY_RATE);
            self.warn(
                Some(node),
                format!(
                    "files of {} cannot be hardlinked ({why}): its snapshot copies {} and makes the window about {seconds} s longer",
                    dir.path,
                    human(dir.bytes)
                ),
                None,
            );
        }
        if !matches!(self.input.purpose, Purpose::Restore { .. } | Purpose::Format) {
            for unknown in &dir.unknown_dirs {
                self.refuse(
                    Some(node),
                    format!(
                        "the log dir {} holds the directory {unknown}, on which Kafka refuses to start",
                        dir.path
                    ),
                    Some("move it out of the log dir".to_owned()),
                );
            }
            for entry in &dir.unsupported {
                self.refuse(
                    Some(node),
                    format!("{}: {entry} cannot be archived", dir.path),
                    Some("remove it or replace it by a regular file".to_owned()),
                );
            }
        }
        let is_dead = |run: &&RunId| !leases.iter().any(|lease| lease.is_alive && lease.run == **run);
        let orphans = dir.orphans.iter().filter(is_dead).count();
        if orphans > 0 {
            self.note(
                Some(node),
                format!("{orphans} work folders of earlier runs beside {} are swept", dir.path),
            );
        }
    }
}

/// Whether `inner` is `outer` or below it.
fn within(inner: &str, outer: &str) -> bool {
    let outer = outer.trim_end_matches('/');
    inner
        .strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
