//! What a run has come to: its report, and one sentence for a person at night.

use super::Prepared;
use super::run::Harvest;
use crate::ids::{BackupId, NodeName, RunId};
use crate::kept::Kept;
use crate::machine::{Operation, Phase};
use crate::manifest::ArchiveRecord;
use crate::report::{Failure, NodeReport, Outcome, Report};
use crate::text::{human, some_of};

pub(super) fn refused(prepared: Prepared) -> Report {
    let verdict = "refused by preflight; nothing was touched".to_owned();
    unstarted(prepared, Outcome::Refused, &verdict, None)
}

pub(super) fn unstarted(prepared: Prepared, outcome: Outcome, verdict: &str, failure: Option<Failure>) -> Report {
    let harvest = Harvest {
        failures: failure.into_iter().collect(),
        ..Harvest::default()
    };
    let mut report = report(prepared, harvest, Phase::Refused);
    report.outcome = outcome;
    verdict.clone_into(&mut report.verdict);
    report
}

pub(super) fn report(prepared: Prepared, harvest: Harvest, phase: Phase) -> Report {
    let kept = super::keeping::is_kept(&harvest.entries);
    let outcome = match phase {
        Phase::Done if !harvest.damage.is_empty() => Outcome::Damaged,
        Phase::Done if !harvest.attention.is_empty() => Outcome::Attention,
        Phase::Done => Outcome::Done,
        // Past its point of no return a run is not undone: what it has put in place stays.
        Phase::RolledBack if kept => Outcome::Attention,
        Phase::RolledBack if harvest.interrupted && harvest.failures.is_empty() => Outcome::Interrupted,
        Phase::RolledBack => Outcome::Failed,
        // Not even begun, for the journal cannot be written.
        Phase::Refused if !harvest.failures.is_empty() => Outcome::Failed,
        Phase::Refused => Outcome::Refused,
        _ => Outcome::NeedsPerson,
    };
    let sum_of = |name: &NodeName, size: fn(&ArchiveRecord) -> u64| {
        harvest
            .archives
            .iter()
            .filter(|archive| &archive.node == name)
            .map(size)
            .sum()
    };
    let nodes: Vec<NodeReport> = prepared
        .facts
        .keys()
        .map(|name| NodeReport {
            node: name.clone(),
            linked_files: harvest.snapshots.get(name).map(|snapshot| snapshot.linked_files),
            copied_files: harvest.snapshots.get(name).map(|snapshot| snapshot.copied_files),
            raw_bytes: sum_of(name, |archive| archive.raw_size),
            stored_bytes: sum_of(name, |archive| archive.size),
        })
        .collect();
    let id = prepared.plan.backup.as_ref().map(|(id, _)| id.clone());
    let damage = harvest.damage.clone();
    let mut report = Report {
        run: prepared.plan.run.clone(),
        operation: prepared.plan.operation,
        // A restore names the backup that it restores; a backup that failed is none.
        id: id
            .clone()
            .filter(|_| prepared.plan.operation == Operation::Restore || harvest.committed),
        kind: prepared.plan.backup.as_ref().map(|(_, kind)| *kind),
        outcome,
        window_seconds: harvest.window.map(|window| window.seconds),
        phases: harvest.phases,
        raw_bytes: nodes.iter().map(|node| node.raw_bytes).sum(),
        stored_bytes: nodes.iter().map(|node| node.stored_bytes).sum(),
        nodes,
        rotation: None,
        kept: harvest.kept,
        discarded: harvest.discarded,
        warnings: harvest.warnings.into_iter().chain(harvest.damage).collect(),
        attention: match phase == Phase::RolledBack && kept {
            true => [vec![KEPT.to_owned()], harvest.attention].concat(),
            false => harvest.attention,
        },
        unclean: harvest
            .proofs
            .iter()
            .filter(|(_, proof)| !proof.clean)
            .map(|(name, _)| name.clone())
            .collect(),
        findings: prepared.findings,
        failures: harvest.failures,
        verdict: String::new(),
    };
    let previous_of = prepared.plan.previous_of();
    report.verdict = verdict(&report, id.as_ref(), previous_of, &damage, kept);
    report.verdict.push_str(&told_of_kept(&report));
    report
}

/// Of a run that ended, or died, after its point of no return.
const KEPT: &str = "its new data are in place and stay, but it did not come to its end: kbo status shows the nodes, and what it replaced may still lie there";

/// What is kept of replaced data, and the way back; for a restore what it has kept itself, for a start that failed what it may go back
/// to.
fn told_of_kept(report: &Report) -> String {
    let is_own = |kept: &&Kept| kept.run == report.run && kept.until_ready;
    if report.operation == Operation::Restore {
        return match report.kept.iter().find(is_own) {
            Some(kept) => format!(
                "; {kept} is kept until all of these nodes were ready: {}",
                kept.commands()
            ),
            None => String::new(),
        };
    }
    let is_down = match report.operation {
        Operation::Start | Operation::Restart | Operation::Run => {
            matches!(
                report.outcome,
                Outcome::Failed | Outcome::Interrupted | Outcome::NeedsPerson
            )
        }
        _ => report.outcome == Outcome::NeedsPerson,
    };
    match report.kept.first().filter(|kept| is_down && kept.until_ready) {
        Some(kept) => format!("; {kept} is still kept: {}", kept.commands()),
        None => String::new(),
    }
}

/// One sentence for a person at night.
fn verdict(
    report: &Report,
    id: Option<&BackupId>,
    previous_of: Option<&RunId>,
    damage: &[String],
    kept: bool,
) -> String {
    let id = id.map(ToString::to_string).unwrap_or_default();
    let what = match report.operation {
        Operation::ColdBackup | Operation::HotBackup => format!("backup {id}"),
        Operation::Restore => match previous_of {
            Some(run) => format!("return to what run {run} replaced"),
            None if id.is_empty() => "return to what a restore replaced".to_owned(),
            None => format!("restore of {id}"),
        },
        Operation::Stop => "stop".to_owned(),
        Operation::Start => "start".to_owned(),
        Operation::Restart => "restart".to_owned(),
        Operation::RollingRestart => "rolling restart".to_owned(),
        Operation::Run => "run".to_owned(),
        Operation::Remove => "remove".to_owned(),
        Operation::Format => "format".to_owned(),
    };
    let window = report
        .window_seconds
        .map(|seconds| format!(", cluster down {seconds:.1} s"))
        .unwrap_or_default();
    let first = report.failures.first().map(ToString::to_string).unwrap_or_default();
    match report.outcome {
        Outcome::Done | Outcome::Attention => {
            let size = match report.operation {
                Operation::ColdBackup | Operation::HotBackup => {
                    format!(", {} stored of {}", human(report.stored_bytes), human(report.raw_bytes))
                }
                _ => String::new(),
            };
            let warnings = if report.warnings.is_empty() {
                String::new()
            } else {
                format!(", {} warnings", report.warnings.len())
            };
            format!("{what} done{window}{size}{warnings}{}", attention(report))
        }
        Outcome::Damaged => format!(
            "{what} done{window}, but the source data are damaged: {}{}",
            some_of(damage),
            attention(report)
        ),
        // What was started runs on: taking it down again would help nobody.
        Outcome::Failed if matches!(report.operation, Operation::Start | Operation::Run) => {
            format!("{what} failed: {first}")
        }
        Outcome::Failed if report.operation == Operation::Remove => {
            format!("{what} failed, what is removed is removed, data stay: {first}")
        }
        Outcome::Failed if report.attention.is_empty() => {
            format!("{what} failed, the cluster is as it was found{window}: {first}")
        }
        Outcome::Failed => format!(
            "{what} failed, the cluster is as it was found but for what others did{window}: {first}{}",
            attention(report)
        ),
        Outcome::Interrupted if matches!(report.operation, Operation::Start | Operation::Run) => {
            format!("{what} interrupted; what was started runs on")
        }
        Outcome::Interrupted => format!(
            "{what} interrupted, the cluster is as it was found{window}{}",
            attention(report)
        ),
        Outcome::NeedsPerson if kept => {
            let last = report.failures.last().map(ToString::to_string).unwrap_or_default();
            format!("{what}: the new data are in place and stay, but THE CLUSTER NEEDS A PERSON: {last}")
        }
        Outcome::NeedsPerson => {
            let last = report.failures.last().map(ToString::to_string).unwrap_or_default();
            format!("{what} failed and THE CLUSTER NEEDS A PERSON: {last}; run `kbo status`, then `kbo recover`")
        }
        Outcome::Refused => format!("{what} refused, nothing was touched"),
        Outcome::Usage | Outcome::Locked => what,
    }
}

fn attention(report: &Report) -> String {
    match report.attention.is_empty() {
        true => String::new(),
        false => format!("; TO BE LOOKED AT: {}", some_of(&report.attention)),
    }
}
