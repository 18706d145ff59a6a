//! Manifests that come from who knows where.

use std::fs;

use kbo_core::manifest::{BackupKind, FileKind, Manifest};
use kbo_core::ports::store::{BackupStore, StoreError};

use crate::sample::{ID, backup, id, new_store, sha256};

async fn read_back(change: impl FnOnce(&mut Manifest)) -> Result<Manifest, StoreError> {
    let (_temp, store) = new_store();
    let mut manifest = backup(&store, &id(ID), BackupKind::Data, &[("c1", b"abc"), ("b1", b"defg")]).await;
    change(&mut manifest);
    let folder = store.folder(&id(ID)).await.unwrap();
    let text = serde_json::to_vec(&manifest).unwrap();
    // Whoever forges a manifest forges its checksum, too.
    let sums = fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
    let archives: Vec<&str> = sums.lines().filter(|line| !line.ends_with("manifest.json")).collect();
    let sums = format!("{}\n{}  manifest.json\n", archives.join("\n"), sha256(&text));
    fs::write(folder.join("SHA256SUMS"), sums).unwrap();
    fs::write(folder.join("manifest.json"), text).unwrap();
    store.manifest(&id(ID)).await
}

#[tokio::test]
async fn manifests_whose_names_could_lead_out_are_refused_by_the_file() {
    type Change = Box<dyn FnOnce(&mut Manifest)>;
    let path = |text: &'static str| -> Change { Box::new(move |m| m.archives[1].files[1].path = text.to_owned()) };
    let name = |text: &'static str| -> Change { Box::new(move |m| m.archives[1].name = text.to_owned()) };
    let changes: Vec<(Change, &str)> = vec![
        (path("../x"), "`../x`"),
        (path("a/../../x"), "`a/../../x`"),
        (path("/etc/passwd"), "`/etc/passwd`"),
        (path("a//b"), "`a//b`"),
        (path("./a"), "`./a`"),
        (path("a\0b"), "a\0b"),
        (path(""), "``"),
        (Box::new(|m| m.archives[1].files.extend_from_within(1..)), "twice"),
        (Box::new(|m| m.archives[1].dirs[0].prefix = "../".to_owned()), "`../`"),
        (Box::new(|m| m.archives[1].dirs[0].prefix = "/".to_owned()), "`/`"),
        (Box::new(|m| m.archives[1].dirs[0].prefix = "0".to_owned()), "`0`"),
        (name("../../b1.tar.zst"), "no name of an archive"),
        (name("/b1.tar.zst"), "no name of an archive"),
        (name(".."), "no name of an archive"),
        (name("manifest.json"), "no name of an archive"),
        (name("c1.data.tar.zst"), "two archives are named"),
        (
            Box::new(|m| m.archives[1].node = m.archives[0].node.clone()),
            "two archives hold the data of c1",
        ),
        (Box::new(|m| m.id = id("20261123T030000Z")), "lies in the folder"),
        (Box::new(|m| m.format = 2), "format 2"),
    ];
    for (change, why) in changes {
        let error = read_back(change).await.unwrap_err();
        assert!(matches!(error, StoreError::Format { .. }), "{error:?}");
        let text = error.to_string();
        assert!(
            text.contains(&format!("{ID}/manifest.json: ")) && text.contains(why),
            "{text}"
        );
    }
}

#[tokio::test]
async fn odd_but_harmless_names_are_accepted() {
    let odd = |m: &mut Manifest| {
        m.archives[0].files[1].path = "..name with\nodd ünicode".to_owned();
        m.archives[0].files[1].kind = FileKind::File {
            size: 0,
            sha256: sha256(b""),
        };
    };
    assert!(read_back(odd).await.is_ok());
}

#[tokio::test]
async fn a_damaged_manifest_is_listed_with_the_reason_beside_the_good_ones() {
    let (_temp, store) = new_store();
    for (text, damage) in [
        ("20261121T030000Z", Some("{\"format\": 1, \"id\"")),
        ("20261122T030000Z", None),
        ("20261123T030000Z", Some("")),
        ("20261124T030000Z", Some("{\"format\": 7, \"other\": []}")),
    ] {
        backup(&store, &id(text), BackupKind::Data, &[("c1", b"abc")]).await;
        if let Some(damage) = damage {
            fs::write(store.folder(&id(text)).await.unwrap().join("manifest.json"), damage).unwrap();
        }
    }
    let listed = store.list().await.unwrap();
    let reasons: Vec<_> = listed
        .iter()
        .map(|one| one.manifest.as_ref().err().map_or("", String::as_str))
        .collect();
    assert_eq!(reasons.len(), 4);
    assert!(
        reasons[0].contains("20261121T030000Z/manifest.json: the manifest cannot be read"),
        "{}",
        reasons[0]
    );
    assert_eq!(reasons[1], "");
    assert!(reasons[2].contains("cannot be read"));
    assert!(reasons[3].contains("has format 7"));
    assert!(matches!(
        store.manifest(&id("20261121T030000Z")).await,
        Err(StoreError::Format { .. })
    ));
}
