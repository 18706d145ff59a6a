//! What reverses an unfinished run, read off its journal alone: the running process and `kbo recover` undo alike.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::NodeName;
use crate::inventory::{Cluster, Dataset};
use crate::journal::{Entry, StepOutcome};
use crate::machine::Operation;
use crate::plan::{Plan, Prior, Step, starts};
use crate::ports::node::StopOutcome;

/// What a journal tells of a run.
#[derive(Debug, Default)]
struct Told<'a> {
    plan: Option<&'a Plan>,
    prior: Option<&'a Prior>,
    /// Nodes that this run stopped, or may have.
    stopped: BTreeSet<NodeName>,
    /// Those of them that ran when they were stopped first.
    ran: BTreeSet<NodeName>,
    /// Nodes whose directories are swapped, or may be.
    swapped: Vec<(NodeName, Vec<Dataset>)>,
    /// Nodes started on swapped directories, or maybe.
    started: BTreeSet<NodeName>,
    /// Nodes that may hold a work folder of the run.
    worked_on: BTreeSet<NodeName>,
    /// Nodes whose containers were replaced, or maybe.
    replaced: Vec<NodeName>,
    removal_begun: bool,
    backup_begun: bool,
    committed: bool,
    operational: bool,
    taken_over: bool,
    /// What is kept of each node's replaced data, where its removal has been begun.
    cleaned: BTreeMap<NodeName, bool>,
}

impl<'a> Told<'a> {
    fn by(entries: &'a [Entry]) -> Self {
        let mut told = Told::default();
        let mut undoing = false;
        for entry in entries {
            match entry {
                Entry::Begin { plan, prior, .. } => {
                    told.plan = Some(plan);
                    told.prior = Some(prior);
                }
                Entry::Intent { step, .. } => told.intend(step, undoing),
                Entry::Done { step, outcome, .. } => told.done(step, *outcome, undoing),
                Entry::Kept { .. } => told.operational = true,
                Entry::TakenOver { nothing_left, .. } => {
                    told.taken_over = true;
                    if *nothing_left {
                        told.swapped.clear();
                    }
                }
                Entry::UndoStarted { .. } => undoing = true,
                Entry::Failed { .. } | Entry::Keeping { .. } | Entry::End { .. } => {}
            }
        }
        told
    }

    fn intend(&mut self, step: &Step, undoing: bool) {
        match step {
            Step::Stop { node } => {
                self.stopped.insert(node.clone());
            }
            Step::Snapshot { node, .. } | Step::Stage { node, .. } | Step::Format { node } => {
                self.worked_on.insert(node.clone());
            }
            Step::Swap { node, datasets, .. } => {
                self.worked_on.insert(node.clone());
                self.swapped.push((node.clone(), datasets.clone()));
            }
            Step::Create { node, replace: true } => self.replaced.push(node.clone()),
            Step::Remove { .. } => self.removal_begun = true,
            Step::Start { node } if !self.swapped.is_empty() || !self.replaced.is_empty() => {
                self.started.insert(node.clone());
            }
            Step::Archive { .. } => self.backup_begun = true,
            // The line that the run is kept had come too late: it was taken back.
            Step::SwapBack { .. } => self.operational = false,
            // From here on the replaced data may be half removed: there is no way back, and no need for one.
            Step::Clean { node, until_ready, .. } if !undoing => {
                self.operational = true;
                self.cleaned.insert(node.clone(), *until_ready);
            }
            Step::DropReplaced { .. } if !undoing => self.operational = true,
            _ => {}
        }
    }

    fn done(&mut self, step: &Step, outcome: StepOutcome, undoing: bool) {
        match (step, outcome) {
            (Step::Stop { node }, StepOutcome::Stop(StopOutcome::Stopped)) => {
                self.ran.insert(node.clone());
            }
            (Step::Stop { node }, StepOutcome::Stop(StopOutcome::AlreadyStopped))
                if !undoing && !self.ran.contains(node) =>
            {
                self.stopped.remove(node);
            }
            (Step::TakeBack { node } | Step::DropReplaced { node }, _) => {
                self.replaced.retain(|replaced| replaced != node)
            }
            (Step::SwapBack { node, .. }, _) => self.swapped.retain(|(swapped, _)| swapped != node),
            (Step::Commit, _) => self.committed = true,
            _ => {}
        }
    }
}

/// The steps that bring the cluster back to where the run found it; empty where nothing needs undoing.
///
/// The order is that of any start: with restored data out of the way (their nodes stopped again, brokers first), the
/// controllers come up, then the brokers, each ready, and only then are work folders and an unfinished backup removed. A
/// `start` or a `stop` that was asked for is undone only as far as it took nodes down. New containers stay, for whoever wants to see
/// why one does not come up; those that took the place of others are taken back, and a removal that has begun is not undone at all.
pub fn undo_steps(entries: &[Entry], cluster: &Cluster) -> Vec<Step> {
    let told = Told::by(entries);
    let (Some(plan), Some(prior)) = (told.plan, told.prior) else {
        return vec![];
    };
    let mut steps = vec![];

    // A restore whose cluster came up on the restored data is done but for the sweeping: it is not taken back.
    let replaces_data = matches!(plan.operation, Operation::Restore | Operation::Format);
    let take_back = replaces_data && !told.operational && !told.swapped.is_empty();
    let put_back = !told.operational && !told.replaced.is_empty();
    if take_back || put_back {
        // After a takeover any node may be up: its lease may have run off. No controller may stop before every broker has.
        let started = cluster.stop_order().filter(|node| {
            let touched = take_back || told.replaced.contains(&node.name);
            let may_be_up = touched && told.taken_over && prior.get(&node.name).is_some_and(|state| state.is_up());
            told.started.contains(&node.name) || may_be_up
        });
        steps.extend(started.map(|node| Step::Stop {
            node: node.name.clone(),
        }));
        let swapped = told
            .swapped
            .iter()
            .map(|(node, datasets)| (node.clone(), datasets.clone()));
        steps.extend(swapped.map(|(node, datasets)| Step::SwapBack { node, datasets }));
        steps.extend(told.replaced.iter().map(|node| Step::TakeBack { node: node.clone() }));
    }
    if told.removal_begun {
        return steps;
    }

    // Only what was up when the run came: an intent without its outcome does not say whether the node had been.
    steps.extend(starts(cluster, |node| {
        told.stopped.contains(&node.name) && prior.get(&node.name).is_some_and(|state| state.is_up())
    }));

    // The new containers serve: the old ones are in nobody's way but the next replacement's.
    if told.operational {
        steps.extend(
            told.replaced
                .iter()
                .map(|node| Step::DropReplaced { node: node.clone() }),
        );
    }
    let worked_on = cluster
        .start_order()
        .iter()
        .filter(|node| told.worked_on.contains(&node.name));
    // Replaced data that the operator wanted to keep are kept, unless they are in their old place again.
    let keep_previous = told.operational && plan.keeps_previous();
    // A restore that ended before it had looked at the whole cluster has proven nothing by itself. Of a format what was replaced was
    // given up beforehand.
    let is_kept = told.operational && plan.operation == Operation::Restore && !plan.discard_previous && !keep_previous;
    let until_ready = |name: &NodeName| is_kept && told.cleaned.get(name).copied().unwrap_or(true);
    steps.extend(worked_on.map(|node| Step::Clean {
        node: node.name.clone(),
        keep_previous,
        until_ready: until_ready(&node.name),
    }));
    if told.backup_begun && !told.committed {
        steps.push(Step::Abandon);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::RunId;
    use crate::inventory::{Node, Role};
    use crate::manifest::BackupKind;
    use crate::ports::node::ContainerState;
    use jiff::Timestamp;

    fn cluster() -> Cluster {
        let node = |name: &str, role| Node {
            name: name.parse().unwrap(),
            role,
            container: name.to_owned(),
            config: Some("/etc/kafka".to_owned()),
            data: vec!["/data".to_owned()],
            node_id: None,
            unit: None,
        };
        Cluster::new(
            vec![
                node("c1", Role::Controller),
                node("b1", Role::Broker),
                node("b2", Role::Broker),
            ],
            None,
        )
        .unwrap()
    }

    fn begin(b2: ContainerState) -> Entry {
        let mut prior = Prior::new();
        prior.insert("c1".parse().unwrap(), ContainerState::Running);
        prior.insert("b1".parse().unwrap(), ContainerState::Running);
        prior.insert("b2".parse().unwrap(), b2);
        let at = Timestamp::UNIX_EPOCH;
        let run = RunId::at(at);
        let id = crate::ids::BackupId::at(at);
        Entry::Begin {
            at,
            plan: Plan::backup(run, id, BackupKind::Cluster, &cluster(), &prior),
            prior,
        }
    }

    fn intent(step: Step) -> Entry {
        Entry::Intent {
            at: Timestamp::UNIX_EPOCH,
            step,
            container: None,
        }
    }

    fn stop(node: &str) -> Step {
        Step::Stop {
            node: node.parse().unwrap(),
        }
    }

    fn shown(steps: &[Step]) -> Vec<String> {
        steps.iter().map(Step::to_string).collect()
    }

    #[test]
    fn a_run_that_did_nothing_needs_no_undo() {
        assert!(undo_steps(&[], &cluster()).is_empty());
        assert!(undo_steps(&[begin(ContainerState::Running)], &cluster()).is_empty());
    }

    #[test]
    fn nodes_come_back_controllers_first_whatever_was_stopped() {
        let entries = [
            begin(ContainerState::Running),
            intent(stop("b2")),
            intent(stop("b1")),
            intent(stop("c1")),
        ];
        let steps = undo_steps(&entries, &cluster());
        assert_eq!(
            shown(&steps),
            [
                "start c1",
                "wait until the controllers are operational",
                "start b1",
                "wait until b1 is ready",
                "start b2",
                "wait until b2 is ready"
            ]
        );
    }

    #[test]
    fn what_was_down_before_is_not_started() {
        let entries = [begin(ContainerState::Stopped), intent(stop("b2"))];
        assert!(undo_steps(&entries, &cluster()).is_empty());
    }

    #[test]
    fn an_unfinished_backup_is_removed_and_a_committed_one_is_not() {
        let archive = Step::Archive {
            node: "b1".parse().unwrap(),
            dataset: Dataset::Data,
        };
        let mut entries = vec![begin(ContainerState::Running), intent(archive)];
        assert_eq!(undo_steps(&entries, &cluster()), [Step::Abandon]);
        entries.push(Entry::Done {
            at: Timestamp::UNIX_EPOCH,
            step: Step::Commit,
            outcome: StepOutcome::Done,
            container: None,
        });
        assert!(undo_steps(&entries, &cluster()).is_empty());
    }
}
