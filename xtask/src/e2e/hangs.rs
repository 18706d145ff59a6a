//! Disks and engines that hang in the window: the cluster is up again, all but the node that hangs.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::kbo::{Kbo, Running};
use super::nodes::{self, wait_until};
use super::store::system;
use super::{Case, World, data};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "a_store_and_a_log_that_freeze_in_the_window_keep_the_cluster_down_no_longer_than_their_deadline",
        frozen_store,
    ),
    Case::new(
        "an_engine_that_never_answers_keeps_no_other_node_down_and_a_second_ctrl_c_ends_within_seconds",
        silent_engine,
    ),
    Case::new(
        "a_node_whose_disk_freezes_keeps_no_other_node_down_and_comes_back_after_the_thaw",
        frozen_node,
    ),
];

/// Freezes a filesystem until it is dropped. Should these tests be killed, it thaws by itself: nothing else on the machine must wait
/// for it for ever.
struct Frozen(String);

impl Frozen {
    fn freeze(mount: &str) -> Result<Self> {
        let thaw = format!("sleep 300; exec fsfreeze --unfreeze '{mount}'");
        let later = Command::new("sh")
            .args(["-c", &thaw])
            .stderr(std::process::Stdio::null())
            .spawn();
        later.context("cannot start what thaws the disk in any case")?;
        system(&["fsfreeze", "--freeze", mount])?;
        Ok(Self(mount.to_owned()))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = system(&["fsfreeze", "--unfreeze", &self.0]);
    }
}

/// A filesystem of its own, which goes whatever happens.
struct Disk(String);

impl Disk {
    fn mounted(world: &World, name: &str) -> Result<Self> {
        let (image, mount) = (
            world.kbo.scratch().join(format!("{name}.img")),
            world.kbo.scratch().join(name),
        );
        std::fs::create_dir_all(&mount)?;
        std::fs::File::create(&image)?.set_len(4 << 30)?;
        let (image, mount) = (image.display().to_string(), mount.display().to_string());
        system(&["mkfs.ext4", "-q", "-F", &image])?;
        system(&["mount", "-o", "loop", &image, &mount])?;
        Ok(Self(mount))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for _ in 0..100 {
            if system(&["umount", &self.0]).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn frozen_store(world: &mut World) -> Result<()> {
    let digest = world.seeded()?;
    let before = nodes::containers(&world.lab)?;
    let disk = Disk::mounted(world, "frozen-store")?;
    let kbo = world
        .kbo
        .with("KBO_STORAGE_COLD", &disk.0)
        .with("KBO_LOG_FILE", format!("{}/kbo.log", disk.0))
        .with("KBO_LIMITS_STORE_TIMEOUT_SECONDS", "5");
    let mut run = kbo.spawn(&["backup"])?;
    run.await_steps(&[format!("stop {}", world.broker(3))])?;
    let frozen = Frozen::freeze(&disk.0)?;
    // The disk stays frozen until the run has ended, and the cluster is up again.
    run.end()?
        .expect(1)?
        .says("hangs: no answer within 5 s")?
        .says("could not be recorded")?
        .says("kbo recover")?
        .says("the last lines may be missing there")?;
    nodes::as_found(&world.lab, &before).context("while the store is frozen")?;
    kbo.expect(6, &["backup"])?.says("waits for the store's disk")?;
    drop(frozen);
    let listed = kbo.json(&["list"])?;
    if listed.as_array().is_none_or(|backups| !backups.is_empty()) {
        bail!("a backup that was given up is listed after the thaw: {listed}");
    }
    kbo.expect(0, &["backup", "--wait", "60"])?.says("a run died")?;
    kbo.expect(0, &["verify", "latest"])?;
    drop(disk);
    data::unchanged(&world.lab, &digest)
}

/// A kbo that does not wait long for nodes.
fn impatient(world: &World) -> Kbo {
    world
        .kbo
        .with("KBO_LIMITS_NODE_TIMEOUT_SECONDS", "5")
        .with("KBO_KAFKA_READY_TIMEOUT_SECONDS", "40")
}

/// Insists that all nodes run but one, which is not asked.
fn all_up_but(world: &World, hung: &str) -> Result<()> {
    for node in world.lab.nodes().iter().filter(|node| node.name != hung) {
        let format = "{{.State.Status}}";
        let status = nodes::docker(&world.lab, &node.name, &["inspect", "--format", format, &node.name])?;
        if status.trim() != "running" {
            bail!("{} is {} while {hung} hangs", node.name, status.trim());
        }
    }
    Ok(())
}

/// Asks twice for the end, and insists that it comes within seconds and calls for a person.
fn interrupted_twice(run: Running, hung: &str) -> Result<()> {
    let begun = Instant::now();
    run.interrupt()?;
    // Two signals at once are one.
    run.await_text("interrupted: finishing the step")?;
    run.interrupt()?;
    run.end()?.expect(4)?.says(hung)?.says("kbo recover")?;
    if begun.elapsed() > Duration::from_secs(15) {
        bail!("interrupted twice, it ended after {} s", begun.elapsed().as_secs());
    }
    Ok(())
}

fn silent_engine(world: &mut World) -> Result<()> {
    let digest = world.seeded()?;
    let node = world.broker(2);
    let mut run = impatient(world).spawn(&["backup"])?;
    run.await_steps(&[format!("stop {node}")])?;
    // It accepts, for the kernel does, and never answers.
    let signal = |name: &str| world.lab.exec(&node, &["pkill", name, "-x", "dockerd"]);
    signal("-STOP")?;
    let ended = run
        .await_steps(&[format!("start {}", world.broker(3))])
        .and_then(|()| all_up_but(world, &node))
        .and_then(|()| interrupted_twice(run, &node));
    signal("-CONT")?;
    ended?;
    world.kbo.expect(0, &["recover"])?;
    world.lab.wait_ready(super::WHOLE)?;
    data::unchanged(&world.lab, &digest)
}

fn frozen_node(world: &mut World) -> Result<()> {
    let digest = world.seeded()?;
    let node = world.broker(3);
    onto_a_disk(world, &node)?;
    let ended = frozen_in_the_window(world, &node);
    let back = off_the_disk(world, &node);
    ended?;
    back?;
    world.lab.wait_ready(super::WHOLE)?;
    data::unchanged(&world.lab, &digest)
}

fn frozen_in_the_window(world: &World, node: &str) -> Result<()> {
    world.lab.wait_ready(super::WHOLE)?;
    let kbo = impatient(world);
    let mut run = kbo.spawn(&["backup"])?;
    run.await_steps(&[format!("stop {node}")])?;
    let fsfreeze = |action: &str| inside(world, node, &format!("fsfreeze {action} /data/disk"));
    fsfreeze("--freeze")?;
    let ended = run.end().and_then(|ran| {
        all_up_but(world, node)?;
        ran.expect(4)?.says(node)
    });
    fsfreeze("--unfreeze")?;
    ended?;
    world.kbo.expect(0, &["recover"])?;
    wait_until("the node is up after the thaw", super::WHOLE, || {
        Ok(nodes::stopped(&world.lab)? == 0)
    })?;
    world.lab.wait_ready(super::WHOLE)
}

/// Puts a node's directories on a disk of their own.
fn onto_a_disk(world: &World, node: &str) -> Result<()> {
    inside(
        world,
        node,
        &format!(
            "docker stop {node} && truncate -s 4G /data/disk.img && mkfs.ext4 -q -F /data/disk.img && mkdir /data/disk \
             && mount -o loop /data/disk.img /data/disk && cp -a /data/cluster/. /data/disk/ && rmdir /data/disk/lost+found \
             && chown --reference=/data/cluster /data/disk && chmod --reference=/data/cluster /data/disk \
             && mount --bind /data/disk /data/cluster && docker start {node}"
        ),
    )
}

fn off_the_disk(world: &World, node: &str) -> Result<()> {
    inside(
        world,
        node,
        &format!(
            "docker stop {node}; umount /data/cluster && rm -rf /data/cluster/* && cp -a /data/disk/. /data/cluster/ \
             && umount /data/disk && rm -r /data/disk /data/disk.img && docker start {node}"
        ),
    )
}

fn inside(world: &World, node: &str, script: &str) -> Result<()> {
    let output = world.lab.exec(node, &["sh", "-ec", script])?;
    if !output.status.success() {
        bail!("{script} ({node}): {}", output.stderr.trim());
    }
    Ok(())
}
