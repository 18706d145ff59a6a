//! What can be told of a PKCS12 store's bytes alone, before anything is computed with a password.

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Reader, SliceReader};

use super::{StoreError, malformed};

const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const ENCRYPTED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.6");
const SHROUDED_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.2");
const SECRET: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.5");
const PBES2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.13");
const SCRYPT: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11591.4.11");

/// The most iterations that a store may ask for, in all its parts together: some seconds of work. keytool asks for 10,000 by part.
const MOST_ITERATIONS: u64 = 10_000_000;

/// Whether the store has a checksum, and asks for no more work than it may.
///
/// # Errors
/// No DER of three parts, too many iterations in sum, scrypt: it takes memory as well, and neither Java nor OpenSSL makes such stores.
pub(super) fn look(bytes: &[u8]) -> Result<(), StoreError> {
    let outer = items(bytes).map_err(|error| malformed(error.to_string()))?;
    let &[pfx] = &outer[..] else {
        return Err(malformed("more than one value"));
    };
    let parts = items(pfx.value()).map_err(|error| malformed(error.to_string()))?;
    match parts[..] {
        [_, content, mac, ..] => {
            // DigestInfo, salt, iterations: 1 where they are left out.
            let mac = nth(mac, 2).map_or(1, number);
            let sum = mac.saturating_add(of_content(content)?);
            if sum > MOST_ITERATIONS {
                return Err(malformed(format!(
                    "it asks for {sum} iterations, more than {MOST_ITERATIONS} in sum"
                )));
            }
            Ok(())
        }
        [_, _] => Err(StoreError::Unsupported(
            "a PKCS12 store without a checksum: nothing shows whether it was altered; it".to_owned(),
        )),
        _ => Err(malformed("it has no content")),
    }
}

/// The iterations of a store's safes and of the keys and secrets that lie open to view in them. What has another shape is left to the decoder.
fn of_content(content: AnyRef<'_>) -> Result<u64, StoreError> {
    let mut sum = 0_u64;
    // ContentInfo, [0], OCTET STRING, SEQUENCE OF ContentInfo.
    let safes = nth(content, 1).and_then(first).and_then(first);
    for safe in safes.map(within).unwrap_or_default() {
        let Some(inner) = nth(safe, 1).and_then(first) else {
            continue;
        };
        if is(safe, ENCRYPTED_DATA) {
            // EncryptedData: version, EncryptedContentInfo: type, algorithm, content.
            sum = sum.saturating_add(of_algorithm(nth(inner, 1).and_then(|info| nth(info, 1)))?);
        } else if is(safe, DATA) {
            for bag in first(inner).map(within).unwrap_or_default() {
                if is(bag, SHROUDED_KEY) {
                    // [0], EncryptedPrivateKeyInfo: algorithm, data.
                    let key = nth(bag, 1).and_then(first);
                    sum = sum.saturating_add(of_algorithm(key.and_then(first))?);
                } else if is(bag, SECRET) {
                    // [0], SecretBag: type, [0], OCTET STRING, EncryptedPrivateKeyInfo: algorithm, data.
                    let secret = nth(bag, 1).and_then(first).and_then(|secret| nth(secret, 1));
                    let key = secret.and_then(first).and_then(first);
                    sum = sum.saturating_add(of_algorithm(key.and_then(first))?);
                }
            }
        }
    }
    Ok(sum)
}

/// The iterations of an algorithm that takes a password.
fn of_algorithm(algorithm: Option<AnyRef<'_>>) -> Result<u64, StoreError> {
    let Some((algorithm, parameters)) = algorithm.and_then(|algorithm| Some((algorithm, nth(algorithm, 1)?))) else {
        return Ok(0);
    };
    let salt_and_iterations = if is(algorithm, PBES2) {
        let kdf = first(parameters);
        if kdf.is_some_and(|kdf| is(kdf, SCRYPT)) {
            return Err(StoreError::Unsupported("a PKCS12 store with scrypt".to_owned()));
        }
        kdf.and_then(|kdf| nth(kdf, 1))
    } else {
        Some(parameters)
    };
    Ok(salt_and_iterations.and_then(|both| nth(both, 1)).map_or(0, number))
}

/// The values that follow each other.
fn items(bytes: &[u8]) -> der::Result<Vec<AnyRef<'_>>> {
    let mut reader = SliceReader::new(bytes)?;
    let mut items = Vec::new();
    while !reader.is_finished() {
        items.push(reader.decode()?);
    }
    Ok(items)
}

fn within(value: AnyRef<'_>) -> Vec<AnyRef<'_>> {
    items(value.value()).unwrap_or_default()
}

fn nth(value: AnyRef<'_>, at: usize) -> Option<AnyRef<'_>> {
    let mut reader = SliceReader::new(value.value()).ok()?;
    for _ in 0..at {
        reader.decode::<AnyRef<'_>>().ok()?;
    }
    reader.decode().ok()
}

fn first(value: AnyRef<'_>) -> Option<AnyRef<'_>> {
    nth(value, 0)
}

/// Whether a structure begins with this identifier.
fn is(value: AnyRef<'_>, oid: ObjectIdentifier) -> bool {
    first(value).is_some_and(|first| first.value() == oid.as_bytes())
}

/// An INTEGER; what is negative or larger than any count is taken for the largest.
fn number(value: AnyRef<'_>) -> u64 {
    let bytes = value.value();
    if bytes.first().is_some_and(|byte| byte & 0x80 != 0) || bytes.len() > 8 {
        return u64::MAX;
    }
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The time in Java's local key ids: `Time 1700000000000`.
pub(super) fn time(id: &[u8]) -> Option<u64> {
    std::str::from_utf8(id).ok()?.strip_prefix("Time ")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use der::Decode;

    fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        [&[tag, u8::try_from(content.len()).unwrap()][..], &content].concat()
    }

    fn pbes2(kdf: ObjectIdentifier, iterations: &[u8]) -> Vec<u8> {
        let parameters = tlv(0x30, &[&tlv(0x04, &[b"salt"]), &tlv(0x02, &[iterations])]);
        let kdf = tlv(0x30, &[&tlv(0x06, &[kdf.as_bytes()]), &parameters]);
        tlv(0x30, &[&tlv(0x06, &[PBES2.as_bytes()]), &tlv(0x30, &[&kdf])])
    }

    fn asked(algorithm: &[u8]) -> Result<u64, StoreError> {
        of_algorithm(Some(AnyRef::from_der(algorithm).unwrap()))
    }

    #[test]
    fn the_iterations_of_an_algorithm_are_found() {
        let pbkdf2 = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.12");
        assert_eq!(asked(&pbes2(pbkdf2, &[0x27, 0x10])), Ok(10_000));
        assert_eq!(asked(&pbes2(pbkdf2, &[0xFF])), Ok(u64::MAX));
        assert_eq!(asked(&pbes2(pbkdf2, &[1; 9])), Ok(u64::MAX));
        assert_eq!(asked(&tlv(0x30, &[])), Ok(0));
    }

    #[test]
    fn scrypt_is_not_supported() {
        let read = asked(&pbes2(SCRYPT, &[0x40, 0x00]));
        assert!(
            matches!(&read, Err(StoreError::Unsupported(what)) if what.contains("scrypt")),
            "{read:?}"
        );
    }
}
