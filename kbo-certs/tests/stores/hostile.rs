//! Bytes that are no stores, and passwords that open none.

use kbo_certs::jks::Jks;
use kbo_certs::pkcs12::{Pkcs12, Profile};
use kbo_certs::store::{Store, StoreError};
use kbo_core::secret::Secret;
use proptest::prelude::*;

use super::identity::{Identity, identities, store};

fn small() -> Store {
    store(&identities()[2..3])
}

fn password() -> Secret {
    Secret::new("changeit")
}

fn written() -> (Vec<u8>, Vec<u8>) {
    (
        Jks::write(&small(), &password(), None).unwrap(),
        Pkcs12::write(&small(), &password(), Profile::Modern).unwrap(),
    )
}

#[test]
fn a_wrong_password_is_told_apart() {
    let (jks, pkcs12) = written();
    for wrong in ["changeiT", "", "changeit ", "пароль"] {
        let wrong = Secret::new(wrong);
        assert_eq!(Jks::read(&jks, &wrong, None), Err(StoreError::WrongPassword));
        assert_eq!(Pkcs12::read(&pkcs12, &wrong), Err(StoreError::WrongPassword));
    }
}

/// The format has no such passwords: another message than that of a store that is none.
#[test]
fn a_password_that_pkcs12_cannot_hold_is_called_so() {
    let (_, pkcs12) = written();
    let read = Pkcs12::read(&pkcs12, &Secret::new("changeit🔑"));
    assert!(
        matches!(&read, Err(StoreError::Unsupported(what)) if what.contains("password")),
        "{read:?}"
    );
}

/// A store of many keys, each of which says that it takes a million iterations: the checksum does not fit any more.
fn of_a_million_each(keys: usize) -> Vec<u8> {
    a_million_each(with_keys(keys), keys + 1)
}

/// The same of secrets, which are nothing for this crate, and are opened by the decoder all the same.
fn secrets_of_a_million_each(secrets: usize) -> Vec<u8> {
    let mut keystore = p12_keystore::KeyStore::new();
    for at in 0..secrets {
        let secret = p12_keystore::secret::Secret::builder(p12_keystore::secret::SecretKeyType::Aes)
            .with_length(32)
            .build()
            .unwrap();
        keystore.add_entry(&format!("{at}"), p12_keystore::KeyStoreEntry::Secret(secret));
    }
    a_million_each(keystore, secrets)
}

fn with_keys(keys: usize) -> p12_keystore::KeyStore {
    let Identity { key, chain, .. } = &identities()[2];
    let mut keystore = p12_keystore::KeyStore::new();
    for at in 0..keys {
        let key = p12_keystore::PrivateKey::from_der(key.pkcs8()).unwrap();
        let leaf = p12_keystore::Certificate::from_der(&chain[0].0).unwrap();
        let chain = p12_keystore::PrivateKeyChain::new(format!("{at}"), key, [leaf]);
        keystore.add_entry(&format!("{at}"), p12_keystore::KeyStoreEntry::PrivateKeyChain(chain));
    }
    keystore
}

fn a_million_each(keystore: p12_keystore::KeyStore, places: usize) -> Vec<u8> {
    let mut bytes = keystore
        .writer("changeit")
        .encryption_iterations(0x01_0000)
        .write()
        .unwrap();
    let (few, million) = ([0x02, 0x03, 0x01, 0x00, 0x00], [0x02, 0x03, 0x0F, 0x42, 0x40]);
    let mut changed = 0;
    for at in 0..bytes.len() - few.len() {
        if bytes[at..].starts_with(&few) {
            bytes[at..at + few.len()].copy_from_slice(&million);
            changed += 1;
        }
    }
    // The keys, and the certificates together.
    assert!(changed == places || changed == places + 1, "{changed}");
    bytes
}

#[test]
fn more_than_ten_million_iterations_in_sum_are_not_begun() {
    let (few, many) = (of_a_million_each(3), of_a_million_each(10));
    let begun = std::time::Instant::now();
    assert_eq!(Pkcs12::read(&few, &password()), Err(StoreError::WrongPassword));
    let read = Pkcs12::read(&many, &password());
    assert!(
        matches!(&read, Err(StoreError::Malformed { why, .. }) if why.contains("asks for 11010000 iterations")),
        "{read:?}"
    );
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
}

#[test]
fn secrets_count_among_the_iterations_as_keys_do() {
    let begun = std::time::Instant::now();
    let few = Pkcs12::read(&secrets_of_a_million_each(3), &password());
    assert_eq!(few, Err(StoreError::WrongPassword));
    let many = Pkcs12::read(&secrets_of_a_million_each(12), &password());
    assert!(
        matches!(&many, Err(StoreError::Malformed { why, .. }) if why.contains("iterations, more than 10000000")),
        "{many:?}"
    );
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
}

#[test]
fn a_store_cut_off_anywhere_is_an_error() {
    let (jks, pkcs12) = written();
    for length in 0..jks.len() {
        assert!(Jks::read(&jks[..length], &password(), None).is_err(), "{length}");
    }
    for length in 0..pkcs12.len() {
        let cut = Pkcs12::read(&pkcs12[..length], &password());
        assert!(matches!(cut, Err(StoreError::Malformed { .. })), "{length}: {cut:?}");
    }
}

#[test]
fn a_changed_bit_is_noticed() {
    let (jks, pkcs12) = written();
    for at in 0..jks.len() {
        let mut changed = jks.clone();
        changed[at] ^= 1;
        assert!(Jks::read(&changed, &password(), None).is_err(), "byte {at}");
    }
    for at in (0..pkcs12.len()).step_by(37) {
        let mut changed = pkcs12.clone();
        changed[at] ^= 1;
        assert!(Pkcs12::read(&changed, &password()).is_err(), "byte {at}");
    }
}

#[test]
fn one_format_is_not_taken_for_the_other() {
    let (jks, pkcs12) = written();
    assert!(matches!(
        Jks::read(&pkcs12, &password(), None),
        Err(StoreError::Malformed { .. })
    ));
    assert!(matches!(
        Pkcs12::read(&jks, &password()),
        Err(StoreError::Malformed { .. })
    ));
}

#[test]
fn a_claim_of_four_billion_entries_takes_no_memory() {
    let bytes = [
        &[0xFE, 0xED, 0xFE, 0xED, 0, 0, 0, 2, 0xFF, 0xFF, 0xFF, 0xFF][..],
        &[0; 64],
    ]
    .concat();
    assert!(matches!(
        Jks::read(&bytes, &password(), None),
        Err(StoreError::Malformed { .. })
    ));
}

/// The store with another number of iterations at the end, where the checksum's stand.
fn with_mac_iterations(iterations: u32) -> Vec<u8> {
    let (_, mut bytes) = written();
    let ten_thousand = [0x02, 0x02, 0x27, 0x10];
    assert!(bytes.ends_with(&ten_thousand));
    // The checksum's sequence is the one with a short length that ends where the store does.
    let ends_here = |at: &usize| bytes[*at] == 0x30 && at + 2 + usize::from(bytes[at + 1]) == bytes.len();
    let mac = (bytes.len() - 129..bytes.len() - 2).find(ends_here).unwrap();
    bytes.truncate(bytes.len() - 4);
    bytes.extend_from_slice(&[0x02, 0x04]);
    bytes.extend_from_slice(&iterations.to_be_bytes());
    // Two bytes more within the checksum's sequence and the outer one.
    bytes[mac + 1] += 2;
    assert_eq!(bytes[..2], [0x30, 0x82]);
    let outer = u16::from_be_bytes([bytes[2], bytes[3]]) + 2;
    bytes[2..4].copy_from_slice(&outer.to_be_bytes());
    bytes
}

#[test]
fn two_billion_iterations_are_not_computed() {
    let begun = std::time::Instant::now();
    for iterations in [0x0100_0000, 0x7FFF_FFFF] {
        let read = Pkcs12::read(&with_mac_iterations(iterations), &password());
        assert!(
            matches!(&read, Err(StoreError::Malformed { why, .. }) if why.contains("iterations")),
            "{read:?}"
        );
    }
    // Two billion would take minutes.
    assert!(begun.elapsed().as_secs() < 20);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Pkcs12::read(&bytes, &password()).is_err());
        prop_assert!(Jks::read(&[&[0xFE, 0xED, 0xFE, 0xED, 0, 0, 0, 2][..], &bytes].concat(), &password(), None).is_err());
    }

    #[test]
    fn no_damage_panics(at in 0..4000_usize, noise in prop::collection::vec(any::<u8>(), 1..9)) {
        let (jks, pkcs12) = {
            static WRITTEN: std::sync::OnceLock<(Vec<u8>, Vec<u8>)> = std::sync::OnceLock::new();
            WRITTEN.get_or_init(written).clone()
        };
        for (mut bytes, is_jks) in [(jks, true), (pkcs12, false)] {
            let at = at % bytes.len();
            let end = (at + noise.len()).min(bytes.len());
            bytes.splice(at..end, noise.iter().copied());
            let read = if is_jks { Jks::read(&bytes, &password(), None) } else { Pkcs12::read(&bytes, &password()) };
            prop_assert!(read.is_err() || read == Ok(small()));
        }
    }
}
