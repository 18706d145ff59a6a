//! Streams in memory.

use std::collections::VecDeque;

use async_trait::async_trait;
use bytes::Bytes;

use super::clock::breathe;
use crate::ports::stream::{ByteSink, ByteSource, StreamError};

/// How many bytes the fakes send at once: few, so that even small archives come in several chunks.
pub(super) const CHUNK: usize = 256;

/// A sink that keeps what it takes.
#[derive(Debug, Default)]
pub struct CollectSink(pub Vec<u8>);

#[async_trait]
impl ByteSink for CollectSink {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StreamError> {
        self.0.extend_from_slice(&chunk);
        Ok(())
    }
}

/// A sink that takes some chunks and then fails.
#[derive(Debug)]
pub struct FailingSink {
    /// Chunks still taken.
    pub takes: usize,
}

#[async_trait]
impl ByteSink for FailingSink {
    async fn write(&mut self, _chunk: Bytes) -> Result<(), StreamError> {
        match self.takes.checked_sub(1) {
            Some(left) => {
                self.takes = left;
                Ok(())
            }
            None => Err(StreamError::Other("the sink takes no more".to_owned())),
        }
    }
}

/// A source of bytes at hand.
#[derive(Debug)]
pub struct BytesSource {
    chunks: VecDeque<Bytes>,
    fails_at_end: bool,
}

impl BytesSource {
    /// All of `bytes`, in small chunks.
    pub fn new(bytes: &[u8]) -> Self {
        Self {
            chunks: bytes.chunks(CHUNK).map(Bytes::copy_from_slice).collect(),
            fails_at_end: false,
        }
    }

    /// The same, but where its end should be there is an error.
    #[must_use]
    pub fn failing_at_the_end(mut self) -> Self {
        self.fails_at_end = true;
        self
    }
}

#[async_trait]
impl ByteSource for BytesSource {
    async fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
        breathe().await;
        match self.chunks.pop_front() {
            Some(chunk) => Ok(Some(chunk)),
            None if self.fails_at_end => Err(StreamError::Other("the source broke".to_owned())),
            None => Ok(None),
        }
    }
}
