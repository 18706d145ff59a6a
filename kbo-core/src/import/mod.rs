//! `kbo import-config`: the configuration of the older Bash tool, `config.ini` or an Ansible inventory, as a kbo.toml.
//!
//! Text in, text out. Every key that is read ends in one of two lists: where it went, or why it is not carried over.

mod ansible;
mod classic;
mod cluster;
mod finish;
mod ini;
mod inventory;
mod keys;
mod reasons;
mod services;
mod template;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_pair;
mod values;
mod yaml;

use serde::Serialize;

use crate::config::draft::{DraftNode, Line, Said};
use ini::{IniLine, Unreadable};
use yaml::Value;

/// A file to import.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name, for messages.
    pub name: String,
    /// What is in it.
    pub text: String,
    /// Whose variables it holds.
    pub scope: Scope,
}

/// What a file is in its folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// config.ini, or an inventory itself.
    Main,
    /// `group_vars/NAME.yml`, or a file in `group_vars/NAME/`.
    Group(String),
    /// `host_vars/NAME.yml`, or a file in `host_vars/NAME/`.
    Host(String),
}

/// What the files do not say, and the operator does.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// The cluster's name.
    pub name: Option<String>,
    /// The store's folder.
    pub cold: Option<String>,
}

/// A key that was carried over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Carried {
    /// The file it stood in.
    pub file: String,
    /// The line.
    pub line: usize,
    /// The section, group or host it stood under.
    pub place: String,
    /// The key.
    pub key: String,
    /// Where it went in kbo.toml.
    pub to: String,
}

/// A key that was not carried over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    /// The file it stood in.
    pub file: String,
    /// The line.
    pub line: usize,
    /// The section, group or host it stood under.
    pub place: String,
    /// The key.
    pub key: String,
    /// Why not.
    pub why: String,
}

/// What the files do not say and kbo.toml needs, or what was guessed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Assumed {
    /// The key of kbo.toml.
    pub key: String,
    /// What was written.
    pub value: String,
    /// Why that.
    pub why: String,
}

/// What came of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The text of kbo.toml.
    pub toml: String,
    /// What the files were taken for.
    pub formats: Vec<&'static str>,
    /// What was carried over.
    pub carried: Vec<Carried>,
    /// What was not.
    pub left: Vec<Left>,
    /// What was made up.
    pub assumed: Vec<Assumed>,
}

/// Why nothing can be imported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {why}", line.map(|line| format!(", line {line}")).unwrap_or_default())]
pub struct ImportError {
    /// The file.
    pub file: String,
    /// The line, where it is one line's fault.
    pub line: Option<usize>,
    /// What is wrong.
    pub why: String,
    /// What to do.
    pub hint: String,
}

impl ImportError {
    fn new(file: &str, line: Option<usize>, why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line,
            why: why.into(),
            hint: hint.into(),
        }
    }

    fn unreadable(file: &str, error: Unreadable) -> Self {
        Self::new(
            file,
            Some(error.line),
            error.why,
            "mend the line, or comment it out with #",
        )
    }
}

/// Makes a kbo.toml of the files.
///
/// # Errors
/// A line that cannot be read, or files that name no node.
pub fn import(sources: &[Source], wishes: &Wishes) -> Result<Imported, ImportError> {
    let mut ledger = Ledger::default();
    let mut parts = Parts::default();
    let mut formats = vec![];
    let mut inventory = inventory::Inventory::default();
    // The inventory before its variables, wherever that stands among the files: they are of its groups and hosts.
    let (main, variables): (Vec<&Source>, Vec<&Source>) =
        sources.iter().partition(|source| source.scope == Scope::Main);
    for source in main.into_iter().chain(variables) {
        let format = match &source.scope {
            Scope::Main => detect(source)?,
            Scope::Group(_) | Scope::Host(_) => Format::Variables,
        };
        match format {
            Format::Classic => classic::read(source, &mut ledger, &mut parts)?,
            Format::IniInventory => inventory::ini(source, &mut ledger, &mut inventory)?,
            Format::YamlInventory => inventory::yaml(source, &mut ledger, &mut inventory)?,
            Format::Variables => inventory::variables(source, &mut ledger, &mut inventory)?,
        }
        if !formats.contains(&format.name()) {
            formats.push(format.name());
        }
    }
    if inventory.is_empty() {
        classic::defaults(&mut ledger, &mut parts);
    } else {
        ansible::map(&inventory, &mut ledger, &mut parts)?;
    }
    classic::images(&mut ledger, &mut parts);
    finish::startup(&mut ledger, &parts);
    reasons::give(&mut ledger);
    let file = sources.first().map_or("", |source| source.name.as_str());
    let (toml, assumed) = finish::finish(file, wishes, parts)?;
    let (carried, left) = ledger.lists();
    Ok(Imported {
        toml,
        formats,
        carried,
        left,
        assumed,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Classic,
    IniInventory,
    YamlInventory,
    Variables,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Format::Classic => "config.ini",
            Format::IniInventory => "Ansible inventory (INI)",
            Format::YamlInventory => "Ansible inventory (YAML)",
            Format::Variables => "Ansible variables",
        }
    }
}

/// The sections of config.ini.
const SECTIONS: [&str; 6] = ["general", "ssh", "storage", "cluster", "nodes", "order"];

/// Which of the formats a file has, by its looks.
fn detect(source: &Source) -> Result<Format, ImportError> {
    let nothing = |line| {
        let hint =
            "give kbo the config.ini of the older tool, an Ansible inventory (INI or YAML), or the folder of one";
        ImportError::new(&source.name, line, "this is neither config.ini nor an inventory", hint)
    };
    let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
    if text.starts_with("$ANSIBLE_VAULT") {
        let hint = "give kbo the file in plain: `ansible-vault view` shows it";
        let why = "it is encrypted by ansible-vault: kbo reads no secrets";
        return Err(ImportError::new(&source.name, None, why, hint));
    }
    let first = text.lines().map(str::trim_end).find(|line| {
        let line = line.trim_start();
        !line.is_empty() && !line.starts_with(['#', ';'])
    });
    let first = first.ok_or_else(|| {
        let hint = "is it the right file?";
        ImportError::new(&source.name, None, "the file says nothing", hint)
    })?;
    // `all:`, and not `host:22` or `[nodes:vars]`.
    let key = first.split(": ").next().unwrap_or(first).trim_end_matches(':');
    let is_key = key.len() < first.len() && !key.contains(['[', '=', ' ', '{']);
    if first == "---" || first.starts_with("--- ") || first.starts_with('%') || is_key {
        return Ok(Format::YamlInventory);
    }
    let lines = ini::lines(text).map_err(|error| ImportError::unreadable(&source.name, error))?;
    let mut section = String::new();
    let mut known = false;
    let mut plain = true;
    for (_, line) in &lines {
        match *line {
            IniLine::Section(name) => {
                // [Nodes] is no section, but it is meant to be one: the reader of config.ini says so.
                section = name.to_ascii_lowercase();
                known |= SECTIONS.contains(&section.as_str());
                if name.contains(':') {
                    return Ok(Format::IniInventory);
                }
            }
            // A host with its variables, or without any.
            IniLine::Text(line) => {
                let is_host = line.split_whitespace().any(|word| word.starts_with("ansible_"));
                let is_setting = ini::setting(line).is_some();
                if is_host {
                    return Ok(Format::IniInventory);
                }
                plain &= is_setting || !["nodes", "cluster"].contains(&section.as_str());
            }
        }
    }
    // A file of groups whose hosts have no variables may have groups named like sections; then no line is a setting.
    let settings = lines
        .iter()
        .filter(|(_, line)| matches!(line, IniLine::Text(line) if ini::setting(line).is_some()));
    match (known, settings.count()) {
        (true, 1..) => Ok(Format::Classic),
        (true, 0) if plain => Ok(Format::Classic),
        _ if lines.iter().any(|(_, line)| matches!(line, IniLine::Section(_))) => Ok(Format::IniInventory),
        _ => Err(nothing(lines.first().map(|(number, _)| *number))),
    }
}

/// What a kbo.toml is made of.
#[derive(Default)]
struct Parts {
    name: Option<String>,
    id: Option<String>,
    cold: Option<String>,
    warn_free_percent: Option<u8>,
    retention: Vec<(String, u32)>,
    known_hosts: Option<String>,
    log_file: Option<String>,
    containers: Vec<(String, Vec<Line>)>,
    nodes: Vec<DraftNode>,
    /// What files of the Bash tool say for all nodes; nodes that say it themselves have their own.
    defaults: Vec<classic::Defaults>,
    /// Whether nodes of one role have images of their own, which no default may hide.
    images_differ: bool,
    /// Names in start order, where the files say one, and the key that says it.
    startup: Option<(usize, Vec<String>)>,
    /// Whether the older tool's own containers are described, of which some things are known.
    assumed: Vec<Assumed>,
}

impl Parts {
    /// Of several orders one counts; where it went is said once all nodes are known.
    fn start_order(&mut self, ledger: &mut Ledger, id: usize, names: Vec<String>) {
        match &self.startup {
            Some((_, known)) if *known == names => ledger.carry(id, "the order of [[node]]"),
            Some(_) => ledger.leave(id, "another key says another order, which counts"),
            None => self.startup = Some((id, names)),
        }
    }
}

/// A key of a file.
#[derive(Debug, Clone)]
struct Setting {
    file: String,
    line: usize,
    place: String,
    key: String,
    value: Value,
    fate: Option<Fate>,
    /// The nodes that the key is lost for, whatever became of it for others, and why.
    lost: Vec<(String, String)>,
    /// The keys whose values it is a part of.
    used_in: Vec<String>,
}

#[derive(Debug, Clone)]
enum Fate {
    Carried(String),
    Left(String),
}

/// All keys, each with what became of it.
#[derive(Default)]
struct Ledger {
    settings: Vec<Setting>,
}

impl Ledger {
    fn add(&mut self, source: &Source, line: usize, place: &str, key: &str, value: Value) -> usize {
        self.settings.push(Setting {
            file: source.name.clone(),
            line,
            place: place.to_owned(),
            key: key.to_owned(),
            value,
            fate: None,
            lost: vec![],
            used_in: vec![],
        });
        self.settings.len() - 1
    }

    /// A key that has gone somewhere may go elsewhere too.
    fn carry(&mut self, id: usize, to: impl Into<String>) {
        let to = to.into();
        let fate = match self.settings[id].fate.take() {
            Some(Fate::Carried(before)) if before.split(", ").any(|known| known == to) => before,
            Some(Fate::Carried(before)) => format!("{before}, {to}"),
            _ => to,
        };
        self.settings[id].fate = Some(Fate::Carried(fate));
    }

    /// What was carried over stays so.
    fn leave(&mut self, id: usize, why: impl Into<String>) {
        let setting = &mut self.settings[id];
        if setting.fate.is_none() {
            setting.fate = Some(Fate::Left(why.into()));
        }
    }

    /// A key that one node cannot have; others may.
    fn leave_for(&mut self, id: usize, node: &str, why: impl Into<String>) {
        let why = why.into();
        let lost = &mut self.settings[id].lost;
        if !lost.iter().any(|(known, _)| known == node) {
            lost.push((node.to_owned(), why.clone()));
        }
        self.leave(id, why);
    }

    /// What is said once for the whole cluster: of several values one counts, and the others are named.
    fn once<T: PartialEq>(&mut self, place: &mut Option<T>, id: usize, value: T, to: &str) {
        match place {
            Some(known) if *known != value => self.leave(id, format!("another key says another {to}, which counts")),
            _ => {
                self.carry(id, to);
                *place = Some(value);
            }
        }
    }

    fn error(&self, id: usize, why: impl Into<String>, hint: impl Into<String>) -> ImportError {
        let setting = &self.settings[id];
        ImportError::new(&setting.file, Some(setting.line), why, hint)
    }

    fn lists(self) -> (Vec<Carried>, Vec<Left>) {
        let (mut carried, mut left) = (vec![], vec![]);
        for setting in self.settings {
            let Setting {
                file, line, place, key, ..
            } = setting;
            match setting.fate {
                Some(Fate::Carried(to)) => carried.push(Carried {
                    file,
                    line,
                    place,
                    key,
                    to: to + &but_not(&setting.lost),
                }),
                fate => left.push(Left {
                    file,
                    line,
                    place,
                    key,
                    why: match fate {
                        Some(Fate::Left(why)) => why,
                        _ => "kbo has no such setting".to_owned(),
                    },
                }),
            }
        }
        (carried, left)
    }
}

/// A line of a table of containers.
fn line(key: &str, value: String) -> Line {
    (key.to_owned(), Said::plain(value))
}

/// Who does not have what others have, those with one reason together.
fn but_not(lost: &[(String, String)]) -> String {
    let mut reasons: Vec<(&str, Vec<&str>)> = vec![];
    for (node, why) in lost {
        match reasons.iter_mut().find(|(known, _)| known == why) {
            Some((_, nodes)) => nodes.push(node),
            None => reasons.push((why, vec![node])),
        }
    }
    let reasons = reasons.iter();
    reasons
        .map(|(why, nodes)| format!(" (but not for {}: {why})", nodes.join(", ")))
        .collect()
}
