//! The client vanishes; somebody takes over, or the node undoes its part.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kbo_core::ports::node::{
    ArchiveRequest, CleanRequest, ContainerState, NodeErrorKind, NodeTransport, SnapshotRequest, StageRequest,
    StopRequest, SwapRequest,
};
use tokio::net::TcpListener;

use super::claims::claim;
use super::*;

pub(super) async fn snapshot(node: &RemoteNode<TaskCarrier>) {
    node.snapshot(&SnapshotRequest {
        run: run(),
        datasets: vec![Dataset::Config, Dataset::Data],
    })
    .await
    .unwrap();
}

/// Stages the node's own configuration as archived, after which the live one is changed to `live`.
pub(super) async fn stage_config(lab: &Lab, node: &RemoteNode<TaskCarrier>, live: &str) {
    node.snapshot(&SnapshotRequest {
        run: run(),
        datasets: vec![Dataset::Config],
    })
    .await
    .unwrap();
    let mut sink = Taken::default();
    let request = ArchiveRequest {
        run: run(),
        dataset: Dataset::Config,
        level: 1,
        threads: 1,
    };
    let report = node.archive(&request, &mut sink).await.unwrap();
    let request = StageRequest {
        run: run(),
        dataset: Dataset::Config,
        sha256: report.sha256,
        dirs: report.dirs,
        files: report.files,
    };
    node.stage(
        &request,
        &mut Given {
            bytes: sink.bytes.into(),
            end: End::Proper,
        },
    )
    .await
    .unwrap();
    std::fs::write(lab.config().join("server.properties"), live).unwrap();
}

pub(super) fn live_config(lab: &Lab) -> String {
    std::fs::read_to_string(lab.config().join("server.properties")).unwrap()
}

pub(super) fn swap() -> SwapRequest {
    SwapRequest {
        run: run(),
        datasets: vec![Dataset::Config],
        previous_of: None,
    }
}

pub(super) fn nothing_left(lab: &Lab) {
    assert!(
        !exists(&lab.work()),
        "{:?}",
        std::fs::read_dir(lab.work()).unwrap().collect::<Vec<_>>()
    );
    assert!(!exists(&lab.dir.path().join("etc/.kbo")));
}

#[tokio::test]
async fn a_client_that_vanishes_in_the_window_leaves_a_running_container() {
    let lab = Lab::new();
    let node = lab.node();
    node.stop(&lab.stop(300)).await.unwrap();
    snapshot(&node).await;
    assert!(exists(&lab.work()));
    let gone = Instant::now();
    drop(node);
    lab.agents_ended().await;
    assert!(gone.elapsed() >= Duration::from_millis(300), "it did not wait");
    assert_eq!(lab.engine.state(), ContainerState::Running);
    assert_eq!(lab.engine.calls(), ["stop 360", "start"]);
    nothing_left(&lab);
}

#[tokio::test]
async fn a_released_node_undoes_nothing() {
    let lab = Lab::new();
    let node = lab.node();
    node.stop(&lab.stop(50)).await.unwrap();
    node.release().await.unwrap();
    drop(node);
    lab.agents_ended().await;
    assert_eq!(lab.engine.state(), ContainerState::Stopped);
    nothing_left(&lab);
}

#[tokio::test]
async fn what_was_stopped_before_stays_stopped() {
    let lab = Lab::with_state(ContainerState::Stopped);
    let node = lab.node();
    node.stop(&lab.stop(50)).await.unwrap();
    snapshot(&node).await;
    drop(node);
    lab.agents_ended().await;
    assert!(lab.engine.calls().is_empty());
    nothing_left(&lab);
}

#[tokio::test]
async fn a_stop_without_a_lease_lasts() {
    let lab = Lab::new();
    let node = lab.node();
    let request = StopRequest {
        lease: None,
        ..lab.stop(0)
    };
    node.stop(&request).await.unwrap();
    drop(node);
    lab.agents_ended().await;
    assert_eq!(lab.engine.state(), ContainerState::Stopped);
    nothing_left(&lab);
}

#[tokio::test]
async fn who_takes_over_in_time_has_the_node_to_himself() {
    let lab = Lab::new();
    let node = lab.node();
    node.stop(&lab.stop(1500)).await.unwrap();
    snapshot(&node).await;
    drop(node);
    // The first agent waits; another run's client comes with a request that changes something.
    let second = lab.node();
    second
        .snapshot(&SnapshotRequest {
            run: run(),
            datasets: vec![Dataset::Data],
        })
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(2000)).await;
    assert_eq!(
        lab.engine.state(),
        ContainerState::Stopped,
        "the first agent acted all the same"
    );
    assert!(exists(&lab.work()));
    // It holds the duty now.
    drop(second);
    lab.agents_ended().await;
    assert_eq!(lab.engine.calls(), ["stop 360", "start"]);
    nothing_left(&lab);
}

#[tokio::test]
async fn recovery_after_a_crash_of_the_centre_is_done_once() {
    let lab = Lab::new();
    let node = lab.node();
    node.stop(&lab.stop(1000)).await.unwrap();
    drop(node);
    let second = lab.node();
    second.claim(&claim("here", true)).await.unwrap();
    second.start().await.unwrap();
    second.clean(&CleanRequest::Run(run())).await.unwrap();
    second.release().await.unwrap();
    lab.agents_ended().await;
    assert_eq!(lab.engine.calls(), ["stop 360", "start"]);
    nothing_left(&lab);
}

#[tokio::test]
async fn questions_take_nothing_over() {
    let lab = Lab::new();
    let node = lab.node();
    node.stop(&lab.stop(600)).await.unwrap();
    drop(node);
    let second = lab.node();
    second.state().await.unwrap();
    second.clean(&CleanRequest::Orphans { keep: vec![] }).await.unwrap();
    second.release().await.unwrap();
    lab.agents_ended().await;
    assert_eq!(lab.engine.state(), ContainerState::Running);
    nothing_left(&lab);
}

#[tokio::test]
async fn a_start_waits_for_the_stop_of_the_agent_it_takes_over_from() {
    let lab = Lab::new();
    lab.engine.stop_takes(Duration::from_millis(800));
    let node = lab.node();
    let request = lab.stop(100);
    let call = tokio::spawn(async move { node.stop(&request).await });
    until("the stop begins", || lab.engine.calls() == ["stop 360"]).await;
    call.abort();
    let _ = call.await;
    let second = lab.node();
    second.claim(&claim("here", true)).await.unwrap();
    second.start().await.unwrap();
    assert_eq!(lab.engine.state(), ContainerState::Running);
    second.release().await.unwrap();
    lab.agents_ended().await;
    assert_eq!(lab.engine.calls(), ["stop 360", "start"]);
    nothing_left(&lab);
}

#[tokio::test]
async fn a_crashed_agents_duty_goes_to_the_next() {
    let lab = Lab::new();
    let node = lab.node();
    node.stop(&lab.stop(100)).await.unwrap();
    snapshot(&node).await;
    lab.kill_agents().await;
    drop(node);
    // Nobody undoes anything now, and sweeping orphans does not take the snapshot of a run that has yet to be mended.
    let second = lab.node();
    second.clean(&CleanRequest::Orphans { keep: vec![] }).await.unwrap();
    assert!(exists(&lab.work()));
    snapshot(&second).await;
    drop(second);
    lab.agents_ended().await;
    assert_eq!(lab.engine.state(), ContainerState::Running);
    nothing_left(&lab);
}

#[tokio::test]
async fn a_swap_is_undone_before_the_container_starts() {
    let lab = Lab::new();
    let node = lab.node();
    stage_config(&lab, &node, "live").await;
    node.stop(&lab.stop(50)).await.unwrap();
    node.swap(&swap()).await.unwrap();
    assert_ne!(live_config(&lab), "live");
    drop(node);
    lab.agents_ended().await;
    assert_eq!(live_config(&lab), "live");
    assert_eq!(lab.engine.calls(), ["stop 360", "start"]);
    nothing_left(&lab);
}

#[tokio::test]
async fn restored_data_on_trial_is_taken_back_even_from_a_running_container() {
    let lab = Lab::new();
    let node = lab.node();
    stage_config(&lab, &node, "live").await;
    node.stop(&lab.stop(50)).await.unwrap();
    node.swap(&swap()).await.unwrap();
    node.start().await.unwrap();
    drop(node);
    lab.agents_ended().await;
    assert_eq!(live_config(&lab), "live");
    assert_eq!(lab.engine.calls(), ["stop 360", "start", "stop 10", "start"]);
    nothing_left(&lab);
}

#[tokio::test]
async fn a_swap_that_was_cleaned_up_after_is_for_good() {
    let lab = Lab::new();
    let node = lab.node();
    stage_config(&lab, &node, "live").await;
    node.stop(&lab.stop(50)).await.unwrap();
    node.swap(&swap()).await.unwrap();
    node.start().await.unwrap();
    node.clean(&CleanRequest::Run(run())).await.unwrap();
    drop(node);
    lab.agents_ended().await;
    assert_ne!(live_config(&lab), "live");
    assert_eq!(lab.engine.state(), ContainerState::Running);
    nothing_left(&lab);
}

#[tokio::test]
async fn a_container_that_somebody_else_stops_after_our_start_is_not_started_again() {
    let lab = Lab::new();
    let node = lab.node();
    node.stop(&lab.stop(50)).await.unwrap();
    snapshot(&node).await;
    node.start().await.unwrap();
    crate::local::Engine::stop(&*lab.engine, "b1", Duration::from_secs(1))
        .await
        .unwrap();
    drop(node);
    lab.agents_ended().await;
    assert_eq!(lab.engine.state(), ContainerState::Stopped);
    nothing_left(&lab);
}

/// A controller's listener, and its address.
async fn controller() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn write_quorum(lab: &Lab, servers: &str) {
    let text = format!("process.roles=broker\nnode.id=4\ncontroller.quorum.bootstrap.servers={servers}\n");
    std::fs::write(lab.config().join("server.properties"), text).unwrap();
}

#[tokio::test]
async fn a_broker_waits_for_most_of_the_controllers_that_it_could_reach_before() {
    let lab = Lab::new();
    let ((c1, a1), (c2, a2), (c3, a3)) = (controller().await, controller().await, controller().await);
    write_quorum(&lab, &format!("{a1},{a2},{a3},only-the-engine-knows.invalid:9093"));
    let node = lab.node();
    node.stop(&lab.stop(50)).await.unwrap();
    drop((c1, c2, c3));
    drop(node);
    let _first = TcpListener::bind(a1).await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(lab.engine.state(), ContainerState::Stopped);
    let _second = TcpListener::bind(a2).await.unwrap();
    lab.agents_ended().await;
    assert_eq!(lab.engine.state(), ContainerState::Running);
    nothing_left(&lab);
}

#[tokio::test]
async fn a_broker_whose_controllers_stay_away_starts_all_the_same() {
    let mut lab = Lab::new();
    lab.limits.undo.controllers = Duration::from_millis(200);
    let (controller, address) = controller().await;
    write_quorum(&lab, &address.to_string());
    let node = lab.node();
    node.stop(&lab.stop(50)).await.unwrap();
    drop(controller);
    drop(node);
    lab.agents_ended().await;
    assert_eq!(lab.engine.state(), ContainerState::Running);
}

#[tokio::test]
async fn an_engine_that_is_not_up_yet_is_tried_again() {
    let lab = Lab::new();
    let node = lab.node();
    node.stop(&lab.stop(50)).await.unwrap();
    lab.engine.fail_starts(3);
    drop(node);
    lab.agents_ended().await;
    assert_eq!(lab.engine.state(), ContainerState::Running);
    nothing_left(&lab);
}

#[tokio::test]
async fn a_stop_under_way_is_finished_and_then_undone() {
    let lab = Lab::new();
    lab.engine.stop_takes(Duration::from_millis(400));
    let node = lab.node();
    let request = lab.stop(50);
    let call = tokio::spawn(async move { node.stop(&request).await });
    until("the stop begins", || lab.engine.calls() == ["stop 360"]).await;
    call.abort();
    let _ = call.await;
    lab.agents_ended().await;
    assert_eq!(lab.engine.calls(), ["stop 360", "start"]);
    nothing_left(&lab);
}

#[tokio::test]
async fn an_archive_under_way_is_ended_when_the_client_vanishes() {
    struct Stuck;
    #[async_trait]
    impl ByteSink for Stuck {
        async fn write(&mut self, _chunk: Bytes) -> Result<(), StreamError> {
            std::future::pending().await
        }
    }
    let lab = Lab::new();
    lab.fill(8_000_000);
    let node = lab.node();
    snapshot_config(&node).await;
    let call = tokio::spawn(async move {
        let request = ArchiveRequest {
            run: run(),
            dataset: Dataset::Config,
            level: 1,
            threads: 1,
        };
        node.archive(&request, &mut Stuck).await
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    call.abort();
    let _ = call.await;
    lab.agents_ended().await;
    nothing_left(&lab);
}

async fn snapshot_config(node: &RemoteNode<TaskCarrier>) {
    node.snapshot(&SnapshotRequest {
        run: run(),
        datasets: vec![Dataset::Config],
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_client_whose_machine_lost_its_power_is_noticed() {
    let mut lab = Lab::new();
    lab.limits.silence = Duration::from_millis(400);
    // Pings that never come: the connection stays open, as one does whose other end is gone without a word.
    let node = lab.node().with_limits(ClientLimits {
        ping: Duration::from_secs(100),
        ..ClientLimits::default()
    });
    node.stop(&lab.stop(50)).await.unwrap();
    lab.agents_ended().await;
    assert_eq!(lab.engine.state(), ContainerState::Running);
    // And the client hears of it.
    assert_kind(
        node.snapshot(&SnapshotRequest {
            run: run(),
            datasets: vec![Dataset::Data],
        })
        .await,
        NodeErrorKind::LeaseLost,
    );
    drop(node);
    lab.agents_ended().await;
}

#[tokio::test]
async fn clients_that_live_are_not_taken_for_dead() {
    let mut lab = Lab::new();
    lab.limits.silence = Duration::from_millis(500);
    let node = lab.node();
    node.stop(&lab.stop(50)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(lab.engine.state(), ContainerState::Stopped);
    node.start().await.unwrap();
    node.release().await.unwrap();
    lab.agents_ended().await;
    nothing_left(&lab);
}

#[tokio::test]
async fn a_run_that_stopped_nothing_leaves_no_work_folder() {
    let lab = Lab::new();
    let node = lab.node();
    snapshot_config(&node).await;
    assert!(exists(&lab.dir.path().join("etc/.kbo")));
    drop(node);
    lab.agents_ended().await;
    assert!(lab.engine.calls().is_empty());
    nothing_left(&lab);
}

#[tokio::test]
async fn a_forgone_lease_undoes_nothing_and_the_connection_stays() {
    let lab = Lab::new();
    let carrier = lab.carrier();
    let opened = carrier.opened.clone();
    let node = lab.remote(carrier);
    stage_config(&lab, &node, "live").await;
    node.stop(&lab.stop(50)).await.unwrap();
    node.swap(&swap()).await.unwrap();
    node.forgo(&run()).await.unwrap();
    assert_eq!(node.state().await.unwrap(), ContainerState::Stopped);
    assert_eq!(opened.load(std::sync::atomic::Ordering::SeqCst), 1);
    drop(node);
    lab.agents_ended().await;
    assert_ne!(live_config(&lab), "live");
    assert_eq!(lab.engine.state(), ContainerState::Stopped);
    assert!(!exists(&lab.work()));
    // What the swap replaced is the journal's affair.
    let second = lab.node();
    second.swap_back(&swap()).await.unwrap();
    assert_eq!(live_config(&lab), "live");
}

#[tokio::test]
async fn forgoing_and_releasing_reach_an_agent_whose_connection_broke() {
    for forgo in [true, false] {
        let lab = Lab::new();
        let node = lab.node();
        node.stop(&lab.stop(1500)).await.unwrap();
        // As the operator's Ctrl-C does in the middle of a call.
        tokio::select! {
            biased;
            _ = node.prove_clean() => panic!("it was to be cut off"),
            () = std::future::ready(()) => {}
        }
        if forgo {
            node.forgo(&run()).await.unwrap();
        }
        node.release().await.unwrap();
        lab.agents_ended().await;
        assert_eq!(lab.engine.state(), ContainerState::Stopped);
        nothing_left(&lab);
    }
}

#[tokio::test]
async fn another_process_can_forgo_for_a_dead_one() {
    let lab = Lab::new();
    let node = lab.node();
    node.stop(&lab.stop(1000)).await.unwrap();
    drop(node);
    lab.node().forgo(&run()).await.unwrap();
    lab.agents_ended().await;
    assert_eq!(lab.engine.state(), ContainerState::Stopped);
    nothing_left(&lab);
}
