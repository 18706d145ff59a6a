//! A store without room, on a real filesystem of one megabyte.

use std::path::{Path, PathBuf};
use std::process::Command;

use kbo_archive::store::DirStore;
use kbo_core::ids::RunId;
use kbo_core::journal::Entry;
use kbo_core::manifest::BackupKind;
use kbo_core::ports::store::{BackupStore, StoreError};
use kbo_core::ports::stream::StreamError;
use tempfile::TempDir;

use crate::sample::{ID, backup, dev, id, manifest, put};

/// A mounted tmpfs, gone with the value.
struct Small {
    path: PathBuf,
    _temp: TempDir,
}

impl Small {
    /// Needs root: elsewhere the tests are left out, but never on CI.
    fn new() -> Option<Self> {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().to_owned();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(&path)
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self { path, _temp: temp });
        }
        assert!(
            std::env::var_os("CI").is_none(),
            "a tmpfs cannot be mounted here, and on CI nothing is left out"
        );
        None
    }

    fn fill(&self) -> PathBuf {
        let path = self.path.join("filler");
        let error = std::fs::write(&path, vec![1; 2 << 20]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.path).status();
    }
}

fn assert_no_space<T>(result: Result<T, StoreError>, file: &str) {
    match result {
        Err(StoreError::NoSpace { path }) => assert!(Path::new(&path).ends_with(file), "{path}"),
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("it went well"),
    }
}

#[tokio::test]
async fn an_archive_that_finds_no_room_says_so_and_the_backup_stays_invisible() {
    let Some(small) = Small::new() else { return };
    let store = DirStore::new(small.path.join("cold"));
    let kept = backup(&store, &id("20261121T030000Z"), BackupKind::Data, &[("c1", b"abc")]).await;
    let writer = store.begin(&id(ID), BackupKind::Data).await.unwrap();
    let mut archive = writer.create("c1.data.tar.zst").await.unwrap();
    let failed = loop {
        if let Err(error) = archive.write(vec![7; 300_000].into()).await {
            break error;
        }
    };
    let StreamError::Io { context, source } = failed else {
        panic!("{failed:?}")
    };
    assert!(
        context.ends_with("c1.data.tar.zst") && source.kind() == std::io::ErrorKind::StorageFull,
        "{context}"
    );
    assert!(archive.write(vec![7; 1].into()).await.is_err());
    assert_no_space(archive.finish().await, "c1.data.tar.zst");
    let whole = manifest(&id(ID), BackupKind::Data, &[("c1", &[7; 300_000])]);
    assert!(writer.commit(&whole).await.is_err());
    writer.abandon().await.unwrap();
    assert_eq!(store.list().await.unwrap().len(), 1);
    assert_eq!(store.manifest(&kept.id).await.unwrap(), kept);
}

#[tokio::test]
async fn a_manifest_that_finds_no_room_commits_nothing_and_may_be_tried_again() {
    let Some(small) = Small::new() else { return };
    let store = DirStore::new(small.path.join("cold"));
    let writer = store.begin(&id(ID), BackupKind::Data).await.unwrap();
    put(writer.as_ref(), "c1.data.tar.zst", b"abc").await;
    let whole = manifest(&id(ID), BackupKind::Data, &[("c1", b"abc")]);
    let filler = small.fill();
    assert_no_space(writer.commit(&whole).await, ".manifest.json.tmp");
    assert_eq!(store.list().await.unwrap(), []);
    std::fs::remove_file(filler).unwrap();
    writer.commit(&whole).await.unwrap();
    assert_eq!(store.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_journal_that_finds_no_room_goes_on_with_a_whole_line() {
    let Some(small) = Small::new() else { return };
    let store = DirStore::new(small.path.join("cold"));
    let run: RunId = ID.parse().unwrap();
    let journal = store.begin_journal(&dev(), &run).await.unwrap();
    let entry = || Entry::UndoStarted { at: run.time() };
    // A page holds many entries, so fill that first: the line at its end is cut.
    let filler = small.fill();
    let mut whole = 0;
    let failed = loop {
        match journal.append(&entry()).await {
            Ok(()) => whole += 1,
            Err(error) => break error,
        }
    };
    assert_no_space::<()>(Err(failed), &format!("{run}.jsonl"));
    assert_eq!(journal.entries().await.unwrap().len(), whole);
    std::fs::remove_file(filler).unwrap();
    journal.append(&entry()).await.unwrap();
    assert_eq!(journal.entries().await.unwrap().len(), whole + 1);
}
