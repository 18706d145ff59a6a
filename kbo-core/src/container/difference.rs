//! Where a container differs from what it is to be.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Body, is_suspect};
use crate::secret::REDACTED;

/// One point in which a container is not as defined. Values that may be secret are redacted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// What differs: `image`, `environment KAFKA_HEAP_OPTS`, `mount /etc/kafka`.
    pub what: String,
    /// As defined; empty for nothing.
    pub wanted: String,
    /// As it is; empty for nothing.
    pub actual: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |text: &str| {
            if text.is_empty() {
                "(none)".to_owned()
            } else {
                text.to_owned()
            }
        };
        write!(
            f,
            "{}: is {}, defined as {}",
            self.what,
            shown(&self.actual),
            shown(&self.wanted)
        )
    }
}

/// Compares what is `wanted` with a container (the engine's inspect, nothing redacted), whose image has the configuration `image`
/// (`Config` of the image's inspect; null where it is not known).
pub fn differences(wanted: &Body, actual: &Value, image: &Value) -> Vec<Difference> {
    let (wanted, config, host) = (&wanted.0, &actual["Config"], &actual["HostConfig"]);
    let wanted_host = &wanted["HostConfig"];
    let mut found = Found::default();
    found.plain("image", text(&wanted["Image"]), text(&config["Image"]));
    // What is not defined is the image's.
    let or_image = |name: &str| {
        if wanted[name].is_null() {
            &image[name]
        } else {
            &wanted[name]
        }
    };
    for (what, name) in [("entrypoint", "Entrypoint"), ("command", "Cmd"), ("user", "User")] {
        // An entrypoint of one's own drops the image's command.
        let expected = if name == "Cmd" && wanted["Cmd"].is_null() && !wanted["Entrypoint"].is_null() {
            &Value::Null
        } else {
            or_image(name)
        };
        found.plain(what, words(expected), words(&config[name]));
    }
    let mut variables = pairs(&image["Env"]);
    variables.extend(pairs(&wanted["Env"]));
    found.maps("environment", &variables, &pairs(&config["Env"]));
    let mut labels = map(&image["Labels"]);
    labels.extend(map(&wanted["Labels"]));
    found.maps("label", &labels, &map(&config["Labels"]));
    if !wanted["Hostname"].is_null() {
        found.plain("hostname", text(&wanted["Hostname"]), text(&config["Hostname"]));
    }
    if !wanted["StopTimeout"].is_null() {
        found.plain(
            "stop timeout",
            text(&wanted["StopTimeout"]),
            text(&config["StopTimeout"]),
        );
    }
    found.maps("mount", &wanted_mounts(wanted_host), &actual_mounts(&actual["Mounts"]));
    found.maps(
        "port",
        &ports(&wanted_host["PortBindings"]),
        &ports(&host["PortBindings"]),
    );
    found.plain("network", network(wanted_host), network(host));
    for (name, endpoint) in wanted["NetworkingConfig"]["EndpointsConfig"]
        .as_object()
        .into_iter()
        .flatten()
    {
        let actual = &actual["NetworkSettings"]["Networks"][name]["IPAMConfig"];
        for family in ["IPv4Address", "IPv6Address"] {
            found.plain(
                &format!("address in {name}"),
                text(&endpoint["IPAMConfig"][family]),
                text(&actual[family]),
            );
        }
    }
    found.plain("restart policy", policy(wanted_host), policy(host));
    for (what, name) in [("memory", "Memory"), ("processors (billionths)", "NanoCpus")] {
        found.plain(what, amount(&wanted_host[name]), amount(&host[name]));
    }
    found.maps("ulimit", &ulimits(&wanted_host["Ulimits"]), &ulimits(&host["Ulimits"]));
    found.plain(
        "extra hosts",
        sorted(&wanted_host["ExtraHosts"]),
        sorted(&host["ExtraHosts"]),
    );
    found.0
}

#[derive(Default)]
struct Found(Vec<Difference>);

impl Found {
    fn plain(&mut self, what: &str, wanted: String, actual: String) {
        if wanted != actual {
            self.0.push(Difference {
                what: what.to_owned(),
                wanted,
                actual,
            });
        }
    }

    fn maps(&mut self, what: &str, wanted: &BTreeMap<String, String>, actual: &BTreeMap<String, String>) {
        let names: BTreeSet<&String> = wanted.keys().chain(actual.keys()).collect();
        for name in names {
            let (wanted, actual) = (wanted.get(name), actual.get(name));
            if wanted == actual {
                continue;
            }
            let shown = |value: Option<&String>| match value {
                None => String::new(),
                Some(_) if is_suspect(name) => REDACTED.to_owned(),
                Some(value) if value.is_empty() => "\"\"".to_owned(),
                Some(value) => value.clone(),
            };
            let (wanted, actual) = (shown(wanted), shown(actual));
            self.0.push(Difference {
                what: format!("{what} {name}"),
                wanted,
                actual,
            });
        }
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn words(value: &Value) -> String {
    match value {
        Value::Array(words) => words.iter().map(text).collect::<Vec<_>>().join(" "),
        other => text(other),
    }
}

/// Zero is the engine's way to say none.
fn amount(value: &Value) -> String {
    value
        .as_i64()
        .filter(|amount| *amount != 0)
        .map(|amount| amount.to_string())
        .unwrap_or_default()
}

fn sorted(value: &Value) -> String {
    let mut list: Vec<String> = value.as_array().into_iter().flatten().map(text).collect();
    list.sort();
    list.join(" ")
}

fn pairs(list: &Value) -> BTreeMap<String, String> {
    let entries = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    entries
        .map(|entry| entry.split_once('=').unwrap_or((entry, "")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn map(value: &Value) -> BTreeMap<String, String> {
    let entries = value.as_object().into_iter().flatten();
    entries.map(|(name, value)| (name.clone(), text(value))).collect()
}

fn mode(read_only: bool) -> &'static str {
    if read_only { " (read-only)" } else { "" }
}

/// By their path in the container: `Binds` and `Mounts` say the same in two ways.
fn wanted_mounts(host: &Value) -> BTreeMap<String, String> {
    let binds = host["Binds"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter_map(|bind| {
            let mut parts = bind.splitn(3, ':');
            let (source, target) = (parts.next()?, parts.next()?);
            let read_only = parts
                .next()
                .is_some_and(|modes| modes.split(',').any(|mode| mode == "ro"));
            Some((target.to_owned(), format!("{source}{}", mode(read_only))))
        });
    let mounts = host["Mounts"].as_array().into_iter().flatten().map(|mount| {
        let read_only = mount["ReadOnly"].as_bool().unwrap_or(false);
        (
            text(&mount["Target"]),
            format!("{}{}", text(&mount["Source"]), mode(read_only)),
        )
    });
    binds.chain(mounts).collect()
}

/// Volumes that the image declares and nobody named are not of the definition.
fn actual_mounts(mounts: &Value) -> BTreeMap<String, String> {
    let is_anonymous = |name: &str| name.len() == 64 && name.bytes().all(|c| c.is_ascii_hexdigit());
    let mounts = mounts.as_array().into_iter().flatten().filter_map(|mount| {
        let source = match mount["Type"].as_str() {
            Some("volume") => text(&mount["Name"]),
            _ => text(&mount["Source"]),
        };
        let read_only = !mount["RW"].as_bool().unwrap_or(true);
        (!is_anonymous(&source)).then(|| (text(&mount["Destination"]), format!("{source}{}", mode(read_only))))
    });
    mounts.collect()
}

fn ports(bindings: &Value) -> BTreeMap<String, String> {
    let bindings = bindings.as_object().into_iter().flatten().map(|(port, hosts)| {
        let hosts = hosts.as_array().into_iter().flatten().map(|host| {
            let address = text(&host["HostIp"]);
            let any = address.is_empty() || address == "0.0.0.0";
            if any {
                text(&host["HostPort"])
            } else {
                format!("{address}:{}", text(&host["HostPort"]))
            }
        });
        let mut hosts: Vec<String> = hosts.collect();
        hosts.sort();
        (port.clone(), hosts.join(" "))
    });
    bindings.collect()
}

/// Engines call the same network by two names.
fn network(host: &Value) -> String {
    match text(&host["NetworkMode"]).as_str() {
        "" | "default" => "bridge".to_owned(),
        name => name.to_owned(),
    }
}

fn policy(host: &Value) -> String {
    match text(&host["RestartPolicy"]["Name"]).as_str() {
        "" => "no".to_owned(),
        name => name.to_owned(),
    }
}

fn ulimits(list: &Value) -> BTreeMap<String, String> {
    let limits = list.as_array().into_iter().flatten();
    limits
        .map(|limit| (text(&limit["Name"]), format!("{}:{}", limit["Soft"], limit["Hard"])))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What an engine tells of a container made of `body` and an image with a path and an entrypoint.
    fn made() -> (Body, Value, Value) {
        let body = Body(json!({
            "Image": "apache/kafka:4.1.1", "Env": ["A=1", "PASSWORD=x"], "Cmd": ["run"], "Hostname": "b1", "StopTimeout": 360,
            "HostConfig": { "Binds": ["/d:/var/lib/kafka/data", "conf:/etc/kafka:ro"], "NetworkMode": "bridge", "Memory": 5,
                "PortBindings": { "9092/tcp": [{ "HostIp": "", "HostPort": "9092" }] }, "RestartPolicy": { "Name": "always" },
                "Ulimits": [{ "Name": "nofile", "Soft": 1, "Hard": 2 }], "ExtraHosts": ["b:2", "a:1"] }
        }));
        let image = json!({ "Env": ["PATH=/bin"], "Entrypoint": ["/start"], "Cmd": ["other"], "User": "appuser", "Labels": { "by": "them" } });
        let anonymous = "0".repeat(64);
        let actual = json!({
            "Config": { "Image": "apache/kafka:4.1.1", "Env": ["PASSWORD=x", "PATH=/bin", "A=1"], "Cmd": ["run"], "Entrypoint": ["/start"],
                "User": "appuser", "Hostname": "b1", "StopTimeout": 360, "Labels": { "by": "them" } },
            "HostConfig": { "NetworkMode": "default", "Memory": 5, "NanoCpus": 0, "PortBindings": { "9092/tcp": [{ "HostIp": "0.0.0.0", "HostPort": "9092" }] },
                "RestartPolicy": { "Name": "always", "MaximumRetryCount": 0 }, "Ulimits": [{ "Name": "nofile", "Soft": 1, "Hard": 2 }], "ExtraHosts": ["a:1", "b:2"] },
            "Mounts": [{ "Type": "bind", "Source": "/d", "Destination": "/var/lib/kafka/data", "RW": true },
                { "Type": "volume", "Name": "conf", "Source": "/volumes/conf/_data", "Destination": "/etc/kafka", "RW": false },
                { "Type": "volume", "Name": anonymous, "Source": "/x", "Destination": "/etc/kafka/secrets", "RW": true }]
        });
        (body, actual, image)
    }

    #[test]
    fn a_container_made_as_defined_does_not_differ() {
        let (body, actual, image) = made();
        assert_eq!(differences(&body, &actual, &image), []);
    }

    #[test]
    fn every_point_is_told_by_its_name_and_secrets_by_theirs_only() {
        type Change = fn(&mut Value);
        let changes: [(&str, Change); 12] = [
            ("image", |body| body["Image"] = json!("apache/kafka:4.2.0")),
            ("command", |body| body["Cmd"] = json!(["walk"])),
            ("entrypoint", |body| body["Entrypoint"] = json!(["/other"])),
            ("environment A", |body| body["Env"] = json!(["PASSWORD=x"])),
            ("environment PASSWORD", |body| {
                body["Env"] = json!(["A=1", "PASSWORD=y"])
            }),
            ("label team", |body| body["Labels"] = json!({ "team": "data" })),
            ("mount /etc/kafka", |body| {
                body["HostConfig"]["Binds"] = json!(["/d:/var/lib/kafka/data", "conf:/etc/kafka"])
            }),
            ("port 9092/tcp", |body| body["HostConfig"]["PortBindings"] = json!({})),
            ("network", |body| body["HostConfig"]["NetworkMode"] = json!("host")),
            ("memory", |body| body["HostConfig"]["Memory"] = Value::Null),
            ("ulimit nofile", |body| body["HostConfig"]["Ulimits"] = json!([])),
            ("extra hosts", |body| body["HostConfig"]["ExtraHosts"] = json!(["a:1"])),
        ];
        for (what, change) in changes {
            let (mut body, actual, image) = made();
            change(&mut body.0);
            let found = differences(&body, &actual, &image);
            assert_eq!(found.iter().map(|one| one.what.as_str()).collect::<Vec<_>>(), [what]);
            assert!(
                what != "environment PASSWORD" || found[0].wanted == REDACTED && found[0].actual == REDACTED,
                "{found:?}"
            );
        }
    }
}
