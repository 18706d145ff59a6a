//! YAML as far as inventories need it: texts, lists and tables, each key with its line.

use std::collections::BTreeMap;

use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::scanner::{Marker, TScalarStyle};

use super::ini::Unreadable;

/// Nesting beyond this is no inventory.
const DEEPEST: usize = 64;
/// References may be used again and again; so much in all is no inventory either.
const MOST: usize = 100_000;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A text; numbers and truths as they are written.
    Text(String),
    /// Nothing.
    Empty,
    /// What ansible-vault has encrypted.
    Vault,
    /// Values in their order.
    List(Vec<Value>),
    /// Keys in their order, each with its line.
    Table(Vec<(String, usize, Value)>),
}

impl Value {
    /// The text, where it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Table(table) => table.iter().find(|(name, ..)| name == key).map(|(.., value)| value),
            _ => None,
        }
    }
}

enum Open {
    List(Vec<Value>, usize),
    Table(Vec<(String, usize, Value)>, Option<(String, usize)>, usize),
}

/// Reads the one document of a file.
pub(super) fn parse(text: &str) -> Result<Value, Unreadable> {
    let mut parser = Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut reading = Reading {
        stack: vec![],
        known: BTreeMap::new(),
        document: None,
        taken: 0,
    };
    loop {
        let (event, mark) = parser.next_token().map_err(|error| Unreadable {
            line: error.marker().line(),
            why: format!("not YAML: {}", error.info()),
        })?;
        if matches!(event, Event::StreamEnd) {
            return Ok(reading.document.unwrap_or(Value::Empty));
        }
        let line = mark.line();
        reading.event(event, mark).map_err(|why| Unreadable { line, why })?;
    }
}

struct Reading {
    stack: Vec<Open>,
    known: BTreeMap<usize, Value>,
    document: Option<Value>,
    taken: usize,
}

impl Reading {
    fn event(&mut self, event: Event, mark: Marker) -> Result<(), String> {
        if self.stack.len() >= DEEPEST {
            return Err("nested too deeply for an inventory".to_owned());
        }
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_plain = style == TScalarStyle::Plain;
                let value = match tag {
                    Some(tag) if tag.suffix.contains("vault") => Value::Vault,
                    _ if is_plain && matches!(text.as_str(), "" | "~" | "null") => Value::Empty,
                    _ => Value::Text(text),
                };
                self.take(value, anchor, mark.line())
            }
            Event::Alias(anchor) => {
                let known = self.known.get(&anchor).cloned();
                self.take(known.ok_or("refers to nothing")?, 0, mark.line())
            }
            Event::SequenceStart(anchor, _) => {
                self.stack.push(Open::List(vec![], anchor));
                Ok(())
            }
            Event::MappingStart(anchor, _) => {
                self.stack.push(Open::Table(vec![], None, anchor));
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => match self.stack.pop() {
                Some(Open::List(list, anchor)) => self.take(Value::List(list), anchor, mark.line()),
                Some(Open::Table(table, _, anchor)) => self.take(Value::Table(merged(table)?), anchor, mark.line()),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn take(&mut self, value: Value, anchor: usize, line: usize) -> Result<(), String> {
        self.taken += weight(&value);
        if self.taken > MOST {
            return Err("too much for an inventory".to_owned());
        }
        if anchor > 0 {
            self.known.insert(anchor, value.clone());
        }
        match self.stack.last_mut() {
            None if self.document.is_some() => return Err("a second document: an inventory has one".to_owned()),
            None => self.document = Some(value),
            Some(Open::List(list, _)) => list.push(value),
            Some(Open::Table(table, key, _)) => match (key.take(), value) {
                (Some((name, at)), value) => table.push((name, at, value)),
                (None, Value::Text(name)) => {
                    if let Some((_, first, _)) = table.iter().find(|(known, ..)| *known == name) {
                        return Err(format!("`{name}` is written twice, first on line {first}"));
                    }
                    *key = Some((name, line));
                }
                (None, _) => return Err("a key is no text".to_owned()),
            },
        }
        Ok(())
    }
}

/// `<<: *other`, or a list of others: their keys, where the table has none of its own; of several the first counts.
fn merged(mut table: Vec<(String, usize, Value)>) -> Result<Vec<(String, usize, Value)>, String> {
    let Some(at) = table.iter().position(|(name, ..)| name == "<<") else {
        return Ok(table);
    };
    let others = match table.remove(at).2 {
        Value::List(list) => list,
        one => vec![one],
    };
    for other in others {
        let Value::Table(other) = other else {
            return Err("`<<` takes a table or a list of tables".to_owned());
        };
        for entry in other {
            if !table.iter().any(|(name, ..)| *name == entry.0) {
                table.push(entry);
            }
        }
    }
    Ok(table)
}

fn weight(value: &Value) -> usize {
    match value {
        Value::List(list) => 1 + list.iter().map(weight).sum::<usize>(),
        Value::Table(table) => 1 + table.iter().map(|(.., value)| weight(value)).sum::<usize>(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_their_lines_and_values_their_text() {
        let value = parse("---\n# c\na:\n  b: 007\n  'c': ~\nl: [x, 1]\n").unwrap();
        let Value::Table(table) = &value else {
            panic!("{value:?}")
        };
        assert_eq!((table[0].1, table[1].1), (3, 6));
        assert_eq!(value.get("a").unwrap().get("b").unwrap().text(), Some("007"));
        assert_eq!(value.get("a").unwrap().get("c"), Some(&Value::Empty));
        assert_eq!(parse("").unwrap(), Value::Empty);
    }

    #[test]
    fn merge_keys_are_applied_and_own_keys_win() {
        let text = "d: &d {a: 1, b: 1}\ne: &e {b: 2, c: 2}\none:\n  <<: *d\n  b: own\nmany: {<<: [*d, *e]}\n";
        let value = parse(text).unwrap();
        let of = |table: &str, key: &str| value.get(table).unwrap().get(key).map(|value| value.text().unwrap());
        assert_eq!(
            (of("one", "a"), of("one", "b"), of("one", "<<")),
            (Some("1"), Some("own"), None)
        );
        assert_eq!((of("many", "b"), of("many", "c")), (Some("1"), Some("2")));
        assert!(parse("a: {<<: text}\n").unwrap_err().why.contains("`<<`"));
    }

    #[test]
    fn what_is_no_yaml_has_a_line() {
        assert_eq!(parse("a: 1\nb: [\n").unwrap_err().line, 3);
        let twice = parse("a: 1\na: 2\n").unwrap_err();
        assert!(twice.why.contains("written twice"), "{twice:?}");
    }

    #[test]
    fn secrets_of_a_vault_are_no_text_and_bombs_do_not_go_off() {
        assert_eq!(
            parse("p: !vault |\n  $ANSIBLE\n").unwrap().get("p"),
            Some(&Value::Vault)
        );
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for n in 1..9 {
            let before = format!("*a{}", n - 1);
            bomb.push_str(&format!("a{n}: &a{n} [{}]\n", [before.as_str(); 10].join(",")));
        }
        assert!(parse(&bomb).is_err());
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
