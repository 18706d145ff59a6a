//! Containers made, replaced and removed; nodes restarted one at a time; log dirs formatted.

use std::collections::BTreeMap;

use kbo_core::container::Body;
use kbo_core::ids::{ClusterId, NodeName};
use kbo_core::inventory::Dataset;
use kbo_core::orchestrator::{Formatting, Orchestrator, Prepared, Quorum, RunRequest};
use kbo_core::ports::node::{ContainerState, NodeErrorKind};
use kbo_core::report::{Outcome, Report};
use kbo_core::testing::{Effect, FakeCluster, Faults, MemoryStore, Moment, Recorder, Shape};
use serde_json::{Value, json};

use crate::scene::SHAPES;

const MOMENTS: [Moment; 3] = [Moment::Before, Moment::During, Moment::After];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    /// Of a cluster without containers.
    RunAll,
    /// Of a cluster whose containers are otherwise.
    Recreate,
    Remove,
    Rolling,
    Format,
}

fn bodies(cluster: &FakeCluster, image: &str) -> BTreeMap<NodeName, Body> {
    let names = cluster.states().into_keys();
    names.map(|name| (name, Body(json!({ "Image": image })))).collect()
}

fn fresh() -> ClusterId {
    ClusterId::of([7; 16])
}

/// A cluster as the job finds it, its definitions old.
fn found(shape: Shape, job: Job) -> FakeCluster {
    let cluster = FakeCluster::new(shape);
    cluster.with_all(|node| node.defined = Some(json!({ "Image": "old" })));
    match job {
        Job::RunAll => cluster.with_all(|node| {
            node.container = ContainerState::Missing;
            node.defined = None;
        }),
        Job::Format => cluster.with_all(|node| {
            node.container = ContainerState::Stopped;
            for image in node.live.get_mut(&Dataset::Data).into_iter().flatten().flatten() {
                image.files.clear();
            }
        }),
        Job::Recreate | Job::Remove => {}
        Job::Rolling => cluster.piecemeal(),
    }
    cluster
}

async fn prepare(orchestrator: &Orchestrator, cluster: &FakeCluster, job: Job) -> Prepared {
    let request = RunRequest {
        bodies: bodies(cluster, "new"),
        recreate: job == Job::Recreate,
        start: true,
        ..RunRequest::default()
    };
    match job {
        Job::RunAll | Job::Recreate => orchestrator.prepare_run(&request).await,
        Job::Remove => orchestrator.prepare_remove(&[], false).await,
        Job::Rolling => orchestrator.prepare_rolling(&[], false).await,
        Job::Format => orchestrator.prepare_format(&formatting(cluster)).await,
    }
}

fn formatting(cluster: &FakeCluster) -> Formatting {
    let part = |(name, body): (NodeName, Body)| {
        let dirs = cluster.cluster().node(&name).map_or(0, |node| node.data.len());
        (
            name,
            (
                body,
                "/etc/kafka/server.properties".to_owned(),
                vec!["/data".to_owned(); dirs],
            ),
        )
    };
    Formatting {
        chosen: vec![],
        nodes: bodies(cluster, "new").into_iter().map(part).collect(),
        cluster_id: fresh(),
        quorum: Quorum::AsConfigured,
        delete_data: false,
        fresh,
    }
}

async fn execute(orchestrator: &Orchestrator, cluster: &FakeCluster, job: Job) -> Report {
    cluster.clock().advance(std::time::Duration::from_secs(2));
    let prepared = prepare(orchestrator, cluster, job).await;
    orchestrator.execute(prepared).await
}

fn up(cluster: &FakeCluster) -> usize {
    cluster.states().values().filter(|state| state.is_up()).count()
}

fn defined(cluster: &FakeCluster) -> Vec<Option<Value>> {
    let mut found = vec![];
    cluster.with_all(|node| found.push(node.defined.clone()));
    found
}

fn nothing_aside(cluster: &FakeCluster) -> bool {
    let mut aside = 0;
    cluster.with_all(|node| aside += usize::from(node.aside.is_some()));
    aside == 0
}

fn images(cluster: &FakeCluster, image: &str) -> usize {
    let images = defined(cluster).into_iter().flatten();
    images.filter(|body| body["Image"] == image).count()
}

#[tokio::test]
async fn a_run_creates_what_is_missing_and_starts_it_in_order() {
    for shape in SHAPES {
        let cluster = found(shape, Job::RunAll);
        let recorder = Recorder::default();
        let orchestrator = Orchestrator {
            monitor: std::sync::Arc::new(recorder.clone()),
            ..cluster.orchestrator(&MemoryStore::default(), None)
        };
        let report = execute(&orchestrator, &cluster, Job::RunAll).await;
        let nodes = cluster.states().len();
        assert_eq!(
            (report.outcome, up(&cluster), images(&cluster, "new")),
            (Outcome::Done, nodes, nodes),
            "{report:#?}"
        );
        assert_eq!(cluster.violations(), Vec::<String>::new());
        let creates = recorder
            .steps()
            .iter()
            .filter(|step| step.starts_with("create "))
            .count();
        assert_eq!(creates, nodes);
        // A second run finds everything as it is to be.
        let report = execute(&orchestrator, &cluster, Job::RunAll).await;
        assert_eq!(report.outcome, Outcome::Done);
        assert_eq!(
            recorder
                .steps()
                .iter()
                .filter(|step| step.starts_with("create "))
                .count(),
            nodes
        );
    }
}

#[tokio::test]
async fn a_container_that_is_otherwise_is_shown_and_left_alone_unless_told() {
    let cluster = found(Shape::THREE_AND_THREE, Job::Recreate);
    let orchestrator = cluster.orchestrator(&MemoryStore::default(), None);
    let request = RunRequest {
        bodies: bodies(&cluster, "new"),
        start: true,
        ..RunRequest::default()
    };
    let prepared = orchestrator.prepare_run(&request).await;
    assert_eq!(prepared.comparisons.len(), 6);
    assert!(
        prepared
            .findings
            .iter()
            .any(|finding| finding.message.contains("otherwise"))
    );
    let report = orchestrator.execute(prepared).await;
    assert_eq!(
        (report.outcome, images(&cluster, "old")),
        (Outcome::Done, 6),
        "{report:#?}"
    );

    let report = execute(&orchestrator, &cluster, Job::Recreate).await;
    assert_eq!(
        (report.outcome, images(&cluster, "new"), up(&cluster)),
        (Outcome::Done, 6, 6),
        "{report:#?}"
    );
    assert!(nothing_aside(&cluster));
    assert_eq!(cluster.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_node_without_container_and_definition_refuses_the_run() {
    let cluster = found(Shape::THREE_AND_THREE, Job::RunAll);
    let orchestrator = cluster.orchestrator(&MemoryStore::default(), None);
    let mut bodies = bodies(&cluster, "new");
    bodies.pop_last();
    let request = RunRequest {
        bodies,
        start: true,
        ..RunRequest::default()
    };
    let report = orchestrator.execute(orchestrator.prepare_run(&request).await).await;
    assert_eq!(report.outcome, Outcome::Refused);
    assert!(cluster.states().values().all(|state| *state == ContainerState::Missing));
}

#[tokio::test]
async fn created_and_not_started_waits_for_its_data() {
    let cluster = found(Shape::THREE_AND_THREE, Job::RunAll);
    let orchestrator = cluster.orchestrator(&MemoryStore::default(), None);
    let request = RunRequest {
        bodies: bodies(&cluster, "new"),
        start: false,
        ..RunRequest::default()
    };
    let report = orchestrator.execute(orchestrator.prepare_run(&request).await).await;
    assert_eq!(
        (report.outcome, up(&cluster), images(&cluster, "new")),
        (Outcome::Done, 0, 6),
        "{report:#?}"
    );
}

#[tokio::test]
async fn a_removal_stops_in_order_and_leaves_the_data() {
    for shape in SHAPES {
        let cluster = found(shape, Job::Remove);
        let before = cluster.content();
        let report = execute(
            &cluster.orchestrator(&MemoryStore::default(), None),
            &cluster,
            Job::Remove,
        )
        .await;
        assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
        assert!(cluster.states().values().all(|state| *state == ContainerState::Missing));
        assert_eq!(cluster.violations(), Vec::<String>::new());
        assert_eq!(cluster.content(), before);
    }
}

#[tokio::test]
async fn a_rolling_restart_waits_for_every_isr_before_the_next_node() {
    let cluster = found(Shape::THREE_AND_THREE, Job::Rolling);
    let recorder = Recorder::default();
    let orchestrator = Orchestrator {
        monitor: std::sync::Arc::new(recorder.clone()),
        ..cluster.orchestrator(&MemoryStore::default(), None)
    };
    let report = execute(&orchestrator, &cluster, Job::Rolling).await;
    assert_eq!((report.outcome, up(&cluster)), (Outcome::Done, 6), "{report:#?}");
    assert_eq!(cluster.violations(), Vec::<String>::new());
    let steps = recorder.steps();
    let stops: Vec<usize> = (0..steps.len()).filter(|at| steps[*at].starts_with("stop ")).collect();
    assert_eq!(stops.len(), 6);
    for pair in stops.windows(2) {
        assert!(
            steps[pair[0]..pair[1]].iter().any(|step| step.contains("ISR")),
            "{steps:?}"
        );
    }
}

#[tokio::test]
async fn a_broker_that_does_not_get_in_sync_ends_a_rolling_restart() {
    let cluster = found(Shape::THREE_AND_THREE, Job::Rolling);
    cluster.with("b1", |node| node.in_sync_after = None);
    let report = execute(
        &cluster.orchestrator(&MemoryStore::default(), None),
        &cluster,
        Job::Rolling,
    )
    .await;
    assert_eq!(report.outcome, Outcome::Failed, "{report:#?}");
    assert!(report.failures[0].step.contains("ISR"), "{:?}", report.failures);
    assert_eq!(up(&cluster), 6);
    // It is out of sync now: a second try is refused before anything is touched, however one node is named.
    let orchestrator = cluster.orchestrator(&MemoryStore::default(), None);
    let prepared = orchestrator.prepare_rolling(&["b2".parse().unwrap()], false).await;
    assert!(
        kbo_core::preflight::refuses(&prepared.findings),
        "{:?}",
        prepared.findings
    );
}

#[tokio::test]
async fn one_of_two_controllers_is_not_restarted_under_brokers_unless_forced() {
    let cluster = found(Shape::new(1, 0, 2), Job::Rolling);
    let orchestrator = cluster.orchestrator(&MemoryStore::default(), None);
    let report = execute(&orchestrator, &cluster, Job::Rolling).await;
    assert_eq!(report.outcome, Outcome::Refused);
    let forced = orchestrator.prepare_rolling(&[], true).await;
    assert!(!kbo_core::preflight::refuses(&forced.findings), "{:?}", forced.findings);
}

#[tokio::test]
async fn empty_log_dirs_are_formatted_and_filled_ones_only_when_told() {
    for shape in SHAPES {
        let cluster = found(shape, Job::Format);
        let orchestrator = cluster.orchestrator(&MemoryStore::default(), None);
        let report = execute(&orchestrator, &cluster, Job::Format).await;
        assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
        assert!(formatted(&cluster), "{report:#?}");
        assert_eq!(cluster.leftovers(), Vec::<String>::new());
        // What is there now is data.
        let report = execute(&orchestrator, &cluster, Job::Format).await;
        assert_eq!(report.outcome, Outcome::Refused);
        let told = Formatting {
            delete_data: true,
            ..formatting(&cluster)
        };
        cluster.clock().advance(std::time::Duration::from_secs(2));
        let report = orchestrator.execute(orchestrator.prepare_format(&told).await).await;
        assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
        assert_eq!(cluster.violations(), Vec::<String>::new());
    }
}

fn formatted(cluster: &FakeCluster) -> bool {
    let content = cluster.content();
    let mut data = content.iter().filter(|((_, dataset), _)| *dataset == Dataset::Data);
    data.all(|(_, dirs)| {
        dirs.iter()
            .all(|files| files.len() == 1 && files.contains_key("meta.properties"))
    })
}

#[tokio::test]
async fn a_running_cluster_is_not_formatted() {
    let cluster = FakeCluster::new(Shape::THREE_AND_THREE);
    let told = Formatting {
        delete_data: true,
        ..formatting(&cluster)
    };
    let orchestrator = cluster.orchestrator(&MemoryStore::default(), None);
    let report = orchestrator.execute(orchestrator.prepare_format(&told).await).await;
    assert_eq!(report.outcome, Outcome::Refused);
    assert!(
        report.findings.iter().any(|finding| finding.message.contains("is up")),
        "{:?}",
        report.findings
    );
}

#[tokio::test]
async fn a_dynamic_quorum_is_told_its_voters_and_a_static_one_is_not() {
    let cluster = found(Shape::THREE_AND_THREE, Job::Format);
    let orchestrator = cluster.orchestrator(&MemoryStore::default(), None);
    let refused = |prepared: &Prepared| kbo_core::preflight::refuses(&prepared.findings);
    let with = |quorum: Quorum| Formatting {
        quorum,
        ..formatting(&cluster)
    };
    assert!(
        refused(&orchestrator.prepare_format(&with(Quorum::Standalone)).await),
        "its quorum is static"
    );
    cluster.with_all(|node| node.static_quorum = false);
    assert!(
        refused(&orchestrator.prepare_format(&with(Quorum::AsConfigured)).await),
        "its quorum is dynamic"
    );
    let prepared = orchestrator
        .prepare_format(&with(Quorum::InitialControllers(None)))
        .await;
    assert!(!refused(&prepared), "{:?}", prepared.findings);
    let of = |node: &str| {
        prepared.formatting[&node.parse::<NodeName>().unwrap()]
            .arguments
            .clone()
    };
    let id = fresh();
    let voters = format!("1@c1:9093:{id},2@c2:9093:{id},3@c3:9093:{id}");
    assert_eq!(of("c2"), ["--initial-controllers", &voters]);
    assert_eq!(of("b1"), ["--no-initial-controllers"]);
    let prepared = orchestrator.prepare_format(&with(Quorum::Standalone)).await;
    let of = |node: &str| {
        prepared.formatting[&node.parse::<NodeName>().unwrap()]
            .arguments
            .clone()
    };
    assert_eq!(of("c1"), ["--standalone"]);
    assert_eq!(of("c2"), ["--no-initial-controllers"]);
}

/// What must hold after a job that failed or was recovered from.
fn check(cluster: &FakeCluster, before: &FakeCluster, job: Job, outcome: Outcome, label: &str) {
    let nodes = cluster.states().len();
    assert!(nothing_aside(cluster) || outcome == Outcome::NeedsPerson, "{label}");
    match (job, outcome) {
        (Job::RunAll, Outcome::Done) => assert_eq!(up(cluster), nodes, "{label}"),
        (Job::RunAll, _) => {}
        (Job::Recreate, Outcome::Done) => assert_eq!((images(cluster, "new"), up(cluster)), (nodes, nodes), "{label}"),
        (Job::Recreate, _) => assert_eq!((images(cluster, "old"), up(cluster)), (nodes, nodes), "{label}"),
        // What is removed is removed, and what is not yet is up only if nothing was.
        (Job::Remove, Outcome::Done) => assert_eq!(up(cluster), 0, "{label}"),
        (Job::Remove, _) => assert!(up(cluster) == nodes || up(cluster) == 0, "{label}"),
        (Job::Rolling, _) => assert_eq!(up(cluster), nodes, "{label}"),
        (Job::Format, Outcome::Done) => assert!(formatted(cluster), "{label}"),
        (Job::Format, _) => assert_eq!(cluster.content(), before.content(), "{label}"),
    }
    assert_eq!(cluster.violations(), Vec::<String>::new(), "{label}");
}

const JOBS: [Job; 5] = [Job::RunAll, Job::Recreate, Job::Remove, Job::Rolling, Job::Format];

async fn operations(shape: Shape, job: Job) -> usize {
    let cluster = found(shape, job);
    let faults = Faults::none(cluster.clock());
    execute(
        &cluster.orchestrator(&MemoryStore::default(), Some(&faults)),
        &cluster,
        job,
    )
    .await;
    faults.count()
}

#[tokio::test]
async fn a_fault_at_any_operation_leaves_no_container_half_replaced() {
    let mut cases = 0;
    for job in JOBS {
        for at in 0..operations(Shape::THREE_AND_THREE, job).await {
            for moment in MOMENTS {
                let (cluster, before) = (found(Shape::THREE_AND_THREE, job), found(Shape::THREE_AND_THREE, job));
                let faults = Faults::none(cluster.clock()).and(at, moment, Effect::Fail(NodeErrorKind::Engine));
                let report = execute(
                    &cluster.orchestrator(&MemoryStore::default(), Some(&faults)),
                    &cluster,
                    job,
                )
                .await;
                let label = format!("{job:?}: {moment:?} operation {at}\n{report:#?}");
                assert_ne!(report.outcome, Outcome::NeedsPerson, "{label}");
                check(&cluster, &before, job, report.outcome, &label);
                cases += 1;
            }
        }
    }
    assert!(cases > 500, "{cases}");
}

#[tokio::test]
async fn a_centre_killed_at_any_operation_is_recovered_from() {
    for job in JOBS {
        for at in 0..operations(Shape::THREE_AND_THREE, job).await {
            for moment in [Moment::Before, Moment::After] {
                let (cluster, before) = (found(Shape::THREE_AND_THREE, job), found(Shape::THREE_AND_THREE, job));
                let store = MemoryStore::default();
                let faults = Faults::none(cluster.clock()).and(at, moment, Effect::Hang);
                let orchestrator = cluster.orchestrator(&store, Some(&faults));
                tokio::select! {
                    report = execute(&orchestrator, &cluster, job) => panic!("{job:?} {at} is not reached: {report:#?}"),
                    () = faults.struck() => {}
                }
                let recovered = cluster.orchestrator(&store, None).recover().await.expect("a recovery");
                let label = format!("{job:?}: killed {moment:?} operation {at}\n{recovered:#?}");
                assert!(
                    recovered.runs.iter().all(|run| run.outcome != Outcome::NeedsPerson),
                    "{label}"
                );
                // At its end a job is done for good, and recovery does not take it back.
                let is_done = match job {
                    Job::Recreate => images(&cluster, "new") == 6,
                    Job::Format => formatted(&cluster),
                    Job::Remove => cluster.states().values().all(|state| *state == ContainerState::Missing),
                    Job::RunAll | Job::Rolling => false,
                };
                let outcome = if is_done { Outcome::Done } else { Outcome::Failed };
                check(&cluster, &before, job, outcome, &label);
            }
        }
    }
}

#[tokio::test]
async fn a_container_that_its_engine_removes_is_not_rolled_and_its_loss_is_told() {
    let brief = json!({ "Image": "old", "HostConfig": { "AutoRemove": true } });
    let said = |prepared: &Prepared| {
        let texts = prepared
            .findings
            .iter()
            .map(|finding| format!("{:?}: {finding}", finding.severity));
        texts
            .filter(|text| text.contains("--rm"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    for (job, severity) in [
        (Job::Rolling, "Refusal"),
        (Job::Remove, "Warning"),
        (Job::Recreate, "Warning"),
    ] {
        let cluster = found(Shape::THREE_AND_THREE, job);
        cluster.with("b2", |node| node.defined = Some(brief.clone()));
        let orchestrator = cluster.orchestrator(&MemoryStore::default(), None);
        let prepared = prepare(&orchestrator, &cluster, job).await;
        assert!(said(&prepared).contains(severity), "{job:?}: {:#?}", prepared.findings);
    }
}
