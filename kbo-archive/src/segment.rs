//! Kafka's log segments: record batches, read without Kafka.
//!
//! A record batch v2 begins with 61 bytes, big-endian: 0 baseOffset i64, 8 length i32 (of what follows it), 12
//! partitionLeaderEpoch i32, 16 magic i8, 17 crc u32 (CRC32C of everything from 21 on), 21 attributes i16, 23 lastOffsetDelta i32,
//! 27 baseTimestamp i64, 35 maxTimestamp i64, 43 producerId i64, 51 producerEpoch i16, 53 baseSequence i32, 57 count i32.
//!
//! A message of magic 0 or 1, which Kafka wrote before 0.11 and keeps as it is, has its magic at the same place: 0 offset i64, 8 size i32
//! (of what follows it), 12 crc u32 (CRC32 of everything from 16 on), 16 magic i8, 17 attributes i8, with magic 1 a timestamp i64, then
//! key and value, each with its length. A compressed one is a message whose value holds others: its checksum covers them as they are.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of a batch's header.
pub const HEADER: usize = 61;

/// Where the part of a batch that its checksum covers begins.
const CRC_FROM: usize = 21;

/// Bytes after which the magic of a batch or message is known.
const MAGIC_KNOWN: usize = 17;

/// Where the part of a message of magic 0 or 1 that its checksum covers begins.
const OLD_CRC_FROM: usize = 16;

/// Bytes of the smallest message of magic 0: an empty one.
const OLD_SMALLEST: u64 = LOG_OVERHEAD + 14;

/// Baseoffset and length: what `length` does not count.
const LOG_OVERHEAD: u64 = 12;

/// How many headers are read to find a place in a segment before it is cheaper to copy the file.
const MAX_STEPS: usize = 1 << 18;

/// The fields of a batch's header that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    base_offset: i64,
    /// Bytes of the whole batch.
    total: u64,
    epoch: i32,
    magic: i8,
    crc: u32,
    last_offset: i64,
    count: i32,
    last_offset_delta: i32,
}

impl Header {
    fn parse(bytes: &[u8; HEADER]) -> Self {
        let base_offset = i64::from_be_bytes(array(bytes, 0));
        let last_offset_delta = i32::from_be_bytes(array(bytes, 23));
        Self {
            base_offset,
            total: u64::try_from(i32::from_be_bytes(array(bytes, 8))).unwrap_or(0) + LOG_OVERHEAD,
            epoch: i32::from_be_bytes(array(bytes, 12)),
            magic: bytes[16].cast_signed(),
            crc: u32::from_be_bytes(array(bytes, 17)),
            last_offset: base_offset.saturating_add(i64::from(last_offset_delta)),
            count: i32::from_be_bytes(array(bytes, 57)),
            last_offset_delta,
        }
    }

    /// Whether it can be the header of a v2 batch.
    fn is_plausible(&self) -> bool {
        self.magic == 2
            && self.base_offset >= 0
            && self.total >= HEADER as u64
            && self.last_offset_delta >= 0
            && self.count >= 0
    }
}

fn array<const N: usize>(bytes: &[u8; HEADER], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// The part of a segment that stays as it is, whatever Kafka does after a clean stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stable {
    /// Its length in bytes: batches from there on reach the limit or beyond.
    pub end: u64,
    /// Where its last batch begins.
    pub tail_at: u64,
    /// That batch's header: same header at the same place, same prefix (offset, epoch and checksum are in it).
    pub tail: [u8; HEADER],
}

/// Finds how much of a segment lies wholly below `limit` (an offset; the high watermark). `None` where nothing does or where
/// it cannot be told: then the whole file is to be copied.
///
/// `index` is the segment's offset index, which only shortens the way: 8-byte entries, offset relative to `base` and position.
///
/// # Errors
/// Those of reading.
pub fn stable_prefix(log: &File, len: u64, base: i64, index: Option<&File>, limit: i64) -> io::Result<Option<Stable>> {
    let mut candidates = match index {
        Some(index) => index_positions(index, len, base, limit)?,
        None => Vec::new(),
    };
    candidates.push(0);
    let mut steps = 0;
    for start in candidates {
        if let Some(stable) = walk(log, len, start, limit, &mut steps)? {
            return Ok(Some(stable));
        }
    }
    Ok(None)
}

/// Walks batch headers from `start`, which must be a batch's beginning, to the first batch that reaches `limit`.
fn walk(log: &File, len: u64, start: u64, limit: i64, steps: &mut usize) -> io::Result<Option<Stable>> {
    let mut at = start;
    let mut tail = None;
    let mut previous = i64::MIN;
    while at < len {
        *steps += 1;
        let mut bytes = [0; HEADER];
        if *steps > MAX_STEPS || len - at < HEADER as u64 {
            return Ok(None);
        }
        log.read_exact_at(&mut bytes, at)?;
        let header = Header::parse(&bytes);
        // A strange batch ends the search: what cannot be understood is copied.
        if !header.is_plausible() || header.total > len - at || header.base_offset <= previous {
            return Ok(None);
        }
        if header.last_offset >= limit {
            break;
        }
        previous = header.last_offset;
        tail = Some((at, bytes));
        at += header.total;
    }
    Ok(tail.map(|(tail_at, tail)| Stable { end: at, tail_at, tail }))
}

/// Positions of the index's last entries below `limit`, last first. Two, because the last one's batch may itself reach the limit.
fn index_positions(index: &File, len: u64, base: i64, limit: i64) -> io::Result<Vec<u64>> {
    let entries = index.metadata()?.len() / 8;
    let read = |at: u64| -> io::Result<Option<u64>> {
        let mut bytes = [0; 8];
        index.read_exact_at(&mut bytes, at * 8)?;
        let [o0, o1, o2, o3, p0, p1, p2, p3] = bytes;
        let offset = i64::from(i32::from_be_bytes([o0, o1, o2, o3]));
        let position = u64::from(u32::from_be_bytes([p0, p1, p2, p3]));
        // Zeros behind the last entry are room that a running Kafka has allocated.
        let used = at == 0 || offset > 0 || position > 0;
        Ok((used && base.saturating_add(offset) < limit && position < len).then_some(position))
    };
    let (mut low, mut high) = (0, entries);
    while low < high {
        let middle = low + (high - low) / 2;
        if read(middle)?.is_some() {
            low = middle + 1
        } else {
            high = middle
        }
    }
    let mut positions = Vec::new();
    for back in [1, 2] {
        if low >= back
            && let Some(position) = read(low - back)?
            && position > 0
        {
            positions.push(position);
        }
    }
    Ok(positions)
}

/// Checks a segment's batches as its bytes pass, in any portions, in constant memory.
#[derive(Debug, Default)]
pub struct Verifier {
    /// Bytes seen.
    position: u64,
    /// Where the current batch began.
    batch_at: u64,
    header: Buffer,
    /// The current batch, once it is known what it is.
    batch: Option<Batch>,
    crc: Crc,
    last_offset: Option<i64>,
    epoch: i32,
    damage: Option<String>,
    /// Nothing from here on can be checked.
    lost: bool,
}

/// What is to be known of a batch, or of a message of magic 0 or 1, to check it.
#[derive(Debug, Clone, Copy)]
struct Batch {
    base_offset: i64,
    last_offset: i64,
    /// Bytes of all of it.
    total: u64,
    /// Its checksum as it is written.
    crc: u32,
}

/// The checksum of what has passed of a batch.
#[derive(Debug)]
enum Crc {
    /// CRC32C, of a batch of magic 2.
    New(u32),
    /// CRC32, of a message of magic 0 or 1.
    Old(crc32fast::Hasher),
}

impl Default for Crc {
    fn default() -> Self {
        Crc::New(0)
    }
}

impl Crc {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Crc::New(crc) => *crc = crc32c::crc32c_append(*crc, bytes),
            Crc::Old(hasher) => hasher.update(bytes),
        }
    }

    fn value(&self) -> u32 {
        match self {
            Crc::New(crc) => *crc,
            Crc::Old(hasher) => hasher.clone().finalize(),
        }
    }
}

#[derive(Debug)]
struct Buffer {
    bytes: [u8; HEADER],
    len: usize,
}

impl Default for Buffer {
    fn default() -> Self {
        Self {
            bytes: [0; HEADER],
            len: 0,
        }
    }
}

impl Verifier {
    /// Of a segment all of whose offsets must be greater than this one.
    pub fn after(offset: i64) -> Self {
        Self {
            last_offset: Some(offset),
            ..Self::default()
        }
    }

    /// The last offset seen, or the one to come after.
    pub fn last_offset(&self) -> Option<i64> {
        self.last_offset
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.lost {
            bytes = match self.batch {
                None => self.feed_header(bytes),
                Some(batch) => self.feed_body(batch, bytes),
            };
        }
    }

    fn feed_header<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.header.len == 0 {
            self.batch_at = self.position;
        }
        // A message of magic 0 or 1 may be shorter than the header of a batch.
        let is_magic_known = self.header.len >= MAGIC_KNOWN;
        let wanted = if is_magic_known { HEADER } else { MAGIC_KNOWN };
        let take = bytes.len().min(wanted - self.header.len);
        let (now, rest) = bytes.split_at(take);
        self.header.bytes[self.header.len..self.header.len + take].copy_from_slice(now);
        self.header.len += take;
        self.position += take as u64;
        if self.header.len == MAGIC_KNOWN
            && matches!(self.header.bytes[16], 0 | 1)
            && self.header.bytes[8..12] != [0; 4]
        {
            self.begin_message();
        } else if self.header.len == HEADER {
            self.begin_batch();
        }
        rest
    }

    /// A message of magic 0 or 1. That a batch of magic 2 turned into one is damage is told by the checksum: it is another one, of other
    /// bytes and at another place.
    fn begin_message(&mut self) {
        let head = Header::parse(&self.header.bytes);
        if head.base_offset < 0 || head.total < OLD_SMALLEST {
            self.report("not a record batch");
            self.lost = true;
            return;
        }
        self.in_order(head.base_offset);
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.header.bytes[OLD_CRC_FROM..MAGIC_KNOWN]);
        self.crc = Crc::Old(crc);
        self.batch = Some(Batch {
            base_offset: head.base_offset,
            // Of a compressed message its own offset is that of the last one within.
            last_offset: head.base_offset,
            total: head.total,
            crc: u32::from_be_bytes(array(&self.header.bytes, 12)),
        });
    }

    fn begin_batch(&mut self) {
        let header = Header::parse(&self.header.bytes);
        if !header.is_plausible() {
            let zeros = self.header.bytes.iter().all(|byte| *byte == 0);
            self.report(if zeros {
                "zeros instead of a record batch"
            } else {
                "not a record batch"
            });
            self.lost = true;
            return;
        }
        self.in_order(header.base_offset);
        if header.epoch >= 0 && header.epoch < self.epoch {
            self.report(&format!(
                "a record batch with leader epoch {} after {}",
                header.epoch, self.epoch
            ));
        }
        self.epoch = self.epoch.max(header.epoch);
        self.crc = Crc::New(crc32c::crc32c(&self.header.bytes[CRC_FROM..]));
        let batch = Batch {
            base_offset: header.base_offset,
            last_offset: header.last_offset,
            total: header.total,
            crc: header.crc,
        };
        self.batch = Some(batch);
        self.finish_batch(batch);
    }

    fn in_order(&mut self, base_offset: i64) {
        if self.last_offset.is_some_and(|last| base_offset <= last) {
            self.report(&format!("a record batch with offset {base_offset} out of order"));
        }
    }

    fn feed_body<'a>(&mut self, batch: Batch, bytes: &'a [u8]) -> &'a [u8] {
        let left = self.batch_at + batch.total - self.position;
        let take = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let (now, rest) = bytes.split_at(take);
        self.crc.update(now);
        self.position += take as u64;
        self.finish_batch(batch);
        rest
    }

    fn finish_batch(&mut self, batch: Batch) {
        if self.position < self.batch_at + batch.total {
            return;
        }
        let found = self.crc.value();
        if found != batch.crc {
            self.report(&format!(
                "checksum of the record batch with offset {} is {:08x}, its content's is {found:08x}",
                batch.base_offset, batch.crc
            ));
        }
        self.last_offset = Some(batch.last_offset);
        self.batch = None;
        self.header.len = 0;
    }

    fn report(&mut self, what: &str) {
        if self.damage.is_none() {
            self.damage = Some(format!("{what}, at byte {}", self.batch_at));
        }
    }

    /// The first damage found, if any, at the end of the file.
    pub fn finish(mut self) -> Option<String> {
        if !self.lost && (self.batch.is_some() || self.header.len > 0) {
            self.report("the file ends inside a record batch");
        }
        self.damage
    }
}

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests;
