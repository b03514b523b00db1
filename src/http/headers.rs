//! [`HttpHeaders`]: the header fields of a message, where they lie.

use std::fmt;
use std::str;

/// The header fields of one message: a view over the bytes as they came, in their order.
///
/// Nothing is indexed: a field is found by a scan, which for the few fields of a message costs
/// less than a table. Names are compared without regard to case (RFC 9110 §5.1); values are
/// without the whitespace around them (RFC 9110 §5.5), and may be any bytes but controls.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HttpHeaders<'a> {
    /// Field lines, each with its CRLF.
    block: &'a [u8],
}

impl<'a> HttpHeaders<'a> {
    /// The view over checked field lines, each with its CRLF; without the empty line behind them.
    pub(crate) const fn new(block: &'a [u8]) -> Self {
        Self { block }
    }

    /// The value of the first field with this name; `None` as well when it is not UTF-8.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a str> {
        str::from_utf8(self.get_bytes(name)?).ok()
    }

    /// The value of the first field with this name.
    #[must_use]
    pub fn get_bytes(&self, name: &str) -> Option<&'a [u8]> {
        let mut rest = self.block;
        while !rest.is_empty() {
            let (line, after) = split_line(rest);
            if let Some(value) = value_if_named(line, name) {
                return Some(value);
            }
            rest = after;
        }
        None
    }

    /// The values of all fields with this name, in order.
    pub fn get_all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        Lines { rest: self.block }.filter_map(move |line| value_if_named(line, name))
    }

    /// Names, spelled as they came, and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        Lines { rest: self.block }.filter_map(|line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            let (name, value) = line.split_at_checked(colon)?;
            Some((str::from_utf8(name).ok()?, value.get(1..)?.trim_ascii()))
        })
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        Lines { rest: self.block }.count()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.block.is_empty()
    }
}

impl fmt::Debug for HttpHeaders<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &[u8]| value.escape_ascii().to_string();
        f.debug_map().entries(self.iter().map(|(name, value)| (name, text(value)))).finish()
    }
}

/// Field lines, with what ends them.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, after) = split_line(self.rest);
        self.rest = after;
        Some(line)
    }
}

/// Splits behind the first line feed.
#[inline]
fn split_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at_checked(line_len(bytes)).unwrap_or((bytes, &[]))
}

/// Bytes up to the first line feed, with it; eight at a time.
#[inline]
fn line_len(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    let (words, tail) = bytes.as_chunks::<8>();
    let mut len = 0;
    for word in words {
        let differs = u64::from_le_bytes(*word) ^ (ONES * b'\n' as u64);
        // The high bit of each byte that is zero; the lowest is sure, and it is all that counts.
        let found = differs.wrapping_sub(ONES) & !differs & (ONES << 7);
        if found != 0 {
            return len + (found.trailing_zeros() / 8) as usize + 1;
        }
        len += 8;
    }
    len + tail.iter().position(|&byte| byte == b'\n').map_or(tail.len(), |at| at + 1)
}

fn value_if_named<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let (found, value) = line.split_at_checked(name.len())?;
    match value {
        // A value has no controls: what is trimmed is spaces, tabs and the line's end.
        [b':', value @ ..] if found.eq_ignore_ascii_case(name.as_bytes()) => {
            Some(value.trim_ascii())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::HttpHeaders;

    const BLOCK: &[u8] = b"Host: a.example\r\nX:\r\nvia:\t one \t\r\nVIA: two\r\nx-raw: \xFF\r\n";

    #[test]
    fn fields_are_found_by_name() {
        let headers = HttpHeaders::new(BLOCK);
        let rows: [(&str, Option<&str>); 9] = [
            ("host", Some("a.example")),
            ("HOST", Some("a.example")),
            ("x", Some("")),
            ("Via", Some("one")),
            ("hos", None),
            ("hostt", None),
            ("x-raw", None),
            ("", None),
            ("a.example", None),
        ];
        for (name, value) in rows {
            assert_eq!(headers.get(name), value, "{name}");
        }
        assert_eq!(headers.get_bytes("X-Raw"), Some(&[0xFF][..]));
        assert_eq!(headers.get_all("via").collect::<Vec<_>>(), [b"one", b"two"]);
        assert_eq!(headers.get_all("none").count(), 0);
    }

    #[test]
    fn fields_come_in_order() {
        let headers = HttpHeaders::new(BLOCK);
        let names: Vec<_> = headers.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["Host", "X", "via", "VIA", "x-raw"]);
        assert_eq!(headers.iter().nth(2), Some(("via", &b"one"[..])));
        assert_eq!((headers.len(), headers.is_empty()), (5, false));
        let none = HttpHeaders::new(b"");
        assert_eq!((none.len(), none.is_empty(), none.iter().count()), (0, true, 0));
        assert_eq!(
            format!("{:?}", HttpHeaders::new(b"a: b\r\nc:\xFF\r\n")),
            r#"{"a": "b", "c": "\\xff"}"#
        );
        assert_eq!(headers, HttpHeaders::new(BLOCK));
    }

    #[test]
    fn lines_end_at_the_first_line_feed() {
        for len in 0..40 {
            for (at, around) in (0..=len).flat_map(|at| [(at, b'\x0B'), (at, 0x8A), (at, 9)]) {
                let mut bytes = vec![around; len];
                bytes.iter_mut().skip(at).step_by(3).for_each(|byte| *byte = b'\n');
                assert_eq!(super::line_len(&bytes), len.min(at + 1), "{bytes:?}");
            }
        }
    }

    #[test]
    fn bytes_that_are_no_fields_do_no_harm() {
        for junk in [&b"\n"[..], b"\r\n\r\n", b":\n", b"a", b"\xFF:\n", b"a:b", b"::::\n\n:"] {
            let headers = HttpHeaders::new(junk);
            assert!(headers.iter().count() <= headers.len(), "{junk:?}");
            let found = [headers.get_bytes("a"), headers.get_bytes("")];
            assert!(found.iter().flatten().all(|value| value.len() < junk.len()), "{junk:?}");
        }
    }
}
