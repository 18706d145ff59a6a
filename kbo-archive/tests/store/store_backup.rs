use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use bytes::Bytes;
use kbo_core::manifest::BackupKind;
use kbo_core::ports::store::{BackupStore, StoreError};

use crate::sample::{ID, backup, dev, files, id, manifest, new_store, put, sha256};

#[tokio::test]
async fn a_committed_backup_is_listed_read_and_streamed_back() {
    let (_temp, store) = new_store();
    let content: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let written = backup(
        &store,
        &id(ID),
        BackupKind::Cluster,
        &[("c1", b"abc"), ("b1", &content)],
    )
    .await;

    let listed = store.list().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0].id, listed[0].kind, listed[0].pinned),
        (&id(ID), BackupKind::Cluster, false)
    );
    let head = listed[0].manifest.as_ref().unwrap();
    assert!(
        head.archives.iter().all(|archive| archive.files.is_empty()),
        "a listing holds no lists of files"
    );
    assert_eq!(
        (head.stored_bytes(), head.created),
        (written.stored_bytes(), written.created)
    );

    assert_eq!(store.manifest(&id(ID)).await.unwrap(), written);
    let mut source = store.open(&id(ID), "b1.config.tar.zst").await.unwrap();
    let mut back = Vec::new();
    while let Some(chunk) = source.next().await.unwrap() {
        assert!(chunk.len() <= 1 << 20);
        back.extend_from_slice(&chunk);
    }
    assert!(back == content);
    assert!(source.next().await.unwrap().is_none());
}

#[tokio::test]
async fn a_backup_is_for_its_owner_only_and_sha256sum_agrees_with_it() {
    let (_temp, store) = new_store();
    backup(&store, &id(ID), BackupKind::Data, &[("c1", b"abc"), ("b1", b"")]).await;
    let dir = store.folder(&id(ID)).await.unwrap();
    assert_eq!(dir, store.root().join("data/rotated/2026/11/22").join(ID));
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for folder in dir.ancestors().take(6) {
        assert_eq!(mode(folder), 0o700, "{}", folder.display());
    }
    for (name, _) in files(&dir) {
        assert_eq!(mode(&dir.join(&name)), 0o600, "{}", name.display());
    }
    let check = Command::new("sha256sum")
        .args(["--strict", "-c", "SHA256SUMS"])
        .current_dir(&dir)
        .output()
        .unwrap();
    assert!(check.status.success(), "{check:?}");
    assert_eq!(
        String::from_utf8(check.stdout).unwrap(),
        "c1.data.tar.zst: OK\nb1.data.tar.zst: OK\nmanifest.json: OK\n"
    );
}

#[tokio::test]
async fn the_store_comes_into_being_with_the_first_backup_and_not_by_looking() {
    let (_temp, store) = new_store();
    assert_eq!(store.list().await.unwrap(), []);
    assert_eq!(store.sweep().await.unwrap(), []);
    assert!(store.open_journals(&dev()).await.unwrap().is_empty());
    let space = store.space().await.unwrap();
    assert!(space.size > 0 && space.free <= space.size);
    assert!(matches!(
        store.manifest(&id(ID)).await,
        Err(StoreError::NoSuchBackup(_))
    ));
    assert!(!store.root().exists());
    backup(&store, &id(ID), BackupKind::Config, &[]).await;
    assert!(store.root().join("kbo-store.json").is_file());
}

#[tokio::test]
async fn a_backup_moved_by_hand_between_rotated_and_pinned_is_still_there() {
    let (_temp, store) = new_store();
    let written = backup(&store, &id(ID), BackupKind::Cluster, &[("c1", b"abc")]).await;
    let rotated = store.folder(&id(ID)).await.unwrap();
    for place in [
        format!("cluster/pinned/{ID}"),
        format!("cluster/pinned/2026/11/22/{ID}"),
    ] {
        let pinned = store.root().join(place);
        fs::create_dir_all(pinned.parent().unwrap()).unwrap();
        fs::rename(&rotated, &pinned).unwrap();
        assert!(store.list().await.unwrap()[0].pinned);
        assert_eq!(store.manifest(&id(ID)).await.unwrap(), written);
        assert!(store.open(&id(ID), "c1.config.tar.zst").await.is_ok());
        fs::rename(&pinned, &rotated).unwrap();
    }
    assert!(!store.list().await.unwrap()[0].pinned);
}

#[tokio::test]
async fn listing_is_oldest_first_over_all_kinds() {
    let (_temp, store) = new_store();
    backup(&store, &id("20261123T030000Z"), BackupKind::Cluster, &[]).await;
    backup(&store, &id("20251231T235959Z"), BackupKind::Data, &[]).await;
    backup(&store, &id("20261122T030000Z"), BackupKind::Config, &[]).await;
    let listed: Vec<_> = store.list().await.unwrap().into_iter().map(|one| one.kind).collect();
    assert_eq!(listed, [BackupKind::Data, BackupKind::Config, BackupKind::Cluster]);
}

#[tokio::test]
async fn an_id_is_given_once_whatever_the_kind() {
    let (_temp, store) = new_store();
    backup(&store, &id(ID), BackupKind::Cluster, &[]).await;
    assert!(store.begin(&id(ID), BackupKind::Cluster).await.is_err());
    assert!(store.begin(&id(ID), BackupKind::Config).await.is_err());
}

#[tokio::test]
async fn a_manifest_that_tells_other_than_what_arrived_is_not_committed() {
    let (_temp, store) = new_store();
    let whole: &[(&str, &[u8])] = &[("c1", b"abc"), ("b1", b"defg")];
    let writer = store.begin(&id(ID), BackupKind::Data).await.unwrap();
    let good = manifest(&id(ID), BackupKind::Data, whole);
    put(writer.as_ref(), "c1.data.tar.zst", b"abc").await;
    let refused = |why: &str, result: Result<(), StoreError>| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    };

    refused("`b1.data.tar.zst` was never written", writer.commit(&good).await);
    let mut open = writer.create("b1.data.tar.zst").await.unwrap();
    open.write(Bytes::from_static(b"defg")).await.unwrap();
    refused("`b1.data.tar.zst` was not finished", writer.commit(&good).await);
    open.finish().await.unwrap();
    refused(
        "does not name it",
        writer.commit(&manifest(&id(ID), BackupKind::Data, &whole[..1])).await,
    );

    let mut wrong = good.clone();
    wrong.archives[0].sha256 = sha256(b"abd");
    refused("arrived as 3 bytes", writer.commit(&wrong).await);
    wrong = good.clone();
    wrong.archives[0].size = 4;
    refused("arrived as 3 bytes", writer.commit(&wrong).await);
    refused(
        "lies in the folder",
        writer
            .commit(&manifest(&id("20261123T030000Z"), BackupKind::Data, whole))
            .await,
    );
    wrong = good.clone();
    wrong.kind = BackupKind::Config;
    refused("was begun as data", writer.commit(&wrong).await);

    let stray = store.root().join("data/rotated/2026/11/22").join(ID).join("stray");
    fs::write(&stray, "x").unwrap();
    refused("no archive of it", writer.commit(&good).await);
    fs::remove_file(&stray).unwrap();

    assert_eq!(store.list().await.unwrap(), []);
    writer.commit(&good).await.unwrap();
    assert_eq!(store.list().await.unwrap().len(), 1);
    refused("committed already", writer.commit(&good).await);
    assert!(writer.create("late.tar.zst").await.is_err());
}

#[tokio::test]
async fn an_abandoned_backup_leaves_nothing_and_a_committed_one_is_not_abandoned() {
    let (_temp, store) = new_store();
    let writer = store.begin(&id(ID), BackupKind::Data).await.unwrap();
    put(writer.as_ref(), "c1.data.tar.zst", b"abc").await;
    let mut open = writer.create("b1.data.tar.zst").await.unwrap();
    open.write(Bytes::from_static(b"half")).await.unwrap();
    writer.abandon().await.unwrap();
    writer.abandon().await.unwrap();
    assert!(!store.root().join("data/rotated/2026").exists());
    assert_eq!(fs::read_dir(store.root().join(".kbo/writing")).unwrap().count(), 0);

    backup(&store, &id(ID), BackupKind::Data, &[("c1", b"abc")]).await;
    let writer = store.begin(&id("20261123T030000Z"), BackupKind::Data).await.unwrap();
    writer
        .commit(&manifest(&id("20261123T030000Z"), BackupKind::Data, &[]))
        .await
        .unwrap();
    assert!(writer.abandon().await.is_err());
    assert_eq!(store.list().await.unwrap().len(), 2);
}

#[tokio::test]
async fn names_that_are_no_archive_names_are_refused() {
    let (_temp, store) = new_store();
    let writer = store.begin(&id(ID), BackupKind::Data).await.unwrap();
    for name in [
        "",
        "..",
        "../x",
        "/etc/passwd",
        "a/b",
        ".hidden",
        "manifest.json",
        "SHA256SUMS",
    ] {
        assert!(writer.create(name).await.is_err(), "{name:?}");
        assert!(store.open(&id(ID), name).await.is_err(), "{name:?}");
    }
    writer.create("a.tar.zst").await.unwrap();
    assert!(writer.create("a.tar.zst").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_archives_are_written_at_once() {
    let (_temp, store) = new_store();
    let writer = store.begin(&id(ID), BackupKind::Data).await.unwrap();
    let mut open = Vec::new();
    for n in 0..12u8 {
        open.push((n, writer.create(&format!("b{n}.data.tar.zst")).await.unwrap()));
    }
    let tasks = open.into_iter().map(|(n, mut archive)| {
        tokio::spawn(async move {
            for size in [5_000_000, 1, 0, 77_777] {
                archive.write(vec![n; size].into()).await.unwrap();
            }
            assert_eq!(archive.finish().await.unwrap().sha256, sha256(&vec![n; 5_077_778]));
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_second_that_is_taken_is_told_apart_from_failures() {
    use kbo_core::ports::store::StoreError;
    let (_temp, store) = new_store();
    let open = store.begin(&id(ID), BackupKind::Data).await.unwrap();
    for kind in [BackupKind::Data, BackupKind::Config] {
        let again = store.begin(&id(ID), kind).await.map(|_| ());
        assert!(matches!(again, Err(StoreError::Taken(_))), "{again:?}");
    }
    open.abandon().await.unwrap();

    let run = "20261122T030000Z".parse().unwrap();
    let journal = store.begin_journal(&crate::sample::dev(), &run).await.unwrap();
    for ended in [false, true] {
        let again = store.begin_journal(&crate::sample::dev(), &run).await.map(|_| ());
        assert!(matches!(again, Err(StoreError::Taken(_))), "ended {ended}: {again:?}");
        if !ended {
            journal.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_backup_that_was_copied_into_pinned_is_listed_once() {
    let (_temp, store) = new_store();
    backup(&store, &id(ID), BackupKind::Data, &[("c1", b"abc")]).await;
    let rotated = store.root().join("data/rotated/2026/11/22").join(ID);
    let pinned = store.root().join("data/pinned").join(ID);
    fs::create_dir_all(&pinned).unwrap();
    for entry in fs::read_dir(&rotated).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, pinned.join(path.file_name().unwrap())).unwrap();
    }
    let listed = store.list().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert!(listed[0].pinned);
}
