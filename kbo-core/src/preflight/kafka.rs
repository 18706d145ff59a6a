//! What Kafka says: whether its quorum would come up again, and which partitions are not whole already.

use super::{Judge, Purpose};
use crate::inventory::Node;
use crate::ports::node::NodeErrorKind;
use crate::text::some_of;

impl Judge<'_> {
    pub(super) fn kafka(&mut self) {
        if let (Purpose::Backup { cold: true, .. }, Some(Err(why))) = (self.input.purpose, self.input.quorum) {
            self.refuse(
                None,
                format!("the controllers are not operational: {why}"),
                Some("a cluster that is stopped in this state may not come up again; mend the quorum first".to_owned()),
            );
        }
        let stops = matches!(
            self.input.purpose,
            Purpose::Backup { cold: true, .. } | Purpose::Restore { starts: true, .. }
        );
        if stops && self.runs_without_majority() {
            self.refuse(
                None,
                "it runs, but with too few controllers to be operational once more".to_owned(),
                Some("start the controllers first, or stop everything: kbo start, kbo stop".to_owned()),
            );
        }
        self.unasked();
        let Some(partitions) = self.input.partitions else {
            return;
        };
        let short: Vec<String> = partitions
            .iter()
            .filter(|partition| partition.leader < 0 || partition.isr.len() < partition.replicas.len())
            .map(ToString::to_string)
            .collect();
        if !short.is_empty() {
            let message = format!(
                "{} partitions are under-replicated or leaderless: {}",
                short.len(),
                some_of(&short)
            );
            self.warn(None, message, None);
        }
    }

    /// A backup would stop the cluster and then not know whether it is up again. A restore or a restart may be what mends it. One broker
    /// that does not answer now may be down; where none does, it is rather that kbo does not reach them.
    fn unasked(&mut self) {
        let is_cold = matches!(self.input.purpose, Purpose::Backup { cold: true, .. });
        for (name, error) in self.input.unasked {
            let node = self.input.cluster.node(name);
            let may_answer = error.kind == NodeErrorKind::Unreachable;
            let message = match may_answer {
                true => format!("its Kafka does not answer now: {error}"),
                false => format!("its Kafka cannot be asked whether it is ready: {error}"),
            };
            match is_cold && (!may_answer || self.input.partitions.is_none()) {
                true => self.refuse(node, message, error.hint.clone()),
                false => self.warn(node, message, error.hint.clone()),
            }
        }
    }

    fn runs_without_majority(&self) -> bool {
        let is_up = |node: &&Node| match self.input.facts.get(&node.name) {
            Some(Ok(facts)) => {
                matches!(&facts.container, Ok(Some(container)) if container.state.is_up())
            }
            _ => false,
        };
        let nodes = self.input.cluster.start_order();
        let controllers = nodes.iter().filter(|node| node.role.is_controller());
        let up = controllers.clone().filter(is_up).count();
        nodes.iter().any(|node| is_up(&node)) && up * 2 <= controllers.count()
    }
}
