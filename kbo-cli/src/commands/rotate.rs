//! `kbo rotate`

use kbo_core::ids::BackupId;
use kbo_core::orchestrator::{Rotation, RotationRequest};
use kbo_core::report::Outcome;
use serde::Serialize;

use super::{Context, Ended, store_locked};
use crate::args::RotateArgs;
use crate::output;

#[derive(Serialize)]
struct Document<'a> {
    outcome: Outcome,
    #[serde(flatten)]
    rotation: &'a Rotation,
    /// Unfinished backups of runs that died, and removals that were cut short: removed first.
    swept: &'a [BackupId],
    verdict: String,
}

pub(super) async fn run(context: &Context, args: &RotateArgs) -> Ended {
    let request = RotationRequest {
        cluster_id: args.cluster_id.clone(),
        confirmed: args.yes,
        ..RotationRequest::default()
    };
    let orchestrator = &context.composed.orchestrator;
    let policies = &context.config.retention;
    if args.dry_run {
        let rotation = orchestrator.plan_rotation_of(policies, &request).await?;
        return Ok(show(context, &rotation, &[]));
    }
    store_locked(context, "rotate", async {
        // What an earlier removal was interrupted in is finished first.
        let swept = orchestrator.store.sweep().await?;
        Ok(show(context, &orchestrator.rotate(policies, &request).await?, &swept))
    })
    .await
}

fn show(context: &Context, rotation: &Rotation, swept: &[BackupId]) -> Outcome {
    let outcome = match (rotation.failed.is_empty(), &rotation.withheld) {
        (false, _) => Outcome::Failed,
        (true, Some(_)) => Outcome::Attention,
        (true, None) => Outcome::Done,
    };
    let verdict = match rotation.withheld {
        Some(_) => format!("rotation {}", rotation.summary()),
        None => rotation.summary(),
    };
    if context.global.json {
        output::json(&Document {
            outcome,
            rotation,
            swept,
            verdict: verdict.clone(),
        });
        output::error_line(&verdict);
        return outcome;
    }
    let head = ["ID", "KIND", "AGE", "", "WHY"].map(str::to_owned).to_vec();
    let rows = rotation.decisions.iter().map(|decision| {
        let verdict = match (decision.keep, rotation.removed.contains(&decision.id)) {
            (true, _) => "stays",
            (false, true) => "removed",
            (false, false) if rotation.withheld.is_some() => "would go",
            (false, false) => "goes",
        };
        vec![
            decision.id.to_string(),
            decision.kind.to_string(),
            decision
                .age_days
                .map_or_else(|| "?".to_owned(), |days| format!("{days} d")),
            verdict.to_owned(),
            decision.reasons.join(", "),
        ]
    });
    output::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>(), &[2]);
    for id in swept {
        output::error_line(&format!("removed {id}, which a run that died had left unfinished"));
    }
    for (id, why) in &rotation.failed {
        output::error_line(&format!("failed: remove {id}: {why}"));
    }
    output::line(&verdict);
    outcome
}
