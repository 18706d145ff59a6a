//! Looking at a node's listeners: which there are, and the certificates that they show to whoever shakes hands with them.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use kbo_core::ports::listener::{ListenerFacts, Shown};
use openssl::error::ErrorStack;
use openssl::ssl::{HandshakeError, Ssl, SslContext, SslMethod, SslRef, SslVerifyMode};

use super::client::{Deadlined, plain};
use super::config::{Endpoint, NodeKafkaConfig};
use super::listener::{self, Addresses, Side};
use super::{Timeouts, resolve, shown};

/// The node's listeners, as its configuration has them; nothing is asked of any.
pub(super) fn listeners(config: &NodeKafkaConfig) -> Vec<ListenerFacts> {
    let facts = config.listeners.iter().map(|endpoint| {
        let side = side_of(config, endpoint);
        let advertised = listener::advertised(config, endpoint, side).map(|(host, _)| host);
        let bound = (!endpoint.is_wildcard()).then(|| endpoint.host.clone());
        ListenerFacts {
            name: endpoint.name.clone(),
            protocol: listener::protocol_name(config, &endpoint.name).to_owned(),
            host: advertised.or(bound),
            port: endpoint.port,
            controller: side == Side::Controller,
            mutual_tls: listener::asks_nodes(config, &endpoint.name),
            shown: None,
        }
    });
    facts.collect()
}

fn side_of(config: &NodeKafkaConfig, endpoint: &Endpoint) -> Side {
    if config.controller_listener_names.contains(&endpoint.name) {
        Side::Controller
    } else {
        Side::Broker
    }
}

/// The same, and what those with TLS show; all of them are looked at at once.
pub(super) async fn look(config: &NodeKafkaConfig, addresses: &Addresses, timeouts: Timeouts) -> Vec<ListenerFacts> {
    let looking = listeners(config).into_iter().zip(&config.listeners);
    let looking = looking.map(|(mut facts, endpoint)| async move {
        if facts.has_tls() {
            let advertised = listener::advertised(config, endpoint, side_of(config, endpoint));
            let candidates = listener::candidates(endpoint, advertised.as_ref(), addresses);
            facts.shown = Some(look_at(candidates, facts.host.clone(), timeouts).await);
        }
        facts
    });
    futures_util::future::join_all(looking).await
}

/// The first candidate that shows something decides.
async fn look_at(candidates: Vec<(String, u16)>, name: Option<String>, timeouts: Timeouts) -> Shown {
    let deadline = Instant::now() + timeouts.total;
    let mut troubles = Vec::new();
    for (index, (host, port)) in candidates.iter().enumerate() {
        let waiting = u32::try_from(candidates.len() - index).unwrap_or(u32::MAX);
        let left = deadline.saturating_duration_since(Instant::now());
        let connect = timeouts.connect.min(left / waiting);
        let place = shown(host, *port);
        let addresses = match resolve(host, *port, connect).await {
            Ok(addresses) => addresses,
            Err(trouble) => {
                troubles.push(format!("{place}: {}", trouble.text()));
                continue;
            }
        };
        for address in addresses {
            let name = name.clone().unwrap_or_else(|| host.clone());
            let shaking = move || shake_hands(address, &name, connect, deadline);
            match tokio::task::spawn_blocking(shaking).await {
                Ok(Ok(chain)) => return Shown::Chain(chain),
                Ok(Err(why)) => troubles.push(format!("{place}: {why}")),
                Err(_) => troubles.push(format!("{place}: the look itself failed")),
            }
        }
    }
    if troubles.is_empty() {
        troubles.push("there is no address to reach it at".to_owned());
    }
    Shown::Nothing(troubles.join("; "))
}

/// The peer's chain as it came. Nobody is trusted here, and nothing is said but a hello.
fn shake_hands(address: SocketAddr, name: &str, connect: Duration, deadline: Instant) -> Result<Vec<Vec<u8>>, String> {
    let left = deadline.saturating_duration_since(Instant::now()).min(connect);
    if left.is_zero() {
        return Err("no time left to try it".to_owned());
    }
    let stream = TcpStream::connect_timeout(&address, left).map_err(|error| plain(&error))?;
    let stream = Deadlined { stream, deadline };
    let ssl = session(name).map_err(|_| "the TLS library failed".to_owned())?;
    match ssl.connect(stream) {
        Ok(stream) => chain(stream.ssl()).ok_or_else(|| "it showed no certificate".to_owned()),
        Err(HandshakeError::SetupFailure(_)) => Err("the TLS library failed".to_owned()),
        // Who demands a certificate of ours has shown its own before, and refuses us after.
        Err(HandshakeError::Failure(half) | HandshakeError::WouldBlock(half)) => chain(half.ssl()).ok_or_else(|| {
            let error = half.error();
            match (error.io_error(), error.ssl_error()) {
                (Some(io), _) => format!("{} during the TLS handshake", plain(io)),
                (None, Some(stack)) => {
                    let first = stack.errors().first();
                    let reason = first.and_then(|error| error.reason());
                    format!("no TLS handshake ({})", reason.unwrap_or("the connection broke"))
                }
                (None, None) => "closed the connection during the TLS handshake".to_owned(),
            }
        }),
    }
}

fn session(name: &str) -> Result<Ssl, ErrorStack> {
    let mut builder = SslContext::builder(SslMethod::tls_client())?;
    builder.set_verify(SslVerifyMode::NONE);
    // What is too weak to be trusted is to be seen all the same.
    builder.set_security_level(0);
    let mut ssl = Ssl::new(&builder.build())?;
    if name.parse::<IpAddr>().is_err() {
        ssl.set_hostname(name)?;
    }
    Ok(ssl)
}

fn chain(ssl: &SslRef) -> Option<Vec<Vec<u8>>> {
    let chain: Vec<Vec<u8>> = ssl
        .peer_cert_chain()?
        .iter()
        .map(|certificate| certificate.to_der().ok())
        .collect::<Option<_>>()?;
    (!chain.is_empty()).then_some(chain)
}
