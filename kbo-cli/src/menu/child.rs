//! The commands of the menu: kbo itself, on the same terminal, so that the menu has no code of its own for what they do.

use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::screen::{Gone, Key, Screen};
use super::words;
use crate::output;

/// Runs `kbo` with these words and waits for its end. Ctrl-C is for the command, which undoes; the menu stays.
pub(super) fn run(screen: &mut Screen, inherited: &[String], words: &[String]) -> Result<ExitStatus, Gone> {
    let line: Vec<String> = inherited.iter().chain(words).cloned().collect();
    screen.leave();
    announce(inherited, words);
    let mut child = Command::new(std::env::current_exe()?).args(&line).spawn()?;
    let signal = |child: &Child, signal| {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        pid.map(|pid| kill_process(pid, signal));
    };
    if screen.take_interruption() {
        // It came while the command was being started, which may not have heard of it.
        signal(&child, Signal::INT);
    }
    let mut told = false;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if screen.is_terminated() && !told {
            told = true;
            signal(&child, Signal::TERM);
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    screen.leave();
    screen.take_interruption();
    screen.is_asked_to_go()?;
    Ok(status)
}

/// The line that one would type for it.
pub(super) fn announce(inherited: &[String], words: &[String]) {
    let line: Vec<String> = inherited.iter().chain(words).cloned().collect();
    output::line(&format!("$ {}", words::shown(&line)));
}

/// How it ended, in words.
pub(super) fn outcome(status: ExitStatus) -> String {
    let told = match status.code() {
        Some(0) => "done",
        Some(1) => "failed; the lines above say of what",
        Some(2) => "wrong usage or configuration; nothing was touched",
        Some(3) => "refused; nothing was touched",
        Some(4) => "FAILED, AND THE CLUSTER NEEDS A PERSON: see Cluster, Status, then Cluster, Recover",
        Some(5) => "damage was found in a backup",
        Some(6) => "another run holds the lock; nothing was touched",
        Some(7) => "done, with something to look at; the lines above say what",
        Some(130) => "interrupted",
        Some(code) => return format!("ended with exit code {code}"),
        None => return format!("ended by {status}"),
    };
    format!("{told} (exit code {})", status.code().unwrap_or_default())
}

/// Lets the output be read.
pub(super) fn wait_for_enter(screen: &Screen, text: &str) -> Result<(), Gone> {
    let waited = screen.outside(&format!("\r\n-- {text}. Enter returns to the menu "), |screen| {
        while !matches!(screen.next_key()?, Key::Enter | Key::Back | Key::Char('q')) {}
        Ok(())
    });
    output::line("");
    waited
}

/// Asks; anything but yes is no.
pub(super) fn agrees(screen: &Screen, question: &str) -> Result<bool, Gone> {
    let answer = screen.outside(&format!("\r\n{question} [y/N] "), |screen| {
        let mut typed = String::new();
        loop {
            match screen.next_key()? {
                Key::Enter => return Ok(matches!(typed.as_str(), "y" | "Y" | "yes")),
                Key::Back => return Ok(false),
                Key::Char(c) => {
                    typed.push(c);
                    output::part(&c.to_string());
                }
                Key::Backspace if typed.pop().is_some() => output::part("\u{8} \u{8}"),
                _ => {}
            }
        }
    });
    output::line("");
    answer
}
