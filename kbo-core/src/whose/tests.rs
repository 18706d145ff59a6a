use jiff::Timestamp;

use super::*;
use crate::inventory::Role;
use crate::ports::node::StartOutcome;

fn node(role: Role) -> Node {
    Node {
        name: "b1".parse().unwrap(),
        role,
        container: "b1".to_owned(),
        config: None,
        data: vec!["/data".to_owned()],
        node_id: None,
        unit: None,
    }
}

fn now(state: ContainerState, container: &str, starts: u32) -> ContainerNow {
    ContainerNow {
        state,
        incarnation: Some(Incarnation {
            container: container.to_owned(),
            started: format!("start {starts}"),
            finished: "2026-11-29T12:00:00Z".to_owned(),
        }),
    }
}

fn down(starts: u32) -> ContainerNow {
    now(ContainerState::Stopped, "a", starts)
}

fn stop() -> Step {
    Step::Stop {
        node: "b1".parse().unwrap(),
    }
}

fn start() -> Step {
    Step::Start {
        node: "b1".parse().unwrap(),
    }
}

fn ready() -> Step {
    Step::AwaitBroker {
        node: "b1".parse().unwrap(),
    }
}

fn intent(step: Step, container: Option<ContainerNow>) -> Entry {
    Entry::Intent {
        at: Timestamp::UNIX_EPOCH,
        step,
        container,
    }
}

fn done(step: Step, container: Option<ContainerNow>) -> Entry {
    let outcome = match &step {
        Step::Stop { .. } => StepOutcome::Stop(StopOutcome::Stopped),
        Step::Start { .. } => StepOutcome::Start(StartOutcome::Started),
        _ => StepOutcome::Done,
    };
    Entry::Done {
        at: Timestamp::UNIX_EPOCH,
        step,
        outcome,
        container,
    }
}

fn taken_over() -> Entry {
    Entry::TakenOver {
        at: Timestamp::UNIX_EPOCH,
        nothing_left: false,
    }
}

fn stopped() -> Vec<Entry> {
    vec![
        intent(stop(), Some(now(ContainerState::Running, "a", 1))),
        done(stop(), Some(down(1))),
    ]
}

fn is_ours(entries: &[Entry], now: &ContainerNow) -> bool {
    whose(entries, &node(Role::Broker), now) == Whose::Ours
}

#[test]
fn what_is_down_as_the_run_left_it_is_its_own_and_what_was_started_since_is_not() {
    assert!(is_ours(&stopped(), &down(1)));
    assert!(!is_ours(&stopped(), &down(2)));
    // The stop's answer is not in the journal.
    assert!(is_ours(&stopped()[..1], &down(1)));
    assert!(!is_ours(&stopped()[..1], &down(2)));
}

#[test]
fn what_was_removed_or_made_anew_is_told_as_that() {
    let gone = ContainerNow {
        state: ContainerState::Missing,
        incarnation: None,
    };
    let told = whose(&stopped(), &node(Role::Broker), &gone);
    assert_eq!(told, Whose::Theirs("was removed".to_owned()));
    let other = now(ContainerState::Stopped, "b", 1);
    let told = whose(&stopped(), &node(Role::Broker), &other);
    assert!(matches!(told, Whose::Theirs(what) if what.contains("made anew")));
    // A unit that removes its container when it stops.
    let by_unit = [intent(stop(), Some(down(1))), done(stop(), Some(gone.clone()))];
    assert!(is_ours(&by_unit, &gone));
}

#[test]
fn a_start_that_failed_is_tried_again_and_what_was_ready_was_stopped_by_somebody() {
    let mut entries = stopped();
    entries.extend([
        intent(start(), None),
        done(start(), Some(now(ContainerState::Running, "a", 2))),
    ]);
    assert!(is_ours(&entries, &down(2)), "it has exited before it was ready");
    assert!(is_ours(&entries, &down(5)), "its engine has tried some more times");
    let mut recovered = entries.clone();
    recovered.push(taken_over());
    assert!(!is_ours(&recovered, &down(2)), "it ran when the run died");
    let failed = Entry::Failed {
        at: Timestamp::UNIX_EPOCH,
        step: ready(),
        error: "exited".to_owned(),
    };
    entries.push(failed);
    entries.push(taken_over());
    assert!(is_ours(&entries, &down(2)), "the run had seen that it does not come up");
    entries.truncate(4);
    entries.push(done(ready(), None));
    assert!(!is_ours(&entries, &down(2)));
}

#[test]
fn a_node_on_restored_data_that_is_down_is_started_on_its_own_again() {
    let swap = Step::Swap {
        node: "b1".parse().unwrap(),
        datasets: vec![],
        previous_of: None,
    };
    let mut entries = stopped();
    entries.extend([
        intent(swap, None),
        intent(start(), None),
        done(start(), Some(now(ContainerState::Running, "a", 2))),
        done(ready(), None),
    ]);
    assert!(is_ours(&entries, &down(2)));
    entries.push(taken_over());
    assert!(is_ours(&entries, &down(2)));
    assert!(!is_ours(&entries, &down(3)));
}

#[test]
fn a_journal_of_0_1_0_starts_what_it_stopped_and_says_what_the_clock_shows() {
    let entries = [intent(stop(), None), done(stop(), None)];
    let told = whose(&entries, &node(Role::Broker), &down(1));
    assert!(matches!(told, Whose::OursPerhaps(what) if what.contains("older kbo")));
    let mut same = down(1);
    same.incarnation = Some(Incarnation {
        finished: "1970-01-01T00:00:30Z".to_owned(),
        ..Incarnation::default()
    });
    assert!(is_ours(&entries, &same));
}

#[test]
fn a_container_at_rest_is_disturbed_by_a_start_whether_it_still_runs_or_not() {
    assert_eq!(disturbance(&down(1), &down(1)), None);
    assert!(disturbance(&down(1), &down(2)).is_some());
    assert!(disturbance(&down(1), &now(ContainerState::Running, "a", 2)).is_some());
    assert!(disturbance(&down(1), &now(ContainerState::Stopped, "b", 1)).is_some());
}
