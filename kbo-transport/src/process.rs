//! A carrier that starts the agent as a process of this machine: for the node that kbo runs on itself.
//!
//! The node could be served without a process of its own, but then nobody would undo its part when kbo is killed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use async_trait::async_trait;
use kbo_core::ports::node::{NodeError, NodeErrorKind};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use crate::carrier::{AgentPipe, Carrier};
use crate::complaints::Complaints;

/// Starts the agent as a child process.
#[derive(Debug, Clone)]
pub struct ChildCarrier {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl ChildCarrier {
    /// An agent that `program` is with `arguments`.
    pub fn new(program: impl Into<PathBuf>, arguments: impl IntoIterator<Item = OsString>) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.into_iter().collect(),
        }
    }

    /// `kbo agent`, of the running program.
    ///
    /// # Errors
    /// The system cannot say which that is.
    pub fn own() -> Result<Self, NodeError> {
        let program = std::env::current_exe().map_err(|error| {
            NodeError::new(
                NodeErrorKind::Agent,
                format!("cannot find the running program to start its agent: {error}"),
            )
        })?;
        Ok(Self::new(program, [OsString::from("agent")]))
    }
}

#[async_trait]
impl Carrier for ChildCarrier {
    async fn open(&self) -> Result<AgentPipe, NodeError> {
        let failed = |why: &dyn std::fmt::Display| {
            NodeError::new(
                NodeErrorKind::Agent,
                format!("cannot start {}: {why}", self.program.display()),
            )
        };
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C at the terminal is for us: the agent learns of our end by its input's.
            .process_group(0)
            .kill_on_drop(false)
            .spawn()
            .map_err(|error| failed(&error))?;
        let (Some(writer), Some(reader), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(failed(&"it has no pipes"));
        };
        Ok(AgentPipe {
            reader: Box::new(reader),
            writer: Box::new(writer),
            complaints: keep_last(stderr),
            paths: Vec::new(),
            engine_paths: Vec::new(),
            engine_socket: None,
            // Not killed when dropped; the runtime reaps it when it ends.
            guard: Box::new(child),
        })
    }

    fn describe(&self) -> String {
        "this machine".to_owned()
    }
}

/// Reads a standard error to its end, or the agent would wait for somebody to.
fn keep_last<R: AsyncRead + Send + Unpin + 'static>(mut stderr: R) -> Arc<dyn Fn() -> String + Send + Sync> {
    let complaints = Complaints::default();
    let reader = complaints.reader();
    tokio::spawn(async move {
        let mut buffer = [0; 1024];
        while let Ok(length @ 1..) = stderr.read(&mut buffer).await {
            complaints.push(&buffer[..length]);
        }
    });
    reader
}
