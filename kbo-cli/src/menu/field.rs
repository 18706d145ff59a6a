//! A line to be typed.

use ratatui::layout::{Position, Rect};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::header::Seen;
use super::page;
use super::screen::{Gone, Key, Screen};

/// A line being typed, and where in it.
#[derive(Debug, Clone, Default)]
struct Typed {
    chars: Vec<char>,
    at: usize,
}

impl Typed {
    fn new(initial: &str) -> Self {
        let chars: Vec<char> = initial.chars().collect();
        Self { at: chars.len(), chars }
    }

    fn press(&mut self, key: Key) {
        match key {
            Key::Char(c) if !c.is_control() => {
                self.chars.insert(self.at, c);
                self.at += 1;
            }
            Key::Backspace if self.at > 0 => {
                self.at -= 1;
                self.chars.remove(self.at);
            }
            Key::Delete if self.at < self.chars.len() => drop(self.chars.remove(self.at)),
            Key::Left => self.at = self.at.saturating_sub(1),
            Key::Right => self.at = (self.at + 1).min(self.chars.len()),
            Key::Home => self.at = 0,
            Key::End => self.at = self.chars.len(),
            Key::Clear => *self = Self::default(),
            _ => {}
        }
    }

    fn text(&self) -> String {
        self.chars.iter().collect()
    }

    /// What of it is shown in `width` columns, and the column of the cursor: the end of a long line, the cursor in sight.
    fn window(&self, width: usize, hidden: bool) -> (String, usize) {
        let shown: Vec<char> = match hidden {
            true => vec!['*'; self.chars.len()],
            false => self.chars.clone(),
        };
        let columns = |chars: &[char]| Line::raw(chars.iter().collect::<String>()).width();
        let mut from = 0;
        while from < self.at && columns(&shown[from..self.at]) + 1 > width {
            from += 1;
        }
        (shown[from..].iter().collect(), columns(&shown[from..self.at]))
    }
}

/// What is typed; none where one goes back instead.
pub(super) fn ask(
    screen: &mut Screen,
    label: &str,
    initial: &str,
    hidden: bool,
    mut seen: impl FnMut() -> Seen,
) -> Result<Option<String>, Gone> {
    let mut typed = Typed::new(initial);
    loop {
        let seen = seen();
        screen.draw(|frame| {
            let keys = "Enter go on  Ctrl-U clear  Esc back  Ctrl-C quit";
            let body = page::frame(frame, &seen, label, keys, 1);
            let width = usize::from(body.width).saturating_sub(2);
            let (text, column) = typed.window(width, hidden);
            let line = Rect {
                height: body.height.min(1),
                ..body
            };
            frame.render_widget(Paragraph::new(Line::raw(format!("> {text}"))), line);
            let x = body.x
                + u16::try_from(column + 2)
                    .unwrap_or(u16::MAX)
                    .min(body.width.saturating_sub(1));
            frame.set_cursor_position(Position::new(x, body.y));
        })?;
        match screen.key()? {
            Some(Key::Enter) => return Ok(Some(typed.text())),
            Some(Key::Back) => return Ok(None),
            Some(key) => typed.press(key),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_edited_in_the_middle_too() {
        let mut typed = Typed::new("kbo.toml");
        for key in [
            Key::Home,
            Key::Char('x'),
            Key::End,
            Key::Backspace,
            Key::Left,
            Key::Delete,
        ] {
            typed.press(key);
        }
        assert_eq!(typed.text(), "xkbo.to");
        typed.press(Key::Clear);
        typed.press(Key::Backspace);
        typed.press(Key::Char('é'));
        assert_eq!(typed.text(), "é");
    }

    #[test]
    fn the_cursor_stays_in_sight_and_a_secret_is_not_shown() {
        let typed = Typed::new("0123456789");
        assert_eq!(typed.window(20, false), ("0123456789".to_owned(), 10));
        assert_eq!(typed.window(5, false), ("6789".to_owned(), 4));
        assert_eq!(typed.window(20, true), ("**********".to_owned(), 10));
        assert_eq!(Typed::new("日本").window(20, false).1, 4);
        let _ = typed.window(0, false);
    }
}
