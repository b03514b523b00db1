//! Version 1: a line of text.
//!
//! ```text
//! PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n
//! PROXY UNKNOWN[ anything]\r\n
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Client, Header, Parsed, SIGNATURE_1};

/// `PROXY UNKNOWN\r\n`
pub(super) const LEN_MIN: usize = 15;
/// The longest line, with its end: the specification's worst case.
const LEN_MAX: usize = 107;

/// Reads the line; the caller knows that the input begins as one.
pub(super) fn parse(input: &[u8]) -> Parsed<'_> {
    let window = input.get(..LEN_MAX).unwrap_or(input);
    let end = window.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(window.len());
    match window.get(end..).unwrap_or_default() {
        [b'\r', b'\n', ..] => {}
        [b'\r'] | [] if window.len() == LEN_MAX => {
            return Parsed::Bad("it has no end within 107 bytes");
        }
        [b'\r'] => return Parsed::Need(LEN_MIN.max(end + 2)),
        [] => return Parsed::Need(LEN_MIN.max(end + 1)),
        _ => return Parsed::Bad("the line does not end with CR LF"),
    }
    match line(window.get(SIGNATURE_1.len()..end).unwrap_or_default()) {
        Ok(header) => Parsed::Done { len: end + 2, header },
        Err(why) => Parsed::Bad(why),
    }
}

/// What lies between the signature and the end of the line.
fn line(text: &[u8]) -> Result<Header<'static>, &'static str> {
    // Whatever follows up to the end of the line is to be ignored.
    if text == b"UNKNOWN" || text.starts_with(b"UNKNOWN ") {
        return Ok(Header { client: Client::Unknown, ..Header::default() });
    }
    let text = std::str::from_utf8(text).map_err(|_| "the line is no ASCII text")?;
    let mut words = text.split(' ');
    let family = words.next().unwrap_or_default();
    let mut addr = || {
        let word = words.next().unwrap_or_default();
        match family {
            "TCP4" => word.parse().map(|ip: Ipv4Addr| IpAddr::V4(ip)),
            _ => word.parse().map(|ip: Ipv6Addr| IpAddr::V6(ip)),
        }
        .map_err(|_| "an address is none of its family")
    };
    if !matches!(family, "TCP4" | "TCP6") {
        return Err("the protocol is none of TCP4, TCP6, UNKNOWN");
    }
    let (source, destination) = (addr()?, addr()?);
    let ports = (port(words.next())?, port(words.next())?);
    if words.next().is_some() {
        return Err("the line goes on behind the ports");
    }
    Ok(Header {
        client: Client::Inet(SocketAddr::new(source, ports.0)),
        destination: Some(SocketAddr::new(destination, ports.1)),
        ..Header::default()
    })
}

/// A decimal number without leading zeros.
fn port(word: Option<&str>) -> Result<u16, &'static str> {
    const BAD: &str = "a port is no decimal number up to 65535";
    let word = word.ok_or(BAD)?;
    let is_padded = word.len() > 1 && word.starts_with('0');
    if is_padded || !word.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BAD);
    }
    word.parse().map_err(|_| BAD)
}
