//! PEM (RFC 7468) as it is found in the field: text around blocks, CRLF, byte-order marks, headers of OpenSSL's older format.
//!
//! An own scanner, as the crates there are stop at the first block that is broken and leave copies of keys behind in memory.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::{Zeroize as _, Zeroizing};

/// One block.
pub struct Block {
    /// What stands after BEGIN, such as `CERTIFICATE`.
    pub label: String,
    /// `Proc-Type` and `DEK-Info`, in OpenSSL's older format of encrypted keys.
    pub headers: Vec<(String, String)>,
    /// What was in base64.
    pub data: Zeroizing<Vec<u8>>,
    /// The line of its BEGIN, from 1.
    pub line: usize,
}

/// A block that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// What stands after BEGIN, shortened.
    pub label: String,
    /// The line of its BEGIN, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: &'static str,
}

/// What is in a file.
#[derive(Default)]
pub struct Blocks {
    /// Blocks that could be read, in the order of the file.
    pub whole: Vec<Block>,
    /// Those that could not.
    pub broken: Vec<Broken>,
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Block({}, line {}, {} bytes)",
            self.label,
            self.line,
            self.data.len()
        )
    }
}

struct Open {
    label: String,
    line: usize,
    headers: Vec<(String, String)>,
}

/// Finds the blocks. What is around them is passed over.
pub fn blocks(bytes: &[u8]) -> Blocks {
    let text = text(bytes);
    let mut found = Blocks::default();
    let mut open: Option<Open> = None;
    // One buffer for all blocks, never longer than the text: it does not grow and leave parts of a key where it was, and a file of
    // nothing but BEGIN lines costs no more than another one.
    let mut body = Zeroizing::new(String::with_capacity(text.len()));
    for (line, content) in lines(&text).flat_map(|(line, content)| parted(content).map(move |part| (line, part))) {
        if let Some(label) = marker(content, "-----BEGIN ") {
            if let Some(open) = open.take() {
                found.broken(&open, "it has no END before the next BEGIN");
            }
            body.clear();
            open = Some(Open {
                label: label.to_owned(),
                line,
                headers: vec![],
            });
        } else if let Some(label) = marker(content, "-----END ") {
            let Some(open) = open.take() else { continue };
            if open.label == label {
                found.close(open, &body);
            } else {
                found.broken(&open, "its END is of another kind");
            }
        } else if let Some(open) = &mut open {
            open.take(content, &mut body);
        }
    }
    if let Some(open) = open {
        found.broken(&open, "it has no END: the file is cut short");
    }
    found
}

/// Writes one block, with 64 characters a line.
pub fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let base64 = Zeroizing::new(STANDARD.encode(der));
    let mut text = Zeroizing::new(String::with_capacity(
        base64.len() + base64.len() / 64 + 2 * label.len() + 40,
    ));
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

impl Open {
    fn take(&mut self, line: &str, body: &mut String) {
        let line = line.trim();
        if let Some((name, value)) = line.split_once(':') {
            // Only OpenSSL's older keys have headers, and those are two.
            if body.is_empty() && self.headers.len() < 16 {
                self.headers.push((name.trim().to_owned(), value.trim().to_owned()));
                return;
            }
        }
        line.split_ascii_whitespace().for_each(|part| body.push_str(part));
    }
}

impl Blocks {
    fn close(&mut self, open: Open, body: &str) {
        let mut data = Zeroizing::new(Vec::with_capacity(body.len()));
        match STANDARD.decode_vec(body.as_bytes(), &mut data) {
            Ok(()) if data.is_empty() => self.broken(&open, "it is empty"),
            Ok(()) => self.whole.push(Block {
                label: open.label,
                headers: open.headers,
                data,
                line: open.line,
            }),
            Err(_) => self.broken(&open, "its base64 is damaged"),
        }
    }

    fn broken(&mut self, open: &Open, why: &'static str) {
        self.broken.push(Broken {
            label: open.label.clone(),
            line: open.line,
            why,
        });
    }
}

/// The label of a BEGIN or END line.
fn marker<'a>(line: &'a str, begins: &str) -> Option<&'a str> {
    let label = line.trim().strip_prefix(begins)?.strip_suffix("-----")?;
    // Labels are short; what is longer is no marker, and would fill messages.
    (label.len() <= 64 && label.bytes().all(|byte| matches!(byte, b' '..=b'~'))).then_some(label)
}

/// Lines with their numbers, whichever way they end.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split('\n')
        .enumerate()
        .flat_map(|(number, line)| line.split('\r').map(move |part| (number + 1, part)))
}

/// A line, or two of them: where files were joined whose last line had no end, BEGIN stands right behind END.
fn parted(line: &str) -> impl Iterator<Item = &str> {
    let behind = if line.trim_start().starts_with("-----END ") {
        line.find("----------BEGIN ")
            .map(|at| line.split_at(at + "-----".len()))
    } else {
        None
    };
    let (first, second) = behind.map_or((line, None), |(end, begin)| (end, Some(begin)));
    std::iter::once(first).chain(second)
}

/// The text, also where it is UTF-16, as some tools of Windows write it.
fn text(bytes: &[u8]) -> Zeroizing<String> {
    let units = |rest: &[u8], unit: fn([u8; 2]) -> u16| {
        let mut units: Vec<u16> = rest.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
        let mut text = Zeroizing::new(String::with_capacity(rest.len() * 2));
        text.extend(char::decode_utf16(units.iter().copied()).map(|found| found.unwrap_or('\u{fffd}')));
        units.zeroize();
        text
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => units(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => units(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => lossy(rest),
        _ => lossy(bytes),
    }
}

fn lossy(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(bytes.len() * 3));
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push('\u{fffd}');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_of_nothing_but_begin_lines_costs_no_more_than_another() {
        let line = "-----BEGIN A-----\n";
        let text = line.repeat((1 << 20) / line.len());
        let begun = Instant::now();
        let found = blocks(text.as_bytes());
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        assert!(found.whole.is_empty());
        assert_eq!(found.broken.len(), (1 << 20) / line.len());
    }

    #[test]
    fn what_stands_in_one_block_is_not_in_the_next() {
        let text = "-----BEGIN A-----\nQUFB\n-----BEGIN B-----\nQkJC\n-----END B-----\n";
        let found = blocks(text.as_bytes());
        assert_eq!(found.broken.len(), 1);
        assert_eq!(found.broken[0].label, "A");
        assert_eq!(found.whole[0].data.as_slice(), b"BBB");
    }

    #[test]
    fn a_block_cut_short_anywhere_is_no_block() {
        let text = encode("CERTIFICATE", &[7; 100]);
        for end in 0..text.len() - 1 {
            assert!(blocks(&text.as_bytes()[..end]).whole.is_empty(), "{end}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_whatever_is_around_it_and_however_lines_end(
            ders in vec(vec(any::<u8>(), 1..300), 1..5),
            around in "[a-zA-Z :.]{0,40}",
            ending in prop_oneof![Just("\n"), Just("\r\n"), Just("\r")],
            mark in any::<bool>(),
        ) {
            let mut text = if mark { "\u{feff}".to_owned() } else { String::new() };
            for der in &ders {
                text.push_str(&around);
                text.push('\n');
                text.push_str(&encode("CERTIFICATE", der));
            }
            let found = blocks(text.replace('\n', ending).as_bytes());
            prop_assert!(found.broken.is_empty());
            let read: Vec<Vec<u8>> = found.whole.iter().map(|block| block.data.to_vec()).collect();
            prop_assert_eq!(read, ders);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..2000)) {
            let _ = blocks(&bytes);
        }
    }
}
