//! A list to choose from: one of it, or several.

use std::collections::BTreeSet;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::header::Seen;
use super::page;
use super::screen::{Gone, Key, Screen};

/// What is to be chosen from.
#[derive(Debug, Clone, Default)]
pub(super) struct List {
    /// What it is.
    pub(super) title: String,
    /// The columns' names, above the rows.
    pub(super) head: Option<String>,
    /// The rows.
    pub(super) rows: Vec<String>,
    /// What Esc does here.
    pub(super) back: &'static str,
    /// A sentence about what happened before.
    pub(super) note: Option<String>,
}

/// What was done with a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Chosen {
    /// A row.
    Row(usize),
    /// Nothing: back.
    Back,
    /// Look at the cluster again.
    Refresh,
}

/// Where one is in a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// The row under the bar.
    pub(super) at: usize,
    /// The first row shown.
    top: usize,
    /// The rows that are marked, where several may be.
    marked: BTreeSet<usize>,
}

impl Place {
    pub(super) fn at(at: usize) -> Self {
        Self { at, ..Self::default() }
    }

    /// Goes where a key leads.
    fn go(&mut self, key: Key, rows: usize, page: usize) {
        let last = rows.saturating_sub(1);
        self.at = match key {
            // Round, as most menus go.
            Key::Up | Key::Char('k') if self.at == 0 => last,
            Key::Up | Key::Char('k') => self.at - 1,
            Key::Down | Key::Char('j') if self.at >= last => 0,
            Key::Down | Key::Char('j') => self.at + 1,
            Key::PageUp => self.at.saturating_sub(page.max(1)),
            Key::PageDown => (self.at + page.max(1)).min(last),
            Key::Home | Key::Char('g') => 0,
            Key::End | Key::Char('G') => last,
            Key::Char(digit @ '1'..='9') => {
                let number = usize::from(digit as u8 - b'1');
                if number <= last { number } else { self.at }
            }
            _ => self.at,
        };
    }

    /// Scrolls as little as needed for the bar to be seen.
    fn scroll(&mut self, rows: usize, page: usize) {
        let page = page.max(1);
        self.at = self.at.min(rows.saturating_sub(1));
        self.top = self.top.min(self.at).max((self.at + 1).saturating_sub(page));
        self.top = self.top.min(rows.saturating_sub(page));
    }
}

/// Lets one row be chosen. The bar begins at, and `place` remembers, where it was.
pub(super) fn choose(
    screen: &mut Screen,
    list: &List,
    place: &mut Place,
    mut seen: impl FnMut() -> Seen,
) -> Result<Chosen, Gone> {
    loop {
        let keys = format!("↑↓ move  Enter choose  r look again  Esc {}  Ctrl-C quit", list.back);
        let page = shown(screen, list, place, &seen(), &keys, false)?;
        match screen.key()? {
            Some(Key::Enter | Key::Right) if !list.rows.is_empty() => return Ok(Chosen::Row(place.at)),
            Some(Key::Back | Key::Left | Key::Char('q')) => return Ok(Chosen::Back),
            Some(Key::Char('r')) => return Ok(Chosen::Refresh),
            Some(key) => place.go(key, list.rows.len(), page),
            None => {}
        }
    }
}

/// Lets several rows be marked; none is marked to begin with, and at least one has to be.
pub(super) fn choose_several(
    screen: &mut Screen,
    list: &mut List,
    mut seen: impl FnMut() -> Seen,
) -> Result<Option<BTreeSet<usize>>, Gone> {
    let mut place = Place::default();
    loop {
        let keys = format!(
            "↑↓ move  Space mark  a all  Enter go on  Esc {}  Ctrl-C quit",
            list.back
        );
        let page = shown(screen, list, &mut place, &seen(), &keys, true)?;
        match screen.key()? {
            Some(Key::Enter) if place.marked.is_empty() => {
                list.note = Some("mark nodes with Space first".to_owned());
            }
            Some(Key::Enter) => return Ok(Some(place.marked)),
            Some(Key::Back | Key::Left | Key::Char('q')) => return Ok(None),
            Some(Key::Char(' ')) => {
                list.note = None;
                if !place.marked.remove(&place.at) {
                    place.marked.insert(place.at);
                }
            }
            Some(Key::Char('a')) => {
                place.marked = match place.marked.len() == list.rows.len() {
                    true => BTreeSet::new(),
                    false => (0..list.rows.len()).collect(),
                };
            }
            Some(key) => place.go(key, list.rows.len(), page),
            None => {}
        }
    }
}

/// Draws; gives how many rows fit.
fn shown(
    screen: &mut Screen,
    list: &List,
    place: &mut Place,
    seen: &Seen,
    keys: &str,
    several: bool,
) -> Result<usize, Gone> {
    let mut page = 1;
    screen.draw(|frame| page = draw(frame, list, place, seen, keys, several))?;
    Ok(page)
}

fn draw(frame: &mut Frame<'_>, list: &List, place: &mut Place, seen: &Seen, keys: &str, several: bool) -> usize {
    let above = usize::from(list.head.is_some());
    let wanted = list.rows.len().max(1) + above;
    let title = match &list.note {
        Some(note) => format!("{}: {note}", list.title),
        None => list.title.clone(),
    };
    // Whether rows are hidden is known once the page is laid out; it is told on the title's row.
    let height = usize::from(frame.area().height);
    let head = seen.lines(jiff::Timestamp::now()).len();
    let fits = page::shares(height, head, wanted).body.saturating_sub(above);
    let title = match list.rows.len() > fits {
        true => format!("{title}  ({} of {})", place.at + 1, list.rows.len()),
        false => title,
    };
    let body = page::frame(frame, seen, &title, keys, wanted);
    let width = usize::from(body.width);
    let mut lines: Vec<(String, Style)> = vec![];
    // With a single row left, it is for what is chosen.
    let above = above.min(usize::from(body.height).saturating_sub(1));
    if above == 1 {
        let head = list.head.as_deref().unwrap_or_default();
        lines.push((format!("  {head}"), page::style(super::header::Tone::Faint)));
    }
    let rows = usize::from(body.height).saturating_sub(above);
    place.scroll(list.rows.len(), rows);
    for (number, row) in list.rows.iter().enumerate().skip(place.top).take(rows) {
        let bar = if number == place.at { ">" } else { " " };
        let mark = match (several, place.marked.contains(&number)) {
            (false, _) => "",
            (true, true) => "[x] ",
            (true, false) => "[ ] ",
        };
        let style = match number == place.at {
            true => Style::default().add_modifier(Modifier::REVERSED),
            false => Style::default(),
        };
        lines.push((format!("{bar} {mark}{row}"), style));
    }
    if list.rows.is_empty() {
        lines.push(("  nothing here".to_owned(), Style::default()));
    }
    for (y, (text, style)) in (body.y..).zip(lines) {
        let place = Rect::new(0, y, body.width, 1).intersection(body);
        frame.render_widget(Paragraph::new(Line::styled(page::cut(&text, width), style)), place);
    }
    rows
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn list(rows: usize) -> List {
        List {
            title: "Title".to_owned(),
            rows: (1..=rows).map(|number| format!("row {number}")).collect(),
            back: "back",
            ..List::default()
        }
    }

    /// What is to be seen on a terminal of this size, a line each.
    fn drawn(list: &List, place: &mut Place, size: (u16, u16)) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
        terminal
            .draw(|frame| _ = draw(frame, list, place, &Seen::default(), "keys", false))
            .unwrap();
        let buffer = terminal.backend().buffer();
        let cells = buffer.content().chunks(usize::from(size.0).max(1));
        cells
            .map(|row| {
                row.iter()
                    .map(ratatui::buffer::Cell::symbol)
                    .collect::<String>()
                    .trim_end()
                    .to_owned()
            })
            .collect()
    }

    #[test]
    fn a_list_longer_than_the_terminal_scrolls_and_says_where_one_is() {
        let list = list(40);
        let mut place = Place::default();
        let first = drawn(&list, &mut place, (40, 10));
        assert!(first.contains(&"> row 1".to_owned()), "{first:?}");
        assert!(first.iter().any(|line| line.contains("(1 of 40)")), "{first:?}");
        for _ in 0..39 {
            place.go(Key::Down, 40, 5);
            let now = drawn(&list, &mut place, (40, 10));
            assert!(now.contains(&format!("> row {}", place.at + 1)), "{now:?}");
        }
        assert_eq!(place.at, 39);
        place.go(Key::Down, 40, 5);
        assert_eq!(place.at, 0, "round");
        place.go(Key::Up, 40, 5);
        assert_eq!(place.at, 39);
        for (key, at) in [
            (Key::PageUp, 34),
            (Key::Home, 0),
            (Key::PageDown, 5),
            (Key::End, 39),
            (Key::Char('3'), 2),
        ] {
            place.go(key, 40, 5);
            assert_eq!(place.at, at, "{key:?}");
        }
    }

    #[test]
    fn the_chosen_row_is_seen_on_any_terminal_that_has_a_row() {
        for height in 1..12 {
            for width in [1, 2, 20, 300] {
                let mut place = Place::at(7);
                let seen = drawn(&list(9), &mut place, (width, height));
                assert!(
                    seen.iter().any(|line| line.starts_with('>') || width < 2),
                    "{height}x{width}: {seen:?}"
                );
            }
        }
    }

    #[test]
    fn a_list_that_got_shorter_keeps_the_bar_inside() {
        let mut place = Place::at(30);
        let seen = drawn(&list(2), &mut place, (20, 8));
        assert_eq!(place.at, 1);
        assert!(seen.contains(&"> row 2".to_owned()), "{seen:?}");
        let seen = drawn(&list(0), &mut place, (20, 8));
        assert!(seen.contains(&"  nothing here".to_owned()), "{seen:?}");
    }
}
