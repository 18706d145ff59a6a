//! The other end: a [`BackupStore`] that asks a process, and goes on without it when it does not answer.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kbo_core::cancel::{Cancel, Urgency};
use kbo_core::ids::{BackupId, ClusterId, ClusterName, RunId};
use kbo_core::last_run::{LastRuns, RunRecord};
use kbo_core::manifest::{BackupKind, Manifest};
use kbo_core::ports::journal::Journal;
use kbo_core::ports::store::{BackupStore, BackupWriter, Listed, Pin, Space, StoreError, StoreLock};
use kbo_core::ports::stream::ByteSource;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OnceCell, Semaphore, oneshot};
use tokio::task::AbortHandle;

use super::failed::Failed;
use super::handles::{ProcessJournal, ProcessLock, ProcessSource, ProcessWriter};
use super::serve::{Opened, Taken};
use super::wire::{Call, Frame, Kind, WINDOW};
use crate::store::durable::format;

/// What a healthy disk may take minutes for has so many deadlines' time.
const SLOW: u32 = 20;
/// How long a call still has once the operator has asked twice for the end.
const HURRIED: Duration = Duration::from_secs(2);

/// The program whose process works on the store's disk: it must call [`super::serve`] with its standard input and output.
#[derive(Debug, Clone)]
pub struct StoreProgram {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl StoreProgram {
    /// `program`, with `arguments`.
    pub fn new(program: impl Into<PathBuf>, arguments: impl IntoIterator<Item = OsString>) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.into_iter().collect(),
        }
    }

    /// `kbo store-agent`, of the running program.
    ///
    /// # Errors
    /// The system cannot say which that is.
    pub fn own() -> io::Result<Self> {
        Ok(Self::new(std::env::current_exe()?, [OsString::from("store-agent")]))
    }
}

/// A store in a directory that only a child process touches. The process is started by the first call, and at most once: when it has been
/// abandoned, or has died, every further call fails at once.
#[derive(Clone)]
pub struct ProcessStore {
    shared: Arc<Shared>,
}

struct Shared {
    root: PathBuf,
    program: StoreProgram,
    patience: Duration,
    cancel: Cancel,
    connection: OnceCell<Arc<Connection>>,
}

impl std::fmt::Debug for ProcessStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessStore").field("root", &self.shared.root).finish()
    }
}

impl ProcessStore {
    /// The store at `root`, worked on by `program`. Each call may take as long as `patience`, those that sync, remove or search whole trees
    /// twenty times as long; once `cancel` is asked twice, two seconds.
    pub fn new(root: impl Into<PathBuf>, program: StoreProgram, patience: Duration, cancel: Cancel) -> Self {
        Self {
            shared: Arc::new(Shared {
                root: root.into(),
                program,
                patience,
                cancel,
                connection: OnceCell::new(),
            }),
        }
    }

    /// The same store, through a process of its own.
    #[must_use]
    pub fn apart(&self) -> Self {
        let shared = &self.shared;
        Self::new(
            shared.root.clone(),
            shared.program.clone(),
            shared.patience,
            shared.cancel.clone(),
        )
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.shared.root
    }

    /// Whether a store was made there: [`crate::store::DirStore::is_there`].
    ///
    /// # Errors
    /// Its disk hangs.
    pub async fn is_there(&self) -> Result<bool, StoreError> {
        self.call(Call::IsThere).await
    }

    /// Notes what a run came to: [`crate::store::DirStore::note_run`].
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn note_run(&self, run: &RunRecord) -> Result<LastRuns, StoreError> {
        let run = Box::new(run.clone());
        self.call(Call::NoteRun { run }).await
    }

    /// What the last runs of a kind came to: [`crate::store::DirStore::last_runs`].
    ///
    /// # Errors
    /// The note of them cannot be read.
    pub async fn last_runs(&self, cluster: &ClusterName, kind: BackupKind) -> Result<LastRuns, StoreError> {
        let cluster = cluster.clone();
        self.call(Call::LastRuns { cluster, kind }).await
    }

    /// Replaces a file outside the store, as the program does that; it may lie on a disk that hangs, too.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn replace(&self, path: &Path, text: String) -> Result<(), StoreError> {
        let path = path.to_owned();
        self.call(Call::Replace { path, text }).await
    }

    async fn call<T: DeserializeOwned>(&self, call: Call) -> Result<T, StoreError> {
        self.connection().await?.call(call).await
    }

    async fn take_lock(
        &self,
        cluster: &ClusterName,
        purpose: &str,
        may_be_beside: bool,
    ) -> Result<Box<dyn StoreLock>, StoreError> {
        let call = Call::Lock {
            cluster: cluster.clone(),
            purpose: purpose.to_owned(),
            may_be_beside,
        };
        let connection = self.connection().await?;
        let taken: Taken = connection.call(call).await?;
        Ok(Box::new(ProcessLock::new(connection, taken)))
    }

    async fn connection(&self) -> Result<&Arc<Connection>, StoreError> {
        let shared = &self.shared;
        let start = || async {
            let connection = Connection::start(shared).await?;
            let call = Call::Store {
                root: shared.root.clone(),
                pid: std::process::id(),
            };
            connection.call::<()>(call).await?;
            Ok(connection)
        };
        shared.connection.get_or_try_init(start).await
    }
}

#[async_trait]
impl BackupStore for ProcessStore {
    async fn lock(&self, cluster: &ClusterName, purpose: &str) -> Result<Box<dyn StoreLock>, StoreError> {
        self.take_lock(cluster, purpose, false).await
    }

    async fn lock_beside(&self, cluster: &ClusterName, purpose: &str) -> Result<Box<dyn StoreLock>, StoreError> {
        self.take_lock(cluster, purpose, true).await
    }

    async fn id(&self) -> Result<Option<String>, StoreError> {
        self.call(Call::Id).await
    }

    async fn space(&self) -> Result<Space, StoreError> {
        self.call(Call::Space).await
    }

    async fn begin(&self, id: &BackupId, kind: BackupKind) -> Result<Box<dyn BackupWriter>, StoreError> {
        let id = id.clone();
        let connection = self.connection().await?;
        let writer = connection.call(Call::Begin { id, kind }).await?;
        Ok(Box::new(ProcessWriter::new(connection, writer)))
    }

    async fn list(&self) -> Result<Vec<Listed>, StoreError> {
        self.call(Call::List).await
    }

    async fn manifest(&self, id: &BackupId) -> Result<Manifest, StoreError> {
        self.call(Call::Manifest { id: id.clone() }).await
    }

    async fn open(&self, id: &BackupId, archive: &str) -> Result<Box<dyn ByteSource>, StoreError> {
        let (id, archive) = (id.clone(), archive.to_owned());
        let connection = self.connection().await?;
        let source = connection.call(Call::Open { id, archive }).await?;
        Ok(Box::new(ProcessSource::new(connection, source)))
    }

    async fn pin(&self, id: &BackupId, pin: &Pin) -> Result<bool, StoreError> {
        let (id, pin) = (id.clone(), pin.clone());
        self.call(Call::Pin { id, pin }).await
    }

    async fn unpin(&self, id: &BackupId) -> Result<bool, StoreError> {
        self.call(Call::Unpin { id: id.clone() }).await
    }

    async fn remove(&self, id: &BackupId) -> Result<(), StoreError> {
        self.call(Call::Remove { id: id.clone() }).await
    }

    async fn sweep(&self) -> Result<Vec<BackupId>, StoreError> {
        self.call(Call::Sweep).await
    }

    async fn adopted_id(&self, cluster: &ClusterName) -> Result<Option<ClusterId>, StoreError> {
        let cluster = cluster.clone();
        self.call(Call::AdoptedId { cluster }).await
    }

    async fn adopt(&self, cluster: &ClusterName, id: &ClusterId) -> Result<(), StoreError> {
        let (cluster, id) = (cluster.clone(), id.clone());
        self.call(Call::Adopt { cluster, id }).await
    }

    async fn open_journals(&self, cluster: &ClusterName) -> Result<Vec<Box<dyn Journal>>, StoreError> {
        let cluster = cluster.clone();
        let connection = self.connection().await?;
        let open: Vec<Opened> = connection.call(Call::OpenJournals { cluster }).await?;
        let journal = |opened| Box::new(ProcessJournal::new(connection, opened)) as Box<dyn Journal>;
        Ok(open.into_iter().map(journal).collect())
    }

    async fn begin_journal(&self, cluster: &ClusterName, run: &RunId) -> Result<Box<dyn Journal>, StoreError> {
        let (cluster, run) = (cluster.clone(), run.clone());
        let connection = self.connection().await?;
        let begun: Opened = connection.call(Call::BeginJournal { cluster, run }).await?;
        Ok(Box::new(ProcessJournal::new(connection, begun)))
    }
}

/// Why the process is not there any more.
#[derive(Debug, Clone)]
enum Gone {
    /// It did not answer this, so long.
    Unresponsive { action: &'static str, seconds: u64 },
    /// It has ended.
    Ended(String),
}

/// An archive being sent.
pub(super) struct Window {
    /// Bytes that may still be sent. Closed when none will ever be.
    pub(super) room: Arc<Semaphore>,
    failed: Mutex<Option<Failed>>,
}

impl Window {
    /// Why it cannot be written, told once.
    pub(super) fn failure(&self) -> Option<StoreError> {
        locked(&self.failed).take().map(StoreError::from)
    }
}

/// The pipes to the process, and who waits for what from it.
pub(super) struct Connection {
    out: UnboundedSender<Frame>,
    last: AtomicU64,
    patience: Duration,
    cancel: Cancel,
    state: Arc<State>,
}

struct State {
    root: PathBuf,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Frame>>>,
    windows: Mutex<HashMap<u64, Arc<Window>>>,
    gone: Mutex<Option<Gone>>,
    child: Mutex<Option<Child>>,
    tasks: Mutex<Vec<AbortHandle>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connection {
    async fn start(shared: &Shared) -> Result<Arc<Self>, StoreError> {
        let program = &shared.program;
        let failed = |source| StoreError::Io {
            action: "start the store's process, which is",
            path: program.program.display().to_string(),
            source,
        };
        let mut child = Command::new(&program.program)
            .args(&program.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Not ours: whoever waits for the end of our standard error must not wait for a process that cannot end.
            .stderr(Stdio::piped())
            // A Ctrl-C at the terminal is for us: the process learns of our end by its input's.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let (Some(input), Some(output), Some(complaints)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(failed(io::Error::other("it has no pipes")));
        };
        tokio::spawn(async move {
            let mut lines = BufReader::new(complaints).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                tracing::warn!("{line}");
            }
        });
        Ok(Self::over(shared, input, output, Some(child)))
    }

    fn over(
        shared: &Shared,
        input: impl AsyncWrite + Send + Unpin + 'static,
        output: impl AsyncRead + Send + Unpin + 'static,
        child: Option<Child>,
    ) -> Arc<Self> {
        let state = Arc::new(State {
            root: shared.root.clone(),
            waiting: Mutex::default(),
            windows: Mutex::default(),
            gone: Mutex::default(),
            child: Mutex::new(child),
            tasks: Mutex::default(),
        });
        let (out, frames) = unbounded_channel();
        let sending = tokio::spawn(send_all(frames, input)).abort_handle();
        let receiving = tokio::spawn(Arc::clone(&state).receive_all(output)).abort_handle();
        *locked(&state.tasks) = vec![sending, receiving];
        Arc::new(Self {
            out,
            last: AtomicU64::new(0),
            patience: shared.patience,
            cancel: shared.cancel.clone(),
            state,
        })
    }

    /// How long one call may take.
    pub(super) fn patience(&self, is_slow: bool) -> Duration {
        if is_slow { self.patience * SLOW } else { self.patience }
    }

    /// Asks, and waits for the answer as long as the call may take.
    pub(super) async fn call<T: DeserializeOwned>(&self, call: Call) -> Result<T, StoreError> {
        let frame = self.ask(call).await?;
        answered(&frame)
    }

    /// The same, with the answer as it came.
    pub(super) async fn ask(&self, call: Call) -> Result<Frame, StoreError> {
        let (action, patience) = (call.told(), self.patience(call.is_slow()));
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let frame = Frame::json(Kind::Call, number, &call).map_err(|error| self.unspoken(&error))?;
        // A copy of a manifest of many megabytes is not kept while it is being written.
        drop(call);
        let (tell, answer) = oneshot::channel();
        {
            // Whoever ends the connection takes all that wait: one that comes after that must not wait.
            let gone = locked(&self.state.gone);
            if let Some(gone) = &*gone {
                return Err(self.state.error(gone));
            }
            locked(&self.state.waiting).insert(number, tell);
        }
        let _ = self.out.send(frame);
        match self.within(patience, action, answer).await? {
            Ok(frame) => Ok(frame),
            Err(_) => Err(self.gone()),
        }
    }

    /// Waits for something of the process, and abandons it where that takes longer than it may.
    pub(super) async fn within<T>(
        &self,
        patience: Duration,
        action: &'static str,
        work: impl Future<Output = T>,
    ) -> Result<T, StoreError> {
        let hurried = async {
            self.cancel.reached(Urgency::Hurry).await;
            tokio::time::sleep(HURRIED).await;
        };
        let waited = tokio::select! {
            done = work => return Ok(done),
            () = tokio::time::sleep(patience) => patience,
            () = hurried => HURRIED,
        };
        let seconds = waited.as_secs();
        self.state.end(Gone::Unresponsive { action, seconds });
        Err(self.gone())
    }

    /// Sends without waiting for an answer.
    pub(super) fn tell(&self, call: &Call) {
        if let Ok(frame) = Frame::json(Kind::Call, 0, call) {
            self.send(frame);
        }
    }

    pub(super) fn send(&self, frame: Frame) {
        let _ = self.out.send(frame);
    }

    /// Room for an archive's pieces.
    pub(super) fn window(&self, archive: u64) -> Arc<Window> {
        let window = Arc::new(Window {
            room: Arc::new(Semaphore::new(WINDOW)),
            failed: Mutex::default(),
        });
        let gone = locked(&self.state.gone);
        if gone.is_some() {
            window.room.close();
        }
        locked(&self.state.windows).insert(archive, Arc::clone(&window));
        window
    }

    pub(super) fn forget_window(&self, archive: u64) {
        locked(&self.state.windows).remove(&archive);
    }

    /// Why nothing is answered any more.
    pub(super) fn gone(&self) -> StoreError {
        let gone = locked(&self.state.gone).clone();
        self.state
            .error(&gone.unwrap_or_else(|| Gone::Ended("it does not answer".to_owned())))
    }

    fn unspoken(&self, error: &io::Error) -> StoreError {
        format(&self.state.root, error.to_string())
    }
}

/// What a call has come to.
pub(super) fn answered<T: DeserializeOwned>(frame: &Frame) -> Result<T, StoreError> {
    let result: Result<T, Failed> = serde_json::from_slice(&frame.body)
        .map_err(|error| format(Path::new("an answer of the store's process"), error.to_string()))?;
    result.map_err(StoreError::from)
}

async fn send_all(mut frames: UnboundedReceiver<Frame>, input: impl AsyncWrite + Unpin) {
    let mut input = BufWriter::with_capacity(64 * 1024, input);
    while let Some(frame) = frames.recv().await {
        let mut sent = frame.send(&mut input).await;
        while let (Ok(()), Ok(frame)) = (&sent, frames.try_recv()) {
            sent = frame.send(&mut input).await;
        }
        if sent.is_err() || input.flush().await.is_err() {
            // Its output has ended as well, which tells whoever waits.
            return;
        }
    }
}

impl State {
    async fn receive_all(self: Arc<Self>, output: impl AsyncRead + Unpin) {
        let mut output = BufReader::with_capacity(256 * 1024, output);
        let why = loop {
            match Frame::receive(&mut output).await {
                Ok(frame) => self.take(frame),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break "it ended".to_owned(),
                Err(error) => break error.to_string(),
            }
        };
        self.end(Gone::Ended(why));
    }

    fn take(&self, frame: Frame) {
        match frame.kind {
            Kind::Answer | Kind::Data => {
                if let Some(waiting) = locked(&self.waiting).remove(&frame.number) {
                    let _ = waiting.send(frame);
                }
            }
            Kind::Credit => {
                let window = locked(&self.windows).get(&frame.number).cloned();
                if let (Some(window), Ok(bytes)) = (window, <[u8; 4]>::try_from(&frame.body[..])) {
                    window.room.add_permits(u32::from_be_bytes(bytes) as usize);
                }
            }
            Kind::Broken => {
                if let Some(window) = locked(&self.windows).get(&frame.number) {
                    *locked(&window.failed) = serde_json::from_slice(&frame.body).ok();
                    window.room.close();
                }
            }
            Kind::Call => {}
        }
    }

    /// Goes on without the process: it is killed, and nobody waits for its end, which may be days away.
    fn end(&self, why: Gone) {
        {
            let mut gone = locked(&self.gone);
            if gone.is_some() {
                return;
            }
            *gone = Some(why);
            locked(&self.waiting).clear();
            for window in locked(&self.windows).values() {
                window.room.close();
            }
        }
        // Dropped, it is reaped by the runtime when it ends, or by init.
        if let Some(mut child) = locked(&self.child).take() {
            let _ = child.start_kill();
        }
        for task in locked(&self.tasks).drain(..) {
            task.abort();
        }
    }

    fn error(&self, gone: &Gone) -> StoreError {
        let store = self.root.display().to_string();
        match gone {
            Gone::Unresponsive { action, seconds } => StoreError::Unresponsive {
                store,
                action: (*action).to_owned(),
                seconds: *seconds,
            },
            Gone::Ended(why) => StoreError::Io {
                action: "work on",
                path: store,
                source: io::Error::other(format!("the store's process is gone: {why}")),
            },
        }
    }
}
