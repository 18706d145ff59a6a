//! Snapshots: a directory's files held as they are now, in the time that links and small copies take.
//!
//! In the directory's work folder: `snapshot/links/<n>`, hardlinks of what Kafka does not change in place; `snapshot/pack-<n>`,
//! copies of all else, one behind the other; `snapshot/index.jsonl`, written last.

mod hold;
pub(crate) mod index;
mod pack;
mod whole;

pub use whole::prove_whole;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use kbo_core::ids::RunId;
use kbo_core::inventory::Dataset;
use kbo_core::ports::node::SnapshotReport;

use self::hold::Holder;
use self::index::{Entry, Layout};
use crate::checkpoint::Offsets;
use crate::clean;
use crate::error::{At, Error};
use crate::lock::DirLock;
use crate::rules::{self, DirClass};
use crate::tree::{self, Found};
use crate::work::{self, DirSpec, Place};

/// Where brokers keep the partitions' high watermarks, one file per log dir.
pub(crate) const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";

/// How many directories make a second worker worth while.
const DIRS_PER_WORKER: usize = 32;

/// Takes snapshots of the directories into the run's work folders. Data directories are expected at rest, their Kafka lock is
/// held meanwhile; configuration may be in use. An earlier snapshot of the same run is replaced.
///
/// # Errors
/// [`Error::State`] where a directory is missing, holds what an archive cannot, or is locked by a running Kafka. After an error
/// no snapshot exists that the operation was to make; remains lie in the work folder.
pub fn take(run: &RunId, dirs: &[DirSpec]) -> Result<SnapshotReport, Error> {
    work::check_apart(dirs)?;
    let mut total = Holder::empty_report();
    // Locks on every log dir first, all kept to the end: a broker may not come up between two of them.
    let mut locks = Vec::new();
    let mut places = Vec::new();
    for spec in dirs {
        let place = Place::of(spec)?;
        if !place.live.is_dir() {
            return Err(Error::state(format!("{} is not there, or is no directory", spec.label)));
        }
        if spec.dataset == Dataset::Data {
            match DirLock::take(&place.live)? {
                Some(lock) => locks.push(lock),
                None => total
                    .warnings
                    .push(format!("{}: not protected against a start of Kafka", spec.label)),
            }
        }
        places.push(place);
    }
    for (spec, place) in dirs.iter().zip(&places) {
        let report = take_one(run, spec, place)?;
        merge(&mut total, report);
    }
    Ok(total)
}

fn take_one(run: &RunId, spec: &DirSpec, place: &Place) -> Result<SnapshotReport, Error> {
    let layout = Layout::new(&place.create(run)?);
    match fs::remove_dir_all(&layout.folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).at("remove", &layout.folder),
        _ => work::create_all(&layout.links())?,
    }
    let (mut entries, mut report) = hold_all(spec, &place.live, &layout)?;
    // The order of the archive.
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    work::sync_dir(&layout.links())?;
    index::write(&layout, run, spec.dataset, &spec.label, &entries)?;
    place.sync(run)?;
    report.bytes = vec![(spec.dataset, entries.iter().map(Entry::len).sum())];
    Ok(report)
}

/// A directory in a log dir and what is to be done with it.
struct Job<'a> {
    found: &'a Found,
    class: Option<DirClass>,
    high_watermark: Option<i64>,
}

fn hold_all(spec: &DirSpec, live: &Path, layout: &Layout) -> Result<(Vec<Entry>, SnapshotReport), Error> {
    let mut first = Holder::new(live, layout, spec.dataset, 0);
    let root = fs::metadata(live).at("look at", live)?;
    first.dir("", &root);
    let found = tree::list(live).at("read", live)?;
    let high_watermarks = match spec.dataset {
        // After an unclean stop the next start recovers segments and their indexes in place, whatever the checkpoint says of them:
        // with no high watermark known, all of a partition is copied.
        Dataset::Data if found.iter().any(|entry| entry.text() == Some(clean::MARKER)) => {
            read_high_watermarks(live, &mut first.report.warnings)?
        }
        Dataset::Data | Dataset::Config => None,
    };
    let mut jobs = Vec::new();
    for found in &found {
        let class = match (spec.dataset, found.text()) {
            (Dataset::Data, Some(name)) if found.meta.is_file() => {
                first.file(name, &found.meta, rules::top_level(name), None)?;
                continue;
            }
            (Dataset::Data, Some(name)) if found.meta.is_dir() => Some(rules::dir_class(name)),
            _ => None,
        };
        let high_watermark = match &class {
            Some(DirClass::Skipped) => continue,
            Some(DirClass::Unknown) => {
                return Err(Error::State {
                    what: format!("{} is no directory of Kafka's", live.join(&found.name).display()),
                    hint: Some("Kafka would refuse to start on it: move it out of the log dir"),
                });
            }
            Some(DirClass::Partition { topic, partition }) => high_watermarks
                .as_ref()
                .and_then(|offsets| offsets.get(topic, *partition)),
            Some(DirClass::Metadata) | None => None,
        };
        jobs.push(Job {
            found,
            class,
            high_watermark,
        });
    }
    let next = AtomicUsize::new(0);
    let work = |mut holder: Holder<'_>| -> Result<(Vec<Entry>, SnapshotReport), Error> {
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let path = holder.child("", job.found)?;
            match &job.class {
                Some(class) => holder.partition(job.found, &path, class, job.high_watermark)?,
                None => holder.any(job.found, &path)?,
            }
        }
        holder.finish()
    };
    let workers = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(4)
        .min(jobs.len() / DIRS_PER_WORKER);
    let results: Vec<_> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..workers)
            .map(|worker| scope.spawn(move || work(Holder::new(live, layout, spec.dataset, worker))))
            .collect();
        let mut results = vec![work(first)];
        for other in others {
            results.push(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        results
    });
    let mut entries = Vec::new();
    let mut total = Holder::empty_report();
    for result in results {
        let (more, report) = result?;
        entries.extend(more);
        merge(&mut total, report);
    }
    Ok((entries, total))
}

fn read_high_watermarks(live: &Path, warnings: &mut Vec<String>) -> Result<Option<Offsets>, Error> {
    let path = live.join(HIGH_WATERMARKS);
    let text = match crate::regular::read_to_string(&path, 64 << 20) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => String::new(),
        Err(error) => return Err(error).at("read", &path),
    };
    match Offsets::parse(&text) {
        Ok(offsets) => Ok(Some(offsets)),
        Err(error) => {
            warnings.push(format!("{}: {error}: partitions were copied whole", path.display()));
            Ok(None)
        }
    }
}

fn merge(total: &mut SnapshotReport, report: SnapshotReport) {
    total.linked_files += report.linked_files;
    total.linked_bytes += report.linked_bytes;
    total.copied_files += report.copied_files;
    total.copied_bytes += report.copied_bytes;
    for warning in report.warnings {
        if !total.warnings.contains(&warning) {
            total.warnings.push(warning);
        }
    }
    for (dataset, bytes) in report.bytes {
        match total.bytes.iter_mut().find(|(known, _)| *known == dataset) {
            Some((_, sum)) => *sum += bytes,
            None => total.bytes.push((dataset, bytes)),
        }
    }
}
