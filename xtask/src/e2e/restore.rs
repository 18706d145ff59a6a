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
    // What was replaced on the node that stayed down is kept, and nothing else; its start proves it.
    let kept = kept_on(&report);
    if kept != [node.as_str()] {
        bail!("replaced data are kept on {kept:?}, and not on {node} alone");
    }
    let started = world.kbo.json(&["start", &node])?;
    if started["discarded"].as_array().map_or(0, Vec::len) != 1 {
        bail!("the start removed nothing of what was kept: {started}");
    }
    there_and_back(world, &id)
}

/// Stopped, restored, gone back to what was there, started: as if nothing had been.
fn there_and_back(world: &mut World, id: &str) -> Result<()> {
    data::write_since(&world.lab, 2_000_000)?;
    let before = (data::digest(&world.lab)?, data::count(&world.lab, data::SINCE)?);
    world.kbo.json(&["stop"])?;
    let restored = world.kbo.json(&["restore", id, "--only", "data", "--yes"])?;
    let kept = kept_on(&restored);
    if kept.len() != 6 {
        bail!("replaced data are kept on {kept:?}, not on six nodes");
    }
    world.kbo.expect(0, &["status"])?.says("kbo previous restore")?;
    let broker = world.broker(1);
    // A sweep is not for what is kept.
    world.kbo.expect(0, &["recover"])?;
    world.kbo.json(&["previous", "restore", "--yes"])?;
    let started = world.kbo.json(&["start"])?;
    if started["discarded"].as_array().map_or(0, Vec::len) != 1 {
        bail!("the start removed nothing of what the return had replaced: {started}");
    }
    world.lab.wait_ready(super::WHOLE)?;
    data::unchanged(&world.lab, &before.0).context("after the return")?;
    let since = data::count(&world.lab, data::SINCE)?;
    if since.is_none() || since != before.1 {
        bail!(
            "{since:?} records are there that were written after the backup, not {:?}",
            before.1
        );
    }
    let beside = std::fs::read_dir(world.lab.data_path(&broker)?.parent().context("no parent")?)?;
    for entry in beside.flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().contains(".until-ready-") {
            bail!("{} is still on {broker}", name.display());
        }
    }
    Ok(())
}

/// The nodes on which a report says that replaced data are kept.
fn kept_on(report: &serde_json::Value) -> Vec<&str> {
    let kept = report["kept"].as_array().into_iter().flatten();
    let dirs = kept.flat_map(|kept| kept["dirs"].as_array().into_iter().flatten());
    let mut nodes: Vec<&str> = dirs.filter_map(|dir| dir["node"].as_str()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}
