//! The cluster of six containers of one engine: a network of their own, data in named volumes, configuration in bound directories.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::engine::{self, Engine, docker};
use super::kafka::{self, Node};
use super::state::State;
use super::{Kind, image, packages, paths};

/// Kafka's configuration directory in a container.
const CONFIG: &str = "/etc/kafka";
/// Kafka's log.dirs in a container.
const DATA: &str = "/var/lib/kafka/data";
/// The network, and the label of all containers, which holds the directory of the clone's lab.
const NETWORK: &str = "kbo-lab";
const LABEL: &str = "kbo.lab";
const SUBNET: &str = "172.28.77.0/24";

fn volume(node: &str) -> String {
    format!("{node}-data")
}

/// The host's directory that a container sees as /etc/kafka.
pub(super) fn config_dir(node: &str) -> Result<PathBuf> {
    Ok(paths::lab_dir(Kind::Docker)?.join("config").join(node))
}

/// The host's directory of a node's named volume.
pub(super) fn data_dir(node: &str) -> Result<PathBuf> {
    let mount = docker()
        .args(["volume", "inspect", "--format", "{{.Mountpoint}}", &volume(node)])
        .output()?;
    Ok(PathBuf::from(mount.trim()))
}

/// Start or use an engine, load the image, and start Kafka.
pub(super) fn up(state: &State) -> Result<()> {
    packages::ensure(packages::COMMON)?;
    let archive = image::archive(&state.kafka_version)?;
    Engine::ensure()?;
    let tag = image::tag(&state.kafka_version);
    if !docker().args(["image", "inspect", &tag]).succeeds() {
        crate::say("lab: loading the image");
        docker().arg("load").stdin(&archive)?.run()?;
    }
    let dir = paths::lab_dir(Kind::Docker)?;
    let nodes = kafka::nodes(Kind::Docker);
    docker()
        .args([
            "network",
            "create",
            "--subnet",
            SUBNET,
            "--opt",
            "com.docker.network.bridge.name=kbo-lab0",
            NETWORK,
        ])
        .run()?;
    for node in &nodes {
        let config = config_dir(&node.name)?;
        // apache/kafka declares /etc/kafka/secrets a volume; below a read-only mount its mount point must be there already.
        let secrets = config.join("secrets");
        fs::create_dir_all(&secrets).with_context(|| format!("cannot create {}", secrets.display()))?;
        for (name, text) in kafka::config_files(Kind::Docker, node, DATA) {
            fs::write(config.join(name), text)?;
        }
        docker()
            .args(["volume", "create", "--label", LABEL, &volume(&node.name)])
            .run()?;
        std::os::unix::fs::chown(data_dir(&node.name)?, Some(1000), Some(1000))?;
    }
    crate::say("lab: starting six containers");
    for node in &nodes {
        run_container(node, &nodes, &dir, &tag)?;
    }
    write_config(&dir, &nodes, &tag)
}

fn run_container(node: &Node, nodes: &[Node], dir: &Path, tag: &str) -> Result<()> {
    let config = format!("{}:{CONFIG}:ro", config_dir(&node.name)?.display());
    docker()
        .args([
            "run",
            "--detach",
            "--name",
            &node.name,
            "--hostname",
            &node.name,
            "--network",
            NETWORK,
            "--ip",
            &node.ip,
        ])
        .args(
            nodes
                .iter()
                .map(|other| format!("--add-host={}:{}", other.name, other.ip)),
        )
        .args(["--label", &format!("{LABEL}={}", dir.display())])
        .args([
            "--restart",
            "always",
            "--user",
            "1000:1000",
            "--stop-timeout",
            kafka::STOP_TIMEOUT,
            "--log-opt",
            "max-size=20m",
        ])
        .args([
            "--volume",
            &config,
            "--volume",
            &format!("{}:{DATA}", volume(&node.name)),
        ])
        .args([
            "--entrypoint",
            "/bin/sh",
            tag,
            "-c",
            &kafka::container_script(Kind::Docker, DATA),
        ])
        .run()
        .with_context(|| format!("cannot start Kafka in {}", node.name))
}

fn write_config(dir: &Path, nodes: &[Node], tag: &str) -> Result<()> {
    let store = dir.join("store");
    fs::create_dir_all(&store)?;
    let mut text = format!(
        "[cluster]\nname = {:?}\nid = \"{}\"\n\n[storage]\ncold = {store:?}\n\n\
         [docker]\nhost = \"{}\"\n\n\
         [defaults]\ntransport = \"docker\"\nconfig = \"{CONFIG}\"\ndata = \"{DATA}\"\n",
        kafka::cluster_name(Kind::Docker),
        kafka::cluster_id(Kind::Docker),
        engine::SOCKET,
    );
    let hosts: Vec<String> = nodes.iter().map(|node| format!("{}:{}", node.name, node.ip)).collect();
    text.push_str(&format!(
        "\n[defaults.container]\nimage = {tag:?}\n{}network = {NETWORK:?}\nports = []\nrestart = \"always\"\nextra_hosts = {hosts:?}\n\
         labels = {{ {LABEL:?} = {:?} }}\n",
        kafka::container_toml(Kind::Docker, DATA),
        dir.display().to_string(),
    ));
    for node in nodes {
        text.push_str(&format!(
            "\n[[node]]\nname = \"{}\"\nrole = \"{}\"\n\n[node.container]\nip = {:?}\nmounts = [{:?}, {:?}]\n",
            node.name,
            node.role.name(),
            node.ip,
            format!("{}:{CONFIG}:ro", config_dir(&node.name)?.display()),
            format!("{}:{DATA}", volume(&node.name)),
        ));
    }
    fs::write(dir.join("kbo.toml"), text).context("cannot write kbo.toml")
}

/// Where the files of the lab that holds the names lie, whichever clone made it; nothing when no name is taken.
pub(super) fn owner() -> Option<String> {
    if !engine::answers() {
        return None;
    }
    let found = |args: &[&str]| docker().args(args).output().unwrap_or_default().trim().to_owned();
    let format = format!("{{{{.Label \"{LABEL}\"}}}}");
    let containers = found(&[
        "ps",
        "--all",
        "--filter",
        &format!("label={LABEL}"),
        "--format",
        &format,
    ]);
    if let Some(dir) = containers.lines().next() {
        return Some(dir.to_owned());
    }
    let left = [
        found(&["network", "ls", "--quiet", "--filter", &format!("name=^{NETWORK}$")]),
        found(&["volume", "ls", "--quiet", "--filter", &format!("label={LABEL}")]),
    ];
    left.iter()
        .any(|ids| !ids.is_empty())
        .then(|| super::UNKNOWN_OWNER.to_owned())
}

/// Remove containers, volumes and network by name and label, and stop the engine if the lab started it.
pub(super) fn down() -> Result<()> {
    if engine::answers() {
        let label = format!("label={LABEL}");
        remove(
            &["ps", "--all", "--quiet", "--filter", &label],
            &["rm", "--force", "--volumes"],
        )?;
        remove(
            &["volume", "ls", "--quiet", "--filter", &label],
            &["volume", "rm", "--force"],
        )?;
        remove(
            &["network", "ls", "--quiet", "--filter", &format!("name=^{NETWORK}$")],
            &["network", "rm"],
        )?;
    }
    engine::stop_ours()
}

fn remove(list: &[&str], action: &[&str]) -> Result<()> {
    let found = docker().args(list).output()?;
    let ids: Vec<&str> = found.split_whitespace().collect();
    if ids.is_empty() {
        Ok(())
    } else {
        docker().args(action).args(ids).run()
    }
}
