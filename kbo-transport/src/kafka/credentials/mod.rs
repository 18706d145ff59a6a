//! What lets kbo into a node's listeners, and where it comes from.
//!
//! First kbo.toml; then the node's client properties; then, so that most nodes need neither, what the node's Kafka itself uses
//! towards its like: its truststore, its keystore, and the user that brokers log in as. What somebody gave for clients must be
//! usable, or it is an error. What is only borrowed from the server need not be, unless nothing else does: its faults are notes.

mod provider;
mod source;
mod stores;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kbo_core::config::Mechanism;
use kbo_core::ports::node::{NodeError, NodeErrorKind};

use super::config::NodeKafkaConfig;
use super::jaas;
use super::listener::{Protocol, client_auth_key};
use super::sasl::{CREDENTIALS, Sasl};
use super::tls::KafkaAccess;
use source::Source;

/// Names of client properties that images and handbooks give the file, the likeliest first.
const USUAL_NAMES: [&str; 5] = [
    "client.properties",
    "admin.properties",
    "command.properties",
    "client-sasl.properties",
    "client-ssl.properties",
];

/// Finds a path of the container where this runs; `None` for one in no mount.
pub type Locate = dyn Fn(&str) -> Option<PathBuf> + Send + Sync;

/// The node's own files and environment, as far as properties refer to them.
#[derive(Clone)]
pub struct Surroundings {
    /// Its configuration directory.
    pub config_dir: Option<PathBuf>,
    /// The container's environment.
    pub env: Vec<(String, String)>,
    /// How paths of the container are found.
    pub locate: Arc<Locate>,
}

// By hand, for the environment must not show.
impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings")
            .field("config_dir", &self.config_dir)
            .finish_non_exhaustive()
    }
}

/// Everything that may let kbo in.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    access: KafkaAccess,
    surroundings: Option<Surroundings>,
    client: Option<Source>,
}

/// What a listener is spoken to with.
#[derive(Debug)]
pub(crate) struct Login {
    /// For TLS.
    pub(crate) tls: Option<KafkaAccess>,
    /// For SASL.
    pub(crate) sasl: Option<Sasl>,
    /// What could not be used of the server's own.
    pub(crate) notes: Vec<String>,
}

/// Of kbo.toml alone.
impl From<KafkaAccess> for Credentials {
    fn from(access: KafkaAccess) -> Self {
        Self {
            access,
            ..Self::default()
        }
    }
}

impl Credentials {
    /// Reads the node's client properties: those that kbo.toml names, else the first of the usual ones.
    ///
    /// # Errors
    /// A file that was named cannot be read or is none.
    pub fn gather(access: KafkaAccess, surroundings: Surroundings) -> Result<Self, NodeError> {
        let client = match &access.client_properties {
            Some(named) => Some(named_client(named, &surroundings)?),
            None => usual_client(&surroundings)?,
        };
        if let Some(client) = &client {
            tracing::debug!(file = client.what(), "client properties read");
        }
        Ok(Self {
            access,
            surroundings: Some(surroundings),
            client,
        })
    }

    /// Whether the listener can be spoken with, as far as can be told without reading stores.
    ///
    /// # Errors
    /// What is lacking, and what to do.
    pub(crate) fn suffice(
        &self,
        config: &NodeKafkaConfig,
        listener: &str,
        protocol: Protocol,
    ) -> Result<(), NodeError> {
        let server = self.server(config, listener);
        if protocol.has_tls()
            && wants_certificate(config, listener, server.as_ref())?
            && !self.access.has_identity()
            && !self.sources(server.as_ref()).any(Source::has_keystore)
        {
            let text = format!("listener {listener} wants a client certificate (ssl.client.auth=required)");
            return Err(NodeError::new(NodeErrorKind::Refused, text).hint(
                "set `cert` and `key` in `[kafka]` of kbo.toml, or have ssl.keystore.location in a client.properties in the node's \
                 configuration directory",
            ));
        }
        if protocol.has_sasl() && self.sasl(config, listener, protocol)?.is_none() {
            let text = format!("listener {listener} ({protocol}) wants SASL credentials, and there are none");
            return Err(NodeError::new(NodeErrorKind::Refused, text).hint(CREDENTIALS));
        }
        Ok(())
    }

    /// Reads what the listener is to be spoken to with.
    ///
    /// # Errors
    /// Credentials that were given for clients, or that are all there is, cannot be read.
    pub(crate) fn login(
        &self,
        config: &NodeKafkaConfig,
        listener: &str,
        protocol: Protocol,
    ) -> Result<Login, NodeError> {
        let mut notes = Vec::new();
        let tls = if protocol.has_tls() {
            Some(self.tls(config, listener, &mut notes)?)
        } else {
            None
        };
        let sasl = if protocol.has_sasl() {
            self.sasl(config, listener, protocol)?
        } else {
            None
        };
        Ok(Login { tls, sasl, notes })
    }

    fn server(&self, config: &NodeKafkaConfig, listener: &str) -> Option<Source> {
        let surroundings = self.surroundings.as_ref()?;
        let what = match &config.source {
            Some(path) => path.display().to_string(),
            None => "the container's environment".to_owned(),
        };
        let prefix = format!("listener.name.{}.", listener.to_ascii_lowercase());
        Some(Source::new(what, config.own.clone(), surroundings.clone()).with_prefix(prefix))
    }

    /// The security protocol of the client properties, in upper case.
    ///
    /// # Errors
    /// What it refers to cannot be read.
    pub(crate) fn client_protocol(&self) -> Result<Option<String>, NodeError> {
        let Some(client) = &self.client else { return Ok(None) };
        let protocol = client.get("security.protocol")?;
        Ok(protocol.map(|protocol| protocol.to_ascii_uppercase()))
    }

    fn sources<'a>(&'a self, server: Option<&'a Source>) -> impl Iterator<Item = &'a Source> {
        self.client.iter().chain(server)
    }

    fn tls(&self, config: &NodeKafkaConfig, listener: &str, notes: &mut Vec<String>) -> Result<KafkaAccess, NodeError> {
        let server = self.server(config, listener);
        let server = server.as_ref();
        let mut tls = KafkaAccess {
            sasl: None,
            client_properties: None,
            ..self.access.clone()
        };
        if let Some(client) = &self.client {
            tls.verify_hostname &= !client.forgoes_host_names()?;
        }
        if tls.ca_pem.is_none() {
            tls.ca_pem = match &self.client {
                Some(client) => stores::trusted(client)?,
                None => None,
            };
        }
        if tls.ca_pem.is_none()
            && let Some(server) = server
        {
            match stores::trusted(server) {
                Ok(trusted) => {
                    // Client properties for TLS have a say of their own on names, even by silence.
                    let theirs = self.client_protocol()?;
                    if trusted.is_some() && !matches!(theirs.as_deref(), Some("SSL" | "SASL_SSL")) {
                        tls.verify_hostname &= !server.forgoes_host_names()?;
                    }
                    tls.ca_pem = trusted;
                }
                Err(error) => notes.push(error.message),
            }
        }
        if !self.access.has_identity() {
            let own = match &self.client {
                Some(client) => stores::identity(client)?,
                None => None,
            };
            let own = match (own, server) {
                (None, Some(server)) => match stores::identity(server) {
                    Ok(own) => own,
                    Err(error) if wants_certificate(config, listener, Some(server))? => return Err(error),
                    Err(error) => {
                        notes.push(error.message);
                        None
                    }
                },
                (own, _) => own,
            };
            if let Some((cert, key)) = own {
                tls.cert_pem = Some(cert);
                tls.key_pem = Some(key);
                tls.key_password = None;
            }
        }
        Ok(tls)
    }

    fn sasl(&self, config: &NodeKafkaConfig, listener: &str, protocol: Protocol) -> Result<Option<Sasl>, NodeError> {
        if let Some(sasl) = &self.access.sasl {
            return Ok(Some(sasl.clone()));
        }
        if let Some(client) = &self.client {
            let theirs = self.client_protocol()?;
            // Who meant the password for TLS alone does not want it sent without.
            let fits = match theirs.as_deref() {
                Some("SASL_SSL") => protocol.has_tls(),
                Some("SASL_PLAINTEXT") => true,
                _ => false,
            };
            if fits && let Some(sasl) = of_client(client)? {
                return Ok(Some(Sasl {
                    plain_in_clear: theirs.as_deref() == Some("SASL_PLAINTEXT"),
                    ..sasl
                }));
            }
        }
        match self.server(config, listener) {
            Some(server) => of_server(&server, config, listener),
            None => Ok(None),
        }
    }
}

/// Client properties that kbo.toml names.
fn named_client(named: &str, surroundings: &Surroundings) -> Result<Source, NodeError> {
    let path = if Path::new(named).is_absolute() {
        (surroundings.locate)(named)
    } else {
        surroundings.config_dir.as_ref().map(|dir| dir.join(named))
    };
    let Some(path) = path else {
        let text = format!("kafka.client_properties {named} lies in no mount of the container");
        return Err(NodeError::new(NodeErrorKind::State, text)
            .hint("mount its folder, or put the file into the node's configuration directory and give its name"));
    };
    match Source::read(&path, surroundings)? {
        Some(client) if client.has("security.protocol") => Ok(client),
        Some(_) => {
            let text = format!("{} has no security.protocol", path.display());
            Err(NodeError::new(NodeErrorKind::State, text)
                .hint("kafka.client_properties must be what Kafka's tools take as --command-config"))
        }
        None => {
            let text = format!("there is no file {} (kafka.client_properties)", path.display());
            Err(NodeError::new(NodeErrorKind::State, text))
        }
    }
}

fn usual_client(surroundings: &Surroundings) -> Result<Option<Source>, NodeError> {
    let Some(dir) = &surroundings.config_dir else {
        return Ok(None);
    };
    for name in USUAL_NAMES {
        if let Some(client) = Source::read(&dir.join(name), surroundings)?
            && client.has("security.protocol")
        {
            return Ok(Some(client));
        }
    }
    Ok(None)
}

/// Whether a listener refuses who has no certificate.
fn wants_certificate(config: &NodeKafkaConfig, listener: &str, server: Option<&Source>) -> Result<bool, NodeError> {
    let (Some(server), Some(key)) = (server, client_auth_key(config, listener)) else {
        return Ok(false);
    };
    let value = server.get(&key)?;
    Ok(value.is_some_and(|value| value.eq_ignore_ascii_case("required")))
}

fn of_client(client: &Source) -> Result<Option<Sasl>, NodeError> {
    const KEY: &str = "sasl.jaas.config";
    let Some(text) = client.get(KEY)? else { return Ok(None) };
    let mechanism = match client.get("sasl.mechanism")? {
        None => None,
        Some(name) => match name.parse() {
            Ok(known) => Some(known),
            Err(_) => {
                let text = format!(
                    "sasl.mechanism in {} is {}, which kbo does not speak",
                    client.what(),
                    *name
                );
                return Err(NodeError::new(NodeErrorKind::State, text).hint(CREDENTIALS));
            }
        },
    };
    let found = of_jaas(&text, mechanism).map_err(|why| unreadable(client, KEY, why))?;
    found
        .ok_or_else(|| unreadable(client, KEY, "it has no username and password"))
        .map(Some)
}

/// As whom the node's Kafka logs in to its like: by the mechanism that it uses for that, else by another that it has a user for.
/// Nobody said that kbo may send that password without TLS.
fn of_server(server: &Source, config: &NodeKafkaConfig, listener: &str) -> Result<Option<Sasl>, NodeError> {
    let is_controllers = config.controller_listener_names.iter().any(|name| name == listener);
    let key = if is_controllers {
        "sasl.mechanism.controller.protocol"
    } else {
        "sasl.mechanism.inter.broker.protocol"
    };
    let used: Option<Mechanism> = server.get(key)?.and_then(|name| name.parse().ok());
    let mut fault = None;
    for mechanism in used.into_iter().chain(Mechanism::ALL) {
        let key = format!("{}.sasl.jaas.config", mechanism.name().to_ascii_lowercase());
        let found = server.get(&key).and_then(|text| match text {
            Some(text) => of_jaas(&text, Some(mechanism)).map_err(|why| unreadable(server, &key, why)),
            None => Ok(None),
        });
        match found {
            Ok(Some(sasl)) => return Ok(Some(sasl)),
            Ok(None) => {}
            Err(error) => fault = fault.or(Some(error)),
        }
    }
    const KEY: &str = "sasl.jaas.config";
    match (server.get(KEY)?, fault) {
        (Some(text), _) => of_jaas(&text, used).map_err(|why| unreadable(server, KEY, why)),
        (None, Some(fault)) => Err(fault),
        (None, None) => Ok(None),
    }
}

/// `None` for a module without username and password: those of servers that only let others in.
fn of_jaas(text: &str, mechanism: Option<Mechanism>) -> Result<Option<Sasl>, &'static str> {
    let jaas = jaas::parse(text)?;
    let (Some(username), Some(password)) = (jaas.option("username"), jaas.option("password")) else {
        return Ok(None);
    };
    let scram = [Mechanism::ScramSha512, Mechanism::ScramSha256];
    let mechanisms = match (jaas.module.rsplit('.').next(), mechanism) {
        (Some("PlainLoginModule"), None | Some(Mechanism::Plain)) => vec![Mechanism::Plain],
        (Some("ScramLoginModule"), None) => scram.to_vec(),
        (Some("ScramLoginModule"), Some(one)) if scram.contains(&one) => vec![one],
        (Some("PlainLoginModule" | "ScramLoginModule"), Some(_)) => {
            return Err("its login module is that of another mechanism");
        }
        _ => return Err("kbo knows PlainLoginModule and ScramLoginModule only"),
    };
    Ok(Some(Sasl {
        mechanisms,
        username: username.expose().to_owned(),
        password: password.clone(),
        plain_in_clear: false,
    }))
}

fn unreadable(source: &Source, key: &str, why: &str) -> NodeError {
    let text = format!("{key} in {} cannot be used: {why}", source.what());
    NodeError::new(NodeErrorKind::State, text).hint(CREDENTIALS)
}
