//! What the document says of a key is tried on the configuration itself.

use std::path::Path;

use figment::Figment;
use figment::providers::{Format, Toml};
use kbo_core::config::Config;
use kbo_core::config::raw::Raw;

use super::*;

const OVER_SSH: &str = r#"
[cluster]
name = "dev"
[storage]
cold = "/backup/cold"
[defaults]
data = "/data/kafka"
config = "/data/config"
[defaults.container]
image = "apache/kafka:4.1.1"
[[node]]
name = "k1"
role = "combined"
host = "10.0.0.1"
"#;

const THROUGH_AN_ENGINE: &str = r#"
[cluster]
name = "dev"
[storage]
cold = "/backup/cold"
[defaults]
transport = "docker"
data = "/data/kafka"
[[node]]
name = "k1"
role = "combined"
"#;

/// Refused as it is: see `insecure_tcp`.
const THROUGH_A_DISTANT_ENGINE: &str = r#"
[cluster]
name = "dev"
[storage]
cold = "/backup/cold"
[docker]
host = "tcp://10.0.0.1:2375"
[defaults]
transport = "docker"
data = "/data/kafka"
[[node]]
name = "k1"
role = "combined"
"#;

/// A row of the document: table, key, type, default.
type Row = (String, String, String, String);

fn rows() -> Vec<Row> {
    let document = document(schemars::schema_for!(Raw).as_value());
    let mut table = String::new();
    let mut rows = vec![];
    for line in document.lines() {
        if let Some(heading) = line.strip_prefix("## `") {
            table = heading.split('`').next().unwrap().to_owned();
        } else if line.starts_with("| `") {
            let cells: Vec<&str> = line.split(" | ").collect();
            let key = cells[0].trim_matches(['|', ' ', '`']).to_owned();
            rows.push((table.clone(), key, cells[1].to_owned(), cells[2].trim().to_owned()));
        }
    }
    rows
}

/// A default that is a value, not words.
fn value(default: &str) -> Option<&str> {
    let value = default.strip_prefix('`')?.strip_suffix('`')?;
    (!value.contains('`')).then_some(value)
}

fn read(base: &str, more: &str) -> Result<String, String> {
    let figment = Figment::from(Toml::string(base)).merge(Toml::string(more));
    let raw: Raw = figment.extract().map_err(|error| error.to_string())?;
    let config = Config::new(&raw, Some(Path::new("/home/ops"))).map_err(|error| error.to_string())?;
    Ok(format!("{config:?}"))
}

#[test]
fn a_key_set_to_its_stated_default_changes_nothing_and_another_value_does() {
    let mut tried = 0;
    for (table, key, kind, default) in rows() {
        let Some(default) = value(&default) else { continue };
        let (given, other) = match kind.as_str() {
            "integer" => (default.to_owned(), (default.parse::<i64>().unwrap() + 1).to_string()),
            "boolean" => (default.to_owned(), (default != "true").to_string()),
            _ => (format!("{default:?}"), format!("{:?}", format!("{default}x"))),
        };
        let bases = [OVER_SSH, THROUGH_AN_ENGINE];
        for base in bases {
            let unset = read(base, "").unwrap();
            // What one way of reaching nodes says of itself is not taken back.
            if key != "transport" {
                assert_eq!(
                    read(base, &format!("{table}\n{key} = {given}")).unwrap(),
                    unset,
                    "{table} {key}"
                );
            }
        }
        let matters = |base| read(base, &format!("{table}\n{key} = {other}")) != read(base, "");
        assert!(
            bases.into_iter().chain([THROUGH_A_DISTANT_ENGINE]).any(matters),
            "{table} {key} = {other} changes nothing"
        );
        tried += 1;
    }
    assert!(tried > 20, "only {tried} defaults are values");
}

#[test]
fn a_required_key_that_is_left_out_is_named_by_the_error() {
    let required: Vec<Row> = rows()
        .into_iter()
        .filter(|(.., default)| default == "required")
        .collect();
    assert!(required.len() >= 4, "{required:?}");
    for (table, key, ..) in required {
        let mut within = false;
        let kept = OVER_SSH.lines().filter(|line| {
            within = if line.starts_with('[') { *line == table } else { within };
            !(within && line.starts_with(&format!("{key} = ")))
        });
        let kept: Vec<&str> = kept.collect();
        assert!(
            kept.len() < OVER_SSH.lines().count(),
            "{table} {key} is not in the example"
        );
        assert!(read(&kept.join("\n"), "").unwrap_err().contains(&key), "{table} {key}");
    }
}

#[test]
fn every_key_has_its_sentence_and_every_section_its_place_in_the_environment() {
    let schema = schemars::schema_for!(Raw);
    for (name, _) in properties(schema.as_value()) {
        let elsewhere = ["defaults", "order", "node"].contains(&name.as_str());
        assert_ne!(SECTIONS.contains(&name.as_str()), elsewhere, "[{name}]");
    }
    let document = document(schema.as_value());
    assert!(!document.contains(" |  |\n"), "{document}");
    assert!(document.contains("Environment: `KBO_SSH_`"), "{document}");
}

#[test]
fn a_comment_is_parted_into_sentence_and_default() {
    let parted = |text: &str| described(&serde_json::json!({ "description": text }));
    assert_eq!(parted("A port. Default 22."), ("A port".to_owned(), "`22`".to_owned()));
    assert_eq!(
        parted("A name. Default: the node's."),
        ("A name".to_owned(), "the node's".to_owned())
    );
    assert_eq!(
        parted("A host. Required for SSH."),
        ("A host".to_owned(), "required for SSH".to_owned())
    );
    assert_eq!(parted("A file."), ("A file".to_owned(), String::new()));
}
