//! The cluster id that the backups of a name are to have: a small file for each cluster. Without it the newest backup tells.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use jiff::Timestamp;
use kbo_core::ids::{ClusterId, ClusterName};
use kbo_core::ports::store::StoreError;
use serde::{Deserialize, Serialize};

use super::durable::{ensure_dir, format, io as failed, remove_file, sync_dir, write_new};
use super::layout::Layout;
use super::sealed;

/// An id and a time are some hundred bytes.
const LONGEST: u64 = 1 << 16;

/// The content of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    cluster_id: ClusterId,
    since: Timestamp,
}

/// Nothing, where nobody has noted one.
pub(super) fn read(layout: &Layout, cluster: &ClusterName) -> Result<Option<ClusterId>, StoreError> {
    read_note(&layout.identity(cluster)).map(|note| note.map(|note| note.cluster_id))
}

pub(super) fn read_note(path: &Path) -> Result<Option<Note>, StoreError> {
    let file = match crate::regular::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open", path)(error)),
    };
    let mut text = Vec::new();
    file.take(LONGEST)
        .read_to_end(&mut text)
        .map_err(failed("read", path))?;
    sealed::unseal(&text).map(Some).map_err(|why| {
        format(
            path,
            format!("{why}; `kbo adopt CLUSTER_ID` writes it anew, with the id that `kbo list --json` shows"),
        )
    })
}

pub(super) fn write(layout: &Layout, cluster: &ClusterName, id: &ClusterId) -> Result<(), StoreError> {
    layout.ensure()?;
    let _alone = layout.hold()?;
    let path = layout.identity(cluster);
    let folder = path.parent().unwrap_or(Path::new("."));
    ensure_dir(folder)?;
    let note = Note {
        cluster_id: id.clone(),
        since: Timestamp::now(),
    };
    let text = sealed::seal(&note).map_err(|why| format(&path, why))?;
    let temp = path.with_extension("json.tmp");
    remove_file(&temp)?;
    write_new(&temp, text.as_bytes())?;
    fs::rename(&temp, &path).map_err(failed("create", &path))?;
    sync_dir(folder)
}
