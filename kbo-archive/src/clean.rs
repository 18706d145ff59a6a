//! Two ends of a run on a node: the proof that Kafka stopped cleanly, and the removal of what kbo left there.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use kbo_core::ids::RunId;
use kbo_core::inventory::Role;
use kbo_core::ports::node::{CleanDir, CleanReport, CleanRequest, CleanStopProof};

use crate::error::{At, Error};
use crate::kept::{self, Why};
use crate::lock;
use crate::rules::{DirClass, dir_class};
use crate::swap;
use crate::work::{DirSpec, Place, is_gone, sync_dir};

/// What a broker leaves in each log dir when it has stopped cleanly, and removes when it starts (`CleanShutdownFileHandler`).
pub const MARKER: &str = ".kafka_cleanshutdown";

/// Whether Kafka stopped cleanly, as its log dirs show it: for a broker a marker in each, all of the same broker epoch; for all
/// roles no lock held. The container must be stopped.
///
/// A `metadata.log.dir` of its own has no marker: it is none of the `log.dirs` that `LogManager` marks (tried with 4.1.1).
///
/// # Errors
/// Those of reading; that a marker or lock file is missing is none.
pub fn prove(log_dirs: &[DirSpec], role: Role) -> Result<CleanStopProof, Error> {
    let dirs = log_dirs.iter().map(look).collect::<Result<Vec<_>, _>>()?;
    let unlocked = dirs.iter().all(|dir| !dir.locked);
    let mut of_partitions = vec![];
    for (spec, dir) in log_dirs.iter().zip(&dirs) {
        if dir.marker || !holds_the_metadata_log_alone(&Place::of(spec)?.live)? {
            of_partitions.push(dir);
        }
    }
    let marked = of_partitions.iter().all(|dir| dir.marker);
    let same_epoch = of_partitions
        .windows(2)
        .all(|pair| pair[0].broker_epoch == pair[1].broker_epoch);
    let clean = unlocked && (!role.is_broker() || (marked && same_epoch && !of_partitions.is_empty()));
    Ok(CleanStopProof { clean, dirs })
}

fn look(spec: &DirSpec) -> Result<CleanDir, Error> {
    let live = Place::of(spec)?.live;
    let marker = read_marker(&live)?;
    Ok(CleanDir {
        path: spec.label.clone(),
        broker_epoch: marker.as_deref().and_then(broker_epoch),
        marker: marker.is_some(),
        locked: lock::is_held(&live)?,
    })
}

fn holds_the_metadata_log_alone(live: &Path) -> Result<bool, Error> {
    let mut holds_it = false;
    for entry in fs::read_dir(live).at("read", live)? {
        let entry = entry.at("read", live)?;
        if !entry.file_type().at("look at", live)?.is_dir() {
            continue;
        }
        match dir_class(&entry.file_name().to_string_lossy()) {
            DirClass::Metadata => holds_it = true,
            _ => return Ok(false),
        }
    }
    Ok(holds_it)
}

fn read_marker(live: &Path) -> Result<Option<String>, Error> {
    let path = live.join(MARKER);
    let mut bytes = Vec::new();
    match crate::regular::open(&path).and_then(|file| file.take(4096).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error).at("read", &path),
    }
}

/// The marker's content is `{"version":0,"brokerEpoch":N}`; before 3.7 it is empty.
fn broker_epoch(text: &str) -> Option<i64> {
    serde_json::from_str::<serde_json::Value>(text)
        .ok()?
        .get("brokerEpoch")?
        .as_i64()
}

/// Removes work folders. What is removed may be what a swap replaced: the request is the caller's word that it is not needed.
///
/// # Errors
/// Those of unlinking and renaming. What can be removed is removed all the same.
pub fn remove(dirs: &[DirSpec], request: &CleanRequest) -> Result<CleanReport, Error> {
    let mut report = CleanReport {
        removed: Vec::new(),
        kept: Vec::new(),
    };
    let mut first_error = None;
    for spec in dirs {
        if let Err(error) = remove_one(spec, request, &mut report) {
            first_error.get_or_insert(error);
        }
    }
    report.removed.sort();
    report.removed.dedup();
    first_error.map_or(Ok(report), Err)
}

fn remove_one(spec: &DirSpec, request: &CleanRequest, report: &mut CleanReport) -> Result<(), Error> {
    let place = Place::of(spec)?;
    crate::facts::remove_probes(&place);
    let runs: Vec<RunId> = match request {
        CleanRequest::Run(run) => {
            // What took the place of a kept directory stands beside the live one, and goes too.
            if let Some(replaced) = swap::replaced(run, &place)?.filter(|path| path.parent() == Some(&place.parent)) {
                kept::take_in(&place, run, &replaced)?;
            }
            vec![run.clone()]
        }
        CleanRequest::RunKeepingPrevious(run) => {
            let to = kept::keep(&place, run, Why::Asked)?;
            report.kept.extend(to.map(|to| to.display().to_string()));
            vec![run.clone()]
        }
        CleanRequest::RunKeepingUntilReady(run) => {
            let to = kept::keep(&place, run, Why::NotReady)?;
            report.kept.extend(to.map(|to| to.display().to_string()));
            vec![run.clone()]
        }
        CleanRequest::Kept(run) => match kept::remove(&place, run)? {
            Some(_) => vec![run.clone()],
            None => vec![],
        },
        CleanRequest::Orphans { keep } => place.runs()?.into_iter().filter(|run| !keep.contains(run)).collect(),
    };
    for run in runs {
        if place.remove(&run)? {
            report.removed.push(run);
        }
    }
    match sync_dir(&place.parent) {
        // Where a directory never was there is nothing to clean.
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        synced => synced,
    }
}
