//! Whatever is damaged in an archive is found, and the file it hit is named.

use kbo_archive::Error;
use kbo_archive::stage;
use kbo_core::inventory::Dataset;
use kbo_core::manifest::{FileKind, Sha256};
use kbo_core::ports::node::ArchiveReport;
use sha2::Digest;

use crate::support::*;

fn made() -> (Vec<u8>, ArchiveReport) {
    let machine = Machine::broker();
    take(&machine.dirs);
    archive(&machine.dirs).unwrap()
}

/// Both ways of reading find it; unpacking leaves nothing behind.
fn found(bytes: &[u8], report: &ArchiveReport, what: &str) -> Vec<String> {
    let mut record = record(bytes, report);
    record.size = report.size;
    let findings = verify(&record, bytes);
    assert!(!findings.is_empty(), "{what}: not found by verify");
    let to = Machine::empty();
    let unpacked = unpack(&request(report, Dataset::Data), &to.dirs, bytes);
    assert!(matches!(unpacked, Err(Error::Damaged(_))), "{what}: {unpacked:?}");
    assert_eq!(to.beside(), Vec::<String>::new(), "{what}");
    findings
}

#[test]
fn a_flipped_byte_anywhere_is_found() {
    let (bytes, report) = made();
    let step = bytes.len() / 60;
    for at in (0..bytes.len()).step_by(step).chain(bytes.len() - 8..bytes.len()) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        found(&damaged, &report, &format!("flip at {at}"));
    }
}

#[test]
fn a_cut_anywhere_is_found() {
    let (bytes, report) = made();
    let step = bytes.len() / 30;
    for length in (0..bytes.len()).step_by(step).chain([bytes.len() - 1]) {
        found(&bytes[..length], &report, &format!("cut to {length}"));
    }
}

#[test]
fn bytes_removed_inserted_repeated_or_appended_are_found() {
    let (bytes, report) = made();
    for at in [0, bytes.len() / 3, bytes.len() - 2] {
        let mut damaged = bytes.clone();
        damaged.remove(at);
        found(&damaged, &report, &format!("removed at {at}"));
        let mut damaged = bytes.clone();
        damaged.insert(at, 0x55);
        found(&damaged, &report, &format!("inserted at {at}"));
    }
    let twice = [bytes.clone(), bytes.clone()].concat();
    found(&twice, &report, "twice");
    let padded = [bytes.clone(), vec![0; 4096]].concat();
    found(&padded, &report, "padded");
}

#[test]
fn the_file_in_the_damaged_region_is_named() {
    let (bytes, report) = made();
    let raw = zstd::decode_all(&bytes[..]).unwrap();
    for file in &report.files {
        let FileKind::File { size, .. } = file.kind else {
            continue;
        };
        if size < 20_000 {
            continue;
        }
        // The content is random, so it stands in the compressed stream as it is: find it and flip a byte amid it.
        let start = raw
            .windows(file.path.len())
            .position(|window| window == file.path.as_bytes())
            .unwrap();
        let middle = start + usize::try_from(size / 2).unwrap();
        let piece = &raw[middle..middle + 24];
        let at = bytes.windows(24).position(|window| window == piece).unwrap();
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        let findings = found(&damaged, &report, &file.path);
        assert!(
            findings.iter().any(|finding| finding.starts_with(&file.path)),
            "{}: {findings:?}",
            file.path
        );
        // Segments that begin with offset 0 have the same content here: a compressor stores it once, and all are damaged.
        let alone = !file.path.contains("00000000000000000000.log") && !file.path.ends_with(".checkpoint");
        assert!(findings.len() < 4 || !alone, "{findings:?}");
    }
}

/// The archive with its tar changed, and hashes that fit: as if somebody had made it so on purpose.
fn repacked(bytes: &[u8], report: &ArchiveReport, change: impl FnOnce(&mut Vec<u8>)) -> (Vec<u8>, ArchiveReport) {
    let mut raw = zstd::decode_all(bytes).unwrap();
    change(&mut raw);
    let bytes = zstd::encode_all(&raw[..], 1).unwrap();
    let mut report = report.clone();
    report.size = bytes.len() as u64;
    report.sha256 = Sha256(sha2::Sha256::digest(&bytes).into());
    (bytes, report)
}

#[test]
fn every_flipped_byte_of_headers_and_contents_is_found_even_if_the_archives_hash_fits() {
    let (bytes, report) = made();
    let raw = zstd::decode_all(&bytes[..]).unwrap();
    // The first entries lie close together: headers, extensions and contents.
    let mut at = 0;
    while at < 8000 {
        let block = &raw[at / 512 * 512..][..512];
        let padding = block[at % 512..].iter().all(|byte| *byte == 0);
        let unused_field = block[257..262] == *b"ustar" && (257..512).contains(&(at % 512));
        if !padding && !unused_field {
            let (bytes, report) = repacked(&bytes, &report, |raw| raw[at] ^= 2);
            let findings = verify(&record(&bytes, &report), &bytes);
            let magic = (148..157).contains(&(at % 512));
            assert!(!findings.is_empty() || magic, "flip at {at}");
            assert!(findings.len() < 3, "flip at {at}: {findings:?}");
        }
        at += 37;
    }
}

#[test]
fn a_missing_a_repeated_and_a_foreign_entry_are_named() {
    let (bytes, report) = made();
    let raw = zstd::decode_all(&bytes[..]).unwrap();
    let entry = |name: &str| {
        let name = name.as_bytes();
        let header = (0..raw.len())
            .step_by(512)
            .find(|at| raw[*at..].starts_with(name) && raw[at + name.len()] == 0)
            .unwrap();
        // An extension with the sub-second time stands before it.
        let begin = if raw[header - 1024..].starts_with(b"./PaxHeader") {
            header - 1024
        } else {
            header
        };
        let size = usize::from_str_radix(std::str::from_utf8(&raw[header + 124..header + 135]).unwrap(), 8).unwrap();
        begin..header + 512 + size.next_multiple_of(512)
    };
    let epochs = entry("orders-0/leader-epoch-checkpoint");

    let (missing, missing_report) = repacked(&bytes, &report, |raw| {
        raw.drain(epochs.clone());
    });
    let findings = found(&missing, &missing_report, "missing");
    assert_eq!(
        findings,
        ["orders-0/leader-epoch-checkpoint: is missing from the archive"]
    );

    let (twice, twice_report) = repacked(&bytes, &report, |raw| {
        let copy = raw[epochs.clone()].to_vec();
        raw.splice(epochs.end..epochs.end, copy);
    });
    let findings = found(&twice, &twice_report, "twice");
    assert_eq!(
        findings,
        ["orders-0/leader-epoch-checkpoint: is in the archive twice or out of order"]
    );

    let mut unrecorded = report.clone();
    unrecorded
        .files
        .retain(|file| file.path != "orders-0/leader-epoch-checkpoint");
    let findings = found(&bytes, &unrecorded, "unrecorded");
    assert_eq!(
        findings,
        ["orders-0/leader-epoch-checkpoint: is in the archive, but not recorded"]
    );

    let (longer, longer_report) = repacked(&bytes, &report, |raw| raw.extend([1; 512]));
    assert_eq!(
        found(&longer, &longer_report, "longer"),
        ["the archive goes on after its end"]
    );
}

#[test]
fn an_archive_that_differs_from_its_record_in_anything_is_refused() {
    let (bytes, report) = made();
    let at = report
        .files
        .iter()
        .position(|file| file.path == "meta.properties")
        .unwrap();
    type Change = fn(&mut kbo_core::manifest::FileRecord);
    let changes: [(&str, Change); 6] = [
        ("mode", |file| file.mode ^= 0o100),
        ("uid", |file| file.uid += 1),
        ("gid", |file| file.gid += 1),
        ("mtime", |file| file.mtime = jiff::Timestamp::UNIX_EPOCH),
        ("type", |file| file.kind = FileKind::Dir),
        ("hash", |file| {
            if let FileKind::File { sha256, .. } = &mut file.kind {
                sha256.0[0] ^= 1;
            }
        }),
    ];
    for (what, change) in changes {
        let mut changed = report.clone();
        change(&mut changed.files[at]);
        let findings = found(&bytes, &changed, what);
        assert!(
            findings.iter().all(|finding| finding.starts_with("meta.properties: ")),
            "{findings:?}"
        );
    }
}

#[test]
fn a_source_that_fails_or_is_cancelled_leaves_nothing_staged() {
    let (bytes, report) = made();
    let to = Machine::empty();
    let request = request(&report, Dataset::Data);
    struct Failing<'a>(&'a [u8]);
    impl std::io::Read for Failing<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            if self.0.is_empty() {
                Err(std::io::Error::other("line cut"))
            } else {
                self.0.read(out)
            }
        }
    }
    let mut source = Failing(&bytes[..bytes.len() / 2]);
    let failed = stage::unpack(&request, &to.dirs, &mut source, &|_| {}, &|| false);
    assert!(matches!(failed, Err(Error::Stream { .. })), "{failed:?}");
    let cancelled = stage::unpack(&request, &to.dirs, &mut &bytes[..], &|_| {}, &|| true);
    assert!(matches!(cancelled, Err(Error::Interrupted)), "{cancelled:?}");
    assert_eq!(to.beside(), Vec::<String>::new());
}
