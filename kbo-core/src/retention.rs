//! Which backups go and which stay. Pure: from what the store lists to a decision with its reasons for each.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::ids::BackupId;
use crate::manifest::BackupKind;

/// How long backups of a kind stay. Whatever any of the numbers keeps is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Days that every backup stays.
    pub days: u32,
    /// So many of the newest stay whatever their age.
    pub keep_last: u32,
    /// The newest of each of so many days (UTC) that have any.
    pub keep_daily: u32,
    /// The same by ISO weeks.
    pub keep_weekly: u32,
    /// The same by months.
    pub keep_monthly: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            days: 30,
            keep_last: 0,
            keep_daily: 0,
            keep_weekly: 0,
            keep_monthly: 0,
        }
    }
}

/// The policies of all kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policies {
    /// Of backups of configuration and data.
    pub cluster: Policy,
    /// Of configuration alone.
    pub config: Policy,
    /// Of data alone.
    pub data: Policy,
}

impl Policies {
    /// The policy of a kind.
    pub fn of(&self, kind: BackupKind) -> &Policy {
        match kind {
            BackupKind::Cluster => &self.cluster,
            BackupKind::Config => &self.config,
            BackupKind::Data => &self.data,
        }
    }
}

/// How much of a backup there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// Archives are missing, or are not of the size that the manifest tells.
    Incomplete,
    /// All of it, but of source data that were found damaged while they were archived.
    Damaged,
    /// All of it, but of nodes that had not stopped cleanly.
    Unclean,
    /// All of it.
    Good,
}

/// A backup of the cluster, as far as its retention cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub id: BackupId,
    /// Its kind.
    pub kind: BackupKind,
    /// When its run began, as the manifest says; `None` where that cannot be read.
    pub created: Option<Timestamp>,
    /// Whether it is pinned.
    pub pinned: bool,
    /// How much of it there is.
    pub condition: Condition,
    /// Whether a run that has not ended reads or makes it.
    pub in_use: bool,
}

/// What becomes of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// The backup.
    pub id: BackupId,
    /// Its kind.
    pub kind: BackupKind,
    /// When its run began, as the manifest says; `None` where that cannot be read.
    pub created: Option<Timestamp>,
    /// Its age in whole days.
    pub age_days: Option<i64>,
    /// Whether it is pinned.
    pub pinned: bool,
    /// Whether it stays.
    pub keep: bool,
    /// Why.
    pub reasons: Vec<String>,
}

/// Decides on every candidate, in their order.
///
/// Numbers count only what is all there and not from the future, and prefer what was stopped cleanly: neither a backup that was cut
/// short, nor one of a wrong clock, nor an unclean one takes the place of one that can be restored.
pub fn decide(now: Timestamp, policies: &Policies, candidates: &[Candidate]) -> Vec<Decision> {
    let mut decisions: Vec<Decision> = candidates
        .iter()
        .map(|candidate| Decision {
            id: candidate.id.clone(),
            kind: candidate.kind,
            created: candidate.created,
            age_days: candidate.created.map(|created| days_between(created, now)),
            pinned: candidate.pinned,
            keep: false,
            reasons: unconditional(candidate, candidates, now),
        })
        .collect();
    for kind in BackupKind::ALL {
        let policy = policies.of(kind);
        let mut dated: Vec<(Timestamp, usize)> = candidates
            .iter()
            .enumerate()
            .filter(|(_, candidate)| candidate.kind == kind)
            .filter_map(|(at, candidate)| Some((candidate.created.filter(|created| *created <= now)?, at)))
            .collect();
        // Newest first.
        dated.sort_by(|one, other| other.cmp(one));
        for (created, at) in &dated {
            if days_between(*created, now) < i64::from(policy.days) {
                let why = format!("younger than {} days", policy.days);
                decisions[*at].reasons.push(why);
            }
        }
        let condition = |at: usize| candidates[at].condition;
        let mut whole = dated.clone();
        whole.retain(|(_, at)| condition(*at) > Condition::Incomplete);
        by_number(policy, &whole, &|at| condition(at) == Condition::Good, &mut decisions);
        // The newest of the best there are.
        let best = dated.iter().map(|(_, at)| condition(*at)).max();
        if let Some((_, at)) = dated.iter().find(|(_, at)| Some(condition(*at)) == best) {
            decisions[*at].reasons.push(last_of_its_kind(condition(*at)).to_owned());
        }
    }
    for (decision, candidate) in decisions.iter_mut().zip(candidates) {
        decision.keep = !decision.reasons.is_empty();
        if !decision.keep {
            let limit = policies.of(decision.kind).days;
            decision.reasons.push(format!("not younger than {limit} days"));
        }
        if candidate.condition == Condition::Incomplete && candidate.created.is_some() {
            decision
                .reasons
                .push("NOT WHOLE: kbo verify names what is missing".to_owned());
        }
    }
    decisions
}

/// What a person should look at before a rotation removes anything; nothing where it may go on.
///
/// `of_this_run` is the backup that the run has just made, if any: what speaks of the time since the last run is not its own.
pub fn doubt(
    now: Timestamp,
    policies: &Policies,
    candidates: &[Candidate],
    decisions: &[Decision],
    of_this_run: Option<&BackupId>,
) -> Option<String> {
    let newest = candidates
        .iter()
        .filter(|candidate| !candidate.pinned)
        .filter_map(|candidate| Some((candidate.created?, &candidate.id)))
        .max();
    if let Some((created, id)) = newest
        && created.duration_since(now) > CLOCKS_MAY_DIFFER
    {
        return Some(format!(
            "backup {id} is dated {} after this machine's time ({now}): a clock was or is wrong; correct the clock, or pin that backup if it is the one that is misdated",
            lasting(created.duration_since(now))
        ));
    }
    let going: Vec<&Decision> = decisions.iter().filter(|decision| !decision.keep).collect();
    let earlier: Vec<Candidate> = candidates
        .iter()
        .filter(|candidate| Some(&candidate.id) != of_this_run)
        .cloned()
        .collect();
    let last = earlier.iter().filter_map(|candidate| candidate.created).max()?;
    let since = now.duration_since(last);
    let usual = usual_gap(&earlier);
    let is_usual = since <= usual;
    // What would have stayed when the last run rotated, and goes now, is what the time since then explains.
    let stayed = decide(last, policies, &earlier);
    let explained = |decision: &&&Decision| {
        is_usual
            && stayed
                .iter()
                .any(|then| then.id == decision.id && then.kind == decision.kind && then.keep)
    };
    let beyond = going.len() - going.iter().filter(explained).count();
    if beyond <= 3 || beyond * 2 <= candidates.len() {
        return None;
    }
    let (going, all) = (going.len(), candidates.len());
    Some(match is_usual {
        false => format!(
            "it would remove {going} of {all} backups, and the last one before this run is {} old ({last}): has this machine's clock jumped?",
            lasting(since)
        ),
        true => format!(
            "it would remove {going} of {all} backups, {beyond} more than the {} since the last one ({last}) explain: has [retention] or the clock changed?",
            lasting(since)
        ),
    })
}

/// Two clocks that are well may differ by as much.
const CLOCKS_MAY_DIFFER: SignedDuration = SignedDuration::from_secs(60);

/// How long a pause between runs may last before a clock that jumped is as likely: three times what is usual between this store's
/// backups, and a week with a day to spare in any case.
fn usual_gap(candidates: &[Candidate]) -> SignedDuration {
    let mut times: Vec<Timestamp> = candidates.iter().filter_map(|candidate| candidate.created).collect();
    times.sort_unstable();
    let mut gaps: Vec<SignedDuration> = times.windows(2).map(|pair| pair[1].duration_since(pair[0])).collect();
    gaps.sort_unstable();
    let median = gaps.get(gaps.len() / 2).copied().unwrap_or_default();
    median.saturating_mul(3).max(SignedDuration::from_hours(8 * 24))
}

/// A length of time in the unit that tells most.
fn lasting(time: SignedDuration) -> String {
    let (minutes, hours) = (time.as_mins(), time.as_hours());
    match (hours, minutes) {
        (48.., _) => format!("{} days", hours / 24),
        (2.., _) => format!("{hours} h"),
        (_, 2..) => format!("{minutes} min"),
        _ => format!("{} s", time.as_secs()),
    }
}

fn last_of_its_kind(condition: Condition) -> &'static str {
    match condition {
        Condition::Good => "the last good one of its kind",
        Condition::Unclean => "the last whole one of its kind, though not stopped cleanly",
        Condition::Damaged => "the last whole one of its kind, though of damaged data",
        Condition::Incomplete => "the last one of its kind, though not whole",
    }
}

/// What keeps a backup whatever the policy says.
fn unconditional(candidate: &Candidate, all: &[Candidate], now: Timestamp) -> Vec<String> {
    let mut reasons = vec![];
    let mut keep = |is_so: bool, why: &str| {
        if is_so {
            reasons.push(why.to_owned());
        }
    };
    keep(candidate.pinned, "pinned");
    keep(candidate.in_use, "a run that has not ended needs it");
    keep(
        candidate.created.is_none(),
        "its manifest cannot be read, so its age is unknown: look at it and remove it by hand",
    );
    keep(
        candidate.created.is_some_and(|created| created > now),
        "it is from the future: check the clocks",
    );
    keep(
        all.iter().filter(|other| other.id == candidate.id).count() > 1,
        "it lies in the store more than once: remove one by hand",
    );
    reasons
}

/// The year, and which day, week or month of it.
type PeriodOf = fn(Timestamp) -> (i16, i16);

/// What the numbers of a policy keep.
fn by_number(
    policy: &Policy,
    newest_first: &[(Timestamp, usize)],
    is_good: &dyn Fn(usize) -> bool,
    decisions: &mut [Decision],
) {
    let last = usize::try_from(policy.keep_last).unwrap_or(usize::MAX);
    let (good, others): (Vec<_>, Vec<_>) = newest_first.iter().copied().partition(|(_, at)| is_good(*at));
    for (_, at) in good.into_iter().chain(others).take(last) {
        decisions[at]
            .reasons
            .push(format!("one of the last {}", policy.keep_last));
    }
    let periods: [(u32, &str, PeriodOf); 3] = [
        (policy.keep_daily, "day", |at| {
            let date = at.to_zoned(TimeZone::UTC).date();
            (date.year(), date.day_of_year())
        }),
        (policy.keep_weekly, "week", |at| {
            let week = at.to_zoned(TimeZone::UTC).date().iso_week_date();
            (week.year(), i16::from(week.week()))
        }),
        (policy.keep_monthly, "month", |at| {
            let date = at.to_zoned(TimeZone::UTC).date();
            (date.year(), i16::from(date.month()))
        }),
    ];
    for (count, name, period_of) in periods {
        // Of each period the newest good one. Periods that have none come after all that have one: else a month of bad nights would
        // take the places of the good ones before it.
        let mut good: BTreeMap<Reverse<(i16, i16)>, usize> = BTreeMap::new();
        let mut others: BTreeMap<Reverse<(i16, i16)>, usize> = BTreeMap::new();
        for (created, at) in newest_first {
            let of_its_like = if is_good(*at) { &mut good } else { &mut others };
            of_its_like.entry(Reverse(period_of(*created))).or_insert(*at);
        }
        others.retain(|period, _| !good.contains_key(period));
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        for at in good.into_values().chain(others.into_values()).take(count) {
            decisions[at].reasons.push(format!("the newest of its {name}"));
        }
    }
}

/// Whole days; negative for the future.
fn days_between(from: Timestamp, to: Timestamp) -> i64 {
    to.duration_since(from).as_secs().div_euclid(24 * 3600)
}

#[cfg(test)]
mod tests;
