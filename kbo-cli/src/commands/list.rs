//! `kbo list`

use jiff::Timestamp;
use kbo_core::manifest::BackupKind;
use kbo_core::ports::store::{BackupStore, Listed};
use kbo_core::report::Outcome;
use kbo_core::text::human;
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
    created: Option<Timestamp>,
    nodes: usize,
    window_seconds: Option<f64>,
    raw_bytes: Option<u64>,
    stored_bytes: Option<u64>,
    caveats: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
}

impl Row {
    pub(super) fn of(listed: &Listed) -> Self {
        let manifest = listed.manifest.as_ref().ok();
        Self {
            id: listed.id.to_string(),
            kind: listed.kind,
            pinned: listed.pinned,
            pin_reason: listed.pin.as_ref().and_then(|pin| pin.reason.clone()),
            cluster: manifest.map(|manifest| manifest.cluster.to_string()),
            created: manifest.map(|manifest| manifest.created),
            nodes: manifest.map_or(0, |manifest| manifest.nodes.len()),
            window_seconds: manifest
                .and_then(|manifest| manifest.window)
                .map(|window| window.seconds),
            raw_bytes: manifest.map(kbo_core::manifest::Manifest::raw_bytes),
            stored_bytes: manifest.map(kbo_core::manifest::Manifest::stored_bytes),
            caveats: manifest.map(|manifest| manifest.caveats.clone()).unwrap_or_default(),
            damage: listed.manifest.as_ref().err().or(listed.missing.as_ref()).cloned(),
        }
    }
}

pub(super) async fn run(context: &Context) -> Ended {
    let listed = context.composed.held.list().await?;
    let rows: Vec<Row> = listed.iter().map(Row::of).collect();
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
        remarks.extend(row.damage.iter().map(|damage| format!("DAMAGED: {damage}")));
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
