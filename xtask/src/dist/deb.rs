//! The Debian package, by cargo-deb, of the folder that is handed out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{Target, output, tree};
use crate::{lab, say, test};

/// The version that is installed where there is none.
const CARGO_DEB: &str = "3.8.0";

pub(super) fn make(folder: &Path, from: &Path, target: &Target, epoch: u64) -> Result<PathBuf> {
    let tool = cargo_deb()?;
    // Cargo.toml names one place, whatever the machine.
    let stage = folder.join("stage");
    if stage.exists() {
        fs::remove_dir_all(&stage).with_context(|| format!("cannot empty {}", stage.display()))?;
    }
    tree::copy(from, &stage)?;
    let deb = folder.join(format!("kbo_{}_{}.deb", env!("CARGO_PKG_VERSION"), target.debian));
    let mut command = Command::new(tool);
    // Stripped or not, the program is the one of the archive.
    command.args([
        "--quiet",
        "--package",
        "kbo-cli",
        "--no-build",
        "--no-strip",
        "--compress-system",
    ]);
    command.args(["--target", target.triple, "--output"]).arg(&deb);
    command
        .env("SOURCE_DATE_EPOCH", epoch.to_string())
        .current_dir(lab::workspace()?);
    output(&mut command)?;
    fs::remove_dir_all(&stage).with_context(|| format!("cannot remove {}", stage.display()))?;
    Ok(deb)
}

/// The tool: one that is installed, else an own one below `target`.
fn cargo_deb() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = crate::target_dir()?.join("tools");
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.push(own.join("bin"));
    let find = || {
        folders
            .iter()
            .map(|folder| folder.join("cargo-deb"))
            .find(|file| file.is_file())
    };
    if let Some(tool) = find() {
        return Ok(tool);
    }
    say(&format!(
        "dist: installing cargo-deb {CARGO_DEB} into {} (some minutes, once)",
        own.display()
    ));
    let mut command = test::cargo_command()?;
    // It packs with the system's xz, so it need not be fast itself.
    command.args([
        "install",
        "cargo-deb",
        "--version",
        CARGO_DEB,
        "--locked",
        "--quiet",
        "--debug",
        "--root",
    ]);
    output(command.arg(&own))?;
    find().context("cargo-deb is still missing after its installation")
}
