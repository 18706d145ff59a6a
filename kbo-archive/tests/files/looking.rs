//! Looking at directories, proving a clean stop, sweeping: nothing is changed, nothing is left.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kbo_archive::{Error, clean, facts, snapshot};
use kbo_core::inventory::{Dataset, Role};
use kbo_core::ports::node::{CleanRequest, LinkProbe, Presence};

use crate::support::*;

#[test]
fn facts_of_a_broker_are_counted_and_leave_nothing() {
    let machine = Machine::broker();
    let before = prints(&machine.data());
    let facts = facts::dir_facts(&machine.dirs[0]);
    assert_eq!(facts.presence, Presence::Filled);
    assert_eq!(facts.error, None);
    assert_eq!(facts.link, LinkProbe::Works);
    assert!(!facts.is_mount_point);
    let files: Vec<_> = archived_prints(&machine.data())
        .into_values()
        .filter(|print| print.0 == 'f')
        .collect();
    assert_eq!(facts.files, files.len() as u64);
    let bytes: usize = files.iter().map(|print| print.5.len()).sum();
    assert!(
        facts.bytes <= bytes as u64 && facts.bytes > 200 * BATCH as u64,
        "{facts:?}"
    );
    assert!(facts.copied_bytes < facts.bytes);
    let meta = facts.meta.unwrap();
    assert_eq!(
        (meta.node_id, meta.cluster_id.unwrap().as_str()),
        (Some(4), "AkU3OEVBNTcwNTJENDM2Qg")
    );
    assert!(facts.free > 0 && facts.size >= facts.free);
    assert_eq!(facts.device, fs::metadata(machine.root.path()).unwrap().dev());
    assert_eq!(
        (facts.unknown_dirs.len(), facts.unsupported.len(), facts.orphans.len()),
        (0, 0, 0)
    );
    assert_eq!(prints(&machine.data()), before);
    assert_eq!(machine.beside(), ["data"]);
}

#[test]
fn missing_empty_and_wrong_things_are_told_apart() {
    let machine = Machine::empty();
    assert_eq!(facts::dir_facts(&machine.dirs[0]).presence, Presence::Missing);
    let deeper = spec(Dataset::Data, &machine.root.path().join("a/b/c"));
    let facts_of_deeper = facts::dir_facts(&deeper);
    assert_eq!(facts_of_deeper.presence, Presence::Missing);
    assert!(facts_of_deeper.free > 0);
    fs::create_dir(machine.data()).unwrap();
    let empty = facts::dir_facts(&machine.dirs[0]);
    assert_eq!((empty.presence, empty.link), (Presence::Empty, LinkProbe::Untried));
    fs::remove_dir(machine.data()).unwrap();
    fs::write(machine.data(), "").unwrap();
    assert_eq!(facts::dir_facts(&machine.dirs[0]).presence, Presence::NotADirectory);
    let relative = kbo_archive::DirSpec {
        path: "relative".into(),
        ..machine.dirs[0].clone()
    };
    assert!(facts::dir_facts(&relative).error.is_some());
}

#[test]
fn what_kafka_or_an_archive_would_choke_on_is_listed_and_refused() {
    let machine = Machine::broker();
    fs::create_dir(machine.data().join("lost+found")).unwrap();
    symlink("/etc/passwd", machine.data().join("orders-0/out")).unwrap();
    symlink("partition.metadata", machine.data().join("orders-0/in")).unwrap();
    let _socket = UnixListener::bind(machine.data().join("socket")).unwrap();
    let facts = facts::dir_facts(&machine.dirs[0]);
    assert_eq!(facts.unknown_dirs, ["lost+found"]);
    assert_eq!(facts.unsupported, ["orders-0/out", "socket"]);
    for remedy in ["lost+found", "orders-0/out", "socket"] {
        let refused = snapshot::take(&run(), &machine.dirs);
        assert!(
            matches!(refused, Err(Error::State { hint: Some(_), .. })),
            "{remedy}: {refused:?}"
        );
        assert!(archive(&machine.dirs).is_err());
        let path = machine.data().join(remedy);
        if path.is_dir() {
            fs::remove_dir(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
    }
    snapshot::take(&run(), &machine.dirs).unwrap();
}

#[test]
fn mount_points_are_told_from_directories() {
    let proc = spec(Dataset::Config, Path::new("/proc"));
    let config = tempfile::tempdir().unwrap();
    fs::create_dir(config.path().join("c")).unwrap();
    assert!(!facts::dir_facts(&spec(Dataset::Config, &config.path().join("c"))).is_mount_point);
    // /proc has files without end: only its being a mount point is of interest.
    let meta = |path: &Path| fs::metadata(path).unwrap();
    assert_ne!(meta(&proc.path).dev(), meta(Path::new("/")).dev());
}

#[test]
fn directories_within_each_other_are_refused() {
    let machine = Machine::broker();
    let inner = spec(Dataset::Config, &machine.data().join("orders-0"));
    let refused = snapshot::take(&run(), &[machine.dirs[0].clone(), inner]);
    assert!(matches!(refused, Err(Error::State { .. })));
}

#[test]
fn orphans_are_listed_and_swept_but_those_to_keep() {
    let machine = Machine::broker();
    snapshot::take(&run(), &machine.dirs).unwrap();
    snapshot::take(&other_run(), &machine.dirs).unwrap();
    fs::create_dir(machine.root.path().join(".kbo/not-a-run")).unwrap();
    assert_eq!(facts::dir_facts(&machine.dirs[0]).orphans, [run(), other_run()]);
    let report = clean::remove(
        &machine.dirs,
        &CleanRequest::Orphans {
            keep: vec![other_run()],
        },
    )
    .unwrap();
    assert_eq!(report.removed, [run()]);
    assert_eq!(facts::dir_facts(&machine.dirs[0]).orphans, [other_run()]);
    fs::remove_dir(machine.root.path().join(".kbo/not-a-run")).unwrap();
    clean::remove(&machine.dirs, &CleanRequest::Orphans { keep: vec![] }).unwrap();
    assert_eq!(machine.beside(), ["data"]);
    clean::remove(&Machine::empty().dirs, &CleanRequest::Run(run())).unwrap();
}

#[test]
fn a_neighbours_work_folder_stays() {
    let machine = Machine::broker();
    let neighbour = machine.root.path().join("neighbour");
    fill_broker(&neighbour);
    let neighbour = [spec(Dataset::Data, &neighbour)];
    snapshot::take(&run(), &machine.dirs).unwrap();
    snapshot::take(&run(), &neighbour).unwrap();
    clean::remove(&machine.dirs, &CleanRequest::Run(run())).unwrap();
    archive(&neighbour).unwrap();
}

#[test]
fn a_clean_stop_is_proven_by_markers_of_one_epoch() {
    let machine = Machine::broker();
    let second = machine.root.path().join("data2");
    fill_broker(&second);
    let dirs = [machine.dirs[0].clone(), spec(Dataset::Data, &second)];
    let proof = clean::prove(&dirs, Role::Broker).unwrap();
    assert!(proof.clean);
    assert_eq!(proof.dirs[0].path, "/configured/data");
    assert!(
        proof
            .dirs
            .iter()
            .all(|dir| dir.marker && dir.broker_epoch == Some(17) && !dir.locked)
    );
    // A `.lock` that nobody holds is what Kafka before 3.8 leaves.
    put(&second, ".lock", b"");
    assert!(clean::prove(&dirs, Role::Broker).unwrap().clean);
    put(&second, ".kafka_cleanshutdown", br#"{"version":0,"brokerEpoch":18}"#);
    assert!(!clean::prove(&dirs, Role::Combined).unwrap().clean);
    fs::remove_file(second.join(".kafka_cleanshutdown")).unwrap();
    assert!(!clean::prove(&dirs, Role::Broker).unwrap().clean);
    assert!(clean::prove(&dirs, Role::Controller).unwrap().clean);
    assert!(!clean::prove(&[], Role::Broker).unwrap().clean);
}

#[test]
fn a_directory_of_the_metadata_log_alone_needs_no_marker_and_proves_nothing() {
    let machine = Machine::broker();
    let metadata = machine.root.path().join("meta");
    put(&metadata, "meta.properties", b"version=1\n");
    put(&metadata, "__cluster_metadata-0/00000000000000000000.log", b"");
    let own = spec(Dataset::Data, &metadata);
    let dirs = [machine.dirs[0].clone(), own.clone()];
    assert!(clean::prove(&dirs, Role::Broker).unwrap().clean);
    assert!(!clean::prove(&[own], Role::Broker).unwrap().clean);
    // With a partition in it, it is one of log.dirs, and was not marked.
    put(&metadata, "plain-0/00000000000000000000.log", b"");
    assert!(!clean::prove(&dirs, Role::Broker).unwrap().clean);
}

#[test]
fn a_lock_file_that_was_there_stays_and_one_that_was_not_goes() {
    let machine = Machine::broker();
    snapshot::take(&run(), &machine.dirs).unwrap();
    assert!(!machine.data().join(".lock").exists());
    put(&machine.data(), ".lock", b"");
    snapshot::take(&run(), &machine.dirs).unwrap();
    assert!(machine.data().join(".lock").exists());
    let (_, report) = archive(&machine.dirs).unwrap();
    assert!(report.files.iter().all(|file| file.path != ".lock"));
}

#[test]
fn a_lock_that_another_process_holds_is_seen_and_refuses_the_snapshot() {
    if let Some(path) = std::env::var_os(LOCK_PATH) {
        return hold_lock(Path::new(&path));
    }
    let machine = Machine::broker();
    let lock = machine.data().join(".lock");
    let mut holder = hold_lock_in_another_process(&lock);
    let proof = clean::prove(&machine.dirs, Role::Controller).unwrap();
    let refused = snapshot::take(&run(), &machine.dirs);
    drop(holder.stdin.take());
    holder.wait().unwrap();
    assert!(proof.dirs[0].locked && !proof.clean);
    assert!(matches!(refused, Err(Error::State { .. })), "{refused:?}");
    assert!(clean::prove(&machine.dirs, Role::Controller).unwrap().clean);
    snapshot::take(&run(), &machine.dirs).unwrap();
}

const LOCK_PATH: &str = "KBO_TEST_LOCK";

/// A POSIX lock is not seen by the process that holds it, so the test is run once more, to hold it.
pub(crate) fn hold_lock_in_another_process(lock: &Path) -> Child {
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "looking::a_lock_that_another_process_holds_is_seen_and_refuses_the_snapshot",
        ])
        .env(LOCK_PATH, lock)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let ready = lock.with_extension("held");
    let began = Instant::now();
    while !ready.exists() {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "the holder of the lock did not start"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    fs::remove_file(ready).unwrap();
    child
}

fn hold_lock(path: &Path) {
    let file = fs::File::create(path).unwrap();
    rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    fs::write(path.with_extension("held"), "").unwrap();
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
}
