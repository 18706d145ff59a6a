//! Java's .properties format, as far as `java.util.Properties.load` goes: what Kafka reads its configuration with.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

use zeroize::{Zeroize, Zeroizing};

/// Key and value of every entry; of several entries with one key the last counts, as in Java.
pub type Properties = BTreeMap<String, String>;

/// Properties that may hold passwords: they do not show, and are wiped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Quiet(Properties);

impl Quiet {
    /// Wraps them.
    pub fn new(properties: Properties) -> Self {
        Self(properties)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Lays others over them: of a key in both, what the others have counts.
    pub(super) fn overlay(&mut self, mut others: Self) {
        for (key, value) in std::mem::take(&mut others.0) {
            self.put(key, value);
        }
    }

    fn put(&mut self, key: String, value: String) {
        if let Some(mut old) = self.0.insert(key, value) {
            old.zeroize();
        }
    }
}

impl FromIterator<(String, String)> for Quiet {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        let mut all = Self::default();
        for (key, value) in pairs {
            all.put(key, value);
        }
        all
    }
}

impl std::fmt::Debug for Quiet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Quiet({} properties)", self.0.len())
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        self.0.values_mut().for_each(Zeroize::zeroize);
    }
}

/// Reads a .properties file as Kafka does, whose `Properties.load` takes each byte for a character (ISO 8859-1).
pub(super) fn parse_bytes(bytes: &[u8]) -> Quiet {
    // Room for all of it at once: a text that grows would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(2 * bytes.len()));
    text.extend(bytes.iter().map(|byte| char::from(*byte)));
    Quiet::new(parse(&text))
}

/// Reads a .properties text. There is no text that it refuses: what is odd is read as Java reads it.
pub fn parse(text: &str) -> Properties {
    let mut properties = Properties::new();
    let mut lines = natural_lines(text);
    while let Some(first) = lines.next() {
        let first = first.trim_start_matches(is_blank);
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = Zeroizing::new(first.to_owned());
        while ends_in_continuation(&logical) {
            logical.pop();
            // A backslash at the very end of the file continues into nothing.
            let Some(next) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(is_blank));
        }
        let (key, value) = split_entry(&logical);
        properties.insert(key, value);
    }
    properties
}

/// Lines end in `\n`, `\r` or `\r\n`; the empty line that `\r\n` yields between its two characters is skipped like any other,
/// but within a continuation it would end it, so `\r\n` is one terminator here.
fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n')
        .flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// Whether the line ends in an odd number of backslashes.
fn ends_in_continuation(line: &str) -> bool {
    line.chars().rev().take_while(|&c| c == '\\').count() % 2 == 1
}

/// The key ends at the first unescaped `=`, `:` or blank; blanks and one `=` or `:` after it belong to neither side.
fn split_entry(line: &str) -> (String, String) {
    let mut chars = line.chars().peekable();
    let mut key = String::new();
    while let Some(&c) = chars.peek() {
        if is_blank(c) || matches!(c, '=' | ':') {
            break;
        }
        chars.next();
        if c == '\\' {
            unescape(&mut chars, &mut key);
        } else {
            key.push(c);
        }
    }
    skip_blanks(&mut chars);
    if chars.next_if(|&c| matches!(c, '=' | ':')).is_some() {
        skip_blanks(&mut chars);
    }
    let mut value = String::with_capacity(line.len());
    while let Some(c) = chars.next() {
        if c == '\\' {
            unescape(&mut chars, &mut value);
        } else {
            value.push(c);
        }
    }
    (key, value)
}

fn skip_blanks(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|&c| is_blank(c)).is_some() {}
}

/// What follows a backslash.
fn unescape(chars: &mut Peekable<Chars<'_>>, out: &mut String) {
    match chars.next() {
        Some('t') => out.push('\t'),
        Some('n') => out.push('\n'),
        Some('r') => out.push('\r'),
        Some('f') => out.push('\u{c}'),
        Some('u') => out.push(unicode(chars)),
        Some(other) => out.push(other),
        None => {}
    }
}

/// `\uXXXX`, one UTF-16 unit; a surrogate pair is two of them in a row. What is no character becomes U+FFFD.
fn unicode(chars: &mut Peekable<Chars<'_>>) -> char {
    let Some(unit) = hex4(chars) else {
        return char::REPLACEMENT_CHARACTER;
    };
    if !(0xd800..0xdc00).contains(&unit) {
        return char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER);
    }
    let mut ahead = chars.clone();
    if ahead.next() == Some('\\')
        && ahead.next() == Some('u')
        && let Some(low) = hex4(&mut ahead)
        && (0xdc00..0xe000).contains(&low)
    {
        *chars = ahead;
        return char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00))
            .unwrap_or(char::REPLACEMENT_CHARACTER);
    }
    char::REPLACEMENT_CHARACTER
}

fn hex4(chars: &mut Peekable<Chars<'_>>) -> Option<u32> {
    let mut unit = 0;
    for _ in 0..4 {
        unit = unit * 16 + chars.next_if(char::is_ascii_hexdigit)?.to_digit(16)?;
    }
    Some(unit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).into_iter().collect()
    }

    fn owned(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn all_three_separators_separate() {
        assert_eq!(
            pairs("a=1\nb: 2\nc 3\nd = : 4"),
            owned(&[("a", "1"), ("b", "2"), ("c", "3"), ("d", ": 4")])
        );
    }

    #[test]
    fn comments_and_blank_lines_are_no_entries() {
        assert_eq!(
            pairs("# a=1\n  ! b=2\n\n \t\nc=3 # not a comment"),
            owned(&[("c", "3 # not a comment")])
        );
    }

    #[test]
    fn a_comment_does_not_continue() {
        assert_eq!(pairs("# comment \\\na=1"), owned(&[("a", "1")]));
    }

    #[test]
    fn a_line_continues_after_an_odd_number_of_backslashes() {
        assert_eq!(
            pairs("a=1,\\\n   2,\\\r\n\t3\nb=x\\\\\nc=y"),
            owned(&[("a", "1,2,3"), ("b", "x\\"), ("c", "y")])
        );
    }

    #[test]
    fn a_backslash_at_the_end_of_the_file_is_dropped() {
        assert_eq!(pairs("a=1\\"), owned(&[("a", "1")]));
    }

    #[test]
    fn escapes_are_undone_in_keys_and_values() {
        assert_eq!(pairs(r"a\=b\ c=\u00e9\t\q\:"), owned(&[("a=b c", "é\tq:")]));
        assert_eq!(
            pairs(r"a=\ud83d\ude00 \ud83d! \u12"),
            owned(&[("a", "😀 \u{fffd}! \u{fffd}")])
        );
    }

    #[test]
    fn the_last_of_duplicate_keys_wins() {
        assert_eq!(pairs("a=1\na=2"), owned(&[("a", "2")]));
    }

    #[test]
    fn a_key_without_a_value_is_empty_and_trailing_blanks_belong_to_the_value() {
        assert_eq!(pairs("a\nb=\nc=x "), owned(&[("a", ""), ("b", ""), ("c", "x ")]));
    }

    #[test]
    fn windows_and_old_mac_line_ends_end_lines() {
        assert_eq!(pairs("a=1\r\nb=2\rc=3"), owned(&[("a", "1"), ("b", "2"), ("c", "3")]));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(?s)(\\PC|[\\\\=: \t\r\nu0-9a-f#!]){0,200}") {
            parse(&text);
        }

        #[test]
        fn plain_entries_come_back(entries in proptest::collection::btree_map("[a-z][a-z.]{0,20}", "[a-zA-Z0-9:/,._-]{0,40}", 0..20)) {
            let text: String = entries.iter().map(|(k, v)| format!("{k} = {v}\n")).collect();
            // A leading ':' would be taken for the separator only directly after the key; here '=' was.
            prop_assert_eq!(parse(&text), entries);
        }
    }
}
