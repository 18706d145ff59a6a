//! Backups as rows of a list, and times as people say them.

use jiff::Timestamp;
use kbo_core::manifest::Manifest;
use kbo_core::ports::store::Listed;
use kbo_core::text::{ago, clip, human, one_line};

/// The columns of [`row`].
pub(super) const HEAD: [&str; 7] = ["BACKUP", "AGE", "KIND", "DATA", "STORED", "DOWN", ""];

/// The backups of a cluster, newest first, and those of which nobody knows whose they are.
pub(super) fn of_cluster<'a>(listed: &'a [Listed], cluster: &str) -> Vec<&'a Listed> {
    let ours = |backup: &&Listed| {
        backup
            .manifest
            .as_ref()
            .map_or(true, |manifest| manifest.cluster.as_str() == cluster)
    };
    listed.iter().rev().filter(ours).collect()
}

/// What is wrong with a backup, going by a look.
pub(super) fn damage(backup: &Listed) -> Option<&String> {
    backup.manifest.as_ref().err().or(backup.missing.as_ref())
}

/// A backup as a row of the list.
pub(super) fn row(backup: &Listed, now: Timestamp) -> Vec<String> {
    let manifest = backup.manifest.as_ref().ok();
    let told = |tell: &dyn Fn(&Manifest) -> String| manifest.map_or_else(|| "-".to_owned(), tell);
    vec![
        backup.id.to_string(),
        told(&|manifest| ago(manifest.created, now)),
        backup.kind.to_string(),
        told(&|manifest| human(manifest.raw_bytes())),
        told(&|manifest| human(manifest.stored_bytes())),
        told(&down),
        remarks(backup).join(", "),
    ]
}

fn down(manifest: &Manifest) -> String {
    manifest
        .window
        .map_or_else(|| "-".to_owned(), |window| format!("{:.1} s", window.seconds))
}

/// What is worth saying of a backup, the worst first.
pub(super) fn remarks(backup: &Listed) -> Vec<String> {
    let mut remarks = vec![];
    if let Some(damage) = damage(backup) {
        remarks.push(format!("DAMAGED: {}", one_line(&clip(damage, 120))));
    }
    if let Ok(manifest) = &backup.manifest {
        if manifest.is_unclean() {
            remarks.push("NOT STOPPED CLEANLY".to_owned());
        }
        if !manifest.source_damage().is_empty() {
            remarks.push("OF DAMAGED DATA".to_owned());
        }
    }
    if backup.pinned {
        let reason = backup.pin.as_ref().and_then(|pin| pin.reason.as_ref());
        remarks.push(reason.map_or_else(|| "pinned".to_owned(), |reason| format!("pinned: {reason}")));
    }
    let degraded = backup.manifest.as_ref().map_or(0, |manifest| manifest.degraded.len());
    if degraded > 0 {
        remarks.push(format!("degraded: {degraded} partitions"));
    }
    match backup.manifest.as_ref().map_or(0, |manifest| manifest.caveats.len()) {
        0 => {}
        1 => remarks.push("1 caveat".to_owned()),
        several => remarks.push(format!("{several} caveats")),
    }
    remarks
}

/// Rows as lines with their columns aligned, those listed in `right` to the right.
pub(super) fn aligned(rows: &[Vec<String>], right: &[usize]) -> Vec<String> {
    let shown = |row: &Vec<String>| row.iter().map(|cell| one_line(cell).into_owned()).collect();
    let rows: &[Vec<String>] = &rows.iter().map(shown).collect::<Vec<_>>();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let length = |cell: &String| cell.chars().count();
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(length)
                .max()
                .unwrap_or(0)
        })
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            let pad = " ".repeat(width.saturating_sub(length(cell)));
            match right.contains(&column) {
                true => format!("{pad}{cell}"),
                false => format!("{cell}{pad}"),
            }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_the_units_that_matter() {
        let now: Timestamp = "2026-11-25T01:00:00Z".parse().unwrap();
        for (then, told) in [
            ("2026-11-25T00:59:30Z", "just now"),
            ("2026-11-25T01:01:00Z", "just now"),
            ("2026-11-25T02:00:00Z", "in 1 h"),
            ("2026-11-25T00:57:00Z", "3 min ago"),
            ("2026-11-24T22:00:00Z", "3 h ago"),
            ("2026-11-24T21:58:00Z", "3 h 2 min ago"),
            ("2026-11-24T11:30:00Z", "13 h ago"),
            ("2026-11-22T03:00:00Z", "2 d 22 h ago"),
            ("2026-11-23T01:00:00Z", "2 d ago"),
            ("2026-01-01T00:00:00Z", "328 d ago"),
        ] {
            assert_eq!(ago(then.parse().unwrap(), now), told, "{then}");
        }
    }

    #[test]
    fn columns_line_up_and_nothing_trails() {
        let rows = [
            vec!["a".to_owned(), "10".to_owned(), String::new()],
            vec!["long".to_owned(), "5".to_owned(), "é".to_owned()],
        ];
        assert_eq!(aligned(&rows, &[1]), ["a     10", "long   5  é"]);
    }
}
