//! The crate from outside, over keys and certificates made by OpenSSL while the tests run.

mod chains;
mod checks;
mod folders;
mod keys;
mod pems;
mod sets;
mod stores;
mod support;
