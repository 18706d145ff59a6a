//! How an agent gets to a node, and how bytes get to the agent.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use kbo_core::ports::node::NodeError;
use tokio::io::{AsyncRead, AsyncWrite};

/// Brings the agent to one node and starts it.
///
/// `open` may be called again after a pipe broke, in the window too: a cluster that is down must not stay so for one lost packet. It
/// may try several times to connect, which changes nothing on the node; what is sent again afterwards is the caller's to decide,
/// and only what may be done twice is. An implementation checks whom it talks to before it sends anything (host keys).
#[async_trait]
pub trait Carrier: Send + Sync {
    /// Starts an agent on the node.
    async fn open(&self) -> Result<AgentPipe, NodeError>;

    /// How the node is reached, for messages: `ssh root@10.77.0.21:22`, `docker unix:///var/run/docker.sock`.
    fn describe(&self) -> String;
}

/// A running agent's standard input and output.
pub struct AgentPipe {
    /// The agent's standard output.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// The agent's standard input. Dropped or shut down, the agent sees its end.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
    /// What the agent last wrote to standard error, for the error when it dies.
    pub complaints: Arc<dyn Fn() -> String + Send + Sync>,
    /// Where the agent finds the node's directories, where that differs from the configured path: (configured, actual).
    pub paths: Vec<(String, String)>,
    /// Where folders that the agent sees lie on the engine's machine, where that differs: (seen, there).
    pub engine_paths: Vec<(String, String)>,
    /// The engine's socket as the agent sees it, where that differs from the configured one.
    pub engine_socket: Option<String>,
    /// What must live as long as the pipe (a connection, a helper container).
    pub guard: Box<dyn Any + Send>,
}
