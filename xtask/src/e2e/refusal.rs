//! Configuration alone, and everything that must be refused before anything is touched.

use std::fs;

use anyhow::{Context, Result, bail};

use super::world::{find, text};
use super::{Case, World, nodes};

pub(super) const CASES: &[Case] = &[
    Case::new("an_unknown_host_key_is_refused_with_its_fingerprint", unknown_host_key),
    Case::new("a_wrong_cluster_id_is_refused", wrong_cluster_id),
    Case::new("a_user_without_rights_is_refused_and_one_with_sudo_is_not", plain_user),
    Case::new(
        "configuration_is_backed_up_without_a_stop_and_restored_alone",
        config_only,
    ),
    Case::new("a_backup_of_another_cluster_is_refused", other_cluster),
];

fn unknown_host_key(world: &mut World) -> Result<()> {
    let before = nodes::containers(&world.lab)?;
    let empty = world.kbo.scratch().join("known_hosts");
    fs::write(&empty, "")?;
    let kbo = world.kbo.with("KBO_SSH_KNOWN_HOSTS", &empty);
    for command in ["backup", "check"] {
        kbo.expect(3, &[command])?.says("SHA256:")?;
    }
    nodes::untouched(&world.lab, &before)
}

fn wrong_cluster_id(world: &mut World) -> Result<()> {
    let before = nodes::containers(&world.lab)?;
    let kbo = world.kbo.with("KBO_CLUSTER_ID", "AAAAAAAAAAAAAAAAAAAAAA");
    kbo.expect(3, &["backup"])?
        .says(world.lab.cluster_id())?
        .says("AAAAAAAAAAAAAAAAAAAAAA")?;
    nodes::untouched(&world.lab, &before)
}

fn plain_user(world: &mut World) -> Result<()> {
    let before = nodes::containers(&world.lab)?;
    let plain = world.kbo.with("KBO_SSH_USER", "ops");
    plain.expect(3, &["check"])?;
    let become_root = plain.with("KBO_SSH_BECOME", "true");
    become_root.expect(0, &["check"])?;
    become_root.json(&["backup", "--only", "config"])?;
    nodes::untouched(&world.lab, &before)
}

fn config_only(world: &mut World) -> Result<()> {
    let digest = world.seeded()?;
    let before = nodes::containers(&world.lab)?;
    let report = world.kbo.json(&["backup", "--only", "config"])?;
    let id = text(&report, "id")?;
    nodes::untouched(&world.lab, &before).context("a backup of configuration touched the cluster")?;
    if !report["window_seconds"].is_null() {
        bail!("a backup of configuration had a window");
    }
    world.kbo.expect(0, &["verify", &id])?;

    let dir = world.lab.config_dir(&world.broker(2))?;
    let file = dir.join("server.properties");
    let was = fs::read(&file)?;
    fs::write(&file, [&was[..], b"# changed\nlog.retention.hours=1\n"].concat())?;
    fs::write(dir.join("added.properties"), "a=b\n")?;
    let report = world.kbo.json(&["restore", &id, "--only", "config", "--yes"])?;
    world.note_window("restore", &report);
    if fs::read(&file)? != was {
        bail!("{} was not restored", file.display());
    }
    if dir.join("added.properties").exists() {
        bail!("a file that was added since the backup is still there");
    }
    super::data::unchanged(&world.lab, &digest)
}

fn other_cluster(world: &mut World) -> Result<()> {
    let report = world.kbo.json(&["backup", "--only", "config"])?;
    let id = text(&report, "id")?;
    // The same backup in a store of its own, as if it were of another cluster.
    let store = world.kbo.scratch().join("other-store");
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(world.lab.dir().join("store"))
        .arg(&store)
        .status()?;
    if !copied.success() {
        bail!("cannot copy the store");
    }
    let manifest = find(&store, &id)
        .context("the copied store has no such backup")?
        .join("manifest.json");
    let changed = fs::read_to_string(&manifest)?.replace(world.lab.cluster_id(), "AAAAAAAAAAAAAAAAAAAAAA");
    fs::write(&manifest, changed)?;
    let before = nodes::containers(&world.lab)?;
    let kbo = world.kbo.with("KBO_STORAGE_COLD", &store);
    kbo.expect(3, &["restore", &id, "--yes"])?
        .says("AAAAAAAAAAAAAAAAAAAAAA")?;
    nodes::untouched(&world.lab, &before)?;
    fs::remove_dir_all(&store).context("cannot remove the copied store")
}
