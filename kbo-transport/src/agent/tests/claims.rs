//! Whose node it is: runs that lay claim to it, and what each of them may do there.

use kbo_core::ports::node::{
    ArchiveRequest, Claim, CleanRequest, ContainerState, FactsRequest, NodeErrorKind, NodeTransport, Owner,
    SnapshotRequest, StopRequest,
};

use super::leases::{live_config, nothing_left, snapshot, stage_config, swap};
use super::*;

/// The claim of the usual run by a kbo of this store.
pub(super) fn claim(store: &str, undoing: bool) -> Claim {
    Claim {
        run: Some(run()),
        owner: owner(store),
        known: vec![],
        undoing,
    }
}

fn owner(store: &str) -> Owner {
    Owner {
        store: store.to_owned(),
        cluster: "prod".to_owned(),
        host: "centre".to_owned(),
        user: "eve".to_owned(),
        pid: 4711,
        since: "2026-11-22T03:00:00Z".parse().unwrap(),
        purpose: "restore of 20261121T030000Z".to_owned(),
    }
}

/// The claim of another run by a kbo of this store.
fn another(store: &str) -> Claim {
    Claim {
        run: Some("20261122T040000Z".parse().unwrap()),
        ..claim(store, false)
    }
}

/// Restored configuration on trial in a running container.
async fn on_trial(lab: &Lab, node: &RemoteNode<TaskCarrier>, grace_ms: u64) {
    node.claim(&claim("here", false)).await.unwrap();
    stage_config(lab, node, "live").await;
    node.stop(&lab.stop(grace_ms)).await.unwrap();
    node.swap(&swap()).await.unwrap();
    node.start().await.unwrap();
}

/// Breaks the connection, as a reset by the network does.
async fn cut_off(node: &RemoteNode<TaskCarrier>) {
    tokio::select! {
        biased;
        _ = node.prove_clean() => panic!("it was to be cut off"),
        () = std::future::ready(()) => {}
    }
}

#[tokio::test]
async fn a_client_that_comes_again_with_a_mere_question_keeps_its_lease() {
    let lab = Lab::new();
    let node = lab.node();
    on_trial(&lab, &node, 400).await;
    cut_off(&node).await;
    assert_eq!(node.state().await.unwrap(), ContainerState::Running);
    // The agent that was cut off has lost the lease: its grace runs out and nothing happens.
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_ne!(live_config(&lab), "live");
    assert_eq!(node.holds(&run()).await.unwrap().swapped, [Dataset::Config]);
    node.agree(&run()).await.unwrap();
    node.forgo(&run()).await.unwrap();
    node.clean(&CleanRequest::Run(run())).await.unwrap();
    node.release().await.unwrap();
    lab.agents_ended().await;
    assert_eq!(lab.engine.calls(), ["stop 360", "start"]);
    nothing_left(&lab);
}

#[tokio::test]
async fn a_run_whose_lease_fired_can_do_nothing_more_until_it_is_undone() {
    let lab = Lab::new();
    let node = lab.node();
    on_trial(&lab, &node, 50).await;
    cut_off(&node).await;
    lab.agents_ended().await;
    assert_eq!(live_config(&lab), "live");
    let calls = lab.engine.calls();
    for _ in 0..2 {
        assert_kind(node.state().await, NodeErrorKind::LeaseLost);
        assert_kind(node.start().await, NodeErrorKind::LeaseLost);
        assert_kind(node.stop(&lab.stop(50)).await, NodeErrorKind::LeaseLost);
        assert_kind(node.swap(&swap()).await, NodeErrorKind::LeaseLost);
        assert_kind(node.holds(&run()).await, NodeErrorKind::LeaseLost);
        let error = assert_kind(node.agree(&run()).await, NodeErrorKind::LeaseLost);
        assert!(
            error.message.contains("b1 is no longer held for run 20261122T030000Z"),
            "{error}"
        );
        assert_kind(node.clean(&CleanRequest::Run(run())).await, NodeErrorKind::LeaseLost);
    }
    assert_eq!(lab.engine.calls(), calls, "nothing was touched");
    node.claim(&claim("here", true)).await.unwrap();
    node.swap_back(&swap()).await.unwrap();
    node.start().await.unwrap();
    node.clean(&CleanRequest::Run(run())).await.unwrap();
    node.release().await.unwrap();
    lab.agents_ended().await;
    nothing_left(&lab);
}

#[tokio::test]
async fn a_node_that_agreed_swaps_nothing_back_alone_and_waits_for_who_knows() {
    let lab = Lab::new();
    let node = lab.node();
    on_trial(&lab, &node, 50).await;
    node.agree(&run()).await.unwrap();
    drop(node);
    lab.agents_ended().await;
    assert_ne!(live_config(&lab), "live");
    assert!(exists(&lab.work()), "the lease stays");
    // A recovery of a run that was not kept takes the word back; should it die, the node undoes its part alone.
    let second = lab.node();
    second.claim(&claim("here", true)).await.unwrap();
    drop(second);
    lab.agents_ended().await;
    assert_eq!(live_config(&lab), "live");
    assert_eq!(lab.engine.state(), ContainerState::Running);
    nothing_left(&lab);
}

#[tokio::test]
async fn a_living_run_of_another_store_keeps_its_node_and_is_named() {
    let lab = Lab::new();
    let node = lab.node();
    node.claim(&claim("theirs", false)).await.unwrap();
    node.stop(&lab.stop(300)).await.unwrap();
    snapshot(&node).await;
    let second = lab.node();
    let request = FactsRequest {
        datasets: vec![Dataset::Config],
    };
    let leases = second.facts(&request).await.unwrap().leases;
    assert_eq!(leases.len(), 1);
    assert!(leases[0].is_alive && leases[0].window_open);
    assert_eq!(leases[0].owner, Some(owner("theirs")));
    for _ in 0..2 {
        let error = assert_kind(second.claim(&another("ours")).await, NodeErrorKind::Taken);
        for part in [
            "restore of 20261121T030000Z",
            "eve@centre",
            "pid 4711",
            "2026-11-22T03:00:00Z",
        ] {
            assert!(error.message.contains(part), "{part}: {error}");
        }
    }
    assert_kind(second.start().await, NodeErrorKind::Taken);
    let other = another("ours").run.unwrap();
    let stop = StopRequest {
        run: other.clone(),
        ..lab.stop(50)
    };
    assert_kind(second.stop(&stop).await, NodeErrorKind::Taken);
    assert_kind(second.clean(&CleanRequest::Run(other)).await, NodeErrorKind::Taken);
    second.clean(&CleanRequest::Orphans { keep: vec![] }).await.unwrap();
    assert!(exists(&lab.work().join(run().as_str())), "its snapshot is not swept");
    second.release().await.unwrap();
    node.start().await.unwrap();
    // Its snapshot is being archived: still nobody else's node.
    assert_kind(lab.node().claim(&another("ours")).await, NodeErrorKind::Taken);
    // But a run of its own store may come.
    let third = lab.node();
    third.claim(&another("theirs")).await.unwrap();
    third.release().await.unwrap();
    node.clean(&CleanRequest::Run(run())).await.unwrap();
    node.release().await.unwrap();
    lab.node().claim(&another("ours")).await.unwrap();
    lab.agents_ended().await;
    assert_eq!(lab.engine.calls(), ["stop 360", "start"]);
    nothing_left(&lab);
}

#[tokio::test]
async fn a_backup_of_configuration_beside_archives_of_its_own_store_takes_and_sweeps_nothing_of_theirs() {
    let lab = Lab::new();
    let node = lab.node();
    node.claim(&claim("ours", false)).await.unwrap();
    node.stop(&lab.stop(300)).await.unwrap();
    snapshot(&node).await;
    node.start().await.unwrap();
    let (second, other) = (lab.node(), another("ours").run.unwrap());
    second.claim(&another("ours")).await.unwrap();
    let keep = vec![run(), other.clone()];
    second.clean(&CleanRequest::Orphans { keep }).await.unwrap();
    let request = SnapshotRequest {
        run: other.clone(),
        datasets: vec![Dataset::Config],
    };
    second.snapshot(&request).await.unwrap();
    second.clean(&CleanRequest::Run(other)).await.unwrap();
    second.release().await.unwrap();
    for dataset in [Dataset::Config, Dataset::Data] {
        let request = ArchiveRequest {
            run: run(),
            dataset,
            level: 1,
            threads: 1,
        };
        node.archive(&request, &mut Taken::default()).await.unwrap();
    }
    node.clean(&CleanRequest::Run(run())).await.unwrap();
    node.release().await.unwrap();
    lab.agents_ended().await;
    assert_eq!(lab.engine.calls(), ["stop 360", "start"]);
    nothing_left(&lab);
}

#[tokio::test]
async fn what_an_agent_that_died_had_to_undo_is_undone_once_by_whoever_comes_first() {
    let lab = Lab::new();
    let node = lab.node();
    node.claim(&claim("theirs", false)).await.unwrap();
    stage_config(&lab, &node, "live").await;
    node.stop(&lab.stop(50)).await.unwrap();
    node.swap(&swap()).await.unwrap();
    // As when the node loses its power.
    lab.kill_agents().await;
    drop(node);
    assert_eq!(lab.engine.state(), ContainerState::Stopped);
    let second = lab.node();
    let report = second.claim(&another("ours")).await.unwrap();
    assert_eq!(report.undone.len(), 1, "{report:?}");
    assert_eq!(report.undone[0].run, run());
    assert_eq!(report.undone[0].owner, Some(owner("theirs")));
    assert_eq!(report.undone[0].error, None);
    assert_eq!(live_config(&lab), "live");
    assert_eq!(lab.engine.calls(), ["stop 360", "start"]);
    assert_eq!(second.claim(&another("ours")).await.unwrap().undone, []);
    second.release().await.unwrap();
    lab.agents_ended().await;
    assert_eq!(lab.engine.calls(), ["stop 360", "start"]);
    nothing_left(&lab);
}

#[tokio::test]
async fn what_a_run_with_a_journal_has_left_is_left_to_its_journal() {
    let lab = Lab::new();
    let node = lab.node();
    node.claim(&claim("here", false)).await.unwrap();
    node.stop(&lab.stop(50)).await.unwrap();
    lab.kill_agents().await;
    drop(node);
    let second = lab.node();
    let known = Claim {
        known: vec![run()],
        ..another("here")
    };
    assert_eq!(second.claim(&known).await.unwrap().undone, []);
    assert_eq!(lab.engine.state(), ContainerState::Stopped);
    // It has the duty now, should it vanish.
    drop(second);
    lab.agents_ended().await;
    assert_eq!(lab.engine.state(), ContainerState::Running);
    nothing_left(&lab);
}
