//! `kbo backup`

use std::time::Duration;

use kbo_core::orchestrator::BackupRequest;

use super::attended::Attended;
use super::{Context, Ended, conduct, kind_of};
use crate::args::BackupArgs;

pub(super) async fn run(context: &Context, args: &BackupArgs) -> Ended {
    let orchestrator = &context.composed.orchestrator;
    let request = BackupRequest {
        kind: kind_of(args.only),
    };
    if args.dry_run {
        // Nothing is touched, so nothing is locked: a dry run may look at a cluster whose backup is running.
        let prepared = conduct::unless_interrupted(context, orchestrator.prepare_backup(request)).await?;
        return Ok(conduct::dry_run(context, &prepared));
    }
    let attended = Attended::of_backup(context, args);
    let wait = Duration::from_secs(args.wait.into());
    let work = async {
        let prepared = conduct::unless_interrupted(context, orchestrator.prepare_backup(request)).await?;
        Ok(conduct::executed(context, prepared).await)
    };
    // The hooks come first of all: the lock makes a store where there is none, and recovery starts nodes.
    let ended = match attended.before().await {
        Ok(()) => conduct::locked_within(context, "backup", conduct::Undone::Required, wait, work).await,
        Err(trouble) => Err(trouble),
    };
    attended.end(context, ended).await
}
