//! Damage of each kind at each place is found and named.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kbo_archive::store::{DirStore, Transfer, VerifyReport, export_to_file, verify_backup, verify_store};
use kbo_core::manifest::{FileKind, Manifest};
use kbo_core::ports::store::{BackupStore, Pin};

use crate::sample::{ID, id, new_store, sample_backup, sha256};

const ARCHIVE: &str = "kafka-broker-1.data.tar.zst";

async fn verify(store: &DirStore) -> VerifyReport {
    verify_backup(store, &id(ID), Arc::new(|_, _, _| {})).await.unwrap()
}

async fn damaged(damage: impl FnOnce(&Path)) -> VerifyReport {
    let (temp, store) = new_store();
    sample_backup(&store, &temp.path().join("nodes")).await;
    damage(&store.folder(&id(ID)).await.unwrap());
    verify(&store).await
}

fn change(folder: &Path, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut content = fs::read(folder.join(name)).unwrap();
    change(&mut content);
    fs::write(folder.join(name), content).unwrap();
}

/// The manifest rewritten, with checksums that fit it.
fn forge(folder: &Path, forge: impl FnOnce(&mut Manifest)) {
    change(folder, "manifest.json", |content| {
        let mut manifest: Manifest = serde_json::from_slice(content).unwrap();
        forge(&mut manifest);
        *content = serde_json::to_vec(&manifest).unwrap();
    });
    let sum = sha256(&fs::read(folder.join("manifest.json")).unwrap());
    change(folder, "SHA256SUMS", |text| {
        let lines = String::from_utf8(text.clone()).unwrap();
        let archives = lines.lines().filter(|line| !line.ends_with("manifest.json"));
        *text = archives.fold(String::new(), |text, line| text + line + "\n").into();
        text.extend(format!("{sum}  manifest.json\n").bytes());
    });
}

#[tokio::test]
async fn a_good_backup_verifies_and_reports_every_byte() {
    let (temp, store) = new_store();
    let manifest = sample_backup(&store, &temp.path().join("nodes")).await;
    let seen = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&seen);
    let progress = Arc::new(move |_: &str, done: u64, total: u64| {
        if done == total {
            counted.fetch_add(total, Ordering::Relaxed);
        }
    });
    let report = verify_backup(&store, &id(ID), progress).await.unwrap();
    assert!(report.is_ok(), "{report:?}");
    assert_eq!(report.archives.len(), 4);
    assert!(seen.load(Ordering::Relaxed) >= manifest.stored_bytes());
}

#[tokio::test]
async fn damage_of_an_archive_is_found_wherever_it_is() {
    let only_it = |report: VerifyReport, what: &str| {
        assert!(!report.is_ok() && report.findings.is_empty(), "{what}: {report:?}");
        let bad: Vec<_> = report
            .archives
            .iter()
            .filter(|archive| !archive.ok)
            .map(|archive| &archive.name)
            .collect();
        assert_eq!(bad, [ARCHIVE], "{what}");
    };
    for percent in [0, 33, 66, 100] {
        let at = |bytes: &[u8]| (bytes.len() - 1) * percent / 100;
        let flip = |bytes: &mut Vec<u8>| {
            let at = at(bytes);
            bytes[at] ^= 0x40;
        };
        only_it(damaged(|dir| change(dir, ARCHIVE, flip)).await, "a flipped bit");
        let cut = |bytes: &mut Vec<u8>| bytes.truncate(at(bytes));
        only_it(damaged(|dir| change(dir, ARCHIVE, cut)).await, "a cut");
    }
    only_it(
        damaged(|dir| change(dir, ARCHIVE, |bytes| bytes.push(0))).await,
        "an added byte",
    );
    let missing = damaged(|dir| fs::remove_file(dir.join(ARCHIVE)).unwrap()).await;
    let verdict = missing.archives.iter().find(|archive| archive.name == ARCHIVE).unwrap();
    assert_eq!(verdict.findings, ["it is missing"]);
}

#[tokio::test]
async fn a_file_within_that_is_not_what_the_manifest_says_is_named() {
    let report = damaged(|dir| {
        forge(dir, |manifest| {
            let archive = manifest
                .archives
                .iter_mut()
                .find(|archive| archive.name == ARCHIVE)
                .unwrap();
            let file = archive
                .files
                .iter_mut()
                .find(|file| file.path.ends_with("partition.metadata"))
                .unwrap();
            let FileKind::File { sha256: sum, .. } = &mut file.kind else {
                panic!("{file:?}")
            };
            *sum = sha256(b"something else");
        });
    })
    .await;
    let verdict = report.archives.iter().find(|archive| archive.name == ARCHIVE).unwrap();
    assert!(
        verdict
            .findings
            .iter()
            .any(|finding| finding.contains("orders-0/partition.metadata")),
        "{verdict:?}"
    );
    assert_eq!(report.archives.iter().filter(|archive| !archive.ok).count(), 1);
}

#[tokio::test]
async fn the_folder_and_its_checksums_are_checked_against_the_manifest() {
    let findings = |report: VerifyReport| {
        assert!(
            !report.is_ok() && report.archives.iter().all(|archive| archive.ok),
            "{report:?}"
        );
        report.findings
    };
    let extra = findings(damaged(|dir| fs::write(dir.join("notes.txt"), "x").unwrap()).await);
    assert_eq!(extra, ["`notes.txt` does not belong to the backup"]);
    let wrong = findings(
        damaged(|dir| {
            change(dir, "SHA256SUMS", |text| {
                text[0] = if text[0] == b'0' { b'1' } else { b'0' }
            })
        })
        .await,
    );
    assert_eq!(
        wrong,
        ["SHA256SUMS and the manifest disagree about `kafka-controller-1.config.tar.zst`"]
    );
    let turned = |content: &mut Vec<u8>| {
        let text = String::from_utf8(content.clone()).unwrap();
        *content = text.replacen("\"cluster\": \"dev\"", "\"cluster\": \"prd\"", 1).into();
        assert_ne!(*content, text.as_bytes());
    };
    let turned = findings(damaged(|dir| change(dir, "manifest.json", turned)).await);
    assert_eq!(
        turned,
        ["manifest.json is not what SHA256SUMS says: it was changed, or is damaged"]
    );
    let gone = findings(damaged(|dir| fs::remove_file(dir.join("SHA256SUMS")).unwrap()).await);
    assert!(gone[0].starts_with("SHA256SUMS cannot be read"), "{gone:?}");
    let empty = findings(damaged(|dir| change(dir, "SHA256SUMS", |text| text.clear())).await);
    assert_eq!(empty.len(), 5);
    assert_eq!(empty[0], "SHA256SUMS does not name `manifest.json`");
    // Any one line that is missing is told, the manifest's among them.
    for at in 0..5 {
        let short = damaged(|dir| {
            change(dir, "SHA256SUMS", |text| {
                let lines = String::from_utf8(text.clone()).unwrap();
                let kept = lines.lines().enumerate().filter(|(line, _)| *line != at);
                *text = kept.fold(String::new(), |text, (_, line)| text + line + "\n").into();
            });
        });
        assert_eq!(findings(short.await).len(), 1, "line {at}");
    }
    let more =
        findings(damaged(|dir| change(dir, "SHA256SUMS", |text| text.extend_from_slice(b"00  ghost\njunk\n"))).await);
    assert_eq!(
        more,
        [
            "SHA256SUMS has a line that is no checksum: `junk`",
            "SHA256SUMS names `ghost`, which the manifest does not"
        ]
    );
}

#[tokio::test]
async fn every_byte_of_every_file_of_a_store_counts() {
    let (temp, store) = new_store();
    sample_backup(&store, &temp.path().join("nodes")).await;
    let pin = Pin {
        reason: Some("before the upgrade".to_owned()),
        since: id(ID).time(),
        by: Some("ops".to_owned()),
    };
    store.pin(&id(ID), &pin).await.unwrap();
    store
        .adopt(&crate::sample::dev(), &"AkU3OEVBNTcwNTJENDM2Qg".parse().unwrap())
        .await
        .unwrap();
    let is_sound = || async {
        let tolerant = store.whatever_its_state();
        // A format's number that is turned into a later one is refused rather than found.
        let of_store = verify_store(&store).await.is_ok_and(|findings| findings.is_empty());
        let of_backup = verify_backup(&tolerant, &id(ID), Arc::new(|_, _, _| {})).await;
        of_store && of_backup.is_ok_and(|report| report.is_ok())
    };
    assert!(is_sound().await);
    let files = crate::sample::files(store.root());
    for (path, content) in files.iter().filter(|(_, content)| !content.is_empty()) {
        // All of the small ones; of the others often enough.
        let step = (content.len() / 40).max(1);
        for at in (0..content.len()).step_by(step).chain([content.len() - 1]) {
            let mut turned = content.clone();
            turned[at] ^= 0x04;
            fs::write(store.root().join(path), turned).unwrap();
            assert!(!is_sound().await, "{} at byte {at}", path.display());
        }
        fs::write(store.root().join(path), &content[..content.len() - 1]).unwrap();
        assert!(!is_sound().await, "{} cut", path.display());
        fs::write(store.root().join(path), content).unwrap();
    }
    assert!(is_sound().await);
}

#[tokio::test]
async fn a_manifest_that_its_checksums_do_not_know_is_not_acted_on_and_is_listed_as_damaged() {
    let turned = |content: &mut Vec<u8>| {
        let text = String::from_utf8(content.clone()).unwrap();
        *content = text.replacen("\"mode\": ", "\"mode\":  ", 1).into();
    };
    let (temp, store) = new_store();
    sample_backup(&store, &temp.path().join("nodes")).await;
    change(&store.folder(&id(ID)).await.unwrap(), "manifest.json", turned);
    let why = store.list().await.unwrap()[0].manifest.clone().unwrap_err();
    assert!(why.contains("not what SHA256SUMS says"), "{why}");
    let error = store.manifest(&id(ID)).await.unwrap_err().to_string();
    assert!(error.contains("not what SHA256SUMS says"), "{error}");
    let file = temp.path().join("x.tar");
    let exported = export_to_file(&store, &id(ID), &file, false, &Transfer::default()).await;
    assert!(exported.is_err() && !file.exists());
}

#[tokio::test]
async fn a_manifest_whose_time_is_not_that_of_its_id_is_damaged() {
    let (temp, store) = new_store();
    sample_backup(&store, &temp.path().join("nodes")).await;
    forge(&store.folder(&id(ID)).await.unwrap(), |manifest| {
        manifest.created = "2026-11-29T03:00:00Z".parse().unwrap();
    });
    let why = store.list().await.unwrap()[0].manifest.clone().unwrap_err();
    assert!(why.contains("2026-11-29T03:00:00Z") && why.contains(ID), "{why}");
}

#[tokio::test]
async fn findings_are_bounded_in_number_and_length() {
    let report = damaged(|dir| {
        for number in 0..500 {
            fs::write(dir.join(format!("{number}{}", "x".repeat(200))), "").unwrap();
        }
        change(dir, "SHA256SUMS", |text| text.extend([b'z'; 100_000]));
    })
    .await;
    assert_eq!(report.findings.len(), 101);
    assert!(report.findings[100].starts_with("and 40"), "{}", report.findings[100]);
    assert!(report.findings.iter().all(|finding| finding.chars().count() <= 410));
}

#[tokio::test]
async fn a_backup_without_its_manifest_is_told_and_a_foreign_folder_is_not() {
    let (temp, store) = new_store();
    sample_backup(&store, &temp.path().join("nodes")).await;
    fs::create_dir(store.root().join("lost+found")).unwrap();
    assert_eq!(verify_store(&store).await.unwrap(), Vec::<String>::new());
    fs::remove_file(store.folder(&id(ID)).await.unwrap().join("manifest.json")).unwrap();
    let findings = verify_store(&store).await.unwrap();
    assert!(
        findings[0].contains(ID) && findings[0].contains("no manifest.json"),
        "{findings:?}"
    );
}

#[tokio::test]
async fn a_link_or_a_pipe_in_place_of_an_archive_is_damage_and_hangs_nothing() {
    let linked = damaged(|dir| {
        fs::rename(dir.join(ARCHIVE), dir.parent().unwrap().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("../elsewhere", dir.join(ARCHIVE)).unwrap();
    });
    let piped = damaged(|dir| {
        fs::remove_file(dir.join(ARCHIVE)).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(dir.join(ARCHIVE))
            .status()
            .unwrap();
        assert!(made.success());
    });
    for (report, what) in [(linked.await, "it is a symbolic link"), (piped.await, "it is no file")] {
        let verdict = report.archives.iter().find(|archive| archive.name == ARCHIVE).unwrap();
        assert_eq!(verdict.findings, [what]);
    }
}
