//! Packets without protection: Retry (RFC 9000 §17.2.5) and Version Negotiation (§17.2.1).
//!
//! Nothing shows who sent them, and one bit that flips on the way makes one of a Handshake packet.
//! Only a client takes any, before its handshake is under way, and in a datagram of its own: "Retry
//! packets, Version Negotiation packets, and packets with a short header cannot be followed by
//! other packets in the same UDP datagram" (§12.2), nor does anybody send one behind others. The
//! machine looks at them wherever they stand, and of a server's connection that is the end.

use super::parts::VERSION;
use super::unpad::varint;
use super::versions::id;

/// What a datagram that has come begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Packets that are protected, in so many bytes; what follows is not.
    Protected(usize),
    /// One that is not, and nothing else.
    Plain(Plain),
    /// Nothing that anybody sends.
    Malformed,
}

/// A packet that is not protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plain {
    /// It has a tag of its own, which the machine verifies.
    Retry,
    /// "The server MUST include the value from the Destination Connection ID field of the packet it
    /// receives" (RFC 8999 §6): its mark, by which a client knows it.
    Negotiation(Mark),
}

/// The beginning of a connection id, which clients draw at random for their first packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(u64);

impl Mark {
    /// `None`: it is shorter than such an id is (RFC 9000 §7.2).
    pub(super) fn of(id: &[u8]) -> Option<Self> {
        id.first_chunk().map(|first| Self(u64::from_be_bytes(*first)))
    }
}

const LONG: u8 = 0x80;
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
            // It is the machine's to see what is wrong with it.
            None => break,
            Some(Long::Plain(plain)) if at == 0 => {
                return plain.map_or(Kind::Malformed, Kind::Plain);
            }
            Some(Long::Plain(_)) => return Kind::Protected(at),
        }
    }
    Kind::Protected(datagram.len())
}

/// A packet with a long header.
enum Long<'a> {
    /// With what follows it.
    Protected(&'a [u8]),
    /// `None`: it is not what it says.
    Plain(Option<Plain>),
}

impl<'a> Long<'a> {
    fn read(packet: &'a [u8]) -> Option<Self> {
        let (first, rest) = packet.split_first()?;
        let (version, rest) = rest.split_first_chunk::<4>()?;
        let (_, rest) = id(rest)?;
        let (scid, mut rest) = id(rest)?;
        let version = u32::from_be_bytes(*version);
        if version == NEGOTIATION {
            // "The remainder of the Version Negotiation packet is a list of 32-bit versions".
            let is_list = !rest.is_empty() && rest.len().is_multiple_of(4);
            let mark = Mark::of(scid).filter(|_| is_list);
            return Some(Self::Plain(mark.map(Plain::Negotiation)));
        }
        if version != VERSION {
            return None;
        }
        if first & TYPE == RETRY {
            return Some(Self::Plain(Some(Plain::Retry)));
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
        [&[first], &version.to_be_bytes()[..], &[2, 7, 7, 8, 0, 0, 0, 0, 0, 0, 0, 8], rest].concat()
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
    }

    #[test]
    fn packets_of_their_own_are_told() {
        assert_eq!(kind(&packet(0xF0, 1, &[9; 40])), Kind::Plain(Plain::Retry));
        let negotiation = Plain::Negotiation(Mark(8));
        assert_eq!(kind(&packet(0xC0, 0, &[0, 0, 0, 1])), Kind::Plain(negotiation));
        assert_eq!(kind(&packet(0xC0, 0, &[0, 0, 0, 1, 2])), Kind::Malformed);
        assert_eq!(kind(&packet(0xC0, 0, &[])), Kind::Malformed);
        let handshake = packet(HANDSHAKE, 1, &[1, 9]);
        let negotiation = packet(0x80, 0, &[3]);
        let both = [&handshake[..], &negotiation].concat();
        assert_eq!(kind(&both), Kind::Protected(handshake.len()));
    }

    #[test]
    fn cut_off_headers_are_left_to_the_machine() {
        let whole = packet(0xC0, 1, &[2, 5, 5, 0x40, 4, 9, 9, 9, 9]);
        for len in 0..whole.len() {
            assert_eq!(kind(&whole[..len]), Kind::Protected(len));
        }
    }
}
