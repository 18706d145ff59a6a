//! Others have their hands on the containers too: an operator, an engine that restarts.

use std::sync::Arc;

use kbo_core::ids::NodeName;
use kbo_core::ports::node::{ContainerState, NodeErrorKind};
use kbo_core::report::{Outcome, Report};
use kbo_core::testing::{Effect, Faults, Moment, Shape};

use crate::scene::{BACKUP, Job, RESTORE, SHAPES, Scene};

/// Kills the centre at an operation.
async fn killed(shape: Shape, job: Job, at: usize, moment: Moment) -> Scene {
    let scene = Scene::new(shape, job).await;
    let faults = Faults::none(scene.cluster.clock()).and(at, moment, Effect::Hang);
    let orchestrator = scene.orchestrator(Some(&faults));
    tokio::select! {
        report = scene.run(&orchestrator) => panic!("operation {at} is not reached: {report:#?}"),
        () = faults.struck() => {}
    }
    scene
}

fn down(scene: &Scene) -> Vec<NodeName> {
    let states = scene.cluster.states().into_iter();
    states
        .filter(|(_, state)| !state.is_up())
        .map(|(name, _)| name)
        .collect()
}

fn told(reports: &[Report]) -> String {
    let texts: Vec<String> = reports.iter().flat_map(|report| report.attention.clone()).collect();
    texts.join("\n")
}

#[tokio::test]
async fn recovery_starts_nothing_that_an_operator_has_stopped_since() {
    for job in [BACKUP, RESTORE] {
        for shape in [Shape::THREE_AND_THREE, Shape::COMBINED] {
            let operations = Scene::operations(shape, job).await;
            for (at, operation) in operations.iter().enumerate() {
                for run_off in [false, true] {
                    let label =
                        format!("{job:?} of {shape:?}: killed at {operation} ({at}), leases run off: {run_off}");
                    let scene = killed(shape, job, at, Moment::After).await;
                    if operation.ends_with("agree") {
                        continue;
                    }
                    if run_off {
                        scene.cluster.crash_of_centre();
                    }
                    // Hours later somebody brings up the last node (anew), and takes it down for a repair.
                    let name = scene
                        .cluster
                        .cluster()
                        .start_order()
                        .last()
                        .expect("a node")
                        .name
                        .clone();
                    scene.cluster.operator_stops(name.as_str());
                    scene.cluster.operator_starts(name.as_str());
                    scene.cluster.operator_stops(name.as_str());
                    scene.cluster.forgive();
                    let recovered = scene.orchestrator(None).recover().await.expect("a recovery");
                    assert_eq!(down(&scene), std::slice::from_ref(&name), "{label}: {recovered:#?}");
                    assert_eq!(scene.cluster.violations(), Vec::<String>::new(), "{label}");
                    assert_eq!(scene.store.open_runs(), vec![], "{label}");
                    let is_due = recovered.runs.iter().any(|report| {
                        let text = format!("{report:?}");
                        text.contains("is left down")
                    });
                    if is_due {
                        assert!(told(&recovered.runs).contains(name.as_str()), "{label}: {recovered:#?}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn recovery_leaves_a_whole_cluster_down_that_an_operator_has_stopped_since() {
    for shape in SHAPES {
        let operations = Scene::operations(shape, BACKUP).await;
        let at = operations
            .iter()
            .position(|operation| operation.ends_with("snapshot"))
            .expect("a snapshot");
        let scene = killed(shape, BACKUP, at, Moment::After).await;
        scene.cluster.crash_of_centre();
        let names: Vec<NodeName> = scene.cluster.states().into_keys().collect();
        for name in &names {
            scene.cluster.operator_stops(name.as_str());
        }
        let recovered = scene.orchestrator(None).recover().await.expect("a recovery");
        assert_eq!(down(&scene), names, "{recovered:#?}");
        let told = told(&recovered.runs);
        assert!(names.iter().all(|name| told.contains(name.as_str())), "{told}");
        assert_eq!(scene.cluster.violations(), Vec::<String>::new(), "{shape:?}");
        assert_eq!(scene.store.open_runs(), vec![]);
        assert_eq!(scene.store.unfinished(), vec![]);
    }
}

#[tokio::test]
async fn brokers_whose_controllers_an_operator_keeps_down_are_named_and_not_started() {
    let operations = Scene::operations(Shape::THREE_AND_THREE, BACKUP).await;
    let at = operations
        .iter()
        .position(|operation| operation.ends_with("snapshot"))
        .expect("a snapshot");
    let scene = killed(Shape::THREE_AND_THREE, BACKUP, at, Moment::After).await;
    for name in ["c1", "c2"] {
        scene.cluster.operator_starts(name);
        scene.cluster.operator_stops(name);
    }
    let recovered = scene.orchestrator(None).recover().await.expect("a recovery");
    let told = told(&recovered.runs);
    assert!(told.contains("b1, b2, b3"), "{told}");
    assert_eq!(down(&scene).len(), 5, "c3 alone is started: {recovered:#?}");
    assert_eq!(scene.cluster.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_container_that_was_removed_or_made_anew_since_is_told_and_left_alone() {
    for anew in [false, true] {
        let operations = Scene::operations(Shape::THREE_AND_THREE, BACKUP).await;
        let at = operations
            .iter()
            .position(|operation| operation.ends_with("snapshot"))
            .expect("a snapshot");
        let scene = killed(Shape::THREE_AND_THREE, BACKUP, at, Moment::After).await;
        match anew {
            false => scene.cluster.operator_removes("b2"),
            true => scene.cluster.operator_makes_anew("b2"),
        }
        let recovered = scene.orchestrator(None).recover().await.expect("a recovery");
        assert_eq!(down(&scene), ["b2".parse().unwrap()], "{recovered:#?}");
        let told = told(&recovered.runs);
        assert!(told.contains("b2 was"), "{told}");
        assert_eq!(scene.cluster.violations(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_container_that_somebody_stops_between_look_and_stop_is_left_down_and_the_run_fails() {
    for (job, shape) in [
        (BACKUP, Shape::THREE_AND_THREE),
        (RESTORE, Shape::THREE_AND_THREE),
        (BACKUP, Shape::COMBINED),
    ] {
        let operations = Scene::operations(shape, job).await;
        let stops: Vec<usize> = operations
            .iter()
            .enumerate()
            .filter(|(_, operation)| operation.ends_with("stop"))
            .map(|(at, _)| at)
            .collect();
        for at in stops {
            let scene = Scene::new(shape, job).await;
            let name = operations[at]
                .split(' ')
                .next()
                .unwrap_or_default()
                .trim_end_matches(':')
                .to_owned();
            let (cluster, stopped) = (scene.cluster.clone(), name.clone());
            let stop = Effect::Call(Arc::new(move || cluster.operator_stops(&stopped)));
            let faults = Faults::none(scene.cluster.clock()).and(at, Moment::Before, stop);
            let report = scene.run(&scene.orchestrator(Some(&faults))).await;
            let label = format!("{job:?}: {name} at {at}: {report:#?}");
            assert_eq!(report.outcome, Outcome::Failed, "{label}");
            assert_eq!(down(&scene), [name.parse().unwrap()], "{label}");
            assert!(
                report.failures[0].message.contains("was stopped by something else"),
                "{label}"
            );
            assert_eq!(scene.cluster.violations(), Vec::<String>::new(), "{label}");
            assert_eq!(scene.cluster.content(), scene.original, "{label}");
            assert_eq!(scene.store.open_runs(), vec![], "{label}");
        }
    }
}

#[tokio::test]
async fn a_broker_that_an_operator_stops_while_its_archive_is_sent_is_not_started_by_an_undo() {
    let operations = Scene::operations(Shape::THREE_AND_THREE, BACKUP).await;
    let at = operations
        .iter()
        .rposition(|operation| operation.ends_with("archive"))
        .expect("an archive");
    let scene = Scene::new(Shape::THREE_AND_THREE, BACKUP).await;
    let cluster = scene.cluster.clone();
    let faults = Faults::none(scene.cluster.clock())
        .and(
            at,
            Moment::Before,
            Effect::Call(Arc::new(move || cluster.operator_stops("b3"))),
        )
        .and(at + 1, Moment::Before, Effect::Fail(NodeErrorKind::Io));
    let report = scene.run(&scene.orchestrator(Some(&faults))).await;
    assert_eq!(report.outcome, Outcome::Failed, "{report:#?}");
    assert_eq!(down(&scene), ["b3".parse().unwrap()], "{report:#?}");
    assert!(report.verdict.contains("b3"), "{}", report.verdict);
    assert_eq!(scene.cluster.violations(), Vec::<String>::new());
    assert_eq!(scene.cluster.with("b3", |node| node.container), ContainerState::Stopped);
}

/// The operations of an undisturbed run between the last stop and the first start, as indices.
fn in_window(operations: &[String]) -> std::ops::Range<usize> {
    let is = |what: &'static str| move |operation: &String| operation.ends_with(what);
    let last_stop = operations.iter().rposition(is(": stop")).expect("a stop");
    let first_start = operations.iter().position(is(": start")).expect("a start");
    // Without the looks right after the stops: what happens in those milliseconds is taken for the stop's own doing.
    last_stop + 5..first_start
}

/// Those of a backup's window up to the last look at the nodes: what is started after that has had its snapshot taken in peace.
fn until_looked_at(operations: &[String]) -> std::ops::Range<usize> {
    let window = in_window(operations);
    let snapshots = operations
        .iter()
        .rposition(|operation| operation.ends_with(": snapshot"))
        .expect("a snapshot");
    let look = operations[snapshots..]
        .iter()
        .position(|operation| operation.ends_with(": look"));
    window.start..snapshots + look.expect("a look") + 1
}

/// What happens to the containers at an operation of a run.
async fn meddled(
    shape: Shape,
    job: Job,
    at: usize,
    turn: impl FnOnce(&kbo_core::testing::FakeCluster),
    meddle: impl Fn(&kbo_core::testing::FakeCluster) + Send + Sync + 'static,
) -> (Scene, Report) {
    let scene = Scene::with(shape, job, turn).await;
    let cluster = scene.cluster.clone();
    let call = Effect::Call(Arc::new(move || meddle(&cluster)));
    let faults = Faults::none(scene.cluster.clock()).and(at, Moment::Before, call);
    let report = scene.run(&scene.orchestrator(Some(&faults))).await;
    (scene, report)
}

#[tokio::test]
async fn an_engine_that_restarts_in_the_window_of_a_backup_voids_the_snapshot_where_it_starts_the_container() {
    for shape in [Shape::THREE_AND_THREE, Shape::COMBINED] {
        let operations = Scene::operations(shape, BACKUP).await;
        for at in until_looked_at(&operations) {
            for policy in ["always", "unless-stopped", "no"] {
                for name in FakeNames::of(shape) {
                    let label = format!("{policy}: {name} before {} ({at})", operations[at]);
                    let turned = name.clone();
                    let turn = move |cluster: &kbo_core::testing::FakeCluster| {
                        cluster.with(&turned, |node| node.restart_policy = policy);
                    };
                    let restarted = name.clone();
                    let (scene, report) = meddled(shape, BACKUP, at, turn, move |cluster| {
                        cluster.engine_restarts(&restarted)
                    })
                    .await;
                    if policy == "always" {
                        assert_eq!(report.outcome, Outcome::Failed, "{label}: {report:#?}");
                        let failure = &report.failures[0];
                        assert!(failure.message.contains("snapshot is void"), "{label}: {failure:?}");
                        assert_eq!(
                            failure.node.as_ref().map(NodeName::as_str),
                            Some(name.as_str()),
                            "{label}"
                        );
                        // A broker that ran before its controllers is no fault of kbo's.
                        scene.check(&report, &label);
                        scene.check_undo_again(&report, &label).await;
                    } else {
                        assert_eq!(report.outcome, Outcome::Done, "{label}: {report:#?}");
                        scene.check(&report, &label);
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn a_node_that_was_started_and_stopped_again_in_the_window_voids_its_snapshot_and_is_left_down() {
    let shape = Shape::THREE_AND_THREE;
    let operations = Scene::operations(shape, BACKUP).await;
    for at in until_looked_at(&operations) {
        for name in ["c1", "c3", "b1", "b3"] {
            let (scene, report) = meddled(
                shape,
                BACKUP,
                at,
                |_| (),
                move |cluster| {
                    cluster.operator_starts(name);
                    cluster.operator_stops(name);
                },
            )
            .await;
            let label = format!("{name} before {} ({at}): {report:#?}", operations[at]);
            assert_eq!(report.outcome, Outcome::Failed, "{label}");
            assert!(report.failures[0].message.contains("void"), "{label}");
            assert!(report.verdict.contains(name), "{label}");
            assert_eq!(down(&scene), [name.parse().unwrap()], "{label}");
            assert_eq!(scene.cluster.violations(), Vec::<String>::new(), "{label}");
            assert_eq!(scene.store.open_runs(), vec![], "{label}");
        }
    }
}

#[tokio::test]
async fn a_broker_that_its_engine_starts_before_the_controllers_is_started_again_in_its_turn() {
    let shape = Shape::THREE_AND_THREE;
    let operations = Scene::operations(shape, BACKUP).await;
    let at = in_window(&operations).start;
    let turn = |cluster: &kbo_core::testing::FakeCluster| cluster.with("b2", |node| node.restart_policy = "always");
    let (_, report) = meddled(shape, BACKUP, at, turn, |cluster| cluster.engine_restarts("b2")).await;
    assert!(
        report
            .warnings
            .iter()
            .any(|text| text.contains("b2") && text.contains("controllers are there")),
        "{report:#?}"
    );
}

#[tokio::test]
async fn an_engine_that_restarts_in_the_window_of_a_restore_has_its_node_stopped_again_and_restored() {
    for shape in [Shape::THREE_AND_THREE, Shape::COMBINED] {
        let operations = Scene::operations(shape, RESTORE).await;
        for at in in_window(&operations) {
            for (name, all) in FakeNames::of(shape)
                .into_iter()
                .map(|name| (name, false))
                .chain([(String::new(), true)])
            {
                let label = format!("{name} before {} ({at})", operations[at]);
                let turn = |cluster: &kbo_core::testing::FakeCluster| {
                    cluster.with_all(|node| node.restart_policy = "always");
                };
                let names = if all { FakeNames::of(shape) } else { vec![name.clone()] };
                let (scene, report) = meddled(shape, RESTORE, at, turn, move |cluster| {
                    names.iter().for_each(|name| cluster.engine_restarts(name));
                })
                .await;
                assert!(
                    matches!(report.outcome, Outcome::Done | Outcome::Failed),
                    "{label}: {report:#?}"
                );
                if report.outcome == Outcome::Failed {
                    assert!(
                        all && report.failures[0].message.contains("side by side"),
                        "{label}: {report:#?}"
                    );
                }
                // Those that came up by their engine's doing may have met; that is what makes the run fail.
                scene.check(&report, &label);
                scene.check_undo_again(&report, &label).await;
            }
        }
    }
}

#[tokio::test]
async fn a_container_that_is_started_again_after_each_stop_ends_a_restore_with_the_old_data() {
    let shape = Shape::THREE_AND_THREE;
    let operations = Scene::operations(shape, RESTORE).await;
    let scene = Scene::new(shape, RESTORE).await;
    let mut faults = Faults::none(scene.cluster.clock());
    let last = operations
        .iter()
        .rposition(|operation| operation.ends_with(": stop"))
        .expect("a stop");
    for at in last + 1..last + 250 {
        let cluster = scene.cluster.clone();
        let call = Effect::Call(Arc::new(move || {
            if cluster.with("b1", |node| !node.work.values().any(|work| !work.replaced.is_empty())) {
                cluster.operator_starts("b1");
            }
        }));
        faults = faults.and(at, Moment::Before, call);
    }
    let report = scene.run(&scene.orchestrator(Some(&faults))).await;
    assert_eq!(report.outcome, Outcome::Failed, "{report:#?}");
    assert!(
        report
            .failures
            .iter()
            .any(|failure| failure.message.contains("3 times")),
        "{report:#?}"
    );
    assert_eq!(scene.cluster.content(), scene.original);
    assert_eq!(scene.cluster.states(), scene.found);
}

#[tokio::test]
async fn data_on_trial_are_taken_back_from_a_node_that_its_engine_has_started() {
    let shape = Shape::THREE_AND_THREE;
    let operations = Scene::operations(shape, RESTORE).await;
    let first_start = in_window(&operations).end;
    for name in ["c2", "b1", "b3"] {
        // The restored data do not come up, so that they are taken back.
        let turn = |cluster: &kbo_core::testing::FakeCluster| cluster.with("c1", |node| node.exits_on_restored = true);
        let (scene, report) = meddled(shape, RESTORE, first_start, turn, move |cluster| {
            cluster.operator_starts(name)
        })
        .await;
        assert_eq!(report.outcome, Outcome::Failed, "{name}: {report:#?}");
        scene.check(&report, name);
    }
}

#[tokio::test]
async fn a_plan_that_others_have_made_wrong_while_it_waited_is_refused_and_nothing_is_touched() {
    for anew in [false, true] {
        let scene = Scene::new(Shape::THREE_AND_THREE, BACKUP).await;
        let orchestrator = scene.orchestrator(None);
        let kind = kbo_core::manifest::BackupKind::Cluster;
        let request = kbo_core::orchestrator::BackupRequest { kind };
        let prepared = orchestrator.prepare_backup(request).await;
        assert!(orchestrator.moved(&prepared).await.is_empty());
        match anew {
            false => scene.cluster.operator_stops("b2"),
            true => {
                scene.cluster.operator_makes_anew("b2");
                scene.cluster.operator_starts("b2");
            }
        }
        let found = scene.cluster.states();
        let report = orchestrator.execute(prepared).await;
        assert_eq!(report.outcome, Outcome::Refused, "{report:#?}");
        let refusal = report.findings.last().expect("a finding");
        assert!(
            refusal.message.contains("b2") && refusal.message.contains("the plan"),
            "{refusal:?}"
        );
        assert_eq!(scene.cluster.states(), found);
        assert_eq!(scene.store.open_runs(), vec![]);
    }
}

/// The names of a shape's nodes.
struct FakeNames;

impl FakeNames {
    fn of(shape: Shape) -> Vec<String> {
        let cluster = kbo_core::testing::FakeCluster::new(shape);
        cluster.states().into_keys().map(|name| name.to_string()).collect()
    }
}

#[tokio::test]
async fn one_engine_under_all_nodes_that_restarts_in_the_window_ends_with_the_cluster_as_found() {
    for (shape, job) in [
        (Shape::THREE_AND_THREE, BACKUP),
        (Shape::COMBINED, BACKUP),
        (Shape::THREE_AND_THREE, RESTORE),
    ] {
        let operations = Scene::operations(shape, job).await;
        for at in in_window(&operations) {
            for policy in ["always", "unless-stopped", "no"] {
                let label = format!("{job:?}, {policy}, before {} ({at})", operations[at]);
                let scene = Scene::with(shape, job, |cluster| {
                    cluster.with_all(|node| node.restart_policy = policy);
                })
                .await;
                let (cluster, names) = (scene.cluster.clone(), FakeNames::of(shape));
                let restart = Effect::Call(Arc::new(move || {
                    names.iter().for_each(|name| cluster.engine_restarts(name))
                }));
                // The helpers die with it, and cannot be made anew for a while.
                let gone = Effect::Away(std::time::Duration::from_secs(10));
                let faults = Faults::none(scene.cluster.clock())
                    .and(at, Moment::Before, restart)
                    .and(at + 1, Moment::Before, gone);
                let report = scene.run(&scene.orchestrator(Some(&faults))).await;
                assert_ne!(report.outcome, Outcome::NeedsPerson, "{label}: {report:#?}");
                scene.check(&report, &label);
                scene.check_undo_again(&report, &label).await;
            }
        }
    }
}

#[tokio::test]
async fn brokers_run_on_where_controllers_only_cannot_be_reached_while_archives_are_undone() {
    let shape = Shape::new(1, 0, 3);
    let operations = Scene::operations(shape, BACKUP).await;
    let archive = operations.iter().position(|what| what == "b1: archive");
    let archive = archive.expect("an archive");
    let scene = Scene::new(shape, BACKUP).await;
    let faults = Faults::none(scene.cluster.clock());
    let cut = {
        let faults = faults.clone();
        move || faults.freeze("c1")
    };
    let faults = faults.and(archive, Moment::Before, Effect::Call(Arc::new(cut))).and(
        archive,
        Moment::After,
        Effect::Fail(NodeErrorKind::Agent),
    );
    let report = scene.run(&scene.orchestrator(Some(&faults))).await;
    assert!(!report.outcome.is_done(), "{report:#?}");
    let after = faults.operations().split_off(archive);
    let stops: Vec<&String> = after.iter().filter(|what| what.ends_with(": stop")).collect();
    assert_eq!(stops, Vec::<&String>::new(), "{report:#?}");
    assert_eq!(down(&scene), vec![], "{report:#?}");
}
