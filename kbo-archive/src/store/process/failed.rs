//! A store's error on its way between processes: it arrives as what it was.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, PoisonError};

use kbo_core::ids::{BackupId, ClusterName};
use kbo_core::ports::store::{LockOwner, StoreError};
use kbo_core::ports::stream::StreamError;
use serde::{Deserialize, Serialize};

/// A [`StoreError`] as it travels.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Failed {
    Locked {
        cluster: ClusterName,
        owner: Box<LockOwner>,
    },
    Waits {
        cluster: ClusterName,
        owner: Box<LockOwner>,
        pid: u32,
    },
    NoSuchBackup(BackupId),
    InUse(BackupId),
    Taken(String),
    Unsupported {
        path: String,
        why: String,
    },
    Format {
        path: String,
        why: String,
    },
    NoSpace {
        path: String,
    },
    DoesNotFit {
        path: String,
        need: u64,
        free: u64,
    },
    Io {
        action: String,
        path: String,
        source: Cause,
    },
    Unresponsive {
        store: String,
        action: String,
        seconds: u64,
    },
    Interrupted,
    StreamIo {
        context: String,
        source: Cause,
    },
    Other(String),
}

/// An error of the system.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Cause {
    code: Option<i32>,
    kind: Option<Named>,
    text: String,
}

/// The kinds of errors without a code that somebody tells apart.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Named {
    AlreadyExists,
    Interrupted,
    InvalidData,
    NotFound,
    PermissionDenied,
    StorageFull,
    UnexpectedEof,
}

const KINDS: [(Named, io::ErrorKind); 7] = [
    (Named::AlreadyExists, io::ErrorKind::AlreadyExists),
    (Named::Interrupted, io::ErrorKind::Interrupted),
    (Named::InvalidData, io::ErrorKind::InvalidData),
    (Named::NotFound, io::ErrorKind::NotFound),
    (Named::PermissionDenied, io::ErrorKind::PermissionDenied),
    (Named::StorageFull, io::ErrorKind::StorageFull),
    (Named::UnexpectedEof, io::ErrorKind::UnexpectedEof),
];

impl From<&io::Error> for Cause {
    fn from(error: &io::Error) -> Self {
        let named = KINDS.iter().find(|(_, kind)| *kind == error.kind());
        Self {
            code: error.raw_os_error(),
            kind: named.map(|(named, _)| *named),
            text: error.to_string(),
        }
    }
}

impl From<Cause> for io::Error {
    fn from(cause: Cause) -> Self {
        if let Some(code) = cause.code {
            return io::Error::from_raw_os_error(code);
        }
        let kind = cause.kind.and_then(|named| {
            let known = KINDS.iter().find(|(known, _)| *known as u8 == named as u8);
            known.map(|(_, kind)| *kind)
        });
        io::Error::new(kind.unwrap_or(io::ErrorKind::Other), cause.text)
    }
}

impl From<&StoreError> for Failed {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Locked { cluster, owner } => Failed::Locked {
                cluster: cluster.clone(),
                owner: owner.clone(),
            },
            StoreError::Waits { cluster, owner, pid } => Failed::Waits {
                cluster: cluster.clone(),
                owner: owner.clone(),
                pid: *pid,
            },
            StoreError::NoSuchBackup(id) => Failed::NoSuchBackup(id.clone()),
            StoreError::InUse(id) => Failed::InUse(id.clone()),
            StoreError::Taken(what) => Failed::Taken(what.clone()),
            StoreError::Unsupported { path, why } => Failed::Unsupported {
                path: path.clone(),
                why: why.clone(),
            },
            StoreError::Format { path, why } => Failed::Format {
                path: path.clone(),
                why: why.clone(),
            },
            StoreError::NoSpace { path } => Failed::NoSpace { path: path.clone() },
            StoreError::DoesNotFit { path, need, free } => Failed::DoesNotFit {
                path: path.clone(),
                need: *need,
                free: *free,
            },
            StoreError::Io { action, path, source } => Failed::Io {
                action: (*action).to_owned(),
                path: path.clone(),
                source: source.into(),
            },
            StoreError::Unresponsive { store, action, seconds } => Failed::Unresponsive {
                store: store.clone(),
                action: action.clone(),
                seconds: *seconds,
            },
            StoreError::Stream(error) => error.into(),
        }
    }
}

impl From<&StreamError> for Failed {
    fn from(error: &StreamError) -> Self {
        match error {
            StreamError::Interrupted => Failed::Interrupted,
            StreamError::Io { context, source } => Failed::StreamIo {
                context: context.clone(),
                source: source.into(),
            },
            StreamError::Other(text) => Failed::Other(text.clone()),
        }
    }
}

impl From<Failed> for StoreError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Locked { cluster, owner } => StoreError::Locked { cluster, owner },
            Failed::Waits { cluster, owner, pid } => StoreError::Waits { cluster, owner, pid },
            Failed::NoSuchBackup(id) => StoreError::NoSuchBackup(id),
            Failed::InUse(id) => StoreError::InUse(id),
            Failed::Taken(what) => StoreError::Taken(what),
            Failed::Unsupported { path, why } => StoreError::Unsupported { path, why },
            Failed::Format { path, why } => StoreError::Format { path, why },
            Failed::NoSpace { path } => StoreError::NoSpace { path },
            Failed::DoesNotFit { path, need, free } => StoreError::DoesNotFit { path, need, free },
            Failed::Io { action, path, source } => StoreError::Io {
                action: one_of_few(&action),
                path,
                source: source.into(),
            },
            Failed::Unresponsive { store, action, seconds } => StoreError::Unresponsive { store, action, seconds },
            Failed::Interrupted => StreamError::Interrupted.into(),
            Failed::StreamIo { context, source } => StreamError::Io {
                context,
                source: source.into(),
            }
            .into(),
            Failed::Other(text) => StreamError::Other(text).into(),
        }
    }
}

/// An error's action is a literal of our own program, so there are only so many; each is kept once.
fn one_of_few(action: &str) -> &'static str {
    static KNOWN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = known.get(action) {
        return known;
    }
    let kept: &'static str = Box::leak(action.to_owned().into_boxed_str());
    known.insert(kept);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn travelled(error: &StoreError) -> StoreError {
        let text = serde_json::to_string(&Failed::from(error)).unwrap();
        serde_json::from_str::<Failed>(&text).unwrap().into()
    }

    #[test]
    fn an_error_of_the_system_arrives_with_its_code_and_its_words() {
        let full = StoreError::Io {
            action: "write",
            path: "/store/x".to_owned(),
            source: io::Error::from_raw_os_error(28),
        };
        let StoreError::Io { action, path, source } = travelled(&full) else {
            panic!("another error arrived");
        };
        assert_eq!((action, path.as_str()), ("write", "/store/x"));
        assert_eq!(
            (source.raw_os_error(), source.kind()),
            (Some(28), io::ErrorKind::StorageFull)
        );
    }

    #[test]
    fn an_error_without_a_code_arrives_with_its_kind() {
        for (_, kind) in KINDS {
            let error = StoreError::Io {
                action: "write",
                path: "x".to_owned(),
                source: io::Error::new(kind, "why"),
            };
            let StoreError::Io { source, .. } = travelled(&error) else {
                panic!("another error arrived");
            };
            assert_eq!((source.kind(), source.to_string().as_str()), (kind, "why"));
        }
    }
}
