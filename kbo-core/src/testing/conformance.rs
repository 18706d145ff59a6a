//! The suite that every transport, fake and decorator must pass: the contract of [`crate::ports::node`], tried out.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::packing::{MARKER, sha256};
use super::state::Files;
use super::stream::{BytesSource, CollectSink, FailingSink};
use crate::ids::RunId;
use crate::inventory::Dataset;
use crate::manifest::{DirRecord, FileKind, FileRecord};
use crate::ports::node::*;

/// What a transport's test brings along. The node has one directory per dataset, and its container runs Kafka or what
/// passes for it.
#[async_trait]
pub trait Harness: Send + Sync {
    /// A transport to a node whose container runs and on which nothing of kbo lies; what an earlier case left is gone.
    async fn node(&self) -> Arc<dyn NodeTransport>;

    /// Makes `files` the whole content of a dataset's live directory.
    async fn put(&self, dataset: Dataset, files: &Files);

    /// The whole content of a dataset's live directory.
    async fn live(&self, dataset: Dataset) -> Files;

    /// The container's state, as somebody other than the transport sees it.
    async fn container(&self) -> ContainerState;

    /// Everything of kbo's that lies on the node.
    async fn leftovers(&self) -> Vec<String>;
}

const BOTH: [Dataset; 2] = [Dataset::Config, Dataset::Data];

/// Runs every case.
///
/// # Panics
/// The transport breaks the contract; the message says where.
pub async fn conformance(harness: &dyn Harness) {
    stop_and_start_say_what_they_found(harness).await;
    facts_tell_what_stands_there(harness).await;
    a_round_trip_returns_the_files_exactly(harness).await;
    configuration_is_read_while_the_container_runs(harness).await;
    data_at_work_are_not_touched(harness).await;
    a_swap_is_undone(harness).await;
    replaced_data_are_kept_on_request(harness).await;
    cleaning_what_is_not_there_is_done(harness).await;
    nothing_staged_cannot_be_swapped(harness).await;
    a_damaged_archive_is_not_staged(harness).await;
    an_archive_of_another_hash_is_not_staged(harness).await;
    an_archive_without_a_file_of_the_manifest_is_not_staged(harness).await;
    an_archive_with_a_file_too_many_is_not_staged(harness).await;
    a_source_that_breaks_stages_nothing(harness).await;
    staging_again_after_damage_works(harness).await;
    a_sink_that_fails_ends_the_archive_and_not_the_transport(harness).await;
    archiving_without_a_snapshot_fails(harness).await;
    work_folders_of_dead_runs_are_told_and_swept(harness).await;
    a_node_works_on_after_giving_its_lease_back(harness).await;
}

fn run(second: i64) -> RunId {
    RunId::at(Timestamp::from_second(1_700_000_000 + second).unwrap_or(Timestamp::UNIX_EPOCH))
}

fn files(entries: &[(&str, &[u8])]) -> Files {
    entries
        .iter()
        .map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec()))
        .collect()
}

fn old(dataset: Dataset) -> Files {
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
            ("orders-0/partition.metadata", b"version: 0\n"),
            ("orders-0/leader-epoch-checkpoint", b"0\n0\n"),
        ]),
    }
}

fn new(dataset: Dataset) -> Files {
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
async fn live(harness: &dyn Harness, dataset: Dataset) -> Files {
    let mut files = harness.live(dataset).await;
    files.remove(MARKER);
    files
}

async fn fresh(harness: &dyn Harness) -> Arc<dyn NodeTransport> {
    let node = harness.node().await;
    for dataset in BOTH {
        harness.put(dataset, &old(dataset)).await;
    }
    node
}

async fn stop(node: &dyn NodeTransport, run: &RunId) -> StopOutcome {
    let request = StopRequest {
        run: run.clone(),
        timeout: Duration::from_secs(360),
        lease: Some(Lease {
            grace: Duration::from_secs(120),
        }),
    };
    node.stop(&request).await.expect("a stop")
}

fn both(run: &RunId) -> SwapRequest {
    SwapRequest {
        run: run.clone(),
        datasets: BOTH.to_vec(),
    }
}

fn just(run: &RunId, dataset: Dataset) -> SwapRequest {
    SwapRequest {
        run: run.clone(),
        datasets: vec![dataset],
    }
}

/// An archive as it would lie in a store.
struct Archive {
    dataset: Dataset,
    bytes: Vec<u8>,
    report: ArchiveReport,
}

impl Archive {
    fn request(&self, run: &RunId) -> StageRequest {
        StageRequest {
            run: run.clone(),
            dataset: self.dataset,
            sha256: self.report.sha256,
            dirs: self.report.dirs.clone(),
            files: self.report.files.clone(),
        }
    }

    fn source(&self) -> BytesSource {
        BytesSource::new(&self.bytes)
    }
}

async fn archive(node: &dyn NodeTransport, run: &RunId, dataset: Dataset) -> Archive {
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
async fn backup(node: &dyn NodeTransport) -> Vec<Archive> {
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

async fn is_clean(harness: &dyn Harness, case: &str) {
    let left = harness.leftovers().await;
    assert!(left.is_empty(), "{case} leaves {left:?}");
}

async fn stop_and_start_say_what_they_found(harness: &dyn Harness) {
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

async fn facts_tell_what_stands_there(harness: &dyn Harness) {
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

async fn a_round_trip_returns_the_files_exactly(harness: &dyn Harness) {
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
    node.forgo().await.expect("giving the lease back");
    let report = node.clean(&CleanRequest::Run(run.clone())).await.expect("a clean-up");
    assert_eq!(report.removed, [run]);
    node.release().await.expect("a release");
    is_clean(harness, "a restore").await;
}

async fn configuration_is_read_while_the_container_runs(harness: &dyn Harness) {
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

async fn data_at_work_are_not_touched(harness: &dyn Harness) {
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

async fn a_swap_is_undone(harness: &dyn Harness) {
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

async fn replaced_data_are_kept_on_request(harness: &dyn Harness) {
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
    node.forgo().await.expect("giving the lease back");
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

async fn cleaning_what_is_not_there_is_done(harness: &dyn Harness) {
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

async fn nothing_staged_cannot_be_swapped(harness: &dyn Harness) {
    let node = fresh(harness).await;
    let run = run(8);
    stop(&*node, &run).await;
    nothing_stageable(harness, &*node, &run, Dataset::Data).await;
}

/// After a failed stage: no swap, an undo that has nothing to do, the live data untouched, nothing left.
async fn nothing_stageable(harness: &dyn Harness, node: &dyn NodeTransport, run: &RunId, dataset: Dataset) {
    let before = live(harness, dataset).await;
    stop(node, run).await;
    node.swap(&just(run, dataset))
        .await
        .expect_err("a swap without anything staged");
    assert_eq!(
        node.swap_back(&just(run, dataset)).await,
        Ok(SwapOutcome::AlreadySwapped)
    );
    assert_eq!(live(harness, dataset).await, before);
    node.start().await.expect("a start");
    node.clean(&CleanRequest::Run(run.clone())).await.expect("a clean-up");
    node.release().await.expect("a release");
    is_clean(harness, "a failed stage").await;
}

async fn refuses_to_stage(
    harness: &dyn Harness,
    node: &dyn NodeTransport,
    request: &StageRequest,
    source: &mut BytesSource,
    kind: Option<NodeErrorKind>,
) {
    let error = node
        .stage(request, source)
        .await
        .expect_err("staging what is not as it should be");
    if let Some(kind) = kind {
        assert_eq!(error.kind, kind, "{error}");
    }
    nothing_stageable(harness, node, &request.run, request.dataset).await;
}

async fn a_damaged_archive_is_not_staged(harness: &dyn Harness) {
    let node = fresh(harness).await;
    for archive in backup(&*node).await {
        let length = archive.bytes.len();
        for place in [0, length / 3, length / 2, length - 1] {
            let mut bytes = archive.bytes.clone();
            bytes[place] ^= 0x40;
            let request = archive.request(&run(9));
            let damaged = Some(NodeErrorKind::Damaged);
            refuses_to_stage(harness, &*node, &request, &mut BytesSource::new(&bytes), damaged).await;
        }
        for length in [0, length / 2, length - 1] {
            let request = archive.request(&run(10));
            let mut cut = BytesSource::new(&archive.bytes[..length]);
            refuses_to_stage(harness, &*node, &request, &mut cut, Some(NodeErrorKind::Damaged)).await;
        }
    }
}

async fn an_archive_of_another_hash_is_not_staged(harness: &dyn Harness) {
    let node = fresh(harness).await;
    let archives = backup(&*node).await;
    let mut request = archives[1].request(&run(11));
    request.sha256 = sha256(b"another archive");
    let mut source = archives[1].source();
    refuses_to_stage(harness, &*node, &request, &mut source, Some(NodeErrorKind::Damaged)).await;
}

async fn an_archive_without_a_file_of_the_manifest_is_not_staged(harness: &dyn Harness) {
    let node = fresh(harness).await;
    let archives = backup(&*node).await;
    let mut request = archives[1].request(&run(12));
    request.files.push(FileRecord {
        path: "orders-0/00000000000000009999.log".to_owned(),
        kind: FileKind::File {
            size: 3,
            sha256: sha256(b"abc"),
        },
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: Timestamp::UNIX_EPOCH,
    });
    let mut source = archives[1].source();
    refuses_to_stage(harness, &*node, &request, &mut source, Some(NodeErrorKind::Damaged)).await;
}

async fn an_archive_with_a_file_too_many_is_not_staged(harness: &dyn Harness) {
    let node = fresh(harness).await;
    let archives = backup(&*node).await;
    let mut request = archives[1].request(&run(13));
    let is_file = |file: &FileRecord| matches!(file.kind, FileKind::File { .. });
    let at = request.files.iter().position(is_file).expect("a file in the archive");
    request.files.remove(at);
    let mut source = archives[1].source();
    refuses_to_stage(harness, &*node, &request, &mut source, Some(NodeErrorKind::Damaged)).await;

    // The same number of directories as configured, or nobody knows what belongs where.
    let mut request = archives[1].request(&run(13));
    request.dirs.push(DirRecord {
        path: "/elsewhere".to_owned(),
        prefix: "1/".to_owned(),
    });
    let mut source = archives[1].source();
    refuses_to_stage(harness, &*node, &request, &mut source, None).await;
}

async fn a_source_that_breaks_stages_nothing(harness: &dyn Harness) {
    let node = fresh(harness).await;
    let archives = backup(&*node).await;
    let request = archives[1].request(&run(14));
    let mut source = archives[1].source().failing_at_the_end();
    refuses_to_stage(harness, &*node, &request, &mut source, None).await;
}

async fn staging_again_after_damage_works(harness: &dyn Harness) {
    let node = fresh(harness).await;
    let archives = backup(&*node).await;
    harness.put(Dataset::Data, &new(Dataset::Data)).await;
    let run = run(15);
    let data = &archives[1];
    let mut bytes = data.bytes.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    node.stage(&data.request(&run), &mut BytesSource::new(&bytes))
        .await
        .expect_err("damage");
    for _ in 0..2 {
        node.stage(&data.request(&run), &mut data.source())
            .await
            .expect("a stage");
    }
    stop(&*node, &run).await;
    node.swap(&just(&run, Dataset::Data)).await.expect("a swap");
    assert_eq!(live(harness, Dataset::Data).await, old(Dataset::Data));
    node.start().await.expect("a start");
    node.forgo().await.expect("giving the lease back");
    node.clean(&CleanRequest::Run(run)).await.expect("a clean-up");
    node.release().await.expect("a release");
    is_clean(harness, "staging again").await;
}

async fn a_sink_that_fails_ends_the_archive_and_not_the_transport(harness: &dyn Harness) {
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

async fn archiving_without_a_snapshot_fails(harness: &dyn Harness) {
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

async fn work_folders_of_dead_runs_are_told_and_swept(harness: &dyn Harness) {
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

async fn a_node_works_on_after_giving_its_lease_back(harness: &dyn Harness) {
    let node = fresh(harness).await;
    let run = run(20);
    stop(&*node, &run).await;
    node.forgo().await.expect("giving the lease back");
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
