//! Pinning, unpinning, removing: by kbo, by hand, and cut short at any point.

use std::fs;
use std::path::PathBuf;

use jiff::Timestamp;
use kbo_archive::store::{DirStore, verify_backup};
use kbo_core::manifest::BackupKind;
use kbo_core::ports::store::{BackupStore, Pin, StoreError};

use crate::sample::{ID, backup, id, new_store, sample_backup};

fn pin(reason: &str) -> Pin {
    Pin {
        reason: Some(reason.to_owned()),
        since: Timestamp::UNIX_EPOCH,
        by: None,
    }
}

fn place(store: &DirStore, branch: &str) -> PathBuf {
    store.root().join("data").join(branch).join("2026/11/22").join(ID)
}

async fn pinned(store: &DirStore) -> (bool, Option<String>) {
    let listed = store.list().await.unwrap();
    let [one] = &listed[..] else {
        panic!("one backup and not {listed:?}")
    };
    assert!(one.manifest.is_ok());
    (one.pinned, one.pin.clone().and_then(|pin| pin.reason))
}

#[tokio::test]
async fn a_pinned_backup_keeps_its_reason_is_not_removed_and_can_be_unpinned() {
    let (_temp, store) = new_store();
    let id = id(ID);
    backup(&store, &id, BackupKind::Data, &[("c1", b"abc")]).await;
    assert!(store.pin(&id, &pin("before the upgrade")).await.unwrap());
    assert!(place(&store, "pinned").is_dir() && !store.root().join("data/rotated/2026").exists());
    assert_eq!(pinned(&store).await, (true, Some("before the upgrade".to_owned())));
    assert!(
        !store.pin(&id, &pin("for the audit")).await.unwrap(),
        "it was pinned already"
    );
    assert_eq!(pinned(&store).await, (true, Some("for the audit".to_owned())));
    assert!(matches!(store.remove(&id).await, Err(StoreError::Format { .. })));
    assert_eq!(store.manifest(&id).await.unwrap().id, id);

    assert!(store.unpin(&id).await.unwrap());
    assert!(!store.unpin(&id).await.unwrap());
    assert_eq!(pinned(&store).await, (false, None));
    assert!(!place(&store, "rotated").join("pin.json").exists());
    store.remove(&id).await.unwrap();
    assert!(store.list().await.unwrap().is_empty());
    assert!(matches!(store.remove(&id).await, Err(StoreError::NoSuchBackup(_))));
    assert!(matches!(
        store.pin(&id, &pin("x")).await,
        Err(StoreError::NoSuchBackup(_))
    ));
}

#[tokio::test]
async fn a_pinned_backup_is_whole() {
    let (temp, store) = new_store();
    let manifest = sample_backup(&store, &temp.path().join("node")).await;
    store.pin(&manifest.id, &pin("x")).await.unwrap();
    let report = verify_backup(&store, &manifest.id, std::sync::Arc::new(|_, _, _| {}))
        .await
        .unwrap();
    assert!(report.is_ok(), "{report:?}");
}

#[tokio::test]
async fn a_folder_moved_by_hand_is_pinned_and_unpinned_as_well() {
    let (_temp, store) = new_store();
    let id = id(ID);
    backup(&store, &id, BackupKind::Data, &[("c1", b"abc")]).await;
    // Straight into pinned/, without the folders of the date.
    let by_hand = store.root().join("data/pinned").join(ID);
    fs::create_dir_all(by_hand.parent().unwrap()).unwrap();
    fs::rename(place(&store, "rotated"), &by_hand).unwrap();
    assert_eq!(pinned(&store).await, (true, None));
    assert!(store.unpin(&id).await.unwrap());
    assert_eq!(pinned(&store).await, (false, None));
    assert!(place(&store, "rotated").is_dir());
}

#[tokio::test]
async fn a_pin_that_died_before_its_rename_is_no_pin_and_can_be_repeated() {
    let (_temp, store) = new_store();
    let id = id(ID);
    backup(&store, &id, BackupKind::Data, &[("c1", b"abc")]).await;
    for left in ["pin.json", ".pin.json.tmp"] {
        fs::write(
            place(&store, "rotated").join(left),
            r#"{"reason":"x","since":"1970-01-01T00:00:00Z"}"#,
        )
        .unwrap();
    }
    fs::create_dir_all(place(&store, "pinned").parent().unwrap()).unwrap();
    assert_eq!(pinned(&store).await, (false, None));
    assert!(store.pin(&id, &pin("again")).await.unwrap());
    assert_eq!(pinned(&store).await, (true, Some("again".to_owned())));
}

#[tokio::test]
async fn a_removal_cut_short_at_any_point_shows_nothing_and_is_finished_by_the_sweep() {
    let (_temp, whole) = new_store();
    backup(&whole, &id(ID), BackupKind::Data, &[("c1", b"abc"), ("b1", b"defg")]).await;
    let names: Vec<_> = fs::read_dir(place(&whole, "rotated"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    // Renamed, then its files gone one by one, in whatever order the folder has them.
    for gone in 0..=names.len() {
        let (_temp, store) = new_store();
        backup(&store, &id(ID), BackupKind::Data, &[("c1", b"abc"), ("b1", b"defg")]).await;
        let trash = place(&store, "rotated").with_file_name(format!(".trash-{ID}"));
        fs::rename(place(&store, "rotated"), &trash).unwrap();
        for name in &names[..gone] {
            fs::remove_file(trash.join(name)).unwrap();
        }
        assert!(store.list().await.unwrap().is_empty(), "{gone}");
        assert!(store.manifest(&id(ID)).await.is_err());
        store.sweep().await.unwrap();
        assert!(!trash.exists(), "{gone}");
        // The name is free again.
        backup(&store, &id(ID), BackupKind::Data, &[("c1", b"new")]).await;
        assert_eq!(store.list().await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_backup_with_an_archive_missing_or_short_is_not_complete() {
    let (_temp, store) = new_store();
    let id = id(ID);
    backup(&store, &id, BackupKind::Data, &[("c1", b"abc")]).await;
    let missing = || async { store.list().await.unwrap().remove(0).missing };
    assert_eq!(missing().await, None);
    let archive = place(&store, "rotated").join("c1.data.tar.zst");
    fs::write(&archive, b"ab").unwrap();
    assert_eq!(missing().await.unwrap(), "c1.data.tar.zst has 2 bytes of 3");
    fs::remove_file(&archive).unwrap();
    assert_eq!(missing().await.unwrap(), "c1.data.tar.zst is missing");
}
