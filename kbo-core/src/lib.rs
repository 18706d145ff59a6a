//! The domain of kbo: what a cluster is, how it is stopped and started safely, what a run does step by step and how each step
//! is undone. No I/O: the world is behind the [`ports`].

pub mod belonging;
pub mod cancel;
pub mod config;
pub mod container;
pub mod deploy;
pub mod floor;
pub mod ids;
pub mod import;
pub mod inventory;
pub mod journal;
pub mod kept;
pub mod last_run;
pub mod machine;
pub mod manifest;
pub mod metrics;
pub mod orchestrator;
pub mod plan;
pub mod ports;
pub mod preflight;
pub mod punctual;
pub mod report;
pub mod retention;
pub mod schedule;
pub mod secret;
#[cfg(feature = "testing")]
pub mod testing;
pub mod text;
pub mod undo;
pub mod whose;
