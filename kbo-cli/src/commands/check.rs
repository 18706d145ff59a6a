//! `kbo check`: the preflight of a backup, and nothing else.

use kbo_core::manifest::BackupKind;
use kbo_core::orchestrator::{BackupRequest, Prepared};
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
    let checked = examine(context).await;
    if context.global.json {
        output::json(&checked.document());
    } else {
        checked.show(context);
    }
    Ok(checked.outcome)
}

/// What preflight says.
pub(super) struct Checked {
    pub(super) outcome: Outcome,
    prepared: Prepared,
}

/// Looks, and shows nothing yet.
pub(super) async fn examine(context: &Context) -> Checked {
    let request = BackupRequest {
        kind: BackupKind::Cluster,
    };
    let prepared = context.composed.orchestrator.prepare_backup(request).await;
    let outcome = match refuses(&prepared.findings) {
        true => Outcome::Refused,
        false => Outcome::Done,
    };
    Checked { outcome, prepared }
}

impl Checked {
    fn verdict(&self) -> &'static str {
        match (self.outcome, self.prepared.findings.len()) {
            (Outcome::Refused, _) => "a backup would be refused",
            (_, 0) => "all is well: a backup would run",
            (..) => "a backup would run; see the warnings",
        }
    }

    /// As JSON.
    pub(super) fn document(&self) -> impl Serialize {
        let nodes = self.prepared.facts.iter().map(|(name, facts)| NodeCheck {
            node: name.as_str(),
            facts: facts.as_ref().ok(),
            error: facts.as_ref().err().map(ToString::to_string),
        });
        Check {
            outcome: self.outcome,
            findings: &self.prepared.findings,
            nodes: nodes.collect(),
            verdict: self.verdict().to_owned(),
        }
    }

    /// For a person.
    pub(super) fn show(&self, context: &Context) {
        let prepared = &self.prepared;
        let orchestrator = &context.composed.orchestrator;
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
        output::line(self.verdict());
    }
}
