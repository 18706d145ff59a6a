//! What an inventory says once for the whole cluster, at whichever host or group it stands.

use super::ansible::Member;
use super::yaml::Value;
use super::{Ledger, Parts, values};
use crate::ids::ClusterId;

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

/// Of several values one counts, and the others are named.
pub(super) fn map(members: &[Member<'_>], ledger: &mut Ledger, parts: &mut Parts) {
    for (id, text) in all(members, ledger, CLUSTER_ID) {
        match text.parse::<ClusterId>() {
            Ok(_) => ledger.once(&mut parts.id, id, text, "cluster.id"),
            Err(error) => ledger.leave(id, format!("`{text}` is not a valid cluster id: {}", error.why)),
        }
    }
    for (id, text) in all(members, ledger, CLUSTER_NAME) {
        ledger.once(&mut parts.name, id, text, "cluster.name");
    }
    for (id, text) in all(members, ledger, COLD) {
        match values::directory(&text) {
            Ok(cold) => ledger.once(&mut parts.cold, id, cold, "storage.cold"),
            Err(why) => ledger.leave(id, why),
        }
    }
    for (id, text) in all(members, ledger, LOG_FILE) {
        match values::file(&text) {
            Ok(file) => ledger.once(&mut parts.log_file, id, file, "log.file"),
            Err(why) => ledger.leave(id, why),
        }
    }
    for (id, text) in all(members, ledger, WARN) {
        match values::percent(&text) {
            Some(percent) => ledger.once(&mut parts.warn_free_percent, id, percent, "storage.warn_free_percent"),
            None => ledger.leave(id, "not a percentage from 0 to 100"),
        }
    }
    for (key, kind) in RETENTION {
        for (id, text) in all(members, ledger, &[key]) {
            retention(ledger, parts, kind, (id, &text));
        }
    }
    let mut orders: Vec<usize> = members
        .iter()
        .filter_map(|member| member.find(ledger, STARTUP))
        .collect();
    orders.dedup();
    for id in orders {
        let names = match &ledger.settings[id].value {
            Value::List(list) => list
                .iter()
                .filter_map(|value| value.text().map(str::to_owned))
                .collect(),
            Value::Text(text) => text.split(',').map(|name| name.trim().to_owned()).collect(),
            _ => vec![],
        };
        parts.start_order(ledger, id, names);
    }
}

/// The keys that say it, each with the value of the first host that can tell it.
fn all(members: &[Member<'_>], ledger: &mut Ledger, keys: &[&str]) -> Vec<(usize, String)> {
    let mut all: Vec<(usize, String)> = vec![];
    for member in members {
        match member.told(ledger, keys) {
            Some((id, Ok(text))) if !all.iter().any(|(known, _)| *known == id) => all.push((id, text)),
            Some((id, Err(why))) => ledger.leave(id, why),
            _ => {}
        }
    }
    all
}

fn retention(ledger: &mut Ledger, parts: &mut Parts, kind: &str, (id, text): (usize, &str)) {
    let known = parts
        .retention
        .iter()
        .find(|(known, _)| known == kind)
        .map(|(_, days)| *days);
    let days = text.parse::<u32>().ok().filter(|days| *days > 0);
    let Some(days) = days else {
        return ledger.leave(id, "not a number of days of at least 1; kbo's default holds, 30");
    };
    match known {
        Some(known) if known != days => ledger.leave(id, "another key says how long backups stay, which counts"),
        _ => {
            let table = if kind.is_empty() {
                String::new()
            } else {
                format!(".{kind}")
            };
            ledger.carry(id, format!("retention{table}.days"));
            if known.is_none() {
                parts.retention.push((kind.to_owned(), days));
            }
        }
    }
}
