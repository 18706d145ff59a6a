//! Which stops must go together.
//!
//! The broker part of a combined node asks the quorum for leave before it stops, and looks for one for five minutes where there is
//! none (`BrokerServer.shutdown`; tried with three nodes). So a combined node stops alone while enough voters stay for a quorum, and
//! the last of them stop at the same moment, so that each has its leave before another's controller part is gone.

use crate::ids::NodeName;
use crate::inventory::{Cluster, Node, Role};
use crate::plan::Step;

/// Parts `steps` where one must have ended before the next begins.
pub(super) fn together<'s>(steps: &'s [Step], cluster: &Cluster, is_up: impl Fn(&NodeName) -> bool) -> Vec<&'s [Step]> {
    let voters: Vec<&Node> = cluster
        .start_order()
        .iter()
        .filter(|node| node.role.is_controller())
        .collect();
    let up = voters.iter().filter(|node| is_up(&node.name)).count();
    let majority = voters.len() / 2 + 1;
    let mut parts = vec![];
    let mut rest = steps;
    while !rest.is_empty() {
        let combined = rest.iter().take_while(|step| stops_combined(step, cluster)).count();
        let alone = if combined == 0 {
            1
        } else {
            up.saturating_sub(majority).min(combined)
        };
        let last = combined.saturating_sub(alone);
        parts.extend(rest[..alone].chunks(1));
        if last > 0 {
            parts.push(&rest[alone..alone + last]);
        }
        rest = &rest[alone + last..];
    }
    parts
}

fn stops_combined(step: &Step, cluster: &Cluster) -> bool {
    let Step::Stop { node } = step else { return false };
    cluster.node(node).is_some_and(|node| node.role == Role::Combined)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `c` for a controller, `x` for a combined node, `b` for a broker; capitals are up.
    fn parts(nodes: &str) -> String {
        let name = |index: usize, letter: char| format!("{}{index}", letter.to_ascii_lowercase());
        let role = |letter: char| match letter.to_ascii_lowercase() {
            'c' => Role::Controller,
            'x' => Role::Combined,
            _ => Role::Broker,
        };
        let list = nodes.chars().enumerate().map(|(index, letter)| Node {
            name: name(index, letter).parse().unwrap(),
            role: role(letter),
            container: name(index, letter),
            config: None,
            data: vec!["/data".to_owned()],
            node_id: None,
            unit: None,
        });
        let cluster = Cluster::new(list.collect(), None).unwrap();
        let up: Vec<String> = nodes
            .chars()
            .enumerate()
            .filter(|(_, letter)| letter.is_ascii_uppercase())
            .map(|(index, letter)| name(index, letter))
            .collect();
        let is_up = |name: &NodeName| up.iter().any(|up| up == name.as_str());
        let steps: Vec<Step> = cluster
            .stop_order()
            .filter(|node| is_up(&node.name))
            .map(|node| Step::Stop {
                node: node.name.clone(),
            })
            .chain([Step::AwaitQuorum])
            .collect();
        let parts = together(&steps, &cluster, is_up);
        assert_eq!(parts.concat(), steps, "every step once, in its order");
        let shown = parts.iter().map(|part| {
            let names = part.iter().map(|step| step.node().map_or("-", |node| node.as_str()));
            names.collect::<Vec<_>>().join("+")
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn controllers_and_brokers_stop_one_by_one() {
        assert_eq!(parts("CCCBB"), "b4 b3 c2 c1 c0 -");
    }

    #[test]
    fn combined_nodes_stop_alone_while_a_quorum_stays_and_the_last_of_them_together() {
        assert_eq!(parts("XXX"), "x2 x1+x0 -");
        assert_eq!(parts("XXXXX"), "x4 x3 x2+x1+x0 -");
        assert_eq!(parts("XX"), "x1+x0 -");
        assert_eq!(parts("X"), "x0 -");
        assert_eq!(parts("XXXB"), "b3 x2 x1+x0 -");
    }

    #[test]
    fn voters_that_are_down_already_can_not_be_spared() {
        assert_eq!(parts("XxX"), "x2+x0 -");
        assert_eq!(parts("xxX"), "x2 -");
    }

    #[test]
    fn pure_controllers_that_stay_are_quorum_enough() {
        assert_eq!(parts("CCCXX"), "x4 x3 c2 c1 c0 -");
        assert_eq!(parts("CXX"), "x2 x1 c0 -");
        assert_eq!(parts("CXXXX"), "x4 x3 x2+x1 c0 -");
    }
}
