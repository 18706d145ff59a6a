//! Stores of its own for each node, brought into containers through the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::kbo::Kbo;
use super::{Case, World, nodes, tls};
use crate::lab::{Authority, DOMAIN, Key, Lab, Usage, Validity, write_secret};

pub(super) const CASES: &[Case] = &[Case::new(
    "every_node_of_an_engine_gets_stores_of_its_own_also_one_that_is_stopped_and_all_go_back",
    each_its_own,
)];

/// In the containers, below a mount that is read-only there.
const DIR: &str = "/etc/kafka/stores";
const FILES: [&str; 2] = ["keystore.jks", "truststore.jks"];

fn each_its_own(world: &mut World) -> Result<()> {
    let kbo = configured(world)?;
    let output = world.kbo.scratch().join("stores");
    issue(world, Validity::FRESH)?;
    kbo.expect(0, &["certs", "make", "--offline"])?;
    let stopped = world.broker(3);
    world.lab.stop(&stopped)?;
    let before = nodes::containers(&world.lab)?;
    kbo.expect(0, &["certs", "deploy"])?;
    nodes::untouched(&world.lab, &before)?;
    world.lab.start(&stopped)?;
    let first = on_nodes(&world.lab, &output)?;
    for node in world.lab.nodes() {
        alias_is_the_nodes_name(&output, &node.name)?;
    }

    issue(world, Validity { from: -1, to: 60 })?;
    kbo.expect(0, &["certs", "make", "--offline"])?;
    kbo.expect(0, &["certs", "deploy", &stopped])?;
    let one = sums(&world.lab)?;
    if let Some(node) = world.lab.nodes().iter().find(|node| {
        let is_same = one[&node.name] == first[&node.name];
        is_same == (node.name == stopped)
    }) {
        bail!("only {stopped} was to get new stores, and {} is otherwise", node.name);
    }
    kbo.expect(0, &["certs", "deploy"])?;
    on_nodes(&world.lab, &output)?;
    // They got their stores in two deployments, and go back in two.
    kbo.expect(3, &["certs", "deploy", "--rollback"])?
        .says("different deployments")?;
    let names: Vec<String> = world.lab.nodes().iter().map(|node| node.name.clone()).collect();
    let others: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| *name != stopped)
        .collect();
    kbo.expect(0, &[&["certs", "deploy", "--rollback"], &others[..]].concat())?;
    kbo.expect(0, &["certs", "deploy", "--rollback", &stopped])?;
    if sums(&world.lab)? != first {
        bail!("after the way back the stores are not those of before");
    }
    Ok(())
}

/// The lab's kbo.toml with stores for each node, and the names that their certificate has.
fn configured(world: &World) -> Result<Kbo> {
    let scratch = world.kbo.scratch();
    let password = scratch.join("store-password");
    write_secret(&password, "of the stores\n")?;
    let mut text = fs::read_to_string(world.lab.config_path()).context("cannot read kbo.toml")?;
    for node in world.lab.nodes() {
        let name = format!("name = \"{}\"\n", node.name);
        text = text.replace(&name, &format!("{name}certs_hosts = [{:?}]\n", node.host()));
    }
    text.push_str(&format!(
        "\n[certs]\nsource = {:?}\ndomain = \"{DOMAIN}\"\noutput = {:?}\nper_node = true\nformats = [\"jks\"]\nalias = \"{{node}}\"\n\
         password_file = {password:?}\ndir = \"{DIR}\"\nowner = \"1000:1000\"\nmode = \"0440\"\n",
        scratch.join("acme"),
        scratch.join("stores"),
    ));
    let path = scratch.join("with-stores.toml");
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(world.kbo.configured(path))
}

fn issue(world: &World, validity: Validity) -> Result<()> {
    let scratch = world.kbo.scratch();
    let set = Authority::open(&scratch.join("authority"))?.issue(DOMAIN, validity, Key::Ec, Usage::Both)?;
    set.write(&scratch.join("acme"), DOMAIN)
}

/// What `sha256sum` and `stat` say within each container.
type Sums = BTreeMap<String, Vec<String>>;

fn sums(lab: &Lab) -> Result<Sums> {
    let of_node = |node: &str| -> Result<Vec<String>> {
        let mut told = vec![];
        for file in FILES {
            let path = format!("{DIR}/{file}");
            let sum = nodes::docker(lab, node, &["exec", node, "sha256sum", &path])?;
            let stat = nodes::docker(lab, node, &["exec", node, "stat", "-c", "%u:%g %a", &path])?;
            told.push(format!("{} {}", sum.split(' ').next().unwrap_or_default(), stat.trim()));
        }
        Ok(told)
    };
    let nodes = lab.nodes().iter();
    nodes
        .map(|node| Ok((node.name.clone(), of_node(&node.name)?)))
        .collect()
}

/// Insist that every node has what was made for it, as its Kafka's user reads it.
fn on_nodes(lab: &Lab, output: &Path) -> Result<Sums> {
    let found = sums(lab)?;
    for (node, told) in &found {
        for (file, told) in FILES.iter().zip(told) {
            let made = format!("{} 1000:1000 440", tls::sha256(&output.join(node).join(file))?);
            if *told != made {
                bail!("{file} on {node} is {told}, not {made}");
            }
        }
    }
    let different: BTreeSet<&String> = found.values().map(|told| &told[0]).collect();
    match different.len() == found.len() {
        true => Ok(found),
        false => bail!("nodes have the same keystore"),
    }
}

fn alias_is_the_nodes_name(output: &Path, node: &str) -> Result<()> {
    let store = output.join(node).join(FILES[0]);
    let told = tls::run(
        Command::new("keytool")
            .args(["-J-Duser.language=en", "-list", "-keystore"])
            .arg(&store)
            .args(["-storepass", "of the stores", "-alias", node]),
    )?;
    match told.contains("PrivateKeyEntry") {
        true => Ok(()),
        false => bail!(
            "keytool finds no key by the name of {node} in {}: {told}",
            store.display()
        ),
    }
}
