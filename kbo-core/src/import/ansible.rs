//! From an inventory to nodes: which hosts are Kafka's, what each is, and where its variables go.

use std::collections::BTreeMap;

use super::classic::percent;
use super::inventory::{Host, Inventory};
use super::keys::{guess, is_beside_kafka, role_of, role_said};
use super::yaml::Value;
use super::{ImportError, Ledger, Parts, directory, line, services, template};
use crate::config::draft::{DraftAccess, DraftNode, Said, quoted};
use crate::ids::{ClusterId, NodeName};
use crate::inventory::Role;

/// The variables that kbo.toml has a place for, under all the names that they go by.
const HOST: &[&str] = &["ansible_host", "ansible_ssh_host"];
const PORT: &[&str] = &["ansible_port", "ansible_ssh_port"];
const USER: &[&str] = &["ansible_user", "ansible_ssh_user", "remote_user", "ssh_user"];
const KEY: &[&str] = &[
    "ansible_ssh_private_key_file",
    "ansible_private_key_file",
    "ansible_key_pri",
    "ssh_key_pri",
];
const BECOME: &[&str] = &["ansible_become", "ansible_sudo"];
const CONTAINER: &[&str] = &["container_name", "kafka_container_name", "container", "hostname"];
const NODE_ID: &[&str] = &["node_id", "kafka_node_id", "broker_id"];
const ROLE: &[&str] = &[
    "role",
    "kafka_role",
    "node_role",
    "process_roles",
    "kafka_process_roles",
];
const CONFIG: &[&str] = &[
    "node_config_path",
    "node_config",
    "kafka_config_path",
    "kafka_config_dir",
];
const DATA: &[&str] = &[
    "node_data_path",
    "node_data",
    "log_dirs",
    "kafka_log_dirs",
    "kafka_data_path",
    "kafka_data_dir",
];
const META: &[&str] = &["node_meta_path", "metadata_log_dir", "kafka_metadata_log_dir"];
const IMAGE: &[&str] = &["image", "kafka_image", "docker_image", "container_image"];
const CLUSTER_ID: &[&str] = &["cluster_id", "kafka_cluster_id"];
const CLUSTER_NAME: &[&str] = &["cluster_name", "kafka_cluster_name"];
const COLD: &[&str] = &["storage_cold_path", "storage_cold"];
const WARN: &[&str] = &["storage_warn_low", "storage_warn_free_percent"];
const LOG_FILE: &[&str] = &["log_file"];
const STARTUP: &[&str] = &["startup_order", "order_startup", "startup"];
const RETENTION: &[(&str, &str)] = &[
    ("retention_policy_cluster", ""),
    ("storage_retention_policy", ""),
    ("retention_policy", ""),
    ("retention_days", ""),
    ("retention_policy_config", "config"),
    ("retention_policy_data", "data"),
];

/// A host that is a node, and its variables.
pub(super) struct Member<'a> {
    pub(super) host: &'a Host,
    pub(super) role: Role,
    variables: BTreeMap<String, usize>,
}

impl Member<'_> {
    /// The value of a variable with others put in, where it needs no Ansible.
    fn value(&self, ledger: &Ledger, key: &str) -> Option<String> {
        if key == "inventory_hostname" {
            return Some(self.host.name.clone());
        }
        let id = *self.variables.get(key)?;
        Some(ledger.settings[id].value.text()?.to_owned())
    }

    pub(super) fn resolve(&self, ledger: &Ledger, text: &str) -> Option<String> {
        template::resolve(text, &|key| self.value(ledger, key))
    }

    /// The first of these variables that the host has.
    fn find(&self, ledger: &Ledger, keys: &[&str]) -> Option<usize> {
        let has = |key: &&str| self.variables.get(*key).copied();
        let by_name = keys.iter().find_map(has);
        // Names of variables are written in capitals as well.
        by_name
            .or_else(|| {
                let same = |name: &str| keys.iter().any(|key| key.eq_ignore_ascii_case(name));
                self.variables.iter().find(|(name, _)| same(name)).map(|(_, id)| *id)
            })
            .filter(|id| ledger.settings[*id].value != Value::Empty)
    }

    /// The text of one of these variables; what cannot be told is left, with the reason.
    fn text(&self, ledger: &mut Ledger, keys: &[&str]) -> Option<(usize, String)> {
        let id = self.find(ledger, keys)?;
        let Some(text) = ledger.settings[id].value.text().map(str::to_owned) else {
            ledger.leave(id, "not a text");
            return None;
        };
        match self.resolve(ledger, &text) {
            Some(text) if !text.is_empty() => Some((id, text)),
            Some(_) => {
                ledger.leave(id, "it has no value");
                None
            }
            None => {
                ledger.leave(id, "a template that only Ansible can evaluate");
                None
            }
        }
    }
}

/// Makes nodes of the hosts that are Kafka's, and says of every variable what became of it.
pub(super) fn map(inventory: &Inventory, ledger: &mut Ledger, parts: &mut Parts) -> Result<(), ImportError> {
    if !parts.nodes.is_empty() {
        let file = inventory.hosts.first().map_or("", |host| host.file.as_str());
        let hint = "import one of the files, and the other into a file of its own";
        return Err(ImportError::new(file, None, "a second list of nodes", hint));
    }
    let members = members(inventory, ledger)?;
    for (member, role) in &members {
        let node = node(member, role.clone(), ledger, parts)?;
        parts.nodes.push(node);
    }
    let members: Vec<Member<'_>> = members.into_iter().map(|(member, _)| member).collect();
    cluster(&members, ledger, parts);
    images(&members, ledger, parts);
    services::map(&members, ledger, parts);
    overridden(inventory, &members, ledger);
    reasons(ledger);
    Ok(())
}

/// The hosts that are Kafka nodes, with their roles.
fn members<'a>(inventory: &'a Inventory, ledger: &mut Ledger) -> Result<Vec<(Member<'a>, Said<Role>)>, ImportError> {
    let mut known = vec![];
    let mut silent = vec![];
    for host in &inventory.hosts {
        let groups = inventory.groups_of(&host.name);
        let mut member = Member {
            host,
            role: Role::Combined,
            variables: inventory.variables_of(host, ledger),
        };
        let said = member
            .text(ledger, ROLE)
            .and_then(|(id, text)| Some((id, role_said(&text)?)));
        if let Some((id, role)) = said {
            ledger.carry(id, "node.role");
            member.role = role;
            known.push((host.line, member, Some(Said::plain(role))));
            continue;
        }
        let roles: Vec<Role> = groups.iter().filter_map(|name| role_of(name)).collect();
        let votes = roles.iter().any(|role| role.is_controller());
        let serves = roles.iter().any(|role| role.is_broker());
        let role = match (votes, serves) {
            (true, true) => Some(Role::Combined),
            (true, false) => Some(Role::Controller),
            (false, true) => Some(Role::Broker),
            (false, false) => None,
        };
        match role {
            Some(role) => {
                member.role = role;
                known.push((
                    host.line,
                    member,
                    Some(Said::with(role, "guessed from the group's name")),
                ));
            }
            None if groups.iter().any(|name| is_beside_kafka(name)) => {
                let group = groups.iter().find(|name| is_beside_kafka(name)).unwrap_or(&"all");
                let why = format!("the host {} is no Kafka node: it is in the group {group}", host.name);
                host.variables.iter().for_each(|id| ledger.leave(*id, why.clone()));
            }
            None => silent.push(member),
        }
    }
    let names: Vec<&str> = silent.iter().map(|member| member.host.name.as_str()).collect();
    let guessed = guess(&names);
    let is_alone = known.is_empty();
    for (mut member, role) in silent.into_iter().zip(guessed) {
        let host = member.host;
        let by_name = role_of(&host.name).is_some();
        match role {
            Ok(role) if is_alone || by_name => {
                member.role = role.value;
                known.push((host.line, member, Some(role)));
            }
            Err(why) if is_alone => {
                let hint = "put it into a group whose name says controller, broker or combined, or give it role=";
                return Err(ImportError::new(&host.file, Some(host.line), why, hint));
            }
            _ => {
                let why = format!("the host {} is in no group that says controller or broker", host.name);
                host.variables.iter().for_each(|id| ledger.leave(*id, why.clone()));
            }
        }
    }
    known.sort_by_key(|(line, ..)| *line);
    Ok(known
        .into_iter()
        .filter_map(|(_, member, role)| Some((member, role?)))
        .collect())
}

fn node(
    member: &Member<'_>,
    role: Said<Role>,
    ledger: &mut Ledger,
    parts: &mut Parts,
) -> Result<DraftNode, ImportError> {
    let host = member.host;
    host.name.parse::<NodeName>().map_err(|error| {
        let hint = "give the host another name, and its address as ansible_host";
        ImportError::new(&host.file, Some(host.line), error.to_string(), hint)
    })?;
    let mut taken = |keys: &[&str], to: &str| {
        let (id, text) = member.text(ledger, keys)?;
        ledger.carry(id, to);
        Some(text)
    };
    let address = taken(HOST, "node.host").unwrap_or_else(|| host.name.clone());
    let user = taken(USER, "ssh.user");
    let key = taken(KEY, "ssh.key");
    let port = number(member, ledger, PORT, "ssh.port", |port: &u16| *port > 0);
    let node_id = number(member, ledger, NODE_ID, "node.node_id", |id: &i32| *id >= 0);
    let sudo = member.text(ledger, BECOME).and_then(|(id, text)| {
        let truth = truth(&text);
        match truth {
            Some(_) => ledger.carry(id, "ssh.become"),
            None => ledger.leave(id, "neither yes nor no"),
        }
        truth
    });
    let container = member
        .text(ledger, CONTAINER)
        .and_then(|(id, text)| match text.parse::<NodeName>() {
            Ok(_) => {
                ledger.carry(id, "node.container");
                Some(text)
            }
            Err(error) => {
                ledger.leave(id, format!("no container is named so: {}", error.why));
                None
            }
        });
    let config = directories(member, ledger, CONFIG, "config")?.into_iter().next();
    let mut data = directories(member, ledger, DATA, "data")?;
    let meta = directories(member, ledger, META, "data (the metadata log's directory)")?;
    data.extend(meta.into_iter().filter(|dir| !data.contains(dir)).collect::<Vec<_>>());
    parts.assumed_data |= data.is_empty();
    Ok(DraftNode {
        name: host.name.clone(),
        role,
        host: Some(address),
        container,
        config: config.map(Said::plain),
        data: Said::plain(data),
        node_id,
        access: DraftAccess {
            user,
            port,
            key,
            r#become: sudo,
        },
    })
}

fn number<T: std::str::FromStr>(
    member: &Member<'_>,
    ledger: &mut Ledger,
    keys: &[&str],
    to: &str,
    does: impl Fn(&T) -> bool,
) -> Option<T> {
    let (id, text) = member.text(ledger, keys)?;
    match text.parse::<T>().ok().filter(does) {
        Some(number) => {
            ledger.carry(id, to);
            Some(number)
        }
        None => {
            ledger.leave(id, format!("`{text}` is no number for it"));
            None
        }
    }
}

fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" | "y" => Some(true),
        "false" | "no" | "off" | "0" | "n" => Some(false),
        _ => None,
    }
}

/// One directory, several parted by commas, or a list.
fn directories(member: &Member<'_>, ledger: &mut Ledger, keys: &[&str], to: &str) -> Result<Vec<String>, ImportError> {
    let Some(id) = member.find(ledger, keys) else {
        return Ok(vec![]);
    };
    let texts: Vec<String> = match ledger.settings[id].value.clone() {
        Value::List(list) => list
            .iter()
            .filter_map(|value| value.text().map(str::to_owned))
            .collect(),
        Value::Text(text) => vec![text],
        _ => vec![],
    };
    let mut directories = vec![];
    for text in texts {
        let Some(text) = member.resolve(ledger, &text) else {
            ledger.leave(id, "a template that only Ansible can evaluate");
            return Ok(vec![]);
        };
        for path in text.split(',').map(str::trim).filter(|path| !path.is_empty()) {
            let path = directory(path).ok_or_else(|| {
                let why = format!("`{path}` is not an absolute path of a directory below /");
                ledger.error(id, why, "write a path such as /data/cluster/data")
            })?;
            directories.push(path);
        }
    }
    if directories.is_empty() {
        ledger.leave(id, "it names no directory");
    } else {
        ledger.carry(id, to);
    }
    Ok(directories)
}

/// What is said once for the whole cluster, by the first host that has it.
fn cluster(members: &[Member<'_>], ledger: &mut Ledger, parts: &mut Parts) {
    let mut first = |keys: &[&str]| members.iter().find_map(|member| member.text(ledger, keys));
    let (id, name, cold) = (first(CLUSTER_ID), first(CLUSTER_NAME), first(COLD));
    let (warn, log) = (first(WARN), first(LOG_FILE));
    let retention: Vec<_> = RETENTION.iter().map(|(key, kind)| (first(&[key]), *kind)).collect();
    if let Some((at, text)) = id {
        match text.parse::<ClusterId>() {
            Ok(_) => {
                ledger.carry(at, "cluster.id");
                parts.id = Some(text);
            }
            Err(error) => ledger.leave(at, format!("`{text}` is not a valid cluster id: {}", error.why)),
        }
    }
    for (found, place, to) in [
        (name, &mut parts.name, "cluster.name"),
        (cold, &mut parts.cold, "storage.cold"),
        (log, &mut parts.log_file, "log.file"),
    ] {
        let Some((at, text)) = found else { continue };
        if place.as_ref().is_some_and(|known| *known != text) {
            ledger.leave(at, format!("another file says another {to}, which counts"));
        } else {
            ledger.carry(at, to);
            *place = Some(text);
        }
    }
    if let Some((at, text)) = warn {
        match percent(&text) {
            Some(percent) => {
                ledger.carry(at, "storage.warn_free_percent");
                parts.warn_free_percent = Some(percent);
            }
            None => ledger.leave(at, "not a percentage from 0 to 100"),
        }
    }
    for (found, kind) in retention {
        let Some((at, text)) = found else { continue };
        let known = parts.retention.iter().any(|(known, _)| known == kind);
        match text.parse::<u32>().ok().filter(|days| *days > 0) {
            Some(_) if known => ledger.leave(at, "another key says how long backups stay, which counts"),
            Some(days) => {
                let to = if kind.is_empty() { "retention" } else { kind };
                ledger.carry(
                    at,
                    if kind.is_empty() {
                        "retention.days".to_owned()
                    } else {
                        format!("retention.{to}.days")
                    },
                );
                parts.retention.push((kind.to_owned(), days));
            }
            None => ledger.leave(at, "not a number of days of at least 1; kbo's default holds, 30"),
        }
    }
    let Some(id) = members.iter().find_map(|member| member.find(ledger, STARTUP)) else {
        return;
    };
    let names: Vec<String> = match &ledger.settings[id].value {
        Value::List(list) => list
            .iter()
            .filter_map(|value| value.text().map(str::to_owned))
            .collect(),
        Value::Text(text) => text.split(',').map(|name| name.trim().to_owned()).collect(),
        _ => vec![],
    };
    ledger.carry(id, "the order of [[node]]");
    parts.startup = names;
}

/// An image that a variable says: for all, or where roles differ for each role.
fn images(members: &[Member<'_>], ledger: &mut Ledger, parts: &mut Parts) {
    let mut images: Vec<(Role, usize, String)> = vec![];
    for member in members {
        if let Some((id, text)) = member.text(ledger, IMAGE) {
            images.push((member.role, id, text));
        }
    }
    let Some((_, _, first)) = images.first().cloned() else {
        return;
    };
    if images.len() == members.len() && images.iter().all(|(.., image)| *image == first) {
        images
            .iter()
            .for_each(|(_, id, _)| ledger.carry(*id, "defaults.container.image"));
        parts
            .containers
            .push(("defaults.container".to_owned(), vec![line("image", quoted(&first))]));
        return;
    }
    for role in [Role::Controller, Role::Combined, Role::Broker] {
        let of_role: Vec<_> = images.iter().filter(|(of, ..)| *of == role).collect();
        let Some((.., image)) = of_role.first() else { continue };
        let is_same = of_role.iter().all(|(.., other)| other == image);
        for (_, id, _) in &of_role {
            match is_same {
                true => ledger.carry(*id, format!("defaults.{role}.container.image")),
                false => ledger.leave(*id, "nodes of one role have several images: write them at the nodes"),
            }
        }
        if is_same {
            let table = format!("defaults.{role}.container");
            parts.containers.push((table, vec![line("image", quoted(image))]));
        }
    }
}

/// Variables that a more particular place says otherwise for every node.
fn overridden(inventory: &Inventory, members: &[Member<'_>], ledger: &mut Ledger) {
    for group in inventory.groups.values() {
        for id in &group.variables {
            let setting = &ledger.settings[*id];
            let others: Vec<usize> = members
                .iter()
                .filter_map(|member| member.variables.get(&setting.key).copied())
                .collect();
            let counts = others.iter().any(|other| other == id);
            if let Some(other) = others.first().filter(|_| !counts) {
                let other = &ledger.settings[*other];
                let why = format!("{}, line {} says otherwise, which counts", other.file, other.line);
                ledger.leave(*id, why);
            }
        }
    }
}

/// Why not, by the names of variables; the first that fits.
const WHY: &[(&str, &str)] = &[
    (
        "pass",
        "a secret: kbo logs in with a key (`kbo ssh-setup` asks for the password once) and keeps none",
    ),
    ("secret", "a secret, or a place for them: not read"),
    ("token", "a secret: not read"),
    (
        "credential",
        "credentials are not kbo's; put what a backup is to have into the configuration directory",
    ),
    (
        "certificate",
        "certificates are not read from here; see `[kafka]` of kbo.toml for listeners with TLS",
    ),
    ("python", "kbo needs no Python on the nodes"),
    (
        "_args",
        "kbo speaks SSH itself, and trusts no host key that is not in known_hosts",
    ),
    ("host_key_checking", "host keys are always checked: `kbo ssh-setup`"),
    ("become", "kbo becomes root by `sudo -n`, and nothing else"),
    (
        "ansible_connection",
        "kbo reaches nodes over SSH; see `transport` of kbo.toml",
    ),
    ("key_pub", "it lies beside the private key, or is made of it"),
    ("temp", "nothing is copied on the way"),
    ("shutdown", "it is always the reverse of the start"),
    ("central_", "kbo lays its store out by itself"),
    ("backup_date", "kbo names backups by their time"),
    ("chmod", "owners and modes are kept as they are"),
    ("owner", "owners and modes are kept as they are"),
    (
        "port_",
        "kbo finds the listeners by itself; ports of containers: `ports` under `[defaults.container]`",
    ),
    ("restore_archive", "`kbo restore` names the backup"),
    (
        "docker_command",
        "a command line; write `[defaults.container]` (docs/containers.md)",
    ),
];

fn reasons(ledger: &mut Ledger) {
    for id in 0..ledger.settings.len() {
        let setting = &ledger.settings[id];
        if setting.fate.is_some() {
            continue;
        }
        let key = setting.key.to_ascii_lowercase();
        let why = match &setting.value {
            Value::Vault => "encrypted by ansible-vault: kbo reads no secrets",
            _ => WHY
                .iter()
                .find(|(part, _)| key.contains(part))
                .map_or("kbo has no such setting", |(_, why)| why),
        };
        ledger.leave(id, why);
    }
}
