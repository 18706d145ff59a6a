//! `kbo list`

use jiff::Timestamp;
use kbo_core::belonging::{Belonging, Identity};
use kbo_core::ids::ClusterId;
use kbo_core::manifest::BackupKind;
use kbo_core::orchestrator::condition;
use kbo_core::ports::store::{BackupStore, Listed};
use kbo_core::report::Outcome;
use kbo_core::retention::Condition;
use kbo_core::text::{clip, human};
use serde::Serialize;

use super::{Context, Ended};
use crate::output;

/// A backup in a listing, for `--json`.
#[derive(Serialize)]
pub(super) struct Row {
    id: String,
    kind: BackupKind,
    pinned: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pin_reason: Option<String>,
    cluster: Option<String>,
    cluster_id: Option<ClusterId>,
    /// Whether it is of another cluster id than its name has now; never `latest`, and not rotated for this one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    other_cluster_id: bool,
    /// Whether it is one to count on: all there, of sound data, of nodes that had stopped cleanly.
    good: bool,
    created: Option<Timestamp>,
    nodes: usize,
    window_seconds: Option<f64>,
    raw_bytes: Option<u64>,
    stored_bytes: Option<u64>,
    caveats: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    degraded: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
    /// What was damaged of the source data.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    source_damage: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unclean: bool,
}

impl Row {
    pub(super) fn of(listed: &Listed, identity: &Identity) -> Self {
        let manifest = listed.manifest.as_ref().ok();
        Self {
            id: listed.id.to_string(),
            kind: listed.kind,
            pinned: listed.pinned,
            pin_reason: listed.pin.as_ref().and_then(|pin| pin.reason.clone()),
            cluster: manifest.map(|manifest| manifest.cluster.to_string()),
            cluster_id: manifest.and_then(|manifest| manifest.cluster_id.clone()),
            other_cluster_id: manifest.is_some_and(|manifest| matches!(identity.of(manifest), Belonging::OtherId(_))),
            good: condition(listed) == Condition::Good,
            created: manifest.map(|manifest| manifest.created),
            nodes: manifest.map_or(0, |manifest| manifest.nodes.len()),
            window_seconds: manifest
                .and_then(|manifest| manifest.window)
                .map(|window| window.seconds),
            raw_bytes: manifest.map(kbo_core::manifest::Manifest::raw_bytes),
            stored_bytes: manifest.map(kbo_core::manifest::Manifest::stored_bytes),
            caveats: manifest.map(|manifest| manifest.caveats.clone()).unwrap_or_default(),
            degraded: manifest.map(|manifest| manifest.degraded.clone()).unwrap_or_default(),
            damage: listed.manifest.as_ref().err().or(listed.missing.as_ref()).cloned(),
            source_damage: manifest
                .map(|manifest| manifest.source_damage().into_iter().map(str::to_owned).collect())
                .unwrap_or_default(),
            unclean: manifest.is_some_and(kbo_core::manifest::Manifest::is_unclean),
        }
    }
}

pub(super) async fn run(context: &Context) -> Ended {
    let listed = context.composed.held.list().await?;
    let identity = context.composed.orchestrator.identity(&listed).await?;
    let rows: Vec<Row> = listed.iter().map(|backup| Row::of(backup, &identity)).collect();
    let damaged = rows.iter().any(|row| row.damage.is_some());
    if context.global.json {
        output::json(&rows);
    } else {
        show(&rows);
    }
    Ok(if damaged { Outcome::Damaged } else { Outcome::Done })
}

fn show(rows: &[Row]) {
    if rows.is_empty() {
        output::line("no backups yet");
        return;
    }
    let head = ["ID", "KIND", "CLUSTER", "NODES", "DOWN", "DATA", "STORED", ""]
        .map(str::to_owned)
        .to_vec();
    let body = rows.iter().map(|row| {
        let mut remarks = vec![];
        if row.pinned {
            let reason = row.pin_reason.as_ref().map(|reason| format!(" ({reason})"));
            remarks.push(format!("pinned{}", reason.unwrap_or_default()));
        }
        remarks.extend(
            row.damage
                .iter()
                .map(|damage| format!("DAMAGED: {}", clip(damage, 200))),
        );
        if let (true, Some(id)) = (row.other_cluster_id, &row.cluster_id) {
            remarks.push(format!("OTHER CLUSTER ID {id}"));
        }
        if row.unclean {
            remarks.push("NOT STOPPED CLEANLY".to_owned());
        }
        if !row.source_damage.is_empty() {
            remarks.push("OF DAMAGED DATA".to_owned());
        }
        if !row.degraded.is_empty() {
            remarks.push(format!("degraded: {} partitions", row.degraded.len()));
        }
        if !row.caveats.is_empty() {
            remarks.push(format!("{} caveats", row.caveats.len()));
        }
        let size = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), human);
        vec![
            row.id.clone(),
            row.kind.to_string(),
            row.cluster.clone().unwrap_or_else(|| "-".to_owned()),
            row.nodes.to_string(),
            row.window_seconds
                .map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1} s")),
            size(row.raw_bytes),
            size(row.stored_bytes),
            remarks.join(", "),
        ]
    });
    let table: Vec<Vec<String>> = std::iter::once(head).chain(body).collect();
    output::table(&table, &[3, 4, 5, 6]);
}
