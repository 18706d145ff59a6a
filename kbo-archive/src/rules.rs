//! What a snapshot does with each file: the table, as pure functions.
//!
//! Copying is always right. Linking is allowed only where Kafka does not change the file in place after a restart; the rows
//! say why. The facts were read off Kafka's source (3.7 to 4.4) and tried on a running 4.1.1.

/// What becomes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Hardlinked: Kafka never changes it in place.
    Link,
    /// Hardlinked up to the high watermark, which no clean election truncates below; copied from there on.
    LinkStable,
    /// Copied.
    Copy,
    /// Copied, and mentioned: it should not be there after a clean stop.
    CopyAndWarn,
    /// Left out: Kafka removes or rebuilds it.
    Skip,
}

/// What a directory in a log dir is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirClass {
    /// A replica of a partition, current, `-future` or `-stray`.
    Partition {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// The log of the metadata quorum, every index of which each start rewrites in place.
    Metadata,
    /// Removed or rebuilt by Kafka: `-delete`, the cache of tiered storage.
    Skipped,
    /// Nothing of Kafka's: a broker refuses to start on it, and has lost its clean marker by then.
    Unknown,
}

/// The topic of the metadata quorum.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// Classes a directory in a log dir by its name, as `UnifiedLog.parseTopicPartitionName` and `LogManager.loadLogs` do.
pub fn dir_class(name: &str) -> DirClass {
    if name == "remote-log-index-cache" {
        return DirClass::Skipped;
    }
    let suffix = ["-delete", "-future", "-stray"]
        .into_iter()
        .find(|suffix| name.ends_with(suffix));
    // With a suffix the name is `topic-partition.uuid-suffix`.
    let replica = match suffix {
        Some(_) => name.rsplit_once('.').map_or("", |(replica, _)| replica),
        None => name,
    };
    let Some((topic, partition)) = replica.rsplit_once('-') else {
        return DirClass::Unknown;
    };
    let digits = !partition.is_empty() && partition.bytes().all(|c| c.is_ascii_digit());
    let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
    match partition.parse() {
        Ok(partition) if digits && !topic.is_empty() && topic.bytes().all(legal) => match suffix {
            Some("-delete") => DirClass::Skipped,
            None if topic == METADATA_TOPIC => DirClass::Metadata,
            _ => DirClass::Partition {
                topic: topic.to_owned(),
                partition,
            },
        },
        _ => DirClass::Unknown,
    }
}

/// What becomes of a regular file directly in a log dir.
pub fn top_level(name: &str) -> Rule {
    match name {
        // Held during the snapshot; restored, it could belong to somebody else and make Kafka drop its clean marker.
        ".lock" => Rule::Skip,
        _ if name.ends_with(".tmp") => Rule::Skip,
        // .kafka_cleanshutdown, meta.properties, the checkpoints: tiny and load-bearing. Kafka ignores what it does not know.
        _ => Rule::Copy,
    }
}

/// A segment among those of its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The base offset of the segment that follows; `None` for the active one.
    pub next_base: Option<i64>,
    /// The partition's high watermark, where replication-offset-checkpoint knows it.
    pub high_watermark: Option<i64>,
}

/// What becomes of a regular file in a partition's directory. `segment` is given for the files of a segment.
pub fn in_partition(name: &str, segment: Option<Segment>) -> Rule {
    if let Some(rule) = leftovers(name) {
        return rule;
    }
    let (Some((_, extension)), Some(segment)) = (segment_file(name), segment) else {
        // .snapshot is written in place; leader-epoch-checkpoint and partition.metadata are tiny.
        return Rule::Copy;
    };
    match (segment.next_base, segment.high_watermark) {
        // A follower may truncate down to the high watermark when the cluster starts, never below.
        (Some(next), Some(high_watermark)) if next <= high_watermark => Rule::Link,
        (Some(_), _) => Rule::Copy,
        (None, Some(_)) if extension == "log" => Rule::LinkStable,
        // The active segment's indexes are grown in place at every start, its .txnindex is appended to.
        (None, _) => Rule::Copy,
    }
}

/// What becomes of a regular file in `__cluster_metadata-0`.
pub fn in_metadata(name: &str) -> Rule {
    match leftovers(name) {
        Some(rule) => rule,
        // A snapshot of the metadata: renamed into place, read-only, immutable.
        None if name.ends_with(".checkpoint") && name != "bootstrap.checkpoint" => Rule::Link,
        None => Rule::Copy,
    }
}

/// The rules for all regular files of a partition's directory, given all their names.
pub fn partition_rules(names: &[&str], class: &DirClass, high_watermark: Option<i64>) -> Vec<Rule> {
    if *class == DirClass::Metadata {
        return names.iter().map(|name| in_metadata(name)).collect();
    }
    let mut bases: Vec<i64> = names
        .iter()
        .filter_map(|name| segment_file(name))
        .filter(|(_, extension)| *extension == "log")
        .map(|(base, _)| base)
        .collect();
    bases.sort_unstable();
    let rule = |name: &&str| {
        let segment = segment_file(name).map(|(base, _)| Segment {
            next_base: bases.get(bases.partition_point(|other| *other <= base)).copied(),
            high_watermark,
        });
        in_partition(name, segment)
    };
    names.iter().map(rule).collect()
}

/// Splits the name of a segment's file into base offset and extension.
pub fn segment_file(name: &str) -> Option<(i64, &str)> {
    let (base, extension) = name.split_once('.')?;
    let known = matches!(extension, "log" | "index" | "timeindex" | "txnindex");
    let digits = base.len() == 20 && base.bytes().all(|c| c.is_ascii_digit());
    if known && digits {
        Some((base.parse().ok()?, extension))
    } else {
        None
    }
}

fn leftovers(name: &str) -> Option<Rule> {
    if [".deleted", ".part", ".tmp"]
        .iter()
        .any(|suffix| name.ends_with(suffix))
    {
        return Some(Rule::Skip);
    }
    // A compaction that was cut short: Kafka finishes or drops it at the next start.
    (name.ends_with(".cleaned") || name.ends_with(".swap")).then_some(Rule::CopyAndWarn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn directories_are_classed_as_kafka_does() {
        let partition = |topic: &str, partition| DirClass::Partition {
            topic: topic.to_owned(),
            partition,
        };
        for (name, class) in [
            ("orders-0", partition("orders", 0)),
            ("my-topic.v1-12", partition("my-topic.v1", 12)),
            ("__consumer_offsets-49", partition("__consumer_offsets", 49)),
            (
                "orders-3.5f2d1c9e8a7b4c6d9e0f1a2b3c4d5e6f-future",
                partition("orders", 3),
            ),
            (
                "orders-3.5f2d1c9e8a7b4c6d9e0f1a2b3c4d5e6f-stray",
                partition("orders", 3),
            ),
            ("orders-3.5f2d1c9e8a7b4c6d9e0f1a2b3c4d5e6f-delete", DirClass::Skipped),
            ("__cluster_metadata-0", DirClass::Metadata),
            ("remote-log-index-cache", DirClass::Skipped),
            ("lost+found", DirClass::Unknown),
            (".kbo", DirClass::Unknown),
            ("orders", DirClass::Unknown),
            ("orders-", DirClass::Unknown),
            ("-0", DirClass::Unknown),
            ("orders-x", DirClass::Unknown),
            ("orders-99999999999", DirClass::Unknown),
            ("orders-delete", DirClass::Unknown),
            ("or ders-0", DirClass::Unknown),
            ("", DirClass::Unknown),
        ] {
            assert_eq!(dir_class(name), class, "{name:?}");
        }
    }

    #[test]
    fn files_of_a_log_dir_are_copied_but_for_lock_and_temporary_ones() {
        for (name, rule) in [
            (".kafka_cleanshutdown", Rule::Copy),
            ("meta.properties", Rule::Copy),
            ("replication-offset-checkpoint", Rule::Copy),
            ("recovery-point-offset-checkpoint", Rule::Copy),
            ("bootstrap.checkpoint", Rule::Copy),
            ("something-of-the-operators", Rule::Copy),
            ("replication-offset-checkpoint.tmp", Rule::Skip),
            (".lock", Rule::Skip),
        ] {
            assert_eq!(top_level(name), rule, "{name}");
        }
    }

    #[test]
    fn files_of_a_partition_follow_the_table() {
        let closed_below = Some(Segment {
            next_base: Some(100),
            high_watermark: Some(100),
        });
        let closed_above = Some(Segment {
            next_base: Some(101),
            high_watermark: Some(100),
        });
        let closed_unknown = Some(Segment {
            next_base: Some(100),
            high_watermark: None,
        });
        let active = Some(Segment {
            next_base: None,
            high_watermark: Some(100),
        });
        let active_unknown = Some(Segment {
            next_base: None,
            high_watermark: None,
        });
        for (name, segment, rule) in [
            ("00000000000000000000.log", closed_below, Rule::Link),
            ("00000000000000000000.index", closed_below, Rule::Link),
            ("00000000000000000000.timeindex", closed_below, Rule::Link),
            ("00000000000000000000.txnindex", closed_below, Rule::Link),
            ("00000000000000000000.log", closed_above, Rule::Copy),
            ("00000000000000000000.index", closed_above, Rule::Copy),
            ("00000000000000000000.log", closed_unknown, Rule::Copy),
            ("00000000000000000000.log", active, Rule::LinkStable),
            ("00000000000000000000.log", active_unknown, Rule::Copy),
            ("00000000000000000000.index", active, Rule::Copy),
            ("00000000000000000000.timeindex", active, Rule::Copy),
            ("00000000000000000000.txnindex", active, Rule::Copy),
            ("00000000000000000000.snapshot", None, Rule::Copy),
            ("leader-epoch-checkpoint", None, Rule::Copy),
            ("partition.metadata", None, Rule::Copy),
            ("00000000000000000000.log.deleted", None, Rule::Skip),
            ("leader-epoch-checkpoint.tmp", None, Rule::Skip),
            ("00000000000000000000.log.cleaned", None, Rule::CopyAndWarn),
            ("00000000000000000000.log.swap", None, Rule::CopyAndWarn),
        ] {
            assert_eq!(in_partition(name, segment), rule, "{name} {segment:?}");
        }
    }

    #[test]
    fn of_the_metadata_log_only_snapshots_are_linked() {
        for (name, rule) in [
            ("00000000000000000000.log", Rule::Copy),
            ("00000000000000000000.index", Rule::Copy),
            ("00000000000000000000.timeindex", Rule::Copy),
            ("00000000000000004711-0000000003.checkpoint", Rule::Link),
            ("00000000000000004711-0000000003.checkpoint.part", Rule::Skip),
            ("00000000000000004711-0000000003.checkpoint.deleted", Rule::Skip),
            ("quorum-state", Rule::Copy),
            ("leader-epoch-checkpoint", Rule::Copy),
            ("partition.metadata", Rule::Copy),
        ] {
            assert_eq!(in_metadata(name), rule, "{name}");
        }
    }

    #[test]
    fn the_segment_with_the_greatest_base_is_the_active_one() {
        let names = [
            "00000000000000000000.log",
            "00000000000000000000.index",
            "00000000000000000050.log",
            "00000000000000000090.index",
            "00000000000000000090.log",
        ];
        let class = dir_class("t-0");
        assert_eq!(
            partition_rules(&names, &class, Some(70)),
            [Rule::Link, Rule::Link, Rule::Copy, Rule::Copy, Rule::LinkStable]
        );
        assert!(
            partition_rules(&names, &class, None)
                .iter()
                .all(|rule| *rule == Rule::Copy)
        );
    }

    proptest! {
        #[test]
        fn any_name_has_a_class_and_a_rule(name in ".*") {
            let class = dir_class(&name);
            let _ = (top_level(&name), partition_rules(&[&name], &class, Some(0)), in_metadata(&name));
        }
    }
}
