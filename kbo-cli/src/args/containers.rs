//! Arguments of what is done to containers.

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct PowerArgs {
    /// The nodes; all where none is named
    #[arg(value_name = "NODE")]
    pub(crate) nodes: Vec<String>,
    /// Print the plan that would run, and touch nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Go on though brokers are left without a quorum of controllers
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    #[command(flatten)]
    pub(crate) power: PowerArgs,
    /// One node at a time, each ready and every ISR whole before the next; the cluster goes on serving
    #[arg(long)]
    pub(crate) rolling: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The nodes; all where none is named
    #[arg(value_name = "NODE")]
    pub(crate) nodes: Vec<String>,
    /// Make the containers that this backup captured, instead of those of kbo.toml
    #[arg(long, value_name = "BACKUP")]
    pub(crate) from: Option<String>,
    /// Replace containers that are otherwise than defined; a failure puts the old ones back
    #[arg(long)]
    pub(crate) recreate: bool,
    /// Create and do not start, as before a restore onto a new machine
    #[arg(long)]
    pub(crate) no_start: bool,
    /// Print the plan that would run, and touch nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Go on though brokers are left without a quorum of controllers
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct FormatArgs {
    /// The nodes; all where none is named
    #[arg(value_name = "NODE")]
    pub(crate) nodes: Vec<String>,
    /// The cluster id to write [default: cluster.id of kbo.toml, or a new one]
    #[arg(long, value_name = "ID")]
    pub(crate) cluster_id: Option<String>,
    /// A dynamic quorum with the first controller as its only voter; the others join it later
    #[arg(long, conflicts_with = "initial_controllers")]
    pub(crate) standalone: bool,
    /// A dynamic quorum of all controllers, or of those named
    #[arg(long, value_name = "ID@HOST:PORT:DIRECTORY,...", num_args = 0..=1)]
    #[expect(clippy::option_option, reason = "given, given with a value, or not given")]
    pub(crate) initial_controllers: Option<Option<String>>,
    /// Delete the data that the log dirs hold; the value is the cluster's name. Without it kbo asks on a terminal
    #[arg(long, value_name = "CLUSTER")]
    pub(crate) yes_delete_data: Option<String>,
    /// Print the plan that would run, and touch nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}
