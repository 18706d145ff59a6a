//! Places where a backup has no room, or cannot be hardlinked.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::world::text;
use super::{Case, World, data, nodes};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "a_store_that_may_have_no_room_is_warned_of_and_one_that_fills_up_leaves_no_backup",
        full_store,
    ),
    Case::new("where_links_fail_the_snapshot_is_copied", copied_snapshot),
];

fn full_store(world: &mut World) -> Result<()> {
    world.seeded()?;
    let mount = world.kbo.scratch().join("small-store");
    std::fs::create_dir_all(&mount)?;
    let target = mount.display().to_string();
    system(&["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", &target])?;
    let outcome = in_small_store(world, &target);
    system(&["umount", &target])?;
    outcome
}

fn in_small_store(world: &World, mount: &str) -> Result<()> {
    let kbo = world.kbo.with("KBO_STORAGE_COLD", mount);
    let before = nodes::containers(&world.lab)?;
    // No earlier backup in this store tells how far the data compress.
    kbo.expect(0, &["check"])?.says("it may not fit")?;
    nodes::untouched(&world.lab, &before).context("after the check")?;

    // Room enough at preflight, and none when the archives are written.
    system(&["mount", "-o", "remount,size=4g", mount])?;
    let mut run = kbo.spawn(&["backup"])?;
    run.await_steps(&[format!("stop {}", world.broker(3)), format!("stop {}", world.broker(2))])?;
    system(&["mount", "-o", "remount,size=4m", mount])?;
    run.end()?.expect(1)?;
    nodes::as_found(&world.lab, &before).context("after the failed backup")?;
    let listed = kbo.json(&["list"])?;
    if listed.as_array().is_none_or(|backups| !backups.is_empty()) {
        bail!("a backup that failed is listed: {listed}");
    }
    Ok(())
}

fn copied_snapshot(world: &mut World) -> Result<()> {
    let digest = world.seeded()?;
    let node = world.broker(3);
    let dir = "/data/cluster/data";
    inside(world, &node, &["mount", "--bind", dir, dir])?;
    let outcome = on_a_mount_point(world);
    inside(world, &node, &["umount", dir])?;
    outcome?;
    data::unchanged(&world.lab, &digest)
}

fn on_a_mount_point(world: &mut World) -> Result<()> {
    let ran = world
        .kbo
        .expect(0, &["--json", "backup", "--only", "data"])?
        .says("cannot be hardlinked")?;
    let report = ran.document()?;
    world.note_window("backup", &report);
    let id = text(&report, "id")?;
    world.kbo.expect(0, &["verify", &id])?;
    let before = nodes::containers(&world.lab)?;
    world.kbo.expect(3, &["restore", &id, "--yes"])?.says("mount point")?;
    nodes::untouched(&world.lab, &before)
}

fn inside(world: &World, node: &str, command: &[&str]) -> Result<()> {
    let output = world.lab.exec(node, command)?;
    if !output.status.success() {
        bail!("{} ({node}): {}", command.join(" "), output.stderr.trim());
    }
    Ok(())
}

pub(super) fn system(command: &[&str]) -> Result<()> {
    let output = Command::new(command[0]).args(&command[1..]).output();
    let output = output.with_context(|| format!("cannot run {}", command[0]))?;
    if !output.status.success() {
        bail!(
            "{}: {}",
            command.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
