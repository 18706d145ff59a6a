//! A manual page for each command that is not hidden.

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use kbo_core::report::Outcome;

use super::{File, Trouble};

pub(super) fn pages(tree: &Command) -> Result<Vec<File>, Trouble> {
    let mut pages = vec![];
    collect(tree, tree, &mut pages)?;
    Ok(pages)
}

fn collect(command: &Command, root: &Command, pages: &mut Vec<File>) -> Result<(), Trouble> {
    pages.push(page(command, root)?);
    for inner in visible(command) {
        collect(inner, root, pages)?;
    }
    Ok(())
}

/// The commands below this one that are shown to people.
pub(super) fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|inner| !inner.is_hide_set())
}

fn page(command: &Command, root: &Command) -> Result<File, Trouble> {
    let version = root.get_version().unwrap_or_default();
    let man = Man::new(command.clone())
        .source(format!("kbo {version}"))
        .manual("kbo manual");
    let name = man.get_filename();
    let mut bytes = vec![];
    let is_root = std::ptr::eq(command, root);
    man.render(&mut bytes)
        .and_then(|()| {
            if is_root {
                Ok(())
            } else {
                see_also(root).to_writer(&mut bytes)
            }
        })
        .map_err(|error| Trouble::new(Outcome::Failed, format!("cannot make {name}: {error}")))?;
    Ok((name, String::from_utf8_lossy(&bytes).into_owned()))
}

/// What holds for every command stands on kbo's own page.
fn see_also(root: &Command) -> Roff {
    let mut roff = Roff::default();
    if let Some(codes) = root.get_after_help() {
        roff.control("SH", ["EXIT STATUS"]);
        roff.text([roman(codes.to_string())]);
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman("kbo(1)")]);
    roff
}

#[cfg(test)]
mod tests {
    use super::super::tree;
    use super::*;

    #[test]
    fn every_command_that_is_shown_has_its_page_and_hidden_ones_have_none() {
        let pages = pages(&tree()).unwrap();
        let text = |name: &str| {
            pages
                .iter()
                .find(|(page, _)| page == name)
                .map(|(_, text)| text.as_str())
        };
        assert!(text("kbo.1").unwrap().contains("kbo\\-backup(1)"));
        let restore = text("kbo-restore.1").unwrap();
        assert!(
            restore.contains("keep\\-previous") && restore.contains("EXIT STATUS"),
            "{restore}"
        );
        assert!(text("kbo-agent.1").is_none() && text("kbo-generate.1").is_none());
    }
}
