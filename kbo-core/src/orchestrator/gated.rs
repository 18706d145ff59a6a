//! Streams between a node and the store that end early when the run is to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use super::run::StepError;
use crate::cancel::Cancel;
use crate::ports::node::NodeError;
use crate::ports::store::{ArchiveWriter, StoreError};
use crate::ports::stream::{ByteSink, ByteSource, StreamError};
use crate::report::chain;

/// Whether a stream should end early.
pub(super) struct Gate {
    cancel: Cancel,
    failed: Arc<AtomicBool>,
}

impl Gate {
    pub(super) fn new(cancel: Cancel, failed: Arc<AtomicBool>) -> Self {
        Self { cancel, failed }
    }

    pub(super) fn is_shut(&self) -> bool {
        self.cancel.is_asked() || self.failed.load(Ordering::Relaxed)
    }
}

/// Where the store broke a stream, its error tells more than what the node makes of it.
pub(super) fn blame<T>(result: Result<T, NodeError>, error: Option<StreamError>) -> Result<T, StepError> {
    match (result, error) {
        (Ok(value), _) => Ok(value),
        (Err(_), Some(error)) => Err(StoreError::Stream(error).into()),
        (Err(error), None) => Err(error.into()),
    }
}

/// Keeps an error of the store, and passes its text on to the node.
fn keep(kept: &mut Option<StreamError>, error: StreamError) -> StreamError {
    let text = chain(&error);
    *kept = Some(error);
    StreamError::Other(text)
}

/// An archive file that ends early when the run is to end.
pub(super) struct GatedSink {
    pub(super) file: Box<dyn ArchiveWriter>,
    pub(super) gate: Gate,
    pub(super) error: Option<StreamError>,
}

#[async_trait]
impl ByteSink for GatedSink {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StreamError> {
        if self.gate.is_shut() {
            return Err(StreamError::Interrupted);
        }
        self.file
            .write(chunk)
            .await
            .map_err(|error| keep(&mut self.error, error))
    }
}

/// The same for reading.
pub(super) struct GatedSource {
    pub(super) file: Box<dyn ByteSource>,
    pub(super) gate: Gate,
    pub(super) error: Option<StreamError>,
}

#[async_trait]
impl ByteSource for GatedSource {
    async fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
        if self.gate.is_shut() {
            return Err(StreamError::Interrupted);
        }
        self.file.next().await.map_err(|error| keep(&mut self.error, error))
    }
}
