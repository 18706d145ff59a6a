//! Which crate may know which, and what every crate declares.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A crate, the crates of the workspace it may depend on, and other crates it must not depend on.
struct Rule {
    name: &'static str,
    may: &'static [&'static str],
    never: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule {
        name: "kbo-core",
        may: &[],
        never: &[
            "ssh2",
            "zstd",
            "tar",
            "bollard",
            "kafka-protocol",
            "openssl",
            "rustix",
            "clap",
            "figment",
        ],
    },
    Rule {
        name: "kbo-archive",
        may: &["kbo-core"],
        never: &["ssh2", "bollard", "kafka-protocol", "openssl", "clap", "figment"],
    },
    Rule {
        name: "kbo-certs",
        may: &["kbo-core"],
        never: &[
            "ssh2",
            "bollard",
            "kafka-protocol",
            "openssl",
            "clap",
            "figment",
            "tokio",
        ],
    },
    Rule {
        name: "kbo-transport",
        may: &["kbo-core", "kbo-archive", "kbo-certs"],
        never: &["clap", "figment", "indicatif"],
    },
    Rule {
        name: "kbo-cli",
        may: &["kbo-core", "kbo-archive", "kbo-certs", "kbo-transport"],
        never: &["ssh2", "bollard", "zstd", "tar"],
    },
    Rule {
        name: "kbo-fuzz",
        may: &["kbo-core", "kbo-archive", "kbo-certs", "kbo-transport"],
        never: &["clap"],
    },
    Rule {
        name: "xtask",
        may: &[],
        never: &["tokio"],
    },
];

/// Features of tokio that reach out of the process; the domain has none of them.
const IO_FEATURES: [&str; 5] = ["net", "fs", "process", "signal", "full"];

pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root)
        .output()
        .context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata prints no JSON")?;
    let mut findings = edges(&metadata);
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or("?");
        if package["license"] != "Apache-2.0" {
            findings.push(format!("{name}: its licence is {}, not Apache-2.0", package["license"]));
        }
        let manifest = package["manifest_path"].as_str().unwrap_or_default();
        let text = fs::read_to_string(manifest).with_context(|| format!("cannot read {manifest}"))?;
        if !inherits_lints(&text) {
            findings.push(format!("{name}: its Cargo.toml lacks `[lints] workspace = true`"));
        }
    }
    Ok(findings)
}

/// Edges that must not be there.
fn edges(metadata: &Value) -> Vec<String> {
    let mut findings = vec![];
    let packages: Vec<&Value> = metadata["packages"].as_array().into_iter().flatten().collect();
    let ours: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    for package in &packages {
        let name = package["name"].as_str().unwrap_or("?");
        let Some(rule) = RULES.iter().find(|rule| rule.name == name) else {
            findings.push(format!(
                "{name}: no rule says what it may depend on (xtask/src/tidy/crates.rs)"
            ));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let on = dependency["name"].as_str().unwrap_or("?");
            // Tests may use what they like, but for crates above them.
            let in_tests = dependency["kind"] == "dev";
            let upwards = ours.contains(&on) && on != name && !rule.may.contains(&on);
            if upwards || (!in_tests && rule.never.contains(&on)) {
                findings.push(format!("{name} must not depend on {on}"));
            }
            if name == "kbo-core" && on == "tokio" && !in_tests {
                let features = dependency["features"].as_array().into_iter().flatten();
                for feature in features
                    .filter_map(Value::as_str)
                    .filter(|feature| IO_FEATURES.contains(feature))
                {
                    findings.push(format!("kbo-core must not use tokio's {feature}"));
                }
            }
        }
    }
    findings
}

fn inherits_lints(manifest: &str) -> bool {
    let mut lines = manifest
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "[lints]")
        .skip(1);
    lines
        .next()
        .is_some_and(|line| line.replace(' ', "") == "workspace=true")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(dependencies: Value) -> Vec<String> {
        edges(&json!({"packages": [
            {"name": "kbo-core", "dependencies": dependencies},
            {"name": "kbo-cli", "dependencies": [{"name": "kbo-core", "kind": null}]},
        ]}))
    }

    #[test]
    fn what_the_rules_allow_is_no_finding() {
        assert!(
            found(json!([{"name": "serde", "kind": null}, {"name": "tokio", "kind": null, "features": ["sync"]}]))
                .is_empty()
        );
        assert!(found(json!([{"name": "kbo-core", "kind": "dev"}, {"name": "tar", "kind": "dev"}])).is_empty());
    }

    #[test]
    fn an_edge_upwards_and_input_output_in_the_domain_are_findings() {
        assert_eq!(
            found(json!([{"name": "kbo-cli", "kind": "dev"}])),
            ["kbo-core must not depend on kbo-cli"]
        );
        assert_eq!(
            found(json!([{"name": "ssh2", "kind": null}])),
            ["kbo-core must not depend on ssh2"]
        );
        let net = json!([{"name": "tokio", "kind": null, "features": ["net"]}]);
        assert_eq!(found(net), ["kbo-core must not use tokio's net"]);
    }

    #[test]
    fn a_crate_without_a_rule_is_a_finding() {
        let metadata = json!({"packages": [{"name": "kbo-new", "dependencies": []}]});
        assert_eq!(edges(&metadata).len(), 1);
    }

    #[test]
    fn lints_are_inherited_in_their_own_table_only() {
        assert!(inherits_lints("[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n"));
        assert!(!inherits_lints("[package]\nname = \"a\"\nworkspace = true\n"));
        assert!(!inherits_lints("[lints]\n\n[dependencies]\n"));
    }
}
