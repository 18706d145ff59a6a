//! Lost disks, stopped and killed nodes, data alone.

use anyhow::{Context, Result, bail};

use super::world::text;
use super::{Case, World, data, nodes};

pub(super) const CASES: &[Case] = &[
    Case::new("a_wiped_broker_and_a_wiped_controller_come_back", wiped),
    Case::new("a_stopped_node_stays_stopped_and_data_alone_is_restored", stopped_node),
];

fn wiped(world: &mut World) -> Result<()> {
    let backup = world.full()?;
    let (broker, controller) = (world.broker(2), world.controller(3));
    data::write_since(&world.lab, 1_000_000)?;
    // The broker's container comes up on its empty disk and formats it; the controller's stays down.
    for node in [&broker, &controller] {
        world.lab.stop(node)?;
        world.lab.wipe_data(node)?;
    }
    world.lab.start(&broker)?;
    let before = nodes::containers(&world.lab)?;
    let report = world.kbo.json(&["restore", &backup.id, "--yes"])?;
    world.note_window("restore", &report);
    nodes::as_found(&world.lab, &before).context("after the restore")?;
    world.kbo.json(&["start", &controller])?;
    world.lab.wait_ready(super::WHOLE)?;
    for node in [&broker, &controller] {
        if !world.lab.list_data(node)?.iter().any(|name| name == "meta.properties") {
            bail!("{node} has no meta.properties");
        }
    }
    data::unchanged(&world.lab, &backup.digest)?;
    if data::count(&world.lab, data::SINCE)?.is_some() {
        bail!("a topic that was made after the backup is still there");
    }
    Ok(())
}

fn stopped_node(world: &mut World) -> Result<()> {
    let digest = world.seeded()?;
    let node = world.controller(3);
    world.lab.stop(&node)?;
    let before = nodes::containers(&world.lab)?;
    let ran = world.kbo.expect(0, &["--json", "backup", "--only", "data"])?;
    nodes::as_found(&world.lab, &before).context("after the backup")?;
    let report = ran.document()?;
    ran.says(&format!("the container {node} is stopped"))?;
    let id = text(&report, "id")?;
    let archives = world.manifest(&id)?["archives"].as_array().map_or(0, Vec::len);
    if archives != 6 {
        bail!("the backup holds the data of {archives} nodes, not of six");
    }
    data::write_since(&world.lab, 2_000_000)?;
    world.lab.client_run(["delete", "--topic", "lz4"])?;
    let report = world.kbo.json(&["restore", &id, "--only", "data", "--yes"])?;
    world.note_window("restore", &report);
    nodes::as_found(&world.lab, &before).context("after the restore")?;
    data::unchanged(&world.lab, &digest)?;
    world.lab.start(&node)
}
