//! Keys and certificates to put into stores: a root, one below it, and a leaf of each kind of key, made by OpenSSL.

use std::path::Path;
use std::sync::OnceLock;

use kbo_certs::store::{Certificate, Content, Entry, PrivateKey, Store};
use rustls_pki_types::pem::{PemObject, SectionKind};

use super::tools;

/// The kinds of keys, as the tests call them and as `openssl genpkey` takes them.
pub(crate) const KINDS: [(&str, &[&str]); 5] = [
    ("rsa2048", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
    ("rsa4096", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096"]),
    ("p256", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
    ("p384", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]),
    ("ed25519", &["-algorithm", "ED25519"]),
];

/// A key, its certificate, and those above it.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) kind: &'static str,
    pub(crate) key: PrivateKey,
    /// Leaf, intermediate, root.
    pub(crate) chain: Vec<Certificate>,
}

impl Identity {
    /// As an entry, with the whole chain: where the root is in a PKCS12 store anyhow, Java adds it to every chain that ends below it.
    pub(crate) fn entry(&self, alias: &str, created_ms: u64) -> Entry {
        Entry {
            alias: alias.to_owned(),
            created_ms,
            content: Content::Key {
                key: self.key.clone(),
                chain: self.chain.clone(),
            },
        }
    }

    /// The root, trusted.
    pub(crate) fn trusted(&self, alias: &str) -> Entry {
        Entry {
            alias: alias.to_owned(),
            created_ms: 0,
            content: Content::Trusted(self.chain[2].clone()),
        }
    }
}

/// One of each kind, made once.
pub(crate) fn identities() -> &'static [Identity] {
    static MADE: OnceLock<Vec<Identity>> = OnceLock::new();
    MADE.get_or_init(make)
}

/// A store with one key, or with all of them, and the root.
pub(crate) fn store(identities: &[Identity]) -> Store {
    let keys = identities.iter().zip(1_700_000_000_000..);
    let mut entries: Vec<Entry> = keys
        .map(|(identity, time)| identity.entry(identity.kind, time))
        .collect();
    entries.push(identities[0].trusted("root"));
    Store { entries }
}

fn make() -> Vec<Identity> {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let openssl = |args: &[&str]| tools::run("openssl", args, at);
    std::fs::write(
        at.join("ca.ext"),
        "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n",
    )
    .unwrap();
    std::fs::write(
        at.join("leaf.ext"),
        "subjectAltName=DNS:*.example.org\nextendedKeyUsage=serverAuth,clientAuth\n",
    )
    .unwrap();
    openssl(&[
        "genpkey",
        "-algorithm",
        "RSA",
        "-pkeyopt",
        "rsa_keygen_bits:2048",
        "-out",
        "root.key",
    ]);
    openssl(&[
        "req", "-x509", "-key", "root.key", "-subj", "/CN=Root", "-days", "3650", "-out", "root.pem",
    ]);
    openssl(&[
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
        "middle.key",
    ]);
    signed(at, "middle", "/CN=Middle", "root", "ca.ext");
    let certificate = |name: &str| Certificate(pem(&at.join(format!("{name}.pem")), SectionKind::Certificate));
    let identity = |(kind, genpkey): &(&'static str, &[&str])| {
        let key = format!("{kind}.key");
        openssl(&[&["genpkey"][..], genpkey, &["-out", &key]].concat());
        signed(at, kind, &format!("/CN={kind}"), "middle", "leaf.ext");
        Identity {
            kind,
            key: PrivateKey::from_pkcs8(pem(&at.join(key), SectionKind::PrivateKey)),
            chain: vec![certificate(kind), certificate("middle"), certificate("root")],
        }
    };
    KINDS.iter().map(identity).collect()
}

/// Signs NAME.key's certificate.
fn signed(at: &Path, name: &str, subject: &str, issuer: &str, extensions: &str) {
    let file = |extension: &str| format!("{name}.{extension}");
    let (key, request, certificate) = (file("key"), file("csr"), file("pem"));
    tools::run(
        "openssl",
        &["req", "-new", "-key", &key, "-subj", subject, "-out", &request],
        at,
    );
    let (ca, ca_key) = (format!("{issuer}.pem"), format!("{issuer}.key"));
    let by = [
        "x509",
        "-req",
        "-in",
        &request,
        "-CA",
        &ca,
        "-CAkey",
        &ca_key,
        "-CAcreateserial",
    ];
    let rest = ["-days", "365", "-extfile", extensions, "-out", &certificate];
    tools::run("openssl", &[&by[..], &rest].concat(), at);
}

fn pem(path: &Path, kind: SectionKind) -> Vec<u8> {
    blocks(&std::fs::read(path).unwrap(), kind).remove(0)
}

/// The PEM blocks of a kind.
pub(crate) fn blocks(text: &[u8], kind: SectionKind) -> Vec<Vec<u8>> {
    let all = <(SectionKind, Vec<u8>)>::pem_slice_iter(text).map(Result::unwrap);
    all.filter(|(found, _)| *found == kind).map(|(_, der)| der).collect()
}
