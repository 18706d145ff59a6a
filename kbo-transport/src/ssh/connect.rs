//! The connection: TCP, handshake, and the host's key. Nothing of ours is sent before that key is accepted.

use std::io::{ErrorKind, Read};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;

use kbo_core::ports::node::{NodeError, NodeErrorKind};
use ssh2::{MethodType, Session};

use super::known_hosts::{self, KnownHosts, Verdict};
use super::link::Link;
use super::quote::quote;
use super::{SshSettings, millis};

/// A session with the right host, nobody logged in.
pub(super) struct Connection {
    pub(super) session: Session,
    /// The same socket as the session's, to wait for and to shut down.
    pub(super) socket: TcpStream,
}

/// Connects once.
pub(super) fn connect(settings: &SshSettings, link: &Link) -> Result<Connection, NodeError> {
    let known = read_known_hosts(&settings.known_hosts)?;
    let connection = handshake(settings, link, &known.types(&settings.host, settings.port))?;
    check_host_key(&connection.session, settings, &known)?;
    Ok(connection)
}

/// Up to the host's key, which nobody has judged yet: asked for by the types given, where the host has them.
pub(super) fn handshake(settings: &SshSettings, link: &Link, types: &[String]) -> Result<Connection, NodeError> {
    let socket = dial(settings)?;
    let lost = |what: &str, error: &dyn std::fmt::Display| {
        NodeError::new(
            NodeErrorKind::Unreachable,
            format!("ssh {}: {what}: {error}", settings.peer()),
        )
    };
    let twin = || socket.try_clone().map_err(|error| lost("no socket left", &error));
    link.blocks_on(Some(twin()?));
    let mut session = Session::new().map_err(|error| lost("libssh2 does not start", &error))?;
    session.set_timeout(millis(settings.connect_timeout));
    session.set_tcp_stream(twin()?);
    prefer_fast_ciphers(&session);
    prefer_known_types(&session, types);
    session.handshake().map_err(|error| {
        lost("no SSH handshake", &error).hint(format!(
            "is it an SSH server that listens on port {} of {}, and has it connections left (MaxStartups)?",
            settings.port, settings.host
        ))
    })?;
    Ok(Connection { session, socket })
}

fn dial(settings: &SshSettings) -> Result<TcpStream, NodeError> {
    let (host, port) = (settings.host.as_str(), settings.port);
    let unreachable = |text: String| NodeError::new(NodeErrorKind::Unreachable, text);
    let addresses = (host, port).to_socket_addrs().map_err(|error| {
        unreachable(format!(
            "ssh {}: the name {host} has no address: {error}",
            settings.peer()
        ))
    })?;
    let mut failure = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, settings.connect_timeout) {
            Ok(socket) => {
                // Small requests wait for small answers: without this each costs a delayed acknowledgement.
                if let Err(error) = socket.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY");
                }
                return Ok(socket);
            }
            Err(error) => failure = Some((address, error)),
        }
    }
    let Some((address, error)) = failure else {
        return Err(unreachable(format!(
            "ssh {}: the name {host} has no address",
            settings.peer()
        )));
    };
    let hint = match error.kind() {
        ErrorKind::ConnectionRefused => format!("no SSH server listens there: is it running, and is {port} its port?"),
        ErrorKind::TimedOut => "is the machine up, and does a firewall let this machine through?".to_owned(),
        _ => format!(
            "does `ssh -p {port} {}@{}` work from here?",
            quote(&settings.user),
            quote(host)
        ),
    };
    Err(unreachable(format!("ssh {}: no connection to {address}: {error}", settings.peer())).hint(hint))
}

pub(super) fn read_known_hosts(path: &Path) -> Result<KnownHosts, NodeError> {
    let read = kbo_archive::regular::open(path).and_then(|mut file| {
        let mut bytes = vec![];
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    match read {
        Ok(bytes) => Ok(KnownHosts::parse(&String::from_utf8_lossy(&bytes))),
        // The same as an empty one: no host is known.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(KnownHosts::default()),
        Err(error) => Err(NodeError::new(
            NodeErrorKind::Refused,
            format!("the known_hosts file {} cannot be read: {error}", path.display()),
        )),
    }
}

/// Asks for AES-GCM before all else: processors do it in hardware, and libssh2 does ChaCha20, its own first choice, in plain C.
fn prefer_fast_ciphers(session: &Session) {
    const FAST: [&str; 2] = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com"];
    for way in [MethodType::CryptCs, MethodType::CryptSc] {
        let supported = session.supported_algs(way).unwrap_or_default();
        let others = supported.iter().copied().filter(|name| !FAST.contains(name));
        let wanted: Vec<&str> = FAST
            .into_iter()
            .filter(|name| supported.contains(name))
            .chain(others)
            .collect();
        if let Err(error) = session.method_pref(way, &wanted.join(",")) {
            tracing::debug!(%error, "cipher preference");
        }
    }
}

/// Asks for a key of a type that is known. A host has several, and would show one that nobody has seen.
fn prefer_known_types(session: &Session, types: &[String]) {
    let supported = session.supported_algs(MethodType::HostKey).unwrap_or_default();
    let mut wanted: Vec<&str> = types.iter().flat_map(|known| known_hosts::algorithms(known)).collect();
    wanted.retain(|name| supported.contains(name));
    if wanted.is_empty() {
        return;
    }
    // The others stay behind them: a host that has changed to another type is to be told so, not to fail to negotiate.
    wanted.extend(
        supported
            .iter()
            .filter(|name| !types.iter().any(|t| known_hosts::algorithms(t).contains(name))),
    );
    if let Err(error) = session.method_pref(MethodType::HostKey, &wanted.join(",")) {
        tracing::debug!(%error, "host key preference");
    }
}

pub(super) fn check_host_key(session: &Session, settings: &SshSettings, known: &KnownHosts) -> Result<(), NodeError> {
    let (host, port, file) = (&settings.host, settings.port, settings.known_hosts.display());
    let refused = |text: String| NodeError::new(NodeErrorKind::Refused, text);
    let Some((key, _)) = session.host_key() else {
        return Err(refused(format!("ssh {}: the host showed no key", settings.peer())));
    };
    let shown = format!("{} {}", known_hosts::key_type(key), known_hosts::fingerprint(key));
    let name = known_hosts::name(host, port);
    match known.judge(host, port, key) {
        Verdict::Known => Ok(()),
        Verdict::Unknown(others) => {
            let others = match others.as_slice() {
                [] => String::new(),
                some => format!("; known are keys of another type ({})", some.join(", ")),
            };
            Err(refused(format!(
                "ssh {}: the host key is not in {file}: the host shows {shown}{others}; nothing was sent",
                settings.peer()
            ))
            .hint(format!(
                "compare that fingerprint with what `ssh-keygen -lf` says of /etc/ssh/ssh_host_*_key.pub on the node itself; \
                 if it is the same: ssh-keyscan -p {port} -t {} {} >> {}",
                keyscan_type(&known_hosts::key_type(key)),
                quote(host),
                quote(&settings.known_hosts.to_string_lossy()),
            )))
        }
        Verdict::Changed(lines) => {
            let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
            Err(refused(format!(
                "ssh {}: THE HOST KEY HAS CHANGED: the host shows {shown}, {file} has another one (line {}); \
                 either the machine was installed anew, or somebody stands in between; nothing was sent",
                settings.peer(),
                lines.join(", ")
            ))
            .hint(format!(
                "do not go on before you know which. If the machine was installed anew and the fingerprint is what it shows on \
                 its own console: ssh-keygen -f {} -R {}, then add the new key",
                quote(&settings.known_hosts.to_string_lossy()),
                quote(&name),
            )))
        }
        Verdict::Revoked(line) => Err(refused(format!(
            "ssh {}: the host shows {shown}, which {file} calls revoked (line {line}); nothing was sent",
            settings.peer()
        ))
        .hint("give the machine a new host key, and do not trust what was sent to it since that one was revoked")),
    }
}

/// What `ssh-keyscan -t` calls a type of key.
fn keyscan_type(key_type: &str) -> &str {
    match key_type {
        "ssh-rsa" => "rsa",
        "ssh-ed25519" => "ed25519",
        "ssh-dss" => "dsa",
        ecdsa if ecdsa.starts_with("ecdsa-") => "ecdsa",
        // Whatever else the host calls it is no word for a command line that somebody is to copy.
        _ => "ed25519,ecdsa,rsa",
    }
}
