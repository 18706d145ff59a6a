//! Reading a backup back to the last byte: the folder, the checksums, each archive, each file within.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use kbo_core::ids::BackupId;
use kbo_core::manifest::{ArchiveRecord, Manifest, Sha256};
use kbo_core::ports::store::StoreError;
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use serde::Serialize;
use sha2::Digest;

use super::DirStore;
use super::document::{self, MANIFEST, PIN, PIN_TEMP, SUMS};
use super::durable::{blocking, io as failed};
use super::reading;
use crate::error::Error;
use crate::reader;

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
        let reading = reading::hold(&layout, &id)?;
        let dir = &reading.found.dir;
        let manifest = document::read(dir, &id)?;
        let findings = folder_findings(dir, &manifest)?;
        // Not by its path, which a pin may change meanwhile.
        let folder = File::open(dir).map_err(failed("open", dir))?;
        let archives = verify_archives(&folder, &manifest.archives, &progress, &cancelled);
        Ok(VerifyReport { id, findings, archives })
    })
    .await
}

#[derive(Default)]
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Files that do not belong there, and whether `SHA256SUMS` says what the manifest says.
fn folder_findings(dir: &Path, manifest: &Manifest) -> Result<Vec<String>, StoreError> {
    let mut findings = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed("read", dir))? {
        let name = entry.map_err(failed("read", dir))?.file_name();
        let name = name.to_string_lossy();
        let is_stores = [MANIFEST, SUMS, PIN, PIN_TEMP].contains(&name.as_ref());
        if !is_stores && !manifest.archives.iter().any(|archive| archive.name == name) {
            findings.push(format!("`{name}` does not belong to the backup"));
        }
    }
    findings.sort();

    findings.extend(sums_findings(dir, manifest)?);
    Ok(findings)
}

/// Whether `SHA256SUMS` is there and says what the manifest says, of itself too.
pub(super) fn sums_findings(dir: &Path, manifest: &Manifest) -> Result<Vec<String>, StoreError> {
    match crate::regular::read_to_string(&dir.join(SUMS), 64 << 20) {
        Ok(text) => Ok(compare_sums(&text, manifest, hash_of(&dir.join(MANIFEST))?)),
        Err(error) => Ok(vec![format!("{SUMS} cannot be read: {error}")]),
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
            Some((sum, name)) => drop(sums.insert(name, sum)),
            None => findings.push(format!("{SUMS} has a line that is no checksum: `{line}`")),
        }
    }
    // Backups of before the manifest was listed there have nothing to say of it.
    if sums.remove(MANIFEST).is_some_and(|sum| sum != sha256.to_string()) {
        findings.push(format!(
            "{MANIFEST} is not what {SUMS} says: it was changed, or is damaged"
        ));
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

fn hash_of(path: &Path) -> Result<Sha256, StoreError> {
    let mut file = crate::regular::open(path).map_err(failed("open", path))?;
    let (mut hasher, mut buffer) = (sha2::Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer).map_err(failed("read", path))? {
            0 => return Ok(Sha256(hasher.finalize().into())),
            read => hasher.update(&buffer[..read]),
        }
    }
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
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = match openat(folder, &archive.name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return vec!["it is missing".to_owned()],
        Err(error) => return vec![format!("it cannot be read: {error}")],
    };
    let mut source = Watched {
        file,
        done: 0,
        archive,
        progress,
    };
    match reader::verify_archive(archive, &mut source, &|_| {}, &|| cancelled.load(Ordering::Relaxed)) {
        Ok(findings) => findings.iter().map(reader::Finding::to_string).collect(),
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
