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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> Timestamp {
        "2026-11-24T12:00:00Z".parse().unwrap()
    }

    fn aged(hours: i64) -> Candidate {
        let created = now() - SignedDuration::from_hours(hours);
        Candidate {
            id: BackupId::at(created),
            kind: BackupKind::Cluster,
            created: Some(created),
            pinned: false,
            condition: Condition::Good,
            in_use: false,
        }
    }

    fn policies(policy: Policy) -> Policies {
        Policies {
            cluster: policy,
            config: policy,
            data: policy,
        }
    }

    fn kept(policy: Policy, candidates: &[Candidate]) -> Vec<bool> {
        decide(now(), &policies(policy), candidates)
            .iter()
            .map(|decision| decision.keep)
            .collect()
    }

    #[test]
    fn backups_go_at_thirty_days_and_not_an_hour_before() {
        let day = 24;
        let candidates = [aged(30 * day), aged(30 * day - 1), aged(1)];
        assert_eq!(kept(Policy::default(), &candidates), [false, true, true]);
    }

    #[test]
    fn the_last_good_one_of_each_kind_stays_however_old() {
        let mut config = aged(10_000);
        config.kind = BackupKind::Config;
        let mut bad = aged(1);
        bad.condition = Condition::Incomplete;
        let candidates = [aged(9_000), aged(8_000), bad, config];
        let decisions = decide(now(), &Policies::default(), &candidates);
        let keeps: Vec<bool> = decisions.iter().map(|decision| decision.keep).collect();
        assert_eq!(keeps, [false, true, true, true]);
        assert!(
            decisions[1]
                .reasons
                .contains(&"the last good one of its kind".to_owned())
        );
        assert!(
            decisions[3]
                .reasons
                .contains(&"the last good one of its kind".to_owned())
        );
        assert_eq!(decisions[0].reasons, ["not younger than 30 days"]);
    }

    #[test]
    fn an_unclean_backup_takes_no_good_ones_place_in_a_number() {
        let week = 7 * 24;
        let unclean = |hours| Candidate {
            condition: Condition::Unclean,
            ..aged(hours)
        };
        // The unclean one is newer, and of the same week.
        let candidates = [aged(20 * week + 30), unclean(20 * week + 1), aged(1)];
        let weekly = Policy {
            days: 1,
            keep_weekly: 3,
            ..Policy::default()
        };
        assert_eq!(kept(weekly, &candidates), [true, false, true]);
        let last = Policy {
            days: 1,
            keep_last: 2,
            ..Policy::default()
        };
        assert_eq!(kept(last, &candidates), [true, false, true]);
        // Where there is no other it counts.
        assert_eq!(kept(weekly, &candidates[1..]), [true, true]);
        // A newer week that has nothing but an unclean one takes no place from an older week with a good one.
        let one_week = Policy {
            keep_weekly: 1,
            ..weekly
        };
        let weeks = [aged(30 * week), unclean(20 * week), unclean(10 * week)];
        assert_eq!(kept(one_week, &weeks), [true, false, false]);
    }

    #[test]
    fn where_none_is_good_the_last_one_stays() {
        let bad = |hours| Candidate {
            condition: Condition::Incomplete,
            ..aged(hours)
        };
        assert_eq!(kept(Policy::default(), &[bad(9_000), bad(8_000)]), [false, true]);
    }

    #[test]
    fn pinned_used_unreadable_and_future_ones_stay_and_say_why() {
        let old = |more: i64| aged(9_000 + more);
        let candidates = [
            Candidate { pinned: true, ..old(5) },
            Candidate { in_use: true, ..old(4) },
            Candidate {
                created: None,
                ..old(3)
            },
            aged(-5),
            old(1),
            old(0),
        ];
        let decisions = decide(now(), &Policies::default(), &candidates);
        let whys = ["pinned", "not ended", "unknown", "future", "not younger", "last good"];
        for (decision, why) in decisions.iter().zip(whys) {
            let reasons = decision.reasons.join(", ");
            assert!(reasons.contains(why), "{why}: {reasons}");
            assert_eq!(decision.keep, why != "not younger", "{why}");
        }
    }

    #[test]
    fn days_weeks_and_months_each_keep_their_newest() {
        let day = 24;
        let policy = Policy {
            days: 1,
            keep_daily: 3,
            keep_weekly: 2,
            keep_monthly: 3,
            ..Policy::default()
        };
        // 24 November 2026 is a Tuesday: noon today, today before noon, yesterday, Sunday, Saturday, a week ago, October, September, August.
        let candidates = [
            aged(1),
            aged(3),
            aged(day),
            aged(2 * day),
            aged(3 * day),
            aged(8 * day),
            aged(30 * day),
            aged(60 * day),
            aged(100 * day),
        ];
        let keeps = kept(policy, &candidates);
        assert_eq!(keeps, [true, true, true, true, false, false, true, true, false]);
    }

    #[test]
    fn what_was_cut_short_takes_no_whole_ones_place() {
        let cut = |hours| Candidate {
            condition: Condition::Incomplete,
            ..aged(hours)
        };
        let policy = Policy {
            days: 1,
            keep_last: 2,
            keep_daily: 1,
            ..Policy::default()
        };
        let candidates = [aged(9_002), aged(9_001), aged(9_000), cut(8_000), cut(1)];
        assert_eq!(kept(policy, &candidates), [false, true, true, false, true]);
    }

    #[test]
    fn an_unclean_one_is_the_last_only_where_there_is_no_clean_one() {
        let unclean = |hours| Candidate {
            condition: Condition::Unclean,
            ..aged(hours)
        };
        let old = Policy::default();
        assert_eq!(kept(old, &[aged(9_000), unclean(8_000)]), [true, false]);
        assert_eq!(kept(old, &[unclean(9_000), unclean(8_000)]), [false, true]);
    }

    #[test]
    fn one_from_the_future_takes_no_others_place() {
        let policy = Policy {
            days: 1,
            keep_last: 1,
            ..Policy::default()
        };
        let candidates = [aged(9_000), aged(8_000), aged(-24)];
        assert_eq!(kept(policy, &candidates), [false, true, true]);
    }

    #[test]
    fn what_lies_in_the_store_twice_stays() {
        let unreadable = Candidate {
            created: None,
            ..aged(9_000)
        };
        let candidates = [aged(9_000), unreadable, aged(1)];
        assert_eq!(kept(Policy::default(), &candidates), [true, true, true]);
    }

    /// What [`doubt`] says at a time, of nightly backups up to a week ago and older ones.
    fn doubted(policy: Policy, at: Timestamp, candidates: &[Candidate]) -> Option<String> {
        let policies = policies(policy);
        doubt(at, &policies, candidates, &decide(at, &policies, candidates), None)
    }

    fn nightly(count: i64) -> Vec<Candidate> {
        (0..count).rev().map(|day| aged(day * 24 + 1)).collect()
    }

    #[test]
    fn a_rotation_that_only_time_explains_is_not_doubted() {
        let policy = Policy {
            days: 30,
            ..Policy::default()
        };
        assert_eq!(doubted(policy, now(), &nightly(60)[29..]), None);
        // A week's holiday, with a week's retention: all but the last go, and time explains it.
        let week = Policy {
            days: 7,
            ..Policy::default()
        };
        let later = now() + SignedDuration::from_hours(7 * 24);
        let kept = nightly(7);
        assert_eq!(doubted(week, later, &kept), None);
        assert_eq!(
            decide(later, &policies(week), &kept)
                .iter()
                .filter(|one| one.keep)
                .count(),
            1
        );
        // Every hour's of a day, kept for half a day: more than half go each night.
        let hourly: Vec<Candidate> = (0..40)
            .rev()
            .map(aged)
            .map(|one| Candidate {
                kind: BackupKind::Config,
                ..one
            })
            .collect();
        let half = Policy {
            days: 1,
            ..Policy::default()
        };
        assert_eq!(
            doubted(half, now() + SignedDuration::from_hours(24), &hourly[16..]),
            None
        );
        // Three of four are few enough to be meant.
        assert_eq!(doubted(half, now(), &nightly(4)), None);
    }

    #[test]
    fn a_policy_that_would_take_most_of_what_there_is_is_doubted() {
        let three = Policy {
            days: 3,
            ..Policy::default()
        };
        let why = doubted(three, now(), &nightly(30)).unwrap();
        assert!(why.contains("27 of 30") && why.contains("[retention]"), "{why}");
    }

    #[test]
    fn a_clock_that_jumped_is_doubted_in_either_direction() {
        let ahead = now() + SignedDuration::from_hours(60 * 24);
        let why = doubted(Policy::default(), ahead, &nightly(30)).unwrap();
        assert!(why.contains("29 of 30") && why.contains("jumped"), "{why}");
        let back = now() - SignedDuration::from_hours(5);
        let mut store = nightly(30);
        let why = doubted(Policy::default(), back, &store).unwrap();
        assert!(
            why.contains("4 h after") && why.contains(store[29].id.as_str()),
            "{why}"
        );
        // A misdated backup that somebody has looked at and pinned is no reason any more.
        store[29].pinned = true;
        store[28].created = Some(back);
        assert_eq!(doubted(Policy::default(), back, &store), None);
        // Clocks of two machines need not agree to the second.
        let little = store[28].created.unwrap() - SignedDuration::from_secs(20);
        assert_eq!(doubted(Policy::default(), little, &store), None);
    }

    fn any_candidate() -> impl Strategy<Value = Candidate> {
        let condition = prop_oneof![
            1 => Just(Condition::Incomplete),
            1 => Just(Condition::Damaged),
            1 => Just(Condition::Unclean),
            3 => Just(Condition::Good)
        ];
        let rarely = || prop::bool::weighted(0.1);
        let flags = (rarely(), rarely(), prop::bool::weighted(0.9));
        (-50i64..20_000, 0usize..3, condition, flags).prop_map(|(hours, kind, condition, (pinned, in_use, dated))| {
            let aged = aged(hours);
            Candidate {
                kind: BackupKind::ALL[kind],
                pinned,
                condition,
                in_use,
                created: aged.created.filter(|_| dated),
                ..aged
            }
        })
    }

    fn any_policy() -> impl Strategy<Value = Policy> {
        (0u32..100, 0u32..5, 0u32..5, 0u32..5, 0u32..5).prop_map(
            |(days, keep_last, keep_daily, keep_weekly, keep_monthly)| Policy {
                days,
                keep_last,
                keep_daily,
                keep_weekly,
                keep_monthly,
            },
        )
    }

    proptest! {
        #[test]
        fn whatever_the_policy_something_good_of_every_kind_is_left(
            policy in any_policy(),
            candidates in prop::collection::vec(any_candidate(), 0..30),
        ) {
            let keeps = kept(policy, &candidates);
            for (candidate, keep) in candidates.iter().zip(&keeps) {
                let is_future = candidate.created.is_some_and(|created| created > now());
                let protected = candidate.pinned || candidate.in_use || candidate.created.is_none() || is_future;
                prop_assert!(*keep || !protected);
            }
            for kind in BackupKind::ALL {
                for least in [Condition::Incomplete, Condition::Damaged, Condition::Unclean, Condition::Good] {
                    // The newest of those that are at least so good: were all better ones gone, it would be the last.
                    let of_kind = |c: &Candidate| c.kind == kind && c.condition >= least;
                    let past = |c: &Candidate| c.created.is_some_and(|created| created <= now());
                    let left = candidates.iter().zip(&keeps).any(|(c, keep)| of_kind(c) && past(c) && *keep);
                    prop_assert!(left || !candidates.iter().any(|c| of_kind(c) && past(c)));
                }
            }
        }

        #[test]
        fn a_greater_number_never_deletes_more_and_a_second_time_deletes_nothing(
            policy in any_policy(),
            which in 0usize..5,
            candidates in prop::collection::vec(any_candidate(), 0..30),
        ) {
            let keeps = kept(policy, &candidates);
            let mut greater = policy;
            let number = [&mut greater.days, &mut greater.keep_last, &mut greater.keep_daily, &mut greater.keep_weekly, &mut greater.keep_monthly];
            for (at, number) in number.into_iter().enumerate() {
                *number += u32::from(at == which);
            }
            for (less, more) in keeps.iter().zip(kept(greater, &candidates)) {
                prop_assert!(more || !less);
            }
            let left: Vec<Candidate> = candidates.into_iter().zip(&keeps).filter(|(_, keep)| **keep).map(|(c, _)| c).collect();
            prop_assert!(kept(policy, &left).into_iter().all(|keep| keep));
        }
    }
}
