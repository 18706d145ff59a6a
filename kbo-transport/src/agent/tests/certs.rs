//! Small files through the pipe: connections that break in the middle, directories that lie elsewhere.

use kbo_core::ports::node::{FilesReport, FilesRequest, NewFile, NodeTransport};
use rustix::fs::{FlockOperation, flock};

use super::*;

fn dir_of(lab: &Lab) -> PathBuf {
    lab.dir.path().join("certs")
}

fn staging(dir: &str, text: &str) -> FilesRequest {
    FilesRequest::Stage {
        run: run(),
        dir: dir.to_owned(),
        files: vec![NewFile {
            name: "keystore.p12".to_owned(),
            bytes: text.as_bytes().to_vec().into(),
            mode: 0o600,
            owner: None,
        }],
    }
}

fn committing(dir: &str) -> FilesRequest {
    FilesRequest::Commit {
        run: run(),
        dir: dir.to_owned(),
    }
}

/// Asks while another one works in the directory, and ends the agent while it waits.
async fn cut_off(lab: &Lab, node: &RemoteNode<TaskCarrier>, request: &FilesRequest) -> Result<FilesReport, NodeError> {
    let other = std::fs::File::open(dir_of(lab)).unwrap();
    flock(&other, FlockOperation::LockExclusive).unwrap();
    let (result, ()) = tokio::join!(node.files(request), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        lab.kill_agents().await;
        drop(other);
    });
    result
}

#[tokio::test]
async fn files_are_asked_for_again_over_a_new_connection_but_for_a_rollback() {
    let lab = Lab::new();
    std::fs::create_dir(dir_of(&lab)).unwrap();
    let carrier = lab.carrier();
    let opened = carrier.opened.clone();
    let node = lab.remote(carrier);
    let dir = dir_of(&lab).to_string_lossy().into_owned();
    let text = || std::fs::read_to_string(dir_of(&lab).join("keystore.p12")).ok();

    cut_off(&lab, &node, &staging(&dir, "new")).await.unwrap();
    assert_eq!(opened.load(Ordering::SeqCst), 2);
    cut_off(&lab, &node, &committing(&dir)).await.unwrap();
    assert_eq!(opened.load(Ordering::SeqCst), 3);
    assert_eq!(text().as_deref(), Some("new"));
    let undoing = FilesRequest::Undo {
        run: run(),
        dir: dir.clone(),
    };
    cut_off(&lab, &node, &undoing).await.unwrap();
    assert_eq!(text(), None);
    node.files(&committing(&dir)).await.unwrap();
    let error = cut_off(&lab, &node, &FilesRequest::Rollback { dir }).await.unwrap_err();
    assert_eq!(error.kind, NodeErrorKind::Unreachable, "{error}");
}

#[tokio::test]
async fn a_directory_is_found_where_the_carrier_says() {
    let lab = Lab::new();
    let mut carrier = lab.carrier();
    carrier.paths = vec![(
        "/etc/kafka/certs".to_owned(),
        dir_of(&lab).to_string_lossy().into_owned(),
    )];
    let node = lab.remote(carrier);
    node.files(&staging("/etc/kafka/certs/", "new")).await.unwrap();
    node.files(&committing("/etc/kafka/certs")).await.unwrap();
    assert_eq!(std::fs::read(dir_of(&lab).join("keystore.p12")).unwrap(), b"new");
    let error = node.files(&staging("/elsewhere", "new")).await.unwrap_err();
    assert_eq!(error.kind, NodeErrorKind::State);
    assert!(
        error.message.contains("/elsewhere") && error.hint.is_some(),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_log_dir_takes_no_certificates() {
    let lab = Lab::new();
    let dir = lab.data().join("certs").to_string_lossy().into_owned();
    let error = lab.node().files(&staging(&dir, "new")).await.unwrap_err();
    assert_eq!(error.kind, NodeErrorKind::State, "{error}");
    assert!(!lab.data().join("certs").exists());
}

#[tokio::test]
async fn files_in_the_configuration_directory_disturb_no_look_at_it() {
    let lab = Lab::new();
    let dir = lab.config().to_string_lossy().into_owned();
    let node = lab.node();
    node.files(&staging(&dir, "old")).await.unwrap();
    node.files(&committing(&dir)).await.unwrap();
    let facts = kbo_core::ports::node::FactsRequest {
        datasets: vec![Dataset::Config],
    };
    let found = node.facts(&facts).await.unwrap();
    assert_eq!((&found.dirs[0].error, &found.dirs[0].unsupported[..]), (&None, &[][..]));
    let sweep = kbo_core::ports::node::CleanRequest::Orphans { keep: vec![] };
    node.clean(&sweep).await.unwrap();
    let names = vec!["keystore.p12".to_owned()];
    let seen = node.files(&FilesRequest::Look { dir, names }).await.unwrap();
    assert_eq!(seen.files.len(), 1);
    assert!(lab.config().join(".kbo-previous").is_dir(), "what is kept is not swept");
}
