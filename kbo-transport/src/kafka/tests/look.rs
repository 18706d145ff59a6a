//! What listeners show to whoever shakes hands with them.

use kbo_core::ports::listener::{ListenerFacts, Shown};
use openssl::ssl::SslVersion;

use super::super::KafkaAccess;
use super::certs::Identity;
use super::fake::{self, Reply};
use super::prober;

async fn look(listeners: &str, more: &str) -> Vec<ListenerFacts> {
    let text = format!(
        "process.roles=broker,controller\nnode.id=4\ncontroller.listener.names=CTL\nlisteners={listeners}\n{more}"
    );
    prober(&text, KafkaAccess::default()).look().await
}

fn der(identity: &Identity) -> Vec<u8> {
    identity.cert.to_der().unwrap()
}

#[tokio::test]
async fn every_listener_with_tls_shows_its_chain_though_nobody_trusts_it() {
    let authority = Identity::authority("unknown to all");
    let (one, two) = (authority.issue("one.example"), authority.issue("two.example"));
    let plain = fake::serve(|_| Reply::Silence);
    let ssl = fake::serve_tls(one.acceptor_with_issuer(&authority), |_| Reply::Silence);
    let sasl = fake::serve_tls(two.acceptor(None), |_| Reply::Silence);
    let listeners = look(
        &format!("CTL://127.0.0.1:{ssl},PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{sasl}"),
        "listener.security.protocol.map=CTL:SSL,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL\n\
         ssl.client.auth=required\nadvertised.listeners=SASL_SSL://b4.example:19094\ncontroller.quorum.voters=4@c4.example:9093",
    )
    .await;
    let facts = |name: &str, protocol: &str, host: &str, port, controller, shown| ListenerFacts {
        name: name.to_owned(),
        protocol: protocol.to_owned(),
        host: Some(host.to_owned()),
        port,
        controller,
        mutual_tls: controller,
        shown,
    };
    let chain = |chain: &[&Identity]| Some(Shown::Chain(chain.iter().map(|identity| der(identity)).collect()));
    assert_eq!(
        listeners,
        [
            facts("CTL", "SSL", "c4.example", ssl, true, chain(&[&one, &authority])),
            facts("PLAINTEXT", "PLAINTEXT", "127.0.0.1", plain, false, None),
            facts("SASL_SSL", "SASL_SSL", "b4.example", sasl, false, chain(&[&two])),
        ]
    );
}

#[tokio::test]
async fn a_listener_that_refuses_us_for_want_of_a_certificate_has_shown_its_own() {
    let authority = Identity::authority("lab");
    let server = authority.issue("b4.example");
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let acceptor = server.acceptor_for(Some(&authority), version);
        let port = fake::serve_tls(acceptor, |_| Reply::Silence);
        let listeners = look(&format!("SSL://127.0.0.1:{port}"), "").await;
        assert_eq!(
            listeners[0].shown,
            Some(Shown::Chain(vec![der(&server)])),
            "{version:?}"
        );
    }
}

#[tokio::test]
async fn where_nothing_is_shown_the_reason_is() {
    let closed = fake::closed_port();
    let cut = super::tls::answering_with(b"");
    let no_tls = super::tls::answering_with(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    for (port, expected) in [
        (closed, "connection refused"),
        (cut, "closed the connection"),
        (no_tls, "no TLS handshake"),
    ] {
        let listeners = look(&format!("SSL://127.0.0.1:{port}"), "").await;
        let Some(Shown::Nothing(why)) = &listeners[0].shown else {
            panic!("{listeners:?}")
        };
        assert!(why.contains(expected) && why.contains(&port.to_string()), "{why}");
    }
}
