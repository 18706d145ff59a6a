//! The order of chains.

use std::sync::OnceLock;

use kbo_certs::certificate::Parsed;
use kbo_certs::chain::{Chain, order};
use proptest::prelude::*;

use crate::support::{Authority, DAY, NOW, Wish, authority, now, p256, sign};

fn parsed(authority: &Authority) -> Parsed {
    Parsed::from_der(&authority.der()).unwrap()
}

/// A root, three intermediates below each other, a leaf; and a certificate that belongs to none of them.
fn long() -> &'static (Parsed, Vec<Parsed>) {
    static LONG: OnceLock<(Parsed, Vec<Parsed>)> = OnceLock::new();
    LONG.get_or_init(|| {
        let root = authority(&Wish::authority("Root"), None);
        let one = authority(&Wish::authority("One"), Some(&root));
        let two = authority(&Wish::authority("Two"), Some(&one));
        let three = authority(&Wish::authority("Three"), Some(&two));
        let leaf = authority(&Wish::leaf(), Some(&three));
        let stranger = authority(&Wish::authority("Stranger"), None);
        let others = [&root, &one, &two, &three, &stranger].map(parsed).to_vec();
        (parsed(&leaf), others)
    })
}

fn names(chain: &Chain) -> Vec<&str> {
    chain.served.iter().map(|one| one.facts().subject.as_str()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_order_with_duplicates_makes_one_chain(
        shuffled in Just((0..5).chain(0..5).collect::<Vec<usize>>()).prop_shuffle(),
        twice in 0..5_usize,
    ) {
        let (leaf, others) = long();
        // Each at least once; some twice.
        let mut pool: Vec<Parsed> = shuffled.iter().map(|at| others[*at].clone()).collect();
        pool.truncate(10 - twice.min(1));
        pool.extend(others.iter().cloned());
        pool.insert(twice, leaf.clone());
        let chain = order(leaf, &pool, now());
        prop_assert_eq!(names(&chain), ["CN=*.example.org", "CN=Three", "CN=Two", "CN=One"]);
        prop_assert_eq!(chain.root.as_ref().map(|root| root.facts().subject.as_str()), Some("CN=Root"));
        prop_assert_eq!(chain.aside.len(), 1);
    }
}

#[test]
fn without_the_root_the_chain_goes_as_far_as_it_can() {
    let (leaf, others) = long();
    let chain = order(leaf, &others[1..], now());
    assert_eq!(names(&chain), ["CN=*.example.org", "CN=Three", "CN=Two", "CN=One"]);
    assert_eq!(chain.root, None);
    let chain = order(leaf, &others[2..3], now());
    assert_eq!(names(&chain), ["CN=*.example.org"]);
}

#[test]
fn authorities_that_sign_each_other_end_in_no_ring() {
    let a = authority(&Wish::authority("A"), None);
    let b = authority(&Wish::authority("B"), None);
    let a_by_b = Authority {
        key: a.key.clone(),
        certificate: sign(&Wish::authority("A"), &a.key, Some(&b)),
    };
    let b_by_a = Authority {
        key: b.key.clone(),
        certificate: sign(&Wish::authority("B"), &b.key, Some(&a)),
    };
    let leaf = authority(&Wish::leaf(), Some(&a));
    let chain = order(&parsed(&leaf), &[parsed(&a_by_b), parsed(&b_by_a)], now());
    assert_eq!(chain.root, None);
    assert_eq!(names(&chain), ["CN=*.example.org", "CN=A", "CN=B"]);
    // With a root the shortest way is taken.
    let chain = order(
        &parsed(&leaf),
        &[parsed(&b), parsed(&b_by_a), parsed(&a_by_b), parsed(&a)],
        now(),
    );
    assert_eq!(names(&chain), ["CN=*.example.org"]);
    assert_eq!(chain.root, Some(parsed(&a)));
}

#[test]
fn of_two_certificates_of_one_authority_the_valid_one_is_taken() {
    let root = authority(&Wish::authority("Root"), None);
    let new = authority(&Wish::authority("Middle"), Some(&root));
    let expired = Wish {
        until: NOW - DAY,
        serial: 8,
        ..Wish::authority("Middle")
    };
    let old = Authority {
        key: new.key.clone(),
        certificate: sign(&expired, &new.key, Some(&root)),
    };
    let leaf = authority(&Wish::leaf(), Some(&new));
    for pool in [[&old, &new, &root], [&root, &new, &old]] {
        let chain = order(&parsed(&leaf), &pool.map(parsed), now());
        assert_eq!(chain.served[1], parsed(&new));
        assert_eq!(chain.aside, [parsed(&old)]);
    }
}

#[test]
fn a_longer_way_that_is_valid_is_taken_before_a_shorter_one_that_has_expired() {
    let new_root = authority(&Wish::authority("New Root"), None);
    let crossed = authority(&Wish::authority("Old Root"), Some(&new_root));
    let expired = Wish {
        until: NOW - DAY,
        ..Wish::authority("Old Root")
    };
    let old_root = Authority {
        key: crossed.key.clone(),
        certificate: sign(&expired, &crossed.key, None),
    };
    let intermediate = authority(&Wish::authority("Intermediate"), Some(&crossed));
    let leaf = authority(&Wish::leaf(), Some(&intermediate));
    let pool = [&old_root, &intermediate, &new_root, &crossed].map(parsed);
    let chain = order(&parsed(&leaf), &pool, now());
    assert_eq!(names(&chain), ["CN=*.example.org", "CN=Intermediate", "CN=Old Root"]);
    assert_eq!(chain.root, Some(parsed(&new_root)));
    assert_eq!(chain.aside, [parsed(&old_root)]);
    // Where no way is valid, an expired one is better than none.
    let chain = order(&parsed(&leaf), &pool[..2], now());
    assert_eq!(chain.root, Some(parsed(&old_root)));
}

#[test]
fn a_certificate_without_end_has_the_last_time_that_there_is() {
    // 9999-12-31T23:59:59Z.
    let endless = Wish {
        until: 253_402_300_799,
        ..Wish::leaf()
    };
    let certificate = sign(&endless, &p256(), None);
    let parsed = Parsed::from_der(&certificate.to_der().unwrap()).unwrap();
    assert_eq!(parsed.facts().not_after, jiff::Timestamp::MAX);
    assert!(parsed.is_valid_at(now()));
}

#[test]
fn an_authority_of_the_same_name_with_another_key_is_none() {
    let root = authority(&Wish::authority("Root"), None);
    let same_name = authority(&Wish::authority("Root"), None);
    let leaf = authority(&Wish::leaf(), Some(&root));
    let chain = order(&parsed(&leaf), &[parsed(&same_name)], now());
    assert_eq!(chain.root, None);
    assert_eq!(chain.served.len(), 1);
}

#[test]
fn facts_are_those_of_the_certificate() {
    let wish = Wish {
        serial: 0x0a_bcde,
        addresses: vec!["10.1.2.3".to_owned(), "fd00::1".to_owned()],
        ..Wish::leaf()
    };
    let certificate = sign(&wish, &p256(), None);
    let parsed = Parsed::from_der(&certificate.to_der().unwrap()).unwrap();
    let facts = parsed.facts();
    assert_eq!(facts.serial, "abcde");
    assert_eq!(facts.not_after.as_second(), wish.until);
    assert_eq!(facts.dns_names, ["*.example.org"]);
    assert_eq!(
        facts.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.1.2.3", "fd00::1"]
    );
    assert_eq!(
        facts.fingerprint,
        hex::encode(certificate.digest(openssl::hash::MessageDigest::sha256()).unwrap())
    );
    assert!(!facts.is_ca && !facts.weak_signature && parsed.is_self_signed());
}
