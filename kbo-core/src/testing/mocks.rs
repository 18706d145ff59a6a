//! Mocks of the ports whose signatures mockall's attribute cannot follow: streams as arguments, supertraits, `Box<Self>`.

use async_trait::async_trait;
use bytes::Bytes;
use mockall::mock;

use crate::ids::{NodeName, RunId};
use crate::inventory::Dataset;
use crate::ports::node::*;
use crate::ports::store::{ArchiveWriter, LockOwner, StoreError, StoreLock, Stored};
use crate::ports::stream::{ByteSink, ByteSource, StreamError};

mock! {
    /// A mock of a node. What `expect_archive` returns first are the bytes that go into the sink; what `expect_stage` gets
    /// second are the bytes that came out of the source.
    #[derive(Debug)]
    pub NodeTransport {
        /// Its name.
        pub fn name(&self) -> &NodeName;
        /// As the port's.
        pub fn facts(&self, request: &FactsRequest) -> Result<NodeFacts, NodeError>;
        /// As the port's.
        pub fn space(&self, datasets: &[Dataset]) -> Result<Vec<DirSpace>, NodeError>;
        /// As the port's.
        pub fn claim(&self, claim: &Claim) -> Result<ClaimReport, NodeError>;
        /// As the port's.
        pub fn look(&self) -> Result<ContainerNow, NodeError>;
        /// As the port's.
        pub fn stop(&self, request: &StopRequest) -> Result<StopOutcome, NodeError>;
        /// As the port's.
        pub fn start(&self) -> Result<StartOutcome, NodeError>;
        /// As the port's.
        pub fn kafka(&self, question: KafkaQuestion) -> Result<KafkaAnswer, NodeError>;
        /// As the port's.
        pub fn prove_clean(&self) -> Result<CleanStopProof, NodeError>;
        /// As the port's.
        pub fn snapshot(&self, request: &SnapshotRequest) -> Result<SnapshotReport, NodeError>;
        /// The bytes to send, and the report.
        pub fn archive(&self, request: &ArchiveRequest) -> Result<(Vec<u8>, ArchiveReport), NodeError>;
        /// With the bytes received.
        pub fn stage(&self, request: &StageRequest, bytes: Vec<u8>) -> Result<StageReport, NodeError>;
        /// As the port's.
        pub fn swap(&self, request: &SwapRequest) -> Result<SwapOutcome, NodeError>;
        /// As the port's.
        pub fn swap_back(&self, request: &SwapRequest) -> Result<SwapOutcome, NodeError>;
        /// As the port's.
        pub fn container(&self, request: &ContainerRequest) -> Result<ContainerReport, NodeError>;
        /// As the port's.
        pub fn quorum_setup(&self, properties: &str) -> Result<QuorumSetup, NodeError>;
        /// As the port's.
        pub fn format(&self, request: &FormatRequest) -> Result<FormatReport, NodeError>;
        /// As the port's.
        pub fn clean(&self, request: &CleanRequest) -> Result<CleanReport, NodeError>;
        /// As the port's.
        pub fn files(&self, request: &FilesRequest) -> Result<FilesReport, NodeError>;
        /// As the port's.
        pub fn listeners(&self, handshake: bool) -> Result<Vec<ListenerFacts>, NodeError>;
        /// As the port's.
        pub fn holds(&self, run: &RunId) -> Result<Held, NodeError>;
        /// As the port's.
        pub fn agree(&self, run: &RunId) -> Result<(), NodeError>;
        /// As the port's.
        pub fn forgo(&self, run: &RunId) -> Result<(), NodeError>;
        /// As the port's.
        pub fn release(&self) -> Result<(), NodeError>;
    }
}

#[async_trait]
impl NodeTransport for MockNodeTransport {
    fn name(&self) -> &NodeName {
        self.name()
    }

    async fn facts(&self, request: &FactsRequest) -> Result<NodeFacts, NodeError> {
        self.facts(request)
    }

    async fn space(&self, datasets: &[Dataset]) -> Result<Vec<DirSpace>, NodeError> {
        self.space(datasets)
    }

    async fn claim(&self, claim: &Claim) -> Result<ClaimReport, NodeError> {
        self.claim(claim)
    }

    async fn look(&self) -> Result<ContainerNow, NodeError> {
        self.look()
    }

    async fn stop(&self, request: &StopRequest) -> Result<StopOutcome, NodeError> {
        self.stop(request)
    }

    async fn start(&self) -> Result<StartOutcome, NodeError> {
        self.start()
    }

    async fn kafka(&self, question: KafkaQuestion) -> Result<KafkaAnswer, NodeError> {
        self.kafka(question)
    }

    async fn prove_clean(&self) -> Result<CleanStopProof, NodeError> {
        self.prove_clean()
    }

    async fn snapshot(&self, request: &SnapshotRequest) -> Result<SnapshotReport, NodeError> {
        self.snapshot(request)
    }

    async fn archive(&self, request: &ArchiveRequest, sink: &mut dyn ByteSink) -> Result<ArchiveReport, NodeError> {
        let (bytes, report) = self.archive(request)?;
        sink.write(Bytes::from(bytes)).await.map_err(broken)?;
        Ok(report)
    }

    async fn stage(&self, request: &StageRequest, source: &mut dyn ByteSource) -> Result<StageReport, NodeError> {
        let mut bytes = vec![];
        while let Some(chunk) = source.next().await.map_err(broken)? {
            bytes.extend_from_slice(&chunk);
        }
        self.stage(request, bytes)
    }

    async fn swap(&self, request: &SwapRequest) -> Result<SwapOutcome, NodeError> {
        self.swap(request)
    }

    async fn swap_back(&self, request: &SwapRequest) -> Result<SwapOutcome, NodeError> {
        self.swap_back(request)
    }

    async fn container(&self, request: &ContainerRequest) -> Result<ContainerReport, NodeError> {
        self.container(request)
    }

    async fn quorum_setup(&self, properties: &str) -> Result<QuorumSetup, NodeError> {
        self.quorum_setup(properties)
    }

    async fn format(&self, request: &FormatRequest) -> Result<FormatReport, NodeError> {
        self.format(request)
    }

    async fn clean(&self, request: &CleanRequest) -> Result<CleanReport, NodeError> {
        self.clean(request)
    }

    async fn listeners(&self, handshake: bool) -> Result<Vec<ListenerFacts>, NodeError> {
        self.listeners(handshake)
    }

    async fn files(&self, request: &FilesRequest) -> Result<FilesReport, NodeError> {
        self.files(request)
    }

    async fn holds(&self, run: &RunId) -> Result<Held, NodeError> {
        self.holds(run)
    }

    async fn agree(&self, run: &RunId) -> Result<(), NodeError> {
        self.agree(run)
    }

    async fn forgo(&self, run: &RunId) -> Result<(), NodeError> {
        self.forgo(run)
    }

    async fn release(&self) -> Result<(), NodeError> {
        self.release()
    }
}

fn broken(error: StreamError) -> NodeError {
    NodeError::new(NodeErrorKind::Io, error.to_string())
}

mock! {
    /// A mock of a store's lock.
    #[derive(Debug)]
    pub StoreLock {
        /// As the port's `release`.
        pub fn released(&self) -> Result<(), StoreError>;
        /// As the port's `share`.
        pub fn shared(&self) -> Result<(), StoreError>;
    }
}

#[async_trait]
impl StoreLock for MockStoreLock {
    fn took_over(&self) -> Option<&LockOwner> {
        None
    }

    async fn share(&self) -> Result<(), StoreError> {
        self.shared()
    }

    async fn release(self: Box<Self>) -> Result<(), StoreError> {
        self.released()
    }
}

mock! {
    /// A mock of an archive being written.
    #[derive(Debug)]
    pub ArchiveWriter {
        /// As the port's `write`.
        pub fn written(&mut self, chunk: Bytes) -> Result<(), StreamError>;
        /// As the port's `finish`.
        pub fn finished(&self) -> Result<Stored, StoreError>;
    }
}

#[async_trait]
impl ByteSink for MockArchiveWriter {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StreamError> {
        self.written(chunk)
    }
}

#[async_trait]
impl ArchiveWriter for MockArchiveWriter {
    async fn finish(self: Box<Self>) -> Result<Stored, StoreError> {
        self.finished()
    }
}
