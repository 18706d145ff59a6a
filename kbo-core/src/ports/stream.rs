//! Bytes on their way between a node and the store, in chunks, under back-pressure.

use async_trait::async_trait;
use bytes::Bytes;

/// Where chunks go.
///
/// `write` returns when the chunk is taken, not before there is room for it. After an error the sink is of no use; the
/// writer stops and passes the error on, which is also how a cancelled run ends a stream.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait ByteSink: Send {
    /// Takes one chunk.
    async fn write(&mut self, chunk: Bytes) -> Result<(), StreamError>;
}

/// Where chunks come from.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait ByteSource: Send {
    /// The next chunk; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, StreamError>;
}

/// Why a stream ended early.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The operator asked for it.
    #[error("interrupted")]
    Interrupted,
    /// Reading or writing failed; the text says where.
    #[error("{context}")]
    Io {
        /// What was being done, with the path.
        context: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The other end failed.
    #[error("{0}")]
    Other(String),
}
