//! `kbo recover`

use kbo_core::ids::RunId;
use kbo_core::report::{Outcome, Report, chain};
use serde::Serialize;

use super::{Context, Ended};
use crate::output;

#[derive(Serialize)]
struct Recovery<'a> {
    outcome: Outcome,
    runs: &'a [Report],
    swept: &'a [RunId],
    verdict: String,
}

pub(super) async fn run(context: &Context) -> Ended {
    let orchestrator = &context.composed.orchestrator;
    let lock = orchestrator.store.lock(&orchestrator.name, "recover").await?;
    let ended = recover(context).await;
    if let Err(error) = lock.release().await {
        tracing::warn!("the lock cannot be released: {}", chain(&error));
    }
    ended
}

/// Undoes and sweeps; the caller holds the lock.
pub(super) async fn recover(context: &Context) -> Ended {
    let recovered = context.composed.orchestrator.recover().await?;
    let stuck = recovered
        .runs
        .iter()
        .any(|report| report.outcome == Outcome::NeedsPerson);
    for report in &recovered.runs {
        for failure in &report.failures {
            output::error_line(&format!("failed: {failure}"));
        }
    }
    for (node, error) in &recovered.unswept {
        output::error_line(&format!("{node}: its work folders could not be swept: {error}"));
    }
    let outcome = match (stuck, recovered.unswept.is_empty()) {
        (true, _) => Outcome::NeedsPerson,
        (false, true) => Outcome::Done,
        (false, false) => Outcome::Failed,
    };
    let verdict = match (outcome, recovered.runs.len()) {
        (Outcome::NeedsPerson, _) => "recovery failed and THE CLUSTER NEEDS A PERSON".to_owned(),
        (Outcome::Failed, _) => "the cluster is as it was found, but not every node could be swept".to_owned(),
        (_, 0) => format!("nothing to recover; {} work folders swept", recovered.swept.len()),
        (_, runs) => format!("{runs} unfinished runs undone; the cluster is as they found it"),
    };
    if context.global.json {
        output::json(&Recovery {
            outcome,
            runs: &recovered.runs,
            swept: &recovered.swept,
            verdict: verdict.clone(),
        });
        output::error_line(&verdict);
    } else {
        output::line(&verdict);
    }
    Ok(outcome)
}
