//! `log.file`, written by a process of its own: its disk may hang, and whoever waits for such a disk cannot be ended.
//!
//! This process only writes to a pipe, and never waits for it: what the pipe does not take is held, up to a bound, and then left
//! out and counted.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// How long the file may take to be opened, and how long its last lines are waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is held for a disk that is behind.
const HELD: usize = 1 << 20;
/// What the other process says when the file is open.
const OPEN: &[u8] = b"open\n";

/// The log of this process, once there is one.
static LOG: OnceLock<LogFile> = OnceLock::new();

/// The far end of `log.file`.
#[derive(Clone)]
pub(super) struct LogFile(Arc<Mutex<Inner>>);

struct Inner {
    writer: Child,
    /// None once it is closed or broken.
    pipe: Option<ChildStdin>,
    held: VecDeque<u8>,
    lost: u64,
}

/// Starts the process that writes `path`; none, with a warning on stderr, where the disk does not answer.
///
/// # Errors
/// The file cannot be opened, or is none.
pub(super) fn start(path: &Path) -> anyhow::Result<Option<LogFile>> {
    let mut writer = Command::new(std::env::current_exe().context("kbo does not find its own program")?)
        .arg("log-agent")
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // Nobody who waits for the end of our standard error shall wait for a process that cannot end.
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("the process that writes log.file cannot be started")?;
    let (Some(pipe), Some(mut answer)) = (writer.stdin.take(), writer.stdout.take()) else {
        bail!("the process that writes log.file has no pipes");
    };
    let mut told = vec![];
    let until = Instant::now() + PATIENCE;
    while !told.ends_with(b"\n") {
        if !is_ready(&answer, PollFlags::IN, until) {
            crate::output::error_line(&format!(
                "log.file {}: its disk does not answer within {} s: nothing is logged there in this run",
                path.display(),
                PATIENCE.as_secs()
            ));
            let _ = writer.kill();
            return Ok(None);
        }
        let mut some = [0; 1 << 10];
        match answer.read(&mut some)? {
            0 => bail!("the process that writes log.file ended"),
            read => told.extend_from_slice(&some[..read]),
        }
    }
    if told != OPEN {
        let why = String::from_utf8_lossy(&told);
        bail!("cannot open log.file {}: {}", path.display(), why.trim_end());
    }
    fcntl_setfl(&pipe, fcntl_getfl(&pipe)? | OFlags::NONBLOCK)?;
    let log = LogFile(Arc::new(Mutex::new(Inner {
        writer,
        pipe: Some(pipe),
        held: VecDeque::new(),
        lost: 0,
    })));
    let _ = LOG.set(log.clone());
    Ok(Some(log))
}

/// Waits, not for long, until what was logged is in the file.
pub(crate) fn finish() {
    let Some(log) = LOG.get() else { return };
    let mut inner = log.inner();
    let until = Instant::now() + PATIENCE;
    while let Some(pipe) = &inner.pipe {
        if inner.held.is_empty() || !is_ready(pipe, PollFlags::OUT, until) {
            break;
        }
        inner.send();
    }
    let is_all_sent = inner.pipe.take().is_some() && inner.held.is_empty() && inner.lost == 0;
    while Instant::now() < until {
        match inner.writer.try_wait() {
            Ok(None) => std::thread::sleep(Duration::from_millis(2)),
            Ok(Some(status)) if status.success() && is_all_sent => return,
            _ => {
                crate::output::error_line("log.file: not all lines of this run could be written there");
                return;
            }
        }
    }
    crate::output::error_line("log.file: its disk does not answer: the last lines may be missing there");
}

/// Whether the pipe is ready before a time.
fn is_ready(pipe: &impl std::os::fd::AsFd, what: PollFlags, until: Instant) -> bool {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match poll(&mut [PollFd::new(pipe, what)], Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            ready => return ready.is_ok_and(|ready| ready > 0),
        }
    }
}

impl LogFile {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for LogFile {
    /// An event comes in one piece: all of it is taken, or nothing.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut inner = self.inner();
        inner.send();
        if inner.pipe.is_none() || inner.held.len() + bytes.len() > HELD {
            inner.lost += 1;
            return Ok(bytes.len());
        }
        let lost = std::mem::take(&mut inner.lost);
        if lost > 0 {
            let text = format!("{lost} lines are missing here: the disk of log.file did not take them\n");
            inner.held.extend(text.bytes());
        }
        inner.held.extend(bytes);
        inner.send();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Inner {
    /// As much of what is held as the pipe takes at once.
    fn send(&mut self) {
        while let (Some(pipe), false) = (&mut self.pipe, self.held.is_empty()) {
            match pipe.write(self.held.as_slices().0) {
                Ok(sent) => drop(self.held.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.pipe = None,
            }
        }
    }
}

/// The other process: appends what comes over stdin to the file, until it ends.
pub(crate) fn serve(path: &Path) -> ExitCode {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let opened = open(path);
    let told = match &opened {
        Ok(_) => output.write_all(OPEN),
        Err(error) => writeln!(output, "{error}"),
    };
    let (Ok(mut file), Ok(())) = (opened, told.and_then(|()| output.flush())) else {
        return ExitCode::FAILURE;
    };
    append(&mut input, &mut file)
}

/// Appends until the input ends. What the disk does not take for a while (it is full, say) is missing then, and that is said there.
fn append(input: &mut impl Read, file: &mut impl Write) -> ExitCode {
    let (mut some, mut missing) = (vec![0; 1 << 16], 0);
    loop {
        let read = match input.read(&mut some) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return ExitCode::FAILURE,
        };
        if missing > 0 {
            let text = format!("\n{missing} bytes are missing here: the disk of log.file did not take them\n");
            if file.write_all(text.as_bytes()).is_ok() {
                missing = 0;
            }
        }
        if missing > 0 || file.write_all(&some[..read]).is_err() {
            missing += read;
        }
    }
    match missing {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    kbo_archive::regular::open_as(path, OpenOptions::new().create(true).append(true).mode(0o600))
}
