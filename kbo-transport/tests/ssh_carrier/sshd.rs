//! A real sshd for one test: its own keys, its own port, gone at the end.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kbo_transport::carrier::AgentPipe;
use kbo_transport::ssh::{SshCarrier, SshSettings};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;

/// What stands in for the agent: as small as a push can be, and able to misbehave.
const STAND_IN: &str = r#"#!/bin/sh
case "$1" in
--version) echo stand-in ;;
echo) exec cat ;;
hash) exec sha256sum ;;
count) exec wc -c ;;
zeros) exec head -c "$2" /dev/zero ;;
flood) head -c "$2" /dev/zero | tr '\0' e >&2; echo done; exec cat ;;
fail) echo "it cannot be done" >&2; exit 3 ;;
killed) kill -9 $$ ;;
pid) echo $$; exec cat ;;
endless) exec cat /dev/zero ;;
sleep) exec sleep 1000 ;;
*) exit 9 ;;
esac
"#;

/// A running sshd and a user who may log in.
pub(crate) struct Sshd {
    pub(crate) dir: TempDir,
    pub(crate) port: u16,
    child: Child,
}

impl Sshd {
    /// Starts one, or says what is missing: loudly, and in CI as a failure.
    pub(crate) fn start(options: &str) -> Option<Self> {
        match Self::try_start(options) {
            Ok(sshd) => Some(sshd),
            Err(missing) => {
                skipped(&format!(
                    "no sshd for this test: {missing} (apt-get install openssh-server)"
                ));
                None
            }
        }
    }

    fn try_start(options: &str) -> Result<Self, String> {
        let program = ["/usr/sbin/sshd", "/usr/local/sbin/sshd"]
            .into_iter()
            .find(|path| Path::new(path).exists());
        let program = program.ok_or("sshd is not installed")?;
        // sshd wants this folder when it starts as root; packages make it when the service starts.
        if user() == "root" {
            fs::create_dir_all("/run/sshd").map_err(|error| error.to_string())?;
        }
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        for kind in ["ed25519", "ecdsa"] {
            keygen(kind, &dir.path().join(format!("host_{kind}")), "");
        }
        keygen("ed25519", &dir.path().join("key"), "");
        fs::copy(dir.path().join("key.pub"), dir.path().join("authorized_keys")).map_err(|error| error.to_string())?;
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .map_err(|error| error.to_string())?
            .port();
        let here = dir.path().display();
        // The first word of an option counts: those of the test come before the defaults.
        let config = format!(
            "{options}\nPort {port}\nListenAddress 127.0.0.1\nHostKey {here}/host_ed25519\nHostKey {here}/host_ecdsa\n\
             AuthorizedKeysFile {here}/authorized_keys\nStrictModes no\nUsePAM no\nPidFile none\n\
             PermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxStartups 100\nLogLevel ERROR\n"
        );
        fs::write(dir.path().join("sshd_config"), config).map_err(|error| error.to_string())?;
        let log = fs::File::create(dir.path().join("sshd.log")).map_err(|error| error.to_string())?;
        let child = Command::new(program)
            .args(["-D", "-e", "-f"])
            .arg(dir.path().join("sshd_config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| error.to_string())?;
        let sshd = Self { dir, port, child };
        let end = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > end {
                return Err(format!("it does not start: {}", sshd.log()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        sshd.trust("host_ed25519.pub");
        Ok(sshd)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("sshd.log")).unwrap_or_default()
    }

    /// The id of the process that listens.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Makes a host key (a file of the folder) the only one that is trusted.
    pub(crate) fn trust(&self, public: &str) {
        let key = fs::read_to_string(self.path(public)).unwrap();
        fs::write(self.path("known_hosts"), format!("[127.0.0.1]:{} {key}", self.port)).unwrap();
    }

    /// Settings that work, for the stand-in in the role given.
    pub(crate) fn settings(&self, role: &[&str]) -> SshSettings {
        let binary = self.path("stand-in");
        if !binary.exists() {
            fs::write(&binary, STAND_IN).unwrap();
        }
        let mut settings = SshSettings::new("127.0.0.1", user(), self.path("known_hosts"));
        settings.port = self.port;
        settings.key = Some(self.path("key"));
        settings.agent_dirs = vec![self.path("agents").display().to_string()];
        settings.agent_binary = binary;
        settings.agent_args = role.iter().map(|word| (*word).to_owned()).collect();
        settings.retries = 0;
        settings
    }

    pub(crate) fn carrier(&self, role: &[&str]) -> SshCarrier {
        SshCarrier::new(self.settings(role))
    }
}

impl Sshd {
    /// Ends it; its files stay.
    pub(crate) fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Makes a key pair.
pub(crate) fn keygen(kind: &str, path: &Path, passphrase: &str) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-N", passphrase, "-C", "test", "-f"])
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// Who runs the tests.
pub(crate) fn user() -> String {
    let id = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(id.stdout).unwrap().trim().to_owned()
}

/// A test that cannot run here says so; where everything is supposed to be there, it fails.
pub(crate) fn skipped(why: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{why}");
    // Not by a macro: those are captured, and a skipped test must be seen.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// Everything until the end.
pub(crate) async fn read_all(pipe: &mut AgentPipe) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pipe.reader.read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// Mode of a file.
pub(crate) fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
