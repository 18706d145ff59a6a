//! A store whose disk hangs: what works on it is a process that can be given up, and commits nothing afterwards.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kbo_archive::store::{DirStore, ProcessStore, StoreProgram};
use kbo_core::cancel::Cancel;
use kbo_core::ids::{BackupId, ClusterId, ClusterName, RunId};
use kbo_core::journal::Entry;
use kbo_core::machine::Phase;
use kbo_core::manifest::{BackupKind, Manifest};
use kbo_core::ports::store::{BackupStore, BackupWriter, StoreError};
use serde_json::{Value, json};

const ID: &str = "20261122T030000Z";

fn id() -> BackupId {
    ID.parse().unwrap()
}

fn run() -> RunId {
    ID.parse().unwrap()
}

fn dev() -> ClusterName {
    "dev".parse().unwrap()
}

fn store(root: &Path, patience: Duration, cancel: &Cancel) -> ProcessStore {
    let program = StoreProgram::new(env!("CARGO_BIN_EXE_kbo"), [OsString::from("store-agent")]);
    ProcessStore::new(root, program, patience, cancel.clone())
}

fn patient(root: &Path) -> ProcessStore {
    store(root, Duration::from_secs(30), &Cancel::default())
}

fn entry() -> Entry {
    Entry::End {
        at: jiff::Timestamp::now(),
        phase: Phase::Done,
    }
}

/// The process that holds the cluster's lock, by its record.
fn holder(root: &Path) -> u32 {
    let record: Value = serde_json::from_slice(&fs::read(root.join(".kbo/lock-dev")).unwrap()).unwrap();
    assert_eq!(record["pid"], json!(std::process::id()), "the lock names the run");
    u32::try_from(record["holder"].as_u64().unwrap()).unwrap()
}

fn signal(pid: u32, signal: &str) {
    let sent = Command::new("kill").args([signal, &pid.to_string()]).status().unwrap();
    assert!(sent.success());
}

async fn await_that(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(20), "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether no thread of it is left: one in a system call on a frozen disk stays, after SIGKILL, when the others have gone.
fn is_gone(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return true;
    };
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
        state.is_empty() || state.starts_with(['Z', 'X'])
    })
}

fn manifest(archives: &Value) -> Manifest {
    let document = json!({
        "format": 1, "id": ID, "kind": "config", "cluster": "dev", "cluster_id": null, "kbo_version": "0.1.0",
        "created": "2026-11-22T03:00:00Z", "committed": "2026-11-22T03:00:00Z", "nodes": [], "archives": archives,
    });
    serde_json::from_value(document).unwrap()
}

/// A backup with one archive of `content`, all but committed.
async fn written(store: &dyn BackupStore, content: &[u8]) -> (Box<dyn BackupWriter>, Manifest) {
    let writer = store.begin(&id(), BackupKind::Config).await.unwrap();
    let mut archive = writer.create("b1.config.tar.zst").await.unwrap();
    archive.write(Bytes::copy_from_slice(content)).await.unwrap();
    let stored = archive.finish().await.unwrap();
    assert_eq!(stored.size, content.len() as u64);
    let archives = json!([{
        "name": "b1.config.tar.zst", "node": "b1", "dataset": "config", "size": stored.size, "sha256": stored.sha256, "raw_size": 1,
        "dirs": [{"path": "/config", "prefix": ""}],
        "files": [{"path": "", "type": "dir", "mode": 493, "uid": 0, "gid": 0, "mtime": "2026-11-22T03:00:00Z"}],
    }]);
    (writer, manifest(&archives))
}

/// What a store has to do, whoever touches its disk.
async fn does_what_a_store_does(store: &dyn BackupStore) {
    let lock = store.lock(&dev(), "backup").await.unwrap();
    assert!(lock.took_over().is_none());
    let content: Vec<u8> = (0..9_000_000u32).map(|n| (n % 251) as u8).collect();
    let (writer, manifest) = written(store, &content).await;
    assert!(store.list().await.unwrap().is_empty(), "not before its commit");
    writer.commit(&manifest).await.unwrap();
    assert_eq!(store.list().await.unwrap().len(), 1);
    assert_eq!(store.manifest(&id()).await.unwrap(), manifest);
    let mut source = store.open(&id(), "b1.config.tar.zst").await.unwrap();
    let mut back = vec![];
    while let Some(chunk) = source.next().await.unwrap() {
        back.extend_from_slice(&chunk);
    }
    assert!(back == content && source.next().await.unwrap().is_none());
    assert!(matches!(
        store.begin(&id(), BackupKind::Config).await.map(drop),
        Err(StoreError::Taken(_))
    ));

    let journal = store.begin_journal(&dev(), &run()).await.unwrap();
    journal.append(&entry()).await.unwrap();
    let open = store.open_journals(&dev()).await.unwrap();
    assert_eq!(open.len(), 1);
    assert!(open[0].is_alive());
    assert_eq!(open[0].entries().await.unwrap().len(), 1);
    journal.close().await.unwrap();
    assert!(store.open_journals(&dev()).await.unwrap().is_empty());

    assert!(store.id().await.unwrap().is_some());
    let adopted: ClusterId = "my-cluster".parse().unwrap();
    assert_eq!(store.adopted_id(&dev()).await.unwrap(), None);
    store.adopt(&dev(), &adopted).await.unwrap();
    assert_eq!(store.adopted_id(&dev()).await.unwrap(), Some(adopted));
    assert!(store.space().await.unwrap().size > 0);
    assert!(store.sweep().await.unwrap().is_empty());
    store.remove(&id()).await.unwrap();
    assert!(matches!(store.manifest(&id()).await, Err(StoreError::NoSuchBackup(_))));
    lock.release().await.unwrap();
    drop(store.lock(&dev(), "again").await.unwrap());
}

#[tokio::test]
async fn a_store_does_the_same_through_a_process_of_its_own() {
    let temp = tempfile::tempdir().unwrap();
    does_what_a_store_does(&DirStore::new(temp.path().join("direct"))).await;
    does_what_a_store_does(&patient(&temp.path().join("apart"))).await;
}

#[tokio::test]
async fn two_runs_with_processes_of_their_own_work_on_one_store_and_neither_takes_the_other_for_dead() {
    let temp = tempfile::tempdir().unwrap();
    let (first, second) = (patient(temp.path()), patient(temp.path()));
    let lock = first.lock(&dev(), "backup").await.unwrap();
    let journal = first.begin_journal(&dev(), &run()).await.unwrap();
    let (writer, document) = written(&first, b"of the first").await;
    assert!(matches!(
        second.lock_beside(&dev(), "config").await.map(drop),
        Err(StoreError::Locked { .. })
    ));
    lock.share().await.unwrap();
    let beside = second.lock_beside(&dev(), "config").await.unwrap();
    let open = second.open_journals(&dev()).await.unwrap();
    assert_eq!(
        open.iter().map(|journal| journal.is_alive()).collect::<Vec<_>>(),
        [true]
    );
    assert!(second.sweep().await.unwrap().is_empty(), "what the first writes stays");
    assert!(matches!(second.remove(&id()).await, Err(StoreError::NoSuchBackup(_))));
    writer.commit(&document).await.unwrap();
    assert_eq!(second.list().await.unwrap().len(), 1);
    journal.append(&entry()).await.unwrap();

    // The first dies: its journal is a dead one's, and nobody gets the whole lock beside the second.
    let pid = holder(temp.path());
    signal(pid, "-KILL");
    let begun = Instant::now();
    while second.open_journals(&dev()).await.unwrap()[0].is_alive() {
        assert!(begun.elapsed() < Duration::from_secs(30), "the dead hold nothing");
    }
    let third = patient(temp.path());
    assert!(matches!(
        third.lock(&dev(), "restore").await.map(drop),
        Err(StoreError::Locked { .. })
    ));
    beside.release().await.unwrap();
    let lock = third.lock(&dev(), "recover").await.unwrap();
    assert_eq!(lock.took_over().unwrap().purpose, "backup");
}

#[tokio::test]
async fn a_process_that_does_not_answer_is_given_up_in_time_and_nothing_is_waited_for_twice() {
    let temp = tempfile::tempdir().unwrap();
    let store = store(temp.path(), Duration::from_secs(1), &Cancel::default());
    let lock = store.lock(&dev(), "backup").await.unwrap();
    let journal = store.begin_journal(&dev(), &run()).await.unwrap();
    let pid = holder(temp.path());
    signal(pid, "-STOP");
    let begun = Instant::now();
    let error = journal.append(&entry()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unresponsive { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("hangs: no answer within 1 s to: write the journal"),
        "{error}"
    );
    for _ in 0..100 {
        journal.append(&entry()).await.unwrap_err();
    }
    lock.release().await.unwrap_err();
    store.list().await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    await_that("the process is gone", || is_gone(pid)).await;
    assert!(
        DirStore::new(temp.path())
            .lock(&dev(), "next")
            .await
            .unwrap()
            .took_over()
            .is_some()
    );
}

#[tokio::test]
async fn asked_twice_to_end_a_run_waits_two_seconds_for_its_store() {
    let temp = tempfile::tempdir().unwrap();
    let cancel = Cancel::default();
    let store = store(temp.path(), Duration::from_secs(600), &cancel);
    let _lock = store.lock(&dev(), "backup").await.unwrap();
    signal(holder(temp.path()), "-STOP");
    let begun = Instant::now();
    cancel.ask();
    cancel.ask();
    store.list().await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_archive_that_the_process_does_not_take_fills_no_memory_and_ends_in_time() {
    let temp = tempfile::tempdir().unwrap();
    let store = store(temp.path(), Duration::from_millis(100), &Cancel::default());
    let _lock = store.lock(&dev(), "backup").await.unwrap();
    let writer = store.begin(&id(), BackupKind::Config).await.unwrap();
    let mut archive = writer.create("b1.config.tar.zst").await.unwrap();
    signal(holder(temp.path()), "-STOP");
    let mut taken = 0;
    let error = loop {
        match archive.write(Bytes::from(vec![0; 1 << 20])).await {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(taken <= 5, "{taken} MiB were taken");
    assert!(error.to_string().contains("write an archive"), "{error}");
}

#[tokio::test]
async fn a_process_whose_run_is_gone_ends_and_lets_go_of_the_lock() {
    let temp = tempfile::tempdir().unwrap();
    let store = patient(temp.path());
    let lock = store.lock(&dev(), "backup").await.unwrap();
    let pid = holder(temp.path());
    // All that holds the pipes.
    std::mem::drop((lock, store));
    await_that("the process has ended", || is_gone(pid)).await;
    drop(DirStore::new(temp.path()).lock(&dev(), "next").await.unwrap());
}

#[tokio::test]
async fn a_backup_whose_writer_has_not_confirmed_it_is_none_and_goes_with_the_next_sweep() {
    let temp = tempfile::tempdir().unwrap();
    let store = patient(temp.path());
    let (writer, manifest) = written(&store, b"abc").await;
    let claim = temp.path().join(".kbo/writing").join(ID);
    let text = fs::read(&claim).unwrap();
    writer.commit(&manifest).await.unwrap();
    assert!(!claim.exists());
    // As a writer leaves it that was given up in the rename, which its disk ended later.
    fs::write(&claim, text).unwrap();
    let next = DirStore::new(temp.path());
    assert!(next.list().await.unwrap().is_empty());
    assert!(matches!(next.manifest(&id()).await, Err(StoreError::NoSuchBackup(_))));
    assert_eq!(next.sweep().await.unwrap(), [id()]);
    assert!(!claim.exists());
    assert_eq!(fs::read_dir(temp.path().join("config/rotated")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_lock_that_outlives_its_run_names_the_process_that_waits() {
    let temp = tempfile::tempdir().unwrap();
    let store = patient(temp.path());
    let _lock = store.lock(&dev(), "backup").await.unwrap();
    let path = temp.path().join(".kbo/lock-dev");
    let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let pid = record["holder"].clone();
    // The run is gone, and its store's process is not: its record names a process of this boot that there is not.
    record["pid"] = json!(u32::MAX);
    fs::write(&path, record.to_string()).unwrap();
    let error = DirStore::new(temp.path())
        .lock(&dev(), "next")
        .await
        .map(drop)
        .unwrap_err();
    assert!(matches!(error, StoreError::Waits { .. }), "{error}");
    assert!(
        error.to_string().contains(&format!("still held by process {pid} ")),
        "{error}"
    );
}

#[tokio::test]
async fn a_pipe_in_the_place_of_any_file_of_a_store_is_refused_by_name_and_not_waited_for() {
    let temp = tempfile::tempdir().unwrap();
    let store = DirStore::new(temp.path());
    let (writer, manifest) = written(&store, b"abc").await;
    writer.commit(&manifest).await.unwrap();
    let folder = store.folder(&id()).await.unwrap();
    let pipe = |path: &Path| {
        let _ = fs::remove_file(path);
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    let soon = |work| async move {
        let done: Result<Result<(), StoreError>, _> = tokio::time::timeout(Duration::from_secs(5), work).await;
        done.expect("it waits for a pipe").map_err(|error| format!("{error:?}"))
    };
    pipe(&folder.join("b1.config.tar.zst"));
    let opened = async { store.open(&id(), "b1.config.tar.zst").await.map(drop) };
    assert!(
        soon(Box::pin(opened) as std::pin::Pin<Box<dyn Future<Output = _>>>)
            .await
            .unwrap_err()
            .contains("named pipe")
    );
    pipe(&temp.path().join(".kbo/lock-dev"));
    let taken = async { store.lock(&dev(), "next").await.map(drop) };
    assert!(soon(Box::pin(taken)).await.unwrap_err().contains("named pipe"));
    let journals = temp.path().join(".kbo/journal/dev");
    fs::create_dir_all(&journals).unwrap();
    pipe(&journals.join(format!("{ID}.jsonl")));
    let open = async { store.open_journals(&dev()).await.map(drop) };
    assert!(soon(Box::pin(open)).await.unwrap_err().contains("named pipe"));
    pipe(&temp.path().join("kbo-store.json"));
    let listed = async { store.list().await.map(drop) };
    assert!(soon(Box::pin(listed)).await.unwrap_err().contains("named pipe"));
}

#[test]
fn a_pipe_where_a_file_is_named_is_refused_by_name_and_not_waited_for() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let pipe = path.to_str().unwrap();
    let file = temp.path().join("kbo.toml");
    let with_log = format!(
        "[cluster]\nname = \"dev\"\n[storage]\ncold = \"{}\"\n[log]\nfile = \"{pipe}\"\n[defaults]\ndata = \"/data\"\n\
         [[node]]\nname = \"n1\"\nrole = \"combined\"\nhost = \"127.0.0.1\"\nport = 1\n",
        temp.path().join("store").display()
    );
    fs::write(&file, with_log).unwrap();
    let config = file.to_str().unwrap();
    let cases: [&[&str]; 5] = [
        &["--config", pipe, "list"],
        &["--config", config, "list"],
        &["import-config", pipe],
        &["ssh-setup", "--host", "root@127.0.0.1:1", "--known-hosts", pipe],
        &["ssh-setup", "--host", "root@127.0.0.1:1", "--password-file", pipe],
    ];
    for arguments in cases {
        let output = Command::new("timeout")
            .arg("20")
            .arg(env!("CARGO_BIN_EXE_kbo"))
            .args(arguments)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(told.contains("it is a named pipe, not a file"), "{arguments:?}: {told}");
    }
}

#[tokio::test]
async fn a_claim_that_an_older_kbo_left_takes_no_backup_away() {
    let temp = tempfile::tempdir().unwrap();
    let store = DirStore::new(temp.path());
    let (writer, manifest) = written(&store, b"abc").await;
    writer.commit(&manifest).await.unwrap();
    fs::write(temp.path().join(".kbo/writing").join(ID), "").unwrap();
    assert_eq!(store.sweep().await.unwrap(), []);
    assert_eq!(store.list().await.unwrap().len(), 1);
}

/// A filesystem of its own for a store. Whatever happens, it goes.
struct Disk {
    mount: PathBuf,
    _temp: tempfile::TempDir,
}

impl Disk {
    /// None where this user may not mount.
    fn new() -> Option<Self> {
        let temp = tempfile::tempdir().unwrap();
        let (image, mount) = (temp.path().join("image"), temp.path().join("mount"));
        fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        fs::create_dir(&mount).unwrap();
        let ran = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).output();
            output.is_ok_and(|output| output.status.success())
        };
        let (image, target) = (image.to_str().unwrap(), mount.to_str().unwrap());
        let is_made = ran("mkfs.ext4", &["-q", "-F", image]) && ran("mount", &["-o", "loop", image, target]);
        is_made.then(|| Self { mount, _temp: temp })
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = |options: &[&str]| {
            let umount = Command::new("umount").args(options).arg(&self.mount).output();
            umount.is_ok_and(|output| output.status.success())
        };
        for _ in 0..50 {
            if unmounted(&[]) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        unmounted(&["--lazy"]);
    }
}

/// A disk that is frozen for as long as this is there, and for 30 s at most: a process of its own thaws it when the pipe to it closes,
/// which a test that is killed does as well.
struct Frozen {
    child: Child,
}

impl Frozen {
    fn new(disk: &Disk) -> Self {
        let script =
            r#"fsfreeze --freeze "$1" && echo frozen; timeout 30 cat >/dev/null; exec fsfreeze --unfreeze "$1""#;
        let mut child = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(&disk.mount)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Not the tests' group, which a Ctrl-C would end as a whole.
            .process_group(0)
            .spawn()
            .unwrap();
        let mut told = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut told)
            .unwrap();
        assert_eq!(told, "frozen\n");
        Self { child }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // It ends within its 30 s whatever happens here.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// What is asked of a frozen disk through a process has to end in time; only the test's own process must never touch it.
async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(Duration::from_secs(15), work).await;
    done.unwrap_or_else(|_| panic!("it does not end: {what}"))
}

#[tokio::test]
async fn on_a_frozen_disk_the_run_goes_on_the_lock_names_who_waits_and_nothing_is_committed_after_the_thaw() {
    let Some(disk) = Disk::new() else {
        assert!(std::env::var_os("CI").is_none(), "no filesystem can be mounted here");
        eprintln!("NOT RUN: no filesystem can be mounted here");
        return;
    };
    let root = disk.mount.join("cold");
    let hasty = store(&root, Duration::from_millis(200), &Cancel::default());
    let _lock = hasty.lock(&dev(), "backup").await.unwrap();
    let (writer, manifest) = written(&hasty, b"abc").await;
    let pid = holder(&root);
    let frozen = Frozen::new(&disk);
    let begun = Instant::now();
    let error = soon("the commit", writer.commit(&manifest)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unresponsive { .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(!is_gone(pid), "it cannot end before the disk answers");

    let next = patient(&root);
    let locked = soon("the next run's lock", next.lock(&dev(), "next")).await;
    let Err(StoreError::Locked { owner, .. }) = locked.map(drop) else {
        panic!("what waits for the disk holds the lock");
    };
    assert_eq!(owner.holder, Some(pid), "the lock names who waits");
    drop((next, frozen));
    await_that("the process has ended", || is_gone(pid)).await;
    let next = patient(&root);
    let next_lock = soon("the lock after the thaw", next.lock(&dev(), "next"))
        .await
        .unwrap();
    assert!(soon("a list", next.list()).await.unwrap().is_empty());
    assert_eq!(soon("a sweep", next.sweep()).await.unwrap(), [id()]);
    let (writer, manifest) = soon("a backup", written(&next, b"abc")).await;
    soon("its commit", writer.commit(&manifest)).await.unwrap();
    assert_eq!(soon("a list", next.list()).await.unwrap().len(), 1);
    // What holds the disk ends before it is unmounted.
    let pid = holder(&root);
    drop((writer, next_lock, next));
    await_that("the process has ended", || is_gone(pid)).await;
}
