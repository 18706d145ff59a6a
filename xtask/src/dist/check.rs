//! The package in a clean Debian: installed, run, checked and removed.

use anyhow::{Context, Result, bail};

use super::Made;
use crate::{lab, say};

/// What is tried in the container; `$1` is the version. Whatever fails ends it, and its last line says at what.
const SCRIPT: &str = include_str!("check.sh");

pub(super) fn installed(made: &Made) -> Result<()> {
    say("dist: installing the package in a clean container");
    let mounts = [
        (made.deb.as_path(), "/dist/kbo.deb"),
        (made.tree.as_path(), "/dist/tree"),
    ];
    let output = lab::in_debian(&mounts, SCRIPT, &[env!("CARGO_PKG_VERSION")])?;
    if !output.status.success() {
        let said = format!("{}{}", output.stdout, output.stderr);
        bail!("the package does not do ({}):\n{}", output.status, said.trim());
    }
    let verdict = output.stdout.lines().last().context("the container said nothing")?;
    say(&format!("dist: {verdict}"));
    Ok(())
}
