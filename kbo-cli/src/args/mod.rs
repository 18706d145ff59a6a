//! The command line.

mod certs;
mod containers;
#[cfg(test)]
mod documents;
mod generate;
mod schedule;
mod setup;
mod store;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use kbo_core::schedule::ScheduleName;

pub(crate) use certs::{CertsAction, CertsArgs, CertsCheckArgs, CertsDeployArgs, CertsMakeArgs, RestartAfter};
pub(crate) use containers::{FormatArgs, PowerArgs, RestartArgs, RunArgs};
pub(crate) use generate::{CompletionsArgs, GenerateArgs, Generated};
pub(crate) use schedule::{InstallArgs, RemoveArgs, ScheduleAction, ScheduleArgs, ScheduleRoot};
pub(crate) use setup::{ImportConfigArgs, InitArgs, SshSetupArgs, SurveyArgs};
pub(crate) use store::{AdoptArgs, ExportArgs, ImportArgs, PinArgs, RotateArgs, UnpinArgs};

/// Cold-consistent backups of Kafka clusters, down only for a restart.
#[derive(Debug, Parser)]
#[command(
    name = "kbo",
    version,
    max_term_width = 110,
    after_help = "Exit codes: 0 done; 1 failed, the cluster is as it was found; 2 wrong usage or configuration; 3 refused by preflight, nothing touched; 4 failed, the cluster needs a person; 5 damage found in a backup; 6 another run holds the lock; 7 done, with something to look at; 130 interrupted, the cluster is as found."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The configuration [default: ./kbo.toml, ~/.config/kbo/kbo.toml, /etc/kbo/kbo.toml]
    #[arg(long, global = true, env = "KBO_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print one JSON document on stdout; progress stays on stderr
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say more (-vv: everything)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Say nothing but the result
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Look at everything a backup needs: nodes, keys, engine, containers, directories, space, clocks, quorum
    Check,
    /// Show the state of every container and the last backup
    Status(ScheduleRoot),
    /// Stop the cluster, take a snapshot of every node, start it again, and archive the snapshots
    Backup(BackupArgs),
    /// Put a backup back: staged and verified while the cluster runs, then swapped in by a rename
    Restore(RestoreArgs),
    /// List the backups
    List,
    /// Show one backup
    Show {
        /// latest, latest~N, an id or its beginning
        #[arg(default_value = "latest", value_name = "BACKUP")]
        backup: String,
        /// List every file of every archive too
        #[arg(long)]
        files: bool,
    },
    /// Check every archive and every file within against the manifest
    Verify {
        /// latest, latest~N, an id or its beginning
        #[arg(default_value = "latest", value_name = "BACKUP")]
        backup: String,
        /// Every backup of the cluster
        #[arg(long, conflicts_with = "backup")]
        all: bool,
    },
    /// Remove the backups that have had their time, and say why each other stays
    Rotate(RotateArgs),
    /// Go on with the new cluster id of a cluster that was formatted anew; backups of the old one stay
    Adopt(AdoptArgs),
    /// Keep a backup until it is unpinned
    Pin(PinArgs),
    /// Let a pinned backup be rotated again
    Unpin(UnpinArgs),
    /// Write a backup into one file, readable with tar alone
    Export(ExportArgs),
    /// Take a backup from such a file into the store
    Import(ImportArgs),
    /// Start nodes in start order, each operational before the next
    Start(PowerArgs),
    /// Stop nodes in stop order, and leave them stopped
    Stop(PowerArgs),
    /// Stop nodes in stop order and start them again in start order
    Restart(RestartArgs),
    /// Create and start the containers that are missing, in start order, each operational before the next
    Run(RunArgs),
    /// Stop nodes in stop order and remove their containers; their data stay
    Remove(PowerArgs),
    /// Format the log dirs of a new cluster; refused where they hold data
    Format(FormatArgs),
    /// Finish what a run that died left undone
    Recover,
    /// Look at the nodes, find their Kafka containers and directories, write a kbo.toml, and check it
    Init(InitArgs),
    /// Make a key if there is none, have host keys looked at, put the public key onto every node, and prove the login
    SshSetup(SshSetupArgs),
    /// Make a kbo.toml of the older tool's config.ini or its Ansible inventory, and say what of it is not carried over
    ImportConfig(ImportConfigArgs),
    /// Have systemd or cron take backups, see when and with what success, or stop that
    Schedule(ScheduleArgs),
    /// Check certificates, make the keystores and truststores of them that Kafka reads, and bring those to the nodes
    Certs(CertsArgs),
    /// Choose from a menu on the terminal, as kbo without a command does too
    Menu,
    /// Print the completions of a shell
    Completions(CompletionsArgs),
    /// Write manual pages, completions or the reference, as the packages and documents have them
    #[command(hide = true)]
    Generate(GenerateArgs),
    /// Serve a node over stdin and stdout (kbo starts this on the nodes by itself)
    #[command(hide = true)]
    Agent,
    /// Work on the store's disk for another process, over stdin and stdout (kbo starts this by itself)
    #[command(hide = true)]
    StoreAgent,
    /// Append what comes over stdin to a log file, for another process (kbo starts this by itself)
    #[command(hide = true)]
    LogAgent(LogAgentArgs),
    /// Print which containers of an engine are Kafka nodes (kbo init starts this on the nodes by itself)
    #[command(hide = true)]
    Survey(SurveyArgs),
}

/// Arguments of `kbo log-agent`.
#[derive(Debug, Args)]
pub(crate) struct LogAgentArgs {
    /// The file
    pub(crate) file: PathBuf,
}

/// One of the two datasets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Only {
    /// The configuration directories.
    Config,
    /// Kafka's log.dirs.
    Data,
}

#[derive(Debug, Default, Args)]
pub(crate) struct BackupArgs {
    /// Only this dataset; configuration alone is read without stopping anything
    #[arg(long, value_enum)]
    pub(crate) only: Option<Only>,
    /// Print the plan that would run, and touch nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Back up nodes that did not stop cleanly too; the manifest says so
    #[arg(long)]
    pub(crate) allow_unclean: bool,
    /// Back up a cluster that is not whole too: a dead broker, an offline log dir, partitions without a leader
    #[arg(long)]
    pub(crate) allow_degraded: bool,
    /// Wait so long for another run to let go of the lock
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) wait: u32,
    /// The schedule that calls
    #[arg(long, value_name = "NAME", hide = true)]
    pub(crate) schedule: Option<ScheduleName>,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// latest, latest~N, an id or its beginning
    #[arg(value_name = "BACKUP")]
    pub(crate) backup: String,
    /// Only this dataset
    #[arg(long, value_enum)]
    pub(crate) only: Option<Only>,
    /// Print the plan that would run, and touch nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Keep the replaced directories beside the restored ones
    #[arg(long)]
    pub(crate) keep_previous: bool,
    /// Restore though the backup is of another cluster id
    #[arg(long)]
    pub(crate) other_cluster: bool,
}
