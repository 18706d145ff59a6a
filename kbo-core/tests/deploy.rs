//! Files brought to many nodes: whatever fails where, all have the new ones, or all the old ones, or it is said who has not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kbo_core::cancel::Cancel;
use kbo_core::deploy::{Deployment, Target, Undone};
use kbo_core::ids::{NodeName, RunId};
use kbo_core::inventory::Dataset;
use kbo_core::manifest::Sha256;
use kbo_core::ports::node::*;
use kbo_core::ports::stream::{ByteSink, ByteSource};
use kbo_core::report::Outcome;
use kbo_core::testing::{FakeFile, FilesDir, sha256};

const DIR: &str = "/certs";

type Files = BTreeMap<String, Vec<u8>>;

#[derive(Default)]
struct Plan {
    count: usize,
    strikes: Vec<(usize, bool)>,
    kinds: Vec<&'static str>,
    dead: Vec<NodeName>,
    dies: bool,
}

/// A node's directory; the n-th operation of all nodes can fail, before or after it has been done.
struct Dir {
    name: NodeName,
    disk: Mutex<FilesDir>,
    plan: Arc<Mutex<Plan>>,
}

fn other<T>() -> Result<T, NodeError> {
    Err(NodeError::new(NodeErrorKind::State, "not asked for here"))
}

#[async_trait]
impl NodeTransport for Dir {
    fn name(&self) -> &NodeName {
        &self.name
    }
    async fn files(&self, request: &FilesRequest) -> Result<FilesReport, NodeError> {
        let broken = || NodeError::new(NodeErrorKind::Unreachable, format!("{} has gone", self.name));
        let strike = {
            let mut plan = self.plan.lock().unwrap();
            let at = plan.count;
            plan.count += 1;
            plan.kinds.push(match request {
                FilesRequest::Look { .. } => "look",
                FilesRequest::Stage { .. } => "stage",
                FilesRequest::Commit { .. } => "commit",
                FilesRequest::Undo { .. } => "undo",
                FilesRequest::Rollback { .. } => "rollback",
                FilesRequest::Drop { .. } => "drop",
            });
            let strike = plan
                .strikes
                .iter()
                .find(|(when, _)| *when == at)
                .map(|(_, after)| *after);
            if plan.dead.contains(&self.name) {
                return Err(broken());
            }
            if strike.is_some() && plan.dies {
                plan.dead.push(self.name.clone());
            }
            strike
        };
        if strike == Some(false) {
            return Err(broken());
        }
        let done = self.disk.lock().unwrap().carry_out(request, (0, 0));
        if strike == Some(true) { Err(broken()) } else { done }
    }
    async fn facts(&self, _: &FactsRequest) -> Result<NodeFacts, NodeError> {
        other()
    }
    async fn space(&self, _: &[Dataset]) -> Result<Vec<DirSpace>, NodeError> {
        other()
    }
    async fn claim(&self, _: &Claim) -> Result<ClaimReport, NodeError> {
        other()
    }
    async fn holds(&self, _: &RunId) -> Result<Held, NodeError> {
        other()
    }
    async fn agree(&self, _: &RunId) -> Result<(), NodeError> {
        other()
    }
    async fn forgo(&self, _: &RunId) -> Result<(), NodeError> {
        other()
    }
    async fn look(&self) -> Result<ContainerNow, NodeError> {
        other()
    }
    async fn stop(&self, _: &StopRequest) -> Result<StopOutcome, NodeError> {
        other()
    }
    async fn start(&self) -> Result<StartOutcome, NodeError> {
        other()
    }
    async fn kafka(&self, _: KafkaQuestion) -> Result<KafkaAnswer, NodeError> {
        other()
    }
    async fn prove_clean(&self) -> Result<CleanStopProof, NodeError> {
        other()
    }
    async fn snapshot(&self, _: &SnapshotRequest) -> Result<SnapshotReport, NodeError> {
        other()
    }
    async fn archive(&self, _: &ArchiveRequest, _: &mut dyn ByteSink) -> Result<ArchiveReport, NodeError> {
        other()
    }
    async fn stage(&self, _: &StageRequest, _: &mut dyn ByteSource) -> Result<StageReport, NodeError> {
        other()
    }
    async fn swap(&self, _: &SwapRequest) -> Result<SwapOutcome, NodeError> {
        other()
    }
    async fn swap_back(&self, _: &SwapRequest) -> Result<SwapOutcome, NodeError> {
        other()
    }
    async fn container(&self, _: &ContainerRequest) -> Result<ContainerReport, NodeError> {
        other()
    }
    async fn quorum_setup(&self, _: &str) -> Result<QuorumSetup, NodeError> {
        other()
    }
    async fn format(&self, _: &FormatRequest) -> Result<FormatReport, NodeError> {
        other()
    }
    async fn clean(&self, _: &CleanRequest) -> Result<CleanReport, NodeError> {
        other()
    }
    async fn listeners(&self, _: bool) -> Result<Vec<ListenerFacts>, NodeError> {
        other()
    }
    async fn release(&self) -> Result<(), NodeError> {
        Ok(())
    }
}

struct Scene {
    dirs: Vec<Arc<Dir>>,
    plan: Arc<Mutex<Plan>>,
    deployment: Deployment,
}

fn file(name: &str) -> (NewFile, Sha256) {
    let file = NewFile {
        name: name.to_owned(),
        bytes: b"new".to_vec().into(),
        mode: 0o600,
        owner: None,
    };
    (file, sha256(b"new"))
}

impl Scene {
    fn new() -> Self {
        let plan = Arc::new(Mutex::new(Plan::default()));
        let dir = |name: &str| {
            let old = FakeFile {
                bytes: b"old".to_vec(),
                mode: 0o600,
                owner: (0, 0),
            };
            let mut disk = FilesDir::default();
            disk.live.insert("keystore.p12".to_owned(), old);
            Arc::new(Dir {
                name: name.parse().unwrap(),
                disk: Mutex::new(disk),
                plan: Arc::clone(&plan),
            })
        };
        let dirs: Vec<Arc<Dir>> = ["c1", "b1", "b2"].map(dir).into();
        let target = |dir: &Arc<Dir>| Target {
            node: Arc::clone(dir) as Arc<dyn NodeTransport>,
            files: vec![file("keystore.p12"), file("truststore.p12")],
        };
        let deployment = Deployment {
            run: "20261125T050000Z".parse().unwrap(),
            dir: DIR.to_owned(),
            targets: dirs.iter().map(target).collect(),
            parallel: 2,
            cancel: Cancel::default(),
        };
        Self { dirs, plan, deployment }
    }

    fn live(&self) -> Vec<Files> {
        self.dirs
            .iter()
            .map(|dir| {
                let disk = dir.disk.lock().unwrap();
                let live = disk.live.iter();
                live.map(|(name, file)| (name.clone(), file.bytes.clone())).collect()
            })
            .collect()
    }

    fn is_new(&self) -> Vec<bool> {
        let new = |files: &Files| files.len() == 2 && files.values().all(|bytes| bytes == b"new");
        self.live().iter().map(new).collect()
    }

    fn is_old(&self) -> Vec<bool> {
        let old = |files: &Files| files.len() == 1 && files.values().all(|bytes| bytes == b"old");
        self.live().iter().map(old).collect()
    }

    fn strike(&self, at: usize, after: bool, dies: bool) {
        let mut plan = self.plan.lock().unwrap();
        let at = plan.count + at;
        plan.strikes = vec![(at, after)];
        plan.dies = dies;
    }
}

#[tokio::test]
async fn everything_is_staged_everywhere_before_anything_is_put_in_place() {
    let scene = Scene::new();
    let before = scene.deployment.look().await.unwrap();
    assert!(before.iter().all(|node| !node.is_same()));
    assert_eq!(
        (&before[0].missing[..], &before[0].different[..]),
        (&["truststore.p12".to_owned()][..], &["keystore.p12".to_owned()][..])
    );
    scene.deployment.run().await.unwrap();
    assert_eq!(scene.is_new(), [true; 3]);
    let kinds = scene.plan.lock().unwrap().kinds.clone();
    assert_eq!(kinds[3..], ["stage", "stage", "stage", "commit", "commit", "commit"]);
    assert!(scene.deployment.look().await.unwrap().iter().all(|node| node.is_same()));
}

/// A failure at every operation, before it or after it, of a node that answers again or never does.
#[tokio::test]
async fn whatever_fails_all_have_the_old_files_or_it_is_said_who_has_not() {
    let mut seen = vec![];
    for at in 0..6 {
        for after in [false, true] {
            for dies in [false, true] {
                let scene = Scene::new();
                scene.strike(at, after, dies);
                let undone = scene.deployment.run().await.unwrap_err();
                let label = format!("{at} {after} {dies}: {undone:?}");
                match undone.outcome {
                    Outcome::Refused => assert!(at < 3, "{label}"),
                    Outcome::Failed => assert!(at >= 3 && !dies, "{label}"),
                    Outcome::NeedsPerson => assert!(at >= 3 && dies, "{label}"),
                    _ => panic!("{label}"),
                }
                let dead = scene.plan.lock().unwrap().dead.clone();
                for (dir, is_old) in scene.dirs.iter().zip(scene.is_old()) {
                    assert!(is_old || dead.contains(&dir.name), "{}: {label}", dir.name);
                }
                let left = |dir: &Arc<Dir>| dir.disk.lock().unwrap().is_staged() && !dead.contains(&dir.name);
                assert!(!scene.dirs.iter().any(left), "{label}");
                let stuck = match undone.outcome {
                    Outcome::NeedsPerson => dead,
                    _ => vec![],
                };
                assert_eq!(undone.stuck, stuck, "{label}");
                seen.push(undone.outcome);
            }
        }
    }
    for outcome in [Outcome::Refused, Outcome::Failed, Outcome::NeedsPerson] {
        assert!(seen.contains(&outcome));
    }
}

#[tokio::test]
async fn an_interruption_before_anything_is_in_place_leaves_nothing_behind() {
    let scene = Scene::new();
    scene.deployment.cancel.ask();
    let undone = scene.deployment.run().await.unwrap_err();
    assert_eq!(
        undone,
        Undone {
            outcome: Outcome::Interrupted,
            failures: vec![],
            stuck: vec![],
        }
    );
    assert_eq!(scene.is_old(), [true; 3]);
    assert!(!scene.dirs.iter().any(|dir| dir.disk.lock().unwrap().is_staged()));
}

#[tokio::test]
async fn a_rollback_exchanges_old_and_new_on_all_nodes() {
    let scene = Scene::new();
    scene.deployment.run().await.unwrap();
    scene.deployment.roll_back().await.unwrap();
    assert_eq!(scene.is_old(), [true; 3]);
    scene.deployment.roll_back().await.unwrap();
    assert_eq!(scene.is_new(), [true; 3]);
}

#[tokio::test]
async fn a_rollback_is_refused_where_nodes_keep_files_of_different_deployments() {
    let mut scene = Scene::new();
    scene.deployment.run().await.unwrap();
    // A second deployment reaches one node only.
    let all = std::mem::take(&mut scene.deployment.targets);
    let (some, others): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|target| target.node.name() == &scene.dirs[1].name);
    scene.deployment.targets = some;
    scene.deployment.run = "20261130T030000Z".parse().unwrap();
    scene.deployment.run().await.unwrap();
    let before: Vec<FilesDir> = scene.dirs.iter().map(|dir| dir.disk.lock().unwrap().clone()).collect();
    scene.deployment.targets.extend(others);
    let undone = scene.deployment.roll_back().await.unwrap_err();
    assert_eq!(undone.outcome, Outcome::Refused);
    let told = undone.failures[0].to_string();
    let last = format!("--rollback {} takes back the last one", scene.dirs[1].name);
    assert!(told.contains("20261130T030000Z") && told.contains(&last), "{told}");
    let after: Vec<FilesDir> = scene.dirs.iter().map(|dir| dir.disk.lock().unwrap().clone()).collect();
    assert_eq!(before, after);
    // Those of one deployment are rolled back.
    scene.deployment.targets.truncate(1);
    scene.deployment.roll_back().await.unwrap();
}

#[tokio::test]
async fn a_rollback_is_refused_where_a_node_keeps_no_earlier_files() {
    let scene = Scene::new();
    scene.deployment.run().await.unwrap();
    *scene.dirs[1].disk.lock().unwrap() = FilesDir::default();
    let undone = scene.deployment.roll_back().await.unwrap_err();
    assert_eq!(undone.outcome, Outcome::Refused);
    let failed: Vec<_> = undone.failures.iter().map(|failure| failure.node.as_ref()).collect();
    assert_eq!((failed, undone.stuck), (vec![Some(&scene.dirs[1].name)], vec![]));
    assert_eq!(scene.is_new(), [true, false, true]);
}

/// An exchange whose answer was lost is looked at before it is asked for again.
#[tokio::test]
async fn a_rollback_that_fails_somewhere_is_taken_back_everywhere_or_it_is_said_where_not() {
    for at in 6..9 {
        for after in [false, true] {
            for dies in [false, true] {
                let scene = Scene::new();
                scene.deployment.run().await.unwrap();
                scene.strike(at, after, dies);
                let undone = scene.deployment.roll_back().await.unwrap_err();
                let label = format!("{at} {after} {dies}: {undone:?}");
                let dead = scene.plan.lock().unwrap().dead.clone();
                let outcome = match dies {
                    true => Outcome::NeedsPerson,
                    false => Outcome::Failed,
                };
                assert_eq!((undone.outcome, &undone.stuck), (outcome, &dead), "{label}");
                for (dir, is_new) in scene.dirs.iter().zip(scene.is_new()) {
                    assert!(is_new || dead.contains(&dir.name), "{}: {label}", dir.name);
                }
            }
        }
    }
}

/// What was added by the deployment and replaced nothing is told apart from what was there before it, though that is the same.
#[tokio::test]
async fn a_rollback_of_a_file_without_predecessor_is_taken_back_where_another_node_fails() {
    let mut scene = Scene::new();
    scene.deployment.run().await.unwrap();
    let mut more = scene.deployment.targets[0].files.clone();
    more.push(file("keystore.jks"));
    for target in &mut scene.deployment.targets {
        target.files.clone_from(&more);
    }
    scene.deployment.run = "20261125T060000Z".parse().unwrap();
    scene.deployment.run().await.unwrap();
    let before = scene.live();
    scene.strike(8, false, false);
    assert_eq!(scene.deployment.roll_back().await.unwrap_err().outcome, Outcome::Failed);
    assert_eq!(scene.live(), before);
}

#[tokio::test]
async fn a_node_that_needs_nothing_keeps_what_it_had_before() {
    let mut scene = Scene::new();
    scene.deployment.run().await.unwrap();
    // One node is given its old file again by hand.
    let old = scene.dirs[2].disk.lock().unwrap().live["keystore.p12"].clone();
    let old = FakeFile {
        bytes: b"old".to_vec(),
        ..old
    };
    scene.dirs[2].disk.lock().unwrap().live = [("keystore.p12".to_owned(), old)].into();
    scene.deployment.run = "20261125T060000Z".parse().unwrap();
    let compared = scene.deployment.look().await.unwrap();
    let all = scene.deployment.targets.len();
    scene.deployment.leave_out_the_same(&compared);
    assert_eq!((all, scene.deployment.targets.len()), (3, 1));
    scene.deployment.run().await.unwrap();
    assert_eq!(scene.is_new(), [true; 3]);
    for dir in &scene.dirs {
        let back = FilesRequest::Rollback { dir: DIR.to_owned() };
        dir.disk.lock().unwrap().carry_out(&back, (0, 0)).unwrap();
    }
    assert_eq!(scene.is_old(), [true; 3]);
}
