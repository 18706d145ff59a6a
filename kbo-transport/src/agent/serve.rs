//! The node's end of the pipe.

mod frames;
mod power;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kbo_core::ids::RunId;
use kbo_core::ports::node::{
    ArchiveRequest, Claim, ClaimReport, CleanReport, CleanRequest, ContainerRequest, Held, LeftUndone, NodeError,
    NodeErrorKind, NodeTransport, StageRequest, SwapOutcome, SwapRequest,
};
use kbo_core::ports::stream::ByteSource;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::frames::{FrameSink, FrameSource, Incoming, progress, send_reply};
use super::lease::{Claimant, Duty, Leases, Taken};
use super::proto::{Frame, Hello, MAGIC, Open, Parts, ProtoError, Reply, Request, Standing, decode_and_wipe, encode};
use super::undo::{self, Carried};
use super::wire::{Inbox, Outbox, spawn_reader, spawn_writer};
use crate::local::{Engine, LocalNode, NodeSpec};

/// The agent's times, and what tests replace.
#[derive(Clone)]
pub struct AgentLimits {
    /// After how long without another frame a heartbeat is sent.
    pub heartbeat: Duration,
    /// How long the client may be silent before it counts as gone. A central machine that loses its power closes no connection.
    pub silence: Duration,
    /// How long a run that stopped nothing is kept for a client that comes back.
    pub grace: Duration,
    /// How long a request waits for another agent that is undoing something on this node.
    pub patience: Duration,
    /// The times of undoing.
    pub undo: undo::UndoLimits,
    /// The engine to use instead of the one behind the socket that the client names.
    pub engine: Option<Arc<dyn Engine>>,
}

impl Default for AgentLimits {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(5),
            silence: Duration::from_secs(60),
            grace: Duration::from_secs(20),
            patience: Duration::from_secs(60),
            undo: undo::UndoLimits::default(),
            engine: None,
        }
    }
}

/// Serves one client over a pair of streams until it says goodbye. When it vanishes instead, undoes what it left undone.
///
/// # Errors
/// Those of the stream and of the protocol before a node was opened; afterwards all errors go to the client.
pub async fn serve<R, W>(reader: R, mut writer: W, limits: AgentLimits) -> Result<(), NodeError>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let broken = |error: ProtoError| NodeError::new(NodeErrorKind::Agent, format!("no client: {error}"));
    writer.write_all(MAGIC).await.map_err(|error| broken(error.into()))?;
    let (inbox, reading) = spawn_reader(reader, limits.silence);
    let (outbox, writing) = spawn_writer(writer, limits.heartbeat, Frame::Heartbeat);
    let hello = encode(&Hello::ours()).map_err(broken)?;
    let _ = outbox.send(Frame::Hello(hello)).await;

    let served = Session::open(inbox, outbox, limits).await;
    if let Ok(mut session) = served {
        let gone = session.run().await;
        let Session {
            node,
            leases,
            limits,
            inbox,
            outbox,
            ..
        } = session;
        drop((inbox, outbox));
        // From here on nobody reads what this process writes.
        reading.abort();
        match gone {
            Gone::Goodbye => {}
            Gone::Vanished(why) => {
                writing.abort();
                super::stdio::silence_stderr();
                tracing::warn!(node = %node.spec().node, %why, "the client vanished");
                undo::undo(&node, leases, &limits.undo).await;
                return Ok(());
            }
        }
        // The last reply must be out before the process ends.
        let _ = tokio::time::timeout(Duration::from_secs(5), writing).await;
        return Ok(());
    }
    reading.abort();
    let _ = tokio::time::timeout(Duration::from_secs(5), writing).await;
    match served {
        // That went to the client, and is no fault of the agent.
        Err(error) if matches!(error.kind, NodeErrorKind::LeaseLost | NodeErrorKind::Taken) => Ok(()),
        served => served.map(|_| ()),
    }
}

/// How a session ended.
enum Gone {
    /// Nothing is to be undone.
    Goodbye,
    /// Everything is.
    Vanished(ProtoError),
}

/// One client, one node.
struct Session {
    node: LocalNode,
    leases: Leases,
    standing: Standing,
    limits: AgentLimits,
    inbox: Inbox,
    outbox: Outbox,
}

impl Session {
    async fn open(mut inbox: Inbox, outbox: Outbox, limits: AgentLimits) -> Result<Self, NodeError> {
        let opened = match inbox.recv().await {
            Some(Ok(Frame::Open(json))) => decode_and_wipe::<Open>(json),
            Some(Ok(other)) => Err(ProtoError::Unexpected(other.name())),
            Some(Err(error)) => Err(error),
            None => Err(ProtoError::Ended),
        };
        let (standing, spec): (Standing, NodeSpec) = match opened {
            Ok(mut open) => (open.take_standing(), open.into()),
            Err(error) => {
                let error = NodeError::new(NodeErrorKind::Agent, format!("the agent could not be opened: {error}"));
                send_reply(&outbox, Err(error.clone())).await;
                return Err(error);
            }
        };
        let mut node = LocalNode::new(spec, Some(progress(&outbox)));
        if let Some(engine) = &limits.engine {
            node = node.with_engine(engine.clone());
        }
        let leases = Leases::new(node.spec().node.clone(), node.work_root());
        let mut session = Self {
            node,
            leases,
            standing,
            limits,
            inbox,
            outbox,
        };
        let begun = session.come_again().await;
        send_reply(&session.outbox, begun.clone().map(|()| Reply::Done)).await;
        begun.map(|()| session)
    }

    /// A client that comes again for a run takes the run's lease from the agent that it lost, at once and whatever it asks for: that
    /// agent's grace must not run out while its client is alive. A lease that is gone is lost.
    async fn come_again(&mut self) -> Result<(), NodeError> {
        if let Some(claim) = &self.standing.claim {
            self.leases.set_owner(claim.owner.clone());
        }
        let Some(run) = self.standing.bound.clone() else {
            return Ok(());
        };
        match self.leases.take(&self.claimant(Some(&run))).await? {
            Taken::ByAnother(duty) => Err(self.taken(&duty)),
            _ => self.still_holds(),
        }
    }

    async fn run(&mut self) -> Gone {
        let mut parts = Parts::default();
        loop {
            let frame = match self.inbox.recv().await {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Gone::Vanished(error),
                None => return Gone::Vanished(ProtoError::Ended),
            };
            let outcome = match frame {
                Frame::Part(json) => parts.add(&json),
                Frame::Request(json) => match decode_and_wipe::<Request>(json) {
                    Ok(mut request) => {
                        std::mem::take(&mut parts).complete_request(&mut request);
                        self.answer(request).await
                    }
                    Err(error) => Err(error),
                },
                // It crossed the reply that it was sent against.
                Frame::Abort => Ok(()),
                Frame::Goodbye => {
                    self.leases.drop_all();
                    send_reply(&self.outbox, Ok(Reply::Done)).await;
                    return Gone::Goodbye;
                }
                other => Err(ProtoError::Unexpected(other.name())),
            };
            if let Err(error) = outcome {
                let text = format!("the client does not keep to the protocol: {error}");
                send_reply(&self.outbox, Err(NodeError::new(NodeErrorKind::Agent, text))).await;
                return Gone::Vanished(error);
            }
        }
    }

    /// Carries one request out and replies. An error is one of the connection; it ends the session.
    async fn answer(&mut self, request: Request) -> Result<(), ProtoError> {
        tracing::debug!(request = name_of(&request), "begin");
        let started = Instant::now();
        let mut lost = Ok(());
        let reply = match request {
            Request::Archive(request) => {
                let (reply, connection) = self.archive(&request).await;
                lost = connection;
                reply
            }
            Request::Stage(request) => {
                let (reply, connection) = self.stage(&request).await;
                lost = connection;
                reply
            }
            request => self.carry_out(request).await,
        };
        tracing::debug!(seconds = started.elapsed().as_secs_f64(), ok = reply.is_ok(), "end");
        // After a stage the reply went out already, for the client to hear it before it has sent all.
        if let Some(reply) = reply.transpose() {
            send_reply(&self.outbox, reply).await;
        }
        lost
    }

    /// The operations without a stream of data.
    async fn carry_out(&mut self, request: Request) -> Result<Option<Reply>, NodeError> {
        Ok(Some(match request {
            Request::Facts(request) => {
                let mut facts = self.node.facts(&request).await?;
                facts.leases = self.leases.facts()?;
                Reply::Facts(Box::new(facts))
            }
            Request::Space(datasets) => Reply::Space(self.node.space(&datasets).await?),
            Request::Look => Reply::Look(self.node.look().await?),
            Request::Stop(request) => Reply::Stop(self.stop(&request).await?),
            Request::Start => Reply::Start(self.start().await?),
            Request::Kafka(question) => Reply::Kafka(self.node.kafka(question).await?),
            Request::ProveClean => Reply::Proof(self.node.prove_clean().await?),
            Request::Snapshot(request) => {
                self.begin(&request.run).await?;
                Reply::Snapshot(self.node.snapshot(&request).await?)
            }
            Request::Swap(request) => Reply::Swap(self.swap(&request).await?),
            Request::SwapBack(request) => Reply::Swap(self.swap_back(&request).await?),
            Request::Clean(request) => Reply::Clean(self.clean(request).await?),
            Request::Container(request) => {
                if !matches!(request, ContainerRequest::Compare(_)) {
                    self.own(None).await?;
                }
                Reply::Container(self.node.container(&request).await?)
            }
            Request::QuorumSetup(properties) => Reply::QuorumSetup(self.node.quorum_setup(&properties).await?),
            Request::Format(request) => {
                self.begin(&request.run).await?;
                Reply::Format(self.node.format(&request).await?)
            }
            Request::Files(request) => Reply::Files(self.node.files(&request.into()).await?),
            Request::Listeners(handshake) => Reply::Listeners(self.node.listeners(handshake).await?),
            Request::Claim(claim) => Reply::Claim(self.claim(*claim).await?),
            Request::Holds(run) => Reply::Holds(self.holds(&run).await?),
            Request::Agree(run) => {
                self.agree(&run).await?;
                Reply::Done
            }
            Request::Forgo(run) => {
                self.forgo(&run).await?;
                Reply::Done
            }
            Request::Archive(_) | Request::Stage(_) => {
                return Err(NodeError::new(NodeErrorKind::Agent, "a stream is no plain operation"));
            }
        }))
    }

    /// Who claims, for `run` or for the run at hand.
    fn claimant(&self, run: Option<&RunId>) -> Claimant {
        let claim = self.standing.claim.as_ref();
        let known = claim.iter().flat_map(|claim| claim.run.iter().chain(&claim.known));
        Claimant {
            owner: claim.map(|claim| claim.owner.clone()),
            runs: known.chain(&self.standing.bound).chain(run).cloned().collect(),
        }
    }

    fn taken(&self, duty: &Duty) -> NodeError {
        NodeError::taken(&self.node.spec().node, &duty.run, duty.owner.as_ref())
    }

    /// That the run's lease is still this session's.
    fn still_holds(&self) -> Result<(), NodeError> {
        match &self.standing.bound {
            Some(run) if !self.leases.is_ours(run) => Err(NodeError::lease_lost(&self.node.spec().node, run)),
            _ => Ok(()),
        }
    }

    /// Before anything is changed: nobody else has the node, what other agents have of this run becomes ours, and it has lost nothing.
    async fn own(&mut self, run: Option<&RunId>) -> Result<(), NodeError> {
        let claimant = self.claimant(run);
        let deadline = Instant::now() + self.limits.patience;
        loop {
            match self.leases.take(&claimant).await? {
                Taken::Done => return self.still_holds(),
                Taken::ByAnother(duty) => return Err(self.taken(&duty)),
                Taken::Busy => {}
            }
            // What is being undone was not held any more: the wait is for who undoes.
            self.still_holds()?;
            if Instant::now() > deadline {
                let text = "the node is just undoing by itself what a vanished run had left";
                return Err(NodeError::new(NodeErrorKind::State, text).hint("try again in a minute"));
            }
            sleep(Duration::from_millis(250)).await;
        }
    }

    /// The run takes the node's lease, or notes more in it.
    async fn bind(&mut self, run: &RunId, grace: Duration, change: impl FnOnce(&mut Duty)) -> Result<(), NodeError> {
        self.leases.note(run, grace, change)?;
        let undoing = self.standing.claim.as_ref().is_some_and(|claim| claim.undoing);
        self.standing.bound = (!undoing).then(|| run.clone());
        Ok(())
    }

    async fn claim(&mut self, claim: Claim) -> Result<ClaimReport, NodeError> {
        if claim.undoing || self.standing.bound != claim.run {
            self.standing.bound = None;
        }
        self.leases.set_owner(claim.owner.clone());
        self.standing.claim = Some(claim.clone());
        self.own(None).await?;
        if claim.undoing {
            for duty in self
                .leases
                .duties()
                .iter()
                .filter(|duty| Some(&duty.run) == claim.run.as_ref())
            {
                self.leases.note(&duty.run, duty.grace, |duty| duty.agreed = false)?;
            }
        }
        let mut report = ClaimReport::default();
        let adopted = self.leases.adopt_dead(&self.claimant(None)).await?;
        for duty in self
            .leases
            .duties()
            .into_iter()
            .filter(|duty| adopted.contains(&duty.run))
        {
            tracing::warn!(run = %duty.run, ?duty, "undoing what a dead run has left");
            let mut left_down = None;
            let error = match undo::carry_out(&self.node, &mut self.leases, &duty, &self.limits.undo).await {
                Carried::Out { left_down: others } => {
                    self.leases.drop_run(&duty.run);
                    left_down = others;
                    None
                }
                Carried::BySomebodyElse => {
                    self.leases.abandon(&duty.run);
                    continue;
                }
                Carried::Failed(why) => {
                    self.leases.abandon(&duty.run);
                    Some(why)
                }
            };
            report.undone.push(LeftUndone {
                run: duty.run,
                owner: duty.owner,
                error,
                left_down,
            });
        }
        Ok(report)
    }

    async fn holds(&mut self, run: &RunId) -> Result<Held, NodeError> {
        self.own(Some(run)).await?;
        let noted = self.leases.duties().into_iter().find(|duty| duty.run == *run);
        let noted = noted.map(|duty| duty.swapped).unwrap_or_default();
        let found = self.node.holds(run).await?;
        Ok(Held {
            swapped: noted
                .into_iter()
                .filter(|dataset| found.swapped.contains(dataset))
                .collect(),
        })
    }

    async fn agree(&mut self, run: &RunId) -> Result<(), NodeError> {
        self.own(Some(run)).await?;
        if let Some(duty) = self.leases.duties().into_iter().find(|duty| duty.run == *run) {
            self.leases.note(run, duty.grace, |duty| duty.agreed = true)?;
        }
        Ok(())
    }

    async fn forgo(&mut self, run: &RunId) -> Result<(), NodeError> {
        self.standing.bound = None;
        // Also what an agent holds that lost its connection and still waits for its client.
        self.own(Some(run)).await?;
        self.leases.drop_run(run);
        Ok(())
    }

    /// A run begins or goes on to use its work folder.
    async fn begin(&mut self, run: &RunId) -> Result<(), NodeError> {
        self.own(Some(run)).await?;
        self.bind(run, self.limits.grace, |_| {}).await
    }

    async fn swap(&mut self, request: &SwapRequest) -> Result<SwapOutcome, NodeError> {
        self.own(Some(&request.run)).await?;
        let noted = |duty: &mut Duty| {
            duty.swapped.extend(&request.datasets);
            duty.swapped.sort();
            duty.swapped.dedup();
        };
        self.bind(&request.run, self.limits.grace, noted).await?;
        self.node.swap(request).await
    }

    async fn swap_back(&mut self, request: &SwapRequest) -> Result<SwapOutcome, NodeError> {
        self.own(Some(&request.run)).await?;
        let outcome = self.node.swap_back(request).await?;
        if self.leases.is_ours(&request.run) {
            self.leases.note(&request.run, self.limits.grace, |duty| {
                duty.swapped.retain(|dataset| !request.datasets.contains(dataset));
            })?;
        }
        Ok(outcome)
    }

    async fn clean(&mut self, request: CleanRequest) -> Result<CleanReport, NodeError> {
        let run = match &request {
            CleanRequest::Run(run)
            | CleanRequest::RunKeepingPrevious(run)
            | CleanRequest::RunKeepingUntilReady(run) => run.clone(),
            CleanRequest::Kept(_) => {
                self.own(None).await?;
                return self.node.clean(&request).await;
            }
            CleanRequest::Orphans { keep } => {
                let mut keep = keep.clone();
                keep.extend(self.leases.runs_of_others()?);
                keep.extend(self.leases.duties().into_iter().map(|duty| duty.run));
                return self.node.clean(&CleanRequest::Orphans { keep }).await;
            }
        };
        self.own(Some(&run)).await?;
        self.standing.bound = None;
        if self.leases.is_ours(&run) {
            // What the swap replaced goes now: from here on there is no way back to it.
            self.leases.note(&run, self.limits.grace, |duty| duty.swapped.clear())?;
        }
        let report = self.node.clean(&request).await?;
        if self
            .leases
            .duties()
            .iter()
            .any(|duty| duty.run == run && !duty.is_grave())
        {
            self.leases.drop_run(&run);
        }
        Ok(report)
    }

    /// Sends an archive, until its end, an error, or the client's abort.
    async fn archive(
        &mut self,
        request: &ArchiveRequest,
    ) -> (Result<Option<Reply>, NodeError>, Result<(), ProtoError>) {
        let stop = CancellationToken::new();
        let mut sink = FrameSink {
            outbox: self.outbox.clone(),
            stop: stop.clone(),
        };
        let mut archive = std::pin::pin!(self.node.archive(request, &mut sink));
        let mut lost = Ok(());
        let report = loop {
            tokio::select! {
                report = &mut archive => break report,
                frame = self.inbox.recv(), if !stop.is_cancelled() => {
                    lost = match frame {
                        Some(Ok(Frame::Abort)) => Ok(()),
                        Some(Ok(other)) => Err(ProtoError::Unexpected(other.name())),
                        Some(Err(error)) => Err(error),
                        None => Err(ProtoError::Ended),
                    };
                    stop.cancel();
                }
            }
        };
        (report.map(|report| Some(Reply::Archive(report))), lost)
    }

    /// Takes an archive. Replies itself: at once when it fails, while the client is still sending.
    async fn stage(&mut self, request: &StageRequest) -> (Result<Option<Reply>, NodeError>, Result<(), ProtoError>) {
        let begun = self.begin(&request.run).await;
        let mut source = FrameSource {
            inbox: &mut self.inbox,
            state: Incoming::Open,
        };
        let staged = match begun {
            Ok(()) => self.node.stage(request, &mut source).await,
            Err(error) => Err(error),
        };
        send_reply(&self.outbox, staged.map(Reply::Stage)).await;
        let lost = loop {
            match std::mem::replace(&mut source.state, Incoming::Done) {
                Incoming::Done => break Ok(()),
                Incoming::Lost(error) => break Err(error),
                Incoming::Open => {
                    source.state = Incoming::Open;
                    let _ = source.next().await;
                }
            }
        };
        (Ok(None), lost)
    }
}

fn name_of(request: &Request) -> &'static str {
    match request {
        Request::Facts(_) => "facts",
        Request::Space(_) => "space",
        Request::Claim(_) => "claim",
        Request::Holds(_) => "holds",
        Request::Agree(_) => "agree",
        Request::Look => "look",
        Request::Stop(_) => "stop",
        Request::Start => "start",
        Request::Kafka(_) => "kafka",
        Request::ProveClean => "prove clean",
        Request::Snapshot(_) => "snapshot",
        Request::Archive(_) => "archive",
        Request::Stage(_) => "stage",
        Request::Swap(_) => "swap",
        Request::SwapBack(_) => "swap back",
        Request::Clean(_) => "clean",
        Request::Forgo(_) => "forgo",
        Request::Container(_) => "container",
        Request::QuorumSetup(_) => "quorum setup",
        Request::Format(_) => "format",
        Request::Files(_) => "files",
        Request::Listeners(_) => "listeners",
    }
}
