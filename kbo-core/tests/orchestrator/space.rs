//! What snapshots keep on the nodes' disks while archives are made.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use kbo_core::floor::FreeFloor;
use kbo_core::manifest::BackupKind;
use kbo_core::orchestrator::Orchestrator;
use kbo_core::ports::clock::Clock;
use kbo_core::ports::node::NodeErrorKind;
use kbo_core::report::Outcome;
use kbo_core::testing::{Effect, FakeClock, Faults, Moment, Shape};

use crate::scene::{BACKUP, Job, Scene, backup};

const SHAPE: Shape = Shape::new(1, 0, 3);

/// A clock for which a limit is over after a few turns: archives take long by it.
struct Impatient(FakeClock, usize);

#[async_trait]
impl Clock for Impatient {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }

    async fn sleep(&self, time: Duration) {
        self.0.sleep(time).await;
    }

    async fn expire(&self, time: Duration) {
        for _ in 0..self.1 {
            tokio::task::yield_now().await;
        }
        self.0.advance(time);
    }
}

/// An orchestrator for which archives take so long that the nodes' disks are looked at meanwhile.
fn slow(scene: &Scene, faults: &Faults) -> Orchestrator {
    let mut orchestrator = scene.orchestrator(Some(faults));
    orchestrator.clock = Arc::new(Impatient(scene.cluster.clock().clone(), 1));
    orchestrator
}

/// The operations of an undisturbed backup whose archives take long.
async fn operations() -> Vec<String> {
    let scene = Scene::new(SHAPE, BACKUP).await;
    let faults = Faults::none(scene.cluster.clock());
    let report = scene.run(&slow(&scene, &faults)).await;
    assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
    faults.operations()
}

#[tokio::test]
async fn a_node_that_runs_short_of_space_while_archives_are_made_ends_the_backup_and_loses_its_snapshot_first() {
    let operations = operations().await;
    let archive = operations
        .iter()
        .rposition(|what| what == "b2: archive")
        .expect("an archive");
    for moment in [Moment::Before, Moment::During] {
        let scene = Scene::new(SHAPE, BACKUP).await;
        let cluster = scene.cluster.clone();
        let fills = move || cluster.with("b2", |node| node.free = node.size / 2048);
        // The archive of another node hangs: the run does not wait for it.
        let hanging = operations
            .iter()
            .rposition(|what| what == "b1: archive")
            .expect("an archive");
        let faults = Faults::none(scene.cluster.clock())
            .and(archive, moment, Effect::Call(Arc::new(fills)))
            .and(hanging, Moment::During, Effect::Hang);
        let report = scene.run(&slow(&scene, &faults)).await;
        assert_eq!(report.outcome, Outcome::Failed, "{report:#?}");
        let failure = report.failures[0].to_string();
        for part in [
            "/srv/kafka/data0 on b2",
            "(512.0 MiB) free of 1.0 TiB",
            "limits.node_free_floor",
            "make room there",
        ] {
            assert!(failure.contains(part), "{part}: {failure}");
        }
        assert!(
            report.verdict.contains("the cluster is as it was found"),
            "{}",
            report.verdict
        );
        let cleaned: Vec<String> = faults
            .operations()
            .into_iter()
            .filter(|what| what.ends_with(": clean"))
            .collect();
        assert_eq!(cleaned[0], "b2: clean", "{cleaned:?}");
        scene.check(&report, "a node short of space");
        scene.check_whole("a node short of space");
    }
}

#[tokio::test]
async fn a_node_that_cannot_be_looked_at_is_not_short_of_space() {
    let operations = operations().await;
    let looks: Vec<usize> = (0..operations.len())
        .filter(|at| operations[*at].ends_with(": space"))
        .collect();
    assert!(!looks.is_empty(), "{operations:?}");
    for at in looks {
        for kind in [NodeErrorKind::Unreachable, NodeErrorKind::TimedOut, NodeErrorKind::Io] {
            let scene = Scene::new(SHAPE, BACKUP).await;
            let faults = Faults::none(scene.cluster.clock()).and(at, Moment::Before, Effect::Fail(kind));
            let report = scene.run(&slow(&scene, &faults)).await;
            assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
        }
    }
}

#[tokio::test]
async fn nodes_are_looked_at_only_while_they_hold_a_snapshot() {
    let operations = operations().await;
    for node in ["c1", "b1", "b2", "b3"] {
        let clean = operations.iter().position(|what| *what == format!("{node}: clean"));
        let later = operations.iter().skip(clean.expect("a clean"));
        let looks = later.filter(|what| **what == format!("{node}: space")).count();
        // One may be under way.
        assert!(looks <= 1, "{node}: {operations:?}");
    }
}

#[tokio::test]
async fn a_node_below_the_floor_refuses_a_backup_of_data_before_anything_is_stopped_and_no_other() {
    let scene = Scene::with(SHAPE, BACKUP, |cluster| {
        cluster.with("b1", |node| (node.size, node.free) = (1 << 40, 1 << 29));
    })
    .await;
    let mut orchestrator = scene.orchestrator(None);
    let report = scene.run(&orchestrator).await;
    assert_eq!(report.outcome, Outcome::Refused, "{report:#?}");
    let told = report
        .findings
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n");
    for part in [
        "b1: /srv/kafka/data0",
        "512.0 MiB free of 1.0 TiB",
        "1.0 GiB must stay free",
        "limits.node_free_floor",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let report = backup(&orchestrator, BackupKind::Config).await;
    assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
    orchestrator.settings.node_free_floor = FreeFloor::Bytes(0);
    scene.cluster.clock().advance(Duration::from_secs(60));
    let report = scene.run(&orchestrator).await;
    assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
}

#[tokio::test]
async fn a_snapshot_goes_as_soon_as_its_nodes_archives_are_durable() {
    let scene = Scene::new(SHAPE, BACKUP).await;
    let faults = Faults::none(scene.cluster.clock());
    let mut orchestrator = scene.orchestrator(Some(&faults));
    orchestrator.settings.parallel_nodes = 1;
    let report = scene.run(&orchestrator).await;
    assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
    let of_interest =
        |what: &String| what.ends_with(": archive") || what.ends_with(": clean") || what == "store: commit";
    let order: Vec<String> = faults.operations().into_iter().filter(of_interest).collect();
    let mut expected: Vec<String> = vec![];
    for node in ["c1", "b1", "b2", "b3"] {
        expected.extend([
            format!("{node}: archive"),
            format!("{node}: archive"),
            format!("{node}: clean"),
        ]);
    }
    expected.push("store: commit".to_owned());
    assert_eq!(order, expected);
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_removed_at_once_is_removed_at_the_end_and_fails_no_backup() {
    for job in [BACKUP, Job::Backup(BackupKind::Config)] {
        let operations = Scene::operations(SHAPE, job).await;
        for at in (0..operations.len()).filter(|at| operations[*at].ends_with(": clean")) {
            for kind in [NodeErrorKind::Unreachable, NodeErrorKind::Io, NodeErrorKind::TimedOut] {
                let scene = Scene::new(SHAPE, job).await;
                let faults = Faults::none(scene.cluster.clock()).and(at, Moment::Before, Effect::Fail(kind));
                let report = scene.run(&scene.orchestrator(Some(&faults))).await;
                assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
                assert!(report.warnings.is_empty(), "{report:#?}");
                scene.check_whole("a clean that fails once");
            }
            let scene = Scene::new(SHAPE, job).await;
            let faults = Faults::none(scene.cluster.clock()).and(at, Moment::Before, Effect::Die(NodeErrorKind::Io));
            let report = scene.run(&scene.orchestrator(Some(&faults))).await;
            assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
            assert!(!report.warnings.is_empty(), "{report:#?}");
            scene.check(&report, "a clean that fails for good");
            scene.check_recovery("a clean that fails for good").await;
        }
    }
}
