//! Real Kafka clusters on one machine: three controllers and three brokers, started for tests and demonstrations.
//!
//! `ssh`: six "VMs" (namespaces of this machine), each with its own sshd and container engine, reached by SSH. `docker`: six
//! containers of one engine with named volumes. `ssh` can be had with TLS and passwords too, from stores that kbo makes and brings. Everything generated lies under `target/lab/`; what is worth keeping between two
//! labs (image, jars) under `target/lab-cache/`.

mod authority;
mod clean;
mod client;
mod docker_cluster;
mod engine;
mod image;
mod kafka;
mod node;
mod packages;
mod paths;
pub(crate) mod secured;
mod shell;
mod ssh_cluster;
mod state;
mod vm;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Subcommand, ValueEnum};

pub(crate) use authority::write_secret;
pub use authority::{Authority, Key, Set, Usage, Validity};
pub(crate) use clean::in_debian;
pub use client::Probe;
pub(crate) use kafka::with_values;
pub use kafka::{Node, Role};
pub use node::Lab;
pub(crate) use paths::workspace;
pub use shell::Output;

/// The domain below which every node has a name.
pub const DOMAIN: &str = "lab.kbo.test";

/// Which of the two clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Six VMs, each with sshd and an engine.
    Ssh,
    /// Six containers of one engine.
    Docker,
}

impl Kind {
    /// Both clusters.
    pub const ALL: [Self; 2] = [Self::Ssh, Self::Docker];

    /// The name used on the command line and for the directory under `target/lab`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ssh => "ssh",
            Self::Docker => "docker",
        }
    }
}

/// One cluster, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// The cluster of VMs.
    Ssh,
    /// The cluster of containers.
    Docker,
    /// Both.
    All,
}

impl Which {
    fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Ssh => &[Kind::Ssh],
            Self::Docker => &[Kind::Docker],
            Self::All => &Kind::ALL,
        }
    }
}

/// What to do to one node.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum NodeAction {
    /// Stop its container in good order.
    Stop,
    /// Start its container.
    Start,
    /// Kill its container with SIGKILL: an unclean stop.
    Kill,
    /// Delete everything in its data directory (stop it first).
    Wipe,
    /// List its data directory.
    Ls,
}

/// Said of a lab of which only names are left, and no process or label that tells whose it is.
const UNKNOWN_OWNER: &str = "an unknown clone";

/// `cargo xtask lab ...`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring a cluster up and wait until it takes records; a cluster that is up stays as it is.
    Up {
        /// The cluster.
        kind: Kind,
        /// With TLS and passwords: brokers speak SASL_SSL, controllers SSL in both directions, with stores that kbo made and brought
        #[arg(long)]
        secured: bool,
    },
    /// Take a cluster down and remove all it left, also after a failed start or of another clone.
    Down {
        /// The cluster.
        which: Which,
    },
    /// The state of every node's container.
    Status {
        /// The cluster.
        #[arg(default_value = "all")]
        which: Which,
    },
    /// Run a command in a VM (ssh) or in a container (docker).
    Exec {
        /// The cluster.
        kind: Kind,
        /// The node's name.
        node: String,
        /// The command and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Run the lab's Kafka client: create, delete, list, produce, commit-group, digest, ready, probe, scram-user.
    Client {
        /// The cluster.
        kind: Kind,
        /// The client's subcommand and options.
        #[arg(last = true, required = true)]
        args: Vec<OsString>,
    },
    /// Stop, start, kill, wipe or list one node.
    Node {
        /// The cluster.
        kind: Kind,
        /// The node's name.
        node: String,
        /// What to do.
        action: NodeAction,
    },
}

/// Run one `lab` command.
///
/// # Errors
///
/// Fails with what could not be done and, where it is known, what to do about it.
pub fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Up { kind, secured } => {
            if secured && kind != Kind::Ssh {
                bail!("only the cluster of VMs can be secured: `cargo xtask lab up ssh --secured`");
            }
            let started = Instant::now();
            let lab = Lab::up(kind)?;
            if secured && !lab.is_secured() {
                secured::secure(&lab, &crate::test::kbo_program()?)?;
            }
            crate::say(&format!(
                "lab: {} is up after {} s",
                kind.name(),
                started.elapsed().as_secs()
            ));
            crate::print(&lab.config_path().display().to_string());
        }
        Command::Down { which } => {
            for kind in which.kinds() {
                Lab::down(*kind)?;
                crate::say(&format!("lab: {} is down", kind.name()));
            }
        }
        Command::Status { which } => {
            for kind in which.kinds() {
                status(*kind)?;
            }
        }
        Command::Exec { kind, node, command } => {
            let status = Lab::open(kind)?.exec_attached(&node, &command)?;
            return Ok(exit_code(status));
        }
        Command::Client { kind, args } => {
            let status = Lab::open(kind)?.client_attached(&args)?;
            return Ok(exit_code(status));
        }
        Command::Node { kind, node, action } => act(&Lab::open(kind)?, &node, action)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn act(lab: &Lab, node: &str, action: NodeAction) -> Result<()> {
    match action {
        NodeAction::Stop => lab.stop(node),
        NodeAction::Start => lab.start(node),
        NodeAction::Kill => lab.kill(node),
        NodeAction::Wipe => lab.wipe_data(node),
        NodeAction::Ls => {
            for name in lab.list_data(node)? {
                crate::print(&name);
            }
            Ok(())
        }
    }
}

fn status(kind: Kind) -> Result<()> {
    let Some(lab) = Lab::open_if_present(kind)? else {
        match Lab::owner(kind) {
            Some(owner) => crate::print(&format!("{}: up, with its files in {owner}", kind.name())),
            None => crate::print(&format!("{}: down", kind.name())),
        }
        return Ok(());
    };
    crate::print(&format!(
        "{}: Kafka {}, {}",
        kind.name(),
        lab.kafka_version(),
        lab.config_path().display()
    ));
    for node in lab.nodes() {
        let state = lab
            .container_state(&node.name)
            .unwrap_or_else(|error| format!("unreachable: {error:#}"));
        crate::print(&format!("  {:<24} {:<12} {}", node.name, node.ip, state));
    }
    Ok(())
}

fn exit_code(status: std::process::ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    ExitCode::from(code)
}

/// Whether labs can be made here.
///
/// # Errors
///
/// Fails with what is missing.
pub fn possible() -> Result<()> {
    require_root()?;
    let mut needs = packages::COMMON.iter().chain(packages::SSH);
    match needs.find(|(program, _)| !packages::present(program)) {
        Some((program, _)) if !packages::present("apt-get") => {
            bail!("{program} is not installed, and there is no apt-get to install it with")
        }
        _ => Ok(()),
    }
}

/// Make sure that programs are there: pairs of a program and the Debian package that brings it.
///
/// # Errors
///
/// Fails with what is missing and cannot be installed.
pub fn install(programs: &[(&'static str, &'static str)]) -> Result<()> {
    packages::ensure(programs)
}

/// The lab makes namespaces, bridges and engines: only root may.
fn require_root() -> Result<()> {
    let uid = shell::Cmd::new("id")
        .arg("-u")
        .output()
        .context("cannot find out who runs this")?;
    if uid.trim() != "0" {
        bail!("the lab needs root (namespaces, bridges, container engines): run it as root or with sudo");
    }
    Ok(())
}

/// Do something that needs a container engine on this machine: one that runs is used, else one is started for the time.
///
/// # Errors
///
/// Fails when there is no engine to be had, or what is to be done fails.
pub(crate) fn with_engine<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let engine = engine::Engine::ensure()?;
    let result = work();
    engine.release()?;
    result
}
