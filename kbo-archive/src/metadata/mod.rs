//! `__cluster_metadata-0`, read without Kafka: which topics and partitions there are, and who holds them.
//!
//! A snapshot (`<end offset>-<epoch>.checkpoint`) and the segments after it hold record batches of metadata records. What a node
//! holds at an instant is what its own copy of them says. The records and their fields were read off Kafka 4.1 (its JSON schemas
//! and `MetadataRecordSerde`) and tried on files of a real 4.1.1.

mod held;
mod log;
mod records;

use std::collections::BTreeMap;

pub use held::{Held, Holding, check};
pub use log::{Part, read};
pub use records::Malformed;

/// Kafka's `Uuid`.
pub type Uuid = [u8; 16];

/// More partitions than this no cluster has.
const MOST: usize = 4_000_000;

/// The metadata at the end of what was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// Topics by id.
    pub topics: BTreeMap<Uuid, Topic>,
    /// Registered brokers by node.id.
    pub brokers: BTreeMap<i32, Broker>,
    /// Levels of features, such as `metadata.version`.
    pub features: BTreeMap<String, i16>,
    /// The last offset that was read, and the time of the youngest batch in milliseconds.
    pub end: i64,
    /// Milliseconds since 1970 of the youngest batch: the controllers append one every half a second, so that is how far the
    /// node was when it stopped.
    pub time: i64,
}

/// A topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its partitions by number.
    pub partitions: BTreeMap<i32, Partition>,
}

/// A partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Partition {
    /// node.ids of its replicas.
    pub replicas: Vec<i32>,
    /// node.ids of those in sync.
    pub isr: Vec<i32>,
    /// node.id of its leader; negative for none.
    pub leader: i32,
    /// The log dir of each replica (KIP-858), in the order of `replicas`; empty before metadata.version 3.7.
    pub directories: Vec<Uuid>,
    /// Milliseconds since 1970 of the record that named these replicas or directories.
    pub since: i64,
}

/// A registered broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Broker {
    /// Fenced: registered, and not alive.
    pub fenced: bool,
    /// Its log dirs that are online; empty before metadata.version 3.7.
    pub log_dirs: Vec<Uuid>,
}

/// Applies the value of one record, written at `time` (milliseconds since 1970), to the image.
///
/// # Errors
/// The value is no metadata record, or does not fit to those before it.
pub fn record(image: &mut Image, value: &[u8], time: i64) -> Result<(), Malformed> {
    records::apply(image, value, time).map(drop)
}

/// A log dir's id as meta.properties writes it: base64url without padding.
pub fn uuid(text: &str) -> Option<Uuid> {
    let mut bits: u128 = 0;
    if text.len() != 22 {
        return None;
    }
    for (at, c) in text.bytes().enumerate() {
        let digit = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = match at {
            // The last character carries two bits.
            21 => bits << 2 | u128::from(digit >> 4),
            _ => bits << 6 | u128::from(digit),
        };
    }
    Some(bits.to_be_bytes())
}

/// Ids of no directory: unassigned, lost, migrating, and those that Kafka keeps for more of the kind.
fn is_reserved(id: &Uuid) -> bool {
    u128::from_be_bytes(*id) < 100
}
