//! What is written is read back as it was.

use kbo_certs::jks::Jks;
use kbo_certs::pkcs12::{Pkcs12, Profile};
use kbo_certs::store::{Certificate, Content, Entry, PrivateKey, Store, StoreError};
use kbo_core::secret::Secret;
use proptest::prelude::*;

use super::identity::{identities, store};

fn secret(text: &str) -> Secret {
    Secret::new(text)
}

#[test]
fn two_writes_differ_in_nothing_but_salts() {
    let store = store(identities());
    let password = secret("changeit");
    let one = Jks::write(&store, &password, None).unwrap();
    let two = Jks::write(&store, &password, None).unwrap();
    assert!(one != two && one.len() == two.len());
    for profile in [Profile::Modern, Profile::Legacy] {
        let one = Pkcs12::write(&store, &password, profile).unwrap();
        let two = Pkcs12::write(&store, &password, profile).unwrap();
        assert!(one != two && one.len() == two.len());
        assert_eq!(Pkcs12::read(&one, &password), Pkcs12::read(&two, &password));
    }
}

#[test]
fn a_key_may_have_a_password_of_its_own_in_jks() {
    let store = store(identities());
    let (outer, inner) = (secret("changeit"), secret("another one"));
    let bytes = Jks::write(&store, &outer, Some(&inner)).unwrap();
    assert_eq!(Jks::read(&bytes, &outer, Some(&inner)).unwrap(), store);
    assert_eq!(Jks::read(&bytes, &outer, None), Err(StoreError::WrongPassword));
}

#[test]
fn keys_of_one_time_keep_their_own_certificates_in_pkcs12() {
    let entries = identities()
        .iter()
        .map(|identity| identity.entry(identity.kind, 7))
        .collect();
    let store = Store { entries };
    let password = secret("changeit");
    let bytes = Pkcs12::write(&store, &password, Profile::Modern).unwrap();
    let read = Pkcs12::read(&bytes, &password).unwrap();
    for entry in &store.entries {
        let found = read.entries.iter().find(|found| found.alias == entry.alias).unwrap();
        assert_eq!(found.content, entry.content);
    }
}

#[test]
fn the_last_of_all_times_is_a_time_in_pkcs12() {
    let entries = ["one", "two"]
        .map(|alias| identities()[2].entry(alias, u64::MAX))
        .to_vec();
    let password = secret("changeit");
    let bytes = Pkcs12::write(&Store { entries }, &password, Profile::Modern).unwrap();
    let read = Pkcs12::read(&bytes, &password).unwrap();
    let times: Vec<u64> = read.entries.iter().map(|entry| entry.created_ms).collect();
    assert_eq!(times, [u64::MAX, 0]);
}

#[test]
fn a_chain_without_end_is_not_written() {
    let identity = &identities()[2];
    let mut entry = identity.entry("kafka", 1);
    entry.content = Content::Key {
        key: identity.key.clone(),
        chain: vec![identity.chain[0].clone(); 33],
    };
    let store = Store { entries: vec![entry] };
    let written = Pkcs12::write(&store, &secret("changeit"), Profile::Modern);
    assert!(
        matches!(&written, Err(StoreError::Unwritable(why)) if why.contains("32 certificates")),
        "{written:?}"
    );
}

#[test]
fn what_java_would_not_take_is_not_written() {
    let identity = &identities()[2];
    let password = secret("changeit");
    let refused = |aliases: &[&str], password: &Secret| {
        let entries = aliases.iter().map(|alias| identity.entry(alias, 1)).collect();
        let store = Store { entries };
        let jks = Jks::write(&store, password, None).map(drop);
        let pkcs12 = Pkcs12::write(&store, password, Profile::Modern).map(drop);
        (jks, pkcs12)
    };
    for aliases in [&["Kafka", "kAFKA"][..], &[""]] {
        let (jks, pkcs12) = refused(aliases, &password);
        assert!(matches!(jks, Err(StoreError::Unwritable(_))), "{jks:?}");
        assert!(matches!(pkcs12, Err(StoreError::Unwritable(_))), "{pkcs12:?}");
    }
    let (jks, pkcs12) = refused(&["kafka"], &secret("short"));
    assert!(jks.is_err() && pkcs12.is_err());
    let (jks, pkcs12) = refused(&["kafka"], &secret("pässwörd"));
    assert_eq!(jks, Ok(()));
    assert!(
        matches!(&pkcs12, Err(StoreError::Unwritable(why)) if why.contains("ASCII")),
        "{pkcs12:?}"
    );
    let (jks, pkcs12) = refused(&["🔑"], &password);
    assert_eq!(jks, Ok(()));
    assert!(pkcs12.is_err());
}

fn any_certificate() -> impl Strategy<Value = Certificate> {
    prop::collection::vec(any::<u8>(), 0..64).prop_map(Certificate)
}

/// JKS looks into nothing that it holds.
fn any_jks_entry() -> impl Strategy<Value = Content> {
    let key = (
        prop::collection::vec(any::<u8>(), 0..99),
        prop::collection::vec(any_certificate(), 1..4),
    );
    prop_oneof![
        any_certificate().prop_map(Content::Trusted),
        key.prop_map(|(key, chain)| Content::Key {
            key: PrivateKey::from_pkcs8(key),
            chain
        }),
    ]
}

/// Real ones: PKCS12 keeps the order of aliases, keys before certificates.
fn any_pkcs12_entry() -> impl Strategy<Value = Content> {
    (0..identities().len(), 0..4_usize).prop_map(|(which, at)| {
        let identity = &identities()[which];
        match identity.chain.get(at) {
            Some(certificate) => Content::Trusted(certificate.clone()),
            None => identity.entry("", 0).content,
        }
    })
}

proptest! {
    #[test]
    fn every_jks_comes_back(
        contents in prop::collection::btree_map("[^A-Z\\x00-\\x1f]{1,12}", (any_jks_entry(), any::<u64>()), 0..8),
        password in ".{6,20}",
    ) {
        let contents = contents.into_iter().filter(|(alias, _)| alias.to_lowercase() == *alias);
        let entries = contents.map(|(alias, (content, created_ms))| Entry { alias, created_ms, content });
        let store = Store { entries: entries.collect() };
        let password = secret(&password);
        let bytes = Jks::write(&store, &password, None).unwrap();
        prop_assert_eq!(Jks::read(&bytes, &password, None), Ok(store));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_pkcs12_comes_back(
        contents in prop::collection::btree_map("[a-zé0-9 _.-]{1,12}", any_pkcs12_entry(), 1..6),
        password in "[ -~]{6,20}",
        legacy in any::<bool>(),
    ) {
        let is_key = |entry: &Entry| matches!(entry.content, Content::Key { .. });
        let entries = contents.into_iter().zip(1_u64..).map(|((alias, content), created_ms)| {
            let entry = Entry { alias, created_ms, content };
            let created_ms = if is_key(&entry) { created_ms } else { 0 };
            Entry { created_ms, ..entry }
        });
        let (keys, trusted): (Vec<_>, Vec<_>) = entries.partition(is_key);
        let store = Store { entries: keys.into_iter().chain(trusted).collect() };
        let profile = if legacy { Profile::Legacy } else { Profile::Modern };
        let password = secret(&password);
        let bytes = Pkcs12::write(&store, &password, profile).unwrap();
        prop_assert_eq!(Pkcs12::read(&bytes, &password), Ok(store));
    }
}
