//! Which bytes a request asks for, RFC 9110 §14.

/// What `Range` asks for of a representation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Range {
    /// All of it: the field cannot be read, is of another unit, or names several ranges, which a
    /// server may answer with the whole (§14.2).
    Whole,
    /// So many bytes from `at` on, one at least.
    Part { at: u64, len: u64 },
    /// Nothing that is there: 416.
    Unsatisfiable,
}

/// Reads the value of a `Range` field for a representation of `len` bytes.
pub(crate) fn parse_range(value: &[u8], len: u64) -> Range {
    asked(value, len).unwrap_or(Range::Whole)
}

fn asked(value: &[u8], len: u64) -> Option<Range> {
    let (unit, set) = value.split_at_checked(b"bytes=".len())?;
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return None;
    }
    let (first, last) = only(set)?;
    if first.is_empty() {
        // §14.1.2: a suffix that is longer than the representation is all of it. Of none there is
        // no range that could be named.
        let suffix = number(last)?.min(len);
        return match (number(last)?, suffix) {
            (0, _) => Some(Range::Unsatisfiable),
            (_, 0) => None,
            (_, len_wanted) => Some(Range::Part { at: len - len_wanted, len: len_wanted }),
        };
    }
    let at = number(first)?;
    let end = match last {
        [] => u64::MAX,
        // §14.1.1: a range that ends before it begins is invalid.
        last => Some(number(last)?).filter(|last| *last >= at)?.saturating_add(1),
    };
    if at >= len {
        return Some(Range::Unsatisfiable);
    }
    Some(Range::Part { at, len: end.min(len) - at })
}

/// The two sides of the only range of a set. Empty members of a list are allowed (§5.6.1.2).
fn only(set: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut members = set.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let range = members.find(|member| !member.is_empty())?;
    if members.any(|member| !member.is_empty()) {
        return None;
    }
    let dash = range.iter().position(|&byte| byte == b'-')?;
    let (first, last) = range.split_at_checked(dash)?;
    Some((first, last.get(1..)?))
}

/// Digits alone; what is too large for a file is as large as can be.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |n, &digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        Some(n.saturating_mul(10).saturating_add(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_what_is_there() {
        let part = |at, len| Range::Part { at, len };
        let rows = [
            ("bytes=0-499", part(0, 500)),
            ("bytes=500-999", part(500, 500)),
            ("bytes=500-", part(500, 500)),
            ("bytes=0-", part(0, 1000)),
            ("bytes=0-0", part(0, 1)),
            ("bytes=999-999", part(999, 1)),
            ("bytes=999-", part(999, 1)),
            ("bytes=0-1000", part(0, 1000)),
            ("bytes=999-99999999999999999999999", part(999, 1)),
            ("bytes=-1", part(999, 1)),
            ("bytes=-1000", part(0, 1000)),
            ("bytes=-1001", part(0, 1000)),
            ("bytes=-99999999999999999999999", part(0, 1000)),
            ("BYTES=1-2", part(1, 2)),
            ("bytes= 1-2 ", part(1, 2)),
            ("bytes=,1-2,", part(1, 2)),
            ("bytes=1000-", Range::Unsatisfiable),
            ("bytes=1000-1000", Range::Unsatisfiable),
            ("bytes=99999999999999999999999-", Range::Unsatisfiable),
            ("bytes=-0", Range::Unsatisfiable),
        ];
        for (value, range) in rows {
            assert_eq!(parse_range(value.as_bytes(), 1000), range, "{value}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_ignored() {
        let rows = [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=1",
            "bytes=2-1",
            "bytes=1-2-3",
            "bytes=--1",
            "bytes=+1-2",
            "bytes=1 - 2",
            "bytes =1-2",
            "bytes=0-0,-1",
            "lines=1-2",
            "bytes=,",
            "bytes=0x1-2",
            "bytes=1-\u{FF}",
        ];
        for value in rows {
            assert_eq!(parse_range(value.as_bytes(), 1000), Range::Whole, "{value}");
        }
    }

    #[test]
    fn nothing_has_no_part() {
        assert_eq!(parse_range(b"bytes=0-", 0), Range::Unsatisfiable);
        assert_eq!(parse_range(b"bytes=-5", 0), Range::Whole);
        assert_eq!(parse_range(b"bytes=0-", u64::MAX), Range::Part { at: 0, len: u64::MAX });
        assert_eq!(
            parse_range(b"bytes=18446744073709551614-", u64::MAX),
            Range::Part { at: u64::MAX - 1, len: 1 }
        );
    }
}
