//! The first login to a host: its key is shown to somebody who judges it, our key is put there with a password, and then proven.
//!
//! Everything here blocks; callers have threads for that.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use kbo_core::ports::node::{NodeError, NodeErrorKind};
use kbo_core::secret::Secret;
use openssl::base64;
use ssh2::{ErrorCode, KeyboardInteractivePrompt, Prompt, Session};

use super::command;
use super::connect::{check_host_key, connect, handshake, read_known_hosts};
use super::known_hosts::{self, Verdict};
use super::link::Link;
use super::login::log_in;
use super::quote::sh;
use super::{SshSettings, millis};

pub use super::new_key::{PublicKey, make, public_half};

/// Puts the key on its standard input into authorized_keys, once. The key is never a word of the shell's.
const INSTALL: &str = "umask 077; d=\"$HOME/.ssh\"; f=\"$d/authorized_keys\"; \
    mkdir -p \"$d\" && touch \"$f\" && read -r t b c && \
    if grep -v \"^[[:space:]]*#\" \"$f\" | grep -qF -e \"$b\"; then echo kbo-present; else \
    if [ -s \"$f\" ] && [ -n \"$(tail -c 1 \"$f\")\" ]; then echo >> \"$f\"; fi; \
    printf \"%s %s %s\\n\" \"$t\" \"$b\" \"$c\" >> \"$f\" && echo kbo-added; fi; \
    if command -v restorecon > /dev/null 2>&1; then restorecon -R \"$d\" > /dev/null 2>&1; fi; true";

/// The key that a host showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKey {
    /// Its type.
    pub key_type: String,
    /// Its fingerprint.
    pub fingerprint: String,
    /// Whether known_hosts has it.
    pub known: bool,
    blob: Vec<u8>,
}

/// Asks a host for its key. `vouchers` is another file of host keys, of which the types are asked for too.
///
/// # Errors
/// A host that is not reached, or a key that is another one than known_hosts has, or revoked.
pub fn look(settings: &SshSettings, vouchers: Option<&Path>) -> Result<HostKey, NodeError> {
    let (host, port) = (&settings.host, settings.port);
    let known = read_known_hosts(&settings.known_hosts)?;
    let mut types = known.types(host, port);
    if let Some(file) = vouchers {
        types.extend(read_known_hosts(file)?.types(host, port));
    }
    let (link, _sleeper) = Link::new().map_err(|error| failed(settings, &error))?;
    let connection = handshake(settings, &link, &types)?;
    let Some((blob, _)) = connection.session.host_key() else {
        return Err(failed(settings, &"the host showed no key"));
    };
    let verdict = known.judge(host, port, blob);
    if matches!(verdict, Verdict::Changed(_) | Verdict::Revoked(_)) {
        check_host_key(&connection.session, settings, &known)?;
    }
    Ok(HostKey {
        key_type: known_hosts::key_type(blob),
        fingerprint: known_hosts::fingerprint(blob),
        known: verdict == Verdict::Known,
        blob: blob.to_vec(),
    })
}

/// Whether a file of host keys has this one for the host.
///
/// # Errors
/// A file that cannot be read, or that has another key for the host, or calls this one revoked.
pub fn is_vouched_for(settings: &SshSettings, key: &HostKey, file: &Path) -> Result<bool, NodeError> {
    let shown = format!("{} {}", key.key_type, key.fingerprint);
    let refused = |what: &str| {
        let text = format!(
            "ssh {}: the host shows {shown}, {} {what}",
            settings.peer(),
            file.display()
        );
        Err(NodeError::new(NodeErrorKind::Refused, text)
            .hint("somebody may stand in between: compare the keys on the node itself"))
    };
    match read_known_hosts(file)?.judge(&settings.host, settings.port, &key.blob) {
        Verdict::Known => Ok(true),
        Verdict::Unknown(_) => Ok(false),
        Verdict::Changed(_) => refused("has ANOTHER KEY for it"),
        Verdict::Revoked(_) => refused("calls it revoked"),
    }
}

/// Writes a host's key into known_hosts, which is made where there is none.
///
/// It is appended to, as ssh does, and not replaced: others may add to it at the same time.
///
/// # Errors
/// A file that cannot be written.
pub fn trust(settings: &SshSettings, key: &HostKey) -> Result<(), NodeError> {
    let file = &settings.known_hosts;
    let failed = |error: std::io::Error| {
        let text = format!("the known_hosts file {} cannot be written: {error}", file.display());
        NodeError::new(NodeErrorKind::Io, text)
    };
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(failed)?;
    }
    let mut options = OpenOptions::new();
    let open = options.create(true).append(true).read(true).mode(0o600).open(file);
    let mut opened = open.map_err(failed)?;
    let mut line = String::new();
    if opened.seek(SeekFrom::End(-1)).is_ok() {
        let mut last = [0];
        opened.read_exact(&mut last).map_err(failed)?;
        if last != *b"\n" {
            line.push('\n');
        }
    }
    let name = known_hosts::name(&settings.host, settings.port);
    line.push_str(&format!(
        "{name} {} {}\n",
        key.key_type,
        base64::encode_block(&key.blob)
    ));
    opened.write_all(line.as_bytes()).map_err(failed)?;
    opened.sync_all().map_err(failed)
}

/// Logs in as kbo will, on a connection of its own.
///
/// # Errors
/// As the carrier has them.
pub fn prove(settings: &SshSettings) -> Result<(), NodeError> {
    let (link, _sleeper) = Link::new().map_err(|error| failed(settings, &error))?;
    let connection = connect(settings, &link)?;
    log_in(&connection.session, settings)
}

/// Logs in with a password and puts the public key into the user's authorized_keys. Whether it was added, or there already.
///
/// # Errors
/// A password that is not accepted, a host that takes none, a file that cannot be written.
pub fn install(settings: &SshSettings, password: &Secret, key: &PublicKey) -> Result<bool, NodeError> {
    let (link, _sleeper) = Link::new().map_err(|error| failed(settings, &error))?;
    let connection = connect(settings, &link)?;
    let session = &connection.session;
    with_password(session, settings, password)?;
    session.set_timeout(millis(settings.connect_timeout.max(command::PATIENCE)));
    let line = format!("{}\n", key.line);
    let ended = command::run(session, settings, &sh(INSTALL, false), line.as_bytes())?;
    let text = ended.text();
    let says = |word: &str| text.lines().any(|line| line.trim() == word);
    match (says("kbo-added"), says("kbo-present")) {
        (true, _) => Ok(true),
        (false, true) => Ok(false),
        (false, false) => {
            let said = text.trim();
            let said = if said.is_empty() { "it says nothing" } else { said };
            let text = format!(
                "ssh {}: the key cannot be put into ~/.ssh/authorized_keys: {said}",
                settings.peer()
            );
            Err(NodeError::new(NodeErrorKind::Io, text)
                .hint("does the user have a home directory and a shell on the node?"))
        }
    }
}

fn with_password(session: &Session, settings: &SshSettings, password: &Secret) -> Result<(), NodeError> {
    let offered = match session.auth_methods(&settings.user) {
        Ok(methods) => methods.to_owned(),
        Err(_) if session.authenticated() => return Ok(()),
        Err(error) => return Err(failed(settings, &error)),
    };
    let takes = |method: &str| offered.split(',').any(|known| known == method);
    let tried = if takes("password") {
        session.userauth_password(&settings.user, password.expose())
    } else if takes("keyboard-interactive") {
        session.userauth_keyboard_interactive(&settings.user, &mut Typist(password))
    } else {
        let text = format!(
            "ssh {}: the host takes no passwords; it takes: {offered}",
            settings.peer()
        );
        return Err(NodeError::new(NodeErrorKind::Refused, text).hint(
            "put the public key into the user's authorized_keys by another way, or set PasswordAuthentication yes in its sshd_config for now",
        ));
    };
    match tried {
        Ok(()) if session.authenticated() => Ok(()),
        Err(error) if !matches!(error.code(), ErrorCode::Session(-18 | -19)) => Err(failed(settings, &error)),
        _ => {
            let text = format!("ssh {}: the password is not accepted", settings.peer());
            let hint = match settings.user.as_str() {
                "root" => "is it root's, and does the host let root in with a password (PermitRootLogin yes)?",
                _ => "is it that of this user on this host?",
            };
            Err(NodeError::new(NodeErrorKind::Refused, text).hint(hint))
        }
    }
}

/// Answers what is asked without echo with the password, and all else with nothing.
struct Typist<'a>(&'a Secret);

impl KeyboardInteractivePrompt for Typist<'_> {
    fn prompt<'a>(&mut self, _user: &str, _instructions: &str, prompts: &[Prompt<'a>]) -> Vec<String> {
        let answer = |prompt: &Prompt<'_>| match prompt.echo {
            true => String::new(),
            false => self.0.expose().to_owned(),
        };
        prompts.iter().map(answer).collect()
    }
}

/// Whether there is a key at `path`, of whatever kind.
pub fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn failed(settings: &SshSettings, error: &dyn std::fmt::Display) -> NodeError {
    NodeError::new(NodeErrorKind::Unreachable, format!("ssh {}: {error}", settings.peer()))
}
