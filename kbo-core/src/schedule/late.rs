//! Whether a schedule's last good backup is older than it should be.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::Schedule;

/// How long after its time a backup may be unfinished: it waits for another run, stops, and streams its archives.
pub const GRACE_SECONDS: i64 = 2 * 3600;

/// What a schedule has come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Due {
    /// The first time that it was or will be due since the last good backup.
    pub since: Timestamp,
    /// Whether that is so long ago that the backup should be there.
    pub late: bool,
}

/// Looks at the first time after the last good backup and after the schedule was installed: what was due before, it did not have to make.
/// `next` tells the first time after another.
pub fn due(
    schedule: &Schedule,
    last_good: Option<Timestamp>,
    now: Timestamp,
    next: impl Fn(Timestamp) -> Option<Timestamp>,
) -> Option<Due> {
    let from = last_good.map_or(schedule.installed, |last_good| last_good.max(schedule.installed));
    let since = next(from)?;
    // What is due again before the grace is over counts at the next time: an hourly backup is late after an hour, not after two.
    let interval = next(since).map(|following| following.duration_since(since));
    let grace = SignedDuration::from_secs(GRACE_SECONDS);
    let grace = interval.map_or(grace, |interval| grace.min(interval.max(SignedDuration::from_mins(10))));
    Some(Due {
        since,
        late: since.checked_add(grace).is_ok_and(|limit| limit < now),
    })
}

impl Schedule {
    /// The same where kbo itself knows the times.
    pub fn due(&self, last_good: Option<Timestamp>, now: Timestamp, zone: &TimeZone) -> Option<Due> {
        due(self, last_good, now, |after| self.when.next(after, zone))
    }
}
