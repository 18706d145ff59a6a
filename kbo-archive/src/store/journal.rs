//! The journals of runs: one line of JSON per entry, durable before the step it announces.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use kbo_core::ids::{ClusterName, RunId};
use kbo_core::journal::Entry;
use kbo_core::ports::journal::Journal;
use kbo_core::ports::store::StoreError;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::durable::{blocking, create_new, ensure_dir, format, io as failed, remove_file, sync_dir};
use super::layout::Layout;

/// How many ended journals of a cluster are kept, for people who ask what happened.
const KEPT: usize = 20;
const EXTENSION: &str = "jsonl";
const DONE: &str = "done";

/// A run's journal in a file.
pub(super) struct DirJournal {
    run: RunId,
    lines: Arc<Lines>,
    is_alive: bool,
}

/// Begins the journal of a run.
pub(super) fn begin(layout: &Layout, cluster: &ClusterName, run: &RunId) -> Result<DirJournal, StoreError> {
    layout.ensure()?;
    let folder = layout.journals(cluster);
    ensure_dir(&folder)?;
    let name = format!("{run}.{EXTENSION}");
    let path = folder.join(&name);
    if path.exists() || folder.join(DONE).join(&name).exists() {
        return Err(StoreError::Taken(run.to_string()));
    }
    let file = create_new(&path)?;
    // Held as long as the run lives, so that nobody takes it for a dead one's. Who looks at it holds it for a moment.
    file.lock().map_err(failed("lock", &path))?;
    sync_dir(&folder)?;
    Ok(DirJournal {
        run: run.clone(),
        lines: Arc::new(Lines::new(path, file)),
        is_alive: true,
    })
}

/// The journals of runs that have not ended, oldest first.
pub(super) fn open_all(layout: &Layout, cluster: &ClusterName) -> Result<Vec<DirJournal>, StoreError> {
    layout.check()?;
    let mut open = Vec::new();
    for (run, path) in journals_in(&layout.journals(cluster))? {
        let file = match open_existing(&path) {
            Ok(file) => file,
            // Its run has ended since the folder was read.
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let is_alive = is_held(&file, &path)?;
        open.push(DirJournal {
            run,
            lines: Arc::new(Lines::new(path, file)),
            is_alive,
        });
    }
    Ok(open)
}

fn open_existing(path: &Path) -> Result<File, StoreError> {
    crate::regular::open_as(path, OpenOptions::new().read(true).write(true)).map_err(failed("open", path))
}

/// Whether the process that began it lives. The look takes the lock for a moment, and shares it with other looks.
fn is_held(file: &File, path: &Path) -> Result<bool, StoreError> {
    match file.try_lock_shared() {
        Ok(()) => file.unlock().map(|()| false).map_err(failed("unlock", path)),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(failed("lock", path)(error)),
    }
}

#[async_trait]
impl Journal for DirJournal {
    fn run(&self) -> &RunId {
        &self.run
    }

    fn is_alive(&self) -> bool {
        self.is_alive
    }

    async fn append(&self, entry: &Entry) -> Result<(), StoreError> {
        let line = self.lines.encode(entry)?;
        let lines = Arc::clone(&self.lines);
        blocking(move || lines.append(&line)).await
    }

    async fn entries(&self) -> Result<Vec<Entry>, StoreError> {
        let lines = Arc::clone(&self.lines);
        blocking(move || lines.read()).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        let lines = Arc::clone(&self.lines);
        blocking(move || close(&lines.path)).await
    }
}

/// A file of JSON lines that only ever grows by whole ones.
struct Lines {
    path: PathBuf,
    file: Mutex<File>,
}

impl Lines {
    fn new(path: PathBuf, file: File) -> Self {
        Self {
            path,
            file: Mutex::new(file),
        }
    }

    fn encode(&self, entry: &impl Serialize) -> Result<Vec<u8>, StoreError> {
        let mut line = serde_json::to_vec(entry).map_err(|error| format(&self.path, error.to_string()))?;
        line.push(b'\n');
        Ok(line)
    }

    /// Adds a line behind the last whole one: what a crash or a full disk left of another is cut off first, or it would be
    /// glued to this one.
    fn append(&self, line: &[u8]) -> Result<(), StoreError> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = whole_length(&file).map_err(failed("read", &self.path))?;
        file.set_len(whole)
            .and_then(|()| file.write_all_at(line, whole))
            .and_then(|()| file.sync_data())
            .map_err(failed("write", &self.path))
    }

    fn read<T: DeserializeOwned>(&self) -> Result<Vec<T>, StoreError> {
        let mut text = Vec::new();
        crate::regular::open(&self.path)
            .and_then(|mut file| io::Read::read_to_end(&mut file, &mut text))
            .map_err(failed("read", &self.path))?;
        let mut entries = Vec::new();
        let mut lines = text.split_inclusive(|c| *c == b'\n').enumerate().peekable();
        while let Some((index, line)) = lines.next() {
            match serde_json::from_slice(line) {
                // Without its end it was never acknowledged, even where it happens to parse.
                Ok(entry) if line.ends_with(b"\n") => entries.push(entry),
                // A power cut may also leave the end of a line and not its middle.
                _ if lines.peek().is_none() => {}
                Ok(_) => {}
                Err(error) => return Err(format(&self.path, format!("line {} is damaged: {error}", index + 1))),
            }
        }
        Ok(entries)
    }
}

/// The length up to the end of the last line that reads as one.
fn whole_length(file: &File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut text = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut text, 0)?;
    let last = text.split_inclusive(|c| *c == b'\n').next_back().unwrap_or_default();
    let torn = !last.ends_with(b"\n") || serde_json::from_slice::<serde::de::IgnoredAny>(last).is_err();
    Ok(length - if torn { last.len() as u64 } else { 0 })
}

/// Moves an ended journal away from the open ones; done before, it is done.
fn close(path: &Path) -> Result<(), StoreError> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(format(path, "it is no journal"));
    };
    let done = folder.join(DONE);
    ensure_dir(&done)?;
    match fs::rename(path, done.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && done.join(name).exists() => {}
        result => result.map_err(failed("close", path))?,
    }
    sync_dir(folder)?;
    sync_dir(&done)?;
    let ended = journals_in(&done)?;
    for (_, old) in ended.iter().take(ended.len().saturating_sub(KEPT)) {
        remove_file(old)?;
    }
    Ok(())
}

/// The journals in a folder, oldest first.
fn journals_in(folder: &Path) -> Result<Vec<(RunId, PathBuf)>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("read", folder)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed("read", folder))?.path();
        let run = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .and_then(|stem| stem.parse().ok());
        if let (Some(run), Some(EXTENSION)) = (run, path.extension().and_then(|extension| extension.to_str())) {
            found.push((run, path));
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::durable::open_or_create;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn lines(folder: &Path) -> Lines {
        let path = folder.join("20261122T030000Z.jsonl");
        let file = open_or_create(&path).unwrap();
        Lines::new(path, file)
    }

    fn add(lines: &Lines, entry: &Value) {
        lines.append(&lines.encode(entry).unwrap()).unwrap();
    }

    #[test]
    fn a_damaged_line_in_the_middle_is_an_error_that_names_it() {
        let temp = tempfile::tempdir().unwrap();
        let lines = lines(temp.path());
        fs::write(&lines.path, "{\"step\":1}\n{\"ste\n{\"step\":3}\n").unwrap();
        let error = lines.read::<Value>().unwrap_err().to_string();
        assert!(error.contains("20261122T030000Z.jsonl: line 2 is damaged"), "{error}");
    }

    #[test]
    fn an_entry_after_a_torn_one_stands_on_a_line_of_its_own() {
        for torn in ["{\"step\":2", "{\"step\":2}", "\0\0\0\0", "{\"st\0\0\0\0}\n", "x"] {
            let temp = tempfile::tempdir().unwrap();
            let lines = lines(temp.path());
            add(&lines, &json!({"step": 1}));
            io::Write::write_all(
                &mut OpenOptions::new().append(true).open(&lines.path).unwrap(),
                torn.as_bytes(),
            )
            .unwrap();
            assert_eq!(lines.read::<Value>().unwrap(), [json!({"step": 1})], "{torn:?}");
            add(&lines, &json!({"step": 3}));
            assert_eq!(
                lines.read::<Value>().unwrap(),
                [json!({"step": 1}), json!({"step": 3})],
                "{torn:?}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn wherever_a_crash_cuts_the_whole_entries_before_it_remain(
            steps in prop::collection::vec(("[a-zö\n\"]{0,8}", 0u32..1000), 1..6), cut in 0usize..400,
        ) {
            let temp = tempfile::tempdir().unwrap();
            let lines = lines(temp.path());
            let entries: Vec<_> = steps.iter().map(|(text, number)| json!({"text": text, "n": number})).collect();
            let mut ends = vec![0];
            for entry in &entries {
                add(&lines, entry);
                ends.push(fs::metadata(&lines.path).unwrap().len() as usize);
            }
            let cut = cut % (ends[ends.len() - 1] + 1);
            OpenOptions::new().write(true).open(&lines.path).unwrap().set_len(cut as u64).unwrap();
            let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
            prop_assert_eq!(&lines.read::<Value>().unwrap(), &entries[..whole]);
            add(&lines, &json!("after"));
            let after = lines.read::<Value>().unwrap();
            prop_assert_eq!(&after[..whole], &entries[..whole]);
            prop_assert_eq!(&after[whole..], &[json!("after")]);
        }
    }
}
