//! Arguments of what makes a kbo.toml and the logins that it needs.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
#[command(after_help = "kbo import-config config.ini
kbo import-config inventories/kafka-on-vms config.ini --name dev --out kbo.toml")]
pub(crate) struct ImportConfigArgs {
    /// The older tool's config.ini, an Ansible inventory (INI or YAML), or the folder of one; group_vars beside it are read too
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Write to this file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Overwrite it
    #[arg(long, requires = "out")]
    pub(crate) force: bool,
    /// The cluster's name
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The folder for backups, instead of the files'
    #[arg(long, value_name = "DIR")]
    pub(crate) cold: Option<String>,
    /// Say what would be carried over, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}
