//! Schedules amid what else there is on a machine: other files, users, variables of a shell, zones.

use super::*;

#[test]
fn a_file_that_is_not_understood_is_removed_by_its_name_and_all_says_what_it_leaves() {
    let installing = Installing::new();
    installing.install(&["--kind", "data", "--at", "03:00", "--scheduler", "cron"]);
    for name in ["a", "b"] {
        fs::write(
            installing.cron(&format!("kbo-dev-{name}")),
            "# kbo-schedule: {\"of\":\"a later kbo\"}\n",
        )
        .unwrap();
    }
    fs::write(installing.cron("kbo-other-c"), "# kbo-schedule: {}\n").unwrap();
    assert_eq!(installing.json(&["schedule", "remove"]).0, 2, "which?");
    let (code, document) = installing.json(&["schedule", "remove", "a"]);
    assert_eq!((code, &document["removed"][0]), (0, &Value::from("a")), "{document}");
    let (code, verdict) = installing.verdict(&["schedule", "remove", "--all"]);
    assert_eq!(code, 1, "{verdict}");
    assert!(
        verdict.contains("kbo-dev-b") && verdict.contains("data is removed") && !verdict.contains("other"),
        "{verdict}"
    );
    let is_there = ["data", "a", "b"].map(|name| installing.cron(&format!("kbo-dev-{name}")).exists());
    assert_eq!(is_there, [false, false, true]);
    assert_eq!(installing.json(&["schedule", "remove", "b"]).0, 0);
    assert_eq!(installing.json(&["schedule", "remove", "--all"]).0, 0);
    assert!(installing.cron("kbo-other-c").exists());
}

#[test]
fn a_pipe_in_the_folder_is_passed_over() {
    let installing = Installing::new();
    installing.install(&["--kind", "data", "--at", "03:00", "--scheduler", "cron"]);
    let made = Command::new("mkfifo").arg(installing.cron("kbo-dev-pipe")).status();
    assert!(made.unwrap().success());
    let output = Command::new("timeout")
        .args(["30", env!("CARGO_BIN_EXE_kbo"), "schedule", "show", "--root"])
        .arg(installing.root())
        .env("KBO_CONFIG", installing.scene.temp.path().join("kbo.toml"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "it waits for a writer");
}

/// `kbo --json` with a further variable.
fn with(installing: &Installing, variable: (&str, &str), arguments: &[&str]) -> (i32, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_kbo"))
        .arg("--json")
        .args(arguments)
        .arg("--root")
        .arg(installing.root())
        .env("KBO_CONFIG", installing.scene.temp.path().join("kbo.toml"))
        .env("HOME", installing.scene.temp.path())
        .env(variable.0, variable.1)
        .output()
        .unwrap();
    (
        output.status.code().unwrap(),
        serde_json::from_slice(&output.stdout).unwrap(),
    )
}

#[test]
fn a_store_or_cluster_of_the_shell_is_not_what_is_scheduled() {
    let installing = Installing::new();
    for variable in [("KBO_STORAGE_COLD", "/elsewhere"), ("KBO_CLUSTER_NAME", "other")] {
        let (code, document) = with(
            &installing,
            variable,
            &["schedule", "install", "--kind", "data", "--at", "03:00"],
        );
        assert_eq!(code, 2, "{document}");
        assert!(document["verdict"].as_str().unwrap().contains(variable.0), "{document}");
        assert!(document["hint"].as_str().unwrap().contains("kbo.toml"), "{document}");
    }
    assert!(!installing.root().exists());
}

#[test]
fn times_are_those_of_the_machine_whatever_the_zone_of_the_shell() {
    let installing = Installing::new();
    installing.install(&["--kind", "data", "--at", "03:00", "--scheduler", "cron"]);
    let here = installing.shown()[0]["next_run"].clone();
    for zone in ["Pacific/Kiritimati", "Asia/Kolkata"] {
        let (_, document) = with(&installing, ("TZ", zone), &["schedule", "show"]);
        assert_eq!(document["schedules"][0]["next_run"], here, "{zone}");
    }
}

#[test]
fn the_home_is_that_of_the_schedules_user_and_an_unknown_one_is_refused() {
    let installing = Installing::new();
    let config = installing.scene.temp.path().join("kbo.toml");
    let text = fs::read_to_string(&config).unwrap();
    let store = format!("{:?}", installing.scene.store());
    fs::write(&config, text.replace(&store, "\"~/cold\"")).unwrap();
    let install = ["schedule", "install", "--kind", "data", "--at", "03:00", "--dry-run"];
    let users = fs::read_to_string("/etc/passwd").unwrap();
    for name in ["root", "daemon"] {
        let line = users.lines().find(|line| line.starts_with(&format!("{name}:")));
        let home = line.unwrap().split(':').nth(5).unwrap();
        let (code, document) = installing.scene.json(&[&install[..], &["--user", name]].concat());
        assert_eq!(code, 0, "{document}");
        assert_eq!(document["schedule"]["store"], format!("{home}/cold"));
    }
    assert_eq!(installing.json(&install).1["schedule"]["store"], "/root/cold");
    // For this machine it has to be known here.
    let (code, document) = installing
        .scene
        .json(&[&install[..], &["--user", "nobody-of-kbo"]].concat());
    assert_eq!(code, 2, "{document}");
    let verdict = document["verdict"].as_str().unwrap();
    assert!(verdict.contains("nobody-of-kbo"), "{verdict}");
    // An image has users of its own; where the ~ of one is that it has not cannot be known.
    let (code, document) = installing.json(&[&install[..], &["--user", "nobody-of-kbo"]].concat());
    assert_eq!(code, 2, "{document}");
    assert!(document["verdict"].as_str().unwrap().contains('~'), "{document}");
    installing.scene.configure("");
    let (code, document) = installing.json(&[&install[..], &["--user", "nobody-of-kbo"]].concat());
    assert_eq!(code, 0, "{document}");
    assert!(
        document["warnings"].to_string().contains("knows no user nobody-of-kbo"),
        "{document}"
    );
    let passwd = installing.root().join("etc/passwd");
    fs::create_dir_all(passwd.parent().unwrap()).unwrap();
    fs::write(&passwd, "nobody-of-kbo:x:500:500::/srv/kbo:/bin/sh\n").unwrap();
    fs::write(&config, text.replace(&store, "\"~/cold\"")).unwrap();
    let (_, document) = installing.json(&[&install[..], &["--user", "nobody-of-kbo"]].concat());
    assert_eq!(document["schedule"]["store"], "/srv/kbo/cold", "{document}");
}

#[test]
fn a_program_that_is_not_there_is_warned_of() {
    let installing = Installing::new();
    let program = installing.root().join("opt/kbo");
    let install = [
        "--kind",
        "data",
        "--at",
        "03:00",
        "--program",
        "/opt/kbo",
        "--scheduler",
        "cron",
    ];
    let warnings = installing.install(&install)["warnings"].to_string();
    assert!(warnings.contains("there is no program"), "{warnings}");
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    fs::write(program, "").unwrap();
    let warnings = installing.install(&install)["warnings"].to_string();
    assert!(!warnings.contains("there is no program"), "{warnings}");
}
