//! A door for the fuzzer into parsers that nobody outside can call.
//!
//! Role: functions from bytes to nothing, which panic when a promise of a private parser is broken;
//! and sockets with a router, for the benchmark that compares routers. Not role: making up the
//! bytes (`fuzz/` does), and whatever can be reached through `Io`.
//!
//! *Invariant*: nothing that ships calls this; it is there with the private feature `_sim` alone.

mod steer;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::proto::proxy::{self, Client, Parsed};
use crate::sys::addr::{SockAddr, UnixAddr};
use crate::sys::cmsg::{Ancillary, Writer, space};

pub use steer::{SteeredSockets, steer, steered_id};

/// Room for what [`rewrite`] writes.
const CONTROL_LEN_MAX: usize = space(4) + space(20) + space(16) + space(4);
/// The longest PROXY header.
const PROXY_HEADER_LEN_MAX: usize = 2064;

/// Control messages, as a kernel would write them beside a datagram, or as none ever would.
pub fn control_messages(bytes: &[u8]) {
    let found = Ancillary::parse(bytes);
    assert!(found.ecn <= 3, "two bits: {found:?}");
    // Where the bytes lie must not matter.
    let mut moved = vec![0; bytes.len() + 8];
    for offset in 1..8 {
        moved[offset..][..bytes.len()].copy_from_slice(bytes);
        assert_eq!(Ancillary::parse(&moved[offset..][..bytes.len()]), found, "at {offset}");
    }
    // What was understood can be said again, and is then understood the same.
    let mut room = [0; CONTROL_LEN_MAX];
    let len = rewrite(found, &mut room);
    assert_eq!(Ancillary::parse(&room[..len]), found);
    // Whatever is cut off, what is left is read without a panic.
    for cut in (0..bytes.len()).rev().take(64) {
        Ancillary::parse(&bytes[..cut]);
    }
}

fn rewrite(found: Ancillary, room: &mut [u8]) -> usize {
    let mut writer = Writer::new(room);
    writer.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &i32::from(found.ecn).to_ne_bytes());
    if let Some(local) = found.local {
        let ip = match local {
            std::net::IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            std::net::IpAddr::V6(ip) => ip,
        };
        let mut info = [0; 20];
        info[..16].copy_from_slice(&ip.octets());
        writer.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
    }
    let mut stamp = [0; 16];
    stamp[8..].copy_from_slice(&found.timestamp_ns.to_ne_bytes());
    writer.push(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, &stamp);
    writer.push(libc::SOL_UDP, libc::UDP_GRO, &i32::from(found.segment).to_ne_bytes());
    writer.len()
}

/// A socket address, as a kernel would write it, cut anywhere.
pub fn socket_address(bytes: &[u8]) {
    let addr = SockAddr::from_bytes(bytes);
    assert!(addr.len() <= SockAddr::CAPACITY && addr.len() as usize <= bytes.len());
    assert_eq!(addr.is_unix(), addr.family() == libc::AF_UNIX);
    assert_eq!(addr.ip().is_some_and(|ip| ip.is_ipv4()), addr.is_v4_on_the_wire());
    assert!(!format!("{addr:?}").is_empty());
    let Some(ip) = addr.ip() else { return };
    assert!(!addr.is_unix(), "{addr:?} is one or the other");
    let again = SockAddr::from(ip);
    assert_eq!(again.ip(), Some(ip), "it survives the way there and back");
    let as_v6 = again.for_family(libc::AF_INET6);
    assert_eq!((as_v6.family(), as_v6.ip()), (libc::AF_INET6, Some(ip)));
    assert_eq!(again.for_family(libc::AF_INET), again, "an IPv4 socket cannot send to IPv6");
}

/// The path of a Unix socket.
pub fn unix_path(bytes: &[u8]) {
    let is_good = !matches!(bytes, [] | [b'@'])
        && bytes.len() <= UnixAddr::PATH_LEN_MAX
        && !bytes.contains(&0);
    let answer = UnixAddr::new(Path::new(OsStr::from_bytes(bytes)));
    assert_eq!(answer.is_ok(), is_good);
    if let Ok(addr) = answer {
        assert_eq!(addr.is_abstract(), bytes[0] == b'@');
        // The family, the name, and the zero that ends a path.
        let name_len = bytes.len() + usize::from(!addr.is_abstract());
        assert_eq!(addr.len() as usize, size_of::<libc::sa_family_t>() + name_len);
    }
}

/// The front of a connection that is to begin with a PROXY header.
pub fn proxy_header(bytes: &[u8]) {
    let whole = proxy::parse(bytes);
    match whole {
        Parsed::Need(need) => {
            assert!(need > bytes.len() && need <= PROXY_HEADER_LEN_MAX, "{need}");
        }
        Parsed::Done { len, header } => {
            assert!(len <= bytes.len() && len <= PROXY_HEADER_LEN_MAX);
            assert!(matches!(proxy::parse(&bytes[..len]), Parsed::Done { .. }), "all of it");
            assert!(header.authority.is_none_or(|name| name.len() <= 255));
            assert!(header.unique_id.is_none_or(|id| id.len() <= 128));
            let is_addressed = matches!(header.client, Client::Inet(_));
            assert_eq!(header.destination.is_some(), is_addressed);
        }
        Parsed::Bad(why) => assert!(!why.is_empty()),
    }
    // However little of it is there, nothing else is said of it; and what is needed only grows.
    let mut needed = 0;
    for cut in 0..bytes.len().min(PROXY_HEADER_LEN_MAX) {
        match proxy::parse(&bytes[..cut]) {
            Parsed::Need(need) => {
                assert!(need > cut && need >= needed);
                needed = need;
            }
            said => {
                // That it is no header may be known sooner.
                assert!(cut >= needed || matches!(said, Parsed::Bad(_)));
                return assert_eq!(said, whole, "of {cut} bytes");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_doors_lead_somewhere() {
        let all: Vec<u8> = (0..=255).collect();
        for len in 0..all.len() {
            control_messages(&all[..len]);
            socket_address(&all[..len]);
            unix_path(&all[1..][..len]);
            steer(&all[len..]);
            proxy_header(&all[..len]);
        }
        proxy_header(b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r\nGET");
        proxy_header(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0GET");
        let mut v4 = [0; 16];
        v4[..2].copy_from_slice(&(libc::AF_INET as libc::sa_family_t).to_ne_bytes());
        socket_address(&v4);
        assert!(SockAddr::from_bytes(&v4).ip().is_some());
        assert!(SockAddr::from_bytes(&v4[..15]).ip().is_none());
    }
}
