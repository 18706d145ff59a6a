//! Finding and reading kbo.toml: `--config`, `KBO_CONFIG`, `./kbo.toml`, the user's, the system's; the environment on top.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use figment::Figment;
use figment::providers::{Env, Format, Toml};
use kbo_core::config::Config;
use kbo_core::config::raw::Raw;

/// The configuration and the file it came from.
pub(crate) fn load(given: Option<&Path>) -> anyhow::Result<(Config, PathBuf)> {
    let home = std::env::home_dir();
    let file = find(given, home.as_deref())?;
    // figment takes a missing or unreadable file for an empty one.
    let text = crate::given::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let figment = Figment::from(Toml::string(&text)).merge(environment());
    let raw: Raw = figment.extract().map_err(|error| describe(&error, &file))?;
    let config = Config::new(&raw, home.as_deref()).with_context(|| file.display().to_string())?;
    Ok((config, file))
}

/// The same file as a scheduled run reads it: `~` is that user's, and none of this shell's variables counts.
pub(crate) fn load_for(file: &Path, home: Option<&Path>) -> anyhow::Result<Config> {
    let text = crate::given::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let raw: Raw = Figment::from(Toml::string(&text))
        .extract()
        .map_err(|error| describe(&error, file))?;
    Config::new(&raw, home).with_context(|| file.display().to_string())
}

/// Whether a text would load as kbo.toml, whatever the environment says.
pub(crate) fn check(text: &str) -> anyhow::Result<Config> {
    let raw: Raw = Figment::from(Toml::string(text))
        .extract()
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(Config::new(&raw, std::env::home_dir().as_deref())?)
}

/// Whether there is a file to read, or one was named.
pub(crate) fn is_anywhere(given: Option<&Path>) -> bool {
    find(given, std::env::home_dir().as_deref()).is_ok()
}

fn find(given: Option<&Path>, home: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(file) = given {
        return Ok(file.to_owned());
    }
    let mut candidates = vec![PathBuf::from("kbo.toml")];
    candidates.extend(home.map(|home| home.join(".config/kbo/kbo.toml")));
    candidates.push(PathBuf::from("/etc/kbo/kbo.toml"));
    if let Some(file) = candidates.iter().find(|file| file.exists()) {
        return Ok(file.clone());
    }
    let looked: Vec<String> = candidates.iter().map(|file| file.display().to_string()).collect();
    bail!(
        "there is no configuration; looked for {}; name one with --config FILE or KBO_CONFIG",
        looked.join(", ")
    )
}

/// The sections of which a scalar can be set by the environment.
pub(crate) const SECTIONS: [&str; 14] = [
    "cluster",
    "storage",
    "backup",
    "ssh",
    "docker",
    "engine",
    "kafka",
    "archive",
    "limits",
    "retention",
    "hooks",
    "metrics",
    "certs",
    "log",
];

/// The environment's variables that outrank the file.
pub(crate) fn variables() -> Vec<String> {
    let environment = environment();
    let keys = environment
        .iter()
        .map(|(key, _)| key.as_str().replacen('.', "_", 1).to_uppercase());
    keys.map(|key| format!("KBO_{key}")).collect()
}

/// `KBO_STORAGE_COLD` is `storage.cold`: the first underscore parts the section from the key.
fn environment() -> Env {
    Env::prefixed("KBO_")
        .filter(|key| {
            let key = key.as_str().to_ascii_lowercase();
            SECTIONS
                .iter()
                .any(|section| key.strip_prefix(section).is_some_and(|rest| rest.starts_with('_')))
        })
        .map(|key| key.as_str().to_ascii_lowercase().replacen('_', ".", 1).into())
}

/// figment's errors, with the file, and without its way of naming sources.
fn describe(error: &figment::Error, file: &Path) -> anyhow::Error {
    let lines = error.clone().into_iter().map(|error| {
        let key = error.path.join(".");
        let source = match error.metadata.as_ref().map(|metadata| metadata.name.to_string()) {
            Some(name) if name.contains("environment") => {
                format!("environment variable KBO_{}", key.replace('.', "_").to_uppercase())
            }
            _ => file.display().to_string(),
        };
        let place = if key.is_empty() {
            String::new()
        } else {
            format!("{key}: ")
        };
        format!("{source}: {place}{}", error.kind)
    });
    anyhow::anyhow!(lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("kbo.toml");
        std::fs::write(&file, text).unwrap();
        (dir, file)
    }

    const GOOD: &str = r#"
        [cluster]
        name = "dev"
        [storage]
        cold = "/backup/cold"
        [defaults]
        data = "/data/cluster/data"
        [[node]]
        name = "k1"
        role = "combined"
        host = "10.0.0.1"
    "#;

    #[test]
    fn a_good_file_loads() {
        let (_dir, file) = written(GOOD);
        let (config, from) = load(Some(&file)).unwrap();
        assert_eq!(config.cluster_name.as_str(), "dev");
        assert_eq!(from, file);
    }

    #[test]
    fn unknown_keys_are_refused_with_their_file_and_the_known_ones() {
        let (_dir, file) = written(&GOOD.replace("cold =", "colt ="));
        let text = format!("{:#}", load(Some(&file)).unwrap_err());
        assert!(
            text.contains("kbo.toml") && text.contains("colt") && text.contains("cold"),
            "{text}"
        );
    }

    #[test]
    fn a_wrong_type_names_its_key() {
        let (_dir, file) = written(&format!("{GOOD}\n[limits]\nparallel_nodes = \"many\""));
        let text = format!("{:#}", load(Some(&file)).unwrap_err());
        assert!(text.contains("limits.parallel_nodes"), "{text}");
    }

    #[test]
    fn a_missing_file_is_an_error_not_an_empty_configuration() {
        let text = format!("{:#}", load(Some(Path::new("/nonexistent/kbo.toml"))).unwrap_err());
        assert!(text.contains("/nonexistent/kbo.toml"), "{text}");
    }

    #[test]
    fn text_that_is_no_toml_is_an_error() {
        let (_dir, file) = written("[cluster\nname=");
        assert!(load(Some(&file)).is_err());
    }
}
