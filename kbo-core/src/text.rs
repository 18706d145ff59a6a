//! Words for people, and texts of others made fit for a terminal.

use std::borrow::Cow;
use std::fmt::Write;

use jiff::Timestamp;

/// How long ago that was.
pub fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs();
    match seconds {
        // Clocks differ a little; a backup from the future is worth a look.
        ..=-120 => format!("in {}", time(-seconds)),
        -119..60 => "just now".to_owned(),
        _ => format!("{} ago", time(seconds)),
    }
}

/// The one or two largest units.
fn time(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let with = |large: String, rest: i64, unit: &str| match rest {
        0 => large,
        rest => format!("{large} {rest} {unit}"),
    };
    match (days, hours, minutes) {
        (0, 0, minutes) => format!("{minutes} min"),
        (0, 1..10, _) => with(format!("{hours} h"), minutes % 60, "min"),
        (0, _, _) => format!("{hours} h"),
        (1..10, _, _) => with(format!("{days} d"), hours % 24, "h"),
        _ => format!("{days} d"),
    }
}

/// A text as it may go to a terminal: names of files, answers of engines and documents of others may hold characters that move the
/// cursor, change colours or turn the direction of writing round. Each such character is shown as `\u{..}`; line breaks and tabs stay.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_control(c) && !matches!(c, '\n' | '\t'))
}

/// The same for a text that is to stay on its line.
pub fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, is_control)
}

fn escaped(text: &str, is_meant: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&is_meant) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_meant(c) {
            // Writing to a String cannot fail.
            true => drop(write!(shown, "\\u{{{:x}}}", u32::from(c))),
            false => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// C0 and C1 controls, what breaks lines, what turns the direction of writing, and what is not seen at all.
pub fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// At most so many characters of a text, with `...` where there were more.
pub fn clip(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        None => Cow::Borrowed(text),
        Some((at, _)) => Cow::Owned(format!("{}...", &text[..at])),
    }
}

/// The first ten of a list, and how many more.
pub fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 10;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        _ => shown,
    }
}

/// Bytes for people: binary units, one decimal.
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = 0;
    let mut scaled = bytes;
    let mut rest = 0;
    while scaled >= 1024 && unit + 1 < UNITS.len() {
        rest = scaled % 1024;
        scaled /= 1024;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{scaled}.{} {}", rest * 10 / 1024, UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_reaches_a_terminal_and_all_else_does() {
        let hostile = "a\u{1b}[31mb\u{9b}2Jc\u{202e}d\re\u{7f}\u{2066}";
        assert_eq!(
            printable(hostile),
            "a\\u{1b}[31mb\\u{9b}2Jc\\u{202e}d\\u{d}e\\u{7f}\\u{2066}"
        );
        assert_eq!(
            printable("two\nlines\tand ünïcode 日本 \"'"),
            "two\nlines\tand ünïcode 日本 \"'"
        );
        assert_eq!(one_line("two\nlines"), "two\\u{a}lines");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(clip("äöü", 3), "äöü");
        assert_eq!(clip("äöüß", 2), "äö...");
    }
}
