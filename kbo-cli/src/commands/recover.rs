//! `kbo recover`

use kbo_core::ids::RunId;
use kbo_core::orchestrator::{LeftOnNode, Recovered};
use kbo_core::report::{Outcome, Report, chain};
use kbo_core::text::some_of;
use serde::Serialize;

use super::{Context, Ended, Trouble};
use crate::output;

#[derive(Serialize)]
struct Document<'a> {
    outcome: Outcome,
    runs: &'a [Report],
    swept: &'a [RunId],
    verdict: &'a str,
}

pub(super) async fn run(context: &Context) -> Ended {
    let orchestrator = &context.composed.orchestrator;
    let lock = orchestrator.store.lock(&orchestrator.name, "recover").await?;
    let ended = recover(context).await.map(|done| show(context, &done));
    if let Err(error) = lock.release().await {
        tracing::warn!("the lock cannot be released: {}", chain(&error));
    }
    ended
}

/// What came of a recovery.
pub(super) struct Recovery {
    recovered: Recovered,
    pub(super) outcome: Outcome,
    pub(super) verdict: String,
}

/// Undoes and sweeps; the caller holds the lock. What failed is said; the verdict is the caller's to show.
pub(super) async fn recover(context: &Context) -> Result<Recovery, Trouble> {
    crate::interrupt::note_recovery();
    let recovered = context.composed.orchestrator.recover().await?;
    for failure in recovered.runs.iter().flat_map(|report| &report.failures) {
        output::error_line(&format!("failed: {failure}"));
    }
    say_undone(&recovered.undone);
    for report in &recovered.runs {
        for kept in report.kept.iter().filter(|kept| kept.run == report.run) {
            output::error_line(&format!("{kept} is kept: {}", kept.commands()));
        }
    }
    for (node, error) in &recovered.unswept {
        output::error_line(&format!("{node}: its work folders could not be swept: {error}"));
    }
    let needs_person = |report: &Report| report.outcome == Outcome::NeedsPerson;
    let undone_all = recovered.undone.iter().all(|(_, undone)| undone.error.is_none());
    let whole = undone_all && recovered.unswept.is_empty();
    let to_be_looked_at: Vec<String> = recovered
        .runs
        .iter()
        .flat_map(|report| report.attention.clone())
        .chain(recovered.undone.iter().filter_map(|(node, undone)| {
            let left_down = undone.left_down.as_ref()?;
            Some(format!("{node}: {left_down}"))
        }))
        .collect();
    for text in &to_be_looked_at {
        output::error_line(&format!("to be looked at: {text}"));
    }
    let outcome = match (recovered.runs.iter().any(needs_person), whole) {
        (true, _) => Outcome::NeedsPerson,
        (false, true) if !to_be_looked_at.is_empty() => Outcome::Attention,
        (false, true) => Outcome::Done,
        (false, false) => Outcome::Failed,
    };
    let verdict = match (outcome, recovered.runs.len()) {
        (Outcome::NeedsPerson, _) => "recovery failed and THE CLUSTER NEEDS A PERSON".to_owned(),
        (Outcome::Failed, _) if !undone_all => "what dead runs left on nodes could not be undone everywhere".to_owned(),
        (Outcome::Failed, _) => "the cluster is as it was found, but not every node could be swept".to_owned(),
        (Outcome::Attention, runs) => format!(
            "{runs} unfinished runs ended; the cluster is as they found it but for this: TO BE LOOKED AT: {}",
            some_of(&to_be_looked_at)
        ),
        (_, 0) if !recovered.undone.is_empty() => {
            format!("what dead runs had left on {} nodes is undone", recovered.undone.len())
        }
        (_, 0) => format!("nothing to recover; {} work folders swept", recovered.swept.len()),
        (_, runs) => format!("{runs} unfinished runs undone; the cluster is as they found it"),
    };
    Ok(Recovery {
        recovered,
        outcome,
        verdict,
    })
}

/// Says what dead runs without a journal had left on nodes, and what became of it.
pub(super) fn say_undone(left: &[LeftOnNode]) {
    for (node, undone) in left {
        output::error_line(&format!("{node}: {undone}"));
    }
}

fn show(context: &Context, recovery: &Recovery) -> Outcome {
    if context.global.json {
        output::json(&Document {
            outcome: recovery.outcome,
            runs: &recovery.recovered.runs,
            swept: &recovery.recovered.swept,
            verdict: &recovery.verdict,
        });
        output::error_line(&recovery.verdict);
    } else {
        output::line(&recovery.verdict);
    }
    recovery.outcome
}
