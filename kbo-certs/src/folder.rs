//! Sets in a folder: which files belong to which, in the layouts of several ACME clients. The only place here that reads files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::set::{MOST_BYTES, Note, Options, SetError, WildcardSet};

/// Where the files of a set are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Names of files, with `{domain}` and `{part}`; parts are all.pem, ca, crt, fullchain and key.
    pub names: String,
    /// Which domain's set is meant. Needed where the folder has several.
    pub domain: Option<String>,
}

/// The names that [`Layout`] has by default.
pub const DEFAULT_NAMES: &str = "wildcard.{domain}-ACME.{part}";

impl Default for Layout {
    fn default() -> Self {
        Self {
            names: DEFAULT_NAMES.to_owned(),
            domain: None,
        }
    }
}

/// Why the folder does not have the files of one set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// It cannot be read.
    #[error("{}", .path.display())]
    Read {
        /// The folder, or one in it.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It has no set.
    #[error("{} has no files of a set: neither {names}, nor certbot's, nor acme.sh's", .folder.display())]
    Nothing {
        /// The folder.
        folder: PathBuf,
        /// What they should be called.
        names: String,
    },
    /// It has several.
    #[error("{} has the sets of several domains: {}; say which one is meant", .folder.display(), .domains.join(", "))]
    Several {
        /// The folder.
        folder: PathBuf,
        /// Their domains.
        domains: Vec<String>,
    },
    /// It has sets, but not this one.
    #[error("{} has no set of {domain}, but of {}", .folder.display(), .domains.join(", "))]
    Other {
        /// The folder.
        folder: PathBuf,
        /// The domain that was asked for.
        domain: String,
        /// Those that are there.
        domains: Vec<String>,
    },
    /// The pattern of names cannot be used.
    #[error(
        "the names {0} cannot be used: {{part}} must stand in them once, {{domain}} at most once, and no folder above"
    )]
    Pattern(String),
}

const PARTS: [&str; 5] = ["all.pem", "ca", "crt", "fullchain", "key"];
const CERTBOT: [&str; 4] = ["privkey.pem", "cert.pem", "chain.pem", "fullchain.pem"];
/// Below the folder: live/DOMAIN/FILE.
const DEPTH: usize = 2;
const MOST_FILES: usize = 10_000;

/// Files of each domain.
type Sets = BTreeMap<String, BTreeSet<PathBuf>>;

impl WildcardSet {
    /// Reads the set of a domain from a folder: files called as the layout says, else as certbot or acme.sh call them.
    ///
    /// # Errors
    /// What [`WildcardSet::from_files`] has; no set in the folder; several, and no domain given.
    pub fn load(folder: &Path, layout: &Layout, options: &Options) -> Result<Self, SetError> {
        let paths = find(folder, layout)?;
        let mut files = vec![];
        let mut notes = vec![];
        for path in paths {
            let name = path.display().to_string();
            match read(&folder.join(&path)) {
                Ok(Some(bytes)) => files.push((name, bytes)),
                Ok(None) => return Err(SetError::TooLarge { file: name }),
                // Others may suffice; if not, this tells why.
                Err(error) => notes.push(Note {
                    file: name,
                    text: format!("cannot be read: {error}"),
                }),
            }
        }
        match Self::from_files(files, options) {
            Ok(mut set) => {
                notes.into_iter().for_each(|note| set.note(note));
                Ok(set)
            }
            Err(SetError::NoCertificate {
                files,
                notes: mut others,
            }) => {
                others.extend(notes);
                Err(SetError::NoCertificate { files, notes: others })
            }
            Err(other) => Err(other),
        }
    }
}

/// The files of the one set that is meant, relative to the folder.
fn find(folder: &Path, layout: &Layout) -> Result<BTreeSet<PathBuf>, FolderError> {
    let pattern = Pattern::new(&layout.names)?;
    let mut files = vec![];
    walk(folder, Path::new(""), DEPTH, &mut files)?;
    let own = folder
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let named = layout.domain.clone().unwrap_or_else(|| bare(&own).to_owned());
    let mut domains = BTreeSet::new();
    for sets in [pattern.sets(&files, &named), certbot(&files, &named), acme_sh(&files)] {
        let found: Vec<String> = sets.keys().cloned().collect();
        match (&layout.domain, found.as_slice()) {
            (_, []) => {}
            (None, [_]) => return Ok(sets.into_values().flatten().collect()),
            (None, _) => {
                return Err(FolderError::Several {
                    folder: folder.to_owned(),
                    domains: found,
                });
            }
            (Some(domain), _) => {
                if let Some(files) = pick(&sets, domain) {
                    return Ok(files.clone());
                }
                domains.extend(found);
            }
        }
    }
    let folder = folder.to_owned();
    match &layout.domain {
        Some(domain) if !domains.is_empty() => Err(FolderError::Other {
            folder,
            domain: domain.clone(),
            domains: domains.into_iter().collect(),
        }),
        _ => Err(FolderError::Nothing {
            folder,
            names: layout.names.clone(),
        }),
    }
}

/// The set called so, else the one that is called so but for `*.` before and `_ecc` behind.
fn pick<'a>(sets: &'a Sets, domain: &str) -> Option<&'a BTreeSet<PathBuf>> {
    sets.get(domain).or_else(|| {
        sets.iter()
            .find(|(name, _)| bare(name).eq_ignore_ascii_case(bare(domain)))
            .map(|(_, files)| files)
    })
}

fn bare(domain: &str) -> &str {
    let domain = domain.strip_suffix("_ecc").unwrap_or(domain);
    ["*.", "_.", "wildcard."]
        .iter()
        .find_map(|wild| domain.strip_prefix(wild))
        .unwrap_or(domain)
}

struct Pattern {
    before: String,
    between: Option<String>,
    part_first: bool,
    after: String,
}

impl Pattern {
    fn new(names: &str) -> Result<Self, FolderError> {
        let wrong = || FolderError::Pattern(names.to_owned());
        let above = Path::new(names)
            .components()
            .any(|part| !matches!(part, std::path::Component::Normal(_)));
        if above || names.matches("{part}").count() != 1 || names.matches("{domain}").count() > 1 {
            return Err(wrong());
        }
        let part = names.find("{part}").ok_or_else(wrong)?;
        let Some(domain) = names.find("{domain}") else {
            let (before, after) = (names[..part].to_owned(), names[part + "{part}".len()..].to_owned());
            return Ok(Self {
                before,
                between: None,
                part_first: true,
                after,
            });
        };
        let part_first = part < domain;
        let (first, second) = if part_first {
            ("{part}", "{domain}")
        } else {
            ("{domain}", "{part}")
        };
        let (before, rest) = names.split_once(first).ok_or_else(wrong)?;
        let (between, after) = rest.split_once(second).ok_or_else(wrong)?;
        Ok(Self {
            before: before.to_owned(),
            between: Some(between.to_owned()),
            part_first,
            after: after.to_owned(),
        })
    }

    fn sets(&self, files: &[PathBuf], own: &str) -> Sets {
        let mut sets = Sets::new();
        for path in files {
            let Some(name) = path.to_str() else { continue };
            if let Some(domain) = self.domain(name, own) {
                sets.entry(domain.to_owned()).or_default().insert(path.clone());
            }
        }
        sets
    }

    /// The domain of a file that is called so.
    fn domain<'a>(&self, name: &'a str, own: &'a str) -> Option<&'a str> {
        let rest = name
            .strip_prefix(self.before.as_str())?
            .strip_suffix(self.after.as_str())?;
        let Some(between) = &self.between else {
            return PARTS.contains(&rest).then_some(own);
        };
        let domain = PARTS.iter().find_map(|part| {
            if self.part_first {
                rest.strip_prefix(part)?.strip_prefix(between.as_str())
            } else {
                rest.strip_suffix(part)?.strip_suffix(between.as_str())
            }
        })?;
        (!domain.is_empty() && !domain.contains('/')).then_some(domain)
    }
}

/// `live/DOMAIN/privkey.pem`, `DOMAIN/privkey.pem`, or `privkey.pem` in the folder itself.
fn certbot(files: &[PathBuf], own: &str) -> Sets {
    let mut sets = Sets::new();
    for path in files {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let folder = path.parent().and_then(Path::to_str).unwrap_or_default();
        // Its archive has all that there ever were.
        if CERTBOT.contains(&name) && !folder.starts_with("archive") {
            let domain = match folder.strip_prefix("live/").unwrap_or(folder) {
                "" => own,
                domain => domain,
            };
            sets.entry(domain.to_owned()).or_default().insert(path.clone());
        }
    }
    sets
}

/// `DOMAIN/DOMAIN.key`, `.cer`, `ca.cer` and `fullchain.cer`, where the folder may be called `DOMAIN_ecc` too.
fn acme_sh(files: &[PathBuf]) -> Sets {
    let mut sets = Sets::new();
    let folders: BTreeSet<&Path> = files.iter().filter_map(|path| path.parent()).collect();
    for folder in folders {
        let inside: Vec<&PathBuf> = files.iter().filter(|path| path.parent() == Some(folder)).collect();
        let stem = |path: &&PathBuf, ending: &str| {
            path.file_name()?
                .to_str()?
                .strip_suffix(ending)
                .filter(|stem| !stem.is_empty())
                .map(str::to_owned)
        };
        let domains: BTreeSet<String> = inside
            .iter()
            .filter_map(|path| stem(path, ".cer").or_else(|| stem(path, ".key")))
            .filter(|stem| stem.contains('.'))
            .collect();
        if !inside
            .iter()
            .any(|path| path.extension().is_some_and(|ending| ending == "cer"))
        {
            continue;
        }
        for domain in &domains {
            let named = folder
                .file_name()
                .and_then(|name| name.to_str())
                .filter(|name| bare(name) == bare(domain));
            let name = named.map_or_else(|| domain.clone(), str::to_owned);
            let own = [
                format!("{domain}.cer"),
                format!("{domain}.key"),
                "ca.cer".to_owned(),
                "fullchain.cer".to_owned(),
            ];
            let belong = inside.iter().filter(|path| {
                path.file_name()
                    .is_some_and(|file| own.iter().any(|own| file == own.as_str()))
            });
            sets.entry(name).or_default().extend(belong.map(|path| (*path).clone()));
        }
    }
    sets
}

fn walk(folder: &Path, under: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), FolderError> {
    let path = if under.as_os_str().is_empty() {
        folder.to_owned()
    } else {
        folder.join(under)
    };
    let failed = |source| FolderError::Read {
        path: path.clone(),
        source,
    };
    let mut entries: Vec<_> = fs::read_dir(&path)
        .map_err(failed)?
        .take(MOST_FILES)
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = under.join(entry.file_name());
        // Through symlinks: certbot's live files are some. What a link does not lead to is no file.
        let Ok(metadata) = fs::metadata(folder.join(&name)) else {
            continue;
        };
        if metadata.is_file() && files.len() < MOST_FILES {
            files.push(name);
        } else if metadata.is_dir() && depth > 0 {
            match walk(folder, &name, depth - 1, files) {
                // A folder that is not ours to read, such as another domain's.
                Err(FolderError::Read { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {}
                other => other?,
            }
        }
    }
    Ok(())
}

/// A file's bytes; `None` where they are more than a set has.
fn read(path: &Path) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    // Large enough from the start: a buffer that grows leaves parts of a key where it was.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MOST_BYTES + 2));
    File::open(path)?.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= MOST_BYTES).then_some(bytes))
}
