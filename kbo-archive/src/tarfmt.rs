//! The tar that kbo writes and reads: POSIX ustar headers, with pax extensions where a header cannot say it (long or non-ASCII
//! names, sub-second times, big numbers). Nothing else is accepted: no hard links, devices, sparse files or GNU extensions.

use std::io;

use jiff::Timestamp;
use kbo_core::manifest::{FileKind, FileRecord};

use crate::pipe::Drain;

/// The unit of the format.
pub(crate) const BLOCK: usize = 512;

/// Bytes of a pax extension that are read at most.
const MAX_PAX: u64 = 1 << 16;

const MAX_OCTAL_SIZE: u64 = 0o77_777_777_777;
const MAX_OCTAL_ID: u32 = 0o7_777_777;

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// Without the slash at the end; empty for `./`.
    pub(crate) path: String,
    pub(crate) kind: ItemKind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ItemKind {
    File { size: u64 },
    Dir,
    Symlink { target: String },
}

impl Item {
    /// The header of a recorded file.
    pub(crate) fn of(record: &FileRecord) -> Self {
        Self {
            path: record.path.clone(),
            kind: match &record.kind {
                FileKind::File { size, .. } => ItemKind::File { size: *size },
                FileKind::Dir => ItemKind::Dir,
                FileKind::Symlink { target } => ItemKind::Symlink { target: target.clone() },
            },
            mode: record.mode,
            uid: record.uid,
            gid: record.gid,
            mtime: record.mtime,
        }
    }

    pub(crate) fn size(&self) -> u64 {
        match self.kind {
            ItemKind::File { size } => size,
            ItemKind::Dir | ItemKind::Symlink { .. } => 0,
        }
    }

    /// The bytes before the item's content: a header, with a pax extension before it where needed.
    pub(crate) fn header(&self) -> Vec<u8> {
        let name = match (&self.kind, self.path.as_str()) {
            (ItemKind::Dir, "") => "./".to_owned(),
            (ItemKind::Dir, path) => format!("{path}/"),
            (_, path) => path.to_owned(),
        };
        let target = match &self.kind {
            ItemKind::Symlink { target } => target.as_str(),
            _ => "",
        };
        let nanos = self.mtime.as_nanosecond();
        let seconds = u64::try_from(nanos.div_euclid(1_000_000_000))
            .ok()
            .filter(|s| *s <= MAX_OCTAL_SIZE);
        let fits = |text: &str| text.len() <= 100 && text.is_ascii();
        let mut pax = Vec::new();
        if !fits(&name) {
            pax_record(&mut pax, "path", &name);
        }
        if !fits(target) {
            pax_record(&mut pax, "linkpath", target);
        }
        if self.size() > MAX_OCTAL_SIZE {
            pax_record(&mut pax, "size", &self.size().to_string());
        }
        for (key, id) in [("uid", self.uid), ("gid", self.gid)] {
            if id > MAX_OCTAL_ID {
                pax_record(&mut pax, key, &id.to_string());
            }
        }
        if seconds.is_none() || nanos.rem_euclid(1_000_000_000) != 0 {
            pax_record(&mut pax, "mtime", &decimal(nanos));
        }
        let mut out = Vec::with_capacity(3 * BLOCK);
        if !pax.is_empty() {
            let mut header = tar::Header::new_ustar();
            write_name(&mut header.as_mut_bytes()[..100], "./PaxHeader");
            header.set_entry_type(tar::EntryType::XHeader);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_size(pax.len() as u64);
            header.set_cksum();
            out.extend(header.as_bytes());
            out.extend(&pax);
            out.resize(out.len().next_multiple_of(BLOCK), 0);
        }
        let mut header = tar::Header::new_ustar();
        write_name(&mut header.as_mut_bytes()[..100], &name);
        write_name(&mut header.as_mut_bytes()[157..257], target);
        header.set_entry_type(match self.kind {
            ItemKind::File { .. } => tar::EntryType::Regular,
            ItemKind::Dir => tar::EntryType::Directory,
            ItemKind::Symlink { .. } => tar::EntryType::Symlink,
        });
        header.set_mode(self.mode);
        header.set_uid(u64::from(if self.uid > MAX_OCTAL_ID { 0 } else { self.uid }));
        header.set_gid(u64::from(if self.gid > MAX_OCTAL_ID { 0 } else { self.gid }));
        header.set_mtime(seconds.unwrap_or(0));
        header.set_size(if self.size() > MAX_OCTAL_SIZE { 0 } else { self.size() });
        header.set_cksum();
        out.extend(header.as_bytes());
        out
    }
}

/// Bytes that fill the last block of a content.
pub(crate) fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    if over == 0 { 0 } else { BLOCK - over }
}

fn write_name(field: &mut [u8], name: &str) {
    let take = name.len().min(field.len());
    field[..take].copy_from_slice(&name.as_bytes()[..take]);
}

/// `length key=value\n`, where the length counts its own digits.
fn pax_record(out: &mut Vec<u8>, key: &str, value: &str) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend(format!("{length} {key}={value}\n").as_bytes());
}

fn decimal(nanos: i128) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    format!("{sign}{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

fn parse_decimal(text: &str) -> Option<Timestamp> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
    if !digits(seconds) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let seconds: i64 = seconds.parse().ok()?;
    let fraction: i128 = format!("{fraction:0<9}").parse().ok()?;
    let nanos = i128::from(seconds) * 1_000_000_000 + fraction;
    Timestamp::from_nanosecond(if negative { -nanos } else { nanos }).ok()
}

/// Why a header could not be read.
#[derive(Debug)]
pub(crate) enum HeaderError {
    /// There are no more bytes, or none that can be had.
    Stream(io::Error),
    /// The bytes are no header that kbo writes.
    Bad(String),
}

impl From<io::Error> for HeaderError {
    fn from(error: io::Error) -> Self {
        Self::Stream(error)
    }
}

/// Reads tar.
pub(crate) struct Reader {
    input: Drain,
    /// Bytes read so far.
    pub(crate) position: u64,
}

#[derive(Default)]
struct Pax {
    path: Option<String>,
    target: Option<String>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<Timestamp>,
}

impl Reader {
    pub(crate) fn new(input: Drain) -> Self {
        Self { input, position: 0 }
    }

    /// The next header; `None` at the archive's end, which two blocks of zeros are.
    pub(crate) fn header(&mut self) -> Result<Option<Item>, HeaderError> {
        let mut pax = None;
        loop {
            let block = self.block()?;
            if block == [0; BLOCK] {
                if self.block()? != [0; BLOCK] || pax.is_some() {
                    return Err(HeaderError::Bad("half an end of archive".to_owned()));
                }
                return Ok(None);
            }
            let header = tar::Header::from_byte_slice(&block);
            let bad = |what: &str| HeaderError::Bad(what.to_owned());
            let sum: u32 = block
                .iter()
                .enumerate()
                .map(|(at, byte)| u32::from(if (148..156).contains(&at) { b' ' } else { *byte }))
                .sum();
            if header.cksum().ok() != Some(sum) {
                return Err(bad("a header with a wrong checksum"));
            }
            let size = header.entry_size().map_err(|_| bad("a header without a size"))?;
            if header.entry_type() == tar::EntryType::XHeader {
                if size > MAX_PAX || pax.is_some() {
                    return Err(bad("an oversized or repeated pax extension"));
                }
                pax = Some(self.pax(size)?);
                continue;
            }
            return item(header, pax.unwrap_or_default())
                .map(Some)
                .map_err(HeaderError::Bad);
        }
    }

    fn block(&mut self) -> io::Result<[u8; BLOCK]> {
        let mut block = [0; BLOCK];
        let mut at = 0;
        while at < BLOCK {
            let bytes = self.content((BLOCK - at) as u64)?;
            let count = bytes.len();
            block[at..at + count].copy_from_slice(bytes);
            self.consume(count);
            at += count;
        }
        Ok(block)
    }

    fn pax(&mut self, size: u64) -> Result<Pax, HeaderError> {
        let mut bytes = Vec::new();
        let padded = size + padding(size) as u64;
        while (bytes.len() as u64) < padded {
            bytes.extend(self.block()?);
        }
        bytes.truncate(usize::try_from(size).unwrap_or(0));
        parse_pax(&bytes).ok_or_else(|| HeaderError::Bad("a malformed pax extension".to_owned()))
    }

    /// Bytes at hand, `most` at most and at least one; to be followed by `consume`.
    pub(crate) fn content(&mut self, most: u64) -> io::Result<&[u8]> {
        let bytes = self.input.peek(most)?;
        if bytes.is_empty() && most > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ends early"));
        }
        Ok(bytes)
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.input.consume(count);
        self.position += count as u64;
    }

    pub(crate) fn skip(&mut self, mut count: u64) -> io::Result<()> {
        while count > 0 {
            let now = self.content(count)?.len();
            self.consume(now);
            count -= now as u64;
        }
        Ok(())
    }

    /// Whether nothing but zeros follows.
    pub(crate) fn only_zeros_follow(&mut self) -> io::Result<bool> {
        loop {
            let bytes = self.input.peek(u64::MAX)?;
            if bytes.is_empty() {
                return Ok(true);
            }
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            let count = bytes.len();
            self.consume(count);
        }
    }
}

fn item(header: &tar::Header, pax: Pax) -> Result<Item, String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| "a name that is not UTF-8".to_owned());
    let name = match pax.path {
        Some(path) => path,
        None => text(&header.path_bytes())?,
    };
    let number = |value: io::Result<u64>, what: &str| value.map_err(|_| format!("{name}: no {what}"));
    let id = |value: io::Result<u64>, what: &str| {
        u32::try_from(number(value, what)?).map_err(|_| format!("{name}: {what} out of range"))
    };
    let size = match pax.size {
        Some(size) => size,
        None => number(header.entry_size(), "size")?,
    };
    let (path, kind) = match header.entry_type() {
        tar::EntryType::Regular if !name.ends_with('/') => (name.clone(), ItemKind::File { size }),
        tar::EntryType::Directory if name == "./" => (String::new(), ItemKind::Dir),
        tar::EntryType::Directory if name.ends_with('/') => (name[..name.len() - 1].to_owned(), ItemKind::Dir),
        tar::EntryType::Symlink => {
            let target = match pax.target {
                Some(target) => target,
                None => text(&header.link_name_bytes().unwrap_or_default())?,
            };
            (name.clone(), ItemKind::Symlink { target })
        }
        other => return Err(format!("{name}: an entry of type {:?}", char::from(other.as_byte()))),
    };
    if size > 0 && !matches!(kind, ItemKind::File { .. }) {
        return Err(format!("{name}: content where there can be none"));
    }
    let mtime = match pax.mtime {
        Some(mtime) => mtime,
        None => {
            let seconds = i64::try_from(number(header.mtime(), "mtime")?).map_err(|_| format!("{name}: mtime"))?;
            Timestamp::from_second(seconds).map_err(|_| format!("{name}: mtime out of range"))?
        }
    };
    let uid = pax.uid.map_or_else(|| id(header.uid(), "uid"), Ok)?;
    let gid = pax.gid.map_or_else(|| id(header.gid(), "gid"), Ok)?;
    let mode = header.mode().map_err(|_| format!("{name}: no mode"))?;
    Ok(Item {
        path,
        kind,
        mode,
        uid,
        gid,
        mtime,
    })
}

fn parse_pax(mut bytes: &[u8]) -> Option<Pax> {
    let mut pax = Pax::default();
    while !bytes.is_empty() {
        let space = bytes.iter().take(8).position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
        if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
            return None;
        }
        let record = std::str::from_utf8(&bytes[space + 1..length - 1]).ok()?;
        let (key, value) = record.split_once('=')?;
        match key {
            "path" => pax.path = Some(value.to_owned()),
            "linkpath" => pax.target = Some(value.to_owned()),
            "size" => pax.size = Some(value.parse().ok()?),
            "uid" => pax.uid = Some(value.parse().ok()?),
            "gid" => pax.gid = Some(value.parse().ok()?),
            "mtime" => pax.mtime = Some(parse_decimal(value)?),
            // What a tar of GNU or Python may tell besides.
            "atime" | "ctime" => {}
            // Sparse files and the like would change what the content means.
            _ => return None,
        }
        bytes = &bytes[length..];
    }
    Some(pax)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipe::pipe;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<Option<Item>, HeaderError> {
        let (filler, drain) = pipe();
        let mut buffer = filler.buffer();
        buffer.room()[..bytes.len()].copy_from_slice(bytes);
        buffer.fill(bytes.len());
        filler.send(Ok(buffer)).unwrap();
        drop(filler);
        Reader::new(drain).header()
    }

    fn any_item() -> impl Strategy<Value = Item> {
        let kind = prop_oneof![
            any::<u64>().prop_map(|size| ItemKind::File { size }),
            Just(ItemKind::Dir),
            "[a-zä]{1,150}".prop_map(|target| ItemKind::Symlink { target }),
        ];
        let nanos = -5_000_000_000_000_000_000..5_000_000_000_000_000_000_i64;
        (
            kind,
            "[a-zö]{1,120}(/[a-z]{1,30})?",
            0..0o10000_u32,
            any::<u32>(),
            any::<u32>(),
            nanos,
        )
            .prop_map(|(kind, path, mode, uid, gid, nanos)| {
                let mtime = Timestamp::from_nanosecond(i128::from(nanos)).unwrap();
                Item {
                    path,
                    kind,
                    mode,
                    uid,
                    gid,
                    mtime,
                }
            })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(item in any_item()) {
            prop_assert_eq!(read(&item.header()).unwrap(), Some(item));
        }

        #[test]
        fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..2000), text in ".{0,200}") {
            let _ = read(&bytes);
            let _ = parse_pax(&bytes);
            let _ = parse_pax(text.as_bytes());
            let _ = parse_decimal(&text);
            // With a right checksum the fields are looked at.
            if bytes.len() >= BLOCK {
                let mut header = tar::Header::new_ustar();
                header.as_mut_bytes().copy_from_slice(&bytes[..BLOCK]);
                header.set_cksum();
                bytes[..BLOCK].copy_from_slice(header.as_bytes());
                let _ = read(&bytes);
            }
        }
    }

    #[test]
    fn a_flipped_byte_in_a_header_is_found() {
        let item = Item {
            path: "t-0/00000000000000000000.log".to_owned(),
            kind: ItemKind::File { size: 17 },
            mode: 0o640,
            uid: 1000,
            gid: 1000,
            mtime: Timestamp::from_second(1_700_000_000).unwrap(),
        };
        let header = item.header();
        for at in 0..header.len() {
            let mut flipped = header.clone();
            flipped[at] ^= 1;
            assert!(
                !matches!(read(&flipped), Ok(Some(read)) if read == item && !(148..156).contains(&at) && !(257..345).contains(&at))
            );
        }
    }
}
