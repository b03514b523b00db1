//! Comma-separated lists in field values: RFC 9110 §5.6.1. Empty elements are passed over, as a
//! recipient must.

/// Elements, without the whitespace around them. Quoted strings are not told from other bytes: the
/// lists that are read here have none.
pub(super) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// A coding of `Accept-Encoding` and whether its weight is above zero: RFC 9110 §12.4.2, §12.5.3.
pub(super) fn weighted(element: &[u8]) -> (&[u8], bool) {
    let mut parts = element.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let coding = parts.next().unwrap_or_default();
    let mut weights = parts.filter_map(|part| match part {
        [b'q' | b'Q', b'=', weight @ ..] => Some(weight),
        _ => None,
    });
    (coding, weights.next().is_none_or(is_above_zero))
}

/// `qvalue`: a digit, and up to three behind a point. One that is none is no wish.
fn is_above_zero(weight: &[u8]) -> bool {
    match weight {
        [b'1'] => true,
        [b'1', b'.', zeros @ ..] => zeros.len() <= 3 && zeros.iter().all(|&digit| digit == b'0'),
        [b'0', b'.', digits @ ..] => {
            digits.len() <= 3
                && digits.iter().all(u8::is_ascii_digit)
                && digits.iter().any(|&digit| digit != b'0')
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_weights() {
        let found: Vec<_> = elements(b" a,\tb ,, c;q=1,").collect();
        assert_eq!(found, [&b"a"[..], b"b", b"c;q=1"]);
        assert_eq!(elements(b"").count(), 0);
        let rows: [(&str, &str, bool); 14] = [
            ("gzip", "gzip", true),
            ("gzip;q=0", "gzip", false),
            ("gzip ; q=0.000", "gzip", false),
            ("gzip;Q=0.001", "gzip", true),
            ("gzip;q=1", "gzip", true),
            ("gzip;q=1.000", "gzip", true),
            ("gzip;q=1.1", "gzip", false),
            ("gzip;q=0.0000", "gzip", false),
            ("gzip;q=", "gzip", false),
            ("gzip;q=0.", "gzip", false),
            ("gzip;q=x", "gzip", false),
            ("*;q=0.5", "*", true),
            ("gzip;a=b", "gzip", true),
            ("", "", true),
        ];
        for (element, coding, wanted) in rows {
            assert_eq!(weighted(element.as_bytes()), (coding.as_bytes(), wanted), "{element}");
        }
    }
}
