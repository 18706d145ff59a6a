//! Whether kbo.toml names all of the cluster, and whether what it names can be stopped: and no healthy cluster is refused for it.

use kbo_core::ports::node::{FileId, KafkaDir, UnitFacts};

use super::*;

fn kafka_dir(path: &str, configured_as: Option<&str>) -> KafkaDir {
    KafkaDir {
        path: path.to_owned(),
        configured_as: configured_as.map(str::to_owned),
        file: None,
    }
}

/// The broker is down, and left no marker.
fn dead(bench: &mut Bench) {
    let container = bench.broker().container.as_mut().expect("a container");
    container.as_mut().expect("a container").state = ContainerState::Stopped;
    bench.data().locked = false;
}

fn define(bench: &mut Bench, definition: serde_json::Value) {
    let container = bench.broker().container.as_mut().expect("a container");
    container.as_mut().expect("a container").definition = definition;
}

/// What kbo.toml lacks of the cluster: (what, the change, how much it weighs, what the finding and its hint must say).
type Lack = (&'static str, Change, Severity, &'static [&'static str]);

#[tokio::test]
async fn a_backup_of_less_than_the_cluster_is_refused_with_the_line_to_add() {
    use Severity::{Note, Refusal, Warning};
    let cases: Vec<Lack> = vec![
        (
            "a log dir",
            |bench| {
                bench
                    .setup()
                    .log_dirs
                    .push(kafka_dir("/logs2", Some("/srv/kafka/logs2")))
            },
            Refusal,
            &[
                "/srv/kafka/logs2",
                "(/logs2 in the container)",
                "data = [\"/srv/kafka/data0\", \"/srv/kafka/logs2\"]",
            ],
        ),
        (
            "a log dir in no mount",
            |bench| bench.setup().log_dirs.push(kafka_dir("/tmp/logs", None)),
            Refusal,
            &["/tmp/logs", "in no mount", "mount a directory"],
        ),
        (
            "a metadata.log.dir",
            |bench| bench.setup().metadata_log_dir = Some(kafka_dir("/meta", Some("/srv/kafka/meta"))),
            Refusal,
            &["metadata.log.dir", "data = [\"/srv/kafka/data0\", \"/srv/kafka/meta\"]"],
        ),
        (
            "what cannot be read",
            |bench| bench.broker().kafka = Some(Err(NodeError::new(NodeErrorKind::State, "no process.roles"))),
            Warning,
            &["log.dirs are unknown", "no process.roles"],
        ),
        (
            "what is not said",
            |bench| bench.setup().log_dirs.clear(),
            Warning,
            &["log.dirs are unknown", "server.properties"],
        ),
        (
            "a file that is not what runs",
            |bench| bench.setup().log_dirs = vec![kafka_dir("/tmp/kraft-combined-logs", None)],
            Warning,
            &["/tmp/kraft-combined-logs", "holds the lock"],
        ),
        (
            "another directory than the one that runs",
            |bench| {
                bench.setup().log_dirs = vec![kafka_dir("/new", Some("/srv/kafka/new"))];
                bench.data().locked = false;
            },
            Refusal,
            &["/srv/kafka/new"],
        ),
        (
            "a living broker",
            |bench| bench.brokers = Some(vec![broker(2, false), broker(7, false)]),
            Refusal,
            &["broker 7 (10.0.0.7:9092) is registered and alive", "node_id = 7"],
        ),
        (
            "a living broker that is said to be retired",
            |bench| {
                bench.brokers = Some(vec![broker(2, false), broker(7, false)]);
                bench.retired.insert(7);
            },
            Refusal,
            &["broker 7", "though retired names it"],
        ),
        (
            "a dead broker with replicas",
            |bench| {
                bench.brokers = Some(vec![broker(2, false), broker(7, true)]);
                bench.partitions = Some(vec![partition(2, &[2, 7], &[2])]);
            },
            Refusal,
            &["broker 7", "orders-0", "retired = [7] under [cluster]"],
        ),
        (
            "a dead broker of a Kafka that tells of no fenced ones",
            |bench| {
                bench.brokers = Some(vec![broker(2, false)]);
                bench.partitions = Some(vec![partition(2, &[2, 7], &[2])]);
            },
            Refusal,
            &["broker 7", "orders-0"],
        ),
        (
            "a fenced broker without replicas",
            |bench| bench.brokers = Some(vec![broker(2, false), broker(7, true)]),
            Warning,
            &["kafka-cluster.sh unregister --bootstrap-server 10.0.0.2:9092 --id 7"],
        ),
        (
            "a living voter",
            |bench| bench.voters = Some(vec![(1, true), (9, true)]),
            Refusal,
            &["voter 9", "role = \"controller\" and node_id = 9"],
        ),
        (
            "a dead voter",
            |bench| bench.voters = Some(vec![(1, true), (9, false)]),
            Refusal,
            &["voter 9", "remove-controller"],
        ),
        (
            "a retired voter",
            |bench| {
                bench.voters = Some(vec![(1, true), (9, false)]);
                bench.retired.insert(9);
            },
            Note,
            &["voter 9", "retired"],
        ),
        (
            "a dead broker that stopped uncleanly",
            dead,
            Refusal,
            &["did not stop cleanly", "kbo start b1", "--allow-degraded"],
        ),
        (
            "an offline log dir",
            |bench| {
                bench.brokers = Some(vec![broker(2, false)]);
                let mut offline = partition(-1, &[2], &[2]);
                offline.offline = vec![2];
                bench.partitions = Some(vec![offline]);
            },
            Refusal,
            &["log dir offline", "--allow-degraded"],
        ),
        (
            "an id twice",
            |bench| {
                let mut copy = bench.data().clone();
                bench.data().meta.as_mut().expect("meta").directory_id = Some("AAAA".into());
                copy.path = "/srv/kafka/copy".into();
                copy.meta = bench.data().meta.clone();
                bench.broker().dirs.push(copy);
            },
            Refusal,
            &["directory.id AAAA", "/srv/kafka/copy"],
        ),
        (
            "no meta.properties",
            |bench| {
                bench.data().meta = None;
                bench.data().has_meta = false;
            },
            Refusal,
            &["has no meta.properties"],
        ),
        (
            "a cluster.id that cannot be read",
            |bench| bench.data().meta.as_mut().expect("meta").cluster_id = None,
            Refusal,
            &["without a readable cluster.id"],
        ),
        (
            "a full disk",
            |bench| bench.data().free = 4096,
            Refusal,
            &["is full", "make room"],
        ),
        (
            "a read-only disk",
            |bench| bench.data().read_only = true,
            Refusal,
            &["read-only", "dmesg"],
        ),
        (
            "--rm",
            |bench| define(bench, serde_json::json!({ "HostConfig": { "AutoRemove": true } })),
            Refusal,
            &["made with --rm", "docker update", "without --rm"],
        ),
        (
            "Swarm",
            |bench| {
                let labels =
                    serde_json::json!({ "com.docker.swarm.task.id": "x", "com.docker.swarm.service.name": "kafka" });
                define(bench, serde_json::json!({ "Config": { "Labels": labels } }));
            },
            Refusal,
            &["Swarm service kafka"],
        ),
        (
            "Quadlet",
            |bench| {
                let labels = serde_json::json!({ "PODMAN_SYSTEMD_UNIT": "kafka.service" });
                define(bench, serde_json::json!({ "Config": { "Labels": labels } }));
            },
            Refusal,
            &["kafka.service", "unit = \"kafka.service\""],
        ),
        (
            "a unit that restarts it",
            |bench| {
                bench.broker().unit = Some(UnitFacts {
                    name: "kafka.service".into(),
                    active: true,
                    kind: "simple".into(),
                    restart: "always".into(),
                    ..UnitFacts::default()
                });
            },
            Refusal,
            &["Restart=always", "unit = \"kafka.service\""],
        ),
    ];
    for (name, change, expected, said) in cases {
        let mut bench = Bench::new().await;
        change(&mut bench);
        let findings = bench.judge(&cold());
        let text = findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let worst = findings.iter().map(|finding| finding.severity).max();
        assert_eq!(worst, Some(expected), "{name}: {text}");
        for said in said {
            assert!(text.contains(said), "{name}: {said:?} is not in {text}");
        }
        // What starts, formats or looks is judged by what it leaves behind.
        for purpose in [Purpose::Power, Purpose::Run, Purpose::Format, Purpose::Look] {
            let findings = bench.judge(&purpose);
            let refused = findings.iter().any(|finding| finding.severity == Severity::Refusal);
            assert!(!refused, "{name}, {purpose:?}: {findings:#?}");
        }
        let findings = bench.judge(&restore(&BOTH));
        let refused = findings.iter().any(|finding| finding.severity == Severity::Refusal);
        // A restore stops what it finds: a container that would be gone then, or started by others.
        let stops = ["--rm", "Swarm", "Quadlet", "a unit that restarts it"].contains(&name);
        assert_eq!(refused, stops, "{name}: {findings:#?}");
    }
}

/// Everyday clusters: nothing here is a reason not to back them up.
#[tokio::test]
async fn healthy_clusters_of_everyday_life_are_backed_up() {
    let cases: Vec<(&str, Change)> = vec![
        ("a restart policy, as Compose sets it", |bench| {
            let container = bench.broker().container.as_mut().expect("a container");
            container.as_mut().expect("a container").restart_policy = "unless-stopped".into();
        }),
        ("data behind a symbolic link", |bench| {
            let file = FileId { device: 8, inode: 12 };
            bench.data().file = Some(file);
            bench.setup().log_dirs[0] = KafkaDir {
                file: Some(file),
                ..kafka_dir("/kafka", Some("/mnt/disk1/kafka"))
            };
        }),
        ("a slash at the end", |bench| {
            bench.setup().log_dirs[0] = kafka_dir("/data/", Some("/srv/kafka/data0/"));
        }),
        ("log.dirs in another order", |bench| {
            let mut second = bench.data().clone();
            second.path = "/srv/kafka/data1".into();
            bench.broker().dirs.push(second);
            bench
                .setup()
                .log_dirs
                .insert(0, kafka_dir("/d1", Some("/srv/kafka/data1")));
        }),
        ("a retired broker that still is a replica", |bench| {
            bench.brokers = Some(vec![broker(2, false), broker(7, true)]);
            bench.partitions = Some(vec![partition(2, &[2], &[2])]);
            bench.retired.insert(7);
        }),
        ("a broker that was stopped cleanly", |bench| {
            dead(bench);
            bench.data().clean_marker = true;
        }),
        ("topics of one replica", |bench| {
            bench.partitions = Some(vec![partition(2, &[2], &[2])])
        }),
        ("a cluster id that somebody chose", |bench| {
            bench.data().meta.as_mut().expect("meta").cluster_id = Some("my-cluster".parse().expect("an id"));
            let name: NodeName = "c1".parse().expect("a name");
            for dir in &mut bench.facts.get_mut(&name).expect("facts").as_mut().expect("facts").dirs {
                if let Some(meta) = &mut dir.meta {
                    meta.cluster_id = Some("my-cluster".parse().expect("an id"));
                }
            }
        }),
        ("a unit that only started it once", |bench| {
            bench.broker().unit = Some(UnitFacts {
                name: "kafka.service".into(),
                active: true,
                kind: "oneshot".into(),
                restart: "no".into(),
                on_stop: vec!["docker compose down".into()],
                ..UnitFacts::default()
            });
        }),
    ];
    for (name, change) in cases {
        let mut bench = Bench::new().await;
        change(&mut bench);
        let findings = bench.judge(&cold());
        let refused = findings.iter().any(|finding| finding.severity == Severity::Refusal);
        assert!(!refused, "{name}: {findings:#?}");
    }
}
