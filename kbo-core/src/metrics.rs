//! What Prometheus is told of backups: the text format of a node_exporter's textfile.

use std::fmt::Write;

use jiff::Timestamp;

use crate::last_run::{LastRuns, RunRecord};
use crate::manifest::BackupKind;
use crate::report::Outcome;

/// A number of a run.
type Number = fn(&RunRecord, Timestamp) -> Option<f64>;

/// Of the last run, however it ended.
const LAST_RUN: &[(&str, &str, Number)] = &[
    (
        "last_run_timestamp_seconds",
        "When the last run ended, however it ended.",
        |run, _| Some(seconds(run.ended)),
    ),
    (
        "last_run_exit_code",
        "The exit code of the last run; 0 is done.",
        |run, _| Some(f64::from(run.exit_code)),
    ),
    ("last_run_duration_seconds", "How long the last run took.", |run, _| {
        Some(run.duration_seconds())
    }),
    (
        "last_run_window_seconds",
        "How long the last run had the cluster down; 0 where nothing was stopped.",
        |run, _| Some(run.window_seconds.unwrap_or(0.0)),
    ),
];

/// Of the last good one.
#[expect(
    clippy::cast_precision_loss,
    reason = "bytes beyond 2^53 are of no matter to a graph"
)]
const LAST_SUCCESS: &[(&str, &str, Number)] = &[
    (
        "last_success_timestamp_seconds",
        "When the last good backup was done.",
        |run, _| Some(seconds(run.ended)),
    ),
    (
        "last_success_age_seconds",
        "How old what is in the last good backup was when this was written: since the start of that run, where the timestamp is its end.",
        |run, now| Some(now.duration_since(run.started).as_secs_f64().max(0.0)),
    ),
    (
        "last_success_duration_seconds",
        "How long the last good backup took.",
        |run, _| Some(run.duration_seconds()),
    ),
    (
        "last_success_window_seconds",
        "How long the last good backup had the cluster down; 0 where nothing was stopped.",
        |run, _| Some(run.window_seconds.unwrap_or(0.0)),
    ),
    (
        "last_success_raw_bytes",
        "Bytes of the files in the last good backup.",
        |run, _| Some(run.raw_bytes as f64),
    ),
    (
        "last_success_stored_bytes",
        "Bytes of the archives of the last good backup.",
        |run, _| Some(run.stored_bytes as f64),
    ),
];

const OUTCOMES: [Outcome; 9] = [
    Outcome::Done,
    Outcome::Failed,
    Outcome::Usage,
    Outcome::Refused,
    Outcome::NeedsPerson,
    Outcome::Damaged,
    Outcome::Locked,
    Outcome::Attention,
    Outcome::Interrupted,
];

/// The whole file.
pub fn textfile(cluster: &str, runs: &[(BackupKind, LastRuns)], now: Timestamp) -> String {
    let mut text = String::new();
    let cluster = escaped(cluster);
    let labels = |kind: &BackupKind| format!("cluster=\"{cluster}\",kind=\"{kind}\"");
    let mut group = |numbers: &[(&str, &str, Number)], chosen: fn(&LastRuns) -> Option<&RunRecord>| {
        for (name, help, number) in numbers {
            let values = runs
                .iter()
                .filter_map(|(kind, runs)| Some((kind, number(chosen(runs)?, now)?)));
            let lines = values.map(|(kind, value)| format!("kbo_backup_{name}{{{}}} {value}\n", labels(kind)));
            metric(&mut text, name, help, &lines.collect::<Vec<_>>());
        }
    };
    group(LAST_RUN, |runs| runs.last.as_ref());
    group(LAST_SUCCESS, |runs| runs.last_success.as_ref());
    let states = runs
        .iter()
        .filter_map(|(kind, runs)| Some((kind, runs.last.as_ref()?.outcome)));
    let states = states.flat_map(|(kind, last)| {
        let labels = labels(kind);
        OUTCOMES.map(|outcome| {
            let is = u8::from(outcome == last);
            format!(
                "kbo_backup_last_run_outcome{{{labels},outcome=\"{}\"}} {is}\n",
                outcome.as_str()
            )
        })
    });
    let help = "1 for how the last run ended, 0 for how it did not.";
    metric(&mut text, "last_run_outcome", help, &states.collect::<Vec<_>>());
    text
}

fn metric(text: &mut String, name: &str, help: &str, lines: &[String]) {
    if !lines.is_empty() {
        let _ = write!(
            text,
            "# HELP kbo_backup_{name} {help}\n# TYPE kbo_backup_{name} gauge\n{}",
            lines.concat()
        );
    }
}

/// Label values may hold anything but these as they are.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn seconds(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(kind: BackupKind, outcome: Outcome, ended: &str) -> RunRecord {
        let ended: Timestamp = ended.parse().unwrap();
        RunRecord {
            cluster: "dev".parse().unwrap(),
            kind,
            schedule: None,
            started: ended - jiff::SignedDuration::from_millis(12_500),
            ended,
            outcome,
            exit_code: outcome.exit_code(),
            id: None,
            window_seconds: (kind == BackupKind::Cluster).then_some(8.25),
            raw_bytes: 1_234_567,
            stored_bytes: 456,
            good: true,
            verdict: String::new(),
        }
    }

    #[test]
    fn the_text_is_the_golden_one() {
        let mut cluster = LastRuns::default();
        cluster.take(&run(BackupKind::Cluster, Outcome::Done, "2026-11-25T03:00:12.5Z"));
        cluster.take(&run(BackupKind::Cluster, Outcome::Refused, "2026-11-26T03:00:01Z"));
        let mut config = LastRuns::default();
        config.take(&run(BackupKind::Config, Outcome::Done, "2026-11-26T04:00:02Z"));
        let runs = [
            (BackupKind::Cluster, cluster),
            (BackupKind::Config, config),
            (BackupKind::Data, LastRuns::default()),
        ];
        let text = textfile("dev", &runs, "2026-11-26T04:00:02Z".parse().unwrap());
        assert_eq!(text, include_str!("../testdata/metrics.prom"));
    }

    #[test]
    fn nothing_known_is_an_empty_file_and_hostile_labels_are_escaped() {
        assert_eq!(
            textfile("dev", &[(BackupKind::Data, LastRuns::default())], Timestamp::UNIX_EPOCH),
            ""
        );
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
