//! The login: with a key, or with what an ssh-agent holds.

use std::io;
use std::path::Path;

use kbo_core::ports::node::{NodeError, NodeErrorKind};
use ssh2::{ErrorCode, Session};

use super::SshSettings;
use super::key_file::KeyFile;

/// libssh2: the server did not accept the key.
const AUTHENTICATION_FAILED: ErrorCode = ErrorCode::Session(-18);
/// libssh2: the key was accepted, but not the signature made with it.
const PUBLICKEY_UNVERIFIED: ErrorCode = ErrorCode::Session(-19);

/// Logs in, or says why not and what the server would take.
pub(super) fn log_in(session: &Session, settings: &SshSettings) -> Result<(), NodeError> {
    // Asks for the methods by trying none; a server may accept that.
    let offered = match session.auth_methods(&settings.user) {
        Ok(methods) => methods.to_owned(),
        Err(_) if session.authenticated() => String::new(),
        Err(error) => return Err(lost(settings, &error)),
    };
    if session.authenticated() {
        return Ok(());
    }
    match &settings.key {
        Some(key) => with_key(session, settings, key, &offered),
        None => with_agent(session, settings, &offered),
    }
}

fn with_key(session: &Session, settings: &SshSettings, path: &Path, offered: &str) -> Result<(), NodeError> {
    let key = KeyFile::read(path)?;
    let shown = path.display();
    // libssh2 calls a missing passphrase an "unsupported private key format".
    if key.encrypted && settings.passphrase.is_none() {
        return Err(
            refused(format!("the SSH key {shown} is encrypted, and no passphrase was given"))
                .hint("give its passphrase, or load the key into an ssh-agent (ssh-add) and name no key"),
        );
    }
    let passphrase = settings
        .passphrase
        .as_ref()
        .filter(|_| key.encrypted)
        .map(|secret| secret.expose());
    let Err(error) = session.userauth_pubkey_memory(&settings.user, None, key.text.expose(), passphrase) else {
        return Ok(());
    };
    match error.code() {
        AUTHENTICATION_FAILED | PUBLICKEY_UNVERIFIED => {
            Err(not_accepted(settings, &format!("the key {shown}"), offered))
        }
        _ if is_lost(&error) => Err(lost(settings, &error)),
        _ if key.encrypted => Err(
            refused(format!("the passphrase does not open the SSH key {shown}")).hint(format!(
                "try it: ssh-keygen -y -f {}",
                super::quote::quote(&path.to_string_lossy())
            )),
        ),
        _ => Err(
            refused(format!("the SSH key {shown} cannot be used: {}", error.message()))
                .hint("make a key of a current type: ssh-keygen -t ed25519"),
        ),
    }
}

fn with_agent(session: &Session, settings: &SshSettings, offered: &str) -> Result<(), NodeError> {
    let no_agent = |what: &str| {
        refused(format!("ssh {}: no key is configured, and {what}", settings.peer()))
            .hint("name a private key in the configuration ([ssh] key), or start an ssh-agent and ssh-add one")
    };
    let Some(socket) = &settings.auth_sock else {
        return Err(no_agent("there is no ssh-agent (SSH_AUTH_SOCK is not set)"));
    };
    let mut agent = session.agent().map_err(|error| lost(settings, &error))?;
    agent
        .set_identity_path(socket)
        .and_then(|()| agent.connect())
        .map_err(|_| no_agent("the ssh-agent of SSH_AUTH_SOCK does not answer"))?;
    agent
        .list_identities()
        .map_err(|_| no_agent("the ssh-agent of SSH_AUTH_SOCK does not tell its keys"))?;
    let identities = agent
        .identities()
        .map_err(|_| no_agent("the ssh-agent of SSH_AUTH_SOCK does not tell its keys"))?;
    if identities.is_empty() {
        return Err(no_agent("the ssh-agent of SSH_AUTH_SOCK holds no key"));
    }
    for identity in &identities {
        match agent.userauth(&settings.user, identity) {
            Ok(()) => return Ok(()),
            Err(error) if is_lost(&error) => {
                let tried = format!(
                    "ssh-agent's keys ({} of them; a server takes few tries)",
                    identities.len()
                );
                return Err(not_accepted(settings, &tried, offered));
            }
            Err(error) => tracing::debug!(key = identity.comment(), %error, "not accepted"),
        }
    }
    let names: Vec<&str> = identities.iter().map(|identity| identity.comment()).collect();
    Err(not_accepted(
        settings,
        &format!("ssh-agent's keys ({})", names.join(", ")),
        offered,
    ))
}

fn not_accepted(settings: &SshSettings, what: &str, offered: &str) -> NodeError {
    let takes = if offered.is_empty() {
        String::new()
    } else {
        format!("; it takes: {offered}")
    };
    let hint = if offered.is_empty() || offered.split(',').any(|method| method == "publickey") {
        format!(
            "is the public key in the authorized_keys of {}? `ssh-copy-id` puts it there",
            settings.user
        )
    } else {
        "the server takes no keys: set PubkeyAuthentication yes in its sshd_config".to_owned()
    };
    refused(format!(
        "ssh {}: login refused: the host does not accept {what}{takes}",
        settings.peer()
    ))
    .hint(hint)
}

fn refused(text: String) -> NodeError {
    NodeError::new(NodeErrorKind::Refused, text)
}

fn lost(settings: &SshSettings, error: &ssh2::Error) -> NodeError {
    let text = format!(
        "ssh {}: the connection was lost during the login: {}",
        settings.peer(),
        error.message()
    );
    NodeError::new(NodeErrorKind::Unreachable, text)
}

/// Whether the connection is gone, rather than the login refused.
fn is_lost(error: &ssh2::Error) -> bool {
    // Receive, send, disconnect, timeout.
    matches!(error.code(), ErrorCode::Session(-43 | -7 | -13 | -9)) || {
        let kind = io::Error::from(ssh2::Error::from_errno(error.code())).kind();
        kind == io::ErrorKind::TimedOut || kind == io::ErrorKind::ConnectionReset
    }
}
