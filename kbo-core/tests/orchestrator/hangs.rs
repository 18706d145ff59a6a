//! Nodes that hang, restart or reboot in the middle of a run.

use std::time::Duration;

use kbo_core::ports::node::ContainerState;
use kbo_core::report::Outcome;
use kbo_core::testing::{Effect, Faults, Moment, Shape};

use crate::scene::{BACKUP, RESTORE, Scene};

/// The nodes' operations, by their numbers. The store has deadlines of its own.
async fn of_nodes(shape: Shape, job: crate::scene::Job) -> Vec<(usize, String)> {
    let operations = Scene::operations(shape, job).await.into_iter().enumerate();
    operations
        .filter(|(_, what)| !what.starts_with("store") && !what.starts_with("journal"))
        .collect()
}

#[tokio::test]
async fn an_operation_that_never_returns_is_given_up_and_the_cluster_is_as_found() {
    for job in [BACKUP, RESTORE] {
        for (at, what) in of_nodes(Shape::new(1, 0, 2), job).await {
            for moment in [Moment::Before, Moment::After] {
                let label = format!("{job:?}: hangs {moment:?} operation {at}, {what}");
                let scene = Scene::new(Shape::new(1, 0, 2), job).await;
                let faults = Faults::none(scene.cluster.clock()).and(at, moment, Effect::Hang);
                let report = scene.run(&scene.orchestrator(Some(&faults))).await;
                assert_ne!(report.outcome, Outcome::NeedsPerson, "{label}\n{report:#?}");
                scene.check(&report, &label);
            }
        }
    }
}

#[tokio::test]
async fn a_slow_look_at_a_container_undoes_no_run() {
    let (job, shape) = (BACKUP, Shape::THREE_AND_THREE);
    for (at, what) in of_nodes(shape, job).await {
        if !what.ends_with(": state") {
            continue;
        }
        let scene = Scene::new(shape, job).await;
        let faults = Faults::none(scene.cluster.clock()).and(at, Moment::Before, Effect::Hang);
        let report = scene.run(&scene.orchestrator(Some(&faults))).await;
        assert_eq!(report.outcome, Outcome::Done, "operation {at}, {what}\n{report:#?}");
    }
}

#[tokio::test]
async fn an_engine_that_restarts_and_a_machine_that_reboots_leave_the_cluster_as_found() {
    for seconds in [10, 90] {
        for job in [BACKUP, RESTORE] {
            for (at, what) in of_nodes(Shape::new(3, 0, 2), job).await {
                for moment in [Moment::Before, Moment::After] {
                    let label = format!("{job:?}: away for {seconds} s {moment:?} operation {at}, {what}");
                    let scene = Scene::new(Shape::new(3, 0, 2), job).await;
                    let away = Effect::Away(Duration::from_secs(seconds));
                    let faults = Faults::none(scene.cluster.clock()).and(at, moment, away);
                    let report = scene.run(&scene.orchestrator(Some(&faults))).await;
                    assert_ne!(report.outcome, Outcome::NeedsPerson, "{label}\n{report:#?}");
                    scene.check(&report, &label);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_node_that_hangs_for_good_keeps_no_other_node_down_and_is_named() {
    let shape = Shape::THREE_AND_THREE;
    for job in [BACKUP, RESTORE] {
        for (at, what) in of_nodes(shape, job).await {
            let label = format!("{job:?}: frozen at operation {at}, {what}");
            let scene = Scene::new(shape, job).await;
            let faults = Faults::none(scene.cluster.clock()).and(at, Moment::Before, Effect::Freeze);
            let report = scene.run(&scene.orchestrator(Some(&faults))).await;
            scene.check(&report, &label);
            if report.outcome != Outcome::NeedsPerson {
                continue;
            }
            let frozen = what.split(':').next().unwrap_or_default();
            let told = report
                .failures
                .iter()
                .any(|failure| failure.to_string().contains(frozen));
            assert!(told, "{label}\n{report:#?}");
            // A node that may run on restored data keeps the others down: a mixed cluster would be worse.
            let may_run_restored = report.failures.iter().any(|failure| failure.step.starts_with("stop"));
            for (name, state) in scene.cluster.states() {
                let is_as_found = state == ContainerState::Running || name.as_str() == frozen;
                assert!(
                    is_as_found || may_run_restored,
                    "{label}: {name} is {state}\n{report:#?}"
                );
            }
            faults.mend();
            scene.check_recovery(&label).await;
            scene.check_next_backup(&label).await;
        }
    }
}
