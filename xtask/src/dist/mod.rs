//! `cargo xtask dist`: what is handed out: a folder, its `.tar.zst` and a `.deb`, for each processor that can be built for.

mod check;
mod deb;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::{lab, say, test};

/// `cargo xtask dist`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Then install the package in a clean container and try it there (needs root)
    #[arg(long)]
    check: bool,
}

/// What is packed besides what every build takes.
const PROGRAMS: &[(&str, &str)] = &[
    ("tar", "tar"),
    ("zstd", "zstd"),
    ("xz", "xz-utils"),
    ("sha256sum", "coreutils"),
    ("dpkg-deb", "dpkg"),
];

/// A kind of machine: Rust's name, Debian's, and the linker where it is not this one.
pub(crate) struct Target {
    triple: &'static str,
    debian: &'static str,
    linker: &'static str,
}

const TARGETS: [Target; 2] = [
    Target {
        triple: "x86_64-unknown-linux-gnu",
        debian: "amd64",
        linker: "x86_64-linux-gnu-gcc",
    },
    Target {
        triple: "aarch64-unknown-linux-gnu",
        debian: "arm64",
        linker: "aarch64-linux-gnu-gcc",
    },
];

/// What was made for one kind of machine.
pub(crate) struct Made {
    tree: PathBuf,
    archive: PathBuf,
    deb: PathBuf,
}

/// Make the packages; try them where told to.
///
/// # Errors
///
/// Fails when something cannot be built or packed, or the package does not work.
pub fn run(args: &Args) -> Result<ExitCode> {
    let made = make(For::HandingOut)?;
    if args.check {
        check::installed(&made)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The suite of the tests: make, install, try.
pub(crate) fn suite() -> Result<()> {
    check::installed(&make(For::Trying)?)
}

/// What packages are made for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    HandingOut,
    /// To be installed once by the tests, which need no fast program, and no minutes of the linker.
    Trying,
}

/// All packages; the first is for this machine.
fn make(purpose: For) -> Result<Made> {
    lab::install(test::BUILD)?;
    lab::install(PROGRAMS)?;
    let folder = crate::target_dir()?.join("dist");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let epoch = epoch()?;
    let mut all = vec![];
    for target in &TARGETS {
        if let Some(why) = target.lacks()? {
            say(&format!("dist: nothing for {}: {why}", target.machine()));
            continue;
        }
        say(&format!("dist: building kbo for {}", target.machine()));
        let program = target.build(epoch, purpose)?;
        let tree = tree::make(&folder, target, &program)?;
        let archive = tree::pack(&tree, epoch)?;
        let deb = deb::make(&folder, &tree, target, epoch)?;
        for file in [&archive, &deb] {
            let bytes = fs::metadata(file)
                .with_context(|| format!("cannot look at {}", file.display()))?
                .len();
            say(&format!("dist: {} ({} kB)", file.display(), bytes / 1000));
        }
        all.push((target.is_here(), Made { tree, archive, deb }));
    }
    tree::sums(&folder, all.iter().flat_map(|(_, made)| [&made.archive, &made.deb]))?;
    let here = all.into_iter().find(|(is_here, _)| *is_here).map(|(_, made)| made);
    here.context("nothing was built for this machine")
}

impl Target {
    fn machine(&self) -> &'static str {
        self.triple.split('-').next().unwrap_or(self.triple)
    }

    fn is_here(&self) -> bool {
        self.machine() == std::env::consts::ARCH
    }

    /// What is missing to build for it.
    fn lacks(&self) -> Result<Option<String>> {
        let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
        if !Path::new(sysroot.trim())
            .join("lib/rustlib")
            .join(self.triple)
            .join("lib")
            .is_dir()
        {
            return Ok(Some(format!(
                "its target is not installed (rustup target add {})",
                self.triple
            )));
        }
        let has_linker = self.is_here() || Command::new(self.linker).arg("--version").output().is_ok();
        Ok((!has_linker).then(|| format!("its linker, {}, is not installed", self.linker)))
    }

    /// The static binary.
    fn build(&self, epoch: u64, purpose: For) -> Result<PathBuf> {
        let mut command = test::cargo_command()?;
        command.args([
            "build",
            "--quiet",
            "--release",
            "--locked",
            "-p",
            "kbo-cli",
            "--target",
            self.triple,
        ]);
        command.env("SOURCE_DATE_EPOCH", epoch.to_string());
        if purpose == For::Trying {
            for (key, value) in [("LTO", "off"), ("CODEGEN_UNITS", "16"), ("OPT_LEVEL", "1")] {
                command.env(format!("CARGO_PROFILE_RELEASE_{key}"), value);
            }
        }
        if !self.is_here() {
            let variable = format!("CARGO_TARGET_{}_LINKER", self.triple.to_uppercase().replace('-', "_"));
            command.env(variable, self.linker);
        }
        let status = command.status().context("cannot run cargo build")?;
        if !status.success() {
            bail!("kbo does not build for {} ({status})", self.machine());
        }
        Ok(crate::target_dir()?.join(self.triple).join("release/kbo"))
    }
}

/// The time that files carry: the commit's, so that the same commit makes the same packages.
fn epoch() -> Result<u64> {
    if let Ok(given) = std::env::var("SOURCE_DATE_EPOCH") {
        return given
            .trim()
            .parse()
            .context("SOURCE_DATE_EPOCH is no number of seconds");
    }
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"]).current_dir(lab::workspace()?);
    output(&mut git)?
        .trim()
        .parse()
        .context("git names no time of the last commit")
}

/// A tool's output; its complaint is the error.
fn output(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command.output().with_context(|| format!("cannot run {shown}"))?;
    if !output.status.success() {
        let said = [output.stderr, output.stdout].concat();
        bail!(
            "{shown} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&said).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
