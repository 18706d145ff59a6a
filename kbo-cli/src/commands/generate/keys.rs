//! docs/reference/configuration-keys.md: every key of kbo.toml, from the schema of the structs that read it.
//!
//! A key's comment in the code ends with `Required.` where it is, with `Default VALUE.` where there is one, and with
//! `Default: words.` where it depends.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{HEADER, cell};
use crate::load::SECTIONS;

pub(super) fn document(schema: &Value) -> String {
    let mut tables = Tables {
        schema,
        shown: BTreeMap::new(),
        text: format!(
            "{HEADER}\n# Keys of kbo.toml\n\nEvery key with its type and its default. What they are for, and the rules between them: \
             [configuration.md](../configuration.md).\nEditors that know JSON schemas take [kbo.schema.json](kbo.schema.json).\n"
        ),
    };
    for (name, section) in properties(schema) {
        let about = section["description"].as_str().unwrap_or_default();
        let about = about.split_once("`: ").map_or("", |(_, about)| about);
        let heading = if section["type"] == "array" {
            format!("[[{name}]]")
        } else {
            format!("[{name}]")
        };
        let table = tables.resolve(section).clone();
        tables.table(&heading, name, about, &table);
    }
    tables.text
}

/// The document as it grows.
struct Tables<'a> {
    schema: &'a Value,
    /// Where a struct's keys were shown first.
    shown: BTreeMap<String, String>,
    text: String,
}

impl Tables<'_> {
    fn table(&mut self, heading: &str, path: &str, about: &str, table: &Value) {
        let about = if about.is_empty() {
            String::new()
        } else {
            format!(": {}", about.trim_end_matches('.'))
        };
        self.text.push_str(&format!("\n## `{heading}`{about}\n\n"));
        if SECTIONS.contains(&path) {
            let variable = format!("KBO_{}_", path.to_uppercase());
            self.text
                .push_str(&format!("Environment: `{variable}` and the key in capitals.\n\n"));
        }
        self.text.push_str("| key | type | default | |\n|---|---|---|---|\n");
        let mut below = vec![];
        for (key, property) in properties(table) {
            let inner = self.inner(property);
            let path = format!("{path}.{key}");
            let (about, default) = described(property);
            let about = match &inner {
                Some((name, _)) => match self.shown.get(name) {
                    Some(first) => format!("{about}: the keys of `{first}`"),
                    None => {
                        self.shown.insert(name.clone(), format!("[{path}]"));
                        format!("{about}: the keys of `[{path}]`")
                    }
                },
                None => about,
            };
            let kind = self.kind(property);
            self.text.push_str(&format!(
                "| `{key}` | {} | {} | {} |\n",
                cell(&kind),
                cell(&default),
                cell(&about)
            ));
            if let Some((name, table)) = inner
                && self.shown[&name] == format!("[{path}]")
            {
                below.push((path, table));
            }
        }
        for (path, table) in below {
            self.table(&format!("[{path}]"), &path, "", &table);
        }
    }

    /// The schema behind a reference, an array's item, or an alternative to nothing.
    fn resolve<'b>(&'b self, value: &'b Value) -> &'b Value {
        if let Some(name) = reference(value) {
            return &self.schema["$defs"][name];
        }
        match value["items"].is_object() {
            true => self.resolve(&value["items"]),
            false => value,
        }
    }

    /// The table below a key, if it is one or may be, with the name of its struct.
    fn inner(&self, property: &Value) -> Option<(String, Value)> {
        let name = alternatives(property).find_map(reference)?;
        let value = &self.schema["$defs"][name];
        if value["properties"].is_object() {
            return Some((name.to_owned(), value.clone()));
        }
        alternatives(value)
            .filter(|inner| !std::ptr::eq(*inner, value))
            .find_map(|inner| self.inner(inner))
    }

    /// The type as TOML names it.
    fn kind(&self, value: &Value) -> String {
        if let Some(name) = reference(value) {
            return self.kind(&self.schema["$defs"][name]);
        }
        if let Some(values) = value["enum"].as_array() {
            let values: Vec<String> = values
                .iter()
                .filter_map(Value::as_str)
                .map(|value| format!("`{value}`"))
                .collect();
            return values.join(" or ");
        }
        if let Some(value) = value["const"].as_str() {
            return format!("`{value}`");
        }
        let inner: Vec<&Value> = alternatives(value)
            .filter(|inner| !std::ptr::eq(*inner, value))
            .collect();
        if !inner.is_empty() {
            let mut kinds: Vec<String> = inner
                .into_iter()
                .filter(|inner| inner["type"] != "null")
                .map(|inner| self.kind(inner))
                .collect();
            kinds.dedup();
            return kinds.join(" or ");
        }
        let kinds: Vec<&str> = match &value["type"] {
            Value::Array(kinds) => kinds
                .iter()
                .filter_map(Value::as_str)
                .filter(|kind| *kind != "null")
                .collect(),
            kind => kind.as_str().into_iter().collect(),
        };
        match kinds.first().copied() {
            Some("array") => match self.kind(&value["items"]) {
                several if several.contains(' ') => format!("list, each {several}"),
                one => format!("list of {one}s"),
            },
            Some("object") => "table".to_owned(),
            Some("number") => "number".to_owned(),
            Some(kind) => kind.to_owned(),
            None => "any".to_owned(),
        }
    }
}

fn properties(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value["properties"].as_object().into_iter().flatten()
}

fn reference(value: &Value) -> Option<&str> {
    value["$ref"].as_str()?.strip_prefix("#/$defs/")
}

/// What a value may be; itself where there is no choice.
fn alternatives(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value["anyOf"].as_array().or(value["oneOf"].as_array()) {
        Some(choices) => Box::new(choices.iter()),
        None => Box::new(std::iter::once(value)),
    }
}

/// A key's sentence, and its default.
fn described(property: &Value) -> (String, String) {
    let text = property["description"].as_str().unwrap_or_default().replace('\n', " ");
    let without_stop = |text: &str| text.trim_end().trim_end_matches('.').to_owned();
    let (about, default) = if let Some((about, default)) = text.split_once("Default: ") {
        (about, without_stop(default))
    } else if let Some((about, default)) = text.split_once("Default ") {
        (about, format!("`{}`", without_stop(default)))
    } else if let Some((about, rest)) = text.split_once("Required") {
        (about, without_stop(&format!("required{rest}")))
    } else {
        (text.as_str(), String::new())
    };
    (without_stop(about), default)
}

#[cfg(test)]
mod tests;
