//! A backup of configuration beside a run that makes archives: two living runs on one cluster and one store.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kbo_core::manifest::BackupKind;
use kbo_core::orchestrator::{BackupRequest, Orchestrator};
use kbo_core::ports::store::{BackupStore, StoreError};
use kbo_core::report::{Outcome, Report};
use kbo_core::testing::{Effect, Faults, MemoryStore, Moment, Shape};

use crate::scene::{BACKUP, Scene};

const SHAPE: Shape = Shape::new(1, 0, 2);

/// What the command does for a backup of configuration: the lock, what dead runs left, the run. Nothing where it is locked out.
async fn beside(orchestrator: &Orchestrator) -> Option<Report> {
    let lock = match orchestrator
        .store
        .lock_beside(&orchestrator.name, "backup of configuration")
        .await
    {
        Ok(lock) => lock,
        Err(StoreError::Locked { .. }) => return None,
        Err(error) => panic!("{error}"),
    };
    if orchestrator.needs_recovery().await.expect("the journals") {
        let recovered = orchestrator.recover().await.expect("a recovery");
        assert!(recovered.unswept.is_empty(), "{recovered:?}");
    } else {
        orchestrator.settle().await;
    }
    let prepared = orchestrator
        .prepare_backup(BackupRequest {
            kind: BackupKind::Config,
        })
        .await;
    let report = orchestrator.execute_under(prepared, Some(&*lock)).await;
    lock.release().await.expect("a release");
    Some(report)
}

/// A backup of everything under the lock.
async fn whole(orchestrator: &Orchestrator) -> Report {
    let lock = orchestrator.store.lock(&orchestrator.name, "backup").await;
    let lock = lock.expect("the lock");
    let kind = BackupKind::Cluster;
    let prepared = orchestrator.prepare_backup(BackupRequest { kind }).await;
    let report = orchestrator.execute_under(prepared, Some(&*lock)).await;
    lock.release().await.expect("a release");
    report
}

/// Does it to its end, while whoever calls stands still.
fn meanwhile<T: Send + 'static, F: Future<Output = T>>(work: impl FnOnce() -> F + Send + 'static) -> T {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime")
    };
    std::thread::spawn(move || runtime().block_on(work()))
        .join()
        .expect("no panic")
}

async fn operations() -> Vec<String> {
    let scene = Scene::new(SHAPE, BACKUP).await;
    let faults = Faults::none(scene.cluster.clock());
    let report = whole(&scene.orchestrator(Some(&faults))).await;
    assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
    faults.operations()
}

#[tokio::test]
async fn a_backup_of_configuration_runs_beside_archives_at_any_moment_and_neither_harms_the_other() {
    let operations = operations().await;
    let shared = operations
        .iter()
        .position(|what| what == "store: share")
        .expect("a shared lock");
    let first_stop = operations
        .iter()
        .position(|what| what.ends_with(": stop"))
        .expect("a stop");
    for (at, what) in operations.iter().enumerate().skip(first_stop) {
        let label = format!("beside operation {at}, {what}");
        let scene = Scene::new(SHAPE, BACKUP).await;
        let told: Arc<Mutex<Option<Option<Report>>>> = Arc::default();
        let call = {
            let (cluster, store, told) = (scene.cluster.clone(), scene.store.clone(), Arc::clone(&told));
            move || {
                let orchestrator = cluster.orchestrator(&store, None);
                let report = meanwhile(move || async move { beside(&orchestrator).await });
                *told.lock().expect("no panic") = Some(report);
            }
        };
        let faults = Faults::none(scene.cluster.clock()).and(at, Moment::Before, Effect::Call(Arc::new(call)));
        let report = whole(&scene.orchestrator(Some(&faults))).await;
        assert_eq!(report.outcome, Outcome::Done, "{label}: {report:#?}");
        assert!(report.warnings.is_empty(), "{label}: {report:#?}");
        let told = told.lock().expect("no panic").take().expect("a second run");
        assert_eq!(
            told.is_some(),
            at > shared,
            "{label}: locked out before the archives, and only then"
        );
        if let Some(second) = &told {
            assert_eq!(second.outcome, Outcome::Done, "{label}: {second:#?}");
            assert!(
                second.failures.is_empty() && second.warnings.is_empty(),
                "{label}: {second:#?}"
            );
        }
        let ids = [report.id.clone(), told.and_then(|second| second.id)];
        let mut expected: Vec<_> = ids.into_iter().flatten().collect();
        expected.sort();
        assert_eq!(scene.store.visible(), expected, "{label}");
        scene.check_whole(&label);
        assert_eq!(scene.store.open_runs(), vec![], "{label}");
    }
}

#[tokio::test]
async fn what_a_dead_backup_of_configuration_left_is_undone_beside_archives_that_stay() {
    let of_second = Scene::operations(SHAPE, crate::scene::Job::Backup(BackupKind::Config)).await;
    let operations = operations().await;
    let archive = operations
        .iter()
        .position(|what| what == "b1: archive")
        .expect("an archive");
    // The first operation takes the lock, which a fake cannot leave half taken.
    for dies_at in 1..of_second.len() {
        let label = format!("killed at operation {dies_at} beside archives");
        let scene = Scene::new(SHAPE, BACKUP).await;
        let call = {
            let (cluster, store) = (scene.cluster.clone(), scene.store.clone());
            move || {
                let faults = Faults::none(cluster.clock()).and(dies_at, Moment::After, Effect::Hang);
                let dying = cluster.orchestrator(&store.with_faults(&faults), Some(&faults));
                let next = cluster.orchestrator(&store, None);
                let clock = cluster.clock().clone();
                meanwhile(move || async move {
                    tokio::select! {
                        _ = beside(&dying) => {}
                        () = faults.struck() => {}
                    }
                    clock.advance(Duration::from_secs(3600));
                    let report = beside(&next).await.expect("the place beside the archives");
                    assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
                });
            }
        };
        let faults = Faults::none(scene.cluster.clock()).and(archive, Moment::Before, Effect::Call(Arc::new(call)));
        let report = whole(&scene.orchestrator(Some(&faults))).await;
        assert_eq!(report.outcome, Outcome::Done, "{label}: {report:#?}");
        scene.check_whole(&label);
        assert_eq!(scene.store.open_runs(), vec![], "{label}");
    }
}

#[tokio::test]
async fn a_dead_run_that_made_archives_is_undone_by_whoever_comes_next() {
    let operations = operations().await;
    let shared = operations
        .iter()
        .position(|what| what == "store: share")
        .expect("a shared lock");
    for (at, what) in operations.iter().enumerate().skip(shared) {
        let label = format!("killed at operation {at}, {what}");
        let scene = Scene::new(SHAPE, BACKUP).await;
        let faults = Faults::none(scene.cluster.clock()).and(at, Moment::After, Effect::Hang);
        let orchestrator = scene.orchestrator(Some(&faults));
        tokio::select! {
            report = whole(&orchestrator) => panic!("{label}: {report:#?}"),
            () = faults.struck() => {}
        }
        scene.cluster.clock().advance(Duration::from_secs(3600));
        let report = beside(&scene.orchestrator(None)).await.expect("the lock");
        assert_eq!(report.outcome, Outcome::Done, "{label}: {report:#?}");
        scene.check_whole(&label);
        assert_eq!(scene.store.open_runs(), vec![], "{label}");
    }
}

#[tokio::test]
async fn beside_archives_nothing_else_runs_and_the_refusal_names_them() {
    let store = MemoryStore::default();
    let dev = "dev".parse().expect("a name");
    let lock = store.lock(&dev, "backup").await.expect("the lock");
    assert!(
        store.lock_beside(&dev, "backup of configuration").await.is_err(),
        "not before the archives"
    );
    lock.share().await.expect("a share");
    let error = store
        .lock(&dev, "restore")
        .await
        .map(drop)
        .expect_err("the lock is held");
    let text = error.to_string();
    for part in ["backup of pid 1", "it makes archives", "kbo backup --only config"] {
        assert!(text.contains(part), "{text}");
    }
    let second = store
        .lock_beside(&dev, "backup of configuration")
        .await
        .expect("the place beside it");
    let error = store
        .lock_beside(&dev, "another")
        .await
        .map(drop)
        .expect_err("the place is taken");
    assert!(error.to_string().contains("backup of configuration"), "{error}");
    drop(lock);
    let error = store
        .lock(&dev, "restore")
        .await
        .map(drop)
        .expect_err("a run is under way");
    assert!(error.to_string().contains("backup of configuration"), "{error}");
    drop(second);
    store.lock(&dev, "restore").await.expect("the lock");
}
