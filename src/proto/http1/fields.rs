//! [`Fields`]: what header fields say of framing, connection and answer, in one pass.
//!
//! Whether the lines are ended as they must be is seen here as well, since here each is visited.

use super::fault::Fault;
use super::list::{elements, weighted};

bitflags::bitflags! {
    /// What was said.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(super) struct Seen: u16 {
        const HOST = 1;
        const HOST_AGAIN = 1 << 1;
        const LENGTH = 1 << 2;
        const CHUNKED = 1 << 3;
        /// Options of `Connection`.
        const CLOSE = 1 << 4;
        const KEEP_ALIVE = 1 << 5;
        const TO_UPGRADE = 1 << 6;
        /// The field `Upgrade`.
        const UPGRADE = 1 << 7;
        const CONTINUE = 1 << 8;
        const OTHER_EXPECTATION = 1 << 9;
        const GZIP = 1 << 10;
        const NO_GZIP = 1 << 11;
        /// `*` among the codings.
        const ANY_CODING = 1 << 12;
    }
}

/// What the fields of one message say together.
pub(super) struct Fields<'a> {
    pub(super) seen: Seen,
    /// With [`Seen::LENGTH`].
    pub(super) length: u64,
    /// With [`Seen::HOST`]: the value of the first.
    pub(super) host: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) const fn new() -> Self {
        Self { seen: Seen::empty(), length: 0, host: &[] }
    }

    /// Reads `headers`, which httparse found in `head`; both end at the same place.
    pub(super) fn read(head: &[u8], headers: &[httparse::Header<'a>]) -> Result<Self, Fault> {
        let mut fields = Self::new();
        for header in headers {
            if !follows_crlf(head, header.name) {
                return Err(Fault::Header);
            }
            fields.note(header.name.as_bytes(), header.value)?;
        }
        // The line before the empty one has no line behind it that would show its end.
        if head.ends_with(b"\r\n\r\n") { Ok(fields) } else { Err(Fault::Header) }
    }

    /// Takes note of one field. The names of interest differ in length, so that most others are
    /// told by that alone.
    #[inline(always)]
    pub(super) fn note(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), Fault> {
        match name.len() {
            4 if is(name, b"host") => self.note_host(value),
            6 if is(name, b"expect") => self.note_expect(value),
            7 if is(name, b"upgrade") => self.note_upgrade(value),
            10 if is(name, b"connection") => self.note_connection(value),
            14 if is(name, b"content-length") => return self.note_length(value),
            15 if is(name, b"accept-encoding") => self.note_codings(value),
            17 if is(name, b"transfer-encoding") => return self.note_transfer(value),
            _ => {}
        }
        Ok(())
    }

    #[inline]
    pub(super) fn note_host(&mut self, value: &'a [u8]) {
        if self.seen.contains(Seen::HOST) {
            self.seen |= Seen::HOST_AGAIN;
        } else {
            self.seen |= Seen::HOST;
            self.host = value;
        }
    }

    /// RFC 9112 §6.3: an invalid length is unrecoverable, but for a list of one value said several
    /// times, which a recipient may take or refuse. It is refused: no sender has a reason for it.
    #[inline(never)]
    fn note_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.seen.contains(Seen::LENGTH) {
            return Err(Fault::Framing);
        }
        self.seen |= Seen::LENGTH;
        // RFC 9110 §8.6: `Content-Length = 1*DIGIT`, and a recipient "MUST anticipate potentially
        // large decimal numerals and prevent parsing errors due to integer conversion overflows".
        let number = value.iter().try_fold(0u64, |number, byte| match byte {
            b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
            _ => None,
        });
        self.length = number.filter(|_| !value.is_empty()).ok_or(Fault::Framing)?;
        Ok(())
    }

    #[inline(never)]
    fn note_transfer(&mut self, value: &[u8]) -> Result<(), Fault> {
        // RFC 9112 §6.1: "A sender MUST NOT apply the chunked transfer coding more than once".
        if self.seen.contains(Seen::CHUNKED) {
            return Err(Fault::Framing);
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(coding_fault(value));
        }
        self.seen |= Seen::CHUNKED;
        Ok(())
    }

    /// RFC 9110 §7.6.1.
    #[inline(never)]
    fn note_connection(&mut self, value: &[u8]) {
        for option in elements(value) {
            self.seen |= match option.len() {
                5 if is(option, b"close") => Seen::CLOSE,
                7 if is(option, b"upgrade") => Seen::TO_UPGRADE,
                10 if is(option, b"keep-alive") => Seen::KEEP_ALIVE,
                _ => Seen::empty(),
            };
        }
    }

    #[inline(never)]
    fn note_upgrade(&mut self, value: &[u8]) {
        self.seen.set(Seen::UPGRADE, !value.is_empty());
    }

    #[inline(never)]
    fn note_expect(&mut self, value: &[u8]) {
        self.seen |= match value.eq_ignore_ascii_case(b"100-continue") {
            true => Seen::CONTINUE,
            false => Seen::OTHER_EXPECTATION,
        };
    }

    /// RFC 9110 §12.5.3; "x-gzip" is the same coding (§8.4.1.3).
    #[inline(never)]
    fn note_codings(&mut self, value: &[u8]) {
        for element in elements(value) {
            let (coding, is_wanted) = weighted(element);
            let is_gzip = is(coding, b"gzip") || is(coding, b"x-gzip");
            self.seen |= match (is_gzip, is_wanted) {
                (true, true) => Seen::GZIP,
                (true, false) => Seen::NO_GZIP,
                (false, true) if coding == b"*" => Seen::ANY_CODING,
                _ => Seen::empty(),
            };
        }
    }

    /// Whether the peer takes gzip: it is refused once, or wanted, or not spoken of beside a `*`.
    #[inline]
    pub(super) fn accepts_gzip(&self) -> bool {
        !self.seen.contains(Seen::NO_GZIP) && self.seen.intersects(Seen::GZIP | Seen::ANY_CODING)
    }

    /// Whether the connection goes on behind this message (RFC 9112 §9.3).
    #[inline]
    pub(super) fn keeps_connection(&self, is_version_10: bool) -> bool {
        !self.seen.contains(Seen::CLOSE) && (!is_version_10 || self.seen.contains(Seen::KEEP_ALIVE))
    }

    /// Whether a change of the protocol is proposed. RFC 9110 §7.8: "A server MUST ignore an
    /// Upgrade header field that is received in an HTTP/1.0 request"; and a field that `Connection`
    /// does not name was meant for somebody else.
    #[inline]
    pub(super) fn upgrades(&self, is_version_10: bool) -> bool {
        !is_version_10 && self.seen.contains(Seen::UPGRADE | Seen::TO_UPGRADE)
    }

    /// RFC 9112 §6.1: chunks in HTTP/1.0 are "faulty framing", and a length beside them "ought to
    /// be handled as an error": whoever reads the other of the two sees another message behind.
    #[inline]
    pub(super) fn check_framing(&self, is_version_10: bool) -> Result<(), Fault> {
        let is_contradicted = is_version_10 || self.seen.contains(Seen::LENGTH);
        match self.seen.contains(Seen::CHUNKED) && is_contradicted {
            true => Err(Fault::Framing),
            false => Ok(()),
        }
    }
}

/// Whether the line that begins with `name` follows a CRLF. RFC 9112 §2.2 lets a recipient take a
/// bare LF; one that does and one that does not see different fields. httparse takes it.
#[inline]
fn follows_crlf(head: &[u8], name: &str) -> bool {
    let at = name.as_ptr().addr().wrapping_sub(head.as_ptr().addr());
    head.get(at.wrapping_sub(2)) == Some(&b'\r')
}

/// Whether a token is `lower`, which has small letters and hyphens only: for these, and for bytes
/// of tokens, setting the bit of the case is exact.
#[inline]
fn is<const N: usize>(token: &[u8], lower: &[u8; N]) -> bool {
    let Some((token, [])) = token.split_first_chunk::<N>() else { return false };
    token.iter().zip(lower).fold(0, |differs, (byte, wanted)| differs | ((byte | 0x20) ^ wanted))
        == 0
}

/// What is wrong with codings that are not `chunked` alone.
#[cold]
fn coding_fault(value: &[u8]) -> Fault {
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let is_last = elements(value).last().is_some_and(is_chunked);
    let times = elements(value).filter(|coding| is_chunked(coding)).count();
    let codings = elements(value).count();
    match (is_last, times, codings) {
        // RFC 9112 §6.1: "A server that receives a request message with a transfer coding it does
        // not understand SHOULD respond with 501 (Not Implemented)."
        (true, 1, 2..) => Fault::NotImplemented,
        // §6.3: when chunked is not last, "the message body length cannot be determined reliably;
        // the server MUST respond with the 400 (Bad Request) status code".
        _ => Fault::Framing,
    }
}
