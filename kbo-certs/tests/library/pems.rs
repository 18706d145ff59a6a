//! PEM as it is found in the field.

use kbo_certs::pem::{blocks, encode};
use proptest::prelude::*;

fn labels(bytes: &[u8]) -> Vec<String> {
    blocks(bytes).whole.into_iter().map(|block| block.label).collect()
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(der in prop::collection::vec(any::<u8>(), 1..3000), crlf: bool, around in "[a-z :\n]{0,40}") {
        let mut text = encode("CERTIFICATE", &der).to_string();
        if crlf {
            text = text.replace('\n', "\r\n");
        }
        let text = format!("{around}\n{text}{around}\n{text}");
        let found = blocks(text.as_bytes());
        prop_assert!(found.broken.is_empty());
        prop_assert_eq!(found.whole.len(), 2);
        for block in found.whole {
            prop_assert_eq!(&*block.data, &der);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..500), cut in 0..200_usize) {
        let _ = blocks(&bytes);
        let mut text = encode("PRIVATE KEY", &bytes).as_bytes().to_vec();
        text.truncate(cut);
        text.extend_from_slice(&bytes);
        let _ = blocks(&text);
    }
}

#[test]
fn openssl_s_text_around_blocks_is_passed_over() {
    let block = encode("CERTIFICATE", b"one").to_string();
    let text = format!(
        "Bag Attributes\n    localKeyID: 01 02\nsubject=CN = *.example.org\n{block}Certificate:\n    Data:\n        Version: 3 (0x2)\n{block}"
    );
    assert_eq!(labels(text.as_bytes()), ["CERTIFICATE", "CERTIFICATE"]);
}

#[test]
fn byte_order_marks_and_utf_16_are_read() {
    let block = encode("CERTIFICATE", b"one").to_string();
    let mut marked = b"\xef\xbb\xbf".to_vec();
    marked.extend_from_slice(block.as_bytes());
    assert_eq!(labels(&marked), ["CERTIFICATE"]);
    let little: Vec<u8> = [0xfeff]
        .into_iter()
        .chain(block.encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    assert_eq!(labels(&little), ["CERTIFICATE"]);
    let big: Vec<u8> = [0xfeff]
        .into_iter()
        .chain(block.encode_utf16())
        .flat_map(u16::to_be_bytes)
        .collect();
    assert_eq!(labels(&big), ["CERTIFICATE"]);
}

#[test]
fn files_joined_without_a_line_s_end_between_them_keep_all_blocks() {
    let joined: String = ["one", "two", "three"]
        .iter()
        .map(|data| encode("CERTIFICATE", data.as_bytes()).trim_end().to_owned())
        .collect();
    assert!(joined.contains("-----END CERTIFICATE----------BEGIN CERTIFICATE-----"));
    let found = blocks(joined.as_bytes());
    assert!(found.broken.is_empty());
    let read: Vec<&[u8]> = found.whole.iter().map(|block| block.data.as_slice()).collect();
    assert_eq!(read, [&b"one"[..], b"two", b"three"]);
    assert_eq!(found.whole[2].line, 5);
}

#[test]
fn a_broken_block_hides_no_other() {
    let good = encode("CERTIFICATE", b"one").to_string();
    let cases = [
        (
            "-----BEGIN PRIVATE KEY-----\nAAAA\n",
            "it has no END before the next BEGIN",
        ),
        (
            "-----BEGIN PRIVATE KEY-----\nAA\0A\n-----END PRIVATE KEY-----\n",
            "its base64 is damaged",
        ),
        (
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END CERTIFICATE-----\n",
            "its END is of another kind",
        ),
        (
            "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
            "it is empty",
        ),
    ];
    for (bad, why) in cases {
        let found = blocks(format!("{bad}{good}").as_bytes());
        assert_eq!(found.whole.len(), 1, "{bad}");
        assert_eq!(found.broken.len(), 1, "{bad}");
        assert_eq!((found.broken[0].line, found.broken[0].why), (1, why), "{bad}");
    }
    let found = blocks(&good.as_bytes()[..good.len() - 10]);
    assert_eq!(found.broken[0].why, "it has no END: the file is cut short");
}
