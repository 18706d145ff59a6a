//! Arguments of schedules.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use kbo_core::manifest::BackupKind;
use kbo_core::schedule::{Calendar, Cron, ScheduleName, Times};

use crate::scheduler::Scheduler;

#[derive(Debug, Args)]
pub(crate) struct ScheduleArgs {
    #[command(subcommand)]
    pub(crate) action: ScheduleAction,
}

/// What is done with schedules.
#[derive(Debug, Subcommand)]
pub(crate) enum ScheduleAction {
    /// Install a schedule, or install it anew: a service and a timer of systemd, or a file in /etc/cron.d
    Install(Box<InstallArgs>),
    /// Show the cluster's schedules: the next run, and the last one with its outcome
    Show(ScheduleRoot),
    /// Remove schedules; backups stay
    Remove(RemoveArgs),
}

/// Where schedules are looked for.
#[derive(Debug, Clone, Args)]
pub(crate) struct ScheduleRoot {
    /// Look for schedules below this folder, as in an image, and call no systemctl
    #[arg(long, value_name = "DIR", env = "KBO_SCHEDULE_ROOT")]
    pub(crate) root: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("when").required(true).args(["at", "calendar", "cron"])))]
pub(crate) struct InstallArgs {
    /// What is backed up; configuration alone is read without stopping anything
    #[arg(long, value_enum)]
    pub(crate) kind: Kind,
    /// Every day at this time, or at these: 03:00,15:00
    #[arg(long, value_name = "HH:MM")]
    pub(crate) at: Option<Times>,
    /// A calendar expression of systemd: "Mon..Fri 03:00", hourly
    #[arg(long, value_name = "EXPR")]
    pub(crate) calendar: Option<Calendar>,
    /// Five fields of cron: "0 3 * * *", @hourly
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true)]
    pub(crate) cron: Option<Cron>,
    /// What it is called; one schedule for each name [default: the kind]
    #[arg(long)]
    pub(crate) name: Option<ScheduleName>,
    /// Whom it runs as; that user's ~ and keys are used
    #[arg(long, default_value = "root", value_parser = user)]
    pub(crate) user: String,
    /// Who runs it [default: systemd where it is PID 1, else cron]
    #[arg(long, value_enum)]
    pub(crate) scheduler: Option<Scheduler>,
    /// The kbo that it runs [default: this one]
    #[arg(long, value_name = "FILE")]
    pub(crate) program: Option<PathBuf>,
    /// A further folder that the service may write to, for hooks (systemd)
    #[arg(long, value_name = "DIR")]
    pub(crate) writable: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) root: ScheduleRoot,
    /// Print the files that would be written, and touch nothing
    #[arg(long)]
    pub(crate) print: bool,
    /// Say what would be done, and touch nothing
    #[arg(long, conflicts_with = "print")]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Their names; may be left out where there is a single one
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<ScheduleName>,
    /// The same
    #[arg(long = "name", value_name = "NAME")]
    pub(crate) named: Vec<ScheduleName>,
    /// All of this kind
    #[arg(long, value_enum)]
    pub(crate) kind: Option<Kind>,
    /// All of the cluster
    #[arg(long, conflicts_with_all = ["names", "named", "kind"])]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) root: ScheduleRoot,
    /// Say what would be done, and touch nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// A kind of backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Configuration and data.
    Cluster,
    /// Configuration alone.
    Config,
    /// Data alone.
    Data,
}

impl From<Kind> for BackupKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Cluster => BackupKind::Cluster,
            Kind::Config => BackupKind::Config,
            Kind::Data => BackupKind::Data,
        }
    }
}

/// A name as useradd makes them: it stands in a crontab and in a unit.
fn user(text: &str) -> Result<String, String> {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    let begins = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    if begins && text.len() <= 32 && text.chars().all(known) {
        return Ok(text.to_owned());
    }
    Err("a user's name has small letters, digits, `_` and `-` only".to_owned())
}
