//! What of a container's definition may be kept: names of everything, values of what is no secret.

use kbo_core::container::is_suspect;
use kbo_core::secret::REDACTED;
use serde_json::Value;

/// Blanks the values of suspect environment variables, labels, and options of the command line, in place.
pub(super) fn redact(definition: &mut Value) {
    match definition {
        Value::Object(map) => {
            for (name, value) in map.iter_mut() {
                match (name.as_str(), value) {
                    ("Env", Value::Array(list)) => list.iter_mut().for_each(redact_assignment),
                    // `Test` of a health check is a command line too.
                    ("Cmd" | "Entrypoint" | "Args" | "Test", Value::Array(list)) => redact_command(list),
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

/// Besides assignments: what follows an option that speaks of a secret.
fn redact_command(words: &mut [Value]) {
    let mut is_secret = false;
    for word in words {
        let opens = word
            .as_str()
            .is_some_and(|word| word.starts_with('-') && !word.contains('=') && is_suspect(word));
        if std::mem::replace(&mut is_secret, opens) && !opens {
            *word = Value::from(REDACTED);
        } else {
            redact_assignment(word);
        }
    }
}

/// The user and password of a URL.
fn without_login(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let authority = rest.split(['/', ' ', '\'', '"']).next()?;
    let (login, _) = authority.rsplit_once('@')?;
    let secret = login.contains(':').then_some(login)?;
    Some(format!("{scheme}://{REDACTED}{}", &rest[secret.len()..]))
}

/// `NAME=value` where NAME is suspect; a text that only looks like configuration (JAAS in a shell line) goes as a whole.
fn redact_assignment(entry: &mut Value) {
    let Value::String(text) = entry else { return };
    if let Some(without) = without_login(text) {
        *text = without;
    }
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
                    "SCHEMA_BASIC_AUTH_USER_INFO=me:hunter2", "HTTP_PROXY=http://me:hunter2@proxy:3128",
                    "KAFKA_OPTS=-Dx=org.apache.PlainLoginModule required password=hunter2", "FLAG"
                ],
                "Entrypoint": ["/run.sh", "--password", "hunter2", "--verbose", "b1", "http://me:hunter2@proxy:3128/b1"],
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
            "--verbose",
            "@proxy:3128",
        ] {
            assert!(shown.contains(kept), "{kept} in {shown}");
        }
    }
}
