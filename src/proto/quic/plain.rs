//! Packets without protection: Retry (RFC 9000 §17.2.5) and Version Negotiation (§17.2.1).
//!
//! Nothing shows who sent them, and one bit that flips on the way makes one of a Handshake packet.
//! Of a server's connection the machine makes an end for one, and a client that was sent one which
//! it discards takes no other. So only what answers a client's first packet comes to it, and in a
//! datagram of its own: "there is no situation where a Retry or Version Negotiation packet is
//! coalesced with another packet" (§12.2).
//!
//! A stateless reset that has the form of such a packet is not taken for one, which §10.3 asks for
//! since other versions of QUIC might send them so; this one does not.

use quinn_proto::ConnectionId;

use super::owner::LONG;
use super::parts::VERSION;
use super::tls::{TAG_LEN, is_valid_retry};
use super::unpad::varint;
use super::versions::id;

/// What a datagram that has come begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Packets that are protected, in so many bytes; what follows is not.
    Protected(usize),
    /// One that is not.
    Plain,
}

const TYPE: u8 = 0x30;
const INITIAL: u8 = 0x00;
const RETRY: u8 = 0x30;
/// Of the field of the version.
const NEGOTIATION: u32 = 0;

/// Looks through the long headers of a datagram.
#[inline]
pub(super) fn kind(datagram: &[u8]) -> Kind {
    match datagram.first() {
        Some(first) if first & LONG != 0 => kind_of_long(datagram),
        _ => Kind::Protected(datagram.len()),
    }
}

fn kind_of_long(datagram: &[u8]) -> Kind {
    let mut rest = datagram;
    while rest.first().is_some_and(|first| first & LONG != 0) {
        let at = datagram.len() - rest.len();
        match Long::read(rest) {
            Some(Long::Protected(next)) => rest = next,
            Some(_) if at == 0 => return Kind::Plain,
            Some(_) => return Kind::Protected(at),
            // It is the machine's to see what is wrong with it.
            None => break,
        }
    }
    Kind::Protected(datagram.len())
}

/// Whether a packet that is not protected answers a client whose first packets went to that id,
/// and is more than to be discarded.
pub(super) fn is_answer(packet: &[u8], first: &ConnectionId) -> bool {
    match Long::read(packet) {
        // "A client MUST discard a Retry packet with a zero-length Retry Token field" (§17.2.5.2).
        Some(Long::Retry(rest)) => rest.len() > TAG_LEN && is_valid_retry(first, packet),
        // Its source id is the one that the client's packet went to (§17.2.1), and "A client MUST
        // discard a Version Negotiation packet that lists the QUIC version selected by the client"
        // (§6.2).
        Some(Long::Negotiation { scid, versions }) => {
            let (versions, rest) = versions.as_chunks::<4>();
            let lists_ours = versions.iter().any(|version| u32::from_be_bytes(*version) == VERSION);
            scid == &**first && !versions.is_empty() && rest.is_empty() && !lists_ours
        }
        _ => false,
    }
}

/// A packet with a long header.
enum Long<'a> {
    /// With what follows it.
    Protected(&'a [u8]),
    /// With its token and its tag.
    Retry(&'a [u8]),
    Negotiation {
        scid: &'a [u8],
        versions: &'a [u8],
    },
}

impl<'a> Long<'a> {
    fn read(packet: &'a [u8]) -> Option<Self> {
        let (first, rest) = packet.split_first()?;
        let (version, rest) = rest.split_first_chunk::<4>()?;
        let (_, rest) = id(rest)?;
        let (scid, mut rest) = id(rest)?;
        match u32::from_be_bytes(*version) {
            NEGOTIATION => return Some(Self::Negotiation { scid, versions: rest }),
            VERSION => {}
            _ => return None,
        }
        if first & TYPE == RETRY {
            return Some(Self::Retry(rest));
        }
        if first & TYPE == INITIAL {
            let (token, after) = varint(rest)?;
            rest = after.get(usize::try_from(token).ok()?..)?;
        }
        let (len, rest) = varint(rest)?;
        rest.get(usize::try_from(len).ok()?..).map(Self::Protected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANDSHAKE: u8 = 0xE0;

    fn packet(first: u8, version: u32, rest: &[u8]) -> Vec<u8> {
        [&[first], &version.to_be_bytes()[..], &[2, 7, 7, 3, 8, 8, 8], rest].concat()
    }

    #[test]
    fn protected_packets_are_kept_and_what_is_not_behind_them_is_cut_off() {
        let initial = packet(0xC0, 1, &[2, 5, 5, 0x40, 4, 9, 9, 9, 9]);
        let handshake = packet(HANDSHAKE, 1, &[3, 9, 9, 9]);
        let retry = packet(0xF0, 1, &[9; 40]);
        let short = vec![0x40; 30];
        for parts in [vec![&initial], vec![&initial, &handshake], vec![&handshake, &short]] {
            let datagram: Vec<u8> = parts.into_iter().flatten().copied().collect();
            assert_eq!(kind(&datagram), Kind::Protected(datagram.len()));
            let longer = [&datagram[..], &retry].concat();
            let kept = if datagram.ends_with(&short) { longer.len() } else { datagram.len() };
            assert_eq!(kind(&longer), Kind::Protected(kept), "a short header reaches to the end");
        }
        assert_eq!(kind(&retry), Kind::Plain);
        assert_eq!(kind(&packet(0xC0, 0, &[])), Kind::Plain);
        let both = [&handshake[..], &packet(0x80, 0, &[3])].concat();
        assert_eq!(kind(&both), Kind::Protected(handshake.len()));
    }

    #[test]
    fn cut_off_headers_are_left_to_the_machine() {
        let whole = packet(0xC0, 1, &[2, 5, 5, 0x40, 4, 9, 9, 9, 9]);
        for len in 0..whole.len() {
            assert_eq!(kind(&whole[..len]), Kind::Protected(len));
        }
    }

    #[test]
    fn version_negotiation_answers_who_asked_and_lists_other_versions() {
        let first = ConnectionId::new(&[8; 3]);
        let answers = |rest: &[u8]| is_answer(&packet(0xC0, 0, rest), &first);
        assert!(answers(&[1, 2, 3, 4]) && answers(&[0, 0, 0, 2, 1, 2, 3, 4]));
        assert!(!answers(&[0, 0, 0, 1]) && !answers(&[1, 2, 3, 4, 0, 0, 0, 1]));
        assert!(!answers(&[]) && !answers(&[1, 2, 3]) && !answers(&[1, 2, 3, 4, 5]));
        let other = ConnectionId::new(&[9; 3]);
        assert!(!is_answer(&packet(0xC0, 0, &[1, 2, 3, 4]), &other));
    }

    /// The packet of RFC 9001 §A.4.
    #[test]
    fn a_retry_has_a_tag_and_a_token() {
        let first = ConnectionId::new(&[0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08]);
        let retry = b"\xff\0\0\0\x01\0\x08\xf0\x67\xa5\x50\x2a\x42\x62\xb5token\
            \x04\xa2\x65\xba\x2e\xff\x4d\x82\x90\x58\xfb\x3f\x0f\x24\x96\xba";
        assert_eq!(kind(retry), Kind::Plain);
        assert!(is_answer(retry, &first));
        for at in 0..retry.len() {
            let mut spoiled = retry.to_vec();
            spoiled[at] ^= 1;
            assert!(!is_answer(&spoiled, &first), "byte {at}");
        }
        assert!(!is_answer(retry, &ConnectionId::new(&[1; 8])));
        assert!(!is_answer(&packet(0xF0, 1, &[9; 16]), &first));
        assert!(!is_answer(&packet(HANDSHAKE, 1, &[3, 9, 9, 9]), &first));
    }
}
