//! The agent: a [`LocalNode`](crate::local::LocalNode) on the node, served over a pair of byte streams.
//!
//! ```text
//! RemoteNode  --Open, Part*, Request, Data*, End, Abort, Ping, Goodbye-->  serve
//!             <--magic, Hello, Part*, Data*, Progress, Heartbeat, Reply--
//! ```
//!
//! One operation at a time. Either side is never silent for longer than a few seconds, so that each notices the other's death
//! even where the network does not tell: a carrier's idle timeout never fires, and a node whose caller vanished undoes its part
//! ([`lease`]).

pub mod client;
mod connection;
pub mod files;
mod json;
pub mod lease;
pub mod proto;
pub mod serve;
pub mod stdio;
#[cfg(test)]
mod tests;
mod undo;
mod wire;

pub use client::{ClientLimits, RemoteNode};
pub use serve::{AgentLimits, serve};
pub use stdio::serve_stdio;
pub use undo::UndoLimits;
