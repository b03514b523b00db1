//! [`Authority`]: whom a URL names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::HttpUrlError;

/// Bytes of a name and of a label at most, RFC 1035 §2.3.4.
const NAME_LEN_MAX: usize = 253;
const LABEL_LEN_MAX: usize = 63;

/// Host and port of a URL.
pub(super) struct Authority {
    /// Bytes of the host, with brackets.
    pub(super) host_len: usize,
    pub(super) ip: Option<IpAddr>,
    pub(super) port: Option<u16>,
}

impl Authority {
    /// Reads `host [ ":" port ]`, RFC 3986 §3.2.
    pub(super) fn parse(text: &str) -> Result<Self, HttpUrlError> {
        if text.contains('@') {
            return Err(HttpUrlError::UserInfo);
        }
        let host_len = match text.strip_prefix('[') {
            Some(inner) => inner.find(']').ok_or(HttpUrlError::Host)? + "[]".len(),
            None => text.find(':').unwrap_or(text.len()),
        };
        let (host, behind) = text.split_at(host_len);
        let ip = ip_of(host)?;
        let port = match behind.strip_prefix(':') {
            None if behind.is_empty() => None,
            None => return Err(HttpUrlError::Host),
            // RFC 3986 §6.2.3: an empty port is the default one.
            Some("") => None,
            Some(digits) => Some(port(digits).ok_or(HttpUrlError::Port)?),
        };
        Ok(Self { host_len, ip, port })
    }
}

/// The host's address; `None` is a name.
fn ip_of(host: &str) -> Result<Option<IpAddr>, HttpUrlError> {
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if let Some(literal) = literal {
        let ip = literal.parse::<Ipv6Addr>().map_err(|_| HttpUrlError::Host)?;
        return Ok(Some(ip.into()));
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.len() > NAME_LEN_MAX || !name.split('.').all(is_label) {
        return Err(HttpUrlError::Host);
    }
    // The system's resolver takes "127.1", "0x7f000001" and "2130706433" for addresses, and reads
    // "010.0.0.1" in octal: a check of the name sees another host than the one that is reached.
    if name.rsplit('.').next().is_some_and(is_numeric) {
        let ip = host.parse::<Ipv4Addr>().map_err(|_| HttpUrlError::Host)?;
        return Ok(Some(ip.into()));
    }
    Ok(None)
}

/// Letters, digits, hyphens (RFC 1123 §2.1), and the underscores that are seen in practice.
fn is_label(label: &str) -> bool {
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=LABEL_LEN_MAX).contains(&label.len()) && label.bytes().all(is_name_byte)
}

fn is_numeric(label: &str) -> bool {
    let hex = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    match hex {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// A number that a port can have, in the only way to write it.
fn port(digits: &str) -> Option<u16> {
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| is_plain)
}
