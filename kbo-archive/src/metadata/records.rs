//! Single metadata records: the few kinds that matter, applied to an image. All others are passed over.

use super::{Broker, Image, MOST, Partition, Topic, Uuid};

/// Why bytes are no metadata record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// Bytes read from the front.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(Malformed("it ends early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub(super) fn i8(&mut self) -> Result<i8, Malformed> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    fn i16(&mut self) -> Result<i16, Malformed> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    fn i32(&mut self) -> Result<i32, Malformed> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    fn uuid(&mut self) -> Result<Uuid, Malformed> {
        self.array()
    }

    fn unsigned(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed("a number is too long"))
    }

    /// ZigZag, as within record batches.
    pub(super) fn signed(&mut self) -> Result<i64, Malformed> {
        let value = self.unsigned()?;
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    /// A length that may be null, as compact texts and arrays have it.
    fn length(&mut self) -> Result<Option<usize>, Malformed> {
        let length = usize::try_from(self.unsigned()?).map_err(|_| Malformed("a length is too great"))?;
        Ok(length.checked_sub(1))
    }

    fn text(&mut self) -> Result<&'a str, Malformed> {
        let length = self.length()?.unwrap_or(0);
        std::str::from_utf8(self.take(length)?).map_err(|_| Malformed("a text is not UTF-8"))
    }

    /// A list of elements of `width` bytes at least; null is an empty one.
    fn list<T>(&mut self, width: usize, element: fn(&mut Self) -> Result<T, Malformed>) -> Result<Vec<T>, Malformed> {
        let length = self.length()?.unwrap_or(0);
        if length.saturating_mul(width) > self.0.len() {
            return Err(Malformed("a list is longer than its record"));
        }
        (0..length).map(|_| element(self)).collect()
    }

    fn ids(&mut self) -> Result<Vec<i32>, Malformed> {
        self.list(4, Reader::i32)
    }

    fn uuids(&mut self) -> Result<Vec<Uuid>, Malformed> {
        self.list(16, Reader::uuid)
    }

    /// The tagged fields: (tag, content).
    fn tags(&mut self, mut field: impl FnMut(u64, &mut Reader<'a>) -> Result<(), Malformed>) -> Result<(), Malformed> {
        for _ in 0..self.unsigned()? {
            let tag = self.unsigned()?;
            let size = usize::try_from(self.unsigned()?).map_err(|_| Malformed("a field is too long"))?;
            field(tag, &mut Reader(self.take(size)?))?;
        }
        Ok(())
    }
}

/// What a record means for those after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    None,
    /// A transaction begins.
    Begin,
    /// It counts.
    End,
    /// It never happened.
    Abort,
}

/// Applies the value of a record, written at `time`, to the image.
pub(super) fn apply(image: &mut Image, value: &[u8], time: i64) -> Result<Mark, Malformed> {
    let mut r = Reader(value);
    if r.unsigned()? != 1 {
        return Err(Malformed("its frame is of an unknown version"));
    }
    let (key, version) = (r.unsigned()?, r.unsigned()?);
    match key {
        0 => register(image, &mut r, version)?,
        1 => drop(image.brokers.remove(&r.i32()?)),
        2 => {
            let name = r.text()?.to_owned();
            let id = r.uuid()?;
            bounded(image.topics.len())?;
            let partitions = std::collections::BTreeMap::new();
            image.topics.insert(id, Topic { name, partitions });
        }
        3 => partition(image, &mut r, version, time)?,
        5 => change(image, &mut r, time)?,
        // Fencing and unfencing as Kafka before 3.3 wrote them.
        7 | 8 => {
            let fenced = key == 7;
            if let Some(broker) = image.brokers.get_mut(&r.i32()?) {
                broker.fenced = fenced;
            }
        }
        9 => drop(image.topics.remove(&r.uuid()?)),
        12 => {
            let name = r.text()?.to_owned();
            let level = r.i16()?;
            bounded(image.features.len())?;
            image.features.insert(name, level);
        }
        17 => registration(image, &mut r)?,
        23 => return Ok(Mark::Begin),
        24 => return Ok(Mark::End),
        25 => return Ok(Mark::Abort),
        _ => {}
    }
    Ok(Mark::None)
}

fn bounded(count: usize) -> Result<(), Malformed> {
    if count < MOST {
        return Ok(());
    }
    Err(Malformed("it names more than any cluster has"))
}

fn register(image: &mut Image, r: &mut Reader<'_>, version: u64) -> Result<(), Malformed> {
    let id = r.i32()?;
    if version >= 2 {
        r.i8()?;
    }
    // Incarnation and epoch.
    r.take(16 + 8)?;
    r.list(6, |r| {
        r.text()?;
        r.text()?;
        r.take(2 + 2)?;
        r.tags(|_, _| Ok(()))
    })?;
    r.list(6, |r| {
        r.text()?;
        r.take(2 + 2)?;
        r.tags(|_, _| Ok(()))
    })?;
    r.text()?;
    let mut broker = Broker {
        fenced: r.i8()? != 0,
        log_dirs: Vec::new(),
    };
    if version >= 1 {
        r.i8()?;
    }
    r.tags(|tag, field| {
        if tag == 0 {
            broker.log_dirs = field.uuids()?;
        }
        Ok(())
    })?;
    bounded(image.brokers.len())?;
    image.brokers.insert(id, broker);
    Ok(())
}

fn registration(image: &mut Image, r: &mut Reader<'_>) -> Result<(), Malformed> {
    let id = r.i32()?;
    r.take(8)?;
    let Some(broker) = image.brokers.get_mut(&id) else {
        return Ok(());
    };
    r.tags(|tag, field| {
        match tag {
            // 1 fences, -1 unfences.
            0 => match field.i8()? {
                1 => broker.fenced = true,
                -1 => broker.fenced = false,
                _ => {}
            },
            2 => {
                let log_dirs = field.uuids()?;
                if !log_dirs.is_empty() {
                    broker.log_dirs = log_dirs;
                }
            }
            _ => {}
        }
        Ok(())
    })
}

fn partition(image: &mut Image, r: &mut Reader<'_>, version: u64, time: i64) -> Result<(), Malformed> {
    let number = r.i32()?;
    let topic = r.uuid()?;
    let (replicas, isr) = (r.ids()?, r.ids()?);
    let (_removing, _adding) = (r.ids()?, r.ids()?);
    let leader = r.i32()?;
    // The epochs of leader and partition.
    r.take(4 + 4)?;
    let directories = if version >= 1 { r.uuids()? } else { Vec::new() };
    let Some(topic) = image.topics.get_mut(&topic) else {
        return Err(Malformed("it is a partition of an unknown topic"));
    };
    bounded(topic.partitions.len())?;
    let partition = Partition {
        replicas,
        isr,
        leader,
        directories,
        since: time,
    };
    topic.partitions.insert(number, partition);
    Ok(())
}

fn change(image: &mut Image, r: &mut Reader<'_>, time: i64) -> Result<(), Malformed> {
    let number = r.i32()?;
    let topic = r.uuid()?;
    let topic = image.topics.get_mut(&topic);
    let Some(partition) = topic.and_then(|topic| topic.partitions.get_mut(&number)) else {
        return Err(Malformed("it changes an unknown partition"));
    };
    r.tags(|tag, field| {
        match tag {
            0 => partition.isr = field.ids()?,
            1 => partition.leader = field.i32()?,
            2 => {
                let replicas = field.ids()?;
                if replicas != partition.replicas {
                    partition.since = time;
                }
                partition.replicas = replicas;
            }
            8 => partition.directories = field.uuids()?,
            _ => {}
        }
        Ok(())
    })
}
