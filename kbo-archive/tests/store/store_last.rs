//! What the last runs came to, beside the backups and in nobody's way.

use std::fs;

use kbo_archive::store::DirStore;
use kbo_core::last_run::RunRecord;
use kbo_core::manifest::BackupKind;
use kbo_core::ports::store::BackupStore;
use kbo_core::report::Outcome;

fn run(ended: i64, outcome: Outcome) -> RunRecord {
    let at = |second| jiff::Timestamp::from_second(second).unwrap();
    RunRecord {
        cluster: "dev".parse().unwrap(),
        kind: BackupKind::Config,
        schedule: Some("hourly".parse().unwrap()),
        started: at(ended - 1),
        ended: at(ended),
        outcome,
        exit_code: outcome.exit_code(),
        id: None,
        window_seconds: None,
        raw_bytes: 0,
        stored_bytes: 0,
        good: true,
        verdict: "refused".to_owned(),
    }
}

#[tokio::test]
async fn a_run_is_noted_durably_and_a_damaged_note_is_begun_anew() {
    let temp = tempfile::tempdir().unwrap();
    let store = DirStore::new(temp.path().join("cold"));
    let dev = "dev".parse().unwrap();
    assert_eq!(store.last_runs(&dev, BackupKind::Config).await.unwrap().last, None);
    assert!(!store.root().exists(), "a look creates nothing");
    store.note_run(&run(100, Outcome::Done)).await.unwrap();
    store.note_run(&run(200, Outcome::Refused)).await.unwrap();
    let runs = store.last_runs(&dev, BackupKind::Config).await.unwrap();
    assert_eq!(
        (runs.last, runs.last_success),
        (Some(run(200, Outcome::Refused)), Some(run(100, Outcome::Done)))
    );
    assert_eq!(store.last_runs(&dev, BackupKind::Data).await.unwrap().last, None);

    let path = store.root().join(".kbo/last/dev/config.json");
    fs::write(&path, "{").unwrap();
    assert!(store.last_runs(&dev, BackupKind::Config).await.is_err());
    store.note_run(&run(300, Outcome::Done)).await.unwrap();
    assert_eq!(
        store.last_runs(&dev, BackupKind::Config).await.unwrap().last,
        Some(run(300, Outcome::Done))
    );
    let names: Vec<_> = fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["config.json"], "nothing half written stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_noted_at_once_all_count_and_the_store_is_as_before_to_everybody_else() {
    let temp = tempfile::tempdir().unwrap();
    let store = DirStore::new(temp.path().join("cold"));
    let mut noting = tokio::task::JoinSet::new();
    for ended in 1..=20 {
        let store = store.clone();
        let outcome = if ended == 13 { Outcome::Done } else { Outcome::Locked };
        noting.spawn(async move { store.note_run(&run(1000 + ended, outcome)).await });
    }
    for noted in noting.join_all().await {
        noted.unwrap();
    }
    let runs = store
        .last_runs(&"dev".parse().unwrap(), BackupKind::Config)
        .await
        .unwrap();
    assert_eq!(runs.last.unwrap().ended.as_second(), 1020);
    assert_eq!(runs.last_success.unwrap().ended.as_second(), 1013);
    assert!(store.list().await.unwrap().is_empty() && store.sweep().await.unwrap().is_empty());
    assert!(store.open_journals(&"dev".parse().unwrap()).await.unwrap().is_empty());
}
