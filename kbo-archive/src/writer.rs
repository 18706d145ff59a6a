//! A snapshot as a stream of tar.zst.
//!
//! One thread reads and hashes files into buffers; the caller's compresses them, hashes what comes out and passes it on.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use kbo_core::ids::RunId;
use kbo_core::manifest::{DirRecord, FileKind, FileRecord, Sha256};
use kbo_core::ports::node::ArchiveReport;
use sha2::Digest;

use crate::error::{At, Error};
use crate::pipe::{Buffer, Filler, pipe};
use crate::records;
use crate::rules;
use crate::segment::{HEADER, Verifier};
use crate::snapshot::index::{self, Check, Entry, Kind, Layout, Linked, Packed};
use crate::tarfmt::{self, BLOCK, Item, ItemKind};
use crate::work::{DirSpec, Place};

/// More compression threads than this cost memory and bring nothing that a disk or network could take.
const MAX_THREADS: usize = 8;

/// The window, as a power of two in bytes: that of level 1, at every level. What a thread takes grows with it, and an agent has little
/// memory to take; farther back there is little in Kafka's data that is not compressed already.
const WINDOW_LOG: u32 = 19;

/// Memory for all compression threads together, in MiB.
const THREADS_MEMORY: usize = 64;

/// Compression threads for a level, of those wanted: what one takes with [`WINDOW_LOG`] was measured with zstd 1.5.7.
fn threads_for(level: i32, wanted: usize) -> usize {
    let each = match level {
        ..=6 => 8,
        7..=9 => 17,
        10..=11 => 28,
        _ => 85,
    };
    wanted.min(MAX_THREADS).min(THREADS_MEMORY / each).max(1)
}

/// Compressed bytes are passed on in portions of this size.
const PORTION: usize = 256 << 10;

/// How an archive is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// zstd level, 1 to 19.
    pub level: i32,
    /// Compression threads; 0 for the node's processors. Fewer are taken where the level wants much memory: 8 up to level 6, 3 up to
    /// level 9, 2 up to level 11, 1 above.
    pub threads: u32,
}

/// Streams the run's snapshots of `dirs` (all of one dataset) into the sink as one archive.
///
/// `progress` is told how many bytes of files have gone through so far; `cancel` is asked now and then. Both are called on
/// the caller's thread. A sink that was interrupted says so with an [`io::Error`] that holds
/// [`StreamError::Interrupted`](kbo_core::ports::stream::StreamError::Interrupted), never with [`io::ErrorKind::Interrupted`].
///
/// # Errors
/// [`Error::State`] where there is no snapshot; [`Error::Damaged`] where a linked file is no longer what it was at the snapshot;
/// those of reading, and of the sink.
pub fn write(
    run: &RunId,
    dirs: &[DirSpec],
    options: Options,
    sink: &mut dyn Write,
    progress: &dyn Fn(u64),
    cancel: &dyn Fn() -> bool,
) -> Result<ArchiveReport, Error> {
    let mut sources = Vec::new();
    for (position, spec) in dirs.iter().enumerate() {
        let layout = Layout::new(&Place::of(spec)?.folder(run));
        let (head, entries) = index::read(&layout)?;
        let prefix = records::prefix(position, dirs.len());
        sources.push(Source {
            dir: DirRecord {
                path: head.label,
                prefix,
            },
            layout,
            entries,
        });
    }
    let dirs = sources.iter().map(|source| source.dir.clone()).collect();

    let (filler, mut drain) = pipe();
    let (packed, read) = std::thread::scope(|scope| {
        let reader = scope.spawn(move || read_all(filler, sources));
        let packed = compress(&mut drain, options, sink, progress, cancel);
        // Without this end the reader ends too.
        drop(drain);
        (
            packed,
            reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        )
    });
    // The reader's own failure is the cause; that nobody takes its buffers any more is only a consequence.
    let (read, (size, sha256)) = match (read, packed) {
        (Ok(read), packed) => (read, packed?),
        (Err(Error::Interrupted), packed) => return Err(packed.err().unwrap_or(Error::Interrupted)),
        (Err(error), _) => return Err(error),
    };
    let mut read = read;
    Ok(ArchiveReport {
        size,
        sha256,
        raw_size: read.raw_size,
        dirs,
        files: std::mem::take(&mut read.files),
        damage: read.into_damage(),
        caveats: Vec::new(),
    })
}

fn compress(
    drain: &mut crate::pipe::Drain,
    options: Options,
    sink: &mut dyn Write,
    progress: &dyn Fn(u64),
    cancel: &dyn Fn() -> bool,
) -> Result<(u64, Sha256), Error> {
    let failed = |source: io::Error| Error::Stream { doing: "write", source };
    let threads = match options.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads as usize,
    };
    let out = Hashing {
        sink,
        hasher: sha2::Sha256::new(),
        size: 0,
        pending: Vec::with_capacity(2 * PORTION),
    };
    let level = options.level.clamp(1, 19);
    let mut encoder = zstd::Encoder::new(out, level).map_err(failed)?;
    encoder.include_checksum(true).map_err(failed)?;
    encoder.window_log(WINDOW_LOG).map_err(failed)?;
    encoder
        .multithread(u32::try_from(threads_for(level, threads)).unwrap_or(1))
        .map_err(failed)?;
    while let Some(buffer) = drain.next().map_err(failed)? {
        if cancel() {
            return Err(Error::Interrupted);
        }
        encoder.write_all(buffer.filled()).map_err(failed)?;
        progress(buffer.done);
        drain.recycle(buffer);
    }
    let mut out = encoder.finish().map_err(failed)?;
    out.pass().map_err(failed)?;
    out.sink.flush().map_err(failed)?;
    Ok((out.size, Sha256(out.hasher.finalize().into())))
}

fn read_all(filler: Filler, sources: Vec<Source>) -> Result<Read, Error> {
    let mut packer = Packer::new(filler);
    match packer.run(sources) {
        Ok(()) => Ok(packer.found),
        Err(error) => {
            // The stream must not end as if it were whole.
            packer.filler.send(Err(io::Error::other("reading failed"))).ok();
            Err(error)
        }
    }
}

/// Hashes and counts what goes into the sink.
struct Hashing<'a> {
    sink: &'a mut dyn Write,
    hasher: sha2::Sha256,
    size: u64,
    pending: Vec<u8>,
}

impl Hashing<'_> {
    fn pass(&mut self) -> io::Result<()> {
        self.hasher.update(&self.pending);
        self.size += self.pending.len() as u64;
        self.sink.write_all(&self.pending)?;
        self.pending.clear();
        Ok(())
    }
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend(bytes);
        if self.pending.len() >= PORTION {
            self.pass()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One directory's snapshot.
struct Source {
    dir: DirRecord,
    layout: Layout,
    entries: Vec<Entry>,
}

/// What the reader found out on the way.
struct Read {
    raw_size: u64,
    files: Vec<FileRecord>,
    damage: Vec<String>,
    /// How many more damaged segments there are than are named.
    more_damage: usize,
}

/// Damaged segments of an archive beyond these are counted only: they go into the manifest, and a disk that dies may have damaged all.
const MOST_DAMAGE: usize = 100;

impl Read {
    fn add_damage(&mut self, what: String) {
        match self.damage.len() {
            MOST_DAMAGE.. => self.more_damage += 1,
            _ => self.damage.push(what),
        }
    }

    fn into_damage(mut self) -> Vec<String> {
        if self.more_damage > 0 {
            self.damage
                .push(format!("and {} more damaged segments", self.more_damage));
        }
        self.damage
    }
}

/// Turns snapshots into tar, in buffers.
struct Packer {
    filler: Filler,
    buffer: Buffer,
    found: Read,
    /// The pack that was read last; most files come from the same.
    pack: Option<(PathBuf, File)>,
    /// The directory of the last segment, and its last offset: the next segment of the same begins behind that.
    segment: Option<(String, i64)>,
}

impl Packer {
    fn new(filler: Filler) -> Self {
        let buffer = filler.buffer();
        Self {
            filler,
            buffer,
            found: Read {
                raw_size: 0,
                files: Vec::new(),
                damage: Vec::new(),
                more_damage: 0,
            },
            pack: None,
            segment: None,
        }
    }

    fn run(&mut self, sources: Vec<Source>) -> Result<(), Error> {
        for source in sources {
            for entry in source.entries {
                self.entry(&source.dir, &source.layout, entry)?;
            }
        }
        // The end of a tar: two blocks of zeros.
        self.bytes(&[0; 2 * BLOCK])?;
        self.pass()
    }

    fn entry(&mut self, dir: &DirRecord, layout: &Layout, entry: Entry) -> Result<(), Error> {
        let size = entry.len();
        let mut item = Item {
            path: records::archive_path(&dir.prefix, &entry.path),
            kind: ItemKind::Dir,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
        };
        let kind = match entry.kind {
            Kind::Dir => {
                self.bytes(&item.header())?;
                FileKind::Dir
            }
            Kind::Symlink { target } => {
                item.kind = ItemKind::Symlink { target: target.clone() };
                self.bytes(&item.header())?;
                FileKind::Symlink { target }
            }
            Kind::File { link, pack, records } => {
                item.kind = ItemKind::File { size };
                self.bytes(&item.header())?;
                let name = format!("{}/{}", dir.path, entry.path);
                let mut content = Content {
                    hasher: sha2::Sha256::new(),
                    verifier: records.then(|| self.verifier(&name)),
                };
                if let Some(link) = link {
                    self.linked(layout, &link, &name, &mut content)?;
                }
                if let Some(pack) = pack {
                    self.packed(layout, &pack, &name, &mut content)?;
                }
                self.bytes(&[0; BLOCK][..tarfmt::padding(size)])?;
                if let Some(verifier) = content.verifier {
                    if let (Some((folder, _)), Some(last)) = (name.rsplit_once('/'), verifier.last_offset()) {
                        self.segment = Some((folder.to_owned(), last));
                    }
                    if let Some(damage) = verifier.finish() {
                        self.found.add_damage(format!("{name}: {damage}"));
                    }
                }
                FileKind::File {
                    size,
                    sha256: Sha256(content.hasher.finalize().into()),
                }
            }
        };
        let Item {
            path,
            mode,
            uid,
            gid,
            mtime,
            ..
        } = item;
        self.found.files.push(FileRecord {
            path,
            kind,
            mode,
            uid,
            gid,
            mtime,
        });
        Ok(())
    }

    /// For a segment: its offsets begin at its name's or later, and behind the segment before it.
    fn verifier(&self, name: &str) -> Verifier {
        let Some((folder, file)) = name.rsplit_once('/') else {
            return Verifier::default();
        };
        let base = rules::segment_file(file).map_or(0, |(base, _)| base);
        let before = match &self.segment {
            Some((previous, last)) if previous == folder => *last,
            _ => -1,
        };
        Verifier::after(before.max(base - 1))
    }

    fn linked(&mut self, layout: &Layout, link: &Linked, name: &str, content: &mut Content) -> Result<(), Error> {
        let path = layout.links().join(&link.name);
        let file = crate::regular::open(&path).at("open", &path)?;
        let changed = |what: &str| {
            Error::Damaged(format!(
                "{name} was changed after the snapshot ({what}): what was to be archived is gone"
            ))
        };
        self.copy(&file, &path, 0, link.len, content)?
            .ok_or_else(|| changed("it is shorter"))?;
        // After the last byte was read: what is sound now was sound while it was read.
        let meta = file.metadata().at("look at", &path)?;
        if (meta.dev(), meta.ino()) != (link.dev, link.ino) {
            return Err(changed("it is another file"));
        }
        if meta.len() < link.len {
            return Err(changed("it is shorter"));
        }
        match &link.check {
            Check::Private => Ok(()),
            Check::Unmodified { mtime } => {
                let same = meta.len() == link.len && crate::tree::mtime(&meta) == *mtime;
                if same {
                    Ok(())
                } else {
                    Err(changed("it was written to"))
                }
            }
            Check::Tail { at, header } => {
                let mut now = [0; HEADER];
                file.read_exact_at(&mut now, *at).at("read", &path)?;
                if hex::encode(now) == *header {
                    Ok(())
                } else {
                    Err(changed("other records took their place"))
                }
            }
        }
    }

    fn packed(&mut self, layout: &Layout, pack: &Packed, name: &str, content: &mut Content) -> Result<(), Error> {
        let path = layout.folder.join(&pack.name);
        let file = match self.pack.take() {
            Some((open, file)) if open == path => file,
            _ => crate::regular::open(&path).at("open", &path)?,
        };
        let all = self.copy(&file, &path, pack.at, pack.len, content)?;
        all.ok_or_else(|| {
            Error::Damaged(format!(
                "the snapshot's copy of {name} in {} is cut short",
                path.display()
            ))
        })?;
        self.pack = Some((path, file));
        Ok(())
    }

    /// Passes a part of a file on; `None` where it ends early.
    fn copy(
        &mut self,
        file: &File,
        path: &Path,
        mut at: u64,
        mut left: u64,
        content: &mut Content,
    ) -> Result<Option<()>, Error> {
        while left > 0 {
            if self.buffer.is_full() {
                self.pass()?;
            }
            let room = self.buffer.room();
            let most = room.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let count = match file.read_at(&mut room[..most], at) {
                Ok(0) => return Ok(None),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).at("read", path),
            };
            content.take(self.buffer.fill(count));
            at += count as u64;
            left -= count as u64;
            self.found.raw_size += count as u64;
        }
        Ok(Some(()))
    }

    fn bytes(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            if self.buffer.is_full() {
                self.pass()?;
            }
            let room = self.buffer.room();
            let count = room.len().min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            self.buffer.fill(count);
            bytes = &bytes[count..];
        }
        Ok(())
    }

    fn pass(&mut self) -> Result<(), Error> {
        let mut full = std::mem::replace(&mut self.buffer, self.filler.buffer());
        full.done = self.found.raw_size;
        self.filler.send(Ok(full)).map_err(|_| Error::Interrupted)
    }
}

/// What is computed over a file's bytes as they pass.
struct Content {
    hasher: sha2::Sha256,
    verifier: Option<Verifier>,
}

impl Content {
    fn take(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        if let Some(verifier) = &mut self.verifier {
            verifier.feed(bytes);
        }
    }
}
