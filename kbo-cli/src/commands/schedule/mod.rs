//! `kbo schedule`: installing, showing and removing schedules.

mod folders;
mod install;
pub(super) mod look;
mod remove;
mod show;

use std::path::PathBuf;

use super::{Context, Ended};
use crate::args::ScheduleAction;
use crate::args::ScheduleArgs;

pub(super) async fn run(context: &Context, args: &ScheduleArgs) -> Ended {
    match &args.action {
        ScheduleAction::Install(args) => install::run(context, args),
        ScheduleAction::Show(args) => show::run(context, args).await,
        ScheduleAction::Remove(args) => remove::run(context, args),
    }
}

/// Paths for a person.
fn listed(paths: &[PathBuf]) -> String {
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}
