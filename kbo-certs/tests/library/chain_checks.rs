//! What a check finds of the whole chain.

use kbo_certs::check::{Code, Expectation, Severity, check};
use kbo_certs::set::{Options, WildcardSet};
use openssl::hash::MessageDigest;
use openssl::x509::X509;

use crate::checks::{codes, expecting, of};
use crate::support::{Authority, DAY, Made, NOW, Wish, authority, made, options, p256, sign};

#[test]
fn a_certificate_and_a_root_without_end_are_good() {
    let endless = 253_402_300_799;
    let root = authority(
        &Wish {
            until: endless,
            ..Wish::authority("Root")
        },
        None,
    );
    let intermediate = authority(&Wish::authority("Intermediate"), Some(&root));
    let leaf = authority(
        &Wish {
            until: endless,
            ..Wish::leaf()
        },
        Some(&intermediate),
    );
    let report = of(&Made {
        root,
        intermediate,
        leaf,
    });
    assert_eq!(codes(&report), []);
    assert_eq!(report.certificate.not_after, jiff::Timestamp::MAX);
    assert_eq!(report.days_left_of_chain(), 1000);
}

#[test]
fn a_root_of_version_1_ends_a_chain_from_the_files_and_from_further_ones() {
    let v1 = Wish {
        v1: true,
        ..Wish::authority("Root")
    };
    let root = authority(&v1, None);
    let leaf = authority(&Wish::leaf(), Some(&root));
    let own = vec![("key", leaf.key_pem()), ("all", [leaf.pem(), root.pem()].concat())];
    let apart = vec![("key", leaf.key_pem()), ("crt", leaf.pem())];
    let roots = kbo_certs::certificate::read_all(&root.pem()).unwrap();
    for (files, roots) in [(own, vec![]), (apart, roots)] {
        let set = WildcardSet::from_files(files, &Options { roots, ..options() }).unwrap();
        assert_eq!(set.root().unwrap().certificate().0, root.der());
        assert_eq!(set.served().len(), 1);
        assert_eq!(codes(&check(&set, &expecting(&["a.example.org"]))), []);
    }
}

#[test]
fn a_further_authority_that_is_no_root_is_named_as_what_is_trusted() {
    let above = authority(&Wish::authority("Above"), None);
    let v1 = Wish {
        v1: true,
        ..Wish::authority("Old")
    };
    let old = authority(&v1, Some(&above));
    let leaf = authority(&Wish::leaf(), Some(&old));
    let roots = kbo_certs::certificate::read_all(&old.pem()).unwrap();
    let files = [("key", leaf.key_pem()), ("crt", leaf.pem())];
    let set = WildcardSet::from_files(files, &Options { roots, ..options() }).unwrap();
    let report = check(&set, &expecting(&["a.example.org"]));
    assert_eq!(codes(&report), [(Severity::Note, Code::NoRoot)]);
    assert!(report.findings[0].text.contains("trusts CN=Old,"), "{report:?}");
}

#[test]
fn names_that_an_authority_may_not_issue_for_are_told() {
    use openssl::x509::X509Extension;
    let root = authority(&Wish::authority("Root"), None);
    let key = p256();
    let plain = sign(&Wish::authority("Limited"), &key, Some(&root));
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(plain.serial_number()).unwrap();
    builder.set_subject_name(plain.subject_name()).unwrap();
    builder.set_issuer_name(plain.issuer_name()).unwrap();
    builder.set_not_before(plain.not_before()).unwrap();
    builder.set_not_after(plain.not_after()).unwrap();
    builder.set_pubkey(&key).unwrap();
    for (name, value) in [
        ("basicConstraints", "critical,CA:TRUE"),
        ("nameConstraints", "critical,permitted;DNS:example.net"),
    ] {
        #[expect(deprecated, reason = "the crate has no builder for name constraints")]
        let extension = X509Extension::new(None, None, name, value).unwrap();
        builder.append_extension(extension).unwrap();
    }
    builder.sign(&root.key, MessageDigest::sha256()).unwrap();
    let intermediate = Authority {
        key,
        certificate: builder.build(),
    };
    let leaf = authority(&Wish::leaf(), Some(&intermediate));
    let report = of(&Made {
        root,
        intermediate,
        leaf,
    });
    assert_eq!(codes(&report), [(Severity::Error, Code::ChainInvalid)]);
    assert!(report.findings[0].text.contains("nameConstraints"), "{report:?}");
}

/// A set whose intermediate and leaf are as wished.
fn with(intermediate: &Wish, leaf: &Wish) -> WildcardSet {
    let root = authority(&Wish::authority("Root"), None);
    let intermediate = authority(intermediate, Some(&root));
    let leaf = authority(leaf, Some(&intermediate));
    let made = Made {
        root,
        intermediate,
        leaf,
    };
    WildcardSet::from_files(made.files(), &options()).unwrap()
}

#[test]
fn a_key_that_may_not_sign_what_it_has_to_is_refused() {
    let with = |intermediate: Option<(bool, bool)>, leaf: Option<(bool, bool)>| {
        let intermediate = Wish {
            key_usage: intermediate,
            ..Wish::authority("Intermediate")
        };
        let leaf = Wish {
            key_usage: leaf,
            ..Wish::leaf()
        };
        check(&with(&intermediate, &leaf), &expecting(&["a.example.org"]))
    };
    assert_eq!(codes(&with(Some((false, true)), Some((true, false)))), []);
    let leaf = with(None, Some((false, false)));
    assert_eq!(codes(&leaf), [(Severity::Error, Code::KeyUsage)]);
    assert!(leaf.findings[0].text.contains("digitalSignature"), "{leaf:?}");
    let authority = with(Some((true, false)), None);
    assert_eq!(codes(&authority), [(Severity::Error, Code::KeyUsage)]);
    assert!(authority.findings[0].text.contains("CN=Intermediate"), "{authority:?}");
}

#[test]
fn why_a_chain_does_not_hold_is_said_in_words_with_what_to_do() {
    let told = |intermediate: &Wish, leaf: &Wish| {
        let report = check(&with(intermediate, leaf), &expecting(&["a.example.org"]));
        let found = report.errors().find(|finding| finding.code == Code::ChainInvalid);
        let finding = found.unwrap_or_else(|| panic!("{report:?}")).clone();
        (finding.text, finding.remedy.unwrap())
    };
    let intermediate = Wish::authority("Intermediate");
    let (text, remedy) = told(
        &intermediate,
        &Wish {
            is_ca: true,
            ..Wish::leaf()
        },
    );
    assert_eq!(
        text,
        "the chain does not verify: the certificate is that of an authority, not of a server"
    );
    assert!(remedy.contains("CA:FALSE"), "{remedy}");
    let for_clients = Wish {
        limited: true,
        server: false,
        ..intermediate.clone()
    };
    let (text, _) = told(&for_clients, &Wish::leaf());
    assert!(text.ends_with("(its extended key usage)"), "{text}");
    // The leaf ended before the authority began.
    let newer = Wish {
        from: NOW - DAY,
        ..intermediate
    };
    let ended = Wish {
        until: NOW - 2 * DAY,
        ..Wish::leaf()
    };
    let (text, _) = told(&newer, &ended);
    assert!(text.contains("no time at which all"), "{text}");
}

#[test]
fn more_authorities_than_one_above_allows_are_told() {
    let root = authority(
        &Wish {
            path_length: Some(0),
            ..Wish::authority("Root")
        },
        None,
    );
    let upper = Wish {
        path_length: Some(0),
        ..Wish::authority("Upper")
    };
    let upper = authority(&upper, Some(&root));
    let lower = authority(&Wish::authority("Lower"), Some(&upper));
    let leaf = authority(&Wish::leaf(), Some(&lower));
    let all = [leaf.key_pem(), leaf.pem(), lower.pem(), upper.pem(), root.pem()].concat();
    let report = check(
        &WildcardSet::from_files([("all", all)], &options()).unwrap(),
        &expecting(&["a.example.org"]),
    );
    assert_eq!(codes(&report), [(Severity::Error, Code::ChainInvalid)]);
    assert!(report.findings[0].text.contains("pathLenConstraint"), "{report:?}");
}

/// By the openssl command, as the crate signs with the usual salt only.
#[test]
fn a_signature_of_a_kind_that_is_not_supported_is_called_so() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &str| {
        let output = std::process::Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(folder.path())
            .output()
            .expect("this test needs the openssl command: apt-get install openssl");
        assert!(
            output.status.success(),
            "{arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    run("req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.pem -subj /CN=Root -days 20000");
    run(
        "req -new -newkey rsa:2048 -nodes -keyout leaf.key -out leaf.csr -subj /CN=a -addext subjectAltName=DNS:*.example.org",
    );
    run(
        "x509 -req -in leaf.csr -CA root.pem -CAkey root.key -out leaf.pem -days 10000 -copy_extensions copy -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:20",
    );
    let file = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let files = ["leaf.key", "leaf.pem", "root.pem"].map(|name| (name, file(name)));
    let now = jiff::Timestamp::now();
    let set = WildcardSet::from_files(files, &Options { now, ..options() }).unwrap();
    let expected = Expectation {
        now,
        ..expecting(&["a.example.org"])
    };
    let report = check(&set, &expected);
    assert_eq!(codes(&report), [(Severity::Error, Code::ChainInvalid)]);
    assert!(
        report.findings[0].text.contains("of a kind that is not supported"),
        "{report:?}"
    );
}

#[test]
fn an_authority_for_servers_only_makes_no_certificate_for_clients() {
    let limited = Wish {
        limited: true,
        client: false,
        ..Wish::authority("Intermediate")
    };
    let set = with(&limited, &Wish::leaf());
    for (mutual_tls, severity) in [(false, Severity::Warning), (true, Severity::Error)] {
        let expected = Expectation {
            mutual_tls,
            ..expecting(&["a.example.org"])
        };
        let report = check(&set, &expected);
        assert_eq!(codes(&report), [(severity, Code::NotForClients)]);
        assert!(report.findings[0].text.contains("CN=Intermediate"), "{report:?}");
    }
}

#[test]
fn a_set_ends_with_the_first_of_its_own_chain_and_not_with_a_further_authority() {
    let short = Wish {
        until: NOW + 30 * DAY,
        ..Wish::authority("Intermediate")
    };
    let report = check(&with(&short, &Wish::leaf()), &expecting(&["a.example.org"]));
    assert_eq!((report.days_left, report.days_left_of_chain()), (60, 30));
    assert_eq!(report.ends().as_second(), NOW + 30 * DAY);
    let further = Wish {
        until: NOW + DAY,
        ..Wish::authority("Old Root")
    };
    let roots = kbo_certs::certificate::read_all(&authority(&further, None).pem()).unwrap();
    let set = WildcardSet::from_files(made(&Wish::leaf()).files(), &Options { roots, ..options() }).unwrap();
    let report = check(&set, &expecting(&["a.example.org"]));
    assert_eq!(codes(&report), [(Severity::Note, Code::ExpiresSoon)]);
    assert_eq!(report.days_left_of_chain(), 60);
}
