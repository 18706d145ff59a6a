//! The bytes: all of them, in order, in both directions at once, and an end that is never taken for another.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::sshd::{Sshd, read_all};
use kbo_transport::carrier::{AgentPipe, Carrier};
use kbo_transport::ssh::SshCarrier;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

const MIB: usize = 1024 * 1024;
const LONG: Duration = Duration::from_secs(60);

/// Bytes that do not repeat for a long while.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

async fn send(writer: &mut (dyn AsyncWrite + Send + Unpin), block: &[u8], blocks: usize) -> String {
    let mut hash = Sha256::new();
    for _ in 0..blocks {
        hash.update(block);
        writer.write_all(block).await.unwrap();
    }
    writer.shutdown().await.unwrap();
    hex::encode(hash.finalize())
}

async fn receive(reader: &mut (dyn AsyncRead + Send + Unpin)) -> (String, u64) {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    loop {
        let read = reader.read(&mut buffer).await.unwrap();
        if read == 0 {
            return (hex::encode(hash.finalize()), total);
        }
        hash.update(&buffer[..read]);
        total += read as u64;
    }
}

/// Everything there and back at the same time; the hashes must agree.
async fn there_and_back(pipe: AgentPipe, blocks: usize) {
    let AgentPipe {
        mut reader,
        mut writer,
        complaints,
        guard,
        ..
    } = pipe;
    let block = noise(MIB);
    let sending = tokio::spawn(async move { send(&mut *writer, &block, blocks).await });
    let (received, total) = timeout(LONG, receive(&mut *reader))
        .await
        .unwrap_or_else(|_| panic!("{}", complaints()));
    assert_eq!(sending.await.unwrap(), received);
    assert_eq!(total, (blocks * MIB) as u64);
    drop(guard);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_directions_at_once_lose_nothing() {
    let Some(sshd) = Sshd::start("") else { return };
    there_and_back(sshd.carrier(&["echo"]).open().await.unwrap(), 300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_keys_in_the_middle_lose_nothing() {
    let Some(sshd) = Sshd::start("RekeyLimit 4M") else {
        return;
    };
    there_and_back(sshd.carrier(&["echo"]).open().await.unwrap(), 200).await;
}

/// A window is announced in the middle of new keys, and the data that fill it to the last byte come all the same.
#[tokio::test(flavor = "multi_thread")]
async fn new_keys_while_the_window_is_full_lose_nothing() {
    let Some(sshd) = Sshd::start("RekeyLimit 1M") else {
        return;
    };
    let bytes = 96 * MIB;
    let mut settings = sshd.settings(&["zeros", &bytes.to_string()]);
    settings.window = MIB as u32;
    let mut pipe = SshCarrier::new(settings).open().await.unwrap();
    let mut buffer = vec![0; 256 * 1024];
    let (mut total, mut pause_at) = (0, MIB);
    let counting = async {
        loop {
            match pipe.reader.read(&mut buffer).await.unwrap() {
                0 => return total,
                read => total += read,
            }
            if total >= pause_at {
                pause_at += 4 * MIB;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    };
    assert_eq!(timeout(LONG, counting).await.unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cipher_of_the_server_will_do() {
    for cipher in ["aes256-gcm@openssh.com", "aes128-ctr", "chacha20-poly1305@openssh.com"] {
        let Some(sshd) = Sshd::start(&format!("Ciphers {cipher}\nRekeyLimit 8M")) else {
            return;
        };
        there_and_back(sshd.carrier(&["echo"]).open().await.unwrap(), 40).await;
    }
}

#[tokio::test]
async fn a_small_window_is_no_trouble() {
    let Some(sshd) = Sshd::start("") else { return };
    let mut settings = sshd.settings(&["echo"]);
    settings.window = 1;
    there_and_back(SshCarrier::new(settings).open().await.unwrap(), 20).await;
}

#[tokio::test]
async fn many_small_writes_arrive_as_written() {
    let Some(sshd) = Sshd::start("") else { return };
    let mut pipe = sshd.carrier(&["echo"]).open().await.unwrap();
    let bytes = noise(100_000);
    for piece in bytes.chunks(37) {
        pipe.writer.write_all(piece).await.unwrap();
    }
    pipe.writer.shutdown().await.unwrap();
    assert!(read_all(&mut pipe).await.unwrap() == bytes);
}

#[tokio::test]
async fn a_question_and_its_answer_take_no_time() {
    let Some(sshd) = Sshd::start("") else { return };
    let mut pipe = sshd.carrier(&["echo"]).open().await.unwrap();
    let start = Instant::now();
    for n in 0..200u32 {
        pipe.writer.write_all(&n.to_be_bytes()).await.unwrap();
        assert_eq!(pipe.reader.read_u32().await.unwrap(), n);
    }
    // Not a matter of speed: a pump that waits for some clock would need ten seconds and more.
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_flood_of_complaints_does_not_stall_the_answer() {
    let Some(sshd) = Sshd::start("") else { return };
    let mut pipe = sshd.carrier(&["flood", "50000000"]).open().await.unwrap();
    let mut answer = [0; 5];
    timeout(LONG, pipe.reader.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&answer, b"done\n");
    let complaints = (pipe.complaints)();
    assert!(
        complaints.len() <= 4096 && complaints.ends_with("eee"),
        "{}",
        complaints.len()
    );
    pipe.writer.write_all(b"still here").await.unwrap();
    pipe.writer.shutdown().await.unwrap();
    assert_eq!(read_all(&mut pipe).await.unwrap(), b"still here");
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_the_sender_back() {
    let Some(sshd) = Sshd::start("") else { return };
    let before = resident();
    let mut pipe = sshd.carrier(&["zeros", "1000000000"]).open().await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 * MIB as u64, "{grown} bytes more");
    let (_, total) = timeout(LONG, receive(&mut *pipe.reader)).await.unwrap();
    assert_eq!(total, 1_000_000_000);
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 * MIB as u64, "{grown} bytes more");
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn how_the_agent_ended_is_among_its_complaints() {
    let Some(sshd) = Sshd::start("") else { return };
    let mut pipe = sshd.carrier(&["fail"]).open().await.unwrap();
    assert!(read_all(&mut pipe).await.unwrap().is_empty());
    assert_eq!((pipe.complaints)(), "it cannot be done\n(ended with status 3)");
    let mut pipe = sshd.carrier(&["killed"]).open().await.unwrap();
    assert!(read_all(&mut pipe).await.unwrap().is_empty());
    assert_eq!((pipe.complaints)(), "(ended by signal KILL)");
    let mut pipe = sshd.carrier(&["echo"]).open().await.unwrap();
    pipe.writer.shutdown().await.unwrap();
    assert!(read_all(&mut pipe).await.unwrap().is_empty());
    assert_eq!((pipe.complaints)(), "");
}

#[tokio::test]
async fn a_dropped_writer_is_the_end_of_the_agents_input() {
    let Some(sshd) = Sshd::start("") else { return };
    let AgentPipe {
        mut reader,
        mut writer,
        guard,
        ..
    } = sshd.carrier(&["hash"]).open().await.unwrap();
    writer.write_all(b"abc").await.unwrap();
    drop(writer);
    let mut answer = String::new();
    timeout(LONG, reader.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert!(answer.starts_with("ba7816bf"), "{answer}");
    drop(guard);
}

#[tokio::test]
async fn what_was_written_before_the_drop_still_arrives() {
    let Some(sshd) = Sshd::start("") else { return };
    let AgentPipe {
        reader,
        mut writer,
        guard,
        ..
    } = sshd.carrier(&["echo"]).open().await.unwrap();
    writer.write_all(&noise(4 * MIB)).await.unwrap();
    // The order that a careless owner drops them in.
    drop(guard);
    drop(writer);
    drop(reader);
    assert!(gone_within(&sshd, Duration::from_secs(10)).await);
}

#[tokio::test]
async fn dropping_the_guard_ends_agent_and_connection() {
    let Some(sshd) = Sshd::start("") else { return };
    for role in [&["echo"][..], &["endless"], &["sleep"]] {
        let pipe = sshd.carrier(role).open().await.unwrap();
        assert!(!gone_within(&sshd, Duration::ZERO).await);
        drop(pipe);
        assert!(gone_within(&sshd, Duration::from_secs(10)).await, "{role:?}");
    }
}

/// Whether the server has no connection left.
async fn gone_within(sshd: &Sshd, limit: Duration) -> bool {
    let end = Instant::now() + limit;
    loop {
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", sshd.pid())).unwrap();
        if children.trim().is_empty() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The server's processes for its one connection, from the outside in.
fn connection(sshd: &Sshd) -> Vec<String> {
    let mut pids = vec![sshd.pid().to_string()];
    let mut next = 0;
    while next < pids.len() {
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", pids[next])).unwrap_or_default();
        pids.extend(children.split_whitespace().map(str::to_owned));
        next += 1;
    }
    pids.split_off(1)
}

fn signal(name: &str, pids: &[String]) {
    assert!(
        Command::new("kill")
            .arg(format!("-{name}"))
            .args(pids)
            .status()
            .unwrap()
            .success()
    );
}

#[tokio::test]
async fn a_connection_cut_in_the_middle_is_an_error_for_both_ends() {
    let Some(sshd) = Sshd::start("") else { return };
    let mut pipe = sshd.carrier(&["endless"]).open().await.unwrap();
    let mut buffer = vec![0; MIB];
    pipe.reader.read_exact(&mut buffer).await.unwrap();
    signal("KILL", &connection(&sshd));
    let error = timeout(LONG, async {
        loop {
            match pipe.reader.read(&mut buffer).await {
                Ok(0) => panic!("taken for the end of the stream"),
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    })
    .await
    .unwrap();
    assert!(error.to_string().contains("127.0.0.1"), "{error}");
    assert!(pipe.writer.write_all(b"x").await.is_err());
}

#[tokio::test]
async fn a_silent_peer_is_given_up() {
    let Some(sshd) = Sshd::start("") else { return };
    let mut settings = sshd.settings(&["echo"]);
    settings.keepalive = Duration::from_secs(1);
    settings.idle_timeout = Duration::from_secs(8);
    let mut pipe = SshCarrier::new(settings.clone()).open().await.unwrap();
    // An idle connection to a host that answers stays.
    tokio::time::sleep(Duration::from_secs(12)).await;
    pipe.writer.write_all(b"y").await.unwrap();
    assert_eq!(pipe.reader.read_u8().await.unwrap(), b'y');
    let pids = connection(&sshd);
    signal("STOP", &pids);
    let read = timeout(Duration::from_secs(30), pipe.reader.read_u8()).await;
    signal("CONT", &pids);
    let error = read.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut, "{error}");
    assert!(error.to_string().contains("no sign of life"), "{error}");
}

#[tokio::test]
async fn a_peer_that_takes_nothing_any_more_is_given_up_too() {
    let Some(sshd) = Sshd::start("") else { return };
    let mut settings = sshd.settings(&["sleep"]);
    settings.keepalive = Duration::from_secs(1);
    settings.idle_timeout = Duration::from_secs(3);
    let mut pipe = SshCarrier::new(settings).open().await.unwrap();
    let pids = connection(&sshd);
    signal("STOP", &pids);
    let block = vec![0; MIB];
    let written = timeout(Duration::from_secs(30), async {
        loop {
            if let Err(error) = pipe.writer.write_all(&block).await {
                return error;
            }
        }
    })
    .await;
    signal("CONT", &pids);
    assert_eq!(written.unwrap().kind(), std::io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn an_idle_connection_takes_no_processor_time() {
    let Some(sshd) = Sshd::start("") else { return };
    // By another name, which the threads' names tell apart from those of other tests.
    let known = std::fs::read_to_string(sshd.path("known_hosts")).unwrap();
    std::fs::write(sshd.path("known_hosts"), known.replace("127.0.0.1", "localhost")).unwrap();
    let open = async |role: &[&str]| {
        let mut settings = sshd.settings(role);
        settings.host = "localhost".into();
        SshCarrier::new(settings).open().await.unwrap()
    };
    let idle = open(&["echo"]).await;
    // This one is held back by a full queue: that is no reason to spin either.
    let stalled = open(&["endless"]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = processor_ticks();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let used = processor_ticks() - before;
    assert!(used < 20, "{used} ticks of 10 ms in 3 s");
    drop((idle, stalled));
}

/// Ticks of the threads of connections to localhost.
fn processor_ticks() -> u64 {
    let mut ticks = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else {
            continue;
        };
        if stat.contains("(ssh-localhost)") {
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
            ticks += fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        }
    }
    ticks
}
