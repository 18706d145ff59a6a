//! The bytes of keystores and truststores out of a set.

use kbo_core::secret::Secret;
use zeroize::Zeroizing;

use crate::check::{Expectation, Report, check};
use crate::jks::Jks;
use crate::pem;
use crate::pkcs12::{Pkcs12, Profile};
use crate::set::WildcardSet;
use crate::store::{Content, Entry, Store, StoreError};

/// What is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The alias of the key.
    pub alias: String,
    /// What protects the keystore and the key in it. Not used for PEM.
    pub password: Secret,
    /// What protects the truststore. Not used for PEM.
    pub truststore_password: Secret,
    /// In which formats.
    pub formats: Vec<Format>,
}

/// The format of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// PKCS12 (`ssl.keystore.type=PKCS12`).
    Pkcs12(Profile),
    /// Java's own (`JKS`).
    Jks,
    /// PEM (`PEM`, Kafka from 2.7 on): the key, unencrypted, and its chain in one file; the trusted certificates in another.
    Pem,
}

impl Format {
    /// How its files end.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Pkcs12(_) => "p12",
            Self::Jks => "jks",
            Self::Pem => "pem",
        }
    }
}

/// A file that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Its name: `keystore` or `truststore` and the format's extension.
    pub name: String,
    /// What goes into it.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Whether it has a private key.
    pub is_secret: bool,
}

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MakeError {
    /// The set will not do.
    #[error("the set is refused: {}", reasons(.0))]
    Refused(Box<Report>),
    /// A store cannot be written.
    #[error("{name} cannot be made")]
    Store {
        /// Which.
        name: String,
        /// Why not.
        #[source]
        source: StoreError,
    },
}

/// Makes the stores of a set, unless [`check()`] finds an error. With `expired_too` a set may have expired, and no other error.
///
/// The same set and recipe make the same stores but for their salts: entries bear the time at which the certificate begins.
///
/// # Errors
/// A set with errors, a password or an alias that a format cannot have.
pub fn make(
    set: &WildcardSet,
    expected: &Expectation,
    recipe: &Recipe,
    expired_too: bool,
) -> Result<Vec<Made>, MakeError> {
    let report = check(set, expected);
    let refused = !(report.is_good() || expired_too && report.is_only_expired());
    let Some(key) = set.key().filter(|_| !refused) else {
        return Err(MakeError::Refused(Box::new(report)));
    };
    let created_ms = u64::try_from(set.leaf().facts().not_before.as_millisecond()).unwrap_or(0);
    let chain = set.served().iter().map(|one| one.certificate().clone()).collect();
    let content = Content::Key {
        key: key.private().clone(),
        chain,
    };
    let keys = Store {
        entries: vec![Entry {
            alias: recipe.alias.clone(),
            created_ms,
            content,
        }],
    };
    let trusted = trusted(set, created_ms);
    let mut made = vec![];
    for format in &recipe.formats {
        for (stem, store, password) in [
            ("keystore", &keys, &recipe.password),
            ("truststore", &trusted, &recipe.truststore_password),
        ] {
            let name = format!("{stem}.{}", format.extension());
            let bytes = match format {
                Format::Pkcs12(profile) => Pkcs12::write(store, password, *profile).map(Zeroizing::new),
                Format::Jks => Jks::write(store, password, None).map(Zeroizing::new),
                Format::Pem => Ok(as_pem(store)),
            };
            let bytes = bytes.map_err(|source| MakeError::Store {
                name: name.clone(),
                source,
            })?;
            made.push(Made {
                name,
                bytes,
                is_secret: stem == "keystore",
            });
        }
    }
    Ok(made)
}

/// The anchors under `ca`, `ca-2` and so on.
fn trusted(set: &WildcardSet, created_ms: u64) -> Store {
    let alias = |at: usize| {
        if at == 0 {
            "ca".to_owned()
        } else {
            format!("ca-{}", at + 1)
        }
    };
    let entries = set.anchors().into_iter().enumerate().map(|(at, anchor)| Entry {
        alias: alias(at),
        created_ms,
        content: Content::Trusted(anchor.certificate().clone()),
    });
    Store {
        entries: entries.collect(),
    }
}

/// What Kafka's PEM stores take: the key as PKCS8 and the chain after it, or certificates only; no text around, no aliases.
///
/// The key is not encrypted: Kafka wants `ssl.key.password` for one that is, and what it opens depends on the Java that runs it.
fn as_pem(store: &Store) -> Zeroizing<Vec<u8>> {
    let mut blocks = vec![];
    for entry in &store.entries {
        match &entry.content {
            Content::Key { key, chain } => {
                blocks.push(pem::encode("PRIVATE KEY", key.pkcs8()));
                blocks.extend(chain.iter().map(|one| pem::encode("CERTIFICATE", &one.0)));
            }
            Content::Trusted(one) => blocks.push(pem::encode("CERTIFICATE", &one.0)),
        }
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(blocks.iter().map(|block| block.len()).sum()));
    blocks
        .iter()
        .for_each(|block| bytes.extend_from_slice(block.as_bytes()));
    bytes
}

fn reasons(report: &Report) -> String {
    let reasons: Vec<String> = report
        .errors()
        .map(|finding| match &finding.remedy {
            Some(remedy) => format!("{} ({remedy})", finding.text),
            None => finding.text.clone(),
        })
        .collect();
    if reasons.is_empty() {
        "it has no private key".to_owned()
    } else {
        reasons.join("; ")
    }
}
