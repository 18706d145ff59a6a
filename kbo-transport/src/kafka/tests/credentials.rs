//! Credentials of the node's own files: client properties first, then what the server has for itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kbo_certs::store::{Certificate, Content, Entry, PrivateKey, Store};
use kbo_certs::{Jks, Pkcs12, Profile};
use kbo_core::config::Mechanism;
use kbo_core::ports::node::{KafkaAnswer, KafkaQuestion, NodeError, NodeErrorKind};
use kbo_core::secret::Secret;

use super::super::credentials::{Credentials, Login, Surroundings};
use super::super::listener::Protocol;
use super::super::{Addresses, KafkaAccess, NodeKafkaConfig, Prober, parse_properties};
use super::certs::Identity;
use super::fake::{self, Reply, Request, api_versions, frame};
use super::{TIMEOUTS, tls::answering_with};

/// A node with a configuration directory; `/c` of the container is that directory.
pub(super) struct Node {
    dir: tempfile::TempDir,
    server: String,
    env: Vec<(String, String)>,
}

impl Node {
    pub(super) fn new(server: &str) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            server: server.to_owned(),
            env: Vec::new(),
        }
    }

    pub(super) fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> &Self {
        std::fs::write(self.dir.path().join(name), bytes).unwrap();
        self
    }

    pub(super) fn config(&self) -> NodeKafkaConfig {
        NodeKafkaConfig::from_properties(
            &parse_properties(&self.server),
            Some(PathBuf::from("server.properties")),
        )
        .unwrap()
    }

    pub(super) fn credentials(&self, access: KafkaAccess) -> Result<Credentials, NodeError> {
        let dir = self.dir.path().to_owned();
        let surroundings = Surroundings {
            config_dir: Some(dir.clone()),
            env: self.env.clone(),
            locate: Arc::new(move |path: &str| Some(dir.join(Path::new(path).strip_prefix("/c").ok()?))),
        };
        Credentials::gather(access, surroundings)
    }

    pub(super) fn login(&self, listener: &str, protocol: Protocol) -> Result<Login, NodeError> {
        self.credentials(KafkaAccess::default())?
            .login(&self.config(), listener, protocol)
    }

    /// User, password and mechanisms.
    pub(super) fn sasl(&self, listener: &str, protocol: Protocol) -> Option<(String, String, Vec<Mechanism>)> {
        let sasl = self.login(listener, protocol).unwrap().sasl?;
        Some((
            sasl.username.clone(),
            sasl.password.expose().to_owned(),
            sasl.mechanisms,
        ))
    }

    pub(super) async fn ask(&self) -> Result<KafkaAnswer, NodeError> {
        let credentials = self.credentials(KafkaAccess::default())?;
        let prober = Prober::new(self.config(), Addresses::default(), credentials, TIMEOUTS);
        prober.ask(KafkaQuestion::Alive).await
    }
}

pub(super) const BROKER: &str = "process.roles=broker\nnode.id=4\nlisteners=SASL_SSL://127.0.0.1:9094\n";
pub(super) const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule required";

pub(super) fn alive(request: &Request) -> Reply {
    Reply::Bytes(frame(request, false, &api_versions(request.version, &[(18, 0, 4)])))
}

pub(super) fn trusting(authority: &Identity) -> Store {
    let content = Content::Trusted(Certificate(authority.cert.to_der().unwrap()));
    store("ca", content)
}

pub(super) fn owning(identity: &Identity) -> Store {
    let key = PrivateKey::from_pkcs8(identity.key.private_key_to_pkcs8().unwrap());
    let chain = vec![Certificate(identity.cert.to_der().unwrap())];
    store("own", Content::Key { key, chain })
}

fn store(alias: &str, content: Content) -> Store {
    let entry = Entry {
        alias: alias.to_owned(),
        created_ms: 0,
        content,
    };
    Store { entries: vec![entry] }
}

fn pkcs12(store: &Store) -> Vec<u8> {
    Pkcs12::write(store, &Secret::new("changeit"), Profile::Modern).unwrap()
}

pub(super) fn jks(store: &Store) -> Vec<u8> {
    Jks::write(store, &Secret::new("changeit"), Some(&Secret::new("key-word"))).unwrap()
}

/// A broker with an SSL listener that demands a certificate of `authority`.
fn demanding(authority: &Identity) -> (u16, String) {
    let port = fake::serve_tls(authority.issue("b4.example").acceptor(Some(authority)), alive);
    let text = format!(
        "process.roles=broker\nnode.id=4\nlisteners=SSL://127.0.0.1:{port}\nadvertised.listeners=SSL://b4.example:{port}\n\
         ssl.client.auth=required\n"
    );
    (port, text)
}

#[tokio::test]
async fn stores_of_every_format_let_in_from_client_properties_and_from_the_servers_own() {
    let authority = Identity::authority("lab");
    let client = authority.issue("kbo");
    let (_, text) = demanding(&authority);
    let pem = format!("{}{}", client.encrypted_key_pem("key-word"), client.cert_pem());
    let formats: [(&str, Vec<u8>, Vec<u8>); 3] = [
        ("PKCS12", pkcs12(&trusting(&authority)), pkcs12(&owning(&client))),
        ("JKS", jks(&trusting(&authority)), jks(&owning(&client))),
        ("PEM", authority.cert_pem().into_bytes(), pem.into_bytes()),
    ];
    for (format, trust, own) in formats {
        let stores = "ssl.truststore.location=/c/trust\nssl.truststore.password=changeit\nssl.keystore.location=/c/own\n\
                      ssl.keystore.password=changeit\nssl.key.password=key-word\n";
        let by_client = Node::new(&text);
        by_client.put("client.properties", format!("security.protocol=SSL\n{stores}"));
        let by_server = Node::new(&format!("{text}{stores}"));
        for node in [by_client, by_server] {
            node.put("trust", &trust).put("own", &own);
            assert_eq!(node.ask().await, Ok(KafkaAnswer::Alive), "{format}");
        }
    }
}

#[tokio::test]
async fn pem_in_properties_is_read_though_it_has_lost_its_line_ends() {
    let authority = Identity::authority("lab");
    let client = authority.issue("kbo");
    let (_, text) = demanding(&authority);
    let one_line = |pem: String| pem.replace('\n', " ");
    let node = Node::new(&text);
    node.put(
        "admin.properties",
        format!(
            "security.protocol=SSL\nssl.truststore.type=PEM\nssl.truststore.certificates={}\nssl.keystore.key={}\n\
             ssl.keystore.certificate.chain={}\n",
            one_line(authority.cert_pem()),
            one_line(client.key_pem()),
            one_line(client.cert_pem())
        ),
    );
    assert_eq!(node.ask().await, Ok(KafkaAnswer::Alive));
}

#[tokio::test]
async fn an_empty_identification_algorithm_means_any_host_name() {
    let authority = Identity::authority("lab");
    let port = fake::serve_tls(authority.issue("elsewhere.example").acceptor(None), alive);
    let text = format!("process.roles=broker\nnode.id=4\nlisteners=SSL://127.0.0.1:{port}\n");
    let node = Node::new(&text);
    node.put("ca.pem", authority.cert_pem());
    let client = "security.protocol=SSL\nssl.truststore.location=/c/ca.pem\n";
    node.put("client.properties", client);
    let error = node.ask().await.unwrap_err();
    assert!(error.message.contains("not trusted"), "{error}");
    node.put(
        "client.properties",
        format!("{client}ssl.endpoint.identification.algorithm=\n"),
    );
    assert_eq!(node.ask().await, Ok(KafkaAnswer::Alive));
}

#[tokio::test]
async fn the_servers_own_word_on_host_names_counts_unless_client_properties_are_for_tls() {
    let authority = Identity::authority("lab");
    let port = fake::serve_tls(authority.issue("elsewhere.example").acceptor(None), alive);
    let node = Node::new(&format!(
        "process.roles=broker\nnode.id=4\nlisteners=SSL://127.0.0.1:{port}\nssl.truststore.location=/c/ca.pem\n\
         ssl.endpoint.identification.algorithm=\n"
    ));
    node.put("ca.pem", authority.cert_pem());
    assert_eq!(node.ask().await, Ok(KafkaAnswer::Alive));
    for protocol in ["PLAINTEXT", "SASL_PLAINTEXT"] {
        node.put("client.properties", format!("security.protocol={protocol}\n"));
        assert_eq!(node.ask().await, Ok(KafkaAnswer::Alive), "{protocol}");
    }
    for protocol in ["SSL", "sasl_ssl"] {
        node.put("client.properties", format!("security.protocol={protocol}\n"));
        let error = node.ask().await.unwrap_err();
        assert!(error.message.contains("not trusted"), "{error}");
    }
}

#[test]
fn client_properties_outrank_the_servers_own_login() {
    let server = format!(
        "{BROKER}listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={SCRAM} username=\"broker\" password=\"b\";\n"
    );
    let node = Node::new(&server);
    let own = node.sasl("SASL_SSL", Protocol::SaslSsl);
    let expected = |user: &str, password: &str, mechanisms: &[Mechanism]| {
        Some((user.to_owned(), password.to_owned(), mechanisms.to_vec()))
    };
    assert_eq!(own, expected("broker", "b", &[Mechanism::ScramSha512]));
    assert_eq!(node.sasl("OTHER", Protocol::SaslSsl), None);

    node.put(
        "client.properties",
        format!("security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-256\nsasl.jaas.config={SCRAM} username=\"kbo\" password=\"k\";\n"),
    );
    let theirs = expected("kbo", "k", &[Mechanism::ScramSha256]);
    assert_eq!(node.sasl("SASL_SSL", Protocol::SaslSsl), theirs);
    // A password that was meant for TLS is not sent without.
    assert_eq!(
        node.sasl("SASL_SSL", Protocol::SaslPlaintext),
        expected("broker", "b", &[Mechanism::ScramSha512])
    );
}

#[test]
fn a_module_that_only_lets_others_in_is_no_login() {
    let node = Node::new(&format!("{BROKER}scram-sha-512.sasl.jaas.config={SCRAM};\n"));
    assert_eq!(node.sasl("SASL_SSL", Protocol::SaslSsl), None);
}

#[test]
fn config_providers_are_followed() {
    let providers = "config.providers=f,e,d\nconfig.providers.f.class=org.apache.kafka.common.config.provider.FileConfigProvider\n\
        config.providers.e.class=org.apache.kafka.common.config.provider.EnvVarConfigProvider\n\
        config.providers.d.class=org.apache.kafka.common.config.provider.DirectoryConfigProvider\n";
    let jaas = |password: &str| {
        format!(
            "security.protocol=SASL_SSL\n{providers}sasl.jaas.config={SCRAM} username=\"kbo\" password=\"{password}\";\n"
        )
    };
    let mut node = Node::new(BROKER);
    node.env = vec![("WORD".to_owned(), "of-env".to_owned())];
    node.put("secrets.properties", "word=of-file\n").put("word", "of-dir");
    for (reference, expected) in [
        ("${f:/c/secrets.properties:word}", "of-file"),
        ("${e:WORD}", "of-env"),
        ("${d:/c:word}", "of-dir"),
        ("${other:x}", "${other:x}"),
        ("a${e:WORD}b", "aof-envb"),
    ] {
        node.put("client.properties", jaas(reference));
        assert_eq!(node.sasl("SASL_SSL", Protocol::SaslSsl).unwrap().1, expected);
    }
    for (reference, expected) in [
        ("${f:/elsewhere:word}", "in no mount"),
        ("${f:/c/none:word}", "no file"),
        ("${f:/c/secrets.properties:other}", "has no other"),
        ("${e:OTHER}", "no variable OTHER"),
    ] {
        node.put("client.properties", jaas(reference));
        let error = node.login("SASL_SSL", Protocol::SaslSsl).unwrap_err();
        assert!(
            error.message.contains(expected) && error.message.contains("client.properties"),
            "{error}"
        );
    }
}

#[test]
fn what_cannot_be_used_of_a_clients_file_is_an_error_that_names_it_and_shows_no_secret() {
    let node = Node::new(BROKER);
    node.put("broken", "nonsense")
        .put("p12", pkcs12(&trusting(&Identity::authority("lab"))));
    let trust = |location: &str| format!("ssl.truststore.location={location}\nssl.truststore.password=hunter2\n");
    for (properties, expected) in [
        (trust("/etc/elsewhere.p12"), "in no mount"),
        (trust("/c/none.p12"), "no file"),
        (trust("/c/broken"), "no certificate"),
        (trust("/c/p12"), "password"),
        (
            "ssl.truststore.location=/c/p12\n".to_owned(),
            "its password is not given",
        ),
        ("ssl.keystore.location=/c/broken\n".to_owned(), "no key"),
        (
            "sasl.jaas.config=m required password=\"hunter2\"\n".to_owned(),
            "semicolon",
        ),
        (
            format!("sasl.mechanism=GSSAPI\nsasl.jaas.config={SCRAM} username=\"u\" password=\"hunter2\";\n"),
            "GSSAPI",
        ),
        (
            format!("sasl.mechanism=PLAIN\nsasl.jaas.config={SCRAM} username=\"u\" password=\"hunter2\";\n"),
            "another mechanism",
        ),
    ] {
        node.put("client.properties", format!("security.protocol=SASL_SSL\n{properties}"));
        let error = node.login("SASL_SSL", Protocol::SaslSsl).unwrap_err();
        assert!(error.message.contains(expected), "{error} for {expected}");
        assert!(error.message.contains("client.properties"), "{error}");
        assert!(
            error.hint.is_some() && !format!("{error:?}").contains("hunter2"),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_used_of_the_servers_is_told_only_when_nothing_else_does() {
    let authority = Identity::authority("lab");
    let broken = "ssl.truststore.location=/elsewhere/trust.p12\nssl.keystore.location=/elsewhere/key.p12\n";
    let port = fake::serve_tls(authority.issue("127.0.0.1").acceptor(None), alive);
    let text = format!("process.roles=broker\nnode.id=4\nlisteners=SSL://127.0.0.1:{port}\n{broken}");
    let error = Node::new(&text).ask().await.unwrap_err();
    assert!(
        error.message.contains("not trusted") && error.message.contains("/elsewhere/trust.p12"),
        "{error}"
    );
    // Here nothing else would do.
    let (_, text) = demanding(&authority);
    let error = Node::new(&format!("{text}{broken}")).ask().await.unwrap_err();
    assert!(error.message.contains("/elsewhere/key.p12"), "{error}");
    assert!(error.hint.unwrap().contains("`cert` and `key`"));
    // And here there is nothing at all.
    let error = Node::new(&text).ask().await.unwrap_err();
    assert_eq!(error.kind, NodeErrorKind::Refused);
    assert!(error.message.contains("ssl.client.auth=required"), "{error}");
}

#[test]
fn named_client_properties_must_be_there_and_be_some() {
    let node = Node::new(BROKER);
    node.put("empty.properties", "a=b\n");
    for (named, expected) in [
        ("none.properties", "no file"),
        ("/elsewhere/x.properties", "in no mount"),
        ("/c/empty.properties", "no security.protocol"),
    ] {
        let access = KafkaAccess {
            client_properties: Some(named.to_owned()),
            ..KafkaAccess::default()
        };
        let error = node.credentials(access).unwrap_err();
        assert!(error.message.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_plaintext_listener_is_asked_whatever_the_credentials_are() {
    let port = fake::serve(alive);
    let node = Node::new(&format!(
        "process.roles=broker\nnode.id=4\nlisteners=PLAINTEXT://127.0.0.1:{port}\n"
    ));
    node.put(
        "client.properties",
        "security.protocol=SASL_SSL\nsasl.jaas.config=broken\n",
    );
    assert_eq!(node.ask().await, Ok(KafkaAnswer::Alive));
    let closed = Node::new(&format!(
        "process.roles=broker\nnode.id=4\nlisteners=SSL://127.0.0.1:{}\n",
        answering_with(b"")
    ));
    assert!(matches!(closed.ask().await, Ok(KafkaAnswer::NotYet(_))));
}
