//! From an entry and the answers to a command line, and how it is shown.

use std::path::Path;

use super::entries::{Entry, Text};
use crate::args::Global;

/// What was answered to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// What adds no word: all of it, or nothing typed.
    Nothing,
    /// A word.
    Word(String),
    /// Words that stand for what was chosen.
    Words(&'static [&'static str]),
    /// Several words.
    Several(Vec<String>),
}

impl Answer {
    /// A typed line as its question wants it passed on.
    pub(super) fn typed(text: &Text, typed: &str) -> Self {
        let typed = typed.trim();
        match text.option {
            _ if typed.is_empty() => Answer::Nothing,
            Some(option) if text.many => {
                let words = typed.split_whitespace();
                Answer::Several(words.map(|word| format!("{option}={word}")).collect())
            }
            // One word, so that what begins with a dash is no option.
            Some(option) => Answer::Word(format!("{option}={typed}")),
            None if typed.starts_with('-') && typed != "-" => Answer::Word(format!("./{typed}")),
            None => Answer::Word(typed.to_owned()),
        }
    }
}

/// The words after `kbo`.
pub(super) fn of(entry: &Entry, answers: &[Answer]) -> Vec<String> {
    let mut words: Vec<String> = entry.words.iter().map(|word| (*word).to_owned()).collect();
    for answer in answers {
        match answer {
            Answer::Nothing => {}
            Answer::Word(word) => words.push(word.clone()),
            Answer::Words(more) => words.extend(more.iter().map(|word| (*word).to_owned())),
            Answer::Several(more) => words.extend(more.iter().cloned()),
        }
    }
    words
}

/// What the menu itself was given, for its commands. What the environment says, they read there themselves.
pub(super) fn inherited(global: &Global, environment: Option<&Path>) -> Vec<String> {
    let mut words = vec![];
    if let Some(config) = global.config.as_deref().filter(|config| Some(*config) != environment) {
        words.extend(["--config".to_owned(), config.display().to_string()]);
    }
    match (global.quiet, global.verbose) {
        (true, _) => words.push("-q".to_owned()),
        (false, 0) => {}
        (false, times) => words.push(format!("-{}", "v".repeat(usize::from(times.min(3))))),
    }
    words
}

/// As one would type it.
pub(super) fn shown(words: &[String]) -> String {
    let quoted = words.iter().map(|word| quoted(word));
    std::iter::once("kbo".to_owned())
        .chain(quoted)
        .collect::<Vec<_>>()
        .join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    // A shell takes this back whatever is in it.
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(option: Option<&'static str>) -> Text {
        Text {
            label: "",
            option,
            initial: "",
            may_be_empty: true,
            many: false,
        }
    }

    #[test]
    fn what_begins_with_a_dash_is_never_an_option() {
        assert_eq!(
            Answer::typed(&text(None), "-x.tar"),
            Answer::Word("./-x.tar".to_owned())
        );
        assert_eq!(Answer::typed(&text(None), "-"), Answer::Word("-".to_owned()));
        assert_eq!(
            Answer::typed(&text(Some("--reason")), " --yes "),
            Answer::Word("--reason=--yes".to_owned())
        );
        assert_eq!(Answer::typed(&text(Some("--reason")), "  "), Answer::Nothing);
        let many = Text {
            many: true,
            ..text(Some("--host"))
        };
        let hosts = vec!["--host=a".to_owned(), "--host=root@b:22".to_owned()];
        assert_eq!(Answer::typed(&many, " a  root@b:22 "), Answer::Several(hosts));
    }

    #[test]
    fn a_line_is_shown_as_a_shell_takes_it() {
        let words = ["pin", "20261122T030000Z", "--reason=it's here", ""].map(str::to_owned);
        assert_eq!(shown(&words), r"kbo pin 20261122T030000Z '--reason=it'\''s here' ''");
    }

    #[test]
    fn the_commands_are_given_what_the_menu_was_given() {
        let global = |config: Option<&str>, verbose, quiet| Global {
            config: config.map(Into::into),
            json: false,
            verbose,
            quiet,
        };
        assert_eq!(
            inherited(&global(Some("a b.toml"), 2, false), None),
            ["--config", "a b.toml", "-vv"]
        );
        assert_eq!(
            inherited(&global(Some("k.toml"), 0, true), Some(Path::new("k.toml"))),
            ["-q"]
        );
        assert!(inherited(&global(None, 0, false), None).is_empty());
    }
}
