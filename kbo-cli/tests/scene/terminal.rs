//! A program on a pseudo-terminal, and what is to be seen on its screen. The end-to-end tests use this file as well.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use pty_process::Size;
use pty_process::blocking::{Command, Pts, Pty};
use rustix::termios::{LocalModes, tcgetattr};
use vt100::Parser;

pub(crate) const UP: &str = "\x1b[A";
pub(crate) const DOWN: &str = "\x1b[B";
pub(crate) const ENTER: &str = "\r";
pub(crate) const ESC: &str = "\x1b";
pub(crate) const CTRL_C: &str = "\x03";

/// What goes wrong is told with the screen on which it did.
pub(crate) type Result<T> = std::result::Result<T, String>;

/// The program, its terminal, and that terminal's screen.
pub(crate) struct Terminal {
    child: Child,
    pty: Pty,
    /// Held, so that the modes outlive the program.
    _pts: Pts,
    written: Receiver<Vec<u8>>,
    parser: Parser,
    limit: Duration,
}

impl Terminal {
    /// Starts a program on a terminal of `rows` by `columns`. Nothing may take longer than `limit`.
    pub(crate) fn start(
        program: &Path,
        arguments: &[&str],
        environment: &BTreeMap<String, OsString>,
        folder: &Path,
        (rows, columns): (u16, u16),
        limit: Duration,
    ) -> Result<Self> {
        let told = |error: &dyn std::fmt::Display| format!("no pseudo-terminal: {error}");
        let (pty, pts) = pty_process::blocking::open().map_err(|error| told(&error))?;
        pty.resize(Size::new(rows, columns)).map_err(|error| told(&error))?;
        let mut command = Command::new(program)
            .args(arguments)
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .envs(environment)
            .current_dir(folder);
        let child = command
            .spawn_borrowed(&pts)
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let reading = pty.as_fd().try_clone_to_owned().map_err(|error| told(&error))?;
        let (heard, written) = channel();
        std::thread::spawn(move || {
            let mut reading = File::from(reading);
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reading.read(&mut bytes) {
                if heard.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        let size = |count| NonZeroU16::new(count).ok_or("a terminal has rows and columns");
        Ok(Self {
            child,
            pty,
            _pts: pts,
            written,
            parser: Parser::new(size(rows)?, size(columns)?, 2000),
            limit,
        })
    }

    /// Types.
    pub(crate) fn send(&mut self, keys: &str) -> Result<()> {
        let sent = self.pty.write_all(keys.as_bytes());
        sent.map_err(|error| format!("cannot type {keys:?}: {error}"))
    }

    /// The terminal gets another size.
    pub(crate) fn resize(&mut self, rows: u16, columns: u16) -> Result<()> {
        if let (Some(rows), Some(columns)) = (NonZeroU16::new(rows), NonZeroU16::new(columns)) {
            self.parser.set_size(rows, columns);
        }
        let resized = self.pty.resize(Size::new(rows, columns));
        resized.map_err(|error| format!("cannot resize: {error}"))
    }

    /// The program's process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What is to be seen now.
    pub(crate) fn seen(&self) -> String {
        self.parser.screen().contents()
    }

    /// The lines of it, without what trails.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().lines().map(|line| line.trim_end().to_owned()).collect()
    }

    /// Whether the menu's own screen is shown.
    pub(crate) fn is_full_screen(&self) -> bool {
        self.parser.screen().alternate_screen()
    }

    /// Waits until `text` is to be seen; gives the screen.
    pub(crate) fn await_text(&mut self, text: &str) -> Result<String> {
        self.await_that(&format!("{text:?} to be seen"), |seen| seen.contains(text))
    }

    /// Waits until something holds of the screen.
    pub(crate) fn await_that(&mut self, what: &str, holds: impl Fn(&str) -> bool) -> Result<String> {
        let begun = Instant::now();
        loop {
            let seen = self.seen();
            if holds(&seen) {
                return Ok(seen);
            }
            if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                // What it wrote last may still be on its way.
                self.hear_the_rest();
                return match holds(&self.seen()) {
                    true => Ok(self.seen()),
                    false => Err(format!(
                        "the program ended; waited in vain for {what}:\n{}",
                        self.seen()
                    )),
                };
            }
            self.hear(begun, what)?;
        }
    }

    /// Moves the bar down to the row that begins so.
    pub(crate) fn go_to(&mut self, row: &str) -> Result<()> {
        self.await_text(row)?;
        let wanted = format!("> {row}");
        let mut before = None;
        for _ in 0..100 {
            // A page half drawn has the bar of the page before as well, or none yet.
            let seen = self.await_that("the bar to move", |seen| bar(seen).is_some() && bar(seen) != before)?;
            before = bar(&seen);
            if before.as_ref().is_some_and(|bar| bar.starts_with(&wanted)) {
                return Ok(());
            }
            self.send(DOWN)?;
        }
        Err(format!("the bar does not come to {row:?}:\n{}", self.seen()))
    }

    /// Goes to a row and chooses it.
    pub(crate) fn choose(&mut self, row: &str) -> Result<()> {
        self.go_to(row)?;
        self.send(ENTER)
    }

    /// Waits for the end of the program, and until the terminal is as a shell expects it.
    pub(crate) fn end(&mut self) -> Result<ExitStatus> {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().map_err(|error| error.to_string())? {
                break status;
            }
            self.hear(begun, "the program to end")?;
        };
        self.hear_the_rest();
        self.is_as_found()?;
        Ok(status)
    }

    fn hear_the_rest(&mut self) {
        while let Ok(bytes) = self.written.recv_timeout(Duration::from_millis(200)) {
            self.parser.process(&bytes);
        }
    }

    /// Insists that nothing of a menu is left: primary screen, cursor, echo, line mode, signals, no colours.
    pub(crate) fn is_as_found(&self) -> Result<()> {
        let modes = tcgetattr(&self.pty).map_err(|error| error.to_string())?.local_modes;
        let wanted = LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        let screen = self.parser.screen();
        let mut wrong = vec![];
        wrong.extend((!modes.contains(wanted)).then(|| format!("modes {modes:?}")));
        wrong.extend(screen.alternate_screen().then(|| "the other screen".to_owned()));
        wrong.extend(screen.hide_cursor().then(|| "no cursor".to_owned()));
        wrong.extend(screen.inverse().then(|| "reversed".to_owned()));
        wrong.extend((screen.fgcolor() != vt100::Color::Default).then(|| "a colour".to_owned()));
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(format!(
                "the terminal is left with {}:\n{}",
                wrong.join(", "),
                self.seen()
            )),
        }
    }

    fn hear(&mut self, begun: Instant, what: &str) -> Result<()> {
        match self.written.recv_timeout(Duration::from_millis(50)) {
            Ok(bytes) => self.parser.process(&bytes),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(Duration::from_millis(50)),
        }
        match begun.elapsed() > self.limit {
            true => Err(format!(
                "waited {} s in vain for {what}:\n{}",
                self.limit.as_secs(),
                self.seen()
            )),
            false => Ok(()),
        }
    }
}

/// The row under the bar, where there is one such row.
fn bar(seen: &str) -> Option<String> {
    let mut bars = seen.lines().filter(|line| line.starts_with('>'));
    bars.next().filter(|_| bars.next().is_none()).map(str::to_owned)
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
