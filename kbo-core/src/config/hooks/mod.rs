//! `[hooks]`: commands around a backup or a restore. `[metrics]`: what Prometheus reads.

mod raw;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

pub use raw::{RawCommand, RawHooks, RawMetrics};

use super::ConfigError;
use super::validate::{expand, seconds, value};

/// A moment at which hooks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Before anything is touched.
    Before,
    /// After a run that is done.
    AfterSuccess,
    /// After one that is not.
    OnFailure,
    /// After every run.
    Always,
}

impl Moment {
    /// The key in `[hooks]`.
    pub fn as_str(self) -> &'static str {
        match self {
            Moment::Before => "before",
            Moment::AfterSuccess => "after_success",
            Moment::OnFailure => "on_failure",
            Moment::Always => "always",
        }
    }
}

/// A command to run: the program, then its arguments. They may hold secrets, so they are not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct HookCommand(pub Vec<String>);

impl std::fmt::Debug for HookCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let program = self.0.first().map_or("", String::as_str);
        write!(
            f,
            "HookCommand({program:?}, {} arguments)",
            self.0.len().saturating_sub(1)
        )
    }
}

/// `[hooks]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hooks {
    commands: Vec<(Moment, Vec<HookCommand>)>,
    /// `hooks.timeout_seconds`
    pub timeout: Duration,
}

impl Hooks {
    /// The commands of a moment.
    pub fn of(&self, moment: Moment) -> &[HookCommand] {
        let found = self.commands.iter().find(|(of, _)| *of == moment);
        found.map_or(&[], |(_, commands)| commands)
    }

    /// Whether there is none at all.
    pub fn is_empty(&self) -> bool {
        self.commands.iter().all(|(_, commands)| commands.is_empty())
    }
}

/// The hooks. `home` stands in for a leading `~` of a program.
pub(super) fn hooks(raw: &RawHooks, home: Option<&Path>) -> Result<Hooks, ConfigError> {
    let moments = [
        (Moment::Before, &raw.before),
        (Moment::AfterSuccess, &raw.after_success),
        (Moment::OnFailure, &raw.on_failure),
        (Moment::Always, &raw.always),
    ];
    let mut commands = vec![];
    for (moment, raw) in moments {
        let raw = raw.as_deref().unwrap_or_default();
        let checked = raw.iter().map(|raw| command(moment, raw, home));
        commands.push((moment, checked.collect::<Result<Vec<_>, _>>()?));
    }
    let timeout = seconds("hooks.timeout_seconds", raw.timeout_seconds, Duration::from_secs(300))?;
    Ok(Hooks { commands, timeout })
}

fn command(moment: Moment, raw: &RawCommand, home: Option<&Path>) -> Result<HookCommand, ConfigError> {
    let words = match raw {
        RawCommand::Shell(text) if text.trim().is_empty() => vec![],
        RawCommand::Shell(text) => vec!["/bin/sh".to_owned(), "-c".to_owned(), text.clone()],
        RawCommand::Program(words) => words.clone(),
    };
    let key = format!("hooks.{}", moment.as_str());
    let instead = "\"a text for the shell\" or [\"program\", \"argument\"]";
    let Some((program, arguments)) = words.split_first().filter(|(program, _)| !program.is_empty()) else {
        return Err(value(&key, "\"\"", "a command without a program", instead));
    };
    if words.iter().any(|word| word.contains('\0')) {
        return Err(value(&key, "…", "a command with a zero byte", instead));
    }
    let program = expand(Path::new(program), home).display().to_string();
    Ok(HookCommand([&[program], arguments].concat()))
}

/// `metrics.textfile`.
pub(super) fn textfile(raw: &RawMetrics, home: Option<&Path>) -> Result<Option<PathBuf>, ConfigError> {
    let Some(path) = &raw.textfile else { return Ok(None) };
    let path = expand(path, home);
    let ending = path.extension().is_some_and(|ending| ending == "prom");
    if ending && path.is_absolute() {
        return Ok(Some(path));
    }
    let why = "not an absolute path that ends with .prom, which is all that node_exporter reads";
    let instead = "a path such as \"/var/lib/prometheus/node-exporter/kbo.prom\"";
    Err(value("metrics.textfile", format!("{path:?}"), why, instead))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(before: RawCommand) -> RawHooks {
        RawHooks {
            before: Some(vec![before]),
            ..RawHooks::default()
        }
    }

    #[test]
    fn a_text_is_for_the_shell_and_a_list_is_a_program() {
        let shell = hooks(&raw(RawCommand::Shell("a | b".to_owned())), None).unwrap();
        assert_eq!(shell.of(Moment::Before)[0].0, ["/bin/sh", "-c", "a | b"]);
        assert!(shell.of(Moment::Always).is_empty() && !shell.is_empty());
        let list = RawCommand::Program(vec!["~/bin/x".to_owned(), "~ y".to_owned()]);
        let program = hooks(&raw(list), Some(Path::new("/home/me"))).unwrap();
        assert_eq!(program.of(Moment::Before)[0].0, ["/home/me/bin/x", "~ y"]);
        assert!(!format!("{program:?}").contains("~ y"), "arguments may be secrets");
        assert_eq!(program.timeout.as_secs(), 300);
    }

    #[test]
    fn commands_without_a_program_and_files_that_nobody_reads_are_refused() {
        for none in [
            RawCommand::Shell(" ".to_owned()),
            RawCommand::Program(vec![]),
            RawCommand::Program(vec![String::new()]),
        ] {
            assert!(
                hooks(&raw(none), None)
                    .unwrap_err()
                    .to_string()
                    .contains("hooks.before")
            );
        }
        let never = RawHooks {
            timeout_seconds: Some(0),
            ..RawHooks::default()
        };
        assert!(hooks(&never, None).is_err());
        for path in ["kbo.prom", "/var/lib/kbo.txt", "/var/lib/.prom"] {
            let raw = RawMetrics {
                textfile: Some(path.into()),
            };
            assert!(
                textfile(&raw, None)
                    .unwrap_err()
                    .to_string()
                    .contains("metrics.textfile"),
                "{path}"
            );
        }
    }
}
