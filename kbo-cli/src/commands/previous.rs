//! `kbo previous`: what restores replaced and the nodes keep.

use std::collections::BTreeSet;

use kbo_core::ids::{NodeName, RunId};
use kbo_core::kept::Kept;
use kbo_core::preflight::refuses;
use kbo_core::report::Outcome;
use serde::Serialize;

use super::{Context, Ended, Trouble, conduct};
use crate::args::{PreviousAction, PreviousDiscardArgs, PreviousRestoreArgs};
use crate::output;

#[derive(Serialize)]
struct Document<'a> {
    outcome: Outcome,
    discarded: &'a [Kept],
    failures: &'a [String],
    verdict: &'a str,
}

pub(super) async fn run(context: &Context, action: &PreviousAction) -> Ended {
    match action {
        PreviousAction::Restore(args) => restore(context, args).await,
        PreviousAction::Discard(args) => discard(context, args).await,
    }
}

async fn restore(context: &Context, args: &PreviousRestoreArgs) -> Ended {
    let orchestrator = &context.composed.orchestrator;
    let prepare = || orchestrator.prepare_go_back(args.run.as_ref());
    if args.dry_run {
        let prepared = conduct::unless_interrupted(context, prepare()).await?;
        return Ok(conduct::dry_run(context, &prepared));
    }
    conduct::locked(
        context,
        "return to what a restore replaced",
        conduct::Undone::Required,
        async {
            let prepared = conduct::unless_interrupted(context, prepare()).await?;
            if !args.yes && !refuses(&prepared.findings) {
                if context.global.json {
                    return Err(Trouble::new(
                        Outcome::Usage,
                        "a return replaces live data: with --json it needs --yes",
                    ));
                }
                conduct::show_plan(context, &prepared);
                agreed(context, "Put back what was replaced?".to_owned()).await?;
            }
            Ok(conduct::execute(context, prepared).await)
        },
    )
    .await
}

/// Asks; an error where that is not answered with yes.
async fn agreed(context: &Context, question: String) -> Result<(), Trouble> {
    let asking = tokio::task::spawn_blocking(move || output::confirm(&question));
    match conduct::unless_interrupted(context, asking).await?.unwrap_or(None) {
        Some(true) => Ok(()),
        Some(false) => Err(Trouble::new(Outcome::Refused, "not confirmed; nothing was touched")),
        None => Err(Trouble::new(Outcome::Usage, "there is no terminal to ask on")
            .hint("--yes goes on without asking; --dry-run shows what would be done")),
    }
}

async fn discard(context: &Context, args: &PreviousDiscardArgs) -> Ended {
    if args.dry_run {
        let kept = chosen(context, args.run.as_ref()).await?;
        show(&kept);
        output::line("dry run; nothing was touched");
        return Ok(Outcome::Done);
    }
    if context.global.json && !args.yes {
        return Err(Trouble::new(
            Outcome::Usage,
            "it removes data: with --json it needs --yes",
        ));
    }
    conduct::locked(
        context,
        "discard what a restore replaced",
        conduct::Undone::Required,
        async {
            let kept = chosen(context, args.run.as_ref()).await?;
            if !args.yes {
                show(&kept);
                agreed(context, "Remove it for good?".to_owned()).await?;
            }
            let mut failures = vec![];
            for kept in &kept {
                let failed = context.composed.orchestrator.discard(kept).await;
                failures.extend(failed.iter().map(|(name, error)| format!("{name}: {error}")));
            }
            Ok(told(context, &kept, &failures))
        },
    )
    .await
}

/// What is to be removed: of the run that is named, else of the only one.
async fn chosen(context: &Context, of: Option<&RunId>) -> Result<Vec<Kept>, Trouble> {
    let looking = context.composed.orchestrator.kept();
    let (mut kept, unknown) = conduct::unless_interrupted(context, looking).await?;
    for (name, error) in &unknown {
        output::error_line(&format!("{name}: {error}"));
    }
    let runs: BTreeSet<String> = kept.iter().map(|kept| kept.run.to_string()).collect();
    if let Some(of) = of {
        kept.retain(|kept| kept.run == *of);
    }
    match (of, kept.is_empty()) {
        (None, _) if runs.len() > 1 => {
            let named: Vec<String> = runs.into_iter().collect();
            let text = format!("the nodes keep what different runs replaced: {}", named.join(", "));
            Err(Trouble::new(Outcome::Usage, text).hint("say which: kbo previous discard RUN"))
        }
        (_, false) => Ok(kept),
        (Some(of), true) => Err(Trouble::new(
            Outcome::Usage,
            format!("no node that was reached keeps anything that run {of} replaced"),
        )
        .hint("kbo status shows what is kept")),
        (None, true) => Err(Trouble::new(
            Outcome::Usage,
            "no node that was reached keeps anything that a restore replaced",
        )),
    }
}

fn show(kept: &[Kept]) {
    for kept in kept {
        output::line(&format!("{kept}, since {:.0}:", kept.since));
        kept.lines().iter().for_each(|line| output::line(&format!("  {line}")));
    }
}

fn told(context: &Context, kept: &[Kept], failures: &[String]) -> Outcome {
    failures
        .iter()
        .for_each(|failure| output::error_line(&format!("failed: {failure}")));
    let (outcome, verdict) = match failures.is_empty() {
        true => {
            let nodes: BTreeSet<&NodeName> = kept.iter().flat_map(Kept::nodes).collect();
            let bytes = kept.iter().map(|kept| kept.bytes).sum();
            let size = kbo_core::text::human(bytes);
            (
                Outcome::Done,
                format!("{size} of replaced data removed from {} nodes", nodes.len()),
            )
        }
        false => (
            Outcome::Failed,
            format!(
                "not everything could be removed: {} nodes failed; `kbo previous discard` again",
                failures.len()
            ),
        ),
    };
    if context.global.json {
        output::json(&Document {
            outcome,
            discarded: kept,
            failures,
            verdict: &verdict,
        });
        output::error_line(&verdict);
    } else {
        output::line(&verdict);
    }
    outcome
}
