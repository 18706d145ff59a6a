//! What each step of a plan does, through the ports.

use std::collections::BTreeSet;
use std::time::Duration;

use super::gated::{GatedSink, GatedSource, blame};
use super::readiness::Expected;
use super::run::{Run, StepError};
use crate::cancel::Urgency;
use crate::ids::NodeName;
use crate::inventory::{Dataset, Node};
use crate::journal::StepOutcome;
use crate::machine::Operation;
use crate::manifest::ArchiveRecord;
use crate::plan::Step;
use crate::ports::monitor::MonitorEvent;
use crate::ports::node::{
    ArchiveRequest, CleanRequest, CleanStopProof, ContainerRequest, Lease, NodeError, NodeErrorKind, SnapshotRequest,
    StageRequest, StartOutcome, StopRequest, SwapRequest,
};
use crate::text::some_of;

/// How long a start is tried again before the run is undone.
const START_AGAIN: Duration = Duration::from_secs(30);
/// The pause before it is tried again.
const PAUSE: Duration = Duration::from_secs(2);

impl Run<'_> {
    /// Takes one step.
    pub(super) async fn perform(&self, step: &Step) -> Result<StepOutcome, StepError> {
        let run = || self.prepared.plan.run.clone();
        match step {
            Step::Stop { node } => {
                let request = StopRequest {
                    run: run(),
                    timeout: self.o.settings.stop_timeout,
                    lease: self.lease(),
                };
                Ok(StepOutcome::Stop(self.o.transport(node)?.stop(&request).await?))
            }
            Step::Start { node } => Ok(StepOutcome::Start(self.start(node).await?)),
            Step::AwaitQuorum => {
                let away = self.away().clone();
                self.o
                    .await_quorum(&self.up_with_away(), &away, self.is_undoing())
                    .await
                    .map(done)
            }
            Step::AwaitBroker { node } => self.o.await_broker(node).await.map(done),
            Step::AwaitIsr => self.await_isr().await,
            Step::ProveClean { node } => {
                let proven = self.prove_clean(node).await;
                self.unless_started_by_another(node, proven).await
            }
            Step::Snapshot { node, datasets } => {
                let request = SnapshotRequest {
                    run: run(),
                    datasets: datasets.clone(),
                };
                let taken = self.o.transport(node)?.snapshot(&request).await;
                let report = self
                    .unless_started_by_another(node, taken.map_err(StepError::from))
                    .await?;
                for warning in &report.warnings {
                    self.warn(format!("{node}: {warning}"));
                }
                self.harvest().snapshots.insert(node.clone(), report);
                Ok(StepOutcome::Done)
            }
            Step::Archive { node, dataset } => self.archive(node, *dataset).await,
            Step::Commit => self.commit().await,
            Step::Stage { node, dataset } => self.stage(node, *dataset).await,
            Step::Swap {
                node,
                datasets,
                previous_of,
            } => {
                let request = SwapRequest {
                    run: run(),
                    datasets: datasets.clone(),
                    previous_of: previous_of.clone(),
                };
                let transport = self.o.transport(node)?;
                let swapped = self.at_rest_again(step, node, || transport.swap(&request)).await?;
                Ok(StepOutcome::Swap(swapped))
            }
            Step::SwapBack { node, datasets } => {
                let request = SwapRequest {
                    run: run(),
                    datasets: datasets.clone(),
                    previous_of: None,
                };
                let transport = self.o.transport(node)?;
                let swapped = self.at_rest_again(step, node, || transport.swap_back(&request)).await?;
                Ok(StepOutcome::Swap(swapped))
            }
            Step::Clean {
                node,
                keep_previous,
                until_ready,
            } => {
                let request = match (keep_previous, until_ready) {
                    (true, _) => CleanRequest::RunKeepingPrevious(run()),
                    (false, true) => CleanRequest::RunKeepingUntilReady(run()),
                    (false, false) => CleanRequest::Run(run()),
                };
                self.o.transport(node)?.clean(&request).await?;
                self.unpinned().insert(node.clone());
                Ok(StepOutcome::Done)
            }
            Step::Create { node, replace } => self.create(node, *replace).await.map(done),
            Step::TakeBack { node } => self
                .ask_container(node, &ContainerRequest::TakeBack(run()))
                .await
                .map(done),
            Step::DropReplaced { node } => self
                .ask_container(node, &ContainerRequest::DropReplaced(run()))
                .await
                .map(done),
            Step::Remove { node } => self.ask_container(node, &ContainerRequest::Remove).await.map(done),
            Step::Format { node } => self.format(node).await.map(done),
            Step::Abandon => {
                match &self.writer {
                    Some(writer) => writer.abandon().await?,
                    None => drop(self.o.store.sweep().await?),
                }
                Ok(StepOutcome::Done)
            }
        }
    }

    /// Starts a container. An engine that restarts is no reason to undo a run whose data are in place: it is asked again for a
    /// while, which an undo does by itself.
    async fn start(&self, name: &NodeName) -> Result<StartOutcome, StepError> {
        let transport = self.o.transport(name)?;
        let from = self.o.clock.monotonic();
        self.is_ours_to_start(name).await?;
        loop {
            let error = match transport.start().await {
                Ok(outcome) => return Ok(outcome),
                Err(error) => error,
            };
            let is_over = self.o.clock.monotonic().saturating_sub(from) >= START_AGAIN;
            if self.is_undoing() || is_over || !error.kind.may_pass() || self.o.cancel.is_asked() {
                return Err(error.into());
            }
            let text = format!("{name} to start its container: {error}");
            self.o.monitor.event(MonitorEvent::Waiting(text));
            self.o.clock.sleep(PAUSE).await;
        }
    }

    /// A stop that is meant to last takes no lease.
    fn lease(&self) -> Option<Lease> {
        let lasting = matches!(self.prepared.plan.operation, Operation::Stop | Operation::Remove);
        (!lasting).then_some(Lease {
            grace: self.o.settings.lease_grace,
        })
    }

    async fn await_isr(&self) -> Result<StepOutcome, StepError> {
        let up = self.up();
        let expected = match (&self.prepared.partitions, self.prepared.plan.operation) {
            (Some(before), Operation::ColdBackup | Operation::Restart | Operation::RollingRestart) => {
                Expected::AsBefore(before)
            }
            _ => Expected::On(self.node_ids(&up)),
        };
        let short = self.o.await_isr(&up, expected).await;
        if !short.is_empty() && !self.is_undoing() && self.o.cancel.urgency() >= Urgency::Hurry {
            // Not waited for, so it says nothing of what the run left behind.
            let text = format!(
                "interrupted while waiting for {} partitions: {}",
                short.len(),
                some_of(&short)
            );
            // Whether a restore has made it worse is not known, and what it replaced is kept.
            match self.prepared.plan.operation {
                Operation::Restore => self.attend(text),
                _ => self.warn(text),
            }
        } else if !short.is_empty() {
            let limit = self.o.settings.isr_timeout.as_secs();
            let text = format!(
                "after {limit} s {} partitions are not whole: {}",
                short.len(),
                some_of(&short)
            );
            // The next node of a rolling restart may hold the last replica in sync.
            if self.prepared.plan.operation == Operation::RollingRestart && !self.is_undoing() {
                return Err(StepError::Said(text));
            }
            // After an undo it is part of what went wrong; after all else it is worse than the run found it.
            if self.is_undoing() {
                self.warn(text);
            } else {
                self.attend(text);
            }
        }
        Ok(StepOutcome::Done)
    }

    /// node.ids as meta.properties tells them, or the restored backup did.
    pub(super) fn node_ids(&self, nodes: &[&Node]) -> BTreeSet<i32> {
        let from_facts = |name: &NodeName| {
            let facts = self.prepared.facts.get(name)?.as_ref().ok()?;
            facts.dirs.iter().find_map(|dir| dir.meta.as_ref()?.node_id)
        };
        let from_backup = |name: &NodeName| {
            let source = self.prepared.source.as_ref()?;
            source.nodes.iter().find(|node| &node.name == name)?.node_id
        };
        nodes
            .iter()
            .filter_map(|node| from_facts(&node.name).or_else(|| from_backup(&node.name)))
            .collect()
    }

    /// Whether the missing proof was known before the stop and accepted: a broker that was dead, or the offline log dir of one whose
    /// others prove a clean stop.
    pub(super) fn is_degraded(&self, name: &NodeName, proof: &CleanStopProof) -> bool {
        let degraded = &self.prepared.degraded;
        let epochs: BTreeSet<i64> = proof.dirs.iter().filter_map(|dir| dir.broker_epoch).collect();
        let others_are_clean = proof.dirs.iter().any(|dir| dir.marker) && epochs.len() <= 1;
        self.o.settings.allow_degraded
            && !proof.clean
            && (degraded.dead.contains(name) || (degraded.offline.contains(name) && others_are_clean))
    }

    async fn prove_clean(&self, name: &NodeName) -> Result<StepOutcome, StepError> {
        let proof = self.o.transport(name)?.prove_clean().await?;
        if let Some(dir) = proof.dirs.iter().find(|dir| dir.locked) {
            let message = format!(
                "a process still holds Kafka's lock on {}: the container is not Kafka's only one",
                dir.path
            );
            return Err(NodeError::new(NodeErrorKind::State, message)
                .hint("find it: fuser -v on the .lock file")
                .into());
        }
        if !proof.clean {
            let dirs: Vec<String> = proof
                .dirs
                .iter()
                .filter(|dir| !dir.marker)
                .map(|dir| dir.path.clone())
                .collect();
            let what = if dirs.is_empty() {
                "its log dirs carry different broker epochs".to_owned()
            } else {
                some_of(&dirs)
            };
            let message = format!("{name} did not stop cleanly: no clean-shutdown proof for {what}");
            if self.is_degraded(name, &proof) {
                let known = format!("{message}; it was not whole before the backup");
                self.warn(known.clone());
                self.harvest().caveats.push(known);
                self.harvest().proofs.insert(name.clone(), proof);
                return Ok(StepOutcome::Done);
            }
            if !self.o.settings.allow_unclean {
                let hint = "raise the stop timeout and try again, or accept it with --allow-unclean";
                return Err(NodeError::new(NodeErrorKind::State, message).hint(hint).into());
            }
            self.warn(message.clone());
            self.harvest().caveats.push(message);
        }
        self.harvest().proofs.insert(name.clone(), proof);
        Ok(StepOutcome::Done)
    }

    async fn archive(&self, node: &NodeName, dataset: Dataset) -> Result<StepOutcome, StepError> {
        let name = ArchiveRecord::file_name(node, dataset);
        let file = self.writer()?.create(&name).await?;
        let mut sink = GatedSink {
            file,
            gate: self.gate(),
            error: None,
        };
        let settings = &self.o.settings;
        let request = ArchiveRequest {
            run: self.prepared.plan.run.clone(),
            dataset,
            level: settings.level,
            threads: settings.threads,
        };
        let sent = self.o.transport(node)?.archive(&request, &mut sink).await;
        let report = blame(sent, sink.error)?;
        let stored = sink.file.finish().await?;
        if (stored.size, stored.sha256) != (report.size, report.sha256) {
            let message = format!(
                "{name}: {node} sent {} bytes with SHA-256 {}, the store received {} with {}",
                report.size, report.sha256, stored.size, stored.sha256
            );
            return Err(NodeError::new(NodeErrorKind::Damaged, message)
                .hint("run the backup again")
                .into());
        }
        let mut harvest = self.harvest();
        for damage in report.damage {
            let text = format!("{node}: {damage}");
            harvest.caveats.push(text.clone());
            harvest.damage.push(text);
        }
        harvest
            .caveats
            .extend(report.caveats.iter().map(|caveat| format!("{node}: {caveat}")));
        harvest.archives.push(ArchiveRecord {
            name,
            node: node.clone(),
            dataset,
            size: report.size,
            sha256: report.sha256,
            raw_size: report.raw_size,
            dirs: report.dirs,
            files: report.files,
        });
        Ok(StepOutcome::Done)
    }

    async fn stage(&self, node: &NodeName, dataset: Dataset) -> Result<StepOutcome, StepError> {
        let manifest = self
            .prepared
            .source
            .as_ref()
            .ok_or_else(|| StepError::Said("no backup is being restored".to_owned()))?;
        let archive = manifest
            .archive(node, dataset)
            .ok_or_else(|| StepError::Said(format!("the backup holds no {dataset} of {node}")))?;
        let request = StageRequest {
            run: self.prepared.plan.run.clone(),
            dataset,
            sha256: archive.sha256,
            dirs: archive.dirs.clone(),
            files: archive.files.clone(),
        };
        let file = self.o.store.open(&manifest.id, &archive.name).await?;
        let mut source = GatedSource {
            file,
            gate: self.gate(),
            error: None,
        };
        let staged = self.o.transport(node)?.stage(&request, &mut source).await;
        blame(staged, source.error)?;
        Ok(StepOutcome::Done)
    }
}

fn done((): ()) -> StepOutcome {
    StepOutcome::Done
}
