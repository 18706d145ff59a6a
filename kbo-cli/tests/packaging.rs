//! What the packages hand out is what the program takes: examples load, units are sound, the generated files are there.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "not every test needs all of it")]
mod scene;

use std::fs;
use std::path::{Path, PathBuf};

use scene::Scene;
use serde_json::Value;

fn packaging(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

#[test]
fn every_example_is_a_configuration_that_kbo_loads() {
    let examples = packaging("examples");
    assert!(examples.len() >= 3, "{examples:?}");
    for example in examples {
        let scene = Scene::new();
        // The store and the log are the only places that it would touch.
        let text = fs::read_to_string(&example).unwrap();
        let here = |path: &str| scene.temp.path().join(path).display().to_string();
        let text = text
            .replace("/backup/cold", &here("none"))
            .replace("/var/log/kbo.log", &here("kbo.log"));
        fs::write(scene.temp.path().join("kbo.toml"), text).unwrap();
        let (code, list) = scene.json(&["list"]);
        assert_eq!((code, &list), (0, &Value::Array(vec![])), "{}", example.display());
    }
}

#[test]
fn the_unit_calls_a_command_that_kbo_takes_and_its_timer_calls_the_unit() {
    let units = packaging("systemd");
    let names: Vec<String> = units
        .iter()
        .map(|unit| unit.file_name().unwrap().display().to_string())
        .collect();
    assert_eq!(names, ["kbo-backup.service", "kbo-backup.timer"]);
    let service = fs::read_to_string(&units[0]).unwrap();
    let call = service
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart=/usr/bin/kbo "))
        .unwrap();
    let arguments: Vec<&str> = call.split(' ').chain(["--help"]).collect();
    assert_eq!(Scene::new().kbo(&arguments).status.code(), Some(0), "{call}");
    assert!(fs::read_to_string(&units[1]).unwrap().contains("[Timer]\nOnCalendar="));
}

#[test]
fn completions_are_printed_for_each_shell_without_a_configuration() {
    let scene = Scene::new();
    fs::remove_file(scene.temp.path().join("kbo.toml")).unwrap();
    for (shell, mark) in [("bash", "_kbo()"), ("zsh", "#compdef kbo"), ("fish", "complete -c kbo")] {
        let output = scene.kbo(&["completions", shell]);
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success() && script.contains(mark) && script.contains("restore"),
            "{shell}: {script}"
        );
        assert!(
            !script.contains("Serve a node over stdin"),
            "{shell} completes what is hidden"
        );
        let (code, document) = scene.json(&["completions", shell]);
        assert_eq!((code, &document["outcome"]), (0, &Value::from("done")));
        assert_eq!(document["script"].as_str().unwrap().trim_end(), script.trim_end());
    }
    assert_eq!(scene.kbo(&["completions", "csh"]).status.code(), Some(2));
}

#[test]
fn what_is_generated_is_written_and_named_and_a_folder_that_is_a_file_is_said() {
    let scene = Scene::new();
    let out = scene.temp.path().join("deep/man");
    let (code, document) = scene.json(&["generate", "man", "--out", out.to_str().unwrap()]);
    assert_eq!((code, &document["outcome"]), (0, &Value::from("done")));
    let files: Vec<&str> = document["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file.as_str().unwrap())
        .collect();
    assert!(
        files.len() > 15 && files.iter().all(|file| Path::new(file).is_file()),
        "{files:?}"
    );
    let file = scene.temp.path().join("kbo.toml");
    let (code, verdict) = scene.verdict(&["generate", "man", "--out", file.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(
        verdict.contains("cannot write") && verdict.contains("kbo.toml"),
        "{verdict}"
    );
}
