//! Schedules as their user installs, sees and removes them, below a folder of their own; systemd itself reads what is written.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scene;
#[path = "schedule/surroundings.rs"]
mod surroundings;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use scene::{ID, Scene};

struct Installing {
    scene: Scene,
}

impl Installing {
    fn new() -> Self {
        Self { scene: Scene::new() }
    }

    fn root(&self) -> PathBuf {
        self.scene.temp.path().join("image")
    }

    fn with_root<'a>(&'a self, arguments: &[&'a str], root: &'a str) -> Vec<&'a str> {
        [arguments, &["--root", root]].concat()
    }

    fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let root = self.root().display().to_string();
        self.scene.json(&self.with_root(arguments, &root))
    }

    fn verdict(&self, arguments: &[&str]) -> (i32, String) {
        let root = self.root().display().to_string();
        self.scene.verdict(&self.with_root(arguments, &root))
    }

    fn install(&self, arguments: &[&str]) -> Value {
        let (code, document) = self.json(&[&["schedule", "install"], arguments].concat());
        assert_eq!(code, 0, "{arguments:?}: {document}");
        document
    }

    fn cron(&self, name: &str) -> PathBuf {
        self.root().join("etc/cron.d").join(name)
    }

    fn shown(&self) -> Vec<Value> {
        let (code, document) = self.json(&["schedule", "show"]);
        assert_eq!(code, 0);
        document["schedules"].as_array().unwrap().clone()
    }
}

/// Every path of the units is quoted as systemd wants it, and every key is one that it knows.
fn verified(files: &[PathBuf]) {
    let output = Command::new("systemd-analyze")
        .arg("verify")
        .args(files)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let names: Vec<&str> = files
        .iter()
        .map(|file| file.file_name().unwrap().to_str().unwrap())
        .collect();
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| names.iter().any(|name| line.contains(name)) || line.contains("kbo"))
        .collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
}

fn files(document: &Value) -> Vec<PathBuf> {
    document["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["path"].as_str().unwrap().into())
        .collect()
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units_whatever_the_paths() {
    let installing = Installing::new();
    let odd = installing.scene.temp.path().join("it's 100% \"odd\" $HOME \\ folder");
    fs::create_dir(&odd).unwrap();
    let config = odd.join("kbo.toml");
    installing.scene.configure(&format!(
        "[metrics]\ntextfile = {:?}\n[log]\nfile = {:?}\n",
        odd.join("kbo.prom"),
        odd.join("kbo.log")
    ));
    fs::rename(installing.scene.temp.path().join("kbo.toml"), &config).unwrap();
    let programs = installing.scene.temp.path().join("100% $HOME");
    fs::create_dir(&programs).unwrap();
    let program = programs.join("kbo");
    fs::copy("/bin/true", &program).unwrap();
    let (config, program) = (
        config.to_str().unwrap().to_owned(),
        program.to_str().unwrap().to_owned(),
    );
    for (kind, when) in [
        ("cluster", ["--at", "03:00,15:30"]),
        ("config", ["--cron", "*/20 1-5 1,15 jan,feb mon-fri"]),
        ("data", ["--calendar", "Mon..Fri *-*~1 03:00:00 Europe/Berlin"]),
    ] {
        let document = installing.install(&[
            "--kind",
            kind,
            when[0],
            when[1],
            "--scheduler",
            "systemd",
            "--config",
            &config,
            "--program",
            &program,
        ]);
        assert_eq!(document["scheduler"], "systemd");
        verified(&files(&document));
    }
    // Of the local node's hardening there is less.
    let text = fs::read_to_string(&config)
        .unwrap()
        .replace("host = \"127.0.0.1\"\nport = 1", "transport = \"local\"");
    fs::write(&config, text).unwrap();
    let document = installing.install(&[
        "--kind",
        "cluster",
        "--at",
        "04:00",
        "--scheduler",
        "systemd",
        "--config",
        &config,
        "--program",
        &program,
    ]);
    verified(&files(&document));
    let service = document["files"][1]["text"].as_str().unwrap();
    let writable = service
        .lines()
        .find_map(|line| line.strip_prefix("ReadWritePaths="))
        .unwrap();
    assert!(writable.split(' ').all(|path| path != "/"), "{writable}");
    let warnings = document["warnings"].to_string();
    assert!(
        warnings.contains("beside /data is /") && warnings.contains("--writable /"),
        "the run could not make its folder: {warnings}"
    );
}

#[test]
fn what_runs_is_a_call_that_kbo_takes_and_that_is_noted_as_the_schedules_own() {
    let installing = Installing::new();
    installing.install(&[
        "--kind",
        "config",
        "--cron",
        "@hourly",
        "--name",
        "hourly",
        "--scheduler",
        "cron",
    ]);
    let crontab = fs::read_to_string(installing.cron("kbo-dev-hourly")).unwrap();
    let line = crontab
        .lines()
        .find_map(|line| line.strip_prefix("0 * * * * root "))
        .unwrap();
    // As cron has it: sh, and next to nothing in the environment.
    let output = Command::new("/bin/sh")
        .args(["-c", line])
        .env_clear()
        .env("HOME", installing.scene.temp.path())
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(3),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(
        said.contains("refused by preflight"),
        "cron mails what went wrong: {said}"
    );
    let shown = installing.shown();
    assert_eq!(
        (&shown[0]["name"], &shown[0]["last_run"]["outcome"]),
        (&Value::from("hourly"), &Value::from("refused"))
    );
    assert_eq!(shown[0]["last_run"]["schedule"], "hourly");
    assert_eq!(shown[0]["last_run"]["exit_code"], 3);
    // Another one of the same kind has not run for that.
    installing.install(&["--kind", "config", "--at", "03:00", "--name", "nightly"]);
    let nightly = &installing.shown()[1];
    assert_eq!(
        (
            &nightly["name"],
            &nightly["last_run"],
            &nightly["last_run_of_kind"]["schedule"]
        ),
        (&Value::from("nightly"), &Value::Null, &Value::from("hourly"))
    );
    let root = installing.root().display().to_string();
    let table = installing
        .scene
        .kbo(&installing.with_root(&["schedule", "show"], &root))
        .stdout;
    let table = String::from_utf8(table).unwrap();
    let row = table.lines().find(|line| line.starts_with("nightly")).unwrap();
    assert!(row.contains("never"), "{table}");
}

#[test]
fn several_schedules_live_side_by_side_and_are_replaced_shown_and_removed_by_name() {
    let installing = Installing::new();
    installing.install(&["--kind", "cluster", "--at", "3:00", "--scheduler", "cron"]);
    installing.install(&["--kind", "config", "--cron", "@hourly", "--scheduler", "systemd"]);
    installing.install(&[
        "--kind",
        "cluster",
        "--cron",
        "0 12 * * 0",
        "--name",
        "weekly",
        "--scheduler",
        "cron",
    ]);
    let names = |installing: &Installing| -> Vec<String> {
        installing
            .shown()
            .iter()
            .map(|shown| shown["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&installing), ["cluster", "config", "weekly"]);
    for shown in installing.shown() {
        let next: jiff::Timestamp = shown["next_run"].as_str().unwrap().parse().unwrap();
        assert!(next > jiff::Timestamp::now());
    }
    // Again, as it is: nothing changes, not even since when it is there.
    let before = fs::read_to_string(installing.cron("kbo-dev-cluster")).unwrap();
    let again = installing.install(&["--kind", "cluster", "--at", "03:00", "--scheduler", "cron"]);
    assert_eq!(again["changed"], false);
    assert_eq!(fs::read_to_string(installing.cron("kbo-dev-cluster")).unwrap(), before);
    // By the other scheduler: the first one has it no more.
    installing.install(&["--kind", "cluster", "--at", "04:00", "--scheduler", "systemd"]);
    assert!(!installing.cron("kbo-dev-cluster").exists());
    assert_eq!(names(&installing), ["cluster", "config", "weekly"]);

    assert_eq!(installing.verdict(&["schedule", "remove"]).0, 2, "which?");
    assert_eq!(installing.verdict(&["schedule", "remove", "monthly"]).0, 2);
    let (code, dry) = installing.json(&["schedule", "remove", "--all", "--dry-run"]);
    assert_eq!((code, dry["removed"].as_array().unwrap().len()), (0, 3));
    assert_eq!(installing.json(&["schedule", "remove", "weekly"]).0, 0);
    assert_eq!(installing.json(&["schedule", "remove", "--kind", "config"]).0, 0);
    assert_eq!(names(&installing), ["cluster"]);
    assert_eq!(installing.json(&["schedule", "remove"]).0, 0);
    let (code, verdict) = installing.verdict(&["schedule", "remove"]);
    assert_eq!((code, verdict.as_str()), (0, "cluster dev has no schedule"));
    let left: Vec<PathBuf> = ["etc/cron.d", "etc/systemd/system"]
        .iter()
        .flat_map(|folder| fs::read_dir(installing.root().join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn print_and_dry_run_write_nothing_and_print_is_the_file_itself() {
    let installing = Installing::new();
    let root = installing.root().display().to_string();
    let arguments = [
        "schedule",
        "install",
        "--kind",
        "data",
        "--cron",
        "0 3 * * *",
        "--scheduler",
        "cron",
        "--root",
        &root,
    ];
    let printed = installing.scene.kbo(&[&arguments[..], &["--print"]].concat());
    assert!(printed.status.success());
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert!(
        printed.contains("\n0 3 * * * root ") && printed.contains(" backup --only data "),
        "{printed}"
    );
    assert_eq!(
        installing
            .json(&[
                "schedule",
                "install",
                "--kind",
                "data",
                "--cron",
                "0 3 * * *",
                "--dry-run"
            ])
            .0,
        0
    );
    assert!(!Path::new(&root).exists());
    installing.install(&arguments[2..8]);
    let again = installing.scene.kbo(&[&arguments[..], &["--print"]].concat());
    assert_eq!(
        String::from_utf8(again.stdout).unwrap(),
        fs::read_to_string(installing.cron("kbo-dev-data")).unwrap()
    );
}

#[test]
fn files_of_others_are_neither_overwritten_nor_removed() {
    let installing = Installing::new();
    let path = installing.cron("kbo-dev-cluster");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "* * * * * root true\n").unwrap();
    let install = [
        "schedule",
        "install",
        "--kind",
        "cluster",
        "--at",
        "03:00",
        "--scheduler",
        "cron",
    ];
    let (code, document) = installing.json(&install);
    assert_eq!((code, &document["outcome"]), (3, &Value::from("refused")));
    assert!(
        document["verdict"].as_str().unwrap().contains("kbo has not made it"),
        "{document}"
    );
    assert_eq!(installing.json(&["schedule", "remove", "--all"]).0, 0);
    assert_eq!(fs::read_to_string(&path).unwrap(), "* * * * * root true\n");

    // The name of another cluster's file may be the same, for cron takes no dots.
    fs::remove_file(&path).unwrap();
    installing.install(&install[2..]);
    let text = fs::read_to_string(&path)
        .unwrap()
        .replace("\"cluster\":\"dev\"", "\"cluster\":\"other\"");
    fs::write(&path, text).unwrap();
    let (code, document) = installing.json(&install);
    assert_eq!(code, 3);
    assert!(
        document["verdict"].as_str().unwrap().contains("another cluster"),
        "{document}"
    );
    assert_eq!(installing.shown(), [Value::Null; 0]);
}

#[test]
fn what_cannot_be_scheduled_is_refused_with_what_to_write() {
    let installing = Installing::new();
    for (arguments, why) in [
        (&["--kind", "cluster"][..], "--at"),
        (&["--kind", "cluster", "--at", "25:00"], "the hour"),
        (
            &["--kind", "cluster", "--at", "03:00", "--cron", "0 3 * * *"],
            "cannot be used",
        ),
        (&["--kind", "everything", "--at", "03:00"], "cluster, config, data"),
        (&["--kind", "cluster", "--cron", "0 0 30 2 *"], "never run"),
        (&["--kind", "cluster", "--cron", "* * * *"], "4 fields"),
        (&["--kind", "cluster", "--cron", "-1 * * * *"], "value should stand"),
        (
            &["--kind", "cluster", "--calendar", "every full moon"],
            "systemd-analyze",
        ),
        (
            &["--kind", "cluster", "--calendar", "2020-01-01"],
            "does not come any more",
        ),
        (
            &["--kind", "cluster", "--calendar", "daily", "--scheduler", "cron"],
            "--cron",
        ),
        (&["--kind", "cluster", "--at", "03:00", "--name", "../x"], "--name"),
        (&["--kind", "cluster", "--at", "03:00", "--user", "root true"], "user"),
    ] {
        let root = installing.root().display().to_string();
        let output = installing
            .scene
            .kbo(&installing.with_root(&[&["schedule", "install"], arguments].concat(), &root));
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
    assert!(!installing.root().exists());
}

#[test]
fn status_warns_of_a_backup_that_is_older_than_its_schedule_implies_and_of_no_other() {
    let installing = Installing::new();
    let warnings = || {
        let (_, status) = installing.json(&["status"]);
        let late: Vec<bool> = status["schedules"]
            .as_array()
            .unwrap()
            .iter()
            .map(|shown| shown["late"].as_bool().unwrap())
            .collect();
        let verdict = status["verdict"].as_str().unwrap().to_owned();
        (status["warnings"].as_array().unwrap().clone(), late, verdict)
    };
    assert_eq!(warnings().0, [Value::Null; 0]);
    // The golden backup is days old; as one of the whole cluster it counts for its configuration, too.
    for (kind, when) in [
        ("cluster", ["--cron", "0 3 * * *"]),
        ("config", ["--calendar", "hourly"]),
        ("data", ["--cron", "0 0 29 2 *"]),
    ] {
        let document = installing.install(&["--kind", kind, when[0], when[1]]);
        assert_eq!(warnings().1.last(), Some(&false), "it was not due yet");
        files(&document).iter().for_each(|file| installed_long_ago(file));
    }
    let (warned, late, verdict) = warnings();
    assert_eq!(late, [true, true, false]);
    assert_eq!(warned.len(), 2);
    let first = warned[0].as_str().unwrap();
    assert!(
        first.contains("cluster backup of schedule cluster is late") && first.contains(ID),
        "{first}"
    );
    assert!(verdict.contains("WARNING") && verdict.contains("is late"), "{verdict}");

    // One of a clock that was a year ahead is no reason to be quiet for a year.
    let now = jiff::Timestamp::now();
    let ahead = backup_of(&installing.scene, now + jiff::SignedDuration::from_hours(365 * 24));
    let (warned, late, _) = warnings();
    assert_eq!((warned.len(), late), (3, vec![true, true, false]));
    assert!(warned[0].as_str().unwrap().contains("check the clocks"), "{warned:?}");
    fs::remove_dir_all(ahead).unwrap();

    // A backup of just now, and all is well.
    backup_of(&installing.scene, now);
    let (warned, late, verdict) = warnings();
    assert_eq!((warned.len(), late), (0, vec![false; 3]));
    assert!(!verdict.contains("WARNING"), "{verdict}");
}

/// Puts a good backup of that time into the store.
fn backup_of(scene: &Scene, time: jiff::Timestamp) -> PathBuf {
    let id = time.strftime("%Y%m%dT%H%M%SZ").to_string();
    let days = format!("{}/{}/{}", &id[..4], &id[4..6], &id[6..8]);
    let folder = scene.store().join(format!("cluster/rotated/{days}/{id}"));
    scene::copy(&scene.backup(), &folder);
    let path = folder.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    manifest["id"] = id.into();
    manifest["created"] = time.to_string().into();
    manifest["committed"] = time.to_string().into();
    fs::write(&path, manifest.to_string()).unwrap();
    folder
}

/// Has a file of a schedule tell that it was installed at the beginning of 2026.
fn installed_long_ago(file: &Path) {
    let text = fs::read_to_string(file).unwrap();
    let (before, after) = text.split_once("\"installed\":\"").unwrap();
    let aged = format!("{before}\"installed\":\"2026-01-01T00:00:00Z{}", &after[20..]);
    fs::write(file, aged).unwrap();
}

#[test]
fn a_schedule_without_any_backup_is_late_from_its_first_time_on() {
    let installing = Installing::new();
    fs::remove_dir_all(installing.scene.store()).unwrap();
    installing.install(&["--kind", "config", "--cron", "@hourly", "--scheduler", "cron"]);
    assert_eq!(installing.shown()[0]["late"], false);
    installed_long_ago(&installing.cron("kbo-dev-config"));
    let shown = installing.shown();
    assert_eq!(
        (&shown[0]["late"], &shown[0]["last_good"]),
        (&Value::from(true), &Value::Null)
    );
    assert_eq!(shown[0]["due_since"], "2026-01-01T01:00:00Z");
}

#[test]
fn what_the_scheduled_run_would_lack_is_said() {
    let installing = Installing::new();
    let output = Command::new(env!("CARGO_BIN_EXE_kbo"))
        .args([
            "--json",
            "schedule",
            "install",
            "--kind",
            "config",
            "--at",
            "03:00",
            "--dry-run",
            "--root",
        ])
        .arg(installing.root())
        .env("KBO_CONFIG", installing.scene.temp.path().join("kbo.toml"))
        .env("KBO_LIMITS_PARALLEL_NODES", "3")
        .output()
        .unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let warnings = document["warnings"].to_string();
    assert!(
        warnings.contains("KBO_LIMITS_PARALLEL_NODES") && warnings.contains("ssh-agent"),
        "{warnings}"
    );
}
