//! A kbo that stands still, a connection that is cut, and two kbos with two stores.

use std::time::Duration;

use anyhow::{Result, bail};

use super::nodes::{self, wait_until};
use super::{Case, World, data};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "a_second_centre_with_a_store_of_its_own_is_refused_by_name",
        two_centres,
    ),
    Case::new("a_restore_whose_connection_is_cut_ends_on_one_kind_of_data", cut_off),
    Case::new(
        "a_restore_frozen_for_longer_than_the_grace_is_undone_and_says_so",
        frozen,
    ),
];

/// The agents notice a silent kbo after a minute; then come the grace and the undo.
const UNDONE: Duration = Duration::from_secs(240);

fn two_centres(world: &mut World) -> Result<()> {
    let digest = world.seeded()?;
    let before = nodes::containers(&world.lab)?;
    let run = {
        let mut run = world.kbo.spawn(&["backup"])?;
        run.await_steps(&[format!("stop {}", world.broker(3))])?;
        run
    };
    let other = world
        .kbo
        .with("KBO_STORAGE_COLD", world.kbo.scratch().join("second-centre"));
    let refused = other.expect(3, &["backup"])?;
    refused
        .says("belongs to a living run of another kbo")?
        .says(&format!("pid {}", run.pid()))?;
    run.end()?.expect(0)?;
    nodes::as_found(&world.lab, &before)?;
    data::unchanged(&world.lab, &digest)
}

fn cut_off(world: &mut World) -> Result<()> {
    let backup = world.full()?;
    data::write_since(&world.lab, 4_000_000)?;
    let written = data::count(&world.lab, data::SINCE)?;
    let before = nodes::containers(&world.lab)?;
    let node = world.controller(1);
    let mut run = world.kbo.spawn(&["restore", &backup.id, "--yes"])?;
    run.await_steps(&[format!("start {node}")])?;
    // The session's own process of every login there: kbo's connection ends, its agent lives on.
    let script = "for f in /proc/[0-9]*/cmdline; do line=$(tr '\\0' ' ' < $f 2>/dev/null) || continue; \
                  case \"$line\" in sshd*@notty*) f=${f#/proc/}; kill -9 ${f%/cmdline};; esac; done";
    world.lab.exec(&node, &["sh", "-c", script])?;
    let ran = run.end()?;
    nodes::as_found(&world.lab, &before)?;
    world.lab.wait_ready(super::WHOLE)?;
    let found = data::count(&world.lab, data::SINCE)?;
    let is_restored = ran.is_done();
    match (is_restored, found) {
        (true, None) => {}
        (false, found) if found == written => {
            ran.expect(1)?;
        }
        (_, found) => {
            bail!("restored: {is_restored}; {written:?} records were written since the backup, now {found:?}")
        }
    }
    data::unchanged(&world.lab, &backup.digest)
}

fn frozen(world: &mut World) -> Result<()> {
    let backup = world.full()?;
    data::write_since(&world.lab, 5_000_000)?;
    let written = data::count(&world.lab, data::SINCE)?;
    let before = nodes::containers(&world.lab)?;
    let kbo = world.kbo.with("KBO_LIMITS_LEASE_GRACE_SECONDS", "5");
    let mut run = kbo.spawn(&["restore", &backup.id, "--yes"])?;
    run.await_steps(&[format!("start {}", world.controller(1))])?;
    run.signal("-STOP")?;
    let undone = wait_until("the nodes are back by themselves", UNDONE, || {
        Ok(nodes::stopped(&world.lab)? == 0 && nodes::leftovers(&world.lab)?.is_empty())
    });
    run.signal("-CONT")?;
    undone?;
    run.end()?.expect(1)?.says("no longer held")?;
    nodes::as_found(&world.lab, &before)?;
    world.lab.wait_ready(super::WHOLE)?;
    let found = data::count(&world.lab, data::SINCE)?;
    if found != written {
        bail!("what was written after the backup is not back: {written:?} records, now {found:?}");
    }
    data::unchanged(&world.lab, &backup.digest)
}
