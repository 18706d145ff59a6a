//! Runs that nothing befalls.

use kbo_core::inventory::Dataset;
use kbo_core::machine::Phase;
use kbo_core::manifest::BackupKind;
use kbo_core::orchestrator::{BackupRequest, RestoreRequest};
use kbo_core::ports::node::ContainerState;
use kbo_core::report::Outcome;
use kbo_core::testing::{FakeCluster, MemoryStore, Shape};

use crate::scene::{BACKUP, Job, RESTORE, SHAPES, Scene};

fn shapes() -> Vec<Shape> {
    let mut shapes = SHAPES.to_vec();
    shapes.push(Shape {
        data_dirs: 3,
        ..Shape::MIXED
    });
    shapes.push(Shape::new(5, 0, 7));
    shapes
}

#[tokio::test]
async fn a_backup_is_done_and_leaves_everything_as_found() {
    for shape in shapes() {
        let scene = Scene::new(shape, BACKUP).await;
        let report = scene.run(&scene.orchestrator(None)).await;
        assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
        assert!(report.warnings.is_empty() && report.failures.is_empty(), "{report:#?}");
        scene.check(&report, "a backup");
        scene.check_whole("a backup");
        assert_eq!(scene.store.open_runs(), vec![]);
        assert!(report.window_seconds.is_some_and(|seconds| seconds > 0.0));
        assert!(report.verdict.starts_with("backup 2026"), "{}", report.verdict);
        scene.check_next_backup("the night after").await;
    }
}

#[tokio::test]
async fn a_restore_brings_back_what_was_and_nothing_of_what_was_written_since() {
    for shape in shapes() {
        for keep_previous in [false, true] {
            let scene = Scene::new(shape, Job::Restore { keep_previous }).await;
            let report = scene.run(&scene.orchestrator(None)).await;
            assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
            scene.check(&report, "a restore");
            scene.check_whole("a restore");
            let node = scene.found.keys().next().expect("a node").as_str();
            let kept = scene.cluster.with(node, |node| node.kept.len());
            assert_eq!(kept, if keep_previous { 1 + shape.data_dirs } else { 0 });
        }
    }
}

#[tokio::test]
async fn one_dataset_alone_is_restored_alone() {
    for dataset in [Dataset::Config, Dataset::Data] {
        let scene = Scene::new(Shape::THREE_AND_THREE, RESTORE).await;
        let orchestrator = scene.orchestrator(None);
        let request = RestoreRequest {
            manifest: scene.store.manifest_of(&scene.visible[0]).expect("a manifest"),
            datasets: vec![dataset],
            other_cluster: false,
            previous: kbo_core::plan::Previous::UntilReady,
        };
        let report = orchestrator.execute(orchestrator.prepare_restore(request).await).await;
        assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
        for (key, files) in scene.cluster.content() {
            let expected = if key.1 == dataset {
                &scene.restored
            } else {
                &scene.original
            };
            assert_eq!(files, expected[&key], "{key:?}");
        }
        scene_is_whole(&scene);
    }
}

fn scene_is_whole(scene: &Scene) {
    assert_eq!(scene.cluster.violations(), Vec::<String>::new());
    assert_eq!(scene.cluster.states(), scene.found);
    assert_eq!(scene.cluster.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_backup_of_configuration_stops_nothing() {
    let scene = Scene::new(Shape::THREE_AND_THREE, Job::Backup(BackupKind::Config)).await;
    let orchestrator = scene.orchestrator(None);
    let prepared = orchestrator
        .prepare_backup(BackupRequest {
            kind: BackupKind::Config,
        })
        .await;
    assert!(!prepared.plan.stops_anything(), "{}", prepared.plan);
    let before = scene.cluster.clock().elapsed();
    let report = orchestrator.execute(prepared).await;
    assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
    assert_eq!(report.window_seconds, None);
    assert_eq!(scene.cluster.clock().elapsed(), before, "nothing was waited for");
    scene.check(&report, "a backup of configuration");
    scene.check_whole("a backup of configuration");
    let id = report.id.expect("an id");
    let manifest = scene.store.manifest_of(&id).expect("its manifest");
    assert_eq!(
        manifest.cluster_id,
        Some(scene.cluster.id()),
        "identity is known though no data is read"
    );
    assert!(
        manifest
            .archives
            .iter()
            .all(|archive| archive.dataset == Dataset::Config)
    );
}

#[tokio::test]
async fn a_backup_of_data_holds_data_alone() {
    let scene = Scene::new(Shape::MIXED, Job::Backup(BackupKind::Data)).await;
    let report = scene.run(&scene.orchestrator(None)).await;
    assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
    let manifest = scene
        .store
        .manifest_of(&report.id.expect("an id"))
        .expect("its manifest");
    assert!(manifest.archives.iter().all(|archive| archive.dataset == Dataset::Data));
    scene_is_whole(&scene);
}

#[tokio::test]
async fn the_manifest_says_who_when_what_and_how_it_was_stopped() {
    let scene = Scene::new(Shape::THREE_AND_THREE, BACKUP).await;
    let report = scene.run(&scene.orchestrator(None)).await;
    let manifest = scene
        .store
        .manifest_of(&report.id.expect("an id"))
        .expect("its manifest");
    assert_eq!(manifest.cluster_id, Some(scene.cluster.id()));
    assert!(manifest.caveats.is_empty(), "{:?}", manifest.caveats);
    assert!(manifest.window.is_some_and(|window| window.from < window.to));
    let names: Vec<&str> = manifest.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["c1", "c2", "c3", "b1", "b2", "b3"]);
    for (node, id) in manifest.nodes.iter().zip(1..) {
        assert_eq!(node.node_id, Some(id));
        assert!(node.clean_stop.as_ref().is_some_and(|proof| proof.clean));
        assert!(node.container.is_some());
    }
    let archives: Vec<&str> = manifest.archives.iter().map(|archive| archive.name.as_str()).collect();
    assert_eq!(
        archives[..3],
        ["c1.config.tar.zst", "c1.data.tar.zst", "c2.config.tar.zst"]
    );
    assert_eq!(archives.len(), 12);
    assert_eq!(
        (report.raw_bytes, report.stored_bytes),
        (manifest.raw_bytes(), manifest.stored_bytes())
    );
}

#[tokio::test]
async fn the_report_as_json_has_what_scripts_read() {
    let scene = Scene::new(Shape::THREE_AND_THREE, BACKUP).await;
    let report = scene.run(&scene.orchestrator(None)).await;
    let json = serde_json::to_value(&report).expect("a document");
    for key in [
        "id",
        "kind",
        "outcome",
        "window_seconds",
        "phases",
        "nodes",
        "raw_bytes",
        "stored_bytes",
        "verdict",
    ] {
        assert!(json.get(key).is_some(), "{key} in {json}");
    }
    assert_eq!(json["kind"], "cluster");
    assert_eq!(json["outcome"], "done");
    assert!(json["window_seconds"].is_f64());
    let phases = json["phases"].as_array().expect("phases");
    let names: Vec<&str> = phases.iter().filter_map(|phase| phase["phase"].as_str()).collect();
    let expected = "stopping proving snapshotting starting settling archiving committing cleaning";
    assert_eq!(names.join(" "), expected);
    assert!(phases.iter().all(|phase| phase["seconds"].is_f64()));
    let nodes = json["nodes"].as_array().expect("nodes");
    assert_eq!(nodes.len(), 6);
    assert!(
        nodes
            .iter()
            .all(|node| node["raw_bytes"].is_u64() && node["stored_bytes"].is_u64() && node["node"].is_string())
    );
    let refused = scene.orchestrator(None);
    scene.cluster.with("b1", |node| node.unreachable = true);
    let json = serde_json::to_value(scene.run(&refused).await).expect("a document");
    assert_eq!(
        (&json["outcome"], &json["window_seconds"]),
        (&"refused".into(), &serde_json::Value::Null)
    );
}

#[tokio::test]
async fn the_window_is_over_before_anything_is_archived() {
    let scene = Scene::new(Shape::THREE_AND_THREE, BACKUP).await;
    let report = scene.run(&scene.orchestrator(None)).await;
    let of = |phase| {
        report
            .phases
            .iter()
            .find(|time| time.phase == phase)
            .expect("the phase")
            .seconds
    };
    let stopped: f64 = [Phase::Stopping, Phase::Proving, Phase::Snapshotting, Phase::Starting]
        .into_iter()
        .map(of)
        .sum();
    let window = report.window_seconds.expect("a window");
    assert!((window - stopped).abs() < 0.001, "{window} {stopped}");
}

#[tokio::test]
async fn nodes_that_were_stopped_before_stay_stopped() {
    for down in ["c3", "b2", "c1"] {
        for job in [BACKUP, RESTORE] {
            let stop = |cluster: &FakeCluster| {
                // Cleanly, before kbo came.
                cluster.with(down, |node| {
                    node.container = ContainerState::Stopped;
                    node.live
                        .get_mut(&Dataset::Data)
                        .into_iter()
                        .flatten()
                        .flatten()
                        .for_each(|image| image.clean = true);
                });
            };
            let scene = Scene::with(Shape::THREE_AND_THREE, job, stop).await;
            let report = scene.run(&scene.orchestrator(None)).await;
            // A quorum that lacks a voter is one all the same.
            assert_eq!(report.outcome, Outcome::Done, "{job:?} without {down}: {report:#?}");
            scene.check(&report, down);
            if job == BACKUP {
                let manifest = scene
                    .store
                    .manifest_of(&report.id.expect("an id"))
                    .expect("its manifest");
                assert!(
                    manifest.caveats.iter().any(|caveat| caveat.starts_with(down)),
                    "{:?}",
                    manifest.caveats
                );
            }
        }
    }
}

#[tokio::test]
async fn a_cluster_that_was_down_is_restored_and_stays_down() {
    let stop = |cluster: &FakeCluster| cluster.with_all(|node| node.container = ContainerState::Stopped);
    let scene = Scene::with(Shape::MIXED, RESTORE, stop).await;
    let report = scene.run(&scene.orchestrator(None)).await;
    assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
    scene.check(&report, "down");
    scene.check_whole("down");
}

#[tokio::test]
async fn a_restore_onto_empty_and_missing_directories_works() {
    let scene = Scene::with(Shape::THREE_AND_THREE, RESTORE, |cluster| {
        cluster.with_all(|node| node.container = ContainerState::Stopped);
        cluster.with("b1", |node| node.live.insert(Dataset::Data, vec![None]));
        cluster.with("c2", |node| {
            node.live
                .get_mut(&Dataset::Data)
                .into_iter()
                .flatten()
                .flatten()
                .for_each(|image| image.files.clear());
        });
    })
    .await;
    let report = scene.run(&scene.orchestrator(None)).await;
    assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
    scene.check(&report, "disaster");
}

#[tokio::test]
async fn the_plan_that_is_shown_is_what_is_done() {
    let cluster = FakeCluster::new(Shape::new(1, 0, 2));
    let orchestrator = cluster.orchestrator(&MemoryStore::default(), None);
    let recorder = kbo_core::testing::Recorder::default();
    let orchestrator = kbo_core::orchestrator::Orchestrator {
        monitor: std::sync::Arc::new(recorder.clone()),
        ..orchestrator
    };
    let prepared = orchestrator
        .prepare_backup(BackupRequest {
            kind: BackupKind::Cluster,
        })
        .await;
    let mut planned: Vec<String> = prepared.plan.steps().map(ToString::to_string).collect();
    assert_eq!(planned[..3], ["stop b2", "stop b1", "stop c1"]);
    orchestrator.execute(prepared).await;
    let mut done = recorder.steps();
    planned.sort();
    done.sort();
    assert_eq!(done, planned);
    assert_eq!(recorder.phases().first(), Some(&Phase::Preflight));
}
