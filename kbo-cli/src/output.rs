//! What goes to stdout and stderr: the only place that prints.

use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::OnceLock;

use kbo_core::text::{is_control, one_line, printable};
use serde::Serialize;

/// Why stdout did not take what was written.
static UNWRITTEN: OnceLock<String> = OnceLock::new();

/// A line on stdout. A reader that went away is no error of ours.
pub(crate) fn line(text: &str) {
    told(&printable(text));
}

/// A line as it is.
fn told(text: &str) {
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
    let _ = write!(stdout, "{}", printable(text));
    let _ = stdout.flush();
}

/// A line on stderr.
pub(crate) fn error_line(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", printable(text));
}

/// One JSON document on stdout.
pub(crate) fn json<T: Serialize>(document: &T) {
    match serde_json::to_string_pretty(document) {
        Ok(text) => told(&escaped(&text)),
        Err(error) => error_line(&format!("cannot write JSON: {error}")),
    }
}

/// JSON as text may hold what a terminal obeys: within its strings, which is where they can only be, such characters are escaped.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c != '\n' && is_control(c) {
            false => text.push(c),
            true => c
                .encode_utf16(&mut [0; 2])
                .iter()
                .for_each(|unit| text.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    text
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
    let _ = write!(stderr, "{}", printable(question));
    let _ = stderr.flush();
    drop(stderr);
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).ok()?;
    Some(answer.trim().to_owned())
}

/// A table with its columns aligned: left, but for those listed in `right`.
pub(crate) fn table(rows: &[Vec<String>], right: &[usize]) {
    // A line break in a name would make a line of its own, which anybody could have written.
    let shown = |row: &Vec<String>| row.iter().map(|cell| one_line(cell).into_owned()).collect();
    let rows: &[Vec<String>] = &rows.iter().map(shown).collect::<Vec<_>>();
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

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn what_a_terminal_obeys_is_escaped_in_json_and_is_the_same_text() {
        let hostile = "a\u{9b}2J\u{202e}b\u{7f}\u{1b}[0m\nc";
        let text = serde_json::to_string_pretty(&vec![hostile]).unwrap();
        let shown = escaped(&text);
        assert!(
            !shown.chars().any(|c| c != '\n' && kbo_core::text::is_control(c)),
            "{shown:?}"
        );
        assert_eq!(serde_json::from_str::<Vec<String>>(&shown).unwrap(), [hostile]);
    }
}
