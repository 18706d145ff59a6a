//! From an inventory to nodes: which hosts are Kafka's, what each is, and where its variables go.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::inventory::{Host, Inventory};
use super::keys::{guess, is_beside_kafka, role_of, role_said};
use super::yaml::Value;
use super::{Assumed, ImportError, Ledger, Parts, classic, cluster, line, reasons, services, template, values};
use crate::config::draft::{DraftAccess, DraftNode, Said, quoted};
use crate::ids::NodeName;
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

    /// The same for the value of a key: the variables put in are known to be used there.
    fn resolve_value(&self, ledger: &mut Ledger, id: usize, text: &str) -> Option<String> {
        let used: RefCell<Vec<usize>> = RefCell::new(vec![]);
        let value = template::resolve(text, &|key| {
            used.borrow_mut().extend(self.variables.get(key));
            self.value(ledger, key)
        })?;
        let key = ledger.settings[id].key.clone();
        for inner in used.into_inner() {
            let used_in = &mut ledger.settings[inner].used_in;
            if !used_in.contains(&key) {
                used_in.push(key.clone());
            }
        }
        Some(value)
    }

    /// The first of these variables that the host has.
    pub(super) fn find(&self, ledger: &Ledger, keys: &[&str]) -> Option<usize> {
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

    /// The text of one of these variables; what cannot be told is lost for this host, with the reason.
    fn text(&self, ledger: &mut Ledger, keys: &[&str]) -> Option<(usize, String)> {
        let (id, text) = self.told(ledger, keys)?;
        text.map_err(|why| self.lose(ledger, id, why))
            .ok()
            .map(|text| (id, text))
    }

    pub(super) fn told(&self, ledger: &mut Ledger, keys: &[&str]) -> Option<(usize, Result<String, &'static str>)> {
        let id = self.find(ledger, keys)?;
        let Some(text) = ledger.settings[id].value.text().map(str::to_owned) else {
            return Some((id, Err("not a text")));
        };
        let told = match self.resolve_value(ledger, id, &text) {
            Some(text) if !text.is_empty() => Ok(text),
            Some(_) => Err("it has no value"),
            None => Err(TEMPLATE),
        };
        Some((id, told))
    }

    /// A key may be another host's as well, which has it.
    fn lose(&self, ledger: &mut Ledger, id: usize, why: impl Into<String>) {
        if let Value::Vault = ledger.settings[id].value {
            return ledger.leave(id, reasons::VAULT);
        }
        ledger.leave_for(id, &self.host.name, why);
    }
}

const TEMPLATE: &str = "a template that only Ansible can evaluate";

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
    // Before the containers: their mounts are told by the nodes' directories.
    classic::defaults(ledger, parts);
    let members: Vec<Member<'_>> = members.into_iter().map(|(member, _)| member).collect();
    cluster::map(&members, ledger, parts);
    images(&members, ledger, parts);
    services::map(&members, ledger, parts);
    overridden(inventory, &members, ledger);
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
        let said = member.text(ledger, ROLE).and_then(|(id, text)| {
            let role = role_said(&text);
            if role.is_none() {
                member.lose(ledger, id, "it says neither controller nor broker");
            }
            Some((id, role?))
        });
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
    let (address, address_port) = address(member, ledger, parts)?;
    let user = word(member, ledger, USER, "ssh.user", values::user);
    let key = word(member, ledger, KEY, "ssh.key", |key| Ok(key.to_owned()));
    let port = number(member, ledger, PORT, "ssh.port", |port: &u16| *port > 0).or(address_port);
    let node_id = number(member, ledger, NODE_ID, "node.node_id", |id: &i32| *id >= 0);
    let sudo = member.text(ledger, BECOME).and_then(|(id, text)| {
        let truth = truth(&text);
        match truth {
            Some(_) => ledger.carry(id, "ssh.become"),
            None => member.lose(ledger, id, "neither yes nor no"),
        }
        truth
    });
    let container = word(member, ledger, CONTAINER, "node.container", |text| {
        let name = text.parse::<NodeName>();
        name.map(|_| text.to_owned())
            .map_err(|error| format!("no container is named so: {}", error.why))
    });
    let config = directories(member, ledger, CONFIG, "config")?.into_iter().next();
    let mut data = directories(member, ledger, DATA, "data")?;
    let meta = directories(member, ledger, META, "data (the metadata log's directory)")?;
    data.extend(meta.into_iter().filter(|dir| !data.contains(dir)).collect::<Vec<_>>());
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

/// The host's address, and a port that stands behind it.
fn address(member: &Member<'_>, ledger: &mut Ledger, parts: &mut Parts) -> Result<(String, Option<u16>), ImportError> {
    let host = member.host;
    let Some((id, text)) = member.text(ledger, HOST) else {
        if let Some(id) = member.find(ledger, HOST) {
            parts.assumed.push(Assumed {
                key: format!("node.{}.host", host.name),
                value: host.name.clone(),
                why: format!("the host's name, for its {} cannot be told", ledger.settings[id].key),
            });
        }
        return Ok((host.name.clone(), None));
    };
    let (address, port) = values::address(&text).map_err(|why| ledger.error(id, why, values::ADDRESSES))?;
    ledger.carry(id, "node.host");
    if port.is_some() {
        ledger.carry(id, "ssh.port");
    }
    Ok((address, port))
}

/// A text that has to be of some form.
fn word(
    member: &Member<'_>,
    ledger: &mut Ledger,
    keys: &[&str],
    to: &str,
    form: impl Fn(&str) -> Result<String, String>,
) -> Option<String> {
    let (id, text) = member.text(ledger, keys)?;
    match form(&text) {
        Ok(word) => {
            ledger.carry(id, to);
            Some(word)
        }
        Err(why) => {
            member.lose(ledger, id, why);
            None
        }
    }
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
            member.lose(ledger, id, format!("`{text}` is no number for it"));
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
        let Some(text) = member.resolve_value(ledger, id, &text) else {
            member.lose(ledger, id, TEMPLATE);
            return Ok(vec![]);
        };
        let paths = values::directories(&text);
        directories.extend(paths.map_err(|why| ledger.error(id, why, "write a path such as /data/cluster/data"))?);
    }
    if directories.is_empty() {
        member.lose(ledger, id, "it names no directory");
    } else {
        ledger.carry(id, to);
    }
    Ok(directories)
}

/// An image that a variable says: for all, or where roles differ for each role.
fn images(members: &[Member<'_>], ledger: &mut Ledger, parts: &mut Parts) {
    let mut images: Vec<(Role, usize, String)> = vec![];
    for member in members {
        if let Some((id, text)) = member.text(ledger, IMAGE) {
            let node = parts.nodes.iter().find(|node| node.name == member.host.name);
            if node.is_some_and(|node| node.data.value.len() > 1) {
                member.lose(ledger, id, classic::NO_MOUNTS);
                parts.images_differ = true;
                continue;
            }
            match values::image(&text) {
                Ok(image) => images.push((member.role, id, image)),
                Err(why) => member.lose(ledger, id, why),
            }
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
        parts.images_differ |= !is_same;
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
