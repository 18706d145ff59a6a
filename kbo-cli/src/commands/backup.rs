//! `kbo backup`

use std::time::Duration;

use kbo_core::manifest::BackupKind;
use kbo_core::orchestrator::BackupRequest;
use kbo_core::ports::store::StoreLock;

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
    let (purpose, lane) = match request.kind {
        BackupKind::Config => ("backup of configuration", conduct::Lane::BesideArchives),
        BackupKind::Data | BackupKind::Cluster => ("backup", conduct::Lane::Whole),
    };
    let work = async |lock: &dyn StoreLock| {
        let prepared = conduct::unless_interrupted(context, orchestrator.prepare_backup(request)).await?;
        Ok(conduct::executed(context, prepared, Some(lock)).await)
    };
    // The hooks come first of all: the lock makes a store where there is none, and recovery starts nodes.
    let ended = match attended.before().await {
        Ok(()) => conduct::locked_within(context, purpose, lane, conduct::Undone::Required, wait, work).await,
        Err(trouble) => Err(trouble),
    };
    attended.end(context, ended).await
}
