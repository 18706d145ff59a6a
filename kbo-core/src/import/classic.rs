//! `config.ini`: the file of the Bash tool.

use super::ini::{self, IniLine};
use super::keys::guess;
use super::yaml::Value;
use super::{Assumed, ImportError, Ledger, Parts, SECTIONS, Source, directory, line};
use crate::config::draft::{DraftAccess, DraftNode, Said, quoted};
use crate::ids::{ClusterId, NodeName};

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

#[derive(Default)]
struct Read {
    user: Option<String>,
    key: Option<String>,
    config: Option<String>,
    data: Option<(usize, String)>,
    image: Option<String>,
    nodes: Vec<(usize, String, String)>,
    startup: Option<usize>,
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
            IniLine::Section(name) => section = Some(name),
            IniLine::Text(text) => {
                let Some((key, value)) = ini::setting(text) else {
                    let why = format!("`{text}` is not KEY=VALUE");
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
        "general.LOG_FILE" => {
            parts.log_file = Some(text.to_owned());
            ledger.carry(id, "log.file");
        }
        "ssh.SSH_KEY_PRI" => {
            read.key = Some(text.to_owned());
            ledger.carry(id, "ssh.key");
        }
        "ssh.SSH_USER" => {
            read.user = Some(text.to_owned());
            ledger.carry(id, "ssh.user");
        }
        "storage.STORAGE_COLD" => {
            parts.cold = Some(text.to_owned());
            ledger.carry(id, "storage.cold");
        }
        "storage.STORAGE_RETENTION_POLICY" => match number.filter(|days| *days > 0) {
            Some(days) => {
                parts.retention.push((String::new(), days));
                ledger.carry(id, "retention.days");
            }
            None => ledger.leave(id, "not a number of days of at least 1; kbo's default holds, 30"),
        },
        "storage.STORAGE_WARN_LOW" => match percent(text) {
            Some(percent) => {
                parts.warn_free_percent = Some(percent);
                ledger.carry(id, "storage.warn_free_percent");
            }
            None => ledger.leave(id, "not a percentage from 0 to 100; kbo's default holds, 20"),
        },
        "cluster.IMAGE" => {
            read.image = Some(text.to_owned());
            ledger.carry(id, "defaults.container.image");
        }
        "cluster.CLUSTER_ID" => match text.parse::<ClusterId>() {
            Ok(_) => {
                parts.id = Some(text.to_owned());
                ledger.carry(id, "cluster.id");
            }
            Err(error) => ledger.leave(id, format!("`{text}` is not a valid cluster id: {}", error.why)),
        },
        "cluster.NODE_CONFIG" => {
            let path = directory(text).ok_or_else(|| no_directory(ledger, id, text))?;
            read.config = Some(path);
            ledger.carry(id, "defaults.config");
        }
        "cluster.NODE_DATA" => {
            let path = directory(text).ok_or_else(|| no_directory(ledger, id, text))?;
            read.data = Some((id, path));
            ledger.carry(id, "defaults.data");
        }
        "order.startup" => {
            parts.startup = text
                .split(',')
                .map(|name| name.trim().to_owned())
                .filter(|name| !name.is_empty())
                .collect();
            read.startup = Some(id);
        }
        _ if section == "nodes" => {
            key.parse::<NodeName>()
                .map_err(|error| ledger.error(id, error.to_string(), "give the node another name"))?;
            read.nodes.push((id, key.clone(), text.to_owned()));
            ledger.carry(id, format!("node {key}: name, role, host"));
        }
        _ if !SECTIONS.contains(&section.as_str()) => {
            ledger.leave(id, format!("kbo does not know the section [{section}]"));
        }
        _ => ledger.leave(id, "kbo has no such setting"),
    }
    Ok(())
}

/// A percentage, with its sign or without.
pub(super) fn percent(text: &str) -> Option<u8> {
    let number = text.trim_end_matches('%').trim().parse::<u8>().ok()?;
    (number <= 100).then_some(number)
}

fn no_directory(ledger: &Ledger, id: usize, text: &str) -> ImportError {
    let why = format!(
        "{} = `{text}` is not an absolute path of a directory below /",
        ledger.settings[id].key
    );
    ledger.error(id, why, "write a path such as /data/cluster/data")
}

fn nodes(source: &Source, ledger: &mut Ledger, parts: &mut Parts, read: Read) -> Result<(), ImportError> {
    if read.nodes.is_empty() {
        // The later tool's config.ini has none: its inventory has.
        if let Some(id) = read.startup {
            ledger.carry(id, "the order of [[node]]");
        }
        return Ok(());
    }
    if !parts.nodes.is_empty() {
        let hint = "import one of the files, and the other into a file of its own";
        return Err(ImportError::new(&source.name, None, "a second list of nodes", hint));
    }
    let data = match read.data {
        Some((_, path)) => Said::plain(vec![path]),
        None => {
            parts.assumed_data = true;
            Said::plain(vec![])
        }
    };
    let names: Vec<&str> = read.nodes.iter().map(|(_, name, _)| name.as_str()).collect();
    let roles = guess(&names);
    for ((id, name, host), role) in read.nodes.iter().zip(roles) {
        let role = role.map_err(|why| ledger.error(*id, why, "let the name say controller or broker"))?;
        parts.nodes.push(DraftNode {
            name: name.clone(),
            role,
            host: Some(host.clone()),
            container: None,
            config: read.config.clone().map(Said::plain),
            data: data.clone(),
            node_id: None,
            access: DraftAccess {
                user: read.user.clone(),
                key: read.key.clone(),
                ..DraftAccess::default()
            },
        });
    }
    if let Some(id) = read.startup {
        ledger.carry(id, startup(parts));
    }
    if let Some(image) = read.image {
        container(parts, &image);
    }
    Ok(())
}

/// Where the order goes, and in what it is not followed.
fn startup(parts: &Parts) -> String {
    let order: Vec<Option<&DraftNode>> = parts
        .startup
        .iter()
        .map(|name| parts.nodes.iter().find(|node| node.name == *name))
        .collect();
    let mut to = "the order of [[node]]".to_owned();
    let strangers: Vec<&str> = parts
        .startup
        .iter()
        .zip(&order)
        .filter(|(_, node)| node.is_none())
        .map(|(name, _)| name.as_str())
        .collect();
    if !strangers.is_empty() {
        to.push_str(&format!(
            " (but for {}, which [nodes] does not name)",
            strangers.join(" ")
        ));
    }
    let order: Vec<&DraftNode> = order.into_iter().flatten().collect();
    let broker = order.iter().position(|node| !node.role.value.is_controller());
    if broker.is_some_and(|at| order[at..].iter().any(|node| node.role.value.is_controller())) {
        to.push_str(" (but controllers start before brokers)");
    }
    to
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
