//! What of a container's definition may be kept: names of everything, values of what is no secret.

use kbo_core::secret::REDACTED;
use serde_json::Value;

/// Words in a name that speak of a secret value.
const SUSPECT: [&str; 6] = ["pass", "secret", "token", "key", "credential", "jaas"];

/// Whether a name (of an environment variable, of a label) speaks of a secret.
pub(super) fn is_suspect(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SUSPECT.iter().any(|word| name.contains(word))
}

/// Blanks the values of suspect environment variables, labels, and options of the command line, in place.
pub(super) fn redact(definition: &mut Value) {
    match definition {
        Value::Object(map) => {
            for (name, value) in map.iter_mut() {
                match (name.as_str(), value) {
                    ("Env" | "Cmd" | "Entrypoint" | "Args", Value::Array(list)) => {
                        list.iter_mut().for_each(redact_assignment);
                    }
                    // `Test` of a health check is a command line too.
                    ("Test", Value::Array(list)) => list.iter_mut().for_each(redact_assignment),
                    ("Labels" | "Annotations" | "Options" | "Config", Value::Object(entries)) => {
                        for (name, value) in entries.iter_mut() {
                            if value.is_string() && is_suspect(name) {
                                *value = Value::from(REDACTED);
                            } else {
                                redact_within(name, value);
                            }
                        }
                    }
                    (_, value) => redact(value),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(redact),
        _ => {}
    }
}

/// An entry of a map that is both a bag of names (log options) and a section with lists of its own (`Config`).
fn redact_within(name: &str, value: &mut Value) {
    let mut section = serde_json::Map::new();
    section.insert(name.to_owned(), value.take());
    let mut section = Value::Object(section);
    redact(&mut section);
    if let Some(inner) = section.get_mut(name) {
        *value = inner.take();
    }
}

/// `NAME=value` where NAME is suspect; a text that only looks like configuration (JAAS in a shell line) goes as a whole.
fn redact_assignment(entry: &mut Value) {
    let Value::String(text) = entry else { return };
    match text.split_once('=') {
        Some((name, _)) if is_suspect(name) => *text = format!("{name}={REDACTED}"),
        _ => {
            let lower = text.to_ascii_lowercase();
            if ["password=", "password =", "secret=", "loginmodule required"]
                .iter()
                .any(|sign| lower.contains(sign))
            {
                *text = match text.split_once('=') {
                    Some((name, _)) if !name.contains(char::is_whitespace) => format!("{name}={REDACTED}"),
                    _ => REDACTED.to_owned(),
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_of_suspect_names_do_not_survive_and_names_do() {
        let mut definition = json!({
            "Config": {
                "Env": [
                    "KAFKA_SSL_KEYSTORE_PASSWORD=hunter2", "kafka_jaas=hunter2", "CLUSTER_ID=abc", "AWS_SECRET=hunter2",
                    "KAFKA_OPTS=-Dx=org.apache.PlainLoginModule required password=hunter2", "FLAG"
                ],
                "Cmd": ["run", "--password=hunter2", "sh -c 'export PASSWORD=hunter2; run'"],
                "Labels": {"com.example.token": "hunter2", "com.example.name": "b1"},
                "Healthcheck": {"Test": ["CMD-SHELL", "kcat -X sasl.password=hunter2"]},
            },
            "HostConfig": {"LogConfig": {"Type": "x", "Config": {"splunk-token": "hunter2", "max-size": "10m"}}},
        });
        redact(&mut definition);
        let shown = definition.to_string();
        assert!(!shown.contains("hunter2"), "{shown}");
        for kept in [
            "KAFKA_SSL_KEYSTORE_PASSWORD",
            "CLUSTER_ID=abc",
            "FLAG",
            "com.example.token",
            "b1",
            "10m",
            "run",
        ] {
            assert!(shown.contains(kept), "{kept} in {shown}");
        }
    }
}
