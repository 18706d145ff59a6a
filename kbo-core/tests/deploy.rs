//! Files brought to many nodes: whatever fails where, all have the new ones, or all the old ones, or it is said who has not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kbo_core::cancel::Cancel;
use kbo_core::deploy::{Deployment, Target, Undone};
use kbo_core::ids::NodeName;
use kbo_core::ports::node::*;
use kbo_core::ports::stream::{ByteSink, ByteSource};
use kbo_core::report::Outcome;
use kbo_core::testing::sha256;

const DIR: &str = "/certs";

type Files = BTreeMap<String, Vec<u8>>;

/// A directory of a node, with the contract of the port; the n-th operation of all nodes can fail, before or after it has been done.
#[derive(Default)]
struct Disk {
    live: Files,
    staged: Files,
    previous: Option<Files>,
    committed: bool,
}

#[derive(Default)]
struct Plan {
    count: usize,
    strikes: Vec<(usize, bool)>,
    kinds: Vec<&'static str>,
    dead: Vec<NodeName>,
    dies: bool,
}

struct Dir {
    name: NodeName,
    disk: Mutex<Disk>,
    plan: Arc<Mutex<Plan>>,
}

fn other<T>() -> Result<T, NodeError> {
    Err(NodeError::new(NodeErrorKind::State, "not asked for here"))
}

fn report(files: &Files, previous: Option<&Files>) -> FilesReport {
    let placed = files.iter().map(|(name, bytes)| PlacedFile {
        name: name.clone(),
        sha256: sha256(bytes),
        mode: 0o600,
        uid: 0,
        gid: 0,
    });
    FilesReport {
        files: placed.collect(),
        previous: previous.into_iter().flat_map(BTreeMap::keys).cloned().collect(),
    }
}

impl Dir {
    fn apply(&self, request: &FilesRequest) -> FilesReport {
        let mut disk = self.disk.lock().unwrap();
        let disk = &mut *disk;
        match request {
            FilesRequest::Look { names, .. } => {
                let mut asked = disk.live.clone();
                asked.retain(|name, _| names.contains(name));
                return report(&asked, disk.previous.as_ref());
            }
            FilesRequest::Stage { files, .. } => {
                disk.staged = files
                    .iter()
                    .map(|file| (file.name.clone(), file.bytes.to_vec()))
                    .collect();
                return report(&disk.staged, None);
            }
            FilesRequest::Commit { .. } => {
                if !disk.staged.is_empty() {
                    disk.previous = Some(disk.live.clone());
                    disk.live = std::mem::take(&mut disk.staged);
                    disk.committed = true;
                }
            }
            FilesRequest::Undo { .. } => {
                if std::mem::take(&mut disk.committed) {
                    disk.live = disk.previous.take().unwrap();
                }
            }
            FilesRequest::Rollback { .. } => {
                let previous = disk.previous.as_mut().unwrap();
                std::mem::swap(previous, &mut disk.live);
            }
            FilesRequest::Drop { .. } => disk.staged.clear(),
        }
        report(&disk.live, disk.previous.as_ref())
    }
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
        let done = self.apply(request);
        if strike == Some(true) { Err(broken()) } else { Ok(done) }
    }
    async fn facts(&self, _: &FactsRequest) -> Result<NodeFacts, NodeError> {
        other()
    }
    async fn state(&self) -> Result<ContainerState, NodeError> {
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

impl Scene {
    fn new() -> Self {
        let plan = Arc::new(Mutex::new(Plan::default()));
        let dir = |name: &str| {
            let live = Files::from([("keystore.p12".to_owned(), b"old".to_vec())]);
            Arc::new(Dir {
                name: name.parse().unwrap(),
                disk: Mutex::new(Disk {
                    live,
                    ..Disk::default()
                }),
                plan: Arc::clone(&plan),
            })
        };
        let dirs: Vec<Arc<Dir>> = ["c1", "b1", "b2"].map(dir).into();
        let file = |name: &str| {
            let file = NewFile {
                name: name.to_owned(),
                bytes: b"new".to_vec().into(),
                mode: 0o600,
                owner: None,
            };
            (file, sha256(b"new"))
        };
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
            .map(|dir| dir.disk.lock().unwrap().live.clone())
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
                let left = |dir: &Arc<Dir>| !dir.disk.lock().unwrap().staged.is_empty() && !dead.contains(&dir.name);
                assert!(!scene.dirs.iter().any(left), "{label}");
                let named = undone.nodes();
                assert!(dead.iter().all(|node| named.contains(&node)), "{label}");
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
            failures: vec![]
        }
    );
    assert_eq!(scene.is_old(), [true; 3]);
    assert!(scene.dirs.iter().all(|dir| dir.disk.lock().unwrap().staged.is_empty()));
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
async fn a_rollback_is_refused_where_a_node_keeps_no_earlier_files() {
    let scene = Scene::new();
    scene.deployment.run().await.unwrap();
    scene.dirs[1].disk.lock().unwrap().previous = None;
    let undone = scene.deployment.roll_back().await.unwrap_err();
    assert_eq!(undone.outcome, Outcome::Refused);
    assert_eq!(undone.nodes(), [&scene.dirs[1].name]);
    assert_eq!(scene.is_new(), [true; 3]);
}

/// An exchange whose answer was lost is looked at before it is asked for again.
#[tokio::test]
async fn a_rollback_that_fails_somewhere_is_taken_back_everywhere() {
    for at in 6..9 {
        for after in [false, true] {
            let scene = Scene::new();
            scene.deployment.run().await.unwrap();
            scene.strike(at, after, false);
            let undone = scene.deployment.roll_back().await.unwrap_err();
            assert_eq!(undone.outcome, Outcome::Failed, "{at} {after}: {undone:?}");
            assert_eq!(scene.is_new(), [true; 3], "{at} {after}");
        }
    }
}
