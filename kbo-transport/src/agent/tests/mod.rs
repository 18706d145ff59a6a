//! An agent and its client over a pair of pipes in memory, with real files and an engine in memory.

mod certs;
mod claims;
mod conforming;
mod hostile;
mod leases;
mod operations;
mod others;
mod streams;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use kbo_archive::DirSpec;
use kbo_core::ids::RunId;
use kbo_core::inventory::{Dataset, Role};
use kbo_core::manifest::{FileKind, FileRecord, Sha256};
use kbo_core::ports::node::{ContainerState, Lease, NodeError, NodeErrorKind, StopRequest};
use kbo_core::ports::stream::{ByteSink, ByteSource, StreamError};
use tokio::task::JoinHandle;

use super::undo::UndoLimits;
use super::{AgentLimits, ClientLimits, RemoteNode, serve};
use crate::carrier::{AgentPipe, Carrier};
use crate::kafka::KafkaAccess;
use crate::local::NodeSpec;
use crate::local::fake::FakeEngine;

pub(super) fn run() -> RunId {
    "20261122T030000Z".parse().unwrap()
}

/// Agents that were started, to wait for or to kill.
type Agents = Arc<Mutex<Vec<JoinHandle<Result<(), NodeError>>>>>;

/// A node with a data and a config directory, and agents for it on demand.
pub(super) struct Lab {
    pub(super) dir: tempfile::TempDir,
    pub(super) engine: Arc<FakeEngine>,
    pub(super) limits: AgentLimits,
    agents: Agents,
}

/// Starts agents as tasks. How often it was asked to is counted.
pub(super) struct TaskCarrier {
    limits: AgentLimits,
    agents: Agents,
    pub(super) opened: Arc<AtomicUsize>,
    capacity: usize,
    /// Where it tells that directories are reached.
    pub(super) paths: Vec<(String, String)>,
}

#[async_trait]
impl Carrier for TaskCarrier {
    async fn open(&self) -> Result<AgentPipe, NodeError> {
        let (agent_in, client_out) = tokio::io::duplex(self.capacity);
        let (client_in, agent_out) = tokio::io::duplex(self.capacity);
        let task = tokio::spawn(serve(agent_in, agent_out, self.limits.clone()));
        self.agents.lock().unwrap().push(task);
        self.opened.fetch_add(1, Ordering::SeqCst);
        Ok(AgentPipe {
            reader: Box::new(client_in),
            writer: Box::new(client_out),
            complaints: Arc::new(|| "last words".to_owned()),
            paths: self.paths.clone(),
            engine_paths: Vec::new(),
            engine_socket: None,
            guard: Box::new(()),
        })
    }

    fn describe(&self) -> String {
        "a task".to_owned()
    }
}

impl Lab {
    pub(super) fn new() -> Self {
        Self::with_state(ContainerState::Running)
    }

    pub(super) fn with_state(state: ContainerState) -> Self {
        let engine = Arc::new(FakeEngine::new(state));
        let undo = UndoLimits {
            controllers: Duration::from_secs(5),
            settle: Duration::from_millis(50),
            retry: Duration::from_secs(5),
            poll: Duration::from_millis(20),
        };
        let limits = AgentLimits {
            heartbeat: Duration::from_millis(100),
            silence: Duration::from_secs(5),
            grace: Duration::from_millis(300),
            patience: Duration::from_secs(5),
            undo,
            engine: Some(engine.clone()),
        };
        let dir = tempfile::tempdir().unwrap();
        let lab = Self {
            dir,
            engine,
            limits,
            agents: Arc::default(),
        };
        std::fs::create_dir_all(lab.data().join("t-0")).unwrap();
        std::fs::create_dir_all(lab.config()).unwrap();
        let meta = "version=1\ncluster.id=AkU3OEVBNTcwNTJENDM2Qg\nnode.id=4\n";
        std::fs::write(lab.data().join("meta.properties"), meta).unwrap();
        std::fs::write(
            lab.data().join(".kafka_cleanshutdown"),
            r#"{"version":0,"brokerEpoch":7}"#,
        )
        .unwrap();
        std::fs::write(lab.data().join("replication-offset-checkpoint"), "0\n1\nt 0 0\n").unwrap();
        let metadata = lab.data().join("__cluster_metadata-0");
        std::fs::create_dir_all(&metadata).unwrap();
        std::fs::write(metadata.join("00000000000000000000.log"), "").unwrap();
        std::fs::write(lab.data().join("t-0/partition.metadata"), "version: 0\ntopic_id: x\n").unwrap();
        std::fs::write(
            lab.config().join("server.properties"),
            "process.roles=broker\nnode.id=4\n",
        )
        .unwrap();
        lab
    }

    pub(super) fn data(&self) -> PathBuf {
        self.dir.path().join("node/data")
    }

    pub(super) fn config(&self) -> PathBuf {
        self.dir.path().join("etc/config")
    }

    /// Where kbo's own files are.
    pub(super) fn work(&self) -> PathBuf {
        self.dir.path().join("node/.kbo")
    }

    pub(super) fn spec(&self) -> NodeSpec {
        let dir = |dataset, path: PathBuf| DirSpec {
            dataset,
            label: path.to_string_lossy().into_owned(),
            path,
        };
        NodeSpec {
            engine_paths: Vec::new(),
            seen_paths: Vec::new(),
            unit: None,
            node: "b1".parse().unwrap(),
            role: Role::Broker,
            container: "b1".to_owned(),
            engine_socket: "/nowhere".to_owned(),
            dirs: vec![dir(Dataset::Config, self.config()), dir(Dataset::Data, self.data())],
            hosts: Vec::new(),
            kafka: KafkaAccess::default(),
        }
    }

    pub(super) fn carrier(&self) -> TaskCarrier {
        TaskCarrier {
            limits: self.limits.clone(),
            agents: self.agents.clone(),
            opened: Arc::default(),
            capacity: 64 << 10,
            paths: Vec::new(),
        }
    }

    pub(super) fn node(&self) -> RemoteNode<TaskCarrier> {
        self.remote(self.carrier())
    }

    pub(super) fn remote(&self, carrier: TaskCarrier) -> RemoteNode<TaskCarrier> {
        RemoteNode::new(self.spec(), carrier).with_limits(ClientLimits {
            ping: Duration::from_millis(100),
            silence: Duration::from_secs(5),
            hello: Duration::from_secs(5),
        })
    }

    /// Waits until every agent has ended.
    pub(super) async fn agents_ended(&self) {
        let agents = std::mem::take(&mut *self.agents.lock().unwrap());
        for agent in agents {
            tokio::time::timeout(Duration::from_secs(20), agent)
                .await
                .expect("an agent lives on")
                .unwrap()
                .unwrap();
        }
    }

    /// Ends every agent as a crash of its process would.
    pub(super) async fn kill_agents(&self) {
        let agents = std::mem::take(&mut *self.agents.lock().unwrap());
        for agent in agents {
            agent.abort();
            let _ = agent.await;
        }
    }

    /// A stop with a lease of this grace.
    pub(super) fn stop(&self, grace_ms: u64) -> StopRequest {
        let lease = Lease {
            grace: Duration::from_millis(grace_ms),
        };
        StopRequest {
            run: run(),
            timeout: Duration::from_secs(360),
            lease: Some(lease),
        }
    }

    /// Files whose sizes make an archive of several chunks.
    pub(super) fn fill(&self, bytes: usize) {
        let mut state = 1_u32;
        let content: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(bytes)
        .collect();
        std::fs::write(self.config().join("big.bin"), content).unwrap();
    }
}

/// Takes everything, or fails after some.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) bytes: Vec<u8>,
    pub(super) limit: Option<usize>,
}

#[async_trait]
impl ByteSink for Taken {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StreamError> {
        if self.limit.is_some_and(|limit| self.bytes.len() + chunk.len() > limit) {
            return Err(StreamError::Interrupted);
        }
        self.bytes.extend_from_slice(&chunk);
        Ok(())
    }
}

/// Gives bytes in chunks, then the end, an error, or nothing ever.
pub(super) struct Given {
    pub(super) bytes: Bytes,
    pub(super) end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Proper,
    Error,
    Endless,
}

#[async_trait]
impl ByteSource for Given {
    async fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
        if self.bytes.is_empty() {
            return match self.end {
                End::Proper => Ok(None),
                End::Error => Err(StreamError::Other("the store burns".to_owned())),
                End::Endless => Ok(Some(Bytes::from_static(&[7; 64 << 10]))),
            };
        }
        let next = self.bytes.len().min(100_000);
        Ok(Some(self.bytes.split_to(next)))
    }
}

pub(super) fn assert_kind<T: std::fmt::Debug>(outcome: Result<T, NodeError>, kind: NodeErrorKind) -> NodeError {
    let error = outcome.expect_err("it should have failed");
    assert_eq!(error.kind, kind, "{error:?}");
    error
}

/// Waits until something holds.
pub(super) async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}

pub(super) fn exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

pub(super) fn record(index: usize) -> FileRecord {
    FileRecord {
        path: format!("topic-with-a-long-name-{index}/00000000000000000000.log"),
        kind: FileKind::File {
            size: index as u64,
            sha256: Sha256([index as u8; 32]),
        },
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        mtime: "2026-11-22T03:00:00.123456789Z".parse().unwrap(),
    }
}
