//! `[retention]`: how long backups stay.

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::validate::value;
use crate::retention::{Policies, Policy};

/// `[retention]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawRetention {
    /// Days that every backup stays. Default 30.
    pub days: Option<u32>,
    /// So many of the newest stay whatever their age. Default 0.
    pub keep_last: Option<u32>,
    /// The newest of each of so many days. Default 0.
    pub keep_daily: Option<u32>,
    /// The newest of each of so many weeks. Default 0.
    pub keep_weekly: Option<u32>,
    /// The newest of each of so many months. Default 0.
    pub keep_monthly: Option<u32>,
    /// Backups of configuration and data, where they differ.
    #[serde(default)]
    pub cluster: RawPolicy,
    /// Backups of configuration alone, where they differ.
    #[serde(default)]
    pub config: RawPolicy,
    /// Backups of data alone, where they differ.
    #[serde(default)]
    pub data: RawPolicy,
}

/// `[retention.cluster]` and its siblings
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawPolicy {
    /// Days that every backup of the kind stays. Default: that of `[retention]`.
    pub days: Option<u32>,
    /// So many of the newest stay whatever their age. Default: that of `[retention]`.
    pub keep_last: Option<u32>,
    /// The newest of each of so many days. Default: that of `[retention]`.
    pub keep_daily: Option<u32>,
    /// The newest of each of so many weeks. Default: that of `[retention]`.
    pub keep_weekly: Option<u32>,
    /// The newest of each of so many months. Default: that of `[retention]`.
    pub keep_monthly: Option<u32>,
}

/// The policies. `days_alias` is `storage.retention_days`, the older name of `retention.days`.
pub(super) fn policies(raw: &RawRetention, days_alias: Option<u32>) -> Result<Policies, ConfigError> {
    if let (Some(days), Some(alias)) = (raw.days, days_alias)
        && days != alias
    {
        let why = format!("retention.days is {days}");
        return Err(value(
            "storage.retention_days",
            alias,
            &why,
            "one of the two: retention.days",
        ));
    }
    let default = Policy::default();
    let general = Policy {
        days: raw.days.or(days_alias).unwrap_or(default.days),
        keep_last: raw.keep_last.unwrap_or(default.keep_last),
        keep_daily: raw.keep_daily.unwrap_or(default.keep_daily),
        keep_weekly: raw.keep_weekly.unwrap_or(default.keep_weekly),
        keep_monthly: raw.keep_monthly.unwrap_or(default.keep_monthly),
    };
    let own = |raw: &RawPolicy| Policy {
        days: raw.days.unwrap_or(general.days),
        keep_last: raw.keep_last.unwrap_or(general.keep_last),
        keep_daily: raw.keep_daily.unwrap_or(general.keep_daily),
        keep_weekly: raw.keep_weekly.unwrap_or(general.keep_weekly),
        keep_monthly: raw.keep_monthly.unwrap_or(general.keep_monthly),
    };
    let policies = Policies {
        cluster: own(&raw.cluster),
        config: own(&raw.config),
        data: own(&raw.data),
    };
    let days = [
        ("retention.days", general.days),
        ("retention.cluster.days", policies.cluster.days),
        ("retention.config.days", policies.config.days),
        ("retention.data.days", policies.data.days),
    ];
    match days.into_iter().find(|(_, days)| *days == 0) {
        Some((_, _)) if days_alias == Some(0) => Err(no_days("storage.retention_days")),
        Some((key, _)) => Err(no_days(key)),
        None => Ok(policies),
    }
}

fn no_days(key: &str) -> ConfigError {
    value(key, 0, "must be at least 1", "a number of days such as 30")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kinds_own_numbers_win_and_the_older_name_still_counts() {
        let mut raw = RawRetention {
            keep_last: Some(2),
            ..RawRetention::default()
        };
        raw.config.days = Some(7);
        let policies = policies(&raw, Some(90)).unwrap();
        assert_eq!(
            (policies.cluster.days, policies.config.days, policies.data.days),
            (90, 7, 90)
        );
        assert_eq!((policies.config.keep_last, policies.cluster.keep_daily), (2, 0));
    }

    #[test]
    fn no_days_and_two_opinions_are_refused() {
        let zero = RawRetention {
            days: Some(0),
            ..RawRetention::default()
        };
        assert!(
            policies(&zero, None)
                .unwrap_err()
                .to_string()
                .contains("retention.days")
        );
        let text = policies(&RawRetention::default(), Some(0)).unwrap_err().to_string();
        assert!(text.contains("storage.retention_days"), "{text}");
        let seven = RawRetention {
            days: Some(7),
            ..RawRetention::default()
        };
        assert!(policies(&seven, Some(30)).is_err());
        assert!(policies(&seven, Some(7)).is_ok());
    }
}
