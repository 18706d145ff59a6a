//! What Kafka's `sasl.jaas.config` says: a login module and its options.
//!
//! `org.apache.kafka.common.security.scram.ScramLoginModule required username="alice" password="a \"word\"";`
//! Quotes, escapes and comments are those of Java's StreamTokenizer, which Kafka reads it with.

use std::iter::Peekable;
use std::str::Chars;

use kbo_core::secret::Secret;

/// The first login module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Jaas {
    /// Its class.
    pub(super) module: String,
    /// Its options; any of them may be a secret.
    pub(super) options: Vec<(String, Secret)>,
}

impl Jaas {
    /// The value of an option.
    pub(super) fn option(&self, name: &str) -> Option<&Secret> {
        let found = self.options.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| value)
    }
}

enum Token {
    Word(String),
    Equals,
    End,
}

/// Reads it. The error says what is wrong and shows nothing of it.
pub(super) fn parse(text: &str) -> Result<Jaas, &'static str> {
    let mut chars = text.chars().peekable();
    let Some(Token::Word(module)) = token(&mut chars)? else {
        return Err("it does not begin with a login module");
    };
    match token(&mut chars)? {
        Some(Token::Word(flag))
            if ["required", "requisite", "sufficient", "optional"]
                .iter()
                .any(|known| flag.eq_ignore_ascii_case(known)) => {}
        _ => return Err("after the login module comes no `required`"),
    }
    let mut options = Vec::new();
    loop {
        match token(&mut chars)? {
            Some(Token::End) => return Ok(Jaas { module, options }),
            Some(Token::Word(key)) => {
                let Some(Token::Equals) = token(&mut chars)? else {
                    return Err("an option has no value");
                };
                let Some(Token::Word(value)) = token(&mut chars)? else {
                    return Err("an option has no value");
                };
                options.push((key, Secret::new(value)));
            }
            Some(Token::Equals) => return Err("an option has no name"),
            None => return Err("it does not end in a semicolon"),
        }
    }
}

fn token(chars: &mut Peekable<Chars<'_>>) -> Result<Option<Token>, &'static str> {
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let mut ahead = chars.clone();
        match (ahead.next(), ahead.next()) {
            (Some('/'), Some('/')) => while chars.next_if(|c| !matches!(c, '\n' | '\r')).is_some() {},
            (Some('/'), Some('*')) => {
                *chars = ahead;
                let mut last = ' ';
                loop {
                    match chars.next() {
                        Some('/') if last == '*' => break,
                        Some(c) => last = c,
                        None => return Err("a comment does not end"),
                    }
                }
            }
            _ => break,
        }
    }
    match chars.next() {
        None => Ok(None),
        Some('=') => Ok(Some(Token::Equals)),
        Some(';') => Ok(Some(Token::End)),
        Some(quote @ ('"' | '\'')) => quoted(chars, quote).map(|text| Some(Token::Word(text))),
        Some(first) => {
            let mut word = String::from(first);
            while let Some(c) = chars.next_if(|c| !c.is_whitespace() && !matches!(c, '=' | ';' | '"' | '\'')) {
                word.push(c);
            }
            Ok(Some(Token::Word(word)))
        }
    }
}

fn quoted(chars: &mut Peekable<Chars<'_>>, quote: char) -> Result<String, &'static str> {
    let mut text = String::new();
    loop {
        match chars.next() {
            None | Some('\n' | '\r') => return Err("a quoted text does not end"),
            Some(c) if c == quote => return Ok(text),
            Some('\\') => text.push(escaped(chars)?),
            Some(c) => text.push(c),
        }
    }
}

/// What follows a backslash: C's letters, up to three octal digits, or the character itself.
fn escaped(chars: &mut Peekable<Chars<'_>>) -> Result<char, &'static str> {
    let Some(first) = chars.next() else {
        return Err("a quoted text does not end");
    };
    Ok(match first {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        '0'..='7' => {
            let most = if first <= '3' { 3 } else { 2 };
            let mut value = first.to_digit(8).unwrap_or(0);
            for _ in 1..most {
                let Some(digit) = chars.next_if(|c| c.is_digit(8)) else {
                    break;
                };
                value = value * 8 + digit.to_digit(8).unwrap_or(0);
            }
            char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn options(text: &str) -> Vec<(String, String)> {
        let jaas = parse(text).unwrap();
        let shown = |(key, value): &(String, Secret)| (key.clone(), value.expose().to_owned());
        jaas.options.iter().map(shown).collect()
    }

    #[test]
    fn the_usual_forms_are_read() {
        let jaas = parse(
            "org.apache.kafka.common.security.plain.PlainLoginModule required\n  username=\"admin\" password='it\"s' \
             user_alice=\"a\" serviceName=kafka-x;",
        )
        .unwrap();
        assert!(jaas.module.ends_with(".PlainLoginModule"));
        assert_eq!(jaas.option("username").unwrap().expose(), "admin");
        assert_eq!(jaas.option("password").unwrap().expose(), "it\"s");
        assert_eq!(jaas.option("serviceName").unwrap().expose(), "kafka-x");
        assert_eq!(jaas.option("user_bob"), None);
    }

    #[test]
    fn escapes_are_those_of_java() {
        assert_eq!(
            options(r#"m Required a="a\"b\\c\t\101\0\477" b = 'x;y=z' ;"#),
            [
                ("a".to_owned(), "a\"b\\c\tA\0\u{27}7".to_owned()),
                ("b".to_owned(), "x;y=z".to_owned())
            ]
        );
    }

    #[test]
    fn comments_are_passed_over() {
        assert_eq!(
            options("/* who */ m required // how\n a=\"/*x*/\" /**/;"),
            [("a".to_owned(), "/*x*/".to_owned())]
        );
    }

    #[test]
    fn what_is_wrong_is_said_without_showing_it() {
        for (text, expected) in [
            ("", "begin with a login module"),
            ("m password=\"hunter2\";", "no `required`"),
            ("m required password=\"hunter2\"", "semicolon"),
            ("m required password=\"hunter2", "does not end"),
            ("m required password;", "no value"),
            ("m required =\"hunter2\";", "no name"),
            ("m required /* hunter2", "comment"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(
                error.contains(expected) && !error.contains("hunter2"),
                "{text}: {error}"
            );
        }
        assert!(!format!("{:?}", parse("m required password=\"hunter2\";")).contains("hunter2"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(?s)(m required )?(\\PC|[\"'\\\\=;/* \n0-9]){0,80}") {
            drop(parse(&text));
        }

        #[test]
        fn quoted_values_come_back(values in proptest::collection::vec("[^\n\r]{0,20}", 0..5), quote in "[\"']") {
            let escaped = |value: &str| value.replace('\\', "\\\\").replace(&quote, &format!("\\{quote}"));
            let pairs: Vec<String> = values.iter().enumerate()
                .map(|(n, value)| format!("k{n}={quote}{}{quote}", escaped(value)))
                .collect();
            let read = options(&format!("m required {};", pairs.join(" ")));
            prop_assert_eq!(read.into_iter().map(|(_, value)| value).collect::<Vec<_>>(), values);
        }
    }
}
