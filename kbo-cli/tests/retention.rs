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

/// A copy of the golden backup as another one: its manifest changed, with checksums that fit it.
fn forged(scene: &Scene, kind: &str, id: &str, change: impl FnOnce(&mut Value)) -> PathBuf {
    let folder = scene
        .store()
        .join(format!("{kind}/rotated/{}/{}/{}/{id}", &id[..4], &id[4..6], &id[6..8]));
    scene::copy(&scene.backup(), &folder);
    let path = folder.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let time: kbo_core::ids::BackupId = id.parse().unwrap();
    manifest["id"] = id.into();
    manifest["kind"] = kind.into();
    manifest["created"] = time.time().to_string().into();
    manifest["committed"] = time.time().to_string().into();
    if kind == "config" {
        manifest["archives"]
            .as_array_mut()
            .unwrap()
            .retain(|archive| archive["dataset"] == "config");
        let sums = fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
        let kept = sums.lines().filter(|line| line.contains(".config."));
        fs::write(
            folder.join("SHA256SUMS"),
            kept.fold(String::new(), |text, line| text + line + "\n"),
        )
        .unwrap();
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.to_string_lossy().contains(".data.") {
                fs::remove_file(path).unwrap();
            }
        }
    }
    change(&mut manifest);
    fs::write(&path, manifest.to_string()).unwrap();
    folder
}

/// A time so many days ago.
fn days_ago(days: i64) -> String {
    let at = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * days) - jiff::SignedDuration::from_mins(5);
    kbo_core::ids::BackupId::at(at).to_string()
}

const NEWER: &str = "20261122T040000Z";

#[test]
fn latest_means_the_newest_good_backup_that_has_data_and_the_plan_says_which_it_is() {
    let scene = Scene::new();
    forged(&scene, "config", NEWER, |_| {});
    let said = |arguments: &[&str]| {
        let output = scene.kbo(arguments);
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let plan = said(&["restore", "latest", "--dry-run"]);
    let mut lines = plan.lines();
    let first = lines.next().unwrap();
    assert!(
        first.starts_with(&format!("restore config and data: cluster backup {ID} of dev, "))
            && first.contains(" ago (2026-11-22T03:00:00Z), 2 nodes"),
        "{plan}"
    );
    let second = lines.next().unwrap();
    assert_eq!(
        second,
        format!("passed over, newer, does not hold that: {NEWER} (config)")
    );
    // What was asked for, or said by its id, is what it is.
    let config = said(&["restore", "latest", "--only", "config", "--dry-run"]);
    assert!(
        config.starts_with(&format!("restore config: config backup {NEWER} of dev")),
        "{config}"
    );
    let named = said(&["restore", NEWER, "--dry-run"]);
    assert!(
        named.starts_with(&format!("restore config: config backup {NEWER} of dev")),
        "{named}"
    );
    assert_eq!(scene.verdict(&["restore", NEWER, "--only", "data", "--dry-run"]).0, 2);

    let (code, verified) = scene.json(&["verify", "latest"]);
    assert_eq!((code, &verified["backups"][0]["id"]), (0, &ID.into()));
    let file = scene.temp.path().join("x.tar");
    assert_eq!(scene.json(&["export", "latest", file.to_str().unwrap()]).1["id"], ID);
    assert_eq!(scene.json(&["pin", "latest"]).1["id"], ID);

    // Unclean, damaged or short ones are never latest, and a store without a good one says what there is.
    fs::remove_file(
        scene
            .store()
            .join("cluster/pinned/2026/11/22")
            .join(ID)
            .join("kafka-broker-1.data.tar.zst"),
    )
    .unwrap();
    let (code, verdict) = scene.verdict(&["restore", "latest", "--dry-run"]);
    assert_eq!(code, 5, "{verdict}");
    assert!(
        verdict.contains("no good backup of cluster dev with data") && verdict.contains("is damaged: "),
        "{verdict}"
    );
}

#[test]
fn verify_all_gives_each_backup_its_verdict_and_goes_on_past_a_damaged_one() {
    let scene = Scene::new();
    let unreadable = forged(&scene, "cluster", "20261120T030000Z", |_| {});
    fs::write(unreadable.join("manifest.json"), "{").unwrap();
    let flipped = forged(&scene, "cluster", "20261121T030000Z", |_| {}).join("kafka-broker-1.data.tar.zst");
    let mut bytes = fs::read(&flipped).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(flipped, bytes).unwrap();
    let output = scene.kbo(&["verify", "--all"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "20261120T030000Z  DAMAGED",
            "20261121T030000Z  DAMAGED",
            &format!("{ID}  whole, 4 archives"),
            "DAMAGED: 2 of 3 backups: 20261120T030000Z, 20261121T030000Z",
        ]
    );
    assert_eq!(output.status.code(), Some(5));
    // The store's own record, too; and what is whole is still said to be.
    fs::write(scene.store().join("kbo-store.json"), "{").unwrap();
    let (code, document) = scene.json(&["verify", "--all"]);
    assert_eq!((code, document["backups"].as_array().unwrap().len()), (5, 3));
    assert!(
        document["store"][0].as_str().unwrap().contains("kbo-store.json"),
        "{document}"
    );
}

#[test]
fn control_characters_of_a_store_reach_no_terminal() {
    let scene = Scene::new();
    let hostile = "\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}";
    forged(&scene, "cluster", NEWER, |manifest| {
        manifest["kbo_version"] = hostile.into();
        manifest["caveats"] = serde_json::json!([hostile, "b1: x: zeros, at byte 7\u{1b}[2J"]);
        manifest["nodes"][0]["kafka_version"] = hostile.into();
    });
    let folder = scene.store().join("cluster/rotated/2026/11/22").join(NEWER);
    fs::write(folder.join(format!("surplus{hostile}")), "").unwrap();
    fs::write(folder.join("SHA256SUMS"), format!("{hostile}\n")).unwrap();
    for arguments in [
        &["list"][..],
        &["show", NEWER],
        &["verify", "--all"],
        &["rotate", "--dry-run"],
        &["--json", "list"],
        &["--json", "verify", "--all"],
        &["restore", NEWER, "--dry-run"],
        &["export", NEWER, "x.tar"],
        &["show", hostile],
    ] {
        let output = scene.kbo(arguments);
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        let found = text.chars().find(|c| *c != '\n' && kbo_core::text::is_control(*c));
        assert_eq!(found, None, "{arguments:?}: {text:?}");
    }
}

#[test]
fn a_rotation_that_would_take_most_of_what_there_is_is_withheld_until_somebody_has_looked() {
    let scene = Scene::new();
    fs::remove_dir_all(scene.store().join("cluster")).unwrap();
    let golden = Scene::new();
    let dates: Vec<String> = (1..=10).rev().map(|day| days_ago(day * 5)).collect();
    for id in &dates {
        let folder = forged(&golden, "cluster", id, |_| {});
        let place = folder.strip_prefix(golden.store()).unwrap();
        scene::copy(&folder, &scene.store().join(place));
    }
    scene.configure("[retention]\ndays = 6\n");
    let (code, dry) = scene.json(&["rotate", "--dry-run"]);
    assert_eq!((code, &dry["outcome"]), (7, &"attention".into()));
    let (code, withheld) = scene.json(&["rotate"]);
    assert_eq!((code, &withheld["removed"]), (7, &serde_json::json!([])));
    let why = withheld["withheld"].as_str().unwrap();
    assert!(why.contains("9 of 10"), "{why}");
    assert!(scene.verdict(&["rotate"]).1.contains("kbo rotate --yes"));
    assert_eq!(ids(&scene).len(), 10);
    let (code, rotated) = scene.json(&["rotate", "--yes"]);
    assert_eq!((code, rotated["removed"].as_array().unwrap().len()), (0, 9));
}

#[test]
fn backups_of_another_cluster_id_are_shown_as_such_and_go_only_by_their_own_name() {
    const NEW: &str = "BBBBBBBBBBBBBBBBBBBBBB";
    let scene = Scene::new();
    scene.configure("[retention]\ndays = 1\n");
    let old = "AkU3OEVBNTcwNTJENDM2Qg";
    for id in ["20261120T030000Z", "20261121T030000Z"] {
        forged(&scene, "cluster", id, |_| {});
    }
    let (code, adopted) = scene.json(&["adopt", NEW]);
    assert_eq!(
        (code, &adopted["previous"], &adopted["others"]),
        (0, &old.into(), &3.into())
    );
    let (code, verdict) = scene.verdict(&["restore", "latest", "--dry-run"]);
    assert_eq!(code, 2);
    assert!(
        verdict.contains(&format!("is of another cluster id ({old})")),
        "{verdict}"
    );
    forged(&scene, "cluster", NEWER, |manifest| manifest["cluster_id"] = NEW.into());
    let (_, list) = scene.json(&["list"]);
    let others: Vec<bool> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["other_cluster_id"] == true)
        .collect();
    assert_eq!(others, [true, true, true, false]);
    let shown = String::from_utf8(scene.kbo(&["list"]).stdout).unwrap();
    assert_eq!(shown.matches(&format!("OTHER CLUSTER ID {old}")).count(), 3, "{shown}");
    assert!(
        String::from_utf8(scene.kbo(&["show", ID]).stdout)
            .unwrap()
            .contains(&format!("NOT that of dev now, which is {NEW}"))
    );
    assert_eq!(scene.json(&["show", "latest"]).1["id"], NEWER);
    assert_eq!(scene.json(&["rotate"]).1["removed"], serde_json::json!([]));
    assert_eq!(ids(&scene).len(), 4);
    let (code, rotated) = scene.json(&["rotate", "--cluster-id", old]);
    assert_eq!((code, rotated["removed"].as_array().unwrap().len()), (0, 2));
    assert_eq!(ids(&scene), [ID, NEWER]);
    // Back again.
    assert_eq!(scene.json(&["adopt", old]).0, 0);
    assert_eq!(scene.json(&["show", "latest"]).1["id"], ID);
    scene.configure("");
    let text = fs::read_to_string(scene.temp.path().join("kbo.toml")).unwrap();
    let text = text.replace("name = \"dev\"", &format!("name = \"dev\"\nid = \"{NEW}\""));
    fs::write(scene.temp.path().join("kbo.toml"), text).unwrap();
    assert_eq!(
        scene.json(&["show", "latest"]).1["id"],
        NEWER,
        "kbo.toml decides where it names an id"
    );
    assert_eq!(scene.json(&["adopt", old]).0, 2);
}
