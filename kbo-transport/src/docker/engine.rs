//! The engine: the connection to it, and its errors as something to act on.

use std::error::Error as _;
use std::io;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, Docker};
use kbo_core::ports::node::{NodeError, NodeErrorKind};

use super::DockerSettings;

/// Connects and agrees on a version of the API.
pub(crate) async fn connect(settings: &DockerSettings) -> Result<Docker, NodeError> {
    let host = settings.host.as_str();
    let seconds = settings.timeout.as_secs().max(1);
    let docker = if host.starts_with("unix://") {
        Docker::connect_with_unix(host, seconds, API_DEFAULT_VERSION)
    } else if host.starts_with("tcp://") || host.starts_with("http://") {
        Docker::connect_with_http(host, seconds, API_DEFAULT_VERSION)
    } else {
        return Err(NodeError::new(NodeErrorKind::Engine, format!("docker {host}: no engine can be reached that way")).hint(
            "give unix:///PATH or tcp://HOST:PORT; for an engine behind TLS or SSH, forward its socket: \
             ssh -N -L /run/engine.sock:/var/run/docker.sock USER@HOST, then [docker] host = \"unix:///run/engine.sock\"",
        ));
    };
    let docker = docker.map_err(|error| explain(host, "connect", &error))?;
    docker
        .negotiate_version()
        .await
        .map_err(|error| explain(host, "connect", &error))
}

/// What failed, why, and what to do.
pub(crate) fn explain(host: &str, doing: &str, error: &Error) -> NodeError {
    let fail = |kind, why: &str| NodeError::new(kind, format!("docker {host}: cannot {doing}: {why}"));
    match error {
        Error::SocketNotFoundError(path) => fail(NodeErrorKind::Unreachable, &format!("there is no socket {path}"))
            .hint("does the engine run (systemctl status docker), and is that its socket ([docker] host)?"),
        Error::RequestTimeoutError => fail(NodeErrorKind::Unreachable, "it does not answer in time")
            .hint("is the engine overloaded or hung? see its log (journalctl -u docker)"),
        Error::DockerResponseServerError { status_code, message } => {
            let found = fail(
                NodeErrorKind::Engine,
                &format!("{} (status {status_code})", message.trim()),
            );
            match server_hint(message) {
                Some(hint) => found.hint(hint),
                None => found,
            }
        }
        other => match io_kind(other) {
            Some(io::ErrorKind::PermissionDenied) => fail(NodeErrorKind::Refused, "permission denied")
                .hint("run kbo as root, or as a user of the group that owns the socket (usually docker)"),
            Some(io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
                fail(NodeErrorKind::Unreachable, "nobody listens there")
                    .hint("does the engine run (systemctl status docker), and is that its address ([docker] host)?")
            }
            _ => fail(NodeErrorKind::Unreachable, &chain(other)),
        },
    }
}

fn server_hint(message: &str) -> Option<&'static str> {
    let message = message.to_lowercase();
    if message.contains("https server") {
        Some("that port speaks TLS: forward the engine's socket by ssh and name that as [docker] host")
    } else if message.contains("api version") || message.contains("client version") {
        Some("the engine is too old or too new for this kbo: Docker 20.10 and later are supported")
    } else if message.contains("bind source path does not exist") || message.contains("no such file or directory") {
        Some("these paths are on the engine's machine: is the engine's own socket there ([engine] socket)?")
    } else if message.contains("no such image") {
        Some("pull the image on the engine's machine, or leave the helper's image to kbo: it takes the node's own")
    } else {
        None
    }
}

/// The cause that the operating system gave.
fn io_kind(error: &Error) -> Option<io::ErrorKind> {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        source = error.source();
    }
    None
}

/// The error and its causes in one line; each says less than the next.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
