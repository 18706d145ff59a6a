//! `kbo restore`

use kbo_core::inventory::Dataset;
use kbo_core::manifest::Manifest;
use kbo_core::orchestrator::RestoreRequest;
use kbo_core::preflight::refuses;
use kbo_core::report::Outcome;
use kbo_core::text::human;

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
    let work = async {
        let manifest = context.composed.orchestrator.store.manifest(&id).await?;
        let datasets = if asked_for.is_empty() {
            manifest.kind.datasets()
        } else {
            asked_for
        };
        restore(context, args, manifest, datasets).await
    };
    if args.dry_run {
        work.await
    } else {
        conduct::locked(context, &purpose, conduct::Undone::UnlessRestoring, work).await
    }
}

async fn restore(context: &Context, args: &RestoreArgs, manifest: Manifest, datasets: &[Dataset]) -> Ended {
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
        return Ok(conduct::dry_run(context, &prepared));
    }
    if !args.yes && !refuses(&prepared.findings) {
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
            Some(true) => {}
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
    Ok(conduct::execute(context, prepared).await)
}
