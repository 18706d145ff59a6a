//! `kbo check`: the preflight of a backup, and nothing else.

use kbo_core::manifest::BackupKind;
use kbo_core::orchestrator::BackupRequest;
use kbo_core::ports::node::NodeFacts;
use kbo_core::preflight::{Finding, refuses};
use kbo_core::report::Outcome;
use kbo_core::text::human;
use serde::Serialize;

use super::{Context, Ended, conduct};
use crate::output;

#[derive(Serialize)]
struct Check<'a> {
    outcome: Outcome,
    findings: &'a [Finding],
    nodes: Vec<NodeCheck<'a>>,
    verdict: String,
}

#[derive(Serialize)]
struct NodeCheck<'a> {
    node: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    facts: Option<&'a NodeFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(super) async fn run(context: &Context) -> Ended {
    let orchestrator = &context.composed.orchestrator;
    let prepared = orchestrator
        .prepare_backup(BackupRequest {
            kind: BackupKind::Cluster,
        })
        .await;
    let refused = refuses(&prepared.findings);
    let outcome = if refused { Outcome::Refused } else { Outcome::Done };
    let verdict = match (refused, prepared.findings.len()) {
        (true, _) => "a backup would be refused",
        (false, 0) => "all is well: a backup would run",
        (false, _) => "a backup would run; see the warnings",
    };
    if context.global.json {
        let nodes = prepared.facts.iter().map(|(name, facts)| NodeCheck {
            node: name.as_str(),
            facts: facts.as_ref().ok(),
            error: facts.as_ref().err().map(ToString::to_string),
        });
        let nodes = nodes.collect();
        output::json(&Check {
            outcome,
            findings: &prepared.findings,
            nodes,
            verdict: verdict.to_owned(),
        });
        return Ok(outcome);
    }
    let head = ["NODE", "ROLE", "ENGINE", "CONTAINER", "FILES", "DATA", "FREE"]
        .map(str::to_owned)
        .to_vec();
    let rows = orchestrator.cluster.start_order().iter().filter_map(|node| {
        let facts = prepared.facts.get(&node.name)?.as_ref().ok()?;
        Some(vec![
            node.name.to_string(),
            node.role.to_string(),
            facts
                .engine
                .as_ref()
                .map_or_else(|_| "-".to_owned(), |engine| engine.version.clone()),
            facts
                .container
                .as_ref()
                .ok()
                .and_then(|c| c.as_ref())
                .map_or_else(|| "-".to_owned(), |c| c.state.to_string()),
            facts.dirs.iter().map(|dir| dir.files).sum::<u64>().to_string(),
            human(facts.dirs.iter().map(|dir| dir.bytes).sum()),
            human(facts.dirs.iter().map(|dir| dir.free).min().unwrap_or(0)),
        ])
    });
    output::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>(), &[4, 5, 6]);
    prepared
        .findings
        .iter()
        .for_each(|finding| output::line(&conduct::described(finding)));
    output::line(verdict);
    Ok(outcome)
}
