//! One file for a backup: out, in, and what is no such file.

use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::process::Command;

use kbo_archive::store::{DirStore, Transfer, export_to_file, import, verify_backup};
use kbo_core::manifest::{BackupKind, Manifest};
use kbo_core::ports::store::{BackupStore, Pin, StoreError};
use proptest::prelude::*;

use crate::sample::{ID, backup, id, new_store, sample_backup};

async fn taken(store: &DirStore, bytes: Vec<u8>) -> Result<Manifest, StoreError> {
    import(store, Box::new(Cursor::new(bytes)), None, &Transfer::default()).await
}

/// A store with one real backup, and its export.
async fn exported() -> (tempfile::TempDir, DirStore, Vec<u8>) {
    let (temp, store) = new_store();
    let manifest = sample_backup(&store, &temp.path().join("node")).await;
    let file = temp.path().join("backup.tar");
    export_to_file(&store, &manifest.id, &file, false, &Transfer::default())
        .await
        .unwrap();
    let bytes = fs::read(file).unwrap();
    (temp, store, bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_is_imported_to_the_last_byte() {
    let (_temp, store, bytes) = exported().await;
    let (_other_temp, other) = new_store();
    let manifest = taken(&other, bytes).await.unwrap();
    assert_eq!(
        other.manifest(&manifest.id).await.unwrap(),
        store.manifest(&manifest.id).await.unwrap()
    );
    let (from, to) = (
        store.folder(&manifest.id).await.unwrap(),
        other.folder(&manifest.id).await.unwrap(),
    );
    assert_eq!(crate::sample::files(&from).len(), crate::sample::files(&to).len());
    for (name, content) in crate::sample::files(&from) {
        assert!(fs::read(to.join(&name)).unwrap() == content, "{}", name.display());
    }
    let report = verify_backup(&other, &manifest.id, std::sync::Arc::new(|_, _, _| {}))
        .await
        .unwrap();
    assert!(report.is_ok(), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tar_and_sha256sum_read_an_exported_file_alone() {
    let (temp, _store, bytes) = exported().await;
    fs::write(temp.path().join("again.tar"), bytes).unwrap();
    let run = |line: &str| {
        let status = Command::new("sh")
            .args(["-ec", line])
            .current_dir(temp.path())
            .status()
            .unwrap();
        assert!(status.success(), "{line}");
    };
    run("mkdir out && tar -xf again.tar -C out && cd out/* && sha256sum --quiet -c SHA256SUMS && zstd -q -t *.tar.zst");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_existing_file_is_overwritten_only_when_told_and_never_half() {
    let (temp, store) = new_store();
    let manifest = sample_backup(&store, &temp.path().join("node")).await;
    let file = temp.path().join("x.tar");
    fs::write(&file, "precious").unwrap();
    assert!(matches!(
        export_to_file(&store, &manifest.id, &file, false, &Transfer::default()).await,
        Err(StoreError::Taken(_))
    ));
    let archive = store
        .folder(&manifest.id)
        .await
        .unwrap()
        .join(&manifest.archives[0].name);
    let mut damaged = fs::read(&archive).unwrap();
    damaged[20] ^= 1;
    fs::write(&archive, damaged).unwrap();
    let error = export_to_file(&store, &manifest.id, &file, true, &Transfer::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("damaged"), "{error}");
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    assert!(!temp.path().join("x.tar.unfinished").exists());
}

async fn nothing_in(store: &DirStore, what: &str) {
    assert!(store.list().await.unwrap().is_empty(), "{what}");
    if !store.root().exists() {
        return;
    }
    assert!(
        crate::sample::files(store.root())
            .iter()
            .all(|(path, _)| !path.starts_with("data") && !path.starts_with("cluster")),
        "{what}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_cut_short_anywhere_leaves_nothing() {
    let (_temp, _store, bytes) = exported().await;
    let end = bytes.len() - 1024;
    for cut in (0..end).step_by(end / 40).chain([end - 1, end - 513]) {
        let (_temp, store) = new_store();
        taken(&store, bytes[..cut].to_vec())
            .await
            .expect_err(&format!("cut at {cut}"));
        nothing_in(&store, &format!("cut at {cut}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_anywhere_in_manifest_or_archives_is_found() {
    let (_temp, _store, bytes) = exported().await;
    let (mut refused, mut tried) = (0, 0);
    for at in (0..bytes.len() - 1024).step_by(bytes.len() / 150) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 4;
        let (_temp, store) = new_store();
        tried += 1;
        match taken(&store, flipped).await {
            Err(_) => {
                refused += 1;
                nothing_in(&store, &format!("flipped at {at}")).await;
            }
            // Padding, a time in a header, SHA256SUMS, which is made anew, or a text in the manifest that nothing depends on: what came in is whole.
            Ok(manifest) => {
                let report = verify_backup(&store, &manifest.id, std::sync::Arc::new(|_, _, _| {}))
                    .await
                    .unwrap();
                assert!(report.is_ok(), "flipped at {at}: {report:?}");
            }
        }
    }
    assert!(refused * 3 > tried, "{refused} of {tried}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_the_store_has_is_not_taken_twice() {
    let (_temp, store, bytes) = exported().await;
    assert!(matches!(taken(&store, bytes).await, Err(StoreError::Taken(_))));
    assert_eq!(store.list().await.unwrap().len(), 1);
}

/// Path, type and content.
type Entry<'a> = (&'a str, tar::EntryType, &'a [u8]);

/// A tar of these entries.
fn tar_of(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, kind, content) in entries {
        let mut header = tar::Header::new_gnu();
        // Not set_path, which would refuse what is to be refused here.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        if kind.is_symlink() || kind.is_hard_link() {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_entries_are_refused_and_touch_nothing_outside() {
    let (temp, source) = new_store();
    backup(&source, &id(ID), BackupKind::Data, &[("c1", b"abc")]).await;
    let manifest = fs::read(source.folder(&id(ID)).await.unwrap().join("manifest.json")).unwrap();
    let regular = tar::EntryType::Regular;
    let name = format!("{ID}/manifest.json");
    let good = (name.as_str(), regular, &manifest[..]);
    let archive = format!("{ID}/c1.data.tar.zst");
    let up = format!("{ID}/../../escaped");
    let other = "20261121T030000Z/c1.data.tar.zst".to_owned();
    let extra = format!("{ID}/extra.tar.zst");
    let deep = format!("{ID}/a/b");
    let cases: Vec<(&str, Vec<Entry<'_>>)> = vec![
        ("no manifest", vec![]),
        ("archive first", vec![(&archive, regular, b"abc"), good]),
        ("missing archive", vec![good]),
        ("wrong content", vec![good, (&archive, regular, b"abd")]),
        ("wrong size", vec![good, (&archive, regular, b"abcd")]),
        (
            "twice",
            vec![good, (&archive, regular, b"abc"), (&archive, regular, b"abc")],
        ),
        ("two manifests", vec![good, good]),
        (
            "unnamed file",
            vec![good, (&archive, regular, b"abc"), (&extra, regular, b"x")],
        ),
        ("other backup", vec![good, (&other, regular, b"abc")]),
        ("absolute", vec![good, ("/tmp/kbo-escaped", regular, b"x")]),
        ("upwards", vec![good, (&up, regular, b"x")]),
        ("deep", vec![good, (&deep, regular, b"x")]),
        ("link", vec![good, (&archive, tar::EntryType::Symlink, b"")]),
        ("hard link", vec![good, (&archive, tar::EntryType::Link, b"")]),
        ("device", vec![good, (&archive, tar::EntryType::Char, b"")]),
        ("no id", vec![("backup/manifest.json", regular, &manifest)]),
        ("no json", vec![(&name, regular, b"{")]),
        ("wrong id", vec![("20261121T030000Z/manifest.json", regular, &manifest)]),
    ];
    for (what, entries) in cases {
        let (_temp, store) = new_store();
        taken(&store, tar_of(&entries)).await.expect_err(what);
        nothing_in(&store, what).await;
    }
    assert!(!Path::new("/tmp/kbo-escaped").exists() && !temp.path().join("escaped").exists());
    taken(&new_store().1, b"not a tar at all".to_vec()).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_pinned_is_never_seen_where_a_rotation_looks() {
    let (_temp, _store, bytes) = exported().await;
    let (_other_temp, other) = new_store();
    let pin = Pin {
        reason: Some("imported".to_owned()),
        since: id(ID).time(),
        by: None,
    };
    // A run that died in the middle of it leaves what is swept, though it lies in pinned/.
    let folder = other.root().join("cluster/pinned/2026/11/22").join(ID);
    let end = bytes.len() / 2;
    import(
        &other,
        Box::new(Cursor::new(bytes[..end].to_vec())),
        Some(&pin),
        &Transfer::default(),
    )
    .await
    .unwrap_err();
    assert!(!folder.exists());
    import(&other, Box::new(Cursor::new(bytes)), Some(&pin), &Transfer::default())
        .await
        .unwrap();
    assert!(folder.join("manifest.json").exists());
    assert!(!other.root().join("cluster/rotated/2026").exists());
    let listed = other.list().await.unwrap();
    assert!(listed[0].pinned && listed[0].pin.as_ref() == Some(&pin), "{listed:?}");
    assert_eq!(other.sweep().await.unwrap(), []);
    assert!(other.remove(&id(ID)).await.is_err(), "what is pinned is not removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_import_would_refuse_is_not_exported() {
    type Change = fn(&mut Manifest);
    let changes: [(&str, Change); 4] = [
        ("a path that leads out", |manifest| {
            manifest.archives[0].files[1].path = "../x".to_owned()
        }),
        ("an entry twice", |manifest| {
            let twin = manifest.archives[0].files[1].clone();
            manifest.archives[0].files.push(twin);
        }),
        ("another time", |manifest| {
            manifest.created = jiff::Timestamp::UNIX_EPOCH
        }),
        ("another size", |manifest| manifest.archives[0].size += 1),
    ];
    for (what, change) in changes {
        let (temp, store) = new_store();
        let mut manifest = sample_backup(&store, &temp.path().join("node")).await;
        change(&mut manifest);
        let folder = store.folder(&id(ID)).await.unwrap();
        let text = serde_json::to_vec(&manifest).unwrap();
        let sums = fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
        let others: String = sums
            .lines()
            .filter(|line| !line.ends_with("manifest.json"))
            .map(|line| format!("{line}\n"))
            .collect();
        fs::write(
            folder.join("SHA256SUMS"),
            format!("{others}{}  manifest.json\n", crate::sample::sha256(&text)),
        )
        .unwrap();
        fs::write(folder.join("manifest.json"), text).unwrap();
        let file = temp.path().join("x.tar");
        let exported = export_to_file(&store, &id(ID), &file, false, &Transfer::default()).await;
        assert!(exported.is_err() && !file.exists(), "{what}");
    }
}

/// Nodes with names as long and as odd as they may be, many of them, pinned or not, clean or not, of damaged data or not.
fn any_backup() -> impl Strategy<Value = (Vec<(String, Vec<u8>)>, bool, bool)> {
    let name = prop_oneof![3 => "[a-zA-Z0-9][a-zA-Z0-9._-]{0,40}", 1 => "[a-z0-9][a-zA-Z0-9._-]{120,127}"];
    let archive = (name, prop::collection::vec(any::<u8>(), 0..3000));
    let archives = prop::collection::vec(archive, 1..60).prop_map(|mut archives| {
        archives.sort();
        archives.dedup_by(|one, other| one.0 == other.0);
        archives
    });
    (archives, any::<bool>(), any::<bool>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn whatever_is_exported_is_imported((archives, pinned, bad) in any_backup()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        runtime.block_on(async {
            let (temp, store) = new_store();
            let named: Vec<(&str, &[u8])> = archives.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
            let mut manifest = crate::sample::manifest(&id(ID), BackupKind::Data, &named);
            if bad {
                manifest.damage = Some(vec!["b1: zeros \u{1b}[2J instead of a record batch, at byte 7".to_owned()]);
                manifest.caveats = vec!["\u{202e}not stopped cleanly".to_owned()];
            }
            let writer = store.begin(&id(ID), BackupKind::Data).await.unwrap();
            for (record, (_, content)) in manifest.archives.iter().zip(&named) {
                crate::sample::put(writer.as_ref(), &record.name, content).await;
            }
            writer.commit(&manifest).await.unwrap();
            if pinned {
                let pin = Pin { reason: None, since: id(ID).time(), by: None };
                store.pin(&id(ID), &pin).await.unwrap();
            }
            let file = temp.path().join("x.tar");
            export_to_file(&store, &id(ID), &file, false, &Transfer::default()).await.unwrap();
            let (_other, other) = new_store();
            assert_eq!(taken(&other, fs::read(file).unwrap()).await.unwrap(), manifest);
        });
    }
}
