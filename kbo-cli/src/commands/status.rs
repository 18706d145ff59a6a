//! `kbo status`

use std::collections::BTreeMap;

use kbo_core::ids::NodeName;
use kbo_core::kept::Kept;
use kbo_core::orchestrator::condition;
use kbo_core::ports::store::BackupStore;
use kbo_core::report::Outcome;
use kbo_core::retention::Condition;
use serde::Serialize;

use super::list::Row;
use super::schedule::look::{Look, Looks, looks};
use super::{Context, Ended};
use crate::args::ScheduleRoot;
use crate::output;

#[derive(Serialize)]
struct Status {
    outcome: Outcome,
    cluster: String,
    nodes: Vec<NodeStatus>,
    last_backup: Option<Row>,
    needs_recovery: bool,
    /// What restores replaced and the nodes keep.
    kept: Vec<Kept>,
    schedules: Vec<Look>,
    warnings: Vec<String>,
    verdict: String,
}

#[derive(Serialize)]
struct NodeStatus {
    node: NodeName,
    role: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(super) async fn run(context: &Context, args: &ScheduleRoot) -> Ended {
    let orchestrator = &context.composed.orchestrator;
    let ((states, errors), (kept, unknown)) = tokio::join!(orchestrator.states(), orchestrator.kept());
    let errors: BTreeMap<NodeName, String> = errors
        .into_iter()
        .map(|(name, error)| {
            let hint = error.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
            (name, format!("{error}{hint}"))
        })
        .collect();
    let nodes: Vec<NodeStatus> = orchestrator
        .cluster
        .start_order()
        .iter()
        .map(|node| NodeStatus {
            node: node.name.clone(),
            role: node.role.to_string(),
            state: states.get(&node.name).map(ToString::to_string),
            error: errors.get(&node.name).cloned(),
        })
        .collect();
    let listed = context.composed.held.list().await?;
    let identity = orchestrator.identity(&listed).await?;
    // One that cannot be counted on must not pass for the last one.
    let last_good = listed
        .iter()
        .rev()
        .find(|backup| identity.owns(backup) && condition(backup) == Condition::Good);
    let newer = listed.iter().rev().take_while(|backup| Some(*backup) != last_good);
    let bad_newer = newer
        .filter(|backup| backup.manifest.is_err() || identity.owns(backup))
        .count();
    let last_backup = last_good.map(|backup| Row::of(backup, &identity));
    let needs_recovery = orchestrator.needs_recovery().await?;
    let up = nodes
        .iter()
        .filter(|node| node.state.as_deref() == Some("running"))
        .count();
    let recovery = if needs_recovery {
        "; A RUN DIED: kbo recover"
    } else {
        ""
    };
    let last = match (last_good, bad_newer) {
        (None, 0) => "no backup yet".to_owned(),
        (None, bad) => format!("NO GOOD BACKUP, {bad} that are not (kbo list)"),
        (Some(good), 0) => format!("last backup {}", good.id),
        (Some(good), bad) => format!("last good backup {}, {bad} NEWER NOT GOOD (kbo list)", good.id),
    };
    let Looks { schedules, warnings } = looks(context, args.root.as_deref()).await;
    // A node of which nothing is known is told of already.
    let unseen: Vec<String> = unknown
        .iter()
        .filter(|(name, _)| !errors.contains_key(name))
        .map(|(name, error)| format!("whether {name} keeps what a restore replaced is not known: {error}"))
        .collect();
    let warnings = [unseen, warnings].concat();
    let warned = match &warnings[..] {
        [] => String::new(),
        [one] => format!("; WARNING: {one}"),
        [first, more @ ..] => format!("; WARNING: {first}; and {} more", more.len()),
    };
    let verdict = format!("{up} of {} nodes run; {last}{recovery}{warned}", nodes.len());
    let outcome = if errors.is_empty() && !needs_recovery {
        Outcome::Done
    } else {
        Outcome::Failed
    };
    if context.global.json {
        let cluster = orchestrator.name.to_string();
        output::json(&Status {
            outcome,
            cluster,
            nodes,
            last_backup,
            needs_recovery,
            kept,
            schedules,
            warnings,
            verdict,
        });
    } else {
        let head = ["NODE", "ROLE", "CONTAINER"].map(str::to_owned).to_vec();
        let rows = nodes.iter().map(|node| {
            let state = node.state.clone().or_else(|| node.error.clone()).unwrap_or_default();
            vec![node.node.to_string(), node.role.clone(), state]
        });
        output::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>(), &[]);
        for kept in &kept {
            let until = match kept.until_ready {
                true => "kept until all of its nodes were ready",
                false => "kept as it was asked for",
            };
            let (since, commands) = (kept.since, kept.commands());
            output::line(&format!("{kept} since {since:.0}, {until}; {commands}:"));
            kept.lines().iter().for_each(|line| output::line(&format!("  {line}")));
        }
        warnings
            .iter()
            .for_each(|warning| output::error_line(&format!("warning: {warning}")));
        output::line(&verdict);
    }
    Ok(outcome)
}
