//! The node on this machine, alone and behind an agent, passes the transports' own suite.

use std::path::Path;
use std::sync::Mutex as StdMutex;

use kbo_core::ports::node::NodeTransport;
use kbo_core::testing::Files;
use kbo_core::testing::conformance::{Harness, conformance};

use super::*;
use crate::local::LocalNode;

struct Conforming {
    lab: StdMutex<Arc<Lab>>,
    behind_an_agent: bool,
}

impl Conforming {
    fn new(behind_an_agent: bool) -> Self {
        Self {
            lab: StdMutex::new(Arc::new(Lab::new())),
            behind_an_agent,
        }
    }

    fn lab(&self) -> Arc<Lab> {
        self.lab.lock().unwrap().clone()
    }

    fn dir(&self, dataset: Dataset) -> PathBuf {
        match dataset {
            Dataset::Config => self.lab().config(),
            Dataset::Data => self.lab().data(),
        }
    }
}

#[async_trait]
impl Harness for Conforming {
    async fn node(&self) -> Arc<dyn NodeTransport> {
        let lab = Lab::new();
        lab.engine.run_broker_in(lab.data());
        let node: Arc<dyn NodeTransport> = if self.behind_an_agent {
            Arc::new(lab.node())
        } else {
            Arc::new(LocalNode::new(lab.spec(), None).with_engine(lab.engine.clone()))
        };
        *self.lab.lock().unwrap() = Arc::new(lab);
        node
    }

    async fn put(&self, dataset: Dataset, files: &Files) {
        let dir = self.dir(dataset);
        std::fs::remove_dir_all(&dir).unwrap();
        std::fs::create_dir(&dir).unwrap();
        for (name, bytes) in files {
            let path = dir.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }

    async fn live(&self, dataset: Dataset) -> Files {
        let mut files = Files::new();
        let dir = self.dir(dataset);
        collect(&dir, &dir, &mut files);
        files
    }

    async fn container(&self) -> ContainerState {
        self.lab().engine.state()
    }

    fn certs(&self) -> String {
        self.lab().dir.path().join("certs").to_string_lossy().into_owned()
    }

    async fn placed(&self) -> Files {
        let mut files = Files::new();
        let dir = PathBuf::from(self.certs());
        if dir.exists() {
            collect(&dir, &dir, &mut files);
        }
        files.retain(|path, _| !path.starts_with(".kbo-"));
        files
    }

    async fn leftovers(&self) -> Vec<String> {
        let lab = self.lab();
        let beside = ["node", "etc"].map(|parent| lab.dir.path().join(parent));
        let entries = beside.iter().flat_map(|parent| std::fs::read_dir(parent).unwrap());
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|name| name != "data" && name != "config").collect()
    }
}

fn collect(root: &Path, dir: &Path, files: &mut Files) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            files.insert(name, std::fs::read(&path).unwrap());
        }
    }
}

#[tokio::test]
async fn a_local_node_conforms() {
    conformance(&Conforming::new(false)).await;
}

#[tokio::test]
async fn a_node_behind_an_agent_conforms() {
    conformance(&Conforming::new(true)).await;
}
