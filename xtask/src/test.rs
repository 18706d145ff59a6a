//! `cargo xtask test`: everything, stage by stage, and at the end what failed.

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::Value;

use crate::e2e::{self, Tally};
use crate::lab::{self, Kind};
use crate::{dist, reference, say, tidy};

/// A part of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// Formatting.
    Fmt,
    /// Lints.
    Clippy,
    /// Documentation of the code.
    Doc,
    /// kbo-core by itself, without features.
    Core,
    /// Architecture and files.
    Tidy,
    /// The generated documents are what the code says.
    Reference,
    /// Unit, property and conformance tests, and those on sshd and engine of this machine.
    Unit,
    /// The packages, installed in a clean container (needs root).
    Dist,
    /// kbo on six VMs over SSH (needs root).
    Ssh,
    /// kbo on six containers of one engine (needs root).
    Docker,
}

impl Suite {
    fn title(self) -> &'static str {
        match self {
            Self::Fmt => "cargo fmt --all --check",
            Self::Clippy => "cargo clippy --workspace --all-targets --all-features -- -D warnings",
            Self::Doc => "cargo doc --workspace --no-deps",
            Self::Core => "cargo check -p kbo-core",
            Self::Tidy => "cargo xtask tidy",
            Self::Reference => "cargo xtask reference --check",
            Self::Unit => "cargo test --workspace --all-features",
            Self::Dist => "cargo xtask dist --check",
            Self::Ssh => "end to end, ssh",
            Self::Docker => "end to end, docker",
        }
    }

    fn cluster(self) -> Option<Kind> {
        match self {
            Self::Ssh => Some(Kind::Ssh),
            Self::Docker => Some(Kind::Docker),
            _ => None,
        }
    }
}

/// `cargo xtask test ...`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these parts [default: all]
    #[arg(long, value_enum, num_args = 1..)]
    suite: Vec<Suite>,
    /// Only the end-to-end cases whose names contain one of these
    #[arg(long, num_args = 1.., value_name = "SUBSTRING")]
    case: Vec<String>,
    /// Leave out the end-to-end suites
    #[arg(long)]
    fast: bool,
}

/// What the tests run besides what the lab does.
const PROGRAMS: &[(&str, &str)] = &[
    ("sshd", "openssh-server"),
    ("ssh-keygen", "openssh-client"),
    ("zstd", "zstd"),
    ("tar", "tar"),
    ("jq", "jq"),
    ("sudo", "sudo"),
    ("useradd", "passwd"),
    ("dockerd", "docker.io"),
    ("systemd-analyze", "systemd"),
    ("cron", "cron"),
    ("mkfs.ext4", "e2fsprogs"),
    ("fsfreeze", "util-linux"),
    // Those whose stores kbo's are compared with; pyjks is installed by the tests, and one of its parts is compiled.
    ("openssl", "openssl"),
    ("keytool", "default-jdk-headless"),
    ("python3-config", "python3-dev"),
    ("python3-config", "python3-venv"),
];

/// What building kbo takes besides Rust and a C compiler: OpenSSL is built from its source. `cpan` comes with the whole of Perl.
pub(crate) const BUILD: &[(&str, &str)] = &[("make", "make"), ("cpan", "perl")];

/// How a stage ended.
enum Ended {
    Ok,
    Failed(String),
    NotRun(String),
}

/// Run the tests.
///
/// # Errors
///
/// Fails when they cannot be run at all; a stage that fails is in the exit code.
pub fn run(args: &Args) -> Result<ExitCode> {
    let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    if ci && args.fast {
        bail!("--fast leaves out the end-to-end suites, and CI=true allows no gaps");
    }
    if ci && !(args.suite.is_empty() && args.case.is_empty()) {
        bail!("--suite and --case leave out the rest, and CI=true allows no gaps");
    }
    lab::install(BUILD)?;
    let wanted = |suite: &Suite| args.suite.is_empty() || args.suite.contains(suite);
    let mut tally = Tally::default();
    let mut summary = vec![];
    for suite in Suite::value_variants().iter().copied().filter(wanted) {
        say(&format!("== {}", suite.title()));
        let begun = Instant::now();
        let ended = match suite.cluster() {
            Some(_) if args.fast => Ended::NotRun("left out by --fast".to_owned()),
            Some(kind) => end_to_end(kind, &args.case, &mut tally),
            None if suite == Suite::Dist && args.fast => Ended::NotRun("left out by --fast".to_owned()),
            None if suite == Suite::Dist => packages(),
            None => outcome(plain(suite)),
        };
        let seconds = begun.elapsed().as_secs();
        say(&format!("== {}: {} ({seconds} s)", suite.title(), ended.word()));
        summary.push((suite, ended, seconds));
    }
    Ok(conclude(&summary, tally, ci))
}

impl Ended {
    fn word(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed(_) => "FAILED",
            Self::NotRun(_) => "NOT RUN",
        }
    }
}

fn outcome(result: Result<()>) -> Ended {
    match result {
        Ok(()) => Ended::Ok,
        Err(error) => Ended::Failed(format!("{error:#}")),
    }
}

/// A stage that is no suite on a cluster.
fn plain(suite: Suite) -> Result<()> {
    match suite {
        Suite::Fmt => cargo(&["fmt", "--all", "--check"]),
        Suite::Clippy => cargo(&[
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--",
            "-D",
            "warnings",
        ]),
        Suite::Doc => cargo(&["doc", "--quiet", "--workspace", "--no-deps"]),
        Suite::Core => cargo(&["check", "--quiet", "-p", "kbo-core"]),
        Suite::Tidy => tidy::check(),
        Suite::Reference => reference::check(),
        Suite::Unit => {
            lab::install(PROGRAMS)?;
            // The Docker carrier is tried on a real engine.
            lab::with_engine(|| cargo(&["test", "--quiet", "--no-fail-fast", "--workspace", "--all-features"]))
        }
        Suite::Dist | Suite::Ssh | Suite::Docker => Ok(()),
    }
}

/// The packages need an engine to be tried.
fn packages() -> Ended {
    match lab::possible() {
        Ok(()) => outcome(dist::suite()),
        Err(error) => Ended::NotRun(format!("{error:#}")),
    }
}

fn end_to_end(kind: Kind, filter: &[String], tally: &mut Tally) -> Ended {
    if let Err(error) = lab::possible().and_then(|()| lab::install(PROGRAMS)) {
        return Ended::NotRun(format!("{error:#}"));
    }
    match e2e::suite(kind, filter) {
        Ok(suite) => {
            tally.passed += suite.passed;
            tally.failed += suite.failed;
            match suite.failed {
                0 => Ended::Ok,
                failed => Ended::Failed(format!("{failed} of {} cases", suite.passed + failed)),
            }
        }
        Err(error) => {
            tally.failed += 1;
            Ended::Failed(format!("{error:#}"))
        }
    }
}

/// The summary, the tally on a line of its own, and the verdict.
fn conclude(summary: &[(Suite, Ended, u64)], tally: Tally, ci: bool) -> ExitCode {
    say("");
    let mut bad = false;
    for (suite, ended, seconds) in summary {
        let why = match ended {
            Ended::Ok => String::new(),
            Ended::Failed(why) => {
                bad = true;
                format!(": {why}")
            }
            Ended::NotRun(why) => {
                bad |= ci;
                format!(": {why}")
            }
        };
        say(&format!("{:<8} {seconds:>5} s  {}{why}", ended.word(), suite.title()));
    }
    if summary.iter().any(|(_, ended, _)| matches!(ended, Ended::NotRun(_))) {
        say("!! NOT EVERYTHING WAS TESTED: the suites marked NOT RUN were not");
    }
    if summary.iter().any(|(suite, ..)| suite.cluster().is_some()) {
        crate::print(&format!("{} passed, {} failed", tally.passed, tally.failed));
    }
    if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

pub(crate) fn cargo_command() -> Result<Command> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(lab::workspace()?);
    Ok(command)
}

fn cargo(args: &[&str]) -> Result<()> {
    let status = cargo_command()?
        .args(args)
        .env("RUSTDOCFLAGS", "-Dwarnings")
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo {} ended with {status}", args[0]);
    }
    Ok(())
}

/// Build kbo, and say where cargo put it. KBO_UNDER_TEST names a program to take instead.
pub(crate) fn kbo_program() -> Result<PathBuf> {
    if let Some(program) = std::env::var_os("KBO_UNDER_TEST") {
        return Ok(program.into());
    }
    let output = cargo_command()?
        .args([
            "build",
            "--quiet",
            "-p",
            "kbo-cli",
            "--message-format=json-render-diagnostics",
        ])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo build")?;
    if !output.status.success() {
        bail!("kbo does not build ({})", output.status);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let programs: Vec<PathBuf> = messages
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .collect();
    programs.into_iter().next_back().context("cargo names no program")
}
