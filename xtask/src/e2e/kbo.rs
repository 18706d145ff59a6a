//! The kbo under test, run as its user would run it: arguments, environment, exit code, output.

use std::cell::Cell;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// No run of kbo may take longer. The last combined nodes of a quorum may look for one for five minutes when they stop.
const LIMIT: Duration = Duration::from_secs(420);

/// kbo with a configuration and an environment of its own.
#[derive(Clone, Debug)]
pub(crate) struct Kbo {
    program: PathBuf,
    config: PathBuf,
    transcripts: PathBuf,
    env: Vec<(String, OsString)>,
    runs: Rc<Cell<usize>>,
}

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    command: String,
    status: ExitStatus,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
}

/// A run under way. It is killed when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    command: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    begun: Instant,
}

impl Kbo {
    /// The outputs of all runs are kept as files in `transcripts`.
    pub(crate) fn new(program: PathBuf, config: PathBuf, transcripts: PathBuf) -> Result<Self> {
        if transcripts.exists() {
            fs::remove_dir_all(&transcripts).with_context(|| format!("cannot empty {}", transcripts.display()))?;
        }
        fs::create_dir_all(&transcripts).with_context(|| format!("cannot create {}", transcripts.display()))?;
        Ok(Self {
            program,
            config,
            transcripts,
            env: vec![],
            runs: Rc::default(),
        })
    }

    /// The same with one more environment variable.
    pub(crate) fn with(&self, name: &str, value: impl Into<OsString>) -> Self {
        let mut other = self.clone();
        other.env.push((name.to_owned(), value.into()));
        other
    }

    /// The same with another configuration.
    pub(crate) fn configured(&self, config: PathBuf) -> Self {
        let mut other = self.clone();
        other.config = config;
        other
    }

    /// The program itself, for a terminal of its own.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// A place for files of the tests' own, emptied at every start.
    pub(crate) fn scratch(&self) -> &Path {
        &self.transcripts
    }

    /// How many runs there were.
    pub(crate) fn runs(&self) -> usize {
        self.runs.get()
    }

    /// The last lines of every run after the first `seen`.
    pub(crate) fn told_since(&self, seen: usize) -> String {
        let mut text = String::new();
        for run in seen + 1..=self.runs() {
            for kind in ["stderr", "stdout"] {
                let path = self.transcripts.join(format!("{run:03}.{kind}"));
                let told = fs::read_to_string(&path).unwrap_or_default();
                let lines: Vec<&str> = told.lines().collect();
                let last = &lines[lines.len().saturating_sub(25)..];
                if !last.is_empty() {
                    text.push_str(&format!("--- {}\n{}\n", path.display(), last.join("\n")));
                }
            }
        }
        text
    }

    /// Run to the end.
    pub(crate) fn run(&self, args: &[&str]) -> Result<Ran> {
        self.spawn(args)?.end()
    }

    /// Run to the end and insist on an exit code.
    pub(crate) fn expect(&self, code: i32, args: &[&str]) -> Result<Ran> {
        self.run(args)?.expect(code)
    }

    /// Run with `--json`, insist on success, and give the document.
    pub(crate) fn json(&self, args: &[&str]) -> Result<Value> {
        self.expect(0, &[&["--json"], args].concat())?.document()
    }

    /// Start and return.
    pub(crate) fn spawn(&self, args: &[&str]) -> Result<Running> {
        let run = self.runs.get() + 1;
        self.runs.set(run);
        let file = |kind: &str| self.transcripts.join(format!("{run:03}.{kind}"));
        let (stdout, stderr) = (file("stdout"), file("stderr"));
        let create = |path: &Path| File::create(path).with_context(|| format!("cannot create {}", path.display()));
        // Tests under nohup hand on that SIGHUP is ignored, which kbo respects.
        let child = Command::new("env")
            .arg("--default-signal=HUP")
            .arg(&self.program)
            .arg("--config")
            .arg(&self.config)
            .args(args)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(create(&stdout)?)
            .stderr(create(&stderr)?)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        Ok(Running {
            command: format!("kbo {}", args.join(" ")),
            child,
            stdout,
            stderr,
            begun: Instant::now(),
        })
    }
}

impl Running {
    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait().context("cannot wait for kbo")?.is_some())
    }

    /// Wait until it has said that these steps are done; steps are told as they end.
    pub(crate) fn await_steps(&mut self, steps: &[String]) -> Result<()> {
        loop {
            let told = fs::read_to_string(&self.stderr).unwrap_or_default();
            let done = |step: &String| {
                told.lines()
                    .any(|line| line.trim_start().starts_with(&format!("{step}: ")))
            };
            if steps.iter().all(done) {
                return Ok(());
            }
            if self.has_ended()? {
                bail!("`{}` ended before it had done: {}", self.command, steps.join(", "));
            }
            if self.begun.elapsed() > LIMIT {
                bail!("`{}` has not done in time: {}", self.command, steps.join(", "));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Wait until it has said something.
    pub(crate) fn await_text(&self, text: &str) -> Result<()> {
        while !fs::read_to_string(&self.stderr).unwrap_or_default().contains(text) {
            if self.begun.elapsed() > LIMIT {
                bail!("`{}` has not said in time: {text}", self.command);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Wait for its end.
    pub(crate) fn end(mut self) -> Result<Ran> {
        let status = loop {
            if let Some(status) = self.child.try_wait().context("cannot wait for kbo")? {
                break status;
            }
            if self.begun.elapsed() > LIMIT {
                bail!("`{}` did not end within {} s", self.command, LIMIT.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let read = |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
        Ok(Ran {
            command: self.command.clone(),
            status,
            stdout: read(&self.stdout)?,
            stderr: read(&self.stderr)?,
        })
    }

    /// kill -9.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill().context("cannot kill kbo")?;
        self.child.wait().context("cannot wait for kbo")?;
        Ok(())
    }

    /// What Ctrl-C sends.
    pub(crate) fn interrupt(&self) -> Result<()> {
        self.signal("-INT")
    }

    /// Send it a signal.
    pub(crate) fn signal(&self, signal: &str) -> Result<()> {
        let status = Command::new("kill").args([signal, &self.pid().to_string()]).status();
        if !status.context("cannot run kill")?.success() {
            bail!("`{}` cannot be sent {signal}", self.command);
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After `end` there is nothing left to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ran {
    /// Whether it ended with exit code 0.
    pub(crate) fn is_done(&self) -> bool {
        self.status.success()
    }

    /// Insist on an exit code.
    pub(crate) fn expect(self, code: i32) -> Result<Self> {
        if self.status.code() != Some(code) {
            bail!(
                "`{}` ended with {}, not with exit code {code}",
                self.command,
                self.status
            );
        }
        Ok(self)
    }

    /// The document it printed.
    pub(crate) fn document(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("`{}` printed no JSON document", self.command))
    }

    /// Insist that its output names something.
    pub(crate) fn says(self, text: &str) -> Result<Self> {
        if !self.stdout.contains(text) && !self.stderr.contains(text) {
            bail!("`{}` does not say {text:?}", self.command);
        }
        Ok(self)
    }
}
