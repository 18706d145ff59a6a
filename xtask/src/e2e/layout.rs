//! Log dirs laid out otherwise: partitions in one directory, the metadata log in one of its own.

use std::fs;

use anyhow::{Context, Result, bail};

use super::kbo::Kbo;
use super::nodes::wait_until;
use super::store::system;
use super::world::text;
use super::{Case, World, data};

pub(super) const CASES: &[Case] = &[Case::new(
    "nodes_whose_metadata_log_has_a_directory_of_its_own_are_backed_up_and_restored",
    parted,
)];

const WHOLE: &str = "/data/cluster/data";
const LOGS: &str = "/data/cluster/data/logs";
const META: &str = "/data/cluster/data/meta";
const MORE: &str = "/data/cluster/data/more";

fn parted(world: &mut World) -> Result<()> {
    let backup = world.full()?;
    world.kbo.expect(0, &["stop"])?;
    let kbo = part(world)?;
    kbo.expect(0, &["format", "--yes-delete-data", world.lab.cluster_name()])?;
    kbo.expect(0, &["run", "--recreate"])?;
    data::write_since(&world.lab, 5_000_000)?;
    let before = data::count(&world.lab, data::SINCE)?;
    let report = kbo.json(&["backup"])?;
    world.note_window("backup", &report);
    let id = text(&report, "id")?;
    kbo.expect(0, &["verify", &id])?;
    world.lab.client_run(["delete", "--topic", data::SINCE])?;
    let report = kbo.json(&["restore", &id, "--yes"])?;
    world.note_window("restore", &report);
    world.lab.wait_ready(super::WHOLE)?;
    let after = data::count(&world.lab, data::SINCE)?;
    if before != after || after.is_none_or(|count| count == 0) {
        bail!("the topic has {after:?} records after the restore, had {before:?}");
    }

    offline(world, &kbo).context("an offline log dir")?;

    kbo.expect(0, &["stop"])?;
    world.kbo.expect(0, &["run", "--recreate", "--no-start"])?;
    world.kbo.expect(0, &["restore", &backup.id, "--yes"])?;
    world.kbo.expect(0, &["start"])?;
    world.lab.wait_ready(super::WHOLE)?;
    data::unchanged(&world.lab, &backup.digest)
}

/// A log dir that a broker has given up: refused, for every night the outage would be for nothing; accepted, the backup says so.
fn offline(world: &World, kbo: &Kbo) -> Result<()> {
    let node = world.broker(3);
    let dir = world.lab.data_path(&node)?.join("more");
    let dir = dir.display().to_string();
    // No new partition can be made there.
    system(&["chattr", "+i", &dir])?;
    let told = world
        .lab
        .client_run([
            "create",
            "--topic",
            "nowhere",
            "--partitions",
            "12",
            "--replication",
            "3",
        ])
        .and_then(|_| {
            wait_until("the broker has given the directory up", super::WHOLE, || {
                Ok(kbo.run(&["check"])?.says("offline").is_ok())
            })
        })
        .and_then(|()| {
            for command in ["check", "backup"] {
                kbo.expect(3, &[command])?.says(MORE)?.says("--allow-degraded")?;
            }
            let id = text(&kbo.json(&["backup", "--allow-degraded"])?, "id")?;
            kbo.expect(0, &["show", &id])?.says("degraded")
        });
    system(&["chattr", "-i", &dir])?;
    told.map(drop)
}

/// Every node's properties with three directories, and a configuration that knows them.
fn part(world: &World) -> Result<Kbo> {
    for node in world.lab.nodes() {
        let path = world.lab.config_dir(&node.name)?.join("server.properties");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let text = text.replace(
            &format!("log.dirs={WHOLE}\n"),
            &format!("log.dirs={LOGS},{MORE}\nmetadata.log.dir={META}\n"),
        );
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        for dir in ["logs", "more", "meta"] {
            let path = world.lab.data_path(&node.name)?.join(dir);
            fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
            std::os::unix::fs::chown(&path, Some(1000), Some(1000))?;
        }
    }
    let text = fs::read_to_string(world.lab.config_path()).context("cannot read kbo.toml")?;
    let both = format!("[{LOGS:?}, {MORE:?}, {META:?}]");
    let text = text
        .replace(&format!("\ndata = {WHOLE:?}\n"), &format!("\ndata = {both}\n"))
        .replace(&format!("data_mount = {WHOLE:?}"), &format!("data_mount = {both}"))
        .replace(&format!("{WHOLE}/meta.properties"), &format!("{LOGS}/meta.properties"));
    let path = world.kbo.scratch().join("parted.toml");
    fs::write(&path, text).context("cannot write kbo.toml")?;
    Ok(world.kbo.configured(path))
}
