//! What is no good answer: what passes is not yet, what stays is an error, and nothing is a panic or a long wait.

use std::time::{Duration, Instant};

use kbo_core::ports::node::{KafkaAnswer, KafkaQuestion, NodeErrorKind};
use proptest::prelude::*;

use super::super::messages::{ApiVersions, Metadata, Quorum};
use super::super::{Addresses, KafkaAccess, NodeKafkaConfig, Prober, Timeouts, parse_properties};
use super::fake::{self, Reply, Request, api_versions, frame, kafka};
use super::{broker, prober};

async fn not_yet(port: u16) -> String {
    match broker(port).ask(KafkaQuestion::Partitions).await {
        Ok(KafkaAnswer::NotYet(text)) => text,
        other => panic!("{other:?}"),
    }
}

async fn error(reply: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> String {
    let port = fake::serve(move |request| Reply::Bytes(reply(request)));
    let error = broker(port).ask(KafkaQuestion::Partitions).await.unwrap_err();
    assert_eq!(error.kind, NodeErrorKind::State);
    assert!(
        error.message.contains(&format!("127.0.0.1:{port}")) && error.hint.is_some(),
        "{error}"
    );
    error.message
}

#[tokio::test]
async fn a_closed_port_is_not_yet_and_named() {
    let port = fake::closed_port();
    assert_eq!(
        not_yet(port).await,
        format!("Kafka's listener PLAINTEXT at 127.0.0.1:{port}: connection refused")
    );
}

#[tokio::test]
async fn a_cut_connection_is_not_yet() {
    let port = fake::serve(|_| Reply::Close);
    let text = not_yet(port).await;
    assert!(
        text.contains("closed the connection") || text.contains("reset"),
        "{text}"
    );
}

#[tokio::test]
async fn a_connection_cut_within_an_answer_is_not_yet() {
    let port = fake::serve(|request| match request.key {
        18 => Reply::Bytes(frame(request, false, &api_versions(request.version, &[(3, 0, 12)]))),
        _ => Reply::Close,
    });
    not_yet(port).await;
    let port = fake::serve(|_| Reply::Drip(vec![0, 0, 0, 9, 1, 2], 1));
    not_yet(port).await;
}

#[tokio::test]
async fn silence_and_dripping_end_at_the_total_timeout() {
    let quick = Timeouts {
        connect: Duration::from_millis(300),
        total: Duration::from_millis(600),
    };
    let drip = |request: &Request| {
        Reply::Drip(
            frame(request, false, &api_versions(request.version, &[(18, 0, 3); 500])),
            50,
        )
    };
    for port in [fake::serve(|_| Reply::Silence), fake::serve(drip)] {
        let text = format!("process.roles=broker\nlisteners=PLAINTEXT://127.0.0.1:{port}");
        let config = NodeKafkaConfig::from_properties(&parse_properties(&text), None).unwrap();
        let prober = Prober::new(config, Addresses::default(), KafkaAccess::default(), quick);
        let started = Instant::now();
        let answer = prober.ask(KafkaQuestion::Alive).await.unwrap();
        assert!(
            matches!(&answer, KafkaAnswer::NotYet(text) if text.contains("no answer in time")),
            "{answer:?}"
        );
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn what_is_no_kafka_is_an_error() {
    let text = error(|_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()).await;
    assert!(text.contains("no Kafka response"), "{text}");
    let text = error(|_| vec![0x15, 3, 3, 0, 2, 2, 70]).await;
    assert!(text.contains("TLS"), "{text}");
    let text = error(|request| {
        frame(
            &Request {
                correlation: request.correlation + 1,
                body: Vec::new(),
                ..*request
            },
            false,
            &api_versions(request.version, &[]),
        )
    })
    .await;
    assert!(text.contains("another request"), "{text}");
}

#[tokio::test]
async fn an_array_that_claims_billions_of_elements_takes_no_memory() {
    let text = error(|request| frame(request, false, &[0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f])).await;
    assert!(text.contains("out of range"), "{text}");
    let port = kafka(3, 8, |_| vec![0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]);
    let failed = broker(port).ask(KafkaQuestion::Partitions).await.unwrap_err();
    assert!(failed.message.contains("out of range"), "{failed}");
}

#[tokio::test]
async fn an_api_that_is_not_there_is_an_error() {
    let text = error(|request| frame(request, false, &api_versions(request.version, &[(18, 0, 3)]))).await;
    assert!(text.contains("Metadata"), "{text}");
    let text = error(|request| frame(request, false, &api_versions(request.version, &[(3, 14, 20)]))).await;
    assert!(text.contains("no version"), "{text}");
}

/// Two candidates: the explicit host, on which nobody listens, and the loopback.
fn with_a_closed_first_candidate(port: u16) -> Prober {
    prober(
        &format!("process.roles=broker\nnode.id=4\nlisteners=PLAINTEXT://127.0.0.2:{port}"),
        KafkaAccess::default(),
    )
}

#[tokio::test]
async fn the_next_candidate_is_tried_and_the_one_that_answered_comes_first_then() {
    let port = fake::serve(|request| Reply::Bytes(frame(request, false, &api_versions(request.version, &[]))));
    let prober = with_a_closed_first_candidate(port);
    for _ in 0..2 {
        assert_eq!(prober.ask(KafkaQuestion::Alive).await, Ok(KafkaAnswer::Alive));
        let answered = prober.answered.0.lock().unwrap().values().next().cloned();
        assert_eq!(answered, Some(("127.0.0.1".to_owned(), port)));
    }
    let addresses = Addresses::default();
    let mut target = super::super::listener::choose(
        &prober.config,
        &addresses,
        &prober.credentials,
        super::super::Side::Broker,
    )
    .unwrap();
    assert_eq!(target.candidates[0].0, "127.0.0.2");
    prober.put_remembered_first(super::super::Side::Broker, &mut target);
    assert_eq!(target.candidates[0].0, "127.0.0.1");
}

#[tokio::test]
async fn while_the_surest_address_is_closed_a_stranger_at_another_is_no_verdict() {
    let port = fake::serve(|_| Reply::Bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()));
    let answer = with_a_closed_first_candidate(port)
        .ask(KafkaQuestion::Alive)
        .await
        .unwrap();
    let KafkaAnswer::NotYet(text) = &answer else {
        panic!("{answer:?}")
    };
    assert!(
        text.contains("127.0.0.2") && text.contains("no Kafka response"),
        "{text}"
    );
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_not_yet() {
    let text = "process.roles=broker\nlisteners=PLAINTEXT://no-such-host.invalid:1\n";
    let answer = prober(text, KafkaAccess::default())
        .ask(KafkaQuestion::Alive)
        .await
        .unwrap();
    assert!(
        matches!(&answer, KafkaAnswer::NotYet(text) if text.contains("no-such-host.invalid:1")),
        "{answer:?}"
    );
}

proptest! {
    #[test]
    fn no_response_makes_a_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..300), version in 0_i16..14) {
        drop(ApiVersions::decode(&body, version.min(3)));
        drop(Quorum::decode(&body, version.min(2)));
        drop(Metadata::decode(&body, version.max(1)));
    }

    /// Small numbers get further into the structure than random ones.
    #[test]
    fn no_plausible_response_makes_a_reader_panic(body in proptest::collection::vec(0_u8..4, 0..300), version in 0_i16..14) {
        drop(ApiVersions::decode(&body, version.min(3)));
        drop(Quorum::decode(&body, version.min(2)));
        drop(Metadata::decode(&body, version.max(1)));
    }
}
