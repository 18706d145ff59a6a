//! What goes to stdout and stderr: the only place that prints.

use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::OnceLock;

use serde::Serialize;

/// Why stdout did not take what was written.
static UNWRITTEN: OnceLock<String> = OnceLock::new();

/// A line on stdout. A reader that went away is no error of ours.
pub(crate) fn line(text: &str) {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => drop(UNWRITTEN.set(error.to_string())),
        _ => {}
    }
}

/// Why something of the output is missing, if it is.
pub(crate) fn unwritten() -> Option<&'static str> {
    UNWRITTEN.get().map(String::as_str)
}

/// A part of a line on stdout, seen at once.
pub(crate) fn part(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = write!(stdout, "{text}");
    let _ = stdout.flush();
}

/// A line on stderr.
pub(crate) fn error_line(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// One JSON document on stdout.
pub(crate) fn json<T: Serialize>(document: &T) {
    match serde_json::to_string_pretty(document) {
        Ok(text) => line(&text),
        Err(error) => error_line(&format!("cannot write JSON: {error}")),
    }
}

/// Asks on the terminal; anything but yes is no. Without a terminal there is nobody to ask.
pub(crate) fn confirm(question: &str) -> Option<bool> {
    ask(&format!("{question} [y/N] ")).map(|answer| matches!(answer.as_str(), "y" | "Y" | "yes"))
}

/// Whether there is somebody to ask.
pub(crate) fn has_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// Asks on the terminal; without one there is nobody to ask.
pub(crate) fn ask(question: &str) -> Option<String> {
    if !has_terminal() {
        return None;
    }
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "{question}");
    let _ = stderr.flush();
    drop(stderr);
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).ok()?;
    Some(answer.trim().to_owned())
}

/// A table with its columns aligned: left, but for those listed in `right`.
pub(crate) fn table(rows: &[Vec<String>], right: &[usize]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let pad = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
            if right.contains(&column) {
                format!("{pad}{cell}")
            } else {
                format!("{cell}{pad}")
            }
        });
        line(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}
