//! From nothing to a configuration: what `kbo init` finds is what the lab has.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail};

use super::{Case, World, nodes};

pub(super) const SSH_CASES: &[Case] = &[
    Case::new("init_over_ssh_writes_what_the_lab_has_and_its_check_passes", over_ssh),
    Case::new("ssh_setup_finds_working_logins_and_changes_nothing", logins),
];

pub(super) const DOCKER_CASES: &[Case] = &[Case::new(
    "init_through_the_engine_writes_what_the_lab_has_and_its_check_passes",
    through_the_engine,
)];

fn over_ssh(world: &mut World) -> Result<()> {
    let known = sections(&fs::read_to_string(world.lab.config_path())?);
    let mut args = vec!["init".to_owned()];
    for (key, option) in [("key", "--key"), ("known_hosts", "--known-hosts"), ("user", "--user")] {
        args.extend([option.to_owned(), plain(lookup(&known, "ssh", key)?)]);
    }
    for node in nodes_of(&known) {
        args.extend(["--host".to_owned(), plain(lookup_in(node, "host")?)]);
    }
    initialised(world, args, &known)
}

fn through_the_engine(world: &mut World) -> Result<()> {
    let known = sections(&fs::read_to_string(world.lab.config_path())?);
    let engine = plain(lookup(&known, "docker", "host")?);
    initialised(world, ["init", "--docker", &engine].map(str::to_owned).into(), &known)
}

/// Runs it, and holds what it wrote against the lab's own file.
fn initialised(world: &mut World, mut args: Vec<String>, known: &[Section]) -> Result<()> {
    let before = nodes::containers(&world.lab)?;
    let file = world.kbo.scratch().join("init.toml");
    let _ = fs::remove_file(&file);
    let out = file.display().to_string();
    let cold = plain(lookup(known, "storage", "cold")?);
    args.extend(["--name", "found", "--cold", &cold, "--out", &out].map(str::to_owned));
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    world.kbo.expect(0, &words)?;
    // A second one would overwrite it.
    world.kbo.expect(2, &words)?.says("exists already")?;
    let found = sections(&fs::read_to_string(&file)?);
    if lookup(&found, "cluster", "id")? != lookup(known, "cluster", "id")? {
        bail!("{out} has another cluster.id than the lab");
    }
    for key in ["config", "data"] {
        if lookup(&found, "defaults", key)? != lookup(known, "defaults", key)? {
            bail!("{out} has another defaults.{key} than the lab");
        }
    }
    let (ours, theirs) = (
        nodes_of(&found).collect::<Vec<_>>(),
        nodes_of(known).collect::<Vec<_>>(),
    );
    if ours.len() != theirs.len() {
        bail!("{out} has {} nodes, the lab {}", ours.len(), theirs.len());
    }
    for (at, (our, their)) in ours.iter().zip(&theirs).enumerate() {
        for key in ["name", "role", "host"] {
            if our.get(key) != their.get(key) {
                bail!(
                    "node {at} of {out}: {key} is {:?}, of the lab {:?}",
                    our.get(key),
                    their.get(key)
                );
            }
        }
        // The lab numbers its nodes from 1 in start order.
        if our.get("node_id") != Some(&(at + 1).to_string()) {
            bail!("node {at} of {out}: node_id is {:?}", our.get("node_id"));
        }
    }
    world.kbo.configured(file).expect(0, &["check"])?;
    nodes::untouched(&world.lab, &before)
}

fn logins(world: &mut World) -> Result<()> {
    let known = sections(&fs::read_to_string(world.lab.config_path())?);
    let known_hosts = plain(lookup(&known, "ssh", "known_hosts")?);
    let before = fs::read(&known_hosts)?;
    world.kbo.expect(0, &["ssh-setup"])?.says("nothing had to be done")?;
    if fs::read(&known_hosts)? != before {
        bail!("{known_hosts} was changed");
    }
    let empty = world.kbo.scratch().join("no_known_hosts");
    fs::write(&empty, "")?;
    let kbo = world.kbo.with("KBO_SSH_KNOWN_HOSTS", &empty);
    kbo.expect(3, &["ssh-setup"])?.says("no terminal to ask on")?;
    kbo.expect(0, &["ssh-setup", "--known-hosts", &known_hosts])?;
    kbo.expect(0, &["check"])?;
    Ok(())
}

/// A table of a kbo.toml: its name, and its keys as they are written.
type Section = (String, BTreeMap<String, String>);

/// The tables of a file that has one key a line.
fn sections(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = vec![];
    for line in text.lines() {
        let line = line.split(" #").next().unwrap_or(line).trim();
        if line.starts_with('[') {
            sections.push((line.trim_matches(['[', ']']).to_owned(), BTreeMap::new()));
        } else if let (Some((key, value)), Some((_, keys))) = (line.split_once(" = "), sections.last_mut()) {
            keys.insert(key.trim().to_owned(), value.trim().to_owned());
        }
    }
    sections
}

fn nodes_of(sections: &[Section]) -> impl Iterator<Item = &BTreeMap<String, String>> {
    sections.iter().filter(|(name, _)| name == "node").map(|(_, keys)| keys)
}

fn lookup<'a>(sections: &'a [Section], table: &str, key: &str) -> Result<&'a str> {
    let found = sections.iter().find(|(name, _)| name == table);
    let (_, keys) = found.with_context(|| format!("there is no [{table}]"))?;
    lookup_in(keys, key)
}

fn lookup_in<'a>(keys: &'a BTreeMap<String, String>, key: &str) -> Result<&'a str> {
    Ok(keys.get(key).with_context(|| format!("there is no {key}"))?)
}

fn plain(value: &str) -> String {
    value.trim_matches('"').to_owned()
}
