//! Buffers passed from one thread to another and back, so that reading and hashing overlap with compressing, in bounded memory.

use std::io;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// Bytes of a buffer.
const BUFFER: usize = 1 << 20;

/// Buffers on their way at once, besides one in each end's hands.
const DEPTH: usize = 4;

/// Some bytes.
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    used: usize,
    /// What the filling side wants to say with it: how much of its work is done.
    pub(crate) done: u64,
}

impl Buffer {
    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.used..]
    }

    pub(crate) fn is_full(&self) -> bool {
        self.used == self.bytes.len()
    }

    /// Takes the first bytes of the room as filled; they are returned.
    pub(crate) fn fill(&mut self, count: usize) -> &[u8] {
        let from = self.used;
        self.used = (self.used + count).min(self.bytes.len());
        &self.bytes[from..self.used]
    }
}

/// The other end is gone.
#[derive(Debug)]
pub(crate) struct Closed;

/// The filling end.
pub(crate) struct Filler {
    full: SyncSender<io::Result<Buffer>>,
    empty: Receiver<Buffer>,
}

/// The draining end; it can be read from.
pub(crate) struct Drain {
    full: Receiver<io::Result<Buffer>>,
    empty: Sender<Buffer>,
    current: Option<Buffer>,
    at: usize,
    error: Option<io::Error>,
}

/// Both ends of a pipe.
pub(crate) fn pipe() -> (Filler, Drain) {
    let (full, full_out) = sync_channel(DEPTH);
    let (empty, empty_out) = channel();
    let drain = Drain {
        full: full_out,
        empty,
        current: None,
        at: 0,
        error: None,
    };
    (Filler { full, empty: empty_out }, drain)
}

impl Filler {
    /// An empty buffer.
    pub(crate) fn buffer(&self) -> Buffer {
        match self.empty.try_recv() {
            Ok(buffer) => Buffer { used: 0, ..buffer },
            Err(_) => Buffer {
                bytes: vec![0; BUFFER].into_boxed_slice(),
                used: 0,
                done: 0,
            },
        }
    }

    /// Passes a buffer, or why there are no more.
    pub(crate) fn send(&self, buffer: io::Result<Buffer>) -> Result<(), Closed> {
        self.full.send(buffer).map_err(|_| Closed)
    }
}

impl Drain {
    /// The next buffer; `None` after the last.
    pub(crate) fn next(&mut self) -> io::Result<Option<Buffer>> {
        match self.full.recv() {
            Ok(buffer) => buffer.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Gives a buffer back for further use.
    pub(crate) fn recycle(&self, buffer: Buffer) {
        self.empty.send(buffer).ok();
    }

    /// Bytes at hand, `most` at most; empty at the end. To be followed by `consume`.
    pub(crate) fn peek(&mut self, most: u64) -> io::Result<&[u8]> {
        if let Some(error) = &self.error {
            return Err(io::Error::new(error.kind(), error.to_string()));
        }
        while self.current.as_ref().is_none_or(|buffer| self.at == buffer.used) {
            if let Some(buffer) = self.current.take() {
                self.recycle(buffer);
            }
            self.at = 0;
            match self.next() {
                Ok(Some(buffer)) => self.current = Some(buffer),
                Ok(None) => return Ok(&[]),
                Err(error) => {
                    self.error = Some(io::Error::new(error.kind(), error.to_string()));
                    return Err(error);
                }
            }
        }
        let bytes = self
            .current
            .as_ref()
            .map_or(&[][..], |buffer| &buffer.filled()[self.at..]);
        Ok(&bytes[..bytes.len().min(usize::try_from(most).unwrap_or(usize::MAX))])
    }

    /// Moves on.
    pub(crate) fn consume(&mut self, count: usize) {
        self.at += count;
    }
}
