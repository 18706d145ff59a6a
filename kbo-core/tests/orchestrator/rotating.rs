//! What follows a run: rotation after a good backup and nothing else, and a word where space is low.

use std::time::Duration;

use jiff::SignedDuration;
use kbo_core::ids::BackupId;
use kbo_core::manifest::BackupKind;
use kbo_core::orchestrator::RotationRequest;
use kbo_core::ports::node::NodeErrorKind;
use kbo_core::ports::store::{BackupStore, Pin};
use kbo_core::report::Outcome;
use kbo_core::retention::{Policies, Policy};
use kbo_core::testing::{Effect, Faults, Moment, Shape};

use crate::scene::{BACKUP, RESTORE, Scene, backup};

const DAY: Duration = Duration::from_secs(86_400);

/// A scene with so many backups, a day apart; the last one is of this moment.
async fn with_backups(count: usize) -> (Scene, Vec<BackupId>) {
    let scene = Scene::new(Shape::THREE_AND_THREE, BACKUP).await;
    let mut ids = vec![];
    for _ in 0..count {
        scene.cluster.clock().advance(DAY);
        let mut orchestrator = scene.orchestrator(None);
        orchestrator.settings.retention = None;
        let report = backup(&orchestrator, BackupKind::Cluster).await;
        assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
        ids.extend(report.id);
    }
    scene.cluster.clock().advance(DAY);
    (scene, ids)
}

fn two_days() -> Option<Policies> {
    let policy = Policy {
        days: 2,
        ..Policy::default()
    };
    Some(Policies {
        cluster: policy,
        config: policy,
        data: policy,
    })
}

#[tokio::test]
async fn a_good_backup_takes_those_away_that_have_had_their_time() {
    let (scene, ids) = with_backups(4).await;
    let pin = Pin {
        reason: None,
        since: ids[0].time(),
        by: None,
    };
    scene.store.pin(&ids[0], &pin).await.unwrap();
    // Another cluster's, older than any.
    scene
        .store
        .change_manifest(&ids[1], |manifest| manifest.cluster = "other".parse().unwrap());
    let mut orchestrator = scene.orchestrator(None);
    orchestrator.settings.retention = two_days();
    let report = backup(&orchestrator, BackupKind::Cluster).await;
    assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
    let new = report.id.clone().unwrap();
    assert_eq!(
        scene.store.visible(),
        [ids[0].clone(), ids[1].clone(), ids[3].clone(), new]
    );
    let rotation = report.rotation.unwrap();
    assert_eq!(rotation.removed, [ids[2].clone()]);
    assert_eq!(rotation.summary(), "1 backup removed, 3 stay");
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);
}

#[tokio::test]
async fn a_clock_in_doubt_withholds_the_rotation_and_is_something_to_look_at() {
    type Wrong = fn(&Scene);
    let cases: [(&str, Wrong, &str); 2] = [
        (
            "a node's clock is ahead",
            |scene| {
                scene
                    .cluster
                    .with("b1", |node| node.skew = SignedDuration::from_hours(1));
            },
            "b1 is 3600 s ahead",
        ),
        (
            "the centre's clock has jumped",
            |scene| scene.cluster.clock().set_on(SignedDuration::from_hours(60 * 24)),
            "has this machine's clock jumped",
        ),
    ];
    for (name, wrong, why) in cases {
        let (scene, ids) = with_backups(8).await;
        wrong(&scene);
        let mut orchestrator = scene.orchestrator(None);
        orchestrator.settings.retention = two_days();
        let report = backup(&orchestrator, BackupKind::Cluster).await;
        assert_eq!(report.outcome, Outcome::Attention, "{name}: {report:#?}");
        assert!(report.verdict.contains(why), "{name}: {}", report.verdict);
        assert!(ids.iter().all(|id| scene.store.visible().contains(id)), "{name}");
        let confirmed = RotationRequest {
            confirmed: true,
            ..RotationRequest::default()
        };
        let rotation = orchestrator.rotate(&two_days().unwrap(), &confirmed).await.unwrap();
        assert!(
            rotation.withheld.is_none() && rotation.removed.len() > 3,
            "{name}: {rotation:?}"
        );
    }
}

#[tokio::test]
async fn a_clock_that_was_set_back_withholds_the_rotation() {
    let (scene, ids) = with_backups(8).await;
    scene.cluster.clock().set_on(-SignedDuration::from_hours(30));
    let orchestrator = scene.orchestrator(None);
    let rotation = orchestrator
        .rotate(&two_days().unwrap(), &RotationRequest::default())
        .await
        .unwrap();
    let why = rotation.withheld.unwrap();
    assert!(
        why.contains(ids[7].as_str()) && why.contains("dated 5 h after"),
        "{why}"
    );
    assert_eq!(scene.store.visible(), ids);
}

#[tokio::test]
async fn neither_a_failed_backup_nor_one_of_damaged_data_takes_any_away() {
    for is_damaged in [true, false] {
        let (scene, ids) = with_backups(4).await;
        scene.cluster.with("b1", |node| match is_damaged {
            true => node.damage = vec!["a bad batch".to_owned()],
            false => node.stop_takes = Duration::from_secs(4000),
        });
        let mut orchestrator = scene.orchestrator(None);
        orchestrator.settings.retention = two_days();
        let report = backup(&orchestrator, BackupKind::Cluster).await;
        let expected = if is_damaged { Outcome::Damaged } else { Outcome::Failed };
        assert_eq!(report.outcome, expected, "{report:#?}");
        assert!(report.rotation.is_none());
        assert!(ids.iter().all(|id| scene.store.visible().contains(id)));
    }
}

#[tokio::test]
async fn a_rotation_that_fails_is_a_warning_of_a_good_backup() {
    for operation in ["remove", "list"] {
        let (scene, ids) = with_backups(4).await;
        let faults = Faults::none(scene.cluster.clock());
        let mut orchestrator = scene.orchestrator(Some(&faults));
        orchestrator.settings.retention = two_days();
        let report = backup(&orchestrator, BackupKind::Cluster).await;
        assert_eq!(report.rotation.unwrap().removed.len(), 3);
        // The last of them, which is the rotation's.
        let at = faults
            .operations()
            .iter()
            .rposition(|done| done.ends_with(operation))
            .unwrap();

        let (scene, ids_again) = with_backups(4).await;
        assert_eq!(ids, ids_again);
        let faults = Faults::none(scene.cluster.clock()).and(at, Moment::Before, Effect::Fail(NodeErrorKind::Io));
        let mut orchestrator = scene.orchestrator(Some(&faults));
        orchestrator.settings.retention = two_days();
        let report = backup(&orchestrator, BackupKind::Cluster).await;
        assert_eq!(faults.struck_count(), 1, "{operation}");
        assert_eq!(report.outcome, Outcome::Done, "{operation}: {report:#?}");
        assert_eq!(report.warnings.len(), 1, "{operation}: {:?}", report.warnings);
        assert!(report.verdict.contains("1 warning"), "{}", report.verdict);
        let left = if operation == "remove" { 3 } else { 5 };
        assert_eq!(scene.store.visible().len(), left, "{operation}");
    }
}

#[tokio::test]
async fn what_a_run_that_has_not_ended_restores_stays() {
    let (scene, ids) = with_backups(4).await;
    let orchestrator = scene.orchestrator(None);
    let manifest = scene.store.manifest_of(&ids[0]).unwrap();
    let prepared = orchestrator
        .prepare_restore(kbo_core::orchestrator::RestoreRequest {
            manifest,
            datasets: vec![kbo_core::inventory::Dataset::Data],
            other_cluster: false,
            previous: kbo_core::plan::Previous::UntilReady,
        })
        .await;
    let restore = orchestrator.execute(prepared).await;
    assert_eq!(restore.outcome, Outcome::Done, "{restore:#?}");
    scene.store.reopen(&restore.run);
    let rotation = orchestrator.plan_rotation(&two_days().unwrap()).await.unwrap();
    let goes: Vec<&BackupId> = rotation
        .decisions
        .iter()
        .filter(|one| !one.keep)
        .map(|one| &one.id)
        .collect();
    assert_eq!(goes, [&ids[1], &ids[2]]);
    assert!(rotation.decisions[0].reasons.join(" ").contains("not ended"));
}

#[tokio::test]
async fn low_space_is_told_after_a_run_too() {
    let scene = Scene::new(Shape::THREE_AND_THREE, RESTORE).await;
    scene.cluster.with("b2", |node| node.free = node.size / 10);
    let report = scene.run(&scene.orchestrator(None)).await;
    assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
    let told = |place: &str| report.warnings.iter().any(|warning| warning.starts_with(place));
    assert!(
        told("b2: ") && !told("b1: ") && !told("the store: "),
        "{:?}",
        report.warnings
    );

    let scene = Scene::new(Shape::THREE_AND_THREE, BACKUP).await;
    scene.store.full_after(1 << 30);
    let report = scene.run(&scene.orchestrator(None)).await;
    assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
    assert!(report.warnings[0].starts_with("the store: "), "{:?}", report.warnings);
    let before = report
        .findings
        .iter()
        .any(|finding| finding.message.starts_with("the store: "));
    assert!(before, "{:?}", report.findings);
}
