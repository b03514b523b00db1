//! Padding of packets of the handshake, cut off before the machine looks at it.
//!
//! Datagrams with Initial packets have at least 1200 bytes (RFC 9000 §14.1), most of which are
//! padding: frames of one byte, which the machine decodes one by one.
//!
//! *Invariant*: what is cut off is padding by the frames before it, never by its bytes alone; where
//! a frame is not known, nothing is.

use quinn_proto::VarInt;
use quinn_proto::coding::Codec;

/// RFC 9000 §19: frames of Initial and Handshake packets.
const PADDING: u8 = 0x00;
const PING: u8 = 0x01;
const ACK: u8 = 0x02;
const ACK_ECN: u8 = 0x03;
const CRYPTO: u8 = 0x06;

/// Bytes of `payload` without the padding at its end. One byte of it stays where there is nothing
/// else: a packet must have a frame.
pub(super) fn len_unpadded(payload: &[u8]) -> usize {
    let mut rest = payload;
    while let Some((kind, after)) = rest.split_first() {
        let next = match *kind {
            PADDING => {
                let len = rest.iter().position(|byte| *byte != PADDING);
                let Some(len) = len else { return (payload.len() - rest.len()).max(1) };
                rest.get(len..)
            }
            PING => Some(after),
            ACK => after_ack(after, 0),
            ACK_ECN => after_ack(after, 3),
            CRYPTO => after_crypto(after),
            _ => None,
        };
        match next {
            Some(next) => rest = next,
            None => break,
        }
    }
    payload.len()
}

/// What follows an ACK frame with so many counts (RFC 9000 §19.3).
fn after_ack(rest: &[u8], counts: u64) -> Option<&[u8]> {
    let (_, rest) = varint(rest)?;
    let (_, rest) = varint(rest)?;
    let (ranges, rest) = varint(rest)?;
    let (_, mut rest) = varint(rest)?;
    // As many as there are claimed to be, or as there are bytes.
    for _ in 0..ranges.checked_mul(2)?.checked_add(counts)? {
        (_, rest) = varint(rest)?;
    }
    Some(rest)
}

/// What follows a CRYPTO frame (RFC 9000 §19.6).
fn after_crypto(rest: &[u8]) -> Option<&[u8]> {
    let (_, rest) = varint(rest)?;
    let (len, rest) = varint(rest)?;
    rest.get(usize::try_from(len).ok()?..)
}

/// A number of RFC 9000 §16, and what follows it.
pub(super) fn varint(mut bytes: &[u8]) -> Option<(u64, &[u8])> {
    let number = VarInt::decode(&mut bytes).ok()?;
    Some((number.into_inner(), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of different kinds, some of which end in what looks like padding.
    const FRAMES: [&[u8]; 8] = [
        &[PING],
        &[CRYPTO, 0, 4, 9, 0, 0, 0],
        &[CRYPTO, 0x40, 200, 0x40, 3, 0, 0, 0],
        &[CRYPTO, 0, 0],
        &[ACK, 9, 0, 0, 0],
        &[ACK, 0x40, 77, 0, 2, 5, 1, 1, 0, 0],
        &[ACK_ECN, 9, 0, 0, 0, 3, 0, 0],
        &[PADDING, PADDING, PING],
    ];

    #[test]
    fn padding_at_the_end_is_cut_off() {
        for one in FRAMES {
            for other in FRAMES {
                let frames = [one, other].concat();
                for padding in [0, 1, 2, 900] {
                    let payload = [&frames[..], &vec![PADDING; padding]].concat();
                    assert_eq!(len_unpadded(&payload), frames.len(), "{frames:?}");
                }
            }
        }
    }

    #[test]
    fn a_packet_keeps_a_frame() {
        assert_eq!(len_unpadded(&[PADDING; 1100]), 1);
        assert_eq!(len_unpadded(&[PADDING]), 1);
        assert_eq!(len_unpadded(&[]), 0);
    }

    #[test]
    fn nothing_is_cut_off_behind_what_is_not_known() {
        let close = [0x1c, 0x0a, 0, 0];
        let cut: [&[u8]; 6] = [
            &[CRYPTO, 0, 9, 0, 0],
            &[CRYPTO, 0xc0],
            &[ACK, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0],
            &[ACK, 0, 0, 9, 0, 0],
            &[ACK_ECN, 0, 0, 0, 0, 0],
            &[0x40, 0, 0],
        ];
        for frame in cut.into_iter().chain([&close[..]]) {
            for before in FRAMES {
                let payload = [before, frame].concat();
                assert_eq!(len_unpadded(&payload), payload.len(), "{payload:?}");
            }
        }
    }

    #[test]
    fn any_bytes_are_looked_at_once() {
        let mut rng = crate::rng::Rng::from_seed(9);
        for _ in 0..20_000 {
            let kinds = [PADDING, PING, ACK, ACK_ECN, CRYPTO, 0xff];
            let bytes: Vec<u8> = (0..rng.below(60)).map(|_| kinds[rng.below(6) as usize]).collect();
            let len = len_unpadded(&bytes);
            assert!(len <= bytes.len() && bytes[len..].iter().all(|byte| *byte == PADDING));
        }
    }
}
