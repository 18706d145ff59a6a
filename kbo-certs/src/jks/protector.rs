//! The protector of JKS keys: 1.3.6.1.4.1.42.2.17.1.1, as sun.security.provider.KeyProtector has it.
//!
//! Protected are 20 bytes of salt, the key XOR a chain of SHA-1 over password and salt, and SHA-1 of password and key.

use der::asn1::{ObjectIdentifier, OctetStringRef};
use der::{Decode, Encode, Sequence};
use kbo_core::secret::Secret;
use sha1::{Digest, Sha1};
use spki::AlgorithmIdentifierRef;
use zeroize::Zeroizing;

use super::{text, wire};
use crate::store::StoreError;

const JAVA_PROTECTOR: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.42.2.17.1.1");
/// Of the salt, and of every SHA-1.
const SIZE: usize = 20;

/// EncryptedPrivateKeyInfo (RFC 5958, 3).
#[derive(Sequence)]
struct Protected<'a> {
    algorithm: AlgorithmIdentifierRef<'a>,
    data: &'a OctetStringRef,
}

/// Opens a protected key; gives the DER of PKCS8.
pub(super) fn open(protected: &[u8], password: &Secret) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let protected =
        Protected::from_der(protected).map_err(|error| wire::malformed(format!("a key is no PKCS8: {error}")))?;
    if protected.algorithm.oid != JAVA_PROTECTOR {
        let algorithm = protected.algorithm.oid;
        return Err(StoreError::Unsupported(format!("a key protected by {algorithm}")));
    }
    let data = protected.data.as_bytes();
    let Some(length) = data.len().checked_sub(2 * SIZE) else {
        return Err(wire::malformed("a key is too short for its protection"));
    };
    let (salt, rest) = data.split_at(SIZE);
    let (hidden, sum) = rest.split_at(length);
    let password = text::password(password);
    let key = masked(hidden, salt, &password);
    if seal(&password, &key).as_slice() != sum {
        return Err(StoreError::WrongPassword);
    }
    Ok(key)
}

/// Protects a key.
pub(super) fn protect(key: &[u8], password: &Secret) -> Result<Vec<u8>, StoreError> {
    let mut salt = [0; SIZE];
    getrandom::fill(&mut salt).map_err(|error| StoreError::Unwritable(format!("no random numbers: {error}")))?;
    let password = text::password(password);
    let mut data = salt.to_vec();
    data.extend_from_slice(&masked(key, &salt, &password));
    data.extend_from_slice(&seal(&password, key));
    let too_large = |error: der::Error| StoreError::Unwritable(format!("the key cannot be encoded: {error}"));
    let protected = Protected {
        algorithm: AlgorithmIdentifierRef {
            oid: JAVA_PROTECTOR,
            parameters: Some(der::asn1::AnyRef::NULL),
        },
        data: OctetStringRef::new(&data).map_err(too_large)?,
    };
    protected.to_der().map_err(too_large)
}

/// XOR with the chain; it is its own inverse.
fn masked(bytes: &[u8], salt: &[u8], password: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(bytes.len()));
    let mut link: Zeroizing<Vec<u8>> = Zeroizing::new(salt.to_vec());
    for block in bytes.chunks(SIZE) {
        let mut hash = Sha1::new();
        hash.update(password);
        hash.update(&*link);
        link = Zeroizing::new(hash.finalize().to_vec());
        out.extend(block.iter().zip(&*link).map(|(byte, mask)| byte ^ mask));
    }
    out
}

fn seal(password: &[u8], key: &[u8]) -> [u8; SIZE] {
    let mut hash = Sha1::new();
    hash.update(password);
    hash.update(key);
    hash.finalize().into()
}
