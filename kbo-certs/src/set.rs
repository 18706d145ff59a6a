//! A set: a private key, its certificate, and those that vouch for it, out of whatever files hold them.

mod notes;

use std::cmp::Reverse;

use jiff::Timestamp;
use kbo_core::secret::Secret;
use serde::Serialize;

use crate::certificate::{Parsed, is_certificate};
use crate::chain::{self, Chain};
use crate::key::{Key, KeyError};
use crate::pem;
use crate::store::Certificate;
use notes::{listed, noted};

/// A file of a set is never larger than this.
pub const MOST_BYTES: usize = 1 << 20;
/// Nor has a set more different certificates than these: each is compared with each.
const MOST_CERTIFICATES: usize = 64;
const MOST_KEYS: usize = 16;
const MOST_NOTES: usize = 100;

/// How a set is read.
#[derive(Debug, Clone)]
pub struct Options {
    /// What opens an encrypted private key.
    pub passphrase: Option<Secret>,
    /// Further authorities: they complete the chain, and are trusted besides its own root.
    pub roots: Vec<Certificate>,
    /// Of several leaves that fit, one that is valid at this time is taken.
    pub now: Timestamp,
}

/// A key, a leaf and a chain, each as far as the files have it: [`crate::check()`] says what is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WildcardSet {
    key: Option<Key>,
    chain: Chain,
    roots: Vec<Parsed>,
    notes: Vec<Note>,
}

/// Something that was seen in the files and not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The file.
    pub file: String,
    /// What is with it.
    pub text: String,
}

/// Why there is no set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// There is no certificate in any file.
    #[error("there is no certificate in {}{}", listed(.files), noted(.notes))]
    NoCertificate {
        /// The files that were read.
        files: Vec<String>,
        /// What was in them.
        notes: Vec<Note>,
    },
    /// The files hold certificates of authorities only.
    #[error("there is no leaf certificate in {}, only of authorities: {}{}", listed(.files), .subjects.join(", "), noted(.notes))]
    NoLeaf {
        /// The files that were read.
        files: Vec<String>,
        /// Whose certificates there are.
        subjects: Vec<String>,
        /// What else was in them.
        notes: Vec<Note>,
    },
    /// The files hold private keys, and none can be used.
    #[error("{file}")]
    Key {
        /// The file that has the key.
        file: String,
        /// Why it cannot.
        #[source]
        source: KeyError,
    },
    /// More than one private key has its certificate here.
    #[error("several private keys have a certificate of their own: {}; leave one pair in the folder", listed(.files))]
    Ambiguous {
        /// The files with the keys, and with their certificates.
        files: Vec<String>,
    },
    /// A file is larger than any of a set.
    #[error("{file} is larger than 1 MiB: that is no file of a set")]
    TooLarge {
        /// The file.
        file: String,
    },
    /// There is more in the files than any set has.
    #[error("the files hold more than {most} {what}: these are not the files of one set")]
    TooMany {
        /// Certificates, or private keys.
        what: &'static str,
        /// How many there may be.
        most: usize,
    },
    /// A certificate of [`Options::roots`] cannot be read.
    #[error("a further authority cannot be read")]
    Root(#[source] crate::certificate::NoCertificate),
    /// The folder does not have the files of one set.
    #[error(transparent)]
    Folder(#[from] crate::folder::FolderError),
}

/// Something with the files that hold it.
struct Seen<T> {
    what: T,
    files: Vec<String>,
}

#[derive(Default)]
struct Pool {
    keys: Vec<Seen<Key>>,
    failed: Vec<(String, KeyError)>,
    certificates: Vec<Seen<Parsed>>,
    files: Vec<String>,
    notes: Vec<Note>,
}

impl WildcardSet {
    /// Makes a set of files' contents. Names are for messages only: what a file holds decides.
    ///
    /// # Errors
    /// No certificate at all, keys of which none can be used, and more than one pair of key and certificate.
    pub fn from_files<N: Into<String>, B: AsRef<[u8]>>(
        files: impl IntoIterator<Item = (N, B)>,
        options: &Options,
    ) -> Result<Self, SetError> {
        let mut pool = Pool::default();
        for (name, bytes) in files {
            pool.read(name.into(), bytes.as_ref(), options)?;
        }
        pool.choose(options)
    }

    /// The private key.
    pub fn key(&self) -> Option<&Key> {
        self.key.as_ref()
    }

    /// The certificate.
    pub fn leaf(&self) -> &Parsed {
        &self.chain.served[0]
    }

    /// What a server shows: the leaf, then each issuer, without the root.
    pub fn served(&self) -> &[Parsed] {
        &self.chain.served
    }

    /// The root, where the set has it.
    pub fn root(&self) -> Option<&Parsed> {
        self.chain.root.as_ref()
    }

    /// What a truststore trusts: the root, or the topmost certificate where the files have none (for Java any trusted certificate
    /// ends a chain, a root or not); and the further authorities. Empty where the leaf is alone.
    pub fn anchors(&self) -> Vec<&Parsed> {
        let top = self
            .root()
            .or_else(|| self.chain.served.get(1..).and_then(<[Parsed]>::last));
        let mut anchors: Vec<&Parsed> = top.into_iter().collect();
        for root in &self.roots {
            if !anchors.contains(&root) {
                anchors.push(root);
            }
        }
        anchors
    }

    /// What was seen in the files and not used.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Adds a note, such as of a file that could not be read.
    pub(crate) fn note(&mut self, note: Note) {
        self.notes.push(note);
    }
}

impl Pool {
    fn read(&mut self, name: String, bytes: &[u8], options: &Options) -> Result<(), SetError> {
        if bytes.len() > MOST_BYTES {
            return Err(SetError::TooLarge { file: name });
        }
        self.files.push(name.clone());
        let found = pem::blocks(bytes);
        for broken in &found.broken {
            self.note(
                &name,
                format!(
                    "line {}: the block {} cannot be read: {}",
                    broken.line, broken.label, broken.why
                ),
            );
        }
        if found.whole.is_empty() && found.broken.is_empty() {
            return self.read_der(&name, bytes, options);
        }
        for block in &found.whole {
            let at = format!("line {}: ", block.line);
            if is_certificate(&block.label) {
                match Parsed::from_der(&block.data) {
                    Ok(parsed) => self.certificate(&name, parsed)?,
                    Err(error) => self.note(&name, format!("{at}{error}")),
                }
            } else if let Some(key) = Key::from_pem(block, options.passphrase.as_ref()) {
                self.key(&name, key)?;
            } else if block.label != "EC PARAMETERS" {
                self.note(&name, format!("{at}the block {} is none of a set", block.label));
            }
        }
        Ok(())
    }

    fn read_der(&mut self, name: &str, bytes: &[u8], options: &Options) -> Result<(), SetError> {
        if let Ok(parsed) = Parsed::from_der(bytes) {
            return self.certificate(name, parsed);
        }
        match Key::from_der(bytes, options.passphrase.as_ref()) {
            Some(key) => self.key(name, key),
            None => {
                self.note(
                    name,
                    "holds neither PEM nor a certificate or a private key in DER".to_owned(),
                );
                Ok(())
            }
        }
    }

    fn certificate(&mut self, file: &str, parsed: Parsed) -> Result<(), SetError> {
        let known = self.certificates.iter().position(|seen| seen.what == parsed);
        see(&mut self.certificates, known, file, parsed);
        limit(self.certificates.len(), MOST_CERTIFICATES, "certificates")
    }

    fn key(&mut self, file: &str, key: Result<Key, KeyError>) -> Result<(), SetError> {
        match key {
            Ok(key) => {
                let known = self.keys.iter().position(|seen| seen.what.public() == key.public());
                see(&mut self.keys, known, file, key);
            }
            Err(error) => self.failed.push((file.to_owned(), error)),
        }
        limit(self.keys.len() + self.failed.len(), MOST_KEYS, "private keys")
    }

    fn note(&mut self, file: &str, text: String) {
        if self.notes.len() < MOST_NOTES {
            self.notes.push(Note {
                file: file.to_owned(),
                text,
            });
        }
    }

    fn choose(mut self, options: &Options) -> Result<WildcardSet, SetError> {
        let roots: Vec<Parsed> = options
            .roots
            .iter()
            .map(|root| Parsed::from_der(&root.0).map_err(SetError::Root))
            .collect::<Result<_, _>>()?;
        if self.certificates.is_empty() {
            return Err(SetError::NoCertificate {
                files: self.files,
                notes: self.notes,
            });
        }
        if self.keys.is_empty() && !self.failed.is_empty() {
            let (file, source) = self.failed.remove(0);
            return Err(SetError::Key { file, source });
        }
        for (file, error) in std::mem::take(&mut self.failed) {
            self.note(&file, format!("a private key is left aside: {error}"));
        }
        let key = self.pair()?;
        let leaf = self.leaf(key, options.now);
        let leaf = self.certificates[leaf].what.clone();
        let fits = key.is_some_and(|at| self.keys[at].what.public() == leaf.public_key());
        // The leaf comes before any authority, so all of them are such.
        if leaf.facts().is_ca && !fits {
            let subjects = self.certificates.iter().map(|seen| seen.what.facts().subject.clone());
            return Err(SetError::NoLeaf {
                subjects: subjects.collect(),
                files: self.files,
                notes: self.notes,
            });
        }
        let mut others: Vec<Parsed> = self.certificates.iter().map(|seen| seen.what.clone()).collect();
        others.extend(roots.iter().cloned());
        let chain = chain::order(&leaf, &others, options.now);
        self.note_older(&leaf, &chain, options.now);
        self.note_aside(&leaf, &chain, &roots);
        let key = key.map(|at| self.keys.swap_remove(at).what);
        Ok(WildcardSet {
            key,
            chain,
            roots,
            notes: self.notes,
        })
    }

    /// The key that has its certificate here; where none has, the only one.
    fn pair(&mut self) -> Result<Option<usize>, SetError> {
        let fits = |leaves: bool| -> Vec<usize> {
            (0..self.keys.len())
                .filter(|at| {
                    let public = self.keys[*at].what.public();
                    let of =
                        |seen: &Seen<Parsed>| seen.what.public_key() == public && seen.what.facts().is_ca != leaves;
                    self.certificates.iter().any(of)
                })
                .collect()
        };
        // An authority's own key may lie beside those of what it signed.
        let mut found = fits(true);
        if found.is_empty() {
            found = fits(false);
        }
        match *found {
            [] => Ok((self.keys.len() == 1).then_some(0)),
            [at] => {
                let others: Vec<String> = (0..self.keys.len())
                    .filter(|other| *other != at)
                    .flat_map(|other| self.keys[other].files.clone())
                    .collect();
                for file in others {
                    self.note(
                        &file,
                        "has a private key that does not belong to the certificate".to_owned(),
                    );
                }
                Ok(Some(at))
            }
            _ => {
                let mut files: Vec<String> = vec![];
                for at in found {
                    let key = &self.keys[at];
                    let with = self
                        .certificates
                        .iter()
                        .filter(|seen| seen.what.public_key() == key.what.public());
                    files.extend(key.files.iter().chain(with.flat_map(|seen| &seen.files)).cloned());
                }
                files.sort();
                files.dedup();
                Err(SetError::Ambiguous { files })
            }
        }
    }

    /// The leaf: of the key's certificates, else of all that are no authorities, the newest that is valid.
    fn leaf(&self, key: Option<usize>, now: Timestamp) -> usize {
        let public = key.map(|at| self.keys[at].what.public());
        let rank = |at: &usize| {
            let one = &self.certificates[*at].what;
            let fits = public.is_some_and(|public| one.public_key() == public);
            let facts = one.facts();
            // The last decides nothing but that the order of the files does not.
            (
                !fits,
                facts.is_ca,
                !one.is_valid_at(now),
                Reverse(facts.not_before),
                Reverse(facts.not_after),
                &one.certificate().0,
            )
        };
        (0..self.certificates.len())
            .min_by(|a, b| rank(a).cmp(&rank(b)))
            .unwrap_or(0)
    }
}

fn see<T>(all: &mut Vec<Seen<T>>, known: Option<usize>, file: &str, what: T) {
    match known {
        Some(at) if all[at].files.iter().any(|known| known == file) => {}
        Some(at) => all[at].files.push(file.to_owned()),
        None => all.push(Seen {
            what,
            files: vec![file.to_owned()],
        }),
    }
}

fn limit(count: usize, most: usize, what: &'static str) -> Result<(), SetError> {
    if count > most {
        Err(SetError::TooMany { what, most })
    } else {
        Ok(())
    }
}
