//! Containers made, replaced, removed, restarted one at a time; log dirs formatted.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::kbo::Kbo;
use super::{Case, World, data, nodes};

pub(super) const CASES: &[Case] = &[
    REMOVED,
    OTHERWISE,
    FAILED,
    LOST,
    Case::new(
        "a_broker_that_lost_its_disk_is_formatted_and_filled_by_its_replicas",
        refilled,
    ),
    Case::new(
        "a_rolling_restart_loses_no_record_and_never_serves_with_two_nodes_down",
        rolling,
    ),
    Case::new(
        "a_stopped_cluster_is_formatted_only_by_its_name_and_comes_up_empty",
        formatted,
    ),
];

/// Those that another transport could do otherwise; `layout` formats over SSH.
pub(super) const SSH_CASES: &[Case] = &[REMOVED, LOST];

const REMOVED: Case = Case::new(
    "removed_containers_are_made_again_in_order_with_their_data",
    removed_and_run,
);
const OTHERWISE: Case = Case::new("another_definition_is_shown_and_left_alone_until_recreate", otherwise);
const FAILED: Case = Case::new("a_replacement_that_does_not_come_up_is_taken_back", taken_back);
const LOST: Case = Case::new("lost_nodes_are_made_again_from_what_a_backup_captured", lost);

/// What a dry run finds otherwise, node by node.
fn differences(kbo: &Kbo, args: &[&str]) -> Result<Vec<String>> {
    let report = kbo.json(&[&["run", "--dry-run"], args].concat())?;
    let findings = report["findings"].as_array().context("a dry run has no findings")?;
    let texts = findings.iter().filter_map(|finding| {
        Some(format!(
            "{}: {}",
            finding["node"].as_str()?,
            finding["message"].as_str()?
        ))
    });
    Ok(texts.filter(|text| text.contains("container")).collect())
}

fn removed_and_run(world: &mut World) -> Result<()> {
    let digest = world.seeded()?;
    let before = nodes::containers(&world.lab)?;
    let found = differences(&world.kbo, &[])?;
    if !found.is_empty() {
        bail!("containers as kbo.toml defines them are found otherwise: {found:?}");
    }
    world.kbo.expect(0, &["remove", "--dry-run"])?;
    nodes::untouched(&world.lab, &before)?;

    world.kbo.expect(0, &["remove"])?;
    for node in world.lab.nodes() {
        if nodes::docker(&world.lab, &node.name, &["inspect", &node.name]).is_ok() {
            bail!("{} is still there", node.name);
        }
    }
    world.kbo.expect(3, &["start"])?.says("kbo run")?;
    world
        .kbo
        .expect(0, &["run", "--dry-run"])?
        .says("create the container of")?;
    let report = world.kbo.json(&["run"])?;
    world.note(format!("run: {:.0} s", phases(&report)));
    let mut last = String::new();
    for (node, container) in world.lab.nodes().iter().map(|node| &node.name).zip(started(world)?) {
        if container <= last {
            bail!("{node} was started at {container}, before the one ahead of it in the order ({last})");
        }
        last = container;
    }
    data::unchanged(&world.lab, &digest)
}

fn phases(report: &Value) -> f64 {
    let phases = report["phases"].as_array().into_iter().flatten();
    phases.filter_map(|phase| phase["seconds"].as_f64()).sum()
}

/// When each node was started, in start order.
fn started(world: &World) -> Result<Vec<String>> {
    let containers = nodes::containers(&world.lab)?;
    Ok(world
        .lab
        .nodes()
        .iter()
        .map(|node| containers[&node.name].started.clone())
        .collect())
}

/// kbo with its configuration changed.
fn changed(world: &World, name: &str, change: impl FnOnce(String) -> String) -> Result<Kbo> {
    let text = fs::read_to_string(world.lab.config_path()).context("cannot read kbo.toml")?;
    let path: PathBuf = world.kbo.scratch().join(name);
    fs::write(&path, change(text)).context("cannot write kbo.toml")?;
    Ok(world.kbo.configured(path))
}

/// Adds keys to the container of one node.
fn for_node(text: String, node: &str, keys: &str) -> String {
    let head = format!("name = \"{node}\"\n");
    let (before, after) = text.split_once(&head).unwrap_or((&text, ""));
    let end = after.find("\n[[node]]").unwrap_or(after.len());
    let (own, others) = after.split_at(end);
    let table = if own.contains("[node.container]") {
        ""
    } else {
        "\n[node.container]\n"
    };
    format!(
        "{before}{head}{}{table}{keys}\n{others}",
        own.trim_end_matches('\n').to_owned() + "\n"
    )
}

fn otherwise(world: &mut World) -> Result<()> {
    let digest = world.seeded()?;
    let node = world.broker(3);
    let before = nodes::containers(&world.lab)?;
    let other = changed(world, "memory.toml", |text| {
        for_node(
            text,
            &node,
            "memory = \"1g\"\nenvironment = { SOME_PASSWORD = \"hunter2\" }",
        )
    })?;
    let found = differences(&other, &[])?;
    let [one] = &found[..] else {
        bail!("not one difference is found but {found:?}")
    };
    if !one.contains("memory")
        || !one.contains("1073741824")
        || !one.contains("SOME_PASSWORD")
        || one.contains("hunter2")
    {
        bail!("the difference is told as {one:?}");
    }
    other.expect(0, &["run"])?.says("--recreate")?;
    nodes::untouched(&world.lab, &before)?;

    other.expect(0, &["run", "--recreate"])?;
    let memory = nodes::docker(
        &world.lab,
        &node,
        &["inspect", "--format", "{{.HostConfig.Memory}}", &node],
    )?;
    if memory.trim() != "1073741824" {
        bail!("{node} has a limit of {memory}");
    }
    let after = nodes::containers(&world.lab)?;
    let touched: Vec<&String> = after.keys().filter(|name| after[*name] != before[*name]).collect();
    if touched != [&node] {
        bail!("not {node} alone was replaced: {touched:?}");
    }
    none_aside(world)?;
    world.kbo.expect(0, &["run", "--recreate"])?;
    none_aside(world)?;
    data::unchanged(&world.lab, &digest)
}

/// Nothing that a replacement put aside is left.
fn none_aside(world: &World) -> Result<()> {
    for node in world.lab.nodes() {
        let names = nodes::docker(
            &world.lab,
            &node.name,
            &["ps", "--all", "--filter", "name=kbo-2", "--format", "{{.Names}}"],
        )?;
        if !names.trim().is_empty() {
            bail!("containers are left aside: {names}");
        }
    }
    Ok(())
}

fn taken_back(world: &mut World) -> Result<()> {
    let digest = world.seeded()?;
    let node = world.broker(2);
    let before = nodes::docker(&world.lab, &node, &["inspect", "--format", "{{.Id}}", &node])?;
    let broken = changed(world, "broken.toml", |text| {
        for_node(
            text,
            &node,
            "command = [\"-c\", \"echo broken; exit 7\"]\nrestart = \"no\"",
        )
    })?;
    broken.expect(1, &["run", "--recreate"])?.says(&node)?;
    let after = nodes::docker(&world.lab, &node, &["inspect", "--format", "{{.Id}}", &node])?;
    if before != after {
        bail!("{node} is another container than before");
    }
    none_aside(world)?;
    world.lab.wait_ready(super::WHOLE)?;
    data::unchanged(&world.lab, &digest)
}

fn lost(world: &mut World) -> Result<()> {
    let backup = world.full()?;
    let (broker, controller) = (world.broker(1), world.controller(2));
    for node in [&broker, &controller] {
        world.lab.stop(node)?;
        world.lab.wipe_data(node)?;
        nodes::docker(&world.lab, node, &["rm", node])?;
    }
    // A kbo.toml that defines no container: all there is to know is in the backup.
    let plain = changed(world, "plain.toml", |text| without_containers(&text))?;
    plain.expect(3, &["run"])?.says("--from")?;
    plain.expect(0, &["run", "--from", &backup.id, "--no-start"])?;
    let found = differences(&world.kbo, &[])?;
    if !found.is_empty() {
        bail!("containers made from the backup are found otherwise: {found:?}");
    }
    let report = plain.json(&["restore", &backup.id, "--yes"])?;
    world.note_window("restore", &report);
    world.kbo.expect(0, &["start"])?;
    world.lab.wait_ready(super::WHOLE)?;
    data::unchanged(&world.lab, &backup.digest)
}

/// As docs/runbooks/lost-disk.md has it.
fn refilled(world: &mut World) -> Result<()> {
    let digest = world.seeded()?;
    let broker = world.broker(1);
    world.lab.stop(&broker)?;
    world.lab.wipe_data(&broker)?;
    world.kbo.expect(3, &["backup"])?.says("would hold nothing")?;
    let id = world.lab.cluster_id();
    world.kbo.expect(0, &["stop", &broker])?;
    world.kbo.expect(0, &["format", &broker, "--cluster-id", id])?;
    world.kbo.expect(0, &["start", &broker])?;
    world.lab.wait_ready(super::WHOLE)?;
    data::unchanged(&world.lab, &digest)
}

/// kbo.toml without its container tables.
fn without_containers(text: &str) -> String {
    let mut skipping = false;
    let kept = text.lines().filter(|line| {
        if line.starts_with('[') {
            skipping = line.contains("container]");
        }
        !skipping
    });
    kept.map(|line| format!("{line}\n")).collect()
}

fn rolling(world: &mut World) -> Result<()> {
    let digest = world.seeded()?;
    let before = started(world)?;
    world.kbo.expect(0, &["restart", "--rolling", "--dry-run"])?;
    let probe = world.lab.probe(data::LOADED)?;
    let report = world.kbo.json(&["restart", "--rolling"])?;
    let probed = probe.finish()?;
    world.note(format!(
        "rolled in {:.0} s, client gap {:.1} s",
        phases(&report),
        probed["longest_gap_ms"].as_f64().unwrap_or(0.0) / 1000.0
    ));
    if probed["failed"].as_u64() != Some(0) {
        bail!("the client lost records: {probed}");
    }
    let after = started(world)?;
    if before.iter().zip(&after).any(|(before, after)| before == after)
        || after.windows(2).any(|pair| pair[0] >= pair[1])
    {
        bail!("not every node was restarted, or not in order: {before:?}, then {after:?}");
    }
    // With two controllers of three there is no other to spare.
    let controller = world.controller(1);
    world.lab.stop(&controller)?;
    world.kbo.expect(3, &["restart", "--rolling"])?;
    world.lab.start(&controller)?;
    world.lab.wait_ready(super::WHOLE)?;
    data::unchanged(&world.lab, &digest)
}

fn formatted(world: &mut World) -> Result<()> {
    let backup = world.full()?;
    let name = world.lab.cluster_name();
    world
        .kbo
        .expect(3, &["format", "--yes-delete-data", name])?
        .says("is up")?;
    world.kbo.expect(0, &["stop"])?;
    world.kbo.expect(3, &["format"])?.says("holds data")?;
    world.kbo.expect(2, &["format", "--yes-delete-data", "another"])?;
    world
        .kbo
        .expect(3, &["format", "--standalone", "--yes-delete-data", name])?
        .says("static")?;
    world.kbo.expect(0, &["format", "--yes-delete-data", name])?;
    for node in world.lab.nodes() {
        let found: BTreeSet<String> = world.lab.list_data(&node.name)?.into_iter().collect();
        if !found.contains("meta.properties")
            || found
                .iter()
                .any(|entry| entry.contains("-0") && !entry.starts_with("__cluster"))
        {
            bail!("{} holds after its format {found:?}", node.name);
        }
    }
    world.kbo.expect(0, &["start"])?;
    world.lab.wait_ready(super::WHOLE)?;
    let list = world.lab.client_run(["list"])?;
    if list["topics"].as_object().is_some_and(|topics| !topics.is_empty()) {
        bail!("a new cluster has topics: {list}");
    }
    world.kbo.expect(0, &["restore", &backup.id, "--yes"])?;
    world.lab.wait_ready(super::WHOLE)?;
    data::unchanged(&world.lab, &backup.digest)
}
