//! Need and have of disk space, on the nodes and in the store.

use std::collections::BTreeMap;

use super::{Judge, Purpose};
use crate::inventory::{Dataset, Node};
use crate::ports::node::{DirFacts, LinkProbe};
use crate::ports::store::Space;
use crate::text::human;

/// What to do where space is short and nothing of kbo's takes it.
const MAKE_ROOM: &str = "make room there";

impl Judge<'_> {
    /// Need and have of every filesystem on a node: what a snapshot copies, or what is staged.
    pub(super) fn node_space(&mut self) {
        for node in self.input.cluster.start_order() {
            let Some(Ok(facts)) = self.input.facts.get(&node.name) else {
                continue;
            };
            let mut need: BTreeMap<u64, (u64, &DirFacts)> = BTreeMap::new();
            let mut with_data: BTreeMap<u64, &DirFacts> = BTreeMap::new();
            // Facts tell the directories of a dataset in the order of the configuration, as archives have them.
            let mut position: BTreeMap<Dataset, usize> = BTreeMap::new();
            for dir in facts.dirs.iter().filter(|dir| self.concerns(dir)) {
                let at = position.entry(dir.dataset).or_default();
                let bytes = match self.input.purpose {
                    Purpose::Backup { .. } if matches!(dir.link, LinkProbe::Fails(_)) => dir.bytes,
                    Purpose::Backup { .. } => dir.copied_bytes,
                    Purpose::Restore { need, .. } => {
                        let sizes = need.get(&(node.name.clone(), dir.dataset));
                        sizes.and_then(|sizes| sizes.get(*at)).copied().unwrap_or(0)
                    }
                    Purpose::Power | Purpose::Run | Purpose::Format | Purpose::Look => 0,
                };
                *at += 1;
                need.entry(dir.device).or_insert((0, dir)).0 += bytes;
                if dir.dataset == Dataset::Data && dir.size > 0 {
                    with_data.entry(dir.device).or_insert(dir);
                }
            }
            let kept: u64 = facts.kept.iter().map(|kept| kept.bytes).sum();
            let remedy = match kept {
                0 => MAKE_ROOM.to_owned(),
                kept => format!(
                    "make room there; earlier restores keep {} on this node, which `kbo previous discard` removes",
                    human(kept)
                ),
            };
            for (device, (bytes, dir)) in need {
                if let Some(data) = with_data.get(&device).filter(|_| self.backs_up_data())
                    && bytes <= data.free
                    && self.is_below_floor(node, data, bytes)
                {
                    continue;
                }
                let space = Space {
                    free: dir.free,
                    size: dir.size,
                };
                self.space(Some(node), &dir.path, bytes, space, &remedy);
            }
        }
    }

    /// Refuses what would end as soon as archives are made: by then the cluster was down for it.
    fn is_below_floor(&mut self, node: &Node, dir: &DirFacts, need: u64) -> bool {
        let floor = self.input.node_free_floor;
        let least = floor.of(dir.size);
        if dir.free - need >= least {
            return false;
        }
        let needs = match need {
            0 => String::new(),
            need => format!(", of which the snapshot needs {}", human(need)),
        };
        self.refuse(
            Some(node),
            format!(
                "{}: {} free of {}{needs}; {} must stay free while archives are made, for what Kafka deletes stays on the disk as long as the snapshot does",
                dir.path,
                human(dir.free),
                human(dir.size),
                human(least)
            ),
            Some(format!("make room there, or lower limits.node_free_floor (now {floor})")),
        );
        true
    }

    pub(super) fn store_space(&mut self) {
        let Some(space) = self.input.store else { return };
        match self.input.purpose {
            Purpose::Backup { .. } => {}
            // It writes nothing there; but whoever runs kbo should know, before each run.
            Purpose::Restore { .. } => return self.space(None, "the store", 0, space, MAKE_ROOM),
            _ => return,
        }
        let mut raw: BTreeMap<Dataset, u64> = BTreeMap::new();
        let facts = self.input.facts.values().flatten();
        for dir in facts.flat_map(|facts| &facts.dirs).filter(|dir| self.concerns(dir)) {
            *raw.entry(dir.dataset).or_default() += dir.bytes;
        }
        // What a dataset was compressed to the last time is known well enough to refuse by; how one of which nothing is known will
        // compress is not.
        let (mut known, mut unknown) = (0_u64, 0_u64);
        for (dataset, bytes) in raw {
            match self.input.ratios.get(&dataset) {
                Some(ratio) => known = known.saturating_add(estimated(bytes, *ratio)),
                None => unknown = unknown.saturating_add(bytes),
            }
        }
        let all = known.saturating_add(unknown);
        if known > space.free || all <= space.free {
            return self.space(None, "the store", all.min(known.max(space.free)), space, MAKE_ROOM);
        }
        self.warn(
            None,
            format!(
                "the store has {} free for {} of data, of which no earlier backup of this kind tells how far they compress: it may not fit",
                human(space.free),
                human(all)
            ),
            Some("the backup fails if it does not; the cluster is up again by then".to_owned()),
        );
    }

    fn space(&mut self, node: Option<&Node>, path: &str, need: u64, space: Space, remedy: &str) {
        if need > space.free {
            self.refuse(
                node,
                format!("{path}: needs {}, has {} free", human(need), human(space.free)),
                Some(remedy.to_owned()),
            );
        } else if (space.free - need).saturating_mul(100)
            < space.size.saturating_mul(u64::from(self.input.warn_free_percent))
        {
            self.warn(
                node,
                format!(
                    "{path}: {} free of {}, {} % will be left",
                    human(space.free),
                    human(space.size),
                    (space.free - need).saturating_mul(100) / space.size.max(1)
                ),
                None,
            );
        }
    }
}

/// A tenth more than the last time.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an estimate"
)]
fn estimated(bytes: u64, ratio: f64) -> u64 {
    (bytes as f64 * ratio * 1.1) as u64
}
