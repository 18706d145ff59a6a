//! Every operation through the pipe, and what connections do when they break.

use std::sync::atomic::Ordering;
use std::time::Duration;

use kbo_core::ports::node::{
    ArchiveRequest, CleanRequest, ContainerState, FactsRequest, KafkaQuestion, LinkProbe, NodeErrorKind, NodeTransport,
    Presence, SnapshotRequest, StageRequest, StartOutcome, StopOutcome, SwapOutcome, SwapRequest,
};

use super::*;

#[tokio::test]
async fn facts_tell_engine_container_and_directories() {
    let lab = Lab::new();
    let node = lab.node();
    let facts = node
        .facts(&FactsRequest {
            datasets: vec![Dataset::Config, Dataset::Data],
        })
        .await
        .unwrap();
    assert_eq!(facts.engine.unwrap().version, "Fake 1");
    assert_eq!(facts.container.unwrap().unwrap().state, ContainerState::Running);
    assert_eq!(facts.dirs.len(), 2);
    assert_eq!(facts.dirs[1].presence, Presence::Filled);
    assert_eq!(facts.dirs[1].link, LinkProbe::Works);
    assert_eq!(facts.dirs[1].meta.as_ref().unwrap().node_id, Some(4));
    node.release().await.unwrap();
    lab.agents_ended().await;
    assert!(!exists(&lab.work()));
}

#[tokio::test]
async fn a_missing_container_is_a_fact_and_no_stop() {
    let lab = Lab::with_state(ContainerState::Missing);
    let node = lab.node();
    let facts = node.facts(&FactsRequest { datasets: vec![] }).await.unwrap();
    assert_eq!(facts.container, Ok(None));
    assert_eq!(node.state().await.unwrap(), ContainerState::Missing);
    assert_kind(node.stop(&lab.stop(1000)).await, NodeErrorKind::State);
    assert_kind(node.start().await, NodeErrorKind::State);
    assert_kind(node.kafka(KafkaQuestion::Alive).await, NodeErrorKind::State);
}

#[tokio::test]
async fn stop_and_start_say_what_they_found() {
    let lab = Lab::new();
    let node = lab.node();
    assert_eq!(node.stop(&lab.stop(1000)).await.unwrap(), StopOutcome::Stopped);
    assert_eq!(node.stop(&lab.stop(1000)).await.unwrap(), StopOutcome::AlreadyStopped);
    assert_eq!(node.start().await.unwrap(), StartOutcome::Started);
    assert_eq!(node.start().await.unwrap(), StartOutcome::AlreadyRunning);
    assert_eq!(lab.engine.calls(), ["stop 360", "start", "start"]);
    node.release().await.unwrap();
    lab.agents_ended().await;
    assert!(!exists(&lab.work()), "the lease is left");
}

#[tokio::test]
async fn what_needs_the_container_stopped_says_so() {
    let lab = Lab::new();
    let node = lab.node();
    let swap = SwapRequest {
        run: run(),
        datasets: vec![Dataset::Data],
        previous_of: None,
    };
    assert_kind(node.prove_clean().await, NodeErrorKind::State);
    let data = SnapshotRequest {
        run: run(),
        datasets: vec![Dataset::Data],
    };
    assert_kind(node.snapshot(&data).await, NodeErrorKind::State);
    assert_kind(node.swap(&swap).await, NodeErrorKind::State);
    // Nothing was swapped, so that there is nothing to stop for.
    assert_eq!(node.swap_back(&swap).await.unwrap(), SwapOutcome::AlreadySwapped);
    lab.engine.fail_starts(1);
    node.stop(&lab.stop(1000)).await.unwrap();
    assert_kind(node.start().await, NodeErrorKind::Engine);
    assert!(node.prove_clean().await.unwrap().clean);
}

#[tokio::test]
async fn a_paused_container_is_not_stopped() {
    let lab = Lab::with_state(ContainerState::Paused);
    let error = assert_kind(lab.node().stop(&lab.stop(1000)).await, NodeErrorKind::State);
    assert!(error.hint.is_some());
    assert!(lab.engine.calls().is_empty());
}

#[tokio::test]
async fn a_backup_and_a_restore_go_through_the_pipe() {
    let lab = Lab::new();
    lab.fill(3_000_000);
    let node = lab.node();
    let both = vec![Dataset::Config, Dataset::Data];
    node.stop(&lab.stop(5000)).await.unwrap();
    assert!(node.prove_clean().await.unwrap().clean);
    let snapshot = node
        .snapshot(&SnapshotRequest {
            run: run(),
            datasets: both.clone(),
        })
        .await
        .unwrap();
    assert_eq!(snapshot.bytes.len(), 2);
    node.start().await.unwrap();
    let mut archives = Vec::new();
    for dataset in both.clone() {
        let mut sink = Taken::default();
        let request = ArchiveRequest {
            run: run(),
            dataset,
            level: 1,
            threads: 0,
        };
        let report = node.archive(&request, &mut sink).await.unwrap();
        assert_eq!(report.size, sink.bytes.len() as u64);
        assert!(!report.files.is_empty());
        archives.push((dataset, report, Bytes::from(sink.bytes)));
    }
    node.clean(&CleanRequest::Run(run())).await.unwrap();
    assert!(!exists(&lab.work()));

    std::fs::write(lab.config().join("server.properties"), "changed").unwrap();
    std::fs::remove_dir_all(lab.data().join("t-0")).unwrap();
    for (dataset, report, bytes) in archives {
        let request = StageRequest {
            run: run(),
            dataset,
            sha256: report.sha256,
            dirs: report.dirs.clone(),
            files: report.files.clone(),
        };
        let staged = node
            .stage(
                &request,
                &mut Given {
                    bytes,
                    end: End::Proper,
                },
            )
            .await
            .unwrap();
        assert!(staged.files > 0);
    }
    node.stop(&lab.stop(5000)).await.unwrap();
    let swap = SwapRequest {
        run: run(),
        datasets: both,
        previous_of: None,
    };
    assert_eq!(node.swap(&swap).await.unwrap(), SwapOutcome::Swapped);
    assert_eq!(node.swap(&swap).await.unwrap(), SwapOutcome::AlreadySwapped);
    assert!(lab.data().join("t-0/partition.metadata").is_file());
    assert_eq!(node.swap_back(&swap).await.unwrap(), SwapOutcome::Swapped);
    assert!(!exists(&lab.data().join("t-0")));
    assert_eq!(node.swap(&swap).await.unwrap(), SwapOutcome::Swapped);
    node.start().await.unwrap();
    node.clean(&CleanRequest::Run(run())).await.unwrap();
    node.release().await.unwrap();
    lab.agents_ended().await;
    let text = std::fs::read_to_string(lab.config().join("server.properties")).unwrap();
    assert!(text.contains("node.id=4"));
    assert!(!exists(&lab.work()) && !exists(&lab.dir.path().join("etc/.kbo")));
}

#[tokio::test]
async fn a_long_silence_of_an_operation_is_not_taken_for_death() {
    let lab = Lab::new();
    lab.engine.stop_takes(Duration::from_millis(1500));
    let limits = ClientLimits {
        ping: Duration::from_millis(100),
        silence: Duration::from_millis(400),
        hello: Duration::from_secs(5),
    };
    let node = lab.node().with_limits(limits);
    assert_eq!(node.stop(&lab.stop(5000)).await.unwrap(), StopOutcome::Stopped);
}

#[tokio::test]
async fn an_agent_that_falls_silent_is_given_up() {
    let mut lab = Lab::new();
    lab.limits.heartbeat = Duration::from_secs(100);
    lab.engine.stop_takes(Duration::from_secs(3));
    let limits = ClientLimits {
        ping: Duration::from_millis(100),
        silence: Duration::from_millis(400),
        hello: Duration::from_secs(5),
    };
    let node = lab.node().with_limits(limits);
    let error = assert_kind(node.stop(&lab.stop(5000)).await, NodeErrorKind::Unreachable);
    assert!(error.message.contains("last words"), "{}", error.message);
}

#[tokio::test]
async fn questions_are_asked_again_over_a_new_connection() {
    let lab = Lab::new();
    let carrier = lab.carrier();
    let opened = carrier.opened.clone();
    let node = lab.remote(carrier);
    assert_eq!(node.state().await.unwrap(), ContainerState::Running);
    lab.kill_agents().await;
    assert_eq!(node.state().await.unwrap(), ContainerState::Running);
    assert_eq!(opened.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_stop_cut_off_is_not_repeated() {
    let lab = Lab::new();
    lab.engine.stop_takes(Duration::from_secs(5));
    let carrier = lab.carrier();
    let opened = carrier.opened.clone();
    let node = lab.remote(carrier);
    let request = lab.stop(100);
    let (outcome, ()) = tokio::join!(node.stop(&request), async {
        let engine = lab.engine.clone();
        until("the stop begins", || engine.calls() == ["stop 360"]).await;
        lab.kill_agents().await;
    });
    assert_kind(outcome, NodeErrorKind::Unreachable);
    assert_eq!(opened.load(Ordering::SeqCst), 1);
    assert_eq!(lab.engine.calls(), ["stop 360"]);
}

#[tokio::test]
async fn release_without_a_connection_opens_none() {
    let lab = Lab::new();
    let carrier = lab.carrier();
    let opened = carrier.opened.clone();
    lab.remote(carrier).release().await.unwrap();
    assert_eq!(opened.load(Ordering::SeqCst), 0);
}
