//! Control messages, cmsg(3), written and read without alignment or trust.
//!
//! Role: what rides beside a datagram. Not role: which of them a socket asks for.
//!
//! ```text
//! | len: usize | level: i32 | type: i32 | data, padded to 8 bytes | len ...
//! |<------------- 16 bytes ------------>|
//! ```
//!
//! *Invariant*: nothing here reads or writes outside the slice it was given.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes before the data.
const HEADER_LEN: usize = size_of::<libc::cmsghdr>();
const ALIGN: usize = size_of::<usize>();
const NANOS_PER_SEC: u64 = 1_000_000_000;

const _: () = assert!(HEADER_LEN == 16 && ALIGN == 8);

/// The bytes that a message with so much data takes.
pub(crate) const fn space(data_len: usize) -> usize {
    HEADER_LEN + data_len.next_multiple_of(ALIGN)
}

/// Writes control messages one after the other.
pub(crate) struct Writer<'a> {
    room: &'a mut [u8],
    used: usize,
}

impl<'a> Writer<'a> {
    pub(crate) const fn new(room: &'a mut [u8]) -> Self {
        Self { room, used: 0 }
    }

    /// Adds one. There is always room: the callers' arrays are sized for all they write.
    pub(crate) fn push(&mut self, level: i32, kind: i32, data: &[u8]) {
        let out = &mut self.room[self.used..][..space(data.len())];
        out.fill(0);
        out[..8].copy_from_slice(&(HEADER_LEN + data.len()).to_ne_bytes());
        out[8..12].copy_from_slice(&level.to_ne_bytes());
        out[12..16].copy_from_slice(&kind.to_ne_bytes());
        out[HEADER_LEN..][..data.len()].copy_from_slice(data);
        self.used += out.len();
    }

    /// The bytes written.
    pub(crate) const fn len(&self) -> usize {
        self.used
    }
}

/// What came beside a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ancillary {
    /// The address that the datagram was sent to.
    pub(crate) local: Option<IpAddr>,
    /// The two ECN bits, RFC 3168.
    pub(crate) ecn: u8,
    /// When the kernel received it, since 1970; 0 when not known.
    pub(crate) timestamp_ns: u64,
    /// The length of each datagram of a train but the last; 0 for a single one.
    pub(crate) segment: u16,
}

impl Ancillary {
    pub(crate) const NONE: Self = Self { local: None, ecn: 0, timestamp_ns: 0, segment: 0 };

    /// Reads all messages. What is cut off or unknown is skipped.
    pub(crate) fn parse(mut control: &[u8]) -> Self {
        let mut out = Self::NONE;
        while let Some((head, _)) = control.split_first_chunk::<HEADER_LEN>() {
            let len = usize::from_ne_bytes(array(&head[..8]));
            if len < HEADER_LEN || len > control.len() {
                break;
            }
            let level = i32::from_ne_bytes(array(&head[8..12]));
            let kind = i32::from_ne_bytes(array(&head[12..16]));
            out.take(level, kind, &control[HEADER_LEN..len]);
            control = control.get(len.next_multiple_of(ALIGN)..).unwrap_or_default();
        }
        out
    }

    fn take(&mut self, level: i32, kind: i32, data: &[u8]) {
        match (level, kind, data.len()) {
            (libc::IPPROTO_IP, libc::IP_TOS, 1..) => self.ecn = data[0] & 3,
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS, 4..) => {
                self.ecn = i32::from_ne_bytes(array(&data[..4])) as u8 & 3;
            }
            // in_pktinfo: the interface, the local address, the address in the datagram's header.
            (libc::IPPROTO_IP, libc::IP_PKTINFO, 12..) => {
                self.local = Some(Ipv4Addr::from(array::<4>(&data[8..12])).into());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, 16..) => {
                self.local =
                    Some(IpAddr::from(Ipv6Addr::from(array::<16>(&data[..16]))).to_canonical());
            }
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, 16..) => {
                let secs = u64::from_ne_bytes(array(&data[..8]));
                let nanos = u64::from_ne_bytes(array(&data[8..16]));
                self.timestamp_ns = secs.saturating_mul(NANOS_PER_SEC).saturating_add(nanos);
            }
            (libc::SOL_UDP, libc::UDP_GRO, 4..) => {
                self.segment = u16::try_from(i32::from_ne_bytes(array(&data[..4]))).unwrap_or(0);
            }
            _ => {}
        }
    }
}

/// The first `N` bytes; the callers' slices have them.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[..N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote_at_any_alignment() {
        let mut room = [0_u8; 256];
        for offset in 0..8 {
            let mut writer = Writer::new(&mut room[offset..]);
            writer.push(libc::SOL_UDP, libc::UDP_GRO, &1200_i32.to_ne_bytes());
            writer.push(libc::IPPROTO_IP, libc::IP_TOS, &[0b1011]);
            writer.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &[0, 0, 0, 1, 9, 9, 9, 9, 10, 0, 0, 7]);
            let mut stamp = 3_u64.to_ne_bytes().to_vec();
            stamp.extend(5_u64.to_ne_bytes());
            writer.push(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, &stamp);
            let len = writer.len();
            assert_eq!(len, space(4) + space(1) + space(12) + space(16));
            let expected = Ancillary {
                local: Some("10.0.0.7".parse().unwrap()),
                ecn: 3,
                timestamp_ns: 3_000_000_005,
                segment: 1200,
            };
            assert_eq!(Ancillary::parse(&room[offset..offset + len]), expected);
        }
    }

    #[test]
    fn stops_at_nonsense() {
        for len in [0_usize, 15, 17, usize::MAX] {
            let mut bytes = [0xff_u8; 16];
            bytes[..8].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(Ancillary::parse(&bytes), Ancillary::NONE);
        }
        assert_eq!(Ancillary::parse(&[1, 2, 3]), Ancillary::NONE);
    }

    #[test]
    fn a_mapped_local_address_is_turned_back() {
        let mut room = [0_u8; 64];
        let mut data = [0_u8; 20];
        data[..16].copy_from_slice(&Ipv4Addr::new(1, 2, 3, 4).to_ipv6_mapped().octets());
        let mut writer = Writer::new(&mut room);
        writer.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &data);
        writer.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &2_i32.to_ne_bytes());
        let len = writer.len();
        let got = Ancillary::parse(&room[..len]);
        assert_eq!((got.local, got.ecn), (Some("1.2.3.4".parse().unwrap()), 2));
    }
}
