//! Kafka's checkpoint files: `0`, a count, then that many lines (`CheckpointFile`, `OffsetCheckpointFile`).

use std::collections::HashMap;

/// Offsets by topic and partition, as `replication-offset-checkpoint` holds the high watermarks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offsets {
    offsets: HashMap<String, HashMap<i32, i64>>,
}

/// Why a text is no checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCheckpoint {
    /// The first line is not a known version.
    #[error("the version is not 0")]
    Version,
    /// A line is not what it should be.
    #[error("line {0} is malformed")]
    Line(usize),
    /// There are fewer or more lines than the second line says.
    #[error("{expected} entries are announced, {found} are there")]
    Count {
        /// As the second line says.
        expected: u64,
        /// As counted.
        found: u64,
    },
}

impl Offsets {
    /// Reads lines of `topic partition offset`.
    ///
    /// # Errors
    /// Anything that Kafka itself would not read.
    pub fn parse(text: &str) -> Result<Self, InvalidCheckpoint> {
        let mut lines = text.lines().enumerate();
        let (_, version) = lines.next().ok_or(InvalidCheckpoint::Version)?;
        if version.trim() != "0" {
            return Err(InvalidCheckpoint::Version);
        }
        let (_, count) = lines.next().ok_or(InvalidCheckpoint::Line(2))?;
        let expected: u64 = count.trim().parse().map_err(|_| InvalidCheckpoint::Line(2))?;
        let mut found = 0;
        let mut offsets: HashMap<String, HashMap<i32, i64>> = HashMap::new();
        for (index, line) in lines {
            if line.trim().is_empty() {
                continue;
            }
            let malformed = || InvalidCheckpoint::Line(index + 1);
            let mut words = line.split_whitespace();
            let (Some(topic), Some(partition), Some(offset), None) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                return Err(malformed());
            };
            let partition = partition.parse().map_err(|_| malformed())?;
            let offset = offset.parse().map_err(|_| malformed())?;
            offsets.entry(topic.to_owned()).or_default().insert(partition, offset);
            found += 1;
        }
        if found != expected {
            return Err(InvalidCheckpoint::Count { expected, found });
        }
        Ok(Self { offsets })
    }

    /// The offset of a partition.
    pub fn get(&self, topic: &str, partition: i32) -> Option<i64> {
        self.offsets.get(topic)?.get(&partition).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn offsets_are_found_by_topic_and_partition() {
        let offsets = Offsets::parse("0\n2\norders 0 17\norders 11 0\n").unwrap();
        assert_eq!(offsets.get("orders", 0), Some(17));
        assert_eq!(offsets.get("orders", 11), Some(0));
        assert_eq!(offsets.get("orders", 1), None);
        assert_eq!(Offsets::parse("0\n0\n").unwrap(), Offsets::default());
    }

    #[test]
    fn what_kafka_would_not_read_is_refused() {
        assert_eq!(Offsets::parse(""), Err(InvalidCheckpoint::Version));
        assert_eq!(Offsets::parse("1\n0\n"), Err(InvalidCheckpoint::Version));
        assert_eq!(Offsets::parse("0\n"), Err(InvalidCheckpoint::Line(2)));
        assert_eq!(Offsets::parse("0\n1\nt 0\n"), Err(InvalidCheckpoint::Line(3)));
        assert_eq!(Offsets::parse("0\n1\nt 0 x\n"), Err(InvalidCheckpoint::Line(3)));
        assert_eq!(
            Offsets::parse("0\n2\nt 0 5\n"),
            Err(InvalidCheckpoint::Count { expected: 2, found: 1 })
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = Offsets::parse(&text);
            let _ = Offsets::parse(&format!("0\n1\n{text}"));
        }
    }
}
