//! Holders that live, hang, die and take over; files torn and of version 0.1.0.

use super::*;

fn run(second: u8) -> RunId {
    format!("20261122T0300{second:02}Z").parse().unwrap()
}

fn leases(folder: &Path, node: &str, holder: &str) -> Leases {
    let mut leases = Leases::new(node.parse().unwrap(), Some(folder.join(".kbo")));
    leases.holder = holder.to_owned();
    leases
}

const GRACE: Duration = Duration::from_secs(1);

fn ours() -> Claimant {
    Claimant {
        owner: None,
        runs: vec![run(1)],
    }
}

fn owner(store: &str) -> Owner {
    Owner {
        store: store.to_owned(),
        cluster: "prod".to_owned(),
        host: "centre".to_owned(),
        ..Owner::default()
    }
}

#[tokio::test]
async fn a_living_lease_of_another_centre_is_not_taken_and_a_dead_one_is_adopted() {
    let dir = tempfile::tempdir().unwrap();
    let (mut one, mut two) = (leases(dir.path(), "b1", "x"), leases(dir.path(), "b1", "y"));
    one.set_owner(owner("theirs"));
    one.note(&run(2), GRACE, |duty| duty.start = true).unwrap();
    let claimant = Claimant {
        owner: Some(owner("mine")),
        runs: vec![run(1)],
    };
    let taken = two.take(&claimant).await.unwrap();
    assert!(matches!(taken, Taken::ByAnother(duty) if duty.owner == Some(owner("theirs"))));
    assert!(one.is_ours(&run(2)));
    assert_eq!(two.adopt_dead(&claimant).await.unwrap(), []);
    assert!(two.facts().unwrap()[0].is_alive);
    drop(one);
    assert!(!two.facts().unwrap()[0].is_alive);
    assert_eq!(two.take(&claimant).await.unwrap(), Taken::Done);
    assert!(two.duties().is_empty());
    assert_eq!(two.adopt_dead(&claimant).await.unwrap(), [run(2)]);
    assert_eq!(two.duties()[0].owner, Some(owner("theirs")));
}

#[tokio::test]
async fn a_run_of_the_same_store_is_in_the_way_only_while_its_window_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let (mut one, mut two) = (leases(dir.path(), "b1", "x"), leases(dir.path(), "b1", "y"));
    one.set_owner(owner("mine"));
    one.note(&run(2), GRACE, |_| {}).unwrap();
    let claimant = Claimant {
        owner: Some(owner("mine")),
        runs: vec![run(1)],
    };
    assert_eq!(two.take(&claimant).await.unwrap(), Taken::Done);
    assert!(one.is_ours(&run(2)) && two.duties().is_empty());
    one.note(&run(2), GRACE, |duty| duty.start = true).unwrap();
    assert_eq!(two.take(&claimant).await.unwrap(), Taken::Busy);
}

#[test]
fn leases_of_version_0_1_0_are_read() {
    let line = r#"{"run":"20261122T030000Z","start":true,"stopping":false,"swapped":["data"],"grace":{"secs":120,"nanos":0},"wait_for":["c1:9093"]}"#;
    let duty: Duty = serde_json::from_str(line).unwrap();
    assert!(duty.start && !duty.agreed && duty.owner.is_none());
    assert_eq!(duty.stop_within, Duration::from_secs(600));
}

#[test]
fn a_lease_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = leases(dir.path(), "b1", "x");
    one.note(&run(1), GRACE, |duty| duty.start = true).unwrap();
    assert!(one.is_ours(&run(1)));
    one.drop_all();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn the_duty_goes_over_and_the_first_holder_notices() {
    let dir = tempfile::tempdir().unwrap();
    let (mut one, mut two) = (leases(dir.path(), "b1", "x"), leases(dir.path(), "b1", "y"));
    one.note(&run(1), GRACE, |duty| duty.start = true).unwrap();
    one.note(&run(1), GRACE, |duty| duty.swapped = vec![Dataset::Data])
        .unwrap();
    assert_eq!(two.take(&ours()).await.unwrap(), Taken::Done);
    assert!(!one.is_ours(&run(1)) && !one.seize(&run(1)));
    assert!(two.is_ours(&run(1)));
    assert!(two.duties()[0].start && two.duties()[0].swapped == [Dataset::Data]);
    // The first holder's going does not take the second one's lease with it.
    one.drop_all();
    assert!(two.is_ours(&run(1)));
}

#[tokio::test]
async fn nobody_takes_over_what_is_being_undone_unless_the_undoer_died() {
    let dir = tempfile::tempdir().unwrap();
    let (mut one, mut two) = (leases(dir.path(), "b1", "x"), leases(dir.path(), "b1", "y"));
    one.note(&run(1), GRACE, |duty| duty.start = true).unwrap();
    assert!(one.seize(&run(1)));
    assert_eq!(two.take(&ours()).await.unwrap(), Taken::Busy);
    drop(one);
    assert_eq!(two.take(&ours()).await.unwrap(), Taken::Done);
    assert!(two.duties()[0].start);
}

#[tokio::test]
async fn other_nodes_leases_in_the_same_folder_are_theirs() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = leases(dir.path(), "b1.x", "x");
    one.note(&run(1), GRACE, |duty| duty.start = true).unwrap();
    for other in ["b1", "b2", "b1.x.y"] {
        let mut two = leases(dir.path(), other, "y");
        two.take(&ours()).await.unwrap();
        assert!(two.duties().is_empty(), "{other}");
    }
    assert!(one.is_ours(&run(1)));
}

#[tokio::test]
async fn a_stop_under_way_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let (mut one, mut two) = (leases(dir.path(), "b1", "x"), leases(dir.path(), "b1", "y"));
    one.note(&run(1), GRACE, |duty| (duty.start, duty.stopping) = (true, true))
        .unwrap();
    let claim = tokio::spawn(async move { two.take(&ours()).await.map(|_| two.duties()) });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!claim.is_finished());
    one.note(&run(1), GRACE, |duty| duty.stopping = false).unwrap();
    assert!(claim.await.unwrap().unwrap()[0].start);
}

#[test]
fn directories_above_are_not_made_for_a_lease_which_is_written_once_they_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = leases(&dir.path().join("cluster"), "b1", "x");
    one.note(&run(1), GRACE, |duty| duty.start = true).unwrap();
    assert!(!dir.path().join("cluster").exists() && one.is_ours(&run(1)));
    fs::create_dir(dir.path().join("cluster")).unwrap();
    one.note(&run(1), GRACE, |_| {}).unwrap();
    assert!(last_line(&one.path(&run(1), HELD)).unwrap().unwrap().start);
}

#[test]
fn a_torn_line_is_as_if_it_had_not_been_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = leases(dir.path(), "b1", "x");
    one.note(&run(1), GRACE, |duty| duty.start = true).unwrap();
    let path = one.path(&run(1), HELD);
    OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap()
        .write_all(b"{\"run\":\"2026")
        .unwrap();
    assert!(last_line(&path).unwrap().unwrap().start);
}

#[test]
fn leases_of_the_dead_that_only_had_a_work_folder_do_not_keep_it() {
    let dir = tempfile::tempdir().unwrap();
    let two = leases(dir.path(), "b1", "y");
    let mut one = leases(dir.path(), "b1", "x");
    one.note(&run(1), GRACE, |_| {}).unwrap();
    assert_eq!(two.runs_of_others().unwrap(), [run(1)]);
    drop(one);
    assert!(two.runs_of_others().unwrap().is_empty());
    let mut three = leases(dir.path(), "b1", "z");
    three.note(&run(2), GRACE, |duty| duty.start = true).unwrap();
    drop(three);
    assert_eq!(two.runs_of_others().unwrap(), [run(2)]);
}

/// Leases of a restore that version 0.1.0 had swapped in on a real cluster when it was killed; never replaced.
#[tokio::test]
async fn a_standing_lease_of_version_0_1_0_is_adopted_with_all_that_it_has_to_undo() {
    for (node, name, waits) in [
        (
            "kafka-broker-1",
            "lease-20261129T075513Z-kafka-broker-1.2e6-18ec74ed1088433a.json",
            3,
        ),
        (
            "kafka-controller-1",
            "lease-20261129T075513Z-kafka-controller-1.27b-18ec74ed1684d567.json",
            0,
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join(".kbo");
        fs::create_dir(&folder).unwrap();
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/0.1.0").join(name);
        fs::copy(golden, folder.join(name)).unwrap();
        let mut leases = leases(dir.path(), node, "y");
        let run: RunId = "20261129T075513Z".parse().unwrap();
        assert_eq!(leases.adopt_dead(&ours()).await.unwrap(), std::slice::from_ref(&run));
        let duty = leases.duties().remove(0);
        assert_eq!((duty.run, duty.start, duty.stopping), (run, true, false));
        assert_eq!(duty.swapped, [Dataset::Config, Dataset::Data]);
        assert_eq!((duty.wait_for.len(), duty.owner, duty.agreed), (waits, None, false));
    }
}
