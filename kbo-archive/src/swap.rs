//! Putting staged directories in the place of the live ones, and back: one atomic rename each.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use kbo_core::ids::RunId;
use kbo_core::inventory::Dataset;
use kbo_core::ports::node::{NodeErrorKind, SwapOutcome};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::error::{At, Error};
use crate::facts::is_mount_point;
use crate::lock::DirLock;
use crate::stage::Staged;
use crate::work::{self, DirSpec, Place};

/// A directory, what was staged for it, and what stands there now.
struct Side {
    place: Place,
    dataset: Dataset,
    stage: PathBuf,
    staged: Staged,
    live: Option<Metadata>,
}

impl Side {
    fn of(run: &RunId, spec: &DirSpec) -> Result<Option<Self>, Error> {
        let place = Place::of(spec)?;
        let Some(staged) = Staged::read(&place, run)? else {
            return Ok(None);
        };
        let live = look(&place.live)?;
        Ok(Some(Self {
            dataset: spec.dataset,
            stage: staged.stands(&place),
            place,
            staged,
            live,
        }))
    }

    /// Whether the staged directory is the live one.
    fn is_swapped(&self) -> bool {
        self.live.as_ref().is_some_and(|live| self.staged.is(live))
    }

    /// Where neither side is what was staged, nobody can tell which holds the cluster's data: better nothing is moved, nor swept.
    fn refuse_strangers(&self) -> Result<(), Error> {
        match look(&self.stage)? {
            Some(other) if !self.is_swapped() && !self.staged.is(&other) => Err(Error::State {
                what: format!(
                    "neither {} nor {} is the directory that was staged",
                    self.place.live.display(),
                    self.stage.display()
                ),
                hint: Some("see which of the two holds the data you want, and move it to the first by hand"),
            }),
            _ => Ok(()),
        }
    }

    /// Kafka's lock on the live log dir and on what takes its place: a Kafka that runs on either, in whatever container, is refused,
    /// and one that is started meanwhile gives up.
    fn lock(&self) -> Result<Vec<DirLock>, Error> {
        let mut locks = vec![];
        if self.dataset != Dataset::Data {
            return Ok(locks);
        }
        for dir in [&self.place.live, &self.stage] {
            if look(dir)?.is_some_and(|meta| meta.is_dir()) {
                match DirLock::take(dir) {
                    Ok(lock) => locks.extend(lock),
                    // A full disk takes no lock file, and may be what the restore is for.
                    Err(error) if error.kind() == NodeErrorKind::NoSpace => {
                        tracing::warn!(path = %dir.display(), %error, "swapped without Kafka's lock");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(locks)
    }

    /// Renames what is staged and what is live into each other's place; a side that is missing stays missing, on the other side.
    fn exchange(&self) -> Result<(), Error> {
        let (stage, live) = (&self.stage, &self.place.live);
        let has_stage = look(stage)?.is_some();
        let renamed = match (has_stage, self.live.is_some()) {
            (true, true) => renameat_with(CWD, stage, CWD, live, RenameFlags::EXCHANGE),
            (true, false) => renameat_with(CWD, stage, CWD, live, RenameFlags::NOREPLACE),
            (false, true) => renameat_with(CWD, live, CWD, stage, RenameFlags::NOREPLACE),
            (false, false) => {
                return Err(Error::state(format!(
                    "neither {} nor its stage is there",
                    live.display()
                )));
            }
        };
        renamed.at("swap", live)?;
        for dir in [stage.parent(), live.parent()].into_iter().flatten() {
            work::sync_dir(dir)?;
        }
        Ok(())
    }
}

/// Puts the run's staged directories in the place of the live ones. The container must be stopped. All directories are checked
/// before the first is renamed; after an error [`swap_back`] undoes what was done.
///
/// # Errors
/// [`Error::State`] where a directory is not staged completely, is a mount point or no directory; those of renaming.
pub fn swap(run: &RunId, dirs: &[DirSpec]) -> Result<SwapOutcome, Error> {
    let mut sides = Vec::new();
    for spec in dirs {
        let side = Side::of(run, spec)?
            .ok_or_else(|| Error::state(format!("{} is not completely staged by run {run}", spec.label)))?;
        check(&side)?;
        sides.push(side);
    }
    exchange_all(sides.iter().filter(|side| !side.is_swapped()))
}

/// Undoes [`swap`]: the live directories are again what they were before it, and what was staged is staged again. Directories
/// that were never swapped stay as they are.
///
/// # Errors
/// Those of renaming.
pub fn swap_back(run: &RunId, dirs: &[DirSpec]) -> Result<SwapOutcome, Error> {
    let sides = dirs
        .iter()
        .map(|spec| Side::of(run, spec))
        .collect::<Result<Vec<_>, _>>()?;
    for side in sides.iter().flatten() {
        side.refuse_strangers()?;
    }
    exchange_all(sides.iter().flatten().filter(|side| side.is_swapped()))
}

/// The datasets all of whose directories are the run's staged ones now.
///
/// # Errors
/// Those of looking.
pub fn swapped(run: &RunId, dirs: &[DirSpec]) -> Result<Vec<Dataset>, Error> {
    let mut swapped = BTreeMap::new();
    for spec in dirs {
        let is_swapped = Side::of(run, spec)?.is_some_and(|side| side.is_swapped());
        *swapped.entry(spec.dataset).or_insert(true) &= is_swapped;
    }
    Ok(swapped
        .into_iter()
        .filter_map(|(dataset, all)| all.then_some(dataset))
        .collect())
}

fn exchange_all<'a>(sides: impl Iterator<Item = &'a Side>) -> Result<SwapOutcome, Error> {
    let mut outcome = SwapOutcome::AlreadySwapped;
    let sides: Vec<&Side> = sides.collect();
    // All of them before the first is renamed.
    let mut locks = vec![];
    for side in &sides {
        locks.extend(side.lock()?);
    }
    for side in sides {
        side.exchange()?;
        tracing::info!(path = %side.place.live.display(), "swapped");
        outcome = SwapOutcome::Swapped;
    }
    Ok(outcome)
}

fn check(side: &Side) -> Result<(), Error> {
    if side.is_swapped() {
        return Ok(());
    }
    match look(&side.stage)? {
        Some(meta) if side.staged.is(&meta) => {}
        _ => {
            return Err(Error::state(format!(
                "{} is not what was staged there",
                side.stage.display()
            )));
        }
    }
    refuse_irreplaceable(&side.place)
}

/// Refuses a live path that no rename can replace: a mount point, or something that is no directory. One that is missing is fine.
pub(crate) fn refuse_irreplaceable(place: &Place) -> Result<(), Error> {
    let Some(live) = look(&place.live)? else { return Ok(()) };
    let path = place.live.display();
    if !live.is_dir() {
        return Err(Error::state(format!("{path} is no directory")));
    }
    let parent = fs::metadata(&place.parent).at("look at", &place.parent)?;
    if is_mount_point(place, &live, &parent) {
        return Err(Error::State {
            what: format!("{path} is a mount point: it cannot be replaced by a rename"),
            hint: Some("let Kafka's directory be a folder of the mounted filesystem, not the mount point itself"),
        });
    }
    Ok(())
}

/// Tries an exchange within the folder: better known before anything is stopped than in the window.
pub(crate) fn probe(folder: &Path) -> Result<(), Error> {
    let (one, other) = (folder.join("probe-a"), folder.join("probe-b"));
    for dir in [&one, &other] {
        work::create_all(dir)?;
    }
    let exchanged = renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE);
    for dir in [&one, &other] {
        fs::remove_dir(dir).at("remove", dir)?;
    }
    match exchanged {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Err(Error::State {
            what: format!(
                "the filesystem of {} cannot exchange directories in one step",
                folder.display()
            ),
            hint: Some("restore to a local filesystem such as ext4, xfs or btrfs"),
        }),
        exchanged => exchanged.at("exchange directories in", folder),
    }
}

/// Where the directory stands that this run's swap replaced, if there is one.
pub(crate) fn replaced(run: &RunId, place: &Place) -> Result<Option<PathBuf>, Error> {
    let Some(staged) = Staged::read(place, run)? else {
        return Ok(None);
    };
    let stage = staged.stands(place);
    let swapped = look(&place.live)?.is_some_and(|live| staged.is(&live));
    Ok((swapped && look(&stage)?.is_some()).then_some(stage))
}

/// Whether what the run staged is the live directory.
pub(crate) fn is_swapped(run: &RunId, place: &Place) -> Result<bool, Error> {
    let Some(staged) = Staged::read(place, run)? else {
        return Ok(false);
    };
    Ok(look(&place.live)?.is_some_and(|live| staged.is(&live)))
}

fn look(path: &Path) -> Result<Option<Metadata>, Error> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(meta)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("look at", path),
    }
}
