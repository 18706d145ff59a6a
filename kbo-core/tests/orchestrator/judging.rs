//! The judge alone, on made-up facts: every finding with its weight.

mod completeness;

use std::collections::{BTreeMap, BTreeSet};

use kbo_core::floor::FreeFloor;
use kbo_core::ids::{ClusterId, NodeName};
use kbo_core::inventory::{Dataset, Role};
use kbo_core::manifest::NodeRecord;
use kbo_core::ports::clock::Clock;
use kbo_core::ports::node::{
    BrokerState, ContainerState, FactsRequest, KafkaSetup, LinkProbe, NodeError, NodeErrorKind, NodeFacts,
    NodeTransport, Owner, PartitionState, Presence,
};
use kbo_core::ports::store::Space;
use kbo_core::preflight::{Finding, Input, Purpose, Severity, judge};
use kbo_core::testing::{FakeCluster, Shape};

type AllFacts = BTreeMap<NodeName, Result<NodeFacts, NodeError>>;

const BOTH: [Dataset; 2] = [Dataset::Config, Dataset::Data];

struct Bench {
    cluster: FakeCluster,
    facts: AllFacts,
    quorum: Option<Result<(), String>>,
    partitions: Option<Vec<PartitionState>>,
    brokers: Option<Vec<BrokerState>>,
    voters: Option<Vec<(i32, bool)>>,
    retired: BTreeSet<i32>,
    allow_degraded: bool,
    unasked: BTreeMap<NodeName, NodeError>,
    store: Option<Space>,
    ratios: BTreeMap<Dataset, f64>,
    adopted_id: Option<ClusterId>,
}

impl Bench {
    async fn new() -> Self {
        let cluster = FakeCluster::new(Shape::new(1, 0, 1));
        let mut facts = AllFacts::new();
        for node in cluster.cluster().start_order() {
            let request = FactsRequest {
                datasets: BOTH.to_vec(),
            };
            let found = cluster.node(node.name.as_str()).facts(&request).await;
            facts.insert(node.name.clone(), found);
        }
        Self {
            cluster,
            facts,
            quorum: Some(Ok(())),
            partitions: None,
            brokers: None,
            voters: None,
            retired: BTreeSet::new(),
            allow_degraded: false,
            unasked: BTreeMap::new(),
            store: Some(Space {
                free: 1 << 40,
                size: 1 << 40,
            }),
            ratios: BTreeMap::new(),
            adopted_id: None,
        }
    }

    fn broker(&mut self) -> &mut NodeFacts {
        let name: NodeName = "b1".parse().expect("a name");
        self.facts.get_mut(&name).expect("facts").as_mut().expect("facts")
    }

    fn setup(&mut self) -> &mut KafkaSetup {
        self.broker()
            .kafka
            .as_mut()
            .expect("a setup")
            .as_mut()
            .expect("a setup")
    }

    fn data(&mut self) -> &mut kbo_core::ports::node::DirFacts {
        self.broker()
            .dirs
            .iter_mut()
            .find(|dir| dir.dataset == Dataset::Data)
            .expect("a data dir")
    }

    /// The data on a large disk, all else on a small one, nearly all of it free.
    fn data_on_a_disk_of_its_own(&mut self) {
        for dir in &mut self.broker().dirs {
            let (device, free) = match dir.dataset {
                Dataset::Data => (8, 1 << 40),
                Dataset::Config => (7, 1000),
            };
            (dir.device, dir.free, dir.size) = (device, free, free);
        }
    }

    fn judge(&self, purpose: &Purpose) -> Vec<Finding> {
        judge(&Input {
            asker: &Owner::default(),
            known: &[],
            cluster: self.cluster.cluster(),
            cluster_id: None,
            purpose,
            facts: &self.facts,
            now: self.cluster.clock().now(),
            quorum: self.quorum.as_ref(),
            partitions: self.partitions.as_deref(),
            brokers: self.brokers.as_deref(),
            voters: self.voters.as_deref(),
            retired: &self.retired,
            allow_degraded: self.allow_degraded,
            unasked: &self.unasked,
            store: self.store,
            ratios: &self.ratios,
            adopted_id: self.adopted_id.as_ref(),
            warn_free_percent: 20,
            node_free_floor: FreeFloor::Usual,
        })
    }
}

fn both(ratio: f64) -> BTreeMap<Dataset, f64> {
    BOTH.into_iter().map(|dataset| (dataset, ratio)).collect()
}

fn cold() -> Purpose {
    Purpose::Backup {
        datasets: BOTH.to_vec(),
        cold: true,
    }
}

fn hot() -> Purpose {
    Purpose::Backup {
        datasets: vec![Dataset::Config],
        cold: false,
    }
}

fn restore(datasets: &[Dataset]) -> Purpose {
    restore_needing(datasets, BTreeMap::new())
}

/// A restore of so many bytes into a directory of the broker.
fn restore_of(dataset: Dataset, bytes: u64) -> Purpose {
    let broker = "b1".parse().expect("a name");
    restore_needing(&BOTH, BTreeMap::from([((broker, dataset), vec![bytes])]))
}

fn restore_needing(datasets: &[Dataset], need: BTreeMap<(NodeName, Dataset), Vec<u64>>) -> Purpose {
    Purpose::Restore {
        datasets: datasets.to_vec(),
        need,
        cluster_id: None,
        other_cluster: false,
        nodes: vec![],
        starts: true,
    }
}

/// A restore of what the broker wrote under this version of Kafka.
fn restore_from(version: &str) -> Purpose {
    let record = NodeRecord {
        name: "b1".parse().expect("a name"),
        role: Role::Broker,
        node_id: None,
        container: None,
        kafka_version: Some(version.to_owned()),
        clean_stop: None,
        degraded: false,
    };
    match restore(&BOTH) {
        Purpose::Restore {
            datasets,
            need,
            cluster_id,
            other_cluster,
            ..
        } => Purpose::Restore {
            datasets,
            need,
            cluster_id,
            other_cluster,
            nodes: vec![record],
            starts: true,
        },
        other => other,
    }
}

type Change = fn(&mut Bench);

#[tokio::test]
async fn each_fact_weighs_what_it_should() {
    use Severity::{Note, Refusal, Warning};
    let cases: Vec<(&str, Purpose, Change, Option<Severity>)> = vec![
        ("all is well", cold(), |_| (), None),
        ("all is well", hot(), |_| (), None),
        ("all is well", restore(&BOTH), |_| (), None),
        ("all is well", Purpose::Power, |_| (), None),
        ("the same Kafka", restore_from("4.1.1"), |_| (), None),
        ("another Kafka", restore_from("4.2.0"), |_| (), Some(Warning)),
        (
            "a Kafka that does not run",
            restore_from("4.2.0"),
            |bench| bench.broker().kafka_version = None,
            None,
        ),
        (
            "room for the data, little for what is not restored to it",
            restore_of(Dataset::Data, 5000),
            Bench::data_on_a_disk_of_its_own,
            None,
        ),
        (
            "no room for the configuration",
            restore_of(Dataset::Config, 5000),
            Bench::data_on_a_disk_of_its_own,
            Some(Refusal),
        ),
        ("no facts", cold(), |bench| bench.facts.clear(), Some(Refusal)),
        (
            "orphans",
            cold(),
            |bench| bench.data().orphans = vec!["20260101T000000Z".parse().expect("a run")],
            Some(Note),
        ),
        (
            "a broken walk",
            cold(),
            |bench| bench.data().error = Some("EIO".into()),
            Some(Refusal),
        ),
        (
            "a broken walk of what is not read",
            hot(),
            |bench| bench.data().error = Some("EIO".into()),
            None,
        ),
        (
            "no directory",
            cold(),
            |bench| bench.data().presence = Presence::NotADirectory,
            Some(Refusal),
        ),
        (
            "no directory",
            restore(&BOTH),
            |bench| bench.data().presence = Presence::NotADirectory,
            Some(Refusal),
        ),
        (
            "missing",
            restore(&BOTH),
            |bench| bench.data().presence = Presence::Missing,
            None,
        ),
        (
            "missing mount point",
            restore(&BOTH),
            |bench| {
                bench.data().presence = Presence::Missing;
                bench.data().is_mount_point = true;
            },
            None,
        ),
        (
            "mount point",
            restore(&BOTH),
            |bench| bench.data().is_mount_point = true,
            Some(Refusal),
        ),
        (
            "mount point of what is not restored",
            restore(&[Dataset::Config]),
            |bench| bench.data().is_mount_point = true,
            None,
        ),
        (
            "untried link",
            cold(),
            |bench| bench.data().link = LinkProbe::Untried,
            None,
        ),
        (
            "failing link",
            hot(),
            |bench| bench.data().link = LinkProbe::Fails("EPERM".into()),
            None,
        ),
        (
            "failing link without room for copies",
            cold(),
            |bench| {
                bench.data().link = LinkProbe::Fails("EPERM".into());
                bench.data().bytes = 1 << 30;
                bench.broker().dirs.iter_mut().for_each(|dir| dir.free = 1 << 20);
            },
            Some(Refusal),
        ),
        (
            "no room for data that are not read",
            hot(),
            |bench| {
                bench.data().copied_bytes = 1 << 30;
                bench.data().bytes = 1 << 45;
            },
            None,
        ),
        (
            "no quorum",
            cold(),
            |bench| bench.quorum = Some(Err("no leader".into())),
            Some(Refusal),
        ),
        (
            "no quorum",
            restore(&BOTH),
            |bench| bench.quorum = Some(Err("no leader".into())),
            None,
        ),
        (
            "no quorum",
            hot(),
            |bench| bench.quorum = Some(Err("no leader".into())),
            None,
        ),
        (
            "no engine",
            cold(),
            |bench| {
                bench.broker().container = Err(NodeError::new(NodeErrorKind::Engine, "no socket"));
            },
            Some(Refusal),
        ),
        (
            "restarting",
            cold(),
            |bench| {
                if let Ok(Some(container)) = &mut bench.broker().container {
                    container.state = ContainerState::Restarting;
                }
            },
            Some(Refusal),
        ),
        (
            "store full without history",
            cold(),
            |bench| {
                bench.data().bytes = 4000;
                bench.store = Some(Space {
                    free: 900,
                    size: 1 << 40,
                });
            },
            Some(Warning),
        ),
        (
            "store small without history",
            cold(),
            |bench| {
                bench.data().bytes = 4000;
                bench.store = Some(Space { free: 3000, size: 3000 });
            },
            Some(Warning),
        ),
        (
            "store for which one dataset is known not to fit",
            cold(),
            |bench| {
                bench.data().bytes = 4000;
                bench.ratios = BTreeMap::from([(Dataset::Data, 0.9)]);
                bench.store = Some(Space { free: 2000, size: 2000 });
            },
            Some(Refusal),
        ),
        (
            "store for which the other dataset is known to fit",
            cold(),
            |bench| {
                bench.data().bytes = 4000;
                bench.ratios = BTreeMap::from([(Dataset::Config, 0.1)]);
                bench.store = Some(Space { free: 3000, size: 3000 });
            },
            Some(Warning),
        ),
        (
            "a cluster id that the store does not know",
            cold(),
            |bench| bench.adopted_id = Some("BBBBBBBBBBBBBBBBBBBBBB".parse().expect("an id")),
            Some(Refusal),
        ),
        (
            "the same for configuration alone",
            hot(),
            |bench| bench.adopted_id = Some("BBBBBBBBBBBBBBBBBBBBBB".parse().expect("an id")),
            Some(Refusal),
        ),
        (
            "store that fits by history",
            cold(),
            |bench| {
                bench.data().bytes = 4000;
                bench.ratios = both(0.01);
                bench.store = Some(Space { free: 900, size: 900 });
            },
            None,
        ),
        (
            "store that does not fit by history",
            cold(),
            |bench| {
                bench.data().bytes = 4000;
                bench.ratios = both(0.9);
                bench.store = Some(Space { free: 2000, size: 2000 });
            },
            Some(Refusal),
        ),
        (
            "a leaderless partition",
            cold(),
            |bench| {
                bench.partitions = Some(vec![PartitionState {
                    topic: "orders".into(),
                    partition: 0,
                    leader: -1,
                    replicas: vec![2],
                    isr: vec![2],
                    offline: vec![],
                }]);
            },
            Some(Refusal),
        ),
        (
            "a leaderless partition, accepted",
            cold(),
            |bench| {
                bench.partitions = Some(vec![partition(-1, &[2], &[2])]);
                bench.allow_degraded = true;
            },
            Some(Warning),
        ),
        (
            "a leaderless partition",
            restore(&BOTH),
            |bench| bench.partitions = Some(vec![partition(-1, &[2], &[2])]),
            Some(Warning),
        ),
        (
            "a partition that only a retired broker held",
            cold(),
            |bench| {
                bench.partitions = Some(vec![partition(-1, &[4], &[4])]);
                bench.retired.insert(4);
            },
            Some(Warning),
        ),
        (
            "a partition of a topic with one replica",
            cold(),
            |bench| bench.partitions = Some(vec![partition(2, &[2], &[2])]),
            None,
        ),
        ("a broker that does not let kbo in", cold(), shut_out, Some(Refusal)),
        (
            "a broker that does not let kbo in",
            Purpose::Power,
            shut_out,
            Some(Warning),
        ),
        (
            "a broker that does not let kbo in",
            Purpose::Look,
            shut_out,
            Some(Warning),
        ),
    ];
    for (name, purpose, change, expected) in cases {
        let mut bench = Bench::new().await;
        change(&mut bench);
        let findings = bench.judge(&purpose);
        let worst = findings.iter().map(|finding| finding.severity).max();
        assert_eq!(worst, expected, "{name}, {purpose:?}: {findings:#?}");
        assert!(
            findings.is_sorted_by_key(|finding| std::cmp::Reverse(finding.severity)),
            "worst first"
        );
    }
}

fn partition(leader: i32, replicas: &[i32], isr: &[i32]) -> PartitionState {
    PartitionState {
        topic: "orders".into(),
        partition: 0,
        leader,
        replicas: replicas.to_vec(),
        isr: isr.to_vec(),
        offline: vec![],
    }
}

fn broker(id: i32, fenced: bool) -> BrokerState {
    BrokerState {
        id,
        address: format!("10.0.0.{id}:9092"),
        fenced,
    }
}

fn shut_out(bench: &mut Bench) {
    let name: NodeName = "b1".parse().expect("a name");
    let error = NodeError::new(NodeErrorKind::Refused, "the user or its password is wrong");
    bench.unasked.insert(name, error);
}

/// One that may be down is a warning; where none answers, it is kbo that does not reach them.
#[tokio::test]
async fn silent_brokers_refuse_a_cold_backup_where_there_are_no_others() {
    let mut bench = Bench::new().await;
    let error = NodeError::new(NodeErrorKind::Unreachable, "10.0.0.7:9092: connection refused");
    bench.unasked.insert("b1".parse().expect("a name"), error);
    bench.partitions = Some(vec![]);
    let worst = |bench: &Bench, purpose: &Purpose| bench.judge(purpose).first().map(|finding| finding.severity);
    assert_eq!(worst(&bench, &cold()), Some(Severity::Warning));
    bench.partitions = None;
    assert_eq!(worst(&bench, &cold()), Some(Severity::Refusal));
    assert_eq!(worst(&bench, &Purpose::Look), Some(Severity::Warning));
}

#[tokio::test]
async fn everything_is_found_at_once() {
    let mut bench = Bench::new().await;
    bench.data().presence = Presence::Empty;
    bench.data().unknown_dirs = vec!["a".into(), "b".into()];
    bench.quorum = Some(Err("no leader".into()));
    let refusals = bench
        .judge(&cold())
        .into_iter()
        .filter(|finding| finding.severity == Severity::Refusal);
    assert_eq!(refusals.count(), 4);
}
