//! The SSH carrier against a real sshd.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod first_login;
mod identity;
mod program;
mod sshd;
mod stream;
