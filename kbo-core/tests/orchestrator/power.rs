//! Stop, start and restart.

use kbo_core::ids::NodeName;
use kbo_core::machine::Operation;
use kbo_core::ports::node::{ContainerState, NodeErrorKind};
use kbo_core::report::{Outcome, Report};
use kbo_core::testing::{Effect, FakeCluster, Faults, MemoryStore, Moment, Recorder, Shape};

use crate::scene::SHAPES;

fn names(nodes: &[&str]) -> Vec<NodeName> {
    nodes.iter().map(|node| node.parse().expect("a name")).collect()
}

async fn power(
    cluster: &FakeCluster,
    operation: Operation,
    nodes: &[&str],
    faults: Option<&Faults>,
) -> (Report, Vec<String>) {
    cluster.clock().advance(std::time::Duration::from_secs(2));
    let recorder = Recorder::default();
    let orchestrator = kbo_core::orchestrator::Orchestrator {
        monitor: std::sync::Arc::new(recorder.clone()),
        ..cluster.orchestrator(&MemoryStore::default(), faults)
    };
    let prepared = orchestrator.prepare_power(operation, &names(nodes), false).await;
    let report = orchestrator.execute(prepared).await;
    assert_eq!(cluster.violations(), Vec::<String>::new(), "{report:#?}");
    assert_eq!(cluster.leftovers(), Vec::<String>::new(), "{report:#?}");
    (report, recorder.steps())
}

fn up(cluster: &FakeCluster) -> usize {
    cluster.states().values().filter(|state| state.is_up()).count()
}

#[tokio::test]
async fn a_stop_lasts_and_a_start_brings_everything_back() {
    for shape in SHAPES {
        let cluster = FakeCluster::new(shape);
        let nodes = cluster.states().len();
        let (report, _) = power(&cluster, Operation::Stop, &[], None).await;
        assert_eq!((report.outcome, up(&cluster)), (Outcome::Done, 0), "{report:#?}");
        cluster.crash_of_centre();
        assert_eq!(up(&cluster), 0, "a stop takes no lease");
        let (report, _) = power(&cluster, Operation::Start, &[], None).await;
        assert_eq!((report.outcome, up(&cluster)), (Outcome::Done, nodes), "{report:#?}");
        let (report, steps) = power(&cluster, Operation::Restart, &[], None).await;
        assert_eq!((report.outcome, up(&cluster)), (Outcome::Done, nodes), "{report:#?}");
        assert!(report.window_seconds.is_some());
        assert_eq!(steps.iter().filter(|step| step.starts_with("stop ")).count(), nodes);
    }
}

#[tokio::test]
async fn one_node_is_restarted_alone() {
    let cluster = FakeCluster::new(Shape::THREE_AND_THREE);
    cluster.piecemeal();
    for node in ["b2", "c1"] {
        let (report, steps) = power(&cluster, Operation::Restart, &[node], None).await;
        assert_eq!((report.outcome, up(&cluster)), (Outcome::Done, 6), "{report:#?}");
        assert_eq!(steps[0], format!("stop {node}"));
        assert_eq!(
            steps
                .iter()
                .filter(|step| step.starts_with("stop ") || step.starts_with("start "))
                .count(),
            2
        );
    }
}

#[tokio::test]
async fn a_restart_of_everything_leaves_down_what_was_down_and_a_chosen_node_comes_up() {
    let cluster = FakeCluster::new(Shape::THREE_AND_THREE);
    cluster.with("b3", |node| node.container = ContainerState::Stopped);
    let (report, _) = power(&cluster, Operation::Restart, &[], None).await;
    assert_eq!((report.outcome, up(&cluster)), (Outcome::Done, 5), "{report:#?}");
    cluster.may_start();
    let (report, _) = power(&cluster, Operation::Restart, &["b3"], None).await;
    assert_eq!((report.outcome, up(&cluster)), (Outcome::Done, 6), "{report:#?}");
}

#[tokio::test]
async fn what_would_leave_brokers_without_a_quorum_is_refused() {
    for (operation, nodes, down) in [
        (Operation::Stop, vec!["c1", "c2"], vec![]),
        (Operation::Stop, vec!["c1", "c2", "c3"], vec![]),
        (Operation::Restart, vec!["c1", "c2"], vec![]),
        (Operation::Restart, vec!["b1"], vec!["c1", "c2"]),
        (Operation::Start, vec!["b1"], vec!["c1", "c2", "c3", "b1"]),
        (Operation::Start, vec!["b1", "c1"], vec!["c1", "c2", "c3", "b1"]),
        (Operation::Stop, vec!["b9"], vec![]),
    ] {
        let cluster = FakeCluster::new(Shape::THREE_AND_THREE);
        for node in &down {
            cluster.with(node, |node| node.container = ContainerState::Stopped);
        }
        let before = cluster.states();
        let (report, steps) = power(&cluster, operation, &nodes, None).await;
        assert_eq!(report.outcome, Outcome::Refused, "{operation:?} {nodes:?}: {report:#?}");
        assert!(steps.is_empty());
        assert_eq!(cluster.states(), before);
    }
}

#[tokio::test]
async fn a_stop_or_a_restart_that_fails_is_undone() {
    for operation in [Operation::Stop, Operation::Restart] {
        let cluster = FakeCluster::new(Shape::THREE_AND_THREE);
        let faults = Faults::none(cluster.clock());
        power(&cluster, operation, &[], Some(&faults)).await;
        for at in 0..faults.count() {
            for moment in [Moment::Before, Moment::After] {
                let cluster = FakeCluster::new(Shape::THREE_AND_THREE);
                let effect = Effect::Fail(NodeErrorKind::Engine);
                let faults = Faults::none(cluster.clock()).and(at, moment, effect);
                let (report, _) = power(&cluster, operation, &[], Some(&faults)).await;
                let expected = if report.outcome == Outcome::Done && operation == Operation::Stop {
                    0
                } else {
                    6
                };
                assert_eq!(up(&cluster), expected, "{operation:?} {moment:?} {at}: {report:#?}");
            }
        }
    }
}

#[tokio::test]
async fn a_stop_that_is_done_stays_done_though_its_end_was_abandoned() {
    let cluster = FakeCluster::new(Shape::THREE_AND_THREE);
    let (store, faults) = (MemoryStore::default(), Faults::none(cluster.clock()));
    let orchestrator = cluster.orchestrator(&store, Some(&faults));
    let prepared = orchestrator.prepare_power(Operation::Stop, &[], false).await;
    let cancel = orchestrator.cancel.clone();
    let nodes: Vec<String> = cluster.states().keys().map(ToString::to_string).collect();
    // Everything is stopped; one look later every node hangs, and the operator has had enough.
    let had_enough = {
        let faults = faults.clone();
        move || {
            nodes.iter().for_each(|node| faults.freeze(node));
            cancel.ask();
            cancel.ask();
        }
    };
    let undisturbed = {
        let cluster = FakeCluster::new(Shape::THREE_AND_THREE);
        let faults = Faults::none(cluster.clock());
        let orchestrator = cluster.orchestrator(&MemoryStore::default(), Some(&faults));
        let prepared = orchestrator.prepare_power(Operation::Stop, &[], false).await;
        orchestrator.execute(prepared).await;
        faults.operations()
    };
    let release = undisturbed.iter().position(|what| what.ends_with(": release"));
    let faults = faults.and(
        release.expect("a release"),
        Moment::Before,
        Effect::Call(std::sync::Arc::new(had_enough)),
    );
    let report = orchestrator.execute(prepared).await;
    assert_eq!((report.outcome, up(&cluster)), (Outcome::Done, 0), "{report:#?}");
    faults.mend();
    let later = cluster.orchestrator(&store, None);
    assert!(!later.needs_recovery().await.expect("the journals"), "{report:#?}");
}
