//! The pump: moves bytes between the agent's channel and two bounded queues, without blocking and without spinning.
//!
//! What libssh2 wants of its user, and where it is heeded:
//!
//! - A packet that was sent in part must be finished by the same call before another one can go. All calls are repeated in each
//!   round, so the right one is among them; and the calls that keep their packet on their own stack (`keepalive_send`,
//!   `send_eof`) are made only when the socket has room for it.
//! - Standard output and standard error share one window: unread errors would stall the output. They are always read.
//! - A read that finds the window narrow first sends how far it opens it, and counts what the *finishing* call would have opened:
//!   both streams are read with buffers of one length, or a window announced by one read and finished by the other (new keys
//!   being exchanged in between) is counted too short, and libssh2 silently drops what the node then rightly sends.
//! - A read takes everything from the socket, for whichever stream. So a full queue of output needs no reading, and what
//!   piles up meanwhile is bounded by the window.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use ssh2::{BlockDirections, Channel, Session};
use tokio::sync::mpsc::{self, error::TryRecvError, error::TrySendError};

use super::link::{Link, Sleeper};
use super::stream::{Reader, Writer};
use super::{Opened, SshSettings};
use crate::complaints::Complaints;

/// Bytes read from the channel at a time.
const READ_CHUNK: usize = 256 * 1024;
/// Entries of the reader's queue: 2 MiB.
const READ_QUEUE: usize = 8;
/// Entries of the writer's queue: 2 MiB.
const WRITE_QUEUE: usize = 16;
/// Smaller pieces are put together to one packet's length first.
const PACKET: usize = 32 * 1024;
/// Calls for one direction before the others have their turn.
const TURN: usize = 32;
/// Asking more often than libssh2 does would be asking nothing.
const SHORTEST_KEEPALIVE: Duration = Duration::from_millis(2500);
/// How long a connection that nobody uses any more may take to send what was written, and an ended agent to say its status.
const LINGER: Duration = Duration::from_secs(2);

/// The agent's standard input, as seen from here.
#[derive(PartialEq, Eq)]
enum Input {
    Open,
    /// All is sent but the end of file.
    Ending,
    Ended,
}

/// See the module.
pub(super) struct Pump {
    session: Session,
    channel: Channel,
    socket: TcpStream,
    link: Arc<Link>,
    sleeper: Sleeper,
    complaints: Complaints,
    peer: String,
    keepalive: Duration,
    idle: Duration,

    from_writer: mpsc::Receiver<Bytes>,
    out: Bytes,
    input: Input,

    /// None: whatever comes is thrown away.
    to_reader: Option<mpsc::Sender<Bytes>>,
    scratch: Vec<u8>,
    /// The reader's queue is full.
    stalled: bool,

    /// When the node last gave a sign of life.
    heard: Instant,
    /// When it was first and last asked for one since.
    asked: Option<(Instant, Instant)>,
    /// The socket had something to read, and yet nothing could be read.
    fruitless: bool,
    /// libssh2 read nothing and did not say that it would block: it may have more that the socket does not show.
    again: bool,
    give_up: Option<Instant>,
}

impl Pump {
    /// A pump and the ends of its streams.
    pub(super) fn new(
        opened: Opened,
        settings: &SshSettings,
        link: Arc<Link>,
        sleeper: Sleeper,
        complaints: Complaints,
    ) -> (Self, (Reader, Writer)) {
        let (to_reader, from_pump) = mpsc::channel(READ_QUEUE);
        let (to_pump, from_writer) = mpsc::channel(WRITE_QUEUE);
        let ends = (
            Reader::new(from_pump, Arc::clone(&link)),
            Writer::new(to_pump, Arc::clone(&link)),
        );
        let Opened { connection, channel } = opened;
        connection.session.set_blocking(false);
        // When to ask is decided here; libssh2 only must not think it too early. It takes no less than two seconds.
        connection.session.set_keepalive(true, 2);
        link.blocks_on(None);
        let pump = Self {
            session: connection.session,
            channel,
            socket: connection.socket,
            link,
            sleeper,
            complaints,
            peer: settings.peer(),
            keepalive: settings.keepalive.max(SHORTEST_KEEPALIVE),
            idle: settings.idle_timeout,
            from_writer,
            out: Bytes::new(),
            input: Input::Open,
            to_reader: Some(to_reader),
            scratch: vec![0; READ_CHUNK],
            stalled: false,
            heard: Instant::now(),
            asked: None,
            fruitless: false,
            again: false,
            give_up: None,
        };
        (pump, ends)
    }

    /// Until the agent ends, the connection breaks, or nobody wants it any more.
    pub(super) fn run(mut self) {
        match self.rounds() {
            Ok(()) => self.part(),
            Err(error) => {
                let error = io::Error::new(error.kind(), format!("ssh {}: {error}", self.peer));
                tracing::debug!(%error, "connection lost");
                self.link.fail(&error);
            }
        }
        // The reason is kept: now the ends may see that it is over.
        self.from_writer.close();
        self.to_reader = None;
        // libssh2 must find the socket closed, or freeing a channel would try to say goodbye without waiting, fail, and leak.
        let _ = self.session.disconnect(None, "done", None);
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    fn rounds(&mut self) -> io::Result<()> {
        loop {
            if self.give_up.is_none() && self.link.stopped() {
                self.give_up = Some(Instant::now() + LINGER);
                self.to_reader = None;
            }
            let sent = self.send()?;
            let complained = self.listen()?;
            let received = self.receive()?;
            if self.channel.eof() {
                return Ok(());
            }
            let now = Instant::now();
            if self.give_up.is_some_and(|end| now >= end) {
                return Ok(());
            }
            if sent || complained || received {
                self.heard(now);
                self.fruitless = false;
            } else {
                self.sleep(now)?;
            }
        }
    }

    /// Queue to channel. Whether anything went.
    fn send(&mut self) -> io::Result<bool> {
        let mut moved = false;
        for _ in 0..TURN {
            if self.input != Input::Open && self.out.is_empty() || self.out.is_empty() && !self.refill() {
                break;
            }
            match self.channel.write(&self.out) {
                Ok(0) => break,
                Ok(n) => {
                    self.out.advance(n);
                    moved = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // The agent is gone: what it said last is still to be read.
                Err(_) if self.channel.eof() => break,
                Err(error) => return Err(error),
            }
        }
        if self.input == Input::Ending && self.out.is_empty() && self.ready(PollFlags::OUT)? {
            match self.channel.send_eof().map_err(io::Error::from) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                _ => self.input = Input::Ended,
            }
        }
        Ok(moved)
    }

    /// Takes the next pieces from the queue. Whether there were any.
    fn refill(&mut self) -> bool {
        match self.from_writer.try_recv() {
            Ok(first) if first.len() >= PACKET / 2 => self.out = first,
            Ok(first) => {
                let mut joined = BytesMut::from(first);
                while joined.len() < PACKET {
                    match self.from_writer.try_recv() {
                        Ok(next) => joined.extend_from_slice(&next),
                        Err(_) => break,
                    }
                }
                self.out = joined.freeze();
            }
            Err(TryRecvError::Empty) => return false,
            Err(TryRecvError::Disconnected) => {
                self.input = Input::Ending;
                return false;
            }
        }
        true
    }

    /// Standard error to the complaints. Whether there was any.
    fn listen(&mut self) -> io::Result<bool> {
        let mut stderr = self.channel.stderr();
        let mut moved = false;
        for _ in 0..TURN {
            match stderr.read(&mut self.scratch) {
                Ok(0) => {
                    self.again |= !self.channel.eof();
                    break;
                }
                Ok(n) => {
                    self.complaints.push(&self.scratch[..n]);
                    moved = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(moved)
    }

    /// Channel to queue. Whether anything came.
    fn receive(&mut self) -> io::Result<bool> {
        let mut moved = false;
        self.stalled = false;
        for _ in 0..TURN {
            let room = match self.to_reader.as_ref().map(mpsc::Sender::try_reserve) {
                Some(Ok(room)) => Some(room),
                Some(Err(TrySendError::Full(()))) => {
                    self.stalled = true;
                    break;
                }
                Some(Err(TrySendError::Closed(()))) | None => None,
            };
            match self.channel.read(&mut self.scratch) {
                Ok(0) => {
                    self.again |= !self.channel.eof();
                    break;
                }
                Ok(n) => {
                    if let Some(room) = room {
                        room.send(Bytes::copy_from_slice(&self.scratch[..n]));
                    }
                    moved = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(moved)
    }

    /// Sleeps until the socket or one of the queues has something to do.
    fn sleep(&mut self, now: Instant) -> io::Result<()> {
        let hungry = self.input == Input::Open && self.out.is_empty();
        self.link.wait_for(hungry, self.stalled);
        // Said first, looked second: what changed before it was said rang no bell.
        let changed = (hungry && (self.refill() || self.input != Input::Open))
            || (self.stalled
                && self
                    .to_reader
                    .as_ref()
                    .is_none_or(|queue| queue.is_closed() || queue.capacity() > 0))
            || (self.give_up.is_none() && self.link.stopped());
        if changed {
            self.link.wait_for(false, false);
            return Ok(());
        }

        let blocked = matches!(
            self.session.block_directions(),
            BlockDirections::Outbound | BlockDirections::Both
        );
        let wants_out = blocked || self.input == Input::Ending;
        let wants = match (wants_out, self.fruitless) {
            // Reading waits for a packet to go out (a window to be opened): polling for more to read would spin.
            (true, true) => PollFlags::OUT,
            (true, false) => PollFlags::IN | PollFlags::OUT,
            (false, _) => PollFlags::IN,
        };
        let next = [Some(self.next_question()), self.deadline(), self.give_up];
        let again = std::mem::take(&mut self.again).then(|| now + Duration::from_millis(1));
        let wake = next.into_iter().chain([again]).flatten().min().unwrap_or(now);
        let timeout = wake.saturating_duration_since(now);
        let socket = self.wait(wants, true, timeout)?;
        self.link.wait_for(false, false);
        self.sleeper.quiet();

        let now = Instant::now();
        self.fruitless = socket.contains(PollFlags::IN);
        if !socket.is_empty() {
            self.heard(now);
            return Ok(());
        }
        if self.deadline().is_some_and(|end| now >= end) {
            return Err(io::Error::new(
                ErrorKind::TimedOut,
                format!("no sign of life for {} s", self.idle.as_secs()),
            ));
        }
        if now >= self.next_question() {
            self.asked = Some((self.asked.map_or(now, |(first, _)| first), now));
            if self.ready(PollFlags::OUT)? {
                self.session.keepalive_send()?;
            }
        }
        Ok(())
    }

    fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.asked = None;
    }

    /// When to ask the node whether it is there.
    fn next_question(&self) -> Instant {
        self.asked.map_or(self.heard, |(_, last)| last) + self.keepalive
    }

    /// When to give the node up: never before it was asked and had time to answer. This program may have been asleep itself.
    fn deadline(&self) -> Option<Instant> {
        self.asked
            .map(|(first, _)| (self.heard + self.idle).max(first + self.keepalive))
    }

    /// Whether the socket is ready for it now.
    fn ready(&self, flags: PollFlags) -> io::Result<bool> {
        Ok(self.wait(flags, false, Duration::ZERO)?.contains(flags))
    }

    /// Waits for the socket (and the bell); what the socket is ready for.
    fn wait(&self, flags: PollFlags, bell: bool, timeout: Duration) -> io::Result<PollFlags> {
        let mut fds = [
            PollFd::new(&self.socket, flags),
            PollFd::new(&self.sleeper.0, PollFlags::IN),
        ];
        let watched = if bell { &mut fds[..] } else { &mut fds[..1] };
        let timeout = Timespec::try_from(timeout).ok();
        match poll(watched, timeout.as_ref()) {
            Ok(_) => Ok(fds[0].revents()),
            Err(rustix::io::Errno::INTR) => Ok(PollFlags::empty()),
            Err(error) => Err(error.into()),
        }
    }

    /// The agent has closed its output: learns how it ended.
    fn part(&mut self) {
        let end = Instant::now() + LINGER;
        while let Err(error) = self.channel.wait_close() {
            let left = end.saturating_duration_since(Instant::now());
            let waiting = io::Error::from(error).kind() == ErrorKind::WouldBlock;
            if !waiting || left.is_zero() || self.give_up.is_some() || self.wait(PollFlags::IN, true, left).is_err() {
                return;
            }
            self.sleeper.quiet();
        }
        // A status of 0 is also what libssh2 says of a process that a signal ended.
        if let Some(signal) = self.channel.exit_signal().ok().and_then(|signal| signal.exit_signal) {
            self.complaints.remark(&format!("(ended by signal {signal})"));
        } else if let Ok(status @ 1..) = self.channel.exit_status() {
            self.complaints.remark(&format!("(ended with status {status})"));
        }
    }
}
