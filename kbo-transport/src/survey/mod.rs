//! Finding Kafka on a machine: which containers of its engine are Kafka nodes, and where their directories are.
//!
//! Everything comes from the engine, files too: it gives them out of volumes, images and stopped containers alike. Over SSH the
//! pushed program surveys the node's own engine and prints one line; an engine that is reached from here is asked directly.

mod judge;
mod read;

use std::time::Duration;

use kbo_core::inventory::Role;
use kbo_core::ports::node::{NodeError, NodeErrorKind};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;

use crate::carrier::Carrier;
use crate::ssh::{SshCarrier, SshSettings};

/// What an engine has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// Kafka nodes.
    pub nodes: Vec<Surveyed>,
    /// Containers that are none, or of which not enough is known.
    pub ignored: Vec<Ignored>,
}

/// A Kafka node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surveyed {
    /// The container's name.
    pub container: String,
    /// Its image.
    pub image: String,
    /// Whether it runs.
    pub is_running: bool,
    /// `process.roles`
    pub role: Role,
    /// `node.id`
    pub node_id: Option<i32>,
    /// Out of meta.properties.
    pub cluster_id: Option<String>,
    /// The configuration directory; none where the container is configured by its environment.
    pub config: Option<Place>,
    /// Whether its file is mounted alone, so that the container has no such directory.
    pub config_is_one_file: bool,
    /// The properties file in it.
    pub properties: Option<String>,
    /// The log dirs, and the metadata log's where it is another.
    pub data: Vec<Place>,
    /// What says that it is Kafka.
    pub evidence: String,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// A directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// As the container sees it.
    pub in_container: String,
    /// As the machine sees it; none where it lies in no mount.
    pub on_node: Option<String>,
}

/// A container that is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ignored {
    /// Its name.
    pub container: String,
    /// Its image.
    pub image: String,
    /// Why.
    pub why: String,
}

/// Asks an engine (`unix:///path` or `tcp://host:port`).
///
/// # Errors
/// An engine that does not answer.
pub async fn of_engine(host: &str) -> Result<Survey, NodeError> {
    let docker = read::connect(host).await?;
    let mut survey = Survey {
        nodes: vec![],
        ignored: vec![],
    };
    for seen in read::containers(&docker, host).await? {
        match judge::suspicion(&seen) {
            Err(why) => survey.ignored.push(judge::ignored(&seen, why)),
            Ok(evidence) => {
                let files = read::files(&docker, &seen).await;
                match judge::node(&seen, evidence, &files) {
                    Ok(mut node) => {
                        let dirs: Vec<String> = node.data.iter().map(|place| place.in_container.clone()).collect();
                        let metas = read::metas(&docker, &seen.name, &dirs).await;
                        judge::identify(&mut node, &metas);
                        survey.nodes.push(node);
                    }
                    Err(why) => survey.ignored.push(judge::ignored(&seen, why)),
                }
            }
        }
    }
    Ok(survey)
}

/// The line that a surveying program prints.
#[derive(Serialize, Deserialize)]
struct Answer {
    kbo_survey: u32,
    result: Result<Survey, NodeError>,
}

const VERSION: u32 = 1;
const BEGINNING: &str = "{\"kbo_survey\":";
/// Time for all of a node's containers.
const PATIENCE: Duration = Duration::from_secs(120);
const LONGEST: u64 = 16 * 1024 * 1024;

/// What the program that was brought to a node prints there.
pub async fn answer(host: &str) -> String {
    let answer = Answer {
        kbo_survey: VERSION,
        result: of_engine(host).await,
    };
    serde_json::to_string(&answer).unwrap_or_default()
}

/// Brings this program to a node and has it survey the engine at `socket`.
///
/// # Errors
/// A node that is not reached, or whose engine does not answer.
pub async fn over_ssh(mut settings: SshSettings, socket: &str) -> Result<Survey, NodeError> {
    settings.agent_args = vec!["survey".to_owned(), socket.to_owned()];
    let peer = settings.peer();
    let pipe = SshCarrier::new(settings).open().await?;
    let failed = |what: String| NodeError::new(NodeErrorKind::Agent, format!("ssh {peer}: {what}"));
    let mut text = Vec::new();
    let mut reader = pipe.reader.take(LONGEST);
    match tokio::time::timeout(PATIENCE, reader.read_to_end(&mut text)).await {
        Err(_) => return Err(failed("looking for containers takes too long".to_owned())),
        Ok(Err(error)) => return Err(failed(format!("the survey broke off: {error}"))),
        Ok(Ok(_)) => {}
    }
    let text = String::from_utf8_lossy(&text);
    // What a login shell says comes before it.
    let line = text.lines().rev().find(|line| line.starts_with(BEGINNING));
    let answer = line.and_then(|line| serde_json::from_str::<Answer>(line).ok());
    answer
        .ok_or_else(|| failed("the survey says nothing that can be read".to_owned()))?
        .result
}
