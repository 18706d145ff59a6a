//! How much of a node's disk stays free while archives are made.
//!
//! A snapshot's hardlinks keep on the disk what Kafka deletes meanwhile, so that a long night of archiving may fill it. Below the floor
//! the backup ends, and its snapshots go, before Kafka finds no room.

use std::fmt;
use std::str::FromStr;

use crate::text::human;

/// The least free space of a filesystem that holds a log dir.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FreeFloor {
    /// 5 % of the filesystem, and at most 1 GiB.
    #[default]
    Usual,
    /// So many percent of the filesystem.
    Percent(u8),
    /// So many bytes; 0 for no floor.
    Bytes(u64),
}

/// Percentage of a filesystem and number of bytes of which the lesser is the usual floor.
const USUAL: (u8, u64) = (5, 1 << 30);

impl FreeFloor {
    /// The floor of a filesystem of `size` bytes, in bytes.
    pub fn of(self, size: u64) -> u64 {
        let share = |percent: u8| size / 100 * u64::from(percent) + size % 100 * u64::from(percent) / 100;
        match self {
            FreeFloor::Usual => share(USUAL.0).min(USUAL.1),
            FreeFloor::Percent(percent) => share(percent),
            FreeFloor::Bytes(bytes) => bytes,
        }
    }
}

impl fmt::Display for FreeFloor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FreeFloor::Usual => write!(f, "the lesser of {} % and {}", USUAL.0, human(USUAL.1)),
            FreeFloor::Percent(percent) => write!(f, "{percent} %"),
            FreeFloor::Bytes(bytes) => f.write_str(&human(*bytes)),
        }
    }
}

/// That a text is no floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither a percentage below 100 nor a number of bytes")]
pub struct NoFloor;

impl FromStr for FreeFloor {
    type Err = NoFloor;

    /// `5%`, `1GiB` (KiB, MiB, TiB), or a number of bytes.
    fn from_str(text: &str) -> Result<Self, NoFloor> {
        const UNITS: [(&str, u32); 4] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
        let text = text.trim();
        if let Some(percent) = text.strip_suffix('%') {
            let percent: u8 = percent.trim().parse().map_err(|_| NoFloor)?;
            return if percent < 100 {
                Ok(FreeFloor::Percent(percent))
            } else {
                Err(NoFloor)
            };
        }
        let unit = UNITS
            .iter()
            .find_map(|(unit, bits)| Some((text.strip_suffix(unit)?, *bits)));
        let (number, bits) = unit.unwrap_or((text, 0));
        let number: u64 = number.trim().parse().map_err(|_| NoFloor)?;
        number.checked_mul(1 << bits).map(FreeFloor::Bytes).ok_or(NoFloor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_floor_is_five_percent_and_never_more_than_a_gibibyte() {
        assert_eq!(FreeFloor::Usual.of(1000), 50);
        assert_eq!(FreeFloor::Usual.of(10 << 40), 1 << 30);
        assert_eq!(FreeFloor::Percent(10).of(u64::MAX), u64::MAX / 100 * 10 + 1);
        assert_eq!(FreeFloor::Bytes(7).of(1 << 40), 7);
    }

    #[test]
    fn a_floor_is_a_percentage_or_a_number_of_bytes() {
        assert_eq!("5%".parse(), Ok(FreeFloor::Percent(5)));
        assert_eq!(" 12 % ".parse(), Ok(FreeFloor::Percent(12)));
        assert_eq!("2GiB".parse(), Ok(FreeFloor::Bytes(2 << 30)));
        assert_eq!("500 MiB".parse(), Ok(FreeFloor::Bytes(500 << 20)));
        assert_eq!("0".parse(), Ok(FreeFloor::Bytes(0)));
        for wrong in ["", "100%", "5 GB", "-1", "1.5GiB", "99999999999TiB", "%"] {
            assert_eq!(wrong.parse::<FreeFloor>(), Err(NoFloor), "{wrong}");
        }
    }
}
