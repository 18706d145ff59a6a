//! What nodes keep of earlier restores: nobody is to be surprised by it, and a second restore says what becomes of it.

use super::{Judge, Purpose};
use crate::kept::Kept;

impl Judge<'_> {
    pub(super) fn kept(&mut self) {
        let facts = self.input.facts.iter();
        let facts = facts.filter_map(|(name, facts)| Some((name, facts.as_ref().ok()?)));
        for kept in Kept::of(facts) {
            let until = match kept.until_ready {
                true => "is kept until all of these nodes were ready on what took its place",
                false => "is kept, as it was asked for",
            };
            let text = format!("{kept} {until}");
            let hint = kept.commands();
            match self.input.purpose {
                Purpose::Restore { .. } => self.warn(
                    None,
                    format!("{text}; it stays, beside what this restore replaces"),
                    Some(hint),
                ),
                _ => self.note(None, format!("{text} ({hint})")),
            }
        }
    }
}
