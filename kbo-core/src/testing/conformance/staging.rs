//! What must not be staged, and leaves nothing when it was tried.

use jiff::Timestamp;

use super::Harness;
use super::fixtures::*;
use crate::ids::RunId;
use crate::inventory::Dataset;
use crate::manifest::{DirRecord, FileKind, FileRecord};
use crate::ports::node::*;
use crate::testing::packing::sha256;
use crate::testing::stream::BytesSource;

pub(super) async fn nothing_staged_cannot_be_swapped(harness: &dyn Harness) {
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

pub(super) async fn a_damaged_archive_is_not_staged(harness: &dyn Harness) {
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

pub(super) async fn an_archive_of_another_hash_is_not_staged(harness: &dyn Harness) {
    let node = fresh(harness).await;
    let archives = backup(&*node).await;
    let mut request = archives[1].request(&run(11));
    request.sha256 = sha256(b"another archive");
    let mut source = archives[1].source();
    refuses_to_stage(harness, &*node, &request, &mut source, Some(NodeErrorKind::Damaged)).await;
}

pub(super) async fn an_archive_without_a_file_of_the_manifest_is_not_staged(harness: &dyn Harness) {
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

pub(super) async fn an_archive_with_a_file_too_many_is_not_staged(harness: &dyn Harness) {
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

pub(super) async fn a_source_that_breaks_stages_nothing(harness: &dyn Harness) {
    let node = fresh(harness).await;
    let archives = backup(&*node).await;
    let request = archives[1].request(&run(14));
    let mut source = archives[1].source().failing_at_the_end();
    refuses_to_stage(harness, &*node, &request, &mut source, None).await;
}

pub(super) async fn staging_again_after_damage_works(harness: &dyn Harness) {
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
    node.forgo(&run).await.expect("giving the lease back");
    node.clean(&CleanRequest::Run(run)).await.expect("a clean-up");
    node.release().await.expect("a release");
    is_clean(harness, "staging again").await;
}
