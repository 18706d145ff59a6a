//! Speed of the carriers, both ways, against a real sshd and a real engine: by the clock, and in processor time of this process,
//! which a busy machine does not change. Prints one JSON line per figure. The stand-in agent costs next to nothing.
//!
//! `cargo bench -p kbo-transport`
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    dead_code,
    reason = "a bench panics on failure and prints its figures; it uses a part of what the tests have"
)]

use std::time::Instant;

use kbo_transport::carrier::{AgentPipe, Carrier};
use kbo_transport::docker::DockerCarrier;
use kbo_transport::ssh::SshCarrier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[path = "../tests/docker_carrier/node.rs"]
mod node;
#[path = "../tests/ssh_carrier/sshd.rs"]
mod sshd;

const MIB: usize = 1 << 20;
const BYTES: usize = 1 << 30;
const CIPHERS: [&str; 2] = ["chacha20-poly1305@openssh.com", "aes128-gcm@openssh.com"];

#[tokio::main]
async fn main() {
    for cipher in CIPHERS {
        let sshd = sshd::Sshd::start(&format!("Ciphers {cipher}")).expect("an sshd");
        for window in [1, 2, 8] {
            let carrier = |role: &[&str]| {
                let mut settings = sshd.settings(role);
                settings.window = window * MIB as u32;
                SshCarrier::new(settings)
            };
            let name = format!("ssh {cipher}, window {window} MiB");
            measure(&name, carrier(&["zeros", &BYTES.to_string()]), carrier(&["count"])).await;
        }
    }
    // Says itself what is missing.
    let Some(node) = node::Node::start() else { return };
    let carrier = |role| DockerCarrier::new(node.settings(&[role]));
    measure("docker", carrier("zeros"), carrier("count")).await;
}

/// From the node until the end of what it says, then a GiB to the node.
async fn measure(name: &str, zeros: impl Carrier, count: impl Carrier) {
    let mut pipe = zeros.open().await.unwrap();
    let begun = (Instant::now(), processor_seconds());
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0;
    loop {
        match pipe.reader.read(&mut buffer).await.unwrap() {
            0 => break,
            read => total += read,
        }
    }
    print(&format!("{name}, from the node"), begun, total);
    drop(pipe);

    let AgentPipe {
        mut reader,
        mut writer,
        guard: _guard,
        ..
    } = count.open().await.unwrap();
    let begun = (Instant::now(), processor_seconds());
    let block = vec![7; MIB];
    for _ in 0..BYTES / MIB {
        writer.write_all(&block).await.unwrap();
    }
    writer.shutdown().await.unwrap();
    let mut answer = String::new();
    reader.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer.trim(), BYTES.to_string());
    print(&format!("{name}, to the node"), begun, BYTES);
}

fn print(name: &str, (begun, processor): (Instant, f64), bytes: usize) {
    let rate = bytes as f64 / begun.elapsed().as_secs_f64() / MIB as f64;
    let processor = (processor_seconds() - processor) / (bytes as f64 / (1 << 30) as f64);
    println!("{{\"figure\":\"{name}, MiB/s\",\"value\":{rate:.0}}}");
    println!("{{\"figure\":\"{name}, processor seconds a GiB\",\"value\":{processor:.2}}}");
}

/// User and system time of this process.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}
