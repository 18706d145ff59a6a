//! The centre dies at every operation.

use kbo_core::testing::{Effect, Faults, Moment, Shape};

use crate::scene::{BACKUP, Job, RESTORE, SHAPES, Scene};

async fn crash(shape: Shape, job: Job, at: usize, moment: Moment) -> Scene {
    let scene = Scene::new(shape, job).await;
    let faults = Faults::none(scene.cluster.clock()).and(at, moment, Effect::Hang);
    let orchestrator = scene.orchestrator(Some(&faults));
    tokio::select! {
        report = scene.run(&orchestrator) => panic!("operation {at} is not reached: {report:#?}"),
        () = faults.struck() => {}
    }
    scene
}

async fn crash_everywhere(shape: Shape, job: Job, leases_run_off: bool) {
    for (at, operation) in Scene::operations(shape, job).await.iter().enumerate() {
        for moment in [Moment::Before, Moment::After] {
            let label = format!("{job:?} of {shape:?}: killed {moment:?} operation {at}, {operation}");
            let scene = crash(shape, job, at, moment).await;
            if leases_run_off {
                scene.cluster.crash_of_centre();
                if operation.ends_with("agree") {
                    // Some have agreed and some not: the one moment in which the nodes cannot agree, and the journal does.
                    scene.cluster.forgive();
                } else {
                    // At any other the nodes bring the cluster up by themselves, and of one kind of data.
                    let content = scene.cluster.content();
                    assert!(
                        content == scene.original || content == scene.restored,
                        "mixed data: {label}"
                    );
                    assert_eq!(scene.cluster.states(), scene.found, "{label}");
                }
                assert_eq!(scene.cluster.violations(), Vec::<String>::new(), "{label}");
            }
            scene.check_recovery(&label).await;
            scene.check_next_backup(&label).await;
        }
    }
}

#[tokio::test]
async fn a_backup_killed_at_any_operation_is_recovered_from() {
    for shape in SHAPES {
        crash_everywhere(shape, BACKUP, false).await;
    }
}

#[tokio::test]
async fn a_restore_killed_at_any_operation_is_recovered_from() {
    for shape in SHAPES {
        crash_everywhere(shape, RESTORE, false).await;
    }
}

#[tokio::test]
async fn the_nodes_undo_a_backup_by_themselves_when_the_centre_is_gone() {
    for shape in SHAPES {
        crash_everywhere(shape, BACKUP, true).await;
    }
}

#[tokio::test]
async fn the_nodes_undo_a_restore_by_themselves_when_the_centre_is_gone() {
    for shape in SHAPES {
        crash_everywhere(shape, RESTORE, true).await;
    }
}

#[tokio::test]
async fn a_recovery_killed_at_any_operation_is_recovered_from() {
    let shape = Shape::new(1, 0, 2);
    for job in [BACKUP, RESTORE] {
        let operations = Scene::operations(shape, job).await;
        // Killed at the last start, most of the undo's steps are due.
        let at = operations
            .iter()
            .rposition(|operation| operation.ends_with("start"))
            .expect("a start");
        let scene = crash(shape, job, at, Moment::After).await;
        let faults = Faults::none(scene.cluster.clock());
        scene.orchestrator(Some(&faults)).recover().await.expect("a recovery");
        for step in 0..faults.count() {
            for moment in [Moment::Before, Moment::After] {
                let scene = crash(shape, job, at, Moment::After).await;
                let faults = Faults::none(scene.cluster.clock()).and(step, moment, Effect::Hang);
                let orchestrator = scene.orchestrator(Some(&faults));
                tokio::select! {
                    _ = orchestrator.recover() => panic!("operation {step} is not reached"),
                    () = faults.struck() => {}
                }
                let label = format!("{job:?}: recovery killed {moment:?} operation {step}");
                scene.check_recovery(&label).await;
                scene.check_next_backup(&label).await;
            }
        }
    }
}

#[tokio::test]
async fn replaced_data_to_be_kept_survive_a_crash_while_sweeping() {
    let job = Job::Restore { keep_previous: true };
    let shape = Shape::new(1, 0, 2);
    let operations = Scene::operations(shape, job).await;
    let cleans = operations
        .iter()
        .enumerate()
        .filter(|(_, operation)| operation.ends_with("clean"));
    for (at, operation) in cleans {
        for moment in [Moment::Before, Moment::After] {
            let scene = crash(shape, job, at, moment).await;
            scene.check_recovery(operation).await;
            assert_eq!(scene.cluster.content(), scene.restored);
            for node in ["c1", "b1", "b2"] {
                assert_eq!(
                    scene.cluster.with(node, |node| node.kept.len()),
                    2,
                    "{node}, killed {moment:?} {operation}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_recovery_says_that_restored_data_stay_where_they_do() {
    let shape = Shape::new(1, 0, 2);
    for (at, operation) in Scene::operations(shape, RESTORE).await.iter().enumerate() {
        let scene = crash(shape, RESTORE, at, Moment::After).await;
        let recovered = scene.orchestrator(None).recover().await.expect("a recovery");
        let is_restored = scene.cluster.content() == scene.restored && scene.original != scene.restored;
        for report in recovered.runs {
            let label = format!("killed after {operation}: {report:#?}");
            let says_so = report.verdict.contains("its new data are in place and stay");
            assert_eq!(says_so, is_restored, "{label}");
            assert_eq!(
                report.verdict.contains("the cluster is as it was found"),
                !is_restored,
                "{label}"
            );
        }
    }
}
