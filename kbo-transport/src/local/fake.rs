//! A container engine in memory, for tests: one container, what was asked of it, and what it is to fail at.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use kbo_archive::clean::MARKER;
use kbo_core::ports::node::{ContainerFacts, ContainerState, EngineFacts, NodeError, NodeErrorKind, StartOutcome};

use super::engine::{Engine, Inspected};

pub(crate) struct FakeEngine {
    inner: Mutex<Inner>,
}

struct Inner {
    state: ContainerState,
    calls: Vec<String>,
    stop_takes: Duration,
    failing_starts: u32,
    broker: Option<PathBuf>,
}

impl FakeEngine {
    pub(crate) fn new(state: ContainerState) -> Self {
        let inner = Inner {
            state,
            calls: Vec::new(),
            stop_takes: Duration::ZERO,
            failing_starts: 0,
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
        let state = self.state();
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
        if let Some(log_dir) = &inner.broker {
            let _ = std::fs::remove_file(log_dir.join(MARKER));
        }
        Ok(StartOutcome::Started)
    }
}
