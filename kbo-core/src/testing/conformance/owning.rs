//! Whose a node is: claims, and what a run may say of a lease that it has or has not.

use jiff::Timestamp;

use super::Harness;
use super::fixtures::*;
use crate::ids::RunId;
use crate::ports::node::*;
use crate::ports::owner::{Claim, ClaimReport, Held, Owner};

fn claim(run: &RunId) -> Claim {
    Claim {
        run: Some(run.clone()),
        owner: Owner {
            store: "a-store".to_owned(),
            cluster: "dev".to_owned(),
            host: "centre".to_owned(),
            user: "kafka".to_owned(),
            pid: 4711,
            since: Timestamp::UNIX_EPOCH,
            purpose: "restore".to_owned(),
        },
        known: vec![],
        undoing: false,
    }
}

pub(super) async fn what_is_swapped_for_a_run_is_confirmed_agreed_to_and_forgotten(harness: &dyn Harness) {
    let node = fresh(harness).await;
    let archives = backup(&*node).await;
    let run = run(7);
    assert_eq!(node.claim(&claim(&run)).await, Ok(ClaimReport::default()));
    for archive in &archives {
        node.stage(&archive.request(&run), &mut archive.source())
            .await
            .expect("a stage");
    }
    stop(&*node, &run).await;
    assert_eq!(node.holds(&run).await, Ok(Held::default()), "nothing is swapped yet");
    node.swap(&both(&run)).await.expect("a swap");
    node.start().await.expect("a start");
    assert_eq!(node.holds(&run).await.expect("a lease").swapped, BOTH);
    node.agree(&run).await.expect("a word to keep it");
    node.agree(&run).await.expect("the same word again");
    node.forgo(&run).await.expect("an end of the lease");
    node.forgo(&run).await.expect("a lease that is gone already");
    node.clean(&CleanRequest::Run(run)).await.expect("a clean-up");
    node.release().await.expect("a release");
    is_clean(harness, "a restore that was kept").await;
}
