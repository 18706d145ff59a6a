//! `kbo restore`

use kbo_archive::store::Wanted;
use kbo_core::ids::ClusterId;
use kbo_core::inventory::Dataset;
use kbo_core::manifest::Manifest;
use kbo_core::orchestrator::RestoreRequest;
use kbo_core::plan::Previous;
use kbo_core::ports::store::BackupStore;
use kbo_core::preflight::refuses;
use kbo_core::report::{Outcome, Report, chain};
use kbo_core::text::human;

use super::attended::Attended;
use super::show::Chosen;
use super::{Context, Ended, Trouble, conduct, show};
use crate::args::{Only, RestoreArgs};
use crate::compose::Composed;
use crate::output;

pub(super) async fn run(context: &Context, args: &RestoreArgs) -> Ended {
    let asked_for: &[Dataset] = match args.only {
        None => &[],
        Some(Only::Config) => &[Dataset::Config],
        Some(Only::Data) => &[Dataset::Data],
    };
    let wanted = match asked_for {
        [] => Wanted::Whole,
        datasets => Wanted::Datasets(datasets),
    };
    let chosen = show::selected(context, &args.backup, wanted).await?;
    let id = chosen.id.clone();
    let purpose = format!("restore {id}");
    let attended = Attended::of_restore(context, args.only, &id).await;
    let work = async {
        let manifest = context.composed.orchestrator.store.manifest(&id).await?;
        let datasets = if asked_for.is_empty() {
            manifest.kind.datasets()
        } else {
            asked_for
        };
        restore(context, args, &attended, (&chosen, manifest), datasets).await
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
    (chosen, manifest): (&Chosen, Manifest),
    datasets: &[Dataset],
) -> Result<Ran, Trouble> {
    let what = datasets
        .iter()
        .map(Dataset::to_string)
        .collect::<Vec<_>>()
        .join(" and ");
    let restored_id = manifest
        .cluster_id
        .clone()
        .filter(|_| datasets.contains(&Dataset::Data));
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
        previous: match (args.keep_previous, args.discard_previous) {
            (true, _) => Previous::Keep,
            (false, true) => Previous::Discard,
            (false, false) => Previous::UntilReady,
        },
    };
    let prepare = || async {
        let preparing = context.composed.orchestrator.prepare_restore(request.clone());
        let mut prepared = conduct::unless_interrupted(context, preparing).await?;
        prepared.plan.about = chosen.lines();
        prepared.plan.about[0] = format!("restore {what}: {}", chosen.about);
        Ok::<_, Trouble>(prepared)
    };
    let mut prepared = prepare().await?;
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
        loop {
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
            // The question may have waited for hours: what it was asked of is looked at again.
            let moved = context.composed.orchestrator.moved(&prepared);
            let moved = conduct::unless_interrupted(context, moved).await?;
            if moved.is_empty() {
                break;
            }
            for finding in &moved {
                output::error_line(&format!("planning anew: {}", finding.message));
            }
            let anew = prepare().await?;
            let is_same = anew.plan.phases == prepared.plan.phases;
            prepared = anew;
            if is_same || refuses(&prepared.findings) {
                break;
            }
        }
    }
    if !refuses(&prepared.findings) {
        attended.before().await?;
    }
    if args.yes && !context.global.quiet {
        prepared.plan.about.iter().for_each(|line| output::error_line(line));
    }
    let report = conduct::executed(context, prepared, None).await;
    if let (true, true, Some(id)) = (args.other_cluster, report.outcome.is_done(), restored_id) {
        adopt(context, &id).await;
    }
    Ok(Ran::Really(Box::new(report)))
}

/// What --other-cluster has put onto the nodes brings its cluster id along: the store goes by that from now on.
async fn adopt(context: &Context, id: &ClusterId) {
    let Composed {
        store, orchestrator, ..
    } = &context.composed;
    let adopted = match store.adopted_id(&orchestrator.name).await {
        Ok(Some(known)) if known == *id => return,
        _ => store.adopt(&orchestrator.name, id).await,
    };
    match adopted {
        Ok(()) => tracing::warn!("the nodes now have the cluster id {id}, and the store goes by it"),
        Err(error) => tracing::warn!("run `kbo adopt {id}` before the next backup: {}", chain(&error)),
    }
}
