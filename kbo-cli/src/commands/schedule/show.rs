//! `kbo schedule show`

use jiff::Timestamp;
use jiff::tz::TimeZone;
use kbo_core::report::Outcome;
use serde::Serialize;

use super::super::{Context, Ended};
use super::look::{Look, Looks, looks};
use crate::args::ScheduleRoot;
use crate::output;

#[derive(Serialize)]
struct Document<'a> {
    outcome: Outcome,
    cluster: String,
    schedules: &'a [Look],
    warnings: &'a [String],
    verdict: &'a str,
}

pub(super) async fn run(context: &Context, args: &ScheduleRoot) -> Ended {
    let Looks { schedules, warnings } = looks(context, args.root.as_deref()).await;
    let cluster = context.config.cluster_name.to_string();
    let verdict = match schedules.len() {
        0 => format!("cluster {cluster} has no schedule: kbo schedule install --kind cluster --at \"03:00\""),
        1 => format!("1 schedule of cluster {cluster}"),
        more => format!("{more} schedules of cluster {cluster}"),
    };
    warnings
        .iter()
        .for_each(|warning| output::error_line(&format!("warning: {warning}")));
    if context.global.json {
        output::json(&Document {
            outcome: Outcome::Done,
            cluster,
            schedules: &schedules,
            warnings: &warnings,
            verdict: &verdict,
        });
        output::error_line(&verdict);
        return Ok(Outcome::Done);
    }
    if !schedules.is_empty() {
        let head = [
            "NAME", "KIND", "WHEN", "BY", "NEXT RUN", "LAST RUN", "OUTCOME", "VERDICT",
        ]
        .map(str::to_owned)
        .to_vec();
        let rows = schedules.iter().map(row);
        output::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>(), &[]);
    }
    output::line(&verdict);
    Ok(Outcome::Done)
}

fn row(look: &Look) -> Vec<String> {
    let zone = TimeZone::system();
    let local = |at: Timestamp| at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string();
    let dash = || "-".to_owned();
    let run = look.last_run.as_ref();
    vec![
        look.name.to_string(),
        look.kind.to_string(),
        look.when.to_string(),
        look.scheduler.to_string(),
        look.next_run.map_or_else(dash, local),
        run.map_or_else(|| "never".to_owned(), |run| local(run.ended)),
        run.map_or_else(dash, |run| run.outcome.as_str().to_owned()),
        run.map_or_else(dash, |run| match &run.id {
            Some(id) => id.to_string(),
            None => shortened(&run.verdict),
        }),
    ]
}

/// The beginning of a verdict, where the whole would make the table too wide.
fn shortened(verdict: &str) -> String {
    const WIDTH: usize = 60;
    match verdict.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", &verdict[..end]),
        None => verdict.to_owned(),
    }
}
