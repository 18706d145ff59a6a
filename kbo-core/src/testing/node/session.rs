//! What a fake node's connection knows of its run.

use crate::ids::RunId;
use crate::ports::node::Claim;
use crate::testing::state::Lease as Promise;

/// What a connection to an agent would know.
#[derive(Debug, Default)]
pub(super) struct Session {
    pub(super) claim: Option<Claim>,
    /// The run whose lease must still be held.
    pub(super) bound: Option<RunId>,
}

impl Session {
    /// Whether a lease is this session's run's, or one that it takes over.
    pub(super) fn holds(&self, lease: &Promise) -> bool {
        let Some(claim) = &self.claim else { return true };
        claim.run.as_ref() == Some(&lease.run) || claim.known.contains(&lease.run)
    }

    /// Whether a lease is this session's run's, or one of its centre's.
    pub(super) fn knows(&self, lease: &Promise) -> bool {
        let Some(claim) = &self.claim else {
            return self.bound.as_ref() == Some(&lease.run);
        };
        let same = lease
            .owner
            .as_ref()
            .is_some_and(|owner| owner.is_of_the_same_centre(&claim.owner));
        claim.run.as_ref() == Some(&lease.run) || claim.known.contains(&lease.run) || same
    }
}
