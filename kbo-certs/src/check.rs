//! Whether a set will do: as data, for a table, for `--json`, and for [`crate::make()`], which refuses what is wrong here.

mod chain;
mod fault;
mod hosts;
mod uses;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::certificate::{Facts, Parsed};
use crate::public_key::Algorithm;
use crate::set::WildcardSet;

pub use hosts::covers;

/// What a set is to be good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// The hosts that it must be valid for.
    pub hosts: Vec<Host>,
    /// The time.
    pub now: Timestamp,
    /// How long ahead the end of a certificate is warned of, in days.
    pub warn_days: u32,
    /// Whether nodes show it to each other as clients (`ssl.client.auth`): then a certificate that is for servers only is
    /// an error, else a warning.
    pub mutual_tls: bool,
}

/// A host that a node is reached by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Host {
    /// The node.
    pub node: String,
    /// Its name or address, without a port.
    pub host: String,
}

/// What came of a check. It has no secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The certificate.
    pub certificate: Facts,
    /// Whole days until it ends; negative after that.
    pub days_left: i64,
    /// The kind of the private key; `None` where there is none.
    pub key: Option<Algorithm>,
    /// Who vouches for it, in order, without the root.
    pub intermediates: Vec<Facts>,
    /// What the truststore trusts.
    pub anchors: Vec<Facts>,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
    /// When the first of the set's own chain ends.
    #[serde(skip)]
    ends: Timestamp,
    /// When this was found.
    #[serde(skip)]
    now: Timestamp,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub code: Code,
    /// The node that it is about, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// What it is, in words.
    pub text: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Note,
    /// Something is to be done before long.
    Warning,
    /// The set will not do.
    Error,
}

/// What a finding is. These words do not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// There is no private key.
    KeyMissing,
    /// The private key is that of another certificate.
    KeyMismatch,
    /// A key of the chain is too short.
    KeyTooSmall,
    /// Ed25519, which not every Java has.
    Ed25519,
    /// The issuer of the certificate is not there.
    ChainMissing,
    /// The chain does not verify.
    ChainInvalid,
    /// The certificate vouches for itself.
    SelfSigned,
    /// The chain ends at an intermediate authority.
    NoRoot,
    /// A certificate has ended.
    Expired,
    /// A certificate does not begin yet.
    NotYetValid,
    /// A certificate ends soon.
    ExpiresSoon,
    /// A host is not among the certificate's names.
    HostNotCovered,
    /// There was no host to compare with.
    NoHosts,
    /// A certificate is signed by way of SHA-1 or MD5.
    WeakSignature,
    /// The certificate is not for servers.
    NotForServers,
    /// The certificate is not for clients.
    NotForClients,
    /// A key may not be used for what it is here for.
    KeyUsage,
    /// Something in the files was not used.
    SetAside,
    /// A listener shows no certificate.
    NotShown,
    /// A listener shows another certificate.
    NotDeployed,
}

impl Code {
    /// The word that it has in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::KeyMissing => "key_missing",
            Self::KeyMismatch => "key_mismatch",
            Self::KeyTooSmall => "key_too_small",
            Self::Ed25519 => "ed25519",
            Self::ChainMissing => "chain_missing",
            Self::ChainInvalid => "chain_invalid",
            Self::SelfSigned => "self_signed",
            Self::NoRoot => "no_root",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::ExpiresSoon => "expires_soon",
            Self::HostNotCovered => "host_not_covered",
            Self::NoHosts => "no_hosts",
            Self::WeakSignature => "weak_signature",
            Self::NotForServers => "not_for_servers",
            Self::NotForClients => "not_for_clients",
            Self::KeyUsage => "key_usage",
            Self::SetAside => "set_aside",
            Self::NotShown => "not_shown",
            Self::NotDeployed => "not_deployed",
        }
    }
}

impl Report {
    /// The worst of the findings; `None` where there are none.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }

    /// Whether stores may be made of the set.
    pub fn is_good(&self) -> bool {
        self.errors().next().is_none()
    }

    /// Whether the set's only fault is that something in it has expired.
    pub fn is_only_expired(&self) -> bool {
        !self.is_good() && self.errors().all(|finding| finding.code == Code::Expired)
    }

    /// When the set stops doing: the first end among the certificate, those that vouch for it and their root. A further authority
    /// that is of no use to the chain does not count.
    pub fn ends(&self) -> Timestamp {
        self.ends
    }

    /// Whole days until [`Report::ends`]; negative after that. [`Report::days_left`] is the certificate's own, which may be longer.
    pub fn days_left_of_chain(&self) -> i64 {
        days(self.ends, self.now)
    }

    /// The errors.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error)
    }

    /// The warnings.
    pub fn warnings(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(|finding| finding.severity == Severity::Warning)
    }

    fn add(&mut self, severity: Severity, code: Code, text: impl Into<String>, remedy: &str) {
        let remedy = (!remedy.is_empty()).then(|| remedy.to_owned());
        self.findings.push(Finding {
            severity,
            code,
            node: None,
            text: text.into(),
            remedy,
        });
    }
}

/// Checks a set.
pub fn check(set: &WildcardSet, expected: &Expectation) -> Report {
    let leaf = set.leaf();
    let facts = |parsed: &Parsed| parsed.facts().clone();
    let own = set.served().iter().chain(set.root());
    let ends = own.map(|one| one.facts().not_after).min();
    let mut report = Report {
        certificate: facts(leaf),
        days_left: days(leaf.facts().not_after, expected.now),
        key: set.key().map(crate::key::Key::algorithm),
        intermediates: set.served()[1..].iter().map(facts).collect(),
        anchors: set.anchors().into_iter().map(facts).collect(),
        findings: vec![],
        ends: ends.unwrap_or(leaf.facts().not_after),
        now: expected.now,
    };
    key(&mut report, set);
    for one in all(set) {
        let is_served = set.served().contains(one);
        // A further authority that is of no use harms nothing: the set's own chain does without it.
        let gravity = if is_served || set.root() == Some(one) {
            Severity::Error
        } else {
            Severity::Warning
        };
        time(&mut report, one.facts(), one == leaf, gravity, expected);
        // Nobody looks at a root's own signature.
        let signature_counts = is_served && !one.is_self_signed();
        strength(&mut report, one.facts(), signature_counts, gravity);
    }
    chain::check(&mut report, set, expected);
    uses::check(&mut report, set, expected);
    hosts::check(&mut report, leaf.facts(), &expected.hosts);
    for note in set.notes() {
        report.add(
            Severity::Note,
            Code::SetAside,
            format!("{} {}", note.file, note.text),
            "",
        );
    }
    // Stable: of equals, the order of the checks stays.
    report
        .findings
        .sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    report
}

fn days(until: Timestamp, now: Timestamp) -> i64 {
    until.duration_since(now).as_secs().div_euclid(24 * 60 * 60)
}

/// The served chain and the anchors, each once.
fn all(set: &WildcardSet) -> Vec<&Parsed> {
    let mut all: Vec<&Parsed> = set.served().iter().collect();
    for anchor in set.anchors() {
        if !all.contains(&anchor) {
            all.push(anchor);
        }
    }
    all
}

fn key(report: &mut Report, set: &WildcardSet) {
    match set.key() {
        None => report.add(
            Severity::Error,
            Code::KeyMissing,
            "there is no private key that belongs to the certificate",
            "put the private key of the certificate (the ACME client's key file) into the folder, readable for this user",
        ),
        Some(key) if key.public() != set.leaf().public_key() => report.add(
            Severity::Error,
            Code::KeyMismatch,
            format!("the private key ({}) is not that of the certificate ({})", key.algorithm(), set.leaf().facts().key),
            "put the key and the certificate of the same issuance into the folder; a renewal may have changed one of them only",
        ),
        Some(_) => {}
    }
}

fn time(report: &mut Report, facts: &Facts, is_leaf: bool, gravity: Severity, expected: &Expectation) {
    let whose = if is_leaf {
        "the certificate".to_owned()
    } else {
        format!("the authority {}", facts.subject)
    };
    let renew = if is_leaf {
        "renew it with the ACME client"
    } else {
        "take the chain that the authority has now: the ACME client's newest, or the authority's site"
    };
    let soon = SignedDuration::from_hours(24 * i64::from(expected.warn_days));
    if expected.now < facts.not_before {
        report.add(
            gravity,
            Code::NotYetValid,
            format!("{whose} is not valid before {}", facts.not_before),
            "check this machine's clock; else wait until then",
        );
    } else if expected.now > facts.not_after {
        report.add(
            gravity,
            Code::Expired,
            format!("{whose} expired on {}", facts.not_after),
            renew,
        );
    } else if facts.not_after.duration_since(expected.now) < soon {
        let days = facts.not_after.duration_since(expected.now).as_secs() / (24 * 60 * 60);
        let text = format!(
            "{whose} expires on {}, in {days} {}",
            facts.not_after,
            if days == 1 { "day" } else { "days" }
        );
        // The set itself does not end with a further authority.
        let severity = if gravity == Severity::Error {
            Severity::Warning
        } else {
            Severity::Note
        };
        report.add(severity, Code::ExpiresSoon, text, renew);
    }
}

fn strength(report: &mut Report, facts: &Facts, signature_counts: bool, gravity: Severity) {
    match facts.key {
        Algorithm::Rsa(bits @ ..2048) => report.add(
            gravity,
            Code::KeyTooSmall,
            format!(
                "the RSA key of {} has {bits} bits: Java and OpenSSL refuse fewer than 2048",
                facts.subject
            ),
            "have a certificate issued for a key of at least 2048 bits",
        ),
        Algorithm::Ed25519 => report.add(
            Severity::Warning,
            Code::Ed25519,
            format!(
                "the key of {} is Ed25519: no Java before 15 reads it, and few clients speak TLS with it",
                facts.subject
            ),
            "take a key on P-256 or an RSA key, unless every client is known to do",
        ),
        _ => {}
    }
    if facts.weak_signature && signature_counts {
        report.add(
            Severity::Error,
            Code::WeakSignature,
            format!(
                "the certificate of {} is signed by way of SHA-1 or MD5: nobody accepts that",
                facts.subject
            ),
            "have it issued anew, signed by way of SHA-256",
        );
    }
}
