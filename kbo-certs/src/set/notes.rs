//! What is said of the files that was not used.

use jiff::Timestamp;

use super::{Note, Pool};
use crate::certificate::Parsed;
use crate::chain::Chain;

impl Pool {
    /// Says which leaves are not taken.
    pub(super) fn note_older(&mut self, taken: &Parsed, chain: &Chain, now: Timestamp) {
        let mut notes = vec![];
        for seen in self
            .certificates
            .iter()
            .filter(|seen| seen.what != *taken && chain.root.as_ref() != Some(&seen.what) && !seen.what.facts().is_ca)
        {
            let facts = seen.what.facts();
            let how = if seen.what.public_key() != taken.public_key() {
                "another certificate"
            } else if facts.not_before > now {
                "a certificate that is not valid yet"
            } else {
                "an older certificate"
            };
            let with = taken.facts();
            for file in &seen.files {
                let text = format!(
                    "has {how} (serial {}, until {}); {} is taken",
                    facts.serial, facts.not_after, with.serial
                );
                notes.push((file.clone(), text));
            }
        }
        for (file, text) in notes {
            self.note(&file, text);
        }
    }

    /// Says which authorities are no part of the chain.
    pub(super) fn note_aside(&mut self, leaf: &Parsed, chain: &Chain, roots: &[Parsed]) {
        let mut notes = vec![];
        for one in chain
            .aside
            .iter()
            .filter(|one| one.facts().is_ca && *one != leaf && !roots.contains(one))
        {
            for seen in self.certificates.iter().filter(|seen| seen.what == *one) {
                for file in &seen.files {
                    notes.push((
                        file.clone(),
                        format!(
                            "has a certificate that is no part of the chain: {}",
                            one.facts().subject
                        ),
                    ));
                }
            }
        }
        for (file, text) in notes {
            self.note(&file, text);
        }
    }
}

pub(super) fn listed(files: &[String]) -> String {
    if files.is_empty() {
        "any file".to_owned()
    } else {
        files.join(", ")
    }
}

pub(super) fn noted(notes: &[Note]) -> String {
    notes
        .iter()
        .map(|note| format!("; {}: {}", note.file, note.text))
        .collect()
}
