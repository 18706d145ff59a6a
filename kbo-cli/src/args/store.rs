//! Arguments of what is done to the store.

use std::path::PathBuf;

use clap::Args;
use kbo_core::ids::ClusterId;

#[derive(Debug, Args)]
pub(crate) struct RotateArgs {
    /// Print what would go and why each other stays, and touch nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Remove them though the clock or the number of them gives reason to look first
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Rotate the backups of another cluster id under this name, such as one from before the cluster was formatted anew
    #[arg(long, value_name = "CLUSTER_ID", allow_hyphen_values = true)]
    pub(crate) cluster_id: Option<ClusterId>,
}

#[derive(Debug, Args)]
pub(crate) struct AdoptArgs {
    /// The id, as `kbo check` names it
    #[arg(value_name = "CLUSTER_ID", allow_hyphen_values = true)]
    pub(crate) cluster_id: String,
}

#[derive(Debug, Args)]
pub(crate) struct PinArgs {
    /// latest, latest~N, an id or its beginning
    #[arg(value_name = "BACKUP")]
    pub(crate) backup: String,
    /// Why it is kept
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct UnpinArgs {
    /// latest, latest~N, an id or its beginning
    #[arg(value_name = "BACKUP")]
    pub(crate) backup: String,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// latest, latest~N, an id or its beginning
    #[arg(value_name = "BACKUP")]
    pub(crate) backup: String,
    /// The file to write; - for standard output
    #[arg(value_name = "FILE.tar")]
    pub(crate) file: PathBuf,
    /// Overwrite a file that is there
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The file to read; - for standard input
    #[arg(value_name = "FILE.tar")]
    pub(crate) file: PathBuf,
    /// Pin it, so that no rotation takes it for its age
    #[arg(long)]
    pub(crate) pin: bool,
    /// Why it is pinned
    #[arg(long, value_name = "TEXT", requires = "pin", default_value = "imported")]
    pub(crate) reason: String,
}
