//! The SSH carrier: brings the agent to a node by ssh and speaks to it over one channel.
//!
//! libssh2 is a blocking library with one lock for each session, and a channel that is read by one task cannot be written by
//! another meanwhile. So each connection has one thread of its own that owns all of it (socket, session, channels): it connects,
//! checks the host's key, logs in, brings the agent and then, without blocking, pumps bytes between the channel and two
//! bounded queues. The rest of the program sees nothing but an `AsyncRead` and an `AsyncWrite`.
//!
//! | module | does |
//! |---|---|
//! | `connect` | TCP, handshake, host key |
//! | `known_hosts` | which key a host may show |
//! | `login`, `key_file` | who we are |
//! | `command` | one command on the node, to its end |
//! | `install` | the agent's program in a folder of the node |
//! | `setup`, `new_key` | the first login: a key, the host's key, authorized_keys |
//! | `pump`, `stream`, `link` | the bytes |

mod command;
mod connect;
mod install;
mod key_file;
mod known_hosts;
mod link;
mod login;
mod new_key;
mod pump;
mod quote;
pub mod setup;
mod stream;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use kbo_core::ports::node::{NodeError, NodeErrorKind};
use kbo_core::secret::Secret;
use tokio::sync::oneshot;

use crate::binary::AgentBinary;
use crate::carrier::{AgentPipe, Carrier};
use crate::complaints::Complaints;
pub use key_file::{key_is_encrypted, read_passphrase};
use link::{Guard, Link};
use pump::Pump;

/// How to reach a node by ssh.
#[derive(Debug, Clone)]
pub struct SshSettings {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Whom to log in as.
    pub user: String,
    /// The private key's file.
    pub key: Option<PathBuf>,
    /// What opens the key where it is encrypted.
    pub passphrase: Option<Secret>,
    /// The socket of the ssh-agent to ask where no key is given; [`Self::new`] takes it from `SSH_AUTH_SOCK`.
    pub auth_sock: Option<PathBuf>,
    /// The file of trusted host keys.
    pub known_hosts: PathBuf,
    /// Whether to become root by `sudo -n`, for users who are not.
    pub become_root: bool,
    /// Folders on the node to try for the agent's program, before the usual ones.
    pub agent_dirs: Vec<String>,
    /// The program to bring to the node.
    pub agent_binary: PathBuf,
    /// Arguments that make it the agent.
    pub agent_args: Vec<String>,
    /// Arguments that make it end at once with status 0: a try whether it runs there at all.
    pub probe_args: Vec<String>,
    /// Time for the connection, and again for handshake and login.
    pub connect_timeout: Duration,
    /// Silence after which the node is asked whether it is there; 2.5 s at least.
    pub keepalive: Duration,
    /// Silence after which the connection is given up.
    pub idle_timeout: Duration,
    /// How often a connection that fails before the login is tried again.
    pub retries: u32,
    /// The most that the node may send ahead of what was read here, in bytes; one packet at least.
    pub window: u32,
}

impl SshSettings {
    /// Settings with the usual values: port 22, this very program as the agent.
    pub fn new(host: impl Into<String>, user: impl Into<String>, known_hosts: impl Into<PathBuf>) -> Self {
        Self {
            host: host.into(),
            port: 22,
            user: user.into(),
            key: None,
            passphrase: None,
            auth_sock: std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from),
            known_hosts: known_hosts.into(),
            become_root: false,
            agent_dirs: Vec::new(),
            // Not the path it was started by: that file may be another one by now.
            agent_binary: PathBuf::from("/proc/self/exe"),
            agent_args: vec!["agent".into()],
            probe_args: vec!["--version".into()],
            connect_timeout: Duration::from_secs(10),
            keepalive: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(45),
            retries: 2,
            window: 4 * 1024 * 1024,
        }
    }

    /// Whether commands on the node go through sudo.
    fn sudo(&self) -> bool {
        self.become_root && self.user != "root"
    }

    /// `user@host:port`, for messages.
    pub(crate) fn peer(&self) -> String {
        format!("{}@{}:{}", self.user, self.host, self.port)
    }
}

/// Reaches a node by ssh.
pub struct SshCarrier {
    settings: Arc<SshSettings>,
    binary: Arc<OnceLock<AgentBinary>>,
}

impl SshCarrier {
    /// A carrier; nothing is done before [`Carrier::open`].
    pub fn new(settings: SshSettings) -> Self {
        Self {
            settings: Arc::new(settings),
            binary: Arc::default(),
        }
    }
}

#[async_trait]
impl Carrier for SshCarrier {
    async fn open(&self) -> Result<AgentPipe, NodeError> {
        let failed = |error: std::io::Error| {
            NodeError::new(
                NodeErrorKind::Unreachable,
                format!("{}: {error} on this machine", self.describe()),
            )
        };
        let (link, wake) = Link::new().map_err(failed)?;
        // From here on, dropping the future ends the thread.
        let guard = Guard::new(Arc::clone(&link));
        let complaints = Complaints::default();
        let (ready, is_ready) = oneshot::channel();
        let job = Job {
            settings: Arc::clone(&self.settings),
            binary: Arc::clone(&self.binary),
            link: Arc::clone(&link),
            complaints: complaints.clone(),
        };
        thread::Builder::new()
            .name(format!("ssh-{}", self.settings.host))
            .spawn(move || match job.prepare() {
                Err(error) => drop(ready.send(Err(error))),
                Ok(opened) => {
                    let (pump, ends) = Pump::new(opened, &job.settings, job.link, wake, job.complaints);
                    if ready.send(Ok(ends)).is_ok() {
                        pump.run();
                    }
                }
            })
            .map_err(failed)?;
        let died = || {
            NodeError::new(
                NodeErrorKind::Unreachable,
                format!("{}: the connection broke down", self.describe()),
            )
        };
        let (reader, writer) = is_ready.await.map_err(|_| died())??;
        Ok(AgentPipe {
            reader: Box::new(reader),
            writer: Box::new(writer),
            complaints: complaints.reader(),
            paths: Vec::new(),
            engine_paths: Vec::new(),
            engine_socket: None,
            guard: Box::new(guard),
        })
    }

    fn describe(&self) -> String {
        format!("ssh {}", self.settings.peer())
    }
}

/// A connection whose agent runs.
struct Opened {
    connection: connect::Connection,
    channel: ssh2::Channel,
}

/// What the thread of a connection works with.
struct Job {
    settings: Arc<SshSettings>,
    binary: Arc<OnceLock<AgentBinary>>,
    link: Arc<Link>,
    complaints: Complaints,
}

impl Job {
    /// All that blocks: up to a running agent.
    fn prepare(&self) -> Result<Opened, NodeError> {
        let settings = &*self.settings;
        // The program first: where it cannot be read, there is no use in going anywhere.
        let binary = self.binary()?;
        let connection = self.connect()?;
        login::log_in(&connection.session, settings)?;
        let session = &connection.session;
        session.set_timeout(millis(settings.connect_timeout.max(command::PATIENCE)));
        let path = install::install(session, settings, &binary)?;
        let channel = command::start_agent(session, settings, &path)?;
        tracing::debug!(node = %settings.peer(), program = %path, "agent started");
        Ok(Opened { connection, channel })
    }

    fn binary(&self) -> Result<AgentBinary, NodeError> {
        if let Some(binary) = self.binary.get() {
            return Ok(binary.clone());
        }
        let path = &self.settings.agent_binary;
        let binary = AgentBinary::open(path).map_err(|error| {
            NodeError::new(
                NodeErrorKind::Agent,
                format!("the agent's program {} cannot be read: {error}", path.display()),
            )
        })?;
        Ok(self.binary.get_or_init(|| binary).clone())
    }

    /// Connects, trying again what may pass: a refused or lost connection, never a key or a login that was not accepted.
    fn connect(&self) -> Result<connect::Connection, NodeError> {
        let mut attempt = 0;
        loop {
            let error = match connect::connect(&self.settings, &self.link) {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            if error.kind != NodeErrorKind::Unreachable || attempt >= self.settings.retries || self.link.stopped() {
                return Err(error);
            }
            attempt += 1;
            let pause = Duration::from_millis(500) * 2u32.pow(attempt.min(4) - 1);
            tracing::info!(node = %self.settings.peer(), %error, attempt, "connecting again in {pause:?}");
            self.link.pause(pause);
        }
    }
}

/// As libssh2 takes timeouts; it reads 0 as for ever.
fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX).max(1)
}
