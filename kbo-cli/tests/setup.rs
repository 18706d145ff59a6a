//! The way to a kbo.toml as scripts see it. No node is contacted.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A home of its own, without anything in it, and nobody at a terminal.
struct Scene {
    temp: TempDir,
}

impl Scene {
    fn new() -> Self {
        Self {
            temp: tempfile::tempdir().unwrap(),
        }
    }

    fn kbo(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_kbo"))
            .args(arguments)
            .env("HOME", self.temp.path())
            .env_remove("KBO_CONFIG")
            .stdin(Stdio::null())
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

    /// Exit code and the last line that a person sees.
    fn verdict(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.kbo(arguments);
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        let last = text.lines().last().unwrap_or_default().to_owned();
        (output.status.code().unwrap(), last)
    }
}

const CONFIG_INI: &str = "[ssh]\nSSH_USER=ops\nSSH_KEY_PUB=/k.pub\n[storage]\nSTORAGE_COLD=/cold\n[cluster]\nNODE_DATA=/d\n\
                          [nodes]\nkafka-controller-1=10.0.0.1\nkafka-broker-1=10.0.0.2\n";

#[test]
fn an_imported_file_is_one_that_kbo_loads() {
    let scene = Scene::new();
    let path = |name: &str| scene.temp.path().join(name).display().to_string();
    fs::write(path("config.ini"), CONFIG_INI).unwrap();
    let printed = scene.kbo(&["import-config", &path("config.ini"), "--name", "dev"]);
    assert_eq!(printed.status.code(), Some(0));
    let said = String::from_utf8(printed.stderr).unwrap();
    assert!(said.contains("SSH_USER -> ssh.user") && said.contains("not carried over") && said.contains("SSH_KEY_PUB"));

    let out = path("new.toml");
    let (code, document) = scene.json(&[
        "import-config",
        &path("config.ini"),
        "--out",
        &out,
        "--cold",
        &path("cold"),
    ]);
    assert_eq!((code, &document["written"]), (0, &Value::from(true)));
    assert_eq!(document["not_carried"][0]["key"], "SSH_KEY_PUB");
    assert_eq!(document["toml"], fs::read_to_string(&out).unwrap());
    assert_eq!(scene.kbo(&["--config", &out, "list"]).status.code(), Some(0));
}

#[test]
fn variables_of_hosts_whose_names_have_dots_are_read_and_leftovers_are_not() {
    let scene = Scene::new();
    let folder = scene.temp.path().join("inventory");
    fs::create_dir_all(folder.join("host_vars/dir.example.org")).unwrap();
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    write(
        "hosts",
        "[brokers]\nc1.example.org\n10.0.0.2\nc3\ndir.example.org\n[controllers]\nc0\n",
    );
    write("host_vars/c1.example.org", "node_id: 11\n");
    write("host_vars/10.0.0.2", "node_id: 12\n");
    write("host_vars/c3.yml", "node_id: 13\n");
    write("host_vars/dir.example.org/ids.yml", "node_id: 14\n");
    for name in [
        "README.md",
        "README",
        "c3.bak",
        "c3.yml.bak",
        "c3.yml~",
        "c3.txt",
        "c3.yml.orig",
        ".c3.yml.swp",
        "c3.retry",
        "c3.j2",
        "dir.example.org/ids.bak",
        "dir.example.org/notes.example",
    ] {
        write(&format!("host_vars/{name}"), "no: [variables\n");
    }
    let folder = folder.display().to_string();
    let (code, document) = scene.json(&["import-config", &folder]);
    assert_eq!(code, 0, "{document}");
    for id in 11..=14 {
        let line = format!("node_id = {id}\n");
        assert!(document["toml"].as_str().unwrap().contains(&line), "{line}{document}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_without_an_end_is_refused_and_not_read_to_it() {
    let scene = Scene::new();
    let (code, document) = scene.json(&["import-config", "/dev/zero"]);
    assert_eq!((code, &document["outcome"]), (2, &Value::from("usage")));
    assert!(
        document["verdict"]
            .as_str()
            .unwrap()
            .contains("it is a device, not a file"),
        "{document}"
    );
}

#[test]
fn a_file_that_is_there_is_overwritten_by_force_alone_and_wrong_lines_are_exit_2() {
    let scene = Scene::new();
    let path = |name: &str| scene.temp.path().join(name).display().to_string();
    fs::write(path("config.ini"), CONFIG_INI).unwrap();
    fs::write(path("mine.toml"), "mine").unwrap();
    let (from, to) = (path("config.ini"), path("mine.toml"));
    let import = |more: &[&str]| scene.verdict(&[&["import-config", &from, "--out", &to], more].concat());
    let (code, verdict) = import(&[]);
    assert_eq!(code, 2);
    assert!(verdict.contains("exists already"), "{verdict}");
    assert_eq!(import(&["--force", "--dry-run"]).0, 0);
    assert_eq!(fs::read_to_string(path("mine.toml")).unwrap(), "mine");
    assert_eq!(import(&["--force"]).0, 0);
    assert_ne!(fs::read_to_string(path("mine.toml")).unwrap(), "mine");

    fs::write(path("config.ini"), "[nodes]\na=1\nnonsense\n").unwrap();
    let (code, document) = scene.json(&["import-config", &path("config.ini")]);
    assert_eq!((code, &document["outcome"]), (2, &Value::from("usage")));
    assert!(document["verdict"].as_str().unwrap().contains("line 3"), "{document}");
}

#[test]
fn what_cannot_be_asked_without_a_terminal_names_its_option() {
    let scene = Scene::new();
    let out = scene.temp.path().join("init.toml").display().to_string();
    let (code, document) = scene.json(&["init", "--out", &out]);
    assert_eq!((code, &document["outcome"]), (2, &Value::from("usage")));
    assert!(document["hint"].as_str().unwrap().contains("--host"), "{document}");
    // Nobody listens on port 1: nothing is written.
    let (code, document) = scene.json(&["init", "--host", "127.0.0.1:1", "--out", &out]);
    assert_eq!((code, &document["outcome"]), (1, &Value::from("failed")));
    assert!(
        document["verdict"].as_str().unwrap().contains("127.0.0.1:1"),
        "{document}"
    );
    assert!(!fs::exists(&out).unwrap());
    assert_eq!(scene.json(&["ssh-setup", "--host", "a b"]).0, 2);
}

#[test]
fn an_unreachable_host_is_told_beside_the_others_and_no_key_is_made_for_it() {
    let scene = Scene::new();
    let (code, document) = scene.json(&["ssh-setup", "--host", "127.0.0.1:1", "--host", "ops@127.0.0.1:2"]);
    assert_eq!((code, &document["outcome"]), (1, &Value::from("failed")));
    let hosts = document["hosts"].as_array().unwrap();
    assert_eq!(hosts.len(), 2);
    assert!(
        hosts
            .iter()
            .all(|host| host["host_key_state"] == "unseen" && host["error"].is_string())
    );
    assert!(!scene.temp.path().join(".ssh").exists());
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let scene = Scene::new();
    let file = scene.temp.path().join("config.ini");
    fs::write(&file, CONFIG_INI).unwrap();
    for more in [&[][..], &["--json"]] {
        // Where every write fails for want of space.
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let status = Command::new(env!("CARGO_BIN_EXE_kbo"))
            .arg("import-config")
            .arg(&file)
            .args(more)
            .env("HOME", scene.temp.path())
            .stdout(full)
            .status();
        assert_eq!(status.unwrap().code(), Some(1), "{more:?}");
    }
}
