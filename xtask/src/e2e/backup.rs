//! The main road: a backup while clients write, a disaster, a restore, and nobody can tell.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{Case, World, data, nodes};

pub(super) const CASES: &[Case] = &[Case::new(
    "a_backup_under_load_is_restored_after_100_mb_more_and_a_deleted_topic",
    under_load,
)];

fn under_load(world: &mut World) -> Result<()> {
    let digest = world.seeded()?;
    let before = stamps(world)?;
    let acked_before = data::count(&world.lab, data::LOADED)?.unwrap_or(0);
    let probe = world.lab.probe(data::LOADED)?;
    let report = world.kbo.json(&["backup"])?;
    let probed = probe.finish()?;
    world.note_window("backup", &report);
    world.note(format!(
        "client gap {:.1} s",
        probed["longest_gap_ms"].as_f64().unwrap_or(0.0) / 1000.0
    ));
    if probed["failed"].as_u64() != Some(0) {
        bail!("the client lost records: {probed}");
    }
    let backup = world.remember(&report, digest)?;
    world.kbo.expect(0, &["verify", &backup.id])?;
    nodes::recorded(world, &backup.id)?;
    data::unchanged(&world.lab, &backup.digest).context("after the backup")?;

    data::write_since(&world.lab, 110_000_000)?;
    world.lab.client_run(["delete", "--topic", "gzip"])?;
    let written = loaded_files(world)?;
    let report = world.kbo.json(&["restore", &backup.id, "--yes"])?;
    world.note_window("restore", &report);
    world.lab.wait_ready(super::WHOLE)?;

    data::unchanged(&world.lab, &backup.digest).context("after the restore")?;
    if data::count(&world.lab, data::SINCE)?.is_some() {
        bail!("a topic that was made after the backup is still there");
    }
    is_prefix(&written, &loaded_files(world)?)?;
    let restored = data::count(&world.lab, data::LOADED)?.unwrap_or(0);
    if restored < acked_before {
        bail!("{acked_before} records had been acknowledged before the backup, {restored} are back");
    }
    same_stamps(&before, &stamps(world)?)
}

/// Mode, owner, size and time of a file.
type Stamp = (u32, u32, u32, u64, (i64, i64));

/// The files that Kafka itself does not touch between a backup and its restore: configuration, and segments of quiet topics.
fn stamps(world: &World) -> Result<BTreeMap<PathBuf, Stamp>> {
    let mut found = BTreeMap::new();
    let mut note = |path: PathBuf| -> Result<()> {
        let meta = fs::metadata(&path).with_context(|| format!("cannot look at {}", path.display()))?;
        let stamp = (
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.len(),
            (meta.mtime(), meta.mtime_nsec()),
        );
        found.insert(path, stamp);
        Ok(())
    };
    for node in world.lab.nodes() {
        for path in entries(&world.lab.config_dir(&node.name)?)? {
            note(path)?;
        }
    }
    for node in world.lab.brokers() {
        for dir in entries(&world.lab.data_path(&node.name)?)? {
            if dir
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("plain-"))
            {
                for path in entries(&dir)?
                    .into_iter()
                    .filter(|path| path.extension().is_some_and(|ext| ext == "log"))
                {
                    note(path)?;
                }
            }
        }
    }
    Ok(found)
}

fn same_stamps(before: &BTreeMap<PathBuf, Stamp>, after: &BTreeMap<PathBuf, Stamp>) -> Result<()> {
    for (path, was) in before {
        match after.get(path) {
            Some(is) if is == was => {}
            other => bail!(
                "{}: mode, uid, gid, size, mtime were {was:?}, are {other:?}",
                path.display()
            ),
        }
    }
    if before.len() < 12 {
        bail!("only {} files were compared", before.len());
    }
    Ok(())
}

/// The bytes of the loaded topic: per partition, on every broker.
fn loaded_files(world: &World) -> Result<BTreeMap<String, Vec<Vec<u8>>>> {
    let mut found: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for node in world.lab.brokers() {
        for dir in entries(&world.lab.data_path(&node.name)?)? {
            let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("loaded-") {
                let file = dir.join("00000000000000000000.log");
                let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
                found.entry(name).or_default().push(bytes);
            }
        }
    }
    Ok(found)
}

/// What is restored of the loaded topic is where it began, and the same on all replicas.
fn is_prefix(written: &BTreeMap<String, Vec<Vec<u8>>>, restored: &BTreeMap<String, Vec<Vec<u8>>>) -> Result<()> {
    if written.len() != 3 || written.keys().ne(restored.keys()) {
        bail!(
            "partitions of the loaded topic: {:?} before, {:?} after",
            written.keys(),
            restored.keys()
        );
    }
    for (partition, replicas) in restored {
        let whole = &written[partition][0];
        for replica in replicas {
            if replica != &replicas[0] {
                bail!("the replicas of {partition} differ after the restore");
            }
            if !whole.starts_with(replica) {
                bail!("what is restored of {partition} is not how it began");
            }
        }
        if replicas[0].is_empty() {
            bail!("nothing was restored of {partition}");
        }
    }
    Ok(())
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let read = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    read.map(|entry| Ok(entry?.path())).collect()
}
