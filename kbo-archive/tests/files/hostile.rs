//! Archives and manifests made to harm: nothing is ever written outside the stage.

use std::fs;

use jiff::Timestamp;
use kbo_archive::Error;
use kbo_core::inventory::Dataset;
use kbo_core::manifest::{DirRecord, FileKind, FileRecord, Sha256};
use kbo_core::ports::node::StageRequest;
use sha2::Digest;

use crate::support::*;

fn file(path: &str, content: &[u8]) -> FileRecord {
    let kind = FileKind::File {
        size: content.len() as u64,
        sha256: Sha256(sha2::Sha256::digest(content).into()),
    };
    record_of(path, kind)
}

fn record_of(path: &str, kind: FileKind) -> FileRecord {
    FileRecord {
        path: path.to_owned(),
        kind,
        mode: 0o644,
        uid: uid(),
        gid: gid(),
        mtime: Timestamp::UNIX_EPOCH,
    }
}

fn uid() -> u32 {
    rustix::process::getuid().as_raw()
}

fn gid() -> u32 {
    rustix::process::getgid().as_raw()
}

fn entry(kind: tar::EntryType, name: &[u8], target: &[u8], content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target);
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(u64::from(uid()));
    header.set_gid(u64::from(gid()));
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn root() -> Vec<u8> {
    entry(tar::EntryType::Directory, b"./", b"", b"")
}

/// Unpacks a tar made by hand; what came of it. Nothing may be left and nothing outside may be touched.
fn attempt(entries: &[Vec<u8>], files: &[FileRecord]) -> Result<(), Error> {
    let mut raw = entries.concat();
    raw.extend([0; 1024]);
    let bytes = zstd::encode_all(&raw[..], 1).unwrap();
    let to = Machine::empty();
    let request = StageRequest {
        run: other_run(),
        dataset: Dataset::Data,
        sha256: Sha256(sha2::Sha256::digest(&bytes).into()),
        dirs: vec![DirRecord {
            path: "/d".to_owned(),
            prefix: String::new(),
        }],
        files: [vec![record_of("", FileKind::Dir)], files.to_vec()].concat(),
    };
    let result = unpack(&request, &to.dirs, &bytes).map(|_| ());
    if result.is_err() {
        assert_eq!(to.beside(), Vec::<String>::new());
    }
    assert!(!fs::exists("/tmp/kbo-escaped").unwrap());
    result
}

#[test]
fn a_harmless_archive_made_by_hand_is_unpacked() {
    attempt(
        &[root(), entry(tar::EntryType::Regular, b"a", b"", b"x")],
        &[file("a", b"x")],
    )
    .unwrap();
}

/// What is tried, the tar's entries, the manifest's records.
type Case = (&'static str, Vec<Vec<u8>>, Vec<FileRecord>);

#[test]
fn entries_that_lead_elsewhere_are_refused_whether_recorded_or_not() {
    use tar::EntryType as T;
    let cases: Vec<Case> = vec![
        (
            "absolute",
            vec![entry(T::Regular, b"/tmp/kbo-escaped", b"", b"x")],
            vec![file("/tmp/kbo-escaped", b"x")],
        ),
        (
            "dotdot",
            vec![entry(T::Regular, b"../kbo-escaped", b"", b"x")],
            vec![file("../kbo-escaped", b"x")],
        ),
        (
            "inner dotdot",
            vec![entry(T::Regular, b"a/../../e", b"", b"x")],
            vec![file("a/../../e", b"x")],
        ),
        (
            "through a link",
            vec![
                entry(T::Symlink, b"l", b"/tmp", b""),
                entry(T::Regular, b"l/kbo-escaped", b"", b"x"),
            ],
            vec![
                record_of(
                    "l",
                    FileKind::Symlink {
                        target: "/tmp".to_owned(),
                    },
                ),
                file("l/kbo-escaped", b"x"),
            ],
        ),
        (
            "through an inner link",
            vec![entry(T::Symlink, b"l", b".", b""), entry(T::Regular, b"l/x", b"", b"x")],
            vec![
                record_of("l", FileKind::Symlink { target: ".".to_owned() }),
                file("l/x", b"x"),
            ],
        ),
        (
            "link out",
            vec![entry(T::Symlink, b"l", b"../../etc", b"")],
            vec![record_of(
                "l",
                FileKind::Symlink {
                    target: "../../etc".to_owned(),
                },
            )],
        ),
        (
            "hard link",
            vec![entry(T::Link, b"h", b"/etc/passwd", b"")],
            vec![file("h", b"")],
        ),
        (
            "character device",
            vec![entry(T::Char, b"c", b"", b"")],
            vec![file("c", b"")],
        ),
        (
            "block device",
            vec![entry(T::Block, b"b", b"", b"")],
            vec![file("b", b"")],
        ),
        ("fifo", vec![entry(T::Fifo, b"f", b"", b"")], vec![file("f", b"")]),
        (
            "sparse",
            vec![entry(T::GNUSparse, b"s", b"", b"")],
            vec![file("s", b"")],
        ),
        (
            "global extension",
            vec![entry(T::XGlobalHeader, b"g", b"", b"")],
            vec![file("g", b"")],
        ),
        (
            "not UTF-8",
            vec![entry(T::Regular, b"\xff", b"", b"x")],
            vec![file("\u{fffd}", b"x")],
        ),
        (
            "longer than recorded",
            vec![entry(T::Regular, b"a", b"", b"xxxx")],
            vec![file("a", b"x")],
        ),
        (
            "twice",
            vec![entry(T::Regular, b"a", b"", b"x"), entry(T::Regular, b"a", b"", b"x")],
            vec![file("a", b"x"), file("a", b"x")],
        ),
        (
            "twice, recorded once",
            vec![entry(T::Regular, b"a", b"", b"x"), entry(T::Regular, b"a", b"", b"x")],
            vec![file("a", b"x")],
        ),
        (
            "a huge extension",
            vec![
                entry(T::XHeader, b"p", b"", &vec![b'x'; 1 << 20]),
                entry(T::Regular, b"a", b"", b"x"),
            ],
            vec![file("a", b"x")],
        ),
        (
            "an extension that moves the file",
            vec![
                entry(T::XHeader, b"p", b"", b"25 path=/tmp/kbo-escaped\n"),
                entry(T::Regular, b"a", b"", b"x"),
            ],
            vec![file("a", b"x")],
        ),
    ];
    for (what, entries, files) in cases {
        let entries: Vec<_> = [root()].into_iter().chain(entries).collect();
        for files in [files, vec![]] {
            let result = attempt(&entries, &files);
            assert!(matches!(result, Err(Error::Damaged(_))), "{what}: {result:?}");
        }
    }
}

#[test]
fn an_archive_that_wants_a_huge_window_is_refused() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    std::io::Write::write_all(&mut encoder, &root()).unwrap();
    let bytes = encoder.finish().unwrap();
    let to = Machine::empty();
    let request = StageRequest {
        run: other_run(),
        dataset: Dataset::Data,
        sha256: Sha256(sha2::Sha256::digest(&bytes).into()),
        dirs: vec![DirRecord {
            path: "/d".to_owned(),
            prefix: String::new(),
        }],
        files: vec![record_of("", FileKind::Dir)],
    };
    assert!(matches!(unpack(&request, &to.dirs, &bytes), Err(Error::Damaged(_))));
}
