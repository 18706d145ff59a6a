//! A node whose operations fail where the test says.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::faults::{Faults, Moment, Ticket};
use crate::ids::{NodeName, RunId};
use crate::inventory::Dataset;
use crate::ports::node::*;
use crate::ports::stream::{ByteSink, ByteSource, StreamError};

/// A decorator that strikes the planned faults, before or after the operation beneath.
pub struct FaultyNode {
    inner: Arc<dyn NodeTransport>,
    faults: Faults,
}

impl FaultyNode {
    /// `inner`, its operations counted and struck by `faults`.
    pub fn new(inner: Arc<dyn NodeTransport>, faults: Faults) -> Self {
        Self { inner, faults }
    }

    async fn begin(&self, what: &str) -> Result<Ticket, NodeError> {
        let begun = self.faults.begin(self.inner.name().as_str(), what).await;
        begun.map_err(|kind| injected(kind, what))
    }

    async fn around<T>(
        &self,
        what: &str,
        operation: impl Future<Output = Result<T, NodeError>>,
    ) -> Result<T, NodeError> {
        let ticket = self.begin(what).await?;
        self.strike(&ticket, Moment::During, what).await?;
        let result = operation.await?;
        self.strike(&ticket, Moment::After, what).await?;
        Ok(result)
    }

    async fn strike(&self, ticket: &Ticket, moment: Moment, what: &str) -> Result<(), NodeError> {
        let struck = self.faults.strike(ticket, moment).await;
        struck.map_err(|kind| injected(kind, what))
    }
}

fn injected(kind: NodeErrorKind, what: &str) -> NodeError {
    NodeError::new(kind, format!("injected: {what} failed"))
}

#[async_trait]
impl NodeTransport for FaultyNode {
    fn name(&self) -> &NodeName {
        self.inner.name()
    }

    async fn facts(&self, request: &FactsRequest) -> Result<NodeFacts, NodeError> {
        self.around("facts", self.inner.facts(request)).await
    }

    async fn space(&self, datasets: &[Dataset]) -> Result<Vec<DirSpace>, NodeError> {
        self.around("space", self.inner.space(datasets)).await
    }

    async fn claim(&self, claim: &Claim) -> Result<ClaimReport, NodeError> {
        self.around("claim", self.inner.claim(claim)).await
    }

    async fn look(&self) -> Result<ContainerNow, NodeError> {
        self.around("look", self.inner.look()).await
    }

    async fn stop(&self, request: &StopRequest) -> Result<StopOutcome, NodeError> {
        self.around("stop", self.inner.stop(request)).await
    }

    async fn start(&self) -> Result<StartOutcome, NodeError> {
        self.around("start", self.inner.start()).await
    }

    async fn kafka(&self, question: KafkaQuestion) -> Result<KafkaAnswer, NodeError> {
        self.around("kafka", self.inner.kafka(question)).await
    }

    async fn prove_clean(&self) -> Result<CleanStopProof, NodeError> {
        self.around("prove_clean", self.inner.prove_clean()).await
    }

    async fn snapshot(&self, request: &SnapshotRequest) -> Result<SnapshotReport, NodeError> {
        self.around("snapshot", self.inner.snapshot(request)).await
    }

    async fn archive(&self, request: &ArchiveRequest, sink: &mut dyn ByteSink) -> Result<ArchiveReport, NodeError> {
        let ticket = self.begin("archive").await?;
        let mut struck = Striking::new(self, &ticket, sink);
        let report = self.inner.archive(request, &mut struck).await;
        let report = struck.error.take().map_or(report, Err)?;
        self.strike(&ticket, Moment::After, "archive").await?;
        Ok(report)
    }

    async fn stage(&self, request: &StageRequest, source: &mut dyn ByteSource) -> Result<StageReport, NodeError> {
        let ticket = self.begin("stage").await?;
        let mut struck = Striking::new(self, &ticket, source);
        let report = self.inner.stage(request, &mut struck).await;
        let report = struck.error.take().map_or(report, Err)?;
        self.strike(&ticket, Moment::After, "stage").await?;
        Ok(report)
    }

    async fn swap(&self, request: &SwapRequest) -> Result<SwapOutcome, NodeError> {
        self.around("swap", self.inner.swap(request)).await
    }

    async fn swap_back(&self, request: &SwapRequest) -> Result<SwapOutcome, NodeError> {
        self.around("swap_back", self.inner.swap_back(request)).await
    }

    async fn container(&self, request: &ContainerRequest) -> Result<ContainerReport, NodeError> {
        self.around("container", self.inner.container(request)).await
    }

    async fn quorum_setup(&self, properties: &str) -> Result<QuorumSetup, NodeError> {
        self.around("quorum_setup", self.inner.quorum_setup(properties)).await
    }

    async fn format(&self, request: &FormatRequest) -> Result<FormatReport, NodeError> {
        self.around("format", self.inner.format(request)).await
    }

    async fn clean(&self, request: &CleanRequest) -> Result<CleanReport, NodeError> {
        self.around("clean", self.inner.clean(request)).await
    }

    async fn listeners(&self, handshake: bool) -> Result<Vec<ListenerFacts>, NodeError> {
        self.around("listeners", self.inner.listeners(handshake)).await
    }

    async fn files(&self, request: &FilesRequest) -> Result<FilesReport, NodeError> {
        let what = match request {
            FilesRequest::Look { .. } => "files: look",
            FilesRequest::Stage { .. } => "files: stage",
            FilesRequest::Commit { .. } => "files: commit",
            FilesRequest::Undo { .. } => "files: undo",
            FilesRequest::Rollback { .. } => "files: rollback",
            FilesRequest::Drop { .. } => "files: drop",
        };
        self.around(what, self.inner.files(request)).await
    }

    async fn holds(&self, run: &RunId) -> Result<Held, NodeError> {
        self.around("holds", self.inner.holds(run)).await
    }

    async fn agree(&self, run: &RunId) -> Result<(), NodeError> {
        self.around("agree", self.inner.agree(run)).await
    }

    async fn forgo(&self, run: &RunId) -> Result<(), NodeError> {
        self.around("forgo", self.inner.forgo(run)).await
    }

    async fn release(&self) -> Result<(), NodeError> {
        self.around("release", self.inner.release()).await
    }
}

/// A stream with a fault after its first chunk.
struct Striking<'n, 's, S: ?Sized> {
    node: &'n FaultyNode,
    ticket: &'n Ticket,
    stream: &'s mut S,
    chunks: usize,
    error: Option<NodeError>,
}

impl<'n, 's, S: ?Sized> Striking<'n, 's, S> {
    fn new(node: &'n FaultyNode, ticket: &'n Ticket, stream: &'s mut S) -> Self {
        Self {
            node,
            ticket,
            stream,
            chunks: 0,
            error: None,
        }
    }

    async fn after_first_chunk(&mut self) -> Result<(), StreamError> {
        self.chunks += 1;
        if self.chunks != 2 {
            return Ok(());
        }
        let struck = self.node.strike(self.ticket, Moment::During, "the stream").await;
        struck.map_err(|error| {
            self.error = Some(error);
            StreamError::Other("injected".to_owned())
        })
    }
}

#[async_trait]
impl<'s> ByteSink for Striking<'_, 's, dyn ByteSink + 's> {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StreamError> {
        self.after_first_chunk().await?;
        self.stream.write(chunk).await
    }
}

#[async_trait]
impl<'s> ByteSource for Striking<'_, 's, dyn ByteSource + 's> {
    async fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
        self.after_first_chunk().await?;
        self.stream.next().await
    }
}
