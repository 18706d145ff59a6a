//! What nodes keep of earlier restores: nobody is to be surprised by it, and a second restore says what becomes of it.

use super::{Judge, Purpose};
use crate::kept::Kept;

impl Judge<'_> {
    pub(super) fn kept(&mut self) {
        let facts = self.input.facts.iter();
        let facts = facts.filter_map(|(name, facts)| Some((name, facts.as_ref().ok()?)));
        for kept in Kept::of(facts) {
            let until = match kept.until_ready {
                true => "until all of these nodes were ready on what took its place",
                false => "as it was asked for",
            };
            let text = format!("{kept} is kept since {:.0}, {until}", kept.since);
            let hint = kept.commands();
            match self.input.purpose {
                Purpose::Restore { .. } => {
                    let then = match kept.until_ready {
                        true => "it stays beside what this restore replaces, and goes once all of them were ready",
                        false => "it stays beside what this restore replaces",
                    };
                    self.warn(None, format!("{text}; {then}"), Some(hint));
                }
                _ => self.note(None, format!("{text} ({hint})")),
            }
        }
    }
}
