//! Groups of entries, and which of them this build of kbo has.

use clap::{Command, CommandFactory};

use super::entries::{ENTRIES, Entry};
use crate::args::Cli;

/// A group of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Backup,
    Restore,
    Containers,
    Certificates,
    Cluster,
    SetUp,
}

impl Group {
    /// All, in the order in which they are shown.
    pub(super) const ALL: [Group; 6] = [
        Group::Backup,
        Group::Restore,
        Group::Containers,
        Group::Certificates,
        Group::Cluster,
        Group::SetUp,
    ];

    /// Its name.
    pub(super) fn title(self) -> &'static str {
        match self {
            Group::Backup => "Backup",
            Group::Restore => "Restore",
            Group::Containers => "Containers",
            Group::Certificates => "Certificates",
            Group::Cluster => "Cluster",
            Group::SetUp => "Set-up",
        }
    }

    /// What is in it.
    pub(super) fn about(self) -> &'static str {
        match self {
            Group::Backup => "take, list, verify, pin, rotate, export",
            Group::Restore => "put a backup back",
            Group::Containers => "start, stop, restart, make, remove, format",
            Group::Certificates => "keystores and truststores",
            Group::Cluster => "status, check, recover",
            Group::SetUp => "configuration, SSH keys, schedules",
        }
    }

    /// The entries of it that this build can run.
    pub(super) fn entries(self) -> Vec<&'static Entry> {
        let cli = Cli::command();
        let here = |entry: &&Entry| entry.group == self && is_there(&cli, entry);
        ENTRIES.iter().filter(here).collect()
    }

    /// Whether it can do something before there is a kbo.toml.
    pub(super) fn needs_configuration(self) -> bool {
        self != Group::SetUp
    }
}

/// The command that an entry runs, and the words after it; none where this build does not have it.
fn command<'a>(cli: &'a Command, entry: &Entry) -> Option<&'a Command> {
    let names = entry.words.iter().take_while(|word| !word.starts_with('-'));
    let mut command = cli;
    for name in names {
        match command.find_subcommand(name) {
            Some(found) => command = found,
            // The first word that is no command is an argument, where the command takes any.
            None if command.get_name() != cli.get_name() && !command.has_subcommands() => break,
            None => return None,
        }
    }
    Some(command)
}

fn is_there(cli: &Command, entry: &Entry) -> bool {
    command(cli, entry).is_some()
}

/// Whether the entry's command can show its plan.
pub(super) fn has_plan(entry: &Entry) -> bool {
    let cli = Cli::command();
    command(&cli, entry).is_some_and(|command| command.get_arguments().any(|arg| arg.get_id() == "dry_run"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use clap::error::ErrorKind;

    use super::super::entries::{Ask, Consent};
    use super::super::words::{self, Answer};
    use super::*;

    /// An answer as a person might give it.
    fn answers(ask: &Ask) -> Vec<Answer> {
        match ask {
            Ask::Backup(_) => vec![Answer::Word("20261122T030000Z".to_owned())],
            Ask::Part => vec![
                Answer::Nothing,
                Answer::Words(&["--only", "config"]),
                Answer::Words(&["--only", "data"]),
            ],
            Ask::Nodes => vec![
                Answer::Nothing,
                Answer::Several(vec!["kafka-broker-1".to_owned(), "kafka-broker-2".to_owned()]),
            ],
            Ask::Text(text) => {
                let typed = if text.initial.is_empty() {
                    "-two words"
                } else {
                    text.initial
                };
                let mut answers = vec![Answer::typed(text, typed)];
                answers.extend(text.may_be_empty.then_some(Answer::Nothing));
                answers
            }
            Ask::Choice(_, choices) => choices.iter().map(|(_, words)| Answer::Words(words)).collect(),
        }
    }

    /// Every command line that an entry can become.
    fn lines(entry: &Entry) -> Vec<Vec<String>> {
        let begun = vec![vec![]];
        let answered = entry.asks.iter().fold(begun, |lines: Vec<Vec<Answer>>, ask| {
            let longer = |line: &Vec<Answer>| {
                let line = line.clone();
                answers(ask).into_iter().map(move |answer| {
                    let mut line = line.clone();
                    line.push(answer);
                    line
                })
            };
            lines.iter().flat_map(longer).collect()
        });
        answered.iter().map(|answers| words::of(entry, answers)).collect()
    }

    #[test]
    fn every_command_line_of_every_entry_is_one_that_kbo_takes() {
        let mut tried = 0;
        for entry in Group::ALL.iter().flat_map(|group| group.entries()) {
            for mut line in lines(entry) {
                let more: &[&str] = match entry.consent {
                    Consent::PlanThenYes => &["--yes"],
                    _ => &[],
                };
                let plan = has_plan(entry).then(|| [&line[..], &["--dry-run".to_owned()]].concat());
                line.extend(more.iter().map(|word| (*word).to_owned()));
                for line in [Some(line), plan].into_iter().flatten() {
                    tried += 1;
                    let words = std::iter::once("kbo").chain(line.iter().map(String::as_str));
                    let error = Cli::try_parse_from(words).err();
                    let wrong = error.filter(|error| error.kind() != ErrorKind::DisplayHelp);
                    assert!(wrong.is_none(), "{}: {line:?}: {}", entry.title, wrong.unwrap());
                }
            }
        }
        assert!(tried > 60, "only {tried} were tried");
    }

    #[test]
    fn what_destroys_shows_its_plan_and_asks() {
        for words in [
            &["restore"][..],
            &["stop"],
            &["restart"],
            &["restart", "--rolling"],
            &["remove"],
            &["run", "--recreate"],
            &["format"],
            &["rotate"],
            &["backup"],
        ] {
            let entry = ENTRIES.iter().find(|entry| entry.words == words).unwrap();
            assert!(has_plan(entry), "{words:?}");
            assert!(!matches!(entry.consent, Consent::Free | Consent::Question), "{words:?}");
        }
        for entry in ENTRIES
            .iter()
            .filter(|entry| ["pin", "unpin", "recover"].contains(&entry.words[0]))
        {
            assert_eq!(entry.consent, Consent::Question, "{}", entry.title);
        }
    }

    #[test]
    fn every_command_for_people_is_in_the_menu() {
        let cli = Cli::command();
        let shown = cli.get_subcommands().filter(|command| !command.is_hide_set());
        for command in shown.filter(|command| command.get_name() != "menu") {
            let name = command.get_name();
            assert!(
                ENTRIES.iter().any(|entry| entry.words[0] == name),
                "{name} is not in the menu"
            );
        }
    }

    #[test]
    fn a_command_that_this_build_lacks_is_left_out() {
        let cli = Command::new("kbo").subcommand(Command::new("list"));
        let of = |words: &[&str]| ENTRIES.iter().find(|entry| entry.words == words).unwrap();
        assert!(is_there(&cli, of(&["list"])));
        assert!(!is_there(&cli, of(&["show"])));
        assert!(!is_there(&cli, of(&["schedule", "show"])));
        let cli = cli.subcommand(Command::new("schedule").subcommand(Command::new("show")));
        assert!(is_there(&cli, of(&["schedule", "show"])));
        assert!(!is_there(&cli, of(&["schedule", "remove"])));
    }
}
