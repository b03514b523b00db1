//! Headers, messages, padding.

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
