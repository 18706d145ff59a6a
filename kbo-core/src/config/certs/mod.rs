//! `[certs]`: where certificates come from, what stores are made of them, and where on the nodes those go.

mod raw;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

pub use raw::{RawCerts, RestartKind, StoreFormat};

use super::ConfigError;
use super::raw::Raw;
use super::validate::{absolute, expand, missing, value};
use crate::ids::NodeName;

/// `[certs]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certs {
    /// `certs.source`
    pub source: Option<PathBuf>,
    /// `certs.domain`
    pub domain: Option<String>,
    /// `certs.names`
    pub names: String,
    /// `certs.key_passphrase_file`
    pub key_passphrase_file: Option<PathBuf>,
    /// `certs.roots`
    pub roots: Vec<PathBuf>,
    /// `certs.output`
    pub output: PathBuf,
    /// `certs.per_node`
    pub per_node: bool,
    /// `certs.formats`, each once.
    pub formats: Vec<StoreFormat>,
    /// `certs.legacy`
    pub legacy: bool,
    /// `certs.alias`
    pub alias: String,
    /// Where the keystores' password comes from.
    pub password: Option<PasswordSource>,
    /// Where the truststores' password comes from; the keystores' where none is given.
    pub truststore_password: Option<PasswordSource>,
    /// `certs.dir`
    pub dir: Option<String>,
    /// `certs.owner`
    pub owner: Option<(u32, u32)>,
    /// `certs.mode`
    pub mode: u32,
    /// `certs.restart`
    pub restart: RestartKind,
    /// `certs.warn_days`
    pub warn_days: u32,
    /// `node.*.certs_hosts`
    pub hosts: BTreeMap<NodeName, Vec<String>>,
}

/// Where a password comes from; never from a command line.
#[derive(Clone, PartialEq, Eq)]
pub enum PasswordSource {
    /// The first line of a file.
    File(PathBuf),
    /// The first line that a program prints.
    Command(Vec<String>),
    /// An environment variable.
    Environment(String),
}

impl std::fmt::Debug for PasswordSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PasswordSource::File(path) => write!(f, "File({path:?})"),
            // Its arguments may be secrets.
            PasswordSource::Command(words) => write!(f, "Command({:?})", words.first()),
            PasswordSource::Environment(name) => write!(f, "Environment({name:?})"),
        }
    }
}

/// The default of `certs.names`.
pub const NAMES: &str = "wildcard.{domain}-ACME.{part}";

pub(super) fn certs(raw: &Raw, names: &[NodeName], home: Option<&Path>) -> Result<Certs, ConfigError> {
    let certs = &raw.certs;
    let path = |path: &Option<PathBuf>| path.as_deref().map(|path| expand(path, home));
    let formats: BTreeSet<StoreFormat> = match &certs.formats {
        Some(formats) if formats.is_empty() => {
            return Err(value("certs.formats", "[]", "no store would be made", "[\"pkcs12\"]"));
        }
        Some(formats) => formats.iter().copied().collect(),
        None => [StoreFormat::Pkcs12].into(),
    };
    let dir = certs.dir.as_deref().map(|dir| absolute("certs.dir", dir)).transpose()?;
    let hosts = raw.node.iter().zip(names).filter_map(|(node, name)| {
        let hosts = node.certs_hosts.as_ref()?.iter().map(|host| host.trim().to_owned());
        Some((name.clone(), hosts.collect()))
    });
    let hosts: BTreeMap<NodeName, Vec<String>> = hosts.collect();
    for (node, hosts) in &hosts {
        if hosts.is_empty() || !hosts.iter().all(|host| is_host(host)) {
            let key = format!("node.{node}.certs_hosts");
            return Err(value(
                &key,
                format!("{hosts:?}"),
                "must be names or addresses of hosts, without scheme, port or wildcard",
                "[\"broker-1.example.org\"]",
            ));
        }
    }
    Ok(Certs {
        source: path(&certs.source),
        domain: domain(certs)?,
        names: names_of_files(certs)?,
        key_passphrase_file: path(&certs.key_passphrase_file),
        roots: certs.roots.iter().flatten().map(|root| expand(root, home)).collect(),
        output: path(&certs.output).unwrap_or_else(|| PathBuf::from("certs")),
        per_node: certs.per_node.unwrap_or(false),
        formats: formats.into_iter().collect(),
        legacy: certs.legacy.unwrap_or(false),
        alias: alias(certs)?,
        password: password(
            "certs.password",
            certs.password_file.as_deref(),
            certs.password_command.as_deref(),
            certs.password_env.as_deref(),
            home,
        )?,
        truststore_password: password(
            "certs.truststore_password",
            certs.truststore_password_file.as_deref(),
            certs.truststore_password_command.as_deref(),
            certs.truststore_password_env.as_deref(),
            home,
        )?,
        dir,
        owner: certs.owner.as_deref().map(owner).transpose()?,
        mode: certs.mode.as_deref().map_or(Ok(0o600), mode)?,
        restart: certs.restart.unwrap_or_default(),
        warn_days: certs.warn_days.unwrap_or(21),
        hosts,
    })
}

impl Certs {
    /// The key's alias in a node's stores.
    pub fn alias_of(&self, node: &str) -> String {
        self.alias.replace("{node}", node)
    }

    /// Whether any of the stores has a password.
    pub fn needs_password(&self) -> bool {
        self.formats.iter().any(|format| *format != StoreFormat::Pem)
    }

    /// The folder on the nodes.
    ///
    /// # Errors
    /// None is configured.
    pub fn required_dir(&self) -> Result<&str, ConfigError> {
        let instead = "dir = \"/data/cluster/certificates\" under [certs]: the folder on every node";
        self.dir.as_deref().ok_or_else(|| missing("certs.dir", instead))
    }
}

fn domain(certs: &RawCerts) -> Result<Option<String>, ConfigError> {
    let Some(domain) = certs.domain.as_deref() else {
        return Ok(None);
    };
    let bare = domain.strip_prefix("*.").unwrap_or(domain);
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if bare.is_empty() || bare.starts_with('.') || !bare.chars().all(fits) {
        let why = "not a domain";
        return Err(value(
            "certs.domain",
            format!("{domain:?}"),
            why,
            "one such as \"example.org\"",
        ));
    }
    Ok(Some(bare.to_owned()))
}

fn names_of_files(certs: &RawCerts) -> Result<String, ConfigError> {
    let Some(names) = certs.names.as_deref() else {
        return Ok(NAMES.to_owned());
    };
    if !names.contains("{part}") || names.contains('/') {
        let why = "not a pattern of file names with {part}";
        return Err(value("certs.names", format!("{names:?}"), why, NAMES));
    }
    Ok(names.to_owned())
}

fn alias(certs: &RawCerts) -> Result<String, ConfigError> {
    let alias = certs.alias.as_deref().unwrap_or("kafka");
    if alias.is_empty() || alias.len() > 200 || !alias.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        let why = "not an alias that every Java takes";
        return Err(value(
            "certs.alias",
            format!("{alias:?}"),
            why,
            "printable ASCII, such as \"kafka\"",
        ));
    }
    if alias.contains("{node}") && certs.per_node != Some(true) {
        let why = "{node} has no value where all nodes share their stores";
        return Err(value(
            "certs.alias",
            format!("{alias:?}"),
            why,
            "per_node = true, or another alias",
        ));
    }
    Ok(alias.to_owned())
}

fn password(
    key: &str,
    file: Option<&Path>,
    command: Option<&[String]>,
    environment: Option<&str>,
    home: Option<&Path>,
) -> Result<Option<PasswordSource>, ConfigError> {
    let file = file.map(|file| PasswordSource::File(expand(file, home)));
    let command = match command {
        Some(words) if words.first().is_none_or(String::is_empty) || words.iter().any(|word| word.contains('\0')) => {
            let key = format!("{key}_command");
            return Err(value(
                &key,
                "[…]",
                "a command without a program",
                "[\"program\", \"argument\"]",
            ));
        }
        Some(words) => {
            let program = expand(Path::new(&words[0]), home).display().to_string();
            Some(PasswordSource::Command([&[program], &words[1..]].concat()))
        }
        None => None,
    };
    let environment = match environment {
        Some(name) if name.is_empty() || name.contains(['=', '\0']) => {
            let key = format!("{key}_env");
            return Err(value(
                &key,
                format!("{name:?}"),
                "not a variable's name",
                "one such as \"KAFKA_STORE_PASSWORD\"",
            ));
        }
        name => name.map(|name| PasswordSource::Environment(name.to_owned())),
    };
    let mut given = [file, command, environment].into_iter().flatten();
    match (given.next(), given.next()) {
        (first, None) => Ok(first),
        (_, Some(_)) => {
            let why = "given in more than one way";
            Err(value(
                key,
                "…",
                why,
                &format!("one of {key}_file, {key}_command and {key}_env"),
            ))
        }
    }
}

fn owner(text: &str) -> Result<(u32, u32), ConfigError> {
    let parsed = text.split_once(':').and_then(|(uid, gid)| {
        let number = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| text.parse::<u32>().ok())?
        };
        // The last number stands for "leave it as it is" in chown.
        Some((number(uid)?, number(gid)?)).filter(|(uid, gid)| *uid != u32::MAX && *gid != u32::MAX)
    });
    let why = "not a user and a group by their numbers, as the container has them";
    parsed.ok_or_else(|| {
        value(
            "certs.owner",
            format!("{text:?}"),
            why,
            "uid:gid, such as \"1000:1000\"",
        )
    })
}

/// A name of a host, or an address; what clients connect to, without anything around it.
fn is_host(text: &str) -> bool {
    let is_name = |text: &str| {
        !text.is_empty() && !text.contains([':', '/', '*', '@', '[', ']']) && !text.contains(char::is_whitespace)
    };
    text.parse::<IpAddr>().is_ok() || is_name(text)
}

fn mode(text: &str) -> Result<u32, ConfigError> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let is_octal = (3..=4).contains(&digits.len()) && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let parsed = is_octal.then(|| u32::from_str_radix(digits, 8).ok()).flatten();
    // Readable for its owner; for all to write, or a program, a key never is.
    let fits = |mode: &u32| mode & 0o400 != 0 && mode & !0o664 == 0;
    let why = "no permissions that a key's file may have";
    parsed.filter(fits).ok_or_else(|| {
        value(
            "certs.mode",
            format!("{text:?}"),
            why,
            "\"0600\", or \"0640\" for a group that reads",
        )
    })
}

#[cfg(test)]
mod tests;
