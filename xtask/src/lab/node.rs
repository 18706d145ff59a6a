//! A lab that is up: what tests and demonstrations do to it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::client::{Client, Probe, Secure};
use super::kafka::{self, Node, Role};
use super::shell::{Cmd, Output};
use super::state::State;
use super::{Kind, docker_cluster, engine, image, paths, secured, ssh_cluster, vm};

/// How long a container may take to stop in good order, in seconds.
const STOP_SECONDS: &str = "120";

/// A handle to one cluster of the lab.
#[derive(Debug)]
pub struct Lab {
    kind: Kind,
    state: State,
    nodes: Vec<Node>,
}

impl Lab {
    /// Bring a cluster up and wait until it takes records. One that is up already is only made whole.
    ///
    /// # Errors
    ///
    /// Fails when the machine lacks something, when another clone's lab is in the way, or when Kafka does not come up; what was begun
    /// is left for a look, and the next `up` or `down` clears it away.
    pub fn up(kind: Kind) -> Result<Self> {
        super::require_root()?;
        let _lock = paths::lock()?;
        if let Some(lab) = Self::standing(kind)? {
            for node in &lab.nodes {
                lab.start(&node.name)?;
            }
            lab.wait_ready(Duration::from_secs(180))?;
            return Ok(lab);
        }
        let began_one = State::load(kind)?.is_some();
        if let Some(owner) = Self::owner(kind) {
            let clearable = Self::owned(kind, &owner)? || (began_one && owner == super::UNKNOWN_OWNER);
            if !clearable {
                bail!(
                    "another {0} lab is up (its files: {owner}). Take it down first: `cargo xtask lab down {0}` does that from any \
                     clone, by name",
                    kind.name()
                );
            }
        }
        // Also when the record is gone: a removal may have been cut short.
        if paths::lab_dir(kind)?.exists() {
            crate::say(&format!("lab: clearing away what an earlier {} lab left", kind.name()));
            Self::remove(kind)?;
        }
        let mut state = State::new(kafka::version());
        state.save(kind)?;
        match kind {
            Kind::Ssh => ssh_cluster::up(&mut state)?,
            Kind::Docker => docker_cluster::up(&state)?,
        }
        let lab = Self {
            kind,
            state,
            nodes: kafka::nodes(kind),
        };
        crate::say("lab: waiting for Kafka");
        lab.client()?.run(["ready", "--write"])?;
        let mut state = lab.state.clone();
        state.complete = true;
        state.save(kind)?;
        Ok(Self { state, ..lab })
    }

    /// The lab of this clone if it is up as it was left, with the version that is asked for.
    fn standing(kind: Kind) -> Result<Option<Self>> {
        let Some(lab) = Self::open_if_present(kind)? else {
            return Ok(None);
        };
        if !lab.state.complete || lab.nodes.iter().any(|node| lab.container_state(&node.name).is_err()) {
            return Ok(None);
        }
        match kafka::wanted_version() {
            Some(wanted) if wanted != lab.state.kafka_version => bail!(
                "the {0} lab runs Kafka {1}, and KAFKA_VERSION asks for {wanted}: take it down first with `cargo xtask lab down {0}`",
                kind.name(),
                lab.state.kafka_version
            ),
            _ => Ok(Some(lab)),
        }
    }

    /// Take a cluster down and remove everything of it. Nothing of it need be there.
    ///
    /// # Errors
    ///
    /// Fails when something does not go away; calling it again is safe.
    pub fn down(kind: Kind) -> Result<()> {
        super::require_root()?;
        let _lock = paths::lock()?;
        Self::remove(kind)
    }

    fn remove(kind: Kind) -> Result<()> {
        // A record that cannot be read must not keep anything alive: all that matters goes by its name.
        let state = State::load(kind).ok().flatten();
        match kind {
            Kind::Ssh => ssh_cluster::down(state.as_ref())?,
            Kind::Docker => docker_cluster::down()?,
        }
        let dir = paths::lab_dir(kind)?;
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        }
        Ok(())
    }

    /// The lab of this clone that is up.
    ///
    /// # Errors
    ///
    /// Fails when there is none.
    pub fn open(kind: Kind) -> Result<Self> {
        match Self::open_if_present(kind)? {
            Some(lab) => Ok(lab),
            None => bail!(
                "the {0} lab is down: bring it up with `cargo xtask lab up {0}`",
                kind.name()
            ),
        }
    }

    pub(super) fn open_if_present(kind: Kind) -> Result<Option<Self>> {
        // A record may outlive its lab, and another clone's may have taken its place.
        let ours = Self::owner(kind).map_or(Ok(false), |owner| Self::owned(kind, &owner))?;
        Ok(State::load(kind)?.filter(|_| ours).map(|state| Self {
            kind,
            state,
            nodes: kafka::nodes(kind),
        }))
    }

    /// Where the files of the lab lie that holds the names on this machine, whichever clone made it.
    pub(super) fn owner(kind: Kind) -> Option<String> {
        match kind {
            Kind::Ssh => vm::owner(&kafka::nodes(kind)),
            Kind::Docker => docker_cluster::owner(),
        }
    }

    fn owned(kind: Kind, owner: &str) -> Result<bool> {
        Ok(Path::new(owner).starts_with(paths::lab_dir(kind)?))
    }

    /// Which of the clusters this is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The version of Kafka it runs.
    #[must_use]
    pub fn kafka_version(&self) -> &str {
        &self.state.kafka_version
    }

    /// All nodes, controllers first.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The nodes that hold data.
    pub fn brokers(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.role == Role::Broker)
    }

    /// What its kbo.toml calls the cluster.
    #[must_use]
    pub fn cluster_name(&self) -> &'static str {
        kafka::cluster_name(self.kind)
    }

    /// The cluster id in every meta.properties.
    #[must_use]
    pub fn cluster_id(&self) -> &'static str {
        kafka::cluster_id(self.kind)
    }

    /// Where clients find the brokers.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        match self.is_secured() {
            true => secured::bootstrap(&self.nodes),
            false => kafka::bootstrap(self.kind),
        }
    }

    /// Whether clients need TLS and a password.
    #[must_use]
    pub fn is_secured(&self) -> bool {
        self.client_properties().exists()
    }

    /// What they need, while they need it.
    pub(super) fn client_properties(&self) -> PathBuf {
        self.dir().join("client.properties")
    }

    /// The directory of the lab's files: kbo.toml, store, and for `ssh` the key and known_hosts.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        paths::lab_dir(self.kind).unwrap_or_default()
    }

    /// The kbo.toml for this cluster.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.dir().join("kbo.toml")
    }

    /// Run a command in a VM, or in a container that runs, and give what it left, whatever its outcome.
    ///
    /// # Errors
    ///
    /// Fails when the node is unknown or down.
    pub fn exec<S: AsRef<OsStr>>(&self, node: &str, command: &[S]) -> Result<Output> {
        self.inside(node, false)?.args(command).finish()
    }

    /// The same with this process's own stdin, stdout and stderr.
    ///
    /// # Errors
    ///
    /// Fails when the node is unknown or down.
    pub fn exec_attached<S: AsRef<OsStr>>(&self, node: &str, command: &[S]) -> Result<ExitStatus> {
        self.inside(node, true)?.args(command).attached()
    }

    fn inside(&self, node: &str, interactive: bool) -> Result<Cmd> {
        let node = self.node(node)?;
        match self.kind {
            Kind::Ssh => Ok(vm::enter(self.vm_pid(node)?)),
            Kind::Docker => {
                let exec = engine::docker()
                    .arg("exec")
                    .args(interactive.then_some("--interactive"));
                Ok(exec.args(["--user", "0", &node.name]))
            }
        }
    }

    /// A docker command to the engine that runs the node's container.
    fn docker(&self, node: &Node) -> Result<Cmd> {
        match self.kind {
            Kind::Ssh => Ok(vm::enter(self.vm_pid(node)?).args(["docker", "--host", engine::SOCKET])),
            Kind::Docker => Ok(engine::docker()),
        }
    }

    /// Stop a node's container in good order.
    ///
    /// # Errors
    ///
    /// Fails when the engine does.
    pub fn stop(&self, node: &str) -> Result<()> {
        let node = self.node(node)?;
        self.docker(node)?
            .args(["stop", "--time", STOP_SECONDS, &node.name])
            .run()
    }

    /// Start a node's container; one that runs stays as it is.
    ///
    /// # Errors
    ///
    /// Fails when the engine does.
    pub fn start(&self, node: &str) -> Result<()> {
        let node = self.node(node)?;
        self.docker(node)?.args(["start", &node.name]).run()
    }

    /// Kill a node's container: the unclean stop. It stays down until `start`.
    ///
    /// # Errors
    ///
    /// Fails when the engine does.
    pub fn kill(&self, node: &str) -> Result<()> {
        let node = self.node(node)?;
        self.docker(node)?.args(["kill", &node.name]).run()
    }

    /// Stop the engine of a VM, as a restart of its service does, and start it with the same arguments.
    ///
    /// # Errors
    ///
    /// Fails when the engine does not come back.
    pub fn restart_engine(&self, node: &str) -> Result<()> {
        const SCRIPT: &str = r#"
            pid=$(pgrep -x dockerd)
            command=$(tr '\0' ' ' < /proc/$pid/cmdline)
            kill "$pid"
            while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
            setsid $command > /tmp/dockerd.log 2>&1 < /dev/null &
            tries=0
            until docker --host unix:///var/run/docker.sock version > /dev/null 2>&1; do
                tries=$((tries + 1)); [ $tries -lt 300 ] || exit 1; sleep 0.1
            done"#;
        let ended = self.exec(node, &["sh", "-c", SCRIPT])?;
        if !ended.status.success() {
            bail!("the engine of {node} does not come back: {}", ended.stderr.trim());
        }
        Ok(())
    }

    /// The state of a node's container, as the engine names it: running, exited, ...
    ///
    /// # Errors
    ///
    /// Fails when the engine does not answer or has no such container.
    pub fn container_state(&self, node: &str) -> Result<String> {
        let node = self.node(node)?;
        let state = self
            .docker(node)?
            .args(["inspect", "--format", "{{.State.Status}}", &node.name])
            .output()?;
        Ok(state.trim().to_owned())
    }

    /// What a node's container has printed.
    ///
    /// # Errors
    ///
    /// Fails when the engine does.
    pub fn container_log(&self, node: &str) -> Result<String> {
        let node = self.node(node)?;
        let output = self
            .docker(node)?
            .args(["logs", "--tail", "2000", &node.name])
            .finish()?;
        Ok(output.stdout + &output.stderr)
    }

    /// A node's data directory as this machine sees it.
    ///
    /// # Errors
    ///
    /// Fails when the node or its volume is unknown.
    pub fn data_path(&self, node: &str) -> Result<PathBuf> {
        let node = self.node(node)?;
        match self.kind {
            Kind::Ssh => Ok(ssh_cluster::vm_dir(&node.name)?.join("data/cluster/data")),
            Kind::Docker => docker_cluster::data_dir(&node.name),
        }
    }

    /// A node's configuration directory as this machine sees it.
    ///
    /// # Errors
    ///
    /// Fails when the node is unknown.
    pub fn config_dir(&self, node: &str) -> Result<PathBuf> {
        let node = self.node(node)?;
        match self.kind {
            Kind::Ssh => Ok(ssh_cluster::vm_dir(&node.name)?.join("data/cluster/config")),
            Kind::Docker => docker_cluster::config_dir(&node.name),
        }
    }

    /// The directory of a node's keystores as this machine sees it; only the VMs have one.
    ///
    /// # Errors
    ///
    /// Fails when the node is unknown.
    pub fn certificates_dir(&self, node: &str) -> Result<PathBuf> {
        let node = self.node(node)?;
        Ok(ssh_cluster::vm_dir(&node.name)?.join("data/cluster/certificates"))
    }

    /// The names in a node's data directory, sorted.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be read.
    pub fn list_data(&self, node: &str) -> Result<Vec<String>> {
        let dir = self.data_path(node)?;
        let entries = fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))?;
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The number of files in a node's data directory, at any depth.
    ///
    /// # Errors
    ///
    /// Fails when a directory cannot be read.
    pub fn count_files(&self, node: &str) -> Result<usize> {
        let mut dirs = vec![self.data_path(node)?];
        let mut count = 0;
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    dirs.push(entry.path());
                } else {
                    count += 1;
                }
            }
        }
        Ok(count)
    }

    /// Delete everything in a node's data directory, which itself stays: a new, empty disk.
    ///
    /// # Errors
    ///
    /// Fails when the container still runs, or when something cannot be deleted.
    pub fn wipe_data(&self, node: &str) -> Result<()> {
        if self.container_state(node)? == "running" {
            bail!("{node} runs: stop it before its data is wiped");
        }
        let dir = self.data_path(node)?;
        for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
            let entry = entry?;
            let removed = if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())
            } else {
                fs::remove_file(entry.path())
            };
            removed.with_context(|| format!("cannot remove {}", entry.path().display()))?;
        }
        Ok(())
    }

    /// Wait until every broker is registered and every partition has its full ISR.
    ///
    /// # Errors
    ///
    /// Fails with what is missing when the time is over.
    pub fn wait_ready(&self, limit: Duration) -> Result<()> {
        self.client()?
            .run(["ready".to_owned(), "--timeout".to_owned(), limit.as_secs().to_string()])
            .map(drop)
    }

    /// Run the lab's Kafka client and give the document it prints.
    ///
    /// # Errors
    ///
    /// Fails with the client's own complaint.
    pub fn client_run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Value> {
        self.client()?.run(args)
    }

    /// The same against brokers that are not the lab's own: the nodes with another configuration.
    ///
    /// # Errors
    ///
    /// Fails with the client's own complaint.
    pub fn client_run_at<S: AsRef<OsStr>>(
        &self,
        bootstrap: String,
        args: impl IntoIterator<Item = S>,
    ) -> Result<Value> {
        self.client_of(bootstrap)?.run(args)
    }

    /// Count and sha256 of every topic's records, and the committed offsets of every group.
    ///
    /// # Errors
    ///
    /// Fails with the client's own complaint.
    pub fn digest(&self) -> Result<Value> {
        self.client()?.run(["digest"])
    }

    /// Start a client that writes without pause, to see how long the cluster is away.
    ///
    /// # Errors
    ///
    /// Fails when its first records are not taken.
    pub fn probe(&self, topic: &str) -> Result<Probe> {
        self.client()?.probe(topic)
    }

    pub(super) fn client_attached<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<ExitStatus> {
        self.client()?.attached(args)
    }

    fn client(&self) -> Result<Client> {
        self.client_of(self.bootstrap())
    }

    fn client_of(&self, bootstrap: String) -> Result<Client> {
        let version = &self.state.kafka_version;
        let secure = self.is_secured().then(|| Secure {
            properties: self.client_properties(),
            hosts: self.dir().join("hosts"),
        });
        Client::new(image::jars(version)?, version, bootstrap, secure)
    }

    fn node(&self, name: &str) -> Result<&Node> {
        let names = || {
            self.nodes
                .iter()
                .map(|node| node.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        self.nodes
            .iter()
            .find(|node| node.name == name)
            .with_context(|| format!("no node is called {name}; there are {}", names()))
    }

    fn vm_pid(&self, node: &Node) -> Result<u32> {
        let dir = ssh_cluster::vm_dir(&node.name)?;
        let recorded = self.state.vms.iter().find(|vm| vm.name == node.name).map(|vm| vm.pid);
        recorded.filter(|pid| vm::is_init(*pid, &dir)).with_context(|| {
            format!(
                "the VM of {} is not running: `cargo xtask lab up {}` makes it anew",
                node.name,
                self.kind.name()
            )
        })
    }
}
