//! Which backup an operator means: `latest`, `latest~2`, an id, or the beginning of one.

use std::str::FromStr;

use kbo_core::ids::{BackupId, ClusterName};
use kbo_core::inventory::Dataset;
use kbo_core::manifest::Manifest;
use kbo_core::ports::store::Listed;

/// A backup as an operator names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The newest (0), the one before it (1) ...: `latest`, `latest~1`.
    Latest(usize),
    /// The one whose id begins so; a whole id is its own beginning.
    Id(String),
}

/// What a selector chose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Selected<'a> {
    /// The backup.
    pub backup: &'a Listed,
    /// Its manifest, without the lists of files.
    pub manifest: &'a Manifest,
    /// How many newer backups `latest` passed over because their manifests cannot be read: worth a warning.
    pub damaged_newer: usize,
}

/// Why a selector chose nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// It is no selector.
    #[error("`{0}` names no backup: write `latest`, `latest~N`, or an id (or its beginning) as `kbo list` shows it")]
    Invalid(String),
    /// The store holds nothing that would do.
    #[error("there is no backup of cluster {cluster}{with} yet", with = holding(datasets))]
    None {
        /// The cluster.
        cluster: ClusterName,
        /// What the backup was to hold.
        datasets: Vec<Dataset>,
    },
    /// `latest~N` goes back too far.
    #[error("latest~{asked} goes back too far: cluster {cluster} has {have} backup(s){with}", with = holding(datasets))]
    TooFew {
        /// The cluster.
        cluster: ClusterName,
        /// What the backup was to hold.
        datasets: Vec<Dataset>,
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

/// Chooses among `listed`, which is oldest first as [`BackupStore::list`] gives it: a backup of `cluster` that holds all of
/// `datasets` (of none: any backup).
///
/// # Errors
/// Nothing fits, several fit, or the one named does not; the error says which.
///
/// [`BackupStore::list`]: kbo_core::ports::store::BackupStore::list
pub fn select<'a>(
    listed: &'a [Listed],
    selector: &Selector,
    cluster: &ClusterName,
    datasets: &[Dataset],
) -> Result<Selected<'a>, SelectError> {
    match selector {
        Selector::Latest(back) => latest(listed, *back, cluster, datasets),
        Selector::Id(prefix) => by_id(listed, prefix, cluster, datasets),
    }
}

fn latest<'a>(
    listed: &'a [Listed],
    back: usize,
    cluster: &ClusterName,
    datasets: &[Dataset],
) -> Result<Selected<'a>, SelectError> {
    let (mut damaged_newer, mut have) = (0, 0);
    for backup in listed.iter().rev() {
        match fitting(backup, cluster, datasets) {
            Ok(manifest) if have == back => {
                return Ok(Selected {
                    backup,
                    manifest,
                    damaged_newer,
                });
            }
            Ok(_) => have += 1,
            // Its cluster is unknown, so it may be this one's; its folder tells what it held.
            Err(SelectError::Damaged { .. }) if lacking(backup, datasets).is_none() => damaged_newer += 1,
            Err(_) => {}
        }
    }
    let (cluster, datasets) = (cluster.clone(), datasets.to_vec());
    Err(match have {
        0 => SelectError::None { cluster, datasets },
        _ => SelectError::TooFew {
            cluster,
            datasets,
            have,
            asked: back,
        },
    })
}

fn by_id<'a>(
    listed: &'a [Listed],
    prefix: &str,
    cluster: &ClusterName,
    datasets: &[Dataset],
) -> Result<Selected<'a>, SelectError> {
    let named: Vec<_> = listed
        .iter()
        .filter(|backup| backup.id.as_str().starts_with(prefix))
        .collect();
    // Another cluster's backup of the same day does not make a prefix ambiguous.
    let mut fit: Vec<_> = named
        .iter()
        .filter_map(|backup| {
            fitting(backup, cluster, datasets)
                .ok()
                .map(|manifest| (*backup, manifest))
        })
        .collect();
    match (fit.len(), named.as_slice()) {
        (0, []) => Err(SelectError::Unknown(prefix.to_owned())),
        (0, [only]) => fitting(only, cluster, datasets).map(|manifest| Selected {
            backup: only,
            manifest,
            damaged_newer: 0,
        }),
        (0, _) => Err(ambiguous(prefix, named.iter().map(|backup| &backup.id))),
        (1, _) => {
            let (backup, manifest) = fit.remove(0);
            Ok(Selected {
                backup,
                manifest,
                damaged_newer: 0,
            })
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

fn fitting<'a>(backup: &'a Listed, cluster: &ClusterName, datasets: &[Dataset]) -> Result<&'a Manifest, SelectError> {
    let id = || backup.id.clone();
    let manifest = backup.manifest.as_ref().map_err(|why| SelectError::Damaged {
        id: id(),
        why: why.clone(),
    })?;
    if &manifest.cluster != cluster {
        let (of, wanted) = (manifest.cluster.clone(), cluster.clone());
        return Err(SelectError::OtherCluster { id: id(), of, wanted });
    }
    match lacking(backup, datasets) {
        Some(dataset) => Err(SelectError::Lacks { id: id(), dataset }),
        None => Ok(manifest),
    }
}

fn lacking(backup: &Listed, datasets: &[Dataset]) -> Option<Dataset> {
    let kind = backup.manifest.as_ref().map_or(backup.kind, |manifest| manifest.kind);
    datasets
        .iter()
        .copied()
        .find(|dataset| !kind.datasets().contains(dataset))
}

fn begins_like_an_id(text: &str) -> bool {
    let fits = |(c, shape): (u8, u8)| if shape == b'0' { c.is_ascii_digit() } else { c == shape };
    (1..=16).contains(&text.len()) && text.bytes().zip(*b"00000000T000000Z").all(fits)
}

fn holding(datasets: &[Dataset]) -> String {
    let names: Vec<_> = datasets.iter().map(Dataset::to_string).collect();
    if names.is_empty() {
        String::new()
    } else {
        format!(" with {}", names.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kbo_core::manifest::{BackupKind, FORMAT};
    use proptest::prelude::*;

    fn backup(id: &str, kind: BackupKind, cluster: &str) -> Listed {
        let id: BackupId = id.parse().unwrap();
        let manifest = Manifest {
            format: FORMAT,
            id: id.clone(),
            kind,
            cluster: cluster.parse().unwrap(),
            cluster_id: None,
            kbo_version: "0.1.0".to_owned(),
            created: id.time(),
            committed: id.time(),
            window: None,
            caveats: vec![],
            degraded: vec![],
            nodes: vec![],
            archives: vec![],
        };
        Listed {
            id,
            kind,
            pinned: false,
            pin: None,
            missing: None,
            manifest: Ok(manifest),
        }
    }

    fn store() -> Vec<Listed> {
        let mut damaged = backup("20261125T030000Z", BackupKind::Cluster, "dev");
        damaged.manifest = Err("cut short".to_owned());
        vec![
            backup("20261120T030000Z", BackupKind::Cluster, "dev"),
            backup("20261121T030000Z", BackupKind::Config, "dev"),
            backup("20261122T030000Z", BackupKind::Data, "dev"),
            backup("20261123T030000Z", BackupKind::Cluster, "dev"),
            backup("20261124T030000Z", BackupKind::Cluster, "test"),
            damaged,
        ]
    }

    fn pick(selector: &str, datasets: &[Dataset]) -> Result<String, SelectError> {
        let listed = store();
        let chosen = select(&listed, &selector.parse()?, &"dev".parse().unwrap(), datasets)?;
        Ok(chosen.backup.id.to_string())
    }

    #[test]
    fn latest_is_the_newest_of_this_cluster_that_holds_what_is_asked() {
        let (config, data) = ([Dataset::Config], [Dataset::Data]);
        assert_eq!(pick("latest", &[]).unwrap(), "20261123T030000Z");
        assert_eq!(pick("latest~1", &data).unwrap(), "20261122T030000Z");
        assert_eq!(pick("latest~1", &config).unwrap(), "20261121T030000Z");
        assert_eq!(
            pick("latest~1", &[Dataset::Config, Dataset::Data]).unwrap(),
            "20261120T030000Z"
        );
        let error = pick("latest~2", &[Dataset::Config, Dataset::Data]).unwrap_err();
        let text = "latest~2 goes back too far: cluster dev has 2 backup(s) with config and data";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn latest_tells_of_newer_backups_that_cannot_be_read() {
        let listed = store();
        let chosen = select(&listed, &Selector::Latest(0), &"dev".parse().unwrap(), &[]).unwrap();
        assert_eq!(chosen.damaged_newer, 1);
    }

    #[test]
    fn a_prefix_must_name_one_backup() {
        assert_eq!(pick("20261123", &[]).unwrap(), "20261123T030000Z");
        assert_eq!(pick("20261122T030000Z", &[]).unwrap(), "20261122T030000Z");
        assert!(matches!(pick("2026112", &[]), Err(SelectError::Ambiguous { ids, .. }) if ids.len() == 4));
        assert_eq!(
            pick("2026112", &[Dataset::Config, Dataset::Data])
                .unwrap_err()
                .to_string(),
            "2026112 is the beginning of several ids: 20261120T030000Z, 20261123T030000Z"
        );
    }

    #[test]
    fn a_backup_that_does_not_fit_is_refused_with_the_reason() {
        let text = |selector: &str, datasets: &[Dataset]| pick(selector, datasets).unwrap_err().to_string();
        assert_eq!(
            text("20261124", &[]),
            "backup 20261124T030000Z is of cluster test, not of dev"
        );
        assert_eq!(
            text("20261121", &[Dataset::Data]),
            "backup 20261121T030000Z holds no data"
        );
        assert_eq!(text("20261125", &[]), "backup 20261125T030000Z is damaged: cut short");
        assert_eq!(text("2027", &[]), "there is no backup 2027 in the store");
        let nothing = select(&[], &Selector::Latest(0), &"dev".parse().unwrap(), &[Dataset::Data]).unwrap_err();
        assert_eq!(nothing.to_string(), "there is no backup of cluster dev with data yet");
    }

    #[test]
    fn texts_that_name_no_backup_are_refused() {
        for text in [
            "",
            "latest~",
            "latest~-1",
            "latest~+1",
            "latest~x",
            "latests",
            "T0300",
            "2026-11",
            "../x",
            "20261122T030000Z0",
        ] {
            assert_eq!(
                text.parse::<Selector>(),
                Err(SelectError::Invalid(text.to_owned())),
                "{text:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_beginning_of_an_id_is_a_selector(second in 0i64..4_000_000_000, length in 1usize..=16) {
            let id = BackupId::at(jiff::Timestamp::from_second(second).unwrap());
            let beginning = &id.as_str()[..length];
            prop_assert_eq!(beginning.parse::<Selector>().unwrap(), Selector::Id(beginning.to_owned()));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,20}") {
            let _ = text.parse::<Selector>();
        }

        #[test]
        fn whatever_is_chosen_fits(
            kinds in prop::collection::vec((0usize..3, any::<bool>(), any::<bool>()), 0..12),
            back in 0usize..5, data in any::<bool>(), config in any::<bool>(),
        ) {
            let listed: Vec<_> = kinds.iter().enumerate().map(|(day, (kind, ours, whole))| {
                let cluster = if *ours { "dev" } else { "test" };
                let mut backup = backup(&format!("202611{:02}T030000Z", day + 1), BackupKind::ALL[*kind], cluster);
                if !whole {
                    backup.manifest = Err("damaged".to_owned());
                }
                backup
            }).collect();
            let wanted: Vec<_> =
                [(config, Dataset::Config), (data, Dataset::Data)].iter().filter(|(on, _)| *on).map(|(_, d)| *d).collect();
            let fits = |b: &&Listed| b.manifest.as_ref().is_ok_and(|m| m.cluster.as_str() == "dev"
                && wanted.iter().all(|d| m.kind.datasets().contains(d)));
            let expected = listed.iter().rev().filter(fits).nth(back).map(|b| &b.id);
            let chosen = select(&listed, &Selector::Latest(back), &"dev".parse().unwrap(), &wanted);
            prop_assert_eq!(chosen.as_ref().ok().map(|c| &c.backup.id), expected);
        }
    }
}
