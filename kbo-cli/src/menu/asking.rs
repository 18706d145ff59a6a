//! What an entry asks for, question by question; Esc goes back to the one before.

use jiff::Timestamp;
use kbo_core::inventory::Dataset;
use kbo_core::ports::store::Listed;

use super::entries::{Ask, Entry, Text, Which};
use super::header::{Seen, StoreSeen};
use super::list::{Chosen, List, Place, choose, choose_several};
use super::screen::Gone;
use super::words::Answer;
use super::{Menu, field, rows};

/// What came of an entry's questions.
pub(super) enum Asked {
    /// An answer to each.
    Answers(Vec<Answer>),
    /// Back before the first.
    Back,
    /// There is nothing to choose from.
    Impossible(String),
}

/// What came of one question.
enum One {
    Answer(Answer),
    /// It answers itself.
    Settled(Answer),
    Back,
    Impossible(String),
}

/// Asks.
pub(super) fn answers(menu: &mut Menu<'_>, entry: &Entry) -> Result<Asked, Gone> {
    let mut answers: Vec<Answer> = vec![];
    // The questions that a person has answered: those one can go back to.
    let mut answered = vec![];
    let mut backup: Option<Listed> = None;
    while let Some(ask) = entry.asks.get(answers.len()) {
        let one = match ask {
            Ask::Backup(which) => one_backup(menu, entry, *which, &mut backup)?,
            Ask::Part => part(menu, entry, backup.as_ref())?,
            Ask::Nodes => nodes(menu, entry)?,
            Ask::Text(text) => typed(menu, entry, text, backup.as_ref())?,
            Ask::Choice(label, choices) => {
                let titles = choices.iter().map(|(title, _)| (*title).to_owned()).collect();
                match one_of(menu, format!("{}: {label}", entry.title), titles)? {
                    Some(row) => One::Answer(Answer::Words(choices[row].1)),
                    None => One::Back,
                }
            }
        };
        match one {
            One::Answer(answer) => {
                answered.push(answers.len());
                answers.push(answer);
            }
            One::Settled(answer) => answers.push(answer),
            One::Back => match answered.pop() {
                Some(before) => answers.truncate(before),
                None => return Ok(Asked::Back),
            },
            One::Impossible(why) => return Ok(Asked::Impossible(why)),
        }
    }
    Ok(Asked::Answers(answers))
}

/// One of a few rows.
fn one_of(menu: &mut Menu<'_>, title: String, rows: Vec<String>) -> Result<Option<usize>, Gone> {
    let list = List {
        title,
        rows,
        back: "back",
        ..List::default()
    };
    let mut place = Place::default();
    loop {
        let look = &menu.look;
        match choose(&mut menu.screen, &list, &mut place, || look.seen())? {
            Chosen::Row(row) => return Ok(Some(row)),
            Chosen::Back => return Ok(None),
            Chosen::Refresh => menu.refresh()?,
        }
    }
}

/// The backups of the cluster, as soon as the store has been read.
fn offered(seen: &Seen, which: Which) -> Option<Result<Vec<Listed>, String>> {
    match (&seen.store, seen.cluster()) {
        (StoreSeen::Asked, Some(_)) => None,
        (StoreSeen::Listed(listed), Some(cluster)) => {
            let wanted = |backup: &&Listed| which == Which::Any || backup.pinned;
            let ours = rows::of_cluster(listed, cluster);
            Some(Ok(ours.into_iter().filter(wanted).cloned().collect()))
        }
        (StoreSeen::Unknown(why), _) => Some(Err(format!("the store cannot be read: {why}"))),
        (_, None) => Some(Err("there is no configuration".to_owned())),
    }
}

fn one_backup(menu: &mut Menu<'_>, entry: &Entry, which: Which, chosen: &mut Option<Listed>) -> Result<One, Gone> {
    let mut place = Place::default();
    loop {
        let backups = match offered(&menu.seen(), which) {
            Some(Ok(backups)) if backups.is_empty() => {
                let none = match which {
                    Which::Any => "there is no backup yet",
                    Which::Pinned => "no backup is pinned",
                };
                return Ok(One::Impossible(none.to_owned()));
            }
            Some(Ok(backups)) => backups,
            Some(Err(why)) => return Ok(One::Impossible(why)),
            None => {
                // A tick later it may have been read.
                match waited(menu, &format!("{}: reading the store ...", entry.title))? {
                    true => continue,
                    false => return Ok(One::Back),
                }
            }
        };
        let now = Timestamp::now();
        let head = rows::HEAD.map(str::to_owned).to_vec();
        let table: Vec<Vec<String>> = std::iter::once(head)
            .chain(backups.iter().map(|backup| rows::row(backup, now)))
            .collect();
        let mut lines = rows::aligned(&table, &[3, 4, 5]).into_iter();
        let list = List {
            title: format!("{}: which backup?", entry.title),
            head: lines.next(),
            rows: lines.collect(),
            back: "back",
            note: None,
        };
        let look = &menu.look;
        match choose(&mut menu.screen, &list, &mut place, || look.seen())? {
            Chosen::Row(row) => {
                let backup = backups[row].clone();
                let word = backup.id.to_string();
                *chosen = Some(backup);
                return Ok(One::Answer(Answer::Word(word)));
            }
            Chosen::Back => return Ok(One::Back),
            Chosen::Refresh => menu.refresh()?,
        }
    }
}

/// A tick of waiting; whether to go on with it.
fn waited(menu: &mut Menu<'_>, title: &str) -> Result<bool, Gone> {
    let seen = menu.seen();
    menu.screen
        .draw(|frame| _ = super::page::frame(frame, &seen, title, "Esc back  Ctrl-C quit", 1))?;
    Ok(menu.screen.key()? != Some(super::screen::Key::Back))
}

fn part(menu: &mut Menu<'_>, entry: &Entry, backup: Option<&Listed>) -> Result<One, Gone> {
    let Some(backup) = backup else {
        return Ok(One::Settled(Answer::Nothing));
    };
    let datasets = backup.kind.datasets();
    if datasets.len() < 2 {
        return Ok(One::Settled(Answer::Nothing));
    }
    let only = |dataset: &Dataset| match dataset {
        Dataset::Config => ("The configuration only", Answer::Words(&["--only", "config"])),
        Dataset::Data => ("The data only", Answer::Words(&["--only", "data"])),
    };
    let mut choices = vec![("All of it: configuration and data", Answer::Nothing)];
    choices.extend(datasets.iter().map(only));
    let titles = choices.iter().map(|(title, _)| (*title).to_owned()).collect();
    let title = format!("{}: what of {}?", entry.title, backup.id);
    Ok(match one_of(menu, title, titles)? {
        Some(row) => One::Answer(choices.swap_remove(row).1),
        None => One::Back,
    })
}

fn nodes(menu: &mut Menu<'_>, entry: &Entry) -> Result<One, Gone> {
    let nodes = match &menu.config {
        Some(config) => config.cluster.start_order(),
        None => return Ok(One::Impossible("there is no configuration".to_owned())),
    };
    let names: Vec<String> = nodes.iter().map(|node| node.name.to_string()).collect();
    let table: Vec<Vec<String>> = nodes
        .iter()
        .map(|node| vec![node.name.to_string(), node.role.to_string()])
        .collect();
    loop {
        let all = format!("All {} nodes", names.len());
        match one_of(
            menu,
            format!("{}: which nodes?", entry.title),
            vec![all, "Some of them".to_owned()],
        )? {
            Some(0) => return Ok(One::Answer(Answer::Nothing)),
            Some(_) => {}
            None => return Ok(One::Back),
        }
        let mut list = List {
            title: format!("{}: which nodes?", entry.title),
            rows: rows::aligned(&table, &[]),
            back: "back",
            ..List::default()
        };
        let look = &menu.look;
        if let Some(marked) = choose_several(&mut menu.screen, &mut list, || look.seen())? {
            let chosen = marked.into_iter().map(|row| names[row].clone()).collect();
            return Ok(One::Answer(Answer::Several(chosen)));
        }
    }
}

fn typed(menu: &mut Menu<'_>, entry: &Entry, text: &Text, backup: Option<&Listed>) -> Result<One, Gone> {
    let backup = backup.map_or_else(String::new, |backup| backup.id.to_string());
    let mut line = text.initial.replace("{backup}", &backup);
    let mut label = format!("{}: {}", entry.title, text.label);
    loop {
        let look = &menu.look;
        let Some(typed) = field::ask(&mut menu.screen, &label, &line, false, || look.seen())? else {
            return Ok(One::Back);
        };
        match Answer::typed(text, &typed) {
            Answer::Nothing if !text.may_be_empty => {
                label = format!("{}: {}: it cannot be empty", entry.title, text.label);
                line = typed;
            }
            answer => return Ok(One::Answer(answer)),
        }
    }
}
