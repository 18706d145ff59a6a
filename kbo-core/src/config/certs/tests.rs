use super::super::raw::{OneOrMany, RawCluster, RawDefaults, RawNode, RawStorage};
use super::*;
use crate::config::Config;

fn load(change: impl FnOnce(&mut RawCerts)) -> Result<Certs, String> {
    let node = r#"{"name": "k1", "role": "combined", "host": "10.0.0.1", "certs_hosts": ["k1.example.org"]}"#;
    let node: RawNode = serde_json::from_str(node).unwrap();
    let mut raw = Raw {
        cluster: RawCluster {
            name: Some("dev".to_owned()),
            id: None,
            retired: None,
        },
        storage: RawStorage {
            cold: Some("/cold".into()),
            ..RawStorage::default()
        },
        defaults: RawDefaults {
            data: Some(OneOrMany::One("/data".to_owned())),
            ..RawDefaults::default()
        },
        node: vec![node],
        ..Raw::default()
    };
    change(&mut raw.certs);
    let config = Config::new(&raw, Some(Path::new("/home/me")));
    config.map(|config| config.certs).map_err(|error| error.to_string())
}

#[test]
fn without_a_section_the_defaults_hold() {
    let certs = load(|_| ()).unwrap();
    assert_eq!((certs.names.as_str(), certs.alias.as_str()), (NAMES, "kafka"));
    assert_eq!(certs.formats, [StoreFormat::Pkcs12]);
    assert_eq!(
        (certs.mode, certs.warn_days, certs.restart),
        (0o600, 21, RestartKind::None)
    );
    assert_eq!(certs.output, Path::new("certs"));
    assert_eq!(
        certs.hosts["k1".parse::<NodeName>().as_ref().unwrap()],
        ["k1.example.org"]
    );
    assert!(certs.required_dir().unwrap_err().to_string().contains("certs.dir"));
}

#[test]
fn values_are_read_as_meant() {
    let certs = load(|raw| {
        raw.source = Some("~/acme".into());
        raw.domain = Some("*.example.org".to_owned());
        raw.owner = Some("1000:1001".to_owned());
        raw.mode = Some("0640".to_owned());
        raw.formats = Some(vec![StoreFormat::Pem, StoreFormat::Jks, StoreFormat::Pem]);
        raw.per_node = Some(true);
        raw.alias = Some("kafka-{node}".to_owned());
        raw.password_command = Some(vec!["~/bin/pass".to_owned(), "hush".to_owned()]);
    })
    .unwrap();
    assert_eq!(certs.source.as_deref(), Some(Path::new("/home/me/acme")));
    assert_eq!(certs.domain.as_deref(), Some("example.org"));
    assert_eq!((certs.owner, certs.mode), (Some((1000, 1001)), 0o640));
    assert_eq!(certs.formats, [StoreFormat::Jks, StoreFormat::Pem]);
    assert_eq!(certs.alias_of("k1"), "kafka-k1");
    let words = vec!["/home/me/bin/pass".to_owned(), "hush".to_owned()];
    assert_eq!(certs.password, Some(PasswordSource::Command(words)));
    assert!(!format!("{certs:?}").contains("hush"), "arguments may be secrets");
}

/// What a value is refused with, and the key that is named.
type Wrong = (&'static str, fn(&mut RawCerts));

#[test]
fn what_cannot_be_meant_is_refused_with_its_key() {
    let wrong: &[Wrong] = &[
        ("certs.formats", |raw| raw.formats = Some(vec![])),
        ("certs.mode", |raw| raw.mode = Some("0666".to_owned())),
        ("certs.mode", |raw| raw.mode = Some("0040".to_owned())),
        ("certs.mode", |raw| raw.mode = Some("4600".to_owned())),
        ("certs.mode", |raw| raw.mode = Some("rw".to_owned())),
        ("certs.owner", |raw| raw.owner = Some("kafka:kafka".to_owned())),
        ("certs.owner", |raw| raw.owner = Some("4294967295:0".to_owned())),
        ("certs.owner", |raw| raw.owner = Some("1000".to_owned())),
        ("certs.dir", |raw| raw.dir = Some("certs".to_owned())),
        ("certs.domain", |raw| raw.domain = Some("../x".to_owned())),
        ("certs.names", |raw| raw.names = Some("{domain}.pem".to_owned())),
        ("certs.alias", |raw| raw.alias = Some("{node}".to_owned())),
        ("certs.alias", |raw| raw.alias = Some("schlüssel".to_owned())),
        ("certs.password_command", |raw| raw.password_command = Some(vec![])),
        ("certs.password_env", |raw| raw.password_env = Some(String::new())),
        ("certs.password_file, certs.password_command", |raw| {
            raw.password_file = Some("p".into());
            raw.password_env = Some("P".to_owned());
        }),
        ("certs.truststore_password_file", |raw| {
            raw.truststore_password_file = Some("p".into());
            raw.truststore_password_env = Some("P".to_owned());
        }),
    ];
    for (key, change) in wrong {
        let text = load(change).unwrap_err();
        assert!(text.contains(key), "{key}: {text}");
    }
}

#[test]
fn hosts_of_certificates_are_names_or_addresses_and_nothing_more() {
    for host in ["k1.example.org", "k1", "10.0.0.1", "fd00::1", " k1.example.org "] {
        assert!(is_host(host.trim()), "{host}");
    }
    for text in [
        "",
        "https://k1.example.org",
        "*.example.org",
        "k1.example.org:9092",
        "[fd00::1]",
        "a b",
        "k1/x",
    ] {
        assert!(!is_host(text), "{text}");
    }
}
