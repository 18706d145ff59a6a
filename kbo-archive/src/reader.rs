//! Reading an archive against its records: every hash and every header, whether the files are kept ([`crate::stage`]) or not.
//!
//! The caller's thread reads the source, hashes it and decompresses; another one takes the tar apart and hashes the files.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read};

use kbo_core::manifest::{ArchiveRecord, FileKind, FileRecord, Sha256};
use sha2::Digest;

use crate::error::Error;
use crate::pipe::{Drain, Filler, pipe};
use crate::records;
use crate::tarfmt::{self, HeaderError, Item};

/// Frames that want a greater window (2^n bytes) to be decompressed are refused; level 19 uses 23.
const MAX_WINDOW_LOG: u32 = 25;

/// Findings of an archive beyond these are counted only.
const MOST_FINDINGS: usize = 100;

/// Bytes decompressed at a time. When a step fails its output is lost: small steps tell better where the damage is.
const STEP: usize = 32 << 10;

/// Something that is not as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file within the archive; `None` for the archive as a whole.
    pub file: Option<String>,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.file.as_deref() {
            Some("") => write!(f, ".: {}", self.what),
            Some(file) => write!(f, "{file}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// Reads an archive to its end and says all that is not as recorded; nothing for a sound archive. Damage does not end it: what
/// lies behind is checked too, as far as it can be decompressed.
///
/// `progress` is told how many decompressed bytes have gone through so far; `cancel` is asked now and then.
///
/// # Errors
/// Those of the source, and [`Error::Interrupted`]. Records that could lead out of their directories are [`Error::Damaged`].
pub fn verify_archive(
    archive: &ArchiveRecord,
    source: &mut dyn Read,
    progress: &dyn Fn(u64),
    cancel: &dyn Fn() -> bool,
) -> Result<Vec<Finding>, Error> {
    records::check(&archive.dirs, &archive.files)?;
    let expected = Expected {
        sha256: archive.sha256,
        size: Some(archive.size),
        files: &archive.files,
    };
    read(&expected, source, &mut Forget, Mode::Collect, progress, cancel)
}

/// What an archive must be.
pub(crate) struct Expected<'a> {
    pub(crate) sha256: Sha256,
    pub(crate) size: Option<u64>,
    pub(crate) files: &'a [FileRecord],
}

/// What becomes of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The first is an error.
    Strict,
    /// All are collected.
    Collect,
}

/// What becomes of entries; their headers have been compared with the record before.
pub(crate) trait Handler: Send {
    fn begin(&mut self, record: &FileRecord) -> Result<(), Error>;
    fn content(&mut self, bytes: &[u8]) -> Result<(), Error>;
    fn end(&mut self, record: &FileRecord) -> Result<(), Error>;
}

struct Forget;

impl Handler for Forget {
    fn begin(&mut self, _: &FileRecord) -> Result<(), Error> {
        Ok(())
    }
    fn content(&mut self, _: &[u8]) -> Result<(), Error> {
        Ok(())
    }
    fn end(&mut self, _: &FileRecord) -> Result<(), Error> {
        Ok(())
    }
}

/// Reads an archive against its records, the entries going to the handler.
pub(crate) fn read(
    expected: &Expected<'_>,
    source: &mut dyn Read,
    handler: &mut dyn Handler,
    mode: Mode,
    progress: &dyn Fn(u64),
    cancel: &dyn Fn() -> bool,
) -> Result<Vec<Finding>, Error> {
    let (filler, drain) = pipe();
    let (unpacked, checked) = std::thread::scope(|scope| {
        let files = expected.files;
        let checker = scope.spawn(move || {
            let mut checker = Checker::new(drain, files, handler, mode);
            checker.run().map(|()| checker.into_findings())
        });
        let unpacked = decompress(source, &filler, progress, cancel);
        drop(filler);
        (
            unpacked,
            checker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        )
    });
    // A source that failed or an interruption is the cause of whatever the checker missed; but a checker that gave up is the
    // cause of a pipe that nobody drains, which `decompress` does not take for an error.
    let (size, sha256) = match (unpacked, &checked) {
        (Ok(Some(read)), _) => read,
        (Ok(None), Ok(_)) => return Err(Error::Interrupted),
        (Ok(None), Err(_)) => return checked,
        (Err(error), _) => return Err(error),
    };
    let mut findings = Vec::new();
    if let Some(wanted) = expected.size.filter(|wanted| *wanted != size) {
        findings.push(format!("the archive has {size} bytes instead of {wanted}"));
    } else if sha256 != expected.sha256 {
        findings.push(format!(
            "the archive's SHA-256 is {sha256}, recorded is {}",
            expected.sha256
        ));
    }
    let mut findings: Vec<_> = findings.into_iter().map(|what| Finding { file: None, what }).collect();
    findings.extend(checked?);
    match findings.first() {
        Some(first) if mode == Mode::Strict => Err(Error::Damaged(first.to_string())),
        _ => Ok(findings),
    }
}

/// Reads the source to its end into the pipe: its size and hash; `None` when the other end of the pipe is gone.
fn decompress(
    source: &mut dyn Read,
    filler: &Filler,
    progress: &dyn Fn(u64),
    cancel: &dyn Fn() -> bool,
) -> Result<Option<(u64, Sha256)>, Error> {
    let failed = |source: io::Error| Error::Stream { doing: "read", source };
    let hashing = Hashing {
        source,
        hasher: sha2::Sha256::new(),
        size: 0,
        failed: None,
    };
    let mut decoder = zstd::Decoder::new(hashing).map_err(failed)?;
    decoder.window_log_max(MAX_WINDOW_LOG).map_err(failed)?;
    let mut done = 0;
    let mut more = true;
    while more {
        if cancel() {
            return Err(Error::Interrupted);
        }
        let mut buffer = filler.buffer();
        let mut error = None;
        while !buffer.is_full() && more {
            let room = buffer.room();
            let step = room.len().min(STEP);
            match decoder.read(&mut room[..step]) {
                Ok(count) => {
                    buffer.fill(count);
                    done += count as u64;
                    more = count > 0;
                }
                Err(why) => {
                    error = Some(why);
                    more = false;
                }
            }
        }
        if let Some(source) = decoder.get_mut().get_mut().failed.take() {
            return Err(failed(source));
        }
        let error =
            error.map(|why| io::Error::new(io::ErrorKind::InvalidData, format!("it cannot be decompressed ({why})")));
        if filler.send(Ok(buffer)).is_err() || error.is_some_and(|error| filler.send(Err(error)).is_err()) {
            return Ok(None);
        }
        progress(done);
    }
    // What could not be decompressed is hashed all the same: the archive's own hash is over all of it.
    let mut hashing = decoder.finish().into_inner();
    let mut rest = vec![0; 1 << 18];
    while hashing.read(&mut rest).map_err(failed)? > 0 {
        if cancel() {
            return Err(Error::Interrupted);
        }
    }
    Ok(Some((hashing.size, Sha256(hashing.hasher.finalize().into()))))
}

/// Hashes and counts what is read from the source, and tells its errors from the decoder's.
struct Hashing<'a> {
    source: &'a mut dyn Read,
    hasher: sha2::Sha256,
    size: u64,
    failed: Option<io::Error>,
}

impl Read for Hashing<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.source.read(bytes) {
                Ok(count) => {
                    self.hasher.update(&bytes[..count]);
                    self.size += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let same = io::Error::new(error.kind(), error.to_string());
                    self.failed = Some(error);
                    return Err(same);
                }
            }
        }
    }
}

/// Compares a tar with records, in their order.
struct Checker<'a> {
    input: tarfmt::Reader,
    files: &'a [FileRecord],
    /// The record expected next.
    next: usize,
    /// By path, once something is out of order.
    by_path: Option<HashMap<&'a str, usize>>,
    handler: &'a mut dyn Handler,
    mode: Mode,
    findings: Vec<Finding>,
    /// How many more there were than are kept.
    uncounted: usize,
}

impl<'a> Checker<'a> {
    fn new(drain: Drain, files: &'a [FileRecord], handler: &'a mut dyn Handler, mode: Mode) -> Self {
        let input = tarfmt::Reader::new(drain);
        Self {
            input,
            files,
            next: 0,
            by_path: None,
            handler,
            mode,
            findings: Vec::new(),
            uncounted: 0,
        }
    }

    fn into_findings(mut self) -> Vec<Finding> {
        if self.uncounted > 0 {
            self.findings.push(Finding {
                file: None,
                what: format!("and {} more findings", self.uncounted),
            });
        }
        self.findings
    }

    fn run(&mut self) -> Result<(), Error> {
        loop {
            let began = self.input.position;
            let item = match self.input.header() {
                Ok(Some(item)) => item,
                Ok(None) => break,
                Err(HeaderError::Stream(error)) => return self.unreadable(&error),
                Err(HeaderError::Bad(what)) => match self.guess(began, &what)? {
                    Some(item) => item,
                    None => return Ok(()),
                },
            };
            let Some(index) = self.expect(&item)? else {
                let size = item.size();
                if let Err(error) = self.input.skip(size + tarfmt::padding(size) as u64) {
                    return self.unreadable(&error);
                }
                continue;
            };
            let record = &self.files[index];
            self.next = index + 1;
            let comparable = self.compare(record, &item)?;
            if let Err(error) = self.content(record, &item, comparable)? {
                // The file in whose midst it broke off is the one to name.
                self.next = index;
                return self.unreadable(&error);
            }
        }
        for missing in &self.files[self.next..] {
            self.find(Some(&missing.path), "is missing from the archive")?;
        }
        match self.input.only_zeros_follow() {
            Ok(true) => Ok(()),
            Ok(false) => self.find(None, "the archive goes on after its end"),
            Err(error) => self.find(None, &format!("the archive is damaged after its last file: {error}")),
        }
    }

    fn find(&mut self, file: Option<&str>, what: &str) -> Result<(), Error> {
        let finding = Finding {
            file: file.map(str::to_owned),
            what: what.to_owned(),
        };
        if self.mode == Mode::Strict {
            return Err(Error::Damaged(format!("in the archive, {finding}")));
        }
        match self.findings.len() {
            // Of a million files that are missing the first hundred tell enough.
            MOST_FINDINGS.. => self.uncounted += 1,
            _ => self.findings.push(finding),
        }
        Ok(())
    }

    /// The end of what can be read, before the end of what is recorded.
    fn unreadable(&mut self, error: &io::Error) -> Result<(), Error> {
        let Some(file) = self.files.get(self.next) else {
            return self.find(None, &format!("the archive's end is damaged: {error}"));
        };
        let behind = match self.files.len() - self.next - 1 {
            0 => String::new(),
            more => format!("; so are the {more} entries behind it"),
        };
        self.find(
            Some(&file.path),
            &format!("cannot be read, the archive is damaged there: {error}{behind}"),
        )
    }

    /// In place of a damaged header, what should have been there, if the archive can be read on behind it.
    fn guess(&mut self, began: u64, what: &str) -> Result<Option<Item>, Error> {
        let Some(record) = self.files.get(self.next) else {
            self.find(None, &format!("the archive's end is damaged: {what}"))?;
            return Ok(None);
        };
        self.find(Some(&record.path), &format!("has {what}"))?;
        let item = Item::of(record);
        let length = item.header().len() as u64;
        let read = self.input.position - began;
        match length.checked_sub(read).map(|left| self.input.skip(left)) {
            Some(Ok(())) => Ok(Some(item)),
            Some(Err(error)) => self.unreadable(&error).map(|()| None),
            None => {
                self.next += 1;
                for behind in &self.files[self.next..] {
                    self.find(Some(&behind.path), "cannot be found behind the damage")?;
                }
                Ok(None)
            }
        }
    }

    /// Which record an entry belongs to; `None` for one that should not be there.
    fn expect(&mut self, item: &Item) -> Result<Option<usize>, Error> {
        if self.files.get(self.next).is_some_and(|record| record.path == item.path) {
            return Ok(Some(self.next));
        }
        let files = self.files;
        let by_path = self.by_path.get_or_insert_with(|| {
            files
                .iter()
                .enumerate()
                .map(|(index, record)| (record.path.as_str(), index))
                .collect()
        });
        match by_path.get(item.path.as_str()).copied() {
            Some(index) if index >= self.next => {
                for missing in &files[self.next..index] {
                    self.find(Some(&missing.path), "is missing from the archive")?;
                }
                Ok(Some(index))
            }
            Some(_) => {
                self.find(Some(&item.path), "is in the archive twice or out of order")?;
                Ok(None)
            }
            None => {
                self.find(Some(&item.path), "is in the archive, but not recorded")?;
                Ok(None)
            }
        }
    }

    /// Whether the entry's content is to be compared with the record's.
    fn compare(&mut self, record: &FileRecord, item: &Item) -> Result<bool, Error> {
        let wanted = Item::of(record);
        if wanted == *item {
            return Ok(true);
        }
        let mut differences = Vec::new();
        for (what, differs) in [
            ("type, size or target", wanted.kind != item.kind),
            ("mode", wanted.mode != item.mode),
            ("owner", (wanted.uid, wanted.gid) != (item.uid, item.gid)),
            ("modification time", wanted.mtime != item.mtime),
        ] {
            if differs {
                differences.push(what);
            }
        }
        let what = format!("has another {} in the archive than recorded", differences.join(", "));
        self.find(Some(&record.path), &what)?;
        Ok(wanted.kind == item.kind)
    }

    /// Passes an entry's content on; inside, how reading it failed.
    fn content(&mut self, record: &FileRecord, item: &Item, comparable: bool) -> Result<io::Result<()>, Error> {
        self.handler.begin(record)?;
        let mut hasher = sha2::Sha256::new();
        let mut left = item.size();
        while left > 0 {
            let bytes = match self.input.content(left) {
                Ok(bytes) => bytes,
                Err(error) => return Ok(Err(error)),
            };
            hasher.update(bytes);
            self.handler.content(bytes)?;
            let count = bytes.len();
            self.input.consume(count);
            left -= count as u64;
        }
        if let FileKind::File { sha256, .. } = &record.kind
            && comparable
        {
            let found = Sha256(hasher.finalize().into());
            if found != *sha256 {
                self.find(
                    Some(&record.path),
                    &format!("has the SHA-256 {found}, recorded is {sha256}"),
                )?;
            }
        }
        self.handler.end(record)?;
        Ok(self.input.skip(tarfmt::padding(item.size()) as u64))
    }
}
