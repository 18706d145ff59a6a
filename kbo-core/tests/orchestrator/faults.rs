//! One fault at every operation of a node or the store, before, in the middle of and after it.

use std::time::Duration;

use kbo_core::manifest::BackupKind;
use kbo_core::ports::node::NodeErrorKind;
use kbo_core::report::Outcome;
use kbo_core::testing::{Effect, Faults, Moment, Shape};

use crate::scene::{BACKUP, Job, RESTORE, SHAPES, Scene};

const MOMENTS: [Moment; 3] = [Moment::Before, Moment::During, Moment::After];

/// Fails every operation in turn; returns the number of cases.
async fn fail_everywhere(shape: Shape, job: Job, effect: Effect) -> usize {
    let operations = Scene::operations(shape, job).await;
    for (at, operation) in operations.iter().enumerate() {
        for moment in MOMENTS {
            let label = format!("{job:?} of {shape:?}: {effect:?} {moment:?} operation {at}, {operation}");
            let scene = Scene::new(shape, job).await;
            let faults = Faults::none(scene.cluster.clock()).and(at, moment, effect.clone());
            let report = scene.run(&scene.orchestrator(Some(&faults))).await;
            assert_ne!(
                report.outcome,
                Outcome::NeedsPerson,
                "one fault is no reason: {label}\n{report:#?}"
            );
            scene.check(&report, &label);
            faults.mend();
            scene.check_undo_again(&report, &label).await;
            // The night after costs as much as the case itself: every few will do.
            if at % 7 == 0 {
                scene.check_next_backup(&label).await;
            }
        }
    }
    operations.len() * MOMENTS.len()
}

#[tokio::test]
async fn a_fault_at_any_operation_of_a_backup_leaves_the_cluster_as_found() {
    let mut cases = 0;
    for shape in SHAPES {
        cases += fail_everywhere(shape, BACKUP, Effect::Fail(NodeErrorKind::Io)).await;
    }
    assert!(cases > 800, "{cases}");
}

#[tokio::test]
async fn a_fault_at_any_operation_of_a_restore_leaves_the_cluster_as_found_or_restored() {
    let mut cases = 0;
    for shape in SHAPES {
        cases += fail_everywhere(shape, RESTORE, Effect::Fail(NodeErrorKind::Io)).await;
    }
    assert!(cases > 800, "{cases}");
}

#[tokio::test]
async fn a_lost_connection_at_any_operation_is_no_worse() {
    for job in [BACKUP, RESTORE] {
        let slow = Effect::SlowFail(Duration::from_secs(60), NodeErrorKind::Unreachable);
        fail_everywhere(Shape::new(1, 0, 2), job, slow).await;
        fail_everywhere(Shape::new(1, 0, 2), job, Effect::Fail(NodeErrorKind::Unreachable)).await;
        fail_everywhere(Shape::new(1, 0, 2), job, Effect::Fail(NodeErrorKind::Interrupted)).await;
    }
}

#[tokio::test]
async fn a_fault_at_any_operation_of_a_backup_of_configuration_stops_nothing() {
    fail_everywhere(
        Shape::THREE_AND_THREE,
        Job::Backup(BackupKind::Config),
        Effect::Fail(NodeErrorKind::Io),
    )
    .await;
}

#[tokio::test]
async fn a_fault_at_any_operation_spares_what_is_to_be_kept() {
    let job = Job::Restore { keep_previous: true };
    fail_everywhere(Shape::new(1, 0, 1), job, Effect::Fail(NodeErrorKind::Io)).await;
}

#[tokio::test]
async fn a_node_or_a_store_that_dies_at_any_operation_is_told_truthfully_and_recovered_from() {
    for (shape, job) in [
        (Shape::THREE_AND_THREE, BACKUP),
        (Shape::THREE_AND_THREE, RESTORE),
        (Shape::COMBINED, RESTORE),
        (Shape::SINGLE, BACKUP),
    ] {
        for at in 0..Scene::operations(shape, job).await.len() {
            for moment in [Moment::Before, Moment::After] {
                let label = format!("{job:?} of {shape:?}: death {moment:?} operation {at}");
                let scene = Scene::new(shape, job).await;
                let effect = Effect::Die(NodeErrorKind::Unreachable);
                let faults = Faults::none(scene.cluster.clock()).and(at, moment, effect);
                let report = scene.run(&scene.orchestrator(Some(&faults))).await;
                scene.check(&report, &label);
                faults.mend();
                scene.check_recovery(&label).await;
                scene.check_next_backup(&label).await;
            }
        }
    }
}

#[tokio::test]
async fn a_store_that_is_full_after_any_number_of_bytes_fails_the_backup_and_says_so() {
    let scene = Scene::new(Shape::THREE_AND_THREE, BACKUP).await;
    let report = scene.run(&scene.orchestrator(None)).await;
    let size = report.stored_bytes;
    for bytes in (0..size).step_by(300) {
        let scene = Scene::new(Shape::THREE_AND_THREE, BACKUP).await;
        let orchestrator = scene.orchestrator(None);
        let request = kbo_core::orchestrator::BackupRequest {
            kind: BackupKind::Cluster,
        };
        let prepared = orchestrator.prepare_backup(request).await;
        scene.store.full_after(bytes);
        let report = orchestrator.execute(prepared).await;
        assert_eq!(report.outcome, Outcome::Failed, "{report:#?}");
        let hint = report.failures[0].hint.as_deref().unwrap_or_default();
        assert!(hint.contains("room"), "{:?}", report.failures);
        scene.check(&report, &format!("full after {bytes} bytes"));
        scene.check_undo_again(&report, "a full store").await;
    }
}
