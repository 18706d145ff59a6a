//! Whose the nodes are, and for how long: the claim at a run's beginning, and the point of no return at its end.
//!
//! What was swapped in is kept by all nodes or by none. First each node confirms that it is still swapped for this run. Then each
//! agrees to keep that; from there on it swaps nothing back alone. The journal notes that all have agreed; that is the point of no
//! return. Only then the nodes forget what they would have had to undo. A node that does not agree makes the whole run undo; one that
//! has agreed and cannot be told to forget runs on with the restored data until `kbo recover` reaches it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::Orchestrator;
use super::run::{Halt, Run, StepError};
use crate::cancel::Urgency;
use crate::ids::{NodeName, RunId};
use crate::inventory::Dataset;
use crate::journal::Entry;
use crate::machine::{Operation, Phase};
use crate::plan::{Plan, Step};
use crate::ports::node::{Claim, LeftUndone, NodeError, NodeErrorKind, NodeTransport, Owner};
use crate::report::chain;

/// The first pause before a node is asked again, which grows up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What a dead run had left on a node.
pub type LeftOnNode = (NodeName, LeftUndone);

impl Orchestrator {
    /// This kbo, as the nodes are to know it.
    async fn owner_for(&self, purpose: String) -> Owner {
        let store = self.store.id().await;
        let store = store.inspect_err(|error| tracing::warn!("the store's id is unknown: {}", chain(error)));
        Owner {
            store: store.ok().flatten().unwrap_or_default(),
            cluster: self.name.to_string(),
            since: self.clock.now(),
            purpose,
            ..self.owner.clone()
        }
    }

    /// Who asks, for preflight.
    pub(super) async fn asker(&self) -> Owner {
        self.owner_for(String::new()).await
    }

    /// Runs whose journals are open in the store, and which are dead: what they left is this run's to undo. The leases of a living run are
    /// not.
    pub(super) async fn known_runs(&self) -> Vec<RunId> {
        match self.store.open_journals(&self.name).await {
            Ok(open) => {
                let dead = open.iter().filter(|journal| !journal.is_alive());
                dead.map(|journal| journal.run().clone()).collect()
            }
            Err(error) => {
                tracing::warn!("the journals cannot be read: {}", chain(&error));
                vec![]
            }
        }
    }

    /// Has the nodes undo what dead runs left there of which this store has no journal: those of a store that is gone, say, on a node
    /// that lost its power in the middle of one. The caller holds the lock, and has recovered the runs whose journals it has.
    ///
    /// A node that cannot be reached, or that somebody else works on, is left as it is: whoever needs it is told so by preflight.
    pub async fn settle(&self) -> Vec<LeftOnNode> {
        let claim = Claim {
            run: None,
            owner: self.owner_for("recover".to_owned()).await,
            known: self.known_runs().await,
            undoing: false,
        };
        let reports = self.on_all(|_, transport| {
            let claim = claim.clone();
            async move { transport.claim(&claim).await }
        });
        let mut left = vec![];
        for (name, report) in reports.await {
            match report {
                Ok(report) => left.extend(report.undone.into_iter().map(|undone| (name.clone(), undone))),
                Err(error) => tracing::warn!("{name}: {error}"),
            }
        }
        left
    }

    /// Does it until it succeeds, fails for good, or `within` has passed.
    pub(super) async fn persistently<T, Fut>(&self, within: Duration, attempt: impl Fn() -> Fut) -> Result<T, NodeError>
    where
        Fut: Future<Output = Result<T, NodeError>>,
    {
        let from = self.clock.monotonic();
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let is_final = matches!(error.kind, NodeErrorKind::LeaseLost | NodeErrorKind::Taken);
            let hurry = self.cancel.urgency() >= Urgency::Hurry;
            let spent = self.clock.monotonic().saturating_sub(from) + pause;
            if is_final || hurry || spent > within {
                return Err(error);
            }
            tracing::warn!("trying again in {} s: {error}", pause.as_secs());
            self.clock.sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Whether a journal's run is kept: no process that swapped back had taken its word.
pub(super) fn is_kept(entries: &[Entry]) -> bool {
    entries.iter().fold(false, |kept, entry| match entry {
        Entry::Kept { .. } => true,
        Entry::Intent {
            step: Step::SwapBack { .. },
            ..
        } => false,
        _ => kept,
    })
}

impl Run<'_> {
    /// The nodes that the plan has steps for.
    fn concerned(&self) -> BTreeMap<NodeName, Arc<dyn NodeTransport>> {
        let named: BTreeSet<&NodeName> = self.prepared.plan.steps().filter_map(|step| step.node()).collect();
        let nodes = self.o.nodes.iter().filter(|(name, _)| named.contains(name));
        nodes.map(|(name, node)| (name.clone(), Arc::clone(node))).collect()
    }

    async fn on_concerned<T, Fut>(&self, ask: impl Fn(NodeName, Arc<dyn NodeTransport>) -> Fut) -> Vec<(NodeName, T)>
    where
        Fut: Future<Output = T>,
    {
        let asked = self.concerned().into_iter().map(|(name, node)| {
            let answer = ask(name.clone(), node);
            async move { (name, answer.await) }
        });
        join_all(asked).await
    }

    /// The store is asked once, before anything is stopped: in the window it may hang.
    async fn claim_of(&self, undoing: bool) -> Claim {
        if let Some(claim) = self.claimed.get() {
            return Claim {
                undoing,
                ..claim.clone()
            };
        }
        let mut known = self.o.known_runs().await;
        if !known.contains(self.id()) {
            known.push(self.id().clone());
        }
        let claim = Claim {
            run: Some(self.id().clone()),
            owner: self.o.owner_for(purpose(&self.prepared.plan)).await,
            known,
            undoing,
        };
        self.claimed.get_or_init(|| claim).clone()
    }

    /// Claims every node that the run works on, before anything is touched. One that is somebody else's, or that does not answer,
    /// ends the run here.
    pub(super) async fn claim(&self) -> Result<(), Halt> {
        let claim = self.claim_of(false).await;
        let within = self.o.settings.poll;
        let claims = self.on_concerned(|_, node| {
            let claim = &claim;
            async move {
                self.o
                    .persistently(within.max(FIRST_PAUSE * 2), || node.claim(claim))
                    .await
            }
        });
        let mut whole = true;
        for (name, report) in claims.await {
            match report {
                Ok(report) => report.undone.iter().for_each(|undone| self.tell_undone(&name, undone)),
                Err(error) => {
                    self.fail("claim the node", Some(&name), &error.into());
                    whole = false;
                }
            }
        }
        if whole { Ok(()) } else { Err(Halt::Failed) }
    }

    fn tell_undone(&self, name: &NodeName, undone: &LeftUndone) {
        self.warn(format!("{name}: {undone}"));
    }

    /// The same for an undo: what the nodes have undone alone, or do just then, is what is wanted. A node that cannot be claimed now
    /// fails in its steps.
    pub(super) async fn claim_for_undo(&self) {
        let claim = self.claim_of(!self.is_kept()).await;
        let claims = self.on_concerned(|_, node| {
            let claim = &claim;
            async move { node.claim(claim).await }
        });
        for (name, report) in claims.await {
            match report {
                Ok(report) => report.undone.iter().for_each(|undone| self.tell_undone(&name, undone)),
                Err(error) => tracing::warn!("{name}: {error}"),
            }
        }
    }

    /// Whether the phase that has just ended has put data in place that are to be kept or given up.
    pub(super) fn is_at_return(&self, phase: Phase) -> bool {
        match self.prepared.plan.operation {
            Operation::Restore => phase == Phase::Starting,
            Operation::Format => phase == Phase::Swapping,
            _ => false,
        }
    }

    /// Whether the run is past its point of no return: what comes then only looks and sweeps.
    pub(super) fn is_kept(&self) -> bool {
        let harvest = self.harvest();
        is_kept(&harvest.entries)
    }

    /// The point of no return, for all nodes or none.
    pub(super) async fn keep(&self) -> Result<(), Halt> {
        let id = self.id();
        // Longer than its grace no node waits for the answer.
        let within = self.o.settings.lease_grace;
        let what = "keep what was put in place";
        let held = self
            .on_concerned(|name, node| async move { self.confirm(&name, &*node, within).await })
            .await;
        self.all(what, held)?;
        let agreed = self
            .on_concerned(|_, node| async move {
                let agreed = self.o.persistently(within, || node.agree(id)).await;
                agreed.map_err(StepError::from)
            })
            .await;
        self.all(what, agreed)?;
        let at = self.o.clock.now();
        let kept = match self.journal(Entry::Keeping { at }).await {
            Ok(()) => self.journal(Entry::Kept { at }).await,
            Err(error) => Err(error),
        };
        kept.map_err(|error| {
            self.fail(what, None, &error.into());
            Halt::Failed
        })?;
        self.forget(within).await;
        Ok(())
    }

    /// That a node is still swapped for this run.
    async fn confirm(&self, name: &NodeName, node: &dyn NodeTransport, within: Duration) -> Result<(), StepError> {
        let held = self.o.persistently(within, || node.holds(self.id())).await?;
        let wanted: Vec<Dataset> = self.swapped_datasets(name);
        if wanted.iter().all(|dataset| held.swapped.contains(dataset)) {
            return Ok(());
        }
        Err(NodeError::lease_lost(name, self.id()).into())
    }

    fn all(&self, what: &str, answers: Vec<(NodeName, Result<(), StepError>)>) -> Result<(), Halt> {
        let mut whole = true;
        for (name, answer) in answers {
            if let Err(error) = answer {
                self.fail(what, Some(&name), &error);
                whole = false;
            }
        }
        if whole { Ok(()) } else { Err(Halt::Failed) }
    }

    /// Ends the leases of a run that is kept. What cannot be reached has agreed: it keeps what it has, and is tried again at the end.
    pub(super) async fn forget(&self, within: Duration) -> bool {
        let id = self.id();
        let forgotten = self
            .on_concerned(|_, node| async move { self.o.persistently(within, || node.forgo(id)).await })
            .await;
        let failed = forgotten
            .into_iter()
            .filter_map(|(name, answer)| Some((name, answer.err()?)));
        let unforgotten: BTreeMap<NodeName, NodeError> = failed.collect();
        let whole = unforgotten.is_empty();
        self.harvest().unforgotten = unforgotten;
        whole
    }

    /// The last try at the nodes that could not be told that the run is kept. Whether all know it now.
    pub(super) async fn is_known_to_all(&self) -> bool {
        let all_know = self.harvest().unforgotten.is_empty();
        if all_know || self.forget(FIRST_PAUSE).await {
            return true;
        }
        let left = self.harvest().unforgotten.clone();
        for (name, error) in left {
            let text = format!(
                "{name} could not be told that the cluster keeps what was put in place: {error}. It swaps nothing back by \
                 itself and starts on the new data; its lease and the replaced data stay there until `kbo recover` reaches it"
            );
            self.fail("end the lease", Some(&name), &StepError::Said(text));
        }
        false
    }
}

/// What a run does, in a few words.
fn purpose(plan: &Plan) -> String {
    match (plan.operation, &plan.backup) {
        (Operation::ColdBackup | Operation::HotBackup, _) => "backup".to_owned(),
        (Operation::Restore, Some((id, _))) => format!("restore of {id}"),
        (Operation::Restore, None) => match plan.previous_of() {
            Some(run) => format!("return to what run {run} replaced"),
            None => "restore".to_owned(),
        },
        (Operation::Stop, _) => "stop".to_owned(),
        (Operation::Start, _) => "start".to_owned(),
        (Operation::Restart, _) => "restart".to_owned(),
        (Operation::RollingRestart, _) => "rolling restart".to_owned(),
        (Operation::Run, _) => "run".to_owned(),
        (Operation::Remove, _) => "remove".to_owned(),
        (Operation::Format, _) => "format".to_owned(),
    }
}
