//! `[hooks]` and `[metrics]` as they are written.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A command: a text for the shell, or a program with its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum RawCommand {
    /// For `sh -c`.
    Shell(String),
    /// The program and its arguments.
    Program(Vec<String>),
}

/// `[hooks]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawHooks {
    /// Before anything is touched; one that fails refuses the run. Default: none.
    pub before: Option<Vec<RawCommand>>,
    /// After a run that is done, with or without something to look at (exit codes 0 and 7). Default: none.
    pub after_success: Option<Vec<RawCommand>>,
    /// After one that is not: failed, refused, locked, interrupted. Default: none.
    pub on_failure: Option<Vec<RawCommand>>,
    /// After every run, last. Default: none.
    pub always: Option<Vec<RawCommand>>,
    /// How long each command has before it is ended. Default 300.
    pub timeout_seconds: Option<u64>,
}

/// `[metrics]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawMetrics {
    /// File for node_exporter's textfile collector, written after each backup; it ends with .prom. Default: none.
    pub textfile: Option<PathBuf>,
}
