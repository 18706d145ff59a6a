//! The agent as a process, and the engine as it is.
//!
//! No test harness: this one program is the test, the agent that it starts, the client that gets killed, and the process in the
//! container. Without arguments it runs the tests.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use kbo_archive::DirSpec;
use kbo_core::inventory::{Dataset, Role};
use kbo_core::ports::node::{
    ContainerFacts, ContainerState, EngineFacts, FactsRequest, Lease, NodeError, NodeErrorKind, NodeTransport,
    StartOutcome, StopOutcome, StopRequest,
};
use kbo_transport::agent::{AgentLimits, RemoteNode, UndoLimits, serve_stdio};
use kbo_transport::kafka::KafkaAccess;
use kbo_transport::local::{DOCKER_SOCKET, Engine, EngineSocket, Inspected, NodeSpec};
use kbo_transport::process::ChildCarrier;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    match arguments.first().map(String::as_str) {
        Some("agent") => {
            let served = runtime.block_on(agent(Path::new(&arguments[1])));
            std::process::exit(i32::from(served.is_err()));
        }
        Some("client") => runtime.block_on(client(Path::new(&arguments[1]))),
        Some("sleep") => runtime.block_on(sleep_until_told()),
        // Arguments of a harness: a filter that matches nothing here, `--list`.
        Some("--list") => {}
        _ => {
            runtime.block_on(a_child_serves_and_ends());
            println!("a child serves and ends: ok");
            runtime.block_on(a_killed_client_leaves_a_running_container());
            println!("a killed client leaves a running container: ok");
            runtime.block_on(a_program_that_is_no_agent_is_shown());
            println!("a program that is no agent is shown: ok");
            runtime.block_on(an_engine_that_is_not_there_is_said_so());
            println!("an engine that is not there is said so: ok");
            runtime.block_on(a_real_engine_obeys());
        }
    }
}

/// A container that is a file with its state in it.
struct FileEngine(PathBuf);

#[async_trait]
impl Engine for FileEngine {
    async fn facts(&self) -> Result<EngineFacts, NodeError> {
        Ok(EngineFacts {
            version: "file".to_owned(),
            api: "1".to_owned(),
        })
    }

    async fn inspect(&self, _container: &str) -> Result<Option<Inspected>, NodeError> {
        let state = match std::fs::read_to_string(&self.0).unwrap().as_str() {
            "running" => ContainerState::Running,
            _ => ContainerState::Stopped,
        };
        let facts = ContainerFacts {
            id: String::new(),
            image: String::new(),
            state,
            restart_policy: "no".to_owned(),
            definition: serde_json::Value::Null,
            mounts: Vec::new(),
            incarnation: None,
        };
        Ok(Some(Inspected {
            facts,
            env: Vec::new(),
            command: Vec::new(),
            addresses: Vec::new(),
        }))
    }

    async fn stop(&self, _container: &str, _timeout: Duration) -> Result<(), NodeError> {
        std::fs::write(&self.0, "stopped").unwrap();
        Ok(())
    }

    async fn start(&self, _container: &str) -> Result<StartOutcome, NodeError> {
        std::fs::write(&self.0, "running").unwrap();
        Ok(StartOutcome::Started)
    }

    async fn raw(&self, _container: &str) -> Result<Option<serde_json::Value>, NodeError> {
        Ok(None)
    }

    async fn image(&self, _image: &str) -> Result<Option<serde_json::Value>, NodeError> {
        Ok(None)
    }

    async fn pull(&self, _image: &str) -> Result<(), NodeError> {
        Err(NodeError::new(NodeErrorKind::Engine, "there is no registry"))
    }

    async fn create(&self, _container: &str, _body: &serde_json::Value) -> Result<(), NodeError> {
        Err(NodeError::new(NodeErrorKind::Engine, "it has one container for good"))
    }

    async fn rename(&self, _from: &str, _to: &str) -> Result<(), NodeError> {
        Err(NodeError::new(NodeErrorKind::Engine, "it has one container for good"))
    }

    async fn remove(&self, _container: &str) -> Result<(), NodeError> {
        Err(NodeError::new(NodeErrorKind::Engine, "it has one container for good"))
    }

    async fn run_once(&self, _container: &str, _body: &serde_json::Value) -> Result<(i64, String), NodeError> {
        Err(NodeError::new(NodeErrorKind::Engine, "it has one container for good"))
    }
}

async fn agent(dir: &Path) -> Result<(), NodeError> {
    std::fs::write(dir.join("agent.pid"), std::process::id().to_string()).unwrap();
    let undo = UndoLimits {
        poll: Duration::from_millis(50),
        ..UndoLimits::default()
    };
    let engine = Arc::new(FileEngine(dir.join("container")));
    serve_stdio(AgentLimits {
        engine: Some(engine),
        undo,
        ..AgentLimits::default()
    })
    .await
}

fn node(dir: &Path) -> RemoteNode<ChildCarrier> {
    let own = std::env::current_exe().unwrap();
    let carrier = ChildCarrier::new(own, [OsString::from("agent"), dir.into()]);
    RemoteNode::new(spec(dir, "b1", "/nowhere"), carrier)
}

fn spec(dir: &Path, container: &str, socket: &str) -> NodeSpec {
    let data = dir.join("node/data");
    NodeSpec {
        unit: None,
        engine_paths: Vec::new(),
        seen_paths: Vec::new(),
        node: "b1".parse().unwrap(),
        role: Role::Broker,
        container: container.to_owned(),
        engine_socket: socket.to_owned(),
        dirs: vec![DirSpec {
            dataset: Dataset::Data,
            label: data.to_string_lossy().into_owned(),
            path: data,
        }],
        hosts: Vec::new(),
        kafka: KafkaAccess::default(),
    }
}

fn stop_request(grace: Duration) -> StopRequest {
    StopRequest {
        run: "20261122T030000Z".parse().unwrap(),
        timeout: Duration::from_secs(30),
        lease: Some(Lease { grace }),
    }
}

fn node_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("node/data")).unwrap();
    std::fs::write(dir.path().join("container"), "running").unwrap();
    dir
}

fn container(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("container")).unwrap()
}

fn lives(pid: &str) -> bool {
    // A zombie is dead.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn a_child_serves_and_ends() {
    let dir = node_dir();
    let node = node(dir.path());
    let facts = node
        .facts(&FactsRequest {
            datasets: vec![Dataset::Data],
        })
        .await
        .unwrap();
    assert_eq!(facts.dirs.len(), 1);
    assert_eq!(
        node.stop(&stop_request(Duration::from_secs(1))).await.unwrap(),
        StopOutcome::Stopped
    );
    let pid = std::fs::read_to_string(dir.path().join("agent.pid")).unwrap();
    assert!(lives(&pid));
    node.release().await.unwrap();
    until("the agent ends", || !lives(&pid)).await;
    assert_eq!(container(dir.path()), "stopped");
    assert!(!dir.path().join("node/.kbo").exists());
}

/// Stops the container, says so, and waits to be killed.
async fn client(dir: &Path) {
    let node = node(dir);
    node.stop(&stop_request(Duration::from_millis(500))).await.unwrap();
    println!("stopped");
    std::future::pending::<()>().await;
}

async fn a_killed_client_leaves_a_running_container() {
    let dir = node_dir();
    let own = std::env::current_exe().unwrap();
    let mut client = Command::new(own)
        .arg("client")
        .arg(dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(client.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "stopped\n");
    assert_eq!(container(dir.path()), "stopped");
    let pid = std::fs::read_to_string(dir.path().join("agent.pid")).unwrap();
    // What a closing login session sends.
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    client.kill().unwrap();
    client.wait().unwrap();
    until("the container runs", || container(dir.path()) == "running").await;
    until("the agent ends", || !lives(&pid)).await;
    assert!(!dir.path().join("node/.kbo").exists());
}

async fn a_program_that_is_no_agent_is_shown() {
    let dir = node_dir();
    let carrier = ChildCarrier::new(
        "/bin/sh",
        ["-c", "echo sudo: a terminal is required >&2; exit 1"].map(OsString::from),
    );
    let error = RemoteNode::new(spec(dir.path(), "b1", ""), carrier)
        .state()
        .await
        .unwrap_err();
    assert_eq!(error.kind, NodeErrorKind::Agent);
    assert!(error.message.contains("a terminal is required"), "{}", error.message);
    let error = RemoteNode::new(spec(dir.path(), "b1", ""), ChildCarrier::new("/nowhere/kbo", []))
        .state()
        .await;
    assert!(error.unwrap_err().message.contains("/nowhere/kbo"));
}

async fn an_engine_that_is_not_there_is_said_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("docker.sock");
    let error = EngineSocket::new(&path.to_string_lossy()).facts().await.unwrap_err();
    assert!(
        error.kind == NodeErrorKind::Engine && error.message.contains("no such socket"),
        "{error:?}"
    );
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let error = EngineSocket::new(&path.to_string_lossy()).facts().await.unwrap_err();
    assert!(
        error.kind == NodeErrorKind::Engine && error.message.contains("nothing listens"),
        "{error:?}"
    );
    assert!(error.hint.is_some());
}

/// The process in the container: ends a second after it is told to, as Kafka takes its time.
async fn sleep_until_told() {
    let mut told = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
    told.recv().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
}

/// Removes the container and its image, whatever happens.
struct Cleanup(String);

impl Drop for Cleanup {
    fn drop(&mut self) {
        let _ = docker(&["rm", "-f", &self.0]);
        let _ = docker(&["rmi", "-f", &self.0]);
    }
}

fn docker(arguments: &[&str]) -> Option<String> {
    let output = Command::new("docker")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

async fn a_real_engine_obeys() {
    if !Path::new(DOCKER_SOCKET).exists() || docker(&["version"]).is_none() {
        let why = format!("no Docker engine answers at {DOCKER_SOCKET}");
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{why}");
        println!("a real engine obeys: SKIPPED, {why}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(std::env::current_exe().unwrap(), dir.path().join("main")).unwrap();
    let name = format!("kbo-test-engine-{}", std::process::id());
    let _cleanup = Cleanup(name.clone());
    let tarball = dir.path().join("rootfs.tar");
    let packed = Command::new("tar")
        .arg("-C")
        .arg(dir.path())
        .arg("-cf")
        .arg(&tarball)
        .arg("main")
        .status()
        .unwrap();
    assert!(packed.success());
    docker(&["import", &tarball.to_string_lossy(), &name]).expect("import");
    let run = [
        "run",
        "-d",
        "--name",
        &name,
        "--restart",
        "always",
        "--stop-timeout",
        "1",
        "-e",
        "A_PASSWORD=hunter2",
        "-e",
        "B=c",
    ];
    docker(&[&run[..], &["-v", "/tmp:/there:ro", &name, "/main", "sleep"]].concat()).expect("run");

    let engine = EngineSocket::new(DOCKER_SOCKET);
    let facts = engine.facts().await.unwrap();
    println!("  engine: {} (API {})", facts.version, facts.api);
    let found = engine.inspect(&name).await.unwrap().unwrap();
    assert_eq!(
        (found.facts.state, found.facts.restart_policy.as_str()),
        (ContainerState::Running, "always")
    );
    assert!(
        found
            .facts
            .mounts
            .iter()
            .any(|mount| mount.source == "/tmp" && mount.destination == "/there" && !mount.writable)
    );
    assert!(found.env.contains(&("A_PASSWORD".to_owned(), "hunter2".to_owned())));
    assert!(found.env.contains(&("B".to_owned(), "c".to_owned())));
    let definition = found.facts.definition.to_string();
    assert!(!definition.contains("hunter2") && definition.contains("A_PASSWORD") && definition.contains("B=c"));
    assert!(!format!("{found:?}").contains("hunter2"));
    assert_eq!(found.command, ["/main", "sleep"]);
    assert_eq!(
        engine
            .inspect("kbo-test-no-such-container")
            .await
            .unwrap()
            .map(|found| found.facts.id),
        None
    );
    assert!(engine.inspect("../../images/json?x").await.is_err());

    // Our time counts, not the container's own of one second; and a stopped container with that policy stays stopped.
    let begun = Instant::now();
    assert_eq!(engine.start(&name).await.unwrap(), StartOutcome::AlreadyRunning);
    engine.stop(&name, Duration::from_secs(30)).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(900), "it was killed");
    let code = docker(&["inspect", "-f", "{{.State.ExitCode}}", &name]).unwrap();
    assert_eq!(code, "0", "it was killed");
    assert_eq!(
        engine.inspect(&name).await.unwrap().unwrap().facts.state,
        ContainerState::Stopped
    );
    engine.stop(&name, Duration::from_secs(30)).await.unwrap();
    assert_eq!(engine.start(&name).await.unwrap(), StartOutcome::Started);
    assert_eq!(
        engine.inspect(&name).await.unwrap().unwrap().facts.state,
        ContainerState::Running
    );

    // One that ends at once and is started again and again can be stopped, too.
    docker(&["rm", "-f", &name]).expect("rm");
    docker(&[
        "run",
        "-d",
        "--name",
        &name,
        "--restart",
        "always",
        &name,
        "/main",
        "--list",
    ])
    .expect("run");
    until("the container restarts", || {
        docker(&["inspect", "-f", "{{.State.Status}}", &name]).as_deref() == Some("restarting")
    })
    .await;
    assert!(engine.inspect(&name).await.unwrap().unwrap().facts.state.is_up());
    engine.stop(&name, Duration::from_secs(10)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(
        engine.inspect(&name).await.unwrap().unwrap().facts.state,
        ContainerState::Stopped
    );
    println!("a real engine obeys: ok");
}
