//! Small files: staged, put in place, undone, rolled back.

use super::Harness;
use super::fixtures::*;
use crate::ports::node::*;
use crate::testing::packing::sha256;
use crate::testing::state::Files;

fn new_file(name: &str, bytes: &[u8], mode: u32) -> NewFile {
    NewFile {
        name: name.to_owned(),
        bytes: bytes.to_vec().into(),
        mode,
        owner: None,
    }
}

fn stage(harness: &dyn Harness, second: i64, files: Vec<NewFile>) -> FilesRequest {
    FilesRequest::Stage {
        run: run(second),
        dir: harness.certs(),
        files,
    }
}

fn commit(harness: &dyn Harness, second: i64) -> FilesRequest {
    FilesRequest::Commit {
        run: run(second),
        dir: harness.certs(),
    }
}

fn undo(harness: &dyn Harness, second: i64) -> FilesRequest {
    FilesRequest::Undo {
        run: run(second),
        dir: harness.certs(),
    }
}

fn look(harness: &dyn Harness) -> FilesRequest {
    FilesRequest::Look {
        dir: harness.certs(),
        names: ["truststore.p12", "keystore.p12", "missing"].map(str::to_owned).into(),
    }
}

fn roll_back(harness: &dyn Harness) -> FilesRequest {
    FilesRequest::Rollback { dir: harness.certs() }
}

fn pair(keystore: &[u8], truststore: &[u8]) -> Vec<NewFile> {
    vec![
        new_file("keystore.p12", keystore, 0o600),
        new_file("truststore.p12", truststore, 0o640),
    ]
}

fn placed(keystore: &[u8], truststore: &[u8]) -> Files {
    files(&[("keystore.p12", keystore), ("truststore.p12", truststore)])
}

pub(super) async fn files_change_at_the_commit_and_not_before(harness: &dyn Harness) {
    let node = fresh(harness).await;
    let nothing = node.files(&look(harness)).await.expect("a look at what is not there");
    assert_eq!((nothing.files, nothing.previous), (vec![], vec![]));
    for bytes in [&b"first"[..], b"second"] {
        // Once more replaces what was staged.
        let report = node
            .files(&stage(harness, 30, pair(bytes, b"trust")))
            .await
            .expect("a stage");
        let [keystore, truststore] = &report.files[..] else {
            panic!("two files are staged, not {:?}", report.files);
        };
        assert_eq!(
            (keystore.sha256, keystore.mode),
            (sha256(bytes), 0o600),
            "it tells what was written"
        );
        assert_eq!((truststore.sha256, truststore.mode), (sha256(b"trust"), 0o640));
        assert_eq!(harness.placed().await, Files::new(), "staging changes nothing in place");
    }
    for _ in 0..2 {
        let report = node.files(&commit(harness, 30)).await.expect("a commit, and one more");
        assert_eq!(report.files.len(), 2);
        assert_eq!(report.previous, Vec::<String>::new());
        assert_eq!(harness.placed().await, placed(b"second", b"trust"));
    }
    let seen = node.files(&look(harness)).await.expect("a look");
    let names: Vec<&str> = seen.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(
        names,
        ["truststore.p12", "keystore.p12"],
        "in the order asked for, without those that are missing"
    );
    assert_eq!(
        node.state().await,
        Ok(ContainerState::Running),
        "no container need stop for it"
    );
    node.release().await.expect("a release");
    is_clean(harness, "files").await;
}

pub(super) async fn an_undo_of_files_is_as_if_nothing_had_been(harness: &dyn Harness) {
    let node = fresh(harness).await;
    for second in [31, 32] {
        node.files(&undo(harness, second)).await.expect("an undo of nothing");
    }
    for (second, bytes) in [(31, b"one"), (32, b"two")] {
        node.files(&stage(harness, second, pair(bytes, bytes)))
            .await
            .expect("a stage");
        node.files(&commit(harness, second)).await.expect("a commit");
    }
    for _ in 0..2 {
        let report = node.files(&undo(harness, 32)).await.expect("an undo, and one more");
        assert_eq!(harness.placed().await, placed(b"one", b"one"));
        assert_eq!(
            report.previous,
            Vec::<String>::new(),
            "what was kept before is kept again"
        );
    }
    // What was staged is staged again.
    node.files(&commit(harness, 32)).await.expect("a commit after its undo");
    assert_eq!(harness.placed().await, placed(b"two", b"two"));
    node.files(&undo(harness, 31))
        .await
        .expect_err("an undo of what another commit stands on");
    for request in [undo(harness, 32), undo(harness, 31)] {
        node.files(&request).await.expect("an undo of the last one");
    }
    assert_eq!(harness.placed().await, Files::new());
    node.release().await.expect("a release");
    is_clean(harness, "files undone").await;
}

pub(super) async fn a_rollback_exchanges_files_and_exchanges_them_again(harness: &dyn Harness) {
    let node = fresh(harness).await;
    let refused = node
        .files(&roll_back(harness))
        .await
        .expect_err("a rollback to nothing");
    assert_eq!(refused.kind, NodeErrorKind::State);
    let keystore = |bytes: &[u8]| vec![new_file("keystore.p12", bytes, 0o600)];
    for (second, new) in [(33, keystore(b"old")), (34, pair(b"new", b"trust"))] {
        node.files(&stage(harness, second, new)).await.expect("a stage");
        node.files(&commit(harness, second)).await.expect("a commit");
    }
    for _ in 0..2 {
        let report = node.files(&roll_back(harness)).await.expect("a rollback");
        assert_eq!(harness.placed().await, files(&[("keystore.p12", b"old")]));
        assert_eq!(report.previous, ["keystore.p12", "truststore.p12"]);
        let report = node.files(&roll_back(harness)).await.expect("a rollback of it");
        assert_eq!(harness.placed().await, placed(b"new", b"trust"));
        assert_eq!(report.previous, ["keystore.p12"]);
    }
    node.release().await.expect("a release");
    is_clean(harness, "files rolled back").await;
}

pub(super) async fn dropped_files_cannot_be_put_in_place(harness: &dyn Harness) {
    let node = fresh(harness).await;
    let drop = FilesRequest::Drop { dir: harness.certs() };
    node.files(&drop).await.expect("a drop of nothing");
    for second in [35, 36] {
        node.files(&stage(harness, second, pair(b"a", b"b")))
            .await
            .expect("a stage");
    }
    for _ in 0..2 {
        node.files(&drop).await.expect("a drop");
    }
    for second in [35, 36, 37] {
        let refused = node
            .files(&commit(harness, second))
            .await
            .expect_err("a commit of what is not staged");
        assert_eq!(refused.kind, NodeErrorKind::State);
    }
    assert_eq!(harness.placed().await, Files::new());
    node.release().await.expect("a release");
    is_clean(harness, "files dropped").await;
}

pub(super) async fn files_stay_in_their_directory(harness: &dyn Harness) {
    let node = fresh(harness).await;
    let before = live(harness, crate::inventory::Dataset::Config).await;
    for name in [
        "",
        ".",
        "..",
        "../keystore.p12",
        "/keystore.p12",
        "a/b",
        "a\0",
        ".kbo-previous",
    ] {
        let asked = [
            stage(harness, 38, vec![new_file(name, b"x", 0o600)]),
            FilesRequest::Look {
                dir: harness.certs(),
                names: vec![name.to_owned()],
            },
        ];
        for request in asked {
            let refused = node.files(&request).await.expect_err("a name that leads out");
            assert_eq!(refused.kind, NodeErrorKind::State, "{name:?}");
        }
    }
    for dir in ["", "/", "certs", "/certs/../etc"] {
        let request = FilesRequest::Stage {
            run: run(38),
            dir: dir.to_owned(),
            files: pair(b"a", b"b"),
        };
        node.files(&request).await.expect_err("a directory that is none");
    }
    let twice = vec![new_file("k", b"a", 0o600), new_file("k", b"b", 0o600)];
    for files in [vec![], twice, vec![new_file("k", b"x", 0o4755)]] {
        node.files(&stage(harness, 38, files))
            .await
            .expect_err("files that cannot be");
    }
    node.files(&commit(harness, 38))
        .await
        .expect_err("a commit of what was refused");
    assert_eq!(harness.placed().await, Files::new());
    assert_eq!(live(harness, crate::inventory::Dataset::Config).await, before);
    node.release().await.expect("a release");
    is_clean(harness, "files refused").await;
}
