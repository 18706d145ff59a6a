//! A container engine in memory, for tests: one container, what was asked of it, and what it is to fail at.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use kbo_archive::clean::MARKER;
use kbo_core::ports::node::{
    ContainerFacts, ContainerState, EngineFacts, Incarnation, NodeError, NodeErrorKind, StartOutcome,
};

use serde_json::Value;

use super::engine::{Engine, Inspected};

pub(crate) struct FakeEngine {
    inner: Mutex<Inner>,
}

struct Inner {
    state: ContainerState,
    starts: u32,
    calls: Vec<String>,
    stop_takes: Duration,
    failing_starts: u32,
    /// Bodies of containers that were created, or put aside; the state of the node's own is `state`.
    bodies: BTreeMap<String, Value>,
    has_image: bool,
    broker: Option<PathBuf>,
}

impl FakeEngine {
    pub(crate) fn new(state: ContainerState) -> Self {
        let inner = Inner {
            state,
            starts: 1,
            calls: Vec::new(),
            stop_takes: Duration::ZERO,
            failing_starts: 0,
            bodies: BTreeMap::new(),
            has_image: true,
            broker: None,
        };
        Self {
            inner: Mutex::new(inner),
        }
    }

    pub(crate) fn state(&self) -> ContainerState {
        self.inner.lock().unwrap().state
    }

    /// `stop 10`, `start`, in the order asked.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.inner.lock().unwrap().calls.clone()
    }

    pub(crate) fn stop_takes(&self, time: Duration) {
        self.inner.lock().unwrap().stop_takes = time;
    }

    /// What runs is a broker with this log dir: it leaves its marker when it stops and takes it away when it starts.
    pub(crate) fn run_broker_in(&self, log_dir: PathBuf) {
        self.inner.lock().unwrap().broker = Some(log_dir);
    }

    /// The engine lacks every image, and no registry has one.
    pub(crate) fn without_image(self) -> Self {
        self.inner.lock().unwrap().has_image = false;
        self
    }

    /// Names of the containers that were created or put aside.
    pub(crate) fn containers(&self) -> Vec<String> {
        self.inner.lock().unwrap().bodies.keys().cloned().collect()
    }

    /// Somebody else than kbo starts or stops the container.
    pub(crate) fn meddle(&self, state: ContainerState) {
        let mut inner = self.inner.lock().unwrap();
        inner.starts += u32::from(state.is_up() && !inner.state.is_up());
        inner.state = state;
    }

    pub(crate) fn fail_starts(&self, times: u32) {
        self.inner.lock().unwrap().failing_starts = times;
    }
}

#[async_trait]
impl Engine for FakeEngine {
    async fn facts(&self) -> Result<EngineFacts, NodeError> {
        Ok(EngineFacts {
            version: "Fake 1".to_owned(),
            api: "1.41".to_owned(),
        })
    }

    async fn inspect(&self, container: &str) -> Result<Option<Inspected>, NodeError> {
        let state = if is_aside(container) {
            let inner = self.inner.lock().unwrap();
            if inner.bodies.contains_key(container) {
                ContainerState::Stopped
            } else {
                ContainerState::Missing
            }
        } else {
            self.state()
        };
        if state == ContainerState::Missing {
            return Ok(None);
        }
        Ok(Some(Inspected {
            facts: ContainerFacts {
                id: format!("id-of-{container}"),
                image: "kafka".to_owned(),
                state,
                restart_policy: "always".to_owned(),
                definition: serde_json::json!({}),
                mounts: Vec::new(),
                incarnation: Some(Incarnation {
                    container: format!("id-of-{container}"),
                    started: format!("start {}", self.inner.lock().unwrap().starts),
                    finished: String::new(),
                }),
            },
            env: Vec::new(),
            command: Vec::new(),
            addresses: Vec::new(),
        }))
    }

    async fn stop(&self, _container: &str, timeout: Duration) -> Result<(), NodeError> {
        let takes = {
            let mut inner = self.inner.lock().unwrap();
            inner.calls.push(format!("stop {}", timeout.as_secs()));
            inner.stop_takes
        };
        tokio::time::sleep(takes).await;
        let mut inner = self.inner.lock().unwrap();
        inner.state = ContainerState::Stopped;
        if let Some(log_dir) = &inner.broker {
            std::fs::write(log_dir.join(MARKER), r#"{"version":0,"brokerEpoch":7}"#).unwrap();
        }
        Ok(())
    }

    async fn start(&self, _container: &str) -> Result<StartOutcome, NodeError> {
        let mut inner = self.inner.lock().unwrap();
        inner.calls.push("start".to_owned());
        if inner.failing_starts > 0 {
            inner.failing_starts -= 1;
            return Err(NodeError::new(NodeErrorKind::Engine, "the engine is not up"));
        }
        if inner.state.is_up() {
            return Ok(StartOutcome::AlreadyRunning);
        }
        inner.state = ContainerState::Running;
        inner.starts += 1;
        if let Some(log_dir) = &inner.broker {
            let _ = std::fs::remove_file(log_dir.join(MARKER));
        }
        Ok(StartOutcome::Started)
    }

    async fn raw(&self, container: &str) -> Result<Option<Value>, NodeError> {
        let inner = self.inner.lock().unwrap();
        Ok(inner
            .bodies
            .get(container)
            .map(|body| serde_json::json!({ "Config": body, "HostConfig": body["HostConfig"] })))
    }

    async fn image(&self, _image: &str) -> Result<Option<Value>, NodeError> {
        Ok(self
            .inner
            .lock()
            .unwrap()
            .has_image
            .then(|| serde_json::json!({ "User": "appuser" })))
    }

    async fn pull(&self, image: &str) -> Result<(), NodeError> {
        self.inner.lock().unwrap().calls.push(format!("pull {image}"));
        Err(NodeError::new(NodeErrorKind::Engine, "there is no registry"))
    }

    async fn create(&self, container: &str, body: &Value) -> Result<(), NodeError> {
        let mut inner = self.inner.lock().unwrap();
        inner.calls.push(format!("create {container}"));
        inner.bodies.insert(container.to_owned(), body.clone());
        if !is_aside(container) {
            inner.state = ContainerState::Stopped;
        }
        Ok(())
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), NodeError> {
        let mut inner = self.inner.lock().unwrap();
        inner.calls.push(format!("rename {from} {to}"));
        let body = inner.bodies.remove(from).unwrap_or_default();
        inner.bodies.insert(to.to_owned(), body);
        inner.state = if is_aside(to) {
            ContainerState::Missing
        } else {
            ContainerState::Stopped
        };
        Ok(())
    }

    async fn remove(&self, container: &str) -> Result<(), NodeError> {
        let mut inner = self.inner.lock().unwrap();
        inner.calls.push(format!("remove {container}"));
        inner.bodies.remove(container);
        if !is_aside(container) {
            inner.state = ContainerState::Missing;
        }
        Ok(())
    }

    async fn run_once(&self, container: &str, body: &Value) -> Result<(i64, String), NodeError> {
        self.inner.lock().unwrap().calls.push(format!("run {container}"));
        for bind in body["HostConfig"]["Binds"].as_array().into_iter().flatten() {
            let dir = bind
                .as_str()
                .and_then(|bind| bind.split(':').next())
                .unwrap_or_default();
            std::fs::write(PathBuf::from(dir).join("meta.properties"), "version=1\n").unwrap();
        }
        Ok((0, "Formatting".to_owned()))
    }
}

fn is_aside(container: &str) -> bool {
    container.contains(".kbo-")
}
