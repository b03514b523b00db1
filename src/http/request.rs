//! [`HttpRequest`]: a request as it lies in its buffer.

use std::fmt;

use super::{HttpHeaders, HttpMethod};
use crate::tagged::Tagged;

/// Where the parts of a request lie in its message: 12 bytes.
///
/// ```text
/// GET /path HTTP/1.1\r\n name: value\r\n ... \r\n body
///     target            headers                  body
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Places {
    pub(crate) target_start: u16,
    pub(crate) target_len: u16,
    pub(crate) headers_start: u16,
    pub(crate) headers_len: u16,
    pub(crate) body_start: u16,
    pub(crate) body_len: u16,
}

const _: () = assert!(size_of::<Places>() == 12);

impl Places {
    /// ` HTTP/1.1\r\n`
    const VERSION_LEN: u16 = 11;
    /// The empty line behind the header fields.
    const EMPTY_LINE_LEN: u16 = 2;

    /// Of a message whose head was parsed strictly: everything follows from the lengths.
    pub(crate) const fn new(method_len: u16, target_len: u16, head_len: u16, len: u32) -> Self {
        let target_start = method_len + 1;
        let headers_start = target_start + target_len + Self::VERSION_LEN;
        Self {
            target_start,
            target_len,
            headers_start,
            headers_len: head_len - headers_start - Self::EMPTY_LINE_LEN,
            body_start: head_len,
            body_len: (len - head_len as u32) as u16,
        }
    }
}

bitflags::bitflags! {
    /// What else is known of a request.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) struct RequestFlags: u8 {
        /// HTTP/1.0.
        const VERSION_10 = 1 << 0;
        /// The body follows in `HttpBodyChunk` events.
        const BODY_FOLLOWS = 1 << 1;
        /// `Connection: upgrade` with an `Upgrade` field.
        const UPGRADE = 1 << 2;
        /// `Expect: 100-continue` that waits for `http_continue`.
        const EXPECTS = 1 << 3;
    }
}

/// A request. Borrowed from the receive buffer: it is valid as long as its event. To keep it, or to
/// answer on another thread, see `Io::detach_http_request`.
///
/// Who asks is not here but a look away: [`Sender::peer_addr`](crate::Sender::peer_addr) of the
/// event's connection, which is the client also behind a proxy that says so
/// ([`ProxyProtocol`](crate::ProxyProtocol)). A request is two machine words, so that it is passed
/// in registers; an address would not fit.
#[derive(Clone, Copy, PartialEq)]
pub struct HttpRequest<'a> {
    /// With the lengths of target and head, method and flags: 16, 16, 4 and 4 bits.
    message: Tagged<'a>,
}

/// What the places of a request's parts follow from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lens {
    pub(crate) target: u16,
    pub(crate) head: u16,
}

impl<'a> HttpRequest<'a> {
    #[inline]
    pub(crate) const fn new(
        message: &'a [u8],
        lens: Lens,
        method: HttpMethod,
        flags: RequestFlags,
    ) -> Self {
        let lens = lens.target as u64 | (lens.head as u64) << 16;
        let rest = method as u64 | (flags.bits() as u64) << 4;
        Self { message: Tagged::new(message, lens | rest << 32) }
    }

    const fn lens(&self) -> Lens {
        let tag = self.message.tag();
        Lens { target: tag as u16, head: (tag >> 16) as u16 }
    }

    const fn flags(&self) -> RequestFlags {
        RequestFlags::from_bits_truncate((self.message.tag() >> 36) as u8)
    }

    pub(crate) fn places(&self) -> Places {
        let method_len = match self.method().as_str() {
            Some(name) => name.len(),
            None => self.message.bytes().iter().position(|b| *b == b' ').unwrap_or_default(),
        };
        let Lens { target, head } = self.lens();
        Places::new(method_len as u16, target, head, self.message.len() as u32)
    }

    fn part(&self, start: u16, len: u16) -> &'a [u8] {
        let place = usize::from(start)..usize::from(start) + usize::from(len);
        self.message.bytes().get(place).unwrap_or(&[])
    }

    /// The method, RFC 9110 §9.
    #[must_use]
    pub const fn method(&self) -> HttpMethod {
        HttpMethod::from_number((self.message.tag() >> 32) as u8 & 15)
    }

    /// The method's name, also that of an extension ([`HttpMethod::Other`]).
    #[must_use]
    pub fn method_name(&self) -> &'a str {
        text(self.part(0, self.places().target_start - 1))
    }

    /// The request target as it was sent, RFC 9112 §3.2.
    #[must_use]
    pub fn target(&self) -> &'a str {
        text(self.part(self.places().target_start, self.lens().target))
    }

    /// The path of the target, still percent-encoded, without the query: `/` where the target has
    /// none, `*` for `OPTIONS *`, and the authority for CONNECT.
    #[must_use]
    pub fn path(&self) -> &'a str {
        let target = self.path_and_query();
        match target.iter().position(|byte| *byte == b'?') {
            Some(0) => "/",
            at => text(target.get(..at.unwrap_or(target.len())).unwrap_or_default()),
        }
    }

    /// What follows the `?` of the target, still percent-encoded.
    #[must_use]
    pub fn query(&self) -> Option<&'a str> {
        let target = self.path_and_query();
        let at = target.iter().position(|byte| *byte == b'?')?;
        target.get(at + 1..).map(text)
    }

    /// The target without the scheme and authority of the absolute form (RFC 9112 §3.2.2).
    #[inline]
    fn path_and_query(&self) -> &'a [u8] {
        let target = self.part(self.places().target_start, self.lens().target);
        if target.first() == Some(&b'/') { target } else { self.behind_authority(target) }
    }

    #[cold]
    fn behind_authority(&self, target: &'a [u8]) -> &'a [u8] {
        if self.method() == HttpMethod::Connect {
            return target;
        }
        let Some(at) = target.windows(3).position(|bytes| bytes == b"://") else { return target };
        let rest = target.get(at + 3..).unwrap_or_default();
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?'));
        end.and_then(|at| rest.get(at..)).unwrap_or(b"/")
    }

    /// The header fields.
    #[must_use]
    pub fn headers(&self) -> HttpHeaders<'a> {
        let places = self.places();
        HttpHeaders::new(self.part(places.headers_start, places.headers_len))
    }

    /// The value of the first header field of that name (in any case), if it is UTF-8.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers().get(name)
    }

    /// The body, if it came whole with the request; see [`body_follows`](Self::body_follows).
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.message.bytes().get(usize::from(self.lens().head)..).unwrap_or(&[])
    }

    /// Whether the body comes in `Event::HttpBodyChunk`s behind this: it is chunked, or longer than
    /// `HttpListenConfig::max_body_inline`.
    #[must_use]
    pub const fn body_follows(&self) -> bool {
        self.flags().contains(RequestFlags::BODY_FOLLOWS)
    }

    /// Whether the client offers to speak another protocol on the connection (RFC 9110 §7.8): see
    /// `http_upgrade`. The header field `Upgrade` says which.
    #[must_use]
    pub const fn wants_upgrade(&self) -> bool {
        self.flags().contains(RequestFlags::UPGRADE)
    }

    /// Whether the client waits for `100 Continue` before it sends the body, and
    /// `HttpListenConfig::auto_continue` is off: see `http_continue`.
    #[must_use]
    pub const fn expects_continue(&self) -> bool {
        self.flags().contains(RequestFlags::EXPECTS)
    }

    /// The minor version: 1 for HTTP/1.1, 0 for HTTP/1.0.
    #[must_use]
    pub const fn version_minor(&self) -> u8 {
        if self.flags().contains(RequestFlags::VERSION_10) { 0 } else { 1 }
    }
}

/// What the parser let through is ASCII.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

impl fmt::Debug for HttpRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRequest")
            .field("method", &self.method_name())
            .field("target", &self.target())
            .field("headers", &self.headers())
            .field("body_len", &self.body().len())
            .field("body_follows", &self.body_follows())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str) -> HttpRequest<'_> {
        let mut words = line.split(' ');
        let method = words.next().unwrap_or_default();
        let target = words.next().unwrap_or_default();
        let head = line.find("\r\n\r\n").unwrap() + 4;
        let known = HttpMethod::of(method.as_bytes());
        let lens = Lens { target: target.len() as u16, head: head as u16 };
        HttpRequest::new(line.as_bytes(), lens, known, RequestFlags::empty())
    }

    #[test]
    fn finds_every_part() {
        let message = "GET /a/b?c=d HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\nbody";
        let request = request(message);
        assert_eq!((request.method_name(), request.target()), ("GET", "/a/b?c=d"));
        assert_eq!((request.path(), request.query()), ("/a/b", Some("c=d")));
        assert_eq!(request.header("host"), Some("x"));
        assert_eq!(request.header("accept"), Some("*/*"));
        assert_eq!(request.body(), b"body");
    }

    #[test]
    fn every_form_of_target_has_a_path() {
        let rows = [
            ("GET / HTTP/1.1\r\n\r\n", "/", None),
            ("GET http://h/p?q HTTP/1.1\r\n\r\n", "/p", Some("q")),
            ("GET http://h HTTP/1.1\r\n\r\n", "/", None),
            ("GET http://h?q HTTP/1.1\r\n\r\n", "/", Some("q")),
            ("CONNECT h:443 HTTP/1.1\r\n\r\n", "h:443", None),
            ("OPTIONS * HTTP/1.1\r\n\r\n", "*", None),
        ];
        for (line, path, query) in rows {
            assert_eq!((request(line).path(), request(line).query()), (path, query), "{line}");
        }
    }
}
