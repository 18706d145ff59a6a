//! The machine's own container engine: used when it runs, else started by hand and stopped again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::shell::Cmd;
use super::{packages, paths};

/// The engine's socket.
pub(super) const SOCKET: &str = "unix:///var/run/docker.sock";
/// The record of an engine the lab started. It lies beside the socket, for it is the machine's and not a clone's.
const RECORD: &str = "/run/kbo-lab-engine.json";

/// The engine switches forwarding on and leaves it so.
const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// An engine that answers.
pub(super) struct Engine {
    started: bool,
}

#[derive(Serialize, Deserialize)]
struct Record {
    pid: u32,
    data_root: PathBuf,
    had_docker0: bool,
    ip_forward: Option<String>,
    firewall: Option<String>,
}

/// A docker command to the machine's engine, whatever the environment says of others.
pub(super) fn docker() -> Cmd {
    Cmd::new("docker").args(["--host", SOCKET])
}

/// Whether the machine's engine answers.
pub(super) fn answers() -> bool {
    docker().args(["version", "--format", "{{.Server.Version}}"]).succeeds()
}

impl Engine {
    /// Use the engine that runs, or start one.
    pub(super) fn ensure() -> Result<Self> {
        if answers() {
            return Ok(Self { started: false });
        }
        let dir = paths::cache_dir()?;
        let data_root = dir.join("engine");
        let log = dir.join("engine.log");
        crate::say("lab: starting dockerd, as none answers");
        let firewall = Cmd::new("iptables-save").output().ok();
        let ip_forward = fs::read_to_string(IP_FORWARD).ok();
        let had_docker0 = Path::new("/sys/class/net/docker0").exists();
        let dockerd = packages::find("dockerd").context("dockerd is not installed")?;
        let mut child = Cmd::new(dockerd)
            .arg("--host")
            .arg(SOCKET)
            .arg("--data-root")
            .arg(&data_root)
            .spawn_logged(&log)?;
        let record = Record {
            pid: child.id(),
            data_root,
            had_docker0,
            ip_forward,
            firewall,
        };
        fs::write(RECORD, serde_json::to_vec_pretty(&record)?).with_context(|| format!("cannot write {RECORD}"))?;
        let begun = Instant::now();
        while !answers() {
            if let Some(status) = child.try_wait().context("cannot wait for dockerd")? {
                bail!("dockerd ended ({status}); its log is {}", log.display());
            }
            if begun.elapsed() > Duration::from_secs(60) {
                bail!("dockerd does not answer after 60 s; its log is {}", log.display());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(Self { started: true })
    }

    /// Stop the engine if this call of `ensure` started it.
    pub(super) fn release(self) -> Result<()> {
        if self.started { stop_ours() } else { Ok(()) }
    }
}

/// Stop the engine a lab started, of whichever clone, and take back what it did to the machine's network.
pub(super) fn stop_ours() -> Result<()> {
    if !Path::new(RECORD).exists() {
        return Ok(());
    }
    let text = fs::read(RECORD).with_context(|| format!("cannot read {RECORD}"))?;
    let record: Record = serde_json::from_slice(&text).with_context(|| format!("{RECORD} is damaged"))?;
    if is_ours(&record) {
        Cmd::new("kill").arg(record.pid.to_string()).run()?;
        let begun = Instant::now();
        while is_ours(&record) {
            if begun.elapsed() > Duration::from_secs(30) {
                bail!("dockerd (pid {}) does not stop", record.pid);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        if !record.had_docker0 && Path::new("/sys/class/net/docker0").exists() {
            Cmd::new("ip").args(["link", "delete", "docker0"]).run()?;
        }
        restore_firewall(&record)?;
        if let Some(value) = &record.ip_forward {
            fs::write(IP_FORWARD, value).with_context(|| format!("cannot write {IP_FORWARD}"))?;
        }
    }
    fs::remove_file(RECORD).with_context(|| format!("cannot remove {RECORD}"))
}

/// The recorded process, and not a later one that got its number.
fn is_ours(record: &Record) -> bool {
    let proc_dir = PathBuf::from(format!("/proc/{}", record.pid));
    let zombie = fs::read_to_string(proc_dir.join("stat")).is_ok_and(|stat| stat.contains(") Z "));
    let line = fs::read(proc_dir.join("cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).into_owned();
    !zombie && line.contains("dockerd") && line.contains(&*record.data_root.to_string_lossy())
}

fn restore_firewall(record: &Record) -> Result<()> {
    let Some(rules) = &record.firewall else { return Ok(()) };
    let file = paths::cache_dir()?.join("firewall.saved");
    // iptables-save names only the tables in use: those that the engine added are emptied.
    // The way through for the VMs' bridge comes and goes with their own lab.
    let kept = rules.lines().filter(|line| !line.contains(super::vm::BRIDGE));
    let mut text: String = kept.map(|line| format!("{line}\n")).collect();
    for table in ["filter", "nat"] {
        if !text.contains(&format!("*{table}\n")) {
            text.push_str(&format!("*{table}\n"));
            let chains: &[&str] = if table == "nat" {
                &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"]
            } else {
                &["INPUT", "FORWARD", "OUTPUT"]
            };
            for chain in chains {
                text.push_str(&format!(":{chain} ACCEPT [0:0]\n"));
            }
            text.push_str("COMMIT\n");
        }
    }
    fs::write(&file, text)?;
    Cmd::new("iptables-restore").stdin(&file)?.run()?;
    fs::remove_file(&file)?;
    super::vm::open_firewall()
}
