use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kbo_archive::store::DirStore;
use kbo_core::ports::store::{BackupStore, StoreError, StoreLock};

use crate::sample::{dev, new_store};

const CHILD_STORE: &str = "KBO_TEST_LOCK_STORE";

#[tokio::test]
async fn two_runs_of_one_cluster_exclude_each_other_and_the_second_learns_who() {
    let (_temp, store) = new_store();
    let lock = store.lock(&dev(), "backup").await.unwrap();
    assert_eq!(lock.took_over(), None);
    let second = DirStore::new(store.root());
    let Err(StoreError::Locked { cluster, owner }) = second.lock(&dev(), "restore").await.map(|_| ()) else {
        panic!("the lock was given twice");
    };
    assert_eq!(
        (cluster, owner.pid, owner.purpose.as_str()),
        (dev(), std::process::id(), "backup")
    );
    assert!(!owner.host.is_empty() && !owner.boot_id.is_empty());
    assert!(second.lock(&"other".parse().unwrap(), "backup").await.is_ok());
    lock.release().await.unwrap();
    assert_eq!(second.lock(&dev(), "restore").await.unwrap().took_over(), None);
}

#[tokio::test]
async fn a_look_at_the_lock_names_its_holder_and_is_in_nobodys_way() {
    let (_temp, store) = new_store();
    assert_eq!(store.holder(&dev()).await.unwrap(), None);
    assert!(!store.root().exists(), "a look makes no store");
    let lock = store.lock(&dev(), "backup").await.unwrap();
    let holder = store.holder(&dev()).await.unwrap().unwrap();
    assert_eq!((holder.pid, holder.purpose.as_str()), (std::process::id(), "backup"));
    assert_eq!(store.holder(&"other".parse().unwrap()).await.unwrap(), None);
    lock.release().await.unwrap();
    assert_eq!(store.holder(&dev()).await.unwrap(), None);
}

#[tokio::test]
async fn a_dropped_lock_is_free_and_tells_of_no_death() {
    let (_temp, store) = new_store();
    drop(store.lock(&dev(), "backup").await.unwrap());
    assert_eq!(store.lock(&dev(), "backup").await.unwrap().took_over(), None);
}

#[tokio::test]
async fn beside_a_run_that_only_archives_one_may_run_that_changes_nothing_and_no_other() {
    let (_temp, store) = new_store();
    let second = DirStore::new(store.root());
    let locked_by = |taken: Result<Box<dyn StoreLock>, StoreError>| match taken.map(drop) {
        Err(StoreError::Locked { owner, .. }) => owner.purpose,
        other => panic!("{other:?}"),
    };
    let lock = store.lock(&dev(), "backup").await.unwrap();
    assert_eq!(
        locked_by(second.lock_beside(&dev(), "config").await),
        "backup",
        "not in its window"
    );
    lock.share().await.unwrap();
    lock.share().await.unwrap();
    assert_eq!(locked_by(second.lock(&dev(), "restore").await), "backup");
    let beside = second.lock_beside(&dev(), "config").await.unwrap();
    assert_eq!(locked_by(second.lock_beside(&dev(), "config again").await), "config");
    assert!(store.holder(&dev()).await.unwrap().unwrap().archiving);

    lock.release().await.unwrap();
    // Nothing is stopped or replaced beside it, though the run that it came beside has ended.
    assert_eq!(locked_by(store.lock(&dev(), "restore").await), "config");
    assert_eq!(locked_by(store.lock_beside(&dev(), "config again").await), "config");
    assert_eq!(store.holder(&dev()).await.unwrap().unwrap().purpose, "config");
    beside.release().await.unwrap();
    let lock = store.lock(&dev(), "restore").await.unwrap();
    assert_eq!(lock.took_over(), None);
    drop(lock);
    // With nobody there it is the whole lock.
    let whole = store.lock_beside(&dev(), "config").await.unwrap();
    assert_eq!(locked_by(second.lock_beside(&dev(), "config again").await), "config");
    drop(whole);
    assert_eq!(store.holder(&dev()).await.unwrap(), None);
}

#[tokio::test]
async fn a_lock_record_of_version_0_1_0_shares_nothing() {
    let (_temp, store) = new_store();
    let _held = store.lock(&dev(), "backup").await.unwrap();
    let text = fs::read_to_string(store.root().join(".kbo/lock-dev")).unwrap();
    assert!(!text.contains("archiving"), "{text}");
    let second = DirStore::new(store.root()).lock_beside(&dev(), "config").await;
    assert!(matches!(second.map(drop), Err(StoreError::Locked { .. })));
}

#[tokio::test]
async fn the_lock_of_a_killed_process_is_taken_over_and_reported() {
    // The process to be killed is this test, run once more.
    if let Some(root) = std::env::var_os(CHILD_STORE) {
        return hold_until_killed(Path::new(&root)).await;
    }
    let (_temp, store) = new_store();
    let ready = store.root().with_file_name("ready");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "store_lock::the_lock_of_a_killed_process_is_taken_over_and_reported",
        ])
        .env(CHILD_STORE, store.root())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !ready.exists() {
        assert!(Instant::now() < deadline, "the child never got the lock");
        std::thread::sleep(Duration::from_millis(5));
    }
    let Err(StoreError::Locked { owner, .. }) = store.lock(&dev(), "backup").await.map(|_| ()) else {
        panic!("the child's lock was given away");
    };
    assert_eq!(owner.pid, child.id());
    assert_eq!(store.holder(&dev()).await.unwrap().unwrap().pid, child.id());

    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(store.holder(&dev()).await.unwrap(), None, "the dead hold nothing");
    let lock = store.lock(&dev(), "recover").await.unwrap();
    let dead = lock.took_over().unwrap();
    assert_eq!((dead.pid, dead.purpose.as_str()), (child.id(), "a test"));
    lock.release().await.unwrap();
    assert_eq!(store.lock(&dev(), "backup").await.unwrap().took_over(), None);
}

async fn hold_until_killed(root: &Path) {
    let _lock = DirStore::new(root).lock(&dev(), "a test").await.unwrap();
    fs::write(root.with_file_name("ready"), "").unwrap();
    std::thread::sleep(Duration::from_secs(60));
}
