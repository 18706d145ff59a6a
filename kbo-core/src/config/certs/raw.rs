//! `[certs]` as it is written.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `[certs]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawCerts {
    /// Folder on this machine with what the ACME client leaves: PEM files. Required for `kbo certs`.
    pub source: Option<PathBuf>,
    /// The domain of the set, where the folder has several.
    pub domain: Option<String>,
    /// Names of the files in it, with {domain} and {part}; certbot's and acme.sh's are found too. Default wildcard.{domain}-ACME.{part}.
    pub names: Option<String>,
    /// File whose first line opens an encrypted key of the set.
    pub key_passphrase_file: Option<PathBuf>,
    /// PEM files of further authorities: they complete the chain and are trusted.
    pub roots: Option<Vec<PathBuf>>,
    /// Folder on this machine that `kbo certs make` writes and `kbo certs deploy` reads. Default certs.
    pub output: Option<PathBuf>,
    /// Stores of its own for each node, not one set for all. Default false.
    pub per_node: Option<bool>,
    /// Formats of the stores. Default: pkcs12 alone.
    pub formats: Option<Vec<StoreFormat>>,
    /// PKCS12 that Java before 8u301 and 11.0.12 reads. Default false.
    pub legacy: Option<bool>,
    /// Alias of the key; {node} stands for the node's name. Default kafka.
    pub alias: Option<String>,
    /// File whose first line is the password of the stores.
    pub password_file: Option<PathBuf>,
    /// Program and arguments that print it; no shell is between.
    pub password_command: Option<Vec<String>>,
    /// Environment variable that holds it.
    pub password_env: Option<String>,
    /// The same for truststores. Default: the password of the keystores.
    pub truststore_password_file: Option<PathBuf>,
    /// The same for truststores.
    pub truststore_password_command: Option<Vec<String>>,
    /// The same for truststores.
    pub truststore_password_env: Option<String>,
    /// Folder on every node that `kbo certs deploy` fills (Docker transport: in the container).
    pub dir: Option<String>,
    /// uid:gid of the files there. Default: those of the file that is replaced, else of the folder.
    pub owner: Option<String>,
    /// Their permissions, in octal. Default 0600.
    pub mode: Option<String>,
    /// What `kbo certs deploy` does afterwards: rolling, cluster or none. Default none.
    pub restart: Option<RestartKind>,
    /// Warn so many days before a certificate expires. Default 21.
    pub warn_days: Option<u32>,
}

/// A format of keystores and truststores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum StoreFormat {
    /// keystore.p12 and truststore.p12
    Pkcs12,
    /// keystore.jks and truststore.jks
    Jks,
    /// keystore.pem and truststore.pem (KIP-651)
    Pem,
}

/// What follows a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum RestartKind {
    /// One node after the other, each ready before the next.
    Rolling,
    /// All nodes stop, then start.
    Cluster,
    /// Nothing.
    #[default]
    None,
}
