//! The last step: what is missing is made up and said, the nodes are put in order, and the file is written.

use super::{Assumed, ImportError, Ledger, Parts, Wishes};
use crate::config::draft::{Draft, DraftNode, Said};
use crate::ids::ClusterName;
use crate::inventory::Role;

/// Where the older tool's sample has its nodes' data.
const USUAL_DATA: &str = "/data/cluster/data";
const USUAL_COLD: &str = "/backup/cold";

pub(super) fn finish(file: &str, wishes: &Wishes, mut parts: Parts) -> Result<(String, Vec<Assumed>), ImportError> {
    if parts.nodes.is_empty() {
        let hint = "write the nodes under [nodes] as NAME=ADDRESS, or import the Ansible inventory (its folder) that names them";
        return Err(ImportError::new(file, None, "no node is named", hint));
    }
    let mut assumed = std::mem::take(&mut parts.assumed);
    let mut made_up = |key: &str, value: &str, why: &str| {
        assumed.push(Assumed {
            key: key.to_owned(),
            value: value.to_owned(),
            why: why.to_owned(),
        });
        Said::with(value.to_owned(), format!("ASSUMED: {why}"))
    };
    let name = match wishes.name.clone().or(parts.name) {
        Some(name) => {
            name.parse::<ClusterName>()
                .map_err(|error| ImportError::new(file, None, error.to_string(), "choose another with --name"))?;
            Said::plain(name)
        }
        None => made_up("cluster.name", "kafka", "the files name no cluster; --name chooses"),
    };
    let cold = match wishes.cold.clone().or(parts.cold) {
        Some(cold) => Said::with(cold, "backups; older archives there stay as they are"),
        None => made_up(
            "storage.cold",
            USUAL_COLD,
            "the files name no folder for backups; --cold chooses",
        ),
    };
    if parts.nodes.iter().any(|node| node.data.value.is_empty()) {
        let said = made_up("data", USUAL_DATA, "the files do not say where Kafka's log dirs are");
        for node in parts.nodes.iter_mut().filter(|node| node.data.value.is_empty()) {
            node.data = Said {
                value: vec![said.value.clone()],
                remark: said.remark.clone(),
            };
        }
    }
    for node in &parts.nodes {
        if let Some(remark) = &node.role.remark {
            assumed.push(Assumed {
                key: format!("node.{}.role", node.name),
                value: node.role.value.to_string(),
                why: remark.clone(),
            });
        }
    }
    let startup = parts.startup.map(|(_, names)| names).unwrap_or_default();
    let nodes = ordered(parts.nodes, &startup);
    let draft = Draft {
        head: head(file, &nodes),
        name,
        id: parts.id.map(Said::plain),
        cold,
        warn_free_percent: parts.warn_free_percent,
        retention: parts.retention,
        known_hosts: parts.known_hosts,
        log_file: parts.log_file,
        docker: None,
        containers: parts.containers,
        nodes,
    };
    Ok((draft.to_toml(), assumed))
}

fn head(file: &str, nodes: &[DraftNode]) -> Vec<String> {
    let mut head = vec![
        format!("kbo.toml, made by `kbo import-config` of {file}."),
        "Look through it, then run `kbo ssh-setup` (host keys and logins) and `kbo check`.".to_owned(),
    ];
    if nodes.iter().any(|node| node.role.remark.is_some()) {
        head.push("Roles that are called guessed come from names: mend those that are wrong.".to_owned());
    }
    head
}

/// Controllers, combined nodes, brokers, each in the given order; those that it leaves out come behind, as in the file.
fn ordered(mut nodes: Vec<DraftNode>, startup: &[String]) -> Vec<DraftNode> {
    nodes.sort_by_key(|node| {
        let role = match node.role.value {
            Role::Controller => 0,
            Role::Combined => 1,
            Role::Broker => 2,
        };
        let place = startup.iter().position(|name| is_called(node, name));
        (role, place.unwrap_or(usize::MAX))
    });
    nodes
}

/// The later tool's names of containers are names of nodes as well.
fn is_called(node: &DraftNode, name: &str) -> bool {
    node.name == name || node.container.as_deref() == Some(name)
}

/// Says where the start order went, and in what it is not followed.
pub(super) fn startup(ledger: &mut Ledger, parts: &Parts) {
    let Some((id, names)) = &parts.startup else { return };
    let find = |name: &String| parts.nodes.iter().find(|node| is_called(node, name));
    let mut to = "the order of [[node]]".to_owned();
    let strangers: Vec<&str> = names
        .iter()
        .filter(|name| find(name).is_none())
        .map(String::as_str)
        .collect();
    if !strangers.is_empty() {
        to.push_str(&format!(" (but for {}: no node is called so)", strangers.join(" ")));
    }
    let order: Vec<&DraftNode> = names.iter().filter_map(find).collect();
    let broker = order.iter().position(|node| !node.role.value.is_controller());
    if broker.is_some_and(|at| order[at..].iter().any(|node| node.role.value.is_controller())) {
        to.push_str(" (but controllers start before brokers)");
    }
    ledger.carry(*id, to);
}
