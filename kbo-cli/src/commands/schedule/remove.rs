//! `kbo schedule remove`

use std::path::PathBuf;

use kbo_core::manifest::BackupKind;
use kbo_core::report::Outcome;
use kbo_core::schedule::{Schedule, ScheduleName};
use serde::Serialize;

use super::super::{Context, Ended, Trouble};
use super::listed;
use crate::args::RemoveArgs;
use crate::output;
use crate::scheduler::systemd::Systemctl;
use crate::scheduler::{self, Held, Installed, Place, Scheduler};

#[derive(Serialize)]
struct Document<'a> {
    outcome: Outcome,
    removed: Vec<&'a ScheduleName>,
    files: &'a [PathBuf],
    verdict: &'a str,
}

pub(super) fn run(context: &Context, args: &RemoveArgs) -> Ended {
    let place = Place::at(args.root.root.as_deref());
    let (installed, troubles) = place.installed(&context.config.cluster_name);
    troubles
        .iter()
        .for_each(|trouble| output::error_line(&format!("warning: {trouble}")));
    let chosen = chosen(&installed, args)?;
    let files: Vec<PathBuf> = chosen.iter().flat_map(|found| found.files.clone()).collect();
    let names: Vec<&ScheduleName> = chosen.iter().map(|found| &found.schedule.name).collect();
    let shown: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    let shown = shown.join(", ");
    if !args.dry_run {
        for found in &chosen {
            take_away(&place, found.scheduler, &found.schedule).map_err(|error| {
                Trouble::new(Outcome::Failed, format!("{error:#}")).hint("schedules belong to root: run it with sudo")
            })?;
        }
    }
    let verdict = match (chosen.is_empty(), args.dry_run) {
        (true, _) => format!("cluster {} has no schedule", context.config.cluster_name),
        (false, true) => format!("dry run; schedule {shown} would be removed: {}", listed(&files)),
        (false, false) => format!("schedule {shown} is removed; its backups stay"),
    };
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

fn chosen<'a>(installed: &'a [Installed], args: &RemoveArgs) -> Result<Vec<&'a Installed>, Trouble> {
    let names: Vec<&ScheduleName> = args.names.iter().chain(&args.named).collect();
    let there: Vec<String> = installed.iter().map(|found| found.schedule.name.to_string()).collect();
    let there = if there.is_empty() {
        "there is none".to_owned()
    } else {
        format!("there are {}", there.join(", "))
    };
    let usage = |text: String| Trouble::new(Outcome::Usage, text);
    if let Some(unknown) = names
        .iter()
        .find(|name| installed.iter().all(|found| found.schedule.name != ***name))
    {
        return Err(usage(format!(
            "no schedule of this cluster is called {unknown}; {there}"
        )));
    }
    let kind: Option<BackupKind> = args.kind.map(Into::into);
    let fits = |found: &&Installed| names.contains(&&found.schedule.name) || kind == Some(found.schedule.kind);
    if !names.is_empty() || kind.is_some() {
        let chosen: Vec<&Installed> = installed.iter().filter(fits).collect();
        return match (chosen.is_empty(), kind) {
            (true, Some(kind)) => Err(usage(format!("no schedule of this cluster is of kind {kind}; {there}"))),
            _ => Ok(chosen),
        };
    }
    if installed.len() > 1 && !args.all {
        return Err(usage(format!("which schedule? {there}")).hint("name it, or --all"));
    }
    Ok(installed.iter().collect())
}

/// Removes the files of a schedule, and has its scheduler see it. A file that is not kbo's stays.
pub(super) fn take_away(place: &Place, scheduler: Scheduler, schedule: &Schedule) -> anyhow::Result<()> {
    let stem = schedule.stem();
    let timer = format!("{stem}.timer");
    let systemctl = Systemctl::default();
    let speaks = scheduler == Scheduler::Systemd && !place.is_image() && Scheduler::of_machine() == Scheduler::Systemd;
    if speaks {
        systemctl.disable(&timer)?;
    }
    for path in place.paths(scheduler, &stem) {
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
