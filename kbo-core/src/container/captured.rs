//! From a definition that a backup captured (the engine's inspect, secrets redacted) to what makes the same container again.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Body;
use crate::secret::REDACTED;

/// What a backup tells of a container.
#[derive(Debug, Clone, PartialEq)]
pub struct Captured {
    /// What to ask the engine for.
    pub body: Body,
    /// What was redacted and nothing replaces: variables by name, other places as `Cmd` or `label NAME`.
    pub lacking: Vec<String>,
}

/// What of `Config` makes a container.
const CONFIG: [&str; 15] = [
    "Hostname",
    "Domainname",
    "User",
    "ExposedPorts",
    "Tty",
    "OpenStdin",
    "StdinOnce",
    "Cmd",
    "Healthcheck",
    "Image",
    "Volumes",
    "WorkingDir",
    "Entrypoint",
    "StopSignal",
    "StopTimeout",
];

/// The engine's request for a container like the one inspected. `known` are the values of redacted variables.
///
/// `None` where the text is no inspect's.
pub fn captured(inspected: &Value, known: &BTreeMap<String, String>) -> Option<Captured> {
    let config = inspected.get("Config")?.as_object()?;
    let mut lacking = vec![];
    let mut body = Map::new();
    for name in CONFIG {
        if let Some(value) = config.get(name).filter(|value| !value.is_null()) {
            if holds_redacted(value) {
                lacking.push(name.to_owned());
            }
            body.insert(name.to_owned(), value.clone());
        }
    }
    let environment = config
        .get("Env")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let environment: Vec<String> = environment
        .map(|entry| {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            match known.get(name) {
                _ if value != REDACTED => entry.to_owned(),
                Some(value) => format!("{name}={value}"),
                None => {
                    lacking.push(name.to_owned());
                    entry.to_owned()
                }
            }
        })
        .collect();
    body.insert("Env".to_owned(), json!(environment));
    let labels = config.get("Labels").and_then(Value::as_object).into_iter().flatten();
    let labels: Map<String, Value> = labels
        .filter(|(name, value)| {
            let redacted = value.as_str() == Some(REDACTED);
            if redacted {
                lacking.push(format!("label {name}"));
            }
            !redacted
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    body.insert("Labels".to_owned(), Value::Object(labels));
    let mut host = inspected.get("HostConfig").cloned().unwrap_or_else(|| json!({}));
    if let Some(host) = host.as_object_mut() {
        host.retain(|_, value| !value.is_null());
        // What the engine has chosen by itself, and what one engine tells and another does not take.
        for name in [
            "ContainerIDFile",
            "CgroupParent",
            "Runtime",
            "Isolation",
            "CgroupnsMode",
            "ConsoleSize",
            "KernelMemory",
        ] {
            host.remove(name);
        }
    }
    if holds_redacted(&host) {
        lacking.push("HostConfig".to_owned());
    }
    let networks = endpoints(inspected);
    if !networks.is_empty() {
        body.insert("NetworkingConfig".to_owned(), json!({ "EndpointsConfig": networks }));
    }
    // The host's own name is not the container's.
    if host["NetworkMode"] == "host" {
        body.remove("Hostname");
        body.remove("Domainname");
    }
    body.insert("HostConfig".to_owned(), host);
    Some(Captured {
        body: Body(Value::Object(body)),
        lacking,
    })
}

/// The networks with what was asked of them: addresses and aliases, not what the engine then gave.
fn endpoints(inspected: &Value) -> Map<String, Value> {
    let networks = inspected["NetworkSettings"]["Networks"].as_object();
    let wanted = |(name, network): (&String, &Value)| {
        let mut endpoint = Map::new();
        for key in ["IPAMConfig", "Aliases", "Links", "DriverOpts"] {
            if let Some(value) = network.get(key).filter(|value| !value.is_null()) {
                endpoint.insert(key.to_owned(), value.clone());
            }
        }
        (!matches!(name.as_str(), "host" | "none" | "bridge")).then(|| (name.clone(), Value::Object(endpoint)))
    };
    networks.into_iter().flatten().filter_map(wanted).collect()
}

fn holds_redacted(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(REDACTED),
        Value::Array(list) => list.iter().any(holds_redacted),
        Value::Object(map) => map.values().any(holds_redacted),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspected() -> Value {
        json!({
            "Config": {
                "Hostname": "broker-1", "Image": "apache/kafka:4.1.1", "User": "1000:1000",
                "Env": ["A=1", "TRUSTSTORE_PASSWORD=[redacted]"],
                "Cmd": ["/opt/kafka/bin/kafka-server-start.sh", "/etc/kafka/server.properties"],
                "Labels": { "team": "data", "token": "[redacted]" }, "StopTimeout": null
            },
            "HostConfig": { "Binds": ["/data:/var/lib/kafka/data"], "NetworkMode": "kafka", "Memory": 0, "LogConfig": { "Type": "json-file" }, "Runtime": "runc" },
            "NetworkSettings": { "Networks": { "kafka": { "IPAMConfig": { "IPv4Address": "10.0.0.5" }, "IPAddress": "10.0.0.5", "Aliases": null, "Gateway": "10.0.0.1" } } }
        })
    }

    #[test]
    fn a_captured_container_is_made_again_as_it_was_asked_for() {
        let known = [("TRUSTSTORE_PASSWORD".to_owned(), "x".to_owned())].into();
        let Captured { body, lacking } = captured(&inspected(), &known).unwrap();
        assert_eq!(lacking, ["label token"]);
        assert_eq!(body.0["Env"], json!(["A=1", "TRUSTSTORE_PASSWORD=x"]));
        assert_eq!(body.0["HostConfig"]["Binds"], json!(["/data:/var/lib/kafka/data"]));
        assert_eq!(body.0["HostConfig"].get("Runtime"), None);
        assert_eq!(
            body.0["NetworkingConfig"],
            json!({ "EndpointsConfig": { "kafka": { "IPAMConfig": { "IPv4Address": "10.0.0.5" } } } })
        );
        assert_eq!(body.0["Labels"], json!({ "team": "data" }));
    }

    #[test]
    fn what_was_redacted_is_named_and_never_made_up() {
        let Captured { lacking, .. } = captured(&inspected(), &BTreeMap::new()).unwrap();
        assert_eq!(lacking, ["TRUSTSTORE_PASSWORD", "label token"]);
        let mut secret_command = inspected();
        secret_command["Config"]["Cmd"] = json!(["run", "--password=[redacted]"]);
        assert!(
            captured(&secret_command, &BTreeMap::new())
                .unwrap()
                .lacking
                .contains(&"Cmd".to_owned())
        );
        assert_eq!(captured(&json!({}), &BTreeMap::new()), None);
    }
}
