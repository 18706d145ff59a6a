//! Reading a backup back to the last byte: the folder, the checksums, each archive, each file within.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use kbo_core::ids::BackupId;
use kbo_core::manifest::{ArchiveRecord, Manifest, Sha256};
use kbo_core::ports::store::StoreError;
use kbo_core::text::clip;
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use serde::Serialize;

use super::DirStore;
use super::document::{self, MANIFEST, PIN, PIN_TEMP, SUMS};
use super::durable::{blocking, io as failed};
use super::layout::Found;
use super::{identity, keep, last, reading};
use crate::error::Error;
use crate::reader;

/// Findings of a folder or an archive beyond these are counted only: of an archive that lacks a million files it need not say so a
/// million times.
const MOST_FINDINGS: usize = 100;
/// Characters of a finding; names in it may be of any length.
const LONGEST_FINDING: usize = 400;
/// Checksums of more nodes than any cluster has.
pub(super) const MAX_SUMS: u64 = 1 << 22;

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// The backup.
    pub id: BackupId,
    /// What is wrong with its folder and its checksums.
    pub findings: Vec<String>,
    /// Its archives, in the manifest's order.
    pub archives: Vec<ArchiveVerdict>,
}

/// What was found of one archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArchiveVerdict {
    /// Its file name.
    pub name: String,
    /// Whether every byte is as the manifest says.
    pub ok: bool,
    /// What is not.
    pub findings: Vec<String>,
}

impl VerifyReport {
    /// Whether nothing was found.
    pub fn is_ok(&self) -> bool {
        self.findings.is_empty() && self.archives.iter().all(|archive| archive.ok)
    }
}

/// Told the archive, its bytes read so far and its size; called often and from several threads.
pub type VerifyProgress = Arc<dyn Fn(&str, u64, u64) + Send + Sync>;

/// Verifies a backup, several archives at once. Dropping the future ends it.
///
/// # Errors
/// The backup is not there, or its manifest cannot be used. Damage of anything else is in the report.
pub async fn verify_backup(
    store: &DirStore,
    id: &BackupId,
    progress: VerifyProgress,
) -> Result<VerifyReport, StoreError> {
    let cancel = CancelOnDrop::default();
    let (layout, id, cancelled) = (store.layout.clone(), id.clone(), Arc::clone(&cancel.0));
    blocking(move || {
        // Nothing of it goes while it is read.
        let reading = reading::hold(&layout, &id)?;
        let mut report = VerifyReport {
            id: id.clone(),
            findings: vec![],
            archives: vec![],
        };
        verify_folder(&reading.found, &mut report, &progress, &cancelled)?;
        // Somebody may have copied it into pinned/ rather than moved it there.
        for twin in layout.scan()?.into_iter().filter(|found| found.id == id) {
            if twin.dir != reading.found.dir && twin.is_committed()? {
                verify_folder(&twin, &mut report, &progress, &cancelled)?;
            }
        }
        Ok(report)
    })
    .await
}

/// Adds what is found in one folder of a backup.
fn verify_folder(
    found: &Found,
    report: &mut VerifyReport,
    progress: &VerifyProgress,
    cancelled: &AtomicBool,
) -> Result<(), StoreError> {
    let dir = &found.dir;
    let (manifest, sha256) = document::read_whatever_sums_say(dir, &found.id)?;
    let mut findings = folder_findings(found, &manifest)?;
    findings.extend(sums_findings(dir, &manifest, sha256));
    // Not by its path, which a pin may change meanwhile.
    let folder = File::open(dir).map_err(failed("open", dir))?;
    let archives = verify_archives(&folder, &manifest.archives, progress, cancelled);
    report.findings.extend(bounded(findings));
    report.archives.extend(archives);
    Ok(())
}

/// Verifies what of a store is in no backup: its own record, the notes it goes by, and folders that were backups once. What is only
/// foreign, such as a disk's `lost+found`, is nobody's damage.
///
/// # Errors
/// The store's folders cannot be read.
pub async fn verify_store(store: &DirStore) -> Result<Vec<String>, StoreError> {
    let layout = store.layout.tolerant();
    blocking(move || {
        let mut findings: Vec<String> = layout.record_finding().into_iter().collect();
        for path in files_below(&layout.notes("identity")) {
            if let Err(error) = identity::read_note(&path) {
                findings.push(error.to_string());
            }
        }
        for path in files_below(&layout.notes("last")) {
            let read = crate::regular::read_to_string(&path, super::layout::LONGEST_RECORD).map_err(|error| error.to_string());
            if let Err(why) = read.and_then(|text| last::parsed(text.as_bytes()).map(drop)) {
                findings.push(format!("{} is damaged: {why}", path.display()));
            }
        }
        for found in layout.scan()? {
            let is_being_written = layout.claim(&found.id).exists();
            let is_unfinished = !found.trash && !found.is_committed().unwrap_or(true);
            // The checksums are written last but for the manifest: what has them was a backup, or is being copied in just now.
            if is_unfinished && !is_being_written && found.dir.join(SUMS).exists() {
                findings.push(format!(
                    "{} has {SUMS} and no {MANIFEST}: the backup is lost unless that is found, or somebody is just copying it there",
                    found.dir.display()
                ));
            }
        }
        Ok(bounded(findings))
    })
    .await
}

/// Files of notes, a level or two down; none where there is no folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = vec![];
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(files_below(&entry.path())),
            Ok(kind) if kind.is_file() && entry.path().extension().is_some_and(|it| it == "json") => {
                files.push(entry.path());
            }
            _ => {}
        }
    }
    files.sort();
    files
}

/// The first hundred, each of a length that a person reads, and how many more.
fn bounded(findings: Vec<String>) -> Vec<String> {
    let more = findings.len().saturating_sub(MOST_FINDINGS);
    let clipped = findings.iter().take(MOST_FINDINGS);
    let mut findings: Vec<String> = clipped
        .map(|finding| clip(finding, LONGEST_FINDING).into_owned())
        .collect();
    if more > 0 {
        findings.push(format!("and {more} more findings"));
    }
    findings
}

#[derive(Default)]
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Files that do not belong there, a pin that is damaged, a folder of the wrong kind.
fn folder_findings(found: &Found, manifest: &Manifest) -> Result<Vec<String>, StoreError> {
    let dir = &found.dir;
    let mut findings = Vec::new();
    let archives: HashSet<&str> = manifest.archives.iter().map(|archive| archive.name.as_str()).collect();
    for entry in fs::read_dir(dir).map_err(failed("read", dir))? {
        let name = entry.map_err(failed("read", dir))?.file_name();
        let name = name.to_string_lossy();
        let is_stores = [MANIFEST, SUMS, PIN, PIN_TEMP].contains(&name.as_ref());
        if !is_stores && !archives.contains(name.as_ref()) {
            findings.push(format!("`{name}` does not belong to the backup"));
        }
    }
    findings.sort();
    if let Err(why) = keep::open_pin(dir) {
        findings.push(format!("{PIN} is damaged: {why}; kbo pin --reason TEXT writes it anew"));
    }
    if manifest.kind != found.kind {
        findings.push(format!(
            "its manifest says that it is a {} backup, and it lies among those of {}",
            manifest.kind, found.kind
        ));
    }
    Ok(findings)
}

/// Whether `SHA256SUMS` is there and says what the manifest says, whose own bytes hash to `sha256`.
pub(super) fn sums_findings(dir: &Path, manifest: &Manifest, sha256: Sha256) -> Vec<String> {
    let mut text = String::new();
    let read = crate::regular::open(&dir.join(SUMS)).and_then(|file| file.take(MAX_SUMS + 1).read_to_string(&mut text));
    match read {
        Ok(length) if length as u64 > MAX_SUMS => vec![format!("{SUMS} has more than {MAX_SUMS} bytes")],
        Ok(_) => compare_sums(&text, manifest, sha256),
        Err(error) => vec![format!("{SUMS} cannot be read: {error}")],
    }
}

/// Whether the text of a `SHA256SUMS` agrees with the manifest, whose own bytes hash to `sha256`.
pub(super) fn compare_sums(text: &str, manifest: &Manifest, sha256: Sha256) -> Vec<String> {
    let mut findings = Vec::new();
    let mut sums = BTreeMap::new();
    for line in text.lines() {
        // Two blanks, or a blank and a star, as sha256sum writes them.
        match line
            .split_once(' ')
            .map(|(sum, name)| (sum, name.trim_start_matches([' ', '*'])))
        {
            Some((sum, name)) => {
                if sums.insert(name, sum).is_some() {
                    findings.push(format!("{SUMS} names `{name}` twice"));
                }
            }
            None => findings.push(format!("{SUMS} has a line that is no checksum: `{}`", clip(line, 80))),
        }
    }
    match sums.remove(MANIFEST) {
        Some(sum) if sum == sha256.to_string() => {}
        Some(_) => findings.push(format!(
            "{MANIFEST} is not what {SUMS} says: it was changed, or is damaged"
        )),
        // Backups of before the manifest was listed there have nothing to say of it; those of since then tell their damage.
        None if manifest.damage.is_none() => {}
        None => findings.push(format!("{SUMS} does not name `{MANIFEST}`")),
    }
    if !text.is_empty() && !text.ends_with('\n') {
        findings.push(format!("{SUMS} is cut short in its last line"));
    }
    for archive in &manifest.archives {
        match sums.remove(archive.name.as_str()) {
            Some(sum) if sum == archive.sha256.to_string() => {}
            Some(_) => findings.push(format!("{SUMS} and the manifest disagree about `{}`", archive.name)),
            None => findings.push(format!("{SUMS} does not name `{}`", archive.name)),
        }
    }
    findings.extend(
        sums.keys()
            .map(|name| format!("{SUMS} names `{name}`, which the manifest does not")),
    );
    findings
}

/// Verifies as many archives at once as there are processors: decompressing and hashing is all there is to do.
fn verify_archives(
    folder: &File,
    archives: &[ArchiveRecord],
    progress: &VerifyProgress,
    cancelled: &AtomicBool,
) -> Vec<ArchiveVerdict> {
    let next = AtomicUsize::new(0);
    let verdicts = Mutex::new(BTreeMap::new());
    let work = || {
        while let Some((index, archive)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, archives.get(i)?)))
        {
            let findings = verify_archive(folder, archive, progress, cancelled);
            let verdict = ArchiveVerdict {
                name: archive.name.clone(),
                ok: findings.is_empty(),
                findings,
            };
            verdicts
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(index, verdict);
        }
    };
    let workers = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(archives.len());
    thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(work);
        }
        work();
    });
    verdicts
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .into_values()
        .collect()
}

fn verify_archive(
    folder: &File,
    archive: &ArchiveRecord,
    progress: &VerifyProgress,
    cancelled: &AtomicBool,
) -> Vec<String> {
    // Neither through a link nor from a pipe, which may never end.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match openat(folder, &archive.name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::LOOP) => return vec!["it is a symbolic link".to_owned()],
        Err(Errno::NOENT) => return vec!["it is missing".to_owned()],
        Err(error) => return vec![format!("it cannot be read: {error}")],
    };
    match file.metadata() {
        Ok(meta) if meta.is_file() => {}
        Ok(_) => return vec!["it is no file".to_owned()],
        Err(error) => return vec![format!("it cannot be read: {error}")],
    }
    let mut source = Watched {
        file,
        done: 0,
        archive,
        progress,
    };
    match reader::verify_archive(archive, &mut source, &|_| {}, &|| cancelled.load(Ordering::Relaxed)) {
        Ok(findings) => bounded(findings.iter().map(reader::Finding::to_string).collect()),
        // A disk that cannot read it any more is damage of the archive, no failure of the verification.
        Err(Error::Stream { source, .. }) => vec![format!("it cannot be read: {source}")],
        Err(error) => vec![error.to_string()],
    }
}

/// The archive's bytes, counted as they are read.
struct Watched<'a> {
    file: File,
    done: u64,
    archive: &'a ArchiveRecord,
    progress: &'a VerifyProgress,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.done += read as u64;
        (self.progress)(&self.archive.name, self.done, self.archive.size);
        Ok(read)
    }
}
