//! The program as scripts see it: exit codes, one JSON document, one verdict. No node is contacted.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kbo_archive::store::DirStore;
use kbo_core::ports::store::BackupStore;
use serde_json::Value;
use tempfile::TempDir;

const ID: &str = "20261122T030000Z";

/// A configuration, and a copy of the golden store.
struct Scene {
    temp: TempDir,
}

impl Scene {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kbo-archive/testdata/v1/store");
        copy(&golden, &temp.path().join("cold"));
        let scene = Self { temp };
        scene.configure("");
        scene
    }

    fn configure(&self, more: &str) {
        let text = format!(
            "[cluster]\nname = \"dev\"\n[storage]\ncold = {:?}\n[defaults]\ndata = \"/data\"\n\
             [[node]]\nname = \"c1\"\nrole = \"controller\"\nhost = \"127.0.0.1\"\nport = 1\n\
             [[node]]\nname = \"b1\"\nrole = \"broker\"\nhost = \"127.0.0.1\"\nport = 1\n{more}",
            self.store()
        );
        fs::write(self.temp.path().join("kbo.toml"), text).unwrap();
    }

    fn store(&self) -> PathBuf {
        self.temp.path().join("cold")
    }

    fn backup(&self) -> PathBuf {
        self.store().join("cluster/rotated/2026/11/22").join(ID)
    }

    fn kbo(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_kbo"))
            .args(arguments)
            .env("KBO_CONFIG", self.temp.path().join("kbo.toml"))
            .env("HOME", self.temp.path())
            .output()
            .unwrap()
    }

    /// Exit code and the one JSON document.
    fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.kbo(&[&["--json"], arguments].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        let document = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text:?}"));
        (output.status.code().unwrap(), document)
    }

    /// Exit code and the last line of all that a person sees.
    fn verdict(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.kbo(arguments);
        let text = [output.stderr, output.stdout].concat();
        let text = String::from_utf8(text).unwrap();
        (
            output.status.code().unwrap(),
            text.lines().last().unwrap_or_default().to_owned(),
        )
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

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
    fs::write(scene.store().join("kbo-store.json"), r#"{"format": 2}"#).unwrap();
    let (code, document) = scene.json(&["list"]);
    assert_eq!((code, &document["outcome"]), (2, &Value::from("usage")));
    let verdict = document["verdict"].as_str().unwrap();
    assert!(verdict.contains("format 2"), "{verdict}");
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
