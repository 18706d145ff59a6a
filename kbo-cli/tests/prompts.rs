//! Questions on a terminal, and what Ctrl-C leaves of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "not every test needs all of it")]
mod scene;
#[expect(dead_code, reason = "not every test needs all of it")]
#[path = "scene/terminal.rs"]
mod terminal;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use scene::Scene;
use terminal::{CTRL_C, Terminal};

#[test]
fn ctrl_c_at_a_passphrase_is_exit_130_and_leaves_the_echo_on() {
    let scene = Scene::new();
    let key = scene.temp.path().join("key");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "a passphrase", "-f"])
        .arg(&key)
        .status();
    assert!(made.unwrap().success());
    scene.configure(&format!("[ssh]\nkey = {key:?}\n"));
    let named = key.display().to_string();
    let directly = ["ssh-setup", "--host", "127.0.0.1:1", "--key", &named];
    for arguments in [&["check"][..], &["status"], &["backup"], &["ssh-setup"], &directly] {
        let environment = BTreeMap::from([
            ("KBO_CONFIG".to_owned(), scene.temp.path().join("kbo.toml").into()),
            ("HOME".to_owned(), scene.temp.path().into()),
        ]);
        let program = Path::new(env!("CARGO_BIN_EXE_kbo"));
        let limit = Duration::from_secs(120);
        let mut terminal =
            Terminal::start(program, arguments, &environment, scene.temp.path(), (30, 110), limit).unwrap();
        terminal.await_text("Passphrase of").unwrap();
        terminal.send(CTRL_C).unwrap();
        // The terminal is looked at as well.
        let status = terminal.end().unwrap();
        assert_eq!(status.code(), Some(130), "{arguments:?}: {}", terminal.seen());
    }
}
