//! What the server has for itself and what client properties say: which of it counts, and whether a password goes without TLS.

use kbo_core::config::Mechanism;
use kbo_core::ports::node::{KafkaAnswer, NodeErrorKind};

use super::super::listener::{Protocol, Side, choose};
use super::super::{Addresses, KafkaAccess};
use super::certs::Identity;
use super::credentials::{BROKER, Node, SCRAM, alive, jks, owning, trusting};
use super::fake::{self, Reply, frame};

const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required";

/// Whether PLAIN would go without TLS by what a node has.
fn gives_away(node: &Node, listener: &str) -> bool {
    let login = node.login(listener, Protocol::SaslPlaintext).unwrap();
    let sasl = login.sasl.unwrap();
    assert_eq!(sasl.mechanisms, [Mechanism::Plain]);
    sasl.plain_in_clear
}

#[tokio::test]
async fn a_servers_own_plain_password_does_not_go_without_tls() {
    let port = fake::serve(|request| match request.key {
        // It offers PLAIN, agrees, and must not be told anything then.
        17 => Reply::Bytes(frame(request, false, b"\0\0\0\0\0\x01\0\x05PLAIN")),
        key => panic!("request {key} after the handshake"),
    });
    let text = format!(
        "process.roles=broker\nnode.id=4\nlisteners=IN://127.0.0.1:{port}\nlistener.security.protocol.map=IN:SASL_PLAINTEXT\n\
         inter.broker.listener.name=IN\nsasl.mechanism.inter.broker.protocol=PLAIN\n"
    );
    for key in [
        "sasl.jaas.config",
        "plain.sasl.jaas.config",
        "listener.name.in.plain.sasl.jaas.config",
    ] {
        let node = Node::new(&format!(
            "{text}{key}={PLAIN} username=\"admin\" password=\"hunter2\" user_admin=\"hunter2\";\n"
        ));
        assert!(!gives_away(&node, "IN"));
        let error = node.ask().await.unwrap_err();
        assert_eq!(error.kind, NodeErrorKind::Refused);
        assert!(error.message.contains("offers PLAIN"), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"));
        let hint = error.hint.unwrap();
        assert!(
            hint.contains("sasl_mechanism") && hint.contains("security.protocol=SASL_PLAINTEXT"),
            "{hint}"
        );
    }
}

#[test]
fn who_writes_client_properties_for_a_listener_without_tls_means_plain_to_go_so() {
    let node = Node::new(&format!(
        "{BROKER}plain.sasl.jaas.config={PLAIN} username=\"admin\" password=\"s\";\n"
    ));
    let client = |protocol: &str| {
        format!(
            "security.protocol={protocol}\nsasl.mechanism=PLAIN\nsasl.jaas.config={PLAIN} username=\"k\" password=\"s\";\n"
        )
    };
    node.put("client.properties", client("SASL_PLAINTEXT"));
    assert!(gives_away(&node, "OUT"));
    node.put("client.properties", client("SASL_SSL"));
    assert!(!gives_away(&node, "OUT"));
}

#[test]
fn the_mechanism_that_the_nodes_use_is_borrowed_before_others_and_faults_of_those_do_not_matter() {
    let node = Node::new(&format!(
        "{BROKER}sasl.mechanism.inter.broker.protocol=PLAIN\n\
         scram-sha-512.sasl.jaas.config={SCRAM} username=\"nobody\" password=\"x\";\n\
         scram-sha-256.sasl.jaas.config=broken\n\
         plain.sasl.jaas.config={PLAIN} username=\"admin\" password=\"s\";\n"
    ));
    let (user, _, mechanisms) = node.sasl("SASL_SSL", Protocol::SaslSsl).unwrap();
    assert_eq!((user.as_str(), mechanisms), ("admin", vec![Mechanism::Plain]));
}

#[test]
fn the_mechanism_of_controllers_counts_for_their_listeners_and_faults_of_providers_do_not_matter_either() {
    let node = Node::new(&format!(
        "process.roles=broker,controller\nnode.id=4\nlisteners=SASL_SSL://:9094,CTL://:9093\ncontroller.listener.names=CTL\n\
         listener.security.protocol.map=CTL:SASL_SSL,SASL_SSL:SASL_SSL\n\
         config.providers=v\nconfig.providers.v.class=com.example.VaultConfigProvider\n\
         sasl.mechanism.controller.protocol=PLAIN\n\
         scram-sha-512.sasl.jaas.config=${{v:kafka:jaas}}\n\
         scram-sha-256.sasl.jaas.config={SCRAM} username=\"broker\" password=\"x\";\n\
         plain.sasl.jaas.config={PLAIN} username=\"controller\" password=\"s\";\n"
    ));
    assert_eq!(node.sasl("CTL", Protocol::SaslSsl).unwrap().0, "controller");
    assert_eq!(node.sasl("SASL_SSL", Protocol::SaslSsl).unwrap().0, "broker");
    // What nothing stands in for is told.
    let node = Node::new(&format!("{BROKER}scram-sha-512.sasl.jaas.config=broken\n"));
    let error = node.login("SASL_SSL", Protocol::SaslSsl).unwrap_err();
    assert!(error.message.contains("scram-sha-512.sasl.jaas.config"), "{error}");
}

/// KIP-684.
#[test]
fn a_listener_with_sasl_wants_a_certificate_by_its_own_key_only() {
    let user = format!(
        "sasl.jaas.config={SCRAM} username=\"u\" password=\"p\";\nsasl.mechanism.inter.broker.protocol=SCRAM-SHA-512\n"
    );
    let suffices = |more: &str| {
        let node = Node::new(&format!("{BROKER}{user}{more}"));
        let credentials = node.credentials(KafkaAccess::default()).unwrap();
        credentials
            .suffice(&node.config(), "SASL_SSL", Protocol::SaslSsl)
            .is_ok()
    };
    assert!(suffices("ssl.client.auth=required\n"));
    assert!(!suffices("listener.name.sasl_ssl.ssl.client.auth=required\n"));
}

#[tokio::test]
async fn a_truststore_in_jks_needs_no_password_and_its_keys_none_either() {
    let authority = Identity::authority("lab");
    let port = fake::serve_tls(authority.issue("b4.example").acceptor(None), alive);
    let node = Node::new(&format!(
        "process.roles=broker\nnode.id=4\nlisteners=SSL://127.0.0.1:{port}\nadvertised.listeners=SSL://b4.example:9\n\
         ssl.truststore.location=/c/both.jks\n"
    ));
    let mut both = trusting(&authority);
    both.entries.extend(owning(&authority.issue("other")).entries);
    node.put("both.jks", jks(&both));
    assert_eq!(node.ask().await, Ok(KafkaAnswer::Alive));
}

/// As `Properties.load` of Java reads a stream.
#[test]
fn properties_are_read_byte_by_byte() {
    let node = Node::new(BROKER);
    let text = format!(
        "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nsasl.jaas.config={PLAIN} username=\"k\" password=\"pä\";\n"
    );
    node.put("client.properties", &text);
    let (_, password, _) = node.sasl("SASL_SSL", Protocol::SaslSsl).unwrap();
    assert_eq!(
        password, "pÃ¤",
        "what Kafka's own clients would send of a file in UTF-8"
    );
    node.put("client.properties", text.replace('ä', "\\u00e4"));
    let (_, password, _) = node.sasl("SASL_SSL", Protocol::SaslSsl).unwrap();
    assert_eq!(password, "pä");
}

#[test]
fn a_listener_of_the_protocol_that_client_properties_are_for_is_asked_before_others() {
    let node =
        Node::new("process.roles=broker\nnode.id=4\nlisteners=SSL://:9095,SASL_PLAINTEXT://:9093,SASL_SSL://:9094\n");
    let chosen = || {
        let credentials = node.credentials(KafkaAccess::default()).unwrap();
        let target = choose(&node.config(), &Addresses::default(), &credentials, Side::Broker).unwrap();
        target.protocol
    };
    assert_eq!(chosen(), Protocol::Ssl);
    for (name, protocol) in [
        ("SASL_PLAINTEXT", Protocol::SaslPlaintext),
        ("sasl_ssl", Protocol::SaslSsl),
    ] {
        let text = format!("security.protocol={name}\nsasl.jaas.config={SCRAM} username=\"k\" password=\"s\";\n");
        node.put("client.properties", text);
        assert_eq!(chosen(), protocol);
    }
}
