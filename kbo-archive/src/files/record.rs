//! What kbo notes in its folders: which files they are about, and what is being done with them.

use std::collections::BTreeMap;

use kbo_core::ids::RunId;
use kbo_core::manifest::Sha256;
use kbo_core::ports::files::{MAX_FILES, is_name};
use serde::{Deserialize, Serialize};

use super::folder::Folder;
use crate::error::Error;

const NAME: &str = ".kbo-record.json";
const TEMPORARY: &str = ".kbo-record.tmp";
const VERSION: u32 = 1;
const MAX_SIZE: u64 = 1 << 20;

/// The note in a folder of staged files, which goes with it when it becomes the folder of earlier ones. Written last when staging: a
/// folder without it is no complete one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    version: u32,
    /// On whose behalf.
    pub(super) run: RunId,
    /// The new files.
    pub(super) files: Vec<New>,
    /// Whether the earlier files are in place, and the new ones in the folder.
    pub(super) rolled_back: bool,
    /// What was begun and may be half done.
    pub(super) doing: Option<Doing>,
}

/// A new file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    pub(super) name: String,
    pub(super) ino: u64,
    pub(super) sha256: Sha256,
}

/// Something begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Doing {
    pub(super) what: What,
    /// The directory in which it was: in a copy of it (a restored one) the inodes mean nothing.
    pub(super) dir: u64,
    /// The inodes in place when it began.
    pub(super) before: BTreeMap<String, Option<u64>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    Commit,
    Undo,
    Rollback,
}

impl Record {
    pub(super) fn new(run: &RunId, files: Vec<New>) -> Self {
        Self {
            version: VERSION,
            run: run.clone(),
            files,
            rolled_back: false,
            doing: None,
        }
    }

    /// What is noted in a folder, if anything is.
    pub(super) fn read(folder: &Folder) -> Result<Option<Self>, Error> {
        let Some(bytes) = folder.read_small(NAME, MAX_SIZE)? else {
            return Ok(None);
        };
        let damaged = |why: String| Error::Damaged(format!("{} is damaged: {why}", folder.path(NAME).display()));
        let record: Self = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if record.version != VERSION {
            return Err(damaged(format!("it is of version {}", record.version)));
        }
        // It lies in a directory that others than root may own.
        let doing = record.doing.iter().flat_map(|doing| doing.before.keys());
        let is_ours = record.names().chain(doing.map(String::as_str)).all(is_name);
        if record.files.len() > MAX_FILES || !is_ours {
            return Err(damaged("it names what is none of ours".to_owned()));
        }
        Ok(Some(record))
    }

    /// The same, where one that is damaged is as good as none.
    pub(super) fn read_or_none(folder: &Folder) -> Result<Option<Self>, Error> {
        match Self::read(folder) {
            Err(error @ Error::Damaged(_)) => {
                tracing::warn!(%error, "it is left alone");
                Ok(None)
            }
            read => read,
        }
    }

    pub(super) fn write(&self, folder: &Folder) -> Result<(), Error> {
        let json = serde_json::to_vec(self).map_err(|error| Error::state(error.to_string()))?;
        folder.remove(TEMPORARY)?;
        folder.write(TEMPORARY, &json, None, 0o600)?;
        folder.replace(TEMPORARY, folder, NAME)?;
        folder.sync()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }

    /// Notes what begins now.
    pub(super) fn begin(&mut self, what: What, dir: &Folder, folder: &Folder) -> Result<(), Error> {
        let before = self
            .names()
            .map(|name| Ok((name.to_owned(), dir.ino(name)?)))
            .collect::<Result<_, Error>>()?;
        self.doing = Some(Doing {
            what,
            dir: dir.stat()?.st_ino,
            before,
        });
        self.write(folder)
    }

    /// Notes that nothing is half done.
    pub(super) fn end(&mut self, folder: &Folder) -> Result<(), Error> {
        self.doing = None;
        self.write(folder)
    }
}
