//! docs/restore-by-hand.md does what it says: its commands, run as they stand there.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use kbo_core::manifest::{ArchiveRecord, FileKind};

use crate::sample::{new_store, sample_backup, sha256};

const DOCUMENT: &str = include_str!("../../../docs/restore-by-hand.md");

/// The document's commands, in its order; those that want jq only where there is one, and on CI always.
fn commands() -> Vec<&'static str> {
    let has_jq = std::env::var_os("CI").is_some() || Command::new("jq").arg("--version").output().is_ok();
    let blocks = DOCUMENT.split("\n```").collect::<Vec<_>>();
    let is_wanted = |block: &&str| block.starts_with("sh\n") || (has_jq && block.starts_with("sh jq\n"));
    blocks
        .into_iter()
        .filter(is_wanted)
        .filter_map(|block| block.split_once('\n'))
        .map(|(_, text)| text)
        .collect()
}

/// Compares a directory with what the manifest says of it, entry by entry.
fn assert_restored(dir: &Path, prefix: &str, archive: &ArchiveRecord) {
    let mut expected: Vec<PathBuf> = Vec::new();
    for record in &archive.files {
        let Some(inner) = format!("{}/", record.path)
            .strip_prefix(prefix)
            .map(|inner| inner.trim_matches('/').to_owned())
        else {
            continue;
        };
        let path = if inner.is_empty() {
            dir.to_owned()
        } else {
            dir.join(inner)
        };
        let meta = fs::symlink_metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mtime = Timestamp::try_from(meta.modified().unwrap()).unwrap();
        let found = (meta.mode() & 0o7777, meta.uid(), meta.gid(), mtime);
        assert_eq!(
            found,
            (record.mode, record.uid, record.gid, record.mtime),
            "{}",
            path.display()
        );
        match &record.kind {
            FileKind::File { sha256: sum, .. } => {
                assert_eq!(sha256(&fs::read(&path).unwrap()), *sum, "{}", path.display())
            }
            FileKind::Dir => assert!(meta.is_dir()),
            FileKind::Symlink { target } => assert_eq!(fs::read_link(&path).unwrap(), Path::new(target)),
        }
        expected.push(path);
    }
    let mut found = vec![dir.to_owned()];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        if path.is_dir() {
            found.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        }
        next += 1;
    }
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn the_document_restores_a_backup_with_tar_zstd_and_sha256sum_alone() {
    let (temp, store) = new_store();
    let manifest = sample_backup(&store, &temp.path().join("nodes")).await;
    let target = temp.path().join("target");
    for live in ["data", "data-a", "config"] {
        fs::create_dir_all(target.join(live)).unwrap();
        fs::write(target.join(live).join("live"), live).unwrap();
    }

    let here = |text: &str| {
        assert!(
            text.contains("/backup/cold/") || text.contains("/data/cluster/"),
            "{text}"
        );
        text.replace("/backup/cold/", &format!("{}/", store.root().display()))
            .replace("/data/cluster/", &format!("{}/", target.display()))
    };
    let commands = commands();
    assert!(commands.len() >= 7, "the document has lost its commands");
    for command in commands {
        let script = format!("set -euo pipefail\n{}", here(command));
        let run = Command::new("bash").args(["-c", &script]).output().unwrap();
        assert!(
            run.status.success(),
            "{command}\n{}",
            String::from_utf8_lossy(&run.stderr)
        );
    }

    let archive = |name: &str| manifest.archives.iter().find(|archive| archive.name == name).unwrap();
    assert_restored(&target.join("data"), "", archive("kafka-controller-1.data.tar.zst"));
    assert_restored(&target.join("config"), "", archive("kafka-broker-1.config.tar.zst"));
    assert_restored(&target.join("data-a"), "0/", archive("kafka-broker-1.data.tar.zst"));
    assert_restored(&target.join("data-b"), "1/", archive("kafka-broker-1.data.tar.zst"));
    assert_eq!(fs::read_to_string(target.join("data-a.before/live")).unwrap(), "data-a");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 7, "nothing else is left");
}
