//! Numbers, texts and lengths as Java's DataOutputStream writes them.

use super::text;
use crate::store::StoreError;

pub(super) fn malformed(why: impl Into<String>) -> StoreError {
    StoreError::Malformed {
        format: "JKS",
        why: why.into(),
    }
}

/// Bytes to be read from the front; nothing is allocated for what they only claim to hold.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// A reader that has read `at` bytes already.
    pub(super) fn after(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    pub(super) fn rest(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    fn take(&mut self, length: usize, what: &str) -> Result<&'a [u8], StoreError> {
        let end = self.at.checked_add(length);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| malformed(format!("it ends within {what}, at byte {}", self.at)))?;
        self.at += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], StoreError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, StoreError> {
        self.array(what).map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, StoreError> {
        self.array(what).map(u64::from_be_bytes)
    }

    /// Bytes behind their length.
    pub(super) fn bytes(&mut self, what: &str) -> Result<&'a [u8], StoreError> {
        let length = self.u32(what)?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX), what)
    }

    /// A text of writeUTF.
    pub(super) fn text(&mut self, what: &str) -> Result<String, StoreError> {
        let length = u16::from_be_bytes(self.array(what)?);
        let at = self.at;
        text::decode(self.take(usize::from(length), what)?)
            .ok_or_else(|| malformed(format!("{what} at byte {at} is no text")))
    }
}

/// The same being written.
#[derive(Default)]
pub(super) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    pub(super) fn u32(&mut self, number: u32) {
        self.out.extend_from_slice(&number.to_be_bytes());
    }

    pub(super) fn u64(&mut self, number: u64) {
        self.out.extend_from_slice(&number.to_be_bytes());
    }

    pub(super) fn count(&mut self, count: usize) -> Result<(), StoreError> {
        // Java's own numbers have a sign.
        let count = i32::try_from(count).map_err(|_| StoreError::Unwritable("the store is too large".to_owned()))?;
        self.out.extend_from_slice(&count.to_be_bytes());
        Ok(())
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.count(bytes.len())?;
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    pub(super) fn text(&mut self, text: &str) -> Result<(), StoreError> {
        let encoded = text::encode(text);
        let length = u16::try_from(encoded.len())
            .map_err(|_| StoreError::Unwritable("an alias is longer than 65535 bytes".to_owned()))?;
        self.out.extend_from_slice(&length.to_be_bytes());
        self.out.extend_from_slice(&encoded);
        Ok(())
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.out
    }
}
