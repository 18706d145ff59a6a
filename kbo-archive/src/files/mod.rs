//! Small files put into a directory, all or none: [`FilesRequest`] on this machine.
//!
//! New files are written into `.kbo-staged-RUN` in the directory itself, which makes every later step a rename within one filesystem
//! and works where the directory is a mount. A commit exchanges each with the file in place; the folder, which holds the old files
//! then, becomes `.kbo-previous`, with the one that was that before in it, for an undo. Before the first exchange the inodes in place
//! are noted in the folder: whoever comes after a death in the middle sees by them which files were exchanged, and ends it.

mod exchange;
mod folder;
mod record;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use kbo_core::ids::RunId;
use kbo_core::manifest::Sha256;
use kbo_core::ports::files::{FilesReport, FilesRequest, KeptOf, NewFile, PlacedFile};
use rustix::fs::Stat;
use sha2::Digest;

use crate::error::{At, Error};
use exchange::{finish_undo, forward, mend, restore_earlier, take_back};
use folder::{Folder, is_dir, is_regular};
use record::{New, Record, What};

const STAGED: &str = ".kbo-staged-";
const PREVIOUS: &str = ".kbo-previous";
/// In a folder of earlier files: the one that it took the place of.
const EARLIER: &str = ".kbo-earlier";
/// The longest file that is looked into: none that a listener reads is a tenth of it.
const MAX_LOOKED_AT: u64 = 64 << 20;

fn staged_name(run: &RunId) -> String {
    format!("{STAGED}{run}")
}

/// Carries a request out in `dir`, which is where the directory that it names is reached. One that has to be made gets `owner`, where
/// its files name none.
///
/// # Errors
/// What the request may not ask for or does not find, as [`Error::State`]; those of the filesystem. All files are as before then.
pub fn carry_out(dir: &Path, request: &FilesRequest, owner: Option<(u32, u32)>) -> Result<FilesReport, Error> {
    request.check().map_err(|refused| Error::state(refused.message))?;
    let label = Path::new(request.dir());
    let folder = match (Folder::open(dir, label)?, request) {
        (Some(folder), _) => folder,
        (None, FilesRequest::Stage { files, .. }) => {
            let named = files.first().and_then(|file| file.owner);
            Folder::make(dir, label, named.or(owner))?
        }
        (None, FilesRequest::Look { .. } | FilesRequest::Undo { .. } | FilesRequest::Drop { .. }) => {
            return Ok(FilesReport {
                files: vec![],
                previous: vec![],
                kept: None,
            });
        }
        (None, FilesRequest::Commit { run, .. }) => return Err(nothing_staged(label, run)),
        (None, FilesRequest::Rollback { .. }) => return Err(nothing_kept(label)),
    };
    let _lock = folder.lock()?;
    mend(&folder)?;
    match request {
        FilesRequest::Look { names, .. } => report(&folder, names.iter().map(String::as_str)),
        FilesRequest::Stage { run, files, .. } => stage(&folder, run, files),
        FilesRequest::Commit { run, .. } => commit(&folder, run),
        FilesRequest::Undo { run, .. } => undo(&folder, run),
        FilesRequest::Rollback { .. } => roll_back(&folder),
        FilesRequest::Drop { .. } => drop_staged(&folder),
    }
}

fn nothing_staged(dir: &Path, run: &RunId) -> Error {
    Error::state(format!("nothing of run {run} is staged in {}", dir.display()))
}

fn nothing_kept(dir: &Path) -> Error {
    Error::State {
        what: format!("no earlier files are kept in {}", dir.display()),
        hint: Some("only what a deployment of kbo has replaced can be put back"),
    }
}

fn stage(dir: &Folder, run: &RunId, files: &[NewFile]) -> Result<FilesReport, Error> {
    if kept(dir)?.is_some_and(|(_, record)| record.run == *run) {
        return Err(Error::state(format!(
            "run {run} has put its files into {} already",
            dir.label().display()
        )));
    }
    for file in files {
        refuse_directory(dir, &file.name)?;
    }
    let name = staged_name(run);
    // Also those of runs that died: there are keys in them.
    for left in dir.names()?.iter().filter(|left| left.starts_with(STAGED)) {
        dir.remove(left)?;
    }
    let folder = dir.make_folder(&name)?;
    let placed = write_all(dir, &folder, run, files).inspect_err(|_| {
        if let Err(error) = dir.remove(&name) {
            tracing::warn!(%error, "what was staged is left behind");
        }
    })?;
    Ok(FilesReport {
        files: placed,
        previous: previous(dir)?,
        kept: kept_of(dir),
    })
}

fn write_all(dir: &Folder, folder: &Folder, run: &RunId, files: &[NewFile]) -> Result<Vec<PlacedFile>, Error> {
    let mut placed = Vec::new();
    let mut noted = Vec::new();
    for file in files {
        let replaced = match dir.look(&file.name)? {
            Some(stat) if is_regular(&stat) => stat,
            // A link's own owner says nothing of who reads what it leads to.
            Some(_) | None => dir.stat()?,
        };
        let owner = file.owner.unwrap_or((replaced.st_uid, replaced.st_gid));
        folder.write(&file.name, &file.bytes, Some(owner), file.mode)?;
        let Some((handle, stat)) = folder.read(&file.name)? else {
            return Err(Error::state(format!("{} vanished", folder.path(&file.name).display())));
        };
        let found = placed_file(folder, &file.name, handle, &stat)?;
        if found.sha256 != Sha256(sha2::Sha256::digest(&file.bytes[..]).into()) {
            return Err(Error::Damaged(format!(
                "{} is not read as it was written",
                folder.path(&file.name).display()
            )));
        }
        noted.push(New {
            name: file.name.clone(),
            ino: stat.st_ino,
            sha256: found.sha256,
        });
        placed.push(found);
    }
    Record::new(run, noted).write(folder)?;
    dir.sync()?;
    Ok(placed)
}

fn commit(dir: &Folder, run: &RunId) -> Result<FilesReport, Error> {
    let Some(folder) = dir.folder(&staged_name(run))? else {
        return match kept(dir)? {
            Some((_, record)) if record.run == *run && !record.rolled_back => report(dir, record.names()),
            _ => Err(nothing_staged(dir.label(), run)),
        };
    };
    let Some(mut record) = Record::read(&folder)? else {
        return Err(Error::state(format!(
            "{} is not completely staged",
            folder.label().display()
        )));
    };
    for file in &record.files {
        if folder.ino(&file.name)? != Some(file.ino) {
            return Err(Error::state(format!(
                "{} is not what was staged there",
                folder.path(&file.name).display()
            )));
        }
        refuse_directory(dir, &file.name)?;
    }
    // That it is a folder is better known before.
    let has_previous = dir.folder(PREVIOUS)?.is_some();
    folder.remove(EARLIER)?;
    record.begin(What::Commit, dir, &folder)?;
    let placed = place(dir, &folder, &record, has_previous);
    if let Err(error) = placed {
        return Err(taken_back(dir, &folder, record, error));
    }
    // What is lacking now is mended by the next request.
    let tidied = record.end(&folder).and_then(|()| match folder.folder(EARLIER)? {
        Some(earlier) => earlier.remove(EARLIER),
        None => Ok(()),
    });
    if let Err(error) = tidied {
        tracing::warn!(%error, "the files are in place, but what lies beside them is not tidy");
    }
    report(dir, record.names())
}

fn place(dir: &Folder, folder: &Folder, record: &Record, has_previous: bool) -> Result<(), Error> {
    if let Some(doing) = &record.doing {
        forward(dir, folder, doing)?;
    }
    if has_previous {
        dir.move_to(PREVIOUS, folder, EARLIER)?;
    }
    dir.move_to(&staged_name(&record.run), dir, PREVIOUS)?;
    // The renames are done: that they are not known to be durable changes nothing of it.
    if let Err(error) = folder.sync().and_then(|()| dir.sync()) {
        tracing::warn!(%error, "a power cut now may take the files back");
    }
    Ok(())
}

/// After an error in the middle: as it was, and the error.
fn taken_back(dir: &Folder, folder: &Folder, mut record: Record, error: Error) -> Error {
    let Some(doing) = record.doing.clone() else {
        return error;
    };
    let mended = take_back(dir, folder, &doing)
        .and_then(|()| match doing.what {
            What::Commit => restore_earlier(dir, folder),
            What::Undo | What::Rollback => Ok(()),
        })
        .and_then(|()| record.end(folder));
    if let Err(mending) = mended {
        // The note is still there, and the next request mends by it.
        tracing::warn!(error = %mending, "it could not be taken back");
    }
    error
}

fn undo(dir: &Folder, run: &RunId) -> Result<FilesReport, Error> {
    let Some((folder, mut record)) = kept(dir)? else {
        return report(dir, std::iter::empty());
    };
    if record.run != *run {
        let earlier = folder.folder(EARLIER)?.map(|earlier| Record::read_or_none(&earlier));
        return match earlier.transpose()?.flatten() {
            Some(earlier) if earlier.run == *run => Err(Error::State {
                what: format!(
                    "run {run} cannot be undone: run {} has put other files into {} since",
                    record.run,
                    dir.label().display()
                ),
                hint: Some("undo that one first"),
            }),
            _ => report(dir, std::iter::empty()),
        };
    }
    dir.remove(&staged_name(run))?;
    record.begin(What::Undo, dir, &folder)?;
    if let Err(error) = finish_undo(dir, &folder, record.clone()) {
        // Once the folder has its other name it is undone, and the next request tidies up.
        let is_undone = dir.ino(PREVIOUS)? != Some(folder.stat()?.st_ino);
        return Err(match is_undone {
            true => error,
            false => taken_back(dir, &folder, record, error),
        });
    }
    report(dir, record.names())
}

fn roll_back(dir: &Folder) -> Result<FilesReport, Error> {
    let Some(folder) = dir.folder(PREVIOUS)? else {
        return Err(nothing_kept(dir.label()));
    };
    let Some(mut record) = Record::read(&folder)? else {
        return Err(nothing_kept(dir.label()));
    };
    for name in record.names() {
        refuse_directory(dir, name)?;
    }
    record.begin(What::Rollback, dir, &folder)?;
    let exchanged = match &record.doing {
        Some(doing) => forward(dir, &folder, doing),
        None => Ok(()),
    };
    let done = exchanged.and_then(|()| {
        let mut after = record.clone();
        after.rolled_back = !after.rolled_back;
        after.end(&folder)
    });
    match done {
        Ok(()) => report(dir, record.names()),
        Err(error) => Err(taken_back(dir, &folder, record, error)),
    }
}

fn drop_staged(dir: &Folder) -> Result<FilesReport, Error> {
    for name in dir.names()?.iter().filter(|name| name.starts_with(STAGED)) {
        dir.remove(name)?;
    }
    dir.sync()?;
    report(dir, std::iter::empty())
}

/// The folder of earlier files and its note.
fn kept(dir: &Folder) -> Result<Option<(Folder, Record)>, Error> {
    let Some(folder) = dir.folder(PREVIOUS)? else {
        return Ok(None);
    };
    Ok(Record::read_or_none(&folder)?.map(|record| (folder, record)))
}

fn refuse_directory(dir: &Folder, name: &str) -> Result<(), Error> {
    match dir.look(name)? {
        Some(stat) if is_dir(&stat) => Err(Error::State {
            what: format!(
                "{} is a directory, and a file is to stand there",
                dir.path(name).display()
            ),
            hint: Some("is another name configured for it?"),
        }),
        _ => Ok(()),
    }
}

/// The directory as it is.
fn report<'a>(dir: &Folder, names: impl Iterator<Item = &'a str>) -> Result<FilesReport, Error> {
    let mut files = Vec::new();
    for name in names {
        if let Some((handle, stat)) = dir.read(name)? {
            files.push(placed_file(dir, name, handle, &stat)?);
        }
    }
    Ok(FilesReport {
        files,
        previous: previous(dir)?,
        kept: kept_of(dir),
    })
}

fn previous(dir: &Folder) -> Result<Vec<String>, Error> {
    // Something else of this name is no reason not to look.
    let Ok(Some((folder, record))) = kept(dir) else {
        return Ok(vec![]);
    };
    let mut names = Vec::new();
    for name in record.names() {
        if folder.look(name)?.is_some() {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

fn kept_of(dir: &Folder) -> Option<KeptOf> {
    let (_, record) = kept(dir).ok().flatten()?;
    Some(KeptOf {
        run: record.run,
        rolled_back: record.rolled_back,
    })
}

fn placed_file(dir: &Folder, name: &str, mut file: File, stat: &Stat) -> Result<PlacedFile, Error> {
    let path = dir.path(name);
    let mut hash = sha2::Sha256::new();
    let mut buffer = zeroize::Zeroizing::new(vec![0; 64 << 10]);
    let mut length = 0;
    loop {
        let read = file.read(&mut buffer).at("read", &path)?;
        if read == 0 {
            break;
        }
        length += read as u64;
        if length > MAX_LOOKED_AT {
            return Err(Error::state(format!(
                "{} is too long for what it should be",
                path.display()
            )));
        }
        hash.update(&buffer[..read]);
    }
    Ok(PlacedFile {
        name: name.to_owned(),
        sha256: Sha256(hash.finalize().into()),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
    })
}
