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

pub(super) async fn what_is_kept_is_told_swapped_in_again_and_removed(harness: &dyn Harness) {
    let node = fresh(harness).await;
    let archives = backup(&*node).await;
    for dataset in BOTH {
        harness.put(dataset, &new(dataset)).await;
    }
    let (first, second) = (run(7), run(8));
    for archive in &archives {
        node.stage(&archive.request(&first), &mut archive.source())
            .await
            .expect("a stage");
    }
    stop(&*node, &first).await;
    node.swap(&both(&first)).await.expect("a swap");
    node.forgo(&first).await.expect("giving the lease back");
    let kept = node
        .clean(&CleanRequest::RunKeepingUntilReady(first.clone()))
        .await
        .expect("a clean-up")
        .kept;
    assert_eq!(kept.len(), 2, "{kept:?}");
    let told = told(&*node, &first).await;
    assert_eq!(told.iter().map(|dir| dir.dataset).collect::<Vec<_>>(), BOTH, "{told:?}");
    for dir in &told {
        assert!(dir.until_ready && dir.bytes > 0, "{dir:?}");
        assert!(dir.path.ends_with(&format!(".until-ready-{first}")), "{dir:?}");
    }
    // A sweep is not for what is kept.
    node.clean(&CleanRequest::Orphans { keep: vec![] })
        .await
        .expect("a sweep");

    let back = SwapRequest {
        previous_of: Some(first.clone()),
        ..both(&second)
    };
    assert_eq!(node.swap(&back).await, Ok(SwapOutcome::Swapped));
    assert_eq!(node.swap(&back).await, Ok(SwapOutcome::AlreadySwapped));
    is_live(harness, new, "what was replaced is back").await;
    let held = node.holds(&second).await.expect("what it holds").swapped;
    assert_eq!(held, BOTH);
    // Undone, it is kept as before.
    assert_eq!(node.swap_back(&both(&second)).await, Ok(SwapOutcome::Swapped));
    node.clean(&CleanRequest::Run(second.clone()))
        .await
        .expect("a clean-up");
    is_live(harness, old, "the return is undone").await;
    assert_eq!(self::told(&*node, &first).await, told);

    assert_eq!(node.swap(&back).await, Ok(SwapOutcome::Swapped));
    node.forgo(&second).await.expect("giving the lease back");
    let request = CleanRequest::RunKeepingUntilReady(second.clone());
    node.clean(&request).await.expect("a clean-up");
    is_live(harness, new, "what was replaced is back for good").await;
    assert_eq!(self::told(&*node, &first).await, vec![]);
    assert_eq!(self::told(&*node, &second).await.len(), 2);
    for expected in [vec![second.clone()], vec![]] {
        let removed = node
            .clean(&CleanRequest::Kept(second.clone()))
            .await
            .expect("a removal");
        assert_eq!(removed.removed, expected);
    }
    assert_eq!(self::told(&*node, &second).await, vec![]);
    assert_eq!(node.start().await, Ok(StartOutcome::Started));
    node.release().await.expect("a release");
    is_clean(harness, "a return").await;
}

async fn told(node: &dyn NodeTransport, of: &crate::ids::RunId) -> Vec<KeptDir> {
    let request = FactsRequest { datasets: vec![] };
    let mut kept = node.facts(&request).await.expect("facts").kept;
    kept.retain(|dir| dir.run == *of);
    kept.sort_by_key(|dir| dir.dataset);
    kept
}

async fn is_live(harness: &dyn Harness, files: fn(Dataset) -> crate::testing::Files, what: &str) {
    for dataset in BOTH {
        assert_eq!(live(harness, dataset).await, files(dataset), "{dataset}: {what}");
    }
}
