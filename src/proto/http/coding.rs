//! Which answers are worth compressing, RFC 9110 §8.4.

use super::{Fields, HttpFieldValue};
use crate::http::status;

/// The largest body that is compressed: others wait for as long as that takes.
pub(crate) const LEN_MAX: usize = 256 * 1024;

/// What an answer says of its coding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Coding {
    /// Nothing: it is the same for everybody.
    Same,
    /// Not compressed, but for others it would be: caches have to know (RFC 9110 §12.5.5).
    Varies,
    /// Compressed.
    Gzip,
}

impl Coding {
    /// Bytes of the longest lines.
    pub(super) const LEN_MAX: usize = Self::Gzip.lines().len();

    /// The header lines that say so.
    pub(super) const fn lines(self) -> &'static [u8] {
        match self {
            Self::Same => b"",
            Self::Varies => b"Vary: Accept-Encoding\r\n",
            Self::Gzip => b"Content-Encoding: gzip\r\nVary: Accept-Encoding\r\n",
        }
    }

    /// A compressed body must be shorter by so much to be worth it.
    pub(crate) const COST: usize = Self::Gzip.lines().len() - Self::Varies.lines().len();
}

/// Whether an answer with such a body may be compressed: it is text of some kind, is whole, and the
/// application has not said anything of it that would no longer hold.
pub(crate) fn is_compressible(status: u16, content_type: &str, fields: &Fields<'_>) -> bool {
    status != 206
        && !status::has_no_body(status)
        && is_text(content_type)
        && !fields.iter().any(|(name, value)| forbids(name, value))
}

fn is_text(content_type: &str) -> bool {
    let bare = content_type.split(';').next().unwrap_or_default().trim();
    let Some((kind, subtype)) = bare.split_once('/') else { return false };
    let is = |other: &str| subtype.eq_ignore_ascii_case(other);
    if kind.eq_ignore_ascii_case("text") {
        return !is("event-stream");
    }
    let ends = |with: &str| {
        let at = subtype.len().wrapping_sub(with.len());
        subtype.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(with))
    };
    is("json") || is("javascript") || is("xml") || is("x-ndjson") || ends("+json") || ends("+xml")
}

fn forbids(name: &str, value: &HttpFieldValue<'_>) -> bool {
    let text = match value {
        HttpFieldValue::Text(text) => *text,
        _ => "",
    };
    // RFC 9110 §8.8.3.3: a strong entity tag is of these very bytes.
    let is_strong_tag = name.eq_ignore_ascii_case("etag") && !text.starts_with("W/");
    // RFC 9111 §5.2.2.6.
    let is_fixed = name.eq_ignore_ascii_case("cache-control") && text.contains("no-transform");
    is_strong_tag
        || is_fixed
        || name.eq_ignore_ascii_case("content-encoding")
        || name.eq_ignore_ascii_case("content-range")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_compressible() {
        let rows = [
            ("text/plain; charset=utf-8", true),
            ("TEXT/HTML", true),
            ("application/json", true),
            ("application/ld+json;x=y", true),
            ("image/svg+xml", true),
            ("application/javascript", true),
            ("application/xml", true),
            ("text/event-stream", false),
            ("application/octet-stream", false),
            ("image/png", false),
            ("application/jsonx", false),
            ("json", false),
            ("", false),
        ];
        for (content_type, yes) in rows {
            assert_eq!(is_compressible(200, content_type, &Fields::new()), yes, "{content_type}");
        }
        for (status, yes) in [(200, true), (404, true), (206, false), (204, false), (304, false)] {
            assert_eq!(is_compressible(status, "text/plain", &Fields::new()), yes, "{status}");
        }
    }

    #[test]
    fn what_was_said_of_the_bytes_forbids_it() {
        let rows = [
            ("Content-Encoding", "br", false),
            ("content-range", "bytes 0-1/2", false),
            ("ETag", "\"a\"", false),
            ("ETag", "W/\"a\"", true),
            ("Cache-Control", "public, no-transform", false),
            ("Cache-Control", "public", true),
            ("x-other", "gzip", true),
        ];
        for (name, value, yes) in rows {
            let mut fields = Fields::new();
            fields.push(name, value.into());
            assert_eq!(is_compressible(200, "text/plain", &fields), yes, "{name}: {value}");
        }
    }
}
