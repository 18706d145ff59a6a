//! The first login: a host's key, a password once, authorized_keys, and the proof.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kbo_core::secret::Secret;
use kbo_transport::ssh::{SshSettings, setup};

use crate::sshd::{Sshd, keygen, skipped, user};

/// A user of the machine with a password, made and removed by the test.
struct Someone(&'static str);

impl Someone {
    const PASSWORD: &'static str = "correct horse $(touch x) 'battery\"";

    fn new(name: &'static str) -> Option<Self> {
        let made = user() == "root"
            && Command::new("useradd")
                .args(["-m", "-s", "/bin/sh", name])
                .output()
                .is_ok_and(|made| made.status.success());
        if !made {
            skipped("users are made by root with useradd");
            return None;
        }
        let someone = Self(name);
        let mut child = Command::new("chpasswd").stdin(Stdio::piped()).spawn().unwrap();
        let line = format!("{name}:{}\n", Self::PASSWORD);
        child.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        Some(someone)
    }

    fn file(&self) -> PathBuf {
        Path::new("/home").join(self.0).join(".ssh/authorized_keys")
    }
}

impl Drop for Someone {
    fn drop(&mut self) {
        let _ = Command::new("userdel").args(["-r", "-f", self.0]).output();
    }
}

const OPTIONS: &str = "AuthorizedKeysFile .ssh/authorized_keys\nStrictModes yes\nPasswordAuthentication yes";

fn settings(sshd: &Sshd, user: &str) -> SshSettings {
    let mut settings = sshd.settings(&["echo"]);
    settings.user = user.to_owned();
    settings.key = Some(sshd.path("new/id_ed25519"));
    settings
}

#[test]
fn a_key_is_installed_with_a_password_once_and_then_logs_in() {
    let Some(sshd) = Sshd::start(OPTIONS) else { return };
    let Some(someone) = Someone::new("kbo-first-login") else {
        return;
    };
    let settings = settings(&sshd, someone.0);
    let key = setup::make(settings.key.as_ref().unwrap(), "kbo's \"own\" $(touch x)").unwrap();
    assert!(setup::prove(&settings).is_err());

    let wrong = setup::install(&settings, &Secret::new("wrong"), &key).unwrap_err();
    assert!(wrong.message.contains("the password is not accepted") && !wrong.message.contains("wrong"));
    assert!(!someone.file().exists());

    let password = Secret::new(Someone::PASSWORD);
    assert!(setup::install(&settings, &password, &key).unwrap(), "added");
    setup::prove(&settings).unwrap();
    let file = fs::metadata(someone.file()).unwrap();
    let folder = fs::metadata(someone.file().parent().unwrap()).unwrap();
    assert_eq!(
        (file.permissions().mode() & 0o777, folder.permissions().mode() & 0o777),
        (0o600, 0o700)
    );
    assert_ne!(file.uid(), 0);
    let first = fs::read_to_string(someone.file()).unwrap();
    assert_eq!(first.trim_end(), key.line, "nothing was read as a shell's");

    assert!(!setup::install(&settings, &password, &key).unwrap(), "there already");
    assert_eq!(fs::read_to_string(someone.file()).unwrap(), first);
}

#[test]
fn other_keys_stay_whole_where_the_last_line_is_not_ended_and_a_commented_key_is_none() {
    let Some(sshd) = Sshd::start(OPTIONS) else { return };
    let Some(someone) = Someone::new("kbo-other-keys") else {
        return;
    };
    let settings = settings(&sshd, someone.0);
    let key = setup::make(settings.key.as_ref().unwrap(), "kbo").unwrap();
    let password = Secret::new(Someone::PASSWORD);
    setup::install(&settings, &password, &key).unwrap();
    let other = fs::read_to_string(sshd.path("key.pub")).unwrap();
    let before = format!("# {}\n{}", key.line, other.trim_end());
    fs::write(someone.file(), &before).unwrap();
    assert!(setup::install(&settings, &password, &key).unwrap());
    assert_eq!(
        fs::read_to_string(someone.file()).unwrap(),
        format!("{before}\n{}\n", key.line)
    );
    setup::prove(&settings).unwrap();
}

#[test]
fn an_unknown_host_is_shown_trusted_once_and_then_known() {
    let Some(sshd) = Sshd::start("") else { return };
    let mut settings = sshd.settings(&["echo"]);
    let good = sshd.path("known_hosts");
    settings.known_hosts = sshd.path("made/known_hosts");
    let key = setup::look(&settings, Some(&good)).unwrap();
    assert!(!key.known && key.fingerprint.starts_with("SHA256:"));
    assert!(setup::is_vouched_for(&settings, &key, &good).unwrap());
    assert!(!setup::is_vouched_for(&settings, &key, &sshd.path("nothing")).unwrap());
    assert!(setup::prove(&settings).is_err(), "nothing is sent to an unknown host");
    setup::trust(&settings, &key).unwrap();
    let mode = fs::metadata(&settings.known_hosts).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    assert!(setup::look(&settings, None).unwrap().known);
    setup::prove(&settings).unwrap();
}

#[test]
fn a_changed_host_key_is_an_error_whoever_vouches() {
    let Some(sshd) = Sshd::start("") else { return };
    let settings = sshd.settings(&["echo"]);
    let good = sshd.path("good");
    fs::copy(sshd.path("known_hosts"), &good).unwrap();
    keygen("ed25519", &sshd.path("other"), "");
    sshd.trust("other.pub");
    let error = setup::look(&settings, Some(&good)).unwrap_err();
    assert!(error.message.contains("THE HOST KEY HAS CHANGED"), "{error:?}");
    // And the other way: known_hosts knows nothing, the voucher has another key.
    let mut settings = settings;
    settings.known_hosts = sshd.path("nothing");
    let other = sshd.path("known_hosts");
    let key = setup::look(&settings, Some(&other)).unwrap();
    let error = setup::is_vouched_for(&settings, &key, &other).unwrap_err();
    assert!(error.message.contains("ANOTHER KEY"), "{error:?}");
}
