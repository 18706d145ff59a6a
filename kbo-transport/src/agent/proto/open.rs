//! What opens a connection: the node to serve, and what the client already is to it.

use kbo_archive::DirSpec;
use kbo_core::config::Mechanism;
use kbo_core::ids::{NodeName, RunId};
use kbo_core::inventory::{Dataset, Role};
use kbo_core::ports::node::Claim;
use kbo_core::secret::Secret;
use serde::{Deserialize, Serialize};

use crate::kafka::{KafkaAccess, Sasl};
use crate::local::NodeSpec;

/// Which node to serve. Holds secrets, which it gives away on purpose: the type that holds them everywhere
/// else would send its redacted form. Never logged.
#[derive(Clone, Serialize, Deserialize)]
pub struct Open {
    node: NodeName,
    role: Role,
    container: String,
    engine_socket: String,
    dirs: Vec<OpenDir>,
    hosts: Vec<String>,
    ca_pem: Option<String>,
    cert_pem: Option<String>,
    key_pem: Option<String>,
    key_password: Option<String>,
    verify_hostname: bool,
    sasl: Option<OpenSasl>,
    client_properties: Option<String>,
    engine_paths: Vec<(String, String)>,
    seen_paths: Vec<(String, String)>,
    #[serde(default)]
    unit: Option<String>,
    standing: Standing,
}

/// What the client already is to the node when it connects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// What it has laid claim to.
    pub claim: Option<Claim>,
    /// The run that has taken the node's lease over an earlier connection: unless an agent still holds it, it is lost.
    pub bound: Option<RunId>,
}

/// [`Sasl`], with its password.
#[derive(Clone, Serialize, Deserialize)]
struct OpenSasl {
    mechanisms: Vec<Mechanism>,
    username: String,
    password: String,
    plain_in_clear: bool,
}

#[derive(Clone, Serialize, Deserialize)]
struct OpenDir {
    dataset: Dataset,
    label: String,
    path: std::path::PathBuf,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").field("node", &self.node).finish_non_exhaustive()
    }
}

impl From<&NodeSpec> for Open {
    fn from(spec: &NodeSpec) -> Self {
        let exposed = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
        let dirs = spec
            .dirs
            .iter()
            .cloned()
            .map(|DirSpec { dataset, label, path }| OpenDir { dataset, label, path });
        Self {
            node: spec.node.clone(),
            role: spec.role,
            container: spec.container.clone(),
            engine_socket: spec.engine_socket.clone(),
            dirs: dirs.collect(),
            hosts: spec.hosts.clone(),
            ca_pem: spec.kafka.ca_pem.clone(),
            cert_pem: spec.kafka.cert_pem.clone(),
            key_pem: exposed(&spec.kafka.key_pem),
            key_password: exposed(&spec.kafka.key_password),
            verify_hostname: spec.kafka.verify_hostname,
            sasl: spec.kafka.sasl.as_ref().map(|sasl| OpenSasl {
                mechanisms: sasl.mechanisms.clone(),
                username: sasl.username.clone(),
                password: sasl.password.expose().to_owned(),
                plain_in_clear: sasl.plain_in_clear,
            }),
            client_properties: spec.kafka.client_properties.clone(),
            engine_paths: spec.engine_paths.clone(),
            seen_paths: spec.seen_paths.clone(),
            standing: Standing::default(),
            unit: spec.unit.clone(),
        }
    }
}

impl Open {
    /// The same for a client that comes again.
    #[must_use]
    pub fn standing(mut self, standing: Standing) -> Self {
        self.standing = standing;
        self
    }

    /// Takes what the client already is to the node.
    pub fn take_standing(&mut self) -> Standing {
        std::mem::take(&mut self.standing)
    }
}

impl From<Open> for NodeSpec {
    fn from(open: Open) -> Self {
        let dirs = open
            .dirs
            .into_iter()
            .map(|OpenDir { dataset, label, path }| DirSpec { dataset, label, path });
        Self {
            node: open.node,
            role: open.role,
            container: open.container,
            engine_socket: open.engine_socket,
            dirs: dirs.collect(),
            hosts: open.hosts,
            kafka: KafkaAccess {
                ca_pem: open.ca_pem,
                cert_pem: open.cert_pem,
                key_pem: open.key_pem.map(Secret::new),
                key_password: open.key_password.map(Secret::new),
                verify_hostname: open.verify_hostname,
                sasl: open.sasl.map(|sasl| Sasl {
                    mechanisms: sasl.mechanisms,
                    username: sasl.username,
                    password: Secret::new(sasl.password),
                    plain_in_clear: sasl.plain_in_clear,
                }),
                client_properties: open.client_properties,
            },
            engine_paths: open.engine_paths,
            seen_paths: open.seen_paths,
            unit: open.unit,
        }
    }
}
