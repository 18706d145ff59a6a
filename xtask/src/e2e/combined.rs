//! Combined nodes (`process.roles=broker,controller`), three and one: the containers of the cluster's controllers with another
//! configuration and a cluster of their own, which a restore of the whole cluster's backup ends.

use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::kbo::Kbo;
use super::world::text;
use super::{Case, World, data, nodes};
use crate::lab::{self, Node, Role};

pub(super) const CASES: &[Case] = &[
    Case::new("three_combined_nodes_are_backed_up_restored_and_rolled", three),
    Case::new("a_single_node_is_backed_up_and_restored", single),
];

const NAME: &str = "lab-combined";

fn three(world: &mut World) -> Result<()> {
    with_combined(world, 3, |few| {
        few.kbo.expect(0, &["restart", "--rolling"])?;
        few.ready()
    })
}

fn single(world: &mut World) -> Result<()> {
    with_combined(world, 1, |few| {
        // There is no other node that could serve meanwhile.
        few.kbo.expect(3, &["restart", "--rolling"])?;
        Ok(())
    })
}

/// A cluster of few nodes, all combined.
struct Few<'a> {
    world: &'a World,
    nodes: Vec<Node>,
    kbo: Kbo,
}

fn with_combined(world: &mut World, count: usize, more: impl FnOnce(&Few) -> Result<()>) -> Result<()> {
    let backup = world.full()?;
    world.kbo.expect(0, &["stop"])?;
    let mut windows = vec![];
    let outcome = Few::new(world, count).and_then(|few| {
        few.begin()?;
        windows = few.survives_disaster()?;
        more(&few)?;
        few.kbo.expect(0, &["stop"]).map(drop)
    });
    windows.into_iter().for_each(|window| world.note(window));
    outcome?;
    world.kbo.expect(0, &["restore", &backup.id, "--yes"])?;
    world.kbo.expect(0, &["start"])?;
    world.lab.wait_ready(super::WHOLE)?;
    data::unchanged(&world.lab, &backup.digest)
}

impl<'a> Few<'a> {
    fn new(world: &'a World, count: usize) -> Result<Self> {
        let controllers = world.lab.nodes().iter().filter(|node| node.role == Role::Controller);
        let nodes: Vec<Node> = controllers.take(count).cloned().collect();
        for node in &nodes {
            let path = world.lab.config_dir(&node.name)?.join("server.properties");
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            fs::write(&path, combined(&text, node, &nodes))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let path = world.kbo.scratch().join("combined.toml");
        let whole = fs::read_to_string(world.lab.config_path()).context("cannot read kbo.toml")?;
        fs::write(&path, of_few(&whole, world.lab.cluster_name(), count)).context("cannot write kbo.toml")?;
        let store = world.kbo.scratch().join(format!("combined-{count}-store"));
        let kbo = world.kbo.configured(path).with("KBO_STORAGE_COLD", store);
        Ok(Self { world, nodes, kbo })
    }

    fn begin(&self) -> Result<()> {
        self.kbo.expect(0, &["format", "--yes-delete-data", NAME])?;
        self.kbo.expect(0, &["start"])?;
        self.ready()?;
        let replication = self.nodes.len().to_string();
        self.client(&["create", "--topic", "kept", "--replication", &replication])?;
        self.client(&[
            "produce",
            "--topic",
            "kept",
            "--bytes",
            "5000000",
            "--headers",
            "--keys",
            "100",
        ])?;
        Ok(())
    }

    /// A backup, a deleted topic, and the backup put back; gives the two windows.
    fn survives_disaster(&self) -> Result<Vec<String>> {
        let digest = self.digest()?;
        let report = self.kbo.json(&["backup"])?;
        let id = text(&report, "id")?;
        let mut windows = vec![window("backup", &report)];
        self.kbo.expect(0, &["verify", &id])?;
        nodes::containers(&self.world.lab)?;
        if self.digest()? != digest {
            bail!("the records are others after the backup");
        }
        self.client(&["delete", "--topic", "kept"])?;
        let report = self.kbo.json(&["restore", &id, "--yes"])?;
        windows.push(window("restore", &report));
        self.ready()?;
        if self.digest()? != digest {
            bail!("the records are others after the restore");
        }
        Ok(windows)
    }

    fn ready(&self) -> Result<()> {
        let brokers = self.nodes.len().to_string();
        self.client(&["ready", "--brokers", &brokers, "--timeout", "120"])
            .map(drop)
    }

    fn digest(&self) -> Result<Value> {
        let digest = self.client(&["digest", "--topic", "kept"])?;
        let count = digest["topics"]["kept"]["read_uncommitted"]["count"].as_u64();
        if count.is_none_or(|count| count == 0) {
            bail!("the topic holds nothing: {digest}");
        }
        Ok(digest)
    }

    fn client(&self, args: &[&str]) -> Result<Value> {
        let addresses: Vec<String> = self.nodes.iter().map(|node| format!("{}:9092", node.ip)).collect();
        self.world.lab.client_run_at(addresses.join(","), args)
    }
}

fn window(what: &str, report: &Value) -> String {
    format!(
        "{what}: window {:.1} s",
        report["window_seconds"].as_f64().unwrap_or(f64::NAN)
    )
}

/// A controller's properties, with the broker in the same process and nobody else in the cluster.
fn combined(text: &str, node: &Node, all: &[Node]) -> String {
    let voters: Vec<String> = all
        .iter()
        .map(|other| format!("{}@{}:9093", other.id, other.ip))
        .collect();
    let replicas = all.len();
    let ip = &node.ip;
    let others = [
        ("process.roles", "broker,controller".to_owned()),
        ("controller.quorum.voters", voters.join(",")),
        ("listeners", format!("PLAINTEXT://{ip}:9092,CONTROLLER://{ip}:9093")),
        ("advertised.listeners", format!("PLAINTEXT://{ip}:9092")),
        ("inter.broker.listener.name", "PLAINTEXT".to_owned()),
        ("default.replication.factor", replicas.to_string()),
        ("min.insync.replicas", replicas.min(2).to_string()),
        ("offsets.topic.replication.factor", replicas.to_string()),
        ("transaction.state.log.replication.factor", replicas.to_string()),
        ("transaction.state.log.min.isr", replicas.min(2).to_string()),
    ];
    lab::with_values(text, &others)
}

/// kbo.toml with the first nodes alone, as combined ones of a cluster with another name.
fn of_few(whole: &str, name: &str, count: usize) -> String {
    let mut parts = whole.split("\n[[node]]\n");
    let head = parts
        .next()
        .unwrap_or_default()
        .replace(&format!("name = {name:?}"), &format!("name = {NAME:?}"));
    let nodes = parts
        .take(count)
        .map(|node| node.replace("role = \"controller\"", "role = \"combined\""));
    std::iter::once(head)
        .chain(nodes)
        .collect::<Vec<_>>()
        .join("\n[[node]]\n")
}
