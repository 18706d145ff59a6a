//! `config.ini`: the file of the Bash tool.

use super::ini::{self, IniLine};
use super::keys::guess;
use super::yaml::Value;
use super::{Assumed, ImportError, Ledger, Parts, SECTIONS, Source, line, values};
use crate::config::draft::{DraftAccess, DraftNode, Said, quoted};
use crate::ids::{ClusterId, NodeName};
use crate::inventory::Role;

/// Why keys are not carried over that kbo has no use for.
const USELESS: &[(&str, &str)] = &[
    (
        "general.PID_FILE",
        "the lock lies in the store and goes with its process",
    ),
    (
        "general.LOG_LEVEL",
        "it is said per call: -v, -vv, -q; log.file has all of it",
    ),
    (
        "general.INVENTORY",
        "the inventory is imported itself: name its folder behind this file",
    ),
    (
        "general.ANSIBLE_ATTEMPTS",
        "kbo needs no Ansible; ssh.retries is how often a connection is tried again",
    ),
    ("ssh.SSH_KEY_PUB", "it lies beside the private key, or is made of it"),
    ("storage.STORAGE_TEMP", "nothing is copied on the way"),
    ("cluster.NODE_TEMP", "nothing is packed on the node's disk"),
    ("order.shutdown", "it is always the reverse of the start"),
];

/// A value for all nodes, and the key that says it.
type ForAll<T> = Option<(usize, T)>;

/// What the file says for all nodes.
#[derive(Default)]
pub(super) struct Defaults {
    user: ForAll<String>,
    key: ForAll<String>,
    config: ForAll<String>,
    data: ForAll<Vec<String>>,
    image: ForAll<String>,
    /// Whether the file names the nodes: then they are the script's own.
    names_nodes: bool,
}

#[derive(Default)]
struct Read {
    defaults: Defaults,
    nodes: Vec<(usize, String, String, Option<u16>)>,
}

/// Reads the file, and says of every key what became of it.
pub(super) fn read(source: &Source, ledger: &mut Ledger, parts: &mut Parts) -> Result<(), ImportError> {
    let ids = settings(source, ledger)?;
    let mut read = Read::default();
    for (at, id) in ids.iter().copied().enumerate() {
        let setting = ledger.settings[id].clone();
        let same = |other: &&usize| {
            let other = &ledger.settings[**other];
            (&other.place, &other.key) == (&setting.place, &setting.key)
        };
        if let Some(later) = ids[at + 1..].iter().find(same).copied() {
            let again = ledger.settings[later].line;
            if setting.place == "[nodes]" {
                let why = format!("the node {} is written again on line {again}", setting.key);
                return Err(ledger.error(id, why, "give each node one line"));
            }
            ledger.leave(id, format!("written again on line {again}, which counts"));
            continue;
        }
        let text = setting.value.text().unwrap_or_default().to_owned();
        take(ledger, parts, &mut read, id, &text)?;
    }
    nodes(source, ledger, parts, read)
}

/// The settings of the file, in the ledger.
fn settings(source: &Source, ledger: &mut Ledger) -> Result<Vec<usize>, ImportError> {
    let lines = ini::lines(&source.text).map_err(|error| ImportError::unreadable(&source.name, error))?;
    let mut section = None;
    let mut ids = vec![];
    for (number, content) in lines {
        match content {
            IniLine::Section(name) => {
                let small = name.to_ascii_lowercase();
                if name != small && SECTIONS.contains(&small.as_str()) {
                    let why = format!("there is no section [{name}]: sections are written in small letters");
                    let hint = format!("write [{small}]");
                    return Err(ImportError::new(&source.name, Some(number), why, hint));
                }
                section = Some(name);
            }
            IniLine::Text(text) => {
                let Some((key, value)) = ini::setting(text) else {
                    // Not the line itself: it may be a secret.
                    let why = "this line is not KEY=VALUE";
                    let hint = "write KEY=VALUE without blanks in the key, or comment the line out with #";
                    return Err(ImportError::new(&source.name, Some(number), why, hint));
                };
                let Some(section) = section else {
                    let hint = format!(
                        "write one of {} above it",
                        SECTIONS.map(|name| format!("[{name}]")).join(", ")
                    );
                    let why = format!("{key} stands in no section");
                    return Err(ImportError::new(&source.name, Some(number), why, hint));
                };
                ids.push(ledger.add(source, number, &format!("[{section}]"), key, Value::Text(value)));
            }
        }
    }
    Ok(ids)
}

fn take(ledger: &mut Ledger, parts: &mut Parts, read: &mut Read, id: usize, text: &str) -> Result<(), ImportError> {
    let setting = &ledger.settings[id];
    let section = setting.place.trim_matches(['[', ']']).to_owned();
    let key = setting.key.clone();
    let name = format!("{section}.{key}");
    if let Some((_, why)) = USELESS.iter().find(|(useless, _)| *useless == name) {
        ledger.leave(id, *why);
        return Ok(());
    }
    if text.is_empty() {
        if section == "nodes" {
            return Err(ledger.error(id, format!("the node {key} has no address"), "write NAME=ADDRESS"));
        }
        ledger.leave(id, "it has no value");
        return Ok(());
    }
    let number = text.parse::<u32>().ok();
    match name.as_str() {
        "general.LOG_FILE" => match values::file(text) {
            Ok(file) => ledger.once(&mut parts.log_file, id, file, "log.file"),
            Err(why) => ledger.leave(id, why),
        },
        "ssh.SSH_KEY_PRI" => read.defaults.key = Some((id, text.to_owned())),
        "ssh.SSH_USER" => match values::user(text) {
            Ok(user) => read.defaults.user = Some((id, user)),
            Err(why) => ledger.leave(id, why),
        },
        "storage.STORAGE_COLD" => match values::directory(text) {
            Ok(cold) => ledger.once(&mut parts.cold, id, cold, "storage.cold"),
            Err(why) => ledger.leave(id, why),
        },
        "storage.STORAGE_RETENTION_POLICY" => match number.filter(|days| *days > 0) {
            Some(_) if !parts.retention.is_empty() => {
                ledger.leave(id, "another key says how long backups stay, which counts");
            }
            Some(days) => {
                parts.retention.push((String::new(), days));
                ledger.carry(id, "retention.days");
            }
            None => ledger.leave(id, "not a number of days of at least 1; kbo's default holds, 30"),
        },
        "storage.STORAGE_WARN_LOW" => match values::percent(text) {
            Some(percent) => ledger.once(&mut parts.warn_free_percent, id, percent, "storage.warn_free_percent"),
            None => ledger.leave(id, "not a percentage from 0 to 100; kbo's default holds, 20"),
        },
        "cluster.IMAGE" => match values::image(text) {
            Ok(image) => read.defaults.image = Some((id, image)),
            Err(why) => ledger.leave(id, why),
        },
        "cluster.CLUSTER_ID" => match text.parse::<ClusterId>() {
            Ok(_) => ledger.once(&mut parts.id, id, text.to_owned(), "cluster.id"),
            Err(error) => ledger.leave(id, format!("`{text}` is not a valid cluster id: {}", error.why)),
        },
        "cluster.NODE_CONFIG" => {
            let path = values::directory(text).map_err(|why| no_directory(ledger, id, &why))?;
            read.defaults.config = Some((id, path));
        }
        "cluster.NODE_DATA" => {
            let paths = values::directories(text).map_err(|why| no_directory(ledger, id, &why))?;
            match paths.is_empty() {
                true => ledger.leave(id, "it names no directory"),
                false => read.defaults.data = Some((id, paths)),
            }
        }
        "order.startup" => {
            let names = text.split(',').map(|name| name.trim().to_owned());
            let names: Vec<String> = names.filter(|name| !name.is_empty()).collect();
            parts.start_order(ledger, id, names);
        }
        _ if section == "nodes" => {
            key.parse::<NodeName>()
                .map_err(|error| ledger.error(id, error.to_string(), "give the node another name"))?;
            let (host, port) = values::address(text).map_err(|why| ledger.error(id, why, values::ADDRESSES))?;
            let port_too = if port.is_some() { ", port" } else { "" };
            ledger.carry(id, format!("node {key}: name, role, host{port_too}"));
            read.nodes.push((id, key, host, port));
        }
        _ if !SECTIONS.contains(&section.as_str()) => {
            ledger.leave(id, format!("kbo does not know the section [{section}]"));
        }
        _ => ledger.leave(id, "kbo has no such setting"),
    }
    Ok(())
}

fn no_directory(ledger: &Ledger, id: usize, why: &str) -> ImportError {
    let why = format!("{}: {why}", ledger.settings[id].key);
    ledger.error(id, why, "write a path such as /data/cluster/data")
}

fn nodes(source: &Source, ledger: &Ledger, parts: &mut Parts, mut read: Read) -> Result<(), ImportError> {
    // The later tool's config.ini has none: its inventory has.
    if !read.nodes.is_empty() && !parts.nodes.is_empty() {
        let hint = "import one of the files, and the other into a file of its own";
        return Err(ImportError::new(&source.name, None, "a second list of nodes", hint));
    }
    let names: Vec<&str> = read.nodes.iter().map(|(_, name, ..)| name.as_str()).collect();
    let roles = guess(&names);
    for ((id, name, host, port), role) in read.nodes.iter().zip(roles) {
        let role = role.map_err(|why| ledger.error(*id, why, "let the name say controller or broker"))?;
        parts.nodes.push(DraftNode {
            name: name.clone(),
            role,
            host: Some(host.clone()),
            container: None,
            config: None,
            data: Said::plain(vec![]),
            node_id: None,
            access: DraftAccess {
                port: *port,
                ..DraftAccess::default()
            },
        });
    }
    read.defaults.names_nodes = !read.nodes.is_empty();
    parts.defaults.push(read.defaults);
    Ok(())
}

/// Why a value for all nodes is not had by some, or by none.
const SAID: &str = "the inventory says it, which counts";

/// Gives nodes what they do not say themselves, once all nodes are known.
pub(super) fn defaults(ledger: &mut Ledger, parts: &mut Parts) {
    for Defaults {
        user,
        key,
        config,
        data,
        ..
    } in &parts.defaults
    {
        let nodes = &mut parts.nodes;
        for_all(ledger, nodes, user, "ssh.user", |node| &mut node.access.user);
        for_all(ledger, nodes, key, "ssh.key", |node| &mut node.access.key);
        let config = config.clone().map(|(id, path)| (id, Said::plain(path)));
        for_all(ledger, nodes, &config, "defaults.config", |node| &mut node.config);
        let Some((id, data)) = data else { continue };
        for node in nodes {
            match node.data.value.is_empty() {
                true => {
                    node.data = Said::plain(data.clone());
                    ledger.carry(*id, "defaults.data");
                }
                false => ledger.leave_for(*id, &node.name, SAID),
            }
        }
    }
}

fn for_all<T: Clone>(
    ledger: &mut Ledger,
    nodes: &mut [DraftNode],
    said: &ForAll<T>,
    to: &str,
    place: impl Fn(&mut DraftNode) -> &mut Option<T>,
) {
    let Some((id, value)) = said else { return };
    for node in nodes {
        let place = place(node);
        if place.is_none() {
            *place = Some(value.clone());
            ledger.carry(*id, to);
        } else {
            ledger.leave_for(*id, &node.name, SAID);
        }
    }
}

/// An image makes a container, and of that kbo.toml has to say where each of several log dirs is mounted.
pub(super) const NO_MOUNTS: &str =
    "with several data directories write `[defaults.container]` with image and data_mount (docs/containers.md)";

/// The images of containers, behind those that the inventory says: of all nodes, or of one role's.
pub(super) fn images(ledger: &mut Ledger, parts: &mut Parts) {
    for defaults in std::mem::take(&mut parts.defaults) {
        let Some((id, image)) = defaults.image else { continue };
        let has = |table: &str| parts.containers.iter().any(|(known, _)| known == table);
        let mut has_own = vec![];
        let mut has_none = false;
        for role in [Role::Controller, Role::Combined, Role::Broker] {
            if parts.nodes.iter().any(|node| node.role.value == role) {
                match has(&format!("defaults.{role}.container")) {
                    true => has_own.push(role),
                    false => has_none = true,
                }
            }
        }
        if has("defaults.container") || parts.images_differ || !has_none {
            ledger.leave(id, SAID);
            continue;
        }
        if parts
            .nodes
            .iter()
            .any(|node| node.data.value.len() > 1 && !has_own.contains(&node.role.value))
        {
            ledger.leave(id, NO_MOUNTS);
            continue;
        }
        ledger.carry(id, "defaults.container.image");
        for role in has_own {
            ledger.leave_for(id, &format!("role {role}"), SAID);
        }
        if defaults.names_nodes {
            container(parts, &image);
        } else {
            let lines = vec![line("image", quoted(&image))];
            parts.containers.push(("defaults.container".to_owned(), lines));
        }
    }
}

/// What the script gave every container, which no key says.
fn container(parts: &mut Parts, image: &str) {
    let own = [
        ("properties", quoted("kraft.properties")),
        ("config_mount", quoted("/etc/kafka")),
        ("restart", quoted("always")),
        ("jmx", "9999".to_owned()),
    ];
    let mut lines = vec![line("image", quoted(image))];
    for (key, value) in own {
        parts.assumed.push(Assumed {
            key: format!("defaults.container.{key}"),
            value: value.clone(),
            why: "the script ran its containers so".to_owned(),
        });
        let remark = match key {
            "restart" => "as the script ran them; \"unless-stopped\" is the better policy",
            _ => "as the script ran them",
        };
        lines.push((key.to_owned(), Said::with(value, remark)));
    }
    parts.containers.push(("defaults.container".to_owned(), lines));
}
