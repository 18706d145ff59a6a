//! Runs about containers as things: looked at, planned, and their steps taken.

use std::collections::BTreeMap;

use super::prepare::prepared;
use super::run::{Run, StepError};
use super::{Facts, Orchestrator, Prepared};
use crate::container::Body;
use crate::ids::{ClusterId, NodeName, RunId};
use crate::inventory::{Dataset, Node};
use crate::machine::{Operation, Phase};
use crate::plan::{Creation, Plan};
use crate::ports::monitor::MonitorEvent;
use crate::ports::node::{
    ContainerReport, ContainerRequest, FormatRequest, NodeError, NodeErrorKind, Presence, QuorumSetup,
};
use crate::preflight::{Finding, Purpose, Severity};
use crate::text::some_of;

/// Containers asked for.
#[derive(Debug, Clone, Default)]
pub struct RunRequest {
    /// The nodes; all where empty.
    pub chosen: Vec<NodeName>,
    /// What their containers are to be made of, as far as that is known.
    pub bodies: BTreeMap<NodeName, Body>,
    /// Replace containers that are otherwise.
    pub recreate: bool,
    /// Start what is down, too.
    pub start: bool,
    /// Go on where brokers are left without a quorum meanwhile.
    pub force: bool,
}

/// Log dirs to be formatted.
#[derive(Debug, Clone)]
pub struct Formatting {
    /// The nodes; all where empty.
    pub chosen: Vec<NodeName>,
    /// Each node's image, user, mounts, properties file and log dirs, as paths in its container.
    pub nodes: BTreeMap<NodeName, (Body, String, Vec<String>)>,
    /// The id to write.
    pub cluster_id: ClusterId,
    /// The voters of a new dynamic quorum.
    pub quorum: Quorum,
    /// Log dirs that hold data are replaced.
    pub delete_data: bool,
    /// Where new ids of directories come from.
    pub fresh: fn() -> ClusterId,
}

/// How a new quorum knows its voters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Quorum {
    /// By controller.quorum.voters in the configuration.
    AsConfigured,
    /// Dynamic (KIP-853), with the first controller alone.
    Standalone,
    /// Dynamic, with these: `id@host:port:directory-id,...`; made from the configuration where none are given.
    InitialControllers(Option<String>),
}

impl Orchestrator {
    /// Prepares a rolling restart of `chosen` nodes (all where empty).
    pub async fn prepare_rolling(&self, chosen: &[NodeName], force: bool) -> Prepared {
        self.monitor.event(MonitorEvent::Phase(Phase::Preflight));
        let mut facts = self.look(&Purpose::Power, &[]).await;
        let plan = Plan::rolling(RunId::at(self.clock.now()), chosen, &self.cluster, &facts.prior);
        let findings = self.unsafe_rolling(chosen, &facts);
        facts.findings.extend(self.unknown(chosen));
        facts.findings.extend(self.kept_by_others(chosen, &facts));
        facts
            .findings
            .extend(findings.into_iter().map(|finding| accept(finding, force)));
        prepared(plan, facts, None)
    }

    /// What speaks against taking one node at a time out of a cluster that serves.
    fn unsafe_rolling(&self, chosen: &[NodeName], facts: &Facts) -> Vec<Finding> {
        let is_chosen = |node: &Node| chosen.is_empty() || chosen.contains(&node.name);
        let is_up = |node: &Node| facts.prior.get(&node.name).is_some_and(|state| state.is_up());
        let nodes = self.cluster.start_order();
        let mut findings = vec![];
        for node in nodes.iter().filter(|node| is_chosen(node) && !is_up(node)) {
            findings.push(found(
                Severity::Warning,
                Some(&node.name),
                "is down, and stays so",
                "kbo start starts it",
            ));
        }
        if let Some(Err(why)) = &facts.quorum {
            findings.push(found(
                Severity::Refusal,
                None,
                &format!("the quorum is not whole: {why}"),
                "kbo check, then mend it",
            ));
        }
        let controllers: Vec<&Node> = nodes.iter().filter(|node| node.role.is_controller()).collect();
        let up = controllers.iter().filter(|node| is_up(node)).count();
        let rolls_one = controllers.iter().any(|node| is_chosen(node) && is_up(node));
        if rolls_one && (up - 1) * 2 <= controllers.len() {
            let text = format!("with one of {up} controllers down there is no quorum");
            findings.push(found(
                Severity::Refusal,
                None,
                &text,
                "kbo restart restarts the whole cluster; --force goes on",
            ));
        }
        let partitions = facts.partitions.as_deref().unwrap_or_default();
        let name =
            |partition: &&crate::ports::node::PartitionState| format!("{}-{}", partition.topic, partition.partition);
        let short: Vec<String> = partitions
            .iter()
            .filter(|partition| partition.isr.len() < partition.replicas.len())
            .map(|partition| name(&partition))
            .collect();
        if !short.is_empty() {
            let text = format!("{} partitions are under-replicated: {}", short.len(), some_of(&short));
            findings.push(found(Severity::Refusal, None, &text, "wait until their ISRs are whole"));
        }
        if facts.partitions.as_ref().is_some_and(Vec::is_empty) {
            findings.push(Finding {
                severity: Severity::Warning,
                node: None,
                message: "no partition is told of: the cluster is empty, or kbo's user may not DESCRIBE topics, and no ISR is waited for"
                    .to_owned(),
                hint: Some("give kbo's user DESCRIBE on all topics".to_owned()),
            });
        }
        let alone: Vec<String> = partitions
            .iter()
            .filter(|partition| partition.replicas.len() == 1)
            .map(|partition| name(&partition))
            .collect();
        if !alone.is_empty() {
            let text = format!(
                "{} partitions have one replica, and are gone while it restarts: {}",
                alone.len(),
                some_of(&alone)
            );
            findings.push(Finding {
                severity: Severity::Warning,
                node: None,
                message: text,
                hint: None,
            });
        }
        findings
    }

    /// Prepares the creation of containers.
    pub async fn prepare_run(&self, request: &RunRequest) -> Prepared {
        self.monitor.event(MonitorEvent::Phase(Phase::Preflight));
        let mut facts = self.look(&Purpose::Run, &[]).await;
        let is_chosen = |name: &NodeName| request.chosen.is_empty() || request.chosen.contains(name);
        let mut creations: BTreeMap<NodeName, Creation> = BTreeMap::new();
        let mut comparisons = BTreeMap::new();
        for (name, compared) in self.compare(request).await {
            let (severity, text, hint) = match compared {
                Ok(report @ ContainerReport::Missing { has_image }) => {
                    creations.insert(name.clone(), Creation::New);
                    comparisons.insert(name.clone(), report);
                    if has_image {
                        continue;
                    }
                    let image = request.bodies.get(&name).map(Body::image).unwrap_or_default();
                    (
                        Severity::Note,
                        format!("its engine has no image {image} yet, and pulls it"),
                        None,
                    )
                }
                Ok(report @ ContainerReport::Differs(_)) => {
                    let ContainerReport::Differs(differences) = &report else {
                        continue;
                    };
                    if differences.is_empty() {
                        continue;
                    }
                    let text = differences
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .join("; ");
                    comparisons.insert(name.clone(), report);
                    if request.recreate {
                        creations.insert(name.clone(), Creation::Replacement);
                        (Severity::Note, format!("its container is replaced: {text}"), None)
                    } else {
                        let hint = "--recreate replaces it".to_owned();
                        (
                            Severity::Warning,
                            format!("its container is otherwise, and left alone: {text}"),
                            Some(hint),
                        )
                    }
                }
                Ok(_) => continue,
                Err(error) => (Severity::Refusal, error.message, error.hint),
            };
            facts.findings.push(Finding {
                severity,
                node: Some(name),
                message: text,
                hint,
            });
        }
        for node in self.cluster.start_order().iter().filter(|node| is_chosen(&node.name)) {
            let missing = matches!(facts.nodes.get(&node.name), Some(Ok(facts)) if matches!(facts.container, Ok(None)));
            if missing && !request.bodies.contains_key(&node.name) {
                let hint = "name its image under [defaults.container], or take a backup's: --from BACKUP";
                facts.findings.push(found(
                    Severity::Refusal,
                    Some(&node.name),
                    "has no container, and kbo.toml defines none",
                    hint,
                ));
            }
        }
        facts.findings.extend(self.unknown(&request.chosen));
        let replaced: Vec<NodeName> = creations
            .iter()
            .filter(|(_, creation)| **creation == Creation::Replacement)
            .map(|(name, _)| name.clone())
            .collect();
        if !replaced.is_empty() {
            facts.findings.extend(self.gone_with_their_stop(&replaced, &facts));
            let findings = self.unsafe_power(Operation::Restart, &replaced, &facts);
            facts
                .findings
                .extend(findings.into_iter().map(|finding| accept(finding, request.force)));
        }
        let plan = Plan::run(
            RunId::at(self.clock.now()),
            |name| creations.get(name).copied(),
            |name| request.start && is_chosen(name),
            &self.cluster,
            &facts.prior,
        );
        let starts_any = plan.steps().any(|step| matches!(step, crate::plan::Step::Start { .. }));
        if starts_any && replaced.is_empty() {
            let findings = self.unsafe_power(Operation::Start, &request.chosen, &facts);
            facts
                .findings
                .extend(findings.into_iter().map(|finding| accept(finding, request.force)));
        }
        let mut prepared = prepared(plan, facts, None);
        prepared.containers.clone_from(&request.bodies);
        prepared.comparisons = comparisons;
        prepared
    }

    async fn compare(&self, request: &RunRequest) -> Vec<(NodeName, Result<ContainerReport, NodeError>)> {
        let mut compared = self
            .on_all(|node, transport| async move {
                let chosen = request.chosen.is_empty() || request.chosen.contains(&node.name);
                match request.bodies.get(&node.name).filter(|_| chosen) {
                    Some(body) => transport.container(&ContainerRequest::Compare(body.clone())).await,
                    None => Ok(ContainerReport::Unchanged),
                }
            })
            .await;
        compared.sort_by(|(one, _), (other, _)| one.cmp(other));
        compared
    }

    /// Prepares the removal of the containers of `chosen` nodes (all where empty).
    pub async fn prepare_remove(&self, chosen: &[NodeName], force: bool) -> Prepared {
        self.monitor.event(MonitorEvent::Phase(Phase::Preflight));
        let mut facts = self.look(&Purpose::Run, &[]).await;
        let plan = Plan::remove(RunId::at(self.clock.now()), chosen, &self.cluster, &facts.prior);
        facts.findings.extend(self.unknown(chosen));
        let findings = self.unsafe_power(Operation::Stop, chosen, &facts);
        facts
            .findings
            .extend(findings.into_iter().map(|finding| accept(finding, force)));
        facts.findings.extend(self.gone_with_their_stop(chosen, &facts));
        prepared(plan, facts, None)
    }

    /// Of containers that are to be removed or replaced: those that their engine removes as soon as they stop, with the volumes that
    /// have no name of their own.
    fn gone_with_their_stop(&self, chosen: &[NodeName], facts: &Facts) -> Vec<Finding> {
        let chosen = |node: &&Node| chosen.is_empty() || chosen.contains(&node.name);
        let nodes = self.cluster.start_order().iter().filter(chosen);
        let known = nodes.filter_map(|node| Some((node, facts.nodes.get(&node.name)?.as_ref().ok()?)));
        known
            .filter_map(|(node, facts)| crate::preflight::removed_when_stopped(node, facts))
            .collect()
    }

    /// Prepares the formatting of log dirs.
    pub async fn prepare_format(&self, request: &Formatting) -> Prepared {
        self.monitor.event(MonitorEvent::Phase(Phase::Preflight));
        let mut facts = self.look(&Purpose::Format, &[Dataset::Data]).await;
        let is_chosen = |name: &NodeName| request.chosen.is_empty() || request.chosen.contains(name);
        let plan = Plan::format(RunId::at(self.clock.now()), &request.chosen, &self.cluster);
        facts.findings.extend(self.unknown(&request.chosen));
        let mut setups: BTreeMap<NodeName, QuorumSetup> = BTreeMap::new();
        for (name, setup) in self.setups(request).await {
            match setup {
                Ok(setup) => drop(setups.insert(name, setup)),
                Err(error) if is_chosen(&name) => facts.findings.push(Finding {
                    severity: Severity::Refusal,
                    node: Some(name),
                    message: error.message,
                    hint: error.hint,
                }),
                Err(_) => {}
            }
        }
        facts.findings.extend(self.unformattable(request, &facts));
        let arguments = match self.quorum_arguments(&request.quorum, &setups, request.fresh) {
            Ok(arguments) => arguments,
            Err(finding) => {
                facts.findings.push(*finding);
                BTreeMap::new()
            }
        };
        let mut formatting = BTreeMap::new();
        for node in self.cluster.start_order().iter().filter(|node| is_chosen(&node.name)) {
            let Some((body, properties, targets)) = request.nodes.get(&node.name) else {
                let hint = "name its image under [defaults.container], and its `config` directory";
                let text = "kbo.toml does not say with which image and properties file it is formatted";
                facts
                    .findings
                    .push(found(Severity::Refusal, Some(&node.name), text, hint));
                continue;
            };
            let request = FormatRequest {
                run: plan.run.clone(),
                body: body.clone(),
                properties: properties.clone(),
                targets: targets.clone(),
                cluster_id: request.cluster_id.clone(),
                arguments: arguments.get(&node.name).cloned().unwrap_or_default(),
            };
            formatting.insert(node.name.clone(), request);
        }
        let mut prepared = prepared(plan, facts, None);
        prepared.formatting = formatting;
        prepared
    }

    async fn setups(&self, request: &Formatting) -> Vec<(NodeName, Result<QuorumSetup, NodeError>)> {
        self.on_all(|node, transport| async move {
            let properties = request
                .nodes
                .get(&node.name)
                .map(|(_, properties, _)| properties.as_str());
            transport.quorum_setup(properties.unwrap_or("server.properties")).await
        })
        .await
    }

    /// Containers that run, and log dirs that hold data.
    fn unformattable(&self, request: &Formatting, facts: &Facts) -> Vec<Finding> {
        let is_chosen = |name: &NodeName| request.chosen.is_empty() || request.chosen.contains(name);
        let mut findings = vec![];
        for node in self.cluster.start_order().iter().filter(|node| is_chosen(&node.name)) {
            if facts.prior.get(&node.name).is_some_and(|state| state.is_up()) {
                findings.push(found(
                    Severity::Refusal,
                    Some(&node.name),
                    "its container is up",
                    "kbo stop stops the cluster",
                ));
            }
            let Some(Ok(facts)) = facts.nodes.get(&node.name) else {
                continue;
            };
            for dir in facts.dirs.iter().filter(|dir| dir.presence == Presence::Filled) {
                let text = format!("{} holds data ({} files)", dir.path, dir.files);
                let finding = if request.delete_data {
                    Finding {
                        severity: Severity::Warning,
                        node: Some(node.name.clone()),
                        message: format!("{text}: they are deleted"),
                        hint: None,
                    }
                } else {
                    let hint = "a backup first; --yes-delete-data CLUSTER deletes them";
                    found(Severity::Refusal, Some(&node.name), &text, hint)
                };
                findings.push(finding);
            }
        }
        findings
    }

    /// What each node's `kafka-storage format` must be told of the quorum.
    fn quorum_arguments(
        &self,
        quorum: &Quorum,
        setups: &BTreeMap<NodeName, QuorumSetup>,
        fresh: fn() -> ClusterId,
    ) -> Result<BTreeMap<NodeName, Vec<String>>, Box<Finding>> {
        let refusal =
            |node: Option<&NodeName>, text: &str, hint: &str| Box::new(found(Severity::Refusal, node, text, hint));
        let controllers: Vec<&Node> = self
            .cluster
            .start_order()
            .iter()
            .filter(|node| node.role.is_controller())
            .collect();
        let fixed = setups.iter().find(|(_, setup)| setup.is_static).map(|(name, _)| name);
        let initial = match (quorum, fixed) {
            (Quorum::AsConfigured, _) if setups.values().all(|setup| setup.is_static) => return Ok(BTreeMap::new()),
            (Quorum::AsConfigured, _) => {
                let node = setups.iter().find(|(_, setup)| !setup.is_static).map(|(name, _)| name);
                let hint =
                    "--initial-controllers makes all controllers the first voters, --standalone the first one alone";
                return Err(refusal(
                    node,
                    "its configuration names no controller.quorum.voters: the quorum is dynamic",
                    hint,
                ));
            }
            (_, Some(node)) => {
                let hint = "format without --standalone and --initial-controllers, or remove that key";
                return Err(refusal(
                    Some(node),
                    "its configuration names controller.quorum.voters: the quorum is static",
                    hint,
                ));
            }
            (Quorum::Standalone, None) => None,
            (Quorum::InitialControllers(Some(given)), None) => Some(given.clone()),
            (Quorum::InitialControllers(None), None) => {
                let mut voters = vec![];
                for node in &controllers {
                    let setup = setups.get(&node.name);
                    let known = setup.and_then(|setup| Some((setup.node_id?, setup.controller.clone()?)));
                    let Some((id, address)) = known else {
                        let hint = "--initial-controllers ID@HOST:PORT:DIRECTORY,... names them all";
                        return Err(refusal(
                            Some(&node.name),
                            "its configuration tells no node.id, or no address of its controller listener",
                            hint,
                        ));
                    };
                    voters.push(format!("{id}@{address}:{}", fresh()));
                }
                Some(voters.join(","))
            }
        };
        let first = controllers.first().map(|node| &node.name);
        let arguments = |node: &Node| match &initial {
            Some(voters) if node.role.is_controller() => vec!["--initial-controllers".to_owned(), voters.clone()],
            None if Some(&node.name) == first => vec!["--standalone".to_owned()],
            _ => vec!["--no-initial-controllers".to_owned()],
        };
        let nodes = self.cluster.start_order().iter();
        Ok(nodes.map(|node| (node.name.clone(), arguments(node))).collect())
    }

    /// Names that are no nodes.
    pub(super) fn unknown(&self, chosen: &[NodeName]) -> Vec<Finding> {
        let unknown = chosen.iter().filter(|name| self.cluster.node(name).is_none());
        unknown
            .map(|name| {
                found(
                    Severity::Refusal,
                    None,
                    &format!("{name} is not a node of this cluster"),
                    "kbo status lists them",
                )
            })
            .collect()
    }
}

fn found(severity: Severity, node: Option<&NodeName>, message: &str, hint: &str) -> Finding {
    Finding {
        severity,
        node: node.cloned(),
        message: message.to_owned(),
        hint: Some(hint.to_owned()),
    }
}

/// What the operator insists on is a warning.
pub(super) fn accept(finding: Finding, force: bool) -> Finding {
    if force && finding.severity == Severity::Refusal {
        return Finding {
            severity: Severity::Warning,
            ..finding
        };
    }
    finding
}

impl Run<'_> {
    /// Asks a node about its container.
    pub(super) async fn ask_container(&self, node: &NodeName, request: &ContainerRequest) -> Result<(), StepError> {
        self.o.transport(node)?.container(request).await?;
        Ok(())
    }

    pub(super) async fn create(&self, node: &NodeName, replace: bool) -> Result<(), StepError> {
        let body = self.prepared.containers.get(node).cloned();
        let body =
            body.ok_or_else(|| StepError::Said(format!("nothing says what the container of {node} is made of")))?;
        let request = if replace {
            let run = self.id().clone();
            ContainerRequest::Replace { run, body }
        } else {
            ContainerRequest::Create(body)
        };
        self.ask_container(node, &request).await
    }

    pub(super) async fn format(&self, node: &NodeName) -> Result<(), StepError> {
        let request = self.prepared.formatting.get(node);
        let request = request.ok_or_else(|| StepError::Said(format!("nothing says how {node} is formatted")))?;
        // The plan may have been moved to the next second.
        let request = FormatRequest {
            run: self.id().clone(),
            ..request.clone()
        };
        let report = self.o.transport(node)?.format(&request).await;
        let report = report.map_err(|error| match error.kind {
            NodeErrorKind::State if error.hint.is_none() => error.hint("see what kafka-storage says above"),
            _ => error,
        })?;
        tracing::info!(%node, "{}", report.output.trim());
        Ok(())
    }
}
