//! `manifest.json` on disk: written with one line per file of an archive, read with every name in it distrusted.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use jiff::Timestamp;
use kbo_core::ids::{BackupId, ClusterId, ClusterName, NodeName};
use kbo_core::inventory::Dataset;
use kbo_core::manifest::{ArchiveRecord, BackupKind, DirRecord, FORMAT, Manifest, NodeRecord, Sha256, Window};
use kbo_core::ports::store::StoreError;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::ser::Formatter;
use sha2::Digest;

use super::durable::{format, io};
use super::verify::sums_findings;
use crate::{records, regular};

/// The commit record's file name.
pub(super) const MANIFEST: &str = "manifest.json";
/// The name it has until it is whole; what a crash leaves of it is not a commit record.
pub(super) const MANIFEST_TEMP: &str = ".manifest.json.tmp";
/// The checksums' file name.
pub(super) const SUMS: &str = "SHA256SUMS";

/// The name of the file that says why a backup is pinned.
pub(super) const PIN: &str = "pin.json";
/// The name it has until it is whole.
pub(super) const PIN_TEMP: &str = ".pin.json.tmp";

/// Manifests up to this size are parsed from memory, which is three times as fast as from a stream; a greater one (some
/// hundred thousand files) is not worth the memory.
const READ_WHOLE: u64 = 32 * 1024 * 1024;

/// Why a name cannot be an archive's: it becomes a path, so it must not be able to lead anywhere.
pub(super) fn archive_name_problem(name: &str) -> Option<&'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name == MANIFEST || name == SUMS || name == PIN {
        Some("the store itself uses it")
    } else if name.is_empty() || name.len() > 200 {
        Some("it needs 1 to 200 characters")
    } else if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(plain) {
        Some("letters, digits, `.`, `_` and `-` only, beginning with a letter or digit")
    } else {
        None
    }
}

/// Writes a manifest. The lines are for `grep`, `diff` and `less`: one per file, so that a million files stay readable.
pub(super) fn write(manifest: &Manifest, to: &mut dyn Write) -> io::Result<()> {
    manifest.serialize(&mut serde_json::Serializer::with_formatter(&mut *to, Lines::default()))?;
    to.write_all(b"\n")
}

/// Reads the manifest of the backup in `dir`, file lists and all, for somebody who is going to act on it: it has to be the one that
/// `SHA256SUMS` knows.
pub(super) fn read(dir: &Path, id: &BackupId) -> Result<Manifest, StoreError> {
    let Hashed { document, sha256 } = parse::<Manifest>(dir)?;
    check(&document, id).map_err(|why| format(&dir.join(MANIFEST), why))?;
    as_summed(dir, &document, sha256)?;
    Ok(document)
}

/// The same without the lists of files, which are nearly all of it: a listing of many backups then takes no memory to speak of.
pub(super) fn read_head(dir: &Path, id: &BackupId) -> Result<Manifest, StoreError> {
    let Hashed { document, sha256 } = parse::<Head>(dir)?;
    let manifest = Manifest::from(document);
    check_names(&manifest, id).map_err(|why| format(&dir.join(MANIFEST), why))?;
    as_summed(dir, &manifest, sha256)?;
    Ok(manifest)
}

/// Reads a manifest whether `SHA256SUMS` agrees or not, to say what else is wrong; gives the hash of its bytes, too.
pub(super) fn read_whatever_sums_say(dir: &Path, id: &BackupId) -> Result<(Manifest, Sha256), StoreError> {
    let Hashed { document, sha256 } = parse::<Manifest>(dir)?;
    check(&document, id).map_err(|why| format(&dir.join(MANIFEST), why))?;
    Ok((document, sha256))
}

fn as_summed(dir: &Path, manifest: &Manifest, sha256: Sha256) -> Result<(), StoreError> {
    match sums_findings(dir, manifest, sha256).first() {
        None => Ok(()),
        Some(finding) => Err(format(dir, finding)),
    }
}

/// The manifest of the backup `id` from its text, checked as one that lies in a store.
pub(super) fn from_text(text: &[u8], id: &BackupId) -> Result<Manifest, String> {
    let manifest = serde_json::from_slice(text).map_err(|error| match serde_json::from_slice::<Number>(text) {
        Ok(number) if number.format != FORMAT => other_format(number.format),
        _ => format!("it cannot be read: {error}"),
    })?;
    check(&manifest, id)?;
    Ok(manifest)
}

/// What makes a manifest unfit to be acted on. A manifest may come from anywhere; its names become paths.
pub(super) fn check(manifest: &Manifest, id: &BackupId) -> Result<(), String> {
    check_names(manifest, id)?;
    for archive in &manifest.archives {
        records::check(&archive.dirs, &archive.files)
            .map_err(|error| format!("archive `{}`: {error}", archive.name))?;
    }
    Ok(())
}

/// The same as far as it can be told without the lists of files.
fn check_names(manifest: &Manifest, id: &BackupId) -> Result<(), String> {
    if manifest.format != FORMAT {
        return Err(other_format(manifest.format));
    }
    if &manifest.id != id {
        return Err(format!(
            "it is the manifest of {}, but lies in the folder of {id}",
            manifest.id
        ));
    }
    if BackupId::at(manifest.created) != *id {
        return Err(format!(
            "it says that its run began at {}, which is not the time in its id {id}",
            manifest.created
        ));
    }
    let (mut names, mut owners) = (HashSet::new(), HashSet::new());
    for archive in &manifest.archives {
        let name = &archive.name;
        if let Some(why) = archive_name_problem(name) {
            return Err(format!("`{name}` is no name of an archive: {why}"));
        }
        if !names.insert(name) {
            return Err(format!("two archives are named `{name}`"));
        }
        if !owners.insert((&archive.node, archive.dataset)) {
            return Err(format!("two archives hold the {} of {}", archive.dataset, archive.node));
        }
    }
    Ok(())
}

/// A document of a later format need not parse as this one's: then the number says more than the parser does.
#[derive(Deserialize)]
struct Number {
    format: u32,
}

fn other_format(number: u32) -> String {
    format!("the manifest has format {number}, this version of kbo knows format {FORMAT}: use a newer kbo")
}

/// A document, and the hash of the bytes that it was read from.
struct Hashed<T> {
    document: T,
    sha256: Sha256,
}

fn parse<T: DeserializeOwned>(dir: &Path) -> Result<Hashed<T>, StoreError> {
    let path = dir.join(MANIFEST);
    let error = match from_file::<T>(&path)? {
        Ok(document) => return Ok(document),
        Err(error) => error,
    };
    match from_file::<Number>(&path)? {
        Ok(Hashed { document, .. }) if document.format != FORMAT => Err(format(&path, other_format(document.format))),
        _ => Err(format(&path, format!("the manifest cannot be read: {error}"))),
    }
}

fn from_file<T: DeserializeOwned>(path: &Path) -> Result<Result<Hashed<T>, serde_json::Error>, StoreError> {
    let mut file = regular::open(path).map_err(io("open", path))?;
    let size = file.metadata().map_err(io("read", path))?.len();
    if size <= READ_WHOLE {
        let mut text = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        file.read_to_end(&mut text).map_err(io("read", path))?;
        let sha256 = Sha256(sha2::Sha256::digest(&text).into());
        return Ok(serde_json::from_slice(&text).map(|document| Hashed { document, sha256 }));
    }
    let mut hashing = Hashing {
        file: BufReader::with_capacity(256 * 1024, file),
        hasher: sha2::Sha256::new(),
    };
    match serde_json::from_reader(&mut hashing) {
        Err(error) if error.is_io() => Err(io("read", path)(error.into())),
        Err(error) => Ok(Err(error)),
        Ok(document) => {
            // Nothing but blanks is left, or the parser would have said so.
            let sha256 = Sha256(hashing.hasher.finalize().into());
            Ok(Ok(Hashed { document, sha256 }))
        }
    }
}

/// Hashes what is read.
struct Hashing {
    file: BufReader<File>,
    hasher: sha2::Sha256,
}

impl Read for Hashing {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(bytes)?;
        self.hasher.update(&bytes[..read]);
        Ok(read)
    }
}

/// A [`Manifest`] whose lists of files are skipped while reading. A field added there is missed by the compiler here.
#[derive(Deserialize)]
struct Head {
    format: u32,
    id: BackupId,
    kind: BackupKind,
    cluster: ClusterName,
    cluster_id: Option<ClusterId>,
    kbo_version: String,
    created: Timestamp,
    committed: Timestamp,
    #[serde(default)]
    window: Option<Window>,
    #[serde(default)]
    caveats: Vec<String>,
    #[serde(default)]
    damage: Option<Vec<String>>,
    #[serde(default)]
    degraded: Vec<String>,
    nodes: Vec<NodeRecord>,
    archives: Vec<ArchiveHead>,
}

#[derive(Deserialize)]
struct ArchiveHead {
    name: String,
    node: NodeName,
    dataset: Dataset,
    size: u64,
    sha256: Sha256,
    raw_size: u64,
    dirs: Vec<DirRecord>,
    #[serde(rename = "files")]
    _files: IgnoredAny,
}

impl From<Head> for Manifest {
    fn from(head: Head) -> Self {
        Manifest {
            format: head.format,
            id: head.id,
            kind: head.kind,
            cluster: head.cluster,
            cluster_id: head.cluster_id,
            kbo_version: head.kbo_version,
            created: head.created,
            committed: head.committed,
            window: head.window,
            caveats: head.caveats,
            damage: head.damage,
            degraded: head.degraded,
            nodes: head.nodes,
            archives: head.archives.into_iter().map(ArchiveRecord::from).collect(),
        }
    }
}

impl From<ArchiveHead> for ArchiveRecord {
    fn from(head: ArchiveHead) -> Self {
        ArchiveRecord {
            name: head.name,
            node: head.node,
            dataset: head.dataset,
            size: head.size,
            sha256: head.sha256,
            raw_size: head.raw_size,
            dirs: head.dirs,
            files: Vec::new(),
        }
    }
}

/// Indents the outer levels and keeps each inner one on a line: document, `archives`, archive, `files` | file.
#[derive(Default)]
struct Lines {
    depth: usize,
    has_value: bool,
}

const INDENTED_LEVELS: usize = 4;

impl Lines {
    fn open<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.has_value = false;
        writer.write_all(bracket)
    }

    fn close<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        let on_its_own_line = self.has_value && self.depth <= INDENTED_LEVELS;
        self.depth -= 1;
        self.has_value = true;
        if on_its_own_line {
            self.new_line(writer)?;
        }
        writer.write_all(bracket)
    }

    fn item<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        match (self.depth <= INDENTED_LEVELS, first) {
            (true, true) => self.new_line(writer),
            (true, false) => {
                writer.write_all(b",")?;
                self.new_line(writer)
            }
            (false, true) => Ok(()),
            (false, false) => writer.write_all(b", "),
        }
    }

    fn new_line<W: ?Sized + Write>(&self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| writer.write_all(b"  "))
    }
}

impl Formatter for Lines {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"[")
    }
    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.item(writer, first)
    }
    fn end_array_value<W: ?Sized + Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }
    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{")
    }
    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }
    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.item(writer, first)
    }
    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
    fn end_object_value<W: ?Sized + Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_lead_out_are_no_archive_names() {
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "/a",
            ".hidden",
            "a b",
            "a\n",
            "manifest.json",
            "SHA256SUMS",
            "-rf",
            "ä",
        ] {
            assert!(archive_name_problem(name).is_some(), "{name:?}");
        }
        assert!(archive_name_problem(&"a".repeat(201)).is_some());
        assert_eq!(archive_name_problem("kafka-broker-1.data.tar.zst"), None);
    }

    #[test]
    fn inner_values_stay_on_one_line() {
        let value = serde_json::json!({"a": [{"b": [{"c": 1, "d": [1, 2]}, {}]}], "e": [], "f": {}});
        let mut text = Vec::new();
        value
            .serialize(&mut serde_json::Serializer::with_formatter(&mut text, Lines::default()))
            .unwrap();
        let expected = "{\n  \"a\": [\n    {\n      \"b\": [\n        {\"c\": 1, \"d\": [1, 2]},\n        {}\n      ]\n    }\n  ],\n  \
                        \"e\": [],\n  \"f\": {}\n}";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}
