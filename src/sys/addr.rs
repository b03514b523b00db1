//! Socket addresses in the kernel's own layout.
//!
//! Role: conversions between `std::net::SocketAddr` and `sockaddr_*`, without an allocation. Not
//! role: name resolution.
//!
//! *Invariant*: the first `len` bytes of the storage are a whole `sockaddr` of their family, or
//! `len` is 0 and there is no address.

use std::ffi::OsStr;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{IoError, Result};

const V4_LEN: u32 = size_of::<libc::sockaddr_in>() as u32;
const V6_LEN: u32 = size_of::<libc::sockaddr_in6>() as u32;
const FAMILY_LEN: u32 = size_of::<libc::sa_family_t>() as u32;

/// An IPv4 or IPv6 address with a port, or "some Unix socket".
#[derive(Clone, Copy)]
#[repr(C, align(4))]
pub(crate) struct SockAddr {
    storage: [u8; V6_LEN as usize],
    len: u32,
}

const _: () = assert!(size_of::<SockAddr>() == 32 && V4_LEN == 16 && V6_LEN == 28);

impl SockAddr {
    /// No address.
    pub(crate) const EMPTY: Self = Self { storage: [0; V6_LEN as usize], len: 0 };

    /// The bytes that an address can take here.
    pub(crate) const CAPACITY: u32 = V6_LEN;

    /// A Unix socket; its name is not kept.
    pub(crate) const fn unix() -> Self {
        let mut addr = Self::EMPTY;
        let family = (libc::AF_UNIX as libc::sa_family_t).to_ne_bytes();
        addr.storage[0] = family[0];
        addr.storage[1] = family[1];
        addr.len = FAMILY_LEN;
        addr
    }

    /// As if the kernel had written these bytes; what does not fit is cut off.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let mut addr = Self::EMPTY;
        let kept = bytes.len().min(addr.storage.len());
        addr.storage[..kept].copy_from_slice(&bytes[..kept]);
        addr.set_len(kept as u32);
        addr
    }

    /// What the kernel wrote at `as_mut_ptr`, being `len` bytes long. What is neither IPv4 nor IPv6
    /// is kept as its family alone.
    pub(crate) fn set_len(&mut self, len: u32) {
        self.len = match (self.family_bytes(), len) {
            (_, 0..FAMILY_LEN) => 0,
            (libc::AF_INET, V4_LEN..) => V4_LEN,
            (libc::AF_INET6, V6_LEN..) => V6_LEN,
            _ => FAMILY_LEN,
        };
    }

    fn family_bytes(&self) -> i32 {
        i32::from(libc::sa_family_t::from_ne_bytes([self.storage[0], self.storage[1]]))
    }

    /// `AF_*`; `AF_UNSPEC` for no address.
    pub(crate) fn family(&self) -> i32 {
        if self.len < FAMILY_LEN { libc::AF_UNSPEC } else { self.family_bytes() }
    }

    /// The address and port, with an IPv4 address that is written as IPv6 turned back.
    pub(crate) fn ip(&self) -> Option<SocketAddr> {
        let s = &self.storage;
        let port = u16::from_be_bytes([s[2], s[3]]);
        match (self.family(), self.len) {
            (libc::AF_INET, V4_LEN) => {
                let ip = Ipv4Addr::new(s[4], s[5], s[6], s[7]);
                Some(SocketAddrV4::new(ip, port).into())
            }
            (libc::AF_INET6, V6_LEN) => {
                let mut octets = [0; 16];
                octets.copy_from_slice(&s[8..24]);
                let ip = Ipv6Addr::from(octets);
                if let Some(v4) = ip.to_ipv4_mapped() {
                    return Some(SocketAddrV4::new(v4, port).into());
                }
                let flow_info = u32::from_be_bytes([s[4], s[5], s[6], s[7]]);
                let scope_id = u32::from_ne_bytes([s[24], s[25], s[26], s[27]]);
                Some(SocketAddrV6::new(ip, port, flow_info, scope_id).into())
            }
            _ => None,
        }
    }

    /// Whether it is that address, a mapped one turned back.
    #[inline]
    pub(crate) fn is(&self, addr: &SocketAddr) -> bool {
        match addr {
            SocketAddr::V4(v4) if self.len == V4_LEN => {
                let [family, port, ip] =
                    [&self.storage[..2], &self.storage[2..4], &self.storage[4..8]];
                ip == v4.ip().octets()
                    && port == v4.port().to_be_bytes()
                    && family == (libc::AF_INET as libc::sa_family_t).to_ne_bytes()
            }
            _ => self.ip() == Some(*addr),
        }
    }

    /// The same address as a socket of that family takes it: an IPv6 socket sends to IPv4 through
    /// mapped addresses.
    pub(crate) fn for_family(self, family: i32) -> Self {
        match self.ip() {
            Some(SocketAddr::V4(v4)) if family == libc::AF_INET6 && self.len == V4_LEN => {
                SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into()
            }
            _ => self,
        }
    }

    pub(crate) fn is_unix(&self) -> bool {
        self.family() == libc::AF_UNIX
    }

    /// Whether packets to this address travel as IPv4, which a mapped IPv6 address does.
    pub(crate) fn is_v4_on_the_wire(&self) -> bool {
        self.ip().is_some_and(|addr| addr.is_ipv4())
    }

    pub(crate) const fn as_ptr(&self) -> *const libc::sockaddr {
        self.storage.as_ptr().cast()
    }

    pub(crate) const fn as_mut_ptr(&mut self) -> *mut libc::sockaddr {
        self.storage.as_mut_ptr().cast()
    }

    /// The bytes of the address; 0 for none.
    pub(crate) const fn len(&self) -> u32 {
        self.len
    }
}

impl From<SocketAddr> for SockAddr {
    fn from(addr: SocketAddr) -> Self {
        match addr {
            SocketAddr::V4(v4) => v4.into(),
            SocketAddr::V6(v6) => v6.into(),
        }
    }
}

impl From<SocketAddrV4> for SockAddr {
    fn from(addr: SocketAddrV4) -> Self {
        let mut out = Self::EMPTY;
        out.storage[..2].copy_from_slice(&(libc::AF_INET as libc::sa_family_t).to_ne_bytes());
        out.storage[2..4].copy_from_slice(&addr.port().to_be_bytes());
        out.storage[4..8].copy_from_slice(&addr.ip().octets());
        out.len = V4_LEN;
        out
    }
}

impl From<SocketAddrV6> for SockAddr {
    fn from(addr: SocketAddrV6) -> Self {
        let mut out = Self::EMPTY;
        out.storage[..2].copy_from_slice(&(libc::AF_INET6 as libc::sa_family_t).to_ne_bytes());
        out.storage[2..4].copy_from_slice(&addr.port().to_be_bytes());
        out.storage[4..8].copy_from_slice(&addr.flowinfo().to_be_bytes());
        out.storage[8..24].copy_from_slice(&addr.ip().octets());
        out.storage[24..28].copy_from_slice(&addr.scope_id().to_ne_bytes());
        out.len = V6_LEN;
        out
    }
}

impl PartialEq for SockAddr {
    fn eq(&self, other: &Self) -> bool {
        self.storage[..self.len as usize] == other.storage[..other.len as usize]
    }
}

impl Eq for SockAddr {}

impl fmt::Debug for SockAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip() {
            Some(addr) => fmt::Display::fmt(&addr, f),
            None if self.is_unix() => f.write_str("unix"),
            None => f.write_str("none"),
        }
    }
}

/// The address of a Unix socket with its name.
#[derive(Clone, Copy)]
pub(crate) struct UnixAddr {
    raw: libc::sockaddr_un,
    len: u32,
}

impl UnixAddr {
    /// The longest path: the field, less its terminating zero.
    pub(crate) const PATH_LEN_MAX: usize = 107;

    /// A path, or after a `@` a name in the abstract namespace.
    ///
    /// # Errors
    /// [`IoError::InvalidArgument`] when it is empty, too long, or holds a zero byte.
    pub(crate) fn new(path: &Path) -> Result<Self> {
        let bytes = OsStr::as_bytes(path.as_os_str());
        let why = match bytes {
            [] | [b'@'] => Some("it is empty; give a path, or @ and a name"),
            _ if bytes.len() > Self::PATH_LEN_MAX => {
                Some("it is longer than 107 bytes; shorten it")
            }
            _ if bytes.contains(&0) => Some("it contains a zero byte; remove it"),
            _ => None,
        };
        if let Some(why) = why {
            return Err(IoError::InvalidArgument { what: "Unix socket path", why });
        }
        let mut raw = libc::sockaddr_un { sun_family: libc::AF_UNIX as _, sun_path: [0; 108] };
        for (to, from) in raw.sun_path.iter_mut().zip(bytes) {
            *to = *from as libc::c_char;
        }
        // An abstract name is counted, a path ends with its zero, unix(7).
        let is_abstract = bytes[0] == b'@';
        let name_len = bytes.len() as u32 + u32::from(!is_abstract);
        if is_abstract {
            raw.sun_path[0] = 0;
        }
        Ok(Self { raw, len: FAMILY_LEN + name_len })
    }

    /// Whether the name leaves no file.
    pub(crate) const fn is_abstract(&self) -> bool {
        self.raw.sun_path[0] == 0
    }

    pub(crate) const fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.raw).cast()
    }

    pub(crate) const fn len(&self) -> u32 {
        self.len
    }

    /// The path with its terminating zero, for calls on the file. Empty for an abstract name.
    pub(crate) const fn path_ptr(&self) -> *const libc::c_char {
        self.raw.sun_path.as_ptr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(text: &str) -> Option<SocketAddr> {
        SockAddr::from(text.parse::<SocketAddr>().unwrap()).ip()
    }

    #[test]
    fn addresses_survive_and_mapped_ones_are_turned_back() {
        for text in ["127.0.0.1:80", "[::1]:65535", "[fe80::1%7]:9"] {
            assert_eq!(round_trip(text).unwrap(), text.parse().unwrap());
        }
        assert_eq!(round_trip("[::ffff:10.1.2.3]:5"), Some("10.1.2.3:5".parse().unwrap()));
        let v4 = SockAddr::from("10.1.2.3:5".parse::<SocketAddr>().unwrap());
        let mapped = v4.for_family(libc::AF_INET6);
        assert_eq!((mapped.len(), mapped.ip()), (V6_LEN, v4.ip()));
        assert!(mapped.is_v4_on_the_wire() && v4.is_v4_on_the_wire());
    }

    #[test]
    fn an_address_is_told_from_others_in_either_form() {
        let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
        let all = ["10.1.2.3:5", "10.1.2.3:6", "10.1.2.4:5", "[::1]:5", "[::1]:6", "[::2]:5"];
        for (own, other) in all.iter().flat_map(|a| all.map(|b| (parse(a), parse(b)))) {
            let same = own == other;
            let own = SockAddr::from(own);
            assert_eq!(own.is(&other), same, "{own:?} {other}");
            assert_eq!(own.for_family(libc::AF_INET6).is(&other), same, "{own:?} {other}");
        }
        assert!(!SockAddr::EMPTY.is(&parse("0.0.0.0:0")));
        assert!(!SockAddr::unix().is(&parse("0.0.0.0:0")));
    }

    #[test]
    fn the_bare_ones_have_no_ip() {
        assert!(SockAddr::unix().is_unix());
        assert_eq!(SockAddr::unix().ip(), None);
        assert_eq!((SockAddr::EMPTY.ip(), SockAddr::EMPTY.family()), (None, libc::AF_UNSPEC));
        let mut cut = SockAddr::from("[::1]:1".parse::<SocketAddr>().unwrap());
        cut.set_len(20);
        assert_eq!(cut.ip(), None);
    }

    #[test]
    fn unix_paths_have_107_bytes_and_no_zero() {
        let ok = UnixAddr::new(Path::new(&"a".repeat(107))).unwrap();
        assert_eq!((ok.len(), ok.is_abstract()), (110, false));
        let named = UnixAddr::new(Path::new("@abc")).unwrap();
        assert_eq!((named.len(), named.is_abstract()), (2 + 4, true));
        for bad in [String::new(), "@".into(), "a".repeat(108), "a\0b".into()] {
            let error = UnixAddr::new(Path::new(&bad)).err();
            assert!(matches!(error, Some(IoError::InvalidArgument { .. })), "{bad:?}");
        }
    }
}
