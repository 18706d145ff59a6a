//! `kbo import-config`: the older tool's configuration as a kbo.toml.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use kbo_core::import::{Assumed, Carried, ImportError, Imported, Left, Scope, Source, Wishes, import};
use kbo_core::report::Outcome;
use serde::Serialize;

use super::{Ended, Trouble};
use crate::args::{Global, ImportConfigArgs};
use crate::{load, output, written};

#[derive(Serialize)]
struct Document<'a> {
    outcome: Outcome,
    formats: &'a [&'static str],
    carried: &'a [Carried],
    not_carried: &'a [Left],
    assumed: &'a [Assumed],
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    written: bool,
    toml: &'a str,
    verdict: &'a str,
}

/// The names that inventories have in their folders.
const INVENTORIES: [&str; 10] = [
    "hosts.yml",
    "hosts.yaml",
    "inventory.yml",
    "inventory.yaml",
    "hosts",
    "inventory",
    "hosts.ini",
    "inventory.ini",
    "inventory.cfg",
    "config.ini",
];
/// No configuration is larger.
const LARGEST: u64 = 4 * 1024 * 1024;

pub(super) fn run(args: &ImportConfigArgs, global: &Global) -> Ended {
    let mut sources = vec![];
    for path in &args.files {
        gather(path, &mut sources)?;
    }
    let wishes = Wishes {
        name: args.name.clone(),
        cold: args.cold.clone(),
    };
    let imported = import(&sources, &wishes).map_err(refused)?;
    load::check(&imported.toml).map_err(|error| {
        Trouble::new(
            Outcome::Usage,
            format!("the kbo.toml made of it would not load: {error:#}"),
        )
        .hint("mend what the error names in the file that is imported; nothing was written")
    })?;
    if let Some(out) = args.out.as_ref().filter(|_| !args.dry_run) {
        written::to(out, &imported.toml, args.force)?;
    }
    show(args, global, &imported);
    Ok(Outcome::Done)
}

fn refused(error: ImportError) -> Trouble {
    let hint = error.hint.clone();
    Trouble::new(Outcome::Usage, error.to_string()).hint(hint)
}

fn show(args: &ImportConfigArgs, global: &Global, imported: &Imported) {
    let counts = format!(
        "{} keys carried over, {} not, {} values assumed",
        imported.carried.len(),
        imported.left.len(),
        imported.assumed.len()
    );
    let is_written = args.out.is_some() && !args.dry_run;
    let verdict = match &args.out {
        Some(out) if is_written => format!("{} written: {counts}; next: kbo ssh-setup, kbo check", out.display()),
        _ if args.dry_run => format!("dry run, nothing written: {counts}"),
        _ => counts,
    };
    if global.json {
        output::json(&Document {
            outcome: Outcome::Done,
            formats: &imported.formats,
            carried: &imported.carried,
            not_carried: &imported.left,
            assumed: &imported.assumed,
            file: args.out.as_ref().map(|out| out.display().to_string()),
            written: is_written,
            toml: &imported.toml,
            verdict: &verdict,
        });
    } else if !is_written && !args.dry_run {
        output::line(imported.toml.trim_end());
    }
    if !global.quiet {
        let place = |file: &str, line: usize, place: &str, key: &str| format!("{file}:{line} {place} {key}");
        for key in &imported.carried {
            let from = place(&key.file, key.line, &key.place, &key.key);
            output::error_line(&format!("carried over: {from} -> {}", key.to));
        }
        for key in &imported.left {
            let from = place(&key.file, key.line, &key.place, &key.key);
            output::error_line(&format!("not carried over: {from}: {}", key.why));
        }
        for assumed in &imported.assumed {
            output::error_line(&format!(
                "assumed: {} = {}: {}",
                assumed.key, assumed.value, assumed.why
            ));
        }
    }
    output::error_line(&verdict);
}

/// A file, or the inventory of a folder, with the variables beside it.
fn gather(path: &Path, sources: &mut Vec<Source>) -> Result<(), Trouble> {
    let unreadable = |error: std::io::Error| {
        Trouble::new(Outcome::Usage, format!("cannot read {}: {error}", path.display()))
            .hint("name a config.ini, an inventory, or the folder of one")
    };
    let is_folder = fs::metadata(path).map_err(unreadable)?.is_dir();
    let file = if is_folder {
        let found = INVENTORIES
            .iter()
            .map(|name| path.join(name))
            .find(|file| file.is_file());
        found.ok_or_else(|| {
            let text = format!("{} has no inventory and no config.ini", path.display());
            Trouble::new(Outcome::Usage, text).hint(format!("looked for {}", INVENTORIES.join(", ")))
        })?
    } else {
        path.to_owned()
    };
    sources.push(read(&file, Scope::Main)?);
    let folder = file.parent().unwrap_or(Path::new("."));
    // The Bash tool's file has none.
    if file.file_name().is_some_and(|name| name == "config.ini") {
        return Ok(());
    }
    for (name, scope) in [
        ("group_vars", Scope::Group as fn(String) -> Scope),
        ("host_vars", Scope::Host as fn(String) -> Scope),
    ] {
        for entry in entries(&folder.join(name)) {
            let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if entry.is_dir() {
                let has_ending = |file: &Path| file.extension().is_none_or(|_| without_ending(file).is_some());
                let files = entries(&entry).into_iter();
                for file in files.filter(|file| is_variables(file) && has_ending(file)) {
                    sources.push(read(&file, scope(name.clone()))?);
                }
            } else if is_variables(&entry) {
                let owner = without_ending(&entry).unwrap_or(name);
                sources.push(read(&entry, scope(owner))?);
            }
        }
    }
    Ok(())
}

/// The owner of a file of variables with one of the endings that Ansible knows.
fn without_ending(file: &Path) -> Option<String> {
    let is_known = file
        .extension()
        .is_some_and(|ending| ["yml", "yaml", "json"].iter().any(|known| ending == *known));
    is_known.then(|| file.file_stem().unwrap_or_default().to_string_lossy().into_owned())
}

/// Files as Ansible takes them: with its endings or without one. Names of hosts have dots, so that what looks like an
/// ending (`c1.example.org`, `10.0.0.2`) is none, but for those that editors and people leave behind.
fn is_variables(file: &Path) -> bool {
    const OTHERS: [&str; 12] = [
        "bak", "txt", "orig", "rej", "swp", "swo", "tmp", "old", "retry", "j2", "pyc", "sample",
    ];
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let is_other = file
        .extension()
        .is_some_and(|ending| OTHERS.iter().any(|other| ending.eq_ignore_ascii_case(other)));
    let is_readme = name.to_ascii_lowercase().split('.').next() == Some("readme");
    file.is_file() && !name.starts_with('.') && !name.ends_with('~') && !is_other && !is_readme
}

/// What a folder has, by name; nothing where there is none.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    entries.sort();
    entries
}

fn read(file: &Path, scope: Scope) -> Result<Source, Trouble> {
    let wrong = |what: String| Trouble::new(Outcome::Usage, format!("cannot read {}: {what}", file.display()));
    let mut bytes = vec![];
    kbo_archive::regular::open_given(file)
        .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes))
        .map_err(|error| wrong(error.to_string()))?;
    if bytes.len() as u64 > LARGEST {
        return Err(wrong("it is larger than any configuration".to_owned()));
    }
    Ok(Source {
        name: file.display().to_string(),
        text: String::from_utf8(bytes).map_err(|_| wrong("it is no text in UTF-8".to_owned()))?,
        scope,
    })
}
