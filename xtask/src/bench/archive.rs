//! Archiving, verifying and unpacking on this machine, against tar and zstd: the benchmark of kbo-archive, read off its lines.

use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::table::{Figure, Table, Wanted};

const FIGURES: [(&str, &str, &str); 3] = [
    (
        "archive_ratio",
        "archive / `tar \\| zstd -1`, local",
        "archive_mib_per_second",
    ),
    ("verify_ratio", "verify / `zstd -d \\| tar -x`", "verify_mib_per_second"),
    ("unpack_ratio", "unpack / `zstd -d \\| tar -x`", "unpack_mib_per_second"),
];

pub(super) fn measure(table: &mut Table) -> Result<()> {
    crate::say("bench: archiving on this machine (cargo bench -p kbo-archive)");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["bench", "--quiet", "-p", "kbo-archive", "--bench", "archive"])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot run cargo bench")?;
    if !output.status.success() {
        bail!("cargo bench -p kbo-archive failed ({})", output.status);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let printed: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let value = |name: &str| -> Result<f64> {
        let found = printed
            .iter()
            .find(|line| line["figure"] == name)
            .and_then(|line| line["value"].as_f64());
        found.with_context(|| format!("the benchmark of kbo-archive printed no {name}: {text}"))
    };
    for (ratio, name, rate) in FIGURES {
        let wanted = Wanted::AtLeast(if ratio == "archive_ratio" { 0.9 } else { 0.8 });
        let detail = format!("{:.0} MiB/s", value(rate)?);
        table.add(Figure {
            name: name.to_owned(),
            value: value(ratio)?,
            unit: "ratio",
            wanted: Some(wanted),
            detail,
        });
    }
    for (name, what) in [
        ("snapshot_of_20000_files_seconds", "snapshot of 20,000 files"),
        ("snapshot_seconds", "snapshot of 1 GiB in segments"),
    ] {
        table.add(Figure {
            name: what.to_owned(),
            value: value(name)?,
            unit: "s",
            wanted: None,
            detail: String::new(),
        });
    }
    Ok(())
}
