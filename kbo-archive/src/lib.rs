//! Bytes: everything kbo does with the files of a node and with archives.
//!
//! On a node, in the order of a backup: [`facts`] looks, [`clean`] proves the stop and sweeps, [`snapshot`] holds the files
//! by the [`rules`], [`writer`] streams an archive. Of a restore: [`stage`] unpacks and verifies, [`swap`] renames, and [`kept`]
//! is what was replaced, for as long as it may be needed.
//! [`reader`] verifies an archive without unpacking it. [`files`] puts small files into a directory, all or none. Everything here is synchronous and blocks.

pub mod checkpoint;
pub mod clean;
pub mod error;
pub mod facts;
pub mod files;
pub mod kept;
mod lock;
pub mod metadata;
pub mod metaprops;
mod pipe;
pub mod reader;
pub mod records;
pub mod regular;
pub mod rules;
pub mod segment;
pub mod snapshot;
pub mod stage;
pub mod store;
pub mod swap;
mod tarfmt;
mod tree;
pub mod work;
pub mod writer;

pub use error::Error;
pub use work::DirSpec;
