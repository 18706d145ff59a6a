//! What restores replaced: kept until every node was ready on what took its place, gone back to, or removed.

use std::collections::{BTreeMap, BTreeSet};

use super::prepare::prepared;
use super::readiness::Expected;
use super::run::Run;
use super::{Facts, Orchestrator, Prepared};
use crate::ids::{NodeName, RunId};
use crate::inventory::{Dataset, Node};
use crate::kept::Kept;
use crate::machine::{Operation, Phase};
use crate::plan::{Plan, Previous, Step};
use crate::ports::monitor::MonitorEvent;
use crate::ports::node::{CleanRequest, ContainerState, FactsRequest, KafkaAnswer, KafkaQuestion, NodeError};
use crate::preflight::{Finding, Purpose, Severity};
use crate::text::some_of;

/// What is kept, and the nodes of which that is not known.
pub type KeptNow = (Vec<Kept>, Vec<(NodeName, NodeError)>);

impl Orchestrator {
    /// What the nodes keep now.
    pub async fn kept(&self) -> KeptNow {
        let request = FactsRequest { datasets: vec![] };
        let looks = self.on_all(|_, transport| {
            let request = request.clone();
            async move { transport.facts(&request).await }
        });
        let (mut known, mut unknown) = (BTreeMap::new(), vec![]);
        for (name, facts) in looks.await {
            match facts {
                Ok(facts) => drop(known.insert(name, facts)),
                Err(error) => unknown.push((name, error)),
            }
        }
        (Kept::of(&known), unknown)
    }

    /// Removes what was kept of a run, on every node that keeps some of it. Gives the nodes that failed.
    pub async fn discard(&self, kept: &Kept) -> Vec<(NodeName, NodeError)> {
        let nodes = kept.nodes();
        let removed = self.on_all(|node, transport| {
            let request = CleanRequest::Kept(kept.run.clone());
            let is_concerned = nodes.contains(&node.name);
            async move {
                match is_concerned {
                    true => transport.clean(&request).await.map(drop),
                    false => Ok(()),
                }
            }
        });
        let removed = removed.await.into_iter();
        removed
            .filter_map(|(name, removed)| Some((name, removed.err()?)))
            .collect()
    }

    /// Prepares going back to what run `of` replaced; where none is named, to what is kept of the only run there is.
    pub async fn prepare_go_back(&self, of: Option<&RunId>) -> Prepared {
        self.monitor.event(MonitorEvent::Phase(Phase::Preflight));
        let both = [Dataset::Config, Dataset::Data];
        // What is there now is replaced: only what will be left behind counts.
        let purpose = Purpose::Restore {
            datasets: both.to_vec(),
            need: BTreeMap::new(),
            cluster_id: None,
            other_cluster: true,
            nodes: vec![],
            starts: false,
        };
        let mut facts = self.look(&purpose, &both).await;
        let known = facts.nodes.iter();
        let kept = Kept::of(known.filter_map(|(name, facts)| Some((name, facts.as_ref().ok()?))));
        let run = RunId::at(self.clock.now());
        let chosen = match chosen(of, &kept) {
            Ok(chosen) => chosen,
            Err(finding) => {
                facts.findings.push(*finding);
                let none = Plan::go_back(run.clone(), &run, &[], false, &self.cluster, &facts.prior);
                return prepared(none, facts, None);
            }
        };
        let of_it = || {
            kept.iter()
                .filter(|kept| kept.run == *chosen)
                .flat_map(|kept| &kept.dirs)
        };
        let datasets: BTreeSet<Dataset> = of_it().map(|dir| dir.dataset).collect();
        let datasets: Vec<Dataset> = datasets.into_iter().collect();
        for node in self.cluster.start_order() {
            let dirs = datasets.iter().flat_map(|dataset| node.dirs(*dataset));
            let is_kept = |dir: &String| of_it().any(|kept| kept.node == node.name && kept.dir == *dir);
            let lacking: Vec<String> = dirs.filter(|dir| !is_kept(dir)).collect();
            if !lacking.is_empty() && matches!(facts.nodes.get(&node.name), Some(Ok(_))) {
                facts.findings.push(Finding {
                    severity: Severity::Refusal,
                    node: Some(node.name.clone()),
                    message: format!(
                        "nothing that run {chosen} replaced is kept of {}: the other nodes alone would not make a cluster of one state",
                        some_of(&lacking)
                    ),
                    hint: Some("restore a backup instead; what is kept can be copied by hand".to_owned()),
                });
            }
        }
        // Nodes without a quorum would not become ready however often they are started.
        let restart = !matches!(facts.quorum, Some(Err(_)));
        let mut plan = Plan::go_back(run, chosen, &datasets, restart, &self.cluster, &facts.prior);
        let bytes = kept.iter().filter(|kept| kept.run == *chosen);
        plan.about = bytes
            .map(|kept| format!("go back to {kept}, as it was at {:.0}", kept.since))
            .collect();
        if !restart {
            let text =
                "the controllers that are up make no quorum: what is up is stopped and stays so, until `kbo start`";
            plan.notes.push(text.to_owned());
        }
        plan.notes.extend(stays(&plan, &facts));
        prepared(plan, facts, None)
    }
}

/// The run that is gone back to.
fn chosen<'a>(of: Option<&'a RunId>, kept: &'a [Kept]) -> Result<&'a RunId, Box<Finding>> {
    let runs: BTreeSet<&RunId> = kept.iter().map(|kept| &kept.run).collect();
    let refusal = |message: String, hint: &str| {
        Box::new(Finding {
            severity: Severity::Refusal,
            node: None,
            message,
            hint: Some(hint.to_owned()),
        })
    };
    let named: Vec<String> = runs.iter().map(ToString::to_string).collect();
    match (of, runs.into_iter().collect::<Vec<_>>()[..].as_ref()) {
        (_, []) => Err(refusal(
            "no node keeps anything that a restore replaced: there is nothing to go back to".to_owned(),
            "kbo list shows the backups",
        )),
        (Some(of), runs) if runs.contains(&of) => Ok(of),
        (Some(of), _) => Err(refusal(
            format!(
                "nothing that run {of} replaced is kept; there is what {} replaced",
                named.join(" and ")
            ),
            "kbo status shows it",
        )),
        (None, [only]) => Ok(*only),
        (None, _) => Err(refusal(
            format!("the nodes keep what different runs replaced: {}", named.join(", ")),
            "say which: kbo previous restore RUN; the oldest is the state before the first of these restores",
        )),
    }
}

/// What a plan leaves beside the live directories, for its notes.
pub(super) fn stays(plan: &Plan, facts: &Facts) -> Option<String> {
    let keeps = |name: &NodeName| {
        plan.steps()
            .any(|step| matches!(step, Step::Clean { node, until_ready: true, .. } if node == name))
    };
    let swapped = |name: &NodeName, dataset: Dataset| {
        plan.steps().any(
            |step| matches!(step, Step::Swap { node, datasets, .. } if node == name && datasets.contains(&dataset)),
        )
    };
    let (mut nodes, mut bytes) = (vec![], 0);
    for (name, facts) in &facts.nodes {
        let Ok(facts) = facts else { continue };
        if keeps(name) {
            nodes.push(name.to_string());
            let dirs = facts.dirs.iter().filter(|dir| swapped(name, dir.dataset));
            bytes += dirs.map(|dir| dir.bytes).sum::<u64>();
        }
    }
    (!nodes.is_empty()).then(|| {
        format!(
            "{} are not started by this run: what is replaced there ({}) is kept beside it, and takes its space, until they were ready (kbo start), or `kbo previous discard` removes it",
            some_of(&nodes),
            crate::text::human(bytes)
        )
    })
}

impl Run<'_> {
    /// The steps of the cleaning as the run has turned out: where the cluster is worse than before, nothing that it replaced goes.
    pub(super) fn as_it_turned_out(&self, step: &Step) -> Step {
        let plan = &self.prepared.plan;
        let is_worse = !self.harvest().attention.is_empty();
        match step {
            Step::Clean {
                node,
                keep_previous: false,
                ..
            } if is_worse && self.is_restore() && !plan.discard_previous && !self.swapped_datasets(node).is_empty() => {
                Step::Clean {
                    node: node.clone(),
                    keep_previous: false,
                    until_ready: true,
                }
            }
            step => step.clone(),
        }
    }

    /// What earlier restores replaced goes when all nodes of it are ready; what is kept after the run is told.
    pub(super) async fn look_after_kept(&self, phase: Phase) {
        let facts = self.prepared.facts.iter();
        let before = Kept::of(facts.filter_map(|(name, facts)| Some((name, facts.as_ref().ok()?))));
        let waiting: Vec<Kept> = before.into_iter().filter(|kept| kept.until_ready).collect();
        let starts = |step: &Step| matches!(step, Step::AwaitQuorum | Step::AwaitBroker { .. });
        let mut staying = vec![];
        let goes_back = self.prepared.plan.previous_of().is_some();
        for kept in waiting {
            let has_proven = phase == Phase::Done && self.prepared.plan.steps().any(starts) && !goes_back;
            if !has_proven {
                staying.push(kept);
                continue;
            }
            match self.unready(&kept).await {
                None => self.discard_proven(kept).await,
                Some(why) => {
                    self.warn(format!("{kept} stays: {why} ({})", kept.commands()));
                    staying.push(kept);
                }
            }
        }
        if self.is_restore() && (phase == Phase::Done || self.is_kept()) {
            let (now, unknown) = self.o.kept().await;
            for (name, error) in unknown {
                tracing::warn!("{name}: whether it keeps what was replaced is not known: {error}");
            }
            staying = now;
        }
        self.harvest().kept = staying;
    }

    async fn discard_proven(&self, kept: Kept) {
        let failed = self.o.discard(&kept).await;
        for (name, error) in &failed {
            self.warn(format!(
                "{name}: what run {} replaced cannot be removed: {error}",
                kept.run
            ));
        }
        if failed.is_empty() {
            tracing::info!("{kept} is removed: all of its nodes are ready on what took its place");
            self.harvest().discarded.push(kept);
        }
    }

    /// Why the nodes are not proven to be ready on what took the place of what is kept. They were taken from one state of the cluster:
    /// as long as one of them may have to go back, all may.
    async fn unready(&self, kept: &Kept) -> Option<String> {
        if let Some((name, _)) = self.prepared.facts.iter().find(|(_, facts)| facts.is_err()) {
            return Some(format!("{name} was not reached"));
        }
        if !self.harvest().attention.is_empty() {
            return Some("partitions are not whole".to_owned());
        }
        let (states, _) = self.o.states().await;
        let up = |node: &&Node| states.get(&node.name) == Some(&ContainerState::Running);
        let nodes = self.o.cluster.start_order();
        let of_it = kept.nodes();
        if let Some(down) = nodes.iter().find(|node| of_it.contains(&node.name) && !up(node)) {
            return Some(format!("{} is not up", down.name));
        }
        let controllers: Vec<&Node> = nodes
            .iter()
            .filter(|node| node.role.is_controller())
            .filter(up)
            .collect();
        if let Err(unready) = self.o.quorum_now(&controllers, controllers.len()).await {
            return Some(format!("the controllers are not operational: {}", unready.why));
        }
        let brokers: Vec<&Node> = nodes.iter().filter(|node| node.role.is_broker()).filter(up).collect();
        for node in brokers.iter().filter(|node| of_it.contains(&node.name)) {
            let asked = match self.o.transport(&node.name) {
                Ok(transport) => transport.kafka(KafkaQuestion::Alive).await,
                Err(error) => Err(error),
            };
            match asked {
                Ok(KafkaAnswer::Alive) => {}
                Ok(_) => return Some(format!("{} is not ready", node.name)),
                Err(error) => return Some(format!("{}: {error}", node.name)),
            }
        }
        // Brokers that are down on purpose, or gone for good, take no part in what a whole partition is.
        let partitions = self.o.partitions_now(&brokers).await.unwrap_or_default();
        let short = Expected::On(self.node_ids(&brokers)).short(&partitions);
        (!short.is_empty()).then(|| format!("{} partitions are not whole: {}", short.len(), some_of(&short)))
    }
}

impl Previous {
    /// The note of a plan that removes what it replaces whether or not it comes up.
    pub(super) fn note(self, plan: &Plan) -> Option<String> {
        let starts = plan.steps().any(|step| matches!(step, Step::Start { .. }));
        (self == Previous::Discard && !starts && plan.operation == Operation::Restore)
            .then(|| "what is replaced is removed at once (--discard-previous): there is no way back to it".to_owned())
    }
}
