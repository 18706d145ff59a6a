//! Kafka's config providers: `${provider:path:key}` in a value stands for what is kept elsewhere.

use kbo_core::ports::node::{NodeError, NodeErrorKind};
use zeroize::Zeroizing;

use super::super::properties::{self, Quiet};
use super::Surroundings;
use super::source::read;

/// Secrets are short.
const MAX_FILE: u64 = 1024 * 1024;

/// `value` with its references replaced, of the providers that `properties` declares. References to others stay as they are, as
/// with Kafka.
pub(super) fn expand(value: &str, properties: &Quiet, around: &Surroundings) -> Result<Zeroizing<String>, NodeError> {
    let mut out = Zeroizing::new(String::with_capacity(value.len()));
    let mut rest = value;
    while let Some(start) = rest.find("${") {
        let Some(length) = rest[start..].find('}') else { break };
        let (whole, inner) = (&rest[start..=start + length], &rest[start + 2..start + length]);
        out.push_str(&rest[..start]);
        rest = &rest[start + length + 1..];
        match inner.split_once(':').filter(|(name, _)| is_declared(properties, name)) {
            Some((name, reference)) => {
                let (path, key) = reference.split_once(':').unwrap_or(("", reference));
                out.push_str(&look_up(name, path, key, properties, around)?);
            }
            None => out.push_str(whole),
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn is_declared(properties: &Quiet, name: &str) -> bool {
    let declared = properties.get("config.providers").unwrap_or_default();
    declared.split(',').any(|known| known.trim() == name)
}

fn look_up(
    name: &str,
    path: &str,
    key: &str,
    properties: &Quiet,
    around: &Surroundings,
) -> Result<Zeroizing<String>, NodeError> {
    let wrong = |text: String| NodeError::new(NodeErrorKind::State, text);
    let class = properties
        .get(&format!("config.providers.{name}.class"))
        .unwrap_or_default();
    let file = |path: &str| {
        let here = (around.locate)(path).ok_or_else(|| {
            wrong(format!(
                "config provider {name}: {path} lies in no mount of the container"
            ))
        })?;
        let bytes = read(&here, MAX_FILE)?;
        bytes.ok_or_else(|| wrong(format!("config provider {name}: there is no file {path}")))
    };
    let text = |bytes: &[u8]| Zeroizing::new(String::from_utf8_lossy(bytes).into_owned());
    match class.trim().rsplit('.').next() {
        Some("FileConfigProvider") => {
            let properties = Quiet::new(properties::parse(&text(&file(path)?)));
            let value = properties.get(key).map(|value| Zeroizing::new(value.to_owned()));
            value.ok_or_else(|| wrong(format!("config provider {name}: {path} has no {key}")))
        }
        Some("DirectoryConfigProvider") => Ok(text(&file(&format!("{path}/{key}"))?)),
        Some("EnvVarConfigProvider") => {
            let found = around.env.iter().find(|(variable, _)| variable == key);
            let value = found.map(|(_, value)| Zeroizing::new(value.clone()));
            value.ok_or_else(|| wrong(format!("config provider {name}: the container has no variable {key}")))
        }
        _ => Err(wrong(format!(
            "config provider {name} is of a class that kbo does not know: {class}"
        ))
        .hint("give kbo what it needs in `[kafka]` of kbo.toml")),
    }
}
