//! What version 0.1.0 left behind is read, recovered, or refused with the line to change. `testdata/0.1.0` was written by that
//! version: schedules as installed, configurations as handed out. It is never replaced.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "not every test needs all of it")]
mod scene;

use std::fs;
use std::path::{Path, PathBuf};

use scene::{ID, Scene, copy};
use serde_json::Value;

fn left(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/0.1.0").join(name)
}

#[test]
fn its_configurations_load() {
    for name in ["ssh.toml", "docker.toml", "single.toml"] {
        let scene = Scene::new();
        let here = |path: &str| scene.temp.path().join(path).display().to_string();
        let text = fs::read_to_string(left(name))
            .unwrap()
            .replace("/backup/cold", &here("none"))
            .replace("/var/log/kbo.log", &here("kbo.log"));
        fs::write(scene.temp.path().join("kbo.toml"), text).unwrap();
        let (code, list) = scene.json(&["list"]);
        assert_eq!((code, &list), (0, &Value::Array(vec![])), "{name}");
    }
}

#[test]
fn its_store_is_listed_shown_and_verified() {
    let scene = Scene::new();
    let (code, list) = scene.json(&["list"]);
    assert_eq!((code, list[0]["id"].as_str()), (0, Some(ID)), "{list}");
    let (code, shown) = scene.json(&["show", ID]);
    assert_eq!((code, shown["id"].as_str()), (0, Some(ID)), "{shown}");
    assert_eq!(scene.json(&["verify", ID]).0, 0);
}

#[test]
fn its_schedules_are_shown_and_removed() {
    for scheduler in ["systemd", "cron"] {
        let scene = Scene::new();
        let root = scene.temp.path().join("image");
        copy(&left("schedules").join(scheduler), &root);
        let root = root.display().to_string();
        let (code, shown) = scene.json(&["schedule", "show", "--root", &root]);
        let names: Vec<&str> = shown["schedules"]
            .as_array()
            .unwrap()
            .iter()
            .map(|schedule| schedule["name"].as_str().unwrap())
            .collect();
        assert_eq!((code, names), (0, vec!["hourly", "nightly"]), "{shown}");
        let (code, removed) = scene.json(&["schedule", "remove", "--all", "--root", &root]);
        assert_eq!(
            (code, removed["removed"].as_array().unwrap().len()),
            (0, 2),
            "{removed}"
        );
    }
}
