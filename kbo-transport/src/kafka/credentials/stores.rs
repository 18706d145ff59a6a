//! What properties name as truststore and keystore, as the TLS client wants it.

use kbo_certs::key::Key;
use kbo_certs::pem;
use kbo_certs::store::{Content, Store};
use kbo_certs::{Jks, Pkcs12};
use kbo_core::ports::node::{NodeError, NodeErrorKind};
use kbo_core::secret::Secret;
use zeroize::Zeroizing;

use super::source::Source;

const CERTIFICATE: &str = "CERTIFICATE";

/// The authorities that the source trusts, as PEM; `None` where it names none.
pub(super) fn trusted(source: &Source) -> Result<Option<String>, NodeError> {
    const INLINE: &str = "ssl.truststore.certificates";
    const LOCATION: &str = "ssl.truststore.location";
    let hint = "set `ca` in `[kafka]` of kbo.toml to a PEM file of the authority";
    let (key, certificates) = if let Some(text) = source.get(INLINE)? {
        (INLINE, of_pem(unfolded(&text).as_bytes()))
    } else if let Some(path) = source.get(LOCATION)? {
        let bytes = source.file(LOCATION, &path).map_err(|error| error.hint(hint))?;
        let password = password(source, "ssl.truststore.password")?;
        let certificates = match Kind::of(&bytes) {
            Kind::Pem => of_pem(&bytes),
            // As Kafka: without a password it is not compared with its seal, and its keys do not matter.
            Kind::Jks => Jks::certificates(&bytes, password.as_ref())
                .map_err(|error| unusable(source, LOCATION, &path, &error.to_string(), hint))?
                .into_iter()
                .map(|certificate| certificate.0)
                .collect(),
            kind => open(kind, &bytes, password.as_ref(), None)
                .map_err(|why| unusable(source, LOCATION, &path, &why, hint))?
                .entries
                .into_iter()
                .filter_map(|entry| match entry.content {
                    Content::Trusted(certificate) => Some(certificate.0),
                    // As Java has it, the certificate of a key in a truststore is trusted too.
                    Content::Key { chain, .. } => chain.into_iter().next().map(|certificate| certificate.0),
                })
                .collect(),
        };
        (LOCATION, certificates)
    } else {
        return Ok(None);
    };
    if certificates.is_empty() {
        let text = format!("{key} in {} leads to no certificate", source.what());
        return Err(NodeError::new(NodeErrorKind::State, text).hint(hint));
    }
    let pem: Vec<String> = certificates
        .iter()
        .map(|der| pem::encode(CERTIFICATE, der).to_string())
        .collect();
    Ok(Some(pem.concat()))
}

/// The source's own certificate with its chain, and its key, both as PEM; `None` where it names none.
pub(super) fn identity(source: &Source) -> Result<Option<(String, Secret)>, NodeError> {
    const LOCATION: &str = "ssl.keystore.location";
    const INLINE: &str = "ssl.keystore.key";
    let hint = "set `cert` and `key` in `[kafka]` of kbo.toml to PEM files of a client certificate and its key";
    let key_password = password(source, "ssl.key.password")?;
    let (property, place, found) = if let Some(key) = source.get(INLINE)? {
        let chain = source.get("ssl.keystore.certificate.chain")?.unwrap_or_default();
        let both = Zeroizing::new(format!("{}\n{}", *unfolded(&chain), *unfolded(&key)));
        (
            INLINE,
            "its text".to_owned(),
            of_pem_identity(both.as_bytes(), key_password.as_ref()),
        )
    } else if let Some(path) = source.get(LOCATION)? {
        let bytes = source.file(LOCATION, &path).map_err(|error| error.hint(hint))?;
        let password = password(source, "ssl.keystore.password")?;
        let found = match Kind::of(&bytes) {
            Kind::Pem => of_pem_identity(&bytes, key_password.as_ref()),
            kind => of_store(kind, &bytes, password.as_ref(), key_password.as_ref()),
        };
        (LOCATION, path.to_string(), found)
    } else {
        return Ok(None);
    };
    let identity = found.map_err(|why| unusable(source, property, &place, &why, hint))?;
    let chain: Vec<String> = identity
        .chain
        .iter()
        .map(|der| pem::encode(CERTIFICATE, der).to_string())
        .collect();
    let key = pem::encode("PRIVATE KEY", &identity.key);
    Ok(Some((chain.concat(), Secret::new(key.as_str()))))
}

struct Identity {
    /// DER of PKCS8.
    key: Zeroizing<Vec<u8>>,
    /// DER of each.
    chain: Vec<Vec<u8>>,
}

/// What bytes are. The type that properties give is not asked: Java reads either kind of store under either name as well.
#[derive(Clone, Copy)]
enum Kind {
    Jks,
    Pkcs12,
    Pem,
}

impl Kind {
    fn of(bytes: &[u8]) -> Self {
        match bytes {
            [0xfe, 0xed, 0xfe, 0xed, ..] => Self::Jks,
            // PKCS12 is a SEQUENCE.
            [0x30, ..] => Self::Pkcs12,
            _ => Self::Pem,
        }
    }
}

fn open(kind: Kind, bytes: &[u8], password: Option<&Secret>, key: Option<&Secret>) -> Result<Store, String> {
    let password = password.ok_or("its password is not given")?;
    let store = match kind {
        Kind::Jks => Jks::read(bytes, password, key),
        Kind::Pkcs12 | Kind::Pem => Pkcs12::read(bytes, password),
    };
    store.map_err(|error| error.to_string())
}

fn of_store(
    kind: Kind,
    bytes: &[u8],
    password: Option<&Secret>,
    key_password: Option<&Secret>,
) -> Result<Identity, String> {
    let entries = open(kind, bytes, password, key_password)?.entries;
    let found = entries.into_iter().find_map(|entry| match entry.content {
        Content::Key { key, chain } => Some(Identity {
            key: Zeroizing::new(key.pkcs8().to_vec()),
            chain: chain.into_iter().map(|certificate| certificate.0).collect(),
        }),
        Content::Trusted(_) => None,
    });
    found.ok_or_else(|| "there is no key in it".to_owned())
}

fn of_pem(bytes: &[u8]) -> Vec<Vec<u8>> {
    let blocks = pem::blocks(bytes).whole.into_iter();
    let certificates = blocks.filter(|block| block.label == CERTIFICATE);
    certificates.map(|block| block.data.to_vec()).collect()
}

fn of_pem_identity(bytes: &[u8], key_password: Option<&Secret>) -> Result<Identity, String> {
    let blocks = pem::blocks(bytes).whole;
    let key = blocks.iter().find_map(|block| Key::from_pem(block, key_password));
    let key = key.ok_or("there is no key in it")?.map_err(|error| error.to_string())?;
    Ok(Identity {
        key: Zeroizing::new(key.private().pkcs8().to_vec()),
        chain: of_pem(bytes),
    })
}

/// PEM in a property may have lost its line ends: markers get lines of their own again.
fn unfolded(text: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(text.len() + 64));
    for (index, part) in text.split("-----").enumerate() {
        if index % 2 == 1 {
            out.push_str("\n-----");
            out.push_str(part);
            out.push_str("-----\n");
        } else {
            out.push_str(part);
        }
    }
    out
}

fn password(source: &Source, key: &str) -> Result<Option<Secret>, NodeError> {
    Ok(source.get(key)?.map(|password| Secret::new(password.as_str())))
}

fn unusable(source: &Source, property: &str, place: &str, why: &str, hint: &str) -> NodeError {
    let text = format!("{property} in {} ({place}) cannot be used: {why}", source.what());
    NodeError::new(NodeErrorKind::State, text).hint(hint)
}
