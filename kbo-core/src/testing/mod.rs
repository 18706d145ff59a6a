//! What tests of kbo, and of tools that embed it, build on: time that passes when told to, a store in memory, a cluster that
//! behaves, faults at any operation, and the suite that every transport must pass.
//!
//! The mockall mock of a port stands beside the port (`MockBackupStore` beside `BackupStore`), or here.

mod clock;
mod cluster;
pub mod conformance;
mod containers;
mod facts;
mod faults;
mod faulty;
mod files;
mod kafka;
mod lease;
mod listeners;
mod mocks;
mod monitor;
mod node;
mod others;
mod packing;
mod previous;
mod shape;
mod state;
mod store;
mod stream;
mod violations;

pub use clock::{FakeClock, breathe};
pub use cluster::FakeCluster;
pub use faults::{Effect, Faults, Moment};
pub use faulty::FaultyNode;
pub use files::{FakeFile, FilesDir};
pub use mocks::{MockArchiveWriter, MockNodeTransport, MockStoreLock};
pub use monitor::Recorder;
pub use node::FakeNode;
pub use packing::sha256;
pub use shape::Shape;
pub use state::{Files, Image, NodeState, Work};
pub use store::MemoryStore;
pub use stream::{BytesSource, CollectSink, FailingSink};
