//! What the tests of the program share: a configuration, a copy of the golden store, and kbo run on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) const ID: &str = "20261122T030000Z";

/// A configuration, and a copy of the golden store.
pub(crate) struct Scene {
    pub(crate) temp: TempDir,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kbo-archive/testdata/v1/store");
        copy(&golden, &temp.path().join("cold"));
        let scene = Self { temp };
        scene.configure("");
        scene
    }

    pub(crate) fn configure(&self, more: &str) {
        let text = format!(
            "[cluster]\nname = \"dev\"\n[storage]\ncold = {:?}\n[defaults]\ndata = \"/data\"\n\
             [[node]]\nname = \"c1\"\nrole = \"controller\"\nhost = \"127.0.0.1\"\nport = 1\n\
             [[node]]\nname = \"b1\"\nrole = \"broker\"\nhost = \"127.0.0.1\"\nport = 1\n{more}",
            self.store()
        );
        fs::write(self.temp.path().join("kbo.toml"), text).unwrap();
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.temp.path().join("cold")
    }

    pub(crate) fn backup(&self) -> PathBuf {
        self.store().join("cluster/rotated/2026/11/22").join(ID)
    }

    pub(crate) fn kbo(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_kbo"))
            .args(arguments)
            .env("KBO_CONFIG", self.temp.path().join("kbo.toml"))
            .env("HOME", self.temp.path())
            .output()
            .unwrap()
    }

    /// Exit code and the one JSON document.
    pub(crate) fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.kbo(&[&["--json"], arguments].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        let document = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text:?}"));
        (output.status.code().unwrap(), document)
    }

    /// Exit code and the last line of all that a person sees.
    pub(crate) fn verdict(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.kbo(arguments);
        let text = [output.stderr, output.stdout].concat();
        let text = String::from_utf8(text).unwrap();
        (
            output.status.code().unwrap(),
            text.lines().last().unwrap_or_default().to_owned(),
        )
    }
}

pub(crate) fn copy(from: &Path, to: &Path) {
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
