//! Lengths, paths of one machine, links, and commands that the documents must name.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Lines of a source file beyond which it should be split by its ideas.
const LONGEST: usize = 600;

/// Longer files, and why.
const LONG_FILES: &[(&str, &str)] = &[("xtask/lab/LabClient.java", "a single-file program")];

/// Generated or foreign: neither lengths nor words are ours.
const FOREIGN: &[&str] = &["Cargo.lock", "LICENSE"];

pub(super) fn check(root: &Path, tracked: &[String]) -> Result<Vec<String>> {
    let mut findings = vec![];
    for name in tracked.iter().filter(|name| !FOREIGN.contains(&name.as_str())) {
        // What is no text (golden archives) has no lines.
        let bytes = fs::read(root.join(name)).with_context(|| format!("cannot read {name}"))?;
        let Ok(text) = String::from_utf8(bytes) else { continue };
        if name.ends_with(".rs") || name.ends_with(".java") {
            findings.extend(length(name, &text));
        }
        if !name.starts_with("xtask/src/tidy/") {
            findings.extend(foreign_places(name, &text));
        }
        if name.ends_with(".md") {
            findings.extend(links(root, name, &text));
        }
    }
    findings.extend(commands(root)?);
    findings.extend(keys(root)?);
    Ok(findings)
}

fn length(name: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    let excused = LONG_FILES.iter().any(|(file, _)| *file == name);
    (lines > LONGEST && !excused).then(|| format!("{name}: {lines} lines, more than {LONGEST}: split it by its ideas"))
}

/// Paths and hosts that exist on one machine only.
fn foreign_places(name: &str, text: &str) -> Vec<String> {
    let places = [
        "/work/",
        "/home/runner",
        "/root/.cargo",
        "/root/.rustup",
        "registry.npmjs",
        "artifactory",
        "nexus.",
    ];
    let mut findings = vec![];
    for (number, line) in text.lines().enumerate() {
        for place in places {
            // A path begins where a word could not go on: `.kbo/work/x` is none.
            let begins = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-})>*".contains(c));
            if line.match_indices(place).any(|(at, _)| begins(at)) {
                findings.push(format!(
                    "{name}:{}: names {place}, which is a place of one machine",
                    number + 1
                ));
            }
        }
    }
    findings
}

/// Relative links that lead nowhere.
fn links(root: &Path, name: &str, text: &str) -> Vec<String> {
    let dir = root.join(name);
    let dir = dir.parent().unwrap_or(root);
    let targets = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target);
    targets
        .filter(|target| {
            !target.contains("://") && !target.starts_with(['#', '<']) && !target.contains(char::is_whitespace)
        })
        .map(|target| target.split('#').next().unwrap_or(target))
        .filter(|target| !dir.join(target).exists())
        .map(|target| format!("{name}: its link to {target} leads nowhere"))
        .collect()
}

/// Every command of kbo is named in the README or in the documents.
fn commands(root: &Path) -> Result<Vec<String>> {
    let args = fs::read_to_string(root.join("kbo-cli/src/args/mod.rs")).context("cannot read kbo's arguments")?;
    let mut documents = fs::read_to_string(root.join("README.md")).context("cannot read README.md")?;
    for entry in fs::read_dir(root.join("docs")).context("cannot read docs")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            documents.push_str(&fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?);
        }
    }
    let unnamed = command_names(&args)
        .into_iter()
        .filter(|name| !documents.contains(&format!("kbo {name}")));
    Ok(unnamed.map(|name| format!("no document names `kbo {name}`")).collect())
}

/// Every key of kbo.toml is in its document.
fn keys(root: &Path) -> Result<Vec<String>> {
    let read = |path: &str| fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"));
    let folder = "kbo-core/src/config";
    let raw = [
        "raw.rs",
        "container/raw.rs",
        "retention.rs",
        "hooks/raw.rs",
        "certs/raw.rs",
    ]
    .map(|file| read(&format!("{folder}/{file}")));
    let raw = raw.into_iter().collect::<Result<String>>()?;
    let document = read("docs/configuration.md")? + &read("docs/containers.md")?;
    let unnamed = key_names(&raw)
        .into_iter()
        .filter(|key| !document.contains(&format!("`{key}`")) && !document.contains(&format!("[{key}]")));
    Ok(unnamed
        .map(|key| format!("docs/configuration.md does not name `{key}`"))
        .collect())
}

/// The fields of the raw configuration.
fn key_names(raw: &str) -> Vec<String> {
    raw.lines()
        .filter_map(|line| line.strip_prefix("    pub ")?.split_once(':'))
        .map(|(name, _)| name.trim_start_matches("r#").to_owned())
        .collect()
}

/// The variants of `enum Command`, as they are typed, without hidden ones.
fn command_names(args: &str) -> Vec<String> {
    let body = args.split("enum Command {").nth(1).unwrap_or_default();
    let body = body.split("\n}").next().unwrap_or_default();
    let mut names = vec![];
    let mut hidden = false;
    for line in body.lines() {
        // Variants stand at the first indentation, their fields deeper.
        let Some(item) = line.strip_prefix("    ").filter(|item| !item.starts_with(' ')) else {
            continue;
        };
        if item.starts_with("#[command(") {
            hidden |= item.contains("hide = true");
        } else if item.starts_with(|c: char| c.is_ascii_uppercase()) {
            let name: String = item.chars().take_while(|c| c.is_alphanumeric()).collect();
            if !std::mem::take(&mut hidden) {
                names.push(kebab(&name));
            }
        }
    }
    names
}

fn kebab(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_found_and_a_short_one_is_not() {
        assert!(length("a.rs", &"x\n".repeat(LONGEST)).is_none());
        assert!(length("a.rs", &"x\n".repeat(LONGEST + 1)).is_some());
        assert!(length(LONG_FILES[0].0, &"x\n".repeat(LONGEST + 1)).is_none());
    }

    #[test]
    fn a_place_of_one_machine_is_found_with_its_line() {
        assert_eq!(foreign_places("a", "ok\nsee /work/main\n").len(), 1);
        assert!(foreign_places("a", "ok\nsee /work/main\n")[0].starts_with("a:2:"));
        assert!(foreign_places("a", "target/work/x and .kbo/work/y").is_empty());
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = "[a](Cargo.toml#x) [b](https://example.org) [c](#here) [d](nowhere.md)";
        assert_eq!(
            links(root, "README.md", text),
            ["README.md: its link to nowhere.md leads nowhere"]
        );
    }

    #[test]
    fn keys_are_read_off_the_raw_configuration() {
        let raw = "pub struct Raw {\n    /// Sudo\n    pub r#become: Option<bool>,\n    pub port: u16,\n}\n";
        assert_eq!(key_names(raw), ["become", "port"]);
    }

    #[test]
    fn commands_are_read_off_the_arguments() {
        let args = "enum Command {\n    /// Look\n    Check,\n    SshSetup(Args),\n    Show {\n        /// Which\n        Id: u8,\n    },\n    \
                    #[command(hide = true)]\n    Agent,\n}\nenum Other {\n    X,\n}\n";
        assert_eq!(command_names(args), ["check", "ssh-setup", "show"]);
    }
}
