//! The ports: what the domain asks of the world, each with its contract in prose.

pub mod clock;
pub mod container;
pub mod facts;
pub mod files;
pub mod journal;
pub mod listener;
pub mod monitor;
pub mod node;
pub mod owner;
pub mod store;
pub mod stream;
