//! Whose a node is: a living run of another centre has it to itself; what dead runs left is undone first.

use super::Judge;
use crate::inventory::Node;
use crate::ports::node::{LeaseFacts, NodeFacts};

impl Judge<'_> {
    pub(super) fn owners(&mut self, node: &Node, facts: &NodeFacts) {
        for lease in &facts.leases {
            let ours = self.is_ours(lease);
            if lease.is_alive && !ours {
                let what = match lease.window_open {
                    true => "the node is down for it, or runs on data that are on trial",
                    false => "it reads or unpacks files there",
                };
                self.refuse(
                    Some(node),
                    format!("belongs to a living run of another kbo: {}; {what}", lease.holder()),
                    Some("wait until that run has ended, or end it where it runs; its store is not the one of this kbo.toml".to_owned()),
                );
            } else if !lease.is_alive && lease.window_open && !ours {
                self.warn(
                    Some(node),
                    format!("a dead run has left it to be put back: {}", lease.holder()),
                    Some("`kbo recover`, or the next run, does it first".to_owned()),
                );
            }
        }
    }

    /// Of this store: its lock and its journals keep its runs apart.
    fn is_ours(&self, lease: &LeaseFacts) -> bool {
        let of_the_same = |owner: &crate::ports::node::Owner| owner.is_of_the_same_centre(self.input.asker);
        self.input.known.contains(&lease.run) || lease.owner.as_ref().is_some_and(of_the_same)
    }
}
