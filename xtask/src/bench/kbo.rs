//! Running kbo itself, built as users get it, and watching its memory while it runs.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::lab::Lab;

/// kbo, and the highest memory seen of it.
pub(super) struct Kbo {
    program: PathBuf,
    config: PathBuf,
    /// Peak resident set of the central process, in KiB.
    pub(super) centre_kib: Cell<u64>,
    /// Peak resident set of the largest agent, in KiB.
    pub(super) agent_kib: Cell<u64>,
}

impl Kbo {
    /// The release build, on a cluster of the lab.
    pub(super) fn release(lab: &Lab) -> Result<Self> {
        crate::say("bench: building kbo (release)");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args([
                "build",
                "--release",
                "-p",
                "kbo-cli",
                "--message-format=json-render-diagnostics",
            ])
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run cargo build")?;
        if !output.status.success() {
            bail!("cargo build --release -p kbo-cli failed ({})", output.status);
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let program = messages
            .filter_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
            .next_back();
        Ok(Self {
            program: program.context("cargo named no executable")?,
            config: lab.config_path(),
            centre_kib: Cell::new(0),
            agent_kib: Cell::new(0),
        })
    }

    /// Runs a command to its end and gives its JSON document.
    pub(super) fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Value> {
        let log = crate::target_dir()?.join("bench.log");
        let stderr = fs::File::options().create(true).append(true).open(&log);
        let stderr = stderr.with_context(|| format!("cannot open {}", log.display()))?;
        let mut child = Command::new(&self.program)
            .arg("--config")
            .arg(&self.config)
            .arg("--json")
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        let mut stdout = child.stdout.take().context("kbo has no stdout")?;
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).map(|_| text)
        });
        let status = loop {
            self.look(child.id());
            if let Some(status) = child.try_wait().context("cannot wait for kbo")? {
                break status;
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        let text = reader
            .join()
            .map_err(|_| anyhow::anyhow!("reading from kbo panicked"))??;
        if !status.success() {
            bail!("kbo failed ({status}), see {}: {text}", log.display());
        }
        serde_json::from_str(&text).context("kbo printed no JSON")
    }

    /// Notes the peak memory of the central process and of every agent. A peak is the kernel's, so a look now and then sees it.
    fn look(&self, centre: u32) {
        if let Some(kib) = peak_kib(&centre.to_string()) {
            self.centre_kib.set(self.centre_kib.get().max(kib));
        }
        let Ok(processes) = fs::read_dir("/proc") else { return };
        for process in processes.flatten() {
            let name = process.file_name();
            let pid = name.to_string_lossy();
            if !pid.bytes().all(|byte| byte.is_ascii_digit()) {
                continue;
            }
            let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let program = command.split(|byte| *byte == 0).next().unwrap_or_default();
            if String::from_utf8_lossy(program).contains("kbo-agent-")
                && let Some(kib) = peak_kib(&pid)
            {
                self.agent_kib.set(self.agent_kib.get().max(kib));
            }
        }
    }
}

fn peak_kib(pid: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The window of a run, in seconds.
pub(super) fn window(report: &Value) -> Result<f64> {
    report["window_seconds"].as_f64().context("kbo reported no window")
}

/// The length of a phase, in seconds.
pub(super) fn phase(report: &Value, name: &str) -> Result<f64> {
    let phases = report["phases"].as_array().context("kbo reported no phases")?;
    let found = phases
        .iter()
        .find(|phase| phase["phase"] == name)
        .and_then(|phase| phase["seconds"].as_f64());
    found.with_context(|| format!("kbo reported no phase {name}"))
}
