//! Restores: swapped in, undone, kept.

use super::Harness;
use super::fixtures::*;
use crate::inventory::Dataset;
use crate::ports::node::*;

pub(super) async fn a_round_trip_returns_the_files_exactly(harness: &dyn Harness) {
    let node = fresh(harness).await;
    let archives = backup(&*node).await;
    is_clean(harness, "a backup").await;
    for dataset in BOTH {
        harness.put(dataset, &new(dataset)).await;
    }
    let run = run(2);
    for archive in &archives {
        node.stage(&archive.request(&run), &mut archive.source())
            .await
            .expect("a stage");
        assert_eq!(
            live(harness, archive.dataset).await,
            new(archive.dataset),
            "staging changes nothing live"
        );
    }
    stop(&*node, &run).await;
    assert_eq!(node.swap(&both(&run)).await, Ok(SwapOutcome::Swapped));
    assert_eq!(node.swap(&both(&run)).await, Ok(SwapOutcome::AlreadySwapped));
    for dataset in BOTH {
        assert_eq!(
            live(harness, dataset).await,
            old(dataset),
            "{dataset} comes back exactly"
        );
    }
    assert_eq!(node.start().await, Ok(StartOutcome::Started));
    node.forgo(&run).await.expect("giving the lease back");
    let report = node.clean(&CleanRequest::Run(run.clone())).await.expect("a clean-up");
    assert_eq!(report.removed, [run]);
    node.release().await.expect("a release");
    is_clean(harness, "a restore").await;
}

pub(super) async fn data_at_work_are_not_touched(harness: &dyn Harness) {
    let node = fresh(harness).await;
    let archives = backup(&*node).await;
    harness.put(Dataset::Data, &new(Dataset::Data)).await;
    let run = run(4);
    for archive in &archives {
        node.stage(&archive.request(&run), &mut archive.source())
            .await
            .expect("a stage");
    }
    let refused = node
        .swap(&both(&run))
        .await
        .expect_err("a swap under a running container");
    assert_eq!(refused.kind, NodeErrorKind::State);
    assert_eq!(live(harness, Dataset::Data).await, new(Dataset::Data));
    let request = SnapshotRequest {
        run: run.clone(),
        datasets: vec![Dataset::Data],
    };
    let refused = node.snapshot(&request).await.expect_err("a snapshot of data at work");
    assert_eq!(refused.kind, NodeErrorKind::State);
    let refused = node.prove_clean().await.expect_err("a proof while the container runs");
    assert_eq!(refused.kind, NodeErrorKind::State);
    node.clean(&CleanRequest::Run(run)).await.expect("a clean-up");
    node.release().await.expect("a release");
    is_clean(harness, "a refused swap").await;
}

pub(super) async fn a_swap_is_undone(harness: &dyn Harness) {
    let node = fresh(harness).await;
    let archives = backup(&*node).await;
    for dataset in BOTH {
        harness.put(dataset, &new(dataset)).await;
    }
    let run = run(5);
    for archive in &archives {
        node.stage(&archive.request(&run), &mut archive.source())
            .await
            .expect("a stage");
    }
    stop(&*node, &run).await;
    assert_eq!(
        node.swap_back(&both(&run)).await,
        Ok(SwapOutcome::AlreadySwapped),
        "nothing to undo yet"
    );
    node.swap(&both(&run)).await.expect("a swap");
    assert_eq!(node.swap_back(&both(&run)).await, Ok(SwapOutcome::Swapped));
    assert_eq!(node.swap_back(&both(&run)).await, Ok(SwapOutcome::AlreadySwapped));
    for dataset in BOTH {
        assert_eq!(
            live(harness, dataset).await,
            new(dataset),
            "{dataset} is what it was before the swap"
        );
    }
    assert_eq!(node.start().await, Ok(StartOutcome::Started));
    node.clean(&CleanRequest::Run(run)).await.expect("a clean-up");
    node.release().await.expect("a release");
    is_clean(harness, "a swap undone").await;
}

pub(super) async fn replaced_data_are_kept_on_request(harness: &dyn Harness) {
    let node = fresh(harness).await;
    let archives = backup(&*node).await;
    harness.put(Dataset::Data, &new(Dataset::Data)).await;
    let run = run(6);
    let data = &archives[1];
    node.stage(&data.request(&run), &mut data.source())
        .await
        .expect("a stage");
    stop(&*node, &run).await;
    node.swap(&just(&run, Dataset::Data)).await.expect("a swap");
    node.start().await.expect("a start");
    node.forgo(&run).await.expect("giving the lease back");
    let report = node
        .clean(&CleanRequest::RunKeepingPrevious(run.clone()))
        .await
        .expect("a clean-up");
    let [kept] = &report.kept[..] else {
        panic!("one directory is kept, not {:?}", report.kept);
    };
    assert!(kept.ends_with(&format!(".previous-{run}")), "{kept}");
    assert_eq!(live(harness, Dataset::Data).await, old(Dataset::Data));
    let again = node
        .clean(&CleanRequest::RunKeepingPrevious(run))
        .await
        .expect("a second clean-up");
    assert_eq!(again.kept, Vec::<String>::new());
    node.release().await.expect("a release");
}
