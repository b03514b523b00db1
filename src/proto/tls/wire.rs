//! The record header, content types and sizes: RFC 8446 §5.1, §5.2; RFC 5246 §6.2.
//!
//! ```text
//!  TLS 1.3          | 23 | 03 03 | len |            ciphertext of payload, type, zeros | tag |
//!  TLS 1.2 GCM      | type | 03 03 | len | explicit nonce | ciphertext of payload      | tag |
//!  TLS 1.2 ChaCha20 | type | 03 03 | len |                  ciphertext of payload      | tag |
//!                     1      2       2     8                                             16
//! ```

/// Bytes of a record header.
pub(crate) const HEADER_LEN: usize = 5;
/// Bytes of every tag: the three ciphers have the same.
pub(crate) const TAG_LEN: usize = 16;
/// Bytes of TLS 1.2's explicit nonce.
pub(crate) const EXPLICIT_LEN: usize = 8;
/// Payload bytes of one record at most. RFC 8446 §5.1: "The length MUST NOT exceed 2^14 bytes."
pub(crate) const PLAIN_LEN_MAX: usize = 1 << 14;
/// What follows a TLS 1.3 header at most.
pub(crate) const BODY_LEN_MAX_13: usize = PLAIN_LEN_MAX + 256;
/// What follows a TLS 1.2 header at most.
pub(crate) const BODY_LEN_MAX_12: usize = PLAIN_LEN_MAX + 2048;
/// Free bytes wanted before a payload that is sealed in place.
pub(crate) const HEAD_MAX: usize = HEADER_LEN + EXPLICIT_LEN;
/// Free bytes wanted behind a payload that is sealed in place: the inner type and the tag.
pub(crate) const TAIL_MAX: usize = 1 + TAG_LEN;

/// RFC 8446 §5.1, `legacy_record_version`; RFC 5246's version as well.
pub(crate) const VERSION: [u8; 2] = [3, 3];

pub(crate) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(crate) const ALERT: u8 = 21;
pub(crate) const HANDSHAKE: u8 = 22;
pub(crate) const APPLICATION_DATA: u8 = 23;
const HEARTBEAT: u8 = 24;

/// Levels of alerts, RFC 8446 §6.
pub(crate) const WARNING: u8 = 1;
pub(crate) const FATAL: u8 = 2;

/// A record header, as it came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) kind: u8,
    pub(crate) version: [u8; 2],
    pub(crate) body_len: usize,
}

impl Header {
    pub(crate) const fn read(bytes: [u8; HEADER_LEN]) -> Self {
        let [kind, major, minor, high, low] = bytes;
        Self { kind, version: [major, minor], body_len: u16::from_be_bytes([high, low]) as usize }
    }

    pub(crate) const fn bytes(self) -> [u8; HEADER_LEN] {
        let [major, minor] = self.version;
        let [high, low] = (self.body_len as u16).to_be_bytes();
        [self.kind, major, minor, high, low]
    }

    /// Whether this can be the header of a handshake's record at all: anything else is not TLS.
    pub(crate) const fn is_plausible(self) -> bool {
        let [major, _] = self.version;
        let has_body = self.body_len > 0 || self.kind == APPLICATION_DATA;
        matches!(self.kind, CHANGE_CIPHER_SPEC..=HEARTBEAT)
            && major == 3
            && has_body
            && self.body_len < BODY_LEN_MAX_12
    }
}

/// Splits the first handshake message off: its type, its body and the rest. `None` when it is not
/// whole yet.
pub(crate) fn split_message(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let ([kind, high, mid, low], rest) = bytes.split_first_chunk::<4>()?;
    let len = u32::from_be_bytes([0, *high, *mid, *low]) as usize;
    let (body, rest) = rest.split_at_checked(len)?;
    Some((*kind, body, rest))
}

/// How long the message at the front says that it is, header included.
pub(crate) fn message_len(bytes: &[u8]) -> Option<usize> {
    let [_, high, mid, low] = *bytes.first_chunk::<4>()?;
    Some(4 + u32::from_be_bytes([0, high, mid, low]) as usize)
}

/// Strips the zeros and the content type off a TLS 1.3 inner plaintext: the type, and how many
/// bytes are content. `None` when all are zeros.
pub(crate) fn strip_padding(inner: &[u8]) -> Option<(u8, usize)> {
    // Sixteen at a time, so that a peer who pads buys little of our time.
    let mut rest = inner;
    while let Some((before, last)) = rest.split_last_chunk::<16>() {
        if u128::from_ne_bytes(*last) != 0 {
            break;
        }
        rest = before;
    }
    loop {
        match rest.split_last()? {
            (0, before) => rest = before,
            (kind, content) => return Some((*kind, content.len())),
        }
    }
}
