//! What the cases of one cluster share: the cluster, kbo, and the backups made so far.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use super::data;
use super::kbo::Kbo;
use crate::lab::{Lab, Role};

/// The state that a case finds and leaves.
pub(crate) struct World {
    /// The cluster.
    pub(crate) lab: Lab,
    /// kbo, with the cluster's own configuration.
    pub(crate) kbo: Kbo,
    /// Figures worth printing beside a case's outcome.
    pub(crate) notes: Vec<String>,
    full: Option<Backup>,
}

/// A backup, and what clients saw just before it.
#[derive(Clone, Debug)]
pub(crate) struct Backup {
    /// Its id.
    pub(crate) id: String,
    /// The digest.
    pub(crate) digest: Value,
}

impl World {
    pub(crate) fn new(lab: Lab, program: PathBuf) -> Result<Self> {
        let transcripts = lab.dir().with_file_name(format!("{}-runs", lab.kind().name()));
        let kbo = Kbo::new(program, lab.config_path(), transcripts)?;
        Ok(Self::anew(lab, kbo))
    }

    /// A world without a past.
    pub(crate) fn anew(lab: Lab, kbo: Kbo) -> Self {
        Self {
            lab,
            kbo,
            notes: vec![],
            full: None,
        }
    }

    /// Topics filled, and their digest.
    pub(crate) fn seeded(&self) -> Result<Value> {
        data::seed(&self.lab)?;
        data::digest(&self.lab)
    }

    /// The last full backup; made now where there is none.
    pub(crate) fn full(&mut self) -> Result<Backup> {
        if let Some(backup) = &self.full {
            return Ok(backup.clone());
        }
        let digest = self.seeded()?;
        let report = self.kbo.json(&["backup"])?;
        self.remember(&report, digest)
    }

    /// Note a full backup for the cases to come.
    pub(crate) fn remember(&mut self, report: &Value, digest: Value) -> Result<Backup> {
        let backup = Backup {
            id: text(report, "id")?,
            digest,
        };
        self.full = Some(backup.clone());
        Ok(backup)
    }

    /// The folder of a backup in the store.
    pub(crate) fn folder(&self, id: &str) -> Result<PathBuf> {
        find(&self.lab.dir().join("store"), id).with_context(|| format!("the store has no folder of {id}"))
    }

    /// A backup's manifest.
    pub(crate) fn manifest(&self, id: &str) -> Result<Value> {
        let path = self.folder(id)?.join("manifest.json");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))
    }

    /// The name of the n-th broker, from one.
    pub(crate) fn broker(&self, number: usize) -> String {
        self.nth(Role::Broker, number)
    }

    /// The name of the n-th controller, from one.
    pub(crate) fn controller(&self, number: usize) -> String {
        self.nth(Role::Controller, number)
    }

    fn nth(&self, role: Role, number: usize) -> String {
        let mut nodes = self.lab.nodes().iter().filter(|node| node.role == role);
        nodes.nth(number - 1).map(|node| node.name.clone()).unwrap_or_default()
    }

    /// A figure for the case's line.
    pub(crate) fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// The window of a run, as a figure.
    pub(crate) fn note_window(&mut self, what: &str, report: &Value) {
        if let Some(seconds) = report["window_seconds"].as_f64() {
            self.note(format!("{what}: window {seconds:.1} s"));
        }
    }
}

/// A text of a document.
pub(crate) fn text(document: &Value, key: &str) -> Result<String> {
    let found = document[key]
        .as_str()
        .with_context(|| format!("the document has no {key}: {document}"))?;
    Ok(found.to_owned())
}

/// The folder called `name` somewhere below `dir`.
pub(crate) fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    for entry in fs::read_dir(dir).ok()?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if entry.file_name() == name {
                return Some(path);
            }
            if let Some(found) = find(&path, name) {
                return Some(found);
            }
        }
    }
    None
}
