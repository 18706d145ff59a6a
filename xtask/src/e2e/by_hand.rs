//! Backups without kbo: system tools alone restore them, and damage to them is found.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::{Case, World, nodes};

pub(super) const CASES: &[Case] = &[
    Case::new("tar_zstd_and_sha256sum_alone_unpack_a_backup", by_hand),
    Case::new("one_flipped_byte_is_found_and_not_restored", flipped_byte),
];

fn by_hand(world: &mut World) -> Result<()> {
    let backup = world.full()?;
    let folder = world.folder(&backup.id)?;
    let summed = Command::new("sha256sum")
        .args(["--strict", "--quiet", "-c", "SHA256SUMS"])
        .current_dir(&folder)
        .output()?;
    if !summed.status.success() {
        bail!("sha256sum: {}", String::from_utf8_lossy(&summed.stdout));
    }
    let name = format!("{}.data.tar.zst", world.broker(1));
    let target = world.kbo.scratch().join("by-hand");
    fs::create_dir_all(&target)?;
    unpack(&folder.join(&name), &target)?;

    let manifest = world.manifest(&backup.id)?;
    let archives = manifest["archives"]
        .as_array()
        .context("the manifest has no archives")?;
    let archive = archives
        .iter()
        .find(|archive| archive["name"] == *name)
        .context("the manifest lacks the archive")?;
    let files = archive["files"].as_array().context("the archive has no files")?;
    let mut sums = String::new();
    for file in files.iter().filter(|file| file["type"] == "file") {
        let (sum, path) = (
            file["sha256"].as_str().unwrap_or("-"),
            file["path"].as_str().unwrap_or("-"),
        );
        sums.push_str(&format!("{sum}  {path}\n"));
    }
    let count = sums.lines().count();
    if count < 50 {
        bail!("{name} has only {count} files");
    }
    let list = world.kbo.scratch().join("by-hand.sums");
    fs::write(&list, sums)?;
    let summed = Command::new("sha256sum")
        .args(["--strict", "--quiet", "-c"])
        .arg(&list)
        .current_dir(&target)
        .output()?;
    if !summed.status.success() {
        bail!("sha256sum: {}", String::from_utf8_lossy(&summed.stdout));
    }
    world.note(format!("{count} files"));
    fs::remove_dir_all(&target).context("cannot remove what was unpacked")
}

/// `zstd -dc ARCHIVE | tar -x`
fn unpack(archive: &Path, target: &Path) -> Result<()> {
    let mut zstd = Command::new("zstd")
        .arg("-dc")
        .arg(archive)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run zstd")?;
    let stream = zstd.stdout.take().context("zstd has no stdout")?;
    let tar = Command::new("tar")
        .args(["-x", "--numeric-owner", "-p", "-C"])
        .arg(target)
        .stdin(stream)
        .status()?;
    if !zstd.wait()?.success() || !tar.success() {
        bail!("zstd and tar cannot unpack {}", archive.display());
    }
    Ok(())
}

fn flipped_byte(world: &mut World) -> Result<()> {
    let backup = world.full()?;
    let name = format!("{}.data.tar.zst", world.broker(1));
    let archive = world.folder(&backup.id)?.join(&name);
    let before = nodes::containers(&world.lab)?;
    let middle = fs::metadata(&archive)?.len() / 2;
    flip(&archive, middle)?;
    let outcome = refused(world, &backup.id, &name);
    flip(&archive, middle)?;
    outcome?;
    nodes::untouched(&world.lab, &before)?;
    world.kbo.expect(0, &["verify", &backup.id]).map(drop)
}

fn refused(world: &World, id: &str, archive: &str) -> Result<()> {
    let verified = world.kbo.expect(5, &["verify", id])?.says(archive)?;
    let names_a_file = verified
        .stderr
        .lines()
        .any(|line| line.contains(archive) && line.contains(".log"));
    if !names_a_file {
        bail!("verify does not name a file of the damaged archive");
    }
    world
        .kbo
        .expect(1, &["restore", id, "--yes"])?
        .says(&archive.replace(".data.tar.zst", ""))
        .map(drop)
}

fn flip(path: &Path, at: u64) -> Result<()> {
    let mut byte = [0];
    let mut file: File = OpenOptions::new().read(true).write(true).open(path)?;
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut byte)?;
    file.seek(SeekFrom::Start(at))?;
    file.write_all(&[byte[0] ^ 0x10])?;
    file.sync_all()
        .with_context(|| format!("cannot write {}", path.display()))
}
