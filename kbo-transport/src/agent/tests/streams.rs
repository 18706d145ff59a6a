//! Archives through the pipe, and all the ways in which one end stops in the middle.

use std::sync::Mutex as StdMutex;
use std::time::Duration;

use kbo_core::ports::node::{
    ArchiveReport, ArchiveRequest, CleanRequest, NodeErrorKind, NodeTransport, SnapshotRequest, StageRequest,
};

use super::*;

fn archive_request() -> ArchiveRequest {
    ArchiveRequest {
        run: run(),
        dataset: Dataset::Config,
        level: 1,
        threads: 1,
    }
}

/// A node with an archive of its configuration, of several MB.
async fn archived(lab: &Lab, node: &RemoteNode<TaskCarrier>) -> (ArchiveReport, Bytes) {
    lab.fill(8_000_000);
    node.snapshot(&SnapshotRequest {
        run: run(),
        datasets: vec![Dataset::Config],
    })
    .await
    .unwrap();
    let mut sink = Taken::default();
    let report = node.archive(&archive_request(), &mut sink).await.unwrap();
    (report, sink.bytes.into())
}

fn stage_request(report: &ArchiveReport) -> StageRequest {
    StageRequest {
        run: run(),
        dataset: Dataset::Config,
        sha256: report.sha256,
        dirs: report.dirs.clone(),
        files: report.files.clone(),
    }
}

#[tokio::test]
async fn a_sink_that_fails_ends_the_archive_and_the_connection_goes_on() {
    let lab = Lab::new();
    let node = lab.node();
    archived(&lab, &node).await;
    let mut sink = Taken {
        limit: Some(1_000_000),
        ..Taken::default()
    };
    assert_kind(
        node.archive(&archive_request(), &mut sink).await,
        NodeErrorKind::Interrupted,
    );
    let mut sink = Taken::default();
    node.archive(&archive_request(), &mut sink).await.unwrap();
    node.clean(&CleanRequest::Run(run())).await.unwrap();
    node.release().await.unwrap();
    lab.agents_ended().await;
}

#[tokio::test]
async fn an_archive_without_a_snapshot_fails_before_it_begins() {
    let lab = Lab::new();
    let mut sink = Taken::default();
    assert_kind(
        lab.node().archive(&archive_request(), &mut sink).await,
        NodeErrorKind::State,
    );
    assert!(sink.bytes.is_empty());
}

#[tokio::test]
async fn a_source_that_fails_ends_the_staging_and_the_connection_goes_on() {
    let lab = Lab::new();
    let node = lab.node();
    let (report, bytes) = archived(&lab, &node).await;
    let mut source = Given {
        bytes: bytes.slice(..2_000_000),
        end: End::Error,
    };
    let error = assert_kind(
        node.stage(&stage_request(&report), &mut source).await,
        NodeErrorKind::Io,
    );
    assert!(error.message.contains("the store burns"), "{}", error.message);
    node.stage(
        &stage_request(&report),
        &mut Given {
            bytes,
            end: End::Proper,
        },
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn an_archive_that_is_cut_short_is_not_staged() {
    let lab = Lab::new();
    let node = lab.node();
    let (report, bytes) = archived(&lab, &node).await;
    let mut source = Given {
        bytes: bytes.slice(..bytes.len() / 2),
        end: End::Proper,
    };
    assert!(node.stage(&stage_request(&report), &mut source).await.is_err());
    node.stage(
        &stage_request(&report),
        &mut Given {
            bytes,
            end: End::Proper,
        },
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn an_early_failure_of_the_node_stops_an_endless_source() {
    let lab = Lab::new();
    let node = lab.node();
    let (report, bytes) = archived(&lab, &node).await;
    // Refused at once, and refused when an entry comes that is not recorded.
    let (mut at_once, mut later) = (stage_request(&report), stage_request(&report));
    at_once.dirs.clear();
    later.files.retain(|file| file.path != "big.bin");
    for (request, bytes) in [(at_once, Bytes::new()), (later, bytes)] {
        let mut source = Given {
            bytes,
            end: End::Endless,
        };
        let staged = tokio::time::timeout(Duration::from_secs(10), node.stage(&request, &mut source)).await;
        let error = staged.expect("it goes on for ever").unwrap_err();
        assert!(
            matches!(error.kind, NodeErrorKind::Damaged | NodeErrorKind::State),
            "{error:?}"
        );
        // And the connection is in step.
        assert!(node.state().await.is_ok());
    }
}

#[tokio::test]
async fn an_early_failure_of_the_node_does_not_wait_for_a_silent_source() {
    struct Silent;
    #[async_trait]
    impl ByteSource for Silent {
        async fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
            std::future::pending().await
        }
    }
    let lab = Lab::new();
    let node = lab.node();
    let (report, _) = archived(&lab, &node).await;
    let mut request = stage_request(&report);
    request.dirs.clear();
    let staged = tokio::time::timeout(Duration::from_secs(10), node.stage(&request, &mut Silent)).await;
    assert!(staged.expect("it waits for ever").is_err());
    assert!(node.state().await.is_ok());
}

#[tokio::test]
async fn the_agent_dying_in_a_stream_is_an_error_of_the_call() {
    let lab = Lab::new();
    let node = lab.node();
    let (report, bytes) = archived(&lab, &node).await;
    let mut source = Given {
        bytes,
        end: End::Endless,
    };
    let (outcome, ()) = tokio::join!(
        async {
            struct Slow<'a>(&'a mut Given);
            #[async_trait]
            impl ByteSource for Slow<'_> {
                async fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    self.0.next().await
                }
            }
            node.stage(&stage_request(&report), &mut Slow(&mut source)).await
        },
        async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            lab.kill_agents().await;
        }
    );
    assert_kind(outcome, NodeErrorKind::Unreachable);
}

#[tokio::test]
async fn a_small_pipe_and_a_slow_store_lose_nothing() {
    struct Slow(Taken);
    #[async_trait]
    impl ByteSink for Slow {
        async fn write(&mut self, chunk: Bytes) -> Result<(), StreamError> {
            tokio::time::sleep(Duration::from_millis(20)).await;
            self.0.write(chunk).await
        }
    }
    let lab = Lab::new();
    let mut carrier = lab.carrier();
    carrier.capacity = 777;
    let node = lab.remote(carrier);
    let (report, bytes) = archived(&lab, &node).await;
    let mut sink = Slow(Taken::default());
    let again = node.archive(&archive_request(), &mut sink).await.unwrap();
    assert_eq!((again.size, again.sha256), (report.size, report.sha256));
    assert!(sink.0.bytes == bytes);
}

#[tokio::test]
async fn progress_is_told_and_not_too_often() {
    let lab = Lab::new();
    let told = Arc::new(StdMutex::new(Vec::new()));
    let taken = told.clone();
    let node = lab.node().with_progress(Arc::new(move |node, what, done, total| {
        taken
            .lock()
            .unwrap()
            .push((node.to_string(), what.to_owned(), done, total));
    }));
    let (report, bytes) = archived(&lab, &node).await;
    node.stage(
        &stage_request(&report),
        &mut Given {
            bytes,
            end: End::Proper,
        },
    )
    .await
    .unwrap();
    let told = told.lock().unwrap();
    assert!(
        told.iter()
            .any(|(node, what, done, _)| node == "b1" && what == "archive config" && *done > 0),
        "{told:?}"
    );
    assert!(told.len() < 200, "{}", told.len());
}
