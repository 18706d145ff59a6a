//! A log dir as a broker leaves it, and short ways through the API.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use kbo_archive::work::DirSpec;
use kbo_archive::{Error, snapshot, stage, writer};
use kbo_core::ids::RunId;
use kbo_core::inventory::Dataset;
use kbo_core::ports::node::{ArchiveReport, StageReport, StageRequest};
use tempfile::TempDir;

/// Bytes of a batch made by [`segment`].
pub(crate) const BATCH: usize = 1061;

pub(crate) fn run() -> RunId {
    "20261122T030000Z".parse().unwrap()
}

pub(crate) fn other_run() -> RunId {
    "20261123T030000Z".parse().unwrap()
}

/// A machine's folder with one log dir `data` in it.
pub(crate) struct Machine {
    pub(crate) root: TempDir,
    pub(crate) dirs: Vec<DirSpec>,
}

impl Machine {
    pub(crate) fn empty() -> Self {
        let root = tempfile::tempdir().unwrap();
        let dirs = vec![spec(Dataset::Data, &root.path().join("data"))];
        Self { root, dirs }
    }

    /// A stopped broker's log dir: two partitions with segments, an empty one, the metadata log, checkpoints.
    pub(crate) fn broker() -> Self {
        let machine = Self::empty();
        fill_broker(&machine.data());
        machine
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dirs[0].path.clone()
    }

    /// What stands beside the log dir, sorted.
    pub(crate) fn beside(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.root.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }
}

pub(crate) fn spec(dataset: Dataset, path: &Path) -> DirSpec {
    DirSpec {
        dataset,
        label: format!("/configured/{}", path.file_name().unwrap().display()),
        path: path.to_owned(),
    }
}

pub(crate) fn fill_broker(data: &Path) {
    fs::create_dir(data).unwrap();
    put(data, ".kafka_cleanshutdown", br#"{"version":0,"brokerEpoch":17}"#);
    put(
        data,
        "meta.properties",
        b"cluster.id=AkU3OEVBNTcwNTJENDM2Qg\nnode.id=4\ndirectory.id=Yh4Jr0W6TN2Wq3CZ_hhVuw\n",
    );
    // Partition 0: two closed segments below the high watermark, the active one with 40 of its 60 batches below it.
    put(
        data,
        "replication-offset-checkpoint",
        b"0\n2\norders 0 1400\norders 1 0\n",
    );
    for (base, batches) in [(0, 50), (500, 50), (1000, 60)] {
        put_segment(data, "orders-0", base, batches);
    }
    put(data, "orders-0/00000000000000001600.snapshot", b"producers");
    put(data, "orders-0/leader-epoch-checkpoint", b"0\n1\n3 0\n");
    put(data, "orders-0/partition.metadata", b"version: 0\ntopic_id: abc\n");
    put(data, "orders-1/00000000000000000000.log", b"");
    put(data, "orders-1/00000000000000000000.index", b"");
    fs::create_dir(data.join("empty-0")).unwrap();
    let (log, _) = segment(0, 30);
    put(data, "__cluster_metadata-0/00000000000000000000.log", &log);
    let checkpoint = "__cluster_metadata-0/00000000000000000100-0000000002.checkpoint";
    put(data, checkpoint, &segment(0, 30).0);
    fs::set_permissions(data.join(checkpoint), fs::Permissions::from_mode(0o400)).unwrap();
    put(data, "__cluster_metadata-0/quorum-state", b"{}");
    fs::create_dir(data.join("remote-log-index-cache")).unwrap();
    put(
        data,
        "orders-7.5f2d1c9e8a7b4c6d9e0f1a2b3c4d5e6f-delete/00000000000000000000.log",
        b"gone",
    );
    put(data, "orders-0/00000000000000000000.log.deleted", b"gone");
}

pub(crate) fn put(dir: &Path, path: &str, bytes: &[u8]) {
    let path = dir.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

pub(crate) fn put_segment(dir: &Path, partition: &str, base: i64, batches: usize) {
    let (log, index) = segment(base, batches);
    put(dir, &format!("{partition}/{base:020}.log"), &log);
    put(dir, &format!("{partition}/{base:020}.index"), &index);
    put(dir, &format!("{partition}/{base:020}.timeindex"), &index);
}

/// A segment of batches of 10 offsets and [`BATCH`] bytes each, that zstd cannot make small, and its index.
pub(crate) fn segment(base: i64, batches: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut log, mut index) = (Vec::new(), Vec::new());
    let mut seed = u64::try_from(base).unwrap() + 12345;
    for n in 0..batches {
        let offset = base + i64::try_from(n).unwrap() * 10;
        if n % 4 == 3 {
            index.extend(i32::try_from(offset - base).unwrap().to_be_bytes());
            index.extend(u32::try_from(log.len()).unwrap().to_be_bytes());
        }
        let content: Vec<u8> = (0..BATCH - 61)
            .map(|_| {
                seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (seed >> 56).to_le_bytes()[0]
            })
            .collect();
        log.extend(batch(offset, &content));
    }
    (log, index)
}

/// A v2 batch of 10 offsets.
pub(crate) fn batch(base_offset: i64, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(base_offset.to_be_bytes());
    bytes.extend(i32::try_from(content.len() + 49).unwrap().to_be_bytes());
    bytes.extend(3_i32.to_be_bytes());
    bytes.push(2);
    bytes.extend([0; 4]);
    bytes.extend(0_i16.to_be_bytes());
    bytes.extend(9_i32.to_be_bytes());
    bytes.extend([0; 16]);
    bytes.extend([255; 14]);
    bytes.extend(10_i32.to_be_bytes());
    bytes.extend(content);
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// A file as it can be compared: type, mode, owner, modification time in nanoseconds, content or target.
pub(crate) type Print = (char, u32, u32, u32, i128, Content);

/// A file's content, short when a test prints it.
#[derive(PartialEq, Eq)]
pub(crate) struct Content(Vec<u8>);

impl Content {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes, CRC {:08x}", self.0.len(), crc32c::crc32c(&self.0))
    }
}

/// Everything in a directory, itself included as the empty path.
pub(crate) fn prints(dir: &Path) -> BTreeMap<String, Print> {
    let mut out = BTreeMap::new();
    collect(dir, "", &mut out);
    out
}

/// The same without what a snapshot leaves out.
pub(crate) fn archived_prints(dir: &Path) -> BTreeMap<String, Print> {
    let mut prints = prints(dir);
    prints.retain(|path, _| {
        !["-delete", "remote-log-index-cache"]
            .iter()
            .any(|skipped| path.contains(skipped))
            && !path.ends_with(".deleted")
            && path != ".lock"
    });
    prints
}

fn collect(dir: &Path, path: &str, out: &mut BTreeMap<String, Print>) {
    let full = dir.join(path);
    let meta = fs::symlink_metadata(&full).unwrap();
    let (kind, content) = if meta.is_dir() {
        ('d', Vec::new())
    } else if meta.is_symlink() {
        ('l', fs::read_link(&full).unwrap().into_os_string().into_encoded_bytes())
    } else {
        ('f', fs::read(&full).unwrap())
    };
    let mode = if kind == 'l' { 0 } else { meta.mode() & 0o7777 };
    let mtime = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
    out.insert(
        path.to_owned(),
        (kind, mode, meta.uid(), meta.gid(), mtime, Content(content)),
    );
    if kind == 'd' {
        for entry in fs::read_dir(&full).unwrap() {
            let name = entry.unwrap().file_name().to_str().unwrap().to_owned();
            let path = if path.is_empty() {
                name
            } else {
                format!("{path}/{name}")
            };
            collect(dir, &path, out);
        }
    }
}

pub(crate) fn take(dirs: &[DirSpec]) -> kbo_core::ports::node::SnapshotReport {
    snapshot::take(&run(), dirs).unwrap()
}

pub(crate) fn archive(dirs: &[DirSpec]) -> Result<(Vec<u8>, ArchiveReport), Error> {
    let mut bytes = Vec::new();
    let options = writer::Options { level: 1, threads: 2 };
    let report = writer::write(&run(), dirs, options, &mut bytes, &|_| {}, &|| false)?;
    Ok((bytes, report))
}

pub(crate) fn request(report: &ArchiveReport, dataset: Dataset) -> StageRequest {
    StageRequest {
        run: other_run(),
        dataset,
        sha256: report.sha256,
        dirs: report.dirs.clone(),
        files: report.files.clone(),
    }
}

pub(crate) fn unpack(request: &StageRequest, dirs: &[DirSpec], mut bytes: &[u8]) -> Result<StageReport, Error> {
    stage::unpack(request, dirs, &mut bytes, &|_| {}, &|| false)
}

pub(crate) fn staged(spec: &DirSpec) -> PathBuf {
    let name = format!("d-{}", spec.path.file_name().unwrap().display());
    spec.path
        .parent()
        .unwrap()
        .join(".kbo")
        .join(other_run().as_str())
        .join(name)
        .join("stage")
}

/// The archive record that a manifest would hold.
pub(crate) fn record(bytes: &[u8], report: &ArchiveReport) -> kbo_core::manifest::ArchiveRecord {
    kbo_core::manifest::ArchiveRecord {
        name: "k.data.tar.zst".to_owned(),
        node: "k".parse().unwrap(),
        dataset: Dataset::Data,
        size: bytes.len() as u64,
        sha256: report.sha256,
        raw_size: report.raw_size,
        dirs: report.dirs.clone(),
        files: report.files.clone(),
    }
}

/// What verifying finds, as text.
pub(crate) fn verify(record: &kbo_core::manifest::ArchiveRecord, mut bytes: &[u8]) -> Vec<String> {
    let findings = kbo_archive::reader::verify_archive(record, &mut bytes, &|_| {}, &|| false).unwrap();
    findings.iter().map(ToString::to_string).collect()
}
