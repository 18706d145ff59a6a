//! `kbo restore`

use kbo_core::inventory::Dataset;
use kbo_core::manifest::Manifest;
use kbo_core::orchestrator::RestoreRequest;
use kbo_core::preflight::refuses;
use kbo_core::report::{Outcome, Report};
use kbo_core::text::human;

use super::attended::Attended;
use super::{Context, Ended, Trouble, conduct, show};
use crate::args::{Only, RestoreArgs};
use crate::output;

pub(super) async fn run(context: &Context, args: &RestoreArgs) -> Ended {
    let asked_for: &[Dataset] = match args.only {
        None => &[],
        Some(Only::Config) => &[Dataset::Config],
        Some(Only::Data) => &[Dataset::Data],
    };
    let id = show::selected(context, &args.backup, asked_for).await?;
    let purpose = format!("restore {id}");
    let attended = Attended::of_restore(context, args.only, &id).await;
    let work = async {
        let manifest = context.composed.orchestrator.store.manifest(&id).await?;
        let datasets = if asked_for.is_empty() {
            manifest.kind.datasets()
        } else {
            asked_for
        };
        restore(context, args, &attended, manifest, datasets).await
    };
    match args.dry_run {
        true => work.await.map(|done| match done {
            Ran::Dry(outcome) => outcome,
            Ran::Really(report) => report.outcome,
        }),
        false => {
            let ended = conduct::locked(context, &purpose, conduct::Undone::UnlessRestoring, work).await;
            match ended {
                Ok(Ran::Dry(outcome)) => Ok(outcome),
                Ok(Ran::Really(report)) => attended.end(context, Ok(*report)).await,
                Err(trouble) => attended.end(context, Err(trouble)).await,
            }
        }
    }
}

/// What came of it.
enum Ran {
    Dry(Outcome),
    Really(Box<Report>),
}

async fn restore(
    context: &Context,
    args: &RestoreArgs,
    attended: &Attended,
    manifest: Manifest,
    datasets: &[Dataset],
) -> Result<Ran, Trouble> {
    let what = datasets
        .iter()
        .map(Dataset::to_string)
        .collect::<Vec<_>>()
        .join(" and ");
    let summary = format!(
        "{what} of {} as of {} ({})",
        manifest.cluster,
        manifest.created,
        human(
            manifest
                .archives
                .iter()
                .filter(|archive| datasets.contains(&archive.dataset))
                .map(|archive| archive.raw_size)
                .sum()
        )
    );
    let request = RestoreRequest {
        manifest,
        datasets: datasets.to_vec(),
        other_cluster: args.other_cluster,
        keep_previous: args.keep_previous,
    };
    let preparing = context.composed.orchestrator.prepare_restore(request);
    let prepared = conduct::unless_interrupted(context, preparing).await?;
    if args.dry_run {
        return Ok(Ran::Dry(conduct::dry_run(context, &prepared)));
    }
    if !args.yes && !refuses(&prepared.findings) {
        attended.asks();
        if context.global.json {
            return Err(Trouble::new(
                Outcome::Usage,
                "a restore replaces live data: with --json it needs --yes",
            ));
        }
        conduct::show_plan(context, &prepared);
        let question = format!("Replace what is on the nodes by {summary}?");
        let asking = tokio::task::spawn_blocking(move || output::confirm(&question));
        match conduct::unless_interrupted(context, asking).await?.unwrap_or(None) {
            Some(true) => attended.is_answered(),
            Some(false) => return Err(Trouble::new(Outcome::Refused, "not confirmed; nothing was touched")),
            None => {
                return Err(Trouble::new(
                    Outcome::Usage,
                    "a restore replaces live data and there is no terminal to ask on",
                )
                .hint("--yes restores without asking; --dry-run shows the plan"));
            }
        }
    }
    if !refuses(&prepared.findings) {
        attended.before().await?;
    }
    Ok(Ran::Really(Box::new(conduct::executed(context, prepared).await)))
}
