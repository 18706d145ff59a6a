//! What a node needs of its container engine.

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use kbo_core::ports::node::{ContainerFacts, EngineFacts, NodeError, StartOutcome};
use serde_json::Value;

/// A container engine, as far as one node's container goes.
///
/// It reports and obeys; what may be stopped and started when is decided above it. In tests it is a struct in memory.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Who the engine is.
    async fn facts(&self) -> Result<EngineFacts, NodeError>;

    /// The container; `None` where the engine knows none of that name.
    async fn inspect(&self, container: &str) -> Result<Option<Inspected>, NodeError>;

    /// The command lines of the container's processes; empty where the engine cannot tell. They may hold secrets: never shown or
    /// kept as they are.
    async fn command_lines(&self, _container: &str) -> Result<Vec<String>, NodeError> {
        Ok(Vec::new())
    }

    /// Asks the container's process to end, kills it after `timeout`, and returns when the engine says that it has ended.
    async fn stop(&self, container: &str, timeout: Duration) -> Result<(), NodeError>;

    /// Starts the container.
    async fn start(&self, container: &str) -> Result<StartOutcome, NodeError>;

    /// The container as the engine's API tells it, nothing redacted: to be compared, never to be shown or kept.
    async fn raw(&self, container: &str) -> Result<Option<Value>, NodeError>;

    /// The configuration of an image (`Config` of its inspect); `None` where the engine does not have it.
    async fn image(&self, image: &str) -> Result<Option<Value>, NodeError>;

    /// Fetches an image from its registry.
    async fn pull(&self, image: &str) -> Result<(), NodeError>;

    /// Creates a container.
    async fn create(&self, container: &str, body: &Value) -> Result<(), NodeError>;

    /// Gives a container another name.
    async fn rename(&self, from: &str, to: &str) -> Result<(), NodeError>;

    /// Removes a container that does not run; its volumes stay. That there is none is fine.
    async fn remove(&self, container: &str) -> Result<(), NodeError>;

    /// Runs a container to its end and removes it with the volumes that came with it: exit code, and the last of what it said.
    async fn run_once(&self, container: &str, body: &Value) -> Result<(i64, String), NodeError>;
}

/// A container as the engine describes it.
#[derive(Clone)]
pub struct Inspected {
    /// What may be shown and kept.
    pub facts: ContainerFacts,
    /// The process's environment as it is. It may hold secrets: for finding Kafka's listeners only, never shown or kept.
    pub env: Vec<(String, String)>,
    /// The entrypoint and its arguments.
    pub command: Vec<String>,
    /// Its addresses in its own networks; none where it shares the host's.
    pub addresses: Vec<IpAddr>,
}

// By hand, for the environment must not show.
impl std::fmt::Debug for Inspected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inspected")
            .field("id", &self.facts.id)
            .field("state", &self.facts.state)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}
