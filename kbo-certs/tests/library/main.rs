//! The crate from outside, over keys and certificates made by OpenSSL while the tests run.
#![expect(clippy::unwrap_used, reason = "tests panic on failure")]

mod chain_checks;
mod chains;
mod checks;
mod folders;
mod keys;
mod pems;
mod sets;
mod stores;
mod support;
