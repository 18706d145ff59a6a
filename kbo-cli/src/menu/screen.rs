//! The terminal: taken for the menu, given back to commands, and always left as it was found.

use std::io::{self, Stdout, Write, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, MoveTo, Show};
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, poll, read};
use ratatui::crossterm::style::ResetColor;
use ratatui::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use ratatui::crossterm::{execute, queue};
use ratatui::layout::Rect;
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::output;

/// How often the screen is drawn anew while no key is pressed: for the nodes' answers.
const TICK: Duration = Duration::from_millis(150);

/// The menu is over.
#[derive(Debug)]
pub(super) enum Gone {
    /// By Ctrl-C, or by a signal.
    Interrupted,
    /// The terminal cannot be used any more.
    Broken(io::Error),
}

impl From<io::Error> for Gone {
    fn from(error: io::Error) -> Self {
        Gone::Broken(error)
    }
}

/// A key that means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Left,
    Right,
    Enter,
    Back,
    Backspace,
    Delete,
    /// The line typed so far is thrown away.
    Clear,
    Char(char),
}

/// The menu's own screen. Its size is fixed, and another one is made for another size: ratatui would ask the terminal where its cursor
/// is when the size changes, and not every terminal answers.
struct Drawn {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    size: (u16, u16),
}

/// What is on the terminal below the menu's own screen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Below {
    /// What was there before.
    Found,
    /// What a command has said.
    Used,
    /// Nothing: it was scrolled away.
    Blank,
}

/// The terminal, in the menu's hands or a command's.
pub(super) struct Screen {
    /// The menu's own screen, while it is shown.
    drawn: Option<Drawn>,
    below: Below,
    found: Termios,
    /// Set by the handler itself: it is known as soon as a wait for a command that the same Ctrl-C has ended is over.
    interrupted: Arc<AtomicBool>,
    terminated: Arc<AtomicBool>,
}

impl Screen {
    /// Takes the terminal.
    pub(super) fn open() -> Result<Self, Gone> {
        let found = tcgetattr(rustix::stdio::stdin()).map_err(io::Error::from)?;
        let flag = |signal| {
            let flag = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(signal, Arc::clone(&flag)).map(|_| flag)
        };
        let screen = Self {
            drawn: None,
            below: Below::Found,
            found,
            interrupted: flag(SIGINT)?,
            terminated: flag(SIGTERM)?,
        };
        let before = std::panic::take_hook();
        let found = screen.found.clone();
        std::panic::set_hook(Box::new(move |panic| {
            give_back(&found, true);
            before(panic);
        }));
        Ok(screen)
    }

    /// Draws; the menu's screen is shown from now on.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> Result<(), Gone> {
        let size = size()?;
        if self.drawn.is_none() {
            enable_raw_mode()?;
            if self.below == Below::Used {
                // Here and not when the next command begins: nobody is to take an old question for the new one.
                stdout().write_all(&scrolled_away(size.1))?;
                self.below = Below::Blank;
            }
            execute!(stdout(), EnterAlternateScreen, Hide)?;
        }
        let drawn = match self.drawn.take() {
            Some(drawn) if drawn.size == size => drawn,
            _ => {
                execute!(stdout(), Clear(ClearType::All))?;
                let viewport = Viewport::Fixed(Rect::new(0, 0, size.0, size.1));
                let backend = CrosstermBackend::new(stdout());
                let terminal = Terminal::with_options(backend, TerminalOptions { viewport })?;
                Drawn { terminal, size }
            }
        };
        self.drawn.insert(drawn).terminal.draw(draw)?;
        Ok(())
    }

    /// Gives the terminal to a command. What stood there before is scrolled away: only what the command says is to be seen.
    pub(super) fn hand_over(&mut self) {
        let rows = self.drawn.as_ref().map_or(0, |drawn| drawn.size.1);
        self.leave();
        if self.below == Below::Found {
            let _ = stdout().write_all(&scrolled_away(rows)).and_then(|()| stdout().flush());
        }
        self.below = Below::Used;
    }

    /// Gives the terminal back.
    pub(super) fn leave(&mut self) {
        give_back(&self.found, self.drawn.take().is_some());
    }

    /// The next key; none when it is time to draw anew.
    pub(super) fn key(&self) -> Result<Option<Key>, Gone> {
        self.is_asked_to_go()?;
        if !poll(TICK)? {
            // A signal ends the wait, too.
            self.is_asked_to_go()?;
            return Ok(None);
        }
        match read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => meaning(key),
            _ => Ok(None),
        }
    }

    /// Asks and reads keys while the menu's own screen is not shown: nothing is echoed, and what is written needs its own `\r`.
    ///
    /// What was typed before the question was there to be read is no answer; what is typed as soon as it is there is one.
    pub(super) fn outside<T>(
        &self,
        question: &str,
        read_keys: impl FnOnce(&Self) -> Result<T, Gone>,
    ) -> Result<T, Gone> {
        enable_raw_mode()?;
        let answer = self.forget_typed().and_then(|()| {
            output::part(question);
            read_keys(self)
        });
        disable_raw_mode()?;
        answer
    }

    /// The next key, waited for.
    pub(super) fn next_key(&self) -> Result<Key, Gone> {
        loop {
            if let Some(key) = self.key()? {
                return Ok(key);
            }
        }
    }

    fn forget_typed(&self) -> Result<(), Gone> {
        while poll(Duration::ZERO)? {
            if let Event::Key(key) = read()? {
                // But for Ctrl-C.
                meaning(key)?;
            }
        }
        self.is_asked_to_go()
    }

    /// Whether a signal came that was meant for the menu.
    pub(super) fn is_asked_to_go(&self) -> Result<(), Gone> {
        if self.interrupted.load(Ordering::SeqCst) || self.is_terminated() {
            return Err(Gone::Interrupted);
        }
        Ok(())
    }

    /// Whether SIGTERM came.
    pub(super) fn is_terminated(&self) -> bool {
        self.terminated.load(Ordering::SeqCst)
    }

    /// Whether there was an interruption, which was meant for a command and is forgotten.
    pub(super) fn take_interruption(&self) -> bool {
        self.interrupted.swap(false, Ordering::SeqCst)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.leave();
    }
}

/// What scrolls `rows` rows away and begins at the top.
fn scrolled_away(rows: u16) -> Vec<u8> {
    let mut bytes = vec![b'\n'; usize::from(rows)];
    let _ = queue!(bytes, MoveTo(0, 0));
    bytes
}

/// The terminal as it was found: its modes, its screen, its cursor, its colours.
fn give_back(found: &Termios, drawn: bool) {
    let _ = disable_raw_mode();
    if drawn {
        // Emptied, for some terminals keep lines of it that a change of size has pushed out.
        let _ = execute!(stdout(), Clear(ClearType::All), LeaveAlternateScreen);
    }
    let _ = execute!(stdout(), ResetColor, Show);
    // A command that was killed at a question may have left the echo off.
    let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, found);
}

fn meaning(key: KeyEvent) -> Result<Option<Key>, Gone> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Err(Gone::Interrupted),
            KeyCode::Char('d' | 'g') => Ok(Some(Key::Back)),
            KeyCode::Char('u') => Ok(Some(Key::Clear)),
            KeyCode::Char('h') => Ok(Some(Key::Backspace)),
            KeyCode::Char('p') => Ok(Some(Key::Up)),
            KeyCode::Char('n') => Ok(Some(Key::Down)),
            KeyCode::Char('j' | 'm') => Ok(Some(Key::Enter)),
            _ => Ok(None),
        };
    }
    Ok(match key.code {
        KeyCode::Up => Some(Key::Up),
        KeyCode::Down => Some(Key::Down),
        KeyCode::Left => Some(Key::Left),
        KeyCode::Right => Some(Key::Right),
        KeyCode::PageUp => Some(Key::PageUp),
        KeyCode::PageDown => Some(Key::PageDown),
        KeyCode::Home => Some(Key::Home),
        KeyCode::End => Some(Key::End),
        KeyCode::Enter => Some(Key::Enter),
        KeyCode::Esc => Some(Key::Back),
        KeyCode::Backspace => Some(Key::Backspace),
        KeyCode::Delete => Some(Key::Delete),
        KeyCode::Char(c) => Some(Key::Char(c)),
        _ => None,
    })
}
