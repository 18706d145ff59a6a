//! A time table as cron writes it: read as strictly as every cron does, so that no daemon takes it otherwise or passes over it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use cronexpr::{Crontab, FallbackTimezoneOption, ParseOptions, parse_crontab_with};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::InvalidSchedule;

/// Five fields, in the grammar that the usual crons share: no seconds, no `L`, `W`, `#` or `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
}

/// The values of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    values: BTreeSet<u8>,
    /// Whether it begins with an asterisk: then cron wants the day of the month AND that of the week, else one of them.
    star: bool,
    full: bool,
    /// As `cronexpr` is given it: numbers only.
    plain: String,
}

/// What a field may hold.
struct Range {
    what: &'static str,
    low: u8,
    high: u8,
    names: &'static [&'static str],
    /// What the first name stands for.
    first: u8,
}

const MINUTE: Range = Range {
    what: "minute",
    low: 0,
    high: 59,
    names: &[],
    first: 0,
};
const HOUR: Range = Range {
    what: "hour",
    low: 0,
    high: 23,
    names: &[],
    first: 0,
};
const DAY: Range = Range {
    what: "day of the month",
    low: 1,
    high: 31,
    names: &[],
    first: 0,
};
const MONTHS: &[&str] = &[
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const MONTH: Range = Range {
    what: "month",
    low: 1,
    high: 12,
    names: MONTHS,
    first: 1,
};
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// Seven is Sunday too.
const WEEKDAY: Range = Range {
    what: "day of the week",
    low: 0,
    high: 7,
    names: WEEKDAYS,
    first: 0,
};

/// The words that cron takes for five fields.
const NICKNAMES: &[(&str, &str)] = &[
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

impl FromStr for Cron {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, InvalidSchedule> {
        let wrong = |why: String| InvalidSchedule::new("--cron", text, why, "five fields such as \"0 3 * * *\"");
        let lower = text.trim().to_ascii_lowercase();
        let expanded = NICKNAMES
            .iter()
            .find(|(name, _)| *name == lower)
            .map_or(lower.as_str(), |(_, fields)| fields);
        if expanded.starts_with('@') {
            let known: Vec<&str> = NICKNAMES.iter().map(|(name, _)| *name).collect();
            return Err(wrong(format!(
                "of the words that begin with @ kbo takes {}",
                known.join(", ")
            )));
        }
        let fields: Vec<&str> = expanded.split([' ', '\t']).filter(|field| !field.is_empty()).collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(wrong(format!(
                "it has {} fields, not 5 (minute hour day month weekday)",
                fields.len()
            )));
        };
        let cron = Self {
            text: fields.join(" "),
            minute: field(&MINUTE, minute).map_err(wrong)?,
            hour: field(&HOUR, hour).map_err(wrong)?,
            day: field(&DAY, day).map_err(wrong)?,
            month: field(&MONTH, month).map_err(wrong)?,
            weekday: field(&WEEKDAY, weekday).map_err(wrong)?,
        };
        for (field, range) in [(&cron.day, &DAY), (&cron.weekday, &WEEKDAY)] {
            // Whether such a list begins with an asterisk decides how the two fields of days go together: too fine a point to guess at.
            if field.star && !field.full && field.plain.contains(',') {
                return Err(wrong(format!(
                    "the {} is a list that begins with *; write its values out",
                    range.what
                )));
            }
        }
        if !cron.ever_comes() {
            return Err(wrong("no month of it has such a day: it would never run".to_owned()));
        }
        cron.crontab(&TimeZone::UTC).map_err(wrong)?;
        Ok(cron)
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A field: a list of values, ranges and asterisks, the latter two with or without a step.
fn field(range: &Range, text: &str) -> Result<Field, String> {
    let mut values = BTreeSet::new();
    let mut plain = vec![];
    for item in text.split(',') {
        let (span, step) = match item.split_once('/') {
            Some((span, step)) => (span, Some(number(range, step, "step")?)),
            None => (item, None),
        };
        let (from, to) = if span == "*" {
            (range.low, range.high)
        } else if let Some((from, to)) = span.split_once('-') {
            (value(range, from)?, value(range, to)?)
        } else if step.is_some() {
            return Err(format!(
                "the {} {item:?} has a step but no range; write {span}-{}/…",
                range.what, range.high
            ));
        } else {
            let value = value(range, span)?;
            (value, value)
        };
        if from > to {
            return Err(format!(
                "the {} {span:?} runs backwards; write two ranges with a comma",
                range.what
            ));
        }
        let step = step.unwrap_or(1);
        if step == 0 || step > range.high {
            return Err(format!(
                "the {} {item:?} has a step that is not between 1 and {}",
                range.what, range.high
            ));
        }
        values.extend((from..=to).step_by(usize::from(step)));
        plain.push(item);
    }
    let is_weekday = range.high == WEEKDAY.high;
    if is_weekday && values.remove(&7) {
        values.insert(0);
    }
    let highest = if is_weekday { 6 } else { range.high };
    let full = (range.low..=highest).all(|value| values.contains(&value));
    let star = text.starts_with('*');
    let plain = match (star, full) {
        (true, true) => "*".to_owned(),
        (true, false) => plain.join(","),
        (false, _) => joined(&values, ",", |value| value.to_string()),
    };
    Ok(Field {
        values,
        star,
        full,
        plain,
    })
}

fn value(range: &Range, text: &str) -> Result<u8, String> {
    if let Some(at) = range.names.iter().position(|name| *name == text) {
        return Ok(range.first + u8::try_from(at).unwrap_or(0));
    }
    let value = number(range, text, "value")?;
    if (range.low..=range.high).contains(&value) {
        return Ok(value);
    }
    Err(format!(
        "{value} is no {}; those go from {} to {}",
        range.what, range.low, range.high
    ))
}

fn number(range: &Range, text: &str, what: &str) -> Result<u8, String> {
    let digits = !text.is_empty() && text.len() <= 2 && text.bytes().all(|c| c.is_ascii_digit());
    let number = if digits { text.parse().ok() } else { None };
    number.ok_or_else(|| format!("the {} has {text:?} where a {what} should stand", range.what))
}

fn joined(values: &BTreeSet<u8>, separator: &str, shown: impl Fn(u8) -> String) -> String {
    values
        .iter()
        .map(|value| shown(*value))
        .collect::<Vec<_>>()
        .join(separator)
}

impl Cron {
    /// Every day at a time.
    pub(super) fn daily(hour: u8, minute: u8) -> Result<Self, InvalidSchedule> {
        format!("{minute} {hour} * * *").parse()
    }

    /// Whether one of the days is enough where both fields of days are given.
    fn any_day(&self) -> bool {
        !self.day.star && !self.weekday.star
    }

    fn ever_comes(&self) -> bool {
        let days_of = |month: u8| match month {
            2 => 29,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let lowest = self.day.values.first().copied().unwrap_or(u8::MAX);
        self.any_day() || self.month.values.iter().any(|month| lowest <= days_of(*month))
    }

    fn crontab(&self, zone: &TimeZone) -> Result<Crontab, String> {
        let fields =
            [&self.minute, &self.hour, &self.day, &self.month, &self.weekday].map(|field| field.plain.as_str());
        let mut text = fields.join(" ");
        let mut options = ParseOptions::default();
        match zone.iana_name() {
            Some(name) => text.extend([" ", name]),
            // A zone without a name can only be that of this machine.
            None => options.fallback_timezone_option = FallbackTimezoneOption::System,
        }
        parse_crontab_with(&text, options).map_err(|error| error.to_string())
    }

    /// The first time after `after`; none where the calendar ends before it.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let next = self.crontab(zone).ok()?.find_next(after.to_string().as_str()).ok()?;
        Some(next.timestamp())
    }

    /// The same times as `OnCalendar=` of systemd has them: two expressions where either of the days is enough.
    pub fn on_calendar(&self) -> Vec<String> {
        let two_digits = |field: &Field| match field.full {
            true => "*".to_owned(),
            false => joined(&field.values, ",", |value| format!("{value:02}")),
        };
        let time = format!("{}:{}:00", two_digits(&self.hour), two_digits(&self.minute));
        let month = two_digits(&self.month);
        let days = format!("*-{month}-{} {time}", two_digits(&self.day));
        let any_day = format!("*-{month}-* {time}");
        let names = |value: u8| {
            let name = WEEKDAYS[usize::from(value % 7)];
            format!("{}{}", name[..1].to_ascii_uppercase(), &name[1..])
        };
        let weekdays = joined(&self.weekday.values, ",", names);
        match (self.any_day(), self.day.full, self.weekday.full) {
            (true, true, _) | (true, _, true) => vec![any_day],
            (true, false, false) => vec![days, format!("{weekdays} {any_day}")],
            (false, _, true) => vec![days],
            (false, _, false) => vec![format!("{weekdays} {days}")],
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cron(text: &str) -> Cron {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn next(text: &str, after: &str, zone: &str) -> String {
        let zone = TimeZone::get(zone).unwrap();
        cron(text).next(after.parse().unwrap(), &zone).unwrap().to_string()
    }

    /// Whether it comes at this minute, by the letter of crontab(5).
    fn matches(cron: &Cron, at: Timestamp) -> bool {
        let at = at.to_zoned(TimeZone::UTC);
        let has = |field: &Field, value: i8| field.values.contains(&u8::try_from(value).unwrap());
        let (day, weekday) = (
            has(&cron.day, at.day()),
            has(&cron.weekday, at.weekday().to_sunday_zero_offset()),
        );
        let days = if cron.any_day() { day || weekday } else { day && weekday };
        has(&cron.minute, at.minute()) && has(&cron.hour, at.hour()) && has(&cron.month, at.month()) && days
    }

    #[test]
    fn the_next_time_is_that_of_the_zone_and_never_the_time_itself() {
        assert_eq!(next("0 3 * * *", "2026-11-25T03:00:00Z", "UTC"), "2026-11-26T03:00:00Z");
        assert_eq!(next("0 3 * * *", "2026-11-25T02:59:59Z", "UTC"), "2026-11-25T03:00:00Z");
        assert_eq!(
            next("0 3 * * *", "2026-07-01T00:00:00Z", "Europe/Berlin"),
            "2026-07-01T01:00:00Z"
        );
        assert_eq!(
            next("30 4 1,15 * fri", "2026-11-25T00:00:00Z", "UTC"),
            "2026-11-27T04:30:00Z"
        );
        assert_eq!(
            next("0 0 29 feb *", "2026-11-25T00:00:00Z", "UTC"),
            "2028-02-29T00:00:00Z"
        );
        assert_eq!(next("0 0 * * 7", "2026-11-25T00:00:00Z", "UTC"), "2026-11-29T00:00:00Z");
        assert_eq!(next("@weekly", "2026-11-25T00:00:00Z", "UTC"), "2026-11-29T00:00:00Z");
    }

    #[test]
    fn systemd_gets_the_same_times_and_two_lines_where_either_day_is_enough() {
        assert_eq!(cron("0 3 * * *").on_calendar(), ["*-*-* 03:00:00"]);
        assert_eq!(cron("*/20 * * * *").on_calendar(), ["*-*-* *:00,20,40:00"]);
        assert_eq!(
            cron("0 3 * * mon-fri").on_calendar(),
            ["Mon,Tue,Wed,Thu,Fri *-*-* 03:00:00"]
        );
        assert_eq!(cron("0 3 * * 5-7").on_calendar(), ["Sun,Fri,Sat *-*-* 03:00:00"]);
        assert_eq!(
            cron("5 3 1,15 * 1").on_calendar(),
            ["*-*-01,15 03:05:00", "Mon *-*-* 03:05:00"]
        );
        assert_eq!(
            cron("5 3 */2 jan 1").on_calendar().len(),
            1,
            "an asterisk makes cron want both"
        );
        assert_eq!(cron("0 12 1-31 * 2").on_calendar(), ["*-*-* 12:00:00"]);
    }

    #[test]
    fn what_some_cron_would_take_otherwise_or_pass_over_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "0 fields"),
            ("* * * *", "4 fields"),
            ("0 0 3 * * *", "6 fields"),
            ("60 * * * *", "60 is no minute"),
            ("* 24 * * *", "24 is no hour"),
            ("0 0 0 * *", "0 is no day of the month"),
            ("0 0 * 13 *", "13 is no month"),
            ("0 0 * * 8", "8 is no day of the week"),
            ("0 0 * * moon", "\"moon\""),
            ("5/10 * * * *", "no range"),
            ("*/0 * * * *", "step"),
            ("*/99 * * * *", "step"),
            ("10-5 * * * *", "backwards"),
            ("0 0 * * fri-sun", "backwards"),
            ("0 0 30 2 *", "never run"),
            ("0 0 31 4,6 *", "never run"),
            ("0 0 L * *", "\"l\""),
            ("0 0 ? * *", "\"?\""),
            ("H 3 * * *", "\"h\""),
            ("0 0 */2,5 * 1", "begins with *"),
            ("-1 * * * *", "\"\""),
            ("1- * * * *", "\"\""),
            ("1,,2 * * * *", "\"\""),
            ("+1 * * * *", "\"+1\""),
            ("001 * * * *", "\"001\""),
            ("@reboot", "@hourly"),
            ("0 3 * * * UTC", "6 fields"),
            ("0 3 * *\n* * * * * root rm", "fields"),
            ("٣ * * * *", "value"),
        ] {
            let error = text.parse::<Cron>().unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_line_break_does_not_get_into_a_crontab() {
        for text in ["0 3 * *\t*", "0 3\u{b}* * *", "0 3 * * *\n", "\r0 3 * * *"] {
            if let Ok(cron) = text.parse::<Cron>() {
                assert!(!cron.to_string().contains(char::is_control), "{text:?}");
            }
        }
    }

    fn item(low: u8, high: u8) -> impl Strategy<Value = String> {
        prop_oneof![
            (low..=high).prop_map(|value| value.to_string()),
            (low..=high, low..=high).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
            (low..=high, low..=high, 1..=high).prop_map(|(a, b, step)| format!("{}-{}/{step}", a.min(b), a.max(b))),
        ]
    }

    fn any_field(low: u8, high: u8) -> impl Strategy<Value = String> {
        prop_oneof![
            Just("*".to_owned()),
            (1..=high).prop_map(|step| format!("*/{step}")),
            prop::collection::vec(item(low, high), 1..3).prop_map(|items| items.join(",")),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_library_and_the_letter_of_crontab_agree(
            fields in (any_field(0, 59), any_field(0, 23), any_field(1, 31), any_field(1, 12), any_field(0, 7)),
            minutes in 0_i64..(3 * 366 * 24 * 60),
        ) {
            let (minute, hour, day, month, weekday) = fields;
            let text = format!("{minute} {hour} {day} {month} {weekday}");
            if let Ok(cron) = text.parse::<Cron>() {
                let after = Timestamp::from_second(1_780_000_000 / 60 * 60 + minutes * 60).unwrap();
                if let Some(next) = cron.next(after, &TimeZone::UTC) {
                    prop_assert!(next > after && matches(&cron, next), "{text}: {after} -> {next}");
                    let mut at = after.as_second() + 60;
                    while at < next.as_second().min(after.as_second() + 5 * 24 * 3600) {
                        prop_assert!(!matches(&cron, Timestamp::from_second(at).unwrap()), "{text}: {at} is passed over");
                        at += 60;
                    }
                }
                prop_assert_eq!(cron.to_string().parse::<Cron>().unwrap(), cron);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            let _ = text.parse::<Cron>();
        }
    }
}
