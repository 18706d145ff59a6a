//! An Ansible inventory: groups of groups and hosts, and the variables of each; INI, YAML, and group_vars beside them.

use std::collections::BTreeMap;

use super::ini::{self, IniLine};
use super::yaml::{self, Value};
use super::{ImportError, Ledger, Scope, Source};

/// A group.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) hosts: Vec<String>,
    pub(super) children: Vec<String>,
    /// Its variables, in the ledger.
    pub(super) variables: Vec<usize>,
}

/// A host.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) variables: Vec<usize>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    pub(super) groups: BTreeMap<String, Group>,
    /// In the order of the files.
    pub(super) hosts: Vec<Host>,
}

impl Inventory {
    pub(super) fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    fn group(&mut self, name: &str) -> &mut Group {
        self.groups.entry(name.to_owned()).or_default()
    }

    fn host(&mut self, source: &Source, line: usize, name: &str) -> &mut Host {
        let at = match self.hosts.iter().position(|host| host.name == name) {
            Some(at) => at,
            None => {
                self.hosts.push(Host {
                    name: name.to_owned(),
                    file: source.name.clone(),
                    line,
                    variables: vec![],
                });
                self.hosts.len() - 1
            }
        };
        &mut self.hosts[at]
    }

    /// The groups of a host, the most general first, `all` before all.
    pub(super) fn groups_of(&self, host: &str) -> Vec<&str> {
        let mut found: Vec<(usize, &str)> = vec![];
        let direct = self
            .groups
            .iter()
            .filter(|(_, group)| group.hosts.iter().any(|name| name == host));
        let mut ways: Vec<(usize, &str)> = direct.map(|(name, _)| (0, name.as_str())).collect();
        // Up from the host; a circle ends where its depth is more than there are groups.
        while let Some((height, name)) = ways.pop() {
            if height > self.groups.len() {
                continue;
            }
            match found.iter_mut().find(|(_, known)| *known == name) {
                Some((known, _)) if *known >= height => continue,
                Some((known, _)) => *known = height,
                None => found.push((height, name)),
            }
            let parents = self
                .groups
                .iter()
                .filter(|(_, group)| group.children.iter().any(|child| child == name));
            ways.extend(parents.map(|(parent, _)| (height + 1, parent.as_str())));
        }
        found.retain(|(_, name)| *name != "all");
        found.sort_by_key(|(height, name)| (usize::MAX - height, *name));
        std::iter::once("all")
            .chain(found.into_iter().map(|(_, name)| name))
            .collect()
    }

    /// The variables of a host, the more particular in the place of the more general.
    pub(super) fn variables_of(&self, host: &Host, ledger: &Ledger) -> BTreeMap<String, usize> {
        let groups = self.groups_of(&host.name);
        let general = groups
            .iter()
            .filter_map(|name| self.groups.get(*name))
            .flat_map(|group| &group.variables);
        general
            .chain(&host.variables)
            .map(|id| (ledger.settings[*id].key.clone(), *id))
            .collect()
    }
}

/// Reads an inventory in INI.
pub(super) fn ini(source: &Source, ledger: &mut Ledger, inventory: &mut Inventory) -> Result<(), ImportError> {
    let wrong = |line, why: String, hint: &str| ImportError::new(&source.name, Some(line), why, hint);
    let lines = ini::lines(&source.text).map_err(|error| ImportError::unreadable(&source.name, error))?;
    let (mut name, mut kind) = ("ungrouped", "hosts");
    for (number, line) in lines {
        let text = match line {
            IniLine::Section(section) => {
                (name, kind) = section.split_once(':').unwrap_or((section, "hosts"));
                if !matches!(kind, "hosts" | "vars" | "children") {
                    let why = format!("`[{section}]` is neither a group nor its :vars or :children");
                    return Err(wrong(number, why, "write [group], [group:vars] or [group:children]"));
                }
                inventory.group(name);
                continue;
            }
            IniLine::Text(text) => text,
        };
        match kind {
            "vars" => {
                let (key, value) = ini::setting(text).ok_or_else(|| {
                    let hint = "write NAME=VALUE, or comment the line out with #";
                    // Not the line itself: without a name all of it may be a secret.
                    wrong(number, "this line is not NAME=VALUE".to_owned(), hint)
                })?;
                let place = format!("[{name}:vars]");
                let id = ledger.add(source, number, &place, key, Value::Text(value));
                inventory.group(name).variables.push(id);
            }
            "children" => {
                let child = text.split_whitespace().next().unwrap_or(text);
                inventory.group(child);
                inventory.group(name).children.push(child.to_owned());
            }
            _ => hosts(source, ledger, inventory, (number, name, text))?,
        }
    }
    Ok(())
}

/// Never a value: it may be a secret.
fn shown(text: &str) -> &str {
    text.split('=').next().unwrap_or(text).trim()
}

fn hosts(
    source: &Source,
    ledger: &mut Ledger,
    inventory: &mut Inventory,
    (number, group, text): (usize, &str, &str),
) -> Result<(), ImportError> {
    let wrong = |why: String| {
        let hint = "write a host as NAME key=value key=value, with quotes around values that have blanks";
        ImportError::new(&source.name, Some(number), why, hint)
    };
    let words = ini::words(text).ok_or_else(|| wrong("a quote is not closed".to_owned()))?;
    let Some((pattern, variables)) = words.split_first() else {
        return Ok(());
    };
    if pattern.contains('=') {
        return Err(wrong(format!(
            "`{}` begins with a variable and no host",
            shown(pattern)
        )));
    }
    let (pattern, port) = port_of(pattern);
    for host in ini::ranges(pattern).map_err(wrong)? {
        let place = format!("host {host}");
        let mut ids = vec![];
        if let Some(port) = port {
            let port = Value::Text(port.to_owned());
            ids.push(ledger.add(source, number, &place, "ansible_port", port));
        }
        for word in variables {
            let (key, value) = ini::setting(word)
                .ok_or_else(|| wrong(format!("`{}` of the host {host} is not key=value", shown(word))))?;
            ids.push(ledger.add(source, number, &place, key, Value::Text(value)));
        }
        inventory.host(source, number, &host).variables.extend(ids);
        let hosts = &mut inventory.group(group).hosts;
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    Ok(())
}

/// `host:2222`; a colon within brackets is a range's, and several are an IPv6 address's.
fn port_of(pattern: &str) -> (&str, Option<&str>) {
    match pattern.rsplit_once(':') {
        Some((host, port))
            if !port.is_empty()
                && port.bytes().all(|b| b.is_ascii_digit())
                && host.matches('[').count() == host.matches(']').count()
                && !host.rsplit(']').next().unwrap_or(host).contains(':') =>
        {
            (host, Some(port))
        }
        _ => (pattern, None),
    }
}

/// Reads an inventory in YAML.
pub(super) fn yaml(source: &Source, ledger: &mut Ledger, inventory: &mut Inventory) -> Result<(), ImportError> {
    let value = yaml::parse(&source.text).map_err(|error| ImportError::unreadable(&source.name, error))?;
    let Value::Table(groups) = value else {
        let hint = "an inventory begins with a group, such as `all:`";
        return Err(ImportError::new(&source.name, None, "this YAML has no groups", hint));
    };
    for (name, line, group) in &groups {
        self::group(source, ledger, inventory, (name, *line, group))?;
    }
    Ok(())
}

fn group(
    source: &Source,
    ledger: &mut Ledger,
    inventory: &mut Inventory,
    (name, line, value): (&str, usize, &Value),
) -> Result<(), ImportError> {
    let wrong = |line, what: &str| {
        let hint = "a group has `hosts:`, `children:` and `vars:`, each with names and a colon behind them";
        ImportError::new(&source.name, Some(line), what, hint)
    };
    inventory.group(name);
    let parts = match value {
        Value::Table(parts) => parts,
        Value::Empty => return Ok(()),
        _ => return Err(wrong(line, &format!("`{name}` is no group"))),
    };
    for (part, line, value) in parts {
        let members = match value {
            Value::Table(members) => members.as_slice(),
            Value::Empty => &[],
            _ if matches!(part.as_str(), "hosts" | "children" | "vars") => {
                return Err(wrong(*line, &format!("`{part}` of the group {name} is not a table")));
            }
            _ => &[],
        };
        match part.as_str() {
            "children" => {
                for (child, line, value) in members {
                    group(source, ledger, inventory, (child, *line, value))?;
                    let children = &mut inventory.group(name).children;
                    if !children.contains(child) {
                        children.push(child.clone());
                    }
                }
            }
            "vars" => {
                let ids = variables_in(source, ledger, &format!("group {name}"), members);
                inventory.group(name).variables.extend(ids);
            }
            "hosts" => {
                for (pattern, line, value) in members {
                    let variables = match value {
                        Value::Table(variables) => variables.as_slice(),
                        Value::Empty => &[],
                        _ => return Err(wrong(*line, &format!("the variables of {pattern} are not a table"))),
                    };
                    let names = ini::ranges(pattern).map_err(|why| wrong(*line, &why))?;
                    for host in names {
                        let ids = variables_in(source, ledger, &format!("host {host}"), variables);
                        inventory.host(source, *line, &host).variables.extend(ids);
                        let hosts = &mut inventory.group(name).hosts;
                        if !hosts.contains(&host) {
                            hosts.push(host);
                        }
                    }
                }
            }
            _ => {
                let id = ledger.add(source, *line, &format!("group {name}"), part, value.clone());
                ledger.leave(id, "a group has hosts, children and vars, and nothing else");
            }
        }
    }
    Ok(())
}

fn variables_in(source: &Source, ledger: &mut Ledger, place: &str, variables: &[(String, usize, Value)]) -> Vec<usize> {
    let add = |(key, line, value): &(String, usize, Value)| ledger.add(source, *line, place, key, value.clone());
    variables.iter().map(add).collect()
}

/// Reads a file of group_vars or host_vars.
pub(super) fn variables(source: &Source, ledger: &mut Ledger, inventory: &mut Inventory) -> Result<(), ImportError> {
    if source.text.starts_with("$ANSIBLE_VAULT") {
        let id = ledger.add(source, 1, "the file", "all of it", Value::Vault);
        ledger.leave(id, "it is encrypted by ansible-vault: kbo reads no secrets");
        return Ok(());
    }
    let value = yaml::parse(&source.text).map_err(|error| ImportError::unreadable(&source.name, error))?;
    let table = match value {
        Value::Table(table) => table,
        Value::Empty => return Ok(()),
        _ => {
            let hint = "a file of variables has one `name: value` a line";
            return Err(ImportError::new(&source.name, Some(1), "these are no variables", hint));
        }
    };
    match &source.scope {
        Scope::Host(name) => {
            let ids = variables_in(source, ledger, &format!("host {name}"), &table);
            match inventory.hosts.iter_mut().find(|host| host.name == *name) {
                Some(host) => host.variables.extend(ids),
                None => ids
                    .into_iter()
                    .for_each(|id| ledger.leave(id, format!("the inventory has no host {name}"))),
            }
        }
        Scope::Group(name) => {
            let ids = variables_in(source, ledger, &format!("group {name}"), &table);
            if !matches!(name.as_str(), "all" | "ungrouped") && !inventory.groups.contains_key(name) {
                let why = format!("no group {name} in the inventory");
                ids.into_iter().for_each(|id| ledger.leave(id, why.clone()));
                return Ok(());
            }
            // What a file of group_vars says comes after what the inventory says.
            inventory.group(name).variables.extend(ids);
        }
        Scope::Main => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_behind_hosts_are_no_ranges_and_no_addresses() {
        assert_eq!(port_of("h:2222"), ("h", Some("2222")));
        assert_eq!(port_of("h[1:3]"), ("h[1:3]", None));
        assert_eq!(port_of("h[1:3]:22"), ("h[1:3]", Some("22")));
        assert_eq!(port_of("fe80::1"), ("fe80::1", None));
    }
}
