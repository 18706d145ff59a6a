//! TLS: whom it trusts, who trusts it, and what its failures say.

use std::sync::OnceLock;

use kbo_core::ports::node::{KafkaAnswer, KafkaQuestion, NodeError, NodeErrorKind};
use kbo_core::secret::Secret;
use openssl::error::ErrorStack;
use openssl::x509::X509;

use super::super::KafkaAccess;
use super::certs::Identity;
use super::fake::{self, Reply, Request, api_versions, frame};
use super::prober;

/// Node 4, a broker with one SSL listener, advertised as `b4.example`.
async fn ask(port: u16, access: KafkaAccess) -> Result<KafkaAnswer, NodeError> {
    assert!(
        has_threads(),
        "OpenSSL was configured without threads: this test would corrupt memory"
    );
    let text = format!(
        "process.roles=broker\nnode.id=4\nlisteners=SSL://127.0.0.1:{port}\nadvertised.listeners=SSL://b4.example:{port}"
    );
    prober(&text, access).ask(KafkaQuestion::Alive).await
}

fn trusting(authority: &Identity) -> KafkaAccess {
    KafkaAccess {
        ca_pem: Some(authority.cert_pem()),
        ..KafkaAccess::default()
    }
}

fn alive(request: &Request) -> Reply {
    Reply::Bytes(frame(request, false, &api_versions(request.version, &[(3, 0, 13)])))
}

/// OpenSSL's Configure leaves threads out when it sees `-static`, as it does in a build with crt-static: the queue of errors and
/// the counts of references are then shared without a lock, and two connections at a time corrupt memory. This needs no luck
/// to see it: another thread's error must not be found here.
fn has_threads() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        ErrorStack::get();
        std::thread::spawn(|| X509::from_der(b"junk").unwrap_err().put())
            .join()
            .unwrap();
        ErrorStack::get().errors().is_empty()
    })
}

#[test]
fn the_tls_library_is_built_for_threads() {
    assert!(has_threads(), "OpenSSL was configured without threads");
}

#[tokio::test]
async fn a_certificate_of_the_authority_for_the_advertised_host_is_trusted() {
    let authority = Identity::authority("lab");
    let port = fake::serve_tls(authority.issue("b4.example").acceptor(None), alive);
    assert_eq!(ask(port, trusting(&authority)).await, Ok(KafkaAnswer::Alive));
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_an_error() {
    let authority = Identity::authority("lab");
    let port = fake::serve_tls(authority.issue("b4.example").acceptor(None), alive);
    for access in [trusting(&Identity::authority("other")), KafkaAccess::default()] {
        let error = ask(
            port,
            KafkaAccess {
                verify_hostname: false,
                ..access
            },
        )
        .await
        .unwrap_err();
        assert_eq!(error.kind, NodeErrorKind::Refused);
        assert!(
            error.message.contains("not trusted") && error.hint.unwrap().contains("authority"),
            "{}",
            error.message
        );
    }
}

#[tokio::test]
async fn a_certificate_for_another_host_is_an_error_unless_host_names_are_not_checked() {
    let authority = Identity::authority("lab");
    let port = fake::serve_tls(authority.issue("b5.example").acceptor(None), alive);
    let error = ask(port, trusting(&authority)).await.unwrap_err();
    assert_eq!(error.kind, NodeErrorKind::Refused);
    assert!(
        error.message.contains("b4.example") && error.hint.unwrap().contains("host"),
        "{}",
        error.message
    );
    let unchecked = KafkaAccess {
        verify_hostname: false,
        ..trusting(&authority)
    };
    assert_eq!(ask(port, unchecked).await, Ok(KafkaAnswer::Alive));
}

#[tokio::test]
async fn a_listener_that_demands_a_client_certificate_gets_one_or_the_error_says_so() {
    let authority = Identity::authority("lab");
    let port = fake::serve_tls(authority.issue("b4.example").acceptor(Some(&authority)), alive);
    let error = ask(port, trusting(&authority)).await.unwrap_err();
    assert_eq!(error.kind, NodeErrorKind::Refused);
    assert!(error.message.contains("client certificate"), "{error}");

    let client = authority.issue("kbo");
    let with = |client: &Identity| KafkaAccess {
        cert_pem: Some(client.cert_pem()),
        key_pem: Some(Secret::new(client.key_pem())),
        ..trusting(&authority)
    };
    assert_eq!(ask(port, with(&client)).await, Ok(KafkaAnswer::Alive));
    let encrypted = KafkaAccess {
        key_pem: Some(Secret::new(client.encrypted_key_pem("hunter2"))),
        key_password: Some(Secret::new("hunter2")),
        ..with(&client)
    };
    assert_eq!(ask(port, encrypted).await, Ok(KafkaAnswer::Alive));
    let error = ask(port, with(&Identity::authority("other").issue("kbo")))
        .await
        .unwrap_err();
    assert_eq!(error.kind, NodeErrorKind::Refused);
    assert!(error.message.contains("client certificate"), "{error}");
}

#[tokio::test]
async fn what_is_wrong_with_the_client_key_is_said_without_showing_it() {
    let authority = Identity::authority("lab");
    let client = authority.issue("kbo");
    let port = fake::closed_port();
    let access = |key: String, password: Option<&str>| KafkaAccess {
        cert_pem: Some(client.cert_pem()),
        key_pem: Some(Secret::new(key)),
        key_password: password.map(Secret::new),
        ..trusting(&authority)
    };
    let encrypted = client.encrypted_key_pem("hunter2");
    let cases = [
        (access(encrypted.clone(), None), "no password is given"),
        (access(encrypted, Some("wrong-word")), "with its password"),
        (access("secret nonsense".to_owned(), None), "cannot be read"),
        (access(authority.issue("kbo").key_pem(), None), "does not belong"),
        (
            KafkaAccess {
                key_pem: None,
                ..access(String::new(), None)
            },
            "without its key",
        ),
        (
            KafkaAccess {
                cert_pem: None,
                ..access(client.key_pem(), None)
            },
            "without its certificate",
        ),
        (
            KafkaAccess {
                ca_pem: Some("nonsense".to_owned()),
                ..KafkaAccess::default()
            },
            "no certificate",
        ),
    ];
    for (access, expected) in cases {
        let shown = format!("{access:?}");
        let error = ask(port, access).await.unwrap_err();
        assert!(error.message.contains(expected), "{error} for {expected}");
        for text in [shown, format!("{error:?}")] {
            assert!(
                !["PRIVATE", "hunter2", "wrong-word", "secret"]
                    .iter()
                    .any(|secret| text.contains(secret)),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_no_tls_is_an_error() {
    let port = answering_with(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let error = ask(port, KafkaAccess::default()).await.unwrap_err();
    assert_eq!(error.kind, NodeErrorKind::State);
    assert!(error.message.contains("no TLS"), "{error}");
}

#[tokio::test]
async fn a_handshake_that_is_cut_or_refused_is_not_yet() {
    let port = answering_with(b"");
    assert!(matches!(
        ask(port, KafkaAccess::default()).await,
        Ok(KafkaAnswer::NotYet(_))
    ));
    let port = fake::closed_port();
    assert!(matches!(
        ask(port, KafkaAccess::default()).await,
        Ok(KafkaAnswer::NotYet(_))
    ));
}

/// Writes these bytes on every connection and ends it.
pub(super) fn answering_with(bytes: &'static [u8]) -> u16 {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Read what came first: a socket closed with unread bytes resets, and the answer would be lost.
            drop(stream.read(&mut [0; 4096]));
            drop(stream.write_all(bytes));
        }
    });
    port
}
