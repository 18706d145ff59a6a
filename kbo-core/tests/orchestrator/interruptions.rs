//! Ctrl-C at every operation, once and twice.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kbo_core::ports::clock::Clock;
use kbo_core::report::Outcome;
use kbo_core::testing::{Effect, Faults, Moment, Shape};

use crate::scene::{BACKUP, Job, RESTORE, SHAPES, Scene};

/// Asks at each of the operations numbered `at`; returns how the run ended.
async fn ask(shape: Shape, job: Job, at: &[usize]) -> Outcome {
    let scene = Scene::new(shape, job).await;
    let faults = Faults::none(scene.cluster.clock());
    let orchestrator = scene.orchestrator(Some(&faults));
    let asked = at.iter().fold(faults, |faults, at| {
        let cancel = orchestrator.cancel.clone();
        faults.and(*at, Moment::Before, Effect::Call(Arc::new(move || cancel.ask())))
    });
    let report = scene.run(&orchestrator).await;
    let label = format!("{job:?} of {shape:?}: asked at {at:?} of {:?}", asked.operations());
    // Attention: partitions that were not waited for may not be whole.
    assert!(
        matches!(
            report.outcome,
            Outcome::Interrupted | Outcome::Done | Outcome::Attention
        ),
        "{label}\n{report:#?}"
    );
    scene.check(&report, &label);
    assert_eq!(scene.cluster.leftovers(), Vec::<String>::new(), "{label}");
    asked.mend();
    scene.check_undo_again(&report, &label).await;
    report.outcome
}

#[tokio::test]
async fn an_interruption_at_any_operation_leaves_the_cluster_as_found() {
    for shape in SHAPES {
        for (job, past_return) in [(BACKUP, "commit"), (RESTORE, "forgo")] {
            let operations = Scene::operations(shape, job).await;
            let commit = operations.iter().position(|operation| operation.ends_with(past_return));
            for (at, operation) in operations.iter().enumerate() {
                let outcome = ask(shape, job, &[at]).await;
                // The step under way is finished. The journal's word that the commit begins is part of it; the leases of a restore
                // are given back by no step.
                let begins = if job == RESTORE { at } else { at + 1 };
                let expected = if Some(begins) < commit {
                    Outcome::Interrupted
                } else {
                    Outcome::Done
                };
                // Between the last broker's answer and the leases, a restored cluster already serves.
                if !(job == RESTORE && outcome == Outcome::Done) {
                    assert_eq!(outcome, expected, "{job:?} of {shape:?} asked at {at}, {operation}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_restore_is_taken_back_up_to_the_moment_in_which_it_serves() {
    let operations = Scene::operations(Shape::THREE_AND_THREE, RESTORE).await;
    let last_start = operations
        .iter()
        .rposition(|operation| operation.ends_with("start"))
        .expect("a start");
    for at in 0..=last_start {
        assert_eq!(ask(Shape::THREE_AND_THREE, RESTORE, &[at]).await, Outcome::Interrupted);
    }
}

#[tokio::test]
async fn a_second_interruption_hurries_and_still_leaves_the_cluster_as_found() {
    for job in [BACKUP, RESTORE] {
        let count = Scene::operations(Shape::new(1, 0, 2), job).await.len();
        for at in 0..count {
            for later in [1, 2, 3, 7, 15] {
                ask(Shape::new(1, 0, 2), job, &[at, at + later]).await;
            }
        }
    }
}

#[tokio::test]
async fn a_run_interrupted_before_it_began_touches_nothing() {
    let scene = Scene::new(Shape::SINGLE, BACKUP).await;
    let orchestrator = scene.orchestrator(None);
    orchestrator.cancel.ask();
    let report = scene.run(&orchestrator).await;
    assert_eq!(report.outcome, Outcome::Interrupted);
    scene.check(&report, "interrupted before it began");
    assert!(report.phases.is_empty());
}

#[tokio::test]
async fn asked_twice_a_run_ends_within_seconds_when_every_node_hangs() {
    let shape = Shape::new(1, 0, 2);
    for job in [BACKUP, RESTORE] {
        let operations = Scene::operations(shape, job).await;
        // Looking and planning is given up by whoever waits for it: nothing has been touched.
        let begun = operations.iter().position(|what| what.starts_with("store: begin"));
        for (at, what) in operations.into_iter().enumerate().skip(begun.expect("a journal")) {
            let label = format!("{job:?}: asked twice at operation {at}, {what}, and every node hangs then");
            let scene = Scene::new(shape, job).await;
            let clock = scene.cluster.clock().clone();
            let faults = Faults::none(&clock);
            let orchestrator = scene.orchestrator(Some(&faults));
            let (cancel, asked) = (orchestrator.cancel.clone(), Arc::new(OnceLock::new()));
            let ask = {
                let (clock, asked, faults) = (clock.clone(), Arc::clone(&asked), faults.clone());
                let nodes: Vec<String> = scene.cluster.states().keys().map(ToString::to_string).collect();
                move || {
                    nodes.iter().for_each(|node| faults.freeze(node));
                    cancel.ask();
                    cancel.ask();
                    let _ = asked.set(clock.monotonic());
                }
            };
            let faults = faults.and(at, Moment::Before, Effect::Call(Arc::new(ask)));
            let report = scene.run(&orchestrator).await;
            let took = asked.get().map(|asked| clock.monotonic().saturating_sub(*asked));
            assert!(
                took.is_some_and(|took| took <= Duration::from_secs(15)),
                "{label}: {took:?}\n{report:#?}"
            );
            faults.mend();
            scene.check_recovery(&label).await;
        }
    }
}
