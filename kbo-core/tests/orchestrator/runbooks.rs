//! The runbooks of docs/runbooks: what lies in ruins is what they mend, and refuses none of their steps.

use std::collections::BTreeMap;

use kbo_core::container::Body;
use kbo_core::ids::NodeName;
use kbo_core::inventory::Dataset;
use kbo_core::manifest::{BackupKind, Manifest};
use kbo_core::orchestrator::{Orchestrator, RunRequest};
use kbo_core::ports::node::ContainerState;
use kbo_core::report::{Outcome, Report};
use kbo_core::testing::{FakeCluster, Files, MemoryStore, NodeState, Shape};
use serde_json::json;

use crate::scene::{backup, restoring};

/// A cluster with a backup from before the disaster, and records written since.
struct Disaster {
    cluster: FakeCluster,
    store: MemoryStore,
    manifest: Manifest,
    before: BTreeMap<(NodeName, Dataset), Vec<Files>>,
}

impl Disaster {
    async fn new() -> Self {
        let cluster = FakeCluster::new(Shape::THREE_AND_THREE);
        cluster.with_all(|node| node.defined = Some(json!({ "Image": "kafka" })));
        let store = MemoryStore::default();
        let report = backup(&cluster.orchestrator(&store, None), BackupKind::Cluster).await;
        assert_eq!(report.outcome, Outcome::Done, "{report:#?}");
        let manifest = store.manifest_of(&report.id.expect("an id")).expect("its manifest");
        let before = cluster.content();
        cluster.clock().advance(std::time::Duration::from_secs(3600));
        cluster.write_records("since");
        cluster.may_start();
        Self {
            cluster,
            store,
            manifest,
            before,
        }
    }

    fn orchestrator(&self) -> Orchestrator {
        self.cluster.clock().advance(std::time::Duration::from_secs(2));
        self.cluster.as_found();
        self.cluster.orchestrator(&self.store, None)
    }

    async fn restore(&self, datasets: &[Dataset]) {
        let orchestrator = self.orchestrator();
        let request = restoring(self.manifest.clone(), datasets.to_vec());
        let prepared = orchestrator.prepare_restore(request).await;
        done(&orchestrator.execute(prepared).await);
    }

    async fn start(&self) {
        let orchestrator = self.orchestrator();
        let prepared = orchestrator
            .prepare_power(kbo_core::machine::Operation::Start, &[], false)
            .await;
        done(&orchestrator.execute(prepared).await);
    }

    /// `kbo run --from latest --no-start`.
    async fn make_containers(&self) {
        let orchestrator = self.orchestrator();
        let names = self.cluster.states().into_keys();
        let request = RunRequest {
            bodies: names.map(|name| (name, Body(json!({ "Image": "kafka" })))).collect(),
            start: false,
            ..RunRequest::default()
        };
        let prepared = orchestrator.prepare_run(&request).await;
        done(&orchestrator.execute(prepared).await);
    }

    fn is_back(&self) {
        // What they look like would fill the screen.
        for ((node, dataset), files) in self.cluster.content() {
            let is_back = files == self.before[&(node.clone(), dataset)];
            assert!(
                is_back || dataset == Dataset::Config,
                "{dataset} of {node} is not what it was"
            );
        }
        assert!(
            self.cluster
                .states()
                .values()
                .all(|state| *state == ContainerState::Running)
        );
        assert_eq!(self.cluster.violations(), Vec::<String>::new());
    }
}

fn done(report: &Report) {
    assert!(report.outcome.is_done(), "{report:#?}");
}

/// The disk of the log dirs is new: nothing is on it.
fn lose_disk(node: &mut NodeState) {
    node.container = ContainerState::Stopped;
    for image in node.live.get_mut(&Dataset::Data).into_iter().flatten() {
        *image = None;
    }
}

/// The machine is new: no container, nothing in its directories.
fn lose_machine(node: &mut NodeState) {
    node.container = ContainerState::Missing;
    node.defined = None;
    for image in node.live.values_mut().flatten() {
        *image = None;
    }
}

#[tokio::test]
async fn deleted_topic() {
    let disaster = Disaster::new().await;
    disaster.restore(&[Dataset::Data]).await;
    disaster.is_back();
}

#[tokio::test]
async fn lost_disk_of_a_broker_and_of_a_controller() {
    for node in ["b2", "c3"] {
        let disaster = Disaster::new().await;
        disaster.cluster.with(node, lose_disk);
        disaster.restore(&[Dataset::Data]).await;
        disaster.start().await;
        disaster.is_back();
    }
}

#[tokio::test]
async fn lost_vm() {
    for node in ["b1", "c1"] {
        let disaster = Disaster::new().await;
        disaster.cluster.with(node, lose_machine);
        disaster.make_containers().await;
        disaster.restore(&[Dataset::Config, Dataset::Data]).await;
        disaster.start().await;
        disaster.is_back();
    }
}

#[tokio::test]
async fn lost_cluster() {
    let disaster = Disaster::new().await;
    disaster.cluster.with_all(lose_machine);
    disaster.make_containers().await;
    disaster.restore(&[Dataset::Config, Dataset::Data]).await;
    disaster.start().await;
    disaster.is_back();
}

type Ruin = fn(&mut NodeState);

#[tokio::test]
async fn what_a_restore_replaces_may_be_in_any_ruin() {
    let ruins: [(&str, Ruin); 4] = [
        ("a dead broker", |node| {
            node.container = ContainerState::Stopped;
            for image in node.live.get_mut(&Dataset::Data).into_iter().flatten().flatten() {
                image.clean = false;
            }
        }),
        ("directories that Kafka refuses", |node| {
            node.unknown_dirs = vec!["/data/lost+found.old".to_owned()];
        }),
        ("files that no archive holds", |node| {
            node.unsupported = vec!["/data/pipe".to_owned()]
        }),
        ("a broker that is never in sync", |node| node.in_sync_after = None),
    ];
    for (what, ruin) in ruins {
        let disaster = Disaster::new().await;
        disaster.cluster.with("b3", ruin);
        let orchestrator = disaster.orchestrator();
        let request = restoring(disaster.manifest.clone(), vec![Dataset::Data]);
        let prepared = orchestrator.prepare_restore(request).await;
        assert!(
            !kbo_core::preflight::refuses(&prepared.findings),
            "{what}: {:#?}",
            prepared.findings
        );
    }
}
