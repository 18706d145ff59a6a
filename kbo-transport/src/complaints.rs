//! What an agent said on standard error, kept for the error when it dies.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// How much is kept: the end is what matters, and nobody reads more than a screen of it.
const KEPT: usize = 4096;

/// The last few KiB of an agent's standard error; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Complaints {
    ring: Arc<Mutex<VecDeque<u8>>>,
}

impl Complaints {
    /// Takes what came in, dropping the oldest beyond the limit.
    pub(crate) fn push(&self, bytes: &[u8]) {
        let tail = &bytes[bytes.len().saturating_sub(KEPT)..];
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let excess = (ring.len() + tail.len()).saturating_sub(KEPT);
        ring.drain(..excess);
        ring.extend(tail);
    }

    /// Adds a remark of our own on a line of its own.
    pub(crate) fn remark(&self, text: &str) {
        let fresh = self
            .ring
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .back()
            .is_none_or(|last| *last == b'\n');
        self.push(
            if fresh {
                format!("{text}\n")
            } else {
                format!("\n{text}\n")
            }
            .as_bytes(),
        );
    }

    /// What is kept, as text without the control characters that would play tricks on a terminal.
    pub(crate) fn text(&self) -> String {
        let bytes: Vec<u8> = self
            .ring
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .copied()
            .collect();
        printable(&bytes)
    }

    /// The same as the function an [`crate::carrier::AgentPipe`] carries.
    pub(crate) fn reader(&self) -> Arc<dyn Fn() -> String + Send + Sync> {
        let complaints = self.clone();
        Arc::new(move || complaints.text())
    }
}

/// Foreign bytes as text that is safe to show.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.trim()
        .chars()
        .filter(|c| *c == '\n' || *c == '\t' || !c.is_control())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_is_kept() {
        let complaints = Complaints::default();
        for n in 0..10_000 {
            complaints.push(format!("line {n}\n").as_bytes());
        }
        complaints.push(&vec![b'x'; 3 * KEPT]);
        complaints.push(b"\nthe end");
        assert!(complaints.text().ends_with("the end"));
        assert!(complaints.text().len() <= KEPT);
    }

    #[test]
    fn escape_sequences_do_not_reach_a_terminal() {
        let complaints = Complaints::default();
        complaints.push(b"bad\x1b[2J\x07");
        complaints.remark("status 1");
        assert_eq!(complaints.text(), "bad[2J\nstatus 1");
    }
}
