//! The figures: for a person as a table, for a program as JSON.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Serialize;

/// What a figure should be.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Wanted {
    AtMost(f64),
    AtLeast(f64),
}

impl Wanted {
    fn is_met(self, value: f64) -> bool {
        match self {
            Wanted::AtMost(limit) => value <= limit,
            Wanted::AtLeast(limit) => value >= limit,
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::AtMost(limit) => write!(f, "<= {limit}"),
            Wanted::AtLeast(limit) => write!(f, ">= {limit}"),
        }
    }
}

/// One figure.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) unit: &'static str,
    pub(super) wanted: Option<Wanted>,
    pub(super) detail: String,
}

/// All figures of a run, and the machine.
#[derive(Debug, Serialize)]
pub(super) struct Table {
    machine: String,
    figures: Vec<Figure>,
}

impl Table {
    pub(super) fn new() -> Result<Self> {
        let cpus = std::thread::available_parallelism().context("cannot count the processors")?;
        let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = model
            .lines()
            .find_map(|line| line.strip_prefix("model name"))
            .unwrap_or_default();
        let model = model.trim_start_matches([' ', '\t', ':']);
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kib = memory
            .split_whitespace()
            .nth(1)
            .and_then(|text| text.parse::<u64>().ok())
            .unwrap_or(0);
        let kernel = Command::new("uname").arg("-r").output().context("cannot run uname")?;
        let kernel = String::from_utf8_lossy(&kernel.stdout).trim().to_owned();
        let machine = format!(
            "{cpus} processors ({model}), {} GiB of memory, Linux {kernel}",
            kib / (1 << 20)
        );
        Ok(Self {
            machine,
            figures: Vec::new(),
        })
    }

    pub(super) fn add(&mut self, figure: Figure) {
        crate::say(&format!("bench: {}", line(&figure)));
        self.figures.push(figure);
    }

    /// Write it to `target/bench/bench.json`.
    pub(super) fn write(&self) -> Result<PathBuf> {
        let dir = crate::target_dir()?.join("bench");
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let file = dir.join("bench.json");
        let text = serde_json::to_string_pretty(self)?;
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }
}

fn line(figure: &Figure) -> String {
    let verdict = match figure.wanted {
        Some(wanted) if wanted.is_met(figure.value) => format!("{wanted}: met"),
        Some(wanted) => format!("{wanted}: SHORT"),
        None => String::new(),
    };
    format!(
        "{}: {:.2} {} {verdict} {}",
        figure.name, figure.value, figure.unit, figure.detail
    )
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.machine)?;
        writeln!(f, "| what | figure | wanted | | measured |\n|---|---|---|---|---|")?;
        for figure in &self.figures {
            let (wanted, verdict) = match figure.wanted {
                Some(wanted) => (
                    wanted.to_string(),
                    if wanted.is_met(figure.value) {
                        "met"
                    } else {
                        "**short**"
                    },
                ),
                None => (String::new(), ""),
            };
            let (name, value, unit) = (&figure.name, figure.value, figure.unit);
            let unit = if unit == "ratio" { "" } else { unit };
            writeln!(
                f,
                "| {name} | {value:.2} {unit} | {wanted} | {verdict} | {} |",
                figure.detail
            )?;
        }
        Ok(())
    }
}
