//! Why an operation on a node's files failed.

use std::io;
use std::path::{Path, PathBuf};

use kbo_core::ports::node::{NodeError, NodeErrorKind};
use kbo_core::ports::stream::StreamError;

/// Why an operation on a node's files failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused something.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried, as a verb: `open`, `link`.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The other end of the stream failed: the caller's sink or source.
    #[error("cannot {doing} the archive stream")]
    Stream {
        /// `read` or `write`.
        doing: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What was read is not what it should be; the text names the file.
    #[error("{0}")]
    Damaged(String),
    /// The files are not in the state that the operation needs.
    #[error("{what}")]
    State {
        /// What was found, and where.
        what: String,
        /// What to do next.
        hint: Option<&'static str>,
    },
    /// The caller ended it.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// A state error without a hint.
    pub(crate) fn state(what: impl Into<String>) -> Self {
        Self::State {
            what: what.into(),
            hint: None,
        }
    }

    /// What the domain decides by.
    pub fn kind(&self) -> NodeErrorKind {
        match self {
            Self::Io { source, .. } | Self::Stream { source, .. } if is_no_space(source) => NodeErrorKind::NoSpace,
            Self::Stream { source, .. } if is_interruption(source) => NodeErrorKind::Interrupted,
            Self::Io { .. } | Self::Stream { .. } => NodeErrorKind::Io,
            Self::Damaged(_) => NodeErrorKind::Damaged,
            Self::State { .. } => NodeErrorKind::State,
            Self::Interrupted => NodeErrorKind::Interrupted,
        }
    }

    /// What to do next, where there is something to say.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::State { hint, .. } => *hint,
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Some("make room on that filesystem and run it again")
                }
                io::ErrorKind::PermissionDenied => Some("run kbo as root on the node, or set `become = true` for it"),
                io::ErrorKind::ReadOnlyFilesystem => {
                    Some("the filesystem is read-only: see the kernel's log for why, and mount it read-write")
                }
                _ => None,
            },
            Self::Stream { .. } | Self::Damaged(_) | Self::Interrupted => None,
        }
    }
}

fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn is_interruption(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<StreamError>());
    matches!(inner, Some(StreamError::Interrupted))
}

impl From<Error> for NodeError {
    fn from(error: Error) -> Self {
        // A NodeError crosses the wire as text: this is the edge at which the chain is written out.
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(source) = cause {
            message = format!("{message}: {source}");
            cause = source.source();
        }
        let mut node_error = NodeError::new(error.kind(), message);
        node_error.hint = error.hint().map(str::to_owned);
        node_error
    }
}

/// Says on what a system call failed.
pub(crate) trait At<T> {
    fn at(self, doing: &'static str, path: impl AsRef<Path>) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, doing: &'static str, path: impl AsRef<Path>) -> Result<T, Error> {
        self.map_err(|source| Error::Io {
            doing,
            path: path.as_ref().to_owned(),
            source: source.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_no_space_and_names_the_path() {
        let full: Result<(), io::Error> = Err(io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error()));
        let error: NodeError = full.at("write", "/data/x").unwrap_err().into();
        assert_eq!(error.kind, NodeErrorKind::NoSpace);
        assert!(
            error.message.contains("/data/x") && error.message.contains("No space"),
            "{}",
            error.message
        );
        assert!(error.hint.is_some());
    }

    #[test]
    fn an_interrupted_sink_is_an_interruption() {
        let error = Error::Stream {
            doing: "write",
            source: io::Error::other(StreamError::Interrupted),
        };
        assert_eq!(error.kind(), NodeErrorKind::Interrupted);
    }
}
