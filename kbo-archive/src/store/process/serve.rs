//! The process that touches the disk: it answers calls until its input ends, and then it ends at once, whatever it is doing.

use std::collections::HashMap;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use kbo_core::manifest::Sha256;
use kbo_core::ports::journal::Journal;
use kbo_core::ports::store::{ArchiveWriter, BackupStore, StoreError, StoreLock, Stored};
use kbo_core::ports::stream::ByteSource;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::failed::Failed;
use super::wire::{Call, Frame, Kind};
use crate::store::DirStore;
use crate::store::durable::{blocking, format, io as failed};
use crate::store::writer::DirWriter;

/// Replaces a file outside the store as a whole: how is up to the program.
pub type Replace = fn(&Path, &str) -> io::Result<()>;

/// The lock, as the other end learns of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Taken {
    pub(super) lock: u64,
    pub(super) took_over: Option<kbo_core::ports::store::LockOwner>,
}

/// An archive as it arrived.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Arrived {
    pub(super) size: u64,
    pub(super) sha256: Sha256,
}

/// A journal that is open.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Opened {
    pub(super) journal: u64,
    pub(super) run: kbo_core::ids::RunId,
    pub(super) is_alive: bool,
}

enum Part {
    Piece(Bytes),
    /// The archive's end, and the number of the call that waits for it.
    Finish(u64),
}

/// Answers calls from `input` to `output` until `input` ends.
///
/// Both pipes have threads of their own that touch no disk: neither a call nor its answer waits for another one that hangs. The caller
/// ends the process when this returns, for threads may be left in system calls that do not end.
pub async fn serve(
    mut input: impl Read + Send + 'static,
    output: impl Write + Send + 'static,
    replace: Replace,
) -> io::Result<()> {
    let (arrived, mut frames) = unbounded_channel();
    let reader = std::thread::Builder::new().name("kbo-store-input".to_owned());
    reader.spawn(move || {
        while let Ok(frame) = Frame::read(&mut input) {
            if arrived.send(frame).is_err() {
                return;
            }
        }
    })?;
    let (out, answers) = unbounded_channel();
    let writer = std::thread::Builder::new().name("kbo-store-output".to_owned());
    writer.spawn(move || write_all(output, answers))?;
    let mut server = Server {
        held: Arc::new(Held::default()),
        store: None,
        replace,
        out,
    };
    while let Some(frame) = frames.recv().await {
        server.take(frame);
    }
    Ok(())
}

fn write_all(output: impl Write, mut answers: UnboundedReceiver<Frame>) {
    let mut output = BufWriter::with_capacity(64 * 1024, output);
    while let Some(frame) = answers.blocking_recv() {
        let mut sent = frame.write(&mut output);
        while let (Ok(()), Ok(frame)) = (&sent, answers.try_recv()) {
            sent = frame.write(&mut output);
        }
        if sent.and_then(|()| output.flush()).is_err() {
            return;
        }
    }
}

/// An archive being read, one piece at a time.
type Source = Arc<tokio::sync::Mutex<Box<dyn ByteSource>>>;

/// What the other end has handles of.
#[derive(Default)]
struct Held {
    last: AtomicU64,
    locks: Mutex<HashMap<u64, Box<dyn StoreLock>>>,
    writers: Mutex<HashMap<u64, Arc<DirWriter>>>,
    journals: Mutex<HashMap<u64, Arc<dyn Journal>>>,
    sources: Mutex<HashMap<u64, Source>>,
    archives: Mutex<HashMap<u64, UnboundedSender<Part>>>,
}

fn keep<T>(held: &Held, map: &Mutex<HashMap<u64, T>>, what: T) -> u64 {
    let handle = held.last.fetch_add(1, Ordering::Relaxed) + 1;
    map.lock().unwrap_or_else(PoisonError::into_inner).insert(handle, what);
    handle
}

fn put_back<T>(map: &Mutex<HashMap<u64, T>>, handle: u64, what: T) {
    map.lock().unwrap_or_else(PoisonError::into_inner).insert(handle, what);
}

fn take<T>(map: &Mutex<HashMap<u64, T>>, handle: u64) -> Option<T> {
    map.lock().unwrap_or_else(PoisonError::into_inner).remove(&handle)
}

fn get<T: Clone>(map: &Mutex<HashMap<u64, T>>, handle: u64) -> Result<T, StoreError> {
    let map = map.lock().unwrap_or_else(PoisonError::into_inner);
    map.get(&handle).cloned().ok_or_else(unknown)
}

fn unknown() -> StoreError {
    format(
        Path::new("the store's process"),
        "it was asked for what it does not have",
    )
}

struct Server {
    held: Arc<Held>,
    store: Option<DirStore>,
    replace: Replace,
    out: UnboundedSender<Frame>,
}

impl Server {
    fn take(&mut self, frame: Frame) {
        match frame.kind {
            // In the order of their arrival: each archive has a queue of its own.
            Kind::Data => {
                if let Ok(archive) = get(&self.held.archives, frame.number) {
                    let _ = archive.send(Part::Piece(frame.body));
                }
            }
            Kind::Call => match serde_json::from_slice(&frame.body) {
                Ok(call) => self.call(frame.number, call),
                Err(error) => {
                    let unread = format(Path::new("the store's process"), error.to_string());
                    answer::<()>(&self.out, frame.number, &Err(unread));
                }
            },
            Kind::Answer | Kind::Credit | Kind::Broken => {}
        }
    }

    fn call(&mut self, number: u64, call: Call) {
        match call {
            Call::Store { root, pid } => {
                self.store = Some(DirStore::new(root).on_behalf_of(pid));
                answer(&self.out, number, &Ok(()));
            }
            Call::Finish { archive } => {
                let asked = get(&self.held.archives, archive);
                if asked.is_err() || asked.is_ok_and(|archive| archive.send(Part::Finish(number)).is_err()) {
                    answer::<()>(&self.out, number, &Err(unknown()));
                }
            }
            Call::Drop { handle } => {
                take(&self.held.archives, handle);
                take(&self.held.sources, handle);
                take(&self.held.journals, handle);
                take(&self.held.writers, handle);
                if let Some(lock) = take(&self.held.locks, handle) {
                    // Its record is emptied on the disk.
                    tokio::task::spawn_blocking(move || drop(lock));
                }
            }
            call => {
                let Some(store) = self.store.clone() else {
                    answer::<()>(&self.out, number, &Err(unknown()));
                    return;
                };
                let doing = Doing {
                    store,
                    held: Arc::clone(&self.held),
                    replace: self.replace,
                    out: self.out.clone(),
                    number,
                };
                tokio::spawn(doing.call(call));
            }
        }
    }
}

fn answer<T: Serialize>(out: &UnboundedSender<Frame>, number: u64, result: &Result<T, StoreError>) {
    let result = result.as_ref().map_err(Failed::from);
    let frame = Frame::json(Kind::Answer, number, &result).or_else(|error| {
        let unsaid: Result<(), Failed> = Err(Failed::Other(error.to_string()));
        Frame::json(Kind::Answer, number, &unsaid)
    });
    if let Ok(frame) = frame {
        let _ = out.send(frame);
    }
}

/// One call being answered.
struct Doing {
    store: DirStore,
    held: Arc<Held>,
    replace: Replace,
    out: UnboundedSender<Frame>,
    number: u64,
}

impl Doing {
    async fn call(self, call: Call) {
        let (store, held) = (&self.store, &self.held);
        match call {
            Call::Lock {
                cluster,
                purpose,
                may_be_beside,
            } => {
                let taken = match may_be_beside {
                    true => store.lock_beside(&cluster, &purpose).await,
                    false => store.lock(&cluster, &purpose).await,
                };
                let taken = taken.map(|lock| Taken {
                    took_over: lock.took_over().cloned(),
                    lock: keep(held, &held.locks, lock),
                });
                self.answer(&taken);
            }
            Call::Share { lock } => match take(&held.locks, lock) {
                Some(taken) => {
                    let shared = taken.share().await;
                    put_back(&held.locks, lock, taken);
                    self.answer(&shared);
                }
                None => self.answer::<()>(&Err(unknown())),
            },
            Call::Release { lock } => match take(&held.locks, lock) {
                Some(lock) => self.answer(&lock.release().await),
                None => self.answer::<()>(&Err(unknown())),
            },
            Call::Space => self.answer(&store.space().await),
            Call::Begin { id, kind } => {
                let begun = store.begin_here(&id, kind).await;
                self.answer(&begun.map(|writer| keep(held, &held.writers, Arc::new(writer))));
            }
            Call::Create { writer, archive } => self.answer(&self.create(writer, &archive).await),
            Call::Publish { writer, manifest } => self.answer(&match get(&held.writers, writer) {
                Ok(writer) => writer.publish(&manifest).await,
                Err(error) => Err(error),
            }),
            Call::Confirm { writer } => self.answer(&match get(&held.writers, writer) {
                Ok(writer) => writer.confirm().await,
                Err(error) => Err(error),
            }),
            Call::Abandon { writer } => self.answer(&match get(&held.writers, writer) {
                Ok(writer) => kbo_core::ports::store::BackupWriter::abandon(&*writer).await,
                Err(error) => Err(error),
            }),
            Call::Id => self.answer(&store.id().await),
            Call::List => self.answer(&store.list().await),
            Call::Manifest { id } => self.answer(&store.manifest(&id).await),
            Call::Open { id, archive } => {
                let source = store.open(&id, &archive).await;
                let source = source.map(|source| Arc::new(tokio::sync::Mutex::new(source)));
                self.answer(&source.map(|source| keep(held, &held.sources, source)));
            }
            Call::Next { source } => self.next(source).await,
            Call::Pin { id, pin } => self.answer(&store.pin(&id, &pin).await),
            Call::Unpin { id } => self.answer(&store.unpin(&id).await),
            Call::Remove { id } => self.answer(&store.remove(&id).await),
            Call::Sweep => self.answer(&store.sweep().await),
            Call::AdoptedId { cluster } => self.answer(&store.adopted_id(&cluster).await),
            Call::Adopt { cluster, id } => self.answer(&store.adopt(&cluster, &id).await),
            Call::OpenJournals { cluster } => {
                let open = store.open_journals(&cluster).await;
                self.answer(&open.map(|open| open.into_iter().map(|journal| self.opened(journal)).collect::<Vec<_>>()));
            }
            Call::BeginJournal { cluster, run } => {
                let begun = store.begin_journal(&cluster, &run).await;
                self.answer(&begun.map(|journal| self.opened(journal)));
            }
            Call::Append { journal, entry } => self.answer(&match get(&held.journals, journal) {
                Ok(journal) => journal.append(&entry).await,
                Err(error) => Err(error),
            }),
            Call::Entries { journal } => self.answer(&match get(&held.journals, journal) {
                Ok(journal) => journal.entries().await,
                Err(error) => Err(error),
            }),
            Call::Close { journal } => self.answer(&match get(&held.journals, journal) {
                Ok(journal) => journal.close().await,
                Err(error) => Err(error),
            }),
            Call::IsThere => {
                let store = store.clone();
                self.answer(&blocking(move || Ok(store.is_there())).await);
            }
            Call::NoteRun { run } => self.answer(&store.note_run(&run).await),
            Call::LastRuns { cluster, kind } => self.answer(&store.last_runs(&cluster, kind).await),
            Call::Replace { path, text } => {
                let replace = self.replace;
                self.answer(&blocking(move || replace(&path, &text).map_err(failed("write", &path))).await);
            }
            // Answered where they arrive.
            Call::Store { .. } | Call::Finish { .. } | Call::Drop { .. } => self.answer::<()>(&Err(unknown())),
        }
    }

    fn answer<T: Serialize>(&self, result: &Result<T, StoreError>) {
        answer(&self.out, self.number, result);
    }

    fn opened(&self, journal: Box<dyn Journal>) -> Opened {
        Opened {
            run: journal.run().clone(),
            is_alive: journal.is_alive(),
            journal: keep(&self.held, &self.held.journals, journal.into()),
        }
    }

    async fn create(&self, writer: u64, archive: &str) -> Result<u64, StoreError> {
        let writer = get(&self.held.writers, writer)?;
        let file = kbo_core::ports::store::BackupWriter::create(&*writer, archive).await?;
        let (parts, arriving) = unbounded_channel();
        let handle = keep(&self.held, &self.held.archives, parts);
        tokio::spawn(write_archive(handle, file, arriving, self.out.clone()));
        Ok(handle)
    }

    async fn next(&self, source: u64) {
        let next = match get(&self.held.sources, source) {
            Ok(source) => source.lock().await.next().await.map_err(StoreError::from),
            Err(error) => Err(error),
        };
        match next {
            Ok(Some(body)) => {
                let _ = self.out.send(Frame {
                    kind: Kind::Data,
                    number: self.number,
                    body,
                });
            }
            Ok(None) => self.answer(&Ok(())),
            Err(error) => self.answer::<()>(&Err(error)),
        }
    }
}

/// Writes an archive's pieces as they arrive, and tells how far it has come.
async fn write_archive(
    handle: u64,
    mut file: Box<dyn ArchiveWriter>,
    mut parts: UnboundedReceiver<Part>,
    out: UnboundedSender<Frame>,
) {
    let mut broken = false;
    while let Some(part) = parts.recv().await {
        match part {
            Part::Piece(_) if broken => {}
            Part::Piece(piece) => {
                let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
                let frame = match file.write(piece).await {
                    Ok(()) => Frame {
                        kind: Kind::Credit,
                        number: handle,
                        body: Bytes::copy_from_slice(&length.to_be_bytes()),
                    },
                    Err(error) => {
                        broken = true;
                        match Frame::json(Kind::Broken, handle, &Failed::from(&error)) {
                            Ok(frame) => frame,
                            Err(_) => return,
                        }
                    }
                };
                if out.send(frame).is_err() {
                    return;
                }
            }
            Part::Finish(number) => {
                let stored = file.finish().await;
                let stored = stored.map(|Stored { size, sha256 }| Arrived { size, sha256 });
                answer(&out, number, &stored);
                return;
            }
        }
    }
}
