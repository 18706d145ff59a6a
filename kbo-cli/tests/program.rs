//! The program as scripts see it: exit codes, one JSON document, one verdict. No node is contacted.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scene;

use std::fs;

use kbo_archive::store::DirStore;
use kbo_core::ports::store::BackupStore;
use serde_json::Value;

use scene::{ID, Scene};

#[test]
fn a_whole_store_is_listed_shown_and_verified_without_reaching_a_node() {
    let scene = Scene::new();
    // Neither is there; what reads the store does not ask for them.
    scene.configure("[ssh]\nkey = \"/nowhere/key\"\n[kafka]\nca = \"/nowhere/ca.pem\"\n");
    let (code, list) = scene.json(&["list"]);
    assert_eq!((code, &list[0]["id"]), (0, &Value::from(ID)));
    let (code, shown) = scene.json(&["show", "latest"]);
    assert_eq!((code, &shown["id"]), (0, &Value::from(ID)));
    let (code, verified) = scene.json(&["verify"]);
    assert_eq!((code, &verified["outcome"]), (0, &Value::from("done")));
    let (code, verdict) = scene.verdict(&["verify", "latest"]);
    assert_eq!(code, 0);
    assert!(verdict.contains(ID) && verdict.contains("whole"), "{verdict}");
}

#[test]
fn damage_is_exit_5_whatever_looks_at_it() {
    let scene = Scene::new();
    let archive = scene.backup().join("kafka-broker-1.data.tar.zst");
    let mut bytes = fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&archive, bytes).unwrap();
    let (code, verified) = scene.json(&["verify"]);
    assert_eq!((code, &verified["outcome"]), (5, &Value::from("damaged")));

    fs::write(scene.backup().join("manifest.json"), "{").unwrap();
    assert_eq!(scene.json(&["list"]).0, 5);
    for command in ["show", "verify"] {
        let (code, document) = scene.json(&[command, ID]);
        assert_eq!((code, &document["outcome"]), (5, &Value::from("damaged")), "{command}");
    }
}

#[test]
fn a_newer_backup_with_a_damaged_manifest_is_not_passed_over_silently() {
    let scene = Scene::new();
    let newer = scene.store().join("cluster/rotated/2026/11/23/20261123T030000Z");
    fs::create_dir_all(&newer).unwrap();
    fs::write(newer.join("manifest.json"), "{").unwrap();
    let (code, verdict) = scene.verdict(&["verify"]);
    assert_eq!(code, 5);
    assert!(verdict.starts_with("DAMAGED") && verdict.contains(ID), "{verdict}");
}

#[test]
fn wrong_usage_and_configuration_are_exit_2_with_a_document() {
    let scene = Scene::new();
    for arguments in [
        &["bogus"][..],
        &["backup", "--only", "x"],
        &["show", "nonsense"],
        &["show", "2025"],
    ] {
        let (code, document) = scene.json(arguments);
        assert_eq!(
            (code, &document["outcome"]),
            (2, &Value::from("usage")),
            "{arguments:?}"
        );
    }
    assert_eq!(scene.kbo(&["--json", "--help"]).status.code(), Some(0));

    scene.configure("[storage2]\nx = 1\n");
    let (code, verdict) = scene.verdict(&["list"]);
    assert_eq!(code, 2);
    assert!(
        verdict.contains("storage2") && verdict.contains("kbo.toml"),
        "{verdict}"
    );
}

#[test]
fn a_store_of_a_later_format_is_exit_2_and_no_damage() {
    let scene = Scene::new();
    fs::write(scene.store().join("kbo-store.json"), r#"{"format": 3}"#).unwrap();
    let (code, document) = scene.json(&["list"]);
    assert_eq!((code, &document["outcome"]), (2, &Value::from("usage")));
    let verdict = document["verdict"].as_str().unwrap();
    assert!(verdict.contains("format 3"), "{verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_cluster_is_exit_6_and_says_whose_lock_it_is() {
    let scene = Scene::new();
    let lock = DirStore::new(scene.store())
        .lock(&"dev".parse().unwrap(), "a test")
        .await
        .unwrap();
    let (code, document) = scene.json(&["backup"]);
    assert_eq!((code, &document["outcome"]), (6, &Value::from("locked")));
    let verdict = document["verdict"].as_str().unwrap();
    assert!(
        verdict.contains("a test") && verdict.contains(&std::process::id().to_string()),
        "{verdict}"
    );
    lock.release().await.unwrap();
}

#[test]
fn nodes_that_nobody_reaches_are_a_refusal_and_nothing_is_touched() {
    let scene = Scene::new();
    fs::write(scene.temp.path().join("known_hosts"), "").unwrap();
    let (code, document) = scene.json(&["backup"]);
    assert_eq!((code, &document["outcome"]), (3, &Value::from("refused")));
    assert_eq!(document["id"], Value::Null);
    let (code, verdict) = scene.verdict(&["backup"]);
    assert_eq!(code, 3);
    assert!(verdict.contains("nothing was touched"), "{verdict}");
}
