//! Deadlines of what a node is asked: a node that hangs fails its step, and never its run.
//!
//! A disk that is frozen, an engine that takes a request and does not answer, a connection of which one end is gone: each of them
//! would keep a run, and with it the cluster's downtime, for as long as it lasts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::ids::{NodeName, RunId};
use crate::inventory::Dataset;
use crate::manifest::FileKind;
use crate::ports::clock::Clock;
use crate::ports::node::*;
use crate::ports::stream::{ByteSink, ByteSource, StreamError};

/// A look at every file of the directories; nothing is stopped meanwhile.
const FACTS: Duration = Duration::from_secs(1800);
/// How much longer than a look at a container its start may take: the engine looks at it first.
const START: Duration = Duration::from_secs(40);
/// Pulling an image, formatting.
const CONTAINER: Duration = Duration::from_secs(2400);
/// Removing files; the cluster is up meanwhile.
const CLEAN: Duration = Duration::from_secs(1800);
/// A claim at a run's beginning, when nothing is stopped: a node may first have to end a stop, and to undo what a dead run had left.
const CLAIM: Duration = Duration::from_secs(1800);
/// A word about the lease.
const LEASE: Duration = Duration::from_secs(30);
/// How long a stream may bring nothing.
const STALL: Duration = Duration::from_secs(300);
/// Bytes a second that any disk copies, links and hashes: what a snapshot that cannot link, or the check of what was unpacked, may
/// take is reckoned by it.
const SLOWEST: u64 = 10 << 20;
/// Files a second that any disk links.
const SLOWEST_FILES: u64 = 500;

/// A decorator that fails what is not done in time with [`NodeErrorKind::TimedOut`], and drops it.
pub struct PunctualNode {
    inner: Arc<dyn NodeTransport>,
    clock: Arc<dyn Clock>,
    /// How long the node may take for a look at its container or Kafka, for renames and reading a few small files; and how much longer
    /// than Kafka's own time for a stop, since the engine still has to kill the process and to unmount.
    patience: Duration,
    /// Seconds that a snapshot may take beyond [`Self::patience`], reckoned by the last look at the directories.
    snapshot: AtomicU64,
    /// Seconds that the next call may take beyond its own time: a stop of which the end is not known may have to end first.
    stopping: AtomicU64,
}

impl PunctualNode {
    /// `inner`, with deadlines by `clock`, of which `patience` is that of whatever moves no data.
    pub fn new(inner: Arc<dyn NodeTransport>, clock: Arc<dyn Clock>, patience: Duration) -> Self {
        Self {
            inner,
            clock,
            patience,
            snapshot: AtomicU64::new(0),
            stopping: AtomicU64::new(0),
        }
    }

    async fn within<T>(
        &self,
        limit: Duration,
        what: &str,
        operation: impl Future<Output = Result<T, NodeError>>,
    ) -> Result<T, NodeError> {
        let limit = limit + Duration::from_secs(self.stopping.load(Ordering::Relaxed));
        tokio::select! {
            biased;
            done = operation => {
                if !done.as_ref().is_err_and(|error| error.kind == NodeErrorKind::Unreachable) {
                    self.stopping.store(0, Ordering::Relaxed);
                }
                done
            }
            () = self.clock.expire(limit) => Err(self.late(limit, what)),
        }
    }

    fn late(&self, limit: Duration, what: &str) -> NodeError {
        let text = format!(
            "{} did not answer within {} s when asked to {what}",
            self.inner.name(),
            limit.as_secs()
        );
        NodeError::new(NodeErrorKind::TimedOut, text)
            .hint("its container engine or one of its disks hangs: `docker ps` and `ls` of the data directory on the node show which")
    }

    /// Ends when nothing has gone through a stream for `limit`. What the other end takes for a chunk is not the node's time.
    async fn stalled(&self, limit: Duration, flow: &Flow) {
        loop {
            let before = flow.count.load(Ordering::Relaxed);
            self.clock.expire(limit).await;
            let is_same = before == flow.count.load(Ordering::Relaxed);
            if is_same && !flow.elsewhere.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

#[async_trait]
impl NodeTransport for PunctualNode {
    fn name(&self) -> &NodeName {
        self.inner.name()
    }

    async fn facts(&self, request: &FactsRequest) -> Result<NodeFacts, NodeError> {
        let limit = if request.datasets.is_empty() {
            self.patience
        } else {
            FACTS
        };
        let facts = self
            .within(
                limit,
                "look at its container and directories",
                self.inner.facts(request),
            )
            .await?;
        if !facts.dirs.is_empty() {
            let seconds = facts.dirs.iter().map(|dir| {
                let copied = match dir.link {
                    LinkProbe::Fails(_) => dir.bytes,
                    LinkProbe::Works | LinkProbe::Untried => dir.copied_bytes,
                };
                copied / SLOWEST + dir.files / SLOWEST_FILES
            });
            self.snapshot.store(seconds.sum(), Ordering::Relaxed);
        }
        Ok(facts)
    }

    async fn space(&self, datasets: &[Dataset]) -> Result<Vec<DirSpace>, NodeError> {
        self.within(self.patience, "tell its free space", self.inner.space(datasets))
            .await
    }

    /// Asked once more where it is not answered in time: one slow answer of an engine is no reason to undo a run.
    async fn look(&self) -> Result<ContainerNow, NodeError> {
        let what = "tell its container's state";
        match self.within(self.patience, what, self.inner.look()).await {
            Err(error) if error.kind == NodeErrorKind::TimedOut => {
                self.within(self.patience, what, self.inner.look()).await
            }
            told => told,
        }
    }

    async fn stop(&self, request: &StopRequest) -> Result<StopOutcome, NodeError> {
        let limit = request.timeout + self.patience;
        let stopped = self.within(limit, "stop its container", self.inner.stop(request)).await;
        if let Err(error) = &stopped
            && matches!(error.kind, NodeErrorKind::Unreachable | NodeErrorKind::TimedOut)
        {
            self.stopping.store(limit.as_secs(), Ordering::Relaxed);
        }
        stopped
    }

    async fn start(&self) -> Result<StartOutcome, NodeError> {
        self.within(self.patience + START, "start its container", self.inner.start())
            .await
    }

    async fn kafka(&self, question: KafkaQuestion) -> Result<KafkaAnswer, NodeError> {
        self.within(self.patience, "ask its Kafka", self.inner.kafka(question))
            .await
    }

    async fn prove_clean(&self) -> Result<CleanStopProof, NodeError> {
        self.within(self.patience, "prove its clean stop", self.inner.prove_clean())
            .await
    }

    async fn snapshot(&self, request: &SnapshotRequest) -> Result<SnapshotReport, NodeError> {
        let limit = self.patience + Duration::from_secs(self.snapshot.load(Ordering::Relaxed));
        self.within(limit, "take its snapshot", self.inner.snapshot(request))
            .await
    }

    async fn archive(&self, request: &ArchiveRequest, sink: &mut dyn ByteSink) -> Result<ArchiveReport, NodeError> {
        let flow = Flow::default();
        let mut counted = Counted {
            stream: sink,
            flow: &flow,
        };
        tokio::select! {
            biased;
            done = self.inner.archive(request, &mut counted) => done,
            () = self.stalled(STALL, &flow) => Err(self.late(STALL, "send more of its archive")),
        }
    }

    async fn stage(&self, request: &StageRequest, source: &mut dyn ByteSource) -> Result<StageReport, NodeError> {
        let size = |kind: &FileKind| match kind {
            FileKind::File { size, .. } => *size,
            _ => 0,
        };
        // When all is sent the node still makes it durable, and reads it back.
        let bytes: u64 = request.files.iter().map(|file| size(&file.kind)).sum();
        let limit = STALL + Duration::from_secs(bytes / SLOWEST);
        let flow = Flow::default();
        let mut counted = Counted {
            stream: source,
            flow: &flow,
        };
        tokio::select! {
            biased;
            done = self.inner.stage(request, &mut counted) => done,
            () = self.stalled(limit, &flow) => Err(self.late(limit, "unpack more of the archive")),
        }
    }

    async fn swap(&self, request: &SwapRequest) -> Result<SwapOutcome, NodeError> {
        self.within(self.patience, "swap its directories", self.inner.swap(request))
            .await
    }

    async fn swap_back(&self, request: &SwapRequest) -> Result<SwapOutcome, NodeError> {
        self.within(
            self.patience,
            "swap its directories back",
            self.inner.swap_back(request),
        )
        .await
    }

    async fn container(&self, request: &ContainerRequest) -> Result<ContainerReport, NodeError> {
        let limit = match request {
            ContainerRequest::Create(_) | ContainerRequest::Replace { .. } => CONTAINER,
            _ => (self.patience + START) * 2,
        };
        self.within(limit, "change or compare its container", self.inner.container(request))
            .await
    }

    async fn quorum_setup(&self, properties: &str) -> Result<QuorumSetup, NodeError> {
        self.within(
            self.patience,
            "read its properties file",
            self.inner.quorum_setup(properties),
        )
        .await
    }

    async fn format(&self, request: &FormatRequest) -> Result<FormatReport, NodeError> {
        self.within(CONTAINER, "format its log dirs", self.inner.format(request))
            .await
    }

    async fn clean(&self, request: &CleanRequest) -> Result<CleanReport, NodeError> {
        self.within(CLEAN, "remove work folders", self.inner.clean(request))
            .await
    }

    async fn files(&self, request: &FilesRequest) -> Result<FilesReport, NodeError> {
        self.within(self.patience, "read or write files", self.inner.files(request))
            .await
    }

    async fn listeners(&self, handshake: bool) -> Result<Vec<ListenerFacts>, NodeError> {
        self.within(self.patience, "tell its listeners", self.inner.listeners(handshake))
            .await
    }

    async fn claim(&self, claim: &Claim) -> Result<ClaimReport, NodeError> {
        // In an undo the other nodes wait for the answer, and the cluster with them.
        let limit = if claim.undoing { self.patience } else { CLAIM };
        self.within(limit, "tell whose it is", self.inner.claim(claim)).await
    }

    async fn holds(&self, run: &RunId) -> Result<Held, NodeError> {
        self.within(LEASE, "confirm its lease", self.inner.holds(run)).await
    }

    async fn agree(&self, run: &RunId) -> Result<(), NodeError> {
        self.within(LEASE, "keep what was swapped in", self.inner.agree(run))
            .await
    }

    async fn forgo(&self, run: &RunId) -> Result<(), NodeError> {
        self.within(LEASE, "give its lease back", self.inner.forgo(run)).await
    }

    async fn release(&self) -> Result<(), NodeError> {
        self.within(LEASE, "give its lease back", self.inner.release()).await
    }
}

/// What goes through a stream.
#[derive(Default)]
struct Flow {
    count: AtomicU64,
    /// Whether a chunk is with the stream's other end, which has deadlines of its own.
    elsewhere: AtomicBool,
}

struct Counted<'f, 's, S: ?Sized> {
    stream: &'s mut S,
    flow: &'f Flow,
}

impl<S: ?Sized> Counted<'_, '_, S> {
    fn leaves(&self) {
        self.flow.count.fetch_add(1, Ordering::Relaxed);
        self.flow.elsewhere.store(true, Ordering::Relaxed);
    }

    fn is_back(&self) {
        self.flow.count.fetch_add(1, Ordering::Relaxed);
        self.flow.elsewhere.store(false, Ordering::Relaxed);
    }
}

#[async_trait]
impl<'s> ByteSink for Counted<'_, '_, dyn ByteSink + 's> {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StreamError> {
        self.leaves();
        let written = self.stream.write(chunk).await;
        self.is_back();
        written
    }
}

#[async_trait]
impl<'s> ByteSource for Counted<'_, '_, dyn ByteSource + 's> {
    async fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
        self.leaves();
        let chunk = self.stream.next().await;
        self.is_back();
        chunk
    }
}
