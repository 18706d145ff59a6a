//! What comes over the pipe and is not what it should be.

use std::time::Duration;

use kbo_core::manifest::FileKind;
use kbo_core::ports::node::{
    ArchiveReport, ContainerState, KafkaAnswer, NodeErrorKind, NodeTransport, PartitionState, StageRequest,
};
use kbo_core::secret::Secret;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

use super::super::proto::{
    Frame, Hello, MAGIC, MAX_DATA, MAX_MESSAGE, Open, Parts, ProtoError, Reply, Request, decode, encode, reply_frames,
    request_frames,
};
use super::super::wire::{read_frame, write_frame};
use super::*;
use crate::kafka::Sasl;

/// Says `bytes` and keeps the pipe open or not.
struct Talker {
    bytes: Vec<u8>,
    open: bool,
}

#[async_trait]
impl Carrier for Talker {
    async fn open(&self) -> Result<AgentPipe, NodeError> {
        let (client_in, mut agent_out) = tokio::io::duplex(1 << 20);
        let (mut agent_in, client_out) = tokio::io::duplex(1 << 20);
        agent_out.write_all(&self.bytes).await.unwrap();
        let open = self.open;
        tokio::spawn(async move {
            if open {
                let _ = tokio::io::copy(&mut agent_in, &mut tokio::io::sink()).await;
            }
            drop(agent_out);
        });
        Ok(AgentPipe {
            reader: Box::new(client_in),
            writer: Box::new(client_out),
            complaints: Arc::new(|| "sudo: a password is required".to_owned()),
            paths: Vec::new(),
            engine_paths: Vec::new(),
            engine_socket: None,
            guard: Box::new(()),
        })
    }

    fn describe(&self) -> String {
        "ssh root@b1".to_owned()
    }
}

async fn refusal(bytes: &[u8], open: bool) -> NodeError {
    let lab = Lab::new();
    let limits = ClientLimits {
        silence: Duration::from_secs(2),
        hello: Duration::from_secs(2),
        ..Default::default()
    };
    let node = RemoteNode::new(
        lab.spec(),
        Talker {
            bytes: bytes.to_vec(),
            open,
        },
    )
    .with_limits(limits);
    assert_kind(node.state().await, NodeErrorKind::Agent)
}

#[tokio::test]
async fn a_login_banner_is_shown() {
    for open in [true, false] {
        let error = refusal(b"Welcome to \x1b[1mDebian\nlast login: today\n", open).await;
        assert!(
            error.message.contains("Welcome to .[1mDebian\nlast login"),
            "{}",
            error.message
        );
        assert!(error.message.contains("ssh root@b1") && error.hint.is_some());
    }
}

#[tokio::test]
async fn an_agent_that_says_nothing_is_known_by_its_complaints() {
    let error = refusal(b"", false).await;
    assert!(error.message.contains("a password is required"), "{}", error.message);
}

#[tokio::test]
async fn an_agent_that_hangs_is_given_up() {
    let error = refusal(b"", true).await;
    assert!(error.message.contains("said nothing for 2 s"), "{}", error.message);
}

#[tokio::test]
async fn another_version_is_refused() {
    let hello = Hello {
        protocol: 99,
        version: "9.9.9".to_owned(),
    };
    let mut bytes = MAGIC.to_vec();
    write_frame(&mut bytes, &Frame::Hello(encode(&hello).unwrap()))
        .await
        .unwrap();
    let error = refusal(&bytes, true).await;
    assert!(
        error.message.contains("9.9.9") && error.message.contains("protocol 99"),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn frames_that_claim_too_much_are_refused_before_memory_is_taken() {
    for (kind, limit) in [(3, MAX_MESSAGE), (5, MAX_DATA), (6, 0), (9, 0)] {
        for length in [limit + 1, u32::MAX as usize] {
            let mut bytes = u32::try_from(length).unwrap().to_be_bytes().to_vec();
            bytes.push(kind);
            let error = read_frame(&mut bytes.as_slice()).await.unwrap_err();
            assert!(matches!(error, ProtoError::TooLong { .. }), "{kind} {length}: {error}");
        }
    }
    let mut hello = MAGIC.to_vec();
    hello.extend([0xff, 0xff, 0xff, 0xff, 1]);
    assert!(refusal(&hello, true).await.message.contains("claims"));
}

#[tokio::test]
async fn an_agent_refuses_what_is_no_client() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"",
        &[0, 0, 0, 0, 6],
        &[0, 0, 0, 2, 2, b'{', b'}'],
    ] {
        let lab = Lab::new();
        let (agent_in, mut client_out) = tokio::io::duplex(1 << 16);
        let (mut client_in, agent_out) = tokio::io::duplex(1 << 16);
        client_out.write_all(bytes).await.unwrap();
        drop(client_out);
        let agent = tokio::spawn(serve(agent_in, agent_out, lab.limits.clone()));
        tokio::io::copy(&mut client_in, &mut tokio::io::sink()).await.unwrap();
        assert_kind(agent.await.unwrap(), NodeErrorKind::Agent);
        assert_eq!(lab.engine.state(), ContainerState::Running);
    }
}

#[test]
fn secrets_reach_the_agent_and_nothing_else() {
    let lab = Lab::new();
    let mut spec = lab.spec();
    spec.kafka.key_pem = Some(Secret::new("hunter2"));
    spec.kafka.key_password = Some(Secret::new("hunter3"));
    spec.kafka.sasl = Some(Sasl::new(None, "kbo".to_owned(), Secret::new("hunter4")));
    spec.kafka.client_properties = Some("tools.properties".to_owned());
    let open = Open::from(&spec);
    assert!(!format!("{open:?} {spec:?}").contains("hunter"));
    let there: NodeSpec = decode::<Open>(&encode(&open).unwrap()).unwrap().into();
    assert_eq!(there.kafka.key_pem.unwrap().expose(), "hunter2");
    assert_eq!(there.kafka.key_password.unwrap().expose(), "hunter3");
    assert_eq!(there.kafka.sasl, spec.kafka.sasl);
    assert_eq!(there.kafka.client_properties, spec.kafka.client_properties);
    assert_eq!(there.dirs, spec.dirs);
    let error = decode::<Open>(br#"{"node":"hunter2 !"}"#).unwrap_err().to_string();
    assert!(!error.contains("hunter"), "{error}");
}

/// Through frames and back.
fn there_and_back(frames: Vec<Frame>) -> (Parts, Frame) {
    let mut parts = Parts::default();
    for frame in frames {
        let (kind, payload) = frame.split();
        assert!(payload.len() <= Frame::limit(kind).unwrap());
        match frame {
            Frame::Part(json) => parts.add(&json).unwrap(),
            last => return (parts, last),
        }
    }
    panic!("no message");
}

#[test]
fn lists_of_a_hundred_thousand_files_fit_through() {
    let files: Vec<_> = (0..100_000).map(record).collect();
    let request = StageRequest {
        run: run(),
        dataset: Dataset::Data,
        sha256: Sha256([1; 32]),
        dirs: Vec::new(),
        files: files.clone(),
    };
    let (parts, last) = there_and_back(request_frames(Request::Stage(request.clone())).unwrap());
    let Frame::Request(json) = last else { panic!() };
    let mut received: Request = decode(&json).unwrap();
    parts.complete_request(&mut received);
    assert_eq!(received, Request::Stage(request));

    let damage: Vec<String> = (0..30_000)
        .map(|i| format!("topic-{i}/0.log: the batch at {i} has a wrong checksum"))
        .collect();
    let report = Reply::Archive(ArchiveReport {
        caveats: vec![],
        size: 1,
        sha256: Sha256([2; 32]),
        raw_size: 2,
        dirs: Vec::new(),
        files,
        damage,
    });
    let (parts, last) = there_and_back(reply_frames(Ok(report.clone())).unwrap());
    let Frame::Reply(json) = last else { panic!() };
    let mut received = decode::<Result<Reply, NodeError>>(&json).unwrap().unwrap();
    parts.complete_reply(&mut received);
    assert_eq!(received, report);

    let partition = |i| PartitionState {
        topic: format!("topic-{i}"),
        partition: i,
        leader: 4,
        replicas: vec![4, 5, 6],
        isr: vec![4, 5, 6],
        offline: Vec::new(),
    };
    let answer = Reply::Kafka(KafkaAnswer::Partitions((0..60_000).map(partition).collect()));
    let (parts, last) = there_and_back(reply_frames(Ok(answer.clone())).unwrap());
    let Frame::Reply(json) = last else { panic!() };
    let mut received = decode::<Result<Reply, NodeError>>(&json).unwrap().unwrap();
    parts.complete_reply(&mut received);
    assert_eq!(received, answer);
}

#[test]
fn every_kind_of_entry_survives_json() {
    let mut files = vec![record(1), record(2), record(3)];
    files[1].kind = FileKind::Dir;
    files[2].kind = FileKind::Symlink {
        target: "\"quoted\\ ü\n".to_owned(),
    };
    let request = StageRequest {
        run: run(),
        dataset: Dataset::Config,
        sha256: Sha256([1; 32]),
        dirs: vec![],
        files,
    };
    let (parts, last) = there_and_back(request_frames(Request::Stage(request.clone())).unwrap());
    let Frame::Request(json) = last else { panic!() };
    let mut received: Request = decode(&json).unwrap();
    parts.complete_request(&mut received);
    assert_eq!(received, Request::Stage(request));
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

proptest! {
    #[test]
    fn whatever_bytes_come_the_parser_ends_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        block_on(async {
            let mut reader = bytes.as_slice();
            while let Ok(frame) = read_frame(&mut reader).await {
                if let Frame::Part(json) = &frame {
                    let _ = Parts::default().add(json);
                }
                let (_, payload) = frame.split();
                let _ = decode::<Request>(payload);
                let _ = decode::<Open>(payload);
                let _ = decode::<Result<Reply, NodeError>>(payload);
            }
        });
    }

    #[test]
    fn frames_survive_however_they_are_cut(
        sizes in prop::collection::vec((1_u8..=12, 0_usize..40_000), 0..6),
        cut in 1_usize..5000,
    ) {
        let frames: Vec<Frame> = sizes
            .iter()
            .map(|(kind, size)| {
                let size = (*size).min(Frame::limit(*kind).unwrap());
                Frame::join(*kind, vec![*kind; size].into()).unwrap()
            })
            .collect();
        let received = block_on(async {
            let (mut reader, mut writer) = tokio::io::duplex(cut);
            let sent = frames.clone();
            tokio::spawn(async move {
                for frame in sent {
                    write_frame(&mut writer, &frame).await.unwrap();
                }
            });
            let mut received = Vec::new();
            while let Ok(frame) = read_frame(&mut reader).await {
                received.push(frame);
            }
            received
        });
        prop_assert_eq!(received, frames);
    }

    #[test]
    fn an_agent_survives_whatever_follows_the_opening(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        block_on(async {
            let lab = Lab::new();
            let (agent_in, mut client_out) = tokio::io::duplex(1 << 16);
            let (mut client_in, agent_out) = tokio::io::duplex(1 << 16);
            let mut limits = lab.limits.clone();
            limits.grace = Duration::ZERO;
            let agent = tokio::spawn(serve(agent_in, agent_out, limits));
            tokio::spawn(async move { tokio::io::copy(&mut client_in, &mut tokio::io::sink()).await });
            let open = encode(&Open::from(&lab.spec())).unwrap();
            write_frame(&mut client_out, &Frame::Open(open)).await.unwrap();
            let _ = client_out.write_all(&bytes).await;
            drop(client_out);
            agent.await.unwrap().unwrap();
            assert_eq!(lab.engine.state(), ContainerState::Running);
        });
    }
}
