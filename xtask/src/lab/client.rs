//! The lab's Kafka client: a Java program on Kafka's own jars, compiled on first use.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, ExitStatus};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::shell::Cmd;
use super::{packages, paths};

/// The client, ready to run against one cluster.
pub(super) struct Client {
    classpath: String,
    bootstrap: String,
    secure: Option<Secure>,
}

/// What a client of a cluster with TLS needs.
pub(super) struct Secure {
    /// Its properties: protocol, credentials, truststore.
    pub(super) properties: PathBuf,
    /// The addresses of all names that there are for it.
    pub(super) hosts: PathBuf,
}

impl Client {
    pub(super) fn new(jars: PathBuf, version: &str, bootstrap: String, secure: Option<Secure>) -> Result<Self> {
        let classes = compile(&jars, version)?;
        Ok(Self {
            classpath: format!("{}:{}/*", classes.display(), jars.display()),
            bootstrap,
            secure,
        })
    }

    /// Run a subcommand and give the document it prints.
    pub(super) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Value> {
        let printed = self.command(args)?.output()?;
        let line = printed.lines().last().context("the lab's client printed nothing")?;
        serde_json::from_str(line).with_context(|| format!("the lab's client printed no JSON: {line}"))
    }

    pub(super) fn attached<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<ExitStatus> {
        self.command(args)?.attached()
    }

    pub(super) fn probe(&self, topic: &str) -> Result<Probe> {
        let mut child = self.command(["probe", "--topic", topic])?.spawn_piped()?;
        let stdout = child.stdout.take().context("the probe has no stdout")?;
        let mut probe = Probe {
            child,
            stdout: BufReader::new(stdout),
        };
        probe.line()?;
        Ok(probe)
    }

    fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Cmd> {
        let mut args = args.into_iter();
        let subcommand = args.next().context("the lab's client wants a subcommand")?;
        // Kafka 4 logs by log4j2, Kafka 3 by reload4j.
        let log4j2 = format!(
            "-Dlog4j2.configurationFile={}",
            paths::source("log4j2.properties")?.display()
        );
        let reload4j = format!(
            "-Dlog4j.configuration=file:{}",
            paths::source("log4j.properties")?.display()
        );
        let mut java = Cmd::new("java").args(["-Xmx768m", "-XX:+UseParallelGC", &log4j2, &reload4j]);
        if let Some(secure) = &self.secure {
            java = java.arg(format!("-Djdk.net.hosts.file={}", secure.hosts.display()));
        }
        let mut client = java
            .arg("-cp")
            .arg(&self.classpath)
            .arg("LabClient")
            .arg(subcommand)
            .args(["--bootstrap", &self.bootstrap]);
        if let Some(secure) = &self.secure {
            client = client.arg("--properties").arg(&secure.properties);
        }
        Ok(client.args(args))
    }
}

/// A client that writes to a topic without pause. It ends with `finish`; when dropped it is killed.
#[derive(Debug)]
pub struct Probe {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Probe {
    /// Stop writing and give `longest_gap_ms`, `longest_silence_ms`, `acked` and `failed`.
    ///
    /// # Errors
    ///
    /// Fails when the client has ended early.
    pub fn finish(mut self) -> Result<Value> {
        drop(self.child.stdin.take());
        let line = self.line()?;
        self.child.wait().context("cannot wait for the probe")?;
        serde_json::from_str(&line).with_context(|| format!("the probe printed no JSON: {line}"))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line).context("cannot read from the probe")?;
        if line.is_empty() {
            bail!("the probe ended before its time");
        }
        Ok(line)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // After `finish` there is nothing left to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The compiled client for one version of Kafka, made anew when its source is newer.
fn compile(jars: &Path, version: &str) -> Result<PathBuf> {
    let source = paths::source("LabClient.java")?;
    let classes = paths::cache_dir()?.join("classes").join(version);
    let made = |file: &Path| fs::metadata(file).and_then(|found| found.modified()).ok();
    if made(&classes.join("LabClient.class"))
        .is_some_and(|compiled| made(&source).is_some_and(|written| written < compiled))
    {
        return Ok(classes);
    }
    packages::ensure(packages::COMMON)?;
    let new = paths::cache_dir()?
        .join("classes")
        .join(format!("{version}.{}.new", std::process::id()));
    fs::create_dir_all(&new).with_context(|| format!("cannot create {}", new.display()))?;
    Cmd::new("javac")
        .args(["-nowarn", "-Xlint:none", "-d"])
        .arg(&new)
        .arg("-cp")
        .arg(format!("{}/*", jars.display()))
        .arg(&source)
        .run()
        .context("cannot compile the lab's client")?;
    // A directory cannot be renamed over one with files in it.
    if classes.exists() {
        fs::remove_dir_all(&classes)?;
    }
    fs::rename(&new, &classes).with_context(|| format!("cannot rename {} to {}", new.display(), classes.display()))?;
    Ok(classes)
}
