//! The lines of an INI file, with their numbers. Whether a line is a setting or a host is for whoever asks.

/// A line that says something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum IniLine<'a> {
    /// `[section]`
    Section(&'a str),
    /// Anything else but comments.
    Text(&'a str),
}

/// Why a line cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) line: usize,
    pub(super) why: String,
}

/// The lines that say something. Comments begin with `#` or `;`; line ends of other systems and a byte order mark are nothing.
pub(super) fn lines(text: &str) -> Result<Vec<(usize, IniLine<'_>)>, Unreadable> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = vec![];
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let Some(rest) = line.strip_prefix('[') else {
            lines.push((number, IniLine::Text(line)));
            continue;
        };
        let Some((name, behind)) = rest.split_once(']') else {
            return Err(Unreadable {
                line: number,
                why: "a section is not closed by `]`".to_owned(),
            });
        };
        let behind = behind.trim();
        if name.trim().is_empty() || !(behind.is_empty() || behind.starts_with(['#', ';'])) {
            // Not the line itself: what stands there may be a secret.
            let why = "this is no section: write `[name]` alone on its line".to_owned();
            return Err(Unreadable { line: number, why });
        }
        lines.push((number, IniLine::Section(name.trim())));
    }
    Ok(lines)
}

/// `key = value`; the value without its quotes or a comment behind it.
pub(super) fn setting(text: &str) -> Option<(&str, String)> {
    let (key, value) = text.split_once('=')?;
    let key = key.trim();
    (!key.is_empty() && !key.contains(char::is_whitespace)).then(|| (key, unquoted(value)))
}

/// Without quotes around it, or without the comment behind it.
pub(super) fn unquoted(value: &str) -> String {
    let value = value.trim();
    for mark in ['"', '\''] {
        let Some(rest) = value.strip_prefix(mark) else { continue };
        if let Some((inner, behind)) = rest.split_once(mark) {
            let behind = behind.trim();
            if behind.is_empty() || behind.starts_with(['#', ';']) {
                return inner.to_owned();
            }
        }
    }
    let mut end = value.len();
    for (at, c) in value.char_indices() {
        let is_apart = value[..at].ends_with(char::is_whitespace);
        if matches!(c, '#' | ';') && (is_apart || at == 0) {
            end = at;
            break;
        }
    }
    value[..end].trim_end().to_owned()
}

/// The words of a line: parted by blanks, quotes keep them together and stay for [`unquoted`]; a comment ends them.
pub(super) fn words(text: &str) -> Option<Vec<String>> {
    let mut words = vec![];
    let mut word = String::new();
    let mut quote = None;
    for c in text.chars() {
        match quote {
            Some(mark) => {
                word.push(c);
                if c == mark {
                    quote = None;
                }
            }
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            None if c == '#' && word.is_empty() => break,
            None => {
                if matches!(c, '"' | '\'') {
                    quote = Some(c);
                }
                word.push(c);
            }
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    quote.is_none().then_some(words)
}

/// Host names with ranges written out: `kafka-[1:3]`, `n[01:10:2]`, `rack-[a:c]`.
pub(super) fn ranges(pattern: &str) -> Result<Vec<String>, String> {
    let Some((before, rest)) = pattern.split_once('[') else {
        return Ok(vec![pattern.to_owned()]);
    };
    let wrong = || format!("`{pattern}` is no range of hosts: write `name-[1:3]`");
    let (range, after) = rest.split_once(']').ok_or_else(wrong)?;
    let parts: Vec<&str> = range.split(':').collect();
    let (first, last, step) = match parts[..] {
        [first, last] => (first, last, 1),
        [first, last, step] => (
            first,
            last,
            step.parse::<u32>().ok().filter(|s| *s > 0).ok_or_else(wrong)?,
        ),
        _ => return Err(wrong()),
    };
    let members: Vec<String> = match (first.parse::<u32>(), last.parse::<u32>()) {
        (Ok(from), Ok(to)) if from <= to && to - from < 1000 => (from..=to)
            .step_by(step as usize)
            .map(|n| format!("{n:0width$}", width = first.len()))
            .collect(),
        _ => match (first.as_bytes(), last.as_bytes()) {
            ([from], [to]) if from.is_ascii_alphabetic() && to.is_ascii_alphabetic() && from <= to => (*from..=*to)
                .step_by(step as usize)
                .map(|c| char::from(c).to_string())
                .collect(),
            _ => return Err(wrong()),
        },
    };
    let tails = ranges(after)?;
    if members.len().saturating_mul(tails.len()) > 1000 {
        return Err(format!("`{pattern}` names more than 1000 hosts"));
    }
    let names = members.iter().flat_map(|member| {
        let head = format!("{before}{member}");
        tails.iter().map(move |tail| format!("{head}{tail}"))
    });
    Ok(names.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn comments_marks_and_line_ends_of_other_systems_are_nothing() {
        let text = "\u{feff}# c\r\n; c\r\n\r\n [a] # c\r\nX = 1\r\n";
        assert_eq!(
            lines(text).unwrap(),
            [(4, IniLine::Section("a")), (5, IniLine::Text("X = 1"))]
        );
        assert_eq!(lines("x\n[a\n").unwrap_err().line, 2);
        assert!(lines("[]").is_err() && lines("[a] b").is_err());
    }

    #[test]
    fn values_lose_their_quotes_and_comments() {
        for (written, read) in [
            ("v", "v"),
            (" 'a b' ", "a b"),
            ("\"a # b\" # c", "a # b"),
            ("a#b", "a#b"),
            ("a # b", "a"),
            ("# only a comment", ""),
            ("\"open", "\"open"),
            ("", ""),
        ] {
            assert_eq!(unquoted(written), read, "{written}");
        }
        assert_eq!(setting("A=b=c"), Some(("A", "b=c".to_owned())));
        assert_eq!(setting("A b = c"), None);
        assert_eq!(setting("= c"), None);
    }

    #[test]
    fn words_are_kept_together_by_quotes() {
        assert_eq!(words("h a=1 b='x y' # c").unwrap(), ["h", "a=1", "b='x y'"]);
        assert_eq!(words("h b='x"), None);
    }

    #[test]
    fn ranges_are_written_out() {
        assert_eq!(ranges("k-[1:3]").unwrap(), ["k-1", "k-2", "k-3"]);
        assert_eq!(ranges("k[08:12:2].x").unwrap(), ["k08.x", "k10.x", "k12.x"]);
        assert_eq!(ranges("[a:b][1:2]").unwrap(), ["a1", "a2", "b1", "b2"]);
        for wrong in ["k[3:1]", "k[1]", "k[1:2", "k[1:2:0]", "k[1:9999]", "k[]"] {
            assert!(ranges(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange_to_be_looked_at(text in "\\PC{0,80}|[\\[\\]=#;'\" a\\r\\n:]{0,60}") {
            if let Ok(lines) = lines(&text) {
                for (_, line) in lines {
                    if let IniLine::Text(line) = line {
                        let _ = (setting(line), words(line), ranges(line));
                    }
                }
            }
        }
    }
}
