//! What a lab recorded of itself, written before the first change to the machine.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{Kind, paths};

/// The record of one lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    /// Kafka's version.
    pub(super) kafka_version: String,
    /// Whether `lab up` came to its end.
    pub(super) complete: bool,
    /// The first process of each VM, as this machine numbers it.
    pub(super) vms: Vec<VmState>,
    /// Directories made on the machine's root as mount points for the VMs; removed at the end when empty.
    pub(super) mount_points: Vec<PathBuf>,
}

/// The record of one VM.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct VmState {
    /// The node's name.
    pub(super) name: String,
    /// Its init process.
    pub(super) pid: u32,
}

impl State {
    pub(super) fn new(kafka_version: String) -> Self {
        Self {
            kafka_version,
            complete: false,
            vms: Vec::new(),
            mount_points: Vec::new(),
        }
    }

    /// The record of this clone's lab, if it has one.
    pub(super) fn load(kind: Kind) -> Result<Option<Self>> {
        let path = file(&paths::lab_dir(kind)?);
        if !path.exists() {
            return Ok(None);
        }
        let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let state = serde_json::from_slice(&text).with_context(|| {
            format!(
                "{} is damaged: take the lab down with `cargo xtask lab down {}`",
                path.display(),
                kind.name()
            )
        })?;
        Ok(Some(state))
    }

    pub(super) fn save(&self, kind: Kind) -> Result<()> {
        let dir = paths::lab_dir(kind)?;
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let path = file(&dir);
        let new = dir.join("state.json.new");
        std::fs::write(&new, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("cannot write {}", new.display()))?;
        std::fs::rename(&new, &path).with_context(|| format!("cannot replace {}", path.display()))
    }
}

fn file(dir: &Path) -> PathBuf {
    dir.join("state.json")
}
