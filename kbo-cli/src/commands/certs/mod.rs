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
use kbo_certs::folder::FolderError;
use kbo_certs::key::KeyError;
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
    let template = Expectation {
        hosts: vec![],
        now,
        warn_days: warn_days.unwrap_or(context.config.certs.warn_days),
        mutual_tls: hosts::any_mutual(&hosts),
    };
    let (expected, report) = checked(context, &set, &hosts, template);
    Ok(Seen {
        set,
        expected,
        hosts,
        report,
    })
}

/// Checks a set with the hosts of nodes; of what is expected only the hosts are not known yet.
fn checked(
    context: &Context,
    set: &WildcardSet,
    hosts: &[hosts::NodeHosts],
    template: Expectation,
) -> (Expectation, Report) {
    let expectation = |is_sure| Expectation {
        hosts: hosts::hosts(hosts, is_sure),
        ..template.clone()
    };
    let expected = expectation(true);
    let mut report = kbo_certs::check(set, &expected);
    of_its_domain(&mut report, &expected, context.config.certs.domain.as_deref());
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

/// Where no host is known for sure, the domain that the set is said to be of is all there is to compare with.
fn of_its_domain(report: &mut Report, expected: &Expectation, domain: Option<&str>) {
    let Some(domain) = domain.filter(|_| expected.hosts.is_empty()) else {
        return;
    };
    let domain = domain.trim_matches('.').to_ascii_lowercase();
    let names = &report.certificate.dns_names;
    let is_of = |name: &String| {
        let name = name.to_ascii_lowercase();
        name.strip_suffix(&domain)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    if names.iter().any(is_of) {
        return;
    }
    let names = match names.is_empty() {
        true => "no name".to_owned(),
        false => names.join(", "),
    };
    let finding = Finding {
        severity: Severity::Error,
        code: Code::HostNotCovered,
        node: None,
        text: format!("the certificate is for {names}, and for nothing in {domain} (certs.domain)"),
        remedy: Some(format!(
            "put the set of {domain} into certs.source, or correct certs.domain"
        )),
    };
    report.findings.insert(0, finding);
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
        let trouble = Trouble::new(outcome, chain(&error));
        match key_to_set(&error) {
            Some(hint) => trouble.hint(hint),
            None => trouble,
        }
    })
}

/// The key of kbo.toml that helps against an error.
fn key_to_set(error: &SetError) -> Option<&'static str> {
    let hint = match error {
        SetError::Key {
            source: KeyError::PassphraseNeeded,
            ..
        } => "certs.key_passphrase_file names a file (mode 0600) of which the first line opens the key",
        SetError::Key {
            source: KeyError::WrongPassphrase,
            ..
        } => "see the first line of the file that certs.key_passphrase_file names",
        SetError::Folder(FolderError::Several { .. }) => "domain = \"...\" under [certs] says which one is meant",
        SetError::Folder(FolderError::Other { .. }) => "see domain under [certs]",
        SetError::Folder(FolderError::Nothing { .. }) => "see source and names under [certs]",
        SetError::Folder(FolderError::Read { .. }) => {
            "certs.source is the folder that the ACME client leaves certificates in"
        }
        SetError::NoCertificate { .. } | SetError::NoLeaf { .. } => {
            "put the certificate into the folder of certs.source (the ACME client's crt or fullchain file)"
        }
        _ => return None,
    };
    Some(hint)
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

/// A set with errors is refused; one that has merely expired, unless it is taken by force.
fn unless_refused(report: &Report, force: bool, by_force: &str) -> Result<(), Trouble> {
    if report.is_good() || force && report.is_only_expired() {
        return Ok(());
    }
    let trouble = Trouble::new(Outcome::Refused, format!("the set is refused: {}", reasons(report)));
    let remedy = report.errors().find_map(|finding| finding.remedy.clone());
    Err(match remedy {
        _ if report.is_only_expired() => {
            trouble.hint(format!("renew it with the ACME client; {by_force} all the same"))
        }
        Some(remedy) => trouble.hint(remedy),
        None => trouble,
    })
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
