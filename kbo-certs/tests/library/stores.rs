//! Stores out of sets.

use kbo_certs::check::{Code, Expectation, Host};
use kbo_certs::make::{Format, MakeError, Recipe, make};
use kbo_certs::set::WildcardSet;
use kbo_certs::store::Content;
use kbo_certs::{Jks, Pkcs12, Profile};
use kbo_core::secret::Secret;
use openssl::pkey::PKey;
use openssl::x509::X509;

use crate::support::{DAY, Made, NOW, Wish, made, now, options};

fn recipe(formats: Vec<Format>) -> Recipe {
    Recipe {
        alias: "kafka".to_owned(),
        password: Secret::new("changeit"),
        truststore_password: Secret::new("trusting"),
        formats,
    }
}

fn expected() -> Expectation {
    let host = Host {
        node: "broker-1".to_owned(),
        host: "broker-1.example.org".to_owned(),
    };
    Expectation {
        hosts: vec![host],
        now: now(),
        warn_days: 21,
        mutual_tls: true,
    }
}

fn set(made: &Made) -> WildcardSet {
    WildcardSet::from_files(made.files(), &options()).unwrap()
}

#[test]
fn pem_stores_are_what_openssl_reads_the_key_first_and_no_root_shown() {
    let source = made(&Wish::leaf());
    let files = make(&set(&source), &expected(), &recipe(vec![Format::Pem]), false).unwrap();
    let names: Vec<_> = files.iter().map(|file| (file.name.as_str(), file.is_secret)).collect();
    assert_eq!(names, [("keystore.pem", true), ("truststore.pem", false)]);
    assert!(files[0].bytes.starts_with(b"-----BEGIN PRIVATE KEY-----\n"));
    assert!(
        PKey::private_key_from_pem(&files[0].bytes)
            .unwrap()
            .public_eq(&source.leaf.key)
    );
    let chain = X509::stack_from_pem(&files[0].bytes).unwrap();
    assert_eq!(chain, [source.leaf.certificate, source.intermediate.certificate]);
    assert_eq!(
        X509::stack_from_pem(&files[1].bytes).unwrap(),
        [source.root.certificate]
    );
}

#[test]
fn every_format_holds_the_same_and_twice_made_it_is_the_same_but_for_salts() {
    let source = made(&Wish::leaf());
    let (password, trusting) = (Secret::new("changeit"), Secret::new("trusting"));
    for format in [
        Format::Pkcs12(Profile::Modern),
        Format::Pkcs12(Profile::Legacy),
        Format::Jks,
    ] {
        let read = |bytes: &[u8], password: &Secret| match format {
            Format::Jks => Jks::read(bytes, password, None),
            _ => Pkcs12::read(bytes, password),
        };
        let stores = || make(&set(&source), &expected(), &recipe(vec![format]), false).unwrap();
        let (first, second) = (stores(), stores());
        assert!(read(&first[0].bytes, &trusting).is_err() && read(&first[1].bytes, &password).is_err());
        let keys = read(&first[0].bytes, &password).unwrap();
        let trusted = read(&first[1].bytes, &trusting).unwrap();
        assert_eq!(keys, read(&second[0].bytes, &password).unwrap());
        assert_eq!(trusted, read(&second[1].bytes, &trusting).unwrap());

        assert_eq!((keys.entries.len(), keys.entries[0].alias.as_str()), (1, "kafka"));
        let Content::Key { key, chain } = &keys.entries[0].content else {
            panic!("{keys:?}")
        };
        let key = PKey::private_key_from_pkcs8(key.pkcs8()).unwrap();
        assert!(key.public_eq(&source.leaf.key));
        let chain: Vec<_> = chain.iter().map(|one| one.0.clone()).collect();
        assert_eq!(chain, [source.leaf.der(), source.intermediate.der()]);
        assert_eq!((trusted.entries.len(), trusted.entries[0].alias.as_str()), (1, "ca"));
        let Content::Trusted(root) = &trusted.entries[0].content else {
            panic!("{trusted:?}")
        };
        assert_eq!(root.0, source.root.der());
    }
}

#[test]
fn a_set_that_will_not_do_is_refused_with_reason_and_remedy() {
    let good = made(&Wish::leaf());
    let cases = [
        (
            made(&Wish {
                until: NOW - DAY,
                ..Wish::leaf()
            })
            .files(),
            Code::Expired,
        ),
        (
            made(&Wish {
                from: NOW + DAY,
                ..Wish::leaf()
            })
            .files(),
            Code::NotYetValid,
        ),
        (
            made(&Wish {
                dns: vec!["*.example.net".to_owned()],
                ..Wish::leaf()
            })
            .files(),
            Code::HostNotCovered,
        ),
        (good.files()[1..].to_vec(), Code::KeyMissing),
        (good.files()[..2].to_vec(), Code::ChainMissing),
    ];
    for (files, code) in cases {
        let set = WildcardSet::from_files(files, &options()).unwrap();
        let error = make(&set, &expected(), &recipe(vec![Format::Pem]), false).unwrap_err();
        let words = error.to_string();
        let MakeError::Refused(report) = error else {
            panic!("{words}")
        };
        assert_eq!(report.errors().map(|finding| finding.code).collect::<Vec<_>>(), [code]);
        let finding = report.errors().next().unwrap();
        assert!(
            words.contains(&finding.text) && words.contains(finding.remedy.as_ref().unwrap()),
            "{words}"
        );
        // What is merely expired can be had on purpose; nothing else can.
        let forced = make(&set, &expected(), &recipe(vec![Format::Pem]), true);
        assert_eq!(forced.is_ok(), code == Code::Expired, "{code:?}");
    }
}
