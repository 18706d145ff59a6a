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
mod tests {
    use super::*;
    use kbo_core::manifest::{FORMAT, NodeRecord};
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
            damage: Some(vec![]),
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

    fn dev(id: Option<&str>) -> Identity {
        Identity {
            name: "dev".parse().unwrap(),
            id: id.map(|id| id.parse().unwrap()),
        }
    }

    fn pick_of(listed: &[Listed], selector: &str, wanted: Wanted<'_>) -> Result<String, SelectError> {
        let chosen = select(listed, &selector.parse()?, &dev(None), wanted)?;
        Ok(chosen.backup.id.to_string())
    }

    fn pick(selector: &str, datasets: &[Dataset]) -> Result<String, SelectError> {
        pick_of(&store(), selector, Wanted::Datasets(datasets))
    }

    /// A cluster backup at 22:50, and configuration alone every hour after it.
    fn hourly() -> Vec<Listed> {
        let config = |id| backup(id, BackupKind::Config, "dev");
        vec![
            backup("20261122T225000Z", BackupKind::Cluster, "dev"),
            backup("20261123T030000Z", BackupKind::Data, "dev"),
            config("20261123T040000Z"),
            config("20261123T050000Z"),
        ]
    }

    #[test]
    fn latest_for_a_whole_restore_is_the_newest_that_has_data_and_the_newer_lesser_ones_are_mentioned() {
        let listed = hourly();
        assert_eq!(pick_of(&listed, "latest", Wanted::Whole).unwrap(), "20261123T030000Z");
        assert_eq!(pick_of(&listed, "latest~1", Wanted::Whole).unwrap(), "20261122T225000Z");
        assert_eq!(
            pick_of(&listed, "latest", Wanted::WholeOrAny).unwrap(),
            "20261123T030000Z"
        );
        let chosen = select(&listed, &Selector::Latest(0), &dev(None), Wanted::Whole).unwrap();
        assert_eq!(
            mentions(&chosen.passed_over),
            ["passed over, newer, does not hold that: 20261123T050000Z (config), 20261123T040000Z (config)"]
        );
        // Said by its id, it is taken as it is said.
        assert_eq!(
            pick_of(&listed, "20261123T05", Wanted::Whole).unwrap(),
            "20261123T050000Z"
        );
    }

    #[test]
    fn where_nothing_has_data_a_whole_restore_has_no_latest_and_what_only_reads_takes_the_newest() {
        let listed = &hourly()[2..];
        let error = pick_of(listed, "latest", Wanted::Whole).unwrap_err();
        assert!(
            error.to_string().contains("no good backup of cluster dev with data"),
            "{error}"
        );
        assert!(!error.is_of_damage());
        assert_eq!(
            pick_of(listed, "latest", Wanted::WholeOrAny).unwrap(),
            "20261123T050000Z"
        );
    }

    #[test]
    fn latest_is_never_one_that_is_not_good() {
        let mut listed: Vec<Listed> = (1..=5)
            .map(|day| backup(&format!("2026112{day}T030000Z"), BackupKind::Cluster, "dev"))
            .collect();
        listed[1].missing = Some("a.tar.zst is missing".to_owned());
        let change = |listed: &mut Listed, change: fn(&mut Manifest)| change(listed.manifest.as_mut().unwrap());
        change(&mut listed[2], |manifest| {
            manifest.damage = None;
            manifest.caveats = vec!["b1: orders-0/0.log: zeros instead of a record batch, at byte 12".to_owned()];
        });
        change(&mut listed[3], |manifest| {
            manifest.damage = Some(vec!["b1: bad".to_owned()])
        });
        change(&mut listed[4], |manifest| {
            manifest.nodes = vec![NodeRecord {
                name: "b1".parse().unwrap(),
                role: kbo_core::inventory::Role::Broker,
                node_id: None,
                container: None,
                kafka_version: None,
                degraded: false,
                clean_stop: Some(kbo_core::ports::node::CleanStopProof {
                    clean: false,
                    dirs: vec![],
                }),
            }];
        });
        let chosen = select(&listed, &Selector::Latest(0), &dev(None), Wanted::Whole).unwrap();
        assert_eq!(chosen.backup.id.as_str(), "20261121T030000Z");
        let whys: Vec<&Why> = chosen.passed_over.iter().map(|passed| &passed.why).collect();
        let missing = Why::Damaged("a.tar.zst is missing".to_owned());
        assert_eq!(
            whys,
            [&Why::Unclean, &Why::OfDamagedData, &Why::OfDamagedData, &missing]
        );
        let error = pick_of(&listed[1..], "latest", Wanted::Whole).unwrap_err();
        assert!(error.is_of_damage(), "{error}");
        assert_eq!(pick_of(&listed, "20261125", Wanted::Whole).unwrap(), "20261125T030000Z");
    }

    #[test]
    fn latest_is_of_the_clusters_own_id_and_an_id_that_is_named_of_any() {
        let (ours, theirs) = ("AAAAAAAAAAAAAAAAAAAAAA", "BBBBBBBBBBBBBBBBBBBBBB");
        let mut listed = hourly();
        for (at, id) in [(0, Some(ours)), (1, Some(theirs)), (2, None)] {
            listed[at].manifest.as_mut().unwrap().cluster_id = id.map(|id| id.parse().unwrap());
        }
        let chosen = select(&listed, &Selector::Latest(0), &dev(Some(ours)), Wanted::Whole).unwrap();
        assert_eq!(chosen.backup.id.as_str(), "20261122T225000Z");
        assert!(
            chosen
                .passed_over
                .iter()
                .any(|passed| matches!(&passed.why, Why::OtherId(id) if id.as_str() == theirs))
        );
        // One without an id belongs to the name.
        let config = Wanted::Datasets(&[Dataset::Config]);
        assert!(select(&listed[2..], &Selector::Latest(0), &dev(Some(ours)), config).is_ok());
        let named = select(
            &listed,
            &"20261123T03".parse().unwrap(),
            &dev(Some(ours)),
            Wanted::Whole,
        )
        .unwrap();
        assert_eq!(named.backup.id.as_str(), "20261123T030000Z");
    }

    #[test]
    fn containers_are_taken_from_the_newest_that_knows_them() {
        let mut listed = hourly();
        let record = |name: &str| NodeRecord {
            name: name.parse().unwrap(),
            role: kbo_core::inventory::Role::Broker,
            node_id: None,
            container: Some(serde_json::json!({})),
            kafka_version: None,
            clean_stop: None,
            degraded: false,
        };
        listed[0].manifest.as_mut().unwrap().nodes = vec![record("b1"), record("b2")];
        listed[2].manifest.as_mut().unwrap().nodes = vec![record("b1")];
        let nodes: Vec<NodeName> = vec!["b1".parse().unwrap(), "b2".parse().unwrap()];
        let pick = |nodes| pick_of(&listed, "latest", Wanted::Containers(nodes)).unwrap();
        assert_eq!(pick(&[]), "20261123T040000Z");
        assert_eq!(pick(&nodes[..1]), "20261123T040000Z");
        assert_eq!(pick(&nodes), "20261122T225000Z");
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
        let chosen = select(&listed, &Selector::Latest(0), &dev(None), Wanted::Datasets(&[])).unwrap();
        assert_eq!(
            chosen.passed_over.iter().filter(|passed| passed.is_damaged()).count(),
            1
        );
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
        let nothing = pick_of(&[], "latest", Wanted::Datasets(&[Dataset::Data])).unwrap_err();
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
            let chosen = select(&listed, &Selector::Latest(back), &dev(None), Wanted::Datasets(&wanted));
            prop_assert_eq!(chosen.as_ref().ok().map(|c| &c.backup.id), expected);
        }
    }
}
