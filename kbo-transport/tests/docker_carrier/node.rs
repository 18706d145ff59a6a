//! A container that stands in for a node, with a volume, in an image made of this machine's own shell.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use kbo_transport::docker::{DockerCarrier, DockerSettings, HELPER_LABEL, NODE_LABEL};
use tempfile::TempDir;

pub(crate) const IMAGE: &str = "kbo-test/shell:1";

/// What the image consists of, besides the libraries of these.
const TOOLS: [&str; 10] = ["sh", "cat", "head", "tr", "sleep", "id", "ln", "rm", "wc", "mkdir"];

/// What stands in for the agent.
const STAND_IN: &str = r#"#!/bin/sh
case "$1" in
echo) exec cat ;;
zeros) exec head -c 2147483648 /dev/zero ;;
count) exec wc -c ;;
busy) cat /dev/zero & cat > /dev/null; kill $! ;;
flood) head -c 20000000 /dev/zero | tr '\0' e >&2; echo done ;;
fail) echo "it cannot be done" >&2; exit 3 ;;
look)
    echo "uid $(id -u)"
    echo "content $(cat /kbo/m0/_data/file)"
    mkdir /kbo/m0/.kbo && ln /kbo/m0/_data/file /kbo/m0/.kbo/file && echo linked
    rm -r /kbo/m0/.kbo
    [ -S /var/run/docker.sock ] && echo engine ;;
*) exit 9 ;;
esac
"#;

/// A running container; it and all of its helpers go at the end.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) dir: TempDir,
}

impl Node {
    /// Starts one, or says what is missing: loudly, and in CI as a failure.
    pub(crate) fn start() -> Option<Self> {
        match Self::try_start() {
            Ok(node) => Some(node),
            Err(missing) => {
                let why = format!("no container engine for this test: {missing}");
                assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{why}");
                // Not by a macro: those are captured, and a skipped test must be seen.
                let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
                None
            }
        }
    }

    fn try_start() -> Result<Self, String> {
        run(&["version"])?;
        make_image()?;
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        fs::write(dir.path().join("stand-in"), STAND_IN).map_err(|error| error.to_string())?;
        let unique = dir
            .path()
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let node = Self {
            name: format!("kbo-test-{}", unique.trim_start_matches('.')),
            dir,
        };
        let volume = format!("{}:/data", node.name);
        run(&[
            "run",
            "-d",
            "--name",
            &node.name,
            "--network",
            "none",
            "--user",
            "1000",
            "-v",
            &volume,
            IMAGE,
            "/bin/sleep",
            "1000",
        ])?;
        run(&[
            "exec",
            "--user",
            "0",
            &node.name,
            "/bin/sh",
            "-c",
            "printf kafka > /data/file",
        ])?;
        Ok(node)
    }

    pub(crate) fn settings(&self, role: &[&str]) -> DockerSettings {
        let mut settings = DockerSettings::new(engine(), &self.name, vec!["/data".into()]);
        settings.socket_on_engine = engine().trim_start_matches("unix://").to_owned();
        settings.agent_binary = self.dir.path().join("stand-in");
        settings.agent_args = role.iter().map(|word| (*word).to_owned()).collect();
        settings
    }

    pub(crate) fn carrier(&self, role: &[&str]) -> DockerCarrier {
        DockerCarrier::new(self.settings(role))
    }

    /// The names of its helpers, running or not.
    pub(crate) fn helpers(&self) -> Vec<String> {
        let (flag, node) = (
            format!("label={HELPER_LABEL}=1"),
            format!("label={NODE_LABEL}={}", self.name),
        );
        let names = docker(&[
            "ps",
            "-a",
            "--filter",
            &flag,
            "--filter",
            &node,
            "--format",
            "{{.Names}}",
        ]);
        names.lines().map(str::to_owned).collect()
    }

    pub(crate) async fn no_helper_within(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while !self.helpers().is_empty() {
            if Instant::now() > end {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        true
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for helper in self.helpers() {
            docker(&["rm", "-f", "-v", &helper]);
        }
        docker(&["rm", "-f", "-v", &self.name]);
        docker(&["volume", "rm", "-f", &self.name]);
    }
}

/// The engine under test.
pub(crate) fn engine() -> String {
    std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".into())
}

fn run(arguments: &[&str]) -> Result<String, String> {
    let out = Command::new("docker").args(arguments).stdin(Stdio::null()).output();
    let out = out.map_err(|error| format!("docker: {error}"))?;
    if !out.status.success() {
        return Err(format!(
            "docker {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&out.stderr).trim()
        ));
    }
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// What a docker command says; nothing where it fails.
pub(crate) fn docker(arguments: &[&str]) -> String {
    run(arguments).unwrap_or_default()
}

/// A docker command that must not fail.
pub(crate) fn succeeds(arguments: &[&str]) {
    run(arguments).unwrap();
}

/// Imports the tools and their libraries as an image, once.
fn make_image() -> Result<(), String> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().map_err(|error| error.to_string())?;
    if run(&["image", "inspect", IMAGE]).is_ok() {
        return Ok(());
    }
    let root = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut files = BTreeSet::new();
    for tool in TOOLS {
        let path = shell(&format!("command -v {tool}"))?;
        let target = root.path().join("bin").join(tool);
        fs::create_dir_all(root.path().join("bin")).map_err(|error| error.to_string())?;
        fs::copy(&path, &target).map_err(|error| format!("{path}: {error}"))?;
        fs::set_permissions(&target, fs::Permissions::from_mode(0o755)).map_err(|error| error.to_string())?;
        let libraries = shell(&format!("ldd {path} || true"))?;
        files.extend(
            libraries
                .split_whitespace()
                .filter(|word| word.starts_with('/'))
                .map(str::to_owned),
        );
    }
    for file in files {
        let target = root.path().join(file.trim_start_matches('/'));
        fs::create_dir_all(target.parent().unwrap_or(Path::new("/"))).map_err(|error| error.to_string())?;
        fs::copy(&file, &target).map_err(|error| format!("{file}: {error}"))?;
    }
    shell(&format!(
        "tar -C '{}' -c . | docker import - {IMAGE}",
        root.path().display()
    ))
    .map(drop)
}

fn shell(script: &str) -> Result<String, String> {
    let out = Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if !out.status.success() {
        return Err(format!("{script}: {}", String::from_utf8_lossy(&out.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}
