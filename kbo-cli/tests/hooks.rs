//! Hooks, metrics and the note of the last run, as whoever waits for a backup sees them. No node is there, so preflight refuses.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scene;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kbo_archive::store::DirStore;
use kbo_core::ports::store::BackupStore;
use serde_json::Value;

use scene::{ID, Scene};

/// The hooks write into the scene's folder, `$D`.
fn hooked(scene: &Scene, hooks: &str) {
    let folder = scene.temp.path().display().to_string();
    let textfile = scene.temp.path().join("metrics/kbo.prom");
    scene.configure(&format!(
        "[metrics]\ntextfile = {textfile:?}\n[hooks]\n{}",
        hooks.replace("$D", &folder)
    ));
}

fn read(scene: &Scene, name: &str) -> String {
    fs::read_to_string(scene.temp.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn a_refused_backup_runs_before_on_failure_and_always_with_facts_and_one_document_on_stdout() {
    let scene = Scene::new();
    hooked(
        &scene,
        r#"
        before = ["cat > $D/before.json; echo noise; echo before >> $D/order"]
        after_success = ["echo success >> $D/order"]
        on_failure = ["cat > $D/failure.json; env > $D/env; echo failure >> $D/order", ["/bin/sh", "-c", "echo second >> $D/order"]]
        always = ["echo always >> $D/order"]
        "#,
    );
    let (code, document) = scene.json(&["backup"]);
    assert_eq!((code, &document["outcome"]), (3, &Value::from("refused")));
    assert_eq!(read(&scene, "order"), "before\nfailure\nsecond\nalways\n");
    let moments: Vec<&str> = document["hooks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hook| hook["hook"].as_str().unwrap())
        .collect();
    assert_eq!(moments, ["before", "on_failure", "on_failure", "always"]);

    let before: Value = serde_json::from_str(&read(&scene, "before.json")).unwrap();
    assert_eq!(
        (&before["command"], &before["kind"]),
        (&Value::from("backup"), &Value::from("cluster"))
    );
    let told: Value = serde_json::from_str(&read(&scene, "failure.json")).unwrap();
    assert_eq!(
        (&told["outcome"], &told["exit_code"]),
        (&Value::from("refused"), &Value::from(3))
    );
    assert_eq!(told["findings"], document["findings"], "the report is in it");
    let env = read(&scene, "env");
    for line in [
        "KBO_RUN_HOOK=on_failure",
        "KBO_RUN_OPERATION=backup",
        "KBO_RUN_KIND=cluster",
        "KBO_RUN_CLUSTER=dev",
        "KBO_RUN_OUTCOME=refused",
        "KBO_RUN_EXIT_CODE=3",
        "KBO_RUN_ID=",
        "KBO_RUN_RAW_BYTES=0",
        "KBO_RUN_WINDOW_SECONDS=",
    ] {
        assert!(env.lines().any(|is| is == line), "{line} is not in {env}");
    }
    assert!(
        env.contains("\nKBO_RUN_VERDICT=refused by preflight") || env.starts_with("KBO_RUN_VERDICT=refused"),
        "{env}"
    );
}

#[test]
fn a_before_hook_that_fails_refuses_the_run_and_the_later_ones_are_not_run() {
    let scene = Scene::new();
    hooked(
        &scene,
        r#"
        before = ["exit 7", "echo second >> $D/order"]
        on_failure = ["echo $KBO_RUN_OUTCOME >> $D/order"]
        always = ["echo always >> $D/order"]
        "#,
    );
    let (code, document) = scene.json(&["backup", "--only", "config"]);
    assert_eq!((code, &document["outcome"]), (3, &Value::from("refused")));
    let verdict = document["verdict"].as_str().unwrap();
    assert!(
        verdict.contains("hooks.before number 1") && verdict.contains("exit code 7"),
        "{verdict}"
    );
    assert_eq!(read(&scene, "order"), "refused\nalways\n");
    let (code, verdict) = scene.verdict(&["restore", ID, "--yes"]);
    assert_eq!(code, 3);
    assert!(
        verdict.contains("preflight"),
        "what preflight refuses needs no hook: {verdict}"
    );
}

#[test]
fn dry_runs_run_no_hooks_and_leave_no_note() {
    let scene = Scene::new();
    hooked(&scene, "before = [\"touch $D/ran\"]\nalways = [\"touch $D/ran\"]\n");
    assert_eq!(scene.json(&["backup", "--dry-run"]).0, 3);
    assert_eq!(scene.json(&["restore", ID, "--dry-run"]).0, 3);
    for name in ["ran", "cold/.kbo/last", "metrics"] {
        assert!(!scene.temp.path().join(name).exists(), "{name}");
    }
}

#[test]
fn a_hook_that_hangs_is_ended_with_its_children_and_changes_nothing_of_the_outcome() {
    let scene = Scene::new();
    hooked(
        &scene,
        "timeout_seconds = 1\nalways = [\"sleep 987.654 & echo $! > $D/pid; wait\"]\n",
    );
    let begun = Instant::now();
    let (code, document) = scene.json(&["backup"]);
    assert_eq!(code, 3);
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert!(
        document["hooks"][0]["failure"].as_str().unwrap().contains("within 1 s"),
        "{document}"
    );
    assert!(
        document["warnings"][0].as_str().unwrap().contains("hooks.always"),
        "{document}"
    );
    assert!(!runs(read(&scene, "pid").trim()));
}

/// Whether a process is there and no zombie.
fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn a_hook_that_reads_nothing_and_one_that_is_not_there_do_no_harm() {
    let scene = Scene::new();
    // Preflight's findings make a document longer than a pipe takes.
    let long = "x".repeat(124);
    let many: String = (0..180)
        .map(|at| format!("[[node]]\nname = \"{long}{at}\"\nrole = \"broker\"\nhost = \"127.0.0.1\"\nport = 1\n"))
        .collect();
    hooked(
        &scene,
        &format!(
            "on_failure = [\"exec sleep 1\", \"exec <&-; exit 0\", [\"/nonexistent/hook\"]]\n[ssh]\nretries = 0\n{many}"
        ),
    );
    let (code, document) = scene.json(&["backup"]);
    assert_eq!(code, 3);
    assert!(document.to_string().len() > 1 << 16, "{}", document.to_string().len());
    let failures: Vec<bool> = document["hooks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hook| hook["failure"].is_string())
        .collect();
    assert_eq!(failures, [false, false, true]);
}

#[test]
fn an_interrupted_kbo_ends_its_hooks_first() {
    let scene = Scene::new();
    hooked(
        &scene,
        "before = [\"echo $$ > $D/pid; exec sleep 600\"]\non_failure = [\"echo $KBO_RUN_OUTCOME > $D/outcome\"]\n",
    );
    let child = Command::new(env!("CARGO_BIN_EXE_kbo"))
        .args(["--json", "backup"])
        .env("KBO_CONFIG", scene.temp.path().join("kbo.toml"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = scene.temp.path().join("pid");
    let begun = Instant::now();
    while fs::read_to_string(&pid).map_or(true, |text| text.trim().is_empty()) {
        assert!(begun.elapsed() < Duration::from_secs(30), "the hook does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(
        Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(!runs(read(&scene, "pid").trim()));
    assert_eq!(read(&scene, "outcome"), "interrupted\n");
}

#[test]
fn a_kbo_that_a_hook_calls_runs_no_hooks_of_its_own() {
    let scene = Scene::new();
    let kbo = env!("CARGO_BIN_EXE_kbo");
    hooked(
        &scene,
        &format!("always = [\"echo once >> $D/count; {kbo} backup --only config > /dev/null 2>&1; true\"]\n"),
    );
    assert_eq!(scene.json(&["backup"]).0, 3);
    assert_eq!(read(&scene, "count"), "once\n");
    assert!(
        scene.store().join(".kbo/last/dev/config.json").exists(),
        "it used the same configuration"
    );
}

#[test]
fn the_textfile_tells_of_every_kind_and_is_for_everybody_to_read() {
    let scene = Scene::new();
    hooked(&scene, "");
    scene.json(&["backup"]);
    scene.json(&["backup", "--only", "config"]);
    let path = scene.temp.path().join("metrics/kbo.prom");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    let text = fs::read_to_string(&path).unwrap();
    let samples = parse(&text);
    let value = |name: &str, kind: &str| {
        samples
            .iter()
            .find(|(n, labels, _)| n == name && labels.contains(&("kind".into(), kind.into())))
            .map(|(.., value)| *value)
    };
    for kind in ["cluster", "config"] {
        assert_eq!(value("kbo_backup_last_run_exit_code", kind), Some(3.0));
    }
    // The golden backup was made before there were notes.
    assert_eq!(
        value("kbo_backup_last_success_timestamp_seconds", "cluster")
            .unwrap()
            .floor(),
        1_795_316_400.0
    );
    assert!(value("kbo_backup_last_success_age_seconds", "cluster").unwrap() > 0.0);
    assert_eq!(value("kbo_backup_last_success_timestamp_seconds", "config"), None);
    let refused = samples.iter().filter(|(name, labels, value)| {
        name == "kbo_backup_last_run_outcome" && *value == 1.0 && labels.contains(&("outcome".into(), "refused".into()))
    });
    assert_eq!(refused.count(), 2);
}

/// A metric's name, labels and value.
type Sample = (String, Vec<(String, String)>, f64);

/// The text format, strictly: HELP, TYPE and then the samples of each metric, in one piece.
fn parse(text: &str) -> Vec<Sample> {
    assert!(text.ends_with('\n'));
    let (mut samples, mut seen, mut current): (Vec<Sample>, Vec<String>, String) = Default::default();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            current = help.split_once(' ').unwrap().0.to_owned();
            assert_eq!(lines.next().unwrap(), format!("# TYPE {current} gauge"));
            assert!(!seen.contains(&current), "{current} comes twice");
            seen.push(current.clone());
            continue;
        }
        let (name, rest) = line.split_once('{').unwrap();
        let (labels, value) = rest.split_once("} ").unwrap();
        assert_eq!(name, current);
        let labels = labels.split(',').map(|label| {
            let (name, value) = label.split_once('=').unwrap();
            (
                name.to_owned(),
                value.strip_prefix('"').unwrap().strip_suffix('"').unwrap().to_owned(),
            )
        });
        let labels: Vec<(String, String)> = labels.collect();
        assert!(
            samples.iter().all(|(n, l, _)| n != name || *l != labels),
            "{line} comes twice"
        );
        samples.push((name.to_owned(), labels, value.parse().unwrap()));
    }
    samples
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_locked_out_is_noted_and_one_that_waits_gets_the_lock() {
    let scene = Scene::new();
    let lock = DirStore::new(scene.store())
        .lock(&"dev".parse().unwrap(), "a test")
        .await
        .unwrap();
    let (code, document) = scene.json(&["backup", "--only", "config", "--wait", "1"]);
    assert_eq!((code, &document["outcome"]), (6, &Value::from("locked")));
    let note: Value = serde_json::from_str(&read(&scene, "cold/.kbo/last/dev/config.json")).unwrap();
    assert_eq!(
        (&note["last"]["outcome"], &note["last"]["exit_code"]),
        (&Value::from("locked"), &Value::from(6))
    );
    let release = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(2)).await;
        lock.release().await.unwrap();
    });
    let waited = tokio::task::spawn_blocking(move || scene.json(&["backup", "--only", "config", "--wait", "60"]).0);
    assert_eq!(waited.await.unwrap(), 3, "it came as far as preflight");
    release.await.unwrap();
}

#[test]
fn a_backup_that_cannot_be_prepared_is_a_failure_that_hooks_hear_of() {
    let scene = Scene::new();
    hooked(
        &scene,
        "on_failure = [\"echo $KBO_RUN_OUTCOME > $D/outcome\"]\n[kafka]\nca = \"/nonexistent/ca.pem\"\n",
    );
    assert_eq!(scene.json(&["backup"]).0, 2);
    assert_eq!(read(&scene, "outcome"), "usage\n");
    assert!(
        read(&scene, "metrics/kbo.prom")
            .contains("kbo_backup_last_run_exit_code{cluster=\"dev\",kind=\"cluster\"} 2\n")
    );
}

#[test]
fn a_textfile_that_cannot_be_written_is_a_warning() {
    let scene = Scene::new();
    fs::write(scene.temp.path().join("metrics"), "a file").unwrap();
    hooked(&scene, "");
    let (code, document) = scene.json(&["backup"]);
    assert_eq!(code, 3);
    assert!(
        document["warnings"][0].as_str().unwrap().contains("metrics.textfile"),
        "{document}"
    );
}

#[test]
fn what_a_before_hook_refuses_leaves_the_place_of_the_store_as_it_is_and_is_in_the_metrics() {
    let scene = Scene::new();
    hooked(&scene, "before = [\"false\"]\n");
    // A mountpoint whose disk is not there.
    fs::remove_dir_all(scene.store()).unwrap();
    fs::create_dir(scene.store()).unwrap();
    let (code, document) = scene.json(&["backup"]);
    assert_eq!((code, &document["outcome"]), (3, &Value::from("refused")));
    assert_eq!(fs::read_dir(scene.store()).unwrap().count(), 0);
    let text = read(&scene, "metrics/kbo.prom");
    assert!(
        text.contains("kbo_backup_last_run_exit_code{cluster=\"dev\",kind=\"cluster\"} 3\n"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_before_hook_comes_before_the_lock_and_all_that_is_done_under_it() {
    let scene = Scene::new();
    hooked(&scene, "before = [\"false\"]\n");
    let store = DirStore::new(scene.store());
    let lock = store.lock(&"dev".parse().unwrap(), "a test").await.unwrap();
    let ran = tokio::task::spawn_blocking(move || (scene.json(&["backup", "--wait", "60"]).1, scene));
    let (document, _scene) = ran.await.unwrap();
    assert_eq!(document["outcome"], "refused", "{document}");
    lock.release().await.unwrap();
}

#[test]
fn the_folder_of_the_metrics_is_for_everybody_whatever_the_umask() {
    let scene = Scene::new();
    hooked(&scene, "");
    let output = Command::new("/bin/sh")
        .args(["-c", "umask 077; exec \"$0\" --json backup", env!("CARGO_BIN_EXE_kbo")])
        .env("KBO_CONFIG", scene.temp.path().join("kbo.toml"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let mode = |name: &str| fs::metadata(scene.temp.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("metrics"), mode("metrics/kbo.prom")), (0o755, 0o644));
}

#[test]
fn a_run_noted_by_a_wrong_clock_is_forgotten_and_not_in_the_metrics() {
    let scene = Scene::new();
    hooked(&scene, "");
    assert_eq!(scene.json(&["backup"]).0, 3);
    let path = scene.store().join(".kbo/last/dev/cluster.json");
    let mut note: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let mut ahead = note["last"].clone();
    ahead["ended"] = "2200-01-01T00:00:00Z".into();
    ahead["verdict"] = "of a wrong clock".into();
    note["last"] = ahead.clone();
    note["last_success"] = ahead;
    fs::write(&path, note.to_string()).unwrap();
    let output = scene.kbo(&["--json", "backup"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("check the clocks"), "{said}");
    let note = fs::read_to_string(&path).unwrap();
    assert!(
        note.contains("refused by preflight") && !note.contains("wrong clock"),
        "{note}"
    );
    let text = read(&scene, "metrics/kbo.prom");
    let success = "kbo_backup_last_success_timestamp_seconds{cluster=\"dev\",kind=\"cluster\"} 17953164";
    assert!(text.contains(success), "that of the golden backup: {text}");
}

#[test]
fn a_backup_from_the_future_is_no_last_success() {
    let scene = Scene::new();
    hooked(&scene, "");
    let path = scene.backup().join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    manifest["committed"] = "2200-01-01T00:00:00Z".into();
    fs::write(&path, manifest.to_string()).unwrap();
    scene.json(&["backup"]);
    assert!(!read(&scene, "metrics/kbo.prom").contains("last_success"));
}

#[test]
fn a_run_without_a_report_tells_what_failed_after_it_as_well() {
    let scene = Scene::new();
    hooked(&scene, "before = [\"false\"]\nalways = [\"exit 5\"]\n");
    let (code, document) = scene.json(&["backup"]);
    assert_eq!(code, 3);
    let warning = document["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("hooks.always") && warning.contains("exit code 5"),
        "{document}"
    );
}
