//! What the documents tell people to type is parsed as kbo parses it; what they tell people to write is read as kbo reads it.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use figment::Figment;
use figment::providers::{Format, Toml};
use kbo_core::config::Config;
use kbo_core::config::raw::Raw;

use super::Cli;

/// Commands that documents name before the code has them.
const NOT_YET: &[&str] = &[];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The README and everything under docs.
fn documents() -> Vec<(String, String)> {
    let mut files = vec![root().join("README.md")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension().is_some_and(|extension| extension == "md") {
                _ if path.is_dir() => folders.push(path),
                true => files.push(path),
                false => {}
            }
        }
    }
    let read = |path: PathBuf| (path.display().to_string(), fs::read_to_string(&path).unwrap());
    files.into_iter().map(read).collect()
}

/// The fenced blocks of a document: what stands behind the fence, and the lines.
fn blocks(text: &str) -> Vec<(String, Vec<&str>)> {
    let mut blocks: Vec<(String, Vec<&str>)> = vec![];
    let mut is_open = false;
    for line in text.lines() {
        match line.trim_start().strip_prefix("```") {
            Some(_) if is_open => is_open = false,
            Some(kind) => {
                is_open = true;
                blocks.push((kind.to_owned(), vec![]));
            }
            None if is_open => blocks.last_mut().unwrap().1.push(line),
            None => {}
        }
    }
    blocks
}

/// Lines of code that call kbo: fenced, or indented as code.
fn calls(text: &str) -> Vec<String> {
    let fenced = blocks(text)
        .into_iter()
        .filter(|(kind, _)| kind != "text")
        .flat_map(|(_, lines)| lines)
        .collect::<Vec<_>>();
    let indented = text.lines().filter(|line| line.starts_with("    "));
    let calls = fenced.into_iter().chain(indented).map(str::trim);
    calls
        .map(|line| line.strip_prefix("sudo ").unwrap_or(line))
        .filter(|line| line.starts_with("kbo "))
        .map(|line| line.split(" #").next().unwrap_or(line).trim().to_owned())
        .collect()
}

/// `kbo ...` between backticks, where it is a whole call and no sketch.
fn mentions(text: &str) -> Vec<String> {
    let spans = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    spans
        .filter(|span| span.starts_with("kbo ") && !span.contains(['|', '[', '…', '{', '<']) && !span.contains("..."))
        .filter(|span| !span.contains("COMMAND"))
        .map(str::to_owned)
        .collect()
}

/// As a shell would part it; none for what only a shell understands.
fn words(call: &str) -> Option<Vec<String>> {
    let call = call.split(['>', '|']).next().unwrap_or(call);
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in call.trim().chars() {
        match quote {
            Some(mark) if c == mark => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == ' ' => words.push(String::new()),
            _ => words.last_mut()?.push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    quote.is_none().then_some(words)
}

fn complaint(call: &str) -> Option<String> {
    let words = words(call)?;
    if words.get(1).is_some_and(|name| NOT_YET.contains(&name.as_str())) {
        return None;
    }
    match Cli::try_parse_from(&words) {
        Err(error) if error.exit_code() != 0 => Some(error.kind().to_string()),
        _ => None,
    }
}

#[test]
fn every_call_of_kbo_in_the_documents_is_one_that_kbo_takes() {
    let mut tried = 0;
    let mut wrong = vec![];
    for (name, text) in documents() {
        for call in calls(&text) {
            // A usage line of the reference is a sketch.
            tried += 1;
            wrong.extend(complaint(&call).map(|why| format!("{name}: `{call}`: {why}")));
        }
    }
    assert!(tried > 50, "only {tried} calls were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_command_that_a_sentence_names_is_there() {
    let mut wrong = vec![];
    for (name, text) in documents() {
        for call in mentions(&text) {
            let usage = |why: &String| why.contains("unrecognized") || why.contains("unexpected");
            wrong.extend(
                complaint(&call)
                    .filter(usage)
                    .map(|why| format!("{name}: `{call}`: {why}")),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_toml_block_of_the_documents_has_only_keys_that_kbo_knows() {
    let mut whole = 0;
    for (name, text) in documents() {
        for (_, lines) in blocks(&text).into_iter().filter(|(kind, _)| kind == "toml") {
            let block = lines.join("\n");
            let raw: Raw = Figment::from(Toml::string(&block))
                .extract()
                .unwrap_or_else(|error| panic!("{name}: {error}\n{block}"));
            if raw.cluster.name.is_some() {
                whole += 1;
                let config = Config::new(&raw, None);
                assert!(config.is_ok(), "{name}: {}\n{block}", config.unwrap_err());
            }
        }
    }
    assert!(whole > 0);
}

#[test]
fn a_call_that_kbo_does_not_take_is_found() {
    assert_eq!(
        calls("kbo is prose\n```sh\nkbo list # all\ncd x\n```\n    kbo check\n"),
        ["kbo list", "kbo check"]
    );
    assert_eq!(calls("```text\nkbo show [BACKUP]\n```\n"), [""; 0]);
    assert!(complaint("kbo pin 2026 --reason \"two words\"").is_none());
    assert!(complaint("kbo backup --onyl config").is_some());
    assert!(complaint("kbo bakcup").is_some());
    assert_eq!(mentions("run `kbo list`, `kbo run [NODE]` and `x`"), ["kbo list"]);
}
