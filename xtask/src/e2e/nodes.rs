//! What the tests see of the nodes from outside: containers, and what must not stay behind.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::lab::{Kind, Lab};

/// How the folders begin in which kbo stages keystores.
const STAGED: &str = ".kbo-staged";

/// A container as its engine describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Container {
    /// running, exited, ...
    pub(crate) status: String,
    /// When it was last started.
    pub(crate) started: String,
}

impl Container {
    /// Whether it runs.
    pub(crate) fn runs(&self) -> bool {
        self.status == "running"
    }
}

/// Every node's container.
pub(crate) type Containers = BTreeMap<String, Container>;

/// Ask the engines.
pub(crate) fn containers(lab: &Lab) -> Result<Containers> {
    let mut found = Containers::new();
    for node in lab.nodes() {
        let format = "{{.State.Status}} {{.State.StartedAt}}";
        let told = docker(lab, &node.name, &["inspect", "--format", format, &node.name])?;
        let (status, started) = told
            .trim()
            .split_once(' ')
            .with_context(|| format!("the engine says of {}: {told}", node.name))?;
        let container = Container {
            status: status.to_owned(),
            started: started.to_owned(),
        };
        found.insert(node.name.clone(), container);
    }
    Ok(found)
}

/// A docker command to the engine of a node; gives what it prints.
pub(crate) fn docker(lab: &Lab, node: &str, args: &[&str]) -> Result<String> {
    let (status, stdout, stderr) = match lab.kind() {
        Kind::Ssh => {
            let output = lab.exec(node, &[&["docker"], args].concat())?;
            (output.status, output.stdout, output.stderr)
        }
        Kind::Docker => {
            let output = Command::new("docker")
                .args(["--host", "unix:///var/run/docker.sock"])
                .args(args)
                .output()
                .context("cannot run docker")?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (output.status, text(&output.stdout), text(&output.stderr))
        }
    };
    if !status.success() {
        bail!("docker {} ({node}): {}", args.join(" "), stderr.trim());
    }
    Ok(stdout)
}

/// Insist that no container was started or stopped since.
pub(crate) fn untouched(lab: &Lab, before: &Containers) -> Result<()> {
    let now = containers(lab)?;
    for (node, was) in before {
        match now.get(node) {
            Some(is) if is == was => {}
            other => bail!("{node} was touched: it was {was:?}, it is {other:?}"),
        }
    }
    Ok(())
}

/// Insist that what ran runs, and that what did not does not and was not started.
pub(crate) fn as_found(lab: &Lab, before: &Containers) -> Result<()> {
    let now = containers(lab)?;
    for (node, was) in before {
        let is = now.get(node).with_context(|| format!("{node} is gone"))?;
        if was.runs() != is.runs() || (!was.runs() && was.started != is.started) {
            bail!("{node} is not as it was found: it was {was:?}, it is {is:?}");
        }
    }
    Ok(())
}

/// How many containers do not run.
pub(crate) fn stopped(lab: &Lab) -> Result<usize> {
    Ok(containers(lab)?.values().filter(|container| !container.runs()).count())
}

/// Wait for something, within a limit.
pub(crate) fn wait_until(what: &str, limit: Duration, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !holds()? {
        if begun.elapsed() > limit {
            bail!("waited {} s in vain until {what}", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Everything of kbo's that is still on a node: work folders, agents, helper containers.
pub(crate) fn leftovers(lab: &Lab) -> Result<Vec<String>> {
    let mut found = vec![];
    for node in lab.nodes() {
        for dir in [lab.data_path(&node.name)?, lab.config_dir(&node.name)?] {
            let work = dir.parent().context("a directory of a node is the root")?.join(".kbo");
            if work.exists() {
                found.push(work.display().to_string());
            }
        }
        if lab.kind() == Kind::Ssh {
            let certificates = std::fs::read_dir(lab.certificates_dir(&node.name)?)?;
            for entry in certificates.flatten() {
                if entry.file_name().to_string_lossy().starts_with(STAGED) {
                    found.push(entry.path().display().to_string());
                }
            }
            found.extend(
                agents(lab, &node.name)?
                    .iter()
                    .map(|agent| format!("{}: process {agent}", node.name)),
            );
        }
    }
    if lab.kind() == Kind::Docker {
        let helpers = docker(
            lab,
            "",
            &["ps", "--all", "--filter", "name=kbo-helper-", "--format", "{{.Names}}"],
        )?;
        found.extend(helpers.lines().map(|name| format!("container {name}")));
    }
    found.dedup();
    Ok(found)
}

/// The agents in a VM: pid and command line.
fn agents(lab: &Lab, node: &str) -> Result<Vec<String>> {
    let script = "for f in /proc/[0-9]*/cmdline; do \
                  line=$(tr '\\0' ' ' < $f 2>/dev/null) || continue; \
                  case \"$line\" in *kbo*' agent '*) f=${f#/proc/}; echo \"${f%/cmdline} $line\";; esac; done";
    let output = lab.exec(node, &["sh", "-c", script])?;
    Ok(output
        .stdout
        .lines()
        .filter(|line| !line.contains("/proc/[0-9]"))
        .map(str::to_owned)
        .collect())
}

/// Remove everything of kbo's by force, so that the next case begins on clean nodes.
pub(crate) fn clear_away(lab: &Lab) -> Result<()> {
    for node in lab.nodes() {
        if lab.kind() == Kind::Ssh {
            for entry in std::fs::read_dir(lab.certificates_dir(&node.name)?)?.flatten() {
                if entry.file_name().to_string_lossy().starts_with(STAGED) {
                    std::fs::remove_dir_all(entry.path())?;
                }
            }
            for agent in agents(lab, &node.name)? {
                let pid = agent.split(' ').next().unwrap_or_default();
                lab.exec(&node.name, &["kill", "-9", pid])?;
            }
        }
    }
    if lab.kind() == Kind::Docker {
        let helpers = docker(lab, "", &["ps", "--all", "--quiet", "--filter", "name=kbo-helper-"])?;
        for helper in helpers.split_whitespace() {
            docker(lab, "", &["rm", "--force", helper])?;
        }
    }
    for node in lab.nodes() {
        for dir in [lab.data_path(&node.name)?, lab.config_dir(&node.name)?] {
            let work = dir.with_file_name(".kbo");
            if work.exists() {
                std::fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))?;
            }
        }
    }
    Ok(())
}

/// A backup's manifest tells of every node what it is and which Kafka it ran.
pub(crate) fn recorded(world: &super::World, id: &str) -> Result<()> {
    let manifest = world.manifest(id)?;
    let records = manifest["nodes"].as_array().context("the manifest has no nodes")?;
    for node in world.lab.nodes() {
        let record = records
            .iter()
            .find(|record| record["name"] == node.name.as_str())
            .with_context(|| format!("the manifest has no node {}", node.name))?;
        let version = world.lab.kafka_version();
        if record["kafka_version"] != version || record["clean_stop"]["clean"] != true || record["node_id"].is_null() {
            bail!(
                "the manifest says of {}, which runs Kafka {version}: version {}, clean stop {}, node id {}",
                node.name,
                record["kafka_version"],
                record["clean_stop"],
                record["node_id"],
            );
        }
    }
    Ok(())
}
