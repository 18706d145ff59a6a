//! `kbo certs check`

use kbo_certs::Report;
use kbo_certs::check::{Code, Severity};
use kbo_core::report::Outcome;
use serde::Serialize;

use super::hosts::NodeHosts;
use super::shown::{self, Listening};
use super::{Seen, reasons, seen, show_findings, show_set};
use crate::args::CertsCheckArgs;
use crate::commands::{Context, Ended};
use crate::output;

#[derive(Serialize)]
struct Document<'a> {
    outcome: Outcome,
    #[serde(flatten)]
    report: &'a Report,
    /// `days_left` is the certificate's own; an authority of its chain may end before it.
    days_left_of_chain: i64,
    nodes: &'a [NodeHosts],
    /// What listeners show now.
    listeners: &'a [Listening],
    verdict: &'a str,
}

pub(super) async fn run(context: &Context, args: &CertsCheckArgs) -> Ended {
    let Seen {
        hosts,
        mut report,
        expected,
        ..
    } = seen(context, args.warn_days, args.offline).await?;
    let listening = match args.offline {
        true => vec![],
        false => {
            let nodes: Vec<_> = hosts.iter().map(|node| node.node.clone()).collect();
            // The nodes that cannot be asked have said so when they were asked for their hosts.
            shown::of_nodes(context, &nodes).await.0
        }
    };
    let fingerprint = report.certificate.fingerprint.clone();
    let shown = listening
        .iter()
        .filter_map(|one| one.finding(&fingerprint, expected.now, expected.warn_days));
    report.findings.extend(shown);
    report
        .findings
        .sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let (outcome, verdict) = judged(&report);
    if context.global.json {
        output::json(&Document {
            outcome,
            report: &report,
            days_left_of_chain: report.days_left_of_chain(),
            nodes: &hosts,
            listeners: &listening,
            verdict: &verdict,
        });
        output::error_line(&verdict);
        return Ok(outcome);
    }
    show_set(&report);
    for node in &hosts {
        match &node.note {
            Some(note) => output::line(&format!("{}: {note}", node.node)),
            None => output::line(&format!("{}: {}", node.node, node.hosts.join(", "))),
        }
    }
    for one in &listening {
        if let (Some(serial), Some(end)) = (&one.serial, one.not_after) {
            output::line(&format!(
                "{}: {} shows {serial}, valid until {end}",
                one.node, one.listener
            ));
        }
    }
    show_findings(&report.findings, output::line);
    output::line(&verdict);
    Ok(outcome)
}

/// For a monitor: an error is a refusal of `make`, an end that comes soon is what it waits for; other warnings stay as they are.
fn judged(report: &Report) -> (Outcome, String) {
    if !report.is_good() {
        return (Outcome::Refused, format!("not good: {}", reasons(report)));
    }
    let mut soon = report.warnings().filter(|finding| finding.code == Code::ExpiresSoon);
    if let Some(finding) = soon.next() {
        return (Outcome::Failed, format!("to be renewed soon: {}", finding.text));
    }
    let days = report.days_left_of_chain();
    match report.worst() {
        Some(Severity::Warning) => (
            Outcome::Done,
            format!("the set will do for {days} days; see the warnings"),
        ),
        _ => (Outcome::Done, format!("all is well: the set will do for {days} days")),
    }
}
