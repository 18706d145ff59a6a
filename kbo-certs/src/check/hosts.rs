//! Whether the certificate's names cover the hosts, as Java and OpenSSL compare them.

use std::net::IpAddr;

use super::{Code, Finding, Host, Report, Severity};
use crate::certificate::Facts;

pub(super) fn check(report: &mut Report, facts: &Facts, hosts: &[Host]) {
    if hosts.is_empty() {
        report.add(
            Severity::Warning,
            Code::NoHosts,
            "no host was there to compare the certificate's names with",
            "",
        );
    }
    for host in hosts {
        if !is_covered(facts, &host.host) {
            let names = names(facts);
            report.findings.push(Finding {
                severity: Severity::Error,
                code: Code::HostNotCovered,
                node: Some(host.node.clone()),
                text: format!(
                    "{}: the certificate is not valid for {}, but for {names}",
                    host.node, host.host
                ),
                remedy: Some(remedy(facts, &host.host)),
            });
        }
    }
}

fn is_covered(facts: &Facts, host: &str) -> bool {
    match address(host) {
        Some(address) => facts.addresses.contains(&address),
        None => facts.dns_names.iter().any(|name| covers(name, host)),
    }
}

/// Whether a name of a certificate covers a host's name. `*` stands for one whole label, the first, and never for an address;
/// case and a dot at the end of the host do not count. A certificate's name with a dot at its end covers nothing, and hosts in other
/// scripts must be given in the form that DNS and certificates have (`xn--`).
pub fn covers(name: &str, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.is_empty() || name.is_empty() || address(host).is_some() || host.split('.').any(str::is_empty) {
        return false;
    }
    match name.strip_prefix("*.") {
        // As browsers and OpenSSL do, `*.org` covers nothing.
        Some(parent) => host.split_once('.').is_some_and(|(_, rest)| {
            rest.eq_ignore_ascii_case(parent) && parent.contains('.') && !parent.contains('*')
        }),
        None => !name.contains('*') && name.eq_ignore_ascii_case(host),
    }
}

fn address(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
        .parse()
        .ok()
}

fn names(facts: &Facts) -> String {
    let addresses = facts.addresses.iter().map(IpAddr::to_string);
    let all: Vec<String> = facts.dns_names.iter().cloned().chain(addresses).collect();
    if all.is_empty() {
        "no host at all (names in its subject do not count)".to_owned()
    } else {
        all.join(", ")
    }
}

fn remedy(facts: &Facts, host: &str) -> String {
    if address(host).is_some() {
        return "a wildcard never covers an address: let the node advertise its name (advertised.listeners), or have the address put into the certificate".to_owned();
    }
    if !host.is_ascii() {
        return "let the node advertise the name in the form that DNS and certificates have (xn--…; advertised.listeners)".to_owned();
    }
    let below = facts
        .dns_names
        .iter()
        .filter_map(|name| name.strip_prefix("*."))
        .any(|parent| {
            let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
            host.ends_with(&format!(".{}", parent.to_ascii_lowercase()))
        });
    if below {
        "a wildcard covers one label only: let the node advertise a name directly below it, or have this name put into the certificate".to_owned()
    } else {
        "have a certificate for this name issued, or correct the name that the node advertises (advertised.listeners)"
            .to_owned()
    }
}
