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

/// Bytes of a registered name at the front. Eight at a time as long as they are letters, digits,
/// `-` and `.`, which nearly all names are made of.
#[inline]
pub(super) fn name_len(bytes: &[u8]) -> usize {
    let words = bytes.as_chunks::<8>().0.iter();
    let plain = words.take_while(|word| is_plain_word(u64::from_le_bytes(**word))).count() * 8;
    plain + class_len(bytes.get(plain..).unwrap_or_default(), REG_NAME)
}

/// Whether all eight bytes are letters, digits, `-` or `.`.
#[inline]
const fn is_plain_word(word: u64) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    /// What has the high bit set in each byte of `word` that is `from` or more, if none is above
    /// 127.
    const fn at_least(word: u64, from: u8) -> u64 {
        word + ONES * (0x80 - from) as u64
    }
    let low = word & !HIGH;
    // Capitals become small; digits, hyphen and dot have that bit already, control bytes get it.
    let small = low | (ONES * 0x20);
    // Each bound turns the answer round: in, out, in, out, in, out.
    let is_in = at_least(small, b'-')
        ^ at_least(small, b'.' + 1)
        ^ at_least(small, b'0')
        ^ at_least(small, b'9' + 1)
        ^ at_least(small, b'a')
        ^ at_least(small, b'z' + 1);
    is_in & at_least(low, b'-') & !word & HIGH == HIGH
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

    #[test]
    fn names_end_where_the_table_says() {
        for len in 1..20 {
            for at in 0..len {
                for byte in 0..=255 {
                    let mut name = vec![b'Z'; len];
                    name[at] = byte;
                    let expected = if is(byte, REG_NAME) { len } else { at };
                    assert_eq!(name_len(&name), expected, "{name:?}");
                }
            }
        }
        assert_eq!(name_len(b""), 0);
    }

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
