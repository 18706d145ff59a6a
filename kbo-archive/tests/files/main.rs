//! The files of a node, end to end: snapshot, archive, verify, stage, swap, clean, through the public API.
#![expect(clippy::unwrap_used, reason = "tests panic on failure")]

mod damage;
mod hostile;
mod later_changes;
mod looking;
mod owners;
mod round_trip;
mod support;
mod swapping;
