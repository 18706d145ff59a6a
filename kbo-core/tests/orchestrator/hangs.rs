//! Nodes that hang, restart or reboot in the middle of a run, and a store that hangs.

use std::collections::BTreeSet;
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

#[tokio::test]
async fn a_store_that_hangs_in_the_window_keeps_the_cluster_down_no_longer_than_its_deadline() {
    const DEADLINE: Duration = Duration::from_secs(30);
    let shape = Shape::new(3, 0, 2);
    for job in [BACKUP, RESTORE] {
        let undisturbed = Scene::new(shape, job).await;
        let usual = undisturbed.run(&undisturbed.orchestrator(None)).await.window_seconds;
        let operations = Scene::operations(shape, job).await;
        let first_stop = operations.iter().position(|what| what.ends_with(": stop"));
        let closed = operations.iter().rposition(|what| what == "store: close");
        let mut asked = BTreeSet::new();
        for (at, what) in operations.iter().enumerate().skip(first_stop.expect("a stop")) {
            let Some(what) = what.strip_prefix("store: ") else {
                continue;
            };
            // After: what the disk took and did not answer, as a frozen one does when it thaws.
            for moment in [Moment::Before, Moment::After] {
                let label = format!("{job:?}: the store hangs {moment:?} operation {at}, {what}");
                let scene = Scene::new(shape, job).await;
                let faults = Faults::none(scene.cluster.clock()).and(at, moment, Effect::GiveUp(DEADLINE));
                let report = scene.run(&scene.orchestrator(Some(&faults))).await;
                assert_ne!(report.outcome, Outcome::NeedsPerson, "{label}\n{report:#?}");
                scene.check(&report, &label);
                let told: Vec<String> = report.failures.iter().map(ToString::to_string).collect();
                let words = format!("hangs: no answer within 30 s to: {what}");
                if report.outcome.is_done() {
                    // Committed, or kept; what is only looked at once the journal is closed may stay unknown.
                    let is_told = report.warnings.iter().any(|warning| warning.contains(&words));
                    assert!(is_told || Some(at) > closed, "{label}\n{report:#?}");
                } else {
                    assert!(told.iter().any(|told| told.contains(&words)), "{label}\n{report:#?}");
                    let hints = report.failures.iter().filter_map(|failure| failure.hint.as_deref());
                    assert!(
                        hints.into_iter().any(|hint| hint.contains("kbo recover")),
                        "{label}\n{report:#?}"
                    );
                }
                // Undoing starts what was stopped: that takes no longer than starting it after the work.
                let most = DEADLINE.as_secs_f64() + 2.0 * usual.expect("a window");
                assert!(
                    report.window_seconds.is_none_or(|seconds| seconds <= most),
                    "{label}\n{report:#?}"
                );
                faults.mend();
                scene.check_recovery(&label).await;
                scene.check_next_backup(&label).await;
                asked.insert(what.to_owned());
            }
        }
        assert!(asked.contains("append"), "{asked:?}");
        if job == BACKUP {
            assert!(
                ["create", "write", "finish", "commit"]
                    .iter()
                    .all(|what| asked.contains(*what)),
                "{asked:?}"
            );
        }
    }
}
