//! `cargo xtask tidy`: rules that no compiler checks, as code.

mod crates;
mod files;
mod troubleshooting;

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::lab;

/// Check, and print every finding.
///
/// # Errors
///
/// Fails when something is not as it should be.
pub fn run() -> Result<ExitCode> {
    check()?;
    crate::say("tidy: all is well");
    Ok(ExitCode::SUCCESS)
}

/// Check everything; the findings are printed.
pub(crate) fn check() -> Result<()> {
    let root = lab::workspace()?;
    let mut findings = crates::check(&root)?;
    let tracked = tracked(&root)?;
    findings.extend(files::check(&root, &tracked)?);
    findings.extend(troubleshooting::check(&root, &tracked)?);
    for finding in &findings {
        crate::say(&format!("tidy: {finding}"));
    }
    if !findings.is_empty() {
        bail!("{} findings", findings.len());
    }
    Ok(())
}

/// The files that belong to the project, as git has them and as far as they are there.
fn tracked(root: &Path) -> Result<Vec<String>> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output();
    let output = output.context("cannot run git")?;
    if !output.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let names = String::from_utf8(output.stdout).context("a file's name is no UTF-8")?;
    let present = names
        .split('\0')
        .filter(|name| !name.is_empty() && root.join(name).is_file());
    Ok(present.map(str::to_owned).collect())
}
