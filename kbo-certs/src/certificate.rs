//! What a certificate says.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use x509_parser::error::X509Error;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::signature_algorithm::SignatureAlgorithm;

use crate::public_key::{Algorithm, PublicKey};
use crate::store::Certificate;

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// Whose it is, as a distinguished name.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Its serial number in lower-case hexadecimal without leading zeros, as keytool shows it.
    pub serial: String,
    /// When it begins to be valid.
    pub not_before: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
    /// Names of hosts it is valid for.
    pub dns_names: Vec<String>,
    /// Addresses it is valid for.
    pub addresses: Vec<IpAddr>,
    /// Whether it may sign others.
    pub is_ca: bool,
    /// The kind of its public key.
    pub key: Algorithm,
    /// Whether its signature is by way of SHA-1 or MD5, which nobody accepts any more.
    pub weak_signature: bool,
    /// SHA-256 over the whole of it, in lower-case hexadecimal.
    pub fingerprint: String,
}

/// A certificate that has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    der: Certificate,
    facts: Facts,
    public_key: PublicKey,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    subject_key: Option<Vec<u8>>,
    authority_key: Option<Vec<u8>>,
    /// `None` where every use is allowed.
    uses: Option<Uses>,
    /// `None` where the key may do everything.
    key_uses: Option<KeyUses>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Uses {
    server: bool,
    client: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KeyUses {
    signs_handshakes: bool,
    signs_certificates: bool,
}

/// The bytes are no certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no certificate: {0}")]
pub struct NoCertificate(pub(crate) String);

impl Parsed {
    /// Reads a certificate. What follows it is passed over: OpenSSL's TRUSTED CERTIFICATE has something there.
    ///
    /// # Errors
    /// Bytes that are none.
    pub fn from_der(der: &[u8]) -> Result<Self, NoCertificate> {
        let (rest, x509) = X509Certificate::from_der(der).map_err(|error| NoCertificate(error.to_string()))?;
        let der = &der[..der.len() - rest.len()];
        let mut parsed = Self {
            facts: Facts {
                subject: x509.subject().to_string(),
                issuer: x509.issuer().to_string(),
                serial: serial(x509.raw_serial()),
                not_before: time(x509.validity().not_before.timestamp()),
                not_after: time(x509.validity().not_after.timestamp()),
                dns_names: vec![],
                addresses: vec![],
                is_ca: false,
                key: Algorithm::Other(String::new()),
                weak_signature: is_weak(&x509.signature_algorithm.algorithm.to_id_string()),
                fingerprint: hex::encode(Sha256::digest(der)),
            },
            public_key: PublicKey::of_certificate(x509.public_key()),
            subject: x509.subject().as_raw().to_vec(),
            issuer: x509.issuer().as_raw().to_vec(),
            subject_key: None,
            authority_key: None,
            uses: None,
            key_uses: None,
            der: Certificate(der.to_vec()),
        };
        parsed.facts.key = parsed.public_key.algorithm();
        for extension in x509.extensions() {
            parsed.extend(extension.parsed_extension());
        }
        Ok(parsed)
    }

    fn extend(&mut self, extension: &ParsedExtension<'_>) {
        match extension {
            ParsedExtension::BasicConstraints(basic) => self.facts.is_ca = basic.ca,
            ParsedExtension::SubjectKeyIdentifier(id) => self.subject_key = Some(id.0.to_vec()),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                self.authority_key = id.key_identifier.as_ref().map(|id| id.0.to_vec());
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                self.uses = Some(Uses {
                    server: usage.any || usage.server_auth,
                    client: usage.any || usage.client_auth,
                });
            }
            ParsedExtension::KeyUsage(usage) => {
                self.key_uses = Some(KeyUses {
                    signs_handshakes: usage.digital_signature(),
                    signs_certificates: usage.key_cert_sign(),
                });
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                for name in &names.general_names {
                    match name {
                        GeneralName::DNSName(name) => self.facts.dns_names.push((*name).to_owned()),
                        GeneralName::IPAddress(bytes) => self.facts.addresses.extend(address(bytes)),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    /// What it says.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The certificate itself.
    pub fn certificate(&self) -> &Certificate {
        &self.der
    }

    /// Its public key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Whether servers may use it.
    pub fn is_for_servers(&self) -> bool {
        self.uses.is_none_or(|uses| uses.server)
    }

    /// Whether clients may use it: a broker is one of other brokers and of the controllers.
    pub fn is_for_clients(&self) -> bool {
        self.uses.is_none_or(|uses| uses.client)
    }

    /// Whether its key may sign TLS handshakes, by its key usage.
    pub fn may_sign_handshakes(&self) -> bool {
        self.key_uses.is_none_or(|uses| uses.signs_handshakes)
    }

    /// Whether its key may sign certificates, by its key usage.
    pub fn may_sign_certificates(&self) -> bool {
        self.key_uses.is_none_or(|uses| uses.signs_certificates)
    }

    /// Whether it vouches for itself: a root, or a certificate without any authority.
    pub fn is_self_signed(&self) -> bool {
        self.is_signed_by(self)
    }

    /// Whether `issuer` has signed it: by its name, its key's identifier where both have one, and the signature. A signature of a
    /// kind that cannot be verified here counts by name and identifier; checking the chain finds it.
    pub fn is_signed_by(&self, issuer: &Self) -> bool {
        let differ = match (&self.authority_key, &issuer.subject_key) {
            (Some(of), Some(is)) => of != is,
            _ => false,
        };
        if self.issuer != issuer.subject || differ {
            return false;
        }
        let (Ok((_, this)), Ok((_, that))) = (
            X509Certificate::from_der(&self.der.0),
            X509Certificate::from_der(&issuer.der.0),
        ) else {
            return false;
        };
        match this.verify_signature(Some(that.public_key())) {
            Ok(()) => true,
            // A key shorter than 2048 bits is refused as a wrong signature is, and so is an unusual salt.
            Err(X509Error::SignatureVerificationError) => {
                matches!(issuer.facts.key, Algorithm::Rsa(..2048)) || has_unusual_salt(&this)
            }
            Err(_) => true,
        }
    }

    /// Whether `now` is within its time.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        (self.facts.not_before..=self.facts.not_after).contains(&now)
    }
}

/// Reads all certificates of a file, PEM or DER. For files that hold nothing else, such as one of roots.
///
/// # Errors
/// A file without any, and one of them that is damaged.
pub fn read_all(bytes: &[u8]) -> Result<Vec<Certificate>, NoCertificate> {
    let blocks = crate::pem::blocks(bytes);
    if let Some(broken) = blocks.broken.first() {
        return Err(NoCertificate(format!(
            "the block in line {}: {}",
            broken.line, broken.why
        )));
    }
    if blocks.whole.is_empty() {
        return Ok(vec![Parsed::from_der(bytes)?.der]);
    }
    let certificates = blocks.whole.iter().filter(|block| is_certificate(&block.label));
    let found: Vec<Certificate> = certificates
        .map(|block| Parsed::from_der(&block.data).map(|parsed| parsed.der))
        .collect::<Result<_, _>>()?;
    if found.is_empty() {
        return Err(NoCertificate("its blocks are of other kinds".to_owned()));
    }
    Ok(found)
}

/// Whether a block of this label is a certificate.
pub(crate) fn is_certificate(label: &str) -> bool {
    matches!(label, "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE")
}

/// What is beyond the calendar is its end: 99991231235959Z stands for no end at all (RFC 5280, 4.1.2.5).
fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(if second < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

fn serial(raw: &[u8]) -> String {
    let hex = hex::encode(raw);
    match hex.trim_start_matches('0') {
        "" => "0".to_owned(),
        digits => digits.to_owned(),
    }
}

/// MD5 and SHA-1 with RSA, DSA or ECDSA.
fn is_weak(signature: &str) -> bool {
    matches!(
        signature,
        "1.2.840.113549.1.1.4" | "1.2.840.113549.1.1.5" | "1.3.14.3.2.29" | "1.2.840.10040.4.3" | "1.2.840.10045.4.1"
    )
}

/// Whether a signature of RSASSA-PSS has a salt that is not as long as its hash: only such are verified here.
fn has_unusual_salt(certificate: &X509Certificate<'_>) -> bool {
    let Ok(SignatureAlgorithm::RSASSA_PSS(parameters)) = SignatureAlgorithm::try_from(&certificate.signature_algorithm)
    else {
        return false;
    };
    let usual = match parameters.hash_algorithm_oid().to_id_string().as_str() {
        "2.16.840.1.101.3.4.2.1" => 32,
        "2.16.840.1.101.3.4.2.2" => 48,
        "2.16.840.1.101.3.4.2.3" => 64,
        _ => return true,
    };
    parameters.salt_length() != usual
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

impl Serialize for Algorithm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
