//! Others start and stop the container too while a run has it in its hands.

use kbo_core::ports::node::{Claim, ContainerState, NodeTransport, Owner};

use super::*;

#[tokio::test]
async fn what_somebody_has_started_and_stopped_since_is_left_down_by_the_lease() {
    let lab = Lab::new();
    let node = lab.node();
    node.stop(&lab.stop(300)).await.unwrap();
    lab.engine.meddle(ContainerState::Running);
    lab.engine.meddle(ContainerState::Stopped);
    drop(node);
    lab.agents_ended().await;
    assert_eq!(lab.engine.state(), ContainerState::Stopped);
    assert_eq!(lab.engine.calls(), ["stop 360"]);
    leases::nothing_left(&lab);
}

#[tokio::test]
async fn what_somebody_has_started_since_is_left_running_by_the_lease() {
    let lab = Lab::new();
    let node = lab.node();
    node.stop(&lab.stop(300)).await.unwrap();
    lab.engine.meddle(ContainerState::Running);
    drop(node);
    lab.agents_ended().await;
    assert_eq!(lab.engine.state(), ContainerState::Running);
    leases::nothing_left(&lab);
}

#[tokio::test]
async fn what_a_dead_run_left_is_not_started_where_somebody_has_stopped_it_since_and_that_is_told() {
    let lab = Lab::new();
    let node = lab.node();
    node.stop(&lab.stop(60_000)).await.unwrap();
    lab.kill_agents().await;
    drop(node);
    lab.engine.meddle(ContainerState::Running);
    lab.engine.meddle(ContainerState::Stopped);
    // Undone by whichever agent comes first: one that takes the dead one's lease over and is left alone, too.
    let claim = Claim {
        run: None,
        owner: Owner {
            store: "another".to_owned(),
            ..Owner::default()
        },
        known: vec![],
        undoing: false,
    };
    let report = lab.node().claim(&claim).await.unwrap();
    assert_eq!(lab.engine.state(), ContainerState::Stopped, "{report:?}");
    let told: Vec<String> = report.undone.iter().map(ToString::to_string).collect();
    assert!(
        told.concat().contains("was started by something else than kbo"),
        "{told:?}"
    );
    lab.agents_ended().await;
}
