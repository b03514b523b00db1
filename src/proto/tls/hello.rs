//! [`Hello`]: the name that a client asks for, read from its ClientHello.
//!
//! rustls' unbuffered server does not say it. What is read here is only shown once rustls has
//! accepted the same bytes, so nothing is refused here; what cannot be read is no name.

use rustls::pki_types::DnsName;

use super::wire::{HANDSHAKE, HEADER_LEN, split_message};

const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// Gathers the first handshake message of a stream.
pub(crate) enum Hello {
    /// Payload of the records so far.
    Gathering(Vec<u8>),
    Read(Option<Box<str>>),
}

impl Hello {
    pub(crate) const fn new() -> Self {
        Self::Gathering(Vec::new())
    }

    /// Looks at one record in the clear; at most `len_max` bytes are gathered.
    pub(crate) fn look(&mut self, record: &[u8], len_max: usize) {
        let Self::Gathering(bytes) = self else { return };
        let payload = record.get(HEADER_LEN..).unwrap_or_default();
        if record.first() != Some(&HANDSHAKE) {
            return;
        }
        bytes.extend_from_slice(payload);
        let done = match split_message(bytes) {
            Some((CLIENT_HELLO, body, _)) => Some(server_name(body).and_then(dns_name)),
            Some(_) => Some(None),
            None => (bytes.len() > len_max).then_some(None),
        };
        if let Some(name) = done {
            *self = Self::Read(name);
        }
    }

    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Gathering(_) => None,
            Self::Read(name) => name.as_deref(),
        }
    }
}

/// RFC 6066 §3: a DNS name, without regard to case, and no address. The same that rustls takes.
fn dns_name(name: &str) -> Option<Box<str>> {
    let name = DnsName::try_from(name).ok()?;
    Some(Box::from(name.to_lowercase_owned().as_ref()))
}

/// RFC 8446 §4.1.2, RFC 6066 §3.
fn server_name(mut hello: &[u8]) -> Option<&str> {
    // legacy_version and random.
    take(&mut hello, 2 + 32)?;
    let session_id_len = usize::from(byte(&mut hello)?);
    take(&mut hello, session_id_len)?;
    let suites_len = usize::from(short(&mut hello)?);
    take(&mut hello, suites_len)?;
    let compressions_len = usize::from(byte(&mut hello)?);
    take(&mut hello, compressions_len)?;
    let extensions_len = usize::from(short(&mut hello)?);
    let mut extensions = take(&mut hello, extensions_len)?;
    while !extensions.is_empty() {
        let kind = short(&mut extensions)?;
        let len = usize::from(short(&mut extensions)?);
        let mut body = take(&mut extensions, len)?;
        if kind == SERVER_NAME {
            let list_len = usize::from(short(&mut body)?);
            return host_name(take(&mut body, list_len)?);
        }
    }
    None
}

fn host_name(mut list: &[u8]) -> Option<&str> {
    while !list.is_empty() {
        let kind = byte(&mut list)?;
        let len = usize::from(short(&mut list)?);
        let name = take(&mut list, len)?;
        if kind == HOST_NAME {
            return std::str::from_utf8(name).ok();
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

fn byte(bytes: &mut &[u8]) -> Option<u8> {
    take(bytes, 1)?.first().copied()
}

fn short(bytes: &mut &[u8]) -> Option<u16> {
    take(bytes, 2)?.first_chunk().copied().map(u16::from_be_bytes)
}
