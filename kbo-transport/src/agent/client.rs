//! The centre's end of the pipe: a node behind a carrier, as the port has it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use kbo_core::ids::{NodeName, RunId};
use kbo_core::inventory::Dataset;
use kbo_core::ports::listener::ListenerFacts;
use kbo_core::ports::node::{
    ArchiveReport, ArchiveRequest, Claim, ClaimReport, CleanReport, CleanRequest, CleanStopProof, ContainerNow,
    ContainerReport, ContainerRequest, DirSpace, FactsRequest, FilesReport, FilesRequest, FormatReport, FormatRequest,
    Held, KafkaAnswer, KafkaQuestion, NodeError, NodeErrorKind, NodeFacts, NodeTransport, QuorumSetup, SnapshotReport,
    SnapshotRequest, StageReport, StageRequest, StartOutcome, StopOutcome, StopRequest, SwapOutcome, SwapRequest,
};
use kbo_core::ports::stream::{ByteSink, ByteSource, StreamError};
use tokio::sync::Mutex;

use super::connection::Connection;
use super::proto::{Frame, Parts, Progress, ProtoError, Reply, Request, Standing, decode, request_frames};
use super::wire::send_data;
use crate::carrier::Carrier;
use crate::local::{NodeSpec, ProgressSink};

/// The client's times.
#[derive(Debug, Clone)]
pub struct ClientLimits {
    /// After how long without another frame a ping is sent.
    pub ping: Duration,
    /// How long the agent may be silent before it counts as gone.
    pub silence: Duration,
    /// How long the agent may take to say hello once the carrier has started it.
    pub hello: Duration,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            ping: Duration::from_secs(10),
            silence: Duration::from_secs(60),
            hello: Duration::from_secs(30),
        }
    }
}

/// A node behind a carrier.
///
/// Connects at the first call. A connection that broke between two calls is made anew before the next; one that breaks in a
/// call is made anew and the call repeated, once, where repeating it is harmless ([`Request::may_be_repeated`]); otherwise the
/// call fails with [`NodeErrorKind::Unreachable`], and the node undoes its part unless a later call takes the lease over.
///
/// Dropping a call's future drops the connection with it.
pub struct RemoteNode<C> {
    spec: NodeSpec,
    carrier: C,
    limits: ClientLimits,
    progress: Option<ProgressSink>,
    slot: Mutex<Slot>,
    /// A second one, for what must be answered while the first is busy with an archive. It belongs to no run, and holds no lease.
    beside: Mutex<Option<Connection>>,
}

/// How long the second connection's agent has to answer a goodbye: nothing depends on it.
const GOODBYE: Duration = Duration::from_secs(2);

/// The connection between two calls.
#[derive(Default)]
struct Slot {
    connection: Option<Connection>,
    /// The run for which an agent may hold a lease, be it this connection's or that of one that broke.
    leased: Option<RunId>,
    /// What goes with the next connection.
    standing: Standing,
}

impl Slot {
    /// What the request says of the lease, before a connection is made for it.
    fn before(&mut self, request: &Request) {
        match request {
            Request::Claim(claim) => {
                if claim.undoing || self.standing.bound != claim.run {
                    self.standing.bound = None;
                }
                self.standing.claim = Some((**claim).clone());
            }
            // Whether it is there or not, it is to be gone.
            Request::Forgo(_) => self.standing.bound = None,
            _ => {}
        }
    }

    /// The request goes out now: whatever becomes of its answer, the lease counts as taken.
    fn sending(&mut self, takes_lease: Option<&RunId>) {
        if let Some(run) = takes_lease {
            self.leased = Some(run.clone());
            let undoing = self.standing.claim.as_ref().is_some_and(|claim| claim.undoing);
            self.standing.bound = (!undoing).then(|| run.clone());
        }
    }
}

/// How a call failed.
enum Failed {
    /// On the node; the connection is good.
    There(NodeError),
    /// The connection.
    Connection(ProtoError),
}

impl From<ProtoError> for Failed {
    fn from(error: ProtoError) -> Self {
        Failed::Connection(error)
    }
}

impl<C: Carrier> RemoteNode<C> {
    /// The node of `spec` (its directories as configured), reached by `carrier`.
    pub fn new(spec: NodeSpec, carrier: C) -> Self {
        Self {
            spec,
            carrier,
            limits: ClientLimits::default(),
            progress: None,
            slot: Mutex::default(),
            beside: Mutex::default(),
        }
    }

    /// Tells `progress` how far archiving and staging are.
    #[must_use]
    pub fn with_progress(mut self, progress: ProgressSink) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Other times than the usual.
    #[must_use]
    pub fn with_limits(mut self, limits: ClientLimits) -> Self {
        self.limits = limits;
        self
    }

    /// A call without a stream of data.
    async fn call(&self, request: Request) -> Result<Reply, NodeError> {
        let mut slot = self.slot.lock().await;
        slot.before(&request);
        let mut repeat = request.may_be_repeated();
        loop {
            // Out of its place for the time of the call, so that a dropped call leaves no half-used connection in it.
            let mut connection = self.connected(&mut slot).await?;
            slot.sending(request.takes_lease());
            match self.exchange(&mut connection, request.clone()).await {
                Ok(reply) => {
                    slot.connection = Some(connection);
                    if request.ends_lease() {
                        slot.standing.bound = None;
                    }
                    return Ok(reply);
                }
                Err(Failed::There(error)) => {
                    slot.connection = Some(connection);
                    return Err(error);
                }
                Err(Failed::Connection(error)) => {
                    let error = self.lost(connection, &error).await;
                    if !repeat {
                        return Err(error);
                    }
                    repeat = false;
                    tracing::warn!(node = %self.spec.node, %error, "connecting again");
                }
            }
        }
    }

    /// A call over the second connection, made anew where it broke.
    async fn call_beside(&self, request: Request) -> Result<Reply, NodeError> {
        let mut beside = self.beside.lock().await;
        let mut at_hand = beside.take();
        let mut connection = match at_hand.take_if(|connection| connection.is_good()) {
            Some(connection) => connection,
            None => Connection::open(&self.carrier, &self.spec, &self.limits, Standing::default()).await?,
        };
        let outcome = self.exchange(&mut connection, request).await;
        match outcome {
            Ok(reply) => {
                *beside = Some(connection);
                Ok(reply)
            }
            Err(Failed::There(error)) => {
                *beside = Some(connection);
                Err(error)
            }
            Err(Failed::Connection(error)) => Err(self.lost(connection, &error).await),
        }
    }

    /// The lease first: whatever else is left open undoes nothing.
    async fn give_back(&self) -> Result<(), NodeError> {
        let unheard = {
            let mut slot = self.slot.lock().await;
            let is_cut_off = !slot.connection.as_mut().is_some_and(Connection::is_good);
            slot.leased.clone().filter(|_| is_cut_off)
        };
        if let Some(run) = unheard {
            // An agent that lost its connection may be waiting to undo what is not to be undone.
            self.forgo(&run).await?;
        }
        let mut slot = self.slot.lock().await;
        let Some(mut connection) = slot.connection.take() else {
            return Ok(());
        };
        let said = async {
            connection.send(Frame::Goodbye).await?;
            self.reply(&mut connection).await
        };
        match said.await {
            Ok(_) => {
                slot.leased = None;
                slot.standing.bound = None;
                Ok(())
            }
            Err(Failed::There(error)) => Err(error),
            Err(Failed::Connection(_)) if slot.leased.is_none() => Ok(()),
            Err(Failed::Connection(error)) => Err(self.lost(connection, &error).await),
        }
    }

    /// Ends the second connection. Its agent has nothing to undo, whether it hears of it or not.
    async fn close_beside(&self) {
        if let Some(mut connection) = self.beside.lock().await.take()
            && connection.send(Frame::Goodbye).await.is_ok()
        {
            let _ = tokio::time::timeout(GOODBYE, self.reply(&mut connection)).await;
        }
    }

    async fn exchange(&self, connection: &mut Connection, request: Request) -> Result<Reply, Failed> {
        for frame in request_frames(request)? {
            connection.send(frame).await?;
        }
        self.reply(connection).await
    }

    /// Waits for the reply, while progress comes in.
    async fn reply(&self, connection: &mut Connection) -> Result<Reply, Failed> {
        let mut parts = Parts::default();
        loop {
            match connection.next().await? {
                Frame::Progress(json) => self.report(&json)?,
                Frame::Part(json) => parts.add(&json)?,
                Frame::Reply(json) => return finish(&json, parts),
                other => return Err(ProtoError::Unexpected(other.name()).into()),
            }
        }
    }

    fn report(&self, json: &[u8]) -> Result<(), ProtoError> {
        let progress: Progress = decode(json)?;
        if let Some(sink) = &self.progress {
            sink(&self.spec.node, &progress.what, progress.done, progress.total);
        }
        Ok(())
    }

    /// The connection at hand if it is still good, or a new one.
    ///
    /// A new one claims this run's lease first of all, so that an agent that was cut off undoes nothing.
    async fn connected(&self, slot: &mut Slot) -> Result<Connection, NodeError> {
        if let Some(mut connection) = slot.connection.take() {
            if connection.is_good() {
                return Ok(connection);
            }
            tracing::warn!(node = %self.spec.node, carrier = %self.carrier.describe(), "the connection broke meanwhile; connecting again");
        }
        Connection::open(&self.carrier, &self.spec, &self.limits, slot.standing.clone()).await
    }

    /// The error for a connection that broke in a call, with what the agent last said.
    async fn lost(&self, connection: Connection, error: &ProtoError) -> NodeError {
        let text = format!(
            "the agent on {} ({}) was lost: {error}",
            self.spec.node,
            self.carrier.describe()
        );
        let kind = match error {
            ProtoError::Ended | ProtoError::Broken(_) | ProtoError::Silent(_) => NodeErrorKind::Unreachable,
            _ => NodeErrorKind::Agent,
        };
        NodeError::new(kind, connection.with_complaints(text).await)
    }

    /// Puts the connection back, or makes an error of its loss.
    async fn settle<T>(
        &self,
        slot: &mut Slot,
        connection: Connection,
        outcome: Result<T, Failed>,
    ) -> Result<T, NodeError> {
        match outcome {
            Ok(value) => {
                slot.connection = Some(connection);
                Ok(value)
            }
            Err(Failed::There(error)) => {
                slot.connection = Some(connection);
                Err(error)
            }
            Err(Failed::Connection(error)) => Err(self.lost(connection, &error).await),
        }
    }

    async fn receive(
        &self,
        connection: &mut Connection,
        request: &ArchiveRequest,
        sink: &mut dyn ByteSink,
    ) -> Result<ArchiveReport, Failed> {
        for frame in request_frames(Request::Archive(request.clone()))? {
            connection.send(frame).await?;
        }
        let mut parts = Parts::default();
        let mut received = 0;
        let mut refused: Option<StreamError> = None;
        let reply = loop {
            match connection.next().await? {
                Frame::Data(bytes) => {
                    received += bytes.len() as u64;
                    // After the sink's refusal the agent still sends what it had under way, and then its reply.
                    if refused.is_none()
                        && let Err(error) = sink.write(bytes).await
                    {
                        refused = Some(error);
                        connection.send(Frame::Abort).await?;
                    }
                }
                Frame::Progress(json) => self.report(&json)?,
                Frame::Part(json) => parts.add(&json)?,
                Frame::Reply(json) => break finish(&json, parts),
                other => return Err(ProtoError::Unexpected(other.name()).into()),
            }
        };
        if let Some(error) = refused {
            return Err(Failed::There(stream_failed("take the archive", error)));
        }
        match reply? {
            Reply::Archive(report) if report.size == received => Ok(report),
            Reply::Archive(report) => {
                let text = format!("of an archive of {} bytes {received} came", report.size);
                Err(Failed::There(NodeError::new(NodeErrorKind::Damaged, text)))
            }
            other => Err(unexpected(&other).into()),
        }
    }

    async fn send(
        &self,
        connection: &mut Connection,
        request: &StageRequest,
        source: &mut dyn ByteSource,
    ) -> Result<StageReport, Failed> {
        for frame in request_frames(Request::Stage(request.clone()))? {
            connection.send(frame).await?;
        }
        let outbox = connection.outbox().clone();
        let mut broken: Option<StreamError> = None;
        let early = loop {
            let next = match self.watching(connection, source.next()).await? {
                Watched::Done(next) => next,
                Watched::Reply(json) => break Some(json),
            };
            match next {
                Ok(Some(bytes)) => match self.watching(connection, send_data(&outbox, bytes)).await? {
                    Watched::Done(sent) => sent?,
                    Watched::Reply(json) => break Some(json),
                },
                Ok(None) => {
                    connection.send(Frame::End).await?;
                    break None;
                }
                Err(error) => {
                    broken = Some(error);
                    connection.send(Frame::Abort).await?;
                    break None;
                }
            }
        };
        let reply = match early {
            Some(json) => {
                connection.send(Frame::Abort).await?;
                finish(&json, Parts::default())
            }
            None => self.reply(connection).await,
        };
        match (reply, broken) {
            (Err(Failed::Connection(error)), _) => Err(error.into()),
            (_, Some(error)) => Err(Failed::There(stream_failed("read the archive", error))),
            (Ok(Reply::Stage(report)), None) => Ok(report),
            (Ok(other), None) => Err(unexpected(&other).into()),
            (Err(error), None) => Err(error),
        }
    }

    /// Does something while listening to the agent: its reply may come at any time and is then a failure to stop for, and what
    /// it says meanwhile must be taken from it, or each end would wait for the other to read.
    async fn watching<T>(
        &self,
        connection: &mut Connection,
        doing: impl Future<Output = T>,
    ) -> Result<Watched<T>, ProtoError> {
        // Kept, not begun again: a source need not bear being dropped in the middle of a chunk.
        let mut doing = std::pin::pin!(doing);
        loop {
            tokio::select! {
                biased;
                frame = connection.next() => match frame? {
                    Frame::Progress(json) => self.report(&json)?,
                    Frame::Reply(json) => return Ok(Watched::Reply(json)),
                    other => return Err(ProtoError::Unexpected(other.name())),
                },
                done = &mut doing => return Ok(Watched::Done(done)),
            }
        }
    }
}

/// What came first.
enum Watched<T> {
    Done(T),
    Reply(Bytes),
}

fn finish(json: &[u8], parts: Parts) -> Result<Reply, Failed> {
    let mut reply = decode::<Result<Reply, NodeError>>(json)?.map_err(Failed::There)?;
    parts.complete_reply(&mut reply);
    Ok(reply)
}

fn stream_failed(what: &str, error: StreamError) -> NodeError {
    let kind = match &error {
        StreamError::Interrupted => NodeErrorKind::Interrupted,
        StreamError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => NodeErrorKind::NoSpace,
        StreamError::Io { .. } | StreamError::Other(_) => NodeErrorKind::Io,
    };
    let mut message = format!("could not {what}: {error}");
    if let Some(source) = std::error::Error::source(&error) {
        message = format!("{message}: {source}");
    }
    NodeError::new(kind, message)
}

fn done(reply: Reply) -> Result<(), NodeError> {
    match reply {
        Reply::Done => Ok(()),
        other => Err(NodeError::new(NodeErrorKind::Agent, unexpected(&other).to_string())),
    }
}

fn unexpected(_reply: &Reply) -> ProtoError {
    ProtoError::Unexpected("reply to another request")
}

/// The port's methods differ in the variant of the reply only.
macro_rules! call {
    ($self:ident, $request:expr, $variant:path) => {
        match $self.call($request).await? {
            $variant(value) => Ok(value),
            other => Err(NodeError::new(NodeErrorKind::Agent, unexpected(&other).to_string())),
        }
    };
}

#[async_trait]
impl<C: Carrier> NodeTransport for RemoteNode<C> {
    fn name(&self) -> &NodeName {
        &self.spec.node
    }

    async fn facts(&self, request: &FactsRequest) -> Result<NodeFacts, NodeError> {
        call!(self, Request::Facts(request.clone()), Reply::Facts).map(|facts| *facts)
    }

    async fn space(&self, datasets: &[Dataset]) -> Result<Vec<DirSpace>, NodeError> {
        match self.call_beside(Request::Space(datasets.to_vec())).await? {
            Reply::Space(dirs) => Ok(dirs),
            other => Err(NodeError::new(NodeErrorKind::Agent, unexpected(&other).to_string())),
        }
    }

    async fn look(&self) -> Result<ContainerNow, NodeError> {
        call!(self, Request::Look, Reply::Look)
    }

    async fn stop(&self, request: &StopRequest) -> Result<StopOutcome, NodeError> {
        call!(self, Request::Stop(request.clone()), Reply::Stop)
    }

    async fn start(&self) -> Result<StartOutcome, NodeError> {
        call!(self, Request::Start, Reply::Start)
    }

    async fn kafka(&self, question: KafkaQuestion) -> Result<KafkaAnswer, NodeError> {
        call!(self, Request::Kafka(question), Reply::Kafka)
    }

    async fn prove_clean(&self) -> Result<CleanStopProof, NodeError> {
        call!(self, Request::ProveClean, Reply::Proof)
    }

    async fn snapshot(&self, request: &SnapshotRequest) -> Result<SnapshotReport, NodeError> {
        call!(self, Request::Snapshot(request.clone()), Reply::Snapshot)
    }

    async fn archive(&self, request: &ArchiveRequest, sink: &mut dyn ByteSink) -> Result<ArchiveReport, NodeError> {
        let mut slot = self.slot.lock().await;
        let mut connection = self.connected(&mut slot).await?;
        let outcome = self.receive(&mut connection, request, sink).await;
        self.settle(&mut slot, connection, outcome).await
    }

    async fn stage(&self, request: &StageRequest, source: &mut dyn ByteSource) -> Result<StageReport, NodeError> {
        let mut slot = self.slot.lock().await;
        let mut connection = self.connected(&mut slot).await?;
        slot.sending(Some(&request.run));
        let outcome = self.send(&mut connection, request, source).await;
        self.settle(&mut slot, connection, outcome).await
    }

    async fn swap(&self, request: &SwapRequest) -> Result<SwapOutcome, NodeError> {
        call!(self, Request::Swap(request.clone()), Reply::Swap)
    }

    async fn swap_back(&self, request: &SwapRequest) -> Result<SwapOutcome, NodeError> {
        call!(self, Request::SwapBack(request.clone()), Reply::Swap)
    }

    async fn container(&self, request: &ContainerRequest) -> Result<ContainerReport, NodeError> {
        call!(self, Request::Container(request.clone()), Reply::Container)
    }

    async fn quorum_setup(&self, properties: &str) -> Result<QuorumSetup, NodeError> {
        call!(self, Request::QuorumSetup(properties.to_owned()), Reply::QuorumSetup)
    }

    async fn format(&self, request: &FormatRequest) -> Result<FormatReport, NodeError> {
        call!(self, Request::Format(request.clone()), Reply::Format)
    }

    async fn clean(&self, request: &CleanRequest) -> Result<CleanReport, NodeError> {
        call!(self, Request::Clean(request.clone()), Reply::Clean)
    }

    async fn files(&self, request: &FilesRequest) -> Result<FilesReport, NodeError> {
        // Before a message is made that could not be sent.
        request.check()?;
        call!(self, Request::Files(request.into()), Reply::Files)
    }

    async fn listeners(&self, handshake: bool) -> Result<Vec<ListenerFacts>, NodeError> {
        call!(self, Request::Listeners(handshake), Reply::Listeners)
    }

    async fn claim(&self, claim: &Claim) -> Result<ClaimReport, NodeError> {
        call!(self, Request::Claim(Box::new(claim.clone())), Reply::Claim)
    }

    async fn holds(&self, run: &RunId) -> Result<Held, NodeError> {
        call!(self, Request::Holds(run.clone()), Reply::Holds)
    }

    async fn agree(&self, run: &RunId) -> Result<(), NodeError> {
        done(self.call(Request::Agree(run.clone())).await?)
    }

    async fn forgo(&self, run: &RunId) -> Result<(), NodeError> {
        done(self.call(Request::Forgo(run.clone())).await?)?;
        self.slot.lock().await.leased = None;
        Ok(())
    }

    async fn release(&self) -> Result<(), NodeError> {
        let released = self.give_back().await;
        self.close_beside().await;
        released
    }
}

/// So that a node can be shared.
#[async_trait]
impl<C: Carrier + ?Sized> Carrier for Arc<C> {
    async fn open(&self) -> Result<crate::carrier::AgentPipe, NodeError> {
        (**self).open().await
    }

    fn describe(&self) -> String {
        (**self).describe()
    }
}
