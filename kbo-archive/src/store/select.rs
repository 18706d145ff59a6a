//! Which backup an operator means: `latest`, `latest~2`, an id, or the beginning of one. Every command that takes a backup asks here.

use std::str::FromStr;

use kbo_core::belonging::{Belonging, Identity};
use kbo_core::ids::{BackupId, ClusterId, ClusterName, NodeName};
use kbo_core::inventory::Dataset;
use kbo_core::manifest::{BackupKind, Manifest};
use kbo_core::orchestrator::condition;
use kbo_core::ports::store::Listed;
use kbo_core::retention::Condition;
use kbo_core::text::{clip, some_of};

/// A backup as an operator names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The newest (0), the one before it (1) ... of the good ones that hold what is wanted: `latest`, `latest~1`.
    Latest(usize),
    /// The one whose id begins so; a whole id is its own beginning. It is taken as it is said, good or not.
    Id(String),
}

/// What the backup is to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// A cluster: its data, with or without its configuration. A backup of configuration alone is no answer to `restore latest`.
    Whole,
    /// The same, and any good backup where none holds data: for commands that replace nothing.
    WholeOrAny,
    /// These datasets.
    Datasets(&'a [Dataset]),
    /// The definitions of these nodes' containers; of any node where none is named.
    Containers(&'a [NodeName]),
}

impl Wanted<'_> {
    fn is_held_by(&self, kind: BackupKind, manifest: Option<&Manifest>) -> bool {
        let holds = |dataset: &Dataset| kind.datasets().contains(dataset);
        match self {
            Wanted::Whole | Wanted::WholeOrAny => holds(&Dataset::Data),
            Wanted::Datasets(datasets) => datasets.iter().all(holds),
            Wanted::Containers(nodes) => manifest.is_none_or(|manifest| {
                let known = |name: &NodeName| {
                    let mut records = manifest.nodes.iter();
                    records.any(|record| &record.name == name && record.container.is_some())
                };
                match nodes {
                    [] => manifest.nodes.iter().any(|record| record.container.is_some()),
                    nodes => nodes.iter().all(known),
                }
            }),
        }
    }

    /// What of it a backup that was named by its id lacks.
    fn lacking(&self, kind: BackupKind) -> Option<Dataset> {
        match self {
            Wanted::Datasets(datasets) => {
                let mut datasets = datasets.iter().copied();
                datasets.find(|dataset| !kind.datasets().contains(dataset))
            }
            Wanted::Whole | Wanted::WholeOrAny | Wanted::Containers(_) => None,
        }
    }

    fn described(&self) -> String {
        match self {
            Wanted::Whole | Wanted::WholeOrAny => " with data".to_owned(),
            Wanted::Datasets([]) => String::new(),
            Wanted::Datasets(datasets) => {
                let names: Vec<_> = datasets.iter().map(Dataset::to_string).collect();
                format!(" with {}", names.join(" and "))
            }
            Wanted::Containers(_) => " with the containers' definitions".to_owned(),
        }
    }
}

/// What a selector chose.
#[derive(Debug, Clone, PartialEq)]
pub struct Selected<'a> {
    /// The backup.
    pub backup: &'a Listed,
    /// Its manifest, without the lists of files.
    pub manifest: &'a Manifest,
    /// The newer ones that `latest` passed over, newest first.
    pub passed_over: Vec<PassedOver>,
}

/// A backup that `latest` passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// The backup.
    pub id: BackupId,
    /// Its kind.
    pub kind: BackupKind,
    /// Why.
    pub why: Why,
}

/// Why `latest` passes over a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It does not hold what is wanted.
    Lesser,
    /// Its manifest cannot be used, or files of it are missing; whose it is may not be known.
    Damaged(String),
    /// The source data were found damaged when they were archived.
    OfDamagedData,
    /// Nodes had not stopped cleanly.
    Unclean,
    /// It is of another cluster id under the same name.
    OtherId(ClusterId),
}

impl PassedOver {
    /// Whether its files are not as they were written.
    pub fn is_damaged(&self) -> bool {
        matches!(self.why, Why::Damaged(_))
    }
}

/// What was passed over and why, a line for each reason.
pub fn mentions(passed_over: &[PassedOver]) -> Vec<String> {
    let mut lines: Vec<(String, Vec<String>)> = vec![];
    for PassedOver { id, kind, why } in passed_over {
        let (reason, name) = match why {
            Why::Lesser => ("does not hold that".to_owned(), format!("{id} ({kind})")),
            Why::Damaged(what) => ("is damaged".to_owned(), format!("{id} ({})", clip(what, 120))),
            Why::OfDamagedData => ("is of damaged source data".to_owned(), id.to_string()),
            Why::Unclean => ("is of nodes that had not stopped cleanly".to_owned(), id.to_string()),
            Why::OtherId(other) => (format!("is of another cluster id ({other})"), id.to_string()),
        };
        match lines.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, names)) => names.push(name),
            None => lines.push((reason, vec![name])),
        }
    }
    let line = |(reason, names): (String, Vec<String>)| format!("passed over, newer, {reason}: {}", some_of(&names));
    lines.into_iter().map(line).collect()
}

/// Why a selector chose nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// It is no selector.
    #[error("`{0}` names no backup: write `latest`, `latest~N`, or an id (or its beginning) as `kbo list` shows it")]
    Invalid(String),
    /// The store holds nothing of the cluster.
    #[error("there is no backup of cluster {cluster}{with} yet")]
    None {
        /// The cluster.
        cluster: ClusterName,
        /// What the backup was to hold.
        with: String,
    },
    /// There are backups, and none is good and holds what is wanted.
    #[error("there is no good backup of cluster {cluster}{with}: {}; name one by its id if you mean it", mentions(passed_over).join("; "))]
    NoneGood {
        /// The cluster.
        cluster: ClusterName,
        /// What the backup was to hold.
        with: String,
        /// Those that there are, newest first.
        passed_over: Vec<PassedOver>,
    },
    /// `latest~N` goes back too far.
    #[error("latest~{asked} goes back too far: cluster {cluster} has {have} backup(s){with}")]
    TooFew {
        /// The cluster.
        cluster: ClusterName,
        /// What the backup was to hold.
        with: String,
        /// How many there are.
        have: usize,
        /// N.
        asked: usize,
    },
    /// No id begins so.
    #[error("there is no backup {0} in the store")]
    Unknown(String),
    /// Several ids begin so.
    #[error("{prefix} is the beginning of several ids: {}", ids.iter().map(BackupId::as_str).collect::<Vec<_>>().join(", "))]
    Ambiguous {
        /// The beginning.
        prefix: String,
        /// The ids.
        ids: Vec<BackupId>,
    },
    /// The one named belongs to another cluster.
    #[error("backup {id} is of cluster {of}, not of {wanted}")]
    OtherCluster {
        /// The backup.
        id: BackupId,
        /// Its cluster.
        of: ClusterName,
        /// The cluster asked for.
        wanted: ClusterName,
    },
    /// The one named does not hold what was asked for.
    #[error("backup {id} holds no {dataset}")]
    Lacks {
        /// The backup.
        id: BackupId,
        /// What it lacks.
        dataset: Dataset,
    },
    /// The one named is damaged.
    #[error("backup {id} is damaged: {why}")]
    Damaged {
        /// The backup.
        id: BackupId,
        /// The damage.
        why: String,
    },
}

impl SelectError {
    /// Whether damage of a backup is the reason.
    pub fn is_of_damage(&self) -> bool {
        match self {
            SelectError::Damaged { .. } => true,
            SelectError::NoneGood { passed_over, .. } => passed_over.iter().any(PassedOver::is_damaged),
            _ => false,
        }
    }
}

impl FromStr for Selector {
    type Err = SelectError;

    fn from_str(text: &str) -> Result<Self, SelectError> {
        let invalid = || SelectError::Invalid(text.to_owned());
        match text.strip_prefix("latest") {
            Some("") => Ok(Selector::Latest(0)),
            Some(back) => {
                let digits = back.strip_prefix('~').filter(|n| n.bytes().all(|c| c.is_ascii_digit()));
                digits
                    .and_then(|n| n.parse().ok())
                    .map(Selector::Latest)
                    .ok_or_else(invalid)
            }
            None if begins_like_an_id(text) => Ok(Selector::Id(text.to_owned())),
            None => Err(invalid()),
        }
    }
}

/// Chooses among `listed`, which is oldest first as [`BackupStore::list`] gives it, for a cluster of this identity.
///
/// `latest` is the newest good backup that holds what is wanted, and `latest~N` counts such ones only. An id is taken as it is said: of
/// whatever kind, whole or not, of this name's cluster id or of another; only a dataset that was asked for by name has to be in it.
///
/// # Errors
/// Nothing fits, several fit, or the one named does not; the error says which.
///
/// [`BackupStore::list`]: kbo_core::ports::store::BackupStore::list
pub fn select<'a>(
    listed: &'a [Listed],
    selector: &Selector,
    cluster: &Identity,
    wanted: Wanted<'_>,
) -> Result<Selected<'a>, SelectError> {
    match selector {
        Selector::Latest(back) => match (latest(listed, *back, cluster, wanted), wanted) {
            (Err(SelectError::None { .. } | SelectError::NoneGood { .. }), Wanted::WholeOrAny) => {
                latest(listed, *back, cluster, Wanted::Datasets(&[]))
            }
            (chosen, _) => chosen,
        },
        Selector::Id(prefix) => by_id(listed, prefix, cluster, wanted),
    }
}

fn latest<'a>(
    listed: &'a [Listed],
    back: usize,
    identity: &Identity,
    wanted: Wanted<'_>,
) -> Result<Selected<'a>, SelectError> {
    let (mut passed_over, mut have) = (vec![], 0);
    for backup in listed.iter().rev() {
        let why = match candidate(backup, identity, wanted) {
            None => continue,
            Some(Err(why)) => why,
            Some(Ok(manifest)) if have == back => {
                return Ok(Selected {
                    backup,
                    manifest,
                    passed_over,
                });
            }
            Some(Ok(_)) => {
                have += 1;
                continue;
            }
        };
        passed_over.push(PassedOver {
            id: backup.id.clone(),
            kind: backup.kind,
            why,
        });
    }
    let (cluster, with) = (identity.name.clone(), wanted.described());
    Err(match (have, passed_over.is_empty()) {
        (0, true) => SelectError::None { cluster, with },
        (0, false) => SelectError::NoneGood {
            cluster,
            with,
            passed_over,
        },
        _ => SelectError::TooFew {
            cluster,
            with,
            have,
            asked: back,
        },
    })
}

/// Whether `latest` may mean a backup, and why not; nothing for one that is none of this cluster's.
fn candidate<'a>(backup: &'a Listed, identity: &Identity, wanted: Wanted<'_>) -> Option<Result<&'a Manifest, Why>> {
    let manifest = match &backup.manifest {
        // Its cluster is unknown, so it may be this one's; its folder tells what it held.
        Err(why) if wanted.is_held_by(backup.kind, None) => return Some(Err(Why::Damaged(why.clone()))),
        Err(_) => return None,
        Ok(manifest) => manifest,
    };
    match identity.of(manifest) {
        Belonging::Own => {}
        Belonging::OtherId(id) => return Some(Err(Why::OtherId(id))),
        Belonging::OtherName(_) => return None,
    }
    if !wanted.is_held_by(manifest.kind, Some(manifest)) {
        return Some(Err(Why::Lesser));
    }
    Some(match condition(backup) {
        Condition::Good => Ok(manifest),
        Condition::Unclean => Err(Why::Unclean),
        Condition::Damaged => Err(Why::OfDamagedData),
        Condition::Incomplete => Err(Why::Damaged(backup.missing.clone().unwrap_or_default())),
    })
}

fn by_id<'a>(
    listed: &'a [Listed],
    prefix: &str,
    identity: &Identity,
    wanted: Wanted<'_>,
) -> Result<Selected<'a>, SelectError> {
    let named: Vec<_> = listed
        .iter()
        .filter(|backup| backup.id.as_str().starts_with(prefix))
        .collect();
    let chosen = |backup, manifest| Selected {
        backup,
        manifest,
        passed_over: vec![],
    };
    // Another cluster's backup of the same day does not make a prefix ambiguous.
    let mut fit: Vec<_> = named
        .iter()
        .filter_map(|backup| {
            fitting(backup, identity, wanted)
                .ok()
                .map(|manifest| (*backup, manifest))
        })
        .collect();
    match (fit.len(), named.as_slice()) {
        (0, []) => Err(SelectError::Unknown(prefix.to_owned())),
        (0, [only]) => fitting(only, identity, wanted).map(|manifest| chosen(only, manifest)),
        (0, _) => Err(ambiguous(prefix, named.iter().map(|backup| &backup.id))),
        (1, _) => {
            let (backup, manifest) = fit.remove(0);
            Ok(chosen(backup, manifest))
        }
        _ => Err(ambiguous(prefix, fit.iter().map(|(backup, _)| &backup.id))),
    }
}

fn ambiguous<'a>(prefix: &str, ids: impl Iterator<Item = &'a BackupId>) -> SelectError {
    SelectError::Ambiguous {
        prefix: prefix.to_owned(),
        ids: ids.cloned().collect(),
    }
}

/// Whether a backup that was named may be meant.
fn fitting<'a>(backup: &'a Listed, identity: &Identity, wanted: Wanted<'_>) -> Result<&'a Manifest, SelectError> {
    let id = || backup.id.clone();
    let manifest = backup.manifest.as_ref().map_err(|why| SelectError::Damaged {
        id: id(),
        why: why.clone(),
    })?;
    if let Belonging::OtherName(of) = identity.of(manifest) {
        let wanted = identity.name.clone();
        return Err(SelectError::OtherCluster { id: id(), of, wanted });
    }
    match wanted.lacking(manifest.kind) {
        Some(dataset) => Err(SelectError::Lacks { id: id(), dataset }),
        None => Ok(manifest),
    }
}

fn begins_like_an_id(text: &str) -> bool {
    let fits = |(c, shape): (u8, u8)| if shape == b'0' { c.is_ascii_digit() } else { c == shape };
    (1..=16).contains(&text.len()) && text.bytes().zip(*b"00000000T000000Z").all(fits)
}

#[cfg(test)]
mod tests;
