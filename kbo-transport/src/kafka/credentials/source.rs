//! Properties that name stores and passwords, with the files around them.

use std::io::Read;
use std::path::Path;

use kbo_core::ports::node::{NodeError, NodeErrorKind};
use zeroize::Zeroizing;

use super::super::properties::{self, Quiet};
use super::{Surroundings, provider};

/// A properties file is some kilobytes, a store some dozen.
const MAX_PROPERTIES: u64 = 1024 * 1024;
const MAX_STORE: u64 = 4 * 1024 * 1024;

/// Properties of a client, or of the node's Kafka itself.
#[derive(Debug, Clone)]
pub(super) struct Source {
    what: String,
    properties: Quiet,
    surroundings: Surroundings,
    /// Before keys; what has it outranks what has not.
    prefix: Option<String>,
}

impl Source {
    pub(super) fn new(what: String, properties: Quiet, surroundings: Surroundings) -> Self {
        Self {
            what,
            properties,
            surroundings,
            prefix: None,
        }
    }

    pub(super) fn with_prefix(mut self, prefix: String) -> Self {
        self.prefix = Some(prefix);
        self
    }

    /// `None` where there is no such file.
    pub(super) fn read(path: &Path, surroundings: &Surroundings) -> Result<Option<Self>, NodeError> {
        let Some(bytes) = read(path, MAX_PROPERTIES)? else {
            return Ok(None);
        };
        let properties = properties::parse_bytes(&bytes);
        Ok(Some(Self::new(
            path.display().to_string(),
            properties,
            surroundings.clone(),
        )))
    }

    /// Its name, for errors.
    pub(super) fn what(&self) -> &str {
        &self.what
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.raw(key).is_some()
    }

    fn raw(&self, key: &str) -> Option<&str> {
        let prefixed = self
            .prefix
            .as_ref()
            .and_then(|prefix| self.properties.get(&format!("{prefix}{key}")));
        prefixed.or_else(|| self.properties.get(key))
    }

    /// A value with what its `${provider:path:key}` stand for; `None` for a key without one.
    pub(super) fn get(&self, key: &str) -> Result<Option<Zeroizing<String>>, NodeError> {
        let Some(value) = self.raw(key) else { return Ok(None) };
        let value = provider::expand(value, &self.properties, &self.surroundings).map_err(|mut error| {
            error.message = format!("{key} in {}: {}", self.what, error.message);
            error
        })?;
        let trimmed = value.trim();
        Ok((!trimmed.is_empty()).then(|| Zeroizing::new(trimmed.to_owned())))
    }

    /// Whether it has a key of its own for clients.
    pub(super) fn has_keystore(&self) -> bool {
        self.has("ssl.keystore.location") || self.has("ssl.keystore.key")
    }

    /// Whether it says that certificates need not name the host: the key is there, and empty.
    pub(super) fn forgoes_host_names(&self) -> Result<bool, NodeError> {
        const KEY: &str = "ssl.endpoint.identification.algorithm";
        Ok(self.has(KEY) && self.get(KEY)?.is_none())
    }

    /// The bytes of the file that `key` names.
    pub(super) fn file(&self, key: &str, path: &str) -> Result<Zeroizing<Vec<u8>>, NodeError> {
        let named = format!("{key} in {} names {path}", self.what);
        let Some(here) = (self.surroundings.locate)(path) else {
            let text = format!("{named}, which lies in no mount of the container");
            return Err(NodeError::new(NodeErrorKind::State, text));
        };
        match read(&here, MAX_STORE) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => {
                let text = format!("{named}, which is no file ({} on the node)", here.display());
                Err(NodeError::new(NodeErrorKind::State, text))
            }
            Err(error) => Err(NodeError::new(error.kind, format!("{named}: {}", error.message))),
        }
    }
}

/// The bytes of a regular file; `None` where there is none.
pub(super) fn read(path: &Path, most: u64) -> Result<Option<Zeroizing<Vec<u8>>>, NodeError> {
    let failed = |why: String| NodeError::new(NodeErrorKind::Io, format!("cannot read {}: {why}", path.display()));
    // Looked at before it is opened: opening a FIFO would wait for a writer.
    let length = match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() => meta.len(),
        Ok(_) => return Ok(None),
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(failed(error.to_string())),
    };
    if length > most {
        return Err(failed(format!("it is larger than {most} bytes")));
    }
    // Room for all of it at once: a buffer that grows would leave copies behind.
    let room = usize::try_from(length).unwrap_or(0) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    kbo_archive::regular::open(path)
        .and_then(|file| file.take(most).read_to_end(&mut bytes))
        .map_err(|error| failed(error.to_string()))?;
    Ok(Some(bytes))
}
