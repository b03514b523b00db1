//! Version 2: binary.
//!
//! ```text
//! ┌───────────────┬─────┬─────┬─────┬───────────────────────────┬──────────────────────┐
//! │ signature, 12 │ v c │ f t │ len │ addresses: 0, 12, 36, 216 │ type, len, value ... │
//! └───────────────┴─────┴─────┴─────┴───────────────────────────┴──────────────────────┘
//!   v: version 2    c: LOCAL or PROXY   f: family   t: transport   len: of all that follows
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Client, Header, Parsed, SIGNATURE_2};

/// Up to the length and with it.
const HEAD_LEN: usize = 16;
/// What may follow the length, which could say 65,535. What is usual is below 600.
pub(super) const LEN_MAX: usize = 2048;
/// RFC 1035 §2.3.4: the longest host name, with some to spare.
const AUTHORITY_LEN_MAX: usize = 255;
/// What the specification has as the longest.
const UNIQUE_ID_LEN_MAX: usize = 128;

const TYPE_AUTHORITY: u8 = 0x02;
const TYPE_CRC32C: u8 = 0x03;
const TYPE_UNIQUE_ID: u8 = 0x05;
const TYPE_SSL: u8 = 0x20;
/// In the first byte of an SSL value: the client spoke TLS.
const CLIENT_SSL: u8 = 0x01;

/// Reads the header; the caller knows that the input begins as one.
pub(super) fn parse(input: &[u8]) -> Parsed<'_> {
    let Some(&[command, family, high, low]) = input.get(SIGNATURE_2.len()..HEAD_LEN) else {
        return Parsed::Need(HEAD_LEN);
    };
    let len = usize::from(u16::from_be_bytes([high, low]));
    if len > LEN_MAX {
        return Parsed::Bad("it is longer than 2,064 bytes");
    }
    let Some((header, body)) =
        input.get(..HEAD_LEN + len).and_then(|header| Some((header, header.get(HEAD_LEN..)?)))
    else {
        return Parsed::Need(HEAD_LEN + len);
    };
    let read = match command {
        // LOCAL: the connection is valid, its addresses are its own, and the rest is discarded.
        0x20 => Ok(Header::default()),
        0x21 => proxied(family, header, body),
        _ => Err("neither LOCAL nor PROXY of version 2"),
    };
    match read {
        Ok(header) => Parsed::Done { len: HEAD_LEN + len, header },
        Err(why) => Parsed::Bad(why),
    }
}

/// What the proxy says of somebody else.
fn proxied<'a>(family: u8, header: &'a [u8], body: &'a [u8]) -> Result<Header<'a>, &'static str> {
    const SHORT: &str = "it is too short for its addresses";
    let (client, destination, values) = match family {
        // What is said of somebody unspecified is ignored, values and all.
        0x00 => return Ok(Header { client: Client::Unknown, ..Header::default() }),
        0x11 | 0x12 => {
            let (addrs, values) = body.split_first_chunk::<12>().ok_or(SHORT)?;
            let [a, b, c, d, e, f, g, h, ports @ ..] = *addrs;
            let ips = [Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h)];
            let [source, destination] = endpoints(ips.map(IpAddr::V4), ports);
            (Client::Inet(source), Some(destination), values)
        }
        0x21 | 0x22 => {
            let (source, rest) = body.split_first_chunk::<16>().ok_or(SHORT)?;
            let (destination, rest) = rest.split_first_chunk::<16>().ok_or(SHORT)?;
            let (ports, values) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
            let ips = [Ipv6Addr::from(*source), Ipv6Addr::from(*destination)];
            let [source, destination] = endpoints(ips.map(IpAddr::V6), *ports);
            (Client::Inet(source), Some(destination), values)
        }
        0x31 | 0x32 => {
            let (_, values) = body.split_first_chunk::<216>().ok_or(SHORT)?;
            (Client::Unix, None, values)
        }
        _ => return Err("its family or transport is not specified"),
    };
    read_values(values, header, Header { client, destination, ..Header::default() })
}

const fn endpoints(ips: [IpAddr; 2], ports: [u8; 4]) -> [SocketAddr; 2] {
    let [a, b, c, d] = ports;
    let [source, destination] = ips;
    [
        SocketAddr::new(source, u16::from_be_bytes([a, b])),
        SocketAddr::new(destination, u16::from_be_bytes([c, d])),
    ]
}

/// Reads types, lengths and values up to the end of the header. Of types that are told, each comes
/// once: who reads the first and who reads the last would be told of two clients.
fn read_values<'a>(
    mut rest: &'a [u8],
    header: &'a [u8],
    mut found: Header<'a>,
) -> Result<Header<'a>, &'static str> {
    let mut seen_crc = false;
    let mut seen_ssl = false;
    while !rest.is_empty() {
        let (kind, value, behind) = split_value(rest).ok_or("a value is cut off by its end")?;
        let is_again = match kind {
            TYPE_AUTHORITY => {
                let is_whole = value.len() <= AUTHORITY_LEN_MAX;
                let name = std::str::from_utf8(value).ok().filter(|_| is_whole);
                found.authority.replace(name.ok_or("the authority is no host name")?).is_some()
            }
            TYPE_UNIQUE_ID if value.len() > UNIQUE_ID_LEN_MAX => {
                return Err("the unique id is longer than 128 bytes");
            }
            TYPE_UNIQUE_ID => found.unique_id.replace(value).is_some(),
            TYPE_CRC32C => {
                let at = header.len() - behind.len() - value.len();
                check_crc(header, at, value)?;
                std::mem::replace(&mut seen_crc, true)
            }
            TYPE_SSL => {
                // The client's flags, what became of its certificate, and values of values.
                let Some((&[flags, ..], inner)) = value.split_first_chunk::<5>() else {
                    return Err("the TLS value is too short");
                };
                check_values(inner)?;
                found.tls = flags & CLIENT_SSL != 0;
                std::mem::replace(&mut seen_ssl, true)
            }
            _ => false,
        };
        if is_again {
            return Err("a value comes twice");
        }
        rest = behind;
    }
    Ok(found)
}

/// The type and value at the front, and what is behind.
fn split_value(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[kind, high, low], rest) = input.split_first_chunk::<3>()?;
    let (value, behind) = rest.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
    Some((kind, value, behind))
}

fn check_values(mut rest: &[u8]) -> Result<(), &'static str> {
    while !rest.is_empty() {
        (_, _, rest) = split_value(rest).ok_or("a value within the TLS value is cut off")?;
    }
    Ok(())
}

/// The checksum is one of the whole header with zeros in its own place.
fn check_crc(header: &[u8], at: usize, value: &[u8]) -> Result<(), &'static str> {
    let sent: [u8; 4] = value.try_into().map_err(|_| "the checksum has not 4 bytes")?;
    let before = header.get(..at).unwrap_or_default();
    let behind = header.get(at + 4..).unwrap_or_default();
    let sum = behind.iter().fold([0; 4].iter().fold(crc_of(before), step), step);
    if !sum == u32::from_be_bytes(sent) { Ok(()) } else { Err("the checksum is wrong") }
}

fn crc_of(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, step)
}

/// CRC32C, RFC 3720 appendix B.4, a bit at a time: a few microseconds for the longest header.
fn step(crc: u32, byte: &u8) -> u32 {
    (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
        (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg())
    })
}
