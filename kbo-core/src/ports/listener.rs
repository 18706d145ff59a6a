//! What a node's Kafka listens on, and the certificates it shows there.

use serde::{Deserialize, Serialize};

/// A listener of a node, as its configuration has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerFacts {
    /// Its name (`SASL_SSL`, `CONTROLLER`).
    pub name: String,
    /// Its security protocol: `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`.
    pub protocol: String,
    /// The host that others are told: of advertised.listeners, else of the voters (controllers), else the one bound; `None` where
    /// that is every interface.
    pub host: Option<String>,
    /// Its port.
    pub port: u16,
    /// Whether controllers use it.
    pub controller: bool,
    /// Whether the cluster's other nodes, which come to it as clients, are asked for their certificates there (`ssl.client.auth`).
    pub mutual_tls: bool,
    /// What was shown in a TLS handshake; `None` for a listener without TLS, and where it was not asked for.
    pub shown: Option<Shown>,
}

impl ListenerFacts {
    /// Whether it has TLS.
    pub fn has_tls(&self) -> bool {
        matches!(self.protocol.as_str(), "SSL" | "SASL_SSL")
    }
}

/// What came of a TLS handshake with a listener. Whom the certificate is trusted by does not matter here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// The chain as it came, the leaf first, each as DER.
    Chain(Vec<Vec<u8>>),
    /// No certificate, for this reason.
    Nothing(String),
}
