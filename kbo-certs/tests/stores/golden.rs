//! Stores that keytool and OpenSSL made once, which must stay readable.

use kbo_certs::jks::Jks;
use kbo_certs::pkcs12::Pkcs12;
use kbo_certs::store::{Content, Store};
use kbo_core::secret::Secret;

fn file(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/testdata/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn key_of(store: &Store) -> &Content {
    let key = store.entries.iter().find(|entry| entry.alias == "kafka").unwrap();
    assert!(matches!(&key.content, Content::Key { chain, .. } if chain.len() == 1));
    &key.content
}

#[test]
fn stores_of_keytool_and_openssl_hold_the_same_key() {
    let password = Secret::new("changeit");
    let of_keytool = Pkcs12::read(&file("keytool.p12"), &password).unwrap();
    let jks = Jks::read(&file("keytool.jks"), &password, None).unwrap();
    assert_eq!(key_of(&of_keytool), key_of(&jks));
    for name in ["openssl.p12", "openssl-legacy.p12"] {
        let store = Pkcs12::read(&file(name), &password).unwrap();
        assert_eq!(store.entries.len(), 1);
        // OpenSSL leaves the public half out of the key: the certificate is what is the same.
        let (Content::Key { chain, .. }, Content::Key { chain: same, .. }) = (key_of(&store), key_of(&jks)) else {
            panic!("{name}: {store:?}")
        };
        assert_eq!(chain, same);
    }
}

#[test]
fn a_trusted_certificate_of_keytool_is_an_entry() {
    let store = Pkcs12::read(&file("keytool.p12"), &Secret::new("changeit")).unwrap();
    let trusted = store.entries.iter().find(|entry| entry.alias == "authority").unwrap();
    assert!(matches!(trusted.content, Content::Trusted(_)));
    let key = store.entries.iter().find(|entry| entry.alias == "kafka").unwrap();
    // keytool notes when the key was put in.
    assert!(key.created_ms > 1_700_000_000_000, "{}", key.created_ms);
}
