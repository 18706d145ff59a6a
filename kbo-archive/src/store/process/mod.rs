//! A store whose files are touched by a process of its own, which can be abandoned.
//!
//! A thread in a system call on a disk that hangs (a frozen filesystem, a dead mount) cannot be ended, not even by SIGKILL, and its process
//! cannot end before it. So the process that holds a run's window, its leases and the terminal never touches the store's disk: it asks
//! [`serve`] in a child, waits for each answer as long as its deadline says, and then goes on without.
//!
//! What an abandoned process may still do, when its disk answers again, is to end the system call that it is in; the SIGKILL that waits for
//! it lets it do nothing more. That one call commits nothing: a backup exists when its manifest is there *and* its claim is gone, and the
//! claim is removed only when the other process, alive and in time, has said so after the manifest had come to stand there.

mod client;
mod failed;
mod handles;
mod serve;
mod wire;

pub use client::{ProcessStore, StoreProgram};
pub use serve::{Replace, serve};
