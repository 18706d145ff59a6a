//! Arguments of what restores replaced.

use clap::{Args, Subcommand};
use kbo_core::ids::RunId;

#[derive(Debug, Args)]
pub(crate) struct PreviousArgs {
    #[command(subcommand)]
    pub(crate) action: PreviousAction,
}

/// What is done with data that a restore replaced and the nodes keep.
#[derive(Debug, Subcommand)]
pub(crate) enum PreviousAction {
    /// Go back: put what a restore replaced in its old place again, on every node or on none
    Restore(PreviousRestoreArgs),
    /// Remove it from the nodes; there is no way back to it then
    Discard(PreviousDiscardArgs),
}

#[derive(Debug, Args)]
pub(crate) struct PreviousRestoreArgs {
    /// The run that replaced it, as `kbo status` names it [default: the only one]
    #[arg(value_name = "RUN")]
    pub(crate) run: Option<RunId>,
    /// Print the plan that would run, and touch nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PreviousDiscardArgs {
    /// The run that replaced it, as `kbo status` names it [default: the only one]
    #[arg(value_name = "RUN")]
    pub(crate) run: Option<RunId>,
    /// Print what would be removed, and touch nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}
