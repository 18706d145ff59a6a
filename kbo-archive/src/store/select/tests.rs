//! What is taken of a store, and what is passed over and why.

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
