//! The files of the metadata log: a snapshot and the segments after it, batch by batch.

use std::io::{self, Read};

use super::Image;
use super::records::{self, Malformed, Mark, Reader};
use crate::segment::HEADER;

/// A batch of metadata larger than this is none: Kafka's own limit is 8 MiB.
const MAX_BATCH: usize = 64 << 20;

/// Bits of a batch's attributes.
const COMPRESSION: i16 = 0x07;
const CONTROL: i16 = 0x20;

/// A file of `__cluster_metadata-0`.
pub struct Part<'a> {
    /// Its name.
    pub name: &'a str,
    /// Opens it.
    pub open: &'a dyn Fn() -> io::Result<Box<dyn Read>>,
}

/// Reads the newest snapshot among the files, and the segments after it.
///
/// # Errors
/// What cannot be read, or is no metadata log; the text names the file. A batch that was cut off at the end of the last segment is
/// none: an unclean stop leaves such.
pub fn read(parts: &[Part<'_>]) -> Result<Image, String> {
    let mut image = Image {
        end: -1,
        ..Image::default()
    };
    let snapshot = parts
        .iter()
        .filter_map(|part| Some((end_of_snapshot(part.name)?, part)))
        .max_by_key(|(at, _)| *at);
    if let Some((_, part)) = snapshot {
        file(&mut image, part, None)?;
    }
    // Offsets within a snapshot are its own.
    let from = snapshot.map_or(0, |((end, _), _)| end);
    image.end = from - 1;
    let mut segments: Vec<(i64, &Part<'_>)> = parts
        .iter()
        .filter_map(|part| Some((base_of(part.name)?, part)))
        .collect();
    segments.sort_by_key(|(base, _)| *base);
    if let Some((base, part)) = segments.first().filter(|(base, _)| *base > from) {
        return Err(format!(
            "{}: it begins at {base}, and no snapshot holds what was before",
            part.name
        ));
    }
    for (_, part) in segments {
        file(&mut image, part, Some(from))?;
    }
    Ok(image)
}

/// `<end offset>-<epoch>.checkpoint`
fn end_of_snapshot(name: &str) -> Option<(i64, i32)> {
    let (end, epoch) = name.strip_suffix(".checkpoint")?.split_once('-')?;
    Some((end.parse().ok()?, epoch.parse().ok()?))
}

fn base_of(name: &str) -> Option<i64> {
    name.strip_suffix(".log")?.parse().ok()
}

/// All batches of a file; `from` is the first offset that counts, in a segment.
fn file(image: &mut Image, part: &Part<'_>, from: Option<i64>) -> Result<(), String> {
    let said = |why: &dyn std::fmt::Display| format!("{}: {why}", part.name);
    let mut input = io::BufReader::with_capacity(1 << 16, (part.open)().map_err(|error| said(&error))?);
    // What a transaction has changed so far is as it was before, where it is aborted.
    let mut before: Option<Image> = None;
    loop {
        let mut batch = vec![0; HEADER];
        match fill(&mut input, &mut batch).map_err(|error| said(&error))? {
            Filled::Whole => {}
            Filled::Short => return Ok(()),
        }
        let field = |at: usize| i32::from_be_bytes([batch[at], batch[at + 1], batch[at + 2], batch[at + 3]]);
        let length = usize::try_from(field(8)).unwrap_or(0);
        // A zero tail is what an unclean stop leaves of space that was set aside.
        if length == 0 && batch.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        let total = length.saturating_add(12);
        if batch[16] != 2 || !(HEADER..=MAX_BATCH).contains(&total) {
            return Err(said(&"it holds what is no record batch"));
        }
        batch.resize(total, 0);
        match fill(&mut input, &mut batch[HEADER..]).map_err(|error| said(&error))? {
            Filled::Whole => {}
            Filled::Short => return Ok(()),
        }
        if crc32c::crc32c(&batch[21..]) != u32::from_be_bytes([batch[17], batch[18], batch[19], batch[20]]) {
            return Err(said(&"the checksum of a record batch is wrong"));
        }
        self::batch(image, &batch, from, &mut before).map_err(|error| said(&error))?;
    }
}

enum Filled {
    Whole,
    Short,
}

fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<Filled> {
    match input.read_exact(buffer) {
        Ok(()) => Ok(Filled::Whole),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Filled::Short),
        Err(error) => Err(error),
    }
}

fn batch(image: &mut Image, batch: &[u8], from: Option<i64>, before: &mut Option<Image>) -> Result<(), Malformed> {
    let long = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&batch[at..at + 8]);
        i64::from_be_bytes(bytes)
    };
    let attributes = i16::from_be_bytes([batch[21], batch[22]]);
    let (base, time, count) = (
        long(0),
        long(35),
        i32::from_be_bytes([batch[57], batch[58], batch[59], batch[60]]),
    );
    if attributes & COMPRESSION != 0 {
        return Err(Malformed("its batches are compressed, as no metadata log's are"));
    }
    image.time = image.time.max(time);
    // Of the quorum itself: leaders, voters, the ends of a snapshot.
    if attributes & CONTROL != 0 {
        return Ok(());
    }
    let mut rest = Reader(&batch[HEADER..]);
    for _ in 0..count {
        let length = usize::try_from(rest.signed()?).map_err(|_| Malformed("a record has no length"))?;
        let mut record = Reader(rest.take(length)?);
        record.i8()?;
        record.signed()?;
        let offset = base.saturating_add(record.signed()?);
        let key = record.signed()?;
        record.take(usize::try_from(key).unwrap_or(0))?;
        let value = usize::try_from(record.signed()?).map_err(|_| Malformed("a record has no value"))?;
        let value = record.take(value)?;
        if from.is_some_and(|from| offset < from) {
            continue;
        }
        match records::apply(image, value, time)? {
            Mark::None => {}
            Mark::Begin => *before = Some(image.clone()),
            Mark::End => *before = None,
            Mark::Abort => {
                if let Some(before) = before.take() {
                    *image = Image {
                        time: image.time,
                        ..before
                    };
                }
            }
        }
        if from.is_some() {
            image.end = image.end.max(offset);
        }
    }
    Ok(())
}
