//! Whether a request gets what it asks for: the preconditions of RFC 9110 §13.

use super::{HttpFile, Range, parse_range};
use crate::http::{HttpHeaders, HttpMethod, date};

/// What a GET or HEAD is answered with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Decision {
    /// 200
    Whole,
    /// 206
    Part { at: u64, len: u64 },
    /// 304: the client has it.
    NotModified,
    /// 412: it is not what the client takes it for.
    Failed,
    /// 416
    Unsatisfiable,
}

/// What is known of a representation.
struct Validators<'a> {
    etag: &'a [u8],
    modified_secs: u64,
    is_date_strong: bool,
    len: u64,
}

/// Goes through the fields of a GET or HEAD for a file.
pub(crate) fn decide(file: &HttpFile, method: HttpMethod, headers: HttpHeaders<'_>) -> Decision {
    let validators = Validators {
        etag: file.etag().as_bytes(),
        modified_secs: file.modified_secs(),
        is_date_strong: file.is_date_strong(),
        len: file.len(),
    };
    validators.decide(method, headers)
}

impl Validators<'_> {
    /// In the order of §13.2.2.
    fn decide(&self, method: HttpMethod, headers: HttpHeaders<'_>) -> Decision {
        if has(headers, "if-match") {
            if !self.matches_any(headers, "if-match", true) {
                return Decision::Failed;
            }
        } else if let Some(date) = self.date(headers, "if-unmodified-since")
            && self.modified_secs > date
        {
            return Decision::Failed;
        }
        if has(headers, "if-none-match") {
            if self.matches_any(headers, "if-none-match", false) {
                return Decision::NotModified;
            }
        } else if let Some(date) = self.date(headers, "if-modified-since")
            && self.modified_secs <= date
        {
            return Decision::NotModified;
        }
        self.part(method, headers)
    }

    /// §14.2: of methods, only GET knows ranges; §13.1.5: of what has changed the client wants all.
    fn part(&self, method: HttpMethod, headers: HttpHeaders<'_>) -> Decision {
        let Some(range) = only(headers, "range").filter(|_| method == HttpMethod::Get) else {
            return Decision::Whole;
        };
        if has(headers, "if-range") && !self.is_same(only(headers, "if-range")) {
            return Decision::Whole;
        }
        match parse_range(range, self.len) {
            Range::Whole => Decision::Whole,
            Range::Part { at, len } => Decision::Part { at, len },
            Range::Unsatisfiable => Decision::Unsatisfiable,
        }
    }

    /// §13.1.5: an entity tag in the strong comparison, or exactly the date, where that is a strong
    /// validator.
    fn is_same(&self, value: Option<&[u8]>) -> bool {
        match value {
            Some(tag @ [b'"', ..]) => tag == self.etag,
            Some([b'W', b'/', ..]) | None => false,
            Some(date) => self.is_date_strong && self.parse(date) == Some(self.modified_secs),
        }
    }

    /// Whether one of the tags of all fields of that name is ours, or any will do (`*`).
    fn matches_any(&self, headers: HttpHeaders<'_>, name: &str, is_strong: bool) -> bool {
        headers.get_all(name).any(|value| {
            value == b"*" || Tags { rest: value }.any(|tag| self.matches(tag, is_strong))
        })
    }

    /// §8.8.3.2: the strong comparison knows no weak tags; ours is a strong one.
    fn matches(&self, tag: Tag<'_>, is_strong: bool) -> bool {
        tag.quoted == self.etag && !(is_strong && tag.is_weak)
    }

    /// §13.1.3: a field that is no date, or there twice, is not there.
    fn date(&self, headers: HttpHeaders<'_>, name: &str) -> Option<u64> {
        self.parse(only(headers, name)?)
    }

    /// The century of a year with two digits is that of our own date.
    fn parse(&self, value: &[u8]) -> Option<u64> {
        date::parse(std::str::from_utf8(value).ok()?, self.modified_secs)
    }
}

fn has(headers: HttpHeaders<'_>, name: &str) -> bool {
    headers.get_bytes(name).is_some()
}

/// The value of a field that is there once.
fn only<'a>(headers: HttpHeaders<'a>, name: &str) -> Option<&'a [u8]> {
    let first = headers.get_bytes(name)?;
    (headers.get_all(name).nth(1).is_none()).then_some(first)
}

/// One entity tag of a list.
struct Tag<'a> {
    is_weak: bool,
    /// With its quotes.
    quoted: &'a [u8],
}

/// The entity tags of a list, up to what is none. A comma may stand inside a tag.
struct Tags<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Tags<'a> {
    type Item = Tag<'a>;

    fn next(&mut self) -> Option<Tag<'a>> {
        let start = self.rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b','))?;
        let at = self.rest.get(start..)?;
        let (is_weak, at) = match at.strip_prefix(b"W/") {
            Some(behind) => (true, behind),
            None => (false, at),
        };
        let inside = at.strip_prefix(b"\"")?;
        let len = inside.iter().position(|&byte| byte == b'"')? + 2;
        let (quoted, rest) = at.split_at_checked(len)?;
        self.rest = rest;
        Some(Tag { is_weak, quoted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Sun, 06 Nov 1994 08:49:37 GMT`
    const MODIFIED: u64 = 784_111_777;

    fn check(fields: &str, expected: Decision) {
        check_as(HttpMethod::Get, fields, expected);
    }

    fn check_as(method: HttpMethod, fields: &str, expected: Decision) {
        let block: String = fields.lines().map(|line| format!("{}\r\n", line.trim())).collect();
        let validators = Validators {
            etag: b"\"a,b\"",
            modified_secs: MODIFIED,
            is_date_strong: true,
            len: 100,
        };
        let found = validators.decide(method, HttpHeaders::new(block.as_bytes()));
        assert_eq!(found, expected, "{method} {fields}");
    }

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    #[test]
    fn without_conditions_all_is_sent() {
        for fields in ["", "Host: a", "If-None-Match:", "If-Modified-Since: yesterday"] {
            check(fields, Decision::Whole);
        }
    }

    #[test]
    fn if_match_is_strong() {
        let rows = [
            ("If-Match: \"a,b\"", Decision::Whole),
            ("If-Match: *", Decision::Whole),
            ("If-Match: \"x\", \"a,b\"", Decision::Whole),
            ("If-Match: \"x\"\nIf-Match: \"a,b\"", Decision::Whole),
            ("If-Match: W/\"a,b\"", Decision::Failed),
            ("If-Match: \"a\"", Decision::Failed),
            ("If-Match: a,b", Decision::Failed),
            ("If-Match:", Decision::Failed),
            ("If-Match: \"a,b", Decision::Failed),
        ];
        for (fields, expected) in rows {
            check(fields, expected);
            check_as(HttpMethod::Head, fields, expected);
        }
    }

    #[test]
    fn if_none_match_is_weak() {
        let rows = [
            ("If-None-Match: \"a,b\"", Decision::NotModified),
            ("If-None-Match: W/\"a,b\"", Decision::NotModified),
            ("If-None-Match: *", Decision::NotModified),
            ("If-None-Match: , \"x\" ,\t\"a,b\"", Decision::NotModified),
            ("If-None-Match: \"a\"", Decision::Whole),
            ("If-None-Match: \"b\"", Decision::Whole),
            ("If-None-Match: junk \"a,b\"", Decision::Whole),
        ];
        for (fields, expected) in rows {
            check(fields, expected);
            check_as(HttpMethod::Head, fields, expected);
        }
    }

    #[test]
    fn dates_are_compared_by_the_second() {
        let rows = [
            ("If-Modified-Since", BEFORE, Decision::Whole),
            ("If-Modified-Since", SAME, Decision::NotModified),
            ("If-Modified-Since", AFTER, Decision::NotModified),
            ("If-Modified-Since", "Sunday, 06-Nov-94 08:49:37 GMT", Decision::NotModified),
            ("If-Modified-Since", "Sun Nov  6 08:49:37 1994", Decision::NotModified),
            ("If-Unmodified-Since", BEFORE, Decision::Failed),
            ("If-Unmodified-Since", SAME, Decision::Whole),
            ("If-Unmodified-Since", AFTER, Decision::Whole),
            ("If-Unmodified-Since", "never", Decision::Whole),
        ];
        for (name, date, expected) in rows {
            check(&format!("{name}: {date}"), expected);
        }
        check(&format!("If-Modified-Since: {SAME}\nIf-Modified-Since: {SAME}"), Decision::Whole);
    }

    #[test]
    fn the_order_is_that_of_the_rfc() {
        let rows = [
            // Tags make dates of no interest.
            (format!("If-Match: \"a,b\"\nIf-Unmodified-Since: {BEFORE}"), Decision::Whole),
            (format!("If-None-Match: \"x\"\nIf-Modified-Since: {SAME}"), Decision::Whole),
            (format!("If-None-Match: \"a,b\"\nIf-Modified-Since: {BEFORE}"), Decision::NotModified),
            // What must hold comes first.
            ("If-Match: \"x\"\nIf-None-Match: \"a,b\"".to_string(), Decision::Failed),
            ("If-Match: \"a,b\"\nIf-None-Match: \"a,b\"".to_string(), Decision::NotModified),
            (format!("If-Unmodified-Since: {BEFORE}\nIf-Modified-Since: {SAME}"), Decision::Failed),
            // And ranges last.
            ("If-None-Match: \"a,b\"\nRange: bytes=0-0".to_string(), Decision::NotModified),
            ("If-Match: \"x\"\nRange: bytes=500-".to_string(), Decision::Failed),
        ];
        for (fields, expected) in rows {
            check(&fields, expected);
        }
    }

    #[test]
    fn ranges_are_for_get_alone_and_for_what_is_the_same() {
        let part = Decision::Part { at: 10, len: 5 };
        let range = "Range: bytes=10-14";
        check(range, part);
        check_as(HttpMethod::Head, range, Decision::Whole);
        check("Range: bytes=100-", Decision::Unsatisfiable);
        check("Range: bytes=1-2, 4-5", Decision::Whole);
        check(&format!("{range}\n{range}"), Decision::Whole);
        let rows = [
            ("\"a,b\"", part),
            ("W/\"a,b\"", Decision::Whole),
            ("\"x\"", Decision::Whole),
            (SAME, part),
            (BEFORE, Decision::Whole),
            (AFTER, Decision::Whole),
            ("junk", Decision::Whole),
            ("", Decision::Whole),
        ];
        for (value, expected) in rows {
            check(&format!("{range}\nIf-Range: {value}"), expected);
        }
        check(&format!("{range}\nIf-Range: {SAME}\nIf-Range: {SAME}"), Decision::Whole);
    }

    #[test]
    fn a_young_date_does_not_stand_for_the_content() {
        let young =
            Validators { etag: b"\"a\"", modified_secs: MODIFIED, is_date_strong: false, len: 100 };
        assert!(!young.is_same(Some(SAME.as_bytes())));
        assert!(young.is_same(Some(b"\"a\"")));
    }
}
