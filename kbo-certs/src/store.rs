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
    /// Its alias. Java compares aliases without case and shows them in lower case.
    pub alias: String,
    /// When it was made, in milliseconds since 1970. Where a format holds none it is 0 when read.
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
