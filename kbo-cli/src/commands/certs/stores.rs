//! Reading stores that have been made, with the passwords of kbo.toml.

use jiff::Timestamp;
use kbo_certs::certificate::read_all;
use kbo_certs::store::{Content, Store, StoreError};
use kbo_certs::{Jks, Options, Pkcs12, WildcardSet};
use kbo_core::config::certs::Certs;
use kbo_core::report::{Outcome, chain};
use kbo_core::secret::Secret;

use zeroize::Zeroizing;

use super::password;
use crate::commands::Trouble;

/// What opens the stores.
pub(super) struct Passwords {
    pub(super) keystore: Secret,
    pub(super) truststore: Secret,
}

impl Passwords {
    pub(super) async fn read(certs: &Certs) -> Result<Self, Trouble> {
        if !certs.needs_password() {
            return Ok(Self {
                keystore: Secret::new(""),
                truststore: Secret::new(""),
            });
        }
        let Some(source) = &certs.password else {
            let text = "certs.password is not set: stores in PKCS12 and JKS have one";
            return Err(Trouble::new(Outcome::Usage, text)
                .hint("password_file, password_command or password_env under [certs]"));
        };
        let keystore = password::read(source, "certs.password").await?;
        let truststore = match &certs.truststore_password {
            Some(source) => password::read(source, "certs.truststore_password").await?,
            None => keystore.clone(),
        };
        Ok(Self { keystore, truststore })
    }
}

/// What a store holds, by its name's ending; `None` for PEM, which is what it holds.
pub(super) fn content(name: &str, bytes: &[u8], passwords: &Passwords) -> Option<Result<Store, StoreError>> {
    let file = name.rsplit('/').next().unwrap_or(name);
    let password = match file.starts_with("truststore") {
        true => &passwords.truststore,
        false => &passwords.keystore,
    };
    match file.rsplit('.').next() {
        Some("p12") => Some(Pkcs12::read(bytes, password)),
        Some("jks") => Some(Jks::read(bytes, password, None)),
        _ => None,
    }
}

/// The set that a keystore and its truststore were made of. What the truststore trusts is trusted as `certs.roots` are: there a
/// further authority is no stranger, and one that says of itself that it is none is one.
pub(super) fn set_of(
    (name, bytes): (&str, &[u8]),
    (trust, trusted): (&str, &[u8]),
    passwords: &Passwords,
    now: Timestamp,
) -> Result<WildcardSet, String> {
    let mut parts: Vec<(String, Zeroizing<Vec<u8>>)> = vec![];
    let part = |bytes: &[u8]| (name.to_owned(), Zeroizing::new(bytes.to_vec()));
    match content(name, bytes, passwords) {
        None => parts.push(part(bytes)),
        Some(Err(error)) => return Err(format!("{name}: {}", chain(&error))),
        Some(Ok(store)) => {
            for entry in &store.entries {
                if let Content::Key { key, chain } = &entry.content {
                    parts.push(part(key.pkcs8()));
                    parts.extend(chain.iter().map(|one| part(&one.0)));
                }
            }
        }
    }
    let roots = match content(trust, trusted, passwords) {
        None => read_all(trusted).map_err(|error| format!("{trust}: {}", chain(&error)))?,
        Some(Err(error)) => return Err(format!("{trust}: {}", chain(&error))),
        Some(Ok(store)) => {
            let trusted = store.entries.into_iter().filter_map(|entry| match entry.content {
                Content::Trusted(one) => Some(one),
                Content::Key { .. } => None,
            });
            trusted.collect()
        }
    };
    let options = Options {
        passphrase: None,
        roots,
        now,
    };
    WildcardSet::from_files(parts, &options).map_err(|error| chain(&error))
}
