//! The certificates that listeners show now.

use jiff::{SignedDuration, Timestamp};
use kbo_certs::certificate::Parsed;
use kbo_certs::check::{Code, Finding, Severity};
use kbo_core::ids::NodeName;
use kbo_core::ports::listener::{ListenerFacts, Shown};
use serde::Serialize;

use crate::commands::Context;

/// A listener with TLS, and what it shows.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Listening {
    pub(super) node: NodeName,
    pub(super) listener: String,
    pub(super) port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) serial: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) not_after: Option<Timestamp>,
    #[serde(skip)]
    fingerprint: Option<String>,
    /// Why nothing is known of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

/// What the listeners of these nodes show, and the nodes that could not be asked.
pub(super) async fn of_nodes(context: &Context, nodes: &[NodeName]) -> (Vec<Listening>, Vec<String>) {
    let transports = nodes
        .iter()
        .filter_map(|node| Some((node, context.composed.orchestrator.nodes.get(node)?)));
    let asked = transports.map(|(node, transport)| async move { (node, transport.listeners(true).await) });
    let mut listening = vec![];
    let mut unknown = vec![];
    for (node, answer) in futures_util::future::join_all(asked).await {
        match answer {
            Ok(listeners) => {
                let with_tls = listeners.iter().filter(|listener| listener.has_tls());
                listening.extend(with_tls.map(|listener| of_listener(node, listener)));
            }
            Err(error) => unknown.push(format!("{node} could not be asked what its listeners show: {error}")),
        }
    }
    (listening, unknown)
}

fn of_listener(node: &NodeName, listener: &ListenerFacts) -> Listening {
    let parsed = match &listener.shown {
        None => Err("it was not asked".to_owned()),
        Some(Shown::Nothing(why)) => Err(why.clone()),
        Some(Shown::Chain(chain)) => match chain.first() {
            None => Err("it shows no certificate".to_owned()),
            Some(leaf) => Parsed::from_der(leaf).map_err(|error| error.to_string()),
        },
    };
    let facts = parsed.as_ref().ok().map(Parsed::facts);
    Listening {
        node: node.clone(),
        listener: listener.name.clone(),
        port: listener.port,
        serial: facts.map(|facts| facts.serial.clone()),
        not_after: facts.map(|facts| facts.not_after),
        fingerprint: facts.map(|facts| facts.fingerprint.clone()),
        error: parsed.as_ref().err().cloned(),
    }
}

impl Listening {
    /// Whether it shows the certificate of this fingerprint.
    pub(super) fn shows(&self, fingerprint: &str) -> bool {
        self.fingerprint.as_deref() == Some(fingerprint)
    }

    /// What is to be said of it, where another certificate is to be deployed.
    pub(super) fn finding(&self, fingerprint: &str, now: Timestamp, warn_days: u32) -> Option<Finding> {
        let who = format!("{}: the listener {}", self.node, self.listener);
        let finding = |severity, code, text, remedy: &str| Finding {
            severity,
            code,
            node: Some(self.node.to_string()),
            text,
            remedy: Some(remedy.to_owned()),
        };
        let (Some(serial), Some(end)) = (&self.serial, self.not_after) else {
            let why = self.error.as_deref().unwrap_or("nothing is known");
            let text = format!("{who} shows no certificate: {why}");
            return Some(finding(
                Severity::Warning,
                Code::NotShown,
                text,
                "see kbo status, and the node's log",
            ));
        };
        if end < now {
            let text = format!("{who} shows a certificate that expired on {end}");
            let remedy = "kbo certs make, then kbo certs deploy --restart cluster";
            return Some(finding(Severity::Error, Code::Expired, text, remedy));
        }
        if end.duration_since(now) < SignedDuration::from_hours(24 * i64::from(warn_days)) {
            let text = format!("{who} shows a certificate that expires on {end}");
            let remedy = "kbo certs make, then kbo certs deploy --restart rolling";
            return Some(finding(Severity::Warning, Code::ExpiresSoon, text, remedy));
        }
        let text = format!("{who} shows the certificate {serial}: the set's is not deployed yet");
        (!self.shows(fingerprint)).then(|| finding(Severity::Note, Code::NotDeployed, text, "kbo certs deploy"))
    }
}
