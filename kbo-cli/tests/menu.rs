//! The menu as it is seen on a terminal: a real pseudo-terminal, and assertions on the screen. No node is reached.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "not every test needs all of it")]
mod scene;
#[path = "scene/terminal.rs"]
mod terminal;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use scene::{ID, Scene};
use terminal::{CTRL_C, DOWN, ENTER, ESC, Terminal, UP};

/// Long, for a machine with much else to do; nothing waits that long where all is well.
const LIMIT: Duration = Duration::from_secs(120);
const SIZE: (u16, u16) = (30, 110);

fn environment(scene: &Scene, more: &[(&str, &str)]) -> BTreeMap<String, OsString> {
    let path = |path: &Path| path.as_os_str().to_owned();
    let mut environment = BTreeMap::from([
        ("KBO_CONFIG".to_owned(), path(&scene.temp.path().join("kbo.toml"))),
        ("HOME".to_owned(), path(scene.temp.path())),
    ]);
    environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())));
    environment
}

fn started(scene: &Scene, arguments: &[&str], size: (u16, u16), more: &[(&str, &str)]) -> Terminal {
    let program = Path::new(env!("CARGO_BIN_EXE_kbo"));
    let environment = environment(scene, more);
    Terminal::start(program, arguments, &environment, scene.temp.path(), size, LIMIT).unwrap()
}

/// The menu, open.
fn menu(scene: &Scene) -> Terminal {
    let mut terminal = started(scene, &["menu"], SIZE, &[]);
    terminal.await_text("> Backup").unwrap();
    terminal
}

/// A scene whose nodes are connected to and never say a word.
fn silent_nodes() -> (Scene, TcpListener) {
    let scene = Scene::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let path = scene.temp.path().join("kbo.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, text.replace("port = 1\n", &format!("port = {port}\n"))).unwrap();
    (scene, listener)
}

/// Every file of the store, and what is in it.
fn store(scene: &Scene) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![scene.store()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.display().to_string(), fs::read(&path).unwrap());
            }
        }
    }
    files
}

#[test]
fn the_state_stands_on_top_of_the_groups() {
    let scene = Scene::new();
    fs::write(scene.temp.path().join("known_hosts"), "").unwrap();
    let mut menu = menu(&scene);
    let seen = menu.await_text("2 could not be asked").unwrap();
    for text in ["dev: 0 of 2 nodes run", "c1: ", "b1: ", ID, " ago, cluster, "] {
        assert!(seen.contains(text), "{text}: {seen}");
    }
    let groups = ["Backup", "Restore", "Containers", "Certificates", "Cluster", "Set-up"];
    let at: Vec<usize> = groups
        .iter()
        .map(|group| {
            menu.lines()
                .iter()
                .position(|line| line[2.min(line.len())..].starts_with(group))
                .unwrap()
        })
        .collect();
    assert!(at.is_sorted() && at[0] > 3, "{at:?}: {seen}");
    menu.send("q").unwrap();
    assert_eq!(menu.end().unwrap().code(), Some(0));
}

#[test]
fn kbo_without_a_command_opens_it_and_without_a_terminal_it_is_misuse() {
    let scene = Scene::new();
    for arguments in [&[][..], &["-v"], &["--config", "kbo.toml"]] {
        let mut menu = started(&scene, arguments, SIZE, &[]);
        menu.await_text("> Backup").unwrap();
        assert!(menu.is_full_screen());
        menu.send(ESC).unwrap();
        assert_eq!(menu.end().unwrap().code(), Some(0), "{arguments:?}");
    }
    for arguments in [&[][..], &["menu"]] {
        let output = scene.kbo(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty());
        let (code, document) = scene.json(arguments);
        assert_eq!(
            (code, document["outcome"].as_str()),
            (2, Some("usage")),
            "{arguments:?}"
        );
    }
    let told = String::from_utf8(scene.kbo(&["menu"]).stderr).unwrap();
    assert!(
        told.contains("needs a terminal") && told.contains("kbo --help"),
        "{told}"
    );
}

#[test]
fn where_only_input_is_a_terminal_or_it_is_dumb_there_is_no_menu() {
    let scene = Scene::new();
    for (arguments, more, told) in [
        (&["menu"][..], &[("TERM", "dumb")][..], "TERM is dumb"),
        (&[], &[("TERM", "dumb")], "Usage: kbo"),
        (&["--json", "menu"], &[], "no --json"),
        (&["--json"], &[], "\"outcome\": \"usage\""),
    ] {
        let mut terminal = started(&scene, arguments, (60, 110), more);
        let status = terminal.end().unwrap();
        assert_eq!(status.code(), Some(2), "{arguments:?} {more:?}");
        assert!(terminal.seen().contains(told), "{arguments:?}: {}", terminal.seen());
    }
    let program = env!("CARGO_BIN_EXE_kbo");
    let line = format!("'{program}' menu | cat; exit ${{PIPESTATUS[0]}}");
    let mut terminal = Terminal::start(
        Path::new("/bin/bash"),
        &["-c", &line],
        &environment(&scene, &[]),
        scene.temp.path(),
        SIZE,
        LIMIT,
    )
    .unwrap();
    assert_eq!(terminal.end().unwrap().code(), Some(2));
    assert!(terminal.seen().contains("needs a terminal"), "{}", terminal.seen());
}

#[test]
fn a_restore_is_chosen_from_the_list_and_what_preflight_refuses_is_not_asked() {
    let scene = Scene::new();
    fs::write(scene.temp.path().join("known_hosts"), "").unwrap();
    let before = store(&scene);
    let mut menu = menu(&scene);
    menu.await_text(ID).unwrap();
    menu.choose("Restore").unwrap();
    let list = menu.await_text("which backup?").unwrap();
    let row = list.lines().find(|line| line.starts_with(&format!("> {ID}"))).unwrap();
    assert!(
        row.contains(" ago") && row.contains("cluster") && row.contains("KiB"),
        "{row}"
    );
    let head = list.lines().find(|line| line.contains("BACKUP")).unwrap();
    assert_eq!(head.find("KIND"), row.find("cluster"), "{list}");
    menu.send(ENTER).unwrap();
    menu.await_text("what of").unwrap();
    // Esc goes back a question at a time.
    menu.send(ESC).unwrap();
    menu.await_text("which backup?").unwrap();
    menu.send(ENTER).unwrap();
    menu.choose("The configuration only").unwrap();
    let told = menu.await_text("Enter returns to the menu").unwrap();
    assert!(
        told.contains(&format!("$ kbo restore {ID} --only config --dry-run")),
        "{told}"
    );
    assert!(told.contains("refused; nothing was touched (exit code 3)"), "{told}");
    assert!(!told.contains("[y/N]"), "{told}");
    assert!(!menu.is_full_screen());
    menu.send(ENTER).unwrap();
    menu.await_text("> Restore").unwrap();
    menu.send(CTRL_C).unwrap();
    assert_eq!(menu.end().unwrap().code(), Some(130));
    assert_eq!(store(&scene), before);
}

#[test]
fn the_list_tells_what_is_pinned_and_damaged_newest_first() {
    let scene = Scene::new();
    assert_eq!(scene.json(&["pin", ID, "--reason", "before the move"]).0, 0);
    let newer = scene.store().join("cluster/rotated/2026/11/24/20261124T030000Z");
    fs::create_dir_all(&newer).unwrap();
    fs::write(newer.join("manifest.json"), "{").unwrap();
    let mut menu = menu(&scene);
    let seen = menu.await_text("1 DAMAGED").unwrap();
    let last = seen.lines().find(|line| line.starts_with("last backup")).unwrap();
    assert!(last.contains(ID) && last.contains("pinned"), "{last}");
    menu.choose("Restore").unwrap();
    menu.await_text("which backup?").unwrap();
    let lines = menu.lines();
    let at = |text: &str| {
        lines
            .iter()
            .position(|line| line[2.min(line.len())..].starts_with(text))
            .unwrap()
    };
    assert!(at("20261124T030000Z") < at(ID), "{lines:?}");
    assert!(lines[at("20261124T030000Z")].contains("DAMAGED"), "{lines:?}");
    assert!(lines[at(ID)].contains("pinned: before the move"), "{lines:?}");
}

#[test]
fn a_plan_is_shown_and_only_yes_is_yes() {
    let scene = Scene::new();
    let folder = scene.store().join("cluster/rotated/2020/01/01/20200101T030000Z");
    scene::copy(&scene.backup(), &folder);
    let path = folder.join("manifest.json");
    let manifest = fs::read_to_string(&path).unwrap();
    let manifest = manifest
        .replace(ID, "20200101T030000Z")
        .replace("2026-11-22T", "2020-01-01T");
    fs::write(path, manifest).unwrap();
    let before = store(&scene);
    let mut menu = menu(&scene);
    menu.choose("Backup").unwrap();
    for answer in ["n\r", ENTER, ESC, "no\r", "yx\r", "y\x7f\r"] {
        menu.choose("Rotate").unwrap();
        let told = menu.await_text("[y/N]").unwrap();
        assert!(
            told.contains("$ kbo rotate --dry-run") && told.contains("20200101T030000Z"),
            "{told}"
        );
        menu.send(answer).unwrap();
        menu.await_text("not confirmed; nothing was touched").unwrap();
        assert_eq!(store(&scene), before, "{answer:?}");
        // Away and back, so that the next answer's sentence is a new one.
        menu.send(ESC).unwrap();
        menu.await_that("the groups", |seen| {
            seen.contains("> Backup") && !seen.contains("Rotate")
        })
        .unwrap();
        menu.send(ENTER).unwrap();
        menu.await_that("no sentence", |seen| {
            !seen.contains("not confirmed") && seen.contains("Rotate")
        })
        .unwrap();
    }
    menu.choose("Rotate").unwrap();
    menu.await_text("[y/N]").unwrap();
    menu.send("y\r").unwrap();
    let told = menu.await_text("Enter returns to the menu").unwrap();
    assert!(
        told.contains("1 backup removed") && told.contains("done (exit code 0)"),
        "{told}"
    );
    assert!(!folder.exists());
    menu.send(ENTER).unwrap();
    menu.await_text("> Rotate").unwrap();
}

#[test]
fn a_backup_is_pinned_with_a_typed_reason_and_unpinned() {
    let scene = Scene::new();
    let mut menu = menu(&scene);
    menu.choose("Backup").unwrap();
    menu.choose("Unpin").unwrap();
    menu.await_text("no backup is pinned").unwrap();
    menu.choose("Pin").unwrap();
    menu.choose(ID).unwrap();
    menu.await_text("Why is it kept?").unwrap();
    menu.send("it's \"good\" q").unwrap();
    menu.await_text("> it's \"good\" q").unwrap();
    menu.send(ENTER).unwrap();
    let told = menu.await_text("Run this? [y/N]").unwrap();
    assert!(
        told.contains(&format!("$ kbo pin {ID} '--reason=it'\\''s \"good\" q'")),
        "{told}"
    );
    menu.send("y\r").unwrap();
    menu.await_text("done (exit code 0). Enter returns").unwrap();
    assert_eq!(scene.json(&["list"]).1[0]["pin_reason"], "it's \"good\" q");
    menu.send(ENTER).unwrap();
    // The state on top is that of now.
    menu.await_that("the pin on top", |seen| {
        seen.lines()
            .any(|line| line.starts_with("last backup") && line.contains("pinned"))
    })
    .unwrap();
    menu.choose("Unpin").unwrap();
    menu.choose(ID).unwrap();
    menu.await_text("Run this? [y/N]").unwrap();
    menu.send("y\r").unwrap();
    menu.await_text("done (exit code 0). Enter returns").unwrap();
    assert_eq!(scene.json(&["list"]).1[0]["pinned"], false);
}

/// A place in the menu, and the way there.
type Place<'a> = (&'a str, &'a dyn Fn(&mut Terminal));

#[test]
fn ctrl_c_leaves_the_terminal_as_it_was_wherever_it_is_pressed() {
    let scene = Scene::new();
    let places: [Place; 7] = [
        ("the menu", &|_| {}),
        ("a sub menu", &|menu| menu.choose("Containers").unwrap()),
        ("a list", &|menu| menu.choose("Restore").unwrap()),
        ("a list to mark", &|menu| {
            menu.choose("Containers").unwrap();
            menu.choose("Stop").unwrap();
            menu.choose("Some of them").unwrap();
            menu.await_text("Space mark").unwrap();
        }),
        ("a typed line", &|menu| {
            menu.choose("Backup").unwrap();
            menu.choose("Import").unwrap();
            menu.await_text("File to read").unwrap();
            menu.send("half a na").unwrap();
            menu.await_text("half a na").unwrap();
        }),
        ("a question", &|menu| {
            menu.choose("Backup").unwrap();
            menu.choose("Rotate").unwrap();
            menu.await_text("[y/N]").unwrap();
        }),
        ("what came of a command", &|menu| {
            menu.choose("Backup").unwrap();
            menu.choose("List").unwrap();
            menu.await_text("Enter returns to the menu").unwrap();
        }),
    ];
    for (place, go) in places {
        let mut menu = menu(&scene);
        menu.await_text(ID).unwrap();
        go(&mut menu);
        menu.send(CTRL_C).unwrap();
        let status = menu.end().unwrap_or_else(|error| panic!("{place}: {error}"));
        assert_eq!(status.code(), Some(130), "{place}");
    }
}

#[test]
fn a_signal_from_outside_leaves_cleanly_too() {
    let scene = Scene::new();
    for signal in ["-INT", "-TERM"] {
        let mut menu = menu(&scene);
        let pid = menu.pid().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        assert_eq!(menu.end().unwrap().code(), Some(130), "{signal}");
    }
}

#[test]
fn a_command_that_is_interrupted_leads_back_to_the_menu() {
    let (scene, _listener) = silent_nodes();
    let mut menu = menu(&scene);
    menu.await_text("asking 2 ...").unwrap();
    menu.choose("Cluster").unwrap();
    menu.choose("Check").unwrap();
    menu.await_text("$ kbo check").unwrap();
    menu.send(CTRL_C).unwrap();
    menu.await_text("Enter returns to the menu").unwrap();
    menu.send(ENTER).unwrap();
    menu.await_text("> Check").unwrap();
    menu.send(ESC).unwrap();
    menu.await_text("> Cluster").unwrap();
    // A plan that is interrupted is not asked about.
    menu.choose("Containers").unwrap();
    menu.choose("Stop").unwrap();
    menu.choose("All 2 nodes").unwrap();
    menu.await_text("$ kbo stop --dry-run").unwrap();
    menu.send(CTRL_C).unwrap();
    let told = menu.await_text("Enter returns to the menu").unwrap();
    assert!(!told.contains("[y/N]"), "{told}");
    menu.send(ENTER).unwrap();
    menu.await_text("> Stop").unwrap();
    menu.send("q").unwrap();
    menu.await_text("> Containers").unwrap();
    menu.send("q").unwrap();
    assert_eq!(menu.end().unwrap().code(), Some(0));
}

#[test]
fn sigterm_while_a_command_runs_ends_both() {
    let (scene, _listener) = silent_nodes();
    let mut menu = menu(&scene);
    menu.choose("Cluster").unwrap();
    menu.choose("Check").unwrap();
    menu.await_text("$ kbo check").unwrap();
    let pid = menu.pid().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(menu.end().unwrap().code(), Some(130));
}

#[test]
fn nodes_that_never_answer_are_given_up_while_the_menu_goes_on() {
    let (scene, _listener) = silent_nodes();
    let mut menu = menu(&scene);
    menu.await_text("asking 2 ...").unwrap();
    menu.choose("Backup").unwrap();
    menu.choose("Show").unwrap();
    menu.await_text("which backup?").unwrap();
    let seen = menu.await_text("2 could not be asked").unwrap();
    assert!(seen.contains("b1: no answer within"), "{seen}");
}

#[test]
fn nodes_are_marked_and_passed_on_in_start_order() {
    let scene = Scene::new();
    fs::write(scene.temp.path().join("known_hosts"), "").unwrap();
    let mut menu = menu(&scene);
    menu.choose("Containers").unwrap();
    menu.choose("Restart").unwrap();
    menu.choose("Some of them").unwrap();
    menu.await_text("> [ ] c1").unwrap();
    menu.send(ENTER).unwrap();
    menu.await_text("mark nodes with Space first").unwrap();
    menu.send(DOWN).unwrap();
    menu.await_text("> [ ] b1").unwrap();
    menu.send(" ").unwrap();
    menu.await_text("> [x] b1").unwrap();
    menu.send(ENTER).unwrap();
    menu.await_text("$ kbo restart b1 --dry-run").unwrap();
    menu.await_text("Enter returns to the menu").unwrap();
    menu.send(ENTER).unwrap();
    menu.choose("Remove").unwrap();
    menu.choose("Some of them").unwrap();
    menu.await_text("> [ ] c1").unwrap();
    menu.send("a").unwrap();
    menu.await_text("[x] b1").unwrap();
    menu.send(ENTER).unwrap();
    menu.await_text("$ kbo remove c1 b1 --dry-run").unwrap();
}

#[test]
fn without_a_configuration_set_up_is_offered_and_a_wrong_one_is_shown() {
    let scene = Scene::new();
    fs::remove_file(scene.temp.path().join("kbo.toml")).unwrap();
    // No KBO_CONFIG, and nothing where kbo looks.
    let program = Path::new(env!("CARGO_BIN_EXE_kbo"));
    let mut environment = environment(&scene, &[]);
    environment.remove("KBO_CONFIG");
    let mut menu = Terminal::start(program, &[], &environment, scene.temp.path(), SIZE, LIMIT).unwrap();
    let seen = menu.await_text("> Set-up").unwrap();
    assert!(seen.contains("no kbo.toml yet"), "{seen}");
    menu.choose("Backup").unwrap();
    menu.await_text("Backup needs a configuration: see Set-up").unwrap();
    menu.choose("Set-up").unwrap();
    menu.choose("Shell completions").unwrap();
    let told = menu.await_text("Enter returns to the menu").unwrap();
    assert!(told.contains("bash_completion.d"), "{told}");
    menu.send(ENTER).unwrap();
    menu.await_text("> Shell completions").unwrap();
    // What a command of the set-up has made is there when the menu comes back.
    scene.configure("");
    menu.send("r").unwrap();
    menu.await_text("dev: ").unwrap();
    scene.configure("[storage2]\nx = 1\n");
    menu.send("r").unwrap();
    let seen = menu.await_text("the configuration cannot be used").unwrap();
    assert!(seen.contains("storage2"), "{seen}");
    menu.send(CTRL_C).unwrap();
    assert_eq!(menu.end().unwrap().code(), Some(130));
}

#[test]
fn a_terminal_of_any_size_shows_what_is_chosen() {
    let scene = Scene::new();
    for size in [(5, 20), (3, 10), (1, 9), (100, 300)] {
        let mut menu = started(&scene, &["menu"], size, &[]);
        menu.await_text("> Backup").unwrap();
        menu.send(UP).unwrap();
        menu.await_text("> Quit").unwrap();
        menu.send(UP).unwrap();
        menu.await_text("> Look").unwrap();
        menu.send(CTRL_C).unwrap();
        assert_eq!(menu.end().unwrap().code(), Some(130), "{size:?}");
    }
    let mut menu = menu(&scene);
    menu.await_text(ID).unwrap();
    menu.resize(6, 24).unwrap();
    // Six rows, the bar and the state among them, nothing wrapped.
    menu.await_that("a small page", |seen| {
        let lines: Vec<&str> = seen.lines().collect();
        lines.first().is_some_and(|line| line.starts_with("dev: "))
            && lines
                .iter()
                .any(|line| line.starts_with("> Backup") && line.ends_with('…'))
    })
    .unwrap();
    menu.resize(40, 120).unwrap();
    menu.await_text("Ctrl-C quit").unwrap();
    menu.send("q").unwrap();
    assert_eq!(menu.end().unwrap().code(), Some(0));
}
