//! What a restore replaced: kept until its nodes were ready, gone back to, removed.

use std::collections::BTreeSet;
use std::time::Duration;

use kbo_core::ids::RunId;
use kbo_core::inventory::Dataset;
use kbo_core::machine::Operation;
use kbo_core::manifest::BackupKind;
use kbo_core::orchestrator::{Orchestrator, Prepared, RestoreRequest};
use kbo_core::plan::Previous;
use kbo_core::ports::node::{ContainerState, NodeErrorKind};
use kbo_core::preflight::{Severity, refuses};
use kbo_core::report::{Outcome, Report};
use kbo_core::testing::{Effect, FakeCluster, Faults, MemoryStore, Moment, Shape};

use crate::scene::{Content, SHAPES, backup};

/// A cluster with a backup in its store, and records written since.
struct Kept {
    cluster: FakeCluster,
    store: MemoryStore,
    backed_up: Content,
    later: Content,
}

impl Kept {
    async fn new(shape: Shape) -> Self {
        let cluster = FakeCluster::new(shape);
        cluster.may_start();
        let store = MemoryStore::default();
        let backed_up = cluster.content();
        let report = backup(&cluster.orchestrator(&store, None), BackupKind::Cluster).await;
        assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
        cluster.write_records("later");
        let later = cluster.content();
        Self {
            cluster,
            store,
            backed_up,
            later,
        }
    }

    /// The same, stopped and restored: on the backed up data now.
    async fn stopped_and_restored(shape: Shape) -> (Self, Report) {
        let kept = Self::new(shape).await;
        kept.done(kept.power(Operation::Stop).await);
        let report = kept.done(kept.restore(Previous::UntilReady).await);
        assert_eq!(kept.cluster.content(), kept.backed_up);
        (kept, report)
    }

    fn orchestrator(&self, faults: Option<&Faults>) -> Orchestrator {
        self.cluster.clock().advance(Duration::from_secs(60));
        let mut orchestrator = self.cluster.orchestrator(&self.store, faults);
        orchestrator.settings.poll = Duration::from_secs(1);
        orchestrator
    }

    async fn power(&self, operation: Operation) -> Report {
        let orchestrator = self.orchestrator(None);
        orchestrator
            .execute(orchestrator.prepare_power(operation, &[], false).await)
            .await
    }

    async fn prepare_restore(&self, previous: Previous) -> (Orchestrator, Prepared) {
        let orchestrator = self.orchestrator(None);
        let id = self.store.visible().remove(0);
        let request = RestoreRequest {
            manifest: self.store.manifest_of(&id).expect("its manifest"),
            datasets: vec![Dataset::Config, Dataset::Data],
            other_cluster: false,
            previous,
        };
        let prepared = orchestrator.prepare_restore(request).await;
        (orchestrator, prepared)
    }

    async fn restore(&self, previous: Previous) -> Report {
        let (orchestrator, prepared) = self.prepare_restore(previous).await;
        orchestrator.execute(prepared).await
    }

    async fn go_back(&self, of: Option<&RunId>) -> Report {
        let orchestrator = self.orchestrator(None);
        orchestrator.execute(orchestrator.prepare_go_back(of).await).await
    }

    fn done(&self, report: Report) -> Report {
        assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
        self.is_sound();
        report
    }

    fn is_sound(&self) {
        assert_eq!(self.cluster.violations(), Vec::<String>::new());
        assert_eq!(self.cluster.leftovers(), Vec::<String>::new());
    }

    /// The nodes that keep something, and of which runs.
    fn keepers(&self) -> BTreeSet<(String, RunId)> {
        let mut keepers = BTreeSet::new();
        for name in self.cluster.states().keys() {
            let runs: Vec<RunId> = self
                .cluster
                .with(name.as_str(), |node| node.previous.keys().cloned().collect());
            keepers.extend(runs.into_iter().map(|run| (name.to_string(), run)));
        }
        keepers
    }

    fn keeps_everywhere(&self, run: &RunId) -> bool {
        let keepers = self.keepers();
        let mut names = self.cluster.states().into_keys();
        names.all(|name| keepers.contains(&(name.to_string(), run.clone())))
    }
}

#[tokio::test]
async fn a_restore_onto_a_stopped_cluster_keeps_what_it_replaced_until_a_start_has_proven_the_nodes() {
    for shape in SHAPES {
        let (kept, report) = Kept::stopped_and_restored(shape).await;
        assert!(kept.keeps_everywhere(&report.run), "{:?}", kept.keepers());
        let [told] = &report.kept[..] else {
            panic!("{:#?}", report.kept)
        };
        assert!(told.until_ready && told.bytes > 0 && told.run == report.run);
        assert!(
            told.lines().iter().all(|line| line.contains(".until-ready-")),
            "{:?}",
            told.lines()
        );
        for command in ["kbo previous restore", "kbo previous discard"] {
            assert!(report.verdict.contains(command), "{}", report.verdict);
        }
        let started = kept.done(kept.power(Operation::Start).await);
        assert_eq!(started.discarded.len(), 1, "{started:#?}");
        assert_eq!(started.discarded[0].run, report.run);
        assert_eq!(kept.keepers(), BTreeSet::new());
        assert_eq!(kept.cluster.content(), kept.backed_up);
    }
}

#[tokio::test]
async fn a_stopped_cluster_goes_back_to_what_it_was_before_the_restore() {
    for shape in SHAPES {
        let (kept, report) = Kept::stopped_and_restored(shape).await;
        let back = kept.done(kept.go_back(None).await);
        assert_eq!(kept.cluster.content(), kept.later, "it is as before the restore");
        assert!(
            back.verdict.contains(&format!("run {} replaced", report.run)),
            "{}",
            back.verdict
        );
        // What the return has replaced is kept as well, and goes as well.
        assert!(kept.keeps_everywhere(&back.run), "{:?}", kept.keepers());
        assert!(!kept.keepers().iter().any(|(_, run)| *run == report.run));
        let started = kept.done(kept.power(Operation::Start).await);
        assert_eq!(started.discarded.len(), 1, "{started:#?}");
        assert_eq!(kept.keepers(), BTreeSet::new());
        assert_eq!(kept.cluster.content(), kept.later);
    }
}

#[tokio::test]
async fn a_cluster_whose_start_fails_on_the_restored_data_names_the_way_back_and_goes_it() {
    for broken in [&["c1"][..], &["b2"], &["c1", "c2"], &["c1", "c2", "c3"]] {
        let (kept, report) = Kept::stopped_and_restored(Shape::THREE_AND_THREE).await;
        for node in broken {
            kept.cluster.with(node, |node| node.exits = true);
        }
        let failed = kept.power(Operation::Start).await;
        assert!(!failed.outcome.is_done(), "{failed:#?}");
        assert!(failed.verdict.contains("kbo previous restore"), "{}", failed.verdict);
        assert!(kept.keeps_everywhere(&report.run), "{:?}", kept.keepers());
        for node in broken {
            kept.cluster.with(node, |node| node.exits = false);
        }
        kept.cluster.as_found();
        kept.done(kept.go_back(None).await);
        assert_eq!(kept.cluster.content(), kept.later);
        kept.cluster.may_start();
        kept.done(kept.power(Operation::Start).await);
        assert_eq!(kept.keepers(), BTreeSet::new());
        let up = kept.cluster.states().values().filter(|state| state.is_up()).count();
        assert_eq!(up, 6);
    }
}

#[tokio::test]
async fn the_operator_keeps_or_discards_what_a_restore_replaces() {
    let kept = Kept::new(Shape::SINGLE).await;
    kept.done(kept.power(Operation::Stop).await);
    let (_, prepared) = kept.prepare_restore(Previous::Discard).await;
    assert!(
        prepared.plan.notes.iter().any(|note| note.contains("no way back")),
        "{:?}",
        prepared.plan.notes
    );
    let report = kept.restore(Previous::Discard).await;
    assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
    assert_eq!((kept.keepers(), report.kept.len()), (BTreeSet::new(), 0));
    // Removed before it ran on the restored ones: without the operator's word that would be wrong.
    assert!(!kept.cluster.violations().is_empty());
    kept.cluster.forgive();

    let report = kept.done(kept.restore(Previous::Keep).await);
    assert!(kept.keeps_everywhere(&report.run));
    let started = kept.done(kept.power(Operation::Start).await);
    assert_eq!(started.discarded.len(), 0, "it was asked for: {started:#?}");
    assert!(kept.keeps_everywhere(&report.run));
    // A running cluster goes back too, and keeps nothing of what it ran on.
    kept.cluster.write_records("since");
    kept.done(kept.go_back(Some(&report.run)).await);
    assert_eq!(kept.cluster.content(), kept.backed_up);
    assert_eq!(kept.keepers(), BTreeSet::new());
}

#[tokio::test]
async fn what_is_kept_is_removed_where_the_operator_says_so() {
    let (kept, report) = Kept::stopped_and_restored(Shape::THREE_AND_THREE).await;
    let orchestrator = kept.orchestrator(None);
    let (now, unknown) = orchestrator.kept().await;
    assert!(
        unknown.is_empty() && now.len() == 1 && now[0].run == report.run,
        "{now:?}"
    );
    assert_eq!(orchestrator.discard(&now[0]).await, vec![]);
    assert_eq!(kept.keepers(), BTreeSet::new());
    assert_eq!(kept.cluster.content(), kept.backed_up);
    let refused = kept.go_back(None).await;
    assert_eq!(refused.outcome, Outcome::Refused);
    assert!(
        refused
            .findings
            .iter()
            .any(|finding| finding.message.contains("nothing to go back to"))
    );
}

#[tokio::test]
async fn of_one_node_that_stays_down_exactly_its_data_are_kept_and_it_does_not_go_back_alone() {
    let kept = Kept::new(Shape::THREE_AND_THREE).await;
    kept.cluster.with("b3", |node| node.container = ContainerState::Stopped);
    kept.cluster.as_found();
    let report = kept.done(kept.restore(Previous::UntilReady).await);
    assert_eq!(kept.keepers(), [("b3".to_owned(), report.run.clone())].into());
    let refused = kept.go_back(None).await;
    assert_eq!(refused.outcome, Outcome::Refused, "{refused:#?}");
    assert!(
        refused
            .findings
            .iter()
            .any(|finding| finding.message.contains("one state"))
    );
    assert_eq!(kept.keepers().len(), 1);
    kept.cluster.may_start();
    let started = kept.done(kept.power(Operation::Start).await);
    assert_eq!(started.discarded.len(), 1);
    assert_eq!(kept.keepers(), BTreeSet::new());
}

#[tokio::test]
async fn what_a_cluster_that_is_worse_than_before_replaced_is_kept_until_its_partitions_are_whole() {
    let kept = Kept::new(Shape::THREE_AND_THREE).await;
    kept.cluster.with("b2", |node| node.in_sync_after = None);
    let report = kept.restore(Previous::UntilReady).await;
    assert_eq!(report.outcome, Outcome::Attention, "{report:#?}");
    kept.is_sound();
    assert!(kept.keeps_everywhere(&report.run), "{:?}", kept.keepers());
    assert!(report.verdict.contains("kbo previous restore"), "{}", report.verdict);
    // A run that starts the nodes and finds the partitions as they were has proven nothing.
    let night = backup(&kept.orchestrator(None), BackupKind::Cluster).await;
    assert!(night.outcome.is_done(), "{night:#?}");
    assert!(kept.keeps_everywhere(&report.run), "{night:#?}");
    assert!(
        night.warnings.iter().any(|warning| warning.contains("not whole")),
        "{night:#?}"
    );
    kept.cluster
        .with("b2", |node| node.in_sync_after = Some(Duration::ZERO));
    let night = backup(&kept.orchestrator(None), BackupKind::Cluster).await;
    assert_eq!(night.outcome, Outcome::Done, "{night:#?}");
    assert_eq!(kept.keepers(), BTreeSet::new());
}

#[tokio::test]
async fn a_backup_of_configuration_and_a_start_of_some_nodes_prove_nothing() {
    let (kept, report) = Kept::stopped_and_restored(Shape::THREE_AND_THREE).await;
    kept.cluster.piecemeal();
    let orchestrator = kept.orchestrator(None);
    let chosen = ["c1", "c2", "c3"].map(|name| name.parse().unwrap());
    let prepared = orchestrator.prepare_power(Operation::Start, &chosen, false).await;
    let started = orchestrator.execute(prepared).await;
    assert!(started.outcome.is_done(), "{started:#?}");
    assert!(
        kept.keeps_everywhere(&report.run),
        "one of them may still have to go back: {started:#?}"
    );
    backup(&kept.orchestrator(None), BackupKind::Config).await;
    assert!(kept.keeps_everywhere(&report.run));
}

#[tokio::test]
async fn a_second_restore_says_what_becomes_of_what_the_first_replaced_and_loses_none_of_it() {
    let (kept, first) = Kept::stopped_and_restored(Shape::THREE_AND_THREE).await;
    let (_, prepared) = kept.prepare_restore(Previous::UntilReady).await;
    let warned = prepared
        .findings
        .iter()
        .find(|finding| finding.severity == Severity::Warning && finding.message.contains(first.run.as_str()));
    assert!(
        warned.is_some_and(|finding| finding.message.contains("it stays")),
        "{:#?}",
        prepared.findings
    );
    assert!(
        prepared.plan.notes.iter().any(|note| note.contains("takes its space")),
        "{:?}",
        prepared.plan.notes
    );
    let second = kept.done(kept.restore(Previous::UntilReady).await);
    assert!(kept.keeps_everywhere(&first.run) && kept.keeps_everywhere(&second.run));
    assert_eq!(second.kept.len(), 2);
    let orchestrator = kept.orchestrator(None);
    let refused = orchestrator.prepare_go_back(None).await;
    assert!(refuses(&refused.findings));
    assert!(
        refused
            .findings
            .iter()
            .any(|finding| finding.message.contains("different runs"))
    );
    kept.done(kept.go_back(Some(&first.run)).await);
    assert_eq!(kept.cluster.content(), kept.later);
    let started = kept.done(kept.power(Operation::Start).await);
    assert_eq!(started.discarded.len(), 2);
    assert_eq!(kept.keepers(), BTreeSet::new());
}

#[tokio::test]
async fn sweeps_of_this_and_another_centre_leave_alone_what_is_kept() {
    let (kept, report) = Kept::stopped_and_restored(Shape::THREE_AND_THREE).await;
    kept.orchestrator(None).recover().await.expect("a recovery");
    let elsewhere = MemoryStore::default();
    kept.cluster
        .orchestrator(&elsewhere, None)
        .recover()
        .await
        .expect("a recovery");
    backup(&kept.cluster.orchestrator(&elsewhere, None), BackupKind::Config).await;
    assert!(kept.keeps_everywhere(&report.run));
}

/// Going back is for all nodes or none, whatever fails, and loses neither state.
#[tokio::test]
async fn a_fault_at_any_operation_of_a_return_leaves_all_nodes_on_one_state_and_loses_none() {
    for is_up in [false, true] {
        let operations = {
            let (kept, _) = ready_to_go_back(is_up).await;
            let faults = Faults::none(kept.cluster.clock());
            let orchestrator = kept.orchestrator(Some(&faults));
            let report = orchestrator.execute(orchestrator.prepare_go_back(None).await).await;
            assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
            faults.operations()
        };
        for (at, operation) in operations.iter().enumerate() {
            for moment in [Moment::Before, Moment::After] {
                let label = format!("up {is_up}: {moment:?} operation {at}, {operation}");
                let (kept, first) = ready_to_go_back(is_up).await;
                let effect = Effect::Fail(NodeErrorKind::Io);
                let faults = Faults::none(kept.cluster.clock()).and(at, moment, effect);
                let orchestrator = kept.orchestrator(Some(&faults));
                let report = orchestrator.execute(orchestrator.prepare_go_back(None).await).await;
                let told = report.outcome.is_done() || !report.failures.is_empty() || !report.findings.is_empty();
                assert!(told, "{label}: {report:#?}");
                kept.check_one_state(&first, &label);
                kept.orchestrator(None).recover().await.expect("a recovery");
                kept.check_one_state(&first, &label);
                assert_eq!(kept.cluster.leftovers(), Vec::<String>::new(), "{label}");
            }
        }
    }
}

#[tokio::test]
async fn a_return_killed_at_any_operation_is_recovered_from() {
    for is_up in [false, true] {
        let operations = {
            let (kept, _) = ready_to_go_back(is_up).await;
            let faults = Faults::none(kept.cluster.clock());
            let orchestrator = kept.orchestrator(Some(&faults));
            orchestrator.execute(orchestrator.prepare_go_back(None).await).await;
            faults.operations()
        };
        for (at, operation) in operations.iter().enumerate() {
            let label = format!("up {is_up}: killed after operation {at}, {operation}");
            let (kept, first) = ready_to_go_back(is_up).await;
            let faults = Faults::none(kept.cluster.clock()).and(at, Moment::After, Effect::Hang);
            let orchestrator = kept.orchestrator(Some(&faults));
            let going = async { orchestrator.execute(orchestrator.prepare_go_back(None).await).await };
            tokio::select! {
                report = going => panic!("{label} is not reached: {report:#?}"),
                () = faults.struck() => {}
            }
            kept.orchestrator(None).recover().await.expect("a recovery");
            kept.cluster.idle_agents_end();
            kept.check_one_state(&first, &label);
            assert_eq!(kept.cluster.leftovers(), Vec::<String>::new(), "{label}");
        }
    }
}

/// Restored onto a stopped cluster; started by hand since, where it is to be up.
async fn ready_to_go_back(is_up: bool) -> (Kept, RunId) {
    let (kept, report) = Kept::stopped_and_restored(Shape::new(1, 0, 2)).await;
    if is_up {
        for name in ["c1", "b1", "b2"] {
            use kbo_core::ports::node::NodeTransport as _;
            kept.cluster.node(name).start().await.expect("a start by hand");
            kept.cluster.clock().advance(Duration::from_secs(60));
        }
    }
    kept.cluster.as_found();
    (kept, report.run)
}

impl Kept {
    fn check_one_state(&self, first: &RunId, label: &str) {
        assert_eq!(self.cluster.violations(), Vec::<String>::new(), "{label}");
        let now = self.cluster.content();
        assert!(now == self.later || now == self.backed_up, "mixed data: {label}");
        if now == self.backed_up {
            assert!(self.keeps_everywhere(first), "the state before is lost: {label}");
        }
    }
}
