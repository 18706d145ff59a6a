//! Dynamic quorums (KIP-853): formatted, started, backed up, and a static one put back in their place.

use std::fs;

use anyhow::{Context, Result, bail};

use super::world::text;
use super::{Case, World, data, nodes};
use crate::lab::Role;

pub(super) const CASES: &[Case] = &[Case::new(
    "a_dynamic_quorum_is_formatted_backed_up_and_replaced_by_the_static_one_of_a_backup",
    dynamic,
)];

fn dynamic(world: &mut World) -> Result<()> {
    let backup = world.full()?;
    let name = world.lab.cluster_name();
    world.kbo.expect(0, &["stop"])?;
    become_dynamic(world)?;
    world
        .kbo
        .expect(3, &["format", "--yes-delete-data", name])?
        .says("the quorum is dynamic")?;

    world
        .kbo
        .expect(0, &["format", "--initial-controllers", "--yes-delete-data", name])?;
    world.kbo.expect(0, &["start"])?;
    voters(world, &[1, 2, 3])?;
    data::write_since(&world.lab, 1_000_000)?;
    let before = data::count(&world.lab, data::SINCE)?;
    let report = world.kbo.json(&["backup", "--only", "data"])?;
    let of_dynamic = text(&report, "id")?;
    world.kbo.expect(0, &["verify", &of_dynamic])?;

    world.kbo.expect(0, &["stop"])?;
    world
        .kbo
        .expect(0, &["format", "--standalone", "--yes-delete-data", name])?;
    world.kbo.expect(0, &["start"])?;
    voters(world, &[1])?;
    if data::count(&world.lab, data::SINCE)?.is_some() {
        bail!("a topic of the cluster before the format is still there");
    }
    world.kbo.expect(0, &["restore", &of_dynamic, "--yes"])?;
    world.lab.wait_ready(super::WHOLE)?;
    voters(world, &[1, 2, 3])?;
    let after = data::count(&world.lab, data::SINCE)?;
    if after != before {
        bail!("the topic of the dynamic cluster has {after:?} records, had {before:?}");
    }

    // Configuration and data: the static quorum is back.
    world.kbo.expect(0, &["restore", &backup.id, "--yes"])?;
    world.lab.wait_ready(super::WHOLE)?;
    data::unchanged(&world.lab, &backup.digest)
}

/// Every node's properties name the controllers to ask, and no voters.
fn become_dynamic(world: &World) -> Result<()> {
    let controllers = world.lab.nodes().iter().filter(|node| node.role == Role::Controller);
    let addresses: Vec<String> = controllers.map(|node| format!("{}:9093", node.ip)).collect();
    let bootstrap = format!("controller.quorum.bootstrap.servers={}", addresses.join(","));
    for node in world.lab.nodes() {
        let path = world.lab.config_dir(&node.name)?.join("server.properties");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let lines = text
            .lines()
            .map(|line| match line.starts_with("controller.quorum.voters=") {
                true => bootstrap.as_str(),
                false => line,
            });
        let text: String = lines.map(|line| format!("{line}\n")).collect();
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Insists on who votes, as Kafka's own tool tells it.
fn voters(world: &World, wanted: &[u32]) -> Result<()> {
    let node = world.broker(1);
    let script = format!(
        "exec java -Xmx128m -XX:TieredStopAtLevel=1 -cp '/opt/kafka/libs/*' org.apache.kafka.tools.MetadataQuorumCommand \
         --bootstrap-server {} describe --status",
        world.lab.bootstrap()
    );
    let told = nodes::docker(&world.lab, &node, &["exec", &node, "sh", "-c", &script])?;
    let line = told.lines().find(|line| line.starts_with("CurrentVoters:"));
    let line = line.with_context(|| format!("no voters are told: {told}"))?;
    let ids: Vec<u32> = line
        .split("\"id\":")
        .skip(1)
        .filter_map(|rest| rest.trim_start().split([',', '}']).next()?.trim().parse().ok())
        .collect();
    if ids != wanted {
        bail!("the voters are {ids:?}, not {wanted:?}: {line}");
    }
    Ok(())
}
