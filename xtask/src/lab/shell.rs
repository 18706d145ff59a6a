//! System tools as child processes, with errors that say what was run and what it answered.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

/// What a finished command left.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// A command to run; by default stdin is empty, stdout and stderr are captured.
pub(super) struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
    stdin: Option<File>,
}

impl Cmd {
    pub(super) fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            envs: Vec::new(),
            stdin: None,
        }
    }

    pub(super) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub(super) fn args<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub(super) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.envs.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Feed a file to the command's stdin.
    pub(super) fn stdin(mut self, path: &Path) -> Result<Self> {
        self.stdin = Some(File::open(path).with_context(|| format!("cannot open {}", path.display()))?);
        Ok(self)
    }

    /// Run to the end and fail unless it succeeded.
    pub(super) fn run(self) -> Result<()> {
        self.output().map(drop)
    }

    /// Run to the end, fail unless it succeeded, and give its stdout.
    pub(super) fn output(self) -> Result<String> {
        let shown = self.to_string();
        let output = self.finish()?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said = if output.stderr.trim().is_empty() {
            &output.stdout
        } else {
            &output.stderr
        };
        bail!("`{shown}` failed ({}): {}", output.status, tail(said));
    }

    /// Run to the end and tell only whether it succeeded.
    pub(super) fn succeeds(self) -> bool {
        self.finish().is_ok_and(|output| output.status.success())
    }

    /// Run to the end, whatever its outcome.
    pub(super) fn finish(self) -> Result<Output> {
        let shown = self.to_string();
        let stdin = self
            .stdin
            .as_ref()
            .map(File::try_clone)
            .transpose()?
            .map_or_else(Stdio::null, Stdio::from);
        let output = self
            .command()
            .stdin(stdin)
            .output()
            .with_context(|| format!("cannot run `{shown}`"))?;
        Ok(Output {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Run with this process's own stdin, stdout and stderr.
    pub(super) fn attached(self) -> Result<ExitStatus> {
        let shown = self.to_string();
        self.command().status().with_context(|| format!("cannot run `{shown}`"))
    }

    /// Start it and return while it runs, its output in a log file, in a session of its own.
    pub(super) fn spawn_logged(self, log: &Path) -> Result<Child> {
        let shown = self.to_string();
        let file = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
        let again = file.try_clone().context("cannot share the log file")?;
        let mut command = Command::new("setsid");
        command
            .arg(&self.program)
            .args(&self.args)
            .envs(self.envs.iter().map(|(k, v)| (k, v)));
        command.stdin(Stdio::null()).stdout(file).stderr(again);
        command.spawn().with_context(|| format!("cannot start `{shown}`"))
    }

    /// Start it with its stdin and stdout held by the caller.
    pub(super) fn spawn_piped(self) -> Result<Child> {
        let shown = self.to_string();
        let mut command = self.command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.spawn().with_context(|| format!("cannot start `{shown}`"))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).envs(self.envs.iter().map(|(k, v)| (k, v)));
        command
    }
}

impl std::fmt::Display for Cmd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.program.display())?;
        for arg in &self.args {
            let arg = arg.to_string_lossy();
            let cut = arg.find('\n').unwrap_or(arg.len());
            write!(f, " {}{}", &arg[..cut], if cut < arg.len() { "..." } else { "" })?;
        }
        Ok(())
    }
}

/// The last lines of a tool's complaint; the first ones are seldom the reason.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(6)..].join("; ")
}
