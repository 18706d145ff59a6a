//! A run that dies leaves whatever it had done so far. Each test makes one such state and looks at it as the next run would.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use kbo_archive::store::DirStore;
use kbo_core::manifest::BackupKind;
use kbo_core::ports::store::BackupStore;

use crate::sample::{ID, backup, files, id, manifest, new_store, put};

fn folder(store: &DirStore) -> PathBuf {
    store.root().join("data/rotated/2026/11/22").join(ID)
}

/// What a run that died leaves of its claim.
fn dead_claim(store: &DirStore) {
    let claims = store.root().join(".kbo/writing");
    fs::create_dir_all(&claims).unwrap();
    fs::write(claims.join(ID), "").unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for (name, content) in files(from) {
        fs::write(to.join(name), content).unwrap();
    }
}

#[tokio::test]
async fn what_a_run_leaves_that_dies_before_its_commit_is_never_listed_and_is_swept() {
    // The folder's files in the order in which they come to be, as a whole backup has them.
    let (_temp, whole) = new_store();
    backup(&whole, &id(ID), BackupKind::Data, &[("c1", b"abc"), ("b1", b"defg")]).await;
    let manifest = fs::read(folder(&whole).join("manifest.json")).unwrap();
    let steps: [(&str, Vec<u8>); 6] = [
        ("c1.data.tar.zst", b"a".to_vec()),
        ("c1.data.tar.zst", b"abc".to_vec()),
        ("b1.data.tar.zst", b"defg".to_vec()),
        ("SHA256SUMS", fs::read(folder(&whole).join("SHA256SUMS")).unwrap()),
        (".manifest.json.tmp", manifest[..100].to_vec()),
        (".manifest.json.tmp", manifest.clone()),
    ];
    for crashed_after in 0..=steps.len() {
        let (_temp, store) = new_store();
        backup(&store, &id("20261121T030000Z"), BackupKind::Data, &[]).await;
        fs::create_dir_all(folder(&store)).unwrap();
        dead_claim(&store);
        for (name, content) in &steps[..crashed_after] {
            fs::write(folder(&store).join(name), content).unwrap();
        }
        let ids = || async {
            store
                .list()
                .await
                .unwrap()
                .into_iter()
                .map(|one| one.id.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(ids().await, ["20261121T030000Z"], "after {crashed_after}");
        assert!(store.manifest(&id(ID)).await.is_err());
        assert!(store.open(&id(ID), "c1.data.tar.zst").await.is_err());
        assert_eq!(store.sweep().await.unwrap(), [id(ID)], "after {crashed_after}");
        assert!(!folder(&store).exists() && !folder(&store).parent().unwrap().exists());
        assert_eq!(ids().await, ["20261121T030000Z"], "after {crashed_after}");
        assert_eq!(store.sweep().await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_run_that_dies_just_after_its_commit_leaves_a_backup() {
    let (_temp, store) = new_store();
    let written = backup(&store, &id(ID), BackupKind::Data, &[("c1", b"abc")]).await;
    // Its claim is the one thing that it had no time to remove.
    dead_claim(&store);
    assert_eq!(store.sweep().await.unwrap(), []);
    assert_eq!(store.manifest(&id(ID)).await.unwrap(), written);
    assert!(!store.root().join(".kbo/writing").join(ID).exists());
}

#[tokio::test]
async fn a_removal_that_was_cut_short_is_finished() {
    let (_temp, store) = new_store();
    backup(&store, &id(ID), BackupKind::Data, &[("c1", b"abc")]).await;
    // Even with its manifest still in it: it was on its way out.
    fs::rename(folder(&store), folder(&store).with_file_name(format!(".trash-{ID}"))).unwrap();
    assert_eq!(store.list().await.unwrap(), []);
    assert_eq!(store.sweep().await.unwrap(), [id(ID)]);
    assert_eq!(files(&store.root().join("data")), []);
}

#[tokio::test]
async fn sweeping_leaves_alone_what_a_live_run_is_writing() {
    let (_temp, store) = new_store();
    let writer = store.begin(&id(ID), BackupKind::Data).await.unwrap();
    put(writer.as_ref(), "c1.data.tar.zst", b"abc").await;
    // Another cluster's run, through a handle of its own.
    let other = DirStore::new(store.root());
    assert_eq!(other.sweep().await.unwrap(), []);
    writer
        .commit(&manifest(&id(ID), BackupKind::Data, &[("c1", b"abc")]))
        .await
        .unwrap();
    assert_eq!(other.sweep().await.unwrap(), []);
    assert_eq!(other.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_writer_that_is_dropped_without_a_word_is_swept() {
    let (_temp, store) = new_store();
    let writer = store.begin(&id(ID), BackupKind::Data).await.unwrap();
    let mut archive = writer.create("c1.data.tar.zst").await.unwrap();
    archive.write(Bytes::from_static(b"abc")).await.unwrap();
    drop((archive, writer));
    assert_eq!(store.sweep().await.unwrap(), [id(ID)]);
}

#[tokio::test]
async fn sweeping_removes_nothing_that_is_pinned_or_that_it_does_not_know() {
    let (temp, store) = new_store();
    backup(&store, &id("20261121T030000Z"), BackupKind::Data, &[]).await;
    let outside = temp.path().join("outside");
    let kept = [
        // A person is just copying a backup in.
        store.root().join("data/pinned/2026/11/22").join(ID),
        store.root().join("data/rotated/2026/11/20/20261120T040000Z"),
        store.root().join("data/rotated/2026/notes"),
        store.root().join("data/rotated/2026/11/22/.trash-of-mine"),
        store.root().join("lost+found"),
        outside.clone(),
    ];
    for folder in &kept {
        copy(&store.folder(&id("20261121T030000Z")).await.unwrap(), folder);
        fs::remove_file(folder.join("manifest.json")).unwrap();
    }
    std::os::unix::fs::symlink(&outside, store.root().join("data/rotated/2026/11/20261120T030000Z")).unwrap();
    // An unfinished backup with a link in it: the link goes, what it points to stays.
    fs::create_dir_all(folder(&store)).unwrap();
    dead_claim(&store);
    std::os::unix::fs::symlink(&outside, folder(&store).join("link")).unwrap();
    assert_eq!(store.sweep().await.unwrap(), [id(ID)]);
    for folder in &kept {
        assert!(folder.join("SHA256SUMS").is_file(), "{}", folder.display());
    }
}
