//! docs/troubleshooting.md quotes errors: each must still be said by the sources.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const DOCUMENT: &str = "docs/troubleshooting.md";

pub(super) fn check(root: &Path, tracked: &[String]) -> Result<Vec<String>> {
    let document = fs::read_to_string(root.join(DOCUMENT)).with_context(|| format!("cannot read {DOCUMENT}"))?;
    let mut said = String::new();
    for name in tracked.iter().filter(|name| is_source(name)) {
        let text = fs::read_to_string(root.join(name)).with_context(|| format!("cannot read {name}"))?;
        said.push_str(&texts(&text));
        said.push('\n');
    }
    let quoted = quoted(&document);
    let unsaid = quoted.iter().filter(|text| !said.contains(text.as_str()));
    let mut findings: Vec<String> = unsaid
        .map(|text| format!("{DOCUMENT} quotes `{text}`, which no source says"))
        .collect();
    if quoted.is_empty() {
        findings.push(format!(
            "{DOCUMENT} quotes no error: its entries are headings such as ### `text`"
        ));
    }
    Ok(findings)
}

/// What users run, without its tests.
fn is_source(name: &str) -> bool {
    let ours = [
        "kbo-core/src/",
        "kbo-archive/src/",
        "kbo-transport/src/",
        "kbo-cli/src/",
        "kbo-certs/src/",
    ];
    name.ends_with(".rs")
        && ours.iter().any(|folder| name.starts_with(folder))
        && !name.contains("/tests")
        && !name.contains("/testing/")
}

/// A source with its strings as users see them: `…` for what is filled in, and lines that go on joined.
fn texts(source: &str) -> String {
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or(source);
    let mut joined = String::with_capacity(source.len());
    for line in source.lines() {
        match line.strip_suffix('\\') {
            Some(begun) if joined.ends_with('\n') => joined.push_str(begun),
            Some(begun) => joined.push_str(begun.trim_start()),
            None if joined.ends_with('\n') => {
                joined.push_str(line);
                joined.push('\n');
            }
            None => {
                joined.push_str(line.trim_start());
                joined.push('\n');
            }
        }
    }
    filled(&joined.replace("\\\"", "\""))
}

/// Every `{...}` of a line becomes `…`; several in a row are one.
fn filled(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        result.push_str(before);
        match behind.find(['{', '}', '\n']) {
            Some(end) if behind[end..].starts_with('}') => {
                if !result.ends_with('…') {
                    result.push('…');
                }
                rest = &behind[end + 1..];
            }
            _ => rest = behind,
        }
    }
    result.push_str(rest);
    result
}

/// The texts that entries are headed by.
fn quoted(document: &str) -> Vec<String> {
    let headings = document.lines().filter_map(|line| line.strip_prefix("### "));
    let code = headings.filter_map(|heading| {
        let heading = heading.trim();
        let double = heading.strip_prefix("`` ").and_then(|text| text.strip_suffix(" ``"));
        double.or_else(|| heading.strip_prefix('`').and_then(|text| text.strip_suffix('`')))
    });
    code.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_are_found_in_what_sources_say_and_not_in_their_tests() {
        let source = "fn f() {\n    format!(\"ssh {}: the {a}{b} is \\\n             \\\"{c:?}\\\" and gone\", x)\n}\n\
                      #[cfg(test)]\nmod tests {\n    \"only a test\"\n}\n";
        let said = texts(source);
        assert!(said.contains("ssh …: the … is \"…\" and gone"), "{said}");
        assert!(!said.contains("only a test"), "{said}");
    }

    #[test]
    fn entries_are_headings_of_code() {
        let document = "## Part\n### `a … b`\ntext\n### `` `…` names ``\n### About\n";
        assert_eq!(quoted(document), ["a … b", "`…` names"]);
    }

    #[test]
    fn braces_that_hold_no_value_stay_out_of_the_way() {
        assert_eq!(filled("if x {\n  \"a {b} c\"\n}"), "if x \n  \"a … c\"\n}");
    }
}
