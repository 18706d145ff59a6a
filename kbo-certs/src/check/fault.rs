//! Why a chain does not hold, in words.

use webpki::Error;

/// What is wrong, and what to do.
pub(super) struct Fault {
    pub(super) what: &'static str,
    pub(super) remedy: &'static str,
}

pub(super) const INTERMEDIATES: &str =
    "put the authority's intermediate certificates into the folder (the ACME client's ca or fullchain file)";
const ANEW: &str = "have the certificate issued anew, and take the chain that comes with it";
const OTHER_AUTHORITY: &str =
    "have the certificate issued by an authority that may issue it; the authority's operator knows its limits";

/// No time is within that of each certificate.
pub(super) const NEVER: Fault = Fault {
    what: "there is no time at which all its certificates are valid",
    remedy: "take the certificate and the chain of the same issuance: the ACME client's newest",
};

impl From<&Error> for Fault {
    fn from(error: &Error) -> Self {
        let (what, remedy) = match error {
            Error::CaUsedAsEndEntity => (
                "the certificate is that of an authority, not of a server",
                "have a certificate for servers issued (basicConstraints CA:FALSE)",
            ),
            Error::EndEntityUsedAsCa => (
                "a certificate in it signed another one, and is not that of an authority",
                OTHER_AUTHORITY,
            ),
            Error::PathLenConstraintViolated => (
                "an authority in it may not have as many authorities below it (pathLenConstraint)",
                OTHER_AUTHORITY,
            ),
            Error::NameConstraintViolation => (
                "an authority in it may not issue certificates for these names (nameConstraints)",
                OTHER_AUTHORITY,
            ),
            Error::RequiredEkuNotFoundContext(_) => (
                "an authority in it may not issue certificates for this use (its extended key usage)",
                OTHER_AUTHORITY,
            ),
            Error::UnsupportedCriticalExtension => (
                "a certificate in it has a critical extension that is not known here; nor is it to most clients",
                "have it issued anew without that extension",
            ),
            Error::UnsupportedSignatureAlgorithmContext(_)
            | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => (
                "a certificate in it has a signature of a kind that is not supported",
                "have it issued anew, signed by way of SHA-256 or SHA-384 with RSA (RSA-PSS with a salt as long as the hash) or ECDSA on P-256 or P-384",
            ),
            Error::InvalidSignatureForPublicKey | Error::SignatureAlgorithmMismatch => (
                "a signature in it is not that of its issuer: a certificate was altered, or an authority has another key now",
                ANEW,
            ),
            Error::UnknownIssuer => ("it does not lead to an authority that is trusted", INTERMEDIATES),
            Error::MaximumPathDepthExceeded
            | Error::MaximumPathBuildCallsExceeded
            | Error::MaximumSignatureChecksExceeded => (
                "it is longer than clients accept",
                "have the certificate issued by an authority nearer to the root",
            ),
            Error::InvalidCertValidity => ("a certificate in it ends before it begins", ANEW),
            Error::UnsupportedCertVersion => (
                "a certificate in it is not of X.509 version 3",
                "have it issued anew: only a root may be of version 1",
            ),
            Error::CertExpired { .. } | Error::CertNotValidYet { .. } => return NEVER,
            _ => (
                "a certificate in it is malformed (`openssl x509 -text` or `openssl verify` may tell more)",
                ANEW,
            ),
        };
        Self { what, remedy }
    }
}
