//! Reaching a node: one agent, several carriers.
//!
//! [`local::LocalNode`] is the only code that touches a node's files and its container engine. [`agent`] serves it over a pair
//! of byte streams; a [`carrier::Carrier`] brings the agent to a node and opens those streams.

pub mod agent;
mod binary;
pub mod carrier;
mod complaints;
pub mod docker;
pub mod kafka;
pub mod local;
pub mod process;
pub mod ssh;
pub mod survey;

/// Fills `bytes` with what nobody can guess.
///
/// # Errors
/// The system has no source of randomness.
pub fn random(bytes: &mut [u8]) -> std::io::Result<()> {
    openssl::rand::rand_bytes(bytes).map_err(std::io::Error::other)
}
