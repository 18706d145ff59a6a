//! Logs: to stderr as far as -v asks for, and to the configured file in full.

pub(crate) mod file;

use std::io::{self, Write};
use std::path::Path;

use kbo_core::text::{is_control, printable};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// Installs the subscriber.
pub(crate) fn start(verbose: u8, quiet: bool, file: Option<&Path>) -> anyhow::Result<()> {
    let level = match (quiet, verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => LevelFilter::WARN,
        (false, 1) => LevelFilter::INFO,
        (false, _) => LevelFilter::DEBUG,
    };
    let stderr = fmt::layer()
        .with_writer(|| Shown(std::io::stderr()))
        .with_target(false)
        .without_time()
        .with_filter(ours(level));
    let file = file.map(file::start).transpose()?.flatten();
    let file = file.map(|file| {
        fmt::layer()
            .with_writer(move || Shown(file.clone()))
            .with_ansi(false)
            .with_filter(ours(LevelFilter::DEBUG))
    });
    tracing_subscriber::registry().with(stderr).with(file).init();
    Ok(())
}

/// A writer of lines that people read on terminals. The formatter escapes what begins a sequence of a terminal, and writes colours
/// itself; all else that a terminal obeys, such as what turns the direction of writing, is escaped here.
struct Shown<W>(W);

impl<W: Write> Write for Shown<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // An event comes in one piece.
        let text = String::from_utf8_lossy(bytes);
        let is_hostile = |c: char| is_control(c) && !matches!(c, '\n' | '\t' | '\u{1b}');
        match text.contains(is_hostile) {
            false => self.0.write_all(bytes)?,
            true => {
                let shown: Vec<_> = text.split('\u{1b}').map(printable).collect();
                self.0.write_all(shown.join("\u{1b}").as_bytes())?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// What kbo says, up to a level; of the libraries' only warnings, for what they say beyond (an engine's answers, say) may hold secrets.
fn ours(level: LevelFilter) -> Targets {
    Targets::new()
        .with_target("kbo", level)
        .with_default(level.min(LevelFilter::WARN))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn what_turns_a_terminal_round_is_escaped_and_colours_stay() {
        let mut written = vec![];
        Shown(&mut written)
            .write_all("\u{1b}[33mWARN\u{1b}[0m a\u{202e}b\u{9b}2J\n".as_bytes())
            .unwrap();
        let text = String::from_utf8(written).unwrap();
        assert_eq!(text, "\u{1b}[33mWARN\u{1b}[0m a\\u{202e}b\\u{9b}2J\n");
    }

    #[test]
    fn libraries_are_heard_when_they_warn_and_not_when_they_chatter() {
        let file = ours(LevelFilter::DEBUG);
        for target in ["kbo", "kbo_core::orchestrator", "kbo_transport::local"] {
            assert!(file.would_enable(target, &Level::DEBUG), "{target}");
        }
        assert!(file.would_enable("bollard", &Level::WARN));
        assert!(!file.would_enable("bollard::docker", &Level::DEBUG));
        assert!(!ours(LevelFilter::ERROR).would_enable("bollard", &Level::WARN));
    }
}
