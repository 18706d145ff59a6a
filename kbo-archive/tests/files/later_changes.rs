//! A snapshot stays what it was whatever a restarted Kafka does with the live files; where it cannot, the archive fails.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;

use kbo_archive::Error;
use kbo_core::inventory::Dataset;

use crate::support::*;

const ACTIVE: &str = "orders-0/00000000000000001000.log";
const CLOSED: &str = "orders-0/00000000000000000500.log";

/// Snapshot, then the change, then what the archive holds.
fn after(change: impl FnOnce(&Machine)) -> (BTreeMap<String, Print>, Result<BTreeMap<String, Print>, Error>) {
    let (from, to) = (Machine::broker(), Machine::empty());
    let before = archived_prints(&from.data());
    take(&from.dirs);
    change(&from);
    let archived = archive(&from.dirs).map(|(bytes, report)| {
        assert_eq!(report.damage, Vec::<String>::new());
        unpack(&request(&report, Dataset::Data), &to.dirs, &bytes).unwrap();
        prints(&staged(&to.dirs[0]))
    });
    (before, archived)
}

fn unharmed(change: impl FnOnce(&Machine)) {
    let (before, archived) = after(change);
    assert_eq!(archived.unwrap(), before);
}

fn refused(file: &str, change: impl FnOnce(&Machine)) {
    match after(change).1 {
        Err(Error::Damaged(what)) => assert!(what.contains(file), "{what}"),
        other => panic!("{other:?}"),
    }
}

fn open(machine: &Machine, path: &str) -> fs::File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(machine.data().join(path))
        .unwrap()
}

#[test]
fn appends_to_the_active_segment_do_not_show() {
    unharmed(|machine| {
        let mut file = OpenOptions::new()
            .append(true)
            .open(machine.data().join(ACTIVE))
            .unwrap();
        file.write_all(&segment(1600, 30).0).unwrap();
    });
}

#[test]
fn truncation_above_the_high_watermark_and_other_records_in_place_do_not_show() {
    unharmed(|machine| {
        let file = open(machine, ACTIVE);
        file.set_len(40 * BATCH as u64).unwrap();
        file.write_all_at(&segment(1400, 60).0, 40 * BATCH as u64).unwrap();
    });
}

#[test]
fn indexes_grown_and_rewritten_in_place_do_not_show() {
    unharmed(|machine| {
        for name in [
            "orders-0/00000000000000001000.index",
            "orders-0/00000000000000001000.timeindex",
        ] {
            open(machine, name).set_len(10 << 20).unwrap();
        }
        open(machine, "__cluster_metadata-0/00000000000000000000.log")
            .write_all_at(b"rewritten", 0)
            .unwrap();
        open(machine, "orders-0/00000000000000001600.snapshot")
            .write_all_at(b"PRODUCERS!", 0)
            .unwrap();
    });
}

#[test]
fn deletion_of_topics_and_segments_does_not_show() {
    unharmed(|machine| fs::remove_dir_all(machine.data().join("orders-0")).unwrap());
    unharmed(|machine| {
        let data = machine.data();
        fs::rename(data.join(CLOSED), data.join(format!("{CLOSED}.deleted"))).unwrap();
        fs::write(data.join(CLOSED), b"compacted").unwrap();
        fs::remove_file(data.join(format!("{CLOSED}.deleted"))).unwrap();
    });
}

#[test]
fn checkpoints_replaced_by_rename_do_not_show() {
    unharmed(|machine| {
        let data = machine.data();
        put(&data, "replication-offset-checkpoint.tmp", b"0\n0\n");
        fs::rename(
            data.join("replication-offset-checkpoint.tmp"),
            data.join("replication-offset-checkpoint"),
        )
        .unwrap();
        fs::remove_file(data.join(".kafka_cleanshutdown")).unwrap();
    });
}

#[test]
fn truncation_below_the_high_watermark_fails_the_archive() {
    refused(ACTIVE, |machine| {
        open(machine, ACTIVE).set_len(39 * BATCH as u64).unwrap()
    });
    refused(CLOSED, |machine| open(machine, CLOSED).set_len(BATCH as u64).unwrap());
}

#[test]
fn other_records_below_the_high_watermark_fail_the_archive() {
    for (path, base) in [(ACTIVE, 1000), (CLOSED, 500)] {
        refused(path, |machine| {
            let file = open(machine, path);
            let len = file.metadata().unwrap().len();
            file.set_len(0).unwrap();
            // As long as before, sound, and not what it was.
            let mut other = Vec::new();
            let mut offset = base;
            while (other.len() as u64) < len {
                other.extend(batch(offset, &vec![7; BATCH - 61]));
                offset += 10;
            }
            file.write_all_at(&other, 0).unwrap();
        });
    }
}

#[test]
fn a_metadata_snapshot_written_to_fails_the_archive() {
    let checkpoint = "__cluster_metadata-0/00000000000000000100-0000000002.checkpoint";
    refused(checkpoint, |machine| {
        let path = machine.data().join(checkpoint);
        let mut content = fs::read(&path).unwrap();
        content[20] ^= 1;
        // As root one may; for others the file is read-only.
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        open(machine, checkpoint).write_all_at(&content, 0).unwrap();
    });
}

#[test]
fn damaged_records_are_archived_as_they_are_and_reported_by_file_and_place() {
    let from = Machine::broker();
    let mut content = fs::read(from.data().join(CLOSED)).unwrap();
    content[3 * BATCH + 100] ^= 1;
    fs::write(from.data().join(CLOSED), &content).unwrap();
    take(&from.dirs);
    let (bytes, report) = archive(&from.dirs).unwrap();
    assert_eq!(report.damage.len(), 1);
    assert!(report.damage[0].contains(CLOSED), "{}", report.damage[0]);
    assert!(
        report.damage[0].contains(&format!("at byte {}", 3 * BATCH)),
        "{}",
        report.damage[0]
    );
    let to = Machine::empty();
    unpack(&request(&report, Dataset::Data), &to.dirs, &bytes).unwrap();
    assert_eq!(fs::read(staged(&to.dirs[0]).join(CLOSED)).unwrap(), content);
}

#[test]
fn a_segment_that_reaches_into_the_next_is_reported() {
    let from = Machine::broker();
    let mut content = fs::read(from.data().join(CLOSED)).unwrap();
    content.extend(batch(1010, b"of the next segment"));
    fs::write(from.data().join(CLOSED), &content).unwrap();
    take(&from.dirs);
    let (_, report) = archive(&from.dirs).unwrap();
    assert_eq!(report.damage.len(), 1, "{:?}", report.damage);
    assert!(
        report.damage[0].contains(ACTIVE) && report.damage[0].contains("out of order"),
        "{:?}",
        report.damage
    );
}

#[test]
fn after_an_unclean_stop_everything_is_copied_for_the_next_start_mends_files_in_place() {
    let from = Machine::broker();
    fs::remove_file(from.data().join(".kafka_cleanshutdown")).unwrap();
    let report = take(&from.dirs);
    assert_eq!(report.linked_files, 1, "the metadata snapshot alone");
    let mut log = fs::OpenOptions::new()
        .write(true)
        .open(from.data().join(CLOSED))
        .unwrap();
    std::io::Write::write_all(&mut log, b"recovered").unwrap();
    archive(&from.dirs).unwrap();
}

#[test]
fn without_high_watermarks_everything_is_copied_and_changes_do_not_show() {
    let (from, to) = (Machine::broker(), Machine::empty());
    fs::write(from.data().join("replication-offset-checkpoint"), "nonsense").unwrap();
    let before = archived_prints(&from.data());
    let report = take(&from.dirs);
    assert_eq!(report.linked_files, 1, "the metadata snapshot alone");
    assert!(
        report
            .warnings
            .iter()
            .any(|warning| warning.contains("replication-offset-checkpoint")),
        "{report:?}"
    );
    open(&from, CLOSED).set_len(0).unwrap();
    let (bytes, report) = archive(&from.dirs).unwrap();
    unpack(&request(&report, Dataset::Data), &to.dirs, &bytes).unwrap();
    assert_eq!(prints(&staged(&to.dirs[0])), before);
}
