//! The index of a snapshot: what it holds and where. Written last, it is what makes the snapshot exist.
//!
//! JSON lines: the snapshot, then its entries sorted by path.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use kbo_core::ids::RunId;
use kbo_core::inventory::Dataset;
use serde::{Deserialize, Serialize};

use crate::error::{At, Error};

const FORMAT: u32 = 1;

/// A snapshot of one directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) format: u32,
    pub(crate) run: RunId,
    pub(crate) dataset: Dataset,
    /// The directory as configured.
    pub(crate) label: String,
    /// How many lines follow.
    pub(crate) entries: usize,
}

/// One file, directory or link as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Relative to the directory; empty for itself.
    pub(crate) path: String,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Timestamp,
    #[serde(flatten)]
    pub(crate) kind: Kind,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Kind {
    Dir,
    Symlink {
        target: String,
    },
    /// The linked part, if any, followed by the copied part, if any.
    File {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        link: Option<Linked>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pack: Option<Packed>,
        /// Whether it holds record batches.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        records: bool,
    },
}

/// A part held by a link to the live file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Linked {
    /// Its name among the snapshot's links.
    pub(crate) name: String,
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    /// How much of it belongs to the snapshot.
    pub(crate) len: u64,
    pub(crate) check: Check,
}

/// How a linked part is known to be still what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Check {
    /// It is a clone that nobody else can reach.
    Private,
    /// Its length and modification time are as recorded.
    Unmodified { mtime: Timestamp },
    /// The header of the last batch below the recorded length (at this place) is as recorded, in hexadecimal.
    Tail { at: u64, header: String },
}

/// A part copied into a pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Packed {
    /// The pack's name.
    pub(crate) name: String,
    pub(crate) at: u64,
    pub(crate) len: u64,
}

impl Entry {
    /// Bytes of a file.
    pub(crate) fn len(&self) -> u64 {
        match &self.kind {
            Kind::File { link, pack, .. } => {
                link.as_ref().map_or(0, |link| link.len) + pack.as_ref().map_or(0, |pack| pack.len)
            }
            Kind::Dir | Kind::Symlink { .. } => 0,
        }
    }
}

/// Where a snapshot's parts lie.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) folder: PathBuf,
}

impl Layout {
    pub(crate) fn new(work: &Path) -> Self {
        Self {
            folder: work.join("snapshot"),
        }
    }

    pub(crate) fn links(&self) -> PathBuf {
        self.folder.join("links")
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.folder.join("index.jsonl")
    }
}

/// Writes the index durably: afterwards the snapshot exists.
pub(crate) fn write(
    layout: &Layout,
    run: &RunId,
    dataset: Dataset,
    label: &str,
    entries: &[Entry],
) -> Result<(), Error> {
    let path = layout.index();
    let temporary = layout.folder.join("index.tmp");
    let head = Head {
        format: FORMAT,
        run: run.clone(),
        dataset,
        label: label.to_owned(),
        entries: entries.len(),
    };
    let file = File::create(&temporary).at("create", &temporary)?;
    let mut out = BufWriter::with_capacity(1 << 18, file);
    let lines = || -> io::Result<File> {
        serde_json::to_writer(&mut out, &head)?;
        for entry in entries {
            out.write_all(b"\n")?;
            serde_json::to_writer(&mut out, entry)?;
        }
        out.flush()?;
        out.into_inner().map_err(io::IntoInnerError::into_error)
    };
    lines().and_then(|file| file.sync_all()).at("write", &temporary)?;
    fs::rename(&temporary, &path).at("rename", &temporary)?;
    crate::work::sync_dir(&layout.folder)
}

/// Reads the index of a snapshot.
///
/// # Errors
/// [`Error::State`] where there is no snapshot, [`Error::Damaged`] where it is not what was written.
pub(crate) fn read(layout: &Layout) -> Result<(Head, Vec<Entry>), Error> {
    let path = layout.index();
    let file = match crate::regular::open(&path) {
        Ok(file) => file,
        Err(error) if crate::work::is_gone(&error) => {
            return Err(Error::state(format!(
                "there is no snapshot in {}",
                layout.folder.display()
            )));
        }
        Err(error) => return Err(error).at("open", &path),
    };
    let damaged = |why: String| Error::Damaged(format!("the snapshot's index {} is damaged: {why}", path.display()));
    let mut lines = BufReader::with_capacity(1 << 18, file).lines();
    let head = lines
        .next()
        .ok_or_else(|| damaged("it is empty".to_owned()))?
        .at("read", &path)?;
    let head: Head = serde_json::from_str(&head).map_err(|error| damaged(error.to_string()))?;
    if head.format != FORMAT {
        return Err(damaged(format!(
            "its format is {}, this kbo knows {FORMAT}",
            head.format
        )));
    }
    let mut entries = Vec::new();
    for line in lines {
        let line = line.at("read", &path)?;
        let entry: Entry = serde_json::from_str(&line).map_err(|error| damaged(error.to_string()))?;
        entries.push(entry);
    }
    if entries.len() != head.entries {
        return Err(damaged(format!(
            "{} entries instead of {}",
            entries.len(),
            head.entries
        )));
    }
    Ok((head, entries))
}
