//! Clusters that do not behave.

use std::time::Duration;

use kbo_core::manifest::BackupKind;
use kbo_core::orchestrator::BackupRequest;
use kbo_core::report::Outcome;
use kbo_core::testing::{FakeCluster, Shape};

use crate::scene::{BACKUP, Job, RESTORE, Scene, backup};

#[tokio::test]
async fn an_unclean_broker_fails_the_backup_and_the_cluster_comes_up() {
    for shape in [Shape::THREE_AND_THREE, Shape::SINGLE, Shape::MIXED] {
        let scene = Scene::with(shape, BACKUP, |cluster| {
            cluster.with_all(|node| node.stop_takes = Duration::from_secs(400));
        })
        .await;
        let mut orchestrator = scene.orchestrator(None);
        let report = scene.run(&orchestrator).await;
        assert_eq!(report.outcome, Outcome::Failed, "{report:#?}");
        assert!(
            report.failures[0]
                .hint
                .as_deref()
                .is_some_and(|hint| hint.contains("--allow-unclean"))
        );
        scene.check(&report, "unclean");
        scene.check_undo_again(&report, "unclean").await;
        scene.cluster.clock().advance(Duration::from_secs(60));
        orchestrator.settings.allow_unclean = true;
        let report = scene.run(&orchestrator).await;
        assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
        let manifest = scene
            .store
            .manifest_of(&report.id.expect("an id"))
            .expect("its manifest");
        assert!(
            manifest
                .caveats
                .iter()
                .any(|caveat| caveat.contains("did not stop cleanly")),
            "{:?}",
            manifest.caveats
        );
    }
}

#[tokio::test]
async fn a_lock_held_by_another_process_fails_the_backup() {
    let scene = Scene::with(Shape::THREE_AND_THREE, BACKUP, |cluster| {
        cluster.with("b2", |node| node.locked = true)
    })
    .await;
    let report = scene.run(&scene.orchestrator(None)).await;
    assert_eq!(report.outcome, Outcome::Failed, "{report:#?}");
    assert!(report.failures[0].message.contains("lock"), "{report:#?}");
    scene.check(&report, "locked");
}

#[tokio::test]
async fn isrs_that_do_not_come_back_end_the_run_with_something_to_look_at_that_names_the_partitions() {
    for job in [BACKUP, RESTORE] {
        let scene = Scene::with(Shape::THREE_AND_THREE, job, |cluster| {
            cluster.with("b2", |node| node.in_sync_after = None)
        })
        .await;
        let report = scene.run(&scene.orchestrator(None)).await;
        assert_eq!(
            (report.outcome, report.outcome.exit_code()),
            (Outcome::Attention, 7),
            "{report:#?}"
        );
        let text = report.attention.first().expect("something to look at");
        assert!(text.contains("orders-0, orders-1, orders-2"), "{text}");
        assert!(report.verdict.contains(text), "{}", report.verdict);
        scene.check(&report, "slow ISRs");
    }
}

#[tokio::test]
async fn a_broker_that_does_not_come_up_on_restored_data_takes_the_restore_back() {
    for node in ["b1", "b3", "c1", "c3"] {
        let scene = Scene::with(Shape::THREE_AND_THREE, RESTORE, |cluster| {
            cluster.with(node, |node| node.exits_on_restored = true);
        })
        .await;
        let report = scene.run(&scene.orchestrator(None)).await;
        assert_eq!(report.outcome, Outcome::Failed, "{node}: {report:#?}");
        scene.check(&report, node);
        scene.check_whole(node);
        scene.check_undo_again(&report, node).await;
    }
}

#[tokio::test]
async fn a_node_that_never_comes_up_again_needs_a_person_and_the_others_run() {
    for node in ["b1", "b3", "c2"] {
        let scene = Scene::with(Shape::THREE_AND_THREE, BACKUP, |cluster| {
            cluster.with(node, |node| node.exits = true)
        })
        .await;
        let report = scene.run(&scene.orchestrator(None)).await;
        assert_eq!(report.outcome, Outcome::NeedsPerson, "{node}: {report:#?}");
        assert!(report.verdict.contains("NEEDS A PERSON"), "{}", report.verdict);
        let down: Vec<String> = scene
            .cluster
            .states()
            .into_iter()
            .filter_map(|(name, state)| (!state.is_up()).then(|| name.to_string()))
            .collect();
        assert_eq!(down, [node], "one lost node does not keep the others down: {report:#?}");
        assert_eq!(
            scene.store.open_runs().len(),
            1,
            "the journal stays open for a recovery"
        );
        scene.check(&report, node);
        scene.cluster.with(node, |node| node.exits = false);
        scene.check_recovery(node).await;
    }
}

#[tokio::test]
async fn work_folders_of_a_run_that_is_not_recovered_are_not_swept() {
    let scene = Scene::with(Shape::THREE_AND_THREE, RESTORE, |cluster| {
        cluster.with("b1", |node| node.exits_on_restored = true);
    })
    .await;
    let faults = kbo_core::testing::Faults::none(scene.cluster.clock());
    let orchestrator = scene.orchestrator(Some(&faults));
    // Nothing can be swapped back on b2: its old data are in the work folder and nowhere else.
    let dead = scene.cluster.clone();
    let monitor = Watch(Box::new(move |step| {
        if step.starts_with("swap back") {
            dead.with("b2", |node| node.unreachable = true);
        }
    }));
    let orchestrator = kbo_core::orchestrator::Orchestrator {
        monitor: std::sync::Arc::new(monitor),
        ..orchestrator
    };
    let report = scene.run(&orchestrator).await;
    assert_eq!(report.outcome, Outcome::NeedsPerson, "{report:#?}");
    scene.cluster.with("b2", |node| node.unreachable = false);
    scene.cluster.with("c1", |node| node.unreachable = true);
    let recovered = scene.orchestrator(None).recover().await.expect("a recovery");
    assert_eq!(recovered.runs[0].outcome, Outcome::NeedsPerson, "{recovered:#?}");
    scene.cluster.with("c1", |node| node.unreachable = false);
    scene.cluster.clock().advance(Duration::from_secs(60));
    let report = backup(&scene.orchestrator(None), BackupKind::Config).await;
    assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
    assert!(
        !scene.cluster.leftovers().is_empty(),
        "the open run's work folders outlive a later run's sweep"
    );
    scene.cluster.with("b1", |node| node.exits_on_restored = false);
    scene.check_recovery("in the end").await;
    assert_eq!(scene.cluster.content(), scene.original);
}

/// Calls back at every step.
struct Watch(Box<dyn Fn(&str) + Send + Sync>);

impl kbo_core::ports::monitor::Monitor for Watch {
    fn event(&self, event: kbo_core::ports::monitor::MonitorEvent) {
        if let kbo_core::ports::monitor::MonitorEvent::StepStarted { step } = event {
            (self.0)(&step);
        }
    }
}

#[tokio::test]
async fn damaged_source_data_are_archived_and_told() {
    let scene = Scene::with(Shape::SINGLE, BACKUP, |cluster| {
        cluster.with("x1", |node| {
            node.damage = vec!["orders-0/00000000000000000000.log: wrong CRC at 0".to_owned()]
        });
    })
    .await;
    let report = scene.run(&scene.orchestrator(None)).await;
    assert_eq!(report.outcome, Outcome::Damaged, "{report:#?}");
    assert!(report.verdict.contains("wrong CRC"), "{}", report.verdict);
    scene.check(&report, "damaged source");
}

#[tokio::test]
async fn a_damaged_backup_is_noticed_before_anything_is_stopped() {
    for archive in ["c1.config.tar.zst", "b3.data.tar.zst"] {
        let scene = Scene::new(Shape::THREE_AND_THREE, RESTORE).await;
        scene.store.damage(&scene.visible[0], archive);
        let report = scene.run(&scene.orchestrator(None)).await;
        assert_eq!(report.outcome, Outcome::Failed, "{report:#?}");
        assert_eq!(report.window_seconds, None, "nothing was stopped");
        scene.check(&report, archive);
        scene.check_whole(archive);
    }
}

#[tokio::test]
async fn orphans_of_dead_runs_are_swept_by_the_next() {
    let scene = Scene::with(
        Shape::THREE_AND_THREE,
        Job::Backup(BackupKind::Config),
        |cluster: &FakeCluster| {
            cluster.with("b1", |node| {
                node.work.insert(
                    "20260101T000000Z".parse().expect("a run"),
                    kbo_core::testing::Work::default(),
                );
            });
        },
    )
    .await;
    let orchestrator = scene.orchestrator(None);
    let prepared = orchestrator
        .prepare_backup(BackupRequest {
            kind: BackupKind::Config,
        })
        .await;
    assert!(
        prepared
            .findings
            .iter()
            .any(|finding| finding.message.contains("swept")),
        "{:?}",
        prepared.findings
    );
    let report = orchestrator.execute(prepared).await;
    assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
    scene.check_whole("swept");
}

#[tokio::test]
async fn one_run_at_a_time_holds_the_lock() {
    let scene = Scene::new(Shape::SINGLE, BACKUP).await;
    let orchestrator = scene.orchestrator(None);
    let lock = orchestrator
        .store
        .lock(&orchestrator.name, "backup")
        .await
        .expect("the lock");
    let refused = orchestrator.store.lock(&orchestrator.name, "restore").await;
    assert!(matches!(
        refused,
        Err(kbo_core::ports::store::StoreError::Locked { .. })
    ));
    lock.release().await.expect("a release");
    assert!(orchestrator.store.lock(&orchestrator.name, "restore").await.is_ok());
}

#[tokio::test]
async fn two_backups_of_one_second_get_two_names_and_a_failed_one_reports_none() {
    let scene = Scene::new(Shape::new(1, 0, 1), BACKUP).await;
    let orchestrator = scene.orchestrator(None);
    let request = || BackupRequest {
        kind: BackupKind::Config,
    };
    let (first, second) = (
        orchestrator.prepare_backup(request()).await,
        orchestrator.prepare_backup(request()).await,
    );
    assert_eq!(first.plan.run, second.plan.run);
    let first = orchestrator.execute(first).await;
    let second = orchestrator.execute(second).await;
    assert_eq!((first.outcome, second.outcome), (Outcome::Done, Outcome::Done));
    let (first, second) = (first.id.expect("an id"), second.id.expect("an id"));
    assert_eq!(second.time().duration_since(first.time()).as_secs(), 1);

    let scene = Scene::with(Shape::new(1, 0, 1), BACKUP, |cluster| {
        cluster.with("b1", |node| node.locked = true)
    })
    .await;
    let report = scene.run(&scene.orchestrator(None)).await;
    assert_eq!((report.outcome, report.id), (Outcome::Failed, None));
}

#[tokio::test]
async fn a_degraded_cluster_is_backed_up_where_that_is_accepted_and_the_manifest_says_so() {
    let scene = Scene::with(Shape::THREE_AND_THREE, BACKUP, |cluster| {
        // Killed: no marker.
        cluster.with("b2", |node| {
            node.container = kbo_core::ports::node::ContainerState::Stopped
        });
        cluster.as_found();
    })
    .await;
    let mut orchestrator = scene.orchestrator(None);
    let report = scene.run(&orchestrator).await;
    assert_eq!(report.outcome, Outcome::Refused, "{report:#?}");
    scene.check_whole("refused");

    orchestrator.settings.allow_degraded = true;
    let report = scene.run(&orchestrator).await;
    assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
    let manifest = scene
        .store
        .manifest_of(&report.id.expect("an id"))
        .expect("its manifest");
    assert_eq!(manifest.degraded, ["orders-0", "orders-1", "orders-2"]);
    assert!(
        manifest
            .caveats
            .iter()
            .any(|caveat| caveat.contains("b2 did not stop cleanly"))
    );

    // It lifts nothing else: the others must still prove a clean stop.
    scene.cluster.clock().advance(Duration::from_secs(60));
    scene
        .cluster
        .with("b1", |node| node.stop_takes = Duration::from_secs(400));
    let report = scene.run(&orchestrator).await;
    assert_eq!(report.outcome, Outcome::Failed, "{report:#?}");
}

#[tokio::test]
async fn a_backup_names_the_partitions_of_a_retired_broker() {
    let scene = Scene::with(Shape::THREE_AND_THREE, BACKUP, |cluster| {
        cluster.stranger(9, true, true)
    })
    .await;
    let mut orchestrator = scene.orchestrator(None);
    let report = scene.run(&orchestrator).await;
    assert_eq!(report.outcome, Outcome::Refused, "{report:#?}");
    orchestrator.settings.retired.insert(9);
    let report = scene.run(&orchestrator).await;
    assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
    let manifest = scene
        .store
        .manifest_of(&report.id.expect("an id"))
        .expect("its manifest");
    let caveat = "the retired broker 9 is a replica of orders-0, orders-1, orders-2";
    assert!(
        manifest.caveats.iter().any(|said| said == caveat),
        "{:?}",
        manifest.caveats
    );
    assert!(manifest.degraded.is_empty(), "{:?}", manifest.degraded);
}
