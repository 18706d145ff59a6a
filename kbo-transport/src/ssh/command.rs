//! Commands on the node: short ones to their end, and the agent, which stays.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use kbo_core::ports::node::{NodeError, NodeErrorKind};
use ssh2::{Channel, ExtendedData, Session};

use super::SshSettings;
use super::quote::quote;
use crate::complaints::printable;

/// How long a command may be silent.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// The most of a command's output that is kept.
const KEPT: u64 = 256 * 1024;
/// What libssh2 takes as a packet by default; servers do not send longer ones anyway.
const PACKET: u32 = 32_768;

/// A command that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Standard output and standard error, in the order they came.
    pub(super) output: Vec<u8>,
    /// None where a signal ended it.
    pub(super) status: Option<i32>,
}

impl Ended {
    /// The output as text that is safe to show.
    pub(super) fn text(&self) -> String {
        printable(&self.output)
    }
}

/// Runs a command with some input.
pub(super) fn run(
    session: &Session,
    settings: &SshSettings,
    command: &str,
    input: impl Read,
) -> Result<Ended, NodeError> {
    let mut kept = Vec::new();
    // One stream: nothing can stall for want of somebody who reads the other.
    let status = exchange(session, settings, command, ExtendedData::Merge, input, |bytes| {
        let room = (KEPT as usize).saturating_sub(kept.len());
        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    })?;
    Ok(Ended { output: kept, status })
}

/// The standard output of a command, and nothing that was said beside it. Its exit status, where it has one.
pub(super) fn output(
    session: &Session,
    settings: &SshSettings,
    command: &str,
    output: impl FnMut(&[u8]),
) -> Result<Option<i32>, NodeError> {
    exchange(session, settings, command, ExtendedData::Ignore, io::empty(), output)
}

fn exchange(
    session: &Session,
    settings: &SshSettings,
    command: &str,
    errors: ExtendedData,
    mut input: impl Read,
    mut output: impl FnMut(&[u8]),
) -> Result<Option<i32>, NodeError> {
    let broken = |error: &dyn std::fmt::Display| {
        NodeError::new(
            NodeErrorKind::Unreachable,
            format!("ssh {}: a command on the node broke off: {error}", settings.peer()),
        )
    };
    let mut channel = session
        .channel_session()
        .map_err(|error| no_channel(settings, &error))?;
    channel.handle_extended_data(errors).map_err(|error| broken(&error))?;
    channel.exec(command).map_err(|error| no_channel(settings, &error))?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = input.read(&mut buffer).map_err(|error| {
            NodeError::new(
                NodeErrorKind::Io,
                format!("what goes to {} cannot be read here: {error}", settings.peer()),
            )
        })?;
        // The command may end before it has read everything; what it said then tells why.
        if read == 0 || !write(&mut channel, &buffer[..read]) {
            break;
        }
    }
    let _ = channel.send_eof();
    loop {
        match channel.read(&mut buffer) {
            // libssh2 also reads nothing where it has just read something of its own, such as new keys.
            Ok(0) if !channel.eof() => {}
            Ok(0) => break,
            Ok(n) => output(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(broken(&error)),
        }
    }
    channel.wait_close().map_err(|error| broken(&error))?;
    // The status of what a signal ended reads 0.
    let signalled = channel
        .exit_signal()
        .ok()
        .is_some_and(|signal| signal.exit_signal.is_some());
    Ok(if signalled { None } else { channel.exit_status().ok() })
}

/// Writes everything, unless the other side does not want it.
fn write(channel: &mut Channel, mut bytes: &[u8]) -> bool {
    let end = Instant::now() + PATIENCE;
    while !bytes.is_empty() {
        match channel.write(bytes) {
            // No room in the window yet.
            Ok(0) if Instant::now() < end => std::thread::sleep(Duration::from_millis(1)),
            Ok(n @ 1..) => bytes = &bytes[n..],
            Ok(0) | Err(_) => return false,
        }
    }
    true
}

/// Starts the agent on a channel of its own, with a window that fits its bulk.
pub(super) fn start_agent(session: &Session, settings: &SshSettings, program: &str) -> Result<Channel, NodeError> {
    let mut channel = session
        .channel_open("session", settings.window.max(PACKET), PACKET, None)
        .map_err(|error| no_channel(settings, &error))?;
    let mut command = String::from(if settings.sudo() { "exec sudo -n " } else { "exec " });
    command.push_str(&quote(program));
    for argument in &settings.agent_args {
        command.push(' ');
        command.push_str(&quote(argument));
    }
    channel.exec(&command).map_err(|error| no_channel(settings, &error))?;
    Ok(channel)
}

fn no_channel(settings: &SshSettings, error: &ssh2::Error) -> NodeError {
    let text = format!(
        "ssh {}: the host runs no command for us: {}",
        settings.peer(),
        error.message()
    );
    NodeError::new(NodeErrorKind::Agent, text)
        .hint("does its sshd_config allow it (MaxSessions, ForceCommand, a command= or restrict in authorized_keys)?")
}
