//! A cluster, a store, what was found there, and what must be true whatever happens.

use std::collections::BTreeMap;
use std::time::Duration;

use kbo_core::ids::{BackupId, NodeName};
use kbo_core::inventory::Dataset;
use kbo_core::manifest::{BackupKind, Manifest};
use kbo_core::orchestrator::{BackupRequest, Orchestrator, RestoreRequest};
use kbo_core::plan::{Previous, Prior};
use kbo_core::report::{Outcome, Report};
use kbo_core::retention::Policies;
use kbo_core::testing::{FakeCluster, Faults, Files, MemoryStore, Shape};

pub(crate) type Content = BTreeMap<(NodeName, Dataset), Vec<Files>>;

/// What is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    Backup(BackupKind),
    Restore { keep_previous: bool },
}

pub(crate) const BACKUP: Job = Job::Backup(BackupKind::Cluster);
pub(crate) const RESTORE: Job = Job::Restore { keep_previous: false };

pub(crate) struct Scene {
    pub(crate) cluster: FakeCluster,
    pub(crate) store: MemoryStore,
    pub(crate) job: Job,
    pub(crate) found: Prior,
    pub(crate) original: Content,
    /// What a restore brings back.
    pub(crate) restored: Content,
    pub(crate) visible: Vec<BackupId>,
}

impl Scene {
    /// For a restore: with a backup in the store and records written since.
    pub(crate) async fn new(shape: Shape, job: Job) -> Self {
        Self::with(shape, job, |_| ()).await
    }

    /// The same with knobs turned before the job is run, and after the backup that a restore needs.
    pub(crate) async fn with(shape: Shape, job: Job, turn: impl FnOnce(&FakeCluster)) -> Self {
        let cluster = FakeCluster::new(shape);
        let store = MemoryStore::default();
        let restored = cluster.content();
        if matches!(job, Job::Restore { .. }) {
            let orchestrator = cluster.orchestrator(&store, None);
            let report = backup(&orchestrator, BackupKind::Cluster).await;
            assert_eq!(report.outcome, Outcome::Done, "{report:?}");
            cluster.write_records("later");
            cluster.clock().advance(Duration::from_secs(3600));
        }
        turn(&cluster);
        cluster.as_found();
        Self {
            found: cluster.states(),
            original: cluster.content(),
            visible: store.visible(),
            cluster,
            store,
            job,
            restored,
        }
    }

    /// An orchestrator whose nodes and store count their operations together.
    pub(crate) fn orchestrator(&self, faults: Option<&Faults>) -> Orchestrator {
        let mut orchestrator = match faults {
            Some(faults) => self.cluster.orchestrator(&self.store.with_faults(faults), Some(faults)),
            None => self.cluster.orchestrator(&self.store, None),
        };
        // Fewer looks while waiting: each would be one more operation to strike, and no other than the one before.
        orchestrator.settings.poll = Duration::from_secs(1);
        orchestrator.settings.retention = Some(Policies::default());
        orchestrator
    }

    pub(crate) async fn run(&self, orchestrator: &Orchestrator) -> Report {
        match self.job {
            Job::Backup(kind) => backup(orchestrator, kind).await,
            Job::Restore { keep_previous } => {
                let id = self.visible.first().expect("a backup to restore");
                let manifest = self.store.manifest_of(id).expect("its manifest");
                let prepared = orchestrator.prepare_restore(RestoreRequest {
                    previous: match keep_previous {
                        true => Previous::Keep,
                        false => Previous::UntilReady,
                    },
                    ..restoring(manifest, vec![Dataset::Config, Dataset::Data])
                });
                orchestrator.execute(prepared.await).await
            }
        }
    }

    /// How many operations an undisturbed run takes.
    pub(crate) async fn operations(shape: Shape, job: Job) -> Vec<String> {
        let scene = Scene::new(shape, job).await;
        let faults = Faults::none(scene.cluster.clock());
        let report = scene.run(&scene.orchestrator(Some(&faults))).await;
        assert_eq!(report.outcome, Outcome::Done, "{report:?}");
        faults.operations()
    }

    /// What must be true after any run, whatever befell it.
    pub(crate) fn check(&self, report: &Report, label: &str) {
        let context = || format!("{label}\n{report:#?}\noutcome {:?}", report.outcome);
        assert_eq!(self.cluster.violations(), Vec::<String>::new(), "{}", context());
        let done = report.outcome.is_done() || report.outcome == Outcome::Damaged;
        let new: Vec<BackupId> = self
            .store
            .visible()
            .into_iter()
            .filter(|id| !self.visible.contains(id))
            .collect();
        match self.job {
            Job::Backup(_) if done => assert_eq!(new.len(), 1, "a backup done is visible: {}", context()),
            // A store that dies while it commits may have committed all the same; what it shows is whole then.
            _ if report
                .failures
                .iter()
                .any(|failure| failure.step.starts_with("remove the unfinished")) => {}
            _ => assert!(new.is_empty(), "{new:?} is visible: {}", context()),
        }
        if report.outcome == Outcome::NeedsPerson {
            assert!(!report.failures.is_empty(), "{}", context());
            return;
        }
        assert_eq!(
            self.cluster.states(),
            self.found,
            "containers are as found: {}",
            context()
        );
        self.check_content(done, &context());
        if matches!(report.outcome, Outcome::Failed | Outcome::NeedsPerson) {
            assert!(!report.failures.is_empty(), "a failure has a reason: {}", context());
        }
        if !self.cluster.leftovers().is_empty() {
            let told = !report.warnings.is_empty() || !report.failures.is_empty();
            assert!(
                told || report.outcome == Outcome::Interrupted,
                "leftovers are told: {}",
                context()
            );
        }
    }

    fn check_content(&self, done: bool, context: &str) {
        let now = self.cluster.content();
        match self.job {
            Job::Restore { .. } if done => assert_eq!(now, self.restored, "restored: {context}"),
            _ => assert_eq!(now, self.original, "untouched: {context}"),
        }
    }

    /// Recovery by another process: everything is as found (or wholly restored), nothing lies about, and doing it again
    /// changes nothing.
    pub(crate) async fn check_recovery(&self, label: &str) {
        let orchestrator = self.orchestrator(None);
        for _ in 0..2 {
            let recovered = orchestrator.recover().await.expect("a recovery");
            for report in &recovered.runs {
                assert_ne!(report.outcome, Outcome::NeedsPerson, "{label}: {report:#?}");
            }
            assert!(recovered.unswept.is_empty(), "{label}: {:?}", recovered.unswept);
            // Of a run that has ended and could not say goodbye everywhere.
            self.cluster.idle_agents_end();
            self.check_whole(label);
            for run in recovered.runs {
                self.store.reopen(&run.run);
            }
        }
        orchestrator.recover().await.expect("a recovery");
        self.check_whole(label);
        assert_eq!(self.store.open_runs(), vec![], "{label}");
    }

    pub(crate) fn check_whole(&self, label: &str) {
        assert_eq!(self.cluster.violations(), Vec::<String>::new(), "{label}");
        assert_eq!(self.cluster.states(), self.found, "{label}");
        assert_eq!(self.cluster.leftovers(), Vec::<String>::new(), "{label}");
        assert_eq!(self.store.unfinished(), vec![], "{label}");
        let now = self.cluster.content();
        let is_restored = matches!(self.job, Job::Restore { .. }) && now == self.restored;
        assert!(is_restored || now == self.original, "neither old nor new data: {label}");
    }

    /// The next night is as any other.
    pub(crate) async fn check_next_backup(&self, label: &str) {
        self.cluster.clock().advance(Duration::from_secs(86_400));
        let report = backup(&self.orchestrator(None), BackupKind::Cluster).await;
        assert_eq!(report.outcome, Outcome::Done, "{label}: {report:#?}");
        assert_eq!(self.cluster.leftovers(), Vec::<String>::new(), "{label}");
        assert_eq!(self.cluster.violations(), Vec::<String>::new(), "{label}");
    }

    /// A run whose journal's end did not become durable: undoing it (again) changes nothing.
    pub(crate) async fn check_undo_again(&self, report: &Report, label: &str) {
        let content = self.cluster.content();
        self.store.reopen(&report.run);
        self.check_recovery(&format!("{label}, undone again")).await;
        assert_eq!(
            self.cluster.content(),
            content,
            "undoing again changes nothing: {label}"
        );
    }
}

/// A restore as it is without options.
pub(crate) fn restoring(manifest: Manifest, datasets: Vec<Dataset>) -> RestoreRequest {
    RestoreRequest {
        manifest,
        datasets,
        other_cluster: false,
        previous: Previous::UntilReady,
    }
}

pub(crate) async fn backup(orchestrator: &Orchestrator, kind: BackupKind) -> Report {
    let prepared = orchestrator.prepare_backup(BackupRequest { kind }).await;
    orchestrator.execute(prepared).await
}

/// Every shape that the exhaustive tests go through.
pub(crate) const SHAPES: [Shape; 4] = [Shape::THREE_AND_THREE, Shape::SINGLE, Shape::COMBINED, Shape::MIXED];
