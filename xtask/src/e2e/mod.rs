//! End to end: kbo against real brokers, a case at a time; after each one the cluster is up and nothing of kbo's is left.

mod backup;
mod by_hand;
mod combined;
mod containers;
mod crash;
pub(crate) mod data;
mod docker;
mod engines;
mod hangs;
pub(crate) mod kbo;
mod layout;
mod leases;
mod menu;
pub(crate) mod nodes;
mod power;
mod quorum;
mod refusal;
mod restore;
mod retention;
mod schedule;
mod secured;
mod setup;
mod store;
mod stores;
mod tls;
mod world;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::lab::{Kind, Lab};
pub(crate) use world::World;

/// One thing that must hold.
pub(crate) struct Case {
    /// What must hold.
    pub(crate) name: &'static str,
    /// The proof.
    pub(crate) prove: fn(&mut World) -> Result<()>,
}

impl Case {
    const fn new(name: &'static str, prove: fn(&mut World) -> Result<()>) -> Self {
        Self { name, prove }
    }
}

/// The cases of a cluster, in an order in which each finds what it needs made by those before it, or makes it.
fn cases(kind: Kind) -> Vec<Case> {
    match kind {
        Kind::Ssh => [
            setup::SSH_CASES,
            refusal::CASES,
            backup::CASES,
            by_hand::CASES,
            restore::CASES,
            store::CASES,
            retention::CASES,
            layout::CASES,
            crash::CASES,
            leases::CASES,
            engines::CASES,
            hangs::CASES,
            power::CASES,
            menu::CASES,
            containers::SSH_CASES,
            schedule::CASES,
            secured::CASES,
        ]
        .into_iter()
        .flatten()
        .map(|case| Case::new(case.name, case.prove))
        .collect(),
        Kind::Docker => [
            setup::DOCKER_CASES,
            docker::CASES,
            stores::CASES,
            containers::CASES,
            quorum::CASES,
            combined::CASES,
        ]
        .into_iter()
        .flatten()
        .map(|case| Case::new(case.name, case.prove))
        .collect(),
    }
}

/// How many cases held, and how many did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Held.
    pub(crate) passed: usize,
    /// Did not.
    pub(crate) failed: usize,
}

/// Run the cases of a cluster whose names contain one of `filters`, or all where there is none. A cluster that was down is taken
/// down again.
pub(crate) fn suite(kind: Kind, filters: &[String]) -> Result<Tally> {
    let chosen: Vec<Case> = cases(kind)
        .into_iter()
        .filter(|case| filters.is_empty() || filters.iter().any(|filter| case.name.contains(filter)))
        .collect();
    if chosen.is_empty() {
        crate::say(&format!(
            "no case of the {} cluster has any of {filters:?} in its name",
            kind.name()
        ));
        return Ok(Tally::default());
    }
    let program = crate::test::kbo_program()?;
    let was_up = Lab::open(kind).is_ok();
    let lab = Lab::up(kind).context("the cluster does not come up")?;
    let mut world = World::new(lab, program)?;
    let mut tally = Tally::default();
    for case in chosen {
        let begun = Instant::now();
        let seen = world.kbo.runs();
        let result = (case.prove)(&mut world).and_then(|()| world.is_whole());
        let seconds = begun.elapsed().as_secs();
        let notes = world.notes.drain(..).collect::<Vec<_>>().join(", ");
        match result {
            Ok(()) => {
                tally.passed += 1;
                let notes = if notes.is_empty() { notes } else { format!(" [{notes}]") };
                crate::say(&format!("{} {} ... ok ({seconds} s){notes}", kind.name(), case.name));
            }
            Err(error) => {
                tally.failed += 1;
                crate::say(&format!(
                    "{} {} ... FAILED ({seconds} s): {error:#}",
                    kind.name(),
                    case.name
                ));
                crate::say(world.kbo.told_since(seen).trim_end());
                if let Err(error) = world.mend() {
                    crate::say(&format!("the cluster cannot be mended, the rest is not run: {error:#}"));
                    break;
                }
            }
        }
    }
    if !was_up {
        drop(world);
        Lab::down(kind)?;
    }
    Ok(tally)
}

/// How long Kafka has after a case to be whole.
const WHOLE: Duration = Duration::from_secs(120);

impl World {
    /// Everything runs, every partition has its replicas, and nothing of kbo's is on any node.
    fn is_whole(&self) -> Result<()> {
        let down: Vec<String> = nodes::containers(&self.lab)?
            .into_iter()
            .filter(|(_, container)| !container.runs())
            .map(|(node, _)| node)
            .collect();
        if !down.is_empty() {
            bail!("after it these are down: {}", down.join(", "));
        }
        self.lab
            .wait_ready(WHOLE)
            .context("after it the cluster is not whole")?;
        // An agent that was told to go has a moment to be gone.
        let mut left = vec![];
        for _ in 0..20 {
            left = nodes::leftovers(&self.lab)?;
            if left.is_empty() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        bail!("left behind on the nodes: {}", left.join("; "));
    }

    /// Make the cluster whole again after a failed case, anew if it must be.
    fn mend(&mut self) -> Result<()> {
        let _ = self.kbo.run(&["recover"]);
        let mended = nodes::clear_away(&self.lab).and_then(|()| {
            for node in self.lab.nodes() {
                self.lab.start(&node.name)?;
            }
            self.is_whole()
        });
        if let Err(error) = mended {
            crate::say(&format!("the cluster cannot be mended ({error:#}): making it anew"));
            let kind = self.lab.kind();
            Lab::down(kind)?;
            let transcripts = self.kbo.clone();
            *self = World::anew(Lab::up(kind)?, transcripts);
        }
        Ok(())
    }
}
