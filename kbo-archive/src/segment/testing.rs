//! Segments made for tests.

/// A v2 batch of one offset per `count`, with `payload` in place of records.
pub(crate) fn batch(base_offset: i64, count: i32, epoch: i32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(base_offset.to_be_bytes());
    bytes.extend(i32::try_from(payload.len() + 49).unwrap().to_be_bytes());
    bytes.extend(epoch.to_be_bytes());
    bytes.push(2);
    bytes.extend([0; 4]);
    bytes.extend(0_i16.to_be_bytes());
    bytes.extend((count - 1).to_be_bytes());
    bytes.extend(1_700_000_000_000_i64.to_be_bytes());
    bytes.extend(1_700_000_000_000_i64.to_be_bytes());
    bytes.extend((-1_i64).to_be_bytes());
    bytes.extend((-1_i16).to_be_bytes());
    bytes.extend((-1_i32).to_be_bytes());
    bytes.extend(count.to_be_bytes());
    bytes.extend(payload);
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// A segment of `batches` batches with 10 offsets each, from `base` on, and its index.
pub(crate) fn segment(base: i64, batches: usize, payload: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut log, mut index) = (Vec::new(), Vec::new());
    let mut since = 0;
    for n in 0..batches {
        let offset = base + i64::try_from(n).unwrap() * 10;
        let content: Vec<u8> = (0..payload)
            .map(|i| u8::try_from((i * 31 + n * 7) % 251).unwrap())
            .collect();
        if since > 4096 {
            index.extend(i32::try_from(offset + 9 - base).unwrap().to_be_bytes());
            index.extend(u32::try_from(log.len()).unwrap().to_be_bytes());
            since = 0;
        }
        let bytes = batch(offset, 10, 3, &content);
        since += bytes.len();
        log.extend(bytes);
    }
    (log, index)
}
