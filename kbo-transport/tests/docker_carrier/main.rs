//! The Docker carrier against a real engine.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod node;

use std::time::{Duration, Instant};

use kbo_core::ports::node::{NodeError, NodeErrorKind};
use kbo_transport::carrier::{AgentPipe, Carrier};
use kbo_transport::docker::{DockerCarrier, DockerSettings, HELPER_LABEL, NODE_LABEL};
use node::{Node, docker, engine, succeeds};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(120);

async fn refusal(settings: DockerSettings) -> NodeError {
    DockerCarrier::new(settings)
        .open()
        .await
        .err()
        .expect("it must not be opened")
}

async fn all(pipe: &mut AgentPipe) -> String {
    let mut text = String::new();
    timeout(LONG, pipe.reader.read_to_string(&mut text))
        .await
        .unwrap()
        .unwrap();
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn both_directions_at_once_lose_nothing_and_the_helper_goes() {
    let Some(node) = Node::start() else { return };
    let AgentPipe {
        mut reader,
        mut writer,
        guard,
        ..
    } = node.carrier(&["echo"]).open().await.unwrap();
    assert_eq!(node.helpers().len(), 1);
    let sending = tokio::spawn(async move {
        let mut hash = Sha256::new();
        for n in 0..100u32 {
            let block: Vec<u8> = (0..262_144u32).flat_map(|i| (i * 31 + n).to_le_bytes()).collect();
            hash.update(&block);
            writer.write_all(&block).await.unwrap();
        }
        // Dropped, not shut down: the agent must see the end all the same.
        hash.finalize()
    });
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = timeout(LONG, reader.read(&mut buffer)).await.unwrap().unwrap();
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
    }
    assert_eq!(sending.await.unwrap(), hash.finalize());
    drop(guard);
    assert!(node.no_helper_within(Duration::from_secs(20)).await);
}

#[tokio::test]
async fn the_helper_sees_the_volume_its_neighbourhood_and_the_engine() {
    let Some(node) = Node::start() else { return };
    let mut pipe = node.carrier(&["look"]).open().await.unwrap();
    assert_eq!(pipe.paths, [("/data".to_owned(), "/kbo/m0/_data".to_owned())]);
    assert_eq!(pipe.engine_socket.as_deref(), Some("/var/run/docker.sock"));
    let seen = all(&mut pipe).await;
    assert_eq!(
        seen,
        "uid 0\ncontent kafka\nlinked\nengine\n",
        "{}",
        (pipe.complaints)()
    );
}

#[tokio::test]
async fn complaints_and_status_come_back() {
    let Some(node) = Node::start() else { return };
    let mut pipe = node.carrier(&["fail"]).open().await.unwrap();
    assert_eq!(all(&mut pipe).await, "");
    assert_eq!((pipe.complaints)(), "it cannot be done\n(ended with status 3)");
    let mut pipe = node.carrier(&["flood"]).open().await.unwrap();
    assert_eq!(all(&mut pipe).await, "done\n");
    assert!((pipe.complaints)().len() <= 4096);
}

#[tokio::test]
async fn dropping_the_pipe_ends_the_helper() {
    let Some(node) = Node::start() else { return };
    for role in ["echo", "busy"] {
        let mut pipe = node.carrier(&[role]).open().await.unwrap();
        if role == "busy" {
            pipe.reader.read_u8().await.unwrap();
        }
        assert_eq!(node.helpers().len(), 1);
        drop(pipe);
        assert!(node.no_helper_within(Duration::from_secs(30)).await, "{role}");
    }
}

#[tokio::test]
async fn helpers_that_ended_are_swept_and_running_ones_stay() {
    let Some(node) = Node::start() else { return };
    let label = format!("{NODE_LABEL}={}", node.name);
    let helper = |name: &str, command: &[&str]| {
        let name = format!("{}-{name}", node.name);
        let flag = format!("{HELPER_LABEL}=1");
        let mut arguments = vec![
            "run",
            "-d",
            "--name",
            &name,
            "--network",
            "none",
            "--label",
            &flag,
            "--label",
            &label,
            node::IMAGE,
        ];
        arguments.extend(command);
        succeeds(&arguments);
    };
    helper("ended", &["/bin/sh", "-c", "exit 0"]);
    helper("runs", &["/bin/sleep", "1000"]);
    let end = Instant::now() + Duration::from_secs(20);
    while docker(&[
        "ps",
        "-aq",
        "--filter",
        "status=exited",
        "--filter",
        &format!("label={label}"),
    ])
    .is_empty()
    {
        assert!(Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(node.carrier(&["echo"]).open().await.unwrap());
    let names = node.helpers();
    assert!(
        names.iter().any(|name| name.ends_with("-runs")) && !names.iter().any(|name| name.ends_with("-ended")),
        "{names:?}"
    );
}

#[tokio::test]
async fn what_is_not_there_is_named_with_a_hint() {
    let Some(node) = Node::start() else { return };
    let mut settings = node.settings(&["echo"]);
    settings.container = "kbo-no-such-container".into();
    let error = refusal(settings).await;
    assert_eq!(error.kind, NodeErrorKind::State);
    assert!(
        error.message.contains("kbo-no-such-container") && error.hint.is_some(),
        "{error:?}"
    );

    let mut settings = node.settings(&["echo"]);
    settings.dirs.push("/somewhere/else".into());
    let error = refusal(settings).await;
    assert_eq!(error.kind, NodeErrorKind::State);
    assert!(error.message.contains("/somewhere/else"), "{error:?}");

    let mut settings = node.settings(&["echo"]);
    settings.socket_on_engine = "/nonexistent/docker.sock".into();
    let error = refusal(settings).await;
    assert_eq!(error.kind, NodeErrorKind::Engine);
    assert!(
        error.message.contains("/nonexistent/docker.sock") && error.hint.is_some(),
        "{error:?}"
    );

    let mut settings = node.settings(&["echo"]);
    settings.helper_image = Some("kbo-no-such-image:1".into());
    let error = refusal(settings).await;
    assert!(
        error.message.contains("kbo-no-such-image") && error.hint.is_some(),
        "{error:?}"
    );

    let mut settings = node.settings(&["echo"]);
    std::fs::write(node.dir.path().join("broken"), "#!/nonexistent\n").unwrap();
    settings.agent_binary = node.dir.path().join("broken");
    // Some runtimes find out when they start it, some only afterwards.
    match DockerCarrier::new(settings).open().await {
        Err(error) => assert_eq!(error.kind, NodeErrorKind::Engine),
        Ok(mut pipe) => {
            assert_eq!(all(&mut pipe).await, "");
            assert!((pipe.complaints)().contains("kbo-agent"), "{}", (pipe.complaints)());
        }
    }
    assert!(
        node.no_helper_within(Duration::from_secs(20)).await,
        "{:?}",
        node.helpers()
    );
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_unreachable() {
    let settings = |host: &str| DockerSettings::new(host, "kafka", vec![]);
    let error = refusal(settings("unix:///nonexistent/engine.sock")).await;
    assert_eq!(error.kind, NodeErrorKind::Unreachable);
    assert!(
        error.message.contains("/nonexistent/engine.sock") && error.hint.is_some(),
        "{error:?}"
    );
    let error = refusal(settings("tcp://127.0.0.1:1")).await;
    assert_eq!(error.kind, NodeErrorKind::Unreachable);
    assert!(error.hint.is_some(), "{error:?}");
    let error = refusal(settings("ssh://somewhere")).await;
    assert_eq!(error.kind, NodeErrorKind::Engine);
    assert!(error.hint.unwrap().contains("ssh -N -L"));
}

#[tokio::test]
async fn an_engine_over_tcp_will_do() {
    let Some(node) = Node::start() else { return };
    // A relay to the engine's socket: what a remote engine looks like.
    let socket = engine().trim_start_matches("unix://").to_owned();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = node.settings(&["echo"]);
    settings.host = format!("tcp://{}", listener.local_addr().unwrap());
    let relay = tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let mut to = tokio::net::UnixStream::connect(&socket).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut from, &mut to).await });
        }
    });
    let mut pipe = DockerCarrier::new(settings).open().await.unwrap();
    pipe.writer.write_all(b"hello").await.unwrap();
    pipe.writer.shutdown().await.unwrap();
    assert_eq!(all(&mut pipe).await, "hello");
    relay.abort();
}
