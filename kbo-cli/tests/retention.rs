//! Rotation, pins and exported files, as their user sees them. No node is contacted.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scene;

use std::fs;
use std::path::PathBuf;

use kbo_archive::store::DirStore;
use kbo_core::ports::store::BackupStore;
use serde_json::Value;

use scene::{ID, Scene};

/// A copy of the golden backup under another id: its manifest says that it is that old, and its files are as new as this test.
fn older(scene: &Scene, id: &str) -> PathBuf {
    let folder = scene
        .store()
        .join(format!("cluster/rotated/{}/{}/{}/{id}", &id[..4], &id[4..6], &id[6..8]));
    scene::copy(&scene.backup(), &folder);
    let path = folder.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    manifest["id"] = id.into();
    let time = format!(
        "{}-{}-{}T{}:{}:{}Z",
        &id[..4],
        &id[4..6],
        &id[6..8],
        &id[9..11],
        &id[11..13],
        &id[13..15]
    );
    manifest["created"] = time.clone().into();
    manifest["committed"] = time.into();
    fs::write(&path, manifest.to_string()).unwrap();
    folder
}

fn decisions(document: &Value) -> Vec<(String, bool)> {
    let decisions = document["decisions"].as_array().unwrap().iter();
    decisions
        .map(|decision| {
            (
                decision["id"].as_str().unwrap().to_owned(),
                decision["keep"].as_bool().unwrap(),
            )
        })
        .collect()
}

fn ids(scene: &Scene) -> Vec<String> {
    let (_, list) = scene.json(&["list"]);
    list.as_array()
        .unwrap()
        .iter()
        .map(|row| row["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_rotation_goes_by_the_manifests_ages_and_says_why_the_rest_stays() {
    let scene = Scene::new();
    let (ancient, old) = ("20200101T030000Z", "20210101T030000Z");
    for id in [ancient, old] {
        older(&scene, id);
    }
    // The golden one is the newest: however old it is by now, it is the last good one.
    let (code, dry) = scene.json(&["rotate", "--dry-run"]);
    assert_eq!(code, 0);
    let expected = [
        (ancient.to_owned(), false),
        (old.to_owned(), false),
        (ID.to_owned(), true),
    ];
    assert_eq!(decisions(&dry), expected);
    assert_eq!(ids(&scene).len(), 3, "a dry run touches nothing");

    scene.configure("[retention]\nkeep_last = 2\n");
    let (code, verdict) = scene.verdict(&["rotate"]);
    assert_eq!((code, verdict.as_str()), (0, "1 backup removed, 2 stay"));
    assert_eq!(ids(&scene), [old, ID]);
    assert!(
        !scene.store().join("cluster/rotated/2020").exists(),
        "its folders of dates are gone too"
    );
    let (code, again) = scene.json(&["rotate"]);
    assert_eq!((code, &again["removed"]), (0, &serde_json::json!([])));
}

#[test]
fn a_pinned_backup_survives_by_command_and_by_hand() {
    let scene = Scene::new();
    let folder = older(&scene, "20200101T030000Z");
    older(&scene, "20200201T030000Z");
    let (code, _) = scene.json(&["pin", "20200201", "--reason", "before the migration"]);
    assert_eq!(code, 0);
    let by_hand = scene.store().join("cluster/pinned/20200101T030000Z");
    fs::rename(folder, by_hand).unwrap();
    let (_, list) = scene.json(&["list"]);
    let pinned: Vec<&Value> = list
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["pinned"] == true)
        .collect();
    assert_eq!(pinned.len(), 2);
    assert_eq!(pinned[1]["pin_reason"], "before the migration");
    assert_eq!(scene.json(&["rotate"]).1["removed"], serde_json::json!([]));

    for id in ["20200101T030000Z", "20200201T030000Z"] {
        let (code, unpinned) = scene.json(&["unpin", id]);
        assert_eq!((code, &unpinned["changed"]), (0, &Value::from(true)));
    }
    assert_eq!(scene.json(&["rotate"]).1["removed"].as_array().unwrap().len(), 2);
    assert_eq!(ids(&scene), [ID]);
    assert_eq!(scene.json(&["pin", "20200101T030000Z"]).0, 2);
}

#[test]
fn what_cannot_be_read_and_what_is_another_clusters_stays() {
    let scene = Scene::new();
    let damaged = older(&scene, "20200101T030000Z");
    fs::write(damaged.join("manifest.json"), "{").unwrap();
    let others = older(&scene, "20200201T030000Z");
    let path = others.join("manifest.json");
    let manifest = fs::read_to_string(&path)
        .unwrap()
        .replace("\"cluster\":\"dev\"", "\"cluster\":\"other\"");
    fs::write(path, manifest).unwrap();
    let (code, rotated) = scene.json(&["rotate"]);
    assert_eq!(code, 0);
    assert_eq!(
        decisions(&rotated),
        [("20200101T030000Z".to_owned(), true), (ID.to_owned(), true)]
    );
    assert_eq!(ids(&scene).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_rotated_or_pinned_while_another_run_holds_the_lock() {
    let scene = Scene::new();
    let lock = DirStore::new(scene.store())
        .lock(&"dev".parse().unwrap(), "a restore")
        .await
        .unwrap();
    for command in [&["rotate"][..], &["pin", ID], &["unpin", ID]] {
        assert_eq!(scene.json(command).0, 6, "{command:?}");
    }
    assert_eq!(scene.json(&["rotate", "--dry-run"]).0, 0);
    lock.release().await.unwrap();
}

#[test]
fn an_exported_backup_comes_back_into_an_empty_store_and_is_whole() {
    let scene = Scene::new();
    let file = scene.temp.path().join("backup.tar");
    let name = file.to_str().unwrap();
    let (code, exported) = scene.json(&["export", "latest", name]);
    assert_eq!((code, &exported["id"]), (0, &Value::from(ID)));
    assert_eq!(scene.json(&["export", "latest", name]).0, 2, "it is there");
    assert_eq!(scene.json(&["export", "latest", name, "--force"]).0, 0);
    assert_eq!(scene.json(&["import", name]).0, 2, "the store has it");

    let to_stdout = scene.kbo(&["export", ID, "-"]);
    assert!(
        to_stdout.stdout == fs::read(&file).unwrap(),
        "the same bytes on standard output"
    );

    fs::remove_dir_all(scene.store()).unwrap();
    let (code, imported) = scene.json(&["import", name, "--pin"]);
    assert_eq!((code, &imported["id"]), (0, &Value::from(ID)), "{imported}");
    assert_eq!(scene.json(&["verify", ID]).0, 0);
    assert_eq!(scene.json(&["list"]).1[0]["pin_reason"], "imported");

    fs::write(&file, "no tar").unwrap();
    let (code, refused) = scene.json(&["import", name]);
    assert_eq!(code, 5);
    assert!(
        refused["verdict"].as_str().unwrap().contains("imported file"),
        "{refused}"
    );
    assert_eq!(scene.json(&["import", "/nowhere/x.tar"]).0, 2);
}
