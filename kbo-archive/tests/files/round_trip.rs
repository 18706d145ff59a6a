//! What is snapshotted comes back, to the nanosecond.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use kbo_archive::work::DirSpec;
use kbo_archive::{clean, swap};
use kbo_core::inventory::Dataset;
use kbo_core::ports::node::{CleanRequest, SwapOutcome};
use proptest::prelude::*;

use crate::support::*;

/// Snapshot, archive, stage on another machine, swap; what then stands there.
fn through(dirs: &[DirSpec], targets: &[DirSpec]) {
    take(dirs);
    let (bytes, report) = archive(dirs).unwrap();
    assert_eq!(report.size, bytes.len() as u64);
    assert_eq!(report.damage, Vec::<String>::new());
    assert_eq!(verify(&record(&bytes, &report), &bytes), Vec::<String>::new());
    unpack(&request(&report, dirs[0].dataset), targets, &bytes).unwrap();
    assert_eq!(swap::swap(&other_run(), targets).unwrap(), SwapOutcome::Swapped);
    clean::remove(dirs, &CleanRequest::Run(run())).unwrap();
    clean::remove(targets, &CleanRequest::Run(other_run())).unwrap();
}

#[test]
fn a_brokers_log_dir_comes_back_as_it_was_and_nothing_stays_beside_it() {
    let (from, to) = (Machine::broker(), Machine::empty());
    let before = prints(&from.data());
    through(&from.dirs, &to.dirs);
    assert_eq!(prints(&from.data()), before);
    assert_eq!(prints(&to.data()), archived_prints(&from.data()));
    assert_eq!(from.beside(), ["data"]);
    assert_eq!(to.beside(), ["data"]);
}

#[test]
fn closed_and_stable_segments_are_linked_and_the_rest_is_copied() {
    let machine = Machine::broker();
    let report = take(&machine.dirs);
    // Two closed logs, the stable part of the active one, a metadata snapshot; what is small is copied.
    assert_eq!(report.linked_files, 4);
    let batch = BATCH as u64;
    assert_eq!(report.linked_bytes, (50 + 50 + 40 + 30) * batch);
    let all: usize = archived_prints(&machine.data())
        .values()
        .map(|print| if print.0 == 'f' { print.5.len() } else { 0 })
        .sum();
    assert_eq!(report.bytes, [(Dataset::Data, all as u64)]);
    assert_eq!(report.copied_bytes, all as u64 - report.linked_bytes);
    assert_eq!(report.warnings, Vec::<String>::new());
}

#[test]
fn several_log_dirs_go_into_one_archive_and_apart_again() {
    let (from, to) = (Machine::broker(), Machine::empty());
    let second = from.root.path().join("data2");
    fill_broker(&second);
    put_segment(&second, "payments-3", 0, 20);
    let dirs = vec![from.dirs[0].clone(), spec(Dataset::Data, &second)];
    let targets = vec![
        to.dirs[0].clone(),
        spec(Dataset::Data, &to.root.path().join("elsewhere/data2")),
    ];
    through(&dirs, &targets);
    for (from, to) in dirs.iter().zip(&targets) {
        assert_eq!(prints(&to.path), archived_prints(&from.path));
    }
}

#[test]
fn config_comes_back_with_links_special_modes_and_long_names() {
    let from = tempfile::tempdir().unwrap();
    let config = from.path().join("config");
    put(&config, "server.properties", b"process.roles=broker\n");
    put(&config, &format!("{}/{}", "d".repeat(120), "ü".repeat(100)), b"long");
    put(&config, "..data/secret", b"s3cret");
    symlink("..data/secret", config.join("secret")).unwrap();
    symlink(format!("{}/{}", "d".repeat(120), "ü".repeat(100)), config.join("long")).unwrap();
    put(&config, "setuid", b"x");
    // Only root can read what nobody may.
    let hidden = if rustix::process::getuid().is_root() {
        0o000
    } else {
        0o400
    };
    for (path, mode) in [("setuid", 0o4755), ("server.properties", hidden), ("..data", 0o1777)] {
        fs::set_permissions(config.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    let to = tempfile::tempdir().unwrap();
    let before = prints(&config);
    through(
        &[spec(Dataset::Config, &config)],
        &[spec(Dataset::Config, &to.path().join("config"))],
    );
    assert_eq!(prints(&to.path().join("config")), before);
}

#[test]
fn tar_and_zstd_alone_restore_an_archive() {
    let machine = Machine::broker();
    take(&machine.dirs);
    let (bytes, _) = archive(&machine.dirs).unwrap();
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("a.tar.zst");
    fs::write(&file, bytes).unwrap();
    let target = out.path().join("data");
    fs::create_dir(&target).unwrap();
    let script = "zstd -q -d -c a.tar.zst | tar -x -p --same-owner --numeric-owner -f - -C data";
    let script = if rustix::process::getuid().is_root() {
        script.to_owned()
    } else {
        script.replace("--same-owner", "")
    };
    let status = Command::new("sh")
        .args(["-c", &script])
        .current_dir(out.path())
        .status()
        .unwrap();
    assert!(status.success(), "`tar` and `zstd` are needed to run the tests");
    assert_eq!(prints(&target), archived_prints(&machine.data()));
}

#[test]
fn a_snapshot_taken_twice_is_the_later_one() {
    let machine = Machine::broker();
    take(&machine.dirs);
    put(&machine.data(), "orders-0/leader-epoch-checkpoint", b"0\n0\n");
    take(&machine.dirs);
    let (bytes, report) = archive(&machine.dirs).unwrap();
    let to = Machine::empty();
    unpack(&request(&report, Dataset::Data), &to.dirs, &bytes).unwrap();
    assert_eq!(prints(&staged(&to.dirs[0])), archived_prints(&machine.data()));
}

#[test]
fn without_a_snapshot_there_is_no_archive() {
    let machine = Machine::broker();
    assert!(archive(&machine.dirs).unwrap_err().to_string().contains("no snapshot"));
}

#[test]
fn a_cancelled_archive_is_interrupted_and_a_failing_sink_is_told() {
    let machine = Machine::broker();
    take(&machine.dirs);
    let options = kbo_archive::writer::Options { level: 1, threads: 1 };
    let mut sink = std::io::sink();
    let cancelled = kbo_archive::writer::write(&run(), &machine.dirs, options, &mut sink, &|_| {}, &|| true);
    assert!(matches!(cancelled, Err(kbo_archive::Error::Interrupted)));
    let mut full: &mut [u8] = &mut [0; 1000];
    let failed = kbo_archive::writer::write(&run(), &machine.dirs, options, &mut full, &|_| {}, &|| false);
    assert!(matches!(failed, Err(kbo_archive::Error::Stream { .. })));
}

#[test]
fn thousands_of_files_come_back() {
    let (from, to) = (Machine::broker(), Machine::empty());
    for partition in 0..300 {
        put_segment(&from.data(), &format!("many-{partition}"), 0, 1);
    }
    let mut checkpoint = "0\n300\n".to_owned();
    (0..300).for_each(|partition| checkpoint += &format!("many {partition} 10\n"));
    put(&from.data(), "replication-offset-checkpoint", checkpoint.as_bytes());
    through(&from.dirs, &to.dirs);
    assert_eq!(prints(&to.data()), archived_prints(&from.data()));
}

#[derive(Debug, Clone)]
enum Node {
    File(Vec<u8>, u32),
    Link,
    Dir(Vec<(String, Node, i64)>),
}

fn any_tree() -> impl Strategy<Value = Node> {
    let size = prop_oneof![0..2000_usize, 15_000..80_000_usize];
    let file = (size, any::<u8>(), 0..0o10000_u32).prop_map(|(size, seed, mode)| {
        let content = (0..size)
            .map(|i| u8::try_from((i * usize::from(seed)) % 256).unwrap())
            .collect();
        Node::File(content, mode)
    });
    let leaf = prop_oneof![4 => file, 1 => Just(Node::Link)];
    leaf.prop_recursive(3, 24, 6, |inner| {
        let name = prop_oneof!["[a-z0-9.]{1,12}", "[^/\0]{1,20}", "[a-z]{95,130}"];
        prop::collection::vec((name, inner, -1_000_000_000_i64..4_000_000_000_000_000_000), 0..6).prop_map(Node::Dir)
    })
}

fn build(path: &Path, node: &Node) {
    match node {
        Node::File(content, mode) => {
            fs::write(path, content).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(*mode | 0o400)).unwrap();
        }
        Node::Link => symlink("target", path).unwrap(),
        Node::Dir(children) => {
            fs::create_dir(path).unwrap();
            for (name, child, nanos) in children {
                let child_path = path.join(name);
                if [".", "..", ".kbo"].contains(&name.as_str())
                    || name.len() > 255
                    || child_path.symlink_metadata().is_ok()
                {
                    continue;
                }
                build(&child_path, child);
                let at = rustix::fs::Timespec {
                    tv_sec: nanos / 1_000_000_000,
                    tv_nsec: nanos.rem_euclid(1_000_000_000),
                };
                let times = rustix::fs::Timestamps {
                    last_access: at,
                    last_modification: at,
                };
                let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
                rustix::fs::utimensat(rustix::fs::CWD, &child_path, &times, flags).unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_tree_comes_back_identical(tree in any_tree()) {
        let tree = match tree {
            Node::Dir(children) => Node::Dir(children),
            leaf => Node::Dir(vec![("leaf".to_owned(), leaf, 1)]),
        };
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (source, target) = (from.path().join("c"), to.path().join("c"));
        build(&source, &tree);
        let before = prints(&source);
        through(&[spec(Dataset::Config, &source)], &[spec(Dataset::Config, &target)]);
        prop_assert_eq!(prints(&target), before);
    }
}
