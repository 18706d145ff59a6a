//! Asking a node's own Kafka whether it is ready.
//!
//! [`NodeKafkaConfig`] finds out what the node's Kafka listens on, [`Prober`] asks it. This runs on the node (in the agent) and
//! makes one bounded try at a time; when to ask again is the caller's to decide.

mod client;
mod config;
mod credentials;
mod jaas;
mod listener;
mod look;
mod messages;
mod properties;
mod quorum;
mod sasl;
mod tls;
mod version;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kbo_core::ports::listener::{ListenerFacts, Shown};
use kbo_core::ports::node::{KafkaAnswer, KafkaQuestion, NodeError, NodeErrorKind};

use client::{Trouble, Try};
use credentials::Login;
use listener::{Side, Target};
use tls::Tls;

pub use config::{Endpoint, NodeKafkaConfig};
pub use credentials::{Credentials, Locate, Surroundings};
pub use listener::Addresses;
pub use properties::{Properties, parse as parse_properties};
pub use sasl::Sasl;
pub use tls::KafkaAccess;
pub(crate) use version::version_in;

/// Reads `body` as the answer to every question that may have been asked in `version`; for the fuzz targets.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn decode_answers(body: &[u8], version: i16) {
    drop(messages::ApiVersions::decode(body, version.min(3)));
    drop(messages::Quorum::decode(body, version.min(2)));
    drop(messages::Metadata::decode(body, version.max(1)));
    drop(messages::Registered::decode(body, version.clamp(0, 2)));
}

/// Reads `data` as what a server says in a login; for the fuzz targets.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn read_scram_server(data: &[u8]) {
    sasl::read_server(data);
}

/// Reads a `sasl.jaas.config` and adds up what it holds; for the fuzz targets.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn read_jaas(text: &str) -> Option<usize> {
    let jaas = jaas::parse(text).ok()?;
    let options = jaas.options.iter().map(|(key, value)| key.len() + value.expose().len());
    Some(jaas.module.len() + options.sum::<usize>())
}

/// How long one [`Prober::ask`] may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For connecting to one address.
    pub connect: Duration,
    /// For all of it: every address, the handshake, the requests.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            total: Duration::from_secs(10),
        }
    }
}

/// Asks one node's Kafka.
#[derive(Debug)]
pub struct Prober {
    config: Arc<NodeKafkaConfig>,
    addresses: Arc<Addresses>,
    credentials: Arc<Credentials>,
    timeouts: Timeouts,
    answered: Answered,
}

/// Where Kafka answered last: tried first the next time.
#[derive(Debug, Clone, Default)]
pub struct Answered(Arc<Mutex<BTreeMap<Side, (String, u16)>>>);

impl Prober {
    /// A prober of the node with this configuration.
    pub fn new(
        config: NodeKafkaConfig,
        addresses: Addresses,
        credentials: impl Into<Credentials>,
        timeouts: Timeouts,
    ) -> Self {
        Self {
            config: Arc::new(config),
            addresses: Arc::new(addresses),
            credentials: Arc::new(credentials.into()),
            timeouts,
            answered: Answered::default(),
        }
    }

    /// Remembers in `answered` where Kafka answered, and goes by what it remembers.
    #[must_use]
    pub fn with_memory(mut self, answered: Answered) -> Self {
        self.answered = answered;
        self
    }

    /// The node's listeners, with what those with TLS show to a handshake. No credentials are needed, and none are sent.
    pub async fn look(&self) -> Vec<ListenerFacts> {
        look::look(&self.config, &self.addresses, self.timeouts).await
    }

    /// The node's listeners, untouched: those with TLS show nothing, for the reason given; without one they were not asked.
    pub fn listeners(&self, why_not: Option<&str>) -> Vec<ListenerFacts> {
        let mut listeners = look::listeners(&self.config);
        if let Some(why_not) = why_not {
            for listener in listeners.iter_mut().filter(|listener| listener.has_tls()) {
                listener.shown = Some(Shown::Nothing(why_not.to_owned()));
            }
        }
        listeners
    }

    /// Asks once, within the timeouts.
    ///
    /// What may be cured by waiting (nobody listens yet, connections are cut, no leader yet) is [`KafkaAnswer::NotYet`]. An error
    /// means that waiting will not help: the listener cannot be spoken to, its certificate or ours is not accepted, it is not
    /// Kafka. Dropping the future leaves a thread behind for no longer than the timeouts; it changes nothing.
    pub async fn ask(&self, question: KafkaQuestion) -> Result<KafkaAnswer, NodeError> {
        let side = match question {
            KafkaQuestion::Quorum => Side::Controller,
            KafkaQuestion::Alive | KafkaQuestion::Partitions | KafkaQuestion::Brokers => Side::Broker,
        };
        let (mut target, login, tls) = self.prepare(side).await?;
        self.put_remembered_first(side, &mut target);
        if target.candidates.is_empty() {
            let message = format!("there is no address to reach Kafka's listener {} at", target.listener);
            return Err(
                NodeError::new(NodeErrorKind::State, message).hint("set the node's host, or advertised.listeners")
            );
        }

        let deadline = Instant::now() + self.timeouts.total;
        let mut troubles = Troubles::new(&target.listener);
        let mut tried = Vec::new();
        for (index, (host, port)) in target.candidates.iter().enumerate() {
            // Each gets its share of the time for connecting, so that the last one is tried too.
            let waiting = u32::try_from(target.candidates.len() - index).unwrap_or(u32::MAX);
            let left = deadline.saturating_duration_since(Instant::now());
            let connect = self.timeouts.connect.min(left / waiting);
            let place = shown(host, *port);
            let outcome = match resolve(host, *port, connect).await {
                Ok(mut addresses) => {
                    addresses.retain(|address| !tried.contains(address));
                    if addresses.is_empty() {
                        continue;
                    }
                    tried.extend(&addresses);
                    let server_name = target.advertised_host.clone().unwrap_or_else(|| host.clone());
                    self.ask_at(
                        question,
                        addresses,
                        (tls.clone(), login.sasl.clone()),
                        server_name,
                        connect,
                        deadline,
                    )
                    .await
                }
                Err(trouble) => Err(trouble),
            };
            match outcome {
                Ok(answer) => {
                    tracing::debug!(?question, listener = target.listener, %place, "answered");
                    self.remember(side, host, *port);
                    return Ok(answer);
                }
                Err(trouble) => {
                    tracing::debug!(?question, listener = target.listener, %place, ?trouble, "no answer");
                    troubles.add(&place, trouble);
                }
            }
        }
        troubles.verdict().map_err(|mut error| {
            if error.kind == NodeErrorKind::Refused && !login.notes.is_empty() {
                error.message = format!("{} (not used: {})", error.message, login.notes.join("; "));
            }
            error
        })
    }

    /// Chooses the listener and reads what it is spoken to with: stores are files, and take their time to open.
    async fn prepare(&self, side: Side) -> Result<(Target, Login, Option<Arc<Tls>>), NodeError> {
        let (config, addresses, credentials) = (self.config.clone(), self.addresses.clone(), self.credentials.clone());
        let work = move || {
            let target = listener::choose(&config, &addresses, &credentials, side)?;
            let login = credentials.login(&config, &target.listener, target.protocol)?;
            let tls = match &login.tls {
                Some(access) => Some(Arc::new(Tls::new(access)?)),
                None => None,
            };
            Ok((target, login, tls))
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(prepared) => prepared,
            Err(join) => Err(broken(&join)),
        }
    }

    /// One candidate, on a thread that may block.
    async fn ask_at(
        &self,
        question: KafkaQuestion,
        addresses: Vec<SocketAddr>,
        (tls, sasl): (Option<Arc<Tls>>, Option<Sasl>),
        server_name: String,
        connect: Duration,
        deadline: Instant,
    ) -> Result<KafkaAnswer, Trouble> {
        let node_id = self.config.node_id;
        let work = move || {
            let mut last = Trouble::Unreached("it has no address".to_owned());
            // A name may have an IPv6 and an IPv4 address of which Kafka is bound to one.
            for address in addresses {
                let tls = tls.as_deref().map(|tls| (tls, server_name.as_str()));
                match (Try {
                    address,
                    tls,
                    sasl: sasl.as_ref(),
                    connect,
                    deadline,
                    node_id,
                })
                .ask(question)
                {
                    Ok(answer) => return Ok(answer),
                    Err(failed @ Trouble::Failed(_)) => return Err(failed),
                    Err(trouble) => last = trouble,
                }
            }
            Err(last)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(outcome) => outcome,
            Err(join) => Err(Trouble::Failed(broken(&join))),
        }
    }

    fn put_remembered_first(&self, side: Side, target: &mut Target) {
        let answered = self.answered.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(remembered) = answered.get(&side)
            && let Some(position) = target.candidates.iter().position(|candidate| candidate == remembered)
        {
            target.candidates[..=position].rotate_right(1);
        }
    }

    fn remember(&self, side: Side, host: &str, port: u16) {
        let mut answered = self.answered.0.lock().unwrap_or_else(PoisonError::into_inner);
        answered.insert(side, (host.to_owned(), port));
    }
}

/// Why the candidates had no answer, in the order tried.
struct Troubles<'a> {
    listener: &'a str,
    /// Each with its address.
    texts: Vec<String>,
    /// An error that nothing surer contradicts.
    failed: Option<NodeError>,
    /// Whether some candidate looked like a Kafka that is still starting.
    starting: bool,
}

impl<'a> Troubles<'a> {
    fn new(listener: &'a str) -> Self {
        Self {
            listener,
            texts: Vec::new(),
            failed: None,
            starting: false,
        }
    }

    fn add(&mut self, place: &str, trouble: Trouble) {
        match trouble {
            Trouble::Unreached(text) => self.texts.push(format!("{place}: {text}")),
            Trouble::NotYet(text) => {
                self.texts.push(format!("{place}: {text}"));
                self.starting = true;
            }
            Trouble::Failed(mut error) => {
                self.texts.push(format!("{place}: {}", error.message));
                error.message = format!("Kafka's listener {} at {place}: {}", self.listener, error.message);
                // While the surer address is still closed, whoever answered at a less sure one may not be this node.
                if !self.starting && self.failed.is_none() {
                    self.failed = Some(error);
                }
            }
        }
    }

    fn verdict(self) -> Result<KafkaAnswer, NodeError> {
        match self.failed {
            Some(error) => Err(error),
            None => Ok(KafkaAnswer::NotYet(format!(
                "Kafka's listener {} at {}",
                self.listener,
                self.texts.join("; ")
            ))),
        }
    }
}

fn broken(join: &tokio::task::JoinError) -> NodeError {
    let how = if join.is_panic() { "it panicked" } else { "it was ended" };
    NodeError::new(NodeErrorKind::Agent, format!("the probe itself failed: {how}"))
}

/// Numbers first: a name may take its time.
async fn resolve(host: &str, port: u16, limit: Duration) -> Result<Vec<SocketAddr>, Trouble> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    match tokio::time::timeout(limit, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(addresses)) => Ok(addresses.collect()),
        Ok(Err(_)) => Err(Trouble::Unreached("the name does not resolve".to_owned())),
        Err(_) => Err(Trouble::Unreached("the name did not resolve in time".to_owned())),
    }
}

fn shown(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
