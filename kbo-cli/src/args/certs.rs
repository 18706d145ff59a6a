//! Arguments of certificates.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct CertsArgs {
    #[command(subcommand)]
    pub(crate) action: CertsAction,
}

/// What is done with certificates.
#[derive(Debug, Subcommand)]
pub(crate) enum CertsAction {
    /// Check the key, the chain, the names and the expiry of the set in certs.source; 1: it expires soon, 3: it will not do
    Check(CertsCheckArgs),
    /// Make keystores and truststores of it, in certs.output
    Make(CertsMakeArgs),
    /// Bring the stores to the nodes: staged on every node, then put in place on every node, or nowhere
    Deploy(CertsDeployArgs),
}

impl CertsAction {
    /// Whether it changes nodes.
    pub(crate) fn is_deployment(&self) -> bool {
        matches!(self, CertsAction::Deploy(_))
    }

    /// Whether no node is asked.
    pub(crate) fn is_offline(&self) -> bool {
        match self {
            CertsAction::Check(args) => args.offline,
            CertsAction::Make(args) => args.offline,
            CertsAction::Deploy(_) => false,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct CertsCheckArgs {
    /// Warn so many days before a certificate expires [default: certs.warn_days of kbo.toml, or 21]
    #[arg(long, value_name = "DAYS")]
    pub(crate) warn_days: Option<u32>,
    /// Ask no node for its listeners: take the hosts from kbo.toml
    #[arg(long)]
    pub(crate) offline: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CertsMakeArgs {
    /// Go on though something in the set has expired, and nothing else is wrong with it
    #[arg(long)]
    pub(crate) force: bool,
    /// Say what would be made, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Write into this folder instead of certs.output
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Ask no node for its listeners: take the hosts from kbo.toml
    #[arg(long)]
    pub(crate) offline: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CertsDeployArgs {
    /// The nodes; all where none is named
    #[arg(value_name = "NODE")]
    pub(crate) nodes: Vec<String>,
    /// What follows [default: certs.restart of kbo.toml, or none]
    #[arg(long, value_enum)]
    pub(crate) restart: Option<RestartAfter>,
    /// Go on though something in the set has expired, and nothing else is wrong with it
    #[arg(long)]
    pub(crate) force: bool,
    /// Exchange the files with those of before the last deployment; once more exchanges them again
    #[arg(long, conflicts_with = "force")]
    pub(crate) rollback: bool,
    /// Say what would be done, and touch nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// What follows a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RestartAfter {
    /// One node at a time; the cluster goes on serving.
    Rolling,
    /// All nodes stop, then start.
    Cluster,
    /// Nothing: Kafka reads the files when it starts next.
    None,
}
