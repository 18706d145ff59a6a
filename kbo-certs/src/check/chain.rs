//! Whether the chain holds, by webpki.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::fault::{Fault, INTERMEDIATES, NEVER};
use super::{Code, Expectation, Report, Severity};
use crate::certificate::Parsed;
use crate::set::WildcardSet;

pub(super) fn check(report: &mut Report, set: &WildcardSet, expected: &Expectation) {
    let leaf = set.leaf();
    let anchors = set.anchors();
    if set.root() == Some(leaf) {
        report.add(
            Severity::Warning,
            Code::SelfSigned,
            "the certificate vouches for itself: whoever shall trust it needs this very certificate, anew after each renewal",
            "have it issued by an authority",
        );
        return;
    }
    let top = set.served().last().unwrap_or(leaf);
    // A further authority may have signed the top of the chain though it is no self-signed one.
    if set.served().len() == 1 && !anchors.iter().any(|anchor| leaf.is_signed_by(anchor)) {
        report.add(
            Severity::Error,
            Code::ChainMissing,
            format!("the certificate's issuer is not in the files: {}", leaf.facts().issuer),
            INTERMEDIATES,
        );
        return;
    }
    if set.root().is_none() {
        let signer = anchors
            .iter()
            .find(|anchor| **anchor == top || top.is_signed_by(anchor));
        report.add(
            Severity::Note,
            Code::NoRoot,
            format!(
                "the files have no root: the truststore trusts {}, until the authority signs with another one",
                signer.unwrap_or(&top).facts().subject
            ),
            "to be independent of that, name the authority's root as a further one (certs.roots)",
        );
    }
    if let Err(fault) = verify(set, &anchors, expected) {
        let told = report.findings.iter().any(|finding| {
            matches!(finding.code, Code::WeakSignature | Code::KeyTooSmall) && finding.severity == Severity::Error
        });
        // webpki would tell the same less clearly.
        if !told {
            report.add(
                Severity::Error,
                Code::ChainInvalid,
                format!("the chain does not verify: {}", fault.what),
                fault.remedy,
            );
        }
    }
}

/// The chain at a time at which all of it is valid: what has expired is told elsewhere, and is not to hide what else is wrong.
fn verify(set: &WildcardSet, anchors: &[&Parsed], expected: &Expectation) -> Result<(), Fault> {
    let served: Vec<CertificateDer<'_>> = set
        .served()
        .iter()
        .map(|one| CertificateDer::from(one.certificate().0.as_slice()))
        .collect();
    let trusted: Vec<CertificateDer<'_>> = anchors
        .iter()
        .map(|one| CertificateDer::from(one.certificate().0.as_slice()))
        .collect();
    let trusted: Vec<_> = trusted
        .iter()
        .map(anchor_from_trusted_cert)
        .collect::<Result<_, _>>()
        .map_err(|error| Fault::from(&error))?;
    let leaf = EndEntityCert::try_from(&served[0]).map_err(|error| Fault::from(&error))?;
    let from = set.served().iter().map(|one| one.facts().not_before).max();
    let until = set.served().iter().map(|one| one.facts().not_after).min();
    let now = match (from, until) {
        (Some(from), Some(until)) if from <= until => expected.now.clamp(from, until),
        _ => return Err(NEVER),
    };
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    leaf.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &trusted,
        &served[1..],
        UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
        // Usages are told one by one elsewhere.
        if set.leaf().is_for_servers() {
            KeyUsage::server_auth()
        } else {
            KeyUsage::client_auth()
        },
        None,
        None,
    )
    .map(|_| ())
    .or_else(|error| match error {
        webpki::Error::RequiredEkuNotFoundContext(_) if !set.leaf().is_for_servers() => Ok(()),
        other => Err(Fault::from(&other)),
    })
}
