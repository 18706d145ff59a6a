//! `kbo rotate`

use kbo_core::ids::BackupId;
use kbo_core::orchestrator::Rotation;
use kbo_core::report::Outcome;
use serde::Serialize;

use super::{Context, Ended, store_locked};
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

pub(super) async fn run(context: &Context, dry_run: bool) -> Ended {
    let orchestrator = &context.composed.orchestrator;
    let policies = &context.config.retention;
    if dry_run {
        return Ok(show(context, &orchestrator.plan_rotation(policies).await?, &[]));
    }
    store_locked(context, "rotate", async {
        // What an earlier removal was interrupted in is finished first.
        let swept = orchestrator.store.sweep().await?;
        Ok(show(context, &orchestrator.rotate(policies).await?, &swept))
    })
    .await
}

fn show(context: &Context, rotation: &Rotation, swept: &[BackupId]) -> Outcome {
    let outcome = if rotation.failed.is_empty() {
        Outcome::Done
    } else {
        Outcome::Failed
    };
    let verdict = rotation.summary();
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
