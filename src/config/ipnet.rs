//! [`IpNet`]: networks of IP addresses, written as CIDR blocks (RFC 4632 §3.1, RFC 4291 §2.3).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use crate::error::{IoError, Result};

/// The length of the prefix that makes an IPv6 address a mapped IPv4 one, RFC 4291 §2.5.5.2.
const MAPPED_LEN: u8 = 96;

/// A network: all addresses that begin with the same bits.
///
/// ```
/// use zero_io::IpNet;
/// let net: IpNet = "10.0.0.0/8".parse()?;
/// assert!(net.contains("10.1.2.3".parse().unwrap()));
/// // An IPv4 peer of an IPv6 socket is the same peer.
/// assert!(net.contains("::ffff:10.1.2.3".parse().unwrap()));
/// assert!(!net.contains("11.0.0.1".parse().unwrap()));
/// # Ok::<(), zero_io::IoError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IpNet {
    /// Never a mapped one; the bits behind the prefix are zero.
    addr: IpAddr,
    len: u8,
}

impl IpNet {
    /// The addresses that share the first `prefix_len` bits of `addr`. A network of IPv4 addresses
    /// that is written as IPv6 (`::ffff:10.0.0.0/104`) is the same as that of IPv4.
    ///
    /// # Errors
    /// `InvalidArgument` when the prefix is longer than the address, or bits behind it are set:
    /// then something else was meant.
    pub fn new(addr: IpAddr, prefix_len: u8) -> Result<Self> {
        let (addr, len) = match (addr, addr.to_canonical()) {
            (IpAddr::V6(_), v4 @ IpAddr::V4(_)) if prefix_len >= MAPPED_LEN => {
                (v4, prefix_len - MAPPED_LEN)
            }
            _ => (addr, prefix_len),
        };
        if len > bits_of(addr) {
            return Err(invalid("the prefix is longer than the address: at most 32, or 128 bits"));
        }
        if masked(addr, len) != addr {
            return Err(invalid(
                "bits behind the prefix are set: write 10.0.0.0/8, not 10.1.2.3/8",
            ));
        }
        Ok(Self { addr, len })
    }

    /// Whether the address is of this network. A mapped IPv4 address counts as what it maps.
    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        let addr = addr.to_canonical();
        addr.is_ipv4() == self.addr.is_ipv4() && masked(addr, self.len) == self.addr
    }
}

const fn invalid(why: &'static str) -> IoError {
    IoError::InvalidArgument { what: "IpNet", why }
}

const fn bits_of(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}

/// The address without the bits behind the first `len`, of which there are no more than it has.
fn masked(addr: IpAddr, len: u8) -> IpAddr {
    match addr {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

impl FromStr for IpNet {
    type Err = IoError;

    /// `10.0.0.0/8`, `fd00::/8`; an address alone is a network of one.
    fn from_str(text: &str) -> Result<Self> {
        let Some((addr, len)) = text.split_once('/') else {
            return text.parse().map(|addr: IpAddr| addr.into()).map_err(|_| UNREADABLE);
        };
        let is_number = (1..=3).contains(&len.len()) && len.bytes().all(|b| b.is_ascii_digit());
        let len = len.parse().ok().filter(|_| is_number).ok_or(UNREADABLE)?;
        Self::new(addr.parse().map_err(|_| UNREADABLE)?, len)
    }
}

const UNREADABLE: IoError = invalid("it is no CIDR block: write 10.0.0.0/8, fd00::/8 or 127.0.0.1");

impl From<IpAddr> for IpNet {
    /// The network of that address alone.
    fn from(addr: IpAddr) -> Self {
        let addr = addr.to_canonical();
        Self { addr, len: bits_of(addr) }
    }
}

impl fmt::Display for IpNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(net: &str, addr: &str) -> bool {
        net.parse::<IpNet>().unwrap().contains(addr.parse().unwrap())
    }

    #[test]
    fn addresses_are_in_their_networks() {
        let rows = [
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "::10.1.2.3", false),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "::ffff:10.1.2.3", true),
            ("::ffff:127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("192.168.1.128/25", "192.168.1.129", true),
            ("192.168.1.128/25", "192.168.1.127", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("::/0", "203.0.113.9", false),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe80::1", false),
            ("2001:db8::/127", "2001:db8::1", true),
            ("2001:db8::/127", "2001:db8::2", false),
            ("::1/128", "::1", true),
        ];
        for (net, addr, expected) in rows {
            assert_eq!(has(net, addr), expected, "{addr} in {net}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        let rows = [
            "",
            "/",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "10.0.0.1/8",
            "10.0.0/8",
            "010.0.0.0/8",
            "fd00::/129",
            "fd00::1/8",
            "10.0.0.0/256",
            "10.0.0.0/0008",
            "localhost",
            " 10.0.0.0/8",
            "[::1]",
            "::ffff:10.0.0.1/104",
        ];
        for text in rows {
            let error = text.parse::<IpNet>().unwrap_err();
            assert!(matches!(error, IoError::InvalidArgument { what: "IpNet", .. }), "{text}");
        }
        for text in ["10.0.0.0/8", "fd00::/8", "0.0.0.0/0", "::1/128", "127.0.0.1/32"] {
            assert_eq!(text.parse::<IpNet>().unwrap().to_string(), text);
        }
    }
}
