//! The fast way through a request's head that is plainly good, in one pass and without a table of
//! fields.
//!
//! Role: to accept what nearly every head is. Not role: to refuse. Whatever is unusual here (a head
//! that is not whole, a byte that is out of place, a rule that is broken) is left to httparse and
//! the rules behind it, which know what it is.
//!
//! *Invariant*: what is accepted here would be accepted there, with the same result. Tests and the
//! fuzzer compare the two.

use super::bytes::{TARGET, TOKEN, VALUE, class_len};
use super::fields::Fields;
use super::request::Line;
use super::{Limits, METHOD_LEN_MAX};
use crate::http::HttpMethod;

/// The start line and the length of the head at the front of `window`; the fields are noted.
#[inline]
pub(super) fn read<'a>(
    window: &'a [u8],
    limits: &Limits,
    fields: &mut Fields<'a>,
) -> Option<(Line<'a>, usize)> {
    let (line, mut rest) = start_line(window)?;
    let mut count = 0;
    loop {
        if let [b'\r', b'\n', behind @ ..] = rest {
            let is_good = count <= limits.field_count();
            return is_good.then_some((line, window.len() - behind.len()));
        }
        rest = field(rest, fields)?;
        count += 1;
    }
}

// Compared as numbers: an array is compared byte by byte.
const GET: u32 = u32::from_le_bytes(*b"GET ");
const HTTP_1: u64 = u64::from_le_bytes(*b" HTTP/1.");
const END_OF_11: u32 = u32::from_le_bytes(*b"1\r\n\0");
const END_OF_10: u32 = u32::from_le_bytes(*b"0\r\n\0");
/// What makes small letters of four letters: exact for those of a token.
const CASE: u32 = 0x2020_2020;
const HOST: u32 = u32::from_le_bytes(*b"host");

#[inline]
fn start_line(window: &[u8]) -> Option<(Line<'_>, &[u8])> {
    let (front, behind) = window.split_first_chunk::<4>()?;
    let (method, method_len, behind) = match u32::from_le_bytes(*front) {
        GET => (HttpMethod::Get, 3, behind),
        _ => other_method(window)?,
    };
    let (target, behind) = split_class(behind, TARGET)?;
    let (space_and_name, behind) = behind.split_first_chunk::<8>()?;
    let ([minor, cr, lf], behind) = behind.split_first_chunk::<3>()?;
    let end = u32::from_le_bytes([*minor, *cr, *lf, 0]);
    let is_version_10 = end == END_OF_10;
    let is_ours = u64::from_le_bytes(*space_and_name) == HTTP_1;
    let is_good = is_ours && (is_version_10 || end == END_OF_11);
    is_good.then_some((Line { method, method_len, target, is_version_10 }, behind))
}

fn other_method(window: &[u8]) -> Option<(HttpMethod, usize, &[u8])> {
    let (token, behind) = split_class(window, TOKEN)?;
    let behind = behind.strip_prefix(b" ")?;
    let is_good = !token.is_empty() && token.len() <= METHOD_LEN_MAX;
    is_good.then_some((HttpMethod::of(token), token.len(), behind))
}

/// Notes the field at the front; what is behind its line.
#[inline]
fn field<'a>(bytes: &'a [u8], fields: &mut Fields<'a>) -> Option<&'a [u8]> {
    // The one that every request has.
    if let Some((&[a, b, c, d, b':'], behind)) = bytes.split_first_chunk::<5>()
        && u32::from_le_bytes([a, b, c, d]) | CASE == HOST
    {
        let (value, behind) = value(behind)?;
        fields.note_host(value);
        return Some(behind);
    }
    let (name, behind) = split_class(bytes, TOKEN)?;
    let (value, behind) = value(behind.strip_prefix(b":").filter(|_| !name.is_empty())?)?;
    fields.note(name, value).ok()?;
    Some(behind)
}

/// Splits a value and the end of its line off the front.
#[inline]
fn value(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut value = bytes;
    while let [b' ' | b'\t', behind @ ..] = value {
        value = behind;
    }
    let (mut value, behind) = value.split_at_checked(value_len(value))?;
    let behind = behind.strip_prefix(b"\r\n")?;
    while let [before @ .., b' ' | b'\t'] = value {
        value = before;
    }
    Some((value, behind))
}

/// Splits the bytes of a class off the front.
#[inline]
fn split_class(bytes: &[u8], class: u8) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(class_len(bytes, class))
}

/// Bytes before the first that a value cannot have; eight at a time.
#[inline]
fn value_len(bytes: &[u8]) -> usize {
    let mut len = 0;
    for word in bytes.as_chunks::<8>().0 {
        let found = controls(u64::from_le_bytes(*word));
        if found != 0 {
            len += (found.trailing_zeros() / 8) as usize;
            break;
        }
        len += 8;
    }
    match bytes.get(len..) {
        Some([b'\r', ..]) => len,
        // A tab, a false alarm, or the last few.
        behind => len + class_len(behind.unwrap_or_default(), VALUE),
    }
}

/// The high bit of each byte below a space or equal to 127. Carries can set it for a byte above
/// such a one or above 255 as well: none is missed, but it takes a look.
#[inline]
const fn controls(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    (word.wrapping_sub(ONES * 0x20) | word.wrapping_add(ONES)) & !word & (ONES << 7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::http1::bytes::is;

    #[test]
    fn values_end_where_the_table_says() {
        for byte in 0..=255u8 {
            for at in 0..20 {
                let mut bytes = [b'a'; 20];
                for (around, filler) in [(b'a', b'\t'), (b'\t', 0xFF), (0xFF, b'~')] {
                    bytes.fill(around);
                    bytes[19 - at] = filler;
                    bytes[at] = byte;
                    let expected = bytes.iter().take_while(|&&byte| is(byte, VALUE)).count();
                    assert_eq!(value_len(&bytes), expected, "{bytes:?}");
                }
            }
        }
        assert_eq!(value_len(b""), 0);
    }
}
