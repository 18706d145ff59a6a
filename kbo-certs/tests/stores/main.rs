//! Stores against those who wrote the formats: what keytool, OpenSSL and pyjks make is read, and what is written they read.
#![expect(clippy::unwrap_used, reason = "tests panic on failure")]

mod golden;
mod hostile;
mod identity;
mod matrix;
mod round_trip;
mod tools;
