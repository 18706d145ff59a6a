//! Journals that version 0.1.0 left open on a real cluster, when it was killed in the window, are undone as it would have undone
//! them. `testdata/0.1.0` is never replaced.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use kbo_core::inventory::{Cluster, Node, Role};
use kbo_core::journal::Entry;
use kbo_core::undo::undo_steps;

fn cluster() -> Cluster {
    let node = |role: Role, number: u8| Node {
        name: format!("kafka-{role}-{number}").parse().unwrap(),
        role,
        container: format!("kafka-{role}-{number}"),
        config: Some("/data/cluster/config".to_owned()),
        data: vec!["/data/cluster/data".to_owned()],
        node_id: None,
        unit: None,
    };
    let controllers = (1..=3).map(|number| node(Role::Controller, number));
    let brokers = (1..=3).map(|number| node(Role::Broker, number));
    Cluster::new(controllers.chain(brokers).collect(), None).unwrap()
}

fn undo(journal: &str) -> Vec<String> {
    let entries: Vec<Entry> = journal
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let steps = undo_steps(&entries, &cluster());
    steps.iter().map(ToString::to_string).collect()
}

#[test]
fn a_backup_of_0_1_0_that_was_killed_at_its_first_stop_starts_that_broker_again() {
    let steps = undo(include_str!("../testdata/0.1.0/journal-of-a-backup.jsonl"));
    assert_eq!(
        steps,
        [
            "wait until the controllers are operational",
            "start kafka-broker-3",
            "wait until kafka-broker-3 is ready"
        ]
    );
}

#[test]
fn a_restore_of_0_1_0_that_was_killed_after_its_swap_is_swapped_back_before_anything_starts() {
    let steps = undo(include_str!("../testdata/0.1.0/journal-of-a-restore.jsonl"));
    let swapped: Vec<&String> = steps.iter().filter(|step| step.contains("back")).collect();
    assert_eq!(swapped.len(), 6, "{steps:#?}");
    let last_swap = steps.iter().rposition(|step| step.contains("back")).unwrap();
    let started: Vec<usize> = (0..steps.len()).filter(|at| steps[*at].starts_with("start ")).collect();
    assert_eq!(started.len(), 6, "{steps:#?}");
    assert!(started.iter().all(|at| *at > last_swap), "{steps:#?}");
    let quorum = steps.iter().position(|step| step.contains("operational")).unwrap();
    assert_eq!(
        started.iter().filter(|at| **at < quorum).count(),
        3,
        "controllers first: {steps:#?}"
    );
}
