//! Texts as Java writes them: `DataOutput.writeUTF` for names, UTF-16 for passwords.

use kbo_core::secret::Secret;
use zeroize::Zeroizing;

/// A password as Java's protector and checksum take it: UTF-16, big-endian.
pub(super) fn password(password: &Secret) -> Zeroizing<Vec<u8>> {
    let text = password.expose();
    // No reallocation may leave a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() * 2));
    for unit in text.encode_utf16() {
        bytes.extend_from_slice(&unit.to_be_bytes());
    }
    bytes
}

/// Modified UTF-8: NUL takes two bytes, what lies beyond the basic plane two surrogates of three.
pub(super) fn encode(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for unit in text.encode_utf16() {
        match unit {
            0x0001..=0x007F => out.push(low(unit)),
            0x0000 | 0x0080..=0x07FF => {
                out.push(0xC0 | low(unit >> 6));
                out.push(0x80 | low(unit & 0x3F));
            }
            0x0800.. => {
                out.push(0xE0 | low(unit >> 12));
                out.push(0x80 | low((unit >> 6) & 0x3F));
                out.push(0x80 | low(unit & 0x3F));
            }
        }
    }
    out
}

/// The same back; `None` for what Java would not take.
pub(super) fn decode(bytes: &[u8]) -> Option<String> {
    let mut units = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter().map(|byte| u16::from(*byte));
    while let Some(first) = rest.next() {
        let mut more = || rest.next().filter(|byte| byte & 0xC0 == 0x80).map(|byte| byte & 0x3F);
        units.push(match first {
            0x00..=0x7F => first,
            0xC0..=0xDF => (first & 0x1F) << 6 | more()?,
            0xE0..=0xEF => (first & 0x0F) << 12 | more()? << 6 | more()?,
            _ => return None,
        });
    }
    String::from_utf16(&units).ok()
}

/// The low byte.
fn low(unit: u16) -> u8 {
    unit.to_be_bytes()[1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_nul_and_an_emoji_are_written_as_java_writes_them() {
        assert_eq!(encode("a\0é€"), [b'a', 0xC0, 0x80, 0xC3, 0xA9, 0xE2, 0x82, 0xAC]);
        assert_eq!(encode("🔑"), [0xED, 0xA0, 0xBD, 0xED, 0xB4, 0x91]);
    }

    #[test]
    fn half_a_character_is_no_text() {
        for bytes in [&[0xC3][..], &[0xE2, 0x82], &[0x80], &[0xFF], &[0xED, 0xA0, 0xBD]] {
            assert_eq!(decode(bytes), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text in any::<String>()) {
            prop_assert_eq!(decode(&encode(&text)), Some(text));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            decode(&bytes);
        }
    }
}
