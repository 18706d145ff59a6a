//! What a check finds.

use kbo_certs::check::{Code, Expectation, Host, Report, Severity, check, covers};
use kbo_certs::set::{Options, WildcardSet};
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use proptest::prelude::*;

use crate::support::{Authority, DAY, Made, NOW, Wish, authority, made, made_for, now, options, p256, rsa, sign};

pub(crate) fn expecting(hosts: &[&str]) -> Expectation {
    let host = |(at, host): (usize, &&str)| Host {
        node: format!("broker-{}", at + 1),
        host: (*host).to_owned(),
    };
    Expectation {
        hosts: hosts.iter().enumerate().map(host).collect(),
        now: now(),
        warn_days: 21,
        mutual_tls: false,
    }
}

pub(crate) fn checked(files: Vec<(&'static str, Vec<u8>)>) -> Report {
    let set = WildcardSet::from_files(files, &options()).unwrap();
    check(&set, &expecting(&["broker-1.example.org"]))
}

pub(crate) fn of(made: &Made) -> Report {
    checked(made.files())
}

pub(crate) fn codes(report: &Report) -> Vec<(Severity, Code)> {
    report
        .findings
        .iter()
        .map(|finding| (finding.severity, finding.code))
        .collect()
}

#[test]
fn a_good_set_has_no_findings() {
    let report = of(&made(&Wish::leaf()));
    assert_eq!(codes(&report), []);
    assert!(report.is_good() && !report.is_only_expired());
    assert_eq!(report.days_left, 60);
    assert_eq!(report.intermediates.len(), 1);
    assert_eq!(report.anchors.len(), 1);
}

#[test]
fn a_set_without_its_key_or_with_another_is_refused() {
    let made = made(&Wish::leaf());
    let without = vec![(
        "all",
        [made.leaf.pem(), made.intermediate.pem(), made.root.pem()].concat(),
    )];
    assert_eq!(codes(&checked(without)), [(Severity::Error, Code::KeyMissing)]);
    let mut other = made.files();
    other[0].1 = p256().private_key_to_pem_pkcs8().unwrap();
    assert_eq!(codes(&checked(other)), [(Severity::Error, Code::KeyMismatch)]);
}

#[test]
fn a_set_without_its_chain_or_with_another_s_is_refused() {
    let made = made(&Wish::leaf());
    let alone = vec![("key", made.leaf.key_pem()), ("crt", made.leaf.pem())];
    assert_eq!(codes(&checked(alone)), [(Severity::Error, Code::ChainMissing)]);
    // The root alone does not bridge the missing intermediate.
    let gap = vec![
        ("key", made.leaf.key_pem()),
        ("crt", made.leaf.pem()),
        ("ca", made.root.pem()),
    ];
    let report = checked(gap);
    assert_eq!(codes(&report)[0], (Severity::Error, Code::ChainMissing));
    assert!(report.findings[0].text.contains("CN=Intermediate"), "{report:?}");
    assert!(!report.is_only_expired());
}

#[test]
fn a_chain_that_no_authority_may_make_is_invalid() {
    let root = authority(&Wish::authority("Root"), None);
    let limited = authority(&Wish::authority("Limited"), Some(&root));
    // A leaf that poses as an authority signs another one.
    let leaf = authority(
        &Wish {
            client: false,
            ..Wish::leaf()
        },
        Some(&limited),
    );
    let poser = Authority {
        key: leaf.key.clone(),
        certificate: leaf.certificate.clone(),
    };
    let below = authority(
        &Wish {
            name: "below".to_owned(),
            ..Wish::leaf()
        },
        Some(&poser),
    );
    let files = vec![
        ("key", below.key_pem()),
        ("all", [below.pem(), poser.pem(), limited.pem(), root.pem()].concat()),
    ];
    let report = checked(files);
    assert!(
        report.errors().any(|finding| finding.code == Code::ChainMissing),
        "{report:?}"
    );
}

#[test]
fn what_is_merely_expired_is_told_from_all_else() {
    let expired = Wish {
        from: NOW - 90 * DAY,
        until: NOW - DAY,
        ..Wish::leaf()
    };
    let report = of(&made(&expired));
    assert_eq!(codes(&report), [(Severity::Error, Code::Expired)]);
    assert!(report.is_only_expired());
    assert_eq!(report.days_left, -1);
    let both = of(&made(&Wish {
        dns: vec!["*.example.net".to_owned()],
        ..expired
    }));
    assert!(!both.is_only_expired() && !both.is_good());
    let early = of(&made(&Wish {
        from: NOW + DAY,
        ..Wish::leaf()
    }));
    assert_eq!(codes(&early), [(Severity::Error, Code::NotYetValid)]);
    assert!(!early.is_only_expired());
}

#[test]
fn an_authority_s_end_counts_as_the_certificate_s_does() {
    for (until, expected) in [
        (NOW - DAY, vec![(Severity::Error, Code::Expired)]),
        (NOW + 20 * DAY, vec![(Severity::Warning, Code::ExpiresSoon)]),
        (NOW + 22 * DAY, vec![]),
    ] {
        let root = authority(&Wish::authority("Root"), None);
        let intermediate = authority(
            &Wish {
                until,
                ..Wish::authority("Intermediate")
            },
            Some(&root),
        );
        let leaf = authority(&Wish::leaf(), Some(&intermediate));
        let report = of(&Made {
            root,
            intermediate,
            leaf,
        });
        assert_eq!(codes(&report), expected);
        assert!(
            report
                .findings
                .iter()
                .all(|finding| finding.text.contains("CN=Intermediate"))
        );
        let root = authority(
            &Wish {
                until,
                ..Wish::authority("Root")
            },
            None,
        );
        let intermediate = authority(&Wish::authority("Intermediate"), Some(&root));
        let leaf = authority(&Wish::leaf(), Some(&intermediate));
        assert_eq!(
            codes(&of(&Made {
                root,
                intermediate,
                leaf
            })),
            expected
        );
    }
}

#[test]
fn the_days_of_warning_are_those_that_are_asked_for() {
    let set = WildcardSet::from_files(made(&Wish::leaf()).files(), &options()).unwrap();
    for (days, warned) in [(0, false), (60, false), (61, true)] {
        let expected = Expectation {
            warn_days: days,
            ..expecting(&["a.example.org"])
        };
        assert_eq!(check(&set, &expected).warnings().next().is_some(), warned, "{days}");
    }
}

#[test]
fn every_host_must_be_covered_and_those_that_are_not_are_named_with_their_node() {
    let wish = Wish {
        addresses: vec!["10.0.0.1".to_owned()],
        ..Wish::leaf()
    };
    let set = WildcardSet::from_files(made(&wish).files(), &options()).unwrap();
    let hosts = [
        "A.Example.ORG.",
        "10.0.0.1",
        "a.b.example.org",
        "example.org",
        "10.0.0.2",
        "a.example.net",
        "fd00::1",
    ];
    let report = check(&set, &expecting(&hosts));
    let nodes: Vec<_> = report.errors().map(|finding| finding.node.clone().unwrap()).collect();
    assert_eq!(nodes, ["broker-3", "broker-4", "broker-5", "broker-6", "broker-7"]);
    assert!(
        report
            .errors()
            .all(|finding| finding.code == Code::HostNotCovered && finding.remedy.is_some())
    );
    let remedies: Vec<_> = report.errors().map(|finding| finding.remedy.clone().unwrap()).collect();
    assert!(
        remedies[0].contains("one label only") && remedies[2].contains("never covers an address"),
        "{remedies:?}"
    );
    let named_in_subject_only = of(&made(&Wish {
        dns: vec![],
        ..Wish::leaf()
    }));
    assert_eq!(codes(&named_in_subject_only), [(Severity::Error, Code::HostNotCovered)]);
    assert_eq!(
        codes(&check(&set, &expecting(&[]))),
        [(Severity::Warning, Code::NoHosts)]
    );
}

#[test]
fn a_certificate_for_servers_only_is_warned_of_and_refused_where_brokers_show_it_to_each_other() {
    let set = WildcardSet::from_files(
        made(&Wish {
            client: false,
            ..Wish::leaf()
        })
        .files(),
        &options(),
    )
    .unwrap();
    let expected = expecting(&["a.example.org"]);
    assert_eq!(
        codes(&check(&set, &expected)),
        [(Severity::Warning, Code::NotForClients)]
    );
    let mutual = Expectation {
        mutual_tls: true,
        ..expected
    };
    assert_eq!(codes(&check(&set, &mutual)), [(Severity::Error, Code::NotForClients)]);
    let report = of(&made(&Wish {
        server: false,
        ..Wish::leaf()
    }));
    assert_eq!(codes(&report), [(Severity::Error, Code::NotForServers)]);
}

#[test]
fn weak_and_unusual_keys_are_told() {
    let ed25519 = of(&made_for(&Wish::leaf(), PKey::generate_ed25519().unwrap()));
    assert_eq!(codes(&ed25519), [(Severity::Warning, Code::Ed25519)]);
    let short = of(&made_for(&Wish::leaf(), rsa(1024)));
    assert_eq!(codes(&short), [(Severity::Error, Code::KeyTooSmall)]);
    let sha1 = of(&made(&Wish {
        digest: MessageDigest::sha1(),
        ..Wish::leaf()
    }));
    assert_eq!(codes(&sha1), [(Severity::Error, Code::WeakSignature)]);
}

#[test]
fn a_root_s_own_weak_signature_does_not_matter() {
    let root = authority(
        &Wish {
            digest: MessageDigest::sha1(),
            ..Wish::authority("Root")
        },
        None,
    );
    let intermediate = authority(&Wish::authority("Intermediate"), Some(&root));
    let leaf = authority(&Wish::leaf(), Some(&intermediate));
    assert_eq!(
        codes(&of(&Made {
            root,
            intermediate,
            leaf
        })),
        []
    );
}

#[test]
fn a_further_authority_that_is_of_no_use_is_a_warning_not_a_refusal() {
    let old = Wish {
        until: NOW - DAY,
        digest: MessageDigest::sha1(),
        ..Wish::authority("Old Root")
    };
    let short = rsa(1024);
    let short = sign(&Wish::authority("Short Root"), &short, None);
    let further = [authority(&old, None).pem(), short.to_pem().unwrap()].concat();
    let roots = kbo_certs::certificate::read_all(&further).unwrap();
    let set = WildcardSet::from_files(made(&Wish::leaf()).files(), &Options { roots, ..options() }).unwrap();
    let report = check(&set, &expecting(&["a.example.org"]));
    assert_eq!(
        codes(&report),
        [
            (Severity::Warning, Code::Expired),
            (Severity::Warning, Code::KeyTooSmall)
        ]
    );
}

#[test]
fn a_chain_without_root_is_noted_and_good() {
    let made = made(&Wish::leaf());
    let report = checked(vec![(
        "all",
        [made.leaf.key_pem(), made.leaf.pem(), made.intermediate.pem()].concat(),
    )]);
    assert_eq!(codes(&report), [(Severity::Note, Code::NoRoot)]);
    assert!(report.is_good());
}

#[test]
fn a_certificate_that_vouches_for_itself_is_warned_of() {
    for is_ca in [false, true] {
        let key = p256();
        let certificate = sign(&Wish { is_ca, ..Wish::leaf() }, &key, None);
        let own = Authority { key, certificate };
        let report = checked(vec![("all", [own.key_pem(), own.pem()].concat())]);
        assert_eq!(codes(&report), [(Severity::Warning, Code::SelfSigned)], "{is_ca}");
    }
}

#[test]
fn a_report_as_json_has_words_that_stay_and_no_secrets() {
    let report = of(&made(&Wish {
        until: NOW - DAY,
        ..Wish::leaf()
    }));
    let json = serde_json::to_value(&report).unwrap();
    let finding = &json["findings"][0];
    assert_eq!(
        (finding["severity"].as_str(), finding["code"].as_str()),
        (Some("error"), Some("expired"))
    );
    assert_eq!(finding["code"], report.findings[0].code.word());
    assert_eq!(json["certificate"]["serial"], "abcdef");
    assert_eq!(json["key"], "EC P-256");
    assert_eq!(json["certificate"]["not_after"], "2026-05-31T00:00:00Z");
}

proptest! {
    #[test]
    fn a_wildcard_covers_exactly_one_label(label in "[a-z0-9-]{1,20}", more in "[a-z0-9-]{1,20}", parent in "[a-z]{1,8}\\.[a-z]{2,5}") {
        let wildcard = format!("*.{parent}");
        let host = format!("{label}.{parent}");
        prop_assert!(covers(&wildcard, &host));
        prop_assert!(covers(&wildcard.to_uppercase(), &host));
        let dotted = format!("{host}.");
        prop_assert!(covers(&wildcard, &dotted));
        let deeper = format!("{more}.{host}");
        prop_assert!(!covers(&wildcard, &deeper));
        prop_assert!(!covers(&wildcard, &parent));
        prop_assert!(covers(&host, &host) && !covers(&host, &parent));
    }

    #[test]
    fn a_name_never_covers_an_address(a: [u8; 4], b: [u8; 16]) {
        for address in [std::net::IpAddr::from(a).to_string(), std::net::IpAddr::from(b).to_string()] {
            prop_assert!(!covers(&address, &address));
            if let Some((_, rest)) = address.split_once('.') {
                let wildcard = format!("*.{rest}");
                prop_assert!(!covers(&wildcard, &address));
            }
        }
    }

    #[test]
    fn no_names_make_it_panic(name in ".{0,30}", host in ".{0,30}") {
        let _ = covers(&name, &host);
    }
}

#[test]
fn wildcards_of_other_shapes_cover_nothing() {
    for (name, host) in [
        ("*", "a"),
        ("*.org", "example.org"),
        ("a*.example.org", "ab.example.org"),
        ("*.*.example.org", "a.b.example.org"),
        ("a.*.org", "a.example.org"),
        ("*.example.org", ".example.org"),
        ("*.example.org.", "b1.example.org"),
        ("b1.example.org.", "b1.example.org."),
        ("xn--bcher-kva.example.org", "bücher.example.org"),
        ("", ""),
    ] {
        assert!(!covers(name, host), "{name} {host}");
    }
}
