//! `kafka_services`: the containers of the later inventories, a list with one entry for each role.

use super::ansible::Member;
use super::keys::role_said;
use super::yaml::Value;
use super::{Ledger, Parts, line};
use crate::config::draft::{Line, one_or_many, quoted};
use crate::inventory::Role;

pub(super) fn map(members: &[Member<'_>], ledger: &mut Ledger, parts: &mut Parts) {
    let lists = ledger.settings.iter().enumerate();
    let lists: Vec<usize> = lists
        .filter(|(_, setting)| setting.key == "kafka_services" && setting.fate.is_none())
        .map(|(id, _)| id)
        .collect();
    for id in lists {
        let Value::List(services) = ledger.settings[id].value.clone() else {
            ledger.leave(id, "not a list of containers");
            continue;
        };
        let mut carried = vec![];
        for service in &services {
            let role = service.get("role").and_then(Value::text).and_then(role_said);
            let member = role.and_then(|role| members.iter().find(|member| member.role == role));
            let (Some(role), Some(member)) = (role, member) else {
                continue;
            };
            let table = format!("defaults.{role}.container");
            if parts.containers.iter().any(|(known, _)| *known == table) {
                continue;
            }
            let lines = container(service, member, role, ledger, parts);
            if !lines.is_empty() {
                let keys: Vec<&str> = lines.iter().map(|(key, _)| key.as_str()).collect();
                carried.push(format!("[{table}] {}", keys.join(" ")));
                parts.containers.push((table, lines));
            }
        }
        if carried.is_empty() {
            ledger.leave(id, "it describes no container of these nodes");
        } else {
            let to = carried.join("; ");
            ledger.carry(
                id,
                format!("{to} (not: environment, published ports, services beside Kafka)"),
            );
        }
    }
}

/// What can be told of a role's containers without Ansible.
fn container(service: &Value, member: &Member<'_>, role: Role, ledger: &Ledger, parts: &Parts) -> Vec<Line> {
    let text = |key: &str| member.resolve(ledger, service.get(key)?.text()?);
    let mut lines = vec![];
    let Some(image) = text("image") else { return lines };
    lines.push(line("image", quoted(&image)));
    if let Some(restart) = text("restart_policy") {
        lines.push(line("restart", quoted(&restart)));
    }
    let Some(node) = parts
        .nodes
        .iter()
        .find(|node| node.role.value == role && node.name == member.host.name)
    else {
        return lines;
    };
    // SOURCE:TARGET of each mount.
    let volumes: Vec<(String, String)> = match service.get("volumes") {
        Some(Value::List(list)) => list
            .iter()
            .filter_map(|value| member.resolve(ledger, value.text()?))
            .filter_map(|volume| {
                let mut parts = volume.splitn(3, ':');
                Some((parts.next()?.trim_end_matches('/').to_owned(), parts.next()?.to_owned()))
            })
            .collect(),
        _ => vec![],
    };
    let target = |source: &str| {
        volumes
            .iter()
            .find(|(from, _)| from == source)
            .map(|(_, to)| to.clone())
    };
    let config = node.config.as_ref().and_then(|config| target(&config.value));
    if let Some(mount) = &config {
        lines.push(line("config_mount", quoted(mount)));
    }
    let data: Option<Vec<String>> = node.data.value.iter().map(|dir| target(dir)).collect();
    if let Some(mounts) = data.filter(|mounts| !mounts.is_empty()) {
        lines.push(line("data_mount", one_or_many(&mounts)));
    }
    let words: Vec<String> = match service.get("command") {
        Some(Value::List(list)) => list
            .iter()
            .filter_map(|value| value.text().map(str::to_owned))
            .collect(),
        Some(Value::Text(text)) => text.split_whitespace().map(str::to_owned).collect(),
        _ => vec![],
    };
    let file = words.iter().rfind(|word| word.ends_with(".properties"));
    let in_config = |path: &String| Some(path.strip_prefix(config.as_ref()?)?.strip_prefix('/')?.to_owned());
    if let Some(name) = file.and_then(in_config).filter(|name| !name.contains('/')) {
        lines.push(line("properties", quoted(&name)));
    }
    lines
}
