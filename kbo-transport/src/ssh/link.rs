//! What the thread of a connection shares with the tasks that use it: how to wake it, how to end it, why it failed.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Shared between a connection's thread and the ends of its streams.
pub(super) struct Link {
    stop: AtomicBool,
    stopping: (Mutex<()>, Condvar),
    wake: UnixStream,
    /// The thread sleeps, and data to send should wake it.
    wants_data: AtomicBool,
    /// The thread sleeps, and room in the reader's queue should wake it.
    wants_room: AtomicBool,
    failure: Mutex<Option<(io::ErrorKind, String)>>,
    /// The socket while libssh2 blocks on it: shutting it down is the only way to end that.
    blocking_on: Mutex<Option<TcpStream>>,
}

impl Link {
    /// The link and the end of it that the thread sleeps on.
    pub(super) fn new() -> io::Result<(Arc<Self>, Sleeper)> {
        let (wake, sleep) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        sleep.set_nonblocking(true)?;
        let link = Self {
            stop: AtomicBool::new(false),
            stopping: (Mutex::new(()), Condvar::new()),
            wake,
            wants_data: AtomicBool::new(false),
            wants_room: AtomicBool::new(false),
            failure: Mutex::new(None),
            blocking_on: Mutex::new(None),
        };
        Ok((Arc::new(link), Sleeper(sleep)))
    }

    /// There is something to send, or there will never be again.
    pub(super) fn data(&self) {
        if self.wants_data.swap(false, Ordering::SeqCst) {
            self.ring();
        }
    }

    /// There is room for more.
    pub(super) fn room(&self) {
        if self.wants_room.swap(false, Ordering::SeqCst) {
            self.ring();
        }
    }

    /// Whether the user of the connection is gone.
    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Says what the thread is going to sleep for. It must look once more before it sleeps.
    pub(super) fn wait_for(&self, data: bool, room: bool) {
        self.wants_data.store(data, Ordering::SeqCst);
        self.wants_room.store(room, Ordering::SeqCst);
    }

    /// Waits, but not beyond the end of the connection.
    pub(super) fn pause(&self, duration: Duration) {
        let end = Instant::now() + duration;
        let mut guard = self.stopping.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.stopped() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            guard = self
                .stopping
                .1
                .wait_timeout(guard, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Names the socket that blocking calls use from now on, or that none do any more.
    pub(super) fn blocks_on(&self, socket: Option<TcpStream>) {
        let mut slot = self.blocking_on.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(socket), true) = (&socket, self.stopped()) {
            let _ = socket.shutdown(Shutdown::Both);
        }
        *slot = socket;
    }

    /// Keeps why the connection failed, for whoever reads or writes next.
    pub(super) fn fail(&self, error: &io::Error) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some((error.kind(), error.to_string()));
    }

    /// Why the connection failed, where it did.
    pub(super) fn failure(&self) -> Option<io::Error> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.as_ref().map(|(kind, text)| io::Error::new(*kind, text.clone()))
    }

    fn ring(&self) {
        // A full pipe means that it was rung before and has not been answered: as good.
        let _ = (&self.wake).write(&[1]);
    }
}

/// The thread's end of the bell.
pub(super) struct Sleeper(pub(super) UnixStream);

impl Sleeper {
    /// Forgets the rings so far.
    pub(super) fn quiet(&mut self) {
        let mut rings = [0; 64];
        while matches!(self.0.read(&mut rings), Ok(n) if n == rings.len()) {}
    }
}

/// Ends the connection when dropped.
///
/// It does not wait: the thread first sends what was written before, for a moment, and then closes the connection.
pub(super) struct Guard(Arc<Link>);

impl Guard {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self(link)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let link = &self.0;
        link.stop.store(true, Ordering::SeqCst);
        // The lock orders this with a thread that is just about to pause.
        drop(link.stopping.0.lock().unwrap_or_else(PoisonError::into_inner));
        link.stopping.1.notify_all();
        link.ring();
        if let Some(socket) = &*link.blocking_on.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}
