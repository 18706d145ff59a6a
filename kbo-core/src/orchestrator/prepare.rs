//! Preparing a run: look, judge, plan. Nothing is touched.

use std::collections::BTreeMap;

use super::containers::accept;
use super::kept::stays;
use super::{BackupRequest, Facts, Orchestrator, Prepared, RestoreRequest};
use crate::ids::{BackupId, NodeName, RunId};
use crate::inventory::{Dataset, Node};
use crate::machine::{Operation, Phase};
use crate::manifest::{ArchiveRecord, BackupKind, Manifest};
use crate::plan::{Plan, Step};
use crate::ports::monitor::MonitorEvent;
use crate::ports::node::{DirFacts, LinkProbe};
use crate::preflight::COPY_RATE;
use crate::preflight::{Finding, Purpose, Severity, kept_by_another, refuses};
use crate::text::some_of;

impl Orchestrator {
    /// Whoever else starts, stops or removes the containers of `chosen` nodes (all where empty).
    pub(super) fn kept_by_others(&self, chosen: &[NodeName], facts: &Facts) -> Vec<Finding> {
        let is_chosen = |node: &&Node| chosen.is_empty() || chosen.contains(&node.name);
        let kept = self.cluster.start_order().iter().filter(is_chosen).filter_map(|node| {
            let facts = facts.nodes.get(&node.name)?.as_ref().ok()?;
            kept_by_another(node, facts)
        });
        kept.collect()
    }

    /// Prepares a backup.
    pub async fn prepare_backup(&self, request: BackupRequest) -> Prepared {
        self.monitor.event(MonitorEvent::Phase(Phase::Preflight));
        let datasets = request.kind.datasets().to_vec();
        let cold = request.kind != BackupKind::Config;
        // Identity lives in meta.properties: the data directories are looked at even when only configuration is read.
        let looked_at = [Dataset::Config, Dataset::Data];
        let looked_at: &[Dataset] = if cold { &datasets } else { &looked_at };
        let facts = self
            .look(
                &Purpose::Backup {
                    datasets: datasets.clone(),
                    cold,
                },
                looked_at,
            )
            .await;
        let now = self.clock.now();
        let mut plan = Plan::backup(
            RunId::at(now),
            BackupId::at(now),
            request.kind,
            &self.cluster,
            &facts.prior,
        );
        if cold {
            plan.notes.extend(copied_window(&facts));
        }
        prepared(plan, facts, None)
    }

    /// Prepares a restore.
    pub async fn prepare_restore(&self, request: RestoreRequest) -> Prepared {
        self.monitor.event(MonitorEvent::Phase(Phase::Preflight));
        let RestoreRequest {
            manifest,
            datasets,
            other_cluster,
            previous,
        } = request;
        let restored = |archive: &&ArchiveRecord| datasets.contains(&archive.dataset);
        let need = manifest
            .archives
            .iter()
            .filter(restored)
            .map(|archive| ((archive.node.clone(), archive.dataset), archive.dir_sizes()))
            .collect();
        let purpose = Purpose::Restore {
            datasets: datasets.clone(),
            need,
            cluster_id: manifest.cluster_id.clone(),
            other_cluster,
            nodes: manifest.nodes.clone(),
            starts: true,
        };
        let mut facts = self.look(&purpose, &[Dataset::Config, Dataset::Data]).await;
        facts.findings.splice(0..0, self.fit(&manifest, &datasets));
        let run = RunId::at(self.clock.now());
        let mut plan = Plan::restore(run, &manifest, &datasets, previous, &self.cluster, &facts.prior);
        plan.notes.extend(previous.note(&plan).or_else(|| stays(&plan, &facts)));
        prepared(plan, facts, Some(manifest))
    }

    /// Prepares a start, stop or restart of `chosen` nodes (all where empty).
    ///
    /// With `force` brokers may be left without a quorum.
    pub async fn prepare_power(&self, operation: Operation, chosen: &[NodeName], force: bool) -> Prepared {
        self.monitor.event(MonitorEvent::Phase(Phase::Preflight));
        let mut facts = self.look(&Purpose::Power, &[]).await;
        let plan = Plan::power(
            RunId::at(self.clock.now()),
            operation,
            chosen,
            &self.cluster,
            &facts.prior,
        );
        facts.findings.extend(self.unknown(chosen));
        if operation != Operation::Start {
            facts.findings.extend(self.kept_by_others(chosen, &facts));
        }
        let findings = self.unsafe_power(operation, chosen, &facts);
        facts
            .findings
            .extend(findings.into_iter().map(|finding| accept(finding, force)));
        prepared(plan, facts, None)
    }

    /// Whether the backup holds what the inventory needs, and nothing for nodes that are not there.
    fn fit(&self, manifest: &Manifest, datasets: &[Dataset]) -> Vec<Finding> {
        let refusal = |node: Option<&NodeName>, message: String, hint: &str| Finding {
            severity: Severity::Refusal,
            node: node.cloned(),
            message,
            hint: Some(hint.to_owned()),
        };
        let mut findings = vec![];
        for node in self.cluster.start_order() {
            for dataset in datasets {
                let dirs = node.dirs(*dataset);
                match manifest.archive(&node.name, *dataset) {
                    None if !dirs.is_empty() => findings.push(refusal(
                        Some(&node.name),
                        format!("the backup {} holds no {dataset} of it", manifest.id),
                        "choose a backup of this very cluster, or --only config|data",
                    )),
                    Some(archive) if archive.dirs.len() != dirs.len() => findings.push(refusal(
                        Some(&node.name),
                        format!(
                            "the backup holds {} {dataset} directories of it, kbo.toml names {}",
                            archive.dirs.len(),
                            dirs.len()
                        ),
                        "list as many directories, in the same order",
                    )),
                    _ => {}
                }
            }
        }
        for archive in &manifest.archives {
            if self.cluster.node(&archive.node).is_none() {
                findings.push(refusal(
                    None,
                    format!(
                        "the backup {} holds the node {}, which kbo.toml does not name",
                        manifest.id, archive.node
                    ),
                    "restore with the kbo.toml of that cluster",
                ));
            }
        }
        for caveat in &manifest.caveats {
            findings.push(Finding {
                severity: Severity::Warning,
                node: None,
                message: format!("of this backup: {caveat}"),
                hint: None,
            });
        }
        findings.dedup();
        findings
    }

    /// Stopping a controller under running brokers, or starting a broker without a quorum.
    pub(super) fn unsafe_power(&self, operation: Operation, chosen: &[NodeName], facts: &Facts) -> Vec<Finding> {
        let is_chosen = |name: &NodeName| chosen.is_empty() || chosen.contains(name);
        let is_up = |name: &NodeName| facts.prior.get(name).is_some_and(|state| state.is_up());
        let nodes = self.cluster.start_order();
        let mut findings = vec![];
        let controllers = || nodes.iter().filter(|node| node.role.is_controller());
        let brokers_stay_up = nodes
            .iter()
            .any(|node| node.role.is_broker() && is_up(&node.name) && !is_chosen(&node.name));
        if matches!(operation, Operation::Stop | Operation::Restart) && brokers_stay_up {
            let left = controllers()
                .filter(|node| is_up(&node.name) && !is_chosen(&node.name))
                .count();
            let stops_one = controllers().any(|node| is_up(&node.name) && is_chosen(&node.name));
            if stops_one && left * 2 <= controllers().count() {
                findings.push(Finding {
                    severity: Severity::Refusal,
                    node: None,
                    message: "brokers would run on without a quorum of controllers".to_owned(),
                    hint: Some("stop the brokers too, or first; --force goes on".to_owned()),
                });
            }
        }
        if matches!(operation, Operation::Start | Operation::Restart) {
            // A restart of everything starts only what was up.
            let starts = |node: &Node| {
                is_chosen(&node.name) && (operation == Operation::Start || is_up(&node.name) || !chosen.is_empty())
            };
            let up_then = controllers().filter(|node| is_up(&node.name) || starts(node)).count();
            let starts_broker = nodes.iter().any(|node| {
                let begins = operation == Operation::Restart || !is_up(&node.name);
                node.role.is_broker() && starts(node) && begins
            });
            if starts_broker && up_then * 2 <= controllers().count() {
                findings.push(Finding {
                    severity: Severity::Refusal,
                    node: None,
                    message: "the brokers would start without a quorum of controllers".to_owned(),
                    hint: Some("start the controllers too, or first; --force goes on".to_owned()),
                });
            }
        }
        findings
    }
}

/// How much longer the cluster is down where files cannot be hardlinked. Nodes copy side by side, so the slowest counts.
fn copied_window(facts: &Facts) -> Option<String> {
    let copied = |dirs: &[DirFacts]| -> u64 {
        let copied = dirs.iter().filter(|dir| matches!(dir.link, LinkProbe::Fails(_)));
        copied.map(|dir| dir.bytes).sum()
    };
    let by_node = facts
        .nodes
        .iter()
        .filter_map(|(name, facts)| Some((name, copied(&facts.as_ref().ok()?.dirs))));
    let (names, bytes): (Vec<String>, Vec<u64>) = by_node
        .filter(|(_, bytes)| *bytes > 0)
        .map(|(name, bytes)| (name.to_string(), bytes))
        .unzip();
    let most = bytes.into_iter().max()?;
    Some(format!(
        "the snapshots of {} are copied, not linked: the cluster is down about {} s longer",
        some_of(&names),
        most.div_ceil(COPY_RATE)
    ))
}

pub(super) fn prepared(plan: Plan, facts: Facts, source: Option<Manifest>) -> Prepared {
    let mut findings = facts.findings;
    let moves_data = |step: &Step| matches!(step, Step::Archive { .. } | Step::Stage { .. } | Step::Swap { .. });
    let moves_none = !plan.steps().any(moves_data) && !refuses(&findings);
    if (plan.operation.makes_backup() || plan.operation == Operation::Restore) && moves_none {
        findings.push(Finding {
            severity: Severity::Refusal,
            node: None,
            message: "no node has a directory for it in kbo.toml: there is nothing to do".to_owned(),
            hint: Some("set `config` and `data` under [defaults] or at the nodes".to_owned()),
        });
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Prepared {
        plan,
        findings,
        facts: facts.nodes,
        looked_at: facts.looked_at,
        prior: facts.prior,
        partitions: facts.partitions,
        degraded: facts.degraded,
        source,
        containers: BTreeMap::new(),
        comparisons: BTreeMap::new(),
        formatting: BTreeMap::new(),
    }
}
