//! `kbo generate`: what packages and documents have of the command line and the configuration, made from the code.

mod commands;
mod keys;
mod man;

use std::fs;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use kbo_core::config::raw::Raw;
use kbo_core::report::Outcome;
use serde::Serialize;

use super::{Ended, Trouble, completions};
use crate::args::{Cli, GenerateArgs, Generated};
use crate::output;

/// Said at the top of every generated document.
const HEADER: &str = "<!-- Made from the code by `cargo xtask reference`; changes are lost. -->\n";

#[derive(Serialize)]
struct Document {
    outcome: Outcome,
    files: Vec<String>,
}

/// A file's name and what it holds.
type File = (String, String);

pub(super) fn run(args: &GenerateArgs, json: bool) -> Ended {
    let files = match args.what {
        Generated::Man => man::pages(&tree())?,
        Generated::Completions => vec![
            ("kbo.bash".to_owned(), completions::script(Shell::Bash)),
            ("_kbo".to_owned(), completions::script(Shell::Zsh)),
            ("kbo.fish".to_owned(), completions::script(Shell::Fish)),
        ],
        Generated::Reference => reference()?,
    };
    let written = write(&args.out, &files)?;
    if json {
        output::json(&Document {
            outcome: Outcome::Done,
            files: written,
        });
    } else {
        written.iter().for_each(|file| output::line(file));
    }
    Ok(Outcome::Done)
}

fn reference() -> Result<Vec<File>, Trouble> {
    let schema = schemars::schema_for!(Raw);
    let schema = schema.as_value();
    let json = serde_json::to_string_pretty(schema)
        .map_err(|error| Trouble::new(Outcome::Failed, format!("cannot write the schema: {error}")))?;
    Ok(vec![
        ("commands.md".to_owned(), commands::document(&tree())),
        ("configuration-keys.md".to_owned(), keys::document(schema)),
        ("kbo.schema.json".to_owned(), json + "\n"),
    ])
}

/// The command line with all that clap adds to it.
fn tree() -> clap::Command {
    let mut tree = Cli::command().disable_help_subcommand(true);
    tree.build();
    tree
}

fn write(folder: &Path, files: &[File]) -> Result<Vec<String>, Trouble> {
    let failed = |path: &Path, error: std::io::Error| {
        Trouble::new(Outcome::Failed, format!("cannot write {}: {error}", path.display()))
    };
    fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    let mut written = vec![];
    for (name, text) in files {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|error| failed(&path, error))?;
        written.push(path.display().to_string());
    }
    Ok(written)
}

/// A cell of a table in Markdown.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}
