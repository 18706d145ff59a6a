//! Containers, facts, leases, and what dead runs leave.

use super::Harness;
use super::fixtures::*;
use crate::inventory::Dataset;
use crate::ports::node::*;
use crate::testing::state::Files;

pub(super) async fn stop_and_start_say_what_they_found(harness: &dyn Harness) {
    let node = fresh(harness).await;
    let run = run(1);
    assert_eq!(node.start().await, Ok(StartOutcome::AlreadyRunning));
    assert_eq!(stop(&*node, &run).await, StopOutcome::Stopped);
    assert_eq!(harness.container().await, ContainerState::Stopped);
    assert_eq!(stop(&*node, &run).await, StopOutcome::AlreadyStopped);
    assert_eq!(node.state().await, Ok(ContainerState::Stopped));
    assert_eq!(node.start().await, Ok(StartOutcome::Started));
    assert_eq!(harness.container().await, ContainerState::Running);
    assert_eq!(node.start().await, Ok(StartOutcome::AlreadyRunning));
    assert_eq!(node.state().await, Ok(ContainerState::Running));
    node.release().await.expect("a release");
    node.release().await.expect("a second release");
    is_clean(harness, "a stop and a start").await;
}

pub(super) async fn facts_tell_what_stands_there(harness: &dyn Harness) {
    let node = fresh(harness).await;
    let request = |datasets: &[Dataset]| FactsRequest {
        datasets: datasets.to_vec(),
    };
    let facts = node.facts(&request(&BOTH)).await.expect("facts");
    let sets: Vec<Dataset> = facts.dirs.iter().map(|dir| dir.dataset).collect();
    assert_eq!(sets, BOTH, "directories come in the order asked for");
    for dir in &facts.dirs {
        assert_eq!(dir.presence, Presence::Filled, "{}", dir.path);
        assert_eq!(dir.error, None, "{}", dir.path);
        assert_eq!(dir.orphans, vec![], "{}", dir.path);
        assert_eq!(dir.files, old(dir.dataset).len() as u64, "files of {}", dir.path);
        let bytes: usize = old(dir.dataset).values().map(Vec::len).sum();
        assert_eq!(dir.bytes, bytes as u64, "bytes of {}", dir.path);
    }
    let container = facts.container.expect("a container").expect("the container");
    assert_eq!(container.state, ContainerState::Running);
    assert!(node.facts(&request(&[])).await.expect("facts").dirs.is_empty());
    harness.put(Dataset::Data, &Files::new()).await;
    let facts = node.facts(&request(&[Dataset::Data])).await.expect("facts");
    assert_eq!(facts.dirs[0].presence, Presence::Empty);
    is_clean(harness, "a look").await;
}

pub(super) async fn cleaning_what_is_not_there_is_done(harness: &dyn Harness) {
    let node = fresh(harness).await;
    for _ in 0..2 {
        for request in [
            CleanRequest::Run(run(7)),
            CleanRequest::RunKeepingPrevious(run(7)),
            CleanRequest::Orphans { keep: vec![] },
        ] {
            let report = node.clean(&request).await.expect("a clean-up");
            assert!(report.removed.is_empty() && report.kept.is_empty(), "{report:?}");
        }
    }
    assert_eq!(node.swap_back(&both(&run(7))).await, Ok(SwapOutcome::AlreadySwapped));
    node.release().await.expect("a release");
    is_clean(harness, "cleaning").await;
}

pub(super) async fn work_folders_of_dead_runs_are_told_and_swept(harness: &dyn Harness) {
    let node = fresh(harness).await;
    let (dead, alive) = (run(18), run(19));
    for run in [&dead, &alive] {
        let request = SnapshotRequest {
            run: run.clone(),
            datasets: vec![Dataset::Config],
        };
        node.snapshot(&request).await.expect("a snapshot");
    }
    // Runs that nobody answers for any more.
    node.release().await.expect("a release");
    let request = FactsRequest {
        datasets: BOTH.to_vec(),
    };
    let facts = node.facts(&request).await.expect("facts");
    for run in [&dead, &alive] {
        assert!(
            facts.dirs.iter().any(|dir| dir.orphans.contains(run)),
            "{run} is told among the orphans"
        );
    }
    let keep = vec![alive.clone()];
    let report = node.clean(&CleanRequest::Orphans { keep }).await.expect("a sweep");
    assert_eq!(report.removed, [dead]);
    let facts = node.facts(&request).await.expect("facts");
    assert!(facts.dirs.iter().any(|dir| dir.orphans == [alive.clone()]));
    node.clean(&CleanRequest::Orphans { keep: vec![] })
        .await
        .expect("a sweep");
    node.release().await.expect("a release");
    is_clean(harness, "a sweep").await;
}

pub(super) async fn a_node_works_on_after_giving_its_lease_back(harness: &dyn Harness) {
    let node = fresh(harness).await;
    let run = run(20);
    stop(&*node, &run).await;
    node.forgo(&run).await.expect("giving the lease back");
    assert_eq!(
        node.state().await,
        Ok(ContainerState::Stopped),
        "giving it back starts nothing"
    );
    assert_eq!(node.start().await, Ok(StartOutcome::Started));
    node.release().await.expect("a release");
    assert_eq!(
        node.state().await,
        Ok(ContainerState::Running),
        "a transport comes back after a goodbye"
    );
    node.release().await.expect("a release");
    is_clean(harness, "a lease given back").await;
}
