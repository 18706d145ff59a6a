//! Where things are in a store, and which backups are there.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use kbo_core::ids::{BackupId, ClusterName};
use kbo_core::manifest::BackupKind;
use kbo_core::ports::store::StoreError;
use serde::{Deserialize, Serialize};

use super::document::{MANIFEST, archive_name_problem};
use super::durable::{ensure_dir, format, io, open_or_create, remove_file, sync_dir, write_new};
use super::sealed;

/// The format of a store's tree that this version writes and reads.
/// Written since journals, manifests and leases tell what version 0.1.0 does not know of, so that it refuses the store rather
/// than misread it. What format 1 holds is read as it is; the first run that writes raises the number.
pub(super) const STORE_FORMAT: u32 = 2;
const OLDEST_FORMAT: u32 = 1;

const STORE_FILE: &str = "kbo-store.json";
/// Bytes of it; some hundred are usual.
pub(super) const LONGEST_RECORD: u64 = 1 << 20;
const CONTROL: &str = ".kbo";
/// How the folder of a backup is called while it is being removed; hidden, so that no listing takes it for a backup.
const TRASH_PREFIX: &str = ".trash-";

/// The paths of a store.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
    /// Whether backups are looked for though the store's own record is damaged.
    is_tolerant: bool,
}

/// The content of `kbo-store.json`.
#[derive(Debug, Serialize, Deserialize)]
struct StoreRecord {
    format: u32,
    id: String,
    created: Timestamp,
}

/// A folder with a backup's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) id: BackupId,
    pub(super) kind: BackupKind,
    pub(super) pinned: bool,
    pub(super) dir: PathBuf,
    /// Whether it was on its way out.
    pub(super) trash: bool,
    /// Where its claim is while it is being written.
    claim: PathBuf,
}

impl Found {
    /// Whether there is a commit record in it. That it cannot be told is an error: what cannot be read must not pass for unfinished.
    pub(super) fn is_committed(&self) -> Result<bool, StoreError> {
        if self.trash {
            return Ok(false);
        }
        let path = self.dir.join(MANIFEST);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_file() => Ok(!self.is_unconfirmed()?),
            Ok(_) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(io("look at", &path)(error)),
        }
    }

    /// Whether its writer has not confirmed it: it is about to, was given up before it could, or died. Claims of kbo 0.1.0 are empty and
    /// say nothing of a manifest.
    fn is_unconfirmed(&self) -> Result<bool, StoreError> {
        match fs::symlink_metadata(&self.claim) {
            Ok(meta) => Ok(meta.len() > 0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(io("look at", &self.claim)(error)),
        }
    }

    /// The path of an archive in it.
    pub(super) fn archive(&self, name: &str) -> Result<PathBuf, StoreError> {
        match archive_name_problem(name) {
            None => Ok(self.dir.join(name)),
            Some(why) => Err(format(&self.dir, format!("`{name}` is no name of an archive: {why}"))),
        }
    }
}

impl Layout {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            is_tolerant: false,
        }
    }

    pub(super) fn tolerant(&self) -> Self {
        Self {
            root: self.root.clone(),
            is_tolerant: true,
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn cluster_lock(&self, cluster: &ClusterName) -> PathBuf {
        self.root.join(CONTROL).join(format!("lock-{cluster}"))
    }

    /// The second part of that lock: held by who may still stop or replace something, and by who runs beside one that only archives.
    pub(super) fn changes_lock(&self, cluster: &ClusterName) -> PathBuf {
        self.root.join(CONTROL).join(format!("changes-{cluster}"))
    }

    pub(super) fn journals(&self, cluster: &ClusterName) -> PathBuf {
        self.root.join(CONTROL).join("journal").join(cluster.as_str())
    }

    /// The cluster id that the backups of a name are to have.
    pub(super) fn identity(&self, cluster: &ClusterName) -> PathBuf {
        self.notes("identity").join(format!("{cluster}.json"))
    }

    /// A folder of notes.
    pub(super) fn notes(&self, what: &str) -> PathBuf {
        self.root.join(CONTROL).join(what)
    }

    /// What the last runs of a kind came to.
    pub(super) fn last_runs(&self, cluster: &ClusterName, kind: BackupKind) -> PathBuf {
        let folder = self.root.join(CONTROL).join("last").join(cluster.as_str());
        folder.join(format!("{kind}.json"))
    }

    /// The claim of a backup being written: locked by its writer, gone when it is committed or abandoned.
    pub(super) fn claim(&self, id: &BackupId) -> PathBuf {
        self.root.join(CONTROL).join("writing").join(id.as_str())
    }

    /// Where a new backup goes.
    pub(super) fn new_backup(&self, kind: BackupKind, id: &BackupId) -> PathBuf {
        self.backup_in(kind, "rotated", id)
    }

    /// Where pinned backups of a kind are.
    pub(super) fn pinned(&self, kind: BackupKind) -> PathBuf {
        self.root.join(kind.as_str()).join("pinned")
    }

    /// The folder of a backup in `rotated` or `pinned`.
    pub(super) fn backup_in(&self, kind: BackupKind, branch: &str, id: &BackupId) -> PathBuf {
        let stamp = id.as_str();
        let mut dir = self.root.join(kind.as_str()).join(branch);
        dir.extend([&stamp[..4], &stamp[4..6], &stamp[6..8], stamp]);
        dir
    }

    /// Refuses a store of a later format; tells whether there is a store at all.
    pub(super) fn check(&self) -> Result<bool, StoreError> {
        match self.record() {
            Err(StoreError::Format { .. }) if self.is_tolerant => Ok(true),
            known => Ok(known?.is_some()),
        }
    }

    /// What is wrong with the store's own record, to the byte.
    pub(super) fn record_finding(&self) -> Option<String> {
        let text = match crate::regular::read_to_string(&self.root.join(STORE_FILE), LONGEST_RECORD) {
            Ok(text) => text,
            Err(error) => return Some(format!("{STORE_FILE} cannot be read: {error}")),
        };
        let record = sealed::unseal::<StoreRecord>(text.as_bytes());
        record.err().map(|why| format!("{STORE_FILE} is damaged: {why}"))
    }

    fn record(&self) -> Result<Option<StoreRecord>, StoreError> {
        let path = self.root.join(STORE_FILE);
        let text = match crate::regular::read_to_string(&path, LONGEST_RECORD) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io("read", &path)(error)),
        };
        // The number alone comes first: nothing else of another format need look like this one's.
        #[derive(Deserialize)]
        struct Number {
            format: u32,
        }
        let number: Number =
            serde_json::from_str(&text).map_err(|error| format(&path, format!("this is no store of kbo: {error}")))?;
        if !(OLDEST_FORMAT..=STORE_FORMAT).contains(&number.format) {
            let known = "this version of kbo knows formats up to";
            let why = format!(
                "the store has format {}, {known} {STORE_FORMAT}: use a newer kbo",
                number.format
            );
            return Err(StoreError::Unsupported {
                path: path.display().to_string(),
                why,
            });
        }
        let record = serde_json::from_str(&text).map_err(|error| format(&path, error.to_string()))?;
        Ok(Some(record))
    }

    /// Makes the store where there is none; one of an earlier format becomes one of this.
    pub(super) fn ensure(&self) -> Result<(), StoreError> {
        for folder in ["journal", "writing"] {
            ensure_dir(&self.root.join(CONTROL).join(folder))?;
        }
        let is_current = |known: &Option<StoreRecord>| known.as_ref().is_some_and(|known| known.format == STORE_FORMAT);
        if is_current(&self.record()?) {
            return Ok(());
        }
        let _alone = self.hold()?;
        let known = self.record()?;
        if is_current(&known) {
            return Ok(());
        }
        let earlier = known.as_ref().map(|known| known.format);
        let (id, created) = match known {
            Some(known) => (known.id, known.created),
            None => (random_id()?, Timestamp::now()),
        };
        let record = StoreRecord {
            format: STORE_FORMAT,
            id,
            created,
        };
        let path = self.root.join(STORE_FILE);
        let text = sealed::seal(&record).map_err(|why| format(&path, why))?;
        let temp = self.root.join(CONTROL).join("kbo-store.json.tmp");
        remove_file(&temp)?;
        write_new(&temp, text.as_bytes())?;
        fs::rename(&temp, &path).map_err(io("create", &path))?;
        sync_dir(&self.root)?;
        match earlier {
            Some(earlier) => {
                tracing::info!(store = %self.root.display(), earlier, now = STORE_FORMAT, "the store's format is raised")
            }
            None => tracing::info!(store = %self.root.display(), id = record.id, "a new store"),
        }
        Ok(())
    }

    /// The store's id and the number of its folder, for a copy of a store has the same id and is another store; none where nothing has
    /// been written yet.
    pub(super) fn id(&self) -> Result<Option<String>, StoreError> {
        let path = self.root.join(STORE_FILE);
        let text = match crate::regular::read_to_string(&path, LONGEST_RECORD) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io("read", &path)(error)),
        };
        let record: StoreRecord = serde_json::from_str(&text).map_err(|error| format(&path, error.to_string()))?;
        let folder = fs::metadata(&self.root).map_err(io("look at", &self.root))?;
        Ok(Some(format!("{}.{:x}", record.id, folder.ino())))
    }

    /// Keeps other processes from beginning and sweeping backups meanwhile; for moments only, so it waits.
    pub(super) fn hold(&self) -> Result<File, StoreError> {
        let folder = self.root.join(CONTROL);
        ensure_dir(&folder)?;
        let path = folder.join("lock");
        let file = open_or_create(&path)?;
        file.lock().map_err(io("lock", &path))?;
        Ok(file)
    }

    /// Every folder with a backup's name, committed or not, oldest first.
    ///
    /// Symbolic links below `rotated/` and `pinned/` are not followed, so nothing found here can lead out of the store.
    pub(super) fn scan(&self) -> Result<Vec<Found>, StoreError> {
        self.check()?;
        let mut found = Vec::new();
        for kind in BackupKind::ALL {
            for pinned in [false, true] {
                let folder = self
                    .root
                    .join(kind.as_str())
                    .join(if pinned { "pinned" } else { "rotated" });
                scan_folder(&folder, 0, &mut |id, dir, trash| {
                    found.push(Found {
                        claim: self.claim(&id),
                        id,
                        kind,
                        pinned,
                        dir,
                        trash,
                    });
                })?;
            }
        }
        found.sort_by(|a, b| a.id.cmp(&b.id).then_with(|| a.dir.cmp(&b.dir)));
        Ok(found)
    }

    /// A committed backup.
    pub(super) fn find(&self, id: &BackupId) -> Result<Found, StoreError> {
        for found in self.scan()? {
            if &found.id == id && found.is_committed()? {
                return Ok(found);
            }
        }
        Err(StoreError::NoSuchBackup(id.clone()))
    }
}

/// Where a folder goes before it is removed: beside itself, because a rename works only within a filesystem.
pub(super) fn trash_beside(dir: &Path, id: &BackupId) -> PathBuf {
    dir.with_file_name(format!("{TRASH_PREFIX}{id}"))
}

/// Looks for backups in year, month and day folders, and in those above them where someone moved one there by hand.
fn scan_folder(folder: &Path, depth: usize, visit: &mut dyn FnMut(BackupId, PathBuf, bool)) -> Result<(), StoreError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io("read", folder)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(io("read", folder))?;
        let name = entry.file_name();
        let (Some(name), true) = (name.to_str(), entry.file_type().is_ok_and(|kind| kind.is_dir())) else {
            continue;
        };
        if let Ok(id) = name.parse() {
            visit(id, entry.path(), false);
        } else if let Some(id) = name.strip_prefix(TRASH_PREFIX).and_then(|name| name.parse().ok()) {
            visit(id, entry.path(), true);
        } else if depth < 3 && name.bytes().all(|c| c.is_ascii_digit()) {
            scan_folder(&entry.path(), depth + 1, visit)?;
        }
    }
    Ok(())
}

fn random_id() -> Result<String, StoreError> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; 16];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(io("read", path))?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_lies_under_the_day_of_its_id() {
        let layout = Layout::new("/store".into());
        let id: BackupId = "20261122T030000Z".parse().unwrap();
        let dir = layout.new_backup(BackupKind::Cluster, &id);
        assert_eq!(dir, Path::new("/store/cluster/rotated/2026/11/22/20261122T030000Z"));
    }

    #[test]
    fn a_store_comes_into_being_once_and_keeps_its_id() {
        let temp = tempfile::tempdir().unwrap();
        let layout = Layout::new(temp.path().join("backup/cold"));
        assert!(!layout.check().unwrap());
        layout.ensure().unwrap();
        let first = fs::read_to_string(layout.root().join(STORE_FILE)).unwrap();
        layout.ensure().unwrap();
        assert_eq!(fs::read_to_string(layout.root().join(STORE_FILE)).unwrap(), first);
        assert!(layout.check().unwrap());
    }

    #[test]
    fn a_copy_of_a_store_is_another_store() {
        let temp = tempfile::tempdir().unwrap();
        let (layout, copy) = (
            Layout::new(temp.path().join("cold")),
            Layout::new(temp.path().join("copy")),
        );
        assert_eq!(layout.id().unwrap(), None);
        layout.ensure().unwrap();
        fs::create_dir(copy.root()).unwrap();
        fs::copy(layout.root().join(STORE_FILE), copy.root().join(STORE_FILE)).unwrap();
        assert_eq!(layout.id().unwrap(), layout.id().unwrap());
        assert_ne!(layout.id().unwrap(), copy.id().unwrap());
    }

    #[test]
    fn a_store_of_format_1_keeps_its_id_and_is_refused_by_version_0_1_0_once_it_is_written_to() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join(STORE_FILE);
        let text = r#"{"format": 1, "id": "0123456789abcdef0123456789abcdef", "created": "2026-11-22T02:00:00Z"}"#;
        fs::write(&path, text).unwrap();
        let layout = Layout::new(temp.path().into());
        layout.scan().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "reading leaves it as it is");
        layout.ensure().unwrap();
        let record = layout.record().unwrap().unwrap();
        // Version 0.1.0 takes the number 1 and no other.
        assert_eq!(
            (record.format, record.id.as_str()),
            (2, "0123456789abcdef0123456789abcdef")
        );
        assert_eq!(record.created, "2026-11-22T02:00:00Z".parse().unwrap());
    }

    #[test]
    fn scanning_a_store_that_does_not_exist_creates_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let layout = Layout::new(temp.path().join("cold"));
        assert_eq!(layout.scan().unwrap(), []);
        assert!(!layout.root().exists());
    }

    #[test]
    fn a_store_of_a_later_format_is_refused_by_its_number() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join(STORE_FILE), r#"{"format": 3, "chunks": true}"#).unwrap();
        let error = Layout::new(temp.path().into()).scan().unwrap_err().to_string();
        assert!(error.contains("format 3") && error.contains(STORE_FILE), "{error}");
    }

    #[test]
    fn symbolic_links_are_not_followed_out_of_the_store() {
        let temp = tempfile::tempdir().unwrap();
        let outside = temp.path().join("outside/20261122T030000Z");
        fs::create_dir_all(&outside).unwrap();
        let layout = Layout::new(temp.path().join("cold"));
        layout.ensure().unwrap();
        let rotated = layout.root().join("data/rotated");
        fs::create_dir_all(&rotated).unwrap();
        std::os::unix::fs::symlink(temp.path().join("outside"), rotated.join("2026")).unwrap();
        std::os::unix::fs::symlink(&outside, rotated.join("20261122T030000Z")).unwrap();
        assert_eq!(layout.scan().unwrap(), []);
    }
}
