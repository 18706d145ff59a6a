//! Messages as JSON. Some hold keys: no text of one gets into an error, and none is left in memory.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::{Zeroize, Zeroizing};

use super::proto::{MAX_MESSAGE, ProtoError};

/// A message as JSON.
///
/// # Errors
/// A message that is longer than a frame may be.
pub fn encode<T: Serialize>(message: &T) -> Result<Bytes, ProtoError> {
    // As long as it will be from the beginning, since a buffer that grows leaves copies behind; and wiped when it is sent: a message
    // may hold keys.
    let mut length = Length(0);
    serde_json::to_writer(&mut length, message).map_err(unencodable)?;
    let mut json = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer(&mut *json, message).map_err(unencodable)?;
    if json.len() > MAX_MESSAGE {
        return Err(ProtoError::TooLong {
            kind: 0,
            length: json.len(),
        });
    }
    Ok(Bytes::from_owner(json))
}

/// Counts what is written.
struct Length(usize);

impl std::io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A message from JSON that is not needed after it.
///
/// # Errors
/// Other JSON, no JSON.
pub fn decode_and_wipe<T: DeserializeOwned>(json: Bytes) -> Result<T, ProtoError> {
    let message = decode(&json);
    if let Ok(mut json) = json.try_into_mut() {
        json.as_mut().zeroize();
    }
    message
}

/// A message from JSON.
///
/// # Errors
/// Other JSON, no JSON.
pub fn decode<T: DeserializeOwned>(json: &[u8]) -> Result<T, ProtoError> {
    // Without the position and without the text: a message may hold secrets, and serde's errors quote.
    serde_json::from_slice(json).map_err(|error| ProtoError::Message(format!("{:?} error", error.classify())))
}

pub(super) fn unencodable(error: serde_json::Error) -> ProtoError {
    ProtoError::Message(error.to_string())
}
