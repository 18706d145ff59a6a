//! `kbo verify`

use std::sync::Arc;

use kbo_archive::store::{VerifyReport, verify_backup};
use kbo_core::ids::BackupId;
use kbo_core::ports::store::{BackupStore, StoreError};
use kbo_core::report::{Outcome, chain};
use serde::Serialize;

use super::{Context, Ended, show};
use crate::output;

#[derive(Serialize)]
struct Verified {
    outcome: Outcome,
    backups: Vec<VerifyReport>,
    verdict: String,
}

pub(super) async fn run(context: &Context, backup: &str, all: bool) -> Ended {
    let mut passed_over = 0;
    let ids: Vec<BackupId> = if all {
        let listed = context.composed.held.list().await?;
        let ours = |manifest: &kbo_core::manifest::Manifest| manifest.cluster == context.config.cluster_name;
        listed
            .into_iter()
            .filter(|backup| backup.manifest.as_ref().map_or(true, ours))
            .map(|backup| backup.id)
            .collect()
    } else {
        let (id, damaged_newer) = show::selected_past_damage(context, backup, &[]).await?;
        passed_over = damaged_newer;
        vec![id]
    };
    let mut backups = vec![];
    for id in ids {
        backups.push(verify(context, id).await?);
    }
    let bad: Vec<&VerifyReport> = backups.iter().filter(|report| !report.is_ok()).collect();
    let outcome = if bad.is_empty() && passed_over == 0 {
        Outcome::Done
    } else {
        Outcome::Damaged
    };
    for report in &bad {
        for finding in &report.findings {
            output::error_line(&format!("{}: {finding}", report.id));
        }
        for archive in report.archives.iter().filter(|archive| !archive.ok) {
            archive
                .findings
                .iter()
                .for_each(|finding| output::error_line(&format!("{}: {}: {finding}", report.id, archive.name)));
        }
    }
    let archives: usize = backups.iter().map(|report| report.archives.len()).sum();
    let verdict = match (bad.len(), backups.as_slice()) {
        (0, [one]) if passed_over > 0 => format!(
            "DAMAGED: the manifests of {passed_over} newer backups (kbo list names them); backup {} before them is whole",
            one.id
        ),
        (0, [one]) => format!("backup {} is whole: {archives} archives, every file verified", one.id),
        (0, several) => format!(
            "{} backups are whole: {archives} archives, every file verified",
            several.len()
        ),
        (damaged, several) => {
            let ids: Vec<&str> = bad.iter().map(|report| report.id.as_str()).collect();
            format!("DAMAGED: {damaged} of {} backups: {}", several.len(), ids.join(", "))
        }
    };
    if context.global.json {
        output::json(&Verified {
            outcome,
            backups,
            verdict: verdict.clone(),
        });
        output::error_line(&verdict);
    } else {
        output::line(&verdict);
    }
    Ok(outcome)
}

/// A backup whose manifest cannot be used is a damaged one, and the others are verified all the same.
async fn verify(context: &Context, id: BackupId) -> Result<VerifyReport, StoreError> {
    match verify_backup(&context.composed.store, &id, Arc::new(|_, _, _| {})).await {
        Err(error @ StoreError::Format { .. }) => Ok(VerifyReport {
            id,
            findings: vec![chain(&error)],
            archives: vec![],
        }),
        verified => verified,
    }
}
