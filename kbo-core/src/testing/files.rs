//! A directory of small files in memory, by the contract of [`FilesRequest`]: what a fake node has, and what the real ones are
//! compared with.

use std::collections::BTreeMap;

use super::packing::sha256;
use crate::ids::RunId;
use crate::ports::files::{FilesReport, FilesRequest, KeptOf, PlacedFile};
use crate::ports::node::{NodeError, NodeErrorKind};

/// A directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilesDir {
    /// What stands in it, but for what is kbo's.
    pub live: BTreeMap<String, FakeFile>,
    staged: BTreeMap<RunId, Vec<(String, FakeFile)>>,
    previous: Option<Kept>,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeFile {
    /// What it holds.
    pub bytes: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner and group.
    pub owner: (u32, u32),
}

/// What a commit replaced, or what a rollback did.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    run: RunId,
    names: Vec<String>,
    files: BTreeMap<String, FakeFile>,
    rolled_back: bool,
    earlier: Option<Box<Kept>>,
}

impl Kept {
    fn exchange(&mut self, live: &mut BTreeMap<String, FakeFile>) {
        for name in &self.names {
            let (ours, theirs) = (self.files.remove(name), live.remove(name));
            self.files.extend(theirs.map(|file| (name.clone(), file)));
            live.extend(ours.map(|file| (name.clone(), file)));
        }
    }
}

fn state(text: String) -> NodeError {
    NodeError::new(NodeErrorKind::State, text)
}

impl FilesDir {
    /// Whether files of a run wait in it.
    pub fn is_staged(&self) -> bool {
        !self.staged.is_empty()
    }

    /// Carries a request out. Files without an owner get `owner`, where they replace none.
    ///
    /// # Errors
    /// As the contract has it.
    pub fn carry_out(&mut self, request: &FilesRequest, owner: (u32, u32)) -> Result<FilesReport, NodeError> {
        request.check()?;
        let names: Vec<String> = match request {
            FilesRequest::Look { names, .. } => names.clone(),
            FilesRequest::Stage { run, files, .. } => {
                if self.previous.as_ref().is_some_and(|kept| kept.run == *run) {
                    return Err(state(format!("run {run} has put its files in place already")));
                }
                let new = files.iter().map(|file| {
                    let replaced = self.live.get(&file.name).map(|there| there.owner);
                    let fake = FakeFile {
                        bytes: file.bytes.to_vec(),
                        mode: file.mode,
                        owner: file.owner.or(replaced).unwrap_or(owner),
                    };
                    (file.name.clone(), fake)
                });
                let new: Vec<(String, FakeFile)> = new.collect();
                let placed = new.iter().map(|(name, file)| placed(name, file)).collect();
                self.staged.clear();
                self.staged.insert(run.clone(), new);
                return Ok(FilesReport {
                    files: placed,
                    previous: self.previous(),
                    kept: self.kept_of(),
                });
            }
            FilesRequest::Commit { run, .. } => self.commit(run)?,
            FilesRequest::Undo { run, .. } => self.undo(run)?,
            FilesRequest::Rollback { .. } => {
                let kept = self
                    .previous
                    .as_mut()
                    .ok_or_else(|| state("no earlier files are kept".to_owned()))?;
                kept.exchange(&mut self.live);
                kept.rolled_back = !kept.rolled_back;
                kept.names.clone()
            }
            FilesRequest::Drop { .. } => {
                self.staged.clear();
                vec![]
            }
        };
        let there = names.iter().filter_map(|name| Some((name, self.live.get(name)?)));
        Ok(FilesReport {
            files: there.map(|(name, file)| placed(name, file)).collect(),
            previous: self.previous(),
            kept: self.kept_of(),
        })
    }

    fn commit(&mut self, run: &RunId) -> Result<Vec<String>, NodeError> {
        let Some(staged) = self.staged.remove(run) else {
            return match &self.previous {
                Some(kept) if kept.run == *run && !kept.rolled_back => Ok(kept.names.clone()),
                _ => Err(state(format!("nothing of run {run} is staged"))),
            };
        };
        let names: Vec<String> = staged.iter().map(|(name, _)| name.clone()).collect();
        let mut kept = Kept {
            run: run.clone(),
            names: names.clone(),
            files: staged.into_iter().collect(),
            rolled_back: false,
            earlier: self.previous.take().map(Box::new),
        };
        // What is kept for an undo is kept for one.
        if let Some(earlier) = &mut kept.earlier {
            earlier.earlier = None;
        }
        kept.exchange(&mut self.live);
        self.previous = Some(kept);
        Ok(names)
    }

    fn undo(&mut self, run: &RunId) -> Result<Vec<String>, NodeError> {
        match self.previous.take_if(|kept| kept.run == *run) {
            Some(mut kept) => {
                if !kept.rolled_back {
                    kept.exchange(&mut self.live);
                }
                let new = kept.names.iter().filter_map(|name| kept.files.remove_entry(name));
                self.staged.insert(run.clone(), new.collect());
                self.previous = kept.earlier.map(|earlier| *earlier);
                Ok(kept.names)
            }
            None => {
                let earlier = self.previous.as_ref().and_then(|kept| kept.earlier.as_ref());
                match earlier {
                    Some(earlier) if earlier.run == *run => {
                        Err(state(format!("run {run} cannot be undone: a later one stands on it")))
                    }
                    _ => Ok(vec![]),
                }
            }
        }
    }

    fn kept_of(&self) -> Option<KeptOf> {
        self.previous.as_ref().map(|kept| KeptOf {
            run: kept.run.clone(),
            rolled_back: kept.rolled_back,
        })
    }

    fn previous(&self) -> Vec<String> {
        let kept = self.previous.iter();
        let names = kept.flat_map(|kept| kept.names.iter().filter(|name| kept.files.contains_key(*name)));
        names.cloned().collect()
    }
}

fn placed(name: &str, file: &FakeFile) -> PlacedFile {
    PlacedFile {
        name: name.to_owned(),
        sha256: sha256(&file.bytes),
        mode: file.mode,
        uid: file.owner.0,
        gid: file.owner.1,
    }
}
