//! `[kafka]`: how Kafka's listeners are spoken to.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::raw::Raw;
use super::validate::{expand, missing, value};

/// How Kafka's listeners are spoken to where they want TLS or a login.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kafka {
    /// `kafka.ca`: PEM file of the CA on this machine.
    pub ca: Option<PathBuf>,
    /// `kafka.cert`: PEM file of the client certificate.
    pub cert: Option<PathBuf>,
    /// `kafka.key`: PEM file of its key.
    pub key: Option<PathBuf>,
    /// `kafka.key_password_file`: file with the key's password.
    pub key_password_file: Option<PathBuf>,
    /// `kafka.verify_hostname`
    pub verify_hostname: bool,
    /// `kafka.sasl_*`
    pub login: Option<Login>,
    /// `kafka.client_properties`: an absolute path in the container, or one in the node's configuration directory.
    pub client_properties: Option<String>,
}

/// Who kbo is to listeners with SASL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// `kafka.sasl_mechanism`; what the listener offers where none is given.
    pub mechanism: Option<Mechanism>,
    /// `kafka.sasl_username`
    pub username: String,
    /// `kafka.sasl_password_file`: file with the password.
    pub password_file: PathBuf,
}

/// A SASL mechanism that kbo speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mechanism {
    /// The password as it is (RFC 4616).
    #[serde(rename = "PLAIN")]
    Plain,
    /// A proof of the password (RFC 7677).
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// The same with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl Mechanism {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ScramSha512, Self::ScramSha256, Self::Plain];

    /// Its name in SASL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A mechanism that kbo does not speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownMechanism;

impl FromStr for Mechanism {
    type Err = UnknownMechanism;

    fn from_str(text: &str) -> Result<Self, UnknownMechanism> {
        let known = Self::ALL
            .into_iter()
            .find(|known| known.name().eq_ignore_ascii_case(text));
        known.ok_or(UnknownMechanism)
    }
}

pub(super) fn kafka(raw: &Raw, home: Option<&Path>) -> Result<Kafka, ConfigError> {
    let kafka = &raw.kafka;
    if kafka.cert.is_some() != kafka.key.is_some() {
        let (there, lacking) = if kafka.cert.is_some() {
            ("cert", "kafka.key")
        } else {
            ("key", "kafka.cert")
        };
        return Err(missing(lacking, &format!("both cert and key, or remove kafka.{there}")));
    }
    let path = |path: &Option<PathBuf>| path.as_deref().map(|path| expand(path, home));
    Ok(Kafka {
        ca: path(&kafka.ca),
        cert: path(&kafka.cert),
        key: path(&kafka.key),
        key_password_file: path(&kafka.key_password_file),
        verify_hostname: kafka.verify_hostname.unwrap_or(true),
        login: login(raw, home)?,
        client_properties: client_properties(kafka.client_properties.as_deref())?,
    })
}

fn login(raw: &Raw, home: Option<&Path>) -> Result<Option<Login>, ConfigError> {
    let kafka = &raw.kafka;
    let mechanism = match kafka.sasl_mechanism.as_deref() {
        None => None,
        Some(name) => Some(name.parse().map_err(|UnknownMechanism| {
            let why = "not a mechanism that kbo speaks";
            value(
                "kafka.sasl_mechanism",
                name,
                why,
                "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512",
            )
        })?),
    };
    let both = "both sasl_username and sasl_password_file";
    match (&kafka.sasl_username, &kafka.sasl_password_file) {
        (Some(username), Some(file)) => {
            if username.is_empty() {
                return Err(value(
                    "kafka.sasl_username",
                    "\"\"",
                    "no user has no name",
                    "the user's name",
                ));
            }
            Ok(Some(Login {
                mechanism,
                username: username.clone(),
                password_file: expand(file, home),
            }))
        }
        (Some(_), None) => Err(missing("kafka.sasl_password_file", both)),
        (None, Some(_)) => Err(missing("kafka.sasl_username", both)),
        (None, None) if mechanism.is_some() => Err(missing("kafka.sasl_username", both)),
        (None, None) => Ok(None),
    }
}

fn client_properties(text: Option<&str>) -> Result<Option<String>, ConfigError> {
    let Some(text) = text else { return Ok(None) };
    if text.is_empty() || text.split('/').any(|part| part == "..") {
        let what = "an absolute path in the container, or a name in the node's configuration directory";
        return Err(value(
            "kafka.client_properties",
            format!("{text:?}"),
            "it leads elsewhere",
            what,
        ));
    }
    Ok(Some(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::raw::RawKafka;
    use super::*;

    fn read(kafka: RawKafka) -> Result<Kafka, String> {
        let raw = Raw {
            kafka,
            ..Raw::default()
        };
        super::kafka(&raw, Some(Path::new("/home/kbo"))).map_err(|error| error.to_string())
    }

    #[test]
    fn a_login_is_a_user_and_a_password_file() {
        let raw = RawKafka {
            sasl_mechanism: Some("scram-sha-256".to_owned()),
            sasl_username: Some("kbo".to_owned()),
            sasl_password_file: Some("~/kbo.password".into()),
            ..RawKafka::default()
        };
        let login = read(raw.clone()).unwrap().login.unwrap();
        assert_eq!(login.mechanism, Some(Mechanism::ScramSha256));
        assert_eq!(login.password_file, Path::new("/home/kbo/kbo.password"));
        let lacking = |change: fn(&mut RawKafka)| {
            let mut raw = raw.clone();
            change(&mut raw);
            read(raw).unwrap_err()
        };
        assert!(lacking(|raw| raw.sasl_username = None).contains("kafka.sasl_username"));
        assert!(lacking(|raw| raw.sasl_password_file = None).contains("kafka.sasl_password_file"));
        let mechanism_alone = lacking(|raw| (raw.sasl_username, raw.sasl_password_file) = (None, None));
        assert!(mechanism_alone.contains("kafka.sasl_username"));
        let gssapi = lacking(|raw| raw.sasl_mechanism = Some("GSSAPI".to_owned()));
        assert!(
            gssapi.contains("GSSAPI") && gssapi.contains("SCRAM-SHA-512"),
            "{gssapi}"
        );
    }

    #[test]
    fn client_properties_lead_nowhere_else() {
        let with = |text: &str| {
            read(RawKafka {
                client_properties: Some(text.to_owned()),
                ..RawKafka::default()
            })
        };
        for good in [
            "client.properties",
            "tools/admin.properties",
            "/etc/kafka/client.properties",
        ] {
            assert_eq!(with(good).unwrap().client_properties.as_deref(), Some(good));
        }
        for bad in ["", "../client.properties", "/etc/../x"] {
            assert!(with(bad).unwrap_err().contains("kafka.client_properties"), "{bad}");
        }
    }
}
