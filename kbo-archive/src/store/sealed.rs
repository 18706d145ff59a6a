//! Small documents of the store with a checksum of themselves in them, so that a byte that changes is found: they are in no SHA256SUMS.

use kbo_core::manifest::Sha256;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sha2::Digest;

/// The key of the checksum: SHA-256 of the document without it, as compact JSON.
const KEY: &str = "sha256";

/// A document as it is written.
pub(super) fn seal<T: Serialize>(document: &T) -> Result<String, String> {
    let mut fields = fields(document)?;
    let sum = sum(&fields)?;
    fields.insert(KEY.to_owned(), Value::String(sum));
    let text = serde_json::to_string_pretty(&fields).map_err(|error| error.to_string())?;
    Ok(text + "\n")
}

/// A document as it was read.
///
/// # Errors
/// It is none of its kind, or is not as it was written. Those of kbo 0.1.0 have no checksum; of them only what they say is checked.
pub(super) fn unseal<T: Serialize + DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    let mut read: Map<String, Value> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let checksum = read.remove(KEY);
    let document: T = serde_json::from_value(Value::Object(read.clone())).map_err(|error| error.to_string())?;
    let known = fields(&document)?;
    if let Some(key) = read.keys().find(|key| !known.contains_key(*key)) {
        return Err(format!("it has a field {key:?} that is not known"));
    }
    match checksum {
        None => Ok(document),
        // Byte by byte: blanks and line breaks are under the checksum, too.
        Some(Value::String(sealed)) if sealed == sum(&read)? && text == seal(&document)?.as_bytes() => Ok(document),
        Some(_) => Err("its checksum is not that of its content: it was changed, or is damaged".to_owned()),
    }
}

fn fields<T: Serialize>(document: &T) -> Result<Map<String, Value>, String> {
    match serde_json::to_value(document) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err("it is no JSON object".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn sum(fields: &Map<String, Value>) -> Result<String, String> {
    let text = serde_json::to_vec(fields).map_err(|error| error.to_string())?;
    Ok(Sha256(sha2::Sha256::digest(text).into()).to_string())
}

#[cfg(test)]
mod tests {
    use kbo_core::ports::store::Pin;

    use super::*;

    #[test]
    fn every_byte_of_a_sealed_document_counts_and_one_without_a_seal_is_read() {
        let pin = Pin {
            reason: Some("before the upgrade".to_owned()),
            since: "2026-11-22T03:00:00Z".parse().unwrap(),
            by: None,
        };
        let text = seal(&pin).unwrap().into_bytes();
        assert_eq!(unseal::<Pin>(&text).unwrap(), pin);
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut turned = text.clone();
                turned[at] ^= 1 << bit;
                assert!(unseal::<Pin>(&turned).is_err(), "byte {at}, bit {bit}");
            }
            assert!(unseal::<Pin>(&text[..at]).is_err(), "cut at {at}");
        }
        let plain = serde_json::to_vec_pretty(&pin).unwrap();
        assert_eq!(unseal::<Pin>(&plain).unwrap(), pin);
    }
}
