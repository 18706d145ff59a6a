//! Nodes that undo their part while kbo is alive, nodes that cannot be told, and two centres with two stores.

use std::sync::Arc;

use kbo_core::manifest::BackupKind;
use kbo_core::orchestrator::BackupRequest;
use kbo_core::ports::node::{Claim, NodeErrorKind, NodeTransport, Owner, SnapshotRequest};
use kbo_core::report::Outcome;
use kbo_core::testing::{Effect, Faults, MemoryStore, Moment, Shape};

use crate::scene::{BACKUP, Job, RESTORE, Scene, backup};

/// The leases of `nodes` fire just before operation `at`.
async fn fire(shape: Shape, job: Job, at: usize, nodes: &[&str]) -> (Scene, kbo_core::report::Report) {
    let scene = Scene::new(shape, job).await;
    let (cluster, names) = (
        scene.cluster.clone(),
        nodes.iter().map(ToString::to_string).collect::<Vec<_>>(),
    );
    let effect = Effect::Call(Arc::new(move || names.iter().for_each(|name| cluster.fire(name))));
    let faults = Faults::none(scene.cluster.clock()).and(at, Moment::Before, effect);
    let report = scene.run(&scene.orchestrator(Some(&faults))).await;
    // A node that undoes its part is on other data than the rest for a while: that is what is tried here.
    scene.cluster.forgive();
    (scene, report)
}

#[tokio::test]
async fn a_lease_that_fires_while_kbo_lives_never_ends_a_run_on_two_kinds_of_data() {
    let shape = Shape::new(1, 0, 2);
    for job in [BACKUP, RESTORE] {
        for nodes in [&["c1"][..], &["b1"], &["b2"], &["c1", "b1", "b2"]] {
            let mut undone = 0;
            for (at, operation) in Scene::operations(shape, job).await.iter().enumerate() {
                let (scene, report) = fire(shape, job, at, nodes).await;
                let label = format!("{job:?}: {nodes:?} fire before operation {at}, {operation}");
                assert_ne!(report.outcome, Outcome::NeedsPerson, "{label}\n{report:#?}");
                scene.check(&report, &label);
                if !report.outcome.is_done() {
                    undone += 1;
                    assert!(
                        report
                            .failures
                            .iter()
                            .any(|failure| failure.message.contains("no longer held")),
                        "{label}: it says why: {report:#?}"
                    );
                    assert_eq!(report.outcome.exit_code(), 1, "{label}");
                    scene.check_whole(&label);
                }
            }
            assert!(undone > 5, "{job:?}, {nodes:?}: {undone}");
        }
    }
}

#[tokio::test]
async fn a_node_that_does_not_agree_makes_the_whole_restore_undo() {
    let shape = Shape::new(1, 0, 2);
    let operations = Scene::operations(shape, RESTORE).await;
    for what in ["holds", "agree"] {
        let at = operations
            .iter()
            .position(|operation| operation == &format!("b1: {what}"));
        let scene = Scene::new(shape, RESTORE).await;
        let faults = Faults::none(scene.cluster.clock()).and(
            at.expect("the operation"),
            Moment::Before,
            Effect::Fail(NodeErrorKind::LeaseLost),
        );
        let report = scene.run(&scene.orchestrator(Some(&faults))).await;
        assert_eq!(report.outcome, Outcome::Failed, "{what}: {report:#?}");
        scene.check(&report, what);
        scene.check_whole(what);
        assert_eq!(scene.cluster.content(), scene.original, "{what}");
    }
}

#[tokio::test]
async fn a_node_that_cannot_be_told_that_the_restore_is_kept_needs_a_person_and_stays_on_the_restored_data() {
    let shape = Shape::new(1, 0, 2);
    let operations = Scene::operations(shape, RESTORE).await;
    let at = operations.iter().position(|operation| operation == "b1: forgo");
    let scene = Scene::new(shape, RESTORE).await;
    let faults = Faults::none(scene.cluster.clock()).and(
        at.expect("the operation"),
        Moment::Before,
        Effect::Die(NodeErrorKind::Unreachable),
    );
    let report = scene.run(&scene.orchestrator(Some(&faults))).await;
    assert_eq!(
        (report.outcome, report.outcome.exit_code()),
        (Outcome::NeedsPerson, 4),
        "{report:#?}"
    );
    assert!(report.verdict.contains("b1 could not be told"), "{}", report.verdict);
    assert!(report.verdict.contains("kbo recover"), "{}", report.verdict);
    assert!(report.verdict.contains("in place and stay"), "{}", report.verdict);
    // Nobody hears of kbo any more.
    scene.cluster.crash_of_centre();
    assert_eq!(
        scene.cluster.content(),
        scene.restored,
        "one kind of data, whatever b1 knows"
    );
    assert_eq!(scene.cluster.violations(), Vec::<String>::new());
    faults.mend();
    scene.check_recovery("in the end").await;
    assert_eq!(scene.cluster.content(), scene.restored);
}

#[tokio::test]
async fn a_centre_that_dies_after_its_word_leaves_no_node_on_old_data() {
    let shape = Shape::new(1, 0, 2);
    let operations = Scene::operations(shape, RESTORE).await;
    for (at, operation) in operations
        .iter()
        .enumerate()
        .filter(|(_, operation)| operation.ends_with("forgo"))
    {
        for moment in [Moment::Before, Moment::After] {
            let scene = Scene::new(shape, RESTORE).await;
            let faults = Faults::none(scene.cluster.clock()).and(at, moment, Effect::Hang);
            let orchestrator = scene.orchestrator(Some(&faults));
            tokio::select! {
                report = scene.run(&orchestrator) => panic!("not reached: {report:#?}"),
                () = faults.struck() => {}
            }
            scene.cluster.crash_of_centre();
            assert_eq!(scene.cluster.content(), scene.restored, "{moment:?} {operation}");
            scene.check_recovery(operation).await;
            assert_eq!(scene.cluster.content(), scene.restored, "{moment:?} {operation}");
        }
    }
}

/// Another centre's run that holds b1.
async fn another_run_holds_b1(scene: &Scene, store: &str) -> Arc<dyn NodeTransport> {
    let run: kbo_core::ids::RunId = "20260101T000000Z".parse().expect("a run");
    let node: Arc<dyn NodeTransport> = scene.cluster.node("b1");
    let claim = Claim {
        run: Some(run.clone()),
        owner: Owner {
            store: store.to_owned(),
            cluster: "fake".to_owned(),
            host: "elsewhere".to_owned(),
            user: "eve".to_owned(),
            pid: 4711,
            since: "2026-01-01T00:00:00Z".parse().expect("a time"),
            purpose: "backup".to_owned(),
        },
        known: vec![],
        undoing: false,
    };
    node.claim(&claim).await.expect("a claim");
    let request = SnapshotRequest {
        run,
        datasets: vec![kbo_core::inventory::Dataset::Config],
    };
    node.snapshot(&request).await.expect("a snapshot");
    node
}

#[tokio::test]
async fn a_living_run_of_another_store_is_a_refusal_that_names_it() {
    let scene = Scene::new(Shape::new(1, 0, 2), BACKUP).await;
    let other = another_run_holds_b1(&scene, "another store").await;
    let orchestrator = scene.orchestrator(None);
    let request = BackupRequest {
        kind: BackupKind::Cluster,
    };
    let prepared = orchestrator.prepare_backup(request).await;
    let texts: Vec<String> = prepared.findings.iter().map(ToString::to_string).collect();
    let told = texts
        .iter()
        .find(|text| text.starts_with("b1: belongs to a living run"))
        .expect("a finding");
    for part in [
        "eve@elsewhere",
        "pid 4711",
        "2026-01-01T00:00:00Z",
        "backup",
        "20260101T000000Z",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let report = orchestrator.execute(prepared).await;
    assert_eq!(report.outcome, Outcome::Refused, "{report:#?}");
    assert_eq!(scene.cluster.leftovers().len(), 1, "its work folder is not swept");
    other.release().await.expect("a release");
}

#[tokio::test]
async fn a_run_of_another_store_that_begins_after_preflight_is_not_run_over() {
    let scene = Scene::new(Shape::new(1, 0, 2), BACKUP).await;
    let orchestrator = scene.orchestrator(None);
    let request = BackupRequest {
        kind: BackupKind::Cluster,
    };
    let prepared = orchestrator.prepare_backup(request).await;
    let _other = another_run_holds_b1(&scene, "another store").await;
    let report = orchestrator.execute(prepared).await;
    assert_eq!(report.outcome, Outcome::Failed, "{report:#?}");
    assert_eq!(report.window_seconds, None, "nothing was stopped");
    assert!(
        report.failures[0].message.contains("eve@elsewhere"),
        "{:?}",
        report.failures
    );
    assert_eq!(scene.cluster.leftovers().len(), 1, "its work folder is not swept");
    assert_eq!(scene.store.open_runs(), vec![]);
}

#[tokio::test]
async fn an_archiving_run_of_the_same_store_refuses_nothing_and_keeps_its_work_folder() {
    let scene = Scene::new(Shape::new(1, 0, 2), BACKUP).await;
    let store: &MemoryStore = &scene.store;
    let id = kbo_core::ports::store::BackupStore::id(store)
        .await
        .expect("an id")
        .expect("an id");
    let _other = another_run_holds_b1(&scene, &id).await;
    let report = backup(&scene.orchestrator(None), BackupKind::Config).await;
    assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
    assert_eq!(scene.cluster.with("b1", |node| node.work.len()), 1);
}
