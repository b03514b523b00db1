//! Headers, messages, padding.

use crate::proto::tls::hello::Hello;
use crate::proto::tls::wire::{Header, message_len, split_message, strip_padding};

#[test]
fn headers_come_back_as_they_were() {
    for bytes in [[23, 3, 3, 0x40, 0x11], [22, 3, 1, 0, 1], [0; 5], [255; 5]] {
        assert_eq!(Header::read(bytes).bytes(), bytes);
    }
}

#[test]
fn messages_are_split_when_whole() {
    let bytes = [4, 0, 0, 2, 8, 9, 24, 0];
    assert_eq!(split_message(&bytes), Some((4, &[8, 9][..], &[24, 0][..])));
    for len in 0..6 {
        assert_eq!(split_message(&bytes[..len]), None);
    }
    assert_eq!((message_len(&bytes), message_len(&bytes[..3])), (Some(6), None));
    assert_eq!(message_len(&[0, 255, 255, 255]), Some(4 + 0xFF_FFFF));
}

#[test]
fn padding_of_every_length() {
    assert_eq!(strip_padding(&[]), None);
    for padding in 0..70 {
        let zeros = vec![0; padding];
        assert_eq!(strip_padding(&zeros), None);
        for content in 0..40 {
            let inner = [&vec![0; content][..], &[23], &zeros].concat();
            assert_eq!(strip_padding(&inner), Some((23, content)), "{content} {padding}");
        }
    }
}

/// A ClientHello with these extensions, in one record.
fn hello(extensions: &[u8]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([9; 32]);
    body.extend([1, 7, 0, 2, 0x13, 1, 1, 0]);
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    let mut record = vec![22, 3, 1, 0, 0, 1, 0, 0, 0];
    record[4] = body.len() as u8 + 4;
    record[8] = body.len() as u8;
    record.extend(body);
    record
}

#[test]
fn the_name_in_a_client_hello() {
    let sni = |name: &[u8]| {
        let len = name.len() as u8;
        [&[0, 0, 0, len + 5, 0, len + 3, 0, 0, len][..], name].concat()
    };
    let rows = [
        (sni(b"host.example"), Some("host.example")),
        (sni(b"Host.EXAMPLE"), Some("host.example")),
        ([&[0, 5, 0, 1, 1][..], &sni(b"a.b")].concat(), Some("a.b")),
        (sni(b"127.0.0.1"), None),
        (sni(b"not a name"), None),
        (sni(&[0xFF, 0xFE]), None),
        (sni(b""), None),
        (vec![], None),
        (vec![0, 0, 0, 9, 1], None),
        (vec![0, 0, 0, 0], None),
    ];
    for (extensions, name) in rows {
        let record = hello(&extensions);
        let mut whole = Hello::new();
        whole.look(&record, 1000);
        assert_eq!(whole.name(), name, "{extensions:?}");
        // In records of a byte each.
        let mut cut = Hello::new();
        for byte in &record[5..] {
            assert_eq!(cut.name(), None);
            cut.look(&[22, 3, 1, 0, 1, *byte], 1000);
        }
        assert_eq!(cut.name(), name);
        // Every truncation of it is no name, and no panic.
        for len in 0..record.len() {
            let mut cut = Hello::new();
            cut.look(&record[..len], 1000);
            assert_eq!(cut.name(), None);
        }
    }
    let mut long = Hello::new();
    for _ in 0..100 {
        long.look(&[&[22, 3, 1, 0, 100, 1, 0xFF, 0, 0][..], &[0; 96]].concat(), 300);
    }
    assert!(matches!(long, Hello::Read(None)), "gathers no more than it may");
}
