//! What is in a keystore or a truststore, whatever its format.

use std::fmt;

use zeroize::Zeroizing;

/// Entries under aliases, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Store {
    /// The entries.
    pub entries: Vec<Entry>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its alias. Java compares aliases without case: they are written in lower case.
    pub alias: String,
    /// When it was made, in milliseconds since 1970. PKCS12 has none for trusted certificates: read, it is 0 there.
    pub created_ms: u64,
    /// What it holds.
    pub content: Content,
}

/// What an entry holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A private key with its certificate and those that vouch for it, the leaf first.
    Key {
        /// The key.
        key: PrivateKey,
        /// DER of the leaf, then of each issuer.
        chain: Vec<Certificate>,
    },
    /// A certificate that is trusted.
    Trusted(Certificate),
}

/// A certificate as DER. Nothing of it has been looked at.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate(pub Vec<u8>);

/// A private key as DER of PKCS8's PrivateKeyInfo (RFC 5958), wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(Zeroizing<Vec<u8>>);

impl PrivateKey {
    /// Wraps PKCS8 as DER.
    pub fn from_pkcs8(der: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(der.into()))
    }

    pub(crate) fn wrap(der: Zeroizing<Vec<u8>>) -> Self {
        Self(der)
    }

    /// The key's bytes, for the one place that needs them.
    pub fn pkcs8(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({} bytes)", self.0.len())
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey([redacted])")
    }
}

/// Why a store could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The password does not open it, or its bytes were changed: the checksum over them is keyed with the password.
    #[error("the password is wrong, or the store has been altered")]
    WrongPassword,
    /// The bytes are no store of this format.
    #[error("this is no {format} store: {why}")]
    Malformed {
        /// The format.
        format: &'static str,
        /// What is wrong where.
        why: String,
    },
    /// It is one, with something in it that is not supported.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// What is to be written cannot be.
    #[error("{0}")]
    Unwritable(String),
}

/// Rules of Java's that both formats share.
pub(crate) mod rules {
    use super::{Content, Store, StoreError};
    use kbo_core::secret::Secret;

    /// The least that keytool takes.
    const SHORTEST_PASSWORD: usize = 6;

    /// The aliases in the order of the entries, as Java will know them: in lower case.
    ///
    /// # Errors
    /// An alias that is empty, or one that Java would take for another; a key without a certificate.
    pub(crate) fn aliases(store: &Store) -> Result<Vec<String>, StoreError> {
        let mut aliases: Vec<String> = Vec::with_capacity(store.entries.len());
        for entry in &store.entries {
            let alias = entry.alias.to_lowercase();
            if alias.is_empty() {
                return Err(StoreError::Unwritable("an entry has no alias".to_owned()));
            }
            if aliases.contains(&alias) {
                let why = format!("two entries have the alias {alias}: Java compares them without case");
                return Err(StoreError::Unwritable(why));
            }
            if let Content::Key { chain, .. } = &entry.content
                && chain.is_empty()
            {
                return Err(StoreError::Unwritable(format!("the key {alias} has no certificate")));
            }
            aliases.push(alias);
        }
        Ok(aliases)
    }

    /// # Errors
    /// A password that keytool would not take.
    pub(crate) fn long_enough(password: &Secret) -> Result<(), StoreError> {
        if password.expose().chars().count() < SHORTEST_PASSWORD {
            let why = format!("the password is shorter than {SHORTEST_PASSWORD} characters: keytool refuses it");
            return Err(StoreError::Unwritable(why));
        }
        Ok(())
    }
}
