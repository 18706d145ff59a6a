//! Public keys in one form, so that a private key and a certificate can be compared.

use std::fmt;

use p256::elliptic_curve::sec1::ToSec1Point as _;
use pkcs1::RsaPublicKeyRef;
use x509_parser::public_key::PublicKey as Found;
use x509_parser::x509::SubjectPublicKeyInfo;

/// rsaEncryption.
pub(crate) const RSA: &str = "1.2.840.113549.1.1.1";
/// RSASSA-PSS.
pub(crate) const RSA_PSS: &str = "1.2.840.113549.1.1.10";
/// id-ecPublicKey.
pub(crate) const EC: &str = "1.2.840.10045.2.1";
/// Ed25519.
pub(crate) const ED25519: &str = "1.3.101.112";
/// secp256r1.
pub(crate) const P256: &str = "1.2.840.10045.3.1.7";
/// secp384r1.
pub(crate) const P384: &str = "1.3.132.0.34";
/// secp521r1.
pub(crate) const P521: &str = "1.3.132.0.35";

/// The kind of a key, and its size.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RSA with this many bits.
    Rsa(usize),
    /// ECDSA on NIST P-256.
    P256,
    /// ECDSA on NIST P-384.
    P384,
    /// ECDSA on NIST P-521.
    P521,
    /// Ed25519.
    Ed25519,
    /// Something else, by its object identifier.
    Other(String),
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA {bits}"),
            Self::P256 => f.write_str("EC P-256"),
            Self::P384 => f.write_str("EC P-384"),
            Self::P521 => f.write_str("EC P-521"),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::Other(oid) => f.write_str(oid),
        }
    }
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PublicKey(Form);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Form {
    /// Numbers without leading zeros.
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// A curve, and an uncompressed point where the curve is known.
    Ec {
        curve: String,
        point: Vec<u8>,
    },
    Other {
        oid: String,
        bytes: Vec<u8>,
    },
}

impl PublicKey {
    pub(crate) fn rsa(modulus: &[u8], exponent: &[u8]) -> Self {
        Self(Form::Rsa {
            modulus: trimmed(modulus).to_vec(),
            exponent: trimmed(exponent).to_vec(),
        })
    }

    pub(crate) fn ec(curve: &str, point: &[u8]) -> Self {
        let uncompressed = match curve {
            P256 => p256::PublicKey::from_sec1_bytes(point)
                .map(|key| key.to_sec1_point(false).as_bytes().to_vec())
                .ok(),
            P384 => p384::PublicKey::from_sec1_bytes(point)
                .map(|key| key.to_sec1_point(false).as_bytes().to_vec())
                .ok(),
            _ => None,
        };
        Self(Form::Ec {
            curve: curve.to_owned(),
            point: uncompressed.unwrap_or_else(|| point.to_vec()),
        })
    }

    pub(crate) fn other(oid: &str, bytes: &[u8]) -> Self {
        Self(Form::Other {
            oid: oid.to_owned(),
            bytes: bytes.to_vec(),
        })
    }

    pub(crate) fn of_certificate(info: &SubjectPublicKeyInfo<'_>) -> Self {
        let oid = info.algorithm.algorithm.to_id_string();
        let bytes = &*info.subject_public_key.data;
        match info.parsed() {
            Ok(Found::RSA(key)) => Self::rsa(key.modulus, key.exponent),
            Ok(Found::EC(_)) => {
                let curve = info.algorithm.parameters.as_ref().and_then(|found| found.as_oid().ok());
                Self::ec(&curve.map(|curve| curve.to_id_string()).unwrap_or_default(), bytes)
            }
            // x509-parser has no RSASSA-PSS keys; their bytes are those of RSA.
            _ if oid == RSA_PSS => match RsaPublicKeyRef::try_from(bytes) {
                Ok(key) => Self::rsa(key.modulus.as_bytes(), key.public_exponent.as_bytes()),
                Err(_) => Self::other(&oid, bytes),
            },
            _ => Self::other(&oid, bytes),
        }
    }

    /// Its kind and size.
    pub fn algorithm(&self) -> Algorithm {
        match &self.0 {
            Form::Rsa { modulus, .. } => {
                let spare = modulus.first().map_or(0, |first| first.leading_zeros() as usize);
                Algorithm::Rsa(modulus.len() * 8 - spare)
            }
            Form::Ec { curve, .. } => match curve.as_str() {
                P256 => Algorithm::P256,
                P384 => Algorithm::P384,
                P521 => Algorithm::P521,
                other => Algorithm::Other(other.to_owned()),
            },
            Form::Other { oid, .. } if oid == ED25519 => Algorithm::Ed25519,
            Form::Other { oid, .. } => Algorithm::Other(oid.clone()),
        }
    }
}

fn trimmed(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}
