//! How a page is laid out: the state on top, a title, what is to be chosen or typed, and the keys.

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::header::{Seen, Tone};

/// The rows of a terminal, shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shares {
    /// For the state, the empty row below it not counted.
    pub(super) head: usize,
    /// Whether an empty row fits between state and title.
    pub(super) gap: bool,
    /// Whether there is a row for the title.
    pub(super) title: bool,
    /// For the list or the field.
    pub(super) body: usize,
    /// Whether there is a row for the keys.
    pub(super) foot: bool,
}

/// Shares out `height` rows: the body gets its least first, then one row of state, then the title, then the keys, then the rest.
pub(super) fn shares(height: usize, head: usize, body: usize) -> Shares {
    const LEAST: usize = 4;
    let mut left = height;
    let mut take = |wanted: usize| {
        let taken = wanted.min(left);
        left -= taken;
        taken
    };
    let mut body_gets = take(body.min(1));
    let mut head_gets = take(head.min(1));
    let title = take(1) == 1;
    body_gets += take(body.min(LEAST) - body.min(1));
    let foot = take(1) == 1;
    let gap = take(1) == 1;
    // What is on top may have up to half of what is left while the list still wants it, and all that it does not want.
    let wanted = body - body_gets;
    let half = left / 2;
    let more = (head - head_gets).min(half.max(left.saturating_sub(wanted)));
    left -= more;
    head_gets += more;
    body_gets += wanted.min(left);
    Shares {
        head: head_gets,
        gap,
        title,
        body: body_gets,
        foot,
    }
}

/// Draws all but the body; gives the body's place and how many rows it has.
pub(super) fn frame(frame: &mut Frame<'_>, seen: &Seen, title: &str, keys: &str, body: usize) -> Rect {
    let area = frame.area();
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let head = seen.lines(Timestamp::now());
    let shares = shares(height, head.len(), body);
    let mut y = 0;
    let mut row = |frame: &mut Frame<'_>, text: &str, style: Style| {
        let place = Rect::new(0, y, area.width, 1).intersection(area);
        frame.render_widget(Paragraph::new(Line::styled(cut(text, width), style)), place);
        y += 1;
    };
    for (tone, text) in head.iter().take(shares.head) {
        row(frame, text, style(*tone));
    }
    if shares.gap {
        row(frame, "", Style::default());
    }
    if shares.title {
        row(frame, title, Style::default().add_modifier(Modifier::BOLD));
    }
    let body = Rect::new(0, y, area.width, u16::try_from(shares.body).unwrap_or(u16::MAX)).intersection(area);
    if shares.foot {
        let last = Rect::new(0, area.height.saturating_sub(1), area.width, 1).intersection(area);
        frame.render_widget(Paragraph::new(Line::styled(cut(keys, width), style(Tone::Faint))), last);
    }
    body
}

/// How a tone looks. Every one is told by its words, too.
pub(super) fn style(tone: Tone) -> Style {
    // crossterm heeds NO_COLOR, but resets colours all the same: none are set at all.
    let colour = |colour| match std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        true => Style::default(),
        false => Style::default().fg(colour),
    };
    match tone {
        Tone::Plain => Style::default(),
        Tone::Good => colour(Color::Green),
        Tone::Warning => colour(Color::Yellow),
        Tone::Bad => colour(Color::Red).add_modifier(Modifier::BOLD),
        Tone::Faint => Style::default().add_modifier(Modifier::DIM),
    }
}

/// As much of a line as fits, and a sign that there is more. What would move the cursor is left out.
pub(super) fn cut(text: &str, width: usize) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if Line::raw(text.as_str()).width() <= width {
        return text;
    }
    let mut short = String::new();
    for c in text.chars() {
        let longer = format!("{short}{c}");
        if Line::raw(longer.as_str()).width() + 1 > width {
            break;
        }
        short = longer;
    }
    if width > 0 { short + "…" } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_to_what_matters_most() {
        for height in 0..60 {
            for (head, body) in [(1, 1), (1, 8), (9, 8), (30, 41), (0, 0), (3, 100)] {
                let shares = shares(height, head, body);
                let all = shares.head
                    + shares.body
                    + usize::from(shares.gap)
                    + usize::from(shares.title)
                    + usize::from(shares.foot);
                assert!(all <= height, "{height} {head} {body}: {shares:?}");
                assert!(shares.head <= head && shares.body <= body, "{shares:?}");
                if height >= 5 && head > 0 && body >= 2 {
                    assert!(
                        shares.head >= 1 && shares.body >= 2 && shares.title,
                        "{height}: {shares:?}"
                    );
                }
            }
        }
        let all = shares(24, 4, 8);
        assert_eq!((all.head, all.body, all.foot, all.gap), (4, 8, true, true));
    }

    #[test]
    fn lines_are_cut_where_the_terminal_ends() {
        assert_eq!(cut("state", 5), "state");
        assert_eq!(cut("states", 5), "stat…");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("a\x1b[2Jb\n", 20), "a [2Jb ");
        assert_eq!(cut("x", 0), "");
    }
}
