//! `kbo verify`

use std::sync::Arc;

use kbo_archive::store::{DirStore, VerifyReport, Wanted, verify_backup, verify_store};
use kbo_core::ids::BackupId;
use kbo_core::ports::store::{BackupStore, Listed, StoreError};
use kbo_core::report::{Outcome, chain};
use kbo_core::text::{clip, one_line, some_of};
use serde::Serialize;

use super::{Context, Ended, show};
use crate::output;

#[derive(Serialize)]
struct Verified {
    outcome: Outcome,
    /// What is wrong with the store itself; looked at with --all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    store: Vec<String>,
    backups: Vec<VerifyReport>,
    verdict: String,
}

pub(super) async fn run(context: &Context, backup: &str, all: bool) -> Ended {
    match all {
        true => every_one(context).await,
        false => one(context, backup).await,
    }
}

async fn one(context: &Context, backup: &str) -> Ended {
    let chosen = show::selected(context, backup, Wanted::WholeOrAny).await?;
    let damaged_newer = chosen.passed_over.iter().filter(|passed| passed.is_damaged()).count();
    let id = chosen.told(context);
    let report = verify(&context.composed.store, id).await;
    told(&report);
    let verdict = match (report.is_ok(), damaged_newer) {
        (false, _) => format!("DAMAGED: 1 of 1 backups: {}", report.id),
        (true, 0) => format!(
            "backup {} is whole: {} archives, every file verified",
            report.id,
            report.archives.len()
        ),
        (true, newer) => format!(
            "DAMAGED: {newer} newer backups (kbo list names them); backup {} before them is whole",
            report.id
        ),
    };
    let is_bad = !report.is_ok() || damaged_newer > 0;
    Ok(ended(context, is_bad, vec![], vec![report], verdict))
}

/// Each backup gets its verdict as it is reached, and none keeps those after it from theirs.
async fn every_one(context: &Context) -> Ended {
    // A store whose own record is damaged may hold a hundred backups that are whole.
    let store = context.composed.store.whatever_its_state();
    let of_store = verify_store(&store).await?;
    for finding in &of_store {
        output::error_line(&format!("store: {finding}"));
    }
    let name = &context.config.cluster_name;
    let listed = store.list().await?;
    let of_others = |backup: &&Listed| backup.manifest.as_ref().is_ok_and(|manifest| manifest.cluster != *name);
    let mut ids: Vec<BackupId> = listed
        .iter()
        .filter(|backup| !of_others(backup))
        .map(|backup| backup.id.clone())
        .collect();
    ids.dedup();
    let mut backups = vec![];
    for id in ids {
        let report = verify(&store, id).await;
        if report.findings == [GONE] {
            // A rotation has removed it since it was listed.
            output::error_line(&format!("{}: {GONE}", report.id));
            continue;
        }
        told(&report);
        if !context.global.json && !context.global.quiet {
            let verdict = match report.is_ok() {
                true => format!("whole, {} archives", report.archives.len()),
                false => "DAMAGED".to_owned(),
            };
            output::line(&format!("{}  {verdict}", report.id));
        }
        backups.push(report);
    }
    let bad: Vec<String> = backups
        .iter()
        .filter(|report| !report.is_ok())
        .map(|report| report.id.to_string())
        .collect();
    let archives: usize = backups.iter().map(|report| report.archives.len()).sum();
    let of_the_store = if of_store.is_empty() {
        ""
    } else {
        "; THE STORE ITSELF IS DAMAGED"
    };
    let verdict = match (bad.len(), &backups[..]) {
        (0, [one]) => format!(
            "backup {} is whole: {archives} archives, every file verified{of_the_store}",
            one.id
        ),
        (0, several) => format!(
            "{} backups are whole: {archives} archives, every file verified{of_the_store}",
            several.len()
        ),
        (damaged, several) => format!(
            "DAMAGED: {damaged} of {} backups: {}{of_the_store}",
            several.len(),
            some_of(&bad)
        ),
    };
    let is_bad = !bad.is_empty() || !of_store.is_empty();
    Ok(ended(context, is_bad, of_store, backups, verdict))
}

/// Names what is wrong with a backup.
fn told(report: &VerifyReport) {
    for finding in &report.findings {
        output::error_line(&one_line(&format!("{}: {finding}", report.id)));
    }
    for archive in report.archives.iter().filter(|archive| !archive.ok) {
        for finding in &archive.findings {
            output::error_line(&one_line(&format!("{}: {}: {finding}", report.id, archive.name)));
        }
    }
}

fn ended(context: &Context, is_bad: bool, store: Vec<String>, backups: Vec<VerifyReport>, verdict: String) -> Outcome {
    let outcome = match is_bad {
        true => Outcome::Damaged,
        false => Outcome::Done,
    };
    if context.global.json {
        output::error_line(&verdict);
        output::json(&Verified {
            outcome,
            store,
            backups,
            verdict,
        });
    } else {
        output::line(&verdict);
    }
    outcome
}

/// What is said of a backup that was removed meanwhile.
const GONE: &str = "it is not there any more";

/// A backup whose manifest cannot be used, or that cannot be read, is a damaged one: of the others the same is found out.
async fn verify(store: &DirStore, id: BackupId) -> VerifyReport {
    let findings = match verify_backup(store, &id, Arc::new(|_, _, _| {})).await {
        Ok(report) => return report,
        Err(StoreError::NoSuchBackup(_)) => vec![GONE.to_owned()],
        Err(error) => vec![clip(&chain(&error), 400).into_owned()],
    };
    VerifyReport {
        id,
        findings,
        archives: vec![],
    }
}
