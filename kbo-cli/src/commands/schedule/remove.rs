//! `kbo schedule remove`

use std::path::PathBuf;

use kbo_core::manifest::BackupKind;
use kbo_core::report::Outcome;
use kbo_core::schedule::ScheduleName;
use serde::Serialize;

use super::super::{Context, Ended, Trouble};
use super::listed;
use crate::args::RemoveArgs;
use crate::output;
use crate::scheduler::systemd::Systemctl;
use crate::scheduler::{self, Held, Installed, Place, Scheduler, Unclear};

#[derive(Serialize)]
struct Document<'a> {
    outcome: Outcome,
    removed: Vec<&'a str>,
    files: &'a [PathBuf],
    verdict: &'a str,
}

pub(super) fn run(context: &Context, args: &RemoveArgs) -> Ended {
    let place = Place::at(args.root.root.as_deref());
    let (installed, unclear, troubles) = place.all(&context.config.cluster_name);
    troubles
        .iter()
        .for_each(|trouble| output::error_line(&format!("warning: {trouble}")));
    let chosen = chosen(&installed, &unclear, args)?;
    let files: Vec<PathBuf> = chosen
        .iter()
        .flat_map(|found| place.paths(found.scheduler, &found.stem))
        .collect();
    let mut names: Vec<&str> = chosen.iter().map(|found| found.name).collect();
    names.dedup();
    let shown = names.join(", ");
    if !args.dry_run {
        for found in &chosen {
            take_away(&place, found.scheduler, &found.stem).map_err(|error| {
                Trouble::new(Outcome::Failed, format!("{error:#}")).hint("schedules belong to root: run it with sudo")
            })?;
        }
    }
    let verdict = match (chosen.is_empty(), args.dry_run) {
        (true, _) => format!("cluster {} has no schedule", context.config.cluster_name),
        (false, true) => format!("dry run; schedule {shown} would be removed: {}", listed(&files)),
        (false, false) => format!("schedule {shown} is removed; its backups stay"),
    };
    if args.all && !unclear.is_empty() {
        let left: Vec<PathBuf> = unclear.iter().map(|file| file.path.clone()).collect();
        let done = if chosen.is_empty() {
            String::new()
        } else {
            format!("{verdict}; ")
        };
        let text = format!("{done}not understood, and so not removed: {}", listed(&left));
        return Err(Trouble::new(Outcome::Failed, text).hint(format!(
            "if it is of this cluster: kbo schedule remove {}",
            unclear[0].name
        )));
    }
    if context.global.json {
        output::json(&Document {
            outcome: Outcome::Done,
            removed: names,
            files: &files,
            verdict: &verdict,
        });
        output::error_line(&verdict);
    } else {
        output::line(&verdict);
    }
    Ok(Outcome::Done)
}

/// What is to be removed.
struct Chosen<'a> {
    name: &'a str,
    stem: String,
    scheduler: Scheduler,
}

fn chosen<'a>(
    installed: &'a [Installed],
    unclear: &'a [Unclear],
    args: &RemoveArgs,
) -> Result<Vec<Chosen<'a>>, Trouble> {
    let names: Vec<&str> = args.names.iter().chain(&args.named).map(ScheduleName::as_str).collect();
    let known = installed.iter().map(|found| found.schedule.name.as_str());
    let by_file = unclear.iter().map(|file| file.name.as_str());
    let mut all: Vec<&str> = known.chain(by_file).collect();
    all.dedup();
    let there = if all.is_empty() {
        "there is none".to_owned()
    } else {
        format!("there are {}", all.join(", "))
    };
    let usage = |text: String| Trouble::new(Outcome::Usage, text);
    if let Some(unknown) = names.iter().find(|name| !all.contains(name)) {
        return Err(usage(format!(
            "no schedule of this cluster is called {unknown}; {there}"
        )));
    }
    let is_choice = !names.is_empty() || args.kind.is_some();
    if !is_choice && !args.all && (all.len() > 1 || !unclear.is_empty()) {
        return Err(usage(format!("which schedule? {there}")).hint("name it, or --all"));
    }
    let kind: Option<BackupKind> = args.kind.map(Into::into);
    let clear = installed
        .iter()
        .filter(|found| {
            !is_choice || names.contains(&found.schedule.name.as_str()) || kind == Some(found.schedule.kind)
        })
        .map(|found| Chosen {
            name: found.schedule.name.as_str(),
            stem: found.schedule.stem(),
            scheduler: found.scheduler,
        });
    // What a file is that is not understood only its name tells, so only by that it is taken.
    let named = unclear
        .iter()
        .filter(|file| names.contains(&file.name.as_str()))
        .map(|file| Chosen {
            name: &file.name,
            stem: file.stem.clone(),
            scheduler: file.scheduler,
        });
    let chosen: Vec<Chosen<'_>> = clear.chain(named).collect();
    match (chosen.is_empty(), kind) {
        (true, Some(kind)) => Err(usage(format!("no schedule of this cluster is of kind {kind}; {there}"))),
        _ => Ok(chosen),
    }
}

/// Removes the files of a schedule, and has its scheduler see it. A file that is not kbo's stays.
pub(super) fn take_away(place: &Place, scheduler: Scheduler, stem: &str) -> anyhow::Result<()> {
    let timer = format!("{stem}.timer");
    let systemctl = Systemctl::default();
    let speaks = scheduler == Scheduler::Systemd && !place.is_image() && Scheduler::of_machine() == Scheduler::Systemd;
    if speaks {
        systemctl.disable(&timer)?;
    }
    for path in place.paths(scheduler, stem) {
        match scheduler::read(&path)? {
            Held::Ours(_) | Held::Unclear(_) => {
                scheduler::remove(&path)?;
            }
            Held::Nothing => {}
            Held::Foreign => tracing::warn!("{} stays: kbo has not made it", path.display()),
        }
    }
    if speaks { systemctl.reload(&timer) } else { Ok(()) }
}
