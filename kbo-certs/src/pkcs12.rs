//! PKCS12 (RFC 7292), as Java and OpenSSL read it.
//!
//! The containers and their cryptography are p12-keystore's; here is what Java makes of them: which bag is an entry, what its
//! alias is, which certificates are a key's chain.

mod shape;

use std::collections::BTreeSet;

use kbo_core::secret::Secret;
use p12_keystore::error::Error;
use p12_keystore::{
    CertificateBag, EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm, Pkcs12Archive, PrivateKeyChain,
};

use crate::store::rules;
use crate::store::{Certificate, Content, Entry, PrivateKey, Store, StoreError};

/// No store of certificates is larger; the work that a reader can be put to grows with it.
const LARGEST: usize = 4 << 20;
/// No store has more keys, and no chain more certificates: both bound what looking for issuers costs.
const MOST_KEYS: usize = 1000;
const LONGEST_CHAIN: usize = 32;

/// The codec of PKCS12.
#[derive(Debug, Clone, Copy)]
pub struct Pkcs12;

/// Which algorithms protect a PKCS12 store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// PBES2 with AES-256 and HMAC-SHA256, 10,000 iterations, as keytool's own: Java from 8u301 and 11.0.12 on, OpenSSL from 1.1 on.
    #[default]
    Modern,
    /// 3DES and HMAC-SHA1, the only ones that older Java reads.
    Legacy,
}

impl Pkcs12 {
    /// Reads a store, whichever profile it has.
    ///
    /// Entries are what Java takes for them: keys, and certificates that Java's own attribute marks as trusted, with aliases in lower
    /// case. Keys come first.
    /// A store without a checksum is refused: nothing would show that it was altered. So is one that asks for more than ten million
    /// iterations in sum, or a million in one place, before any is computed; and one with more than a thousand keys, with a chain of
    /// more than 32 certificates, or larger than 4 MiB. The sum is of what lies open: the checksum, the safes, and the keys and secrets
    /// in safes that are not encrypted. What is within an encrypted safe is seen only when that is opened, and is bounded in each place
    /// alone; but nothing is opened before the checksum fits, which only who knows the password can make.
    ///
    /// # Errors
    /// A wrong password, and every kind of bytes that are no PKCS12.
    pub fn read(bytes: &[u8], password: &Secret) -> Result<Store, StoreError> {
        if bytes.len() > LARGEST {
            return Err(malformed(format!("it is larger than {LARGEST} bytes")));
        }
        if password.expose().chars().any(beyond_bmp) {
            let what = "a password with a character beyond U+FFFF in PKCS12";
            return Err(StoreError::Unsupported(what.to_owned()));
        }
        shape::look(bytes)?;
        let archive = Pkcs12Archive::from_pkcs12(bytes, password.expose()).map_err(|error| meaning(&error))?;
        if archive.keys.len() > MOST_KEYS {
            return Err(StoreError::Unsupported(format!(
                "a PKCS12 store of more than {MOST_KEYS} keys"
            )));
        }
        let mut entries = Vec::new();
        for (at, bag) in archive.keys.iter().enumerate() {
            let id = bag.local_key_id.as_ref().map(AsRef::<[u8]>::as_ref);
            let leaf = archive
                .certs
                .iter()
                .find(|cert| id.is_some() && cert.local_key_id.as_deref() == id);
            let alias = named(bag.friendly_name.as_deref()).unwrap_or_else(|| (at + 1).to_string());
            let Some(leaf) = leaf else {
                return Err(StoreError::Unsupported(format!(
                    "a key without its certificate ({alias})"
                )));
            };
            let Some(chain) = chain(leaf, &archive.certs) else {
                return Err(StoreError::Unsupported(format!(
                    "a chain of more than {LONGEST_CHAIN} certificates ({alias})"
                )));
            };
            entries.push(Entry {
                alias,
                created_ms: id.and_then(shape::time).unwrap_or(0),
                content: Content::Key {
                    key: PrivateKey::from_pkcs8(bag.key.as_der()),
                    chain,
                },
            });
        }
        let trusted = archive
            .certs
            .iter()
            .filter(|cert| cert.trusted && cert.local_key_id.is_none());
        for (at, bag) in trusted.enumerate() {
            entries.push(Entry {
                alias: named(bag.friendly_name.as_deref()).unwrap_or_else(|| format!("trusted-{}", at + 1)),
                created_ms: 0,
                content: Content::Trusted(Certificate(bag.cert.as_der().to_vec())),
            });
        }
        if entries.is_empty() && !archive.certs.is_empty() {
            let what = "a store whose certificates are not marked as trusted (as `openssl pkcs12 -nokeys` makes them): Java takes it for empty, and it";
            return Err(StoreError::Unsupported(what.to_owned()));
        }
        Ok(Store { entries })
    }

    /// Writes a store; its keys have the store's own password, as Java wants it.
    ///
    /// Two writes differ in salts, initialisation vectors and what is computed with them, and in nothing else.
    ///
    /// # Errors
    /// Aliases that Java would take for one, a password with other than printable ASCII characters: Java refuses it.
    pub fn write(store: &Store, password: &Secret, profile: Profile) -> Result<Vec<u8>, StoreError> {
        rules::long_enough(password)?;
        if !password.expose().chars().all(|c| (' '..='~').contains(&c)) {
            let why = "the password has other than printable ASCII characters: Java opens no PKCS12 store with it";
            return Err(StoreError::Unwritable(why.to_owned()));
        }
        let mut keystore = KeyStore::new();
        let mut ids = BTreeSet::new();
        for (entry, alias) in store.entries.iter().zip(rules::aliases(store)?) {
            if alias.chars().any(beyond_bmp) {
                let why = format!("the alias {alias} has a character that PKCS12 cannot hold");
                return Err(StoreError::Unwritable(why));
            }
            let of = |error: &Error| StoreError::Unwritable(format!("{alias}: {error}"));
            let certificate =
                |der: &Certificate| p12_keystore::Certificate::from_der(&der.0).map_err(|error| of(&error));
            let content = match &entry.content {
                Content::Key { key, chain } => {
                    if chain.len() > LONGEST_CHAIN {
                        let why = format!("the chain of {alias} has more than {LONGEST_CHAIN} certificates");
                        return Err(StoreError::Unwritable(why));
                    }
                    // With one id twice Java would pair a key with another's certificate.
                    let mut time = entry.created_ms;
                    while !ids.insert(time) {
                        time = time.wrapping_add(1);
                    }
                    let certificates = chain.iter().map(certificate).collect::<Result<Vec<_>, _>>()?;
                    let key = p12_keystore::PrivateKey::from_der(key.pkcs8()).map_err(|error| of(&error))?;
                    let chain = PrivateKeyChain::new(format!("Time {time}"), key, certificates);
                    KeyStoreEntry::PrivateKeyChain(chain)
                }
                Content::Trusted(trusted) => KeyStoreEntry::Certificate(certificate(trusted)?),
            };
            keystore.add_entry(&alias, content);
        }
        let writer = keystore.writer(password.expose());
        let writer = match profile {
            Profile::Modern => writer,
            Profile::Legacy => writer
                .encryption_algorithm(EncryptionAlgorithm::PbeWithShaAnd3KeyTripleDesCbc)
                .mac_algorithm(MacAlgorithm::HmacSha1),
        };
        writer
            .write()
            .map_err(|error| StoreError::Unwritable(format!("the store cannot be encoded: {error}")))
    }
}

/// An alias as Java has it.
fn named(friendly_name: Option<&str>) -> Option<String> {
    friendly_name.map(str::to_lowercase)
}

/// What the format's texts, in two bytes each, cannot hold.
fn beyond_bmp(c: char) -> bool {
    u32::from(c) > 0xFFFF
}

/// The leaf and those who vouch for it, as Java goes: by name, through all of the store's certificates, those that are entries of
/// their own as well, up to one that vouches for itself. `None` where that never ends.
fn chain(leaf: &CertificateBag, all: &[CertificateBag]) -> Option<Vec<Certificate>> {
    let mut chain = vec![&leaf.cert];
    while let Some(last) = chain.last().filter(|last| last.issuer() != last.subject()) {
        let issuer = |cert: &&CertificateBag| cert.cert.subject() == last.issuer() && !chain.contains(&&cert.cert);
        let Some(next) = all.iter().find(issuer) else { break };
        if chain.len() == LONGEST_CHAIN {
            return None;
        }
        chain.push(&next.cert);
    }
    Some(chain.iter().map(|cert| Certificate(cert.as_der().to_vec())).collect())
}

fn malformed(why: impl Into<String>) -> StoreError {
    StoreError::Malformed {
        format: "PKCS12",
        why: why.into(),
    }
}

/// What an error of the library means.
fn meaning(error: &Error) -> StoreError {
    match error {
        Error::MacError(_) | Error::UnpadError | Error::Pkcs5Error(_) => StoreError::WrongPassword,
        Error::UnsupportedEncryptionScheme | Error::UnsupportedMacAlgorithm => StoreError::Unsupported(
            "an algorithm of this PKCS12 store (PBMAC1, or another than 3DES, RC2 and AES)".to_owned(),
        ),
        Error::UnsupportedContentType | Error::UnsupportedCertificateType => {
            StoreError::Unsupported("a PKCS12 store that is signed, or holds other than X.509 certificates,".to_owned())
        }
        Error::InvalidVersion => StoreError::Unsupported("this version of PKCS12".to_owned()),
        Error::InvalidParameters => malformed("it asks for more than a million iterations, or has broken parameters"),
        other => malformed(other.to_string()),
    }
}
