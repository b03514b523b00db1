//! Classes of bytes: one table, a bit for each class.

/// `tchar` of RFC 9110 §5.6.2.
pub(super) const TOKEN: u8 = 1;
/// What a field's value may have (RFC 9110 §5.5): visible bytes, space, tab, and beyond ASCII.
pub(super) const VALUE: u8 = 1 << 1;
/// What a request's target may have. RFC 3986 has fewer; browsers send ``\ ^ ` { | }`` as they
/// are in queries (URL Standard), and no two recipients disagree where these end.
pub(super) const TARGET: u8 = 1 << 2;
/// `unreserved` and `sub-delims` of RFC 3986: a registered name or an IPv4 address.
pub(super) const REG_NAME: u8 = 1 << 3;

static CLASSES: [u8; 256] = classes();

/// Whether a byte is of a class.
#[inline]
pub(super) fn is(byte: u8, class: u8) -> bool {
    CLASSES.get(usize::from(byte)).is_some_and(|classes| classes & class != 0)
}

/// Bytes of a class at the front.
#[inline]
pub(super) fn class_len(bytes: &[u8], class: u8) -> usize {
    let mut len = 0;
    while let Some(&byte) = bytes.get(len)
        && is(byte, class)
    {
        len += 1;
    }
    len
}

/// Whether all bytes are of a class; eight at a time, since nearly always all are.
#[inline]
pub(super) fn all_are(bytes: &[u8], class: u8) -> bool {
    let common = |bytes: &[u8]| {
        let of = |byte: &u8| CLASSES.get(usize::from(*byte)).copied().unwrap_or(0);
        bytes.iter().fold(class, |common, byte| common & of(byte))
    };
    let (words, tail) = bytes.as_chunks::<8>();
    let words = words.iter().fold(class, |common_of_all, word| common_of_all & common(word));
    words & common(tail) != 0
}

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut rest: &mut [u8] = &mut table;
    let mut byte = 0;
    while let Some((classes, after)) = rest.split_first_mut() {
        *classes = classes_of(byte);
        byte = byte.wrapping_add(1);
        rest = after;
    }
    table
}

const fn classes_of(byte: u8) -> u8 {
    let word = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let mut classes = 0;
    if word || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'^' | b'`' | b'|') {
        classes |= TOKEN;
    }
    if matches!(byte, b'\t' | b' '..=b'~' | 0x80..) {
        classes |= VALUE;
    }
    if matches!(byte, b'!'..=b'~') && !matches!(byte, b'"' | b'#' | b'<' | b'>') {
        classes |= TARGET;
    }
    if word || matches!(byte, b'!' | b'$' | b'&'..=b',' | b';' | b'=') {
        classes |= REG_NAME;
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(class: u8) -> String {
        (0..=127).filter(|&byte| is(byte, class)).map(char::from).collect()
    }

    #[test]
    fn classes_are_those_of_the_grammar() {
        let digits = "0123456789";
        let (upper, lower) = ("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz");
        assert_eq!(members(TOKEN), format!("!#$%&'*+-.{digits}{upper}^_`{lower}|~"));
        assert_eq!(members(REG_NAME), format!("!$&'()*+,-.{digits};={upper}_{lower}~"));
        let target = format!("!$%&'()*+,-./{digits}:;=?@{upper}[\\]^_`{lower}{{|}}~");
        assert_eq!(members(TARGET), target);
        assert_eq!(members(VALUE).len(), 2 + 94);
        for byte in 128..=255 {
            assert!(is(byte, VALUE) && !is(byte, TOKEN | TARGET | REG_NAME), "{byte}");
        }
    }
}
