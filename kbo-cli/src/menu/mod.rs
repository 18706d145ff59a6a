//! `kbo menu`: the commands of kbo in groups, on a terminal, with the state of the cluster on top.
//!
//! What can be chosen is data (`entries`); an entry asks for what its command needs (`asking`), shows the plan and asks before it
//! changes anything, and runs kbo itself (`child`). The terminal is in one pair of hands (`screen`).

mod asking;
mod child;
mod entries;
mod field;
mod groups;
mod header;
mod list;
mod look;
mod page;
mod rows;
mod screen;
mod words;

use std::io::IsTerminal;
use std::path::PathBuf;

use kbo_core::config::Config;
use kbo_core::report::Outcome;
use kbo_core::secret::Secret;
use tokio::runtime::Handle;

use crate::args::Global;
use crate::commands::Trouble;
use crate::compose::Passphrases;
use crate::output;
use entries::{Consent, Entry};
use groups::Group;
use header::{Configuration, Seen};
use list::{Chosen, List, Place, choose};
use look::Look;
use screen::{Gone, Screen};

/// Whether there is a terminal on which a menu can be drawn.
pub(crate) fn is_possible() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && !is_dumb()
}

/// Whether the terminal says of itself that it cannot place its cursor.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Shows the menu until it is left; the result is the process's exit code.
pub(crate) fn run(runtime: &Handle, global: &Global) -> u8 {
    if let Some(why) = refusal(global) {
        let trouble =
            Trouble::new(Outcome::Usage, why).hint("kbo --help lists the commands, which all work without it");
        return trouble.told(global.json);
    }
    let left = Menu::open(runtime, global).and_then(|mut menu| menu.main());
    match left {
        Ok(()) => Outcome::Done.exit_code(),
        Err(Gone::Interrupted) => Outcome::Interrupted.exit_code(),
        Err(Gone::Broken(error)) => {
            output::error_line(&format!("kbo: the terminal cannot be used: {error}"));
            Outcome::Failed.exit_code()
        }
    }
}

fn refusal(global: &Global) -> Option<&'static str> {
    if global.json {
        Some("the menu is for people and has no --json")
    } else if is_possible() {
        None
    } else if is_dumb() {
        Some("the menu needs a terminal that can place its cursor, and TERM is dumb")
    } else {
        Some("the menu needs a terminal, as standard input and output")
    }
}

/// The menu, open.
struct Menu<'a> {
    runtime: &'a Handle,
    screen: Screen,
    /// What its commands are given of its own arguments.
    inherited: Vec<String>,
    given: Option<PathBuf>,
    config: Option<Config>,
    passphrases: Passphrases,
    look: Look,
}

impl<'a> Menu<'a> {
    fn open(runtime: &'a Handle, global: &Global) -> Result<Self, Gone> {
        let environment = std::env::var_os("KBO_CONFIG").map(PathBuf::from);
        let mut menu = Self {
            runtime,
            screen: Screen::open()?,
            inherited: words::inherited(global, environment.as_deref()),
            given: global.config.clone(),
            config: None,
            passphrases: Passphrases::silent(),
            look: Look::new(Configuration::None, None),
        };
        menu.refresh()?;
        Ok(menu)
    }

    /// Reads the configuration and looks at the cluster, anew. A key's passphrase is asked for once.
    fn refresh(&mut self) -> Result<(), Gone> {
        let (configuration, config) = look::configuration(self.given.as_deref());
        self.look = Look::new(configuration, config.as_ref());
        if let Some(config) = &config {
            for key in self.passphrases.lacking(config) {
                let label = format!("Passphrase of {} (Esc: the nodes are not asked)", key.display());
                let look = &self.look;
                let typed = field::ask(&mut self.screen, &label, "", true, || look.seen())?;
                self.passphrases.note(key, typed.map(Secret::new));
            }
            self.look.begin(self.runtime, config, &self.passphrases);
        }
        self.config = config;
        Ok(())
    }

    fn seen(&self) -> Seen {
        self.look.seen()
    }

    /// The groups.
    fn main(&mut self) -> Result<(), Gone> {
        let mut place = Place::at(match self.config {
            Some(_) => 0,
            None => Group::ALL
                .iter()
                .position(|group| !group.needs_configuration())
                .unwrap_or(0),
        });
        let mut note = None;
        loop {
            let mut rows: Vec<Vec<String>> = Group::ALL.iter().map(|group| self.group_row(*group)).collect();
            rows.push(vec![
                "Look again".to_owned(),
                "ask the nodes and read the store anew".to_owned(),
            ]);
            rows.push(vec!["Quit".to_owned(), String::new()]);
            let list = List {
                title: self.title(),
                rows: rows::aligned(&rows, &[]),
                back: "quit",
                note: note.take(),
                ..List::default()
            };
            let look = &self.look;
            match choose(&mut self.screen, &list, &mut place, || look.seen())? {
                Chosen::Back => return Ok(()),
                Chosen::Refresh => self.refresh()?,
                Chosen::Row(row) => match Group::ALL.get(row) {
                    Some(group) => note = self.group(*group)?,
                    None if row == Group::ALL.len() => self.refresh()?,
                    None => return Ok(()),
                },
            }
        }
    }

    fn title(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        match self.seen().configuration {
            Configuration::Loaded { file, .. } => format!("kbo {version}, {}", file.display()),
            _ => format!("kbo {version}"),
        }
    }

    fn group_row(&self, group: Group) -> Vec<String> {
        let about = match (group.entries().is_empty(), &self.config) {
            (true, _) => "not in this version yet",
            (false, None) if group.needs_configuration() => "needs a configuration: see Set-up",
            (false, _) => group.about(),
        };
        vec![group.title().to_owned(), about.to_owned()]
    }

    /// The entries of a group, until one goes back; what is to be said of it then.
    fn group(&mut self, group: Group) -> Result<Option<String>, Gone> {
        let entries = group.entries();
        if entries.is_empty() {
            return Ok(Some(format!("{}: not in this version yet", group.title())));
        }
        if self.config.is_none() && group.needs_configuration() {
            return Ok(Some(format!("{} needs a configuration: see Set-up", group.title())));
        }
        if let [only] = entries[..] {
            return self.entry(only);
        }
        let about: Vec<Vec<String>> = entries
            .iter()
            .map(|entry| vec![entry.title.to_owned(), entry.about.to_owned()])
            .collect();
        let mut list = List {
            title: group.title().to_owned(),
            rows: rows::aligned(&about, &[]),
            back: "back",
            ..List::default()
        };
        let mut place = Place::default();
        loop {
            let look = &self.look;
            match choose(&mut self.screen, &list, &mut place, || look.seen())? {
                Chosen::Back => return Ok(None),
                Chosen::Refresh => self.refresh()?,
                Chosen::Row(row) => list.note = self.entry(entries[row])?,
            }
        }
    }

    /// Asks for what an entry needs, and does it; what is to be said of it afterwards.
    fn entry(&mut self, entry: &Entry) -> Result<Option<String>, Gone> {
        match asking::answers(self, entry)? {
            asking::Asked::Answers(answers) => {
                let note = self.conduct(entry, &words::of(entry, &answers));
                note.and_then(|note| self.refresh().map(|()| note))
            }
            asking::Asked::Back => Ok(None),
            asking::Asked::Impossible(why) => Ok(Some(why)),
        }
    }

    /// Shows the plan, asks, runs, and lets the output be read.
    fn conduct(&mut self, entry: &Entry, words: &[String]) -> Result<Option<String>, Gone> {
        let consent = match entry.consent {
            Consent::Plan | Consent::PlanThenYes | Consent::PlanOrItself if !groups::has_plan(entry) => {
                Consent::Question
            }
            consent => consent,
        };
        // What asks the nodes now would only be in the command's way.
        self.look.end();
        self.screen.hand_over();
        match self.agreed(consent, words)? {
            Agreed::Yes => {}
            Agreed::No => return Ok(Some("not confirmed; nothing was touched".to_owned())),
            Agreed::Impossible => return Ok(None),
        }
        let mut words = words.to_vec();
        words.extend((consent == Consent::PlanThenYes).then(|| "--yes".to_owned()));
        let status = child::run(&mut self.screen, &self.inherited, &words)?;
        child::wait_for_enter(&self.screen, &child::outcome(status))?;
        Ok(None)
    }

    /// Whether it is to be run.
    fn agreed(&mut self, consent: Consent, words: &[String]) -> Result<Agreed, Gone> {
        let question = match consent {
            Consent::Free => return Ok(Agreed::Yes),
            Consent::Question => {
                child::announce(&self.inherited, words);
                "Run this?"
            }
            Consent::Plan | Consent::PlanThenYes | Consent::PlanOrItself => {
                let plan = [words, &["--dry-run".to_owned()]].concat();
                let status = child::run(&mut self.screen, &self.inherited, &plan)?;
                match status.code() {
                    Some(0) => "Do this?",
                    Some(3) if consent == Consent::PlanOrItself => {
                        "Go on all the same? Where data speak against it, the command asks for the cluster's name."
                    }
                    _ => {
                        child::wait_for_enter(&self.screen, &child::outcome(status))?;
                        return Ok(Agreed::Impossible);
                    }
                }
            }
        };
        Ok(match child::agrees(&self.screen, question)? {
            true => Agreed::Yes,
            false => Agreed::No,
        })
    }
}

/// What became of the question whether something is to be done.
enum Agreed {
    Yes,
    No,
    /// There is no plan that could be agreed to; what the command said of it has been read.
    Impossible,
}
