//! What runs have in common: the lock, recovery of a dead run, the plan, the report.

use std::future::Future;
use std::time::{Duration, Instant};

use kbo_core::cancel::Urgency;
use kbo_core::orchestrator::Prepared;
use kbo_core::ports::store::{StoreError, StoreLock};
use kbo_core::preflight::{Finding, Severity, refuses};
use kbo_core::report::{Outcome, Report, chain};
use serde::Serialize;

use super::{Context, Trouble};
use crate::hooks::HookRun;
use crate::output;

/// What `--dry-run` prints.
#[derive(Serialize)]
struct DryRun<'a> {
    outcome: Outcome,
    plan: &'a kbo_core::plan::Plan,
    findings: &'a [Finding],
}

/// What happens where a dead run cannot be undone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Undone {
    /// Nothing else is done.
    Required,
    /// A restore replaces what the dead run left half done, unless that was itself a restore: with a disk lost in the window of a
    /// backup it is the only way on.
    UnlessRestoring,
}

/// Holds the lock around `work`, after undoing what a dead run left.
pub(super) async fn locked<F, T>(context: &Context, purpose: &str, undone: Undone, work: F) -> Result<T, Trouble>
where
    F: Future<Output = Result<T, Trouble>>,
{
    locked_within(context, purpose, Lane::Whole, undone, Duration::ZERO, async |_| {
        work.await
    })
    .await
}

/// Beside whom a run may run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Beside none.
    Whole,
    /// It stops and replaces nothing: beside one that only makes archives any more.
    BesideArchives,
}

/// The same, waiting so long for another run to let go of the lock, with the lock at hand.
pub(super) async fn locked_within<T>(
    context: &Context,
    purpose: &str,
    lane: Lane,
    undone: Undone,
    wait: Duration,
    work: impl AsyncFnOnce(&dyn StoreLock) -> Result<T, Trouble>,
) -> Result<T, Trouble> {
    let lock = lock(context, purpose, lane, wait).await?;
    if let Some(dead) = lock.took_over() {
        tracing::warn!(
            "took the lock over from {} (pid {} on {}), which died",
            dead.purpose,
            dead.pid,
            dead.host
        );
    }
    let ended = match undo_the_dead(context, undone).await {
        Ok(()) => work(&*lock).await,
        Err(trouble) => Err(trouble),
    };
    if let Err(error) = lock.release().await {
        tracing::warn!("the lock cannot be released: {}", chain(&error));
    }
    ended
}

async fn lock(context: &Context, purpose: &str, lane: Lane, wait: Duration) -> Result<Box<dyn StoreLock>, Trouble> {
    const BETWEEN: Duration = Duration::from_secs(1);
    let orchestrator = &context.composed.orchestrator;
    let begun = Instant::now();
    let mut is_told = false;
    loop {
        let (store, name) = (&orchestrator.store, &orchestrator.name);
        let taken = match lane {
            Lane::Whole => store.lock(name, purpose).await,
            Lane::BesideArchives => store.lock_beside(name, purpose).await,
        };
        match taken {
            Err(error @ (StoreError::Locked { .. } | StoreError::Waits { .. })) if begun.elapsed() < wait => {
                if !is_told && !context.global.quiet {
                    output::error_line(&format!("waiting up to {} s: {}", wait.as_secs(), chain(&error)));
                }
                is_told = true;
                let rest = wait.saturating_sub(begun.elapsed());
                unless_interrupted(context, tokio::time::sleep(BETWEEN.min(rest))).await?;
            }
            taken => return Ok(taken?),
        }
    }
}

async fn undo_the_dead(context: &Context, undone: Undone) -> Result<(), Trouble> {
    let orchestrator = &context.composed.orchestrator;
    if !orchestrator.needs_recovery().await? {
        let left = unless_interrupted(context, orchestrator.settle()).await?;
        super::recover::say_undone(&left);
        return Ok(());
    }
    output::error_line("a run died; undoing what it left undone first");
    let recovery = super::recover::recover(context).await?;
    output::error_line(&recovery.verdict);
    if recovery.outcome.is_done() {
        return Ok(());
    }
    if undone == Undone::UnlessRestoring && !orchestrator.is_half_restored().await? {
        output::error_line(
            "the restore goes on all the same; nodes that are down stay down until `kbo recover` or `kbo start`",
        );
        return Ok(());
    }
    Err(Trouble::new(recovery.outcome, "the run that died could not be undone").hint("kbo status, then kbo recover"))
}

/// Waits for what only looks or asks; an interruption ends it at once, for nothing has to be undone.
pub(super) async fn unless_interrupted<T>(context: &Context, looking: impl Future<Output = T>) -> Result<T, Trouble> {
    tokio::select! {
        seen = looking => Ok(seen),
        () = context.composed.orchestrator.cancel.reached(Urgency::Gentle) => {
            Err(Trouble::new(Outcome::Interrupted, "interrupted before anything was touched"))
        }
    }
}

/// Shows the plan and what preflight found.
pub(super) fn show_plan(context: &Context, prepared: &Prepared) {
    if context.global.json {
        let outcome = if refuses(&prepared.findings) {
            Outcome::Refused
        } else {
            Outcome::Done
        };
        output::json(&DryRun {
            outcome,
            plan: &prepared.plan,
            findings: &prepared.findings,
        });
        return;
    }
    output::line(prepared.plan.to_string().trim_end());
    for finding in &prepared.findings {
        output::line(&described(finding));
    }
}

/// The outcome of a dry run.
pub(super) fn dry_run(context: &Context, prepared: &Prepared) -> Outcome {
    show_plan(context, prepared);
    let refused = refuses(&prepared.findings);
    if !context.global.json {
        let verdict = if refused {
            "preflight would refuse this; nothing was touched"
        } else {
            "dry run; nothing was touched"
        };
        output::line(verdict);
    }
    if refused { Outcome::Refused } else { Outcome::Done }
}

/// Executes and reports.
pub(super) async fn execute(context: &Context, prepared: Prepared) -> Outcome {
    let report = executed(context, prepared, None).await;
    show_report(context, &report, &[]);
    report.outcome
}

/// Executes, and leaves the report to be shown. The lock is shared once the run only makes archives.
pub(super) async fn executed(context: &Context, prepared: Prepared, lock: Option<&dyn StoreLock>) -> Report {
    // Warnings and the reasons of a refusal are part of the result, which -q wants told.
    let findings = prepared
        .findings
        .iter()
        .filter(|finding| finding.severity > Severity::Note);
    findings.for_each(|finding| output::error_line(&described(finding)));
    let report = context.composed.orchestrator.execute_under(prepared, lock).await;
    // They are told as they come up, but not under -q: cron's mail is all that anybody sees of such a run.
    if context.global.quiet {
        let told = report.warnings.iter().chain(&report.attention);
        told.for_each(|warning| output::error_line(&format!("warning: {warning}")));
    }
    report
}

/// A report and the hooks around it.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    report: &'a Report,
    #[serde(skip_serializing_if = "<[HookRun]>::is_empty")]
    hooks: &'a [HookRun],
}

/// The report: failures and warnings, and the verdict last.
pub(super) fn show_report(context: &Context, report: &Report, hooks: &[HookRun]) {
    if context.global.json {
        output::json(&Told { report, hooks });
    }
    for failure in &report.failures {
        output::error_line(&format!("failed: {failure}"));
    }
    if let Some(rotation) = &report.rotation
        && !context.global.quiet
    {
        output::error_line(&format!("rotation: {}", rotation.summary()));
    }
    if !context.global.quiet && !context.global.json {
        for kept in &report.discarded {
            output::error_line(&format!("removed: {kept}; its nodes are ready on what took its place"));
        }
        for kept in report.kept.iter().filter(|kept| kept.run == report.run) {
            kept.lines()
                .iter()
                .for_each(|line| output::error_line(&format!("kept: {line}")));
        }
    }
    tracing::info!(outcome = ?report.outcome, "{}", report.verdict);
    let verdict = verdict(report);
    if context.global.json {
        output::error_line(&verdict)
    } else {
        output::line(&verdict)
    }
}

/// The verdict, and why where it is a refusal.
pub(super) fn verdict(report: &Report) -> String {
    match refusal(&report.findings) {
        Some(reason) if report.outcome == Outcome::Refused => format!("{}: {reason}", report.verdict),
        _ => report.verdict.clone(),
    }
}

/// The first reason of a refusal, and how many more there are.
fn refusal(findings: &[Finding]) -> Option<String> {
    let mut refusals = findings.iter().filter(|finding| finding.severity == Severity::Refusal);
    let first = refusals.next()?;
    Some(match refusals.count() {
        0 => first.to_string(),
        more => format!("{first}; and {more} more reasons above"),
    })
}

/// A finding for a person.
pub(super) fn described(finding: &Finding) -> String {
    let weight = match finding.severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Refusal => "refused",
    };
    format!("{weight}: {finding}")
}
