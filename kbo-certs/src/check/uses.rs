//! Whether the certificates may be used for what they are here for.

use super::{Code, Expectation, Report, Severity};
use crate::certificate::Parsed;
use crate::set::WildcardSet;

pub(super) fn check(report: &mut Report, set: &WildcardSet, expected: &Expectation) {
    let leaf = set.leaf();
    let authorities = &set.served()[1..];
    if !leaf.is_for_servers() {
        report.add(
            Severity::Error,
            Code::NotForServers,
            "the certificate's extended key usage does not allow servers (serverAuth)",
            "have a certificate for servers issued",
        );
    }
    clients(report, leaf, authorities, expected);
    if !leaf.may_sign_handshakes() {
        report.add(
            Severity::Error,
            Code::KeyUsage,
            "the certificate's key usage does not allow digital signatures (digitalSignature): Java refuses it",
            "have it issued anew with the key usage digitalSignature (with keyEncipherment for an RSA key), or without any",
        );
    }
    for one in authorities.iter().filter(|one| !one.may_sign_certificates()) {
        report.add(
            Severity::Error,
            Code::KeyUsage,
            format!(
                "the key usage of the authority {} does not allow it to sign certificates (keyCertSign): nobody accepts what it signed",
                one.facts().subject
            ),
            "have the authority's certificate issued anew with the key usage keyCertSign, and the certificate by it",
        );
    }
}

fn clients(report: &mut Report, leaf: &Parsed, authorities: &[Parsed], expected: &Expectation) {
    let severity = if expected.mutual_tls {
        Severity::Error
    } else {
        Severity::Warning
    };
    if !leaf.is_for_clients() {
        report.add(
            severity,
            Code::NotForClients,
            "the certificate's extended key usage does not allow clients (clientAuth): with ssl.client.auth nodes refuse each other",
            "have a certificate with both usages issued (many public authorities issue none any more: then one's own), or leave ssl.client.auth off and let nodes authenticate by SASL",
        );
    }
    for one in authorities.iter().filter(|one| !one.is_for_clients()) {
        report.add(
            severity,
            Code::NotForClients,
            format!(
                "the extended key usage of the authority {} does not allow clients (clientAuth), so no certificate of it is for clients: with ssl.client.auth nodes may refuse each other",
                one.facts().subject
            ),
            "have a certificate issued by an authority for both usages, or leave ssl.client.auth off and let nodes authenticate by SASL",
        );
    }
}
