//! What the cases share: files, archives, and the usual requests.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::Harness;
use crate::ids::RunId;
use crate::inventory::Dataset;
use crate::ports::node::*;
use crate::testing::packing::{MARKER, sha256};
use crate::testing::state::Files;
use crate::testing::stream::{BytesSource, CollectSink};

pub(super) const BOTH: [Dataset; 2] = [Dataset::Config, Dataset::Data];

pub(super) fn run(second: i64) -> RunId {
    RunId::at(Timestamp::from_second(1_700_000_000 + second).unwrap_or(Timestamp::UNIX_EPOCH))
}

pub(super) fn files(entries: &[(&str, &[u8])]) -> Files {
    entries
        .iter()
        .map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec()))
        .collect()
}

pub(super) fn old(dataset: Dataset) -> Files {
    match dataset {
        Dataset::Config => files(&[("server.properties", b"node.id=1\n"), ("ssl/ca.pem", b"old ca\n")]),
        Dataset::Data => files(&[
            (
                "meta.properties",
                b"#\nversion=1\ncluster.id=AkU3OEVBNTcwNTJENDM2Qk\nnode.id=1\n",
            ),
            ("bootstrap.checkpoint", b"some bytes"),
            ("orders-0/00000000000000000000.log", &[7; 3000]),
            ("orders-0/00000000000000000000.index", &[]),
            // A node's data are never without it.
            ("__cluster_metadata-0/00000000000000000000.log", b""),
            ("orders-0/partition.metadata", b"version: 0\n"),
            ("orders-0/leader-epoch-checkpoint", b"0\n0\n"),
        ]),
    }
}

pub(super) fn new(dataset: Dataset) -> Files {
    let mut files = old(dataset);
    match dataset {
        Dataset::Config => {
            files.insert(
                "server.properties".to_owned(),
                b"node.id=1\nbackground.threads=3\n".to_vec(),
            );
            files.remove("ssl/ca.pem");
        }
        Dataset::Data => {
            files.insert("orders-0/00000000000000000000.log".to_owned(), vec![8; 4000]);
            files.insert("payments-0/00000000000000000000.log".to_owned(), vec![9; 100]);
        }
    }
    files
}

/// The live files, but for what a stop leaves behind.
pub(super) async fn live(harness: &dyn Harness, dataset: Dataset) -> Files {
    let mut files = harness.live(dataset).await;
    files.remove(MARKER);
    files
}

pub(super) async fn fresh(harness: &dyn Harness) -> Arc<dyn NodeTransport> {
    let node = harness.node().await;
    for dataset in BOTH {
        harness.put(dataset, &old(dataset)).await;
    }
    node
}

pub(super) async fn stop(node: &dyn NodeTransport, run: &RunId) -> StopOutcome {
    let request = StopRequest {
        run: run.clone(),
        timeout: Duration::from_secs(360),
        lease: Some(Lease {
            grace: Duration::from_secs(120),
        }),
    };
    node.stop(&request).await.expect("a stop")
}

pub(super) fn both(run: &RunId) -> SwapRequest {
    SwapRequest {
        run: run.clone(),
        datasets: BOTH.to_vec(),
        previous_of: None,
    }
}

pub(super) fn just(run: &RunId, dataset: Dataset) -> SwapRequest {
    SwapRequest {
        run: run.clone(),
        datasets: vec![dataset],
        previous_of: None,
    }
}

/// An archive as it would lie in a store.
pub(super) struct Archive {
    pub(super) dataset: Dataset,
    pub(super) bytes: Vec<u8>,
    pub(super) report: ArchiveReport,
}

impl Archive {
    pub(super) fn request(&self, run: &RunId) -> StageRequest {
        StageRequest {
            run: run.clone(),
            dataset: self.dataset,
            sha256: self.report.sha256,
            dirs: self.report.dirs.clone(),
            files: self.report.files.clone(),
        }
    }

    pub(super) fn source(&self) -> BytesSource {
        BytesSource::new(&self.bytes)
    }
}

pub(super) async fn archive(node: &dyn NodeTransport, run: &RunId, dataset: Dataset) -> Archive {
    let request = ArchiveRequest {
        run: run.clone(),
        dataset,
        level: 1,
        threads: 1,
    };
    let mut sink = CollectSink::default();
    let report = node.archive(&request, &mut sink).await.expect("an archive");
    assert_eq!(report.size, sink.0.len() as u64, "the report tells the bytes sent");
    assert_eq!(report.sha256, sha256(&sink.0), "the report tells their hash");
    Archive {
        dataset,
        bytes: sink.0,
        report,
    }
}

/// A backup of both datasets, with the container running again and nothing left.
pub(super) async fn backup(node: &dyn NodeTransport) -> Vec<Archive> {
    let run = run(0);
    stop(node, &run).await;
    let request = SnapshotRequest {
        run: run.clone(),
        datasets: BOTH.to_vec(),
    };
    node.snapshot(&request).await.expect("a snapshot");
    node.start().await.expect("a start");
    let mut archives = vec![];
    for dataset in BOTH {
        archives.push(archive(node, &run, dataset).await);
    }
    node.clean(&CleanRequest::Run(run)).await.expect("a clean-up");
    node.release().await.expect("a release");
    archives
}

pub(super) async fn is_clean(harness: &dyn Harness, case: &str) {
    let left = harness.leftovers().await;
    assert!(left.is_empty(), "{case} leaves {left:?}");
}
