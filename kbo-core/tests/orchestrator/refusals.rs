//! What preflight refuses, and what it only warns of; nothing is touched by a refusal.

use std::time::Duration;

use jiff::SignedDuration;
use kbo_core::inventory::Dataset;
use kbo_core::orchestrator::RotationRequest;
use kbo_core::ports::node::{ContainerState, LinkProbe};
use kbo_core::ports::store::BackupStore;
use kbo_core::preflight::Severity;
use kbo_core::report::Outcome;
use kbo_core::retention::{Policies, Policy};
use kbo_core::testing::{FakeCluster, Shape};

use crate::scene::{BACKUP, Job, RESTORE, Scene};

type Turn = fn(&FakeCluster);

struct Case {
    name: &'static str,
    turn: Turn,
    /// What a backup's finding says, and how much it weighs; `None` for no finding.
    backup: Option<(Severity, &'static str)>,
    restore: Option<(Severity, &'static str)>,
}

const REFUSED: fn(&'static str) -> Option<(Severity, &'static str)> = |text| Some((Severity::Refusal, text));
const WARNED: fn(&'static str) -> Option<(Severity, &'static str)> = |text| Some((Severity::Warning, text));

fn stopped_cleanly(node: &mut kbo_core::testing::NodeState) {
    node.container = ContainerState::Stopped;
    node.live
        .get_mut(&Dataset::Data)
        .into_iter()
        .flatten()
        .flatten()
        .for_each(|image| image.clean = true);
}

fn empty(cluster: &FakeCluster, node: &str) {
    cluster.with(node, |node| {
        node.live
            .get_mut(&Dataset::Data)
            .into_iter()
            .flatten()
            .flatten()
            .for_each(|image| image.files.clear());
    });
}

fn cases() -> Vec<Case> {
    let other = "BkU3OEVBNTcwNTJENDM2Qk";
    assert!(other.parse::<kbo_core::ids::ClusterId>().is_ok());
    vec![
        Case {
            name: "a node that is not reached",
            turn: |cluster| cluster.with("b1", |node| node.unreachable = true),
            backup: REFUSED("cannot be reached"),
            restore: REFUSED("cannot be reached"),
        },
        Case {
            name: "a container that is missing",
            turn: |cluster| cluster.with("b1", |node| node.container = ContainerState::Missing),
            backup: REFUSED("no container named b1"),
            restore: REFUSED("no container named b1"),
        },
        Case {
            name: "a container that is paused",
            turn: |cluster| cluster.with("b1", |node| node.container = ContainerState::Paused),
            backup: REFUSED("is paused"),
            restore: REFUSED("is paused"),
        },
        Case {
            name: "a node of another cluster",
            turn: |cluster| {
                cluster.with("b1", |node| {
                    node.cluster_id = "BkU3OEVBNTcwNTJENDM2Qk".parse().expect("an id")
                });
            },
            backup: REFUSED("belongs to the cluster BkU3"),
            restore: REFUSED("belongs to the cluster BkU3"),
        },
        Case {
            name: "a node.id that another node has",
            turn: |cluster| cluster.with("b1", |node| node.node_id = 1),
            backup: REFUSED("has node.id 1, as c1 has"),
            restore: REFUSED("has node.id 1, but the backup's b1 had 2"),
        },
        Case {
            name: "a directory that Kafka would not start on",
            turn: |cluster| cluster.with("b1", |node| node.unknown_dirs = vec!["lost+found".to_owned()]),
            backup: REFUSED("lost+found"),
            restore: None,
        },
        Case {
            name: "an entry that no archive holds",
            turn: |cluster| cluster.with("b1", |node| node.unsupported = vec!["a socket".to_owned()]),
            backup: REFUSED("a socket"),
            restore: None,
        },
        Case {
            name: "no room on a node",
            turn: |cluster| cluster.with("b1", |node| node.free = 10),
            backup: REFUSED("has 10 B free"),
            restore: REFUSED("has 10 B free"),
        },
        Case {
            name: "little room on a node",
            turn: |cluster| cluster.with("b1", |node| node.free = node.size / 10),
            backup: WARNED("will be left"),
            restore: WARNED("will be left"),
        },
        Case {
            name: "links that do not work",
            turn: |cluster| cluster.with("b1", |node| node.link = LinkProbe::Fails("EXDEV".to_owned())),
            backup: WARNED("cannot be hardlinked (EXDEV)"),
            restore: None,
        },
        Case {
            name: "a data directory that is empty",
            turn: |cluster| empty(cluster, "b1"),
            backup: REFUSED("is empty"),
            restore: None,
        },
        Case {
            name: "a data directory that is missing",
            turn: |cluster| {
                cluster.with("b1", |node| node.live.insert(Dataset::Data, vec![None]));
            },
            backup: REFUSED("does not exist"),
            restore: None,
        },
        Case {
            name: "a data directory that is a mount point",
            turn: |cluster| cluster.with("b1", |node| node.mount_point = true),
            backup: None,
            restore: REFUSED("mount point"),
        },
        Case {
            name: "a data directory that the container does not have",
            turn: |cluster| cluster.with("b1", |node| node.unmounted = true),
            backup: REFUSED("in no mount"),
            restore: REFUSED("in no mount"),
        },
        Case {
            name: "a clock that is off",
            turn: |cluster| cluster.with("b1", |node| node.skew = SignedDuration::from_secs(-90)),
            backup: WARNED("differs from this machine's by 90 s"),
            restore: WARNED("differs from this machine's by 90 s"),
        },
        Case {
            name: "a stopped node",
            turn: |cluster| cluster.with("b1", stopped_cleanly),
            backup: WARNED("is stopped, and stays so"),
            restore: WARNED("is stopped, and stays so"),
        },
        Case {
            name: "a broker that was killed",
            turn: |cluster| cluster.with("b1", |node| node.container = ContainerState::Stopped),
            backup: REFUSED("did not stop cleanly"),
            restore: WARNED("is stopped, and stays so"),
        },
        Case {
            name: "a log dir that kbo.toml lacks",
            turn: |cluster| cluster.with("b1", |node| node.forgotten_dirs = vec!["/srv/kafka/logs2".to_owned()]),
            backup: REFUSED("/srv/kafka/logs2"),
            restore: None,
        },
        Case {
            name: "a broker that kbo.toml lacks",
            turn: |cluster| cluster.stranger(9, false, true),
            backup: REFUSED("broker 9 (10.0.0.9:9092) is registered and alive"),
            restore: WARNED("under-replicated"),
        },
        Case {
            name: "a voter that kbo.toml lacks",
            turn: |cluster| cluster.strange_voter(9, 1000),
            backup: REFUSED("voter 9"),
            restore: None,
        },
        Case {
            name: "a cluster without a majority of its controllers",
            turn: |cluster| cluster.with("c1", |node| node.container = ContainerState::Stopped),
            backup: REFUSED("too few controllers"),
            restore: REFUSED("too few controllers"),
        },
        Case {
            name: "a quorum that is not operational",
            turn: |cluster| cluster.with("c1", |node| node.boots_in = std::time::Duration::from_secs(90_000)),
            backup: REFUSED("not operational"),
            restore: WARNED("does not answer now"),
        },
        Case {
            name: "brokers that do not answer",
            turn: |cluster| {
                for broker in ["b1", "b2"] {
                    cluster.with(broker, |node| node.boots_in = std::time::Duration::from_secs(90_000));
                }
            },
            backup: REFUSED("does not answer now"),
            restore: WARNED("does not answer now"),
        },
        Case {
            name: "a broker that does not answer",
            turn: |cluster| cluster.with("b1", |node| node.boots_in = std::time::Duration::from_secs(90_000)),
            backup: WARNED("does not answer now"),
            restore: WARNED("does not answer now"),
        },
        Case {
            name: "partitions out of sync",
            turn: |cluster| cluster.with("b1", stopped_cleanly),
            backup: WARNED("under-replicated"),
            restore: WARNED("under-replicated"),
        },
        Case {
            name: "nothing",
            turn: |_| (),
            backup: None,
            restore: None,
        },
    ]
}

#[tokio::test]
async fn preflight_finds_what_speaks_against_a_run() {
    for case in cases() {
        for (job, expected) in [(BACKUP, case.backup), (RESTORE, case.restore)] {
            let scene = Scene::with(Shape::new(1, 0, 2), job, case.turn).await;
            let orchestrator = scene.orchestrator(None);
            let prepared = match job {
                Job::Backup(kind) => {
                    orchestrator
                        .prepare_backup(kbo_core::orchestrator::BackupRequest { kind })
                        .await
                }
                Job::Restore { .. } => {
                    let request = kbo_core::orchestrator::RestoreRequest {
                        manifest: scene.store.manifest_of(&scene.visible[0]).expect("a manifest"),
                        datasets: vec![Dataset::Config, Dataset::Data],
                        other_cluster: false,
                        previous: kbo_core::plan::Previous::UntilReady,
                    };
                    orchestrator.prepare_restore(request).await
                }
            };
            let worst = prepared.findings.iter().map(|finding| finding.severity).max();
            let label = format!("{} {job:?}: {:#?}", case.name, prepared.findings);
            match expected {
                None => assert!(worst < Some(Severity::Warning), "{label}"),
                Some((severity, text)) => {
                    assert_eq!(worst, Some(severity), "{label}");
                    let found = prepared.findings.iter().find(|finding| finding.message.contains(text));
                    assert_eq!(found.map(|finding| finding.severity), Some(severity), "{text}: {label}");
                    assert!(!prepared.findings.iter().any(|finding| finding.message.is_empty()));
                }
            }
            if worst == Some(Severity::Refusal) {
                let report = orchestrator.execute(prepared).await;
                assert_eq!(report.outcome, Outcome::Refused, "{label}");
                scene.check(&report, case.name);
                assert!(
                    scene.store.open_runs().is_empty() && report.phases.is_empty(),
                    "{label}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_backup_of_configuration_minds_no_data() {
    for turn in [
        (|cluster| empty(cluster, "b1")) as Turn,
        |cluster| cluster.with("b1", |node| node.unknown_dirs = vec!["lost+found".to_owned()]),
        |cluster| cluster.with("b1", |node| node.unsupported = vec!["a socket".to_owned()]),
        |cluster| cluster.with("c1", |node| node.container = ContainerState::Stopped),
    ] {
        let scene = Scene::with(
            Shape::new(1, 0, 2),
            Job::Backup(kbo_core::manifest::BackupKind::Config),
            turn,
        )
        .await;
        let report = scene.run(&scene.orchestrator(None)).await;
        assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
    }
}

#[tokio::test]
async fn a_backup_of_another_cluster_is_refused_unless_that_is_wanted() {
    let scene = Scene::new(Shape::THREE_AND_THREE, RESTORE).await;
    let id = &scene.visible[0];
    scene.store.change_manifest(id, |manifest| {
        manifest.cluster_id = Some("BkU3OEVBNTcwNTJENDM2Qk".parse().expect("an id"));
    });
    let report = scene.run(&scene.orchestrator(None)).await;
    assert_eq!(report.outcome, Outcome::Refused, "{report:#?}");
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.message.contains("the backup is of"))
    );
    scene.check(&report, "another cluster's");
    let orchestrator = scene.orchestrator(None);
    let request = kbo_core::orchestrator::RestoreRequest {
        manifest: scene.store.manifest_of(id).expect("a manifest"),
        datasets: vec![Dataset::Config, Dataset::Data],
        other_cluster: true,
        previous: kbo_core::plan::Previous::UntilReady,
    };
    let report = orchestrator.execute(orchestrator.prepare_restore(request).await).await;
    assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
}

#[tokio::test]
async fn a_backup_that_does_not_fit_the_inventory_is_refused() {
    for (text, change) in [
        (
            "holds no data",
            (|manifest| manifest.archives.retain(|archive| archive.name != "b2.data.tar.zst"))
                as fn(&mut kbo_core::manifest::Manifest),
        ),
        ("which kbo.toml does not name", |manifest| {
            manifest.archives[0].node = "stranger".parse().expect("a name")
        }),
        ("directories of it", |manifest| {
            let extra = manifest.archives[1].dirs[0].clone();
            manifest.archives[1].dirs.push(extra);
        }),
        ("has node.id", |manifest| manifest.nodes[0].node_id = Some(77)),
    ] {
        let scene = Scene::new(Shape::THREE_AND_THREE, RESTORE).await;
        scene.store.change_manifest(&scene.visible[0], change);
        let report = scene.run(&scene.orchestrator(None)).await;
        assert_eq!(report.outcome, Outcome::Refused, "{text}: {report:#?}");
        assert!(
            report.findings.iter().any(|finding| finding.message.contains(text)),
            "{text}: {:#?}",
            report.findings
        );
        scene.check(&report, text);
    }
}

#[tokio::test]
async fn a_configured_cluster_id_or_node_id_that_is_not_the_nodes_refuses() {
    let scene = Scene::new(Shape::THREE_AND_THREE, BACKUP).await;
    let mut orchestrator = scene.orchestrator(None);
    orchestrator.cluster_id = Some("BkU3OEVBNTcwNTJENDM2Qk".parse().expect("an id"));
    let report = scene.run(&orchestrator).await;
    assert_eq!(report.outcome, Outcome::Refused, "{report:#?}");

    let mut orchestrator = scene.orchestrator(None);
    let mut nodes = orchestrator.cluster.start_order().to_vec();
    nodes[0].node_id = Some(99);
    orchestrator.cluster = kbo_core::inventory::Cluster::new(nodes, None).expect("a cluster");
    let report = scene.run(&orchestrator).await;
    assert_eq!(report.outcome, Outcome::Refused, "{report:#?}");
    assert!(
        report.findings[0].message.contains("kbo.toml says 99"),
        "{:?}",
        report.findings
    );
}

#[tokio::test]
async fn a_full_store_refuses() {
    let scene = Scene::new(Shape::THREE_AND_THREE, BACKUP).await;
    // How far the data compress is known from an earlier backup of the same kind only.
    let first = scene.run(&scene.orchestrator(None)).await;
    assert_eq!(first.outcome, Outcome::Done, "{first:#?}");
    scene.cluster.clock().advance(Duration::from_secs(3600));
    scene.store.full_after(100);
    let report = scene.run(&scene.orchestrator(None)).await;
    assert_eq!(report.outcome, Outcome::Refused, "{report:#?}");
    assert!(
        report.findings[0].message.contains("the store: needs"),
        "{:?}",
        report.findings
    );
}

#[tokio::test]
async fn a_cluster_that_was_formatted_anew_is_refused_until_its_id_is_adopted_and_loses_no_backup_of_the_old_id() {
    const NEW: &str = "BBBBBBBBBBBBBBBBBBBBBB";
    let scene = Scene::new(Shape::THREE_AND_THREE, BACKUP).await;
    let first = scene.run(&scene.orchestrator(None)).await;
    let old = scene
        .store
        .adopted_id(&scene.orchestrator(None).name)
        .await
        .unwrap()
        .unwrap();
    scene.store.change_manifest(&first.id.clone().unwrap(), |manifest| {
        assert_eq!(manifest.cluster_id.as_ref(), Some(&old));
        manifest.cluster_id = Some(NEW.parse().unwrap());
    });
    scene.cluster.clock().advance(Duration::from_secs(3600));
    // The other way round: the store goes by another id than the nodes have.
    let mut orchestrator = scene.orchestrator(None);
    orchestrator.cluster_id = None;
    orchestrator
        .store
        .adopt(&orchestrator.name, &NEW.parse().unwrap())
        .await
        .unwrap();
    let refused = scene.run(&orchestrator).await;
    assert_eq!(refused.outcome, Outcome::Refused, "{refused:#?}");
    let finding = refused.findings[0].to_string();
    assert!(finding.contains(&format!("kbo adopt {old}")), "{finding}");
    assert!(finding.contains(&format!("kbo rotate --cluster-id {NEW}")), "{finding}");
    orchestrator.store.adopt(&orchestrator.name, &old).await.unwrap();
    let policies = Policies {
        cluster: Policy {
            days: 0,
            ..Policy::default()
        },
        ..Policies::default()
    };
    let report = scene.run(&orchestrator).await;
    assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
    let rotation = orchestrator.plan_rotation(&policies).await.unwrap();
    assert_eq!(
        rotation.decisions.len(),
        1,
        "the other id's is none of its business: {rotation:?}"
    );
    let request = RotationRequest {
        cluster_id: Some(NEW.parse().unwrap()),
        ..RotationRequest::default()
    };
    let others = orchestrator.plan_rotation_of(&policies, &request).await.unwrap();
    assert_eq!(
        others.decisions.iter().map(|one| &one.id).collect::<Vec<_>>(),
        [&first.id.unwrap()]
    );
}
