//! `kbo certs check`, `kbo certs make`, `kbo certs deploy`

mod check;
mod deploy;
mod hosts;
mod make;
mod password;
mod shown;
mod stores;
mod written;

use std::path::Path;

use jiff::Timestamp;
use kbo_certs::certificate::read_all;
use kbo_certs::check::{Code, Finding, Severity};
use kbo_certs::{Expectation, Layout, Options, Report, SetError, WildcardSet};
use kbo_core::report::{Outcome, chain};
use kbo_transport::ssh::read_passphrase;

use super::{Context, Ended, Trouble};
use crate::args::CertsAction;
use crate::output;

pub(super) async fn run(context: &Context, action: &CertsAction) -> Ended {
    match action {
        CertsAction::Check(args) => check::run(context, args).await,
        CertsAction::Make(args) => make::run(context, args).await,
        CertsAction::Deploy(args) => deploy::run(context, args).await,
    }
}

/// A set, and what is known of it.
struct Seen {
    set: WildcardSet,
    expected: Expectation,
    hosts: Vec<hosts::NodeHosts>,
    report: Report,
}

/// Loads the set and checks it, with the hosts of the nodes.
async fn seen(context: &Context, warn_days: Option<u32>, offline: bool) -> Result<Seen, Trouble> {
    let now = Timestamp::now();
    let set = load(context, now)?;
    let hosts = hosts::of_nodes(context, offline).await;
    let warn_days = warn_days.unwrap_or(context.config.certs.warn_days);
    let (expected, report) = checked(&set, &hosts, hosts::any_mutual(&hosts), now, warn_days);
    Ok(Seen {
        set,
        expected,
        hosts,
        report,
    })
}

/// Checks a set with the hosts of nodes.
fn checked(
    set: &WildcardSet,
    hosts: &[hosts::NodeHosts],
    mutual_tls: bool,
    now: Timestamp,
    warn_days: u32,
) -> (Expectation, Report) {
    let expectation = |is_sure| Expectation {
        hosts: hosts::hosts(hosts, is_sure),
        now,
        warn_days,
        mutual_tls,
    };
    let expected = expectation(true);
    let mut report = kbo_certs::check(set, &expected);
    // What only may be a listener's host refuses nothing.
    let guessed = expectation(false);
    if !guessed.hosts.is_empty() {
        report.findings.retain(|finding| finding.code != Code::NoHosts);
        let guessed = kbo_certs::check(set, &guessed).findings.into_iter();
        report.findings.extend(
            guessed
                .filter(|finding| finding.code == Code::HostNotCovered)
                .map(|finding| Finding {
                    severity: Severity::Warning,
                    remedy: Some(format!(
                        "node {0}: name the hosts that clients are told as certs_hosts, or let kbo ask the node",
                        finding.node.as_deref().unwrap_or_default()
                    )),
                    ..finding
                }),
        );
    }
    report
        .findings
        .sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    (expected, report)
}

fn load(context: &Context, now: Timestamp) -> Result<WildcardSet, Trouble> {
    let certs = &context.config.certs;
    let Some(source) = &certs.source else {
        let text = "certs.source is not set: the folder that the ACME client leaves certificates in";
        return Err(Trouble::new(Outcome::Usage, text).hint("source = \"/data/certificates\" under [certs]"));
    };
    let passphrase = match &certs.key_passphrase_file {
        Some(file) => {
            let secret = read_passphrase(file);
            Some(secret.map_err(|error| Trouble::new(Outcome::Usage, format!("certs.key_passphrase_file: {error}")))?)
        }
        None => None,
    };
    let mut roots = vec![];
    for path in &certs.roots {
        roots.extend(authorities(path)?);
    }
    let layout = Layout {
        names: certs.names.clone(),
        domain: certs.domain.clone(),
    };
    let options = Options { passphrase, roots, now };
    WildcardSet::load(source, &layout, &options).map_err(|error| {
        let outcome = match &error {
            SetError::Folder(_) => Outcome::Usage,
            _ => Outcome::Refused,
        };
        Trouble::new(outcome, chain(&error))
    })
}

fn authorities(path: &Path) -> Result<Vec<kbo_certs::store::Certificate>, Trouble> {
    let wrong = |why: String| Trouble::new(Outcome::Usage, format!("certs.roots: {}: {why}", path.display()));
    let bytes = written::bounded(path).map_err(|error| wrong(error.to_string()))?;
    read_all(&bytes).map_err(|error| wrong(error.to_string()))
}

/// Findings for a person, each with what to do.
fn show_findings(findings: &[Finding], line: fn(&str)) {
    for finding in findings {
        let weight = match finding.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        match &finding.remedy {
            Some(remedy) => line(&format!("{weight}: {} ({remedy})", finding.text)),
            None => line(&format!("{weight}: {}", finding.text)),
        }
    }
}

/// The errors in one line.
fn reasons(report: &Report) -> String {
    let reasons: Vec<&str> = report.errors().map(|finding| finding.text.as_str()).collect();
    reasons.join("; ")
}

/// The set in a table.
fn show_set(report: &Report) {
    let facts = &report.certificate;
    let names = facts
        .dns_names
        .iter()
        .cloned()
        .chain(facts.addresses.iter().map(ToString::to_string));
    let key = match &report.key {
        Some(key) => key.to_string(),
        None => "none".to_owned(),
    };
    let names: Vec<String> = names.collect();
    let listed = |facts: &[kbo_certs::certificate::Facts]| match facts {
        [] => "none".to_owned(),
        facts => facts
            .iter()
            .map(|one| one.subject.as_str())
            .collect::<Vec<_>>()
            .join(", then "),
    };
    let rows = [
        ("certificate", facts.subject.clone()),
        ("names", names.join(", ")),
        ("serial", facts.serial.clone()),
        ("valid from", facts.not_before.to_string()),
        (
            "valid until",
            format!("{} ({} days left)", facts.not_after, report.days_left),
        ),
        ("private key", key),
        ("issued by", listed(&report.intermediates)),
        ("trusted", listed(&report.anchors)),
    ];
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    output::table(&rows, &[]);
}
