//! Sets out of files of any kind and order.

use kbo_certs::set::{Options, SetError, WildcardSet};
use kbo_core::secret::Secret;
use openssl::symm::Cipher;

use crate::support::{Authority, DAY, NOW, Wish, authority, made, options, p256, sign};

fn set(files: Vec<(&'static str, Vec<u8>)>) -> WildcardSet {
    WildcardSet::from_files(files, &options()).unwrap()
}

fn served(set: &WildcardSet) -> Vec<&str> {
    set.served().iter().map(|one| one.facts().subject.as_str()).collect()
}

fn notes(set: &WildcardSet) -> Vec<String> {
    set.notes()
        .iter()
        .map(|note| format!("{} {}", note.file, note.text))
        .collect()
}

#[test]
fn whatever_the_files_are_called_and_however_they_are_divided_the_set_is_the_same() {
    let made = made(&Wish::leaf());
    let (key, leaf) = (made.leaf.key_pem(), made.leaf.pem());
    let (middle, root) = (made.intermediate.pem(), made.root.pem());
    let divided = [
        made.files(),
        vec![("all", [&root[..], &key, &middle, &leaf, &root, &leaf].concat())],
        vec![("crt", [&key[..], &root, &middle].concat()), ("key", leaf.clone())],
        vec![
            ("a.der", made.leaf.key.private_key_to_pkcs8().unwrap()),
            ("b.der", made.leaf.der()),
            ("c.der", made.intermediate.der()),
            ("d.der", made.root.der()),
        ],
        vec![
            ("fullchain", [&leaf[..], &middle, &root].concat()),
            ("key", key.clone()),
            ("crt", leaf.clone()),
        ],
    ];
    for files in divided {
        let set = set(files);
        assert_eq!(served(&set), ["CN=*.example.org", "CN=Intermediate"]);
        assert_eq!(set.root().unwrap().certificate().0, made.root.der());
        assert_eq!(set.anchors().len(), 1);
        assert_eq!(set.key().unwrap().public(), set.leaf().public_key());
        assert_eq!(notes(&set), Vec::<String>::new());
    }
}

#[test]
fn without_a_root_the_topmost_certificate_is_trusted() {
    let made = made(&Wish::leaf());
    let set = set(vec![(
        "all",
        [made.leaf.key_pem(), made.leaf.pem(), made.intermediate.pem()].concat(),
    )]);
    assert_eq!(set.root(), None);
    assert_eq!(set.anchors()[0].certificate().0, made.intermediate.der());
    assert_eq!(set.served().len(), 2);
}

#[test]
fn further_roots_complete_the_chain_and_are_trusted_too() {
    let made = made(&Wish::leaf());
    let old = authority(&Wish::authority("Old Root"), None);
    let read = |authority: &Authority| kbo_certs::certificate::read_all(&authority.pem()).unwrap();
    let options = Options {
        roots: [read(&made.root), read(&old)].concat(),
        ..options()
    };
    let files = vec![(
        "all",
        [made.leaf.key_pem(), made.leaf.pem(), made.intermediate.pem()].concat(),
    )];
    let set = WildcardSet::from_files(files, &options).unwrap();
    assert_eq!(set.root().unwrap().certificate().0, made.root.der());
    let anchors: Vec<_> = set
        .anchors()
        .iter()
        .map(|anchor| anchor.facts().subject.clone())
        .collect();
    assert_eq!(anchors, ["CN=Root", "CN=Old Root"]);
}

#[test]
fn a_renewed_certificate_beside_an_old_fullchain_is_taken_and_said() {
    let made = made(&Wish {
        serial: 1,
        from: NOW - 80 * DAY,
        until: NOW + 10 * DAY,
        ..Wish::leaf()
    });
    let renewed = sign(
        &Wish {
            serial: 2,
            ..Wish::leaf()
        },
        &made.leaf.key,
        Some(&made.intermediate),
    );
    let files = vec![
        ("fullchain", [made.leaf.pem(), made.intermediate.pem()].concat()),
        ("crt", renewed.to_pem().unwrap()),
        ("key", made.leaf.key_pem()),
    ];
    let set = set(files);
    assert_eq!(set.leaf().facts().serial, "2");
    let notes = notes(&set);
    assert!(
        notes.len() == 1 && notes[0].starts_with("fullchain has an older certificate (serial 1"),
        "{notes:?}"
    );
}

#[test]
fn a_renewed_certificate_that_is_not_valid_yet_is_not_taken_before_its_time() {
    let made = made(&Wish {
        serial: 1,
        ..Wish::leaf()
    });
    let renewed = sign(
        &Wish {
            serial: 2,
            from: NOW + DAY,
            ..Wish::leaf()
        },
        &made.leaf.key,
        Some(&made.intermediate),
    );
    let mut files = made.files();
    files.push(("new", renewed.to_pem().unwrap()));
    let set = set(files);
    assert_eq!(set.leaf().facts().serial, "1");
    assert!(notes(&set)[0].contains("not valid yet"));
}

#[test]
fn of_several_keys_the_one_of_the_certificate_is_taken() {
    let made = made(&Wish::leaf());
    let other = p256().private_key_to_pem_pkcs8().unwrap();
    let mut files = vec![("old-key", other)];
    files.extend(made.files());
    let set = set(files);
    assert_eq!(set.key().unwrap().public(), set.leaf().public_key());
    assert_eq!(
        notes(&set),
        ["old-key has a private key that does not belong to the certificate"]
    );
}

#[test]
fn an_authority_s_own_key_beside_the_set_is_no_second_pair() {
    let made = made(&Wish::leaf());
    let mut files = made.files();
    files.push(("ca-key", made.root.key_pem()));
    let set = set(files);
    assert_eq!(served(&set)[0], "CN=*.example.org");
    assert_eq!(set.key().unwrap().public(), set.leaf().public_key());
}

#[test]
fn two_pairs_are_an_error_that_names_their_files() {
    let one = made(&Wish::leaf());
    let two = authority(
        &Wish {
            serial: 9,
            ..Wish::leaf()
        },
        Some(&one.intermediate),
    );
    let mut files = one.files();
    files.extend([("second-key", two.key_pem()), ("second-crt", two.pem())]);
    let error = WildcardSet::from_files(files, &options()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "several private keys have a certificate of their own: crt, key, second-crt, second-key; leave one pair in the folder"
    );
}

#[test]
fn what_is_foreign_or_broken_is_noted_with_its_file_and_line() {
    let made = made(&Wish::leaf());
    let mut files = made.files();
    files.push((
        "request",
        b"\n-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n".to_vec(),
    ));
    files.push(("cut", b"-----BEGIN CERTIFICATE-----\nMAA=\n".to_vec()));
    files.push((
        "junk",
        b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n".to_vec(),
    ));
    files.push(("picture", vec![0x89, b'P', b'N', b'G']));
    let set = set(files);
    let notes = notes(&set);
    assert_eq!(
        notes[0],
        "request line 2: the block CERTIFICATE REQUEST is none of a set"
    );
    assert_eq!(
        notes[1],
        "cut line 1: the block CERTIFICATE cannot be read: it has no END: the file is cut short"
    );
    assert!(notes[2].starts_with("junk line 1: this is no certificate"), "{notes:?}");
    assert_eq!(
        notes[3],
        "picture holds neither PEM nor a certificate or a private key in DER"
    );
}

#[test]
fn an_encrypted_key_opens_with_its_passphrase_only() {
    let made = made(&Wish::leaf());
    let key = made
        .leaf
        .key
        .private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"open sesame")
        .unwrap();
    let files = || vec![("key", key.clone()), ("crt", made.leaf.pem())];
    let with = |passphrase: Option<&str>| {
        let options = Options {
            passphrase: passphrase.map(Secret::new),
            ..options()
        };
        WildcardSet::from_files(files(), &options)
    };
    assert!(with(Some("open sesame")).unwrap().key().is_some());
    for (passphrase, words) in [(None, "is encrypted"), (Some("wrong"), "does not open")] {
        let Err(SetError::Key { file, source }) = with(passphrase) else {
            panic!("{passphrase:?}")
        };
        assert_eq!(file, "key");
        assert!(source.to_string().contains(words), "{source}");
    }
}

#[test]
fn no_certificate_at_all_is_an_error_that_says_what_there_was() {
    let files = vec![
        ("key", p256().private_key_to_pem_pkcs8().unwrap()),
        ("crt", b"-----BEGIN CERTIFICATE-----\nMA".to_vec()),
    ];
    let error = WildcardSet::from_files(files, &options()).unwrap_err().to_string();
    assert!(
        error.starts_with("there is no certificate in key, crt; crt: line 1"),
        "{error}"
    );
    let none = WildcardSet::from_files(Vec::<(String, Vec<u8>)>::new(), &options())
        .unwrap_err()
        .to_string();
    assert_eq!(none, "there is no certificate in any file");
}

#[test]
fn authorities_without_a_leaf_are_an_error_that_says_what_is_with_the_leaf() {
    let made = made(&Wish::leaf());
    let cut = made.leaf.pem();
    for key in [true, false] {
        let mut files = vec![("crt", cut[..cut.len() / 2].to_vec()), ("ca", made.root.pem())];
        if key {
            files.push(("key", made.leaf.key_pem()));
        }
        let error = WildcardSet::from_files(files, &options()).unwrap_err();
        assert!(matches!(error, SetError::NoLeaf { .. }), "{error}");
        let text = error.to_string();
        assert!(text.starts_with("there is no leaf certificate in crt, ca"), "{text}");
        assert!(
            text.ends_with("only of authorities: CN=Root; crt: line 1: the block CERTIFICATE cannot be read: it has no END: the file is cut short"),
            "{text}"
        );
    }
}

#[test]
fn files_and_numbers_of_blocks_beyond_all_measure_are_refused() {
    let huge = vec![b'A'; (1 << 20) + 1];
    assert!(matches!(
        WildcardSet::from_files([("huge", huge)], &options()),
        Err(SetError::TooLarge { .. })
    ));
    let key = p256();
    let many: Vec<u8> = (0..65)
        .flat_map(|serial| sign(&Wish { serial, ..Wish::leaf() }, &key, None).to_pem().unwrap())
        .collect();
    let error = WildcardSet::from_files([("many", many)], &options())
        .unwrap_err()
        .to_string();
    assert!(error.contains("more than 64 certificates"), "{error}");
}
