//! Each question, in every version, well answered.

use kafka_protocol::messages::{DescribeClusterResponse, DescribeQuorumResponse, MetadataResponse};
use kafka_protocol::protocol::Decodable;
use kbo_core::ports::node::{BrokerState, KafkaAnswer, KafkaQuestion, NodeErrorKind, PartitionState, QuorumState};

use super::fake::{self, Bytes, Reply, api_versions, frame, kafka};
use super::{broker, controller};

const METADATA: i16 = 3;
const DESCRIBE_QUORUM: i16 = 55;
const DESCRIBE_CLUSTER: i16 = 60;

/// What a partition of the metadata log is described with.
struct Quorum {
    top_error: i16,
    partition_error: i16,
    leader: i32,
    epoch: i32,
    high_watermark: i64,
    voters: Vec<(i32, i64)>,
}

const HEALTHY: fn() -> Quorum = || Quorum {
    top_error: 0,
    partition_error: 0,
    leader: 1,
    epoch: 7,
    high_watermark: 420,
    voters: vec![(1, 421), (2, 420), (3, -1)],
};

fn quorum(version: i16, quorum: &Quorum) -> Vec<u8> {
    let mut out = Bytes::new(true);
    let replica = |out: &mut Bytes, &(id, end): &(i32, i64)| {
        out.i32(id);
        if version >= 2 {
            out.raw(&[7; 16]);
        }
        out.i64(end);
        if version >= 1 {
            out.i64(-1);
            out.i64(1_700_000_000_000);
        }
        out.tags();
    };
    out.i16(quorum.top_error);
    if version >= 2 {
        out.string(None);
    }
    out.list(&[()], |out, ()| {
        out.string(Some("__cluster_metadata"));
        out.list(&[()], |out, ()| {
            out.i32(0);
            out.i16(quorum.partition_error);
            if version >= 2 {
                out.string(Some("said so"));
            }
            out.i32(quorum.leader);
            out.i32(quorum.epoch);
            out.i64(quorum.high_watermark);
            out.list(&quorum.voters, replica);
            out.list(&[(4, 400)], replica);
            out.tags();
        });
        out.tags();
    });
    if version >= 2 {
        out.list(&[()], |out, ()| {
            out.i32(1);
            out.list(&[()], |out, ()| {
                out.string(Some("CTL"));
                out.string(Some("c1"));
                out.raw(&[0x23, 0x85]);
                out.tags();
            });
            out.tags();
        });
    }
    out.tags();
    out.out
}

/// Two topics in the wrong order; the second partition of `a` has no leader.
fn metadata(version: i16) -> Vec<u8> {
    let mut out = Bytes::new(version >= 9);
    let ids = |out: &mut Bytes, ids: &[i32]| out.list(ids, |out, id| out.i32(*id));
    if version >= 3 {
        out.i32(0);
    }
    out.list(&[4, 5], |out, id| {
        out.i32(*id);
        out.string(Some("host"));
        out.i32(9092);
        out.string(None);
        out.tags();
    });
    if version >= 2 {
        out.string(Some("AkU3OEVBNTcwNTJENDM2Qg"));
    }
    out.i32(4);
    out.list(&["b", "a"], |out, topic| {
        out.i16(0);
        out.string(Some(topic));
        if version >= 10 {
            out.raw(&[9; 16]);
        }
        out.raw(&[0]);
        let partitions: &[i32] = if *topic == "a" { &[1, 0] } else { &[0] };
        out.list(partitions, |out, partition| {
            let leaderless = *partition == 1;
            out.i16(if leaderless { 5 } else { 0 });
            out.i32(*partition);
            out.i32(if leaderless { -1 } else { 4 });
            if version >= 7 {
                out.i32(3);
            }
            ids(out, &[4, 5]);
            ids(out, if leaderless { &[] } else { &[4] });
            if version >= 5 {
                ids(out, &[5]);
            }
            out.tags();
        });
        if version >= 8 {
            out.i32(i32::MIN);
        }
        out.tags();
    });
    if (8..=10).contains(&version) {
        out.i32(i32::MIN);
    }
    if version >= 13 {
        out.i16(0);
    }
    out.tags();
    out.out
}

fn partition(topic: &str, partition: i32, leader: i32, isr: &[i32], offline: &[i32]) -> PartitionState {
    PartitionState {
        topic: topic.to_owned(),
        partition,
        leader,
        replicas: vec![4, 5],
        isr: isr.to_vec(),
        offline: offline.to_vec(),
    }
}

#[tokio::test]
async fn a_broker_that_answers_api_versions_is_alive() {
    let port = kafka(METADATA, 13, metadata);
    assert_eq!(broker(port).ask(KafkaQuestion::Alive).await, Ok(KafkaAnswer::Alive));
}

#[tokio::test]
async fn a_listener_that_does_not_know_api_versions_3_is_asked_with_0() {
    let port = fake::serve(|request| {
        let mut unsupported = Bytes::new(false);
        unsupported.i16(35);
        unsupported.list(&[(18, 0, 2)], |out, &(key, min, max)| {
            out.i16(key);
            out.i16(min);
            out.i16(max);
        });
        let body = match request.version {
            0 => api_versions(0, &[(18, 0, 2)]),
            _ => unsupported.out,
        };
        Reply::Bytes(frame(request, false, &body))
    });
    assert_eq!(broker(port).ask(KafkaQuestion::Alive).await, Ok(KafkaAnswer::Alive));
}

fn registered(version: i16) -> Vec<u8> {
    let mut out = Bytes::new(true);
    out.i32(0);
    out.i16(0);
    out.string(None);
    if version >= 1 {
        out.raw(&[1]);
    }
    out.string(Some("my-cluster"));
    out.i32(4);
    out.list(&[(5, 1), (4, 0)], |out, &(id, fenced)| {
        out.i32(id);
        out.string(Some("host"));
        out.i32(9092);
        out.string(None);
        if version >= 2 {
            out.raw(&[fenced]);
        }
        out.tags();
    });
    out.i32(i32::MIN);
    out.tags();
    out.out
}

#[tokio::test]
async fn a_broker_tells_who_is_registered_in_every_version() {
    for version in 0..=2 {
        // Another reader's word that the bytes are what Kafka sends.
        let mut body = bytes::Bytes::from(registered(version));
        DescribeClusterResponse::decode(&mut body, version).expect("a response");
        let port = kafka(DESCRIBE_CLUSTER, version, registered);
        let broker_of = |id, fenced| BrokerState {
            id,
            address: "host:9092".to_owned(),
            fenced: fenced && version >= 2,
        };
        assert_eq!(
            broker(port).ask(KafkaQuestion::Brokers).await,
            Ok(KafkaAnswer::Brokers(vec![broker_of(4, false), broker_of(5, true)])),
            "version {version}"
        );
    }
}

#[tokio::test]
async fn the_leader_describes_the_quorum_in_every_version() {
    for version in 0..=2 {
        let port = kafka(DESCRIBE_QUORUM, version, |version| quorum(version, &HEALTHY()));
        let expected = QuorumState {
            leader_id: 1,
            epoch: 7,
            high_watermark: 420,
            voters: vec![(1, 421), (2, 420), (3, -1)],
        };
        assert_eq!(
            controller(port).ask(KafkaQuestion::Quorum).await,
            Ok(KafkaAnswer::Quorum(expected)),
            "version {version}"
        );
    }
}

#[tokio::test]
async fn a_newer_kafka_is_asked_in_the_newest_version_known_here() {
    let port = kafka(DESCRIBE_QUORUM, 9, |version| quorum(version, &HEALTHY()));
    assert!(matches!(
        controller(port).ask(KafkaQuestion::Quorum).await,
        Ok(KafkaAnswer::Quorum(_))
    ));
}

#[tokio::test]
async fn a_follower_is_not_the_leader_wherever_the_error_stands() {
    for version in 0..=2 {
        let at_top = kafka(DESCRIBE_QUORUM, version, |v| {
            quorum(
                v,
                &Quorum {
                    top_error: 6,
                    ..HEALTHY()
                },
            )
        });
        assert_eq!(
            controller(at_top).ask(KafkaQuestion::Quorum).await,
            Ok(KafkaAnswer::NotLeader(None))
        );
        // Kafka leaves the other fields of an error at 0, and 0 is somebody's node.id.
        let unset = || Quorum {
            partition_error: 6,
            leader: 0,
            epoch: 0,
            ..HEALTHY()
        };
        let within = kafka(DESCRIBE_QUORUM, version, move |v| quorum(v, &unset()));
        assert_eq!(
            controller(within).ask(KafkaQuestion::Quorum).await,
            Ok(KafkaAnswer::NotLeader(None))
        );
        let named = kafka(DESCRIBE_QUORUM, version, |v| {
            quorum(
                v,
                &Quorum {
                    partition_error: 6,
                    leader: 2,
                    ..HEALTHY()
                },
            )
        });
        assert_eq!(
            controller(named).ask(KafkaQuestion::Quorum).await,
            Ok(KafkaAnswer::NotLeader(Some(2)))
        );
    }
}

#[tokio::test]
async fn an_answer_in_another_nodes_name_is_not_taken_for_this_nodes() {
    let port = kafka(DESCRIBE_QUORUM, 2, |v| quorum(v, &Quorum { leader: 3, ..HEALTHY() }));
    assert_eq!(
        controller(port).ask(KafkaQuestion::Quorum).await,
        Ok(KafkaAnswer::NotLeader(Some(3)))
    );
}

#[tokio::test]
async fn a_quorum_without_a_high_watermark_is_told_as_it_is() {
    let port = kafka(DESCRIBE_QUORUM, 2, |v| {
        quorum(
            v,
            &Quorum {
                high_watermark: -1,
                ..HEALTHY()
            },
        )
    });
    let Ok(KafkaAnswer::Quorum(state)) = controller(port).ask(KafkaQuestion::Quorum).await else {
        panic!("no quorum")
    };
    assert_eq!(state.high_watermark, -1);
}

#[tokio::test]
async fn a_missing_right_is_an_error_and_a_passing_error_is_not_yet() {
    let port = kafka(DESCRIBE_QUORUM, 2, |v| {
        quorum(
            v,
            &Quorum {
                top_error: 31,
                ..HEALTHY()
            },
        )
    });
    let error = controller(port).ask(KafkaQuestion::Quorum).await.unwrap_err();
    assert_eq!(error.kind, NodeErrorKind::Refused);
    assert!(error.message.contains("ClusterAuthorizationFailed"), "{error}");
    let port = kafka(DESCRIBE_QUORUM, 2, |v| {
        quorum(
            v,
            &Quorum {
                partition_error: 5,
                ..HEALTHY()
            },
        )
    });
    let answer = controller(port).ask(KafkaQuestion::Quorum).await.unwrap();
    assert!(
        matches!(&answer, KafkaAnswer::NotYet(text) if text.contains("said so")),
        "{answer:?}"
    );
}

#[tokio::test]
async fn partitions_come_sorted_and_a_missing_leader_is_no_error_in_every_version() {
    for version in 1..=13 {
        let port = kafka(METADATA, version, metadata);
        let offline: &[i32] = if version >= 5 { &[5] } else { &[] };
        let expected = vec![
            partition("a", 0, 4, &[4], offline),
            partition("a", 1, -1, &[], offline),
            partition("b", 0, 4, &[4], offline),
        ];
        assert_eq!(
            broker(port).ask(KafkaQuestion::Partitions).await,
            Ok(KafkaAnswer::Partitions(expected)),
            "version {version}"
        );
    }
}

/// The fake's bytes are what kafka-protocol takes them for: a fake that errs as the reader does would prove nothing.
#[test]
fn another_decoder_reads_the_fakes_bytes_alike() {
    for version in 0..=2 {
        let mut bytes = bytes::Bytes::from(quorum(version, &HEALTHY()));
        let read = DescribeQuorumResponse::decode(&mut bytes, version).unwrap();
        let partition = &read.topics[0].partitions[0];
        assert!(bytes.is_empty());
        assert_eq!(
            (partition.leader_id.0, partition.leader_epoch, partition.high_watermark),
            (1, 7, 420)
        );
        let voters: Vec<_> = partition
            .current_voters
            .iter()
            .map(|v| (v.replica_id.0, v.log_end_offset))
            .collect();
        assert_eq!(voters, HEALTHY().voters);
    }
    for version in 1..=13 {
        let mut bytes = bytes::Bytes::from(metadata(version));
        let read = MetadataResponse::decode(&mut bytes, version).unwrap();
        assert!(bytes.is_empty());
        let a = &read.topics[1];
        assert_eq!(a.name.as_ref().map(|name| name.as_str()), Some("a"));
        assert_eq!((a.partitions[0].partition_index, a.partitions[0].error_code), (1, 5));
        assert_eq!(a.partitions[1].isr_nodes, [4]);
    }
}
