//! Rotation and pins over backups of a real cluster.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::kbo::Kbo;
use super::world::{find, text};
use super::{Case, World, nodes};

pub(super) const CASES: &[Case] = &[Case::new(
    "old_backups_go_after_a_good_one_and_never_the_pinned_or_the_last",
    rotated,
)];

fn rotated(world: &mut World) -> Result<()> {
    let store = world.kbo.scratch().join("rotated-store");
    let kbo = world.kbo.with("KBO_STORAGE_COLD", store.clone());
    let before = nodes::containers(&world.lab)?;
    let first = text(&kbo.json(&["backup", "--only", "config"])?, "id")?;
    nodes::untouched(&world.lab, &before).context("after a backup of the configuration")?;
    let forty = twin(&store, &first, 40)?;
    let fifty = twin(&store, &first, 50)?;
    let sixty = twin(&store, &first, 60)?;
    kbo.expect(0, &["verify", "--all"])?;
    kbo.expect(0, &["pin", &sixty, "--reason", "before the upgrade"])?;

    let told = kbo.json(&["rotate", "--dry-run"])?;
    holds(&kbo, &[&first, &forty, &fifty, &sixty]).with_context(|| format!("after a dry run: {told}"))?;

    // A backup that fails removes nothing.
    let node = world.broker(3);
    let away = kbo.configured(elsewhere(world, &node)?);
    away.with("KBO_STORAGE_COLD", store.clone())
        .expect(3, &["backup", "--only", "config"])?;
    holds(&kbo, &[&first, &forty, &fifty, &sixty]).context("after a refused backup")?;

    let report = kbo.json(&["backup", "--only", "config"])?;
    let second = text(&report, "id")?;
    holds(&kbo, &[&first, &second, &sixty]).with_context(|| format!("after a good backup: {report}"))?;

    // By hand: into rotated/ it is one of many again, but a removed folder is no last good backup.
    let pinned = find(&store, &sixty).with_context(|| format!("{sixty} is nowhere"))?;
    let shown = pinned.display().to_string();
    if !shown.contains("/pinned/") {
        bail!("the pinned backup is in {shown}");
    }
    let unpinned = shown.replace("/pinned/", "/rotated/");
    let parent = Path::new(&unpinned).parent().context("no parent")?;
    fs::create_dir_all(parent)?;
    fs::rename(&pinned, &unpinned)?;
    kbo.expect(0, &["rotate"])?;
    holds(&kbo, &[&first, &second])?;

    // Exported, removed, imported: the file alone brings it back.
    let file = store.with_file_name("exported.tar").display().to_string();
    kbo.expect(0, &["export", &second, &file, "--force"])?;
    let folder = find(&store, &second).with_context(|| format!("{second} is nowhere"))?;
    fs::remove_dir_all(&folder)?;
    kbo.expect(0, &["import", &file])?;
    holds(&kbo, &[&first, &second])?;
    kbo.expect(0, &["verify", "--all"])?;
    from_the_future(&kbo, &store, &[&first, &second]).context("after a clock that was ahead")
}

/// A clock that was two months ahead has left a backup, and is right again: by which of the two times others are too old is not for
/// kbo to say.
fn from_the_future(kbo: &Kbo, store: &Path, before: &[&str]) -> Result<()> {
    let newest = before.last().context("a backup")?;
    let (future, old) = (twin(store, newest, -60)?, twin(store, newest, 40)?);
    for command in [&["rotate"][..], &["--json", "backup", "--only", "config"]] {
        kbo.expect(7, command)?.says("clock")?;
    }
    let listed = kbo.json(&["list"])?;
    let all = listed.as_array().map_or(0, Vec::len);
    if all != before.len() + 3 {
        bail!("{all} backups are left where nothing may be rotated: {listed}");
    }
    for id in [&future, &old] {
        let folder = find(store, id).with_context(|| format!("{id} is nowhere"))?;
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

/// Insists on what the store lists.
fn holds(kbo: &Kbo, wanted: &[&str]) -> Result<()> {
    let listed = kbo.json(&["list"])?;
    let ids: BTreeSet<&str> = listed
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|row| row["id"].as_str())
        .collect();
    if ids != wanted.iter().copied().collect() {
        bail!("the store holds {ids:?}, not {wanted:?}");
    }
    Ok(())
}

/// A configuration in which one node is where nobody is.
fn elsewhere(world: &World, node: &str) -> Result<std::path::PathBuf> {
    let text = fs::read_to_string(world.lab.config_path()).context("cannot read kbo.toml")?;
    let ip = &world
        .lab
        .nodes()
        .iter()
        .find(|other| other.name == node)
        .context("no such node")?
        .ip;
    let path = world.kbo.scratch().join("elsewhere.toml");
    fs::write(
        &path,
        text.replace(&format!("host = \"{ip}\""), "host = \"127.0.0.1\"\nport = 1"),
    )?;
    Ok(path)
}

/// A copy of a backup as it would be had it been made so many days earlier.
fn twin(store: &Path, id: &str, days: i32) -> Result<String> {
    let folder = find(store, id).with_context(|| format!("{id} is nowhere"))?;
    let at = |format: &str| -> Result<String> {
        let date = format!(
            "{}-{}-{} {}:{}:{} UTC {:+} days",
            &id[..4],
            &id[4..6],
            &id[6..8],
            &id[9..11],
            &id[11..13],
            &id[13..15],
            -days
        );
        let output = Command::new("date").args(["--utc", "--date", &date, format]).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let other = at("+%Y%m%dT%H%M%SZ")?;
    let target = store.join("config/rotated").join(at("+%Y/%m/%d")?).join(&other);
    fs::create_dir_all(&target)?;
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        fs::copy(&path, target.join(path.file_name().context("no name")?))?;
    }
    let manifest = target.join("manifest.json");
    let mut document: Value = serde_json::from_slice(&fs::read(&manifest)?)?;
    document["id"] = json!(other);
    document["created"] = json!(at("+%Y-%m-%dT%H:%M:%SZ")?);
    document["committed"] = json!(at("+%Y-%m-%dT%H:%M:%SZ")?);
    fs::write(&manifest, serde_json::to_vec_pretty(&document)?)?;
    let sums = Command::new("sh")
        .args(["-c", "sha256sum manifest.json *.tar.zst > SHA256SUMS"])
        .current_dir(&target)
        .status()?;
    if !sums.success() {
        bail!("sha256sum: {sums}");
    }
    Ok(other)
}
