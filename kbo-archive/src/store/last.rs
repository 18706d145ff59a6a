//! What the last runs came to, a small file for each kind of backup of each cluster. It is no part of any backup: without it nothing is
//! lost but the memory of runs that made none.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use jiff::Timestamp;
use kbo_core::ids::ClusterName;
use kbo_core::last_run::{LastRuns, RunRecord, from_the_future};
use kbo_core::manifest::BackupKind;
use kbo_core::ports::store::StoreError;

use super::DirStore;
use super::durable::{ensure_dir, format, io as failed, remove_file, sync_dir, write_new};
use super::layout::Layout;

/// A verdict for each schedule is a few hundred bytes.
const LONGEST: u64 = 1 << 20;

impl DirStore {
    /// Whether a store was made there; one that cannot be read, or is of another format, counts. A folder alone is none: it may be where
    /// a disk is to be mounted.
    pub fn is_there(&self) -> bool {
        self.layout.check().unwrap_or(true)
    }
}

/// Nothing, where no run was noted yet.
pub(super) fn read(layout: &Layout, cluster: &ClusterName, kind: BackupKind) -> Result<LastRuns, StoreError> {
    let path = layout.last_runs(cluster, kind);
    let file = match crate::regular::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(LastRuns::default()),
        Err(error) => return Err(failed("open", &path)(error)),
    };
    let mut text = String::new();
    file.take(LONGEST)
        .read_to_string(&mut text)
        .map_err(failed("read", &path))?;
    parsed(text.as_bytes()).map_err(|why| format(&path, why))
}

/// The note from its text.
pub(super) fn parsed(text: &[u8]) -> Result<LastRuns, String> {
    serde_json::from_slice(text).map_err(|error| error.to_string())
}

/// Notes a run, whatever runs beside it.
pub(super) fn note(layout: &Layout, run: &RunRecord) -> Result<LastRuns, StoreError> {
    layout.ensure()?;
    let _alone = layout.hold()?;
    let path = layout.last_runs(&run.cluster, run.kind);
    let mut runs = read(layout, &run.cluster, run.kind).unwrap_or_else(|error| {
        tracing::warn!("what earlier runs came to is forgotten: {error}");
        LastRuns::default()
    });
    for wrong in runs.forget_future(Timestamp::now()) {
        tracing::warn!("forgotten: {}", from_the_future(&wrong));
    }
    runs.take(run);
    let folder = path.parent().unwrap_or(Path::new("."));
    ensure_dir(folder)?;
    let text = serde_json::to_string_pretty(&runs).map_err(|error| format(&path, error.to_string()))? + "\n";
    let temp = path.with_extension("json.tmp");
    remove_file(&temp)?;
    write_new(&temp, text.as_bytes())?;
    fs::rename(&temp, &path).map_err(failed("create", &path))?;
    sync_dir(folder)?;
    Ok(runs)
}
