//! Which of a node's listeners to ask, and where it can be reached from here.

use std::net::IpAddr;

use kbo_core::ports::node::{NodeError, NodeErrorKind};

use super::config::{Endpoint, NodeKafkaConfig};
use super::credentials::Credentials;

/// Where a node may be reached besides what its own configuration says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// The container's addresses in its networks; empty where it shares the host's network, or where there is no container.
    pub container_ips: Vec<IpAddr>,
    /// Hosts under which the operator knows the node.
    pub hosts: Vec<String>,
}

/// Which of a node's two sides is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Controller,
    Broker,
}

/// A security protocol that can be spoken, in the order of preference: without a password before with one, and that rather with TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Plaintext,
    Ssl,
    SaslSsl,
    SaslPlaintext,
}

impl Protocol {
    pub(crate) fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    pub(crate) fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        })
    }
}

/// A listener to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Its name.
    pub(crate) listener: String,
    /// How it speaks.
    pub(crate) protocol: Protocol,
    /// Where it may be found, in the order to try: (host, port).
    pub(crate) candidates: Vec<(String, u16)>,
    /// The host that its certificate should name; else the one connected to.
    pub(crate) advertised_host: Option<String>,
}

/// Chooses the listener of a side and lists where it may be.
pub(crate) fn choose(
    config: &NodeKafkaConfig,
    addresses: &Addresses,
    credentials: &Credentials,
    side: Side,
) -> Result<Target, NodeError> {
    let (endpoint, protocol) = match side {
        Side::Controller => controller_listener(config)?,
        Side::Broker => broker_listener(config, credentials)?,
    };
    credentials.suffice(config, &endpoint.name, protocol)?;
    let advertised = advertised(config, endpoint, side);
    Ok(Target {
        listener: endpoint.name.clone(),
        protocol,
        candidates: candidates(endpoint, advertised.as_ref(), addresses),
        advertised_host: advertised.map(|(host, _)| host),
    })
}

/// The first controller listener that is bound here: the one that controllers use among themselves.
fn controller_listener(config: &NodeKafkaConfig) -> Result<(&Endpoint, Protocol), NodeError> {
    if !config.is_controller {
        return Err(state("the node is no controller (process.roles)".to_owned()));
    }
    let names = &config.controller_listener_names;
    let Some(endpoint) = names
        .iter()
        .find_map(|name| config.listeners.iter().find(|e| e.name == *name))
    else {
        return Err(state(format!(
            "none of controller.listener.names ({}) is in listeners",
            names.join(", ")
        )));
    };
    match protocol_of(config, &endpoint.name) {
        Ok(protocol) => Ok((endpoint, protocol)),
        Err(other) => Err(unspeakable(&[(endpoint.name.clone(), other)])),
    }
}

/// One that can be spoken with before one that cannot; then that of the client properties' protocol; then PLAINTEXT before SSL before
/// SASL, for there is less that can fail; then one on all interfaces before one on the loopback.
fn broker_listener<'a>(
    config: &'a NodeKafkaConfig,
    credentials: &Credentials,
) -> Result<(&'a Endpoint, Protocol), NodeError> {
    if !config.is_broker {
        return Err(state("the node is no broker (process.roles)".to_owned()));
    }
    let mut usable = Vec::new();
    let mut unusable = Vec::new();
    for endpoint in config
        .listeners
        .iter()
        .filter(|e| !config.controller_listener_names.contains(&e.name))
    {
        match protocol_of(config, &endpoint.name) {
            Ok(protocol) => usable.push((endpoint, protocol)),
            Err(other) => unusable.push((endpoint.name.clone(), other)),
        }
    }
    // A fault of theirs is told where they are needed.
    let theirs = credentials.client_protocol().ok().flatten();
    usable.sort_by_cached_key(|(endpoint, protocol)| {
        let suffices = credentials.suffice(config, &endpoint.name, *protocol).is_ok();
        let meant = theirs.as_deref() == Some(protocol.to_string().as_str());
        (!suffices, !meant, *protocol, endpoint.is_loopback())
    });
    match usable.first() {
        Some(&choice) => Ok(choice),
        None if unusable.is_empty() => Err(state("the broker has no listener but the controllers'".to_owned())),
        None => Err(unspeakable(&unusable)),
    }
}

/// The listener's security protocol; `Err` with its name where it cannot be spoken.
fn protocol_of(config: &NodeKafkaConfig, listener: &str) -> Result<Protocol, String> {
    match protocol_name(config, listener) {
        "PLAINTEXT" => Ok(Protocol::Plaintext),
        "SSL" => Ok(Protocol::Ssl),
        "SASL_PLAINTEXT" => Ok(Protocol::SaslPlaintext),
        "SASL_SSL" => Ok(Protocol::SaslSsl),
        other => Err(other.to_owned()),
    }
}

/// The name of the listener's security protocol, as the configuration has it.
pub(crate) fn protocol_name<'a>(config: &'a NodeKafkaConfig, listener: &'a str) -> &'a str {
    let mapped = match &config.protocol_map {
        Some(map) => map
            .iter()
            .find(|(name, _)| name == listener)
            .map(|(_, protocol)| protocol.as_str()),
        // Without a map Kafka takes a controller listener of any other name for PLAINTEXT.
        None if !matches!(listener, "SSL" | "SASL_PLAINTEXT" | "SASL_SSL")
            && config.controller_listener_names.iter().any(|name| name == listener) =>
        {
            Some("PLAINTEXT")
        }
        None => None,
    };
    mapped.unwrap_or(listener)
}

/// Whether nodes that come to the listener as clients are asked for a certificate: brokers come to the controllers' listeners and to the
/// one between brokers, controllers to their own. Asked is as good as demanded, for a certificate that is not for clients is refused in
/// both cases.
pub(crate) fn asks_nodes(config: &NodeKafkaConfig, listener: &str) -> bool {
    if !is_among_nodes(config, listener) {
        return false;
    }
    let value = client_auth_key(config, listener).and_then(|key| config.own.get(&key));
    value.is_some_and(|value| matches!(value.trim().to_ascii_lowercase().as_str(), "required" | "requested"))
}

/// The key that says whether the listener asks its clients for certificates; `None` without TLS. SASL_SSL heeds the listener's own key
/// only (KIP-684).
pub(crate) fn client_auth_key(config: &NodeKafkaConfig, listener: &str) -> Option<String> {
    const KEY: &str = "ssl.client.auth";
    let own = format!("listener.name.{}.{KEY}", listener.to_ascii_lowercase());
    match protocol_name(config, listener) {
        "SSL" if config.own.get(&own).is_none() => Some(KEY.to_owned()),
        "SSL" | "SASL_SSL" => Some(own),
        _ => None,
    }
}

/// Whether the cluster's nodes use the listener among themselves.
fn is_among_nodes(config: &NodeKafkaConfig, listener: &str) -> bool {
    let of_controllers = config.controller_listener_names.iter().any(|name| name == listener);
    let between_brokers = match &config.inter_broker_listener_name {
        Some(name) => name == listener,
        None => {
            let protocol = config.own.get("security.inter.broker.protocol");
            protocol.unwrap_or("PLAINTEXT") == protocol_name(config, listener)
        }
    };
    of_controllers || between_brokers
}

/// Where others are told to find the listener. Controllers find each other by controller.quorum.voters.
pub(crate) fn advertised(config: &NodeKafkaConfig, endpoint: &Endpoint, side: Side) -> Option<(String, u16)> {
    let own = config
        .advertised
        .iter()
        .find(|e| e.name == endpoint.name && !e.is_wildcard());
    if let Some(own) = own {
        return Some((own.host.clone(), own.port));
    }
    let id = config.node_id.filter(|_| side == Side::Controller)?;
    let voter = config
        .voters
        .iter()
        .find(|(voter, host, _)| *voter == id && host != "0.0.0.0")?;
    Some((voter.1.clone(), voter.2))
}

/// Where to try, the surest first: what Kafka binds, then what leads there from outside.
///
/// The loopback of this machine is the container's only where the container has no address of its own; elsewhere another
/// node's published port may be behind it, and the answer would be another node's.
pub(crate) fn candidates(
    endpoint: &Endpoint,
    advertised: Option<&(String, u16)>,
    addresses: &Addresses,
) -> Vec<(String, u16)> {
    let own_network = !addresses.container_ips.is_empty();
    let mut out: Vec<(String, u16)> = Vec::new();
    let mut add = |host: &str, port: u16| {
        let candidate = (host.to_owned(), port);
        if !out.contains(&candidate) {
            out.push(candidate);
        }
    };
    let unreachable = own_network && endpoint.is_loopback();
    if !endpoint.is_wildcard() && !unreachable {
        add(&endpoint.host, endpoint.port);
    }
    for ip in &addresses.container_ips {
        add(&ip.to_string(), endpoint.port);
    }
    if let Some((host, port)) = advertised {
        add(host, *port);
    }
    for host in &addresses.hosts {
        // A published port may have another number outside.
        if let Some((_, port)) = advertised {
            add(host, *port);
        }
        add(host, endpoint.port);
    }
    if !own_network {
        add("127.0.0.1", endpoint.port);
    }
    out
}

fn state(message: String) -> NodeError {
    NodeError::new(NodeErrorKind::State, message)
}

fn unspeakable(listeners: &[(String, String)]) -> NodeError {
    let shown: Vec<String> = listeners
        .iter()
        .map(|(name, protocol)| format!("{name} ({protocol})"))
        .collect();
    state(format!(
        "no listener can be asked: {} is no protocol of Kafka's",
        shown.join(", ")
    ))
    .hint("see listener.security.protocol.map")
}

#[cfg(test)]
mod tests {
    use kbo_core::secret::Secret;

    use super::super::{KafkaAccess, Sasl, properties};
    use super::*;

    fn config(text: &str) -> NodeKafkaConfig {
        NodeKafkaConfig::from_properties(&properties::parse(text), None).unwrap()
    }

    fn target(text: &str, addresses: &Addresses, side: Side) -> Target {
        choose(&config(text), addresses, &Credentials::default(), side).unwrap()
    }

    fn chosen(text: &str, credentials: Credentials, side: Side) -> Result<Target, NodeError> {
        choose(&config(text), &Addresses::default(), &credentials, side)
    }

    fn shown(target: &Target) -> Vec<String> {
        target
            .candidates
            .iter()
            .map(|(host, port)| format!("{host}:{port}"))
            .collect()
    }

    const COMBINED: &str = "process.roles=broker,controller\nnode.id=2\ncontroller.listener.names=CTL\n\
        listeners=CTL://:9093,SASL://:9096,ENC://:9095,PLAIN://:9092\nadvertised.listeners=PLAIN://b2:19092\n\
        controller.quorum.voters=1@c1:9093,2@c2:9093\n\
        listener.security.protocol.map=CTL:SSL,SASL:SASL_SSL,ENC:SSL,PLAIN:PLAINTEXT\n";

    #[test]
    fn the_controller_side_of_a_combined_node_is_its_controller_listener() {
        let target = target(COMBINED, &Addresses::default(), Side::Controller);
        assert_eq!((target.listener.as_str(), target.protocol), ("CTL", Protocol::Ssl));
        assert_eq!(target.advertised_host.as_deref(), Some("c2"));
        assert_eq!(shown(&target), ["c2:9093", "127.0.0.1:9093"]);
    }

    #[test]
    fn plaintext_is_preferred_to_ssl_and_sasl_without_credentials_is_skipped() {
        assert_eq!(target(COMBINED, &Addresses::default(), Side::Broker).listener, "PLAIN");
        let without = COMBINED.replace(",PLAIN://:9092", "");
        let target = target(&without, &Addresses::default(), Side::Broker);
        assert_eq!((target.listener.as_str(), target.protocol), ("ENC", Protocol::Ssl));
    }

    #[test]
    fn sasl_without_credentials_is_an_error_that_says_so() {
        let text = "process.roles=broker\nlisteners=SASL_SSL://:9092";
        let error = chosen(text, Credentials::default(), Side::Broker).unwrap_err();
        assert_eq!(error.kind, NodeErrorKind::Refused);
        assert!(error.message.contains("SASL_SSL") && error.hint.unwrap().contains("sasl_username"));
    }

    #[test]
    fn with_credentials_sasl_is_spoken_where_there_is_nothing_simpler() {
        let credentials = || {
            Credentials::from(KafkaAccess {
                sasl: Some(Sasl::new(None, "kbo".to_owned(), Secret::new("x"))),
                ..KafkaAccess::default()
            })
        };
        let both = "process.roles=broker\nlisteners=SASL_SSL://:9094,SASL_PLAINTEXT://:9093,SSL://:9095";
        assert_eq!(chosen(both, credentials(), Side::Broker).unwrap().listener, "SSL");
        let sasl = both.replace(",SSL://:9095", "");
        let target = chosen(&sasl, credentials(), Side::Broker).unwrap();
        assert_eq!(target.protocol, Protocol::SaslSsl);
        let clear = sasl.replace("SASL_SSL://:9094,", "");
        assert_eq!(
            chosen(&clear, credentials(), Side::Broker).unwrap().protocol,
            Protocol::SaslPlaintext
        );
        let controller = "process.roles=controller\nnode.id=1\nlisteners=C://:9093\ncontroller.listener.names=C\n\
            listener.security.protocol.map=C:SASL_SSL";
        let target = chosen(controller, credentials(), Side::Controller).unwrap();
        assert_eq!(target.protocol, Protocol::SaslSsl);
        assert!(chosen(controller, Credentials::default(), Side::Controller).is_err());
    }

    #[test]
    fn candidates_come_in_order_without_duplicates() {
        let addresses = Addresses {
            container_ips: vec!["172.18.0.5".parse().unwrap()],
            hosts: vec!["b2".to_owned(), "10.0.0.7".to_owned()],
        };
        let text =
            "process.roles=broker\nlisteners=PLAINTEXT://kafka-b2:9092\nadvertised.listeners=PLAINTEXT://b2:19092";
        assert_eq!(
            shown(&target(text, &addresses, Side::Broker)),
            [
                "kafka-b2:9092",
                "172.18.0.5:9092",
                "b2:19092",
                "b2:9092",
                "10.0.0.7:19092",
                "10.0.0.7:9092"
            ]
        );
    }

    #[test]
    fn the_loopback_is_tried_only_where_it_can_be_the_nodes_own() {
        let text = "process.roles=broker\nlisteners=PLAINTEXT://localhost:9092";
        let with_ip = Addresses {
            container_ips: vec!["172.18.0.5".parse().unwrap()],
            hosts: vec![],
        };
        assert_eq!(shown(&target(text, &with_ip, Side::Broker)), ["172.18.0.5:9092"]);
        assert_eq!(
            shown(&target(text, &Addresses::default(), Side::Broker)),
            ["localhost:9092", "127.0.0.1:9092"]
        );
    }

    #[test]
    fn a_controller_listener_without_a_map_is_plaintext() {
        let text =
            "process.roles=controller\nnode.id=1\nlisteners=CONTROLLER://:9093\ncontroller.listener.names=CONTROLLER";
        assert_eq!(
            target(text, &Addresses::default(), Side::Controller).protocol,
            Protocol::Plaintext
        );
    }

    #[test]
    fn nodes_are_asked_for_certificates_where_they_come_as_clients() {
        let asked = |more: &str| {
            let text = format!(
                "process.roles=broker,controller\ncontroller.listener.names=CTL\nlisteners=CTL://:9093,IN://:9092,OUT://:9094\n\
                 listener.security.protocol.map=CTL:SSL,IN:SASL_SSL,OUT:SSL\ninter.broker.listener.name=IN\n{more}"
            );
            let config = config(&text);
            let asked = config.listeners.iter().filter(|e| asks_nodes(&config, &e.name));
            asked.map(|e| e.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(asked(""), [""; 0]);
        assert_eq!(asked("ssl.client.auth=none"), [""; 0]);
        // OUT is for others, who have their own; IN has SASL, which heeds its own key only.
        assert_eq!(asked("ssl.client.auth=required"), ["CTL"]);
        assert_eq!(asked("ssl.client.auth=Requested"), ["CTL"]);
        assert_eq!(asked("listener.name.in.ssl.client.auth=required"), ["IN"]);
        assert_eq!(
            asked("ssl.client.auth=required\nlistener.name.ctl.ssl.client.auth=none"),
            [""; 0]
        );
        let by_protocol = config(
            "process.roles=broker\nlisteners=PLAINTEXT://:9092,SSL://:9093\nsecurity.inter.broker.protocol=SSL\n\
             ssl.client.auth=required",
        );
        assert!(asks_nodes(&by_protocol, "SSL") && !asks_nodes(&by_protocol, "PLAINTEXT"));
    }

    #[test]
    fn a_side_that_the_node_does_not_have_is_an_error() {
        let text = "process.roles=broker\nlisteners=PLAINTEXT://:9092";
        assert!(chosen(text, Credentials::default(), Side::Controller).is_err());
        let text = "process.roles=controller\nlisteners=C://:9093\ncontroller.listener.names=C";
        assert!(chosen(text, Credentials::default(), Side::Broker).is_err());
    }
}
