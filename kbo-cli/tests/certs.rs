//! `kbo certs` as scripts and monitors see it. No node is contacted.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod authority;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use authority::Authority;
use kbo_certs::store::Content;
use kbo_certs::{Jks, Pkcs12};
use kbo_core::secret::Secret;
use serde_json::Value;
use tempfile::TempDir;

const PASSWORD: &str = "correct-horse-battery";
const NODES: &str = "[[node]]\nname = \"c1\"\nrole = \"controller\"\nhost = \"127.0.0.1\"\ncerts_hosts = [\"c1.example.org\"]\n\
                     [[node]]\nname = \"b1\"\nrole = \"broker\"\nhost = \"127.0.0.1\"\ncerts_hosts = [\"b1.example.org\"]\n";

/// A set that is good for so many days, and a configuration.
struct Scene {
    temp: TempDir,
    authority: Authority,
}

impl Scene {
    fn new(days: (i64, i64)) -> Self {
        let scene = Self {
            temp: tempfile::tempdir().unwrap(),
            authority: Authority::new(),
        };
        scene.renewed(77, days);
        fs::write(scene.path("password"), format!("{PASSWORD}\nnot this line\n")).unwrap();
        fs::set_permissions(scene.path("password"), fs::Permissions::from_mode(0o600)).unwrap();
        scene.configure(&format!("password_file = {:?}\n", scene.path("password")), NODES);
        scene
    }

    fn renewed(&self, serial: u32, days: (i64, i64)) {
        let leaf = self.authority.leaf(serial, &["*.example.org", "example.org"], days);
        self.authority.leave(&self.path("acme"), &leaf);
    }

    fn configure(&self, certs: &str, nodes: &str) {
        let text = format!(
            "[cluster]\nname = \"dev\"\n[storage]\ncold = {:?}\n[defaults]\ndata = \"/data\"\n\
             [certs]\nsource = {:?}\noutput = {:?}\n{certs}{nodes}",
            self.path("cold"),
            self.path("acme"),
            self.path("out"),
        );
        fs::write(self.path("kbo.toml"), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn out(&self, name: &str) -> Vec<u8> {
        fs::read(self.path("out").join(name)).unwrap()
    }

    fn kbo(&self, arguments: &[&str]) -> Output {
        let output = Command::new(env!("CARGO_BIN_EXE_kbo"))
            .args(arguments)
            .env("HOME", self.temp.path())
            .env("KBO_CONFIG", self.path("kbo.toml"))
            .env("STORE_PASSWORD", PASSWORD)
            .env("NO_PASSWORD", "")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        for text in [&output.stdout, &output.stderr] {
            let text = String::from_utf8_lossy(text);
            assert!(
                !text.contains(PASSWORD) && !text.contains("PRIVATE KEY"),
                "a secret: {text}"
            );
        }
        output
    }

    /// Exit code and the one JSON document.
    fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.kbo(&[&["--json"], arguments].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        let document = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text:?}"));
        (output.status.code().unwrap(), document)
    }

    fn check(&self) -> (i32, Value) {
        self.json(&["certs", "check", "--offline"])
    }

    fn make(&self, more: &[&str]) -> (i32, Value) {
        self.json(&[&["certs", "make", "--offline"], more].concat())
    }
}

fn codes(document: &Value) -> Vec<&str> {
    let findings = document["findings"].as_array().unwrap();
    findings
        .iter()
        .map(|finding| finding["code"].as_str().unwrap())
        .collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_good_set_ends_with_0_one_that_expires_soon_with_1_and_one_that_has_with_3() {
    let scene = Scene::new((-1, 60));
    let (code, document) = scene.check();
    assert_eq!((code, document["outcome"].as_str()), (0, Some("done")), "{document}");
    assert_eq!(document["certificate"]["serial"], "4d");
    assert_eq!(
        (&document["days_left"], &document["days_left_of_chain"]),
        (&59.into(), &59.into())
    );
    assert_eq!(document["nodes"][0]["source"], "configuration");
    let (code, document) = scene.json(&["certs", "check", "--offline", "--warn-days", "61"]);
    assert_eq!((code, codes(&document)), (1, vec!["expires_soon"]), "{document}");
    scene.renewed(78, (-1, 20));
    assert_eq!(scene.check().0, 1);
    scene.renewed(79, (-3, -1));
    let (code, document) = scene.check();
    assert_eq!((code, document["outcome"].as_str()), (3, Some("refused")), "{document}");
    assert_eq!(codes(&document), ["expired"]);
    scene.renewed(80, (2, 60));
    assert_eq!(codes(&scene.check().1), ["not_yet_valid"]);
}

#[test]
fn the_table_names_the_certificate_and_the_verdict_is_its_last_line() {
    let scene = Scene::new((-1, 60));
    let output = scene.kbo(&["certs", "check", "--offline"]);
    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["*.example.org", "EC P-256", "59 days left", "c1: c1.example.org"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(text.lines().last(), Some("all is well: the set will do for 59 days"));
}

#[test]
fn a_host_that_no_name_covers_is_an_error_and_a_guessed_one_a_warning() {
    let scene = Scene::new((-1, 60));
    let password = format!("password_file = {:?}\n", scene.path("password"));
    scene.configure(&password, &NODES.replace("b1.example.org", "b1.lan.example.org"));
    let (code, document) = scene.make(&[]);
    assert_eq!(code, 3, "{document}");
    let verdict = document["verdict"].as_str().unwrap();
    assert!(verdict.contains("b1.lan.example.org"), "{verdict}");
    assert!(!scene.path("out").exists());
    scene.configure(&password, &NODES.replace("certs_hosts = [\"b1.example.org\"]\n", ""));
    let (code, document) = scene.check();
    assert_eq!((code, codes(&document)), (0, vec!["host_not_covered"]), "{document}");
    assert_eq!(document["findings"][0]["severity"], "warning");
}

#[test]
fn stores_are_made_that_open_with_their_passwords_and_for_their_owner_alone() {
    let scene = Scene::new((-1, 60));
    let (file, program) = (scene.path("password"), scene.path("trust"));
    fs::write(&program, "#!/bin/sh\necho other-password\necho and more\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let certs = format!(
        "password_file = {file:?}\ntruststore_password_command = [{program:?}]\nformats = [\"pkcs12\", \"jks\", \"pem\"]\nalias = \"broker\"\n"
    );
    scene.configure(&certs, NODES);
    let (code, document) = scene.make(&[]);
    assert_eq!((code, document["changed"].as_bool()), (0, Some(true)), "{document}");
    let all = [
        "keystore.jks",
        "keystore.p12",
        "keystore.pem",
        "set.json",
        "truststore.jks",
        "truststore.p12",
        "truststore.pem",
    ];
    assert_eq!(names(&scene.path("out")), all);
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(scene.path("out")), 0o700);
    for name in all {
        assert_eq!(mode(scene.path("out").join(name)), 0o600, "{name}");
    }
    let (own, other) = (Secret::new(PASSWORD), Secret::new("other-password"));
    for store in [
        Pkcs12::read(&scene.out("keystore.p12"), &own).unwrap(),
        Jks::read(&scene.out("keystore.jks"), &own, None).unwrap(),
    ] {
        assert_eq!(store.entries[0].alias, "broker");
        let Content::Key { chain, .. } = &store.entries[0].content else {
            panic!("no key")
        };
        // The root is not shown.
        assert_eq!(chain.len(), 2);
    }
    assert!(Pkcs12::read(&scene.out("truststore.p12"), &own).is_err());
    let trusted = Pkcs12::read(&scene.out("truststore.p12"), &other).unwrap();
    let root = scene.authority.root.certificate.to_der().unwrap();
    assert!(matches!(&trusted.entries[0].content, Content::Trusted(one) if one.0 == root));
    let set: Value = serde_json::from_slice(&scene.out("set.json")).unwrap();
    assert_eq!(set["serial"], "4d");
    assert_eq!(set["files"].as_object().unwrap().len(), 6);
}

#[test]
fn the_same_set_is_made_once_and_a_renewed_one_again() {
    let scene = Scene::new((-1, 60));
    scene.make(&[]);
    let before = scene.out("keystore.p12");
    let (code, document) = scene.make(&[]);
    assert_eq!((code, document["changed"].as_bool()), (0, Some(false)), "{document}");
    assert_eq!(scene.out("keystore.p12"), before);
    scene.renewed(78, (-1, 90));
    let (_, document) = scene.make(&["--dry-run"]);
    assert_eq!(document["changed"], true);
    assert_eq!(scene.out("keystore.p12"), before);
    scene.make(&[]);
    assert_ne!(scene.out("keystore.p12"), before);
    assert_eq!(
        names(&scene.path("out")),
        ["keystore.p12", "set.json", "truststore.p12"]
    );
}

#[test]
fn every_node_has_stores_of_its_own_where_that_is_configured() {
    let scene = Scene::new((-1, 60));
    let certs = "password_env = \"STORE_PASSWORD\"\nper_node = true\nalias = \"kafka-{node}\"\nlegacy = true\n";
    scene.configure(certs, NODES);
    assert_eq!(scene.make(&[]).0, 0);
    assert_eq!(names(&scene.path("out")), ["b1", "c1", "set.json"]);
    let store = Pkcs12::read(&scene.out("b1/keystore.p12"), &Secret::new(PASSWORD)).unwrap();
    assert_eq!(store.entries[0].alias, "kafka-b1");
}

#[test]
fn an_expired_set_is_made_by_force_and_nothing_else_that_is_wrong() {
    let scene = Scene::new((-3, -1));
    let (code, document) = scene.make(&[]);
    assert_eq!(code, 3);
    assert!(document["hint"].as_str().unwrap().contains("--force"), "{document}");
    assert!(!scene.path("out").exists());
    assert_eq!(scene.make(&["--force"]).0, 0);
    let made = scene.out("keystore.p12");
    fs::remove_file(scene.path("acme").join("wildcard.example.org-ACME.key")).unwrap();
    let (code, document) = scene.make(&["--force"]);
    assert_eq!(code, 3, "{document}");
    assert!(
        document["verdict"].as_str().unwrap().contains("no private key"),
        "{document}"
    );
    assert_eq!(scene.out("keystore.p12"), made);
    scene.renewed(81, (-1, 60));
    for part in ["ca", "fullchain"] {
        fs::remove_file(scene.path("acme").join(format!("wildcard.example.org-ACME.{part}"))).unwrap();
    }
    let (code, document) = scene.check();
    assert_eq!((code, codes(&document)[0]), (3, "chain_missing"), "{document}");
    assert_eq!(scene.make(&["--force"]).0, 3);
}

#[test]
fn a_password_that_cannot_be_had_is_wrong_configuration() {
    let scene = Scene::new((-1, 60));
    let open = scene.path("open");
    fs::write(&open, PASSWORD).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    for (certs, why) in [
        (String::new(), "certs.password is not set"),
        ("password_file = \"/nonexistent/p\"\n".to_owned(), "/nonexistent/p"),
        (format!("password_file = {open:?}\n"), "may be read by others"),
        ("password_env = \"NO_SUCH_PASSWORD\"\n".to_owned(), "NO_SUCH_PASSWORD"),
        ("password_env = \"NO_PASSWORD\"\n".to_owned(), "the password is empty"),
        ("password_command = [\"/bin/false\"]\n".to_owned(), "exit status: 1"),
        (
            "password_command = [\"/bin/true\"]\n".to_owned(),
            "the password is empty",
        ),
        (
            "password_command = [\"cat\", \"/dev/zero\"]\n".to_owned(),
            "more than 4096 bytes",
        ),
        (
            "password_command = [\"/nonexistent/p\"]\n".to_owned(),
            "cannot be started",
        ),
    ] {
        scene.configure(&certs, NODES);
        let (code, document) = scene.make(&[]);
        let verdict = document["verdict"].as_str().unwrap();
        assert!(code == 2 && verdict.contains(why), "{certs}: {document}");
        assert!(!scene.path("out").exists());
    }
    scene.configure("formats = [\"pem\"]\n", NODES);
    assert_eq!(scene.make(&[]).0, 0);
}

#[test]
fn a_folder_without_a_set_is_wrong_configuration() {
    let scene = Scene::new((-1, 60));
    fs::remove_dir_all(scene.path("acme")).unwrap();
    let (code, document) = scene.check();
    assert_eq!(code, 2);
    assert!(
        document["hint"].as_str().unwrap().contains("certs.source"),
        "{document}"
    );
    fs::create_dir(scene.path("acme")).unwrap();
    let (code, document) = scene.check();
    assert_eq!(code, 2);
    assert!(
        document["verdict"].as_str().unwrap().contains("has no files of a set"),
        "{document}"
    );
}

#[test]
fn what_is_lacking_is_told_with_the_key_that_gives_it() {
    let scene = Scene::new((-1, 60));
    let key = scene.path("acme/wildcard.example.org-ACME.key");
    let text = fs::read(&key).unwrap();
    let pem = openssl::pkey::PKey::private_key_from_pem(&text).unwrap();
    let encrypted = pem.private_key_to_pem_pkcs8_passphrase(openssl::symm::Cipher::aes_256_cbc(), b"hush");
    fs::write(&key, encrypted.unwrap()).unwrap();
    let (code, document) = scene.check();
    assert_eq!(code, 3, "{document}");
    assert!(
        document["hint"].as_str().unwrap().contains("certs.key_passphrase_file"),
        "{document}"
    );
    let leaf = scene.authority.leaf(9, &["*.other.net"], (-1, 60));
    for (part, bytes) in [("crt", leaf.certificate.to_pem().unwrap()), ("key", text)] {
        fs::write(
            scene.path("acme").join(format!("wildcard.other.net-ACME.{part}")),
            bytes,
        )
        .unwrap();
    }
    let (code, document) = scene.check();
    assert_eq!(code, 2, "{document}");
    assert!(document["hint"].as_str().unwrap().contains("domain = "), "{document}");
}

#[test]
fn what_a_folder_was_made_with_and_is_made_without_goes() {
    let scene = Scene::new((-1, 60));
    let password = format!("password_file = {:?}\n", scene.path("password"));
    scene.configure(
        &format!("{password}formats = [\"pem\", \"jks\"]\nper_node = true\n"),
        NODES,
    );
    assert_eq!(scene.make(&[]).0, 0);
    fs::write(scene.path("out/b1/notes"), "a person's").unwrap();
    scene.configure(&password, NODES);
    let (code, document) = scene.make(&[]);
    assert_eq!(code, 0, "{document}");
    assert_eq!(
        names(&scene.path("out")),
        ["b1", "keystore.p12", "set.json", "truststore.p12"],
        "keys that nobody wants any more"
    );
    assert_eq!(names(&scene.path("out/b1")), ["notes"]);
}

#[test]
fn files_that_others_may_read_are_made_anew_and_a_folder_that_all_may_write_to_is_refused() {
    let scene = Scene::new((-1, 60));
    scene.make(&[]);
    let store = scene.path("out/keystore.p12");
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    set(&store, 0o644);
    assert_eq!(scene.make(&[]).1["changed"], true);
    assert_eq!(fs::metadata(&store).unwrap().permissions().mode() & 0o777, 0o600);
    set(&scene.path("out"), 0o777);
    let (code, document) = scene.make(&[]);
    assert_eq!(code, 2, "{document}");
    assert!(
        document["verdict"].as_str().unwrap().contains("by everybody"),
        "{document}"
    );
}

#[test]
fn what_is_no_file_in_the_folder_is_told_and_not_waited_for() {
    let scene = Scene::new((-1, 60));
    fs::create_dir_all(scene.path("out/keystore.p12")).unwrap();
    let (code, document) = scene.make(&[]);
    assert_eq!(code, 1, "{document}");
    assert!(
        document["verdict"].as_str().unwrap().contains("keystore.p12"),
        "{document}"
    );
    assert_eq!(names(&scene.path("out")), ["keystore.p12"]);
    fs::remove_dir(scene.path("out/keystore.p12")).unwrap();
    let status = Command::new("mkfifo").arg(scene.path("out/set.json")).status();
    assert!(status.unwrap().success());
    assert_eq!(scene.make(&[]).0, 0);
    assert!(scene.path("out/set.json").is_file());
}

#[test]
fn a_set_of_another_domain_is_refused_though_no_host_is_known() {
    let scene = Scene::new((-1, 60));
    let no_hosts = NODES.replace("certs_hosts", "# certs_hosts");
    let configure = |domain: &str| {
        let password = scene.path("password");
        // Names that say nothing of a domain: contents decide.
        let certs = format!(
            "password_file = {password:?}\ndomain = {domain:?}\nnames = \"wildcard.example.org-ACME.{{part}}\"\n"
        );
        scene.configure(&certs, &no_hosts);
    };
    configure("wrong.net");
    let (code, document) = scene.check();
    assert_eq!((code, codes(&document)[0]), (3, "host_not_covered"), "{document}");
    let (code, document) = scene.make(&[]);
    assert_eq!(code, 3, "{document}");
    assert!(document["hint"].as_str().unwrap().contains("wrong.net"), "{document}");
    assert!(!scene.path("out").exists());
    configure("example.org");
    assert_eq!(scene.make(&[]).0, 0);
}

/// One node on this very machine, and a folder for its stores.
fn deployable() -> Scene {
    let scene = Scene::new((-1, 60));
    fs::create_dir(scene.path("node")).unwrap();
    fs::create_dir(scene.path("data")).unwrap();
    let certs = format!(
        "password_file = {:?}\ndir = {:?}\nmode = \"0640\"\n",
        scene.path("password"),
        scene.path("node/stores")
    );
    let node = format!(
        "[[node]]\nname = \"k1\"\nrole = \"combined\"\ntransport = \"local\"\ndata = {:?}\ncerts_hosts = [\"k1.example.org\"]\n",
        scene.path("data")
    );
    scene.configure(&certs, &node);
    scene
}

#[test]
fn stores_are_put_on_a_node_once_and_those_of_before_come_back() {
    let scene = deployable();
    let node = |name: &str| scene.path("node/stores").join(name);
    assert_eq!(scene.json(&["certs", "deploy"]).0, 3, "nothing is made yet");
    scene.make(&[]);
    let (code, document) = scene.json(&["certs", "deploy", "--dry-run"]);
    assert_eq!((code, document["changed"].as_bool()), (0, Some(true)), "{document}");
    assert!(!node("keystore.p12").exists());
    let (code, document) = scene.json(&["certs", "deploy"]);
    assert_eq!((code, document["changed"].as_bool()), (0, Some(true)), "{document}");
    assert_eq!(document["serial"], "4d");
    assert_eq!(fs::read(node("keystore.p12")).unwrap(), scene.out("keystore.p12"));
    assert_eq!(fs::read(node("truststore.p12")).unwrap(), scene.out("truststore.p12"));
    let mode = fs::metadata(node("keystore.p12")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o640);
    let (code, document) = scene.json(&["certs", "deploy"]);
    assert_eq!((code, document["changed"].as_bool()), (0, Some(false)), "{document}");
    let old = scene.out("keystore.p12");
    scene.renewed(78, (-1, 90));
    scene.make(&[]);
    let (code, document) = scene.json(&["certs", "deploy"]);
    assert_eq!(code, 0, "{document}");
    assert_eq!(fs::read(node("keystore.p12")).unwrap(), scene.out("keystore.p12"));
    let (code, document) = scene.json(&["certs", "deploy", "--rollback"]);
    assert_eq!(code, 0, "{document}");
    assert_eq!(fs::read(node("keystore.p12")).unwrap(), old);
    scene.json(&["certs", "deploy", "--rollback"]);
    assert_eq!(fs::read(node("keystore.p12")).unwrap(), scene.out("keystore.p12"));
}

/// As in a change of authority.
#[test]
fn a_further_authority_is_no_stranger_to_a_deployment() {
    let scene = deployable();
    let other = Authority::new().root.certificate.to_pem().unwrap();
    fs::write(scene.path("other.pem"), other).unwrap();
    let text = fs::read_to_string(scene.path("kbo.toml")).unwrap();
    let roots = format!("[certs]\nroots = [{:?}]\n", scene.path("other.pem"));
    fs::write(scene.path("kbo.toml"), text.replace("[certs]\n", &roots)).unwrap();
    assert_eq!(scene.make(&[]).0, 0);
    let (code, document) = scene.json(&["certs", "deploy"]);
    assert_eq!((code, document["findings"].as_array()), (0, None), "{document}");
}

#[test]
fn what_was_altered_or_has_expired_since_it_was_made_is_not_deployed() {
    let scene = deployable();
    scene.make(&[]);
    let store = scene.path("out/keystore.p12");
    let whole = fs::read(&store).unwrap();
    fs::write(&store, &whole[..whole.len() - 1]).unwrap();
    let (code, document) = scene.json(&["certs", "deploy"]);
    assert_eq!(code, 3, "{document}");
    assert!(
        document["verdict"]
            .as_str()
            .unwrap()
            .contains("is not what kbo certs make has written")
    );
    scene.renewed(79, (-3, -1));
    assert_eq!(scene.make(&["--force"]).0, 0);
    let (code, document) = scene.json(&["certs", "deploy"]);
    assert_eq!(code, 3, "{document}");
    assert!(
        document["verdict"].as_str().unwrap().contains("expired on"),
        "{document}"
    );
    assert!(!scene.path("node/stores").exists());
    let (code, document) = scene.json(&["certs", "deploy", "--rollback"]);
    assert_eq!(code, 3, "{document}");
    assert_eq!(scene.json(&["certs", "deploy", "--force"]).0, 0);
    assert!(scene.path("node/stores/keystore.p12").exists());
}

#[test]
fn a_node_that_cannot_take_the_files_keeps_them_all_away() {
    let scene = deployable();
    scene.make(&[]);
    fs::remove_dir(scene.path("node")).unwrap();
    fs::write(scene.path("node"), "no folder").unwrap();
    let (code, document) = scene.json(&["certs", "deploy"]);
    assert_eq!(code, 3, "{document}");
    assert_eq!(document["failures"][0]["node"], "k1", "{document}");
}
