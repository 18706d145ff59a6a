//! Private keys in every form in which an ACME client or OpenSSL leaves them.

use std::io::Write as _;
use std::process::{Command, Stdio};

use kbo_certs::key::{Key, KeyError};
use kbo_certs::pem;
use kbo_core::secret::Secret;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::symm::Cipher;

use crate::support;

fn matrix() -> Vec<(&'static str, PKey<Private>)> {
    vec![
        ("RSA 2048", support::rsa(2048)),
        ("RSA 4096", support::rsa(4096)),
        ("EC P-256", support::p256()),
        ("EC P-384", support::ec(Nid::SECP384R1)),
        ("Ed25519", PKey::generate_ed25519().unwrap()),
    ]
}

fn read(pem: &[u8], passphrase: Option<&str>) -> Result<Key, KeyError> {
    let blocks = pem::blocks(pem);
    let passphrase = passphrase.map(Secret::new);
    let mut keys = blocks
        .whole
        .iter()
        .filter_map(|block| Key::from_pem(block, passphrase.as_ref()));
    keys.next().expect("a block with a key")
}

/// What `openssl` makes of a key on its standard input.
fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test needs the openssl command: apt-get install openssl");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}");
    output.stdout
}

fn same(key: &Key, original: &PKey<Private>, what: &str) {
    let der = key.private().pkcs8();
    let read = PKey::private_key_from_pkcs8(der).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(read.public_eq(original), "{what}");
    assert_eq!(
        read.private_key_to_der().unwrap(),
        original.private_key_to_der().unwrap(),
        "{what}"
    );
}

#[test]
fn every_kind_of_key_is_read_in_every_form_that_openssl_writes() {
    for (kind, original) in matrix() {
        let pkcs8 = original.private_key_to_pem_pkcs8().unwrap();
        let mut forms = vec![
            ("PKCS8", pkcs8.clone(), None),
            (
                "PBES2",
                original
                    .private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"changeit")
                    .unwrap(),
                Some("changeit"),
            ),
            (
                "PBES2 with 3DES and SHA-1",
                openssl(
                    &[
                        "pkcs8",
                        "-topk8",
                        "-v2",
                        "des3",
                        "-v2prf",
                        "hmacWithSHA1",
                        "-passout",
                        "pass:changeit",
                    ],
                    &pkcs8,
                ),
                Some("changeit"),
            ),
            (
                "PBES2 with scrypt",
                openssl(
                    &[
                        "pkcs8",
                        "-topk8",
                        "-scrypt",
                        "-v2",
                        "aes-256-cbc",
                        "-passout",
                        "pass:changeit",
                    ],
                    &pkcs8,
                ),
                Some("changeit"),
            ),
        ];
        if let Ok(rsa) = original.rsa() {
            forms.push(("PKCS1", rsa.private_key_to_pem().unwrap(), None));
            for cipher in [
                Cipher::aes_128_cbc(),
                Cipher::aes_192_cbc(),
                Cipher::aes_256_cbc(),
                Cipher::des_ede3_cbc(),
            ] {
                let old = rsa.private_key_to_pem_passphrase(cipher, b"changeit").unwrap();
                assert!(String::from_utf8_lossy(&old).contains("Proc-Type: 4,ENCRYPTED"));
                forms.push(("PKCS1, encrypted", old, Some("changeit")));
            }
        }
        if let Ok(ec) = original.ec_key() {
            forms.push(("SEC1", ec.private_key_to_pem().unwrap(), None));
            let old = ec
                .private_key_to_pem_passphrase(Cipher::aes_256_cbc(), b"changeit")
                .unwrap();
            forms.push(("SEC1, encrypted", old, Some("changeit")));
        }
        for (form, pem, passphrase) in forms {
            let what = format!("{kind} as {form}");
            let key = read(&pem, passphrase).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(key.algorithm().to_string(), kind, "{what}");
            same(&key, &original, &what);
            if passphrase.is_some() {
                assert_eq!(read(&pem, None).unwrap_err(), KeyError::PassphraseNeeded, "{what}");
                assert_eq!(
                    read(&pem, Some("wrong")).unwrap_err(),
                    KeyError::WrongPassphrase,
                    "{what}"
                );
            }
        }
    }
}

#[test]
fn a_key_in_der_is_read_whichever_its_form() {
    for (kind, original) in matrix() {
        let mut forms = vec![original.private_key_to_pkcs8().unwrap()];
        if kind != "Ed25519" {
            forms.push(original.private_key_to_der().unwrap());
        }
        for der in forms {
            let key = Key::from_der(&der, None).expect("a key").unwrap();
            same(&key, &original, kind);
        }
    }
    assert!(Key::from_der(b"0\x03\x02\x01\x05", None).is_none());
}

#[test]
fn a_key_without_its_public_half_gets_it() {
    let original = support::p256();
    let pem = openssl(&["ec", "-no_public"], &original.private_key_to_pem_pkcs8().unwrap());
    let key = read(&pem, None).unwrap();
    same(&key, &original, "without the public key");
}

#[test]
fn keys_of_other_kinds_are_named() {
    let p521 = support::ec(Nid::SECP521R1).private_key_to_pem_pkcs8().unwrap();
    let error = read(&p521, None).unwrap_err().to_string();
    assert!(error.contains("P-521") && error.contains("P-256"), "{error}");
    let dsa = b"-----BEGIN DSA PRIVATE KEY-----\nMAA=\n-----END DSA PRIVATE KEY-----\n";
    assert_eq!(
        read(dsa, None).unwrap_err().to_string(),
        "a private key of the kind DSA PRIVATE KEY is not supported"
    );
}

#[test]
fn an_rsa_key_whose_numbers_were_changed_is_damaged() {
    let rsa = support::rsa(2048).rsa().unwrap();
    let original = rsa.private_key_to_der().unwrap();
    assert!(Key::from_pkcs1(&original).is_ok());
    for number in [
        rsa.n().to_vec(),
        rsa.p().unwrap().to_vec(),
        rsa.dmq1().unwrap().to_vec(),
    ] {
        let at = original
            .windows(number.len())
            .position(|part| part == number)
            .expect("the number");
        let mut changed = original.clone();
        changed[at + number.len() / 2] ^= 1;
        assert!(matches!(Key::from_pkcs1(&changed), Err(KeyError::Malformed(_))));
    }
}

#[test]
fn an_encryption_that_asks_for_too_much_is_refused_before_it_is_begun() {
    let pkcs8 = support::p256().private_key_to_pem_pkcs8().unwrap();
    let pem = openssl(
        &[
            "pkcs8",
            "-topk8",
            "-iter",
            "2048",
            "-v2",
            "aes-256-cbc",
            "-passout",
            "pass:x",
        ],
        &pkcs8,
    );
    let block = &pem::blocks(&pem).whole[0];
    // INTEGER 2048 becomes 0x7fff_ffff: the lengths of what is around it grow by two.
    let at = block
        .data
        .windows(4)
        .position(|four| four == [2, 2, 8, 0])
        .expect("the rounds");
    let mut der = block.data.to_vec();
    der.splice(at..at + 4, [2, 4, 0x05, 0xff, 0xff, 0xff]);
    for sequence in 0..at {
        let inside = |end: usize| sequence + 2 + end > at;
        if der[sequence] == 0x30 && der[sequence + 1] == 0x81 && inside(usize::from(der[sequence + 2]) + 1) {
            der[sequence + 2] += 2;
        } else if der[sequence] == 0x30 && der[sequence + 1] < 0x80 && inside(usize::from(der[sequence + 1])) {
            der[sequence + 1] += 2;
        }
    }
    let error = Key::from_encrypted_pkcs8(&der, Some(&Secret::new("x"))).unwrap_err();
    assert!(matches!(error, KeyError::TooCostly(_)), "{error:?}");
}

#[test]
fn a_key_shows_in_no_debug_output() {
    let key = read(&support::p256().private_key_to_pem_pkcs8().unwrap(), None).unwrap();
    let hex = key.private().pkcs8()[36..68]
        .iter()
        .map(|byte| format!("{byte}, "))
        .collect::<String>();
    assert!(!format!("{key:?}").contains(hex.trim_end_matches(", ")));
}

/// What is said of a key, and that the command that is named makes it one that is read.
#[test]
fn a_form_that_is_not_read_is_named_with_the_command_that_makes_one_that_is() {
    let key = support::p256().private_key_to_pem_pkcs8().unwrap();
    let encrypted = |arguments: &str| {
        let arguments = format!("pkcs8 -topk8 {arguments} -passout pass:sesame");
        openssl(&arguments.split(' ').collect::<Vec<_>>(), &key)
    };
    let explicit = |arguments: &str| openssl(&arguments.split(' ').collect::<Vec<_>>(), &key);
    let old = openssl(&["ec", "-camellia256", "-passout", "pass:sesame"], &key);
    let anew = [
        "pkcs8",
        "-topk8",
        "-v2",
        "aes256",
        "-passin",
        "pass:sesame",
        "-passout",
        "pass:sesame",
    ];
    let named = ["ec", "-param_enc", "named_curve"];
    for (pem, words, way) in [
        (
            encrypted("-v1 PBE-SHA1-3DES"),
            "the private key's encryption",
            &anew[..],
        ),
        (encrypted("-v2 camellia256"), "the private key's encryption", &anew[..]),
        (encrypted("-v2 aria256"), "the private key's encryption", &anew[..]),
        (old, "the private key's cipher CAMELLIA-256-CBC", &anew[..]),
        (explicit("ec -param_enc explicit"), "numbers of its curve", &named[..]),
        (
            explicit("pkey -ec_param_enc explicit"),
            "numbers of its curve",
            &named[..],
        ),
    ] {
        let error = read(&pem, Some("sesame")).unwrap_err();
        let text = error.to_string();
        let KeyError::OtherForm { way: command, .. } = error else {
            panic!("{text}")
        };
        assert!(
            text.contains(words) && text.contains("is not supported: `openssl "),
            "{text}"
        );
        assert!(
            command.starts_with(&format!("openssl {}", way[..3].join(" "))),
            "{command}"
        );
        assert!(read(&openssl(way, &pem), Some("sesame")).is_ok(), "{text}");
        // The same without PEM.
        let block = pem::blocks(&pem).whole.remove(0);
        if block.headers.is_empty() {
            let der = Key::from_der(&block.data, None);
            assert!(matches!(der, Some(Err(KeyError::OtherForm { .. }))), "{text}");
        }
    }
}

#[test]
fn keys_of_other_kinds_are_called_by_their_names() {
    let openssh = pem::encode("OPENSSH PRIVATE KEY", b"openssh-key-v1").to_string();
    let text = read(openssh.as_bytes(), None).unwrap_err().to_string();
    assert!(
        text.contains("OpenSSH") && text.contains("ssh-keygen -p -m PKCS8"),
        "{text}"
    );
    let p521 = support::ec(Nid::SECP521R1);
    let text = read(&p521.private_key_to_pem_pkcs8().unwrap(), None)
        .unwrap_err()
        .to_string();
    assert_eq!(
        text,
        "a private key on the curve P-521 (take RSA, P-256 or P-384) is not supported"
    );
    let ed448 = PKey::generate_ed448().unwrap();
    let text = read(&ed448.private_key_to_pem_pkcs8().unwrap(), None)
        .unwrap_err()
        .to_string();
    assert!(text.contains("algorithm Ed448"), "{text}");
}
