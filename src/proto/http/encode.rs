//! How HTTP/1.1 writes the head of an answer, RFC 9112 §4 to §6.

use super::fields::is_field_byte;
use super::same::is_same;
use super::{Coding, HttpFieldValue, Parts};
use crate::http::date::{self, DATE_LEN};
use crate::http::status;

/// How the end of a body is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BodyLen {
    /// There is none, and the status code says so.
    None,
    /// `Content-Length`
    Known(u64),
    /// `Transfer-Encoding: chunked`
    Chunked,
    /// The connection ends with it.
    UntilClose,
}

impl BodyLen {
    /// The field that says so, RFC 9112 §6; none where there is nothing to say.
    #[inline]
    pub(super) fn write(self, out: &mut Out<'_>) {
        match self {
            Self::Known(len) => {
                out.put(b"Content-Length: ");
                out.number(len);
                out.put(b"\r\n");
            }
            Self::Chunked => out.put(b"Transfer-Encoding: chunked\r\n"),
            Self::None | Self::UntilClose => {}
        }
    }
}

/// The head of an answer.
pub(crate) struct Head<'a> {
    pub(crate) status: u16,
    pub(crate) parts: Parts<'a>,
    pub(crate) body: BodyLen,
    pub(crate) coding: Coding,
    pub(crate) range: Option<ContentRange>,
    /// `Connection: close`
    pub(crate) close: bool,
    /// `Connection: keep-alive`, which HTTP/1.0 has to be told.
    pub(crate) keep_alive: bool,
}

/// The `Date` line, made anew once a second.
pub(crate) struct Clock {
    line: [u8; DATE_LINE_LEN],
}

const DATE_LINE_LEN: usize = "Date: ".len() + DATE_LEN + "\r\n".len();

impl Clock {
    pub(crate) fn at(secs: u64) -> Self {
        let mut line = *b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        let (_, date) = line.split_at_mut("Date: ".len());
        date.split_at_mut(DATE_LEN).0.copy_from_slice(&date::format(secs));
        Self { line }
    }

    #[inline]
    pub(crate) fn write(&self, out: &mut Out<'_>) {
        out.put(&self.line);
    }
}

/// A cursor over memory that is known to be large enough.
pub(crate) struct Out<'a> {
    rest: &'a mut [u8],
    len: usize,
}

impl<'a> Out<'a> {
    /// Digits of the largest number.
    pub(crate) const NUMBER_LEN_MAX: usize = 20;

    pub(crate) const fn new(memory: &'a mut [u8]) -> Self {
        Self { rest: memory, len: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Appends bytes.
    ///
    /// # Panics
    /// When the memory was not large enough: its owner reckoned wrong.
    #[inline]
    pub(crate) fn put(&mut self, data: &[u8]) {
        let (place, rest) = std::mem::take(&mut self.rest).split_at_mut(data.len());
        place.copy_from_slice(data);
        self.rest = rest;
        self.len += data.len();
    }

    /// A number in decimal digits.
    #[inline]
    pub(crate) fn number(&mut self, n: u64) {
        match n {
            0..10 => self.put(&[b'0' + n as u8]),
            10..100 => self.put(&[b'0' + (n / 10) as u8, b'0' + (n % 10) as u8]),
            _ => self.large_number(n),
        }
    }

    fn large_number(&mut self, mut n: u64) {
        let mut digits = [b'0'; Self::NUMBER_LEN_MAX];
        let mut len = 0;
        for digit in digits.iter_mut().rev() {
            *digit += (n % 10) as u8;
            n /= 10;
            len += 1;
            if n == 0 {
                break;
            }
        }
        self.put(digits.split_at(Self::NUMBER_LEN_MAX - len).1);
    }
}

/// The head that was written last on the short path: most are as the one before, or differ in the
/// length of the body alone.
pub(crate) struct ShortHead {
    bytes: [u8; Self::LEN_MAX],
    /// Up to the digits of `Content-Length`; 0: there is none.
    front_len: usize,
    len: usize,
    status: u16,
    /// Where the media type was that it was made with, and how long: one of zero-io's own does not
    /// change.
    media: (usize, usize),
    /// Where it begins in the head.
    media_at: usize,
    body_len: usize,
}

impl ShortHead {
    const LEN_MAX: usize = 256;

    pub(crate) const fn new() -> Self {
        Self {
            bytes: [0; Self::LEN_MAX],
            front_len: 0,
            len: 0,
            status: 0,
            media: (0, 0),
            media_at: 0,
            body_len: 0,
        }
    }

    /// Forgets it: the time is another.
    pub(crate) const fn clear(&mut self) {
        self.front_len = 0;
    }

    /// The head of an answer with that status code, media type (`own`: the application's) and
    /// length; `None` when it is too long, the code has no name, or the type is none.
    #[inline]
    pub(crate) fn of(
        &mut self,
        status: u16,
        (media, own): (&str, bool),
        body_len: usize,
        clock: &Clock,
    ) -> Option<&[u8]> {
        if self.front_len == 0 || self.status != status || !self.has_media(media, own) {
            self.make_front(status, media, clock)?;
            self.make_end(body_len);
        } else if self.body_len != body_len {
            self.make_end(body_len);
        }
        self.bytes.get(..self.len)
    }

    #[inline]
    fn has_media(&self, media: &str, own: bool) -> bool {
        let (addr, len) = self.media;
        match own {
            true => {
                let known = self.bytes.get(self.media_at..self.media_at + len);
                is_same(known.unwrap_or_default(), media.as_bytes())
            }
            false => addr == media.as_ptr().addr() && len == media.len(),
        }
    }

    #[inline(never)]
    fn make_front(&mut self, status: u16, media: &str, clock: &Clock) -> Option<()> {
        let line = status::line(status)?;
        self.front_len = 0;
        let fits = FIXED_LEN_MAX + CONTENT_TYPE_LEN + media.len() <= Self::LEN_MAX;
        if !fits || !media.bytes().all(is_field_byte) {
            return None;
        }
        let mut out = Out::new(&mut self.bytes);
        out.put(line);
        clock.write(&mut out);
        if !media.is_empty() {
            out.put(b"Content-Type: ");
            self.media_at = out.len();
            out.put(media.as_bytes());
            out.put(b"\r\n");
        }
        out.put(b"Content-Length: ");
        self.front_len = out.len();
        (self.status, self.media) = (status, (media.as_ptr().addr(), media.len()));
        Some(())
    }

    #[inline]
    fn make_end(&mut self, body_len: usize) {
        let mut out = Out::new(self.bytes.split_at_mut(self.front_len).1);
        out.number(body_len as u64);
        out.put(b"\r\n\r\n");
        self.len = self.front_len + out.len();
        self.body_len = body_len;
    }
}

/// What every head may have besides its own fields.
const FIXED_LEN_MAX: usize = "HTTP/1.1 999 \r\n".len()
    + REASON_LEN_MAX
    + DATE_LINE_LEN
    + Coding::LEN_MAX
    + "Transfer-Encoding: chunked\r\n".len()
    + Out::NUMBER_LEN_MAX
    + "Connection: keep-alive\r\n".len()
    + "\r\n".len();
const REASON_LEN_MAX: usize = 32;
const CONTENT_TYPE_LEN: usize = "Content-Type: \r\n".len();
/// Bytes of the longest line before a chunk.
pub(crate) const CHUNK_HEAD_LEN_MAX: usize = 18;

/// An upper bound of the length of a head with those lines.
pub(crate) fn head_len_max(parts: &Parts<'_>) -> usize {
    FIXED_LEN_MAX + ContentRange::LEN_MAX + parts_len_max(parts)
}

/// An upper bound of the length of the lines that are the answer's own.
#[inline]
pub(crate) fn parts_len_max(parts: &Parts<'_>) -> usize {
    match parts {
        Parts::Fields { content_type, fields } => {
            let own: usize = fields.iter().map(|(name, value)| field_len_max(name, value)).sum();
            CONTENT_TYPE_LEN + content_type.len() + own
        }
        Parts::Lines { lines, .. } => lines.len(),
    }
}

fn field_len_max(name: &str, value: &HttpFieldValue<'_>) -> usize {
    name.len()
        + ": \r\n".len()
        + match value {
            HttpFieldValue::Text(text) => text.len(),
            HttpFieldValue::Number(_) => Out::NUMBER_LEN_MAX,
            HttpFieldValue::Cookie(cookie) => cookie.len_max(),
        }
}

impl Parts<'_> {
    /// The header lines that are the answer's own.
    #[inline]
    pub(crate) fn write(&self, out: &mut Out<'_>) {
        match self {
            Self::Lines { lines, .. } => out.put(lines),
            Self::Fields { content_type, fields } => {
                if !content_type.is_empty() {
                    out.put(b"Content-Type: ");
                    out.put(content_type.as_bytes());
                    out.put(b"\r\n");
                }
                for (name, value) in fields.iter() {
                    out.put(name.as_bytes());
                    out.put(b": ");
                    match value {
                        HttpFieldValue::Text(text) => out.put(text.as_bytes()),
                        HttpFieldValue::Number(n) => out.number(*n),
                        HttpFieldValue::Cookie(cookie) => cookie.write(out),
                    }
                    out.put(b"\r\n");
                }
            }
        }
    }
}

/// Which part of a representation the body is, RFC 9110 §14.4.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ContentRange {
    /// The first byte and the last one; `None`: what was asked for is not there.
    pub(crate) part: Option<(u64, u64)>,
    /// Bytes of the whole.
    pub(crate) of: u64,
}

impl ContentRange {
    pub(crate) const LEN_MAX: usize = "Content-Range: bytes -/\r\n".len() + 3 * Out::NUMBER_LEN_MAX;

    fn write(self, out: &mut Out<'_>) {
        out.put(b"Content-Range: bytes ");
        match self.part {
            Some((first, last)) => {
                out.number(first);
                out.put(b"-");
                out.number(last);
            }
            None => out.put(b"*"),
        }
        out.put(b"/");
        out.number(self.of);
        out.put(b"\r\n");
    }
}

impl Head<'_> {
    /// An upper bound of its length.
    #[inline]
    pub(crate) fn len_max(&self) -> usize {
        let range = if self.range.is_some() { ContentRange::LEN_MAX } else { 0 };
        FIXED_LEN_MAX + range + parts_len_max(&self.parts)
    }

    /// Writes the head, the empty line included.
    #[inline]
    pub(crate) fn write(&self, out: &mut Out<'_>, clock: &Clock) {
        match status::line(self.status) {
            Some(line) => out.put(line),
            None => {
                out.put(b"HTTP/1.1 ");
                out.number(self.status.into());
                out.put(b" \r\n");
            }
        }
        // RFC 9110 §6.6.1: 1xx answers need none, all others have one where there is a clock.
        if self.status >= 200 {
            clock.write(out);
        }
        self.parts.write(out);
        if self.coding != Coding::Same {
            out.put(self.coding.lines());
        }
        if let Some(range) = self.range {
            range.write(out);
        }
        self.body.write(out);
        if self.status == 101 {
            out.put(b"Connection: upgrade\r\n");
        } else if self.close {
            out.put(b"Connection: close\r\n");
        } else if self.keep_alive {
            out.put(b"Connection: keep-alive\r\n");
        }
        out.put(b"\r\n");
    }
}

/// The line before a chunk of `len` bytes, RFC 9112 §7.1: written into the end of `into`; where it
/// begins.
pub(crate) fn chunk_head(len: usize, into: &mut [u8; CHUNK_HEAD_LEN_MAX]) -> &[u8] {
    *into = *b"................\r\n";
    let mut n = len;
    let mut digits = 0;
    for digit in into.iter_mut().rev().skip("\r\n".len()) {
        *digit = match (n % 16) as u8 {
            value @ 0..=9 => b'0' + value,
            value => b'a' + value - 10,
        };
        n /= 16;
        digits += 1;
        if n == 0 {
            break;
        }
    }
    into.split_at(CHUNK_HEAD_LEN_MAX - "\r\n".len() - digits).1
}

#[cfg(test)]
mod tests {
    use super::super::Fields;
    use super::*;

    fn written(head: &Head<'_>) -> String {
        let mut buffer = vec![0; head.len_max()];
        let mut out = Out::new(&mut buffer);
        head.write(&mut out, &Clock::at(784_111_777));
        let len = out.len();
        String::from_utf8(buffer[..len].to_vec()).unwrap()
    }

    #[test]
    fn a_short_head_is_made_anew_when_anything_is_another() {
        let clock = Clock::at(784_111_777);
        let mut short = ShortHead::new();
        let mut of = |status: u16, media: &str, own: bool, len: usize| {
            let head = short.of(status, (media, own), len, &clock)?;
            Some(String::from_utf8(head.to_vec()).unwrap())
        };
        let expected = |line: &str, media: &str, len: usize| {
            let date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
            Some(format!("HTTP/1.1 {line}\r\n{date}{media}Content-Length: {len}\r\n\r\n"))
        };
        let css = "Content-Type: text/css\r\n";
        let mut own = String::from("text/css");
        for len in [0, 9, 10, 99, 100, 12_345, 9] {
            assert_eq!(of(200, &own, true, len), expected("200 OK", css, len));
        }
        // The same memory says something else now.
        own.replace_range(5.., "xml");
        let xml = expected("200 OK", "Content-Type: text/xml\r\n", 9);
        assert_eq!(of(200, &own, true, 9), xml);
        assert_eq!(of(404, "", false, 9), expected("404 Not Found", "", 9));
        assert_eq!(of(200, "text/xm", true, 9), expected("200 OK", "Content-Type: text/xm\r\n", 9));
        assert_eq!(of(200, "a\r\nb", true, 9), None, "a line break");
        assert_eq!(of(299, "", false, 9), None, "no name");
        assert_eq!(of(200, &own, true, 9), xml);
        short.clear();
        let later = short.of(200, (&own, true), 9, &Clock::at(784_111_778)).unwrap();
        assert!(later.windows(8).any(|window| window == b"08:49:38"));
    }

    #[test]
    fn heads_are_as_the_rfc_says() {
        let mut fields = Fields::new();
        fields.push("x-a", "b".into());
        fields.push("age", 7.into());
        let parts = || Parts::Fields { content_type: "text/plain", fields: &fields };
        let head = Head {
            status: 200,
            parts: parts(),
            body: BodyLen::Known(13),
            coding: Coding::Same,
            range: None,
            close: false,
            keep_alive: false,
        };
        let date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        let own = "Content-Type: text/plain\r\nx-a: b\r\nage: 7\r\n";
        assert_eq!(
            written(&head),
            format!("HTTP/1.1 200 OK\r\n{date}{own}Content-Length: 13\r\n\r\n")
        );
        let coding = Coding::Gzip;
        let head = Head { status: 299, body: BodyLen::Chunked, coding, close: true, ..head };
        let own = format!("{own}Content-Encoding: gzip\r\nVary: Accept-Encoding\r\n");
        let chunked = "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
        assert_eq!(written(&head), format!("HTTP/1.1 299 \r\n{date}{own}{chunked}"));
        for (part, text) in [(Some((0, 9)), "0-9/10"), (None, "*/10")] {
            let range = Some(ContentRange { part, of: 10 });
            let head = Head { parts: parts(), range, ..head };
            assert!(written(&head).contains(&format!("\r\nContent-Range: bytes {text}\r\n")));
        }
    }

    #[test]
    fn the_longest_head_fits() {
        let fields = Fields::new();
        for status in 100..600 {
            let parts = Parts::Fields { content_type: "", fields: &fields };
            let body = BodyLen::Known(u64::MAX);
            let (coding, of) = (Coding::Gzip, u64::MAX);
            let range = Some(ContentRange { part: Some((of, of)), of });
            written(&Head { status, parts, body, coding, range, close: false, keep_alive: true });
            assert!(status::reason(status).len() <= REASON_LEN_MAX);
        }
    }

    #[test]
    fn chunk_lines_are_hexadecimal() {
        for (len, line) in [(1, "1\r\n"), (15, "f\r\n"), (16, "10\r\n"), (0xABCDE, "abcde\r\n")] {
            assert_eq!(chunk_head(len, &mut [0; 18]), line.as_bytes());
        }
        assert_eq!(chunk_head(usize::MAX, &mut [0; 18]), b"ffffffffffffffff\r\n");
    }
}
