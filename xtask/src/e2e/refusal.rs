//! Configuration alone, and everything that must be refused before anything is touched.

use std::fs;
use std::time::Duration;

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
    Case::new("a_backup_of_less_than_the_cluster_is_refused", less_than_the_cluster),
    Case::new(
        "a_container_that_its_engine_removes_is_refused_by_name",
        removed_by_engine,
    ),
    Case::new("a_killed_broker_is_refused_or_backed_up_as_degraded", killed_broker),
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
    // SHA256SUMS vouches for the manifest.
    let sums = std::process::Command::new("sh")
        .args([
            "-c",
            "sha256sum $(awk '{print $2}' SHA256SUMS) > sums && mv sums SHA256SUMS",
        ])
        .current_dir(manifest.parent().context("a manifest lies in a folder")?)
        .status()?;
    if !sums.success() {
        bail!("cannot write SHA256SUMS anew");
    }
    let before = nodes::containers(&world.lab)?;
    let kbo = world.kbo.with("KBO_STORAGE_COLD", &store);
    kbo.expect(3, &["restore", &id, "--yes"])?
        .says("AAAAAAAAAAAAAAAAAAAAAA")?;
    nodes::untouched(&world.lab, &before)?;
    fs::remove_dir_all(&store).context("cannot remove the copied store")
}

/// A broker, a log dir and a metadata.log.dir that kbo.toml lacks.
fn less_than_the_cluster(world: &mut World) -> Result<()> {
    world.seeded()?;
    let before = nodes::containers(&world.lab)?;
    let text = fs::read_to_string(world.lab.config_path()).context("cannot read kbo.toml")?;
    let Some((rest, forgotten)) = text.rsplit_once("\n[[node]]\n") else {
        bail!("kbo.toml has no nodes");
    };
    let path = world.kbo.scratch().join("forgotten.toml");
    fs::write(&path, rest)?;
    let kbo = world.kbo.configured(path);
    let id = world.lab.nodes().len();
    for command in ["check", "backup"] {
        kbo.expect(3, &[command])?
            .says(&format!("the broker {id} "))
            .with_context(|| format!("left out: {forgotten}"))?
            .says(&format!("node_id = {id}"))?;
    }

    // What Kafka's configuration says counts at its next start, and so for the backup.
    let node = world.broker(1);
    let file = world.lab.config_dir(&node)?.join("server.properties");
    let was = fs::read_to_string(&file)?;
    let Some(line) = was.lines().find(|line| line.starts_with("log.dirs=")) else {
        bail!("{} has no log.dirs", file.display());
    };
    let parent = line
        .trim_start_matches("log.dirs=")
        .rsplit_once('/')
        .map_or("", |(parent, _)| parent);
    fs::write(
        &file,
        was.replace(
            line,
            &format!("{line},{parent}/data/logs2\nmetadata.log.dir={parent}/nowhere/meta"),
        ),
    )?;
    for command in ["check", "backup"] {
        let ran = world.kbo.expect(3, &[command]);
        let told = ran.and_then(|ran| {
            ran.says("log.dirs of its Kafka names")?
                .says("metadata.log.dir of its Kafka names")
        });
        if told.is_err() {
            fs::write(&file, &was)?;
        }
        told?;
    }
    fs::write(&file, was)?;
    world.kbo.expect(0, &["check"])?;
    nodes::untouched(&world.lab, &before)
}

/// With `docker run --rm` a stop would be the container's end.
fn removed_by_engine(world: &mut World) -> Result<()> {
    let node = world.broker(3);
    let image = nodes::docker(&world.lab, &node, &["inspect", "--format", "{{.Config.Image}}", &node])?;
    let run = [
        "run",
        "--detach",
        "--rm",
        "--name",
        "brief",
        "--network",
        "none",
        "--entrypoint",
        "sleep",
    ];
    nodes::docker(&world.lab, &node, &[&run[..], &[image.trim(), "600"]].concat())?;
    let before = nodes::containers(&world.lab)?;
    let text = fs::read_to_string(world.lab.config_path()).context("cannot read kbo.toml")?;
    let path = world.kbo.scratch().join("brief.toml");
    let named = format!("\nname = {node:?}\n");
    fs::write(&path, text.replace(&named, &format!("{named}container = \"brief\"\n")))?;
    let kbo = world.kbo.configured(path);
    let told = ["check", "backup"]
        .iter()
        .try_for_each(|command| kbo.expect(3, &[command])?.says("--rm").map(drop));
    nodes::docker(&world.lab, &node, &["rm", "--force", "brief"])?;
    told?;
    nodes::untouched(&world.lab, &before)
}

/// Killed and left: refused, for every night the outage would be for nothing; accepted, the backup says what was not whole.
fn killed_broker(world: &mut World) -> Result<()> {
    let digest = world.seeded()?;
    let node = world.broker(3);
    nodes::docker(&world.lab, &node, &["kill", &node])?;
    nodes::wait_until("the controllers have fenced it", Duration::from_secs(60), || {
        let ran = world.kbo.run(&["check"])?;
        Ok(ran.stdout.contains("under-replicated") || ran.stderr.contains("under-replicated"))
    })?;
    let before = nodes::containers(&world.lab)?;
    for command in ["check", "backup"] {
        world
            .kbo
            .expect(3, &[command])?
            .says("did not stop cleanly")?
            .says("--allow-degraded")?;
    }
    nodes::untouched(&world.lab, &before)?;
    let report = world.kbo.json(&["backup", "--allow-degraded"])?;
    world.note_window("degraded", &report);
    let id = text(&report, "id")?;
    if world.manifest(&id)?["degraded"].as_array().is_none_or(Vec::is_empty) {
        bail!("the manifest does not say that it is degraded");
    }
    world.kbo.expect(0, &["show", &id])?.says("degraded   partitions")?;
    world.kbo.expect(0, &["list"])?.says("degraded: ")?;
    world.kbo.expect(0, &["start"])?;
    world.lab.wait_ready(super::WHOLE)?;
    world.kbo.expect(0, &["check"])?;
    super::data::unchanged(&world.lab, &digest)
}
