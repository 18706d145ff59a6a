//! Forms of private keys that are not read: told apart from damage, with what makes one of them readable.

use pkcs8::der::{AnyRef, Decode as _, Reader as _, SliceReader, Tag, Tagged as _};

use super::KeyError;
use crate::public_key;

/// A key that is encrypted in a way that is not supported.
pub(crate) fn encryption(what: &str) -> KeyError {
    KeyError::OtherForm {
        what: what.to_owned(),
        way: "openssl pkcs8 -topk8 -v2 aes256 -in KEY -out NEW",
    }
}

/// A curve by its numbers instead of its name.
pub(super) fn explicit_curve() -> KeyError {
    KeyError::OtherForm {
        what: "a private key with the numbers of its curve instead of the curve's name".to_owned(),
        way: "openssl ec -param_enc named_curve -in KEY -out NEW",
    }
}

/// Whether the bytes have the shape of PKCS8's EncryptedPrivateKeyInfo, whatever it is encrypted by.
pub(super) fn is_encrypted(der: &[u8]) -> bool {
    let parts = parts(der);
    matches!(&parts[..], [algorithm, data]
        if algorithm.tag() == Tag::Sequence
            && data.tag() == Tag::OctetString
            && AnyRef::from_der_partial(algorithm.value()).is_ok_and(|(oid, _)| oid.tag() == Tag::ObjectIdentifier))
}

/// Whether the bytes have the shape of SEC1's ECPrivateKey with a curve that is not named.
pub(super) fn has_explicit_curve(der: &[u8]) -> bool {
    let parts = parts(der);
    matches!(&parts[..], [version, number, curve, ..]
        if version.tag() == Tag::Integer
            && number.tag() == Tag::OctetString
            && curve.tag().is_context_specific()
            && AnyRef::from_der(curve.value()).is_ok_and(|curve| curve.tag() == Tag::Sequence))
}

/// The usual name of an algorithm or a curve; else its identifier.
pub(super) fn name(oid: &str) -> &str {
    match oid {
        public_key::P521 => "P-521",
        "1.3.132.0.33" => "P-224",
        "1.3.132.0.10" => "secp256k1",
        "1.3.36.3.3.2.8.1.1.7" => "brainpoolP256r1",
        "1.3.36.3.3.2.8.1.1.11" => "brainpoolP384r1",
        "1.3.36.3.3.2.8.1.1.13" => "brainpoolP512r1",
        "1.3.101.113" => "Ed448",
        "1.3.101.110" => "X25519",
        "1.2.840.10040.4.1" => "DSA",
        other => other,
    }
}

/// What a sequence holds; nothing where the bytes are none.
fn parts(der: &[u8]) -> Vec<AnyRef<'_>> {
    let mut found = vec![];
    let sequence = AnyRef::from_der(der).ok().filter(|all| all.tag() == Tag::Sequence);
    let reader = sequence.and_then(|all| SliceReader::new(all.value()).ok());
    if let Some(mut reader) = reader {
        while !reader.is_finished() {
            let Ok(part) = reader.decode() else { return vec![] };
            found.push(part);
        }
    }
    found
}
