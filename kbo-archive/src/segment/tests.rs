//! Segments whole and damaged, of record batches and of the messages before them; copies that end at a limit.

use super::testing::{batch, segment};
use super::*;
use proptest::prelude::*;
use std::io::Write;

fn verify(bytes: &[u8], portion: usize) -> Option<String> {
    let mut verifier = Verifier::default();
    bytes.chunks(portion).for_each(|chunk| verifier.feed(chunk));
    verifier.finish()
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

#[test]
fn a_sound_segment_is_sound_in_any_portions() {
    let (log, _) = segment(100, 20, 300);
    for portion in [1, 7, 61, 100, 1 << 20] {
        assert_eq!(verify(&log, portion), None);
    }
    assert_eq!(verify(&[], 1), None);
}

#[test]
fn compaction_leaves_gaps_and_empty_batches_and_they_are_sound() {
    let mut log = batch(10, 5, -1, b"");
    let mut emptied = batch(100, 50, 4, b"");
    emptied[57..61].copy_from_slice(&0_i32.to_be_bytes());
    let crc = crc32c::crc32c(&emptied[21..]);
    emptied[17..21].copy_from_slice(&crc.to_be_bytes());
    log.extend(emptied);
    assert_eq!(verify(&log, 10), None);
}

#[test]
fn every_flipped_byte_under_the_checksum_is_found() {
    let (log, _) = segment(0, 3, 40);
    for at in 0..log.len() {
        let within = at % 101;
        // The first bytes of a batch (offset, epoch) are not under its checksum, but must be in order.
        if within < 8 || (12..16).contains(&within) {
            continue;
        }
        let mut flipped = log.clone();
        flipped[at] ^= 0x41;
        assert!(verify(&flipped, 64).is_some(), "byte {at}");
    }
}

/// A message of magic 0 or 1 with this value; `attributes` name its compression.
fn message(offset: i64, magic: u8, attributes: u8, value: &[u8]) -> Vec<u8> {
    let mut covered = vec![magic, attributes];
    if magic == 1 {
        covered.extend(1_400_000_000_000_i64.to_be_bytes());
    }
    covered.extend((-1_i32).to_be_bytes());
    covered.extend(i32::try_from(value.len()).unwrap().to_be_bytes());
    covered.extend(value);
    let mut bytes = offset.to_be_bytes().to_vec();
    bytes.extend(i32::try_from(covered.len() + 4).unwrap().to_be_bytes());
    bytes.extend(crc32fast::hash(&covered).to_be_bytes());
    bytes.extend(covered);
    bytes
}

/// What a broker that was once a 0.8 has in a segment: messages of both old magics, a compressed one, and batches behind them.
fn old_segment() -> Vec<u8> {
    let inner = [message(0, 1, 0, b"a"), message(1, 1, 0, b"b")].concat();
    let messages = [
        message(0, 0, 0, b"old"),
        message(1, 0, 0, b""),
        message(2, 1, 0, &[7; 300]),
        message(4, 1, 1, &inner),
    ];
    [messages.concat(), batch(5, 10, 3, b"new")].concat()
}

#[test]
fn messages_of_before_record_batches_are_checked_by_their_own_checksums() {
    let log = old_segment();
    for portion in [1, 7, 61, 100, 1 << 20] {
        assert_eq!(verify(&log, portion), None);
    }
    // The first message, value and all.
    for at in (8..29).filter(|at| !(8..12).contains(at)) {
        let mut flipped = log.clone();
        flipped[at] ^= 0x40;
        assert!(verify(&flipped, 64).is_some(), "byte {at}");
    }
    assert!(verify(&log[..40], 64).unwrap().contains("ends inside"));
}

#[test]
fn a_batch_whose_magic_turns_into_an_old_one_is_damage() {
    let (log, _) = segment(0, 3, 40);
    for start in [0, 101, 202] {
        for magic in [0, 1] {
            let mut flipped = log.clone();
            flipped[start + 16] = magic;
            let damage = verify(&flipped, 64).unwrap();
            assert!(damage.contains(&format!("at byte {start}")), "{damage}");
            // And what is behind it is still looked at.
            flipped[start + 16] = 2;
            assert_eq!(verify(&flipped, 64), None);
        }
    }
}

#[test]
fn a_cut_segment_and_a_zero_tail_are_found() {
    let (log, _) = segment(0, 3, 40);
    assert!(verify(&log[..log.len() - 1], 64).unwrap().contains("ends inside"));
    assert!(verify(&log[..210], 64).unwrap().contains("at byte 202"));
    let mut padded = log;
    padded.extend([0; 4096]);
    assert!(verify(&padded, 64).unwrap().contains("zeros"));
}

#[test]
fn the_stable_prefix_ends_where_the_limit_is_reached() {
    let (log, index) = segment(1000, 200, 300);
    let size = 361;
    let len = log.len() as u64;
    let (log, index) = (file(&log), file(&index));
    for (limit, batches) in [
        (1000 + 2000, 200),
        (i64::MAX, 200),
        (1000 + 1990, 199),
        (1000 + 1989, 198),
        (1010, 1),
    ] {
        for index in [None, Some(&index)] {
            let stable = stable_prefix(&log, len, 1000, index, limit).unwrap().unwrap();
            assert_eq!(stable.end, batches * size, "limit {limit}");
            assert_eq!(stable.tail_at, (batches - 1) * size);
        }
    }
    for limit in [i64::MIN, 0, 1000, 1009] {
        assert_eq!(
            stable_prefix(&log, len, 1000, Some(&index), limit).unwrap(),
            None,
            "limit {limit}"
        );
    }
}

#[test]
fn an_index_with_room_behind_its_entries_is_read_up_to_them() {
    let (log, mut index) = segment(1000, 200, 300);
    index.resize(1 << 20, 0);
    let stable = stable_prefix(&file(&log), log.len() as u64, 1000, Some(&file(&index)), 2500)
        .unwrap()
        .unwrap();
    assert_eq!(stable.end, 150 * 361);
}

#[test]
fn a_lying_index_yields_a_copy_or_the_truth() {
    let (log, _) = segment(0, 50, 300);
    let lying: Vec<u8> = (1..50_u32)
        .flat_map(|n| [(n * 10).to_be_bytes(), (n * 361 + 5).to_be_bytes()].concat())
        .collect();
    let stable = stable_prefix(&file(&log), log.len() as u64, 0, Some(&file(&lying)), 300).unwrap();
    assert_eq!(stable.unwrap().end, 30 * 361);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), portion in 1..100_usize, limit: i64) {
        let _ = verify(&bytes, portion);
        let _ = stable_prefix(&file(&bytes), bytes.len() as u64, 0, Some(&file(&bytes)), limit).unwrap();
        let mut batched = batch(5, 1, 0, b"");
        batched.extend(&bytes);
        let _ = verify(&batched, portion);
    }
}
