use std::fs;

use jiff::Timestamp;
use kbo_archive::store::DirStore;
use kbo_core::ids::RunId;
use kbo_core::journal::Entry;
use kbo_core::ports::store::BackupStore;

use crate::sample::{dev, new_store};

fn entry(second: i64) -> Entry {
    Entry::UndoStarted {
        at: Timestamp::from_second(second).unwrap(),
    }
}

fn run(second: i64) -> RunId {
    RunId::at(Timestamp::from_second(second).unwrap())
}

#[tokio::test]
async fn entries_come_back_in_order_through_another_handle_after_a_crash() {
    let (_temp, store) = new_store();
    let journal = store.begin_journal(&dev(), &run(1)).await.unwrap();
    for second in 0..5 {
        journal.append(&entry(second)).await.unwrap();
    }
    drop(journal);

    let open = store.open_journals(&dev()).await.unwrap();
    assert_eq!((open.len(), open[0].run()), (1, &run(1)));
    open[0].append(&entry(5)).await.unwrap();
    assert_eq!(open[0].entries().await.unwrap(), (0..6).map(entry).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_closed_journal_is_kept_but_not_open() {
    let (_temp, store) = new_store();
    let journal = store.begin_journal(&dev(), &run(1)).await.unwrap();
    journal.append(&entry(1)).await.unwrap();
    journal.close().await.unwrap();
    journal.close().await.unwrap();
    assert!(store.open_journals(&dev()).await.unwrap().is_empty());
    let done = store.root().join(format!(".kbo/journal/dev/done/{}.jsonl", run(1)));
    assert_eq!(fs::read_to_string(done).unwrap().lines().count(), 1);
}

#[tokio::test]
async fn the_last_20_closed_journals_are_kept() {
    let (_temp, store) = new_store();
    for second in 0..23 {
        store
            .begin_journal(&dev(), &run(second))
            .await
            .unwrap()
            .close()
            .await
            .unwrap();
    }
    let mut kept: Vec<_> = fs::read_dir(store.root().join(".kbo/journal/dev/done"))
        .unwrap()
        .collect();
    kept.sort_by_key(|entry| entry.as_ref().unwrap().file_name());
    assert_eq!(kept.len(), 20);
    assert_eq!(
        kept[0].as_ref().unwrap().file_name().to_str().unwrap(),
        format!("{}.jsonl", run(3))
    );
}

#[tokio::test]
async fn open_journals_are_of_one_cluster_and_oldest_first() {
    let (_temp, store) = new_store();
    for second in [30, 10, 20] {
        store.begin_journal(&dev(), &run(second)).await.unwrap();
    }
    store.begin_journal(&"other".parse().unwrap(), &run(5)).await.unwrap();
    let open = store.open_journals(&dev()).await.unwrap();
    assert_eq!(
        open.iter().map(|journal| journal.run().clone()).collect::<Vec<_>>(),
        [run(10), run(20), run(30)]
    );
}

#[tokio::test]
async fn a_living_runs_journal_is_told_from_a_dead_ones() {
    let (_temp, store) = new_store();
    drop(store.begin_journal(&dev(), &run(1)).await.unwrap());
    let living = store.begin_journal(&dev(), &run(2)).await.unwrap();
    let other = DirStore::new(store.root());
    for _ in 0..2 {
        let open = other.open_journals(&dev()).await.unwrap();
        let told: Vec<bool> = open.iter().map(|journal| journal.is_alive()).collect();
        assert_eq!(told, [false, true]);
    }
    living.append(&entry(1)).await.unwrap();
    drop(living);
    let open = other.open_journals(&dev()).await.unwrap();
    assert!(open.iter().all(|journal| !journal.is_alive()));
}

#[tokio::test]
async fn a_run_has_one_journal() {
    let (_temp, store) = new_store();
    store.begin_journal(&dev(), &run(1)).await.unwrap();
    assert!(store.begin_journal(&dev(), &run(1)).await.is_err());
}
