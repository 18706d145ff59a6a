//! `cargo xtask reference`: docs/reference, as kbo itself tells it of its commands and keys.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::{lab, say, test};

/// Where the reference lies in the clone.
const FOLDER: &str = "docs/reference";

/// `cargo xtask reference`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write nothing; fail where the files are not what the code says
    #[arg(long)]
    check: bool,
}

/// Write the reference, or compare it.
///
/// # Errors
///
/// Fails when kbo does not build, or when a file differs.
pub fn run(args: &Args) -> Result<ExitCode> {
    if args.check {
        check()?;
        say("reference: as the code says");
    } else {
        generate(&test::kbo_program()?, "reference", &lab::workspace()?.join(FOLDER))?;
        say(&format!("reference: written to {FOLDER}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Have a kbo write what it says of itself.
pub(crate) fn generate(kbo: &Path, what: &str, to: &Path) -> Result<()> {
    let output = Command::new(kbo)
        .args(["generate", what, "--out"])
        .arg(to)
        .output()
        .context("cannot run kbo")?;
    if !output.status.success() {
        bail!(
            "kbo generate {what}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// Fail where a file of the reference is not what the code says.
pub(crate) fn check() -> Result<()> {
    let fresh = crate::target_dir()?.join("reference");
    if fresh.exists() {
        fs::remove_dir_all(&fresh).with_context(|| format!("cannot empty {}", fresh.display()))?;
    }
    generate(&test::kbo_program()?, "reference", &fresh)?;
    let kept = lab::workspace()?.join(FOLDER);
    let mut drift = vec![];
    for name in names(&fresh)? {
        let said = fs::read_to_string(fresh.join(&name)).with_context(|| format!("cannot read {name}"))?;
        let written = fs::read_to_string(kept.join(&name)).unwrap_or_default();
        drift.extend(difference(&said, &written).map(|place| format!("{FOLDER}/{name}, {place}")));
    }
    let made = names(&fresh)?;
    let stale = names(&kept)
        .unwrap_or_default()
        .into_iter()
        .filter(|name| !made.contains(name));
    drift.extend(stale.map(|name| format!("{FOLDER}/{name}: nothing makes it any more")));
    for finding in &drift {
        say(&format!("reference: {finding}"));
    }
    if !drift.is_empty() {
        bail!("{FOLDER} is not what the code says: run `cargo xtask reference` and commit the result");
    }
    Ok(())
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names: Vec<String> = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    names.sort();
    Ok(names)
}

/// The first line in which two texts differ.
fn difference(said: &str, written: &str) -> Option<String> {
    if said == written {
        return None;
    }
    let same = said.lines().zip(written.lines()).take_while(|(a, b)| a == b).count();
    let line = |text: &str| text.lines().nth(same).unwrap_or("(its end)").to_owned();
    Some(format!(
        "line {}: the code says\n    {}\nand the file\n    {}",
        same + 1,
        line(said),
        line(written)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_differs_is_named_and_equal_texts_have_none() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        let found = difference("a\nb\n", "a\nc\n").unwrap();
        assert!(
            found.starts_with("line 2") && found.contains("    b\n") && found.ends_with("    c"),
            "{found}"
        );
        assert!(difference("a\nb\n", "a\n").unwrap().contains("(its end)"));
        assert!(difference("a\n", "").unwrap().starts_with("line 1"));
    }
}
