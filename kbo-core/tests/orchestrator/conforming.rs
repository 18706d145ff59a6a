//! The fake, and the fake behind a decorator, pass the transports' own suite.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kbo_core::inventory::Dataset;
use kbo_core::ports::node::{ContainerState, NodeTransport};
use kbo_core::testing::conformance::{Harness, conformance};
use kbo_core::testing::{FakeCluster, Faults, FaultyNode, Files, Image, Shape};

struct Fake {
    cluster: Mutex<FakeCluster>,
    decorated: bool,
}

impl Fake {
    fn new(decorated: bool) -> Self {
        Self {
            cluster: Mutex::new(FakeCluster::new(Shape::SINGLE)),
            decorated,
        }
    }

    fn cluster(&self) -> FakeCluster {
        self.cluster.lock().expect("no panic elsewhere").clone()
    }
}

#[async_trait]
impl Harness for Fake {
    async fn node(&self) -> Arc<dyn NodeTransport> {
        let cluster = FakeCluster::new(Shape::SINGLE);
        let node = cluster.node("x1");
        let faults = Faults::none(cluster.clock());
        *self.cluster.lock().expect("no panic elsewhere") = cluster;
        if self.decorated {
            Arc::new(FaultyNode::new(node, faults))
        } else {
            node
        }
    }

    async fn put(&self, dataset: Dataset, files: &Files) {
        let image = Image {
            files: files.clone(),
            clean: false,
        };
        self.cluster()
            .with("x1", |node| node.live.insert(dataset, vec![Some(image)]));
    }

    async fn live(&self, dataset: Dataset) -> Files {
        self.cluster().with("x1", |node| node.files(dataset).remove(0))
    }

    async fn container(&self) -> ContainerState {
        self.cluster().with("x1", |node| node.container)
    }

    fn certs(&self) -> String {
        "/srv/kafka/certs".to_owned()
    }

    async fn placed(&self) -> Files {
        self.cluster().with("x1", |node| {
            let dir = node.certs.get("/srv/kafka/certs").cloned().unwrap_or_default();
            dir.live.into_iter().map(|(name, file)| (name, file.bytes)).collect()
        })
    }

    async fn leftovers(&self) -> Vec<String> {
        self.cluster().leftovers()
    }
}

#[tokio::test]
async fn the_fake_node_conforms() {
    conformance(&Fake::new(false)).await;
}

#[tokio::test]
async fn a_decorated_node_conforms() {
    conformance(&Fake::new(true)).await;
}
