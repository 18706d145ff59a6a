//! What a node in memory listens on, by its server.properties, as far as tests need it.

use std::time::Duration;

use super::state::NodeState;
use crate::inventory::Dataset;
use crate::ports::listener::{ListenerFacts, Shown};

/// `listeners` and `controller.listener.names`; listeners are named by their protocols. A broker without the key has Kafka's default.
pub(super) fn of(node: &NodeState, now: Duration, handshake: bool) -> Vec<ListenerFacts> {
    let files = node.files(Dataset::Config);
    let text = files.iter().find_map(|files| files.get("server.properties"));
    let text = text.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let value = |key: &str| {
        let line = text.iter().flat_map(|text| text.lines());
        line.filter_map(|line| line.split_once('='))
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value.to_owned())
    };
    let controllers = value("controller.listener.names").unwrap_or_default();
    let listeners = value("listeners").unwrap_or_else(|| "PLAINTEXT://:9092".to_owned());
    let parsed = listeners.split(',').filter_map(|item| {
        let (name, address) = item.split_once("://")?;
        let (host, port) = address.rsplit_once(':')?;
        Some(ListenerFacts {
            name: name.to_owned(),
            protocol: name.to_owned(),
            host: (!host.is_empty()).then(|| host.to_owned()),
            port: port.parse().ok()?,
            controller: controllers.split(',').any(|controller| controller == name),
            mutual_tls: value("ssl.client.auth").is_some_and(|auth| auth != "none") && name == "SSL",
            shown: None,
        })
    });
    let mut listeners: Vec<ListenerFacts> = parsed.collect();
    for listener in listeners.iter_mut().filter(|listener| handshake && listener.has_tls()) {
        listener.shown = Some(if !node.container.is_up() {
            Shown::Nothing(format!("not running: the container is {}", node.container))
        } else if node.listens(now) && !node.chain.is_empty() {
            Shown::Chain(node.chain.clone())
        } else {
            Shown::Nothing("connection refused".to_owned())
        });
    }
    listeners
}
