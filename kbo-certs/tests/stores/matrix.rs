//! keytool, OpenSSL and pyjks agree with kbo on every store: on each kind of key, one and many aliases, both formats and profiles.

use std::collections::BTreeMap;
use std::path::Path;

use kbo_certs::jks::Jks;
use kbo_certs::pkcs12::{Pkcs12, Profile};
use kbo_certs::store::{Content, Store, StoreError};
use kbo_core::secret::Secret;
use rustls_pki_types::pem::SectionKind;
use serde_json::Value;
use tempfile::TempDir;

use super::identity::{Identity, blocks, identities, store};
use super::tools;

const ASCII: &str = "change it, please!";
const UNICODE: &str = "pässwörd-пароль-🔑";

/// What is compared: of each alias the key, if it is one, and the certificates.
type Contents = BTreeMap<String, (Option<Der>, Vec<Der>)>;

/// Bytes of which a failed comparison shows no more than their end.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Der(Vec<u8>);

impl std::fmt::Debug for Der {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} bytes to {:02x?}",
            self.0.len(),
            &self.0[self.0.len().saturating_sub(4)..]
        )
    }
}

fn ders(bytes: Vec<Vec<u8>>) -> Vec<Der> {
    bytes.into_iter().map(Der).collect()
}

fn contents(store: &Store) -> Contents {
    let of = |content: &Content| match content {
        Content::Key { key, chain } => (
            Some(Der(key.pkcs8().to_vec())),
            chain.iter().map(|certificate| Der(certificate.0.clone())).collect(),
        ),
        Content::Trusted(certificate) => (None, vec![Der(certificate.0.clone())]),
    };
    let entries = store.entries.iter();
    entries.map(|entry| (entry.alias.clone(), of(&entry.content))).collect()
}

/// A store of one key, for each kind, and one of all.
fn stores() -> impl Iterator<Item = (&'static str, &'static [Identity])> {
    let each = identities().chunks(1).map(|one| (one[0].kind, one));
    each.chain([("all", identities())])
}

/// A folder with the password in a file: programs take none by argument.
fn folder(password: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("password"), password).unwrap();
    std::fs::write(dir.path().join("ascii"), ASCII).unwrap();
    dir
}

/// Everything in a store as keytool sees it: it copies the store, keys and all, into a PKCS12 of its own, and lists the original.
fn by_keytool(dir: &Path, name: &str, kind: &str) -> Contents {
    let from = [
        "-srckeystore",
        name,
        "-srcstoretype",
        kind,
        "-srcstorepass:file",
        "password",
    ];
    let to = [
        "-destkeystore",
        "copy.p12",
        "-deststoretype",
        "PKCS12",
        "-deststorepass:file",
        "ascii",
    ];
    tools::keytool(&[&["-importkeystore", "-noprompt"][..], &from, &to].concat(), dir);
    let listed = [
        "-list",
        "-rfc",
        "-keystore",
        name,
        "-storetype",
        kind,
        "-storepass:file",
        "password",
    ];
    let listed = String::from_utf8(tools::keytool(&listed, dir)).unwrap();
    let copy = std::fs::read(dir.join("copy.p12")).unwrap();
    std::fs::remove_file(dir.join("copy.p12")).unwrap();
    let copied = contents(&Pkcs12::read(&copy, &Secret::new(ASCII)).unwrap());
    // The listing, by itself, has the same certificates in the same order.
    let mut parts = listed.split("Alias name: ").skip(1);
    let shown: BTreeMap<String, Vec<Der>> = parts
        .by_ref()
        .map(|part| {
            let (alias, rest) = part.split_once('\n').unwrap();
            (
                alias.trim().to_owned(),
                ders(blocks(rest.as_bytes(), SectionKind::Certificate)),
            )
        })
        .collect();
    let certificates = copied.iter().map(|(alias, (_, chain))| (alias.clone(), chain.clone()));
    assert_eq!(shown, certificates.collect());
    copied
}

/// Keys and certificates as OpenSSL sees them, whatever their names.
fn by_openssl(dir: &Path, name: &str) -> (Vec<Der>, Vec<Der>) {
    let args = ["pkcs12", "-in", name, "-passin", "file:password", "-nodes"];
    let version = String::from_utf8(tools::run("openssl", &["version"], dir)).unwrap();
    // What is old is in a provider of its own since version 3; 3DES is not that old.
    assert!(version.starts_with("OpenSSL "), "{version}");
    let printed = tools::run("openssl", &args, dir);
    let mut keys = ders(blocks(&printed, SectionKind::PrivateKey));
    let mut certificates = ders(blocks(&printed, SectionKind::Certificate));
    keys.sort();
    certificates.sort();
    certificates.dedup();
    (keys, certificates)
}

fn by_pyjks(dir: &Path, name: &str) -> Contents {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stores/pyjks_dump.py");
    let printed = tools::run(tools::python(), &[script, name, "password"], dir);
    let document: BTreeMap<String, Value> = serde_json::from_slice(&printed).unwrap();
    let bytes = |hex: &Value| Der(unhex(hex.as_str().unwrap()));
    let of = |entry: &Value| {
        let key = (!entry["key"].is_null()).then(|| bytes(&entry["key"]));
        (key, entry["chain"].as_array().unwrap().iter().map(bytes).collect())
    };
    document
        .iter()
        .map(|(alias, entry)| (alias.clone(), of(entry)))
        .collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = (0..text.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// Java wraps keys anew: an RSA or EC key may come back with other optional fields. OpenSSL says what key it is.
fn same_keys(dir: &Path, ours: &Contents, theirs: &Contents) {
    let aliases = |contents: &Contents| contents.keys().cloned().collect::<Vec<_>>();
    assert_eq!(aliases(ours), aliases(theirs));
    for (alias, (key, chain)) in ours {
        let (their_key, their_chain) = &theirs[alias];
        assert_eq!(chain, their_chain, "{alias}");
        assert_eq!(key.is_some(), their_key.is_some(), "{alias}");
        if let (Some(key), Some(their_key)) = (key, their_key) {
            assert_eq!(public_half(dir, key), public_half(dir, their_key), "{alias}");
        }
    }
}

fn public_half(dir: &Path, key: &Der) -> Vec<u8> {
    std::fs::write(dir.join("key.der"), &key.0).unwrap();
    let args = ["pkey", "-inform", "DER", "-in", "key.der", "-pubout", "-outform", "DER"];
    tools::run("openssl", &args, dir)
}

fn agree_on_pkcs12(profile: Profile) {
    for (name, identities) in stores() {
        let store = store(identities);
        let dir = folder(ASCII);
        let bytes = Pkcs12::write(&store, &Secret::new(ASCII), profile).unwrap();
        std::fs::write(dir.path().join("store.p12"), &bytes).unwrap();
        let ours = contents(&store);
        same_keys(dir.path(), &ours, &by_keytool(dir.path(), "store.p12", "PKCS12"));
        let (keys, certificates) = by_openssl(dir.path(), "store.p12");
        let mut expected: Vec<Der> = ours.values().filter_map(|(key, _)| key.clone()).collect();
        expected.sort();
        assert_eq!(keys, expected, "{name}");
        let mut expected: Vec<Der> = ours.values().flat_map(|(_, chain)| chain.clone()).collect();
        expected.sort();
        expected.dedup();
        assert_eq!(certificates, expected, "{name}");
    }
}

#[test]
fn keytool_and_openssl_agree_on_modern_pkcs12() {
    agree_on_pkcs12(Profile::Modern);
}

#[test]
fn keytool_and_openssl_agree_on_legacy_pkcs12() {
    agree_on_pkcs12(Profile::Legacy);
}

#[test]
fn keytool_and_pyjks_agree_on_jks() {
    for (_, identities) in stores() {
        agree_on_jks(identities, ASCII);
    }
}

#[test]
fn keytool_and_pyjks_agree_on_jks_with_a_password_of_any_letters() {
    agree_on_jks(identities(), UNICODE);
}

fn agree_on_jks(identities: &[Identity], password: &str) {
    let store = store(identities);
    let dir = folder(password);
    let bytes = Jks::write(&store, &Secret::new(password), None).unwrap();
    std::fs::write(dir.path().join("store.jks"), bytes).unwrap();
    let ours = contents(&store);
    assert_eq!(by_pyjks(dir.path(), "store.jks"), ours);
    same_keys(dir.path(), &ours, &by_keytool(dir.path(), "store.jks", "JKS"));
}

/// keytool copies a store of kbo's into one of its own making, which is read again.
#[test]
fn a_jks_of_keytool_is_read() {
    let store = store(identities());
    let dir = folder(ASCII);
    let bytes = Pkcs12::write(&store, &Secret::new(ASCII), Profile::Modern).unwrap();
    std::fs::write(dir.path().join("from.p12"), bytes).unwrap();
    let from = [
        "-srckeystore",
        "from.p12",
        "-srcstoretype",
        "PKCS12",
        "-srcstorepass:file",
        "password",
    ];
    let to = [
        "-destkeystore",
        "to.jks",
        "-deststoretype",
        "JKS",
        "-deststorepass:file",
        "password",
    ];
    tools::keytool(
        &[&["-importkeystore", "-noprompt"][..], &from, &to].concat(),
        dir.path(),
    );
    let bytes = std::fs::read(dir.path().join("to.jks")).unwrap();
    let read = Jks::read(&bytes, &Secret::new(ASCII), None).unwrap();
    same_keys(dir.path(), &contents(&store), &contents(&read));
    assert!(read.entries.iter().all(|entry| entry.created_ms > 1_600_000_000_000));
}

/// `openssl pkcs12 -export` marks nothing as trusted and links the key to its leaf alone.
#[test]
fn what_openssl_exports_is_read() {
    let identity = &identities()[0];
    let dir = folder(ASCII);
    let at = dir.path();
    let write = |name: &str, der: &[u8]| std::fs::write(at.join(name), der).unwrap();
    write("key.der", identity.key.pkcs8());
    tools::run(
        "openssl",
        &["pkey", "-inform", "DER", "-in", "key.der", "-out", "key.pem"],
        at,
    );
    let mut chain = vec![];
    for (name, certificate) in ["leaf", "middle"].iter().zip(&identity.chain) {
        write("one.der", &certificate.0);
        let pem = tools::run("openssl", &["x509", "-inform", "DER", "-in", "one.der"], at);
        write(&format!("{name}.pem"), &pem);
        chain.extend_from_slice(&pem);
    }
    write("chain.pem", &chain);
    let export = [
        "pkcs12",
        "-export",
        "-in",
        "chain.pem",
        "-inkey",
        "key.pem",
        "-name",
        "Kafka",
        "-passout",
        "file:password",
    ];
    for extra in [
        &[][..],
        &["-legacy"],
        &[
            "-certpbe",
            "PBE-SHA1-3DES",
            "-keypbe",
            "PBE-SHA1-3DES",
            "-macalg",
            "sha1",
        ],
    ] {
        tools::run("openssl", &[&export[..], extra, &["-out", "store.p12"]].concat(), at);
        let read = Pkcs12::read(&std::fs::read(at.join("store.p12")).unwrap(), &Secret::new(ASCII)).unwrap();
        assert_eq!(read.entries.len(), 1);
        assert_eq!(read.entries[0].alias, "kafka");
        let Content::Key { key, chain } = &read.entries[0].content else {
            panic!("{read:?}")
        };
        assert_eq!((key, &chain[..]), (&identity.key, &identity.chain[..2]));
    }
    // A truststore that Java would take for an empty one, and a store that nothing vouches for, are refused by name.
    let bare = [
        "pkcs12",
        "-export",
        "-in",
        "middle.pem",
        "-nokeys",
        "-passout",
        "file:password",
        "-out",
        "bare.p12",
    ];
    tools::run("openssl", &bare, at);
    let read = Pkcs12::read(&std::fs::read(at.join("bare.p12")).unwrap(), &Secret::new(ASCII));
    assert!(
        matches!(&read, Err(StoreError::Unsupported(what)) if what.contains("trusted")),
        "{read:?}"
    );
    tools::run("openssl", &[&export[..], &["-nomac", "-out", "nomac.p12"]].concat(), at);
    let read = Pkcs12::read(&std::fs::read(at.join("nomac.p12")).unwrap(), &Secret::new(ASCII));
    assert!(
        matches!(&read, Err(StoreError::Unsupported(what)) if what.contains("checksum")),
        "{read:?}"
    );
}
