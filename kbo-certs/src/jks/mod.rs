//! Java's own store format, JKS: big-endian, entries in plain, keys behind Java's protector, a keyed SHA-1 at the end.
//!
//! As sun.security.provider.JavaKeyStore writes it:
//! `FEEDFEED`, version, count; of each entry a tag (1 key, 2 certificate), its alias, the time in milliseconds, then of a key its
//! protected bytes and its chain, of a certificate itself; then SHA-1 of the password, a phrase, and all before it.

mod protector;
mod text;
mod wire;

use kbo_core::secret::Secret;
use sha1::{Digest, Sha1};
use zeroize::Zeroizing;

use crate::store::rules;
use crate::store::{Certificate, Content, Entry, PrivateKey, Store, StoreError};
use wire::{Reader, Writer};

const MAGIC: u32 = 0xFEED_FEED;
const KEY: u32 = 1;
const TRUSTED: u32 = 2;
/// What Java mixes into the checksum.
const PHRASE: &[u8] = b"Mighty Aphrodite";
/// Bytes of the checksum.
const CHECKSUM: usize = 20;
/// The only type of certificate that Java writes.
const X509: &str = "X.509";

/// The codec of JKS, version 2; version 1 is read as well.
#[derive(Debug, Clone, Copy)]
pub struct Jks;

impl Jks {
    /// Reads a store. `key_password` opens its keys where it is not the store's own. Any Unicode will do as a password.
    ///
    /// Allocates no more than a small multiple of `bytes`.
    ///
    /// # Errors
    /// A wrong password, and every kind of bytes that are no JKS.
    pub fn read(bytes: &[u8], password: &Secret, key_password: Option<&Secret>) -> Result<Store, StoreError> {
        // Before anything that the password vouches for is believed.
        let parts = parts(bytes)?;
        if !parts.fit(password) {
            // A store that was cut off has a wrong checksum too; what it lacks says more.
            parts.entries(None)?;
            return Err(StoreError::WrongPassword);
        }
        parts.entries(Some(key_password.unwrap_or(password)))
    }

    /// The certificates that a truststore vouches for, as Java reads one: those that are trusted, and the first of each key's chain.
    /// Without a password the store's checksum is not looked at; its keys stay closed in any case.
    ///
    /// # Errors
    /// As [`Jks::read`].
    pub fn certificates(bytes: &[u8], password: Option<&Secret>) -> Result<Vec<Certificate>, StoreError> {
        let parts = parts(bytes)?;
        let store = parts.entries(None)?;
        if password.is_some_and(|password| !parts.fit(password)) {
            return Err(StoreError::WrongPassword);
        }
        let certificates = store.entries.into_iter().filter_map(|entry| match entry.content {
            Content::Trusted(certificate) => Some(certificate),
            Content::Key { chain, .. } => chain.into_iter().next(),
        });
        Ok(certificates.collect())
    }

    /// Writes a store. Keys are protected with `key_password`, else with the store's own.
    ///
    /// # Errors
    /// Aliases that Java would take for one, a password that keytool would not take.
    pub fn write(store: &Store, password: &Secret, key_password: Option<&Secret>) -> Result<Vec<u8>, StoreError> {
        let key_password = key_password.unwrap_or(password);
        rules::long_enough(password)?;
        rules::long_enough(key_password)?;
        let aliases = rules::aliases(store)?;
        let mut out = Writer::default();
        out.u32(MAGIC);
        out.u32(2);
        out.count(store.entries.len())?;
        for (entry, alias) in store.entries.iter().zip(&aliases) {
            match &entry.content {
                Content::Key { key, chain } => {
                    out.u32(KEY);
                    out.text(alias)?;
                    out.u64(entry.created_ms);
                    out.bytes(&protector::protect(key.pkcs8(), key_password)?)?;
                    out.count(chain.len())?;
                    for certificate in chain {
                        out.text(X509)?;
                        out.bytes(&certificate.0)?;
                    }
                }
                Content::Trusted(certificate) => {
                    out.u32(TRUSTED);
                    out.text(alias)?;
                    out.u64(entry.created_ms);
                    out.text(X509)?;
                    out.bytes(&certificate.0)?;
                }
            }
        }
        let mut bytes = out.finish();
        let sum = checksum(&bytes, password);
        bytes.extend_from_slice(&sum);
        Ok(bytes)
    }
}

/// A store in its parts.
struct Parts<'a> {
    /// What is under the checksum.
    body: &'a [u8],
    version: u32,
    /// The checksum.
    sum: &'a [u8],
    /// Where the entries begin.
    position: usize,
}

impl Parts<'_> {
    /// Whether the checksum is that of the body with this password.
    fn fit(&self, password: &Secret) -> bool {
        checksum(self.body, password).as_slice() == self.sum
    }

    /// All entries; keys are opened with a password only.
    fn entries(&self, password: Option<&Secret>) -> Result<Store, StoreError> {
        entries(Reader::after(self.body, self.position), self.version, password)
    }
}

fn parts(bytes: &[u8]) -> Result<Parts<'_>, StoreError> {
    let mut reader = Reader::new(bytes);
    if reader.u32("the magic number")? != MAGIC {
        return Err(wire::malformed("it does not begin with FEEDFEED"));
    }
    let version = reader.u32("the version")?;
    if !matches!(version, 1 | 2) {
        return Err(StoreError::Unsupported(format!("JKS of version {version}")));
    }
    let Some(body) = bytes.len().checked_sub(CHECKSUM) else {
        return Err(wire::malformed("it ends before its checksum"));
    };
    let (body, sum) = bytes.split_at(body);
    Ok(Parts {
        body,
        version,
        sum,
        position: reader.position(),
    })
}

/// All entries up to the end; keys are left protected, and empty, where no password is given.
fn entries(mut reader: Reader<'_>, version: u32, password: Option<&Secret>) -> Result<Store, StoreError> {
    let count = reader.u32("the number of entries")?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let tag = reader.u32("an entry's tag")?;
        let alias = reader.text("an alias")?;
        let created_ms = reader.u64("an entry's time")?;
        let content = match tag {
            KEY => {
                let protected = reader.bytes("a key")?;
                let key = match password {
                    Some(password) => protector::open(protected, password)?,
                    None => Zeroizing::new(vec![]),
                };
                let length = reader.u32("a chain's length")?;
                let mut chain = Vec::new();
                for _ in 0..length {
                    chain.push(certificate(&mut reader, version)?);
                }
                Content::Key {
                    key: PrivateKey::wrap(key),
                    chain,
                }
            }
            TRUSTED => Content::Trusted(certificate(&mut reader, version)?),
            3 => return Err(StoreError::Unsupported("a secret key (JCEKS)".to_owned())),
            other => return Err(wire::malformed(format!("an entry has the tag {other}"))),
        };
        entries.push(Entry {
            alias,
            created_ms,
            content,
        });
    }
    match reader.rest() {
        0 => Ok(Store { entries }),
        more => Err(wire::malformed(format!("{more} bytes follow its last entry"))),
    }
}

fn certificate(reader: &mut Reader<'_>, version: u32) -> Result<Certificate, StoreError> {
    if version == 2 {
        let kind = reader.text("a certificate's type")?;
        if kind != X509 {
            return Err(StoreError::Unsupported(format!("a certificate of the type {kind:?}")));
        }
    }
    Ok(Certificate(reader.bytes("a certificate")?.to_vec()))
}

fn checksum(body: &[u8], password: &Secret) -> [u8; CHECKSUM] {
    let mut hash = Sha1::new();
    hash.update(text::password(password));
    hash.update(PHRASE);
    hash.update(body);
    hash.finalize().into()
}
