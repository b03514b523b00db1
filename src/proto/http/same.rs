//! Whether two short strings are the same, without a call: hosts, media types.

/// As `a == b`.
#[inline]
pub(crate) fn is_same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let (Some(a_last), Some(b_last)) = (a.last_chunk::<8>(), b.last_chunk::<8>()) else {
        return a == b;
    };
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    let words = a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0);
    // The last word covers what the whole ones leave.
    words.fold(word(a_last) ^ word(b_last), |differs, (a, b)| differs | (word(a) ^ word(b))) == 0
}

#[cfg(test)]
mod tests {
    use super::is_same;

    #[test]
    fn each_byte_counts() {
        for len in 0..40 {
            let a = vec![b'a'; len];
            assert!(is_same(&a, &a.clone()), "{len}");
            assert!(!is_same(&a, &vec![b'a'; len + 1]), "{len}");
            for at in 0..len {
                let mut b = a.clone();
                b[at] ^= 1;
                assert!(!is_same(&a, &b), "{at} of {len}");
            }
        }
    }
}
