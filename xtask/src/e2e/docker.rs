//! The same on six containers of one engine, where kbo works through helper containers.

use anyhow::{Context, Result, bail};

use super::world::text;
use super::{Case, World, data, nodes};

pub(super) const CASES: &[Case] = &[
    Case::new("check_and_status_touch_nothing", looking),
    Case::new(
        "a_backup_through_the_engine_survives_a_deleted_topic_and_a_wiped_volume",
        disaster,
    ),
    Case::new(
        "a_stopped_node_stays_stopped_and_ctrl_c_brings_the_cluster_back",
        stopped_and_interrupted,
    ),
    Case::new("a_backup_killed_in_the_window_is_recovered", killed),
];

fn looking(world: &mut World) -> Result<()> {
    let before = nodes::containers(&world.lab)?;
    world.kbo.expect(0, &["check"])?;
    world.kbo.expect(0, &["status"])?;
    nodes::untouched(&world.lab, &before)
}

fn disaster(world: &mut World) -> Result<()> {
    let digest = world.seeded()?;
    let report = world.kbo.json(&["backup"])?;
    world.note_window("backup", &report);
    let id = text(&report, "id")?;
    world.kbo.expect(0, &["verify", &id])?;
    nodes::recorded(world, &id)?;
    data::unchanged(&world.lab, &digest).context("after the backup")?;

    let broker = world.broker(2);
    data::write_since(&world.lab, 20_000_000)?;
    world.lab.client_run(["delete", "--topic", "zstd"])?;
    world.lab.stop(&broker)?;
    world.lab.wipe_data(&broker)?;
    world.lab.start(&broker)?;
    let report = world.kbo.json(&["restore", &id, "--yes"])?;
    world.note_window("restore", &report);
    world.lab.wait_ready(super::WHOLE)?;
    if data::count(&world.lab, data::SINCE)?.is_some() {
        bail!("a topic that was made after the backup is still there");
    }
    data::unchanged(&world.lab, &digest).context("after the restore")
}

fn stopped_and_interrupted(world: &mut World) -> Result<()> {
    let digest = world.seeded()?;
    let node = world.controller(3);
    world.lab.stop(&node)?;
    let before = nodes::containers(&world.lab)?;
    let mut run = world.kbo.spawn(&["backup"])?;
    run.await_steps(&[format!("stop {}", world.broker(3)), format!("stop {}", world.broker(2))])?;
    run.interrupt()?;
    run.end()?.expect(130)?;
    nodes::as_found(&world.lab, &before)?;
    world.lab.start(&node)?;
    world.lab.wait_ready(super::WHOLE)?;
    data::unchanged(&world.lab, &digest)
}

fn killed(world: &mut World) -> Result<()> {
    let digest = world.seeded()?;
    let before = nodes::containers(&world.lab)?;
    let mut run = world.kbo.spawn(&["backup"])?;
    run.await_steps(&[format!("stop {}", world.broker(3)), format!("stop {}", world.broker(2))])?;
    run.kill()?;
    world.kbo.expect(0, &["recover"])?;
    nodes::as_found(&world.lab, &before)?;
    world.lab.wait_ready(super::WHOLE)?;
    data::unchanged(&world.lab, &digest)
}
