//! [`HttpResponse`]: a response as it lies in its buffer.

use std::fmt;
use std::str;

use super::HttpHeaders;

/// `HTTP/1.1 200`
const CODE_END: usize = 12;
/// The empty line behind the header fields.
const EMPTY_LINE_LEN: u16 = 2;

/// Where the parts of a response lie in its message.
///
/// ```text
/// HTTP/1.1 200 OK\r\n name: value\r\n ... \r\n body
/// |                   |                       |
/// 0                   line_len                head_len
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ResponsePlaces {
    /// The status line with its CRLF.
    pub(crate) line_len: u16,
    /// The empty line included.
    pub(crate) head_len: u16,
}

bitflags::bitflags! {
    /// What else is known of a response.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) struct ResponseFlags: u8 {
        /// HTTP/1.0.
        const VERSION_10 = 1 << 0;
        /// The body follows in `HttpBodyChunk` events.
        const BODY_FOLLOWS = 1 << 1;
        /// The connection is a stream of bytes from here on.
        const UPGRADED = 1 << 2;
    }
}

/// A response. Borrowed from the receive buffer: it is valid as long as its event.
#[derive(Clone, Copy, PartialEq)]
pub struct HttpResponse<'a> {
    message: &'a [u8],
    places: ResponsePlaces,
    status: u16,
    flags: ResponseFlags,
}

impl<'a> HttpResponse<'a> {
    pub(crate) const fn new(
        message: &'a [u8],
        places: ResponsePlaces,
        status: u16,
        flags: ResponseFlags,
    ) -> Self {
        Self { message, places, status, flags }
    }

    pub(crate) const fn places(&self) -> ResponsePlaces {
        self.places
    }

    pub(crate) const fn head_len(&self) -> u16 {
        self.places.head_len
    }

    fn part(&self, start: usize, end: usize) -> &'a [u8] {
        self.message.get(start..end).unwrap_or_default()
    }

    /// The status code, RFC 9110 §15: three digits; one above 599 is to be taken for a 5xx.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// Whether the status code is a 2xx.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        self.status / 100 == 2
    }

    /// The reason phrase, which says nothing to programs (RFC 9112 §4); empty as well when it is
    /// not UTF-8.
    #[must_use]
    pub fn reason(&self) -> &'a str {
        let end = usize::from(self.places.line_len).saturating_sub("\r\n".len());
        str::from_utf8(self.part(CODE_END, end).trim_ascii()).unwrap_or_default()
    }

    /// The header fields.
    #[must_use]
    pub fn headers(&self) -> HttpHeaders<'a> {
        let end = self.places.head_len.saturating_sub(EMPTY_LINE_LEN);
        HttpHeaders::new(self.part(usize::from(self.places.line_len), usize::from(end)))
    }

    /// The value of the first header field of that name (in any case), if it is UTF-8.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers().get(name)
    }

    /// The body, if it came whole with the response; see [`body_follows`](Self::body_follows).
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.part(usize::from(self.places.head_len), self.message.len())
    }

    /// Whether the body comes in `Event::HttpBodyChunk`s behind this: it is chunked, ends with the
    /// connection, or is longer than `HttpPoolConfig::max_body_inline`.
    #[must_use]
    pub const fn body_follows(&self) -> bool {
        self.flags.contains(ResponseFlags::BODY_FOLLOWS)
    }

    /// Whether the connection speaks what the request asked for from here on, and is a stream of
    /// the application's: 101 to an upgrade (RFC 9110 §7.8), 2xx to CONNECT (§9.3.6).
    #[must_use]
    pub const fn is_upgraded(&self) -> bool {
        self.flags.contains(ResponseFlags::UPGRADED)
    }

    /// The minor version: 1 for HTTP/1.1, 0 for HTTP/1.0.
    #[must_use]
    pub const fn version_minor(&self) -> u8 {
        if self.flags.contains(ResponseFlags::VERSION_10) { 0 } else { 1 }
    }
}

impl fmt::Debug for HttpResponse<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpResponse")
            .field("status", &self.status)
            .field("headers", &self.headers())
            .field("body_len", &self.body().len())
            .field("body_follows", &self.body_follows())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(message: &[u8], flags: ResponseFlags) -> HttpResponse<'_> {
        let line = message.windows(2).position(|pair| pair == b"\r\n").unwrap() + 2;
        let head = message.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let places = ResponsePlaces { line_len: line as u16, head_len: head as u16 };
        HttpResponse::new(message, places, 404, flags)
    }

    #[test]
    fn finds_every_part() {
        let message = b"HTTP/1.1 404 Not Found\r\nServer: x\r\nEtag: \"1\"\r\n\r\nbody";
        let found = response(message, ResponseFlags::empty());
        assert_eq!((found.status(), found.reason(), found.is_success()), (404, "Not Found", false));
        assert_eq!((found.header("server"), found.header("ETag")), (Some("x"), Some("\"1\"")));
        assert_eq!((found.headers().len(), found.body()), (2, &b"body"[..]));
        assert_eq!((found.body_follows(), found.is_upgraded()), (false, false));
        assert_eq!(found.version_minor(), 1);
        assert!(format!("{found:?}").contains("body_len: 4"));
    }

    #[test]
    fn a_reason_may_be_missing() {
        let rows: [(&[u8], &str); 4] = [
            (b"HTTP/1.1 404\r\n\r\n", ""),
            (b"HTTP/1.0 404 \r\n\r\n", ""),
            (b"HTTP/1.0 404 \xFF\r\n\r\n", ""),
            (b"HTTP/1.0 404 a  b\r\n\r\n", "a  b"),
        ];
        for (message, reason) in rows {
            let found = response(message, ResponseFlags::VERSION_10);
            assert_eq!((found.reason(), found.version_minor()), (reason, 0));
            assert_eq!((found.body(), found.headers().is_empty()), (&b""[..], true));
        }
    }
}
