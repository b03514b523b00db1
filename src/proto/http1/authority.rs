//! Hosts with ports: the value of `Host`, and the authority of a target (RFC 9110 §7.2,
//! RFC 3986 §3.2).

use std::cell::{Cell, RefCell};
use std::net::Ipv6Addr;
use std::str;

use super::bytes::{REG_NAME, is, name_len};
use crate::proto::http::is_same;

/// The host that was found good last: a listener is asked for few, most of the time for one.
#[derive(Debug)]
pub(crate) struct KnownHost {
    // Not a cell: what is copied out of one is compared before it has reached memory.
    bytes: RefCell<[u8; Self::LEN_MAX]>,
    len: Cell<usize>,
}

impl KnownHost {
    const LEN_MAX: usize = 32;

    pub(crate) const fn new() -> Self {
        Self { bytes: RefCell::new([0; Self::LEN_MAX]), len: Cell::new(0) }
    }

    /// As [`is_authority`].
    #[inline]
    pub(super) fn is_authority(&self, host: &[u8]) -> bool {
        self.is_known(host) || self.is_new_authority(host)
    }

    #[inline]
    fn is_known(&self, host: &[u8]) -> bool {
        let known = self.bytes.borrow();
        !host.is_empty() && is_same(known.get(..self.len.get()).unwrap_or_default(), host)
    }

    #[inline(never)]
    fn is_new_authority(&self, host: &[u8]) -> bool {
        let is_good = is_authority(host);
        if let (true, Some(place)) = (is_good, self.bytes.borrow_mut().get_mut(..host.len())) {
            place.copy_from_slice(host);
            self.len.set(host.len());
        }
        is_good
    }
}

/// Whether this is `uri-host [ ":" port ]` with a host that is not empty.
///
/// RFC 9110 §4.2.1: a recipient of an "http" URI with an empty host "MUST reject it as invalid".
/// §4.2.4: userinfo is "likely being used to obscure the authority", and has no place here either.
pub(super) fn is_authority(authority: &[u8]) -> bool {
    let Some((name, behind)) = authority.split_at_checked(name_len(authority)) else {
        return false;
    };
    match behind {
        [] => !name.is_empty(),
        [b':', port @ ..] if !name.is_empty() => is_port(port),
        _ => is_rare(authority),
    }
}

/// What has other bytes in it.
#[cold]
fn is_rare(authority: &[u8]) -> bool {
    match authority {
        [b'[', ..] => is_literal(authority),
        [b':', ..] => false,
        _ => is_escaped(authority),
    }
}

/// The same with a port that is there: RFC 9112 §3.2.3, where it is needed to know what to connect
/// to. RFC 9110 §9.3.6: "A server MUST reject a CONNECT request that targets an empty or invalid
/// port number".
pub(super) fn is_authority_with_port(authority: &[u8]) -> bool {
    let colon = authority.iter().rposition(|&byte| byte == b':');
    let port = colon.and_then(|at| authority.get(at + 1..)).unwrap_or_default();
    port.iter().any(|&digit| digit != b'0') && is_port(port) && is_authority(authority)
}

/// RFC 3986 §3.2.3: `port = *DIGIT`, here a number that a port can have.
fn is_port(digits: &[u8]) -> bool {
    let number = digits.iter().try_fold(0, |number: u32, byte| {
        let digit = u32::from(byte.wrapping_sub(b'0'));
        let number = number * 10 + digit;
        (digit < 10 && number <= u32::from(u16::MAX)).then_some(number)
    });
    number.is_some()
}

/// `"[" IPv6address "]"`. Of the IP literals of the future (RFC 3986 §3.2.2) there is none yet.
#[cold]
fn is_literal(authority: &[u8]) -> bool {
    let Some(inner) = authority.strip_prefix(b"[") else { return false };
    let Some(end) = inner.iter().position(|&byte| byte == b']') else { return false };
    let Some((address, behind)) = inner.split_at_checked(end) else { return false };
    let is_address = str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
    let is_port_good = match behind {
        [b']'] => true,
        [b']', b':', port @ ..] => is_port(port),
        _ => false,
    };
    is_address && is_port_good
}

/// A registered name with percent-encoded bytes in it.
#[cold]
fn is_escaped(authority: &[u8]) -> bool {
    let mut rest = authority;
    loop {
        rest = match rest {
            [] => return true,
            [b'%', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                after
            }
            [b':', port @ ..] => return is_port(port),
            [byte, after @ ..] if is(*byte, REG_NAME) => after,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_changes_no_answer() {
        let known = KnownHost::new();
        let long = "a".repeat(KnownHost::LEN_MAX + 1);
        let hosts = ["", "a", "a.example", "a.exampl", "a.example:1", "a example", &long, "", "a"];
        for host in hosts.iter().chain(hosts.iter().rev()) {
            let host = host.as_bytes();
            for _ in 0..2 {
                assert_eq!(known.is_authority(host), is_authority(host), "{host:?}");
            }
        }
    }

    #[test]
    fn hosts() {
        let good = [
            "a",
            "a.example",
            "a.example:80",
            "a.example:",
            "127.0.0.1:8080",
            "a_b-c~d",
            "[::1]",
            "[::1]:443",
            "[2001:db8::192.0.2.1]:",
            "%41",
            "a%2e:1",
            "A!$&'()*+,;=",
            "x:65535",
            "xn--n3h.example",
            "x:00080",
        ];
        for host in good {
            assert!(is_authority(host.as_bytes()), "{host}");
        }
        let bad = [
            "",
            ":",
            ":80",
            "a:b",
            "a:80:80",
            "a b",
            "u@a",
            "u:p@a",
            "a/b",
            "a?b",
            "a#b",
            "[::1",
            "[::1]x",
            "[::1]:x",
            "[]",
            "[1.2.3.4]",
            "[::1%25lo]",
            "[v1.x]",
            "x[::1]",
            "%4",
            "%4g",
            "%",
            "a%41@b",
            "x:65536",
            "x:-1",
            "x:99999999999",
            "a\\b",
            "a\tb",
            "\u{e9}",
            "\"a\"",
            "a\0",
            "<a>",
            "a,b c",
        ];
        for host in bad {
            assert!(!is_authority(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn authorities_with_a_port() {
        for good in ["a:80", "[::1]:443", "127.0.0.1:1", "%41:9"] {
            assert!(is_authority_with_port(good.as_bytes()), "{good}");
        }
        for bad in
            ["a", "a:", "a:0", "a:000", "a:x", "[::1]", "[::1]:", "", ":80", "a:65536", "u@a:1"]
        {
            assert!(!is_authority_with_port(bad.as_bytes()), "{bad}");
        }
    }
}
