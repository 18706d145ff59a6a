//! What each step of a plan does, through the ports.

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;

use super::execute::{Gate, Run, StepError};
use super::readiness::Expected;
use crate::ids::{ClusterId, NodeName};
use crate::inventory::{Dataset, Node};
use crate::journal::StepOutcome;
use crate::machine::Operation;
use crate::manifest::{ArchiveRecord, BackupKind, FORMAT, Manifest, NodeRecord};
use crate::plan::Step;
use crate::ports::node::{
    ArchiveRequest, CleanRequest, Lease, NodeError, NodeErrorKind, SnapshotRequest, StageRequest, StopRequest,
    SwapRequest,
};
use crate::ports::store::{ArchiveWriter, StoreError};
use crate::ports::stream::{ByteSink, ByteSource, StreamError};
use crate::preflight::{human, some_of};
use crate::report::{Outcome, Report, chain};

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
            Step::Start { node } => Ok(StepOutcome::Start(self.o.transport(node)?.start().await?)),
            Step::AwaitQuorum => self.o.await_quorum(&self.up(), self.is_undoing()).await.map(done),
            Step::AwaitBroker { node } => self.o.await_broker(node).await.map(done),
            Step::AwaitIsr => self.await_isr().await,
            Step::ProveClean { node } => self.prove_clean(node).await,
            Step::Snapshot { node, datasets } => {
                let request = SnapshotRequest {
                    run: run(),
                    datasets: datasets.clone(),
                };
                let report = self.o.transport(node)?.snapshot(&request).await?;
                for warning in &report.warnings {
                    self.warn(format!("{node}: {warning}"));
                }
                self.harvest().snapshots.insert(node.clone(), report);
                Ok(StepOutcome::Done)
            }
            Step::Archive { node, dataset } => self.archive(node, *dataset).await,
            Step::Commit => self.commit().await,
            Step::Stage { node, dataset } => self.stage(node, *dataset).await,
            Step::Swap { node, datasets } => {
                let request = SwapRequest {
                    run: run(),
                    datasets: datasets.clone(),
                };
                Ok(StepOutcome::Swap(self.o.transport(node)?.swap(&request).await?))
            }
            Step::SwapBack { node, datasets } => {
                let request = SwapRequest {
                    run: run(),
                    datasets: datasets.clone(),
                };
                Ok(StepOutcome::Swap(self.o.transport(node)?.swap_back(&request).await?))
            }
            Step::Clean { node, keep_previous } => {
                let request = if *keep_previous {
                    CleanRequest::RunKeepingPrevious(run())
                } else {
                    CleanRequest::Run(run())
                };
                self.o.transport(node)?.clean(&request).await?;
                Ok(StepOutcome::Done)
            }
            Step::Abandon => {
                match self.begun_writer() {
                    Some(writer) => writer.abandon().await?,
                    None => drop(self.o.store.sweep().await?),
                }
                Ok(StepOutcome::Done)
            }
        }
    }

    /// A stop that is meant to last takes no lease.
    fn lease(&self) -> Option<Lease> {
        let lasting = self.prepared.plan.operation == Operation::Stop;
        (!lasting).then(|| Lease {
            grace: self.o.settings.lease_grace,
            wait_for: vec![],
        })
    }

    async fn await_isr(&self) -> Result<StepOutcome, StepError> {
        let up = self.up();
        let expected = match (&self.prepared.partitions, self.prepared.plan.operation) {
            (Some(before), Operation::ColdBackup | Operation::Restart) => Expected::AsBefore(before),
            _ => Expected::On(self.node_ids(&up)),
        };
        let short = self.o.await_isr(&up, expected).await;
        if !short.is_empty() {
            let limit = self.o.settings.isr_timeout.as_secs();
            self.warn(format!(
                "after {limit} s {} partitions are not whole: {}",
                short.len(),
                some_of(&short)
            ));
        }
        Ok(StepOutcome::Done)
    }

    /// node.ids as meta.properties tells them, or the restored backup did.
    fn node_ids(&self, nodes: &[&Node]) -> BTreeSet<i32> {
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
        let file = self.writer().await?.create(&name).await?;
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

    async fn commit(&self) -> Result<StepOutcome, StepError> {
        let writer = self.writer().await?;
        let manifest = self.manifest()?;
        writer.commit(&manifest).await?;
        self.harvest().committed = true;
        self.harvest().archives = manifest
            .archives
            .into_iter()
            .map(|archive| ArchiveRecord {
                files: vec![],
                ..archive
            })
            .collect();
        Ok(StepOutcome::Done)
    }

    fn manifest(&self) -> Result<Manifest, StepError> {
        let Some((id, kind)) = self.prepared.plan.backup.clone() else {
            return Err(StepError::Said("the plan makes no backup".to_owned()));
        };
        let mut harvest = self.harvest();
        // Archives end in any order; the manifest has them in the order of the plan.
        let mut archives = std::mem::take(&mut harvest.archives);
        let order: Vec<&Step> = self.prepared.plan.steps().collect();
        archives.sort_by_key(|archive| {
            order.iter().position(
                |step| matches!(step, Step::Archive { node, dataset } if *node == archive.node && *dataset == archive.dataset),
            )
        });
        let mut caveats = std::mem::take(&mut harvest.caveats);
        let down = self.prepared.prior.iter().filter(|(_, state)| !state.is_up());
        if kind != BackupKind::Config {
            caveats
                .extend(down.map(|(name, _)| format!("{name} was stopped before the backup: its data may be older")));
        }
        Ok(Manifest {
            format: FORMAT,
            id,
            kind,
            cluster: self.o.name.clone(),
            cluster_id: self.cluster_id(),
            kbo_version: self.o.kbo_version.clone(),
            created: self.prepared.plan.run.time(),
            committed: self.o.clock.now(),
            window: harvest.window,
            caveats,
            nodes: self
                .o
                .cluster
                .start_order()
                .iter()
                .map(|node| self.node_record(node, &harvest.proofs))
                .collect(),
            archives,
        })
    }

    fn cluster_id(&self) -> Option<ClusterId> {
        let metas = self
            .prepared
            .facts
            .values()
            .flatten()
            .flat_map(|facts| &facts.dirs)
            .filter_map(|dir| dir.meta.as_ref());
        metas
            .filter_map(|meta| meta.cluster_id.clone())
            .next()
            .or_else(|| self.o.cluster_id.clone())
    }

    fn node_record(
        &self,
        node: &Node,
        proofs: &std::collections::BTreeMap<NodeName, crate::ports::node::CleanStopProof>,
    ) -> NodeRecord {
        let facts = self
            .prepared
            .facts
            .get(&node.name)
            .and_then(|facts| facts.as_ref().ok());
        let container = facts.and_then(|facts| facts.container.as_ref().ok()?.as_ref());
        NodeRecord {
            name: node.name.clone(),
            role: node.role,
            node_id: facts.and_then(|facts| facts.dirs.iter().find_map(|dir| dir.meta.as_ref()?.node_id)),
            container: container.map(|container| container.definition.clone()),
            kafka_version: None,
            clean_stop: proofs.get(&node.name).cloned(),
        }
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

/// Where the store broke a stream, its error tells more than what the node makes of it.
fn blame<T>(result: Result<T, NodeError>, error: Option<StreamError>) -> Result<T, StepError> {
    match (result, error) {
        (Ok(value), _) => Ok(value),
        (Err(_), Some(error)) => Err(StoreError::Stream(error).into()),
        (Err(error), None) => Err(error.into()),
    }
}

/// Keeps an error of the store, and passes its text on to the node.
fn keep(kept: &mut Option<StreamError>, error: StreamError) -> StreamError {
    let text = chain(&error);
    *kept = Some(error);
    StreamError::Other(text)
}

/// An archive file that ends early when the run is to end.
struct GatedSink {
    file: Box<dyn ArchiveWriter>,
    gate: Gate,
    error: Option<StreamError>,
}

#[async_trait]
impl ByteSink for GatedSink {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StreamError> {
        if self.gate.is_shut() {
            return Err(StreamError::Interrupted);
        }
        self.file
            .write(chunk)
            .await
            .map_err(|error| keep(&mut self.error, error))
    }
}

/// The same for reading.
struct GatedSource {
    file: Box<dyn ByteSource>,
    gate: Gate,
    error: Option<StreamError>,
}

#[async_trait]
impl ByteSource for GatedSource {
    async fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
        if self.gate.is_shut() {
            return Err(StreamError::Interrupted);
        }
        self.file.next().await.map_err(|error| keep(&mut self.error, error))
    }
}

/// One sentence for a person at night.
pub(super) fn verdict(report: &Report) -> String {
    let id = report.id.as_ref().map(ToString::to_string).unwrap_or_default();
    let what = match report.operation {
        Operation::ColdBackup | Operation::HotBackup => format!("backup {id}"),
        Operation::Restore => format!("restore of {id}"),
        Operation::Stop => "stop".to_owned(),
        Operation::Start => "start".to_owned(),
        Operation::Restart => "restart".to_owned(),
    };
    let window = report
        .window_seconds
        .map(|seconds| format!(", cluster down {seconds:.1} s"))
        .unwrap_or_default();
    let first = report.failures.first().map(ToString::to_string).unwrap_or_default();
    match report.outcome {
        Outcome::Done => {
            let size = match report.operation {
                Operation::ColdBackup | Operation::HotBackup => {
                    format!(", {} stored of {}", human(report.stored_bytes), human(report.raw_bytes))
                }
                _ => String::new(),
            };
            let warnings = if report.warnings.is_empty() {
                String::new()
            } else {
                format!(", {} warnings", report.warnings.len())
            };
            format!("{what} done{window}{size}{warnings}")
        }
        Outcome::Damaged => format!(
            "{what} done{window}, but the source data are damaged: {}",
            some_of(&report.warnings)
        ),
        // What was started runs on: taking it down again would help nobody.
        Outcome::Failed if report.operation == Operation::Start => format!("{what} failed: {first}"),
        Outcome::Failed => format!("{what} failed, the cluster is as it was found{window}: {first}"),
        Outcome::Interrupted => format!("{what} interrupted, the cluster is as it was found{window}"),
        Outcome::NeedsPerson => {
            let last = report.failures.last().map(ToString::to_string).unwrap_or_default();
            format!("{what} failed and THE CLUSTER NEEDS A PERSON: {last}; run `kbo status`, then `kbo recover`")
        }
        Outcome::Refused => format!("{what} refused, nothing was touched"),
        Outcome::Usage | Outcome::Locked => what,
    }
}
