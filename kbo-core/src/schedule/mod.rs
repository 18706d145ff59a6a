//! Schedules: what is backed up when, and the files in which systemd or cron are told of it. Those files are the only state there is:
//! each carries its [`Schedule`] in a comment.

mod cron;
mod late;
mod render;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

pub use cron::Cron;
pub use late::{Due, GRACE_SECONDS, due};
pub use render::{Job, Unrenderable};

use crate::ids::ClusterName;
use crate::manifest::BackupKind;

/// Why a text says no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{option} {text:?}: {why}; write {instead}")]
pub struct InvalidSchedule {
    option: &'static str,
    text: String,
    why: String,
    instead: &'static str,
}

impl InvalidSchedule {
    fn new(option: &'static str, text: &str, why: impl Into<String>, instead: &'static str) -> Self {
        Self {
            option,
            text: text.to_owned(),
            why: why.into(),
            instead,
        }
    }
}

/// When a schedule is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum When {
    /// Every day at these times.
    At(Times),
    /// A calendar expression of systemd; only systemd knows what it means.
    Calendar(Calendar),
    /// Five fields of cron.
    Cron(Box<Cron>),
}

/// [`When`] as it is written.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Written {
    At(String),
    Calendar(String),
    Cron(String),
}

impl TryFrom<Written> for When {
    type Error = InvalidSchedule;

    fn try_from(written: Written) -> Result<Self, InvalidSchedule> {
        Ok(match written {
            Written::At(text) => When::At(text.parse()?),
            Written::Calendar(text) => When::Calendar(text.parse()?),
            Written::Cron(text) => When::Cron(Box::new(text.parse()?)),
        })
    }
}

impl From<When> for Written {
    fn from(when: When) -> Self {
        match when {
            When::At(times) => Written::At(times.to_string()),
            When::Calendar(calendar) => Written::Calendar(calendar.0),
            When::Cron(cron) => Written::Cron(cron.to_string()),
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            When::At(times) => write!(f, "at {times}"),
            When::Calendar(calendar) => write!(f, "calendar {}", calendar.0),
            When::Cron(cron) => write!(f, "cron {cron}"),
        }
    }
}

impl When {
    /// As lines of a crontab; none where only systemd knows what is meant.
    pub fn crons(&self) -> Option<Vec<Cron>> {
        match self {
            When::At(times) => Some(times.0.iter().map(|(_, _, cron)| cron.clone()).collect()),
            When::Calendar(_) => None,
            When::Cron(cron) => Some(vec![Cron::clone(cron)]),
        }
    }

    /// As values of `OnCalendar=`.
    pub fn on_calendar(&self) -> Vec<String> {
        match self {
            When::At(times) => times
                .0
                .iter()
                .map(|(hour, minute, _)| format!("*-*-* {hour:02}:{minute:02}:00"))
                .collect(),
            When::Calendar(calendar) => vec![calendar.0.clone()],
            When::Cron(cron) => cron.on_calendar(),
        }
    }

    /// The first time after `after`; none where only systemd knows.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        self.crons()?.iter().filter_map(|cron| cron.next(after, zone)).min()
    }
}

/// Times of the day, in their order, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times(Vec<(u8, u8, Cron)>);

impl FromStr for Times {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, InvalidSchedule> {
        let mut times = vec![];
        for one in text.split(',').map(str::trim) {
            let wrong =
                |why: &str| InvalidSchedule::new("--at", text, why, "a time such as \"03:00\", or several with commas");
            let (hour, minute) = one
                .split_once(':')
                .ok_or_else(|| wrong("a time has hours and minutes"))?;
            let number = |digits: &str, most: usize, below: u8| {
                let plain = (1..=most).contains(&digits.len()) && digits.bytes().all(|c| c.is_ascii_digit());
                digits.parse::<u8>().ok().filter(|value| plain && *value < below)
            };
            let hour = number(hour, 2, 24).ok_or_else(|| wrong("the hour is not 0 to 23"))?;
            let minute = number(minute, 2, 60).filter(|_| minute.len() == 2);
            let minute = minute.ok_or_else(|| wrong("the minutes are not 00 to 59"))?;
            times.push((hour, minute));
        }
        times.sort_unstable();
        times.dedup();
        let daily = |(hour, minute)| Ok((hour, minute, Cron::daily(hour, minute)?));
        Ok(Self(
            times.into_iter().map(daily).collect::<Result<_, InvalidSchedule>>()?,
        ))
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times: Vec<String> = self
            .0
            .iter()
            .map(|(hour, minute, _)| format!("{hour:02}:{minute:02}"))
            .collect();
        f.write_str(&times.join(","))
    }
}

/// A calendar expression of systemd, of which only the characters are known to be sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar(String);

impl Calendar {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Calendar {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, InvalidSchedule> {
        const LONGEST: usize = 300;
        let wrong =
            |why: &str| InvalidSchedule::new("--calendar", text, why, "an expression such as \"Mon..Fri 03:00\"");
        let trimmed = text.trim_matches(' ');
        let known = |c: char| c.is_ascii_alphanumeric() || " *:-,./~_+".contains(c);
        match trimmed {
            "" => Err(wrong("it is empty")),
            _ if trimmed.len() > LONGEST => Err(wrong("it is too long")),
            _ if !trimmed.chars().all(known) => Err(wrong("it has characters that no calendar expression has")),
            _ => Ok(Self(trimmed.to_owned())),
        }
    }
}

/// The name of a schedule, a part of file names: those of systemd, and those that cron does not pass over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ScheduleName(String);

impl ScheduleName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What a schedule is called when nobody names it.
    pub fn of(kind: BackupKind) -> Self {
        Self(kind.as_str().to_owned())
    }
}

impl FromStr for ScheduleName {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, InvalidSchedule> {
        const LONGEST: usize = 64;
        let known = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.len() <= LONGEST && text.chars().all(known) {
            return Ok(Self(text.to_owned()));
        }
        let why = "a schedule's name has letters, digits, `-` and `_` only, begins with a letter or digit, and has 64 at most";
        Err(InvalidSchedule::new("--name", text, why, "a name such as \"nightly\""))
    }
}

impl TryFrom<String> for ScheduleName {
    type Error = InvalidSchedule;

    fn try_from(text: String) -> Result<Self, InvalidSchedule> {
        text.parse()
    }
}

impl From<ScheduleName> for String {
    fn from(name: ScheduleName) -> String {
        name.0
    }
}

impl fmt::Display for ScheduleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A schedule, as the files that it is made of carry it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Its name.
    pub name: ScheduleName,
    /// Of which cluster.
    pub cluster: ClusterName,
    /// What is backed up.
    pub kind: BackupKind,
    /// When.
    pub when: When,
    /// The kbo.toml that it runs with.
    pub config: PathBuf,
    /// The store of that kbo.toml, where its runs leave what they came to.
    pub store: PathBuf,
    /// As whom.
    pub user: String,
    /// Since when; no backup is late that was due before.
    pub installed: Timestamp,
}

/// What stands before a schedule in its file.
const MARK: &str = "# kbo-schedule: ";

impl Schedule {
    /// The name of its files, without an ending. cron passes over a file with a dot in its name.
    pub fn stem(&self) -> String {
        format!("{}-{}", Self::stem_of(&self.cluster), self.name)
    }

    /// What the names of all files of a cluster's schedules begin with.
    pub fn stem_of(cluster: &ClusterName) -> String {
        format!("kbo-{}", cluster.as_str().replace('.', "_"))
    }

    /// The schedule that a file carries. None where it is no file of kbo's.
    ///
    /// # Errors
    /// It is one, and cannot be understood: of a later version, or edited by hand.
    pub fn read(text: &str) -> Option<Result<Self, String>> {
        let line = text.lines().find_map(|line| line.strip_prefix(MARK))?;
        Some(serde_json::from_str(line).map_err(|error| error.to_string()))
    }

    /// The line by which [`Schedule::read`] knows it.
    fn mark(&self) -> Result<String, Unrenderable> {
        let json = serde_json::to_string(self).map_err(|error| Unrenderable(error.to_string()))?;
        Ok(format!("{MARK}{json}\n"))
    }
}

#[cfg(test)]
mod tests;
