//! kbo killed, interrupted and doubled while the cluster is down.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::nodes::{self, wait_until};
use super::{Case, World, data};

pub(super) const CASES: &[Case] = &[
    Case::new("a_backup_killed_in_the_window_is_recovered", killed_backup),
    Case::new(
        "a_backup_killed_in_the_window_is_undone_by_the_nodes_themselves",
        abandoned_backup,
    ),
    Case::new(
        "a_restore_killed_in_the_window_is_recovered_to_the_old_data",
        killed_restore,
    ),
    Case::new(
        "a_second_run_is_locked_out_and_ctrl_c_brings_the_cluster_back",
        interrupted,
    ),
];

/// From the start of a run to its window, and from there to its end.
const LIMIT: Duration = Duration::from_secs(150);

fn killed_backup(world: &mut World) -> Result<()> {
    let digest = world.seeded()?;
    let before = nodes::containers(&world.lab)?;
    let listed = world.kbo.json(&["list"])?;
    let mut run = world.kbo.spawn(&["backup"])?;
    run.await_steps(&[format!("stop {}", world.broker(3)), format!("stop {}", world.broker(2))])?;
    run.kill()?;
    world.kbo.expect(1, &["status"])?.says("recover")?;
    world.kbo.expect(0, &["recover"])?;
    nodes::as_found(&world.lab, &before)?;
    world.lab.wait_ready(super::WHOLE)?;
    if world.kbo.json(&["list"])? != listed {
        bail!("the list of backups is not what it was");
    }
    world.kbo.expect(0, &["status"])?;
    data::unchanged(&world.lab, &digest)
}

fn abandoned_backup(world: &mut World) -> Result<()> {
    let digest = world.seeded()?;
    let before = nodes::containers(&world.lab)?;
    let mut run = world
        .kbo
        .with("KBO_LIMITS_LEASE_GRACE_SECONDS", "5")
        .spawn(&["backup"])?;
    run.await_steps(&[
        format!("stop {}", world.broker(1)),
        format!("stop {}", world.controller(3)),
    ])?;
    run.kill()?;
    wait_until("the nodes are back by themselves", LIMIT, || {
        Ok(nodes::stopped(&world.lab)? == 0)
    })?;
    nodes::as_found(&world.lab, &before)?;
    world.lab.wait_ready(super::WHOLE)?;
    wait_until("the nodes are clean", Duration::from_secs(30), || {
        Ok(nodes::leftovers(&world.lab)?.is_empty())
    })
    .with_context(|| format!("{:?}", nodes::leftovers(&world.lab)))?;
    world.kbo.expect(0, &["recover"])?;
    nodes::as_found(&world.lab, &before)?;
    data::unchanged(&world.lab, &digest)
}

fn killed_restore(world: &mut World) -> Result<()> {
    let backup = world.full()?;
    data::write_since(&world.lab, 3_000_000)?;
    let written = data::count(&world.lab, data::SINCE)?;
    let before = nodes::containers(&world.lab)?;
    let mut run = world.kbo.spawn(&["restore", &backup.id, "--yes"])?;
    // The first to run again does so on the restored data.
    run.await_steps(&[format!("start {}", world.controller(1))])?;
    run.kill()?;
    world.kbo.expect(0, &["recover"])?;
    nodes::as_found(&world.lab, &before)?;
    world.lab.wait_ready(super::WHOLE)?;
    let found = data::count(&world.lab, data::SINCE)?;
    if found != written {
        bail!("what was written after the backup is not back: {written:?} records, now {found:?}");
    }
    data::unchanged(&world.lab, &backup.digest)
}

fn interrupted(world: &mut World) -> Result<()> {
    let digest = world.seeded()?;
    let before = nodes::containers(&world.lab)?;
    let mut run = world.kbo.spawn(&["backup"])?;
    run.await_steps(&[format!("stop {}", world.broker(3))])?;
    let second = world.kbo.expect(6, &["backup"])?;
    second.says(&run.pid().to_string())?;
    if run.has_ended()? {
        bail!("the first run ended before its time");
    }
    // A terminal that is closed.
    run.signal("-HUP")?;
    run.end()?.expect(130)?;
    nodes::as_found(&world.lab, &before)?;
    world.lab.wait_ready(super::WHOLE)?;
    data::unchanged(&world.lab, &digest)
}
