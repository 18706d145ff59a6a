//! What is kept and why, on made-up stores and on any.

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
