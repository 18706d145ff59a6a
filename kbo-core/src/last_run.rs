//! What the last runs of each kind of backup came to, kept where a later look finds it: for `kbo schedule show` and the metrics.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{BackupId, ClusterName};
use crate::manifest::{BackupKind, Manifest};
use crate::report::Outcome;
use crate::schedule::ScheduleName;

/// A run of a backup, however it ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Of which cluster.
    pub cluster: ClusterName,
    /// What was to be backed up.
    pub kind: BackupKind,
    /// The schedule that began it; none for a run by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleName>,
    /// When kbo was called.
    pub started: Timestamp,
    /// When it had done.
    pub ended: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
    /// The same as an exit code.
    pub exit_code: u8,
    /// The backup that it made.
    pub id: Option<BackupId>,
    /// From the first stop to the last ready; none where nothing was stopped.
    pub window_seconds: Option<f64>,
    /// Bytes of all files.
    pub raw_bytes: u64,
    /// Bytes of all archives.
    pub stored_bytes: u64,
    /// Whether the backup is one to count on: a run that is done may have archived nodes that had not stopped cleanly. Runs that kbo
    /// 0.1.0 noted do not tell.
    #[serde(default = "yes")]
    pub good: bool,
    /// One sentence for a person.
    pub verdict: String,
}

fn yes() -> bool {
    true
}

impl RunRecord {
    /// From the call to the end.
    pub fn duration_seconds(&self) -> f64 {
        self.ended.duration_since(self.started).as_secs_f64().max(0.0)
    }

    /// What a good backup tells of the run that made it, for runs that nobody recorded.
    pub fn of(manifest: &Manifest) -> Self {
        Self {
            cluster: manifest.cluster.clone(),
            kind: manifest.kind,
            schedule: None,
            started: manifest.created,
            ended: manifest.committed,
            outcome: Outcome::Done,
            exit_code: Outcome::Done.exit_code(),
            id: Some(manifest.id.clone()),
            window_seconds: manifest.window.map(|window| window.seconds),
            raw_bytes: manifest.raw_bytes(),
            stored_bytes: manifest.stored_bytes(),
            good: true,
            verdict: format!("backup {} done", manifest.id),
        }
    }
}

/// Why a run that ended later than now does not count.
pub fn from_the_future(run: &RunRecord) -> String {
    let kind = run.kind;
    format!(
        "a {kind} run that is noted to have ended at {}, which is from the future: check the clocks",
        run.ended
    )
}

/// The last runs of one kind of backup of one cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LastRuns {
    /// The last of all.
    pub last: Option<RunRecord>,
    /// The last that was done, with or without something to look at.
    pub last_success: Option<RunRecord>,
    /// The last that each schedule began.
    #[serde(default)]
    pub by_schedule: Vec<RunRecord>,
}

impl LastRuns {
    /// Forgets runs that ended later than now, and returns them: a clock was wrong, and until that time has come no other run would be
    /// newer.
    pub fn forget_future(&mut self, now: Timestamp) -> Vec<RunRecord> {
        let is_future = |run: &RunRecord| run.ended > now;
        let mut forgotten = vec![];
        for known in [&mut self.last, &mut self.last_success] {
            forgotten.extend(known.take_if(|run| is_future(run)));
        }
        forgotten.extend(self.by_schedule.extract_if(.., |run| is_future(run)));
        // One run may have been all of them.
        forgotten.dedup();
        forgotten
    }

    /// Takes in a run. One that ended before what is known takes nobody's place: runs end in another order than they are noted in.
    pub fn take(&mut self, run: &RunRecord) {
        let is_newer = |known: &Option<RunRecord>| known.as_ref().is_none_or(|known| known.ended <= run.ended);
        if is_newer(&self.last) {
            self.last = Some(run.clone());
        }
        if run.outcome.is_done() && run.good && is_newer(&self.last_success) {
            self.last_success = Some(run.clone());
        }
        if run.schedule.is_some() {
            let known = self.by_schedule.iter().position(|known| known.schedule == run.schedule);
            match known.map(|at| &mut self.by_schedule[at]) {
                Some(known) if known.ended <= run.ended => *known = run.clone(),
                Some(_) => {}
                None => self.by_schedule.push(run.clone()),
            }
        }
    }

    /// The last run that a schedule began; none where it has begun none.
    pub fn of_schedule(&self, name: &ScheduleName) -> Option<&RunRecord> {
        self.by_schedule.iter().find(|run| run.schedule.as_ref() == Some(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(ended: i64, outcome: Outcome, schedule: Option<&str>) -> RunRecord {
        let at = |second| Timestamp::from_second(second).unwrap();
        RunRecord {
            cluster: "dev".parse().unwrap(),
            kind: BackupKind::Config,
            schedule: schedule.map(|name| name.parse().unwrap()),
            started: at(ended - 5),
            ended: at(ended),
            outcome,
            exit_code: outcome.exit_code(),
            id: None,
            window_seconds: None,
            raw_bytes: 0,
            stored_bytes: 0,
            good: true,
            verdict: String::new(),
        }
    }

    #[test]
    fn an_unclean_backup_is_no_success() {
        let mut runs = LastRuns::default();
        runs.take(&run(100, Outcome::Done, None));
        runs.take(&RunRecord {
            good: false,
            ..run(200, Outcome::Done, None)
        });
        assert_eq!(runs.last.unwrap().ended.as_second(), 200);
        assert_eq!(runs.last_success.unwrap().ended.as_second(), 100);
    }

    #[test]
    fn a_failure_does_not_hide_the_last_success_and_an_older_run_hides_nothing() {
        let mut runs = LastRuns::default();
        runs.take(&run(100, Outcome::Done, Some("hourly")));
        runs.take(&run(200, Outcome::Locked, None));
        runs.take(&run(150, Outcome::Failed, Some("hourly")));
        runs.take(&run(50, Outcome::Done, Some("other")));
        assert_eq!(runs.last.as_ref().unwrap().outcome, Outcome::Locked);
        assert_eq!(runs.last_success.as_ref().unwrap().ended.as_second(), 100);
        let of = |name: &str| {
            runs.of_schedule(&name.parse().unwrap())
                .map(|run| run.ended.as_second())
        };
        assert_eq!((of("hourly"), of("other"), of("new")), (Some(150), Some(50), None));
        let text = serde_json::to_string(&runs).unwrap();
        assert_eq!(serde_json::from_str::<LastRuns>(&text).unwrap(), runs);
    }

    #[test]
    fn a_run_of_a_wrong_clock_does_not_stand_in_the_way_of_those_that_follow() {
        let now = |second| Timestamp::from_second(second).unwrap();
        let mut runs = LastRuns::default();
        runs.take(&run(9_000, Outcome::Done, Some("hourly")));
        runs.take(&run(150, Outcome::Done, Some("other")));
        assert_eq!(runs.forget_future(now(9_000)), [], "it is no later than now");
        assert_eq!(
            runs.forget_future(now(200)),
            [run(9_000, Outcome::Done, Some("hourly"))]
        );
        assert_eq!((runs.last.clone(), runs.last_success.clone()), (None, None));
        runs.take(&run(200, Outcome::Done, Some("hourly")));
        let ended = |run: Option<&RunRecord>| run.unwrap().ended.as_second();
        let hourly = runs.of_schedule(&"hourly".parse().unwrap());
        assert_eq!(
            (
                ended(runs.last.as_ref()),
                ended(runs.last_success.as_ref()),
                ended(hourly)
            ),
            (200, 200, 200)
        );
        assert_eq!(ended(runs.of_schedule(&"other".parse().unwrap())), 150);
    }
}
