//! Snapshots and the archives of them.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;

use super::Harness;
use super::fixtures::*;
use crate::inventory::Dataset;
use crate::ports::node::*;
use crate::ports::stream::{ByteSink, StreamError};
use crate::testing::stream::{CollectSink, FailingSink};

pub(super) async fn configuration_is_read_while_the_container_runs(harness: &dyn Harness) {
    let node = fresh(harness).await;
    let run = run(3);
    let request = SnapshotRequest {
        run: run.clone(),
        datasets: vec![Dataset::Config],
    };
    node.snapshot(&request).await.expect("a snapshot");
    harness.put(Dataset::Config, &new(Dataset::Config)).await;
    let archive = archive(&*node, &run, Dataset::Config).await;
    let raw: usize = old(Dataset::Config).values().map(Vec::len).sum();
    assert_eq!(
        archive.report.raw_size, raw as u64,
        "the archive is of the snapshot, not of what is live now"
    );
    assert_eq!(harness.container().await, ContainerState::Running);
    node.clean(&CleanRequest::Run(run)).await.expect("a clean-up");
    node.release().await.expect("a release");
    is_clean(harness, "a backup of configuration").await;
}

pub(super) async fn free_space_is_told_while_an_archive_is_on_its_way(harness: &dyn Harness) {
    let node = fresh(harness).await;
    let run = run(21);
    let request = SnapshotRequest {
        run: run.clone(),
        datasets: vec![Dataset::Config],
    };
    node.snapshot(&request).await.expect("a snapshot");
    let request = ArchiveRequest {
        run: run.clone(),
        dataset: Dataset::Config,
        level: 1,
        threads: 1,
    };
    let mut sink = HeldSink::default();
    let (begun, released) = (Arc::clone(&sink.begun), Arc::clone(&sink.released));
    let looking = async {
        begun.notified().await;
        let space = node.space(&[Dataset::Data]).await;
        released.notify_one();
        space
    };
    let (archived, space) = tokio::join!(node.archive(&request, &mut sink), looking);
    archived.expect("an archive");
    let space = space.expect("the free space");
    let told = node
        .facts(&FactsRequest {
            datasets: vec![Dataset::Data],
        })
        .await
        .expect("facts");
    assert_eq!(
        space.iter().map(|dir| (&dir.path, dir.size)).collect::<Vec<_>>(),
        told.dirs.iter().map(|dir| (&dir.path, dir.size)).collect::<Vec<_>>(),
        "the same directories, on the same filesystems"
    );
    assert!(
        space.iter().all(|dir| dir.free > 0 && dir.free <= dir.size),
        "{space:?}"
    );
    node.clean(&CleanRequest::Run(run)).await.expect("a clean-up");
    node.release().await.expect("a release");
    is_clean(harness, "a look at the free space").await;
}

/// A sink that holds up its first chunk until it is let go.
#[derive(Default)]
struct HeldSink {
    begun: Arc<Notify>,
    released: Arc<Notify>,
    is_open: bool,
}

#[async_trait]
impl ByteSink for HeldSink {
    async fn write(&mut self, _chunk: Bytes) -> Result<(), StreamError> {
        if !self.is_open {
            self.begun.notify_one();
            self.released.notified().await;
            self.is_open = true;
        }
        Ok(())
    }
}

pub(super) async fn a_sink_that_fails_ends_the_archive_and_not_the_transport(harness: &dyn Harness) {
    let node = fresh(harness).await;
    let run = run(16);
    stop(&*node, &run).await;
    let request = SnapshotRequest {
        run: run.clone(),
        datasets: BOTH.to_vec(),
    };
    node.snapshot(&request).await.expect("a snapshot");
    node.snapshot(&request)
        .await
        .expect("a snapshot in the place of another");
    node.start().await.expect("a start");
    for dataset in BOTH {
        let request = ArchiveRequest {
            run: run.clone(),
            dataset,
            level: 1,
            threads: 1,
        };
        node.archive(&request, &mut FailingSink { takes: 0 })
            .await
            .expect_err("an archive into a failing sink");
        archive(&*node, &run, dataset).await;
    }
    assert_eq!(node.state().await, Ok(ContainerState::Running));
    node.clean(&CleanRequest::Run(run)).await.expect("a clean-up");
    node.release().await.expect("a release");
    is_clean(harness, "a failed archive").await;
}

pub(super) async fn archiving_without_a_snapshot_fails(harness: &dyn Harness) {
    let node = fresh(harness).await;
    let request = ArchiveRequest {
        run: run(17),
        dataset: Dataset::Data,
        level: 1,
        threads: 1,
    };
    node.archive(&request, &mut CollectSink::default())
        .await
        .expect_err("an archive of nothing");
    node.release().await.expect("a release");
    is_clean(harness, "an archive of nothing").await;
}
