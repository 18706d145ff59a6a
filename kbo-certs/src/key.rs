//! Private keys: PKCS1, SEC1 and PKCS8, encrypted or not, made into the one form that stores hold.
//!
//! The form is PKCS8 of version 1 without attributes: Java before 17 reads no other.

pub(crate) mod forms;

use p256::elliptic_curve::sec1::ToSec1Point as _;
use pkcs1::RsaPrivateKeyRef;
use pkcs8::der::asn1::{Null, ObjectIdentifier, OctetStringRef};
use pkcs8::der::{AnyRef, Decode as _, Encode as _};
use pkcs8::pkcs5::pbes2::Kdf;
use pkcs8::pkcs5::{self, EncryptionScheme};
use pkcs8::spki::AlgorithmIdentifier;
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef, SecretDocument};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256};
use sec1::{EcParameters, EcPrivateKey};
use zeroize::Zeroizing;

use kbo_core::secret::Secret;

use crate::pem::Block;
use crate::public_key::{self, Algorithm, PublicKey};
use crate::store::PrivateKey;

/// More rounds of PBKDF2 than this are an attack, not a protection: these take some seconds.
const MOST_ITERATIONS: u32 = 10_000_000;
/// More memory than this is none of scrypt's usual parameters (OpenSSL: 16 MiB).
const MOST_SCRYPT_MEMORY: u64 = 256 << 20;
/// OpenSSL has 1.
const MOST_SCRYPT_LANES: u16 = 16;

/// A private key and its public half.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    private: PrivateKey,
    public: PublicKey,
}

/// Why a private key could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It is encrypted.
    #[error("the private key is encrypted: give its passphrase")]
    PassphraseNeeded,
    /// The passphrase does not open it.
    #[error("the passphrase does not open the private key")]
    WrongPassphrase,
    /// It is of a kind that is not supported.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// It is in a form that is not supported, and can be had in one that is.
    #[error("{what} is not supported: `{way}` writes it in a form that is")]
    OtherForm {
        /// The form.
        what: String,
        /// A command.
        way: &'static str,
    },
    /// It would take too long, or too much memory, to open it.
    #[error("the private key's encryption asks for too much: {0}")]
    TooCostly(String),
    /// It is damaged.
    #[error("the private key is damaged: {0}")]
    Malformed(String),
}

/// Finds the point of a curve that a secret number belongs to, uncompressed.
type PointOf = fn(&[u8]) -> Option<Vec<u8>>;

impl Key {
    /// Reads the key of a PEM block; `None` where the block is no private key.
    pub fn from_pem(block: &Block, passphrase: Option<&Secret>) -> Option<Result<Self, KeyError>> {
        let der = &block.data;
        let plain: fn(&[u8]) -> Result<Self, KeyError> = match block.label.as_str() {
            "PRIVATE KEY" => Self::from_pkcs8,
            "RSA PRIVATE KEY" => Self::from_pkcs1,
            "EC PRIVATE KEY" => Self::from_sec1,
            "ENCRYPTED PRIVATE KEY" => return Some(Self::from_encrypted_pkcs8(der, passphrase)),
            "OPENSSH PRIVATE KEY" => {
                return Some(Err(KeyError::OtherForm {
                    what: "OpenSSH's own form of a private key".to_owned(),
                    way: "ssh-keygen -p -m PKCS8 -f KEY",
                }));
            }
            // DSA and whatever else there is.
            other if other.ends_with("PRIVATE KEY") => {
                return Some(Err(KeyError::Unsupported(format!("a private key of the kind {other}"))));
            }
            _ => return None,
        };
        if block
            .headers
            .iter()
            .any(|(name, value)| name == "Proc-Type" && value.contains("ENCRYPTED"))
        {
            return Some(crate::traditional::decrypt(block, passphrase).and_then(|der| {
                // One wrong passphrase in 256 leaves a padding that looks right.
                plain(&der).map_err(|error| match error {
                    KeyError::Malformed(_) => KeyError::WrongPassphrase,
                    other => other,
                })
            }));
        }
        Some(plain(der))
    }

    /// Reads a key in DER, whichever form it has; `None` where the bytes are none of them.
    pub fn from_der(der: &[u8], passphrase: Option<&Secret>) -> Option<Result<Self, KeyError>> {
        if PrivateKeyInfoRef::try_from(der).is_ok() {
            Some(Self::from_pkcs8(der))
        } else if forms::is_encrypted(der) {
            Some(Self::from_encrypted_pkcs8(der, passphrase))
        } else if RsaPrivateKeyRef::try_from(der).is_ok() {
            Some(Self::from_pkcs1(der))
        } else if EcPrivateKey::try_from(der).is_ok() || forms::has_explicit_curve(der) {
            Some(Self::from_sec1(der))
        } else {
            None
        }
    }

    /// Reads PKCS8's PrivateKeyInfo.
    ///
    /// # Errors
    /// Bytes that are none, and keys of other kinds than RSA, P-256, P-384 and Ed25519.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let info = PrivateKeyInfoRef::try_from(der).map_err(malformed)?;
        let oid = info.algorithm.oid.to_string();
        let inner = info.private_key.as_bytes();
        match oid.as_str() {
            public_key::RSA | public_key::RSA_PSS => {
                let public = rsa(inner)?;
                Self::of(info.algorithm, inner, public)
            }
            public_key::EC => {
                let curve = info.algorithm.parameters_oid().map_err(|_| forms::explicit_curve())?;
                Self::ec(inner, Some(curve))
            }
            public_key::ED25519 => {
                let seed = <&OctetStringRef>::from_der(inner).map_err(malformed)?;
                let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_bytes()).map_err(malformed)?;
                let public = PublicKey::other(public_key::ED25519, pair.public_key().as_ref());
                Self::of(info.algorithm, inner, public)
            }
            other => Err(KeyError::Unsupported(format!(
                "a private key of the algorithm {} (take RSA, P-256 or P-384)",
                forms::name(other)
            ))),
        }
    }

    /// Reads PKCS8's EncryptedPrivateKeyInfo: PBES2 with PBKDF2 or scrypt.
    ///
    /// # Errors
    /// No passphrase or the wrong one, and what the plain form has.
    pub fn from_encrypted_pkcs8(der: &[u8], passphrase: Option<&Secret>) -> Result<Self, KeyError> {
        let info = EncryptedPrivateKeyInfoRef::try_from(der).map_err(|error| {
            if forms::is_encrypted(der) {
                forms::encryption("the private key's encryption")
            } else {
                malformed(error)
            }
        })?;
        affordable(&info.encryption_algorithm)?;
        let passphrase = passphrase.ok_or(KeyError::PassphraseNeeded)?;
        let plain = info
            .encryption_algorithm
            .decrypt(passphrase.expose(), info.encrypted_data.as_bytes());
        let plain = Zeroizing::new(plain.map_err(|error| match error {
            pkcs5::Error::DecryptFailed => KeyError::WrongPassphrase,
            _ => forms::encryption("the private key's encryption"),
        })?);
        Self::from_pkcs8(&plain).map_err(|error| match error {
            KeyError::Malformed(_) => KeyError::WrongPassphrase,
            other => other,
        })
    }

    /// Reads PKCS1's RSAPrivateKey.
    ///
    /// # Errors
    /// Bytes that are none.
    pub fn from_pkcs1(der: &[u8]) -> Result<Self, KeyError> {
        let public = rsa(der)?;
        let oid = ObjectIdentifier::new_unwrap(public_key::RSA);
        Self::of(
            AlgorithmIdentifier {
                oid,
                parameters: Some(AnyRef::from(Null)),
            },
            der,
            public,
        )
    }

    /// Reads SEC1's ECPrivateKey.
    ///
    /// # Errors
    /// Bytes that are none, and curves other than P-256 and P-384.
    pub fn from_sec1(der: &[u8]) -> Result<Self, KeyError> {
        Self::ec(der, None)
    }

    fn ec(der: &[u8], curve: Option<ObjectIdentifier>) -> Result<Self, KeyError> {
        let found = EcPrivateKey::try_from(der).map_err(|error| {
            if forms::has_explicit_curve(der) {
                forms::explicit_curve()
            } else {
                malformed(error)
            }
        })?;
        let named = found.parameters.map(|EcParameters::NamedCurve(curve)| curve);
        let Some(curve) = curve.or(named) else {
            return Err(KeyError::Malformed("it names no curve".to_owned()));
        };
        let name = curve.to_string();
        let (size, point): (usize, PointOf) = match name.as_str() {
            public_key::P256 => (32, |scalar| {
                let key = p256::SecretKey::from_slice(scalar).ok()?;
                Some(key.public_key().to_sec1_point(false).as_bytes().to_vec())
            }),
            public_key::P384 => (48, |scalar| {
                let key = p384::SecretKey::from_slice(scalar).ok()?;
                Some(key.public_key().to_sec1_point(false).as_bytes().to_vec())
            }),
            other => {
                return Err(KeyError::Unsupported(format!(
                    "a private key on the curve {} (take RSA, P-256 or P-384)",
                    forms::name(other)
                )));
            }
        };
        // Some tools leave leading zeros away, some write one too many.
        let zeros = found.private_key.iter().take_while(|byte| **byte == 0).count();
        let digits = &found.private_key[zeros..];
        let mut scalar = Zeroizing::new(vec![0; size]);
        let Some(from) = size.checked_sub(digits.len()) else {
            return Err(KeyError::Malformed(
                "its number is larger than its curve allows".to_owned(),
            ));
        };
        scalar[from..].copy_from_slice(digits);
        let point = point(&scalar).ok_or_else(|| KeyError::Malformed("its number is none of its curve".to_owned()))?;
        let public = PublicKey::ec(&name, &point);
        if found
            .public_key
            .is_some_and(|with| PublicKey::ec(&name, with) != public)
        {
            return Err(KeyError::Malformed(
                "it comes with the public key of another one".to_owned(),
            ));
        }
        let inner = EcPrivateKey {
            private_key: &scalar,
            parameters: None,
            public_key: Some(&point),
        };
        let inner = SecretDocument::try_from(inner).map_err(malformed)?;
        let oid = ObjectIdentifier::new_unwrap(public_key::EC);
        Self::of(
            AlgorithmIdentifier {
                oid,
                parameters: Some(AnyRef::from(&curve)),
            },
            inner.as_bytes(),
            public,
        )
    }

    fn of(algorithm: AlgorithmIdentifier<AnyRef<'_>>, inner: &[u8], public: PublicKey) -> Result<Self, KeyError> {
        let inner = OctetStringRef::new(inner).map_err(malformed)?;
        let info = PrivateKeyInfoRef::new(algorithm, inner);
        let mut der = Zeroizing::new(Vec::with_capacity(
            usize::try_from(info.encoded_len().map_err(malformed)?).unwrap_or(0),
        ));
        info.encode_to_vec(&mut der).map_err(malformed)?;
        // Taken, not copied: what is left behind is empty.
        Ok(Self {
            private: PrivateKey::from_pkcs8(std::mem::take(&mut *der)),
            public,
        })
    }

    /// The key, as stores hold it.
    pub fn private(&self) -> &PrivateKey {
        &self.private
    }

    /// Its public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Its kind and size.
    pub fn algorithm(&self) -> Algorithm {
        self.public.algorithm()
    }
}

/// The public half of a PKCS1 key, whose numbers have been looked at where ring can.
fn rsa(der: &[u8]) -> Result<PublicKey, KeyError> {
    let found = RsaPrivateKeyRef::try_from(der).map_err(malformed)?;
    // ring takes keys of 2048 to 4096 bits only, so of its refusals nothing but this one counts. A signature, which ring looks at
    // before it hands it out, tells of numbers that this has not compared.
    let belong = match ring::rsa::KeyPair::from_der(der) {
        Ok(pair) => {
            let mut signature = vec![0; pair.public().modulus_len()];
            pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), b"", &mut signature)
                .is_ok()
        }
        Err(error) => error.to_string() != "InconsistentComponents",
    };
    if !belong {
        return Err(KeyError::Malformed("its numbers do not belong together".to_owned()));
    }
    Ok(PublicKey::rsa(
        found.modulus.as_bytes(),
        found.public_exponent.as_bytes(),
    ))
}

/// Refuses parameters that only an attacker has.
fn affordable(scheme: &EncryptionScheme) -> Result<(), KeyError> {
    let Some(parameters) = scheme.pbes2() else {
        return Err(forms::encryption("the private key's old encryption (PBES1)"));
    };
    match &parameters.kdf {
        Kdf::Pbkdf2(of) if of.iteration_count > MOST_ITERATIONS => {
            Err(KeyError::TooCostly(format!("{} rounds of PBKDF2", of.iteration_count)))
        }
        Kdf::Pbkdf2(_) => Ok(()),
        Kdf::Scrypt(of) => {
            let memory = u64::from(of.block_size)
                .saturating_mul(128)
                .saturating_mul(of.cost_parameter);
            if memory > MOST_SCRYPT_MEMORY || of.parallelization > MOST_SCRYPT_LANES {
                let lanes = of.parallelization;
                return Err(KeyError::TooCostly(format!(
                    "scrypt over {memory} bytes in {lanes} lanes"
                )));
            }
            Ok(())
        }
        _ => Err(forms::encryption("the private key's encryption")),
    }
}

fn malformed(error: impl std::fmt::Display) -> KeyError {
    KeyError::Malformed(error.to_string())
}
