//! What a node has to undo alone when its caller vanishes, as a file beside the node's first data directory.
//!
//! `<parent>/.kbo/lease-<run>-<node>.<holder>.json`, held by one agent. Whoever renames the file has the duty: an agent that undoes
//! renames its own, one that takes over renames another's, and a rename succeeds once. The file is a journal of lines, each the
//! whole [`Duty`], written and synced before the step that it speaks of; its holder keeps it locked, so that a dead holder is known
//! from a living one.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kbo_core::ids::{NodeName, RunId};
use kbo_core::inventory::Dataset;
use kbo_core::ports::node::{ContainerNow, LeaseFacts, NodeError, NodeErrorKind, Owner};
use serde::{Deserialize, Serialize};

/// What is to be undone for one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duty {
    /// Whose.
    pub run: RunId,
    /// Whether the container was running before it was stopped and is to be started again.
    pub start: bool,
    /// A stop is under way: who takes over waits for its end.
    pub stopping: bool,
    /// Datasets that are to be swapped back.
    pub swapped: Vec<Dataset>,
    /// How long to wait for the caller.
    pub grace: Duration,
    /// `host:port` of the controllers to be up before a broker starts; empty for a controller.
    pub wait_for: Vec<String>,
    /// Whose run it is; none in a lease of kbo 0.1.0.
    #[serde(default)]
    pub owner: Option<Owner>,
    /// What is swapped stays swapped: the node has agreed to keep it, and does not know whether all have.
    #[serde(default)]
    pub agreed: bool,
    /// How long the stop under way may take.
    #[serde(default = "usual_stop")]
    pub stop_within: Duration,
    /// The container as kbo last left it: who has started it since is somebody else. None in a lease of kbo 0.1.0.
    #[serde(default)]
    pub left: Option<ContainerNow>,
}

/// That of leases of kbo 0.1.0, which do not tell.
fn usual_stop() -> Duration {
    Duration::from_secs(600)
}

impl Duty {
    /// A run that has changed nothing yet but for its work folder.
    pub fn new(run: RunId, grace: Duration) -> Self {
        Self {
            run,
            start: false,
            stopping: false,
            swapped: Vec::new(),
            grace,
            wait_for: Vec::new(),
            owner: None,
            agreed: false,
            stop_within: usual_stop(),
            left: None,
        }
    }

    /// Whether more than a work folder is at stake.
    ///
    /// A container that is to run again, or data on trial: while that is so, the run's window on this node is open.
    pub fn is_grave(&self) -> bool {
        self.start || self.stopping || !self.swapped.is_empty()
    }
}

/// The duties that this agent holds.
pub struct Leases {
    folder: Option<PathBuf>,
    node: NodeName,
    holder: String,
    owner: Option<Owner>,
    held: BTreeMap<RunId, Held>,
}

struct Held {
    duty: Duty,
    /// The file, kept open for its lock; none where there is no folder to put it in.
    file: Option<(File, PathBuf)>,
}

/// What became of a try to take over what other agents hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// Nobody else who is alive holds anything of this node now.
    Done,
    /// An agent is just undoing what this run had left; try again.
    Busy,
    /// A living run of somebody else holds the node.
    ByAnother(Box<Duty>),
}

/// On whose behalf other agents' leases are taken over.
#[derive(Debug, Clone, Default)]
pub struct Claimant {
    /// Whose runs of other centres are not taken over.
    pub owner: Option<Owner>,
    /// The runs whose leases are the claimant's.
    pub runs: Vec<RunId>,
}

const HELD: &str = "json";
const UNDOING: &str = "undoing";
const CLAIMED: &str = "claimed";

/// How much longer than its timeout an engine's stop may take.
const STOP_MARGIN: Duration = Duration::from_secs(60);

impl Leases {
    /// No duty yet. `folder` is the work root beside the node's first directory.
    pub fn new(node: NodeName, folder: Option<PathBuf>) -> Self {
        let nanos = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos());
        // In helper containers every agent has the same pid; together with the time it is unique enough for one node.
        let holder = format!("{:x}-{nanos:x}", std::process::id());
        Self {
            folder,
            node,
            holder,
            owner: None,
            held: BTreeMap::new(),
        }
    }

    /// Whose the leases are that are taken from now on.
    pub fn set_owner(&mut self, owner: Owner) {
        self.owner = Some(owner);
    }

    /// The duties held, oldest run first.
    pub fn duties(&self) -> Vec<Duty> {
        self.held.values().map(|held| held.duty.clone()).collect()
    }

    /// Notes a run's duty, first taking the lease if there is none. Durable when it returns.
    ///
    /// # Errors
    /// Those of writing the file.
    pub fn note(&mut self, run: &RunId, grace: Duration, change: impl FnOnce(&mut Duty)) -> Result<(), NodeError> {
        let mut duty = match self.held.get(run) {
            Some(held) => held.duty.clone(),
            None => Duty {
                owner: self.owner.clone(),
                ..Duty::new(run.clone(), grace)
            },
        };
        let before = duty.clone();
        change(&mut duty);
        let without_file = self.held.get(run).is_none_or(|held| held.file.is_none());
        if without_file {
            let file = self.create(&duty)?;
            self.held.insert(run.clone(), Held { duty, file });
        } else if let Some(Held {
            duty: held,
            file: Some((file, path)),
        }) = self.held.get_mut(run)
            && duty != before
        {
            append(file, &duty).map_err(|error| failed("write", path, &error))?;
            *held = duty;
        }
        Ok(())
    }

    /// Notes a change of every duty held.
    ///
    /// # Errors
    /// Those of writing the files.
    pub fn note_all(&mut self, change: impl Fn(&mut Duty)) -> Result<(), NodeError> {
        for duty in self.duties() {
            self.note(&duty.run, duty.grace, &change)?;
        }
        Ok(())
    }

    /// Takes over the leases of the claimant's runs that other agents of this node hold, and their duties with them. What else the
    /// dead have left stays for [`Leases::adopt_dead`].
    ///
    /// # Errors
    /// Those of reading and writing the files.
    pub async fn take(&mut self, claimant: &Claimant) -> Result<Taken, NodeError> {
        for found in self.others()? {
            let is_alive = is_locked(&found.path);
            if claimant.runs.contains(&found.run) {
                if found.state == UNDOING && is_alive {
                    return Ok(Taken::Busy);
                }
                self.take_over(&found).await?;
                continue;
            }
            if !is_alive {
                continue;
            }
            // None of a lease that has just gone.
            let Ok(Some(duty)) = last_line(&found.path) else {
                continue;
            };
            let same = match (&claimant.owner, &duty.owner) {
                (Some(ours), Some(theirs)) => ours.is_of_the_same_centre(theirs),
                _ => false,
            };
            if !same {
                return Ok(Taken::ByAnother(Box::new(duty)));
            }
            // A run of the same store that has not stopped this node, or has started it again, is in nobody's way.
            if duty.is_grave() {
                return Ok(Taken::Busy);
            }
        }
        Ok(Taken::Done)
    }

    /// Takes over what dead agents have left to do for runs that are not the claimant's. Gives those runs.
    ///
    /// # Errors
    /// Those of reading and writing the files.
    pub async fn adopt_dead(&mut self, claimant: &Claimant) -> Result<Vec<RunId>, NodeError> {
        let mut adopted = Vec::new();
        for found in self.others()? {
            let is_ours = claimant.runs.contains(&found.run);
            let is_grave = last_line(&found.path)
                .ok()
                .flatten()
                .is_some_and(|duty| duty.is_grave());
            if !is_ours && is_grave && !is_locked(&found.path) && self.take_over(&found).await? {
                adopted.push(found.run);
            }
        }
        Ok(adopted)
    }

    /// Whether there was a duty to take over.
    async fn take_over(&mut self, found: &Found) -> Result<bool, NodeError> {
        let mine = self.path(&found.run, CLAIMED);
        match fs::rename(&found.path, &mine) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed("rename", &found.path, &error)),
        }
        tracing::info!(run = %found.run, from = %found.path.display(), "taking over what another agent had to undo");
        // Its holder may still be stopping the container: a start that came before the end of that would be lost. The engine ends
        // the stop when its time is up.
        let begun = Instant::now();
        let duty = loop {
            let duty = last_line(&mine).map_err(|error| failed("read", &mine, &error))?;
            match duty {
                Some(duty) if duty.stopping && is_locked(&mine) && begun.elapsed() < duty.stop_within + STOP_MARGIN => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                duty => break duty,
            }
        };
        let was_there = duty.is_some();
        if let Some(duty) = duty {
            self.note(&found.run, duty.grace, |ours| {
                ours.start |= duty.start;
                ours.agreed |= duty.agreed;
                ours.swapped.extend(&duty.swapped);
                ours.swapped.sort();
                ours.swapped.dedup();
                if ours.wait_for.is_empty() {
                    ours.wait_for = duty.wait_for;
                }
                ours.grace = ours.grace.max(duty.grace);
                if ours.left.is_none() {
                    ours.left = duty.left;
                }
                if duty.owner.is_some() {
                    ours.owner = duty.owner;
                }
            })?;
        } else {
            tracing::warn!(path = %mine.display(), "the lease is unreadable; taking nothing over");
        }
        fs::remove_file(&mine).map_err(|error| failed("remove", &mine, &error))?;
        Ok(was_there)
    }

    /// The leases of other agents on this node, as they stand.
    ///
    /// # Errors
    /// Those of reading the folder.
    pub fn facts(&self) -> Result<Vec<LeaseFacts>, NodeError> {
        let mut facts = Vec::new();
        for found in self.others()? {
            let is_alive = is_locked(&found.path);
            if let Ok(Some(duty)) = last_line(&found.path) {
                facts.push(LeaseFacts {
                    run: found.run,
                    window_open: duty.is_grave(),
                    is_alive,
                    owner: duty.owner,
                });
            }
        }
        Ok(facts)
    }

    /// Leaves a run's lease on the disk, for whoever comes next.
    pub fn abandon(&mut self, run: &RunId) {
        self.held.remove(run);
    }

    /// Runs for which another agent has something grave to undo, or is alive: their work folders are not orphans. Leases that say
    /// no more than that a dead agent had a work folder are removed.
    ///
    /// # Errors
    /// Those of reading the folder.
    pub fn runs_of_others(&self) -> Result<Vec<RunId>, NodeError> {
        let mut runs = Vec::new();
        for found in self.others()? {
            let duty = last_line(&found.path).ok().flatten();
            if is_locked(&found.path) || duty.is_some_and(|duty| duty.is_grave()) {
                runs.push(found.run);
            } else {
                let _ = fs::remove_file(&found.path);
            }
        }
        Ok(runs)
    }

    /// Whether nobody has taken a run's duty over.
    pub fn is_ours(&self, run: &RunId) -> bool {
        match self.held.get(run) {
            Some(Held {
                file: Some((_, path)), ..
            }) => fs::symlink_metadata(path).is_ok(),
            Some(_) => true,
            None => false,
        }
    }

    /// Makes a duty ours for good, so that nobody takes it over while it is carried out. False if somebody has.
    pub fn seize(&mut self, run: &RunId) -> bool {
        self.move_to(run, UNDOING)
    }

    /// Makes a seized duty one that may be taken over again.
    pub fn yield_back(&mut self, run: &RunId) -> bool {
        self.move_to(run, HELD)
    }

    fn move_to(&mut self, run: &RunId, state: &str) -> bool {
        let to = self.path(run, state);
        match self.held.get_mut(run) {
            Some(Held {
                file: Some((_, path)), ..
            }) => {
                let moved = fs::rename(&*path, &to).is_ok();
                if moved {
                    *path = to;
                }
                moved
            }
            Some(_) => true,
            None => false,
        }
    }

    /// Gives a run's lease back.
    pub fn drop_run(&mut self, run: &RunId) {
        if let Some(Held {
            file: Some((_, path)), ..
        }) = self.held.remove(run)
            && let Err(error) = fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "cannot remove the lease");
        }
        if let Some(folder) = &self.folder {
            // Another run's or directory's work keeps it.
            let _ = fs::remove_dir(folder);
        }
    }

    /// Gives every lease back.
    pub fn drop_all(&mut self) {
        for duty in self.duties() {
            self.drop_run(&duty.run);
        }
    }

    fn path(&self, run: &RunId, state: &str) -> PathBuf {
        let name = format!("lease-{run}-{}.{}.{state}", self.node, self.holder);
        self.folder.clone().unwrap_or_default().join(name)
    }

    fn create(&self, duty: &Duty) -> Result<Option<(File, PathBuf)>, NodeError> {
        // On a machine to be restored from nothing even the directories above may be missing; a staging makes them, and the next
        // note finds them. Made here, they would be for us alone.
        let Some(folder) = self
            .folder
            .as_ref()
            .filter(|folder| folder.parent().is_some_and(Path::is_dir))
        else {
            return Ok(None);
        };
        let path = self.path(&duty.run, HELD);
        let temporary = self.path(&duty.run, "new");
        let mut tries = 0;
        let mut file = loop {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(|error| failed("create", folder, &error))?;
            match OpenOptions::new()
                .create(true)
                .truncate(true)
                .read(true)
                .write(true)
                .open(&temporary)
            {
                Ok(file) => break file,
                // Somebody else found the folder empty just then, and removed it.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && tries < 8 => tries += 1,
                Err(error) => return Err(failed("create", &temporary, &error)),
            }
        };
        let written = append(&mut file, duty)
            .and_then(|()| file.try_lock().map_err(std::io::Error::from))
            .and_then(|()| fs::rename(&temporary, &path))
            .and_then(|()| File::open(folder)?.sync_all());
        match written {
            Ok(()) => Ok(Some((file, path))),
            Err(error) => {
                let _ = fs::remove_file(&temporary);
                Err(failed("write", &path, &error))
            }
        }
    }

    /// The leases of this node that are not ours.
    fn others(&self) -> Result<Vec<Found>, NodeError> {
        let Some(folder) = &self.folder else {
            return Ok(Vec::new());
        };
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("read", folder, &error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| failed("read", folder, &error))?;
            let name = entry.file_name();
            let Some((run, holder, state)) = name.to_str().and_then(|name| self.parse(name)) else {
                continue;
            };
            if holder != self.holder {
                found.push(Found {
                    run,
                    state,
                    path: entry.path(),
                });
            }
        }
        Ok(found)
    }

    /// The run, the holder and the state that a file's name tells, if it is a lease of this node.
    fn parse<'a>(&self, name: &'a str) -> Option<(RunId, &'a str, &'static str)> {
        let rest = name.strip_prefix("lease-")?;
        let run: RunId = rest.get(..16)?.parse().ok()?;
        let (holder, state) = rest[16..]
            .strip_prefix('-')?
            .strip_prefix(self.node.as_str())?
            .strip_prefix('.')?
            .split_once('.')?;
        let state = [HELD, UNDOING, CLAIMED].into_iter().find(|known| *known == state)?;
        Some((run, holder, state))
    }
}

struct Found {
    run: RunId,
    state: &'static str,
    path: PathBuf,
}

fn append(file: &mut File, duty: &Duty) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(duty)?;
    line.push(b'\n');
    file.seek(SeekFrom::End(0))?;
    file.write_all(&line)?;
    file.sync_data()
}

/// The last line that was written to its end.
fn last_line(path: &Path) -> std::io::Result<Option<Duty>> {
    let mut text = String::new();
    kbo_archive::regular::open(path)?
        .take(1 << 20)
        .read_to_string(&mut text)?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    Ok(whole.lines().rev().find_map(|line| serde_json::from_str(line).ok()))
}

/// Whether a living agent holds the file.
fn is_locked(path: &Path) -> bool {
    match kbo_archive::regular::open(path) {
        Ok(file) => matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock)),
        Err(_) => false,
    }
}

fn failed(doing: &str, path: &Path, error: &std::io::Error) -> NodeError {
    let kind = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => NodeErrorKind::NoSpace,
        _ => NodeErrorKind::Io,
    };
    NodeError::new(kind, format!("cannot {doing} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
