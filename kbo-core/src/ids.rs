//! Names and identifiers, each checked once, where it enters.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// Why a text is not the identifier it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {what}: {why}")]
pub struct InvalidId {
    /// What the text should have been.
    pub what: &'static str,
    /// The text as given.
    pub text: String,
    /// The rule that it breaks.
    pub why: &'static str,
}

macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr, $why:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(InvalidId { what: $what, text: text.to_owned(), why: $why })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

fn is_plain_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphanumeric())
        && text.len() <= 128
        && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

fn is_stamp(text: &str) -> bool {
    parse_stamp(text).is_some()
}

fn parse_stamp(text: &str) -> Option<Timestamp> {
    if text.len() != 16 {
        return None;
    }
    let civil = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// From 3.7 on Kafka takes any text for a cluster id (`kafka-storage format -t my-cluster`); before, only its own `Uuid`s.
fn is_cluster_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= 255 && text.trim() == text && !text.chars().any(char::is_control)
}

string_id!(
    /// The name of a node; unless configured otherwise also the name of its container, and part of archive names.
    NodeName,
    "node name",
    is_plain_name,
    "letters, digits, `.`, `_` and `-` only, beginning with a letter or digit, 128 at most"
);
string_id!(
    /// The name of a cluster, as the operator calls it.
    ClusterName,
    "cluster name",
    is_plain_name,
    "letters, digits, `.`, `_` and `-` only, beginning with a letter or digit, 128 at most"
);
string_id!(
    /// Kafka's cluster id, as `kafka-storage format` was given it: usually 16 bytes in unpadded base64url, but any text is one.
    ClusterId,
    "cluster id",
    is_cluster_id,
    "a line of text without spaces around it, 255 bytes at most, as `cluster.id` in meta.properties has it"
);
string_id!(
    /// The id of a backup: the UTC second in which its run began, such as `20261122T030000Z`.
    BackupId,
    "backup id",
    is_stamp,
    "a UTC time such as 20261122T030000Z"
);
string_id!(
    /// The id of a run (a backup, a restore, a stop ...): the UTC second in which it began. It names the run's journal and
    /// its work folder on every node.
    RunId,
    "run id",
    is_stamp,
    "a UTC time such as 20261122T030000Z"
);

fn stamp(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ").to_string()
}

impl BackupId {
    /// The id of a backup that begins at `at`.
    pub fn at(at: Timestamp) -> Self {
        Self(stamp(at))
    }

    /// The second that the id names.
    pub fn time(&self) -> Timestamp {
        parse_stamp(&self.0).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

impl RunId {
    /// The id of a run that begins at `at`.
    pub fn at(at: Timestamp) -> Self {
        Self(stamp(at))
    }

    /// The second that the id names.
    pub fn time(&self) -> Timestamp {
        parse_stamp(&self.0).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

impl ClusterId {
    /// The id that Kafka's `Uuid` writes for 16 bytes: base64url without padding.
    pub fn of(bytes: [u8; 16]) -> Self {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let number = u128::from_be_bytes(bytes);
        // 22 digits of six bits: 132, of which the last four are empty.
        let digit = |at: u32| {
            let bits = if at == 21 {
                number << 4
            } else {
                number >> (122 - 6 * at)
            };
            char::from(ALPHABET[usize::try_from(bits & 63).unwrap_or(0)])
        };
        Self((0..22).map(digit).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_id_names_its_second() {
        let at: Timestamp = "2026-11-22T03:00:00.75Z".parse().unwrap();
        let id = BackupId::at(at);
        assert_eq!(id.as_str(), "20261122T030000Z");
        assert_eq!(id.time(), "2026-11-22T03:00:00Z".parse::<Timestamp>().unwrap());
    }

    #[test]
    fn identifiers_that_could_leave_a_folder_are_refused() {
        for text in ["", "..", "a/b", "../a", ".hidden", "a b", "ä", "a\0"] {
            assert!(text.parse::<NodeName>().is_err(), "{text:?}");
            assert!(text.parse::<BackupId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn backup_ids_are_real_times() {
        for text in [
            "20261322T030000Z",
            "20261122T250000Z",
            "20261122T030000",
            "20261122T030000+",
            "latest",
        ] {
            assert!(text.parse::<BackupId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn any_text_that_kafka_takes_is_a_cluster_id() {
        for text in [
            "AkU3OEVBNTcwNTJENDM2Qk",
            "my-cluster",
            "kafka cluster 1",
            "Köln",
            "AkU3OEVBNTcwNTJENDM2Q==",
        ] {
            assert!(text.parse::<ClusterId>().is_ok(), "{text:?}");
        }
        for text in ["", " ", " a", "a ", "a\nb", "a\u{1b}[2J", &"x".repeat(256)] {
            assert!(text.parse::<ClusterId>().is_err(), "{text:?}");
        }
    }
}
